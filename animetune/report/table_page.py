"""One offline page about one curated table: what is odd first, then what came in, what was kept, and what is trained.

table, its steps, its pictures  --table_reading.read_table-->  TableFacts (plain data)  --write-->  report.html

Text of the data is escaped by Jinja2 and passed through `figures.visible`, lists are cut, and thumbnails have a limit
of bytes, so that no table makes a page that is unsafe or cannot be opened.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animetune import figures
from animetune.curate.caption.outcomes import CODES
from animetune.curate.closeups.crops import CODES as CLOSEUP_CODES
from animetune.curate.read.fields import RECORD_CODES
from animetune.curate.weigh.expected import effective, entropy, gini
from animetune.figures import Line, Mark, binned_chart, format_number, log_chart
from animetune.pictures import PICTURE_CODES
from animetune.records import CONTENT_BUCKETS
from animetune.report.image_facts import pictures_in
from animetune.report.table_alerts import find_alerts
from animetune.report.table_counts import NO_CLASS, Count, column_of, top_share
from animetune.report.table_facts import TableFacts
from animetune.report.table_noted import all_facts, factors, weighed
from animetune.report.table_sizes import ratio_chart, size_chart
from animetune.svg import Svg

TEMPLATES = Path(__file__).parent / "templates"

SECTIONS = (
    ("alerts", "Look first"),
    ("funnel", "Funnel"),
    ("pictures", "Pictures"),
    ("closeups", "Close-ups"),
    ("models", "Models"),
    ("written", "Captions written"),
    ("balance", "Balance"),
    ("tags", "Tags"),
    ("classes", "Classes"),
    ("sizes", "Sizes"),
    ("captions", "Captions"),
    ("sheet", "Contact sheet"),
    ("reproduce", "Reproduce"),
)
"""Anchor and name of every section, in order."""
OPTIONAL = ("pictures", "closeups", "models", "written")
"""Those that are there only where a step has left something to show."""

MEANINGS = RECORD_CODES | PICTURE_CODES
"""Of the codes under which posts are quarantined."""
TOP_TAGS = 50
TOP_NAMES = 10
"""Names shown of every class and every other category of tags."""
SIZE_ROWS = 60
TAGS_SHOWN = 60
"""Tags shown of a single picture."""
REASON_ROWS = 40
FACTS_CHARACTERS = 12_000
TOKEN_LINES = (75, 150, 225)
"""Ends of the first three chunks."""
MOST_TOKENS = 450
"""Longer texts are counted in the last bar."""
TOKEN_BINS = 60
HEAD = 100
"""Tags that are called the head."""
CURVE_POINTS = 160
HERE_CLASSES = (
    "quality",
    "aesthetic",
    "rating",
    "year",
    "source",
    "style_class",
    "image_format",
    "split",
    "is_synthetic",
)

_ORDER = {
    name: place
    for place, name in enumerate(
        (
            *CONTENT_BUCKETS, "masterpiece", "amazing", "best", "best quality", "high", "great", "good", "medium",
            "average", "normal", "bad", "low", "low quality", "worst", "worst quality", "newest", "recent", "late",
            "modern", "mid", "early", "old", "oldest", "g", "s", "q", "e", "very awa", "very aesthetic", "aesthetic",
            "displeasing", "very displeasing", "worst aesthetic",
        )
    )
}  # fmt: skip
"""Classes that are known stand in this order, others by number behind them."""
_YEAR = re.compile(r"year ([0-9]{4})")

_TITLES = {
    "style_class": "Style class", "image_format": "File format", "is_synthetic": "Drawn by a model",
    "count": "People", "character": "Characters", "copyright": "Series", "artist": "Artists", "special": "Special",
    "meta": "Meta",
}  # fmt: skip


class Meter(NamedTuple):
    """Two bars with their numbers: an epoch without and with balancing."""

    name: str
    before: float
    after: float
    before_width: float
    """Percent of the longest bar."""
    after_width: float

    @property
    def change(self) -> str:
        """`×1.42`; empty where nothing changes."""
        ratio = self.after / self.before if self.before else 1.0
        return "" if abs(ratio - 1) < 0.005 else f"×{ratio:.2f}" if ratio < 10 else f"×{ratio:.0f}"


class Meters(NamedTuple):
    """A list of meters, the first of many."""

    title: str
    items: Sequence[Meter]
    others: int
    """Names that are not shown."""


class FunnelRow(NamedTuple):
    """A step that refused something: how many rows it left, and what it refused."""

    name: str
    left: int
    percent: float
    lost: Sequence[tuple[str, int, bool]]
    """Reason, rows, whether they could not be used."""
    gained: int = 0
    """Rows that it added: close-ups."""


def write(facts: TableFacts, out: Path) -> Path:
    """Write the report as one HTML file without links to anything, and return its path."""
    environment = figures.page_environment(TEMPLATES)
    written = all_facts(facts.manifest, facts.steps)
    html = environment.get_template("table.html.j2").render(
        title=figures.visible(f"Curated table {facts.title}", 120),
        sections=sections(facts),
        facts=facts,
        images=facts.images,
        score_chart=score_chart(facts),
        meanings=MEANINGS,
        caption_codes=CODES,
        closeup_codes=CLOSEUP_CODES,
        alerts=find_alerts(facts),
        headline=headline(facts),
        funnel=funnel(facts),
        losses=facts.losses[:REASON_ROWS],
        buckets=class_meters("Content buckets", facts.classes.get("content_bucket", {})),
        spread=spread(facts),
        repeats_chart=repeats_chart(facts),
        loss_weights=loss_weight_limits(facts),
        noted=noted(facts),
        literal=[row for row in weighed(written) if row.literal is not None and any(row[1:])],
        factors=factors(written),
        top_tags=meters("", _without_none(facts.tags["general"].tags), most=TOP_TAGS)
        if "general" in facts.tags
        else None,
        rank_chart=rank_chart(facts),
        tails=tails(facts),
        categories=[
            meters(_TITLES.get(name, name), counted.tags, most=TOP_NAMES)
            for name, counted in facts.tags.items()
            if name != "general" and counted.tags
        ],
        people=meters("Who is in the picture", facts.people, most=4),
        classes=[
            class_meters(_TITLES.get(name, name.capitalize()), facts.classes[name], most=12)
            for name in HERE_CLASSES
            if name in facts.classes and _says_something(name, facts.classes[name])
        ],
        years=years_chart(facts),
        size_chart=size_chart(facts.sizes),
        ratio_chart=ratio_chart(facts.sizes),
        sizes=sorted(facts.sizes.rows, key=lambda row: -row.pictures)[:SIZE_ROWS],
        most_of_a_size=max((row.pictures for row in facts.sizes.rows), default=1),
        caption_kinds=meters("Kinds of captions", facts.captions, most=4),
        token_charts=token_charts(facts),
        token_shares=token_shares(facts),
        veiled=sum(shown.is_veiled and bool(shown.image) for shown in facts.sheet)
        + sum(post.is_veiled and bool(post.image) for loss in facts.losses for post in loss.examples)
        + sum(shown.is_veiled and bool(shown.image) for shown in pictures_in(facts.images)),
        tags_shown=TAGS_SHOWN,
    )
    figures.write_page(out, html)
    return out


def sections(facts: TableFacts) -> list[tuple[str, str]]:
    """Anchor and name of the sections that this page has."""
    images = facts.images
    there = {
        "pictures": images.probe is not None or images.lookalikes is not None,
        "closeups": images.closeups is not None,
        "models": images.models is not None or len(images.scores) > 0,
        "written": images.captions is not None,
    }
    return [(anchor, name) for anchor, name in SECTIONS if there.get(anchor, True)]


def score_chart(facts: TableFacts) -> Svg | None:
    """Distribution of the aesthetic scores; None where no picture has one."""
    scores = facts.images.scores
    if not len(scores):
        return None
    low, high = float(scores.min()), float(scores.max())
    counts, edges = np.histogram(scores, bins=32, range=(low, high) if high > low else (low - 0.5, low + 0.5))
    title = f"Aesthetic scores, n = {len(scores):,}"
    return binned_chart(edges.tolist(), counts.tolist(), title=title, x_label="score")


def headline(facts: TableFacts) -> list[tuple[str, str]]:
    """The few numbers that open the page."""
    seen = float(facts.views.sum(dtype=np.float64))
    found = [
        ("pictures kept", f"{facts.manifest.kept:,}"),
        ("of posts read", f"{facts.posts:,}"),
        ("seen per epoch", format_number(seen)),
        ("distinct tags", f"{sum(len(counted.tags) for counted in facts.tags.values()):,}"),
    ]
    if facts.pictures:
        captioned = facts.pictures - facts.captions.get("none", Count(0, 0.0)).pictures
        found.append(("with a caption", f"{100 * captioned / facts.pictures:.0f} %"))
    newest = all_facts(facts.manifest, facts.steps).get("knowledge_cutoff")
    if isinstance(newest, str):
        found.append(("newest post", newest[:10]))
    return found


def funnel(facts: TableFacts) -> list[FunnelRow]:
    """From posts to pictures, by the steps that refused some; in one step where the steps are gone."""
    seen = facts.posts
    rows = [FunnelRow("posts read", seen, 100.0, ())]
    if facts.steps:
        steps: Iterable[tuple[str, int, Mapping[str, int], Mapping[str, int]]] = (
            (step.name, step.kept, step.dropped, step.quarantined) for step in facts.steps
        )
    else:
        steps = [("curate", facts.manifest.kept, facts.manifest.dropped, facts.manifest.quarantined)]
    for name, kept, dropped, quarantined in steps:
        lost = [
            *((reason, count, False) for reason, count in dropped.items() if count),
            *((code, count, True) for code, count in quarantined.items() if count),
        ]
        gained = max(0, kept + sum(count for _, count, _ in lost) - rows[-1].left)
        if lost or gained:
            lost.sort(key=lambda item: (-item[1], item[0]))
            rows.append(FunnelRow(name, kept, _bar(kept, seen), lost, gained))
    kept = facts.manifest.kept
    return [*rows, FunnelRow("kept", kept, _bar(kept, seen), ())]


def _bar(rows: int, seen: int) -> float:
    """Percent; close-ups can make more rows than there were posts."""
    return min(100.0, 100 * rows / seen) if seen else 0.0


def _place(name: str) -> tuple[int, int]:
    """Sort key of a class; of classes such as `year 2023` the newest is first."""
    year = _YEAR.fullmatch(name)
    return _ORDER.get(name, len(_ORDER) + (name == NO_CLASS)), -int(year[1]) if year else 0


def class_meters(title: str, counts: Mapping[str, Count], *, most: int = 24) -> Meters:
    """`meters` of classes: those with an order in it, others behind them by number, and pictures without one last."""
    names = sorted(counts, key=_place)
    return meters(title, {name: counts[name] for name in names}, most=most)


def meters(title: str, counts: Mapping[str, Count], *, most: int) -> Meters:
    """Pictures and expected views of the first names."""
    shown = list(counts)[:most]
    longest = max((max(counts[name]) for name in shown), default=0) or 1
    items = [
        Meter(name, pictures, seen, 100 * pictures / longest, 100 * seen / longest)
        for name in shown
        for pictures, seen in [counts[name]]
    ]
    return Meters(title, items, len(counts) - len(shown))


def spread(facts: TableFacts) -> list[tuple[str, str, str, str]]:
    """What balancing changes, measure by measure: name, before, after, meaning."""
    buckets = facts.classes.get("content_bucket", {})
    tags = facts.tags["general"].tags if "general" in facts.tags else {}
    rows = []
    if len(buckets) > 1:
        sizes = [column_of(buckets.values(), name) for name in Count._fields]
        before, after = (f"{entropy(size):.2f} bits" for size in sizes)
        rows.append(
            ("Entropy of content buckets", before, after, f"{math.log2(len(buckets)):.2f} bits if all were equal")
        )
        before, after = (f"{abs(gini(size)):.3f}" for size in sizes)
        rows.append(("Gini of content buckets", before, after, "0 if all were equal"))
    if tags:
        sizes = [column_of(tags.values(), name) for name in Count._fields]
        before, after = (f"{abs(gini(size)):.3f}" for size in sizes)
        rows.append(("Gini of general tags", before, after, "0 if all were equal"))
        before, after = (_percent(_head_share(size)) for size in sizes)
        rows.append((f"Share of the {HEAD} most frequent tags", before, after, "of all uses of general tags"))
    if facts.pictures:
        before = _percent(max(1, round(facts.pictures / 100)) / facts.pictures)
        after = _percent(top_share(facts.views, 0.01))
        rows.append(("Share of the most seen 1 %", before, after, "of an epoch's pictures"))
        after = f"{effective(facts.views.astype(np.float64)):,.0f}"
        meaning = "as many pictures, all equally often, would vary as much"
        rows.append(("Effective sample size", f"{facts.pictures:,}", after, meaning))
    return rows


def repeats_chart(facts: TableFacts) -> Svg | None:
    """Distribution of the repeats; None where every picture is seen once."""
    if not len(facts.repeats) or facts.repeats.min() == facts.repeats.max():
        return None
    counts, edges = np.histogram(facts.repeats, bins=32)
    return binned_chart(
        edges.tolist(), counts.tolist(), title="How often a picture is seen per epoch", x_label="repeats"
    )


def loss_weight_limits(facts: TableFacts) -> tuple[float, float] | None:
    """The least and the greatest loss weight; None where all are 1."""
    if not len(facts.loss_weights) or (facts.loss_weights == 1).all():
        return None
    return float(facts.loss_weights.min()), float(facts.loss_weights.max())


def rank_chart(facts: TableFacts) -> Svg:
    """Uses of general tags by rank, before and after."""
    tags = facts.tags["general"].tags.values() if "general" in facts.tags else []
    lines = []
    for name, label in (("pictures", "pictures"), ("seen", "seen per epoch")):
        sizes = np.sort(column_of(tags, name))[::-1]
        ranks = np.unique(np.geomspace(1, max(len(sizes), 1), CURVE_POINTS).round().astype(int)) if len(sizes) else []
        lines.append(Line(label, [(int(rank), float(sizes[rank - 1])) for rank in ranks]))
    return log_chart(lines, title="General tags by rank", x_label="rank of the tag")


def tails(facts: TableFacts) -> list[tuple[str, int, str, str]]:
    """General tags by how many pictures have them: range, tags, share of all uses before and after."""
    tags = list(facts.tags["general"].tags.values()) if "general" in facts.tags else []
    pictures, seen = column_of(tags, "pictures"), column_of(tags, "seen")
    edges = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, math.inf]
    rows = []
    for low, high in itertools.pairwise(edges):
        here = (pictures >= low) & (pictures < high)
        if here.any():
            name = f"{low:,} to {high - 1:,}" if high < math.inf else f"{low:,} and more"
            shares = (float(values[here].sum()) / max(float(values.sum()), 1e-9) for values in (pictures, seen))
            before, after = map(_percent, shares)
            rows.append((name, int(here.sum()), before, after))
    return rows


def years_chart(facts: TableFacts) -> Svg | None:
    """Pictures by year of upload; None where none is known."""
    known = {int(year): count.pictures for year, count in facts.years.items() if year != NO_CLASS}
    if len(known) < 2:
        return None
    edges = list(range(min(known), max(known) + 2))
    ticks = [Mark(year + 0.5, str(year)) for year in edges[:-1]]
    counts = [known.get(year, 0) for year in edges[:-1]]
    return binned_chart(edges, counts, title="Year of upload", x_label="", ticks=ticks)


def token_charts(facts: TableFacts) -> list[Svg]:
    """Lengths in tokens of prompts and captions, with the ends of the chunks."""
    texts = facts.texts
    found = (
        ("Prompts as trained", texts.prompt_tokens),
        ("Long captions", texts.long_tokens),
        ("Short captions", texts.short_tokens),
    )
    reach = max([*(int(lengths.max()) for _, lengths in found if len(lengths)), TOKEN_LINES[0] + 15])
    reach = min(MOST_TOKENS, math.ceil((reach + 1) / TOKEN_BINS) * TOKEN_BINS)
    edges = np.linspace(0, reach, TOKEN_BINS + 1)
    marks = [Mark(at, str(at)) for at in TOKEN_LINES]
    charts = []
    for title, lengths in found:
        if len(lengths):
            counts, _ = np.histogram(np.minimum(lengths, reach), bins=edges)
            charts.append(
                binned_chart(
                    edges.tolist(),
                    counts.tolist(),
                    title=f"{title}, n = {len(lengths):,}",
                    x_label="tokens",
                    marks=marks,
                )
            )
    return charts


def token_shares(facts: TableFacts) -> list[tuple[str, int, list[str]]]:
    """Kind of text, how many, and the share that needs one, two, three or more chunks."""
    texts = facts.texts
    kinds = (
        ("prompts", texts.prompt_tokens),
        ("long captions", texts.long_tokens),
        ("short captions", texts.short_tokens),
    )
    rows = []
    for name, lengths in kinds:
        if len(lengths):
            counts, _ = np.histogram(lengths, bins=[0, *(line + 0.5 for line in TOKEN_LINES), np.inf])
            rows.append((name, len(lengths), [_percent(count / len(lengths)) for count in counts.tolist()]))
    return rows


def noted(facts: TableFacts) -> list[tuple[str, str]]:
    """What each step wrote down, as indented JSON, cut where it is long."""
    found = [(step.name, step.facts) for step in facts.steps if step.facts] or [("table", facts.manifest.facts)]
    return [(name, _as_text(value)) for name, value in found if value]


def _as_text(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
    lines = [figures.visible(line, 300) for line in text[:FACTS_CHARACTERS].splitlines()]
    return "\n".join(lines) + ("\n…" if len(text) > FACTS_CHARACTERS else "")


def _without_none(counts: Mapping[str, Count]) -> Mapping[str, Count]:
    return {name: count for name, count in counts.items() if name}


def _says_something(column: str, counts: Mapping[str, Count]) -> bool:
    """Whether a column is worth a card: it has classes, and more than one where one is what to expect."""
    alone = ("split", "is_synthetic", "image_format")
    return set(counts) != {NO_CLASS} and (len(counts) > 1 or column not in alone)


def _head_share(sizes: np.ndarray) -> float:
    total = float(sizes.sum())
    return float(np.sort(sizes)[::-1][:HEAD].sum()) / total if total else 0.0


def _percent(share: float) -> str:
    """`37 %`, `2.4 %`, and `0 %` for nothing alone."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
