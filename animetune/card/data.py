"""What the model was trained on: how many pictures, from where, what was left out and why, captions, cut-off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from animetune.card.labels import counted, drawn_samples
from animetune.card.lineage import Curated, Data, Run
from animetune.card.markdown import bullets, code, escape, number, share, table

REASONS_SHOWN = 20
SYNTHETIC = "drawn by a model"
TAG_POLICIES = {
    "original": "whose general tags were not taken",
    "tagger": "in place of the posts' own general tags",
    "union": "in addition to the posts' own general tags",
    "written_first": "where a post had no general tags of its own",
}
"""`tag_sources.general` -> what that means for the tagger."""
BALANCES = {
    "tag_groups": "pictures with tags of frequent groups were shown less often, of rare ones more",
    "tags": "pictures with frequent tags were shown less often, with rare ones more",
    "content_buckets": "the share of each content was brought toward that of the median one",
    "adaptive": "more repeats for higher quality and for styles that were not learned yet",
    "synthetic": "pictures drawn by a model were held to a share of what is shown",
}
"""Factor of `balance` -> what it does."""


def data_section(runs: Sequence[Run], names: Mapping[str, str], *, cutoff: str | None) -> str:
    """Counts by stage, then each table that pictures came from."""
    missing = [f"**{escape(names[str(run.folder)])}**: {escape(line)}." for run in runs for line in _missing(run)]
    parts = [
        stages_table(runs, names),
        bullets([f"Knowledge cut-off: {knowledge_cutoff(runs, cutoff)}.", *missing]),
    ]
    for title, tables, data in _tables(runs, names):
        parts += [f"### Data of {title}", table_text(tables), content_table(data, title.rpartition(", ")[2])]
    return "\n\n".join(part for part in parts if part)


def stages_table(runs: Sequence[Run], names: Mapping[str, str]) -> str:
    """Pictures that each stage was trained on."""
    rows = []
    for run in runs:
        samples = drawn_samples(run.data)
        expected = [
            each.labels.manifest.facts.get("expected_samples_per_epoch") for each in run.data if each.labels is not None
        ]
        known = [value for value in expected if isinstance(value, int | float)]
        rows.append(
            [
                escape(names[str(run.folder)]),
                number(samples) if samples is not None else "not known",
                number(round(sum(known))) if known and len(known) == len(run.data) else "not known",
                number(run.done.images),
            ]
        )
    header = ["stage", "pictures", "shown in an epoch, with repeats", "shown in all"]
    return table(header, rows, numbers=[1, 2, 3])


def knowledge_cutoff(runs: Sequence[Run], configured: str | None) -> str:
    """The day of the newest picture: of the tables where they know it, else as configured, else not known."""
    days = [
        str(day)[:10]
        for run in runs
        for each in run.data
        if each.table is not None and (day := each.table.manifest.facts.get("knowledge_cutoff"))
    ]
    if days:
        is_known = all(each.table is not None for run in runs for each in run.data)
        return f"{max(days)}, the day of the newest post in the data{'' if is_known else ' whose table is here'}"
    return configured or "not known; the posts have no dates"


def table_text(curated: Curated) -> str:
    """Sources, what was left out and why, what models said."""
    manifest = curated.manifest
    lines = [
        f"{number(manifest.seen)} posts were read and {number(manifest.kept)} kept "
        f"({share(manifest.kept, manifest.seen)}).",
        *_sources(curated),
        *_models(curated),
        *_captions(curated),
    ]
    refused = {**manifest.dropped, **manifest.quarantined}
    ordered = sorted(
        ((reason, count) for reason, count in refused.items() if count), key=lambda item: (-item[1], item[0])
    )
    rows = [[code(reason), number(count), share(count, manifest.seen)] for reason, count in ordered[:REASONS_SHOWN]]
    if len(ordered) > REASONS_SHOWN:
        rest = sum(count for _, count in ordered[REASONS_SHOWN:])
        rows.append([f"{len(ordered) - REASONS_SHOWN} more reasons", number(rest), share(rest, manifest.seen)])
    dropped = table(["left out as", "posts", "of those read"], rows, numbers=[1, 2])
    return "\n\n".join([bullets(lines), *([dropped] if dropped else [])])


def content_table(data: Sequence[Data], stage: str) -> str:
    """Pictures by what they show."""
    counts = counted(data, "content_bucket")
    total = sum(counts.values())
    rows = [[code(name), number(count), share(count, total)] for name, count in counts.items()]
    return table(["content", f"pictures of {stage}", "share"], rows, numbers=[1, 2])


def _missing(run: Run) -> Iterator[str]:
    for each in run.data:
        yield from each.missing


def _tables(runs: Sequence[Run], names: Mapping[str, str]) -> Iterator[tuple[str, Curated, list[Data]]]:
    """Each table once: the stages that it served, and the label sets of the last of them that were made from it."""
    found: dict[str, tuple[list[str], Curated, list[Data]]] = {}
    for run in runs:
        own: dict[str, list[Data]] = {}
        for each in run.data:
            if each.table is not None:
                own.setdefault(each.table.manifest.digest, []).append(each)
        for table_digest, data in own.items():
            curated = data[0].table
            assert curated is not None
            before = found[table_digest][0] if table_digest in found else []
            found[table_digest] = ([*before, names[str(run.folder)]], curated, data)
    for stages, curated, data in found.values():
        yield escape(", ".join(stages)), curated, data


def _sources(curated: Curated) -> Iterator[str]:
    if curated.cfg is None:
        return
    classes: Mapping[str, Any] = curated.manifest.facts.get("classes", {})
    for source in curated.cfg.sources:
        said = classes.get(source.name, {})
        ratings: Mapping[str, int] = said.get("rating", {})
        count = f", {number(sum(ratings.values()))} posts after the first filters" if ratings else ""
        newest = f", the newest of {str(said['newest'])[:10]}" if said.get("newest") else ""
        drawn = f", {SYNTHETIC}" if source.is_synthetic else ""
        yield f"Source {code(source.name)}{count}{newest}{drawn}."


def _models(curated: Curated) -> Iterator[str]:
    cfg = curated.cfg
    if cfg is None:
        return
    for tagger in cfg.models.taggers:
        threshold = number(cfg.tag_sources.thresholds.general)
        policy = TAG_POLICIES[cfg.tag_sources.general]
        yield f"Tagged by {code(tagger.name)}, {policy}, from a likelihood of {threshold} on."
    for scorer in cfg.models.scorers:
        yield f"Aesthetic scores by {code(scorer.name)}."
    for factor in cfg.balance:
        yield f"Balance `{factor.name}`: {BALANCES[factor.name]}."
    if cfg.closeups is not None:
        yield "Close-ups were cut from pictures and are pictures of their own."


def _captions(curated: Curated) -> Iterator[str]:
    cfg = curated.cfg
    if cfg is None:
        return
    captions = cfg.captions
    if captions is None:
        has_some = any(source.captions for source in cfg.sources)
        yield "No model was asked for captions" + ("; some came with the posts." if has_some else ".")
        return
    yield f"Captions in natural language by {code(captions.long.model)}."
    if captions.compress is not None:
        yield f"Short ones made of them by {code(captions.compress.model)}."
    if captions.style.remove:
        yield "References to style were taken out of captions."
