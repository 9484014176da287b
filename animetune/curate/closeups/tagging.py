"""What close-ups are tagged with: of their picture's tags those that such a close-up shows, and those of its label.

The lists that a picture has after the step `tags` are put together, less what cannot be seen, and sorted once more by
`tags.sort_tags`, without the rewriting that was done before: renaming twice would rename what was renamed.

With `tags: tagger` what taggers see in the close-up stands in place of what it shows of its picture's tags. Artist and
series are the picture's all the same, and a character must be one of the picture's: where one person is to be seen it
is inherited, and of several the tagger says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists
from animetune.curate.config.closeups import CloseupsConfig, LabelConfig
from animetune.curate.config.tags import TagsConfig
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.tag.people import COUNTS
from animetune.curate.tag.tag_lists import OTHER, Vocabulary
from animetune.curate.tag.tag_tables import TagTables
from animetune.curate.tag.tags import KINDS, SIZE_TAGS, sort_tags
from animetune.errors import ConfigError

READS = (*(f"tags_{kind}" for kind in KINDS), "tags_implied", "n_people")
UNSEEN = ("style",)
"""Classes that hold of any part of a picture, whoever is in it."""
PEOPLE = "people"


@dataclass(frozen=True)
class TagRules:
    """As the step `tags` has them."""

    cfg: TagsConfig
    vocabulary: Vocabulary
    tables: TagTables = field(default_factory=TagTables)


def check(cfg: CloseupsConfig, vocabulary: Vocabulary) -> None:
    """Raise ConfigError for a semantic class that there is not."""
    known = {*vocabulary.classes, OTHER}
    for label, shown in cfg.labels.items():
        if strange := [name for name in shown.shows if name not in known]:
            raise ConfigError(
                f"closeups: labels: {label}: shows: {strange[0]} is no semantic class; there are "
                f"{', '.join(sorted(known))}"
            )


def people() -> pl.Expr:
    """How many people a picture shows; where no tag says so, as many as it names characters."""
    return pl.coalesce("n_people", pl.col("tags_character").list.len()).fill_null(0)


def may_be_cut(label: str, count: int, cfg: CloseupsConfig) -> bool:
    """Whether a close-up of this label can be tagged, out of a picture with so many people."""
    return cfg.tags == "tagger" or cfg.several_people == "count" or not cfg.of_label(label).person or count <= 1


def tag(rows: pl.DataFrame, cfg: CloseupsConfig, rules: TagRules, seen: pl.DataFrame | None = None) -> pl.DataFrame:
    """Write all lists of tags anew. `rows` have `label`, the size of the close-up, and READS of its picture; `seen` has
    the lists of what taggers see in it, where these are to be taken."""
    added = _additions(sorted(set(rows["label"])), cfg, rules)
    labels = [cfg.of_label(label) for label in rows["label"]]
    extra = [added[label] for label in rows["label"]]
    held = _inherited(rows, labels, rules) if seen is None else _seen(rows, labels, rules, seen)
    lists = {
        "general": _joined(held.people, held.general, [each["general"] + each["count"] for each in extra]),
        "meta": _joined(held.special, [each["meta"] + each["special"] for each in extra]),
        "character": _joined(held.character, [each["character"] for each in extra]),
        **{
            kind: _joined(rows[f"tags_{kind}"].to_list(), [each[kind] for each in extra])
            for kind in ("copyright", "artist")
        },
    }
    raw = rows.with_columns(pl.Series(f"tags_{kind}", lists[kind], dtype=pl.List(pl.String())) for kind in TAG_CLASSES)
    # The size tags of its picture would be wrong.
    again = rules.cfg.model_copy(update={"rename": {}, "noise": "keep", "size_tags": "picture"})
    tables = TagTables(implications=rules.tables.implications)
    return sort_tags(raw, again, rules.vocabulary, tables).kept


class _Held(NamedTuple):
    """Lists of tags, one of each for every close-up."""

    people: list[list[str]]
    general: list[list[str]]
    special: list[list[str]]
    character: list[list[str]]


def _inherited(rows: pl.DataFrame, labels: list[LabelConfig], rules: TagRules) -> _Held:
    """What close-ups show of their pictures' tags."""
    is_person = np.array([label.person for label in labels], dtype=bool)
    several = (rows.select(people()).to_series() > 1).to_numpy()
    general, special, implied = (
        _shown(rows[f"tags_{kind}"], labels, is_person & several, rules) for kind in ("general", "special", "implied")
    )
    counts = [_counts(*each) for each in zip(rows["tags_count"], labels, several.tolist(), strict=True)]
    characters = [
        names.to_list() if person and not many else []
        for names, person, many in zip(rows["tags_character"], is_person, several, strict=True)
    ]
    return _Held(counts, _joined(general, implied), special, characters)


def _seen(rows: pl.DataFrame, labels: list[LabelConfig], rules: TagRules, seen: pl.DataFrame) -> _Held:
    """What taggers see in close-ups, rewritten as the step `tags` does it."""
    written = _rewritten(rows.select("width", "height").hstack(seen), rules)
    names = zip(
        rows["tags_character"].to_list(),
        written["tags_character"].to_list(),
        labels,
        rows.select(people()).to_series(),
        strict=True,
    )
    characters = [
        [name for name in own if count <= 1 or name in found] if label.person else []
        for own, found, label, count in names
    ]
    counts, general, special = (written[f"tags_{kind}"].to_list() for kind in ("count", "general", "special"))
    return _Held(counts, general, special, characters)


def _rewritten(raw: pl.DataFrame, rules: TagRules) -> pl.DataFrame:
    """Lists of tags in the words and places that the step `tags` gives them, all of them."""
    as_written = rules.cfg.model_copy(update={"overlap": "keep", "implications": (), "size_tags": "site"})
    return sort_tags(raw, as_written, rules.vocabulary, rules.tables).kept


def _additions(labels: list[str], cfg: CloseupsConfig, rules: TagRules) -> dict[str, dict[str, list[str]]]:
    """Label -> kind -> the tags that it adds, rewritten as the step `tags` does it."""
    raw = pl.DataFrame(
        {
            "width": [1] * len(labels),
            "height": [1] * len(labels),
            "tags_general": [list(cfg.of_label(label).add) for label in labels],
            **{f"tags_{kind}": [[]] * len(labels) for kind in TAG_CLASSES if kind != "general"},
        },
        schema={
            "width": pl.Int32(),
            "height": pl.Int32(),
            **{f"tags_{kind}": pl.List(pl.String()) for kind in TAG_CLASSES},
        },
    )
    rows = _rewritten(raw, rules).select(f"tags_{kind}" for kind in KINDS).iter_rows()
    return {label: dict(zip(KINDS, lists, strict=True)) for label, lists in zip(labels, rows, strict=True)}


def _shown(column: pl.Series, labels: list[LabelConfig], anonymous: np.ndarray, rules: TagRules) -> list[list[str]]:
    """Of lists of tags those whose class the close-up shows; of one of several persons nothing that is of a person."""
    lists = CodedLists.of(column)
    class_of = rules.vocabulary.class_of(lists.names.tolist())
    classes = sorted(set(class_of.values()))
    number = {name: place for place, name in enumerate(classes)}
    shows = np.array(
        [
            [name in label.shows and (name in UNSEEN or not hidden) for name in classes]
            for label, hidden in zip(labels, anonymous.tolist(), strict=True)
        ],
        dtype=bool,
    ).reshape(len(labels), len(classes))
    of_tag = lists.property(lambda tag: -1 if tag in SIZE_TAGS else number[class_of[tag]], np.int64)
    of_use = of_tag[lists.codes]
    kept = lists.keep(shows[lists.rows, of_use] & (of_use >= 0)) if len(of_use) else lists
    return kept.to_series().to_list()


def _counts(tags: pl.Series | list[str], label: LabelConfig, several: bool) -> list[str]:
    """How many people a close-up shows: as its picture, or one of them, of whose kind all are."""
    held = list(tags)
    if not label.person:
        return held if PEOPLE in label.shows else []
    if not several:
        return held
    kinds = [kind for kind, counts in COUNTS.items() if any(tag in counts for tag in held)]
    return [f"1{kinds[0]}"] if len(kinds) == 1 else []


def _joined(*lists: list[list[str]]) -> list[list[str]]:
    return [[tag for each in several for tag in each] for several in zip(*lists, strict=True)]
