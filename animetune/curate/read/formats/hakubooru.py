"""HakuBooru's database as parquet, a file a table: posts have their tags in two others.

post.parquet              id, rating (0 to 3), score, ...
tag.parquet               id, name, type (0 to 4; not the numbers of Danbooru)
posttagrelation.parquet   post_id, tag_id
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from animetune.curate.read.formats.readers import parquet_columns
from animetune.errors import DataError

TAG_TYPES = ("general", "artist", "character", "copyright", "meta")
"""What the numbers of `type` mean."""


def tables_beside(path: Path) -> list[Path]:
    """`tag` and `posttagrelation` of a file of posts; none where the posts bring their own tags."""
    if any(name.startswith("tag_string") or name == "tags" for name in parquet_columns(path)):
        return []
    tables = [path.with_name("tag.parquet"), path.with_name("posttagrelation.parquet")]
    for table in tables:
        if not table.is_file():
            raise DataError(f"{path}: has no tags; export {table.name} of the same database into its folder")
    return tables


def with_tags(posts: pl.DataFrame, ids: pl.Series, path: Path) -> pl.DataFrame:
    """Posts with `tag_string_<class>` from the tables beside their file; as they are where there are none."""
    tables = tables_beside(path)
    ids = ids.cast(pl.Int64, strict=False)  # pandas makes floats of them, other tools text
    if not tables or not ids.count():
        return posts
    tag, relation = tables
    uses = (
        pl.scan_parquet(relation, glob=False)
        .select("post_id", "tag_id")
        .filter(pl.col("post_id").is_between(ids.min(), ids.max()))
        .collect()
        .cast(pl.Int64)
        .join(ids.unique().to_frame("post_id"), on="post_id", how="semi")
    )
    names = pl.scan_parquet(tag, glob=False).select(pl.col("id").cast(pl.Int64).alias("tag_id"), "name", "type")
    known = pl.when(pl.col("type").is_between(0, len(TAG_TYPES) - 1)).then("type").otherwise(0)
    columns = [
        pl.col("name").filter(known == number).str.join(" ").alias(f"tag_string_{tag_class}")
        for number, tag_class in enumerate(TAG_TYPES)
    ]
    # In order of the ids of tags: the relation has no order of its own.
    in_order = uses.join(names.collect(), on="tag_id").sort("post_id", "tag_id")
    lists = in_order.group_by("post_id", maintain_order=True).agg(columns)
    of_posts = ids.to_frame("post_id").join(lists, on="post_id", how="left", maintain_order="left")
    return posts.hstack(of_posts.drop("post_id"))
