"""One offline page about one run: its data, its prompts, its loss, its pictures while it learned and at the end.

run directory, table, label set  --reading.read_run-->  RunPage (plain data)  --write-->  index.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from animetune import figures
from animetune.figures import Line, bar_chart, histogram, line_chart, smooth
from animetune.manifest import Manifest
from animetune.records import Size
from animetune.seeding import Purpose, rng_for
from animetune.svg import Svg

TEMPLATES = Path(__file__).parent / "templates"

SECTIONS = (
    ("data", "Data"),
    ("prompts", "Prompts"),
    ("training", "Training"),
    ("progress", "While it learned"),
    ("final", "Pictures"),
    ("next", "Go on"),
)
"""Anchor and name of every section, in order."""

HERO_PICTURES = 8
"""Pictures that open the page."""
TIMESTEPS_APART = 3
"""Of ten intervals of timesteps, every third is drawn: a chart has four colours."""


@dataclass(frozen=True)
class Picture:
    """A picture with its prompt, and a word about it."""

    image: Image.Image | Path
    prompt: str
    note: str = ""


@dataclass(frozen=True)
class ContentCount:
    """How much of one content bucket there is."""

    content_bucket: str
    rows: int
    """Pictures, which is what an epoch would hold without balancing."""
    repeats: float
    """Sum of the repeats: expected times that an epoch shows one of them."""


@dataclass(frozen=True)
class PromptDraws:
    """What one sample is trained with, draw by draw."""

    key: str
    content_bucket: str
    draws: Sequence[str]


@dataclass(frozen=True)
class ProgressRow:
    """Pictures drawn after `step` optimizer steps, in the order of the prompts."""

    step: int
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Score:
    """How often the pictures have what their prompts say."""

    name: str
    correct: int
    total: int

    @property
    def percent(self) -> str:
        """`97 %`; a dash where nothing was measured."""
        return f"{100 * self.correct / self.total:.0f} %" if self.total else "–"


@dataclass(frozen=True)
class Command:
    """A command line, and what it is for."""

    purpose: str
    line: str


@dataclass(frozen=True)
class RunPage:
    """All that the page shows. Every part may be empty: its section then says so."""

    title: str
    table: Manifest | None = None
    """Manifest of the curated table, for its counts."""
    shards: Sequence[Manifest] = ()
    """Manifests of the shard roots, for their counts."""
    content: Sequence[ContentCount] = ()
    sizes: Sequence[tuple[Size, int]] = ()
    """Size and number of pictures."""
    repeats: Sequence[float] = ()
    """Repeats of every picture."""
    pictures: Sequence[Picture] = ()
    """Training pictures, cut to their size, with a prompt as trained."""
    prompts: Sequence[PromptDraws] = ()
    metrics: Sequence[Mapping[str, float]] = ()
    """Lines of metrics.jsonl, one per step."""
    validation: Sequence[Mapping[str, Any]] = ()
    """Lines of validation.jsonl, one per step and kind of weights."""
    progress: Sequence[ProgressRow] = ()
    final: Sequence[Picture] = ()
    scores: Sequence[Score] = ()
    commands: Sequence[Command] = ()


def write(page: RunPage, out: Path) -> Path:
    """Write the page as one HTML file without links to anything, and return its path."""
    environment = figures.page_environment(TEMPLATES)
    environment.filters["thumbnail"] = lambda image, side: figures.thumbnail(image, side=side)
    html = environment.get_template("run.html.j2").render(
        page=page,
        title=page.title,
        sections=SECTIONS,
        summary=score_line(page.scores),
        facts=headline_facts(page),
        funnel=funnel_chart(page.table, page.shards),
        content=content_chart(page.content),
        repeats=repeats_chart(page.repeats),
        total_sized=sum(count for _, count in page.sizes),
        charts=[*training_charts(page.metrics), *validation_charts(page.validation)],
        hero=pick(page.final, HERO_PICTURES),
    )
    figures.write_page(out, html)
    return out


def pick(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """Up to `count` of the pictures, at random but always the same, in their order."""
    places = rng_for(0, Purpose.CONTACT_SHEET).permutation(len(pictures))[:count]
    return [pictures[place] for place in sorted(places)]


def headline_facts(page: RunPage) -> list[tuple[str, str]]:
    """The few numbers that open the page."""
    facts = []
    if page.table:
        facts.append(("pictures kept", f"{page.table.kept:,} of {page.table.seen:,}"))
    if page.metrics:
        last = page.metrics[-1]
        facts.append(("steps", f"{last['step']:,.0f}"))
        if "images" in last:
            facts.append(("pictures seen", figures.format_number(last["images"])))
        if losses := [line["loss"] for line in page.metrics if "loss" in line]:
            facts.append(("loss, smoothed", figures.format_number(smooth(losses, half_life=_half_life(losses))[-1])))
    facts += [(score.name, score.percent) for score in page.scores]
    return facts


def score_line(scores: Sequence[Score]) -> str:
    """`hair colour 97 %, background colour 98 % of 64 pictures as the prompt says`; empty without scores."""
    if not scores:
        return ""
    shares = ", ".join(f"{score.name} {score.percent}" for score in scores)
    totals = sorted({score.total for score in scores})
    return f"As the prompt says: {shares}, over {' to '.join(f'{total:,}' for total in totals)} pictures."


def funnel_chart(table: Manifest | None, shards: Sequence[Manifest]) -> Svg:
    """Posts seen, kept, in the shards, and every reason for the difference."""
    bars: dict[str, list[float]] = {}
    if table:
        bars["posts seen"] = [table.seen]
        bars |= {f"dropped: {reason}": [count] for reason, count in _most_first(table.dropped)}
        bars |= {f"unusable: {code}": [count] for code, count in _most_first(table.quarantined)}
        bars["kept"] = [table.kept]
    if shards:
        lost: dict[str, int] = {}
        for reason, count in (item for root in shards for item in (*root.dropped.items(), *root.quarantined.items())):
            lost[reason] = lost.get(reason, 0) + count
        bars |= {f"not sharded: {reason}": [count] for reason, count in _most_first(lost)}
        bars["in shards"] = [sum(root.kept for root in shards)]
    return bar_chart(bars, title="From posts to pictures", series=["pictures"])


def content_chart(content: Sequence[ContentCount]) -> Svg:
    """Content buckets before and after balancing."""
    bars = {count.content_bucket: [count.rows, count.repeats] for count in content}
    return bar_chart(bars, title="What the pictures show", series=["pictures", "seen per epoch, balanced"])


def repeats_chart(repeats: Sequence[float]) -> Svg | None:
    """Distribution of the repeats; None where every picture is seen once."""
    if len(set(repeats)) < 2:
        return None
    return histogram(repeats, title="How often a picture is seen per epoch", x_label="repeats")


def training_charts(metrics: Sequence[Mapping[str, float]]) -> list[Svg]:
    """Loss, learning rates and speed over the optimizer steps."""
    losses = _series(metrics, "loss")
    prefix = "loss_by_timestep/"
    timesteps = sorted({name for line in metrics for name in line if name.startswith(prefix)})[::TIMESTEPS_APART]
    rates = sorted({name for line in metrics for name in line if name.startswith("lr/")})
    return [
        line_chart(
            [
                Line("loss", losses, faint=True),
                Line("loss, smoothed", _smoothed(losses)),
            ],
            title="Loss",
            x_label="step",
        ),
        line_chart(
            [Line(name.removeprefix(prefix), _smoothed(_series(metrics, name))) for name in timesteps],
            title="Loss by timestep, smoothed",
            x_label="step",
        ),
        line_chart(
            [Line(name.removeprefix("lr/"), _series(metrics, name)) for name in rates],
            title="Learning rates",
            x_label="step",
        ),
        line_chart([Line("norm", _series(metrics, "grad_norm"))], title="Gradient norm", x_label="step"),
        line_chart(
            [Line("pictures", _series(metrics, "images_per_second"))], title="Pictures per second", x_label="step"
        ),
    ]


def validation_charts(validation: Sequence[Mapping[str, Any]]) -> list[Svg]:
    """The validation loss of each kind of weights over the steps, and by content bucket at the start and now."""
    if not validation:
        return []
    kinds = list(dict.fromkeys(line["weights"] for line in validation))
    lines = {kind: [line for line in validation if line["weights"] == kind] for kind in kinds}
    first, last = lines[kinds[0]][0], lines[kinds[0]][-1]
    prefix = "loss_by_content/"
    content = {
        name.removeprefix(prefix): [first[name], last[name]]
        for name in first
        if name.startswith(prefix) and last.get(name) is not None
    }
    series = [f"step {first['step']:,}", f"step {last['step']:,}"]
    return [
        line_chart(
            [Line(kind, _series(lines[kind], "loss")) for kind in kinds], title="Validation loss", x_label="step"
        ),
        bar_chart(content, title="Validation loss by content bucket", series=series),
    ]


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    values = smooth([value for _, value in points], half_life=_half_life(points)) if points else []
    return [(step, value) for (step, _), value in zip(points, values, strict=True)]


def _series(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in metrics if line.get(name) is not None]


def _half_life(losses: Sequence[object]) -> float:
    """A fiftieth of the run, so that the curve is calm but follows."""
    return max(1.0, len(losses) / 50)


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
