"""The step `tags`: one way of writing tags, and people-count and special tags taken out into lists of their own."""

from __future__ import annotations

import polars as pl

from animetune.curate.config.tags import TagsConfig
from animetune.curate.posts import TAG_CLASSES
from animetune.curate.steps import Outcome
from animetune.curate.tag_lists import Vocabulary

SIZE_TAGS = ("lowres", "highres", "absurdres", "incredibly_absurdres")


def sort_tags(rows: pl.DataFrame, cfg: TagsConfig, vocabulary: Vocabulary) -> Outcome:
    """Normalise every list of tags; add `tags_count` and `tags_special`, whose tags leave the lists they came from."""
    rows = rows.with_columns(normal(f"tags_{name}") for name in TAG_CLASSES)
    if cfg.size_tags == "picture":
        rows = rows.with_columns(tags_meta=pl.concat_list(without("tags_meta", SIZE_TAGS), size_tags()))
    count, special = vocabulary.tags("count"), vocabulary.tags("special")
    both = pl.concat_list("tags_general", "tags_meta")
    rows = rows.with_columns(
        tags_count=only("tags_general", count),
        tags_special=both.list.eval(pl.element().filter(pl.element().is_in(special))).list.unique(maintain_order=True),
        tags_general=without("tags_general", [*count, *special]),
        tags_meta=without("tags_meta", special),
    )
    lists = [f"tags_{name}" for name in ("count", "special", *TAG_CLASSES)]
    facts = {"tags": {name: int(rows[name].list.len().sum()) for name in lists}}
    return Outcome(kept=rows, facts=facts)


def normal(column: str) -> pl.Expr:
    """Lower case, `_` between words, each tag once, in order."""
    return pl.col(column).list.eval(pl.element().str.to_lowercase()).list.unique(maintain_order=True)


def only(column: str, tags: list[str]) -> pl.Expr:
    """The tags of the list that are among `tags`, in their order."""
    return pl.col(column).list.eval(pl.element().filter(pl.element().is_in(tags)))


def without(column: str, tags: list[str] | tuple[str, ...]) -> pl.Expr:
    """The tags of the list that are not among `tags`, in their order."""
    return pl.col(column).list.eval(pl.element().filter(~pl.element().is_in(list(tags))))


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
