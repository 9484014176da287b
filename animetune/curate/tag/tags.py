"""The step `tags`: one way of writing tags, each in the list it belongs to, in the order that prompts want.

For every distinct tag, once: lower case and `_`; aliases; the category table; renames; noise out; people counts and
special tags into lists of their own. Then for every picture: each tag once; tags out that say no more than another
(`overlap`); the general tags in order (`orders`). What `overlap` took out is kept in `tags_implied`, for who asks what
a picture shows and not how it is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists
from animetune.curate.config.tags import TagsConfig
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.steps import Outcome
from animetune.curate.tag import orders
from animetune.curate.tag.overlap import Rules, redundant
from animetune.curate.tag.people import least_people
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.tag.tag_names import normal_tag
from animetune.curate.tag.tag_patterns import Partition
from animetune.curate.tag.tag_tables import TagTables

SIZE_TAGS = ("lowres", "highres", "absurdres", "incredibly_absurdres")
KINDS = ("count", "special", *TAG_CLASSES)
"""The lists that come out, each in the column `tags_<kind>`."""
CLASSIFIED_KINDS = ("general", "count", "special")
"""Kinds whose tags have a semantic class."""
COUNTED_KINDS = ("general", "character", "copyright", "artist")
"""Kinds of the table `tag_uses`, which `homonyms` looks at."""

READS = ("width", "height", *(f"tags_{kind}" for kind in TAG_CLASSES))
WRITES = (*(f"tags_{kind}" for kind in KINDS), "tags_implied", "n_people")


def check(cfg: TagsConfig, vocabulary: Vocabulary) -> None:
    """Raise ConfigError for an order that names no class, DataError for rules of overlap that are none."""
    orders.ranks(cfg.order, vocabulary.classes)
    Rules.parse(vocabulary.overlap)


def sort_tags(rows: pl.DataFrame, cfg: TagsConfig, vocabulary: Vocabulary, tables: TagTables | None = None) -> Outcome:
    """Write the lists of tags anew; add `tags_count`, `tags_special`, `tags_implied` and `n_people`.

    Facts: tags kept in each list; what became of the others, by reason; how many were rewritten, by rule; general tags
    by semantic class. The table `tag_uses` has kind, tag and count. Raises ConfigError for an unknown order.
    """
    sorter = _Sorter(cfg, vocabulary, tables or TagTables())
    rank = orders.ranks(cfg.order, vocabulary.classes)
    lists = sorter.lists(rows)
    people = least_people(lists["count"])
    names = dict.fromkeys(name for kind in CLASSIFIED_KINDS for name in lists[kind].names)
    classes = vocabulary.class_of(names)

    implied = [_nothing(rows.height).to_series()]
    if cfg.overlap == "drop":
        several = (people.fill_null(2) > 1).to_numpy()
        for kind, rules in _rules(vocabulary, sorter.tables).items():
            said = redundant(lists[kind], rules, classes if kind in CLASSIFIED_KINDS else {}, several)
            if said.any():
                implied.append(lists[kind].keep(said).to_series())
                sorter.note(sorter.removed, "overlap", int(said.sum()))
                lists[kind] = lists[kind].keep(~said)
    general = lists["general"]
    if cfg.order != "site":
        general = lists["general"] = orders.arranged(
            general, general.property(lambda tag: rank[classes[tag]], np.int64)
        )

    written = {f"tags_{kind}": lists[kind].to_series() for kind in KINDS}
    facts = {
        "tags": {name: int(column.list.len().sum()) for name, column in written.items()},
        "tags_removed": dict(sorted(sorter.removed.items())),
        "tags_rewritten": dict(sorted(sorter.rewritten.items())),
        "tag_classes": _by_class(general, classes),
    }
    kept = rows.with_columns(**written, n_people=people).with_columns(
        tags_implied=implied[-1] if len(implied) <= 2 else pl.concat_list(implied)
    )
    return Outcome(kept=kept, facts=facts, tables={"tag_uses": _uses(lists)})


@dataclass
class _Sorter:
    """Where each tag of each list goes, decided once for each distinct tag."""

    cfg: TagsConfig
    vocabulary: Vocabulary
    tables: TagTables
    removed: dict[str, int] = field(default_factory=dict)
    """Reason -> tags that are in no list any more."""
    rewritten: dict[str, int] = field(default_factory=dict)
    """Rule -> tags that have another name or list."""

    def __post_init__(self) -> None:
        self._count = frozenset(self.vocabulary.tags("count"))
        self._special = frozenset(self.vocabulary.tags("special") if self.cfg.special == "take" else ())
        self._noise = Partition({"noise": self.vocabulary.tags("noise")})

    def lists(self, rows: pl.DataFrame) -> dict[str, CodedLists]:
        """Kind -> the lists of it, each tag once."""
        columns = [(kind, rows[f"tags_{kind}"]) for kind in TAG_CLASSES]
        if self.cfg.size_tags == "picture":
            columns.append(("size", rows.select(size=size_tags())["size"]))
        number: dict[str, int] = {}
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {kind: [] for kind in KINDS}
        for kind, column in columns:
            coded = CodedLists.of(column)
            uses = np.bincount(coded.codes, minlength=len(coded.names)).tolist()
            goes = [self.decide(kind, tag, count) for tag, count in zip(coded.names, uses, strict=True)]
            code = np.array([number.setdefault(tag, len(number)) for _, tag in goes], dtype=np.int32)[coded.codes]
            to = np.array([KINDS.index(kind) if kind else -1 for kind, _ in goes], dtype=np.int8)[coded.codes]
            for index, target in enumerate(KINDS):
                if (here := to == index).any():
                    found[target].append((coded.rows[here], code[here]))
        names = np.array(list(number), dtype=object)
        return {kind: self._gathered(found[kind], names, rows.height) for kind in KINDS}

    def decide(self, kind: str, tag: str, uses: int) -> tuple[str, str]:
        """(the list where a tag of a list goes, empty for none; its name); counts what happens to its `uses`."""
        name = normal_tag(tag)
        if kind == "size":
            self.note(self.rewritten, "size", uses)
            kind = "meta"
        elif self.cfg.size_tags == "picture" and name in SIZE_TAGS:
            return self._refuse("size", uses)
        if not name:
            return self._refuse("empty", uses)
        if name in self.tables.aliases:
            self.note(self.rewritten, "alias", uses)
            name = self.tables.aliases[name]
        if kind == "general" and (category := self.tables.categories.get(name, kind)) != kind:
            self.note(self.rewritten, "category", uses)
            kind = category
        if new := self.cfg.rename.get(f"{kind}:{name}") or self.cfg.rename.get(name):
            self.note(self.rewritten, "rename", uses)
            name = new
        if kind in ("general", "meta"):
            if self.cfg.noise == "drop" and self._noise.part_of(name):
                return self._refuse("noise", uses)
            if name in self._special:
                return "special", name
            if kind == "general" and name in self._count:
                return "count", name
        return kind, name

    def _gathered(self, pieces: list[tuple[np.ndarray, np.ndarray]], names: np.ndarray, rows: int) -> CodedLists:
        """Lists of the (row, code) uses of several columns, in their order, each tag once."""
        if not pieces:
            return _nothing(rows)
        row, code = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        if len(pieces) > 1:
            order = np.argsort(row, kind="stable")
            row, code = row[order], code[order]
        key = row * len(names) + code
        ascending = np.sort(key)
        if (ascending[1:] == ascending[:-1]).any():  # rare, and finding which takes three times as long
            first = np.sort(np.unique(key, return_index=True)[1])
            self.note(self.removed, "twice", len(key) - len(first))
            row, code = row[first], code[first]
        is_used = np.bincount(code, minlength=len(names)) > 0
        code = (np.cumsum(is_used) - 1)[code]
        offsets = np.concatenate([[0], np.bincount(row, minlength=rows).cumsum()])
        return CodedLists(offsets, code.astype(np.int32), names[is_used])

    def _refuse(self, reason: str, uses: int) -> tuple[str, str]:
        self.note(self.removed, reason, uses)
        return "", ""

    @staticmethod
    def note(counts: dict[str, int], what: str, uses: int) -> None:
        counts[what] = counts.get(what, 0) + uses


def size_tags() -> pl.Expr:
    """The size tags of the decoded picture, by Danbooru's rules (app/models/post.rb)."""
    width, height = pl.col("width"), pl.col("height")
    rules = {
        "lowres": (width <= 500) & (height <= 500),
        "highres": (width >= 1600) | (height >= 1200),
        "absurdres": (width >= 3200) | (height >= 2400),
        "incredibly_absurdres": (width >= 10000) | (height >= 10000),
    }
    return pl.concat_list(pl.when(holds).then(pl.lit(tag)) for tag, holds in rules.items()).list.drop_nulls()


def _nothing(rows: int) -> CodedLists:
    """So many empty lists."""
    return CodedLists(np.zeros(rows + 1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=object))


def _rules(vocabulary: Vocabulary, tables: TagTables) -> dict[str, Rules]:
    """Kind -> what implies what among its tags, for the kinds that have such rules."""
    own = dict.fromkeys(CLASSIFIED_KINDS, Rules.parse(vocabulary.overlap))
    kinds = KINDS if tables.implications else CLASSIFIED_KINDS
    return {kind: own.get(kind, Rules()).with_implications(tables.implications) for kind in kinds}


def _uses(lists: Mapping[str, CodedLists]) -> pl.DataFrame:
    """kind, tag, count: how many pictures have each tag."""
    frames = []
    for kind in COUNTED_KINDS:
        count = np.bincount(lists[kind].codes, minlength=len(lists[kind].names))
        frame = pl.DataFrame(
            {"tag": lists[kind].names.tolist(), "count": count}, schema={"tag": pl.String(), "count": pl.Int64()}
        )
        frames.append(frame.filter(pl.col("count") > 0).select(pl.lit(kind).alias("kind"), "tag", "count"))
    return pl.concat(frames)


def _by_class(general: CodedLists, classes: Mapping[str, str]) -> dict[str, int]:
    """Semantic class -> uses, in order of name."""
    count = np.bincount(general.codes, minlength=len(general.names)).tolist()
    total: dict[str, int] = {}
    for name, uses in zip(general.names, count, strict=True):
        if uses:
            total[classes[name]] = total.get(classes[name], 0) + uses
    return dict(sorted(total.items()))
