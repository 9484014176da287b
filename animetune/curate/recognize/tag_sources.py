"""The step `tag_sources`: whose tags a post has, its own or those that a tagger saw; likewise rating and score.

A tagger's tags come behind the post's own, the likeliest first, without those that the post has in any of its lists.
What tags mean (aliases, implications, categories) is looked at later, by `tags`, for both alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.coded import CodedLists
from animetune.curate.config.models import ModelsConfig, TagSourceRules, TagSourcesConfig
from animetune.curate.parts import ROW
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.recognize.likely_tags import RATINGS_BY_NAME, KnownTags, LikelyTags, likeliest_ratings
from animetune.curate.recognize.raw_answers import column
from animetune.curate.steps import Outcome, added
from animetune.curate.tag.tag_names import normal_tag
from animetune.errors import ConfigError, DataError
from animetune.vision.taggers import RATING, TaggerConfig, TagList

_LISTS = {kind: f"tags_{kind}" for kind in TAG_CLASSES}


def check(models: ModelsConfig, cfg: TagSourcesConfig, sources: Sequence[str]) -> None:
    """Raise ConfigError for names that are not there, and for thresholds that answers do not reach down to."""
    if unknown := sorted(set(cfg.sources) - set(sources)):
        there = ", ".join(sources)
        raise ConfigError(f"tag_sources: sources: {unknown[0]}: no source is called that; there are {there}")
    scorers = [scorer.name for scorer in models.scorers]
    if cfg.scorer is not None and cfg.scorer not in scorers:
        there = ", ".join(scorers) or "none"
        raise ConfigError(f"tag_sources: scorer: {cfg.scorer}: `models` has no scorer of this name; there are {there}")
    for rules in (cfg, *cfg.sources.values()):
        given = {**rules.thresholds.model_dump(), **{f"tags: {tag}": least for tag, least in rules.tags.items()}}
        for tagger in models.taggers:
            for name, least in given.items():
                if least < tagger.floor:
                    raise ConfigError(
                        f"tag_sources: {name}: {least} is below the floor {tagger.floor} of {tagger.name}, which keeps "
                        "nothing less likely; raise it, or lower the floor and have every picture looked at again"
                    )


def tag_lists(taggers: Sequence[TaggerConfig]) -> dict[str, TagList]:
    """The list of each tagger, by its name. Raises DataError for ratings that are none of Danbooru's."""
    lists = {tagger.name: TagList.read(tagger.tags.locate()) for tagger in taggers}
    for name, tags in lists.items():
        ratings = {tag for tag, kind in zip(tags.names, tags.kinds, strict=True) if kind == RATING}
        if other := sorted(ratings - set(RATINGS_BY_NAME)):
            raise DataError(f"{name}: its list has the rating {other[0]}; known are {', '.join(RATINGS_BY_NAME)}")
    return lists


def check_kinds(cfg: TagSourcesConfig, lists: Mapping[str, TagList]) -> None:
    """Raise ConfigError for a kind of tags that is to be a tagger's, and no tagger knows: none would be left."""
    known = {kind for tags in lists.values() for kind in tags.kinds}
    for rules in (cfg, *cfg.sources.values()):
        for kind in TAG_CLASSES:
            if lists and getattr(rules, kind) == "tagger" and kind not in known:
                raise ConfigError(
                    f"tag_sources: {kind}: tagger: no tagger in `models` knows {kind} tags; take original"
                )


def reads(models: ModelsConfig, cfg: TagSourcesConfig) -> tuple[str, ...]:
    """The columns, beside `key`, that the step reads."""
    tagged = [column(tagger.name, what) for tagger in models.taggers for what in ("tags", "likely")]
    scored = [column(name, "score") for name in _scorer(models, cfg)]
    return ("source", "rating", "aesthetic_score", *_LISTS.values(), *tagged, *scored)


def writes(models: ModelsConfig, cfg: TagSourcesConfig) -> tuple[str, ...]:
    """The columns that the step writes anew: those that some setting lets models change."""
    all_rules = (cfg, *cfg.sources.values())
    changed = [_LISTS[kind] for kind in TAG_CLASSES if any(getattr(rules, kind) != "original" for rules in all_rules)]
    rating = ["rating"] * any(rules.rating != "never" for rules in all_rules)
    score = ["aesthetic_score"] * any(rules.aesthetic_score != "never" for rules in all_rules)
    return (*(changed + rating if models.taggers else ()), *(score if models.scorers else ()))


def choose(rows: pl.DataFrame, models: ModelsConfig, cfg: TagSourcesConfig, lists: Mapping[str, TagList]) -> Outcome:
    """Write the columns of `writes`. Facts: tags added and removed, by kind; ratings and scores taken of models."""
    known = KnownTags.of(lists)
    pieces, facts = [], []
    for source in rows["source"].unique(maintain_order=True):
        own = rows.filter(pl.col("source") == source)
        rules = cfg.of_source(source)
        columns: dict[str, pl.Series] = {}
        noted: dict[str, Any] = {}
        if lists:
            found = LikelyTags.of(own, known, rules, cfg.combine)
            columns, tags_noted = chosen_tags(own, rules, known, found)
            noted.update(tags_noted)
            ratings = pl.Series("rating", likeliest_ratings(found, known, own.height), pl.String())
            columns["rating"], noted["ratings"] = taken(own["rating"], ratings, rules.rating)
        for scorer in _scorer(models, cfg):
            stated = own["aesthetic_score"].fill_nan(None)
            score = own[column(scorer, "score")]
            columns["aesthetic_score"], noted["scores"] = taken(stated, score, rules.aesthetic_score)
        pieces.append(own.select(ROW).with_columns(**columns))
        facts.append(noted)
    names = writes(models, cfg)
    kept = pl.concat(pieces).select(ROW, *names).sort(ROW) if pieces else rows.select(ROW, *names)
    return Outcome(kept=kept, facts={"tag_sources": added(facts)})


def chosen_tags(
    rows: pl.DataFrame, rules: TagSourceRules, known: KnownTags, found: LikelyTags
) -> tuple[dict[str, pl.Series], dict[str, dict[str, int]]]:
    """The lists of tags of rows, by column, and how many tags were added and removed, by kind."""
    own = {kind: CodedLists.of(rows[name]) for kind, name in _LISTS.items()}
    kept = {kind: tags.keep(np.full(len(tags.codes), getattr(rules, kind) != "tagger")) for kind, tags in own.items()}
    found = found.keep(~_said_already(kept, known, found))
    columns = {}
    facts: dict[str, dict[str, int]] = {"tags_added": {}, "tags_removed": {}}
    for kind, tags in kept.items():
        is_taken = (known.kinds == kind)[found.tags] & _open_rows(getattr(rules, kind), tags)[found.rows]
        more = found.keep(is_taken)
        columns[_LISTS[kind]] = _appended(tags, more, known)
        facts["tags_added"][kind] = len(more.tags)
        facts["tags_removed"][kind] = len(own[kind].codes) - len(tags.codes)
    return columns, facts


def taken(stated: pl.Series, seen: pl.Series, when: str) -> tuple[pl.Series, int]:
    """What posts state or models saw, and how often the latter is taken; what neither knows is null."""
    if when == "never":
        return stated, 0
    known = seen.is_not_null() & (stated.is_null() | (when == "always"))
    return seen.zip_with(known, stated).alias(stated.name), int(known.sum())


def _open_rows(policy: str, tags: CodedLists) -> np.ndarray:
    """bool (rows,): where a tagger's tags are taken."""
    if policy == "written_first":
        return np.diff(tags.offsets) == 0
    return np.full(len(tags), policy != "original")


def _said_already(kept: Mapping[str, CodedLists], known: KnownTags, found: LikelyTags) -> np.ndarray:
    """bool (uses,): whether the post has that tag itself, in any list."""
    name, place = np.unique(known.normal.astype(str), return_inverse=True)
    number = {text: at for at, text in enumerate(name.tolist())}
    said = []
    for tags in kept.values():
        own = tags.property(lambda tag: number.get(normal_tag(tag), -1), np.int64)[tags.codes]
        said.append((tags.rows * len(name) + own)[own >= 0])
    return np.isin(found.rows * len(name) + place[found.tags], np.concatenate(said))


def _appended(tags: CodedLists, more: LikelyTags, known: KnownTags) -> pl.Series:
    """The lists with further uses behind their own."""
    row = np.concatenate([tags.rows, more.rows])
    code = np.concatenate([tags.codes, len(tags.names) + more.tags]).astype(np.int32)
    offsets = np.concatenate([[0], np.bincount(row, minlength=len(tags)).cumsum()])
    order = np.argsort(row, kind="stable")
    return CodedLists(offsets, code[order], np.concatenate([tags.names, known.names])).to_series()


def _scorer(models: ModelsConfig, cfg: TagSourcesConfig) -> list[str]:
    """The name of the scorer whose score is taken; none for none."""
    return [cfg.scorer or scorer.name for scorer in models.scorers[:1]]
