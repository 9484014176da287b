"""What a person should look at first in a curated table, as sentences, each with the section that shows more.

Every limit is a constant with its reason; an alert is raised from facts alone, so that tests can raise each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from animetune import figures
from animetune.report.table_counts import NO_CLASS, column_of, top_share
from animetune.report.table_facts import TableFacts
from animetune.report.table_noted import all_facts, homonyms

UNUSABLE = 0.01
"""Share of the posts that cannot be used, above which the data rather than single files are at fault."""
ONE_FILTER = 0.5
"""Share of the posts that one filter drops."""
STYLE = 0.05
"""Share of the prompts that speak of style."""
SHARED_OPENING = 0.2
"""Share of the captions that begin with the same five words."""
CUT = 0.05
"""Share of the prompts that are longer than what is trained."""
NO_BATCH = 64
"""Pictures of a size below which they fill a few micro-batches, always with the same ones."""
ONE_TAG_CLASS = 0.1
"""Share of an epoch that one artist, one style or one character has."""
TOP_PERCENT = 0.1
"""Share of an epoch that the most often repeated hundredth of the pictures has."""
MANY = 100
"""Pictures of which a hundredth is one at least."""
RARE_BUCKET = 0.005
"""Share of an epoch below which a content bucket is hardly learned."""
CONFLICTS = 0.2
"""Share of the pictures that two content buckets claim."""
UNWRITTEN = 0.05
"""Share of the pictures for which a model wrote no caption that passed the checks."""
UNKNOWN = 0.2
"""Share of the pictures without a class that the others have."""


class Alert(NamedTuple):
    """Something to look at."""

    level: Literal["warning", "note"]
    text: str
    section: str
    """Anchor of the section that shows more."""


def find_alerts(facts: TableFacts) -> list[Alert]:
    """Warnings first, then notes, each in the order of the page."""
    found = [
        alert for check in (_losses, _captions, _balance, _classes, _sizes, _tags, _texts) for alert in check(facts)
    ]
    return [alert for alert in found if alert.level == "warning"] + [alert for alert in found if alert.level == "note"]


def _captions(facts: TableFacts) -> Iterator[Alert]:
    work = facts.images.captions
    if work is None or not work.asked:
        return
    lacking = work.asked - work.by.get("model", 0)
    if lacking > UNWRITTEN * work.asked:
        reason = next(iter(work.reasons), None)
        why = f", most of them because of {reason}" if reason else ""
        yield Alert("warning", f"{_share(lacking, work.asked)} of the captions are not by the model{why}.", "written")


def _losses(facts: TableFacts) -> Iterator[Alert]:
    seen = facts.posts
    unusable = sum(facts.manifest.quarantined.values())
    if unusable > UNUSABLE * seen:
        most = max(facts.manifest.quarantined.items(), key=lambda item: item[1])
        yield Alert(
            "warning",
            f"{_share(unusable, seen)} of the posts cannot be used, most of them as {_short(most[0])}.",
            "funnel",
        )
    for reason, count in facts.manifest.dropped.items():
        if count > ONE_FILTER * seen:
            yield Alert("warning", f"The filter {_short(reason)} drops {_share(count, seen)} of the posts.", "funnel")
    noted = all_facts(facts.manifest, facts.steps)
    for name, text in (
        ("size_mismatches", "pictures have another size than their posts say: re-encoded or thumbnails?"),
        ("md5_mismatches", "pictures are not the files that their posts name by MD5."),
        ("times_not_read", "posts have an upload time that could not be read; they have no year class."),
    ):
        value = noted.get(name)
        if isinstance(value, int) and value > 0:
            yield Alert("note", f"{value:,} {text}", "funnel")
    conflicts = noted.get("conflicts")
    if isinstance(conflicts, int) and conflicts > CONFLICTS * max(1, facts.manifest.kept):
        yield Alert(
            "note",
            f"{_share(conflicts, facts.manifest.kept)} of the pictures fit the rules of two content buckets; "
            "content.priority decides.",
            "balance",
        )


def _balance(facts: TableFacts) -> Iterator[Alert]:
    if not facts.pictures:
        yield Alert("warning", "No picture is for training.", "balance")
        return
    never = int((facts.repeats <= 0).sum())
    if never:
        yield Alert("note", f"{never:,} training pictures have repeats 0: they are never seen.", "balance")
    top = top_share(facts.views, 0.01)
    if top > TOP_PERCENT and facts.pictures >= MANY:
        yield Alert(
            "warning", f"One in a hundred pictures makes up {_share(top, 1)} of an epoch: they repeat often.", "balance"
        )
    buckets = facts.classes.get("content_bucket", {})
    total = float(column_of(buckets.values(), "seen").sum())
    rare = [name for name, count in buckets.items() if 0 < count.seen < RARE_BUCKET * total]
    if rare:
        yield Alert("note", f"Under {_share(RARE_BUCKET, 1)} of an epoch: {_listed(rare)}.", "balance")
    if not facts.held_out:
        yield Alert("note", "No picture is held out for validation.", "classes")


def _classes(facts: TableFacts) -> Iterator[Alert]:
    for column in ("quality", "rating", "year", "aesthetic", "style_class"):
        counts = facts.classes.get(column, {})
        without = counts[NO_CLASS].pictures if NO_CLASS in counts else 0
        if len(counts) > 1 and without > UNKNOWN * facts.pictures:
            yield Alert(
                "note", f"{_share(without, facts.pictures)} of the pictures have no {_words(column)}.", "classes"
            )
    drawn = facts.classes.get("is_synthetic", {}).get("yes")
    if drawn is not None:
        total = float(facts.views.sum(dtype=np.float64))
        yield Alert("note", f"{_share(drawn.seen, total)} of an epoch were drawn by a model (synthetic).", "classes")


def _sizes(facts: TableFacts) -> Iterator[Alert]:
    decoding = facts.manifest.facts.get("pictures")
    if isinstance(decoding, Mapping) and decoding.get("decoded") is False:
        yield Alert("note", "No picture was opened: sizes are those that the posts state.", "sizes")
    if facts.sizes.too_small:
        share = _share(facts.sizes.too_small, facts.pictures)
        if facts.sizes_are_given:
            yield Alert(
                "warning",
                f"{share} of the pictures are too small for every size: they would be enlarged by more than "
                f"{facts.max_upscale:g} and are left out of the shards.",
                "sizes",
            )
        else:
            yield Alert("note", f"{share} of the pictures are too small for SDXL's sizes.", "sizes")
    least = facts.training.global_batch or NO_BATCH
    few = [row.size.name for row in facts.sizes.rows if 0 < row.pictures < least]
    if few and facts.sizes_are_given:
        what = "one global batch" if facts.training.global_batch else "64 pictures"
        yield Alert(
            "note", f"{len(few)} of {len(facts.sizes.rows)} sizes have less than {what}: {_listed(few)}.", "sizes"
        )


def _tags(facts: TableFacts) -> Iterator[Alert]:
    if facts.hidden_tags:
        yield Alert(
            "warning",
            f"{len(facts.hidden_tags):,} tags hold characters that cannot be seen or that turn the direction of text, "
            f"such as {_listed(facts.hidden_tags)}.",
            "tags",
        )
    total = float(facts.views.sum(dtype=np.float64))
    for category in ("artist", "character") if facts.pictures >= MANY else ():
        tags = facts.tags[category].tags if category in facts.tags else {}
        often = [name for name, count in tags.items() if count.seen > ONE_TAG_CLASS * total]
        if often:
            most = _share(tags[often[0]].seen, total)
            more = f"; {len(often) - 1} more in over {_share(ONE_TAG_CLASS, 1)}" if often[1:] else ""
            yield Alert("note", f"The {category} {_short(often[0])} is in {most} of an epoch{more}.", "tags")
    if alike := homonyms(all_facts(facts.manifest, facts.steps)):
        yield Alert(
            "note", f"{alike:,} texts are written for tags of two categories; tags.rename tells them apart.", "tags"
        )
    if facts.bare:
        yield Alert("warning", f"{facts.bare:,} pictures have neither tags nor captions.", "tags")


def _texts(facts: TableFacts) -> Iterator[Alert]:
    texts, training = facts.texts, facts.training
    prompts = len(texts.prompt_tokens)
    if texts.prompts_cut > CUT * prompts:
        yield Alert(
            "warning",
            f"{_share(texts.prompts_cut, prompts)} of the prompts are longer than the {training.limit} tokens that "
            "are trained; their ends are lost.",
            "captions",
        )
    if texts.prompts_with_style > STYLE * prompts:
        most = max(texts.phrases, key=lambda phrase: phrase.prompts).text
        yield Alert(
            "warning",
            f"{_share(texts.prompts_with_style, prompts)} of the prompts speak of style, as “{most}” does; "
            "prompts.style_words takes such words out.",
            "captions",
        )
    elif texts.captions_with_style > STYLE * texts.captions:
        yield Alert(
            "note", f"{_share(texts.captions_with_style, texts.captions)} of the captions speak of style.", "captions"
        )
    for opening in texts.openings[:1]:
        if opening.times > SHARED_OPENING * texts.captions and texts.captions > 1:
            yield Alert(
                "note", f"{_share(opening.times, texts.captions)} of the captions begin “{opening.text}”.", "captions"
            )
    if texts.repeated:
        repeated = texts.repeated[0]
        yield Alert(
            "note",
            f"Several pictures have the very same caption; the most frequent has {repeated.times:,}.",
            "captions",
        )
    if texts.hidden:
        yield Alert(
            "warning",
            f"{texts.hidden:,} captions hold characters that cannot be seen or that turn the direction of text.",
            "captions",
        )


def _share(part: float, whole: float) -> str:
    """`12 %`, `0.4 %`; an amount that is there is never 0 %."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def _listed(names: Sequence[str]) -> str:
    """The first four, and how many more there are."""
    shown = ", ".join(map(_short, names[:4]))
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _short(name: str) -> str:
    return figures.visible(name, 60)


def _words(column: str) -> str:
    return column.replace("_", " ") + ("" if column.endswith("class") else " class")
