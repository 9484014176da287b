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


def with_tags(posts: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Posts with `tag_string_<class>` from the tables beside their file; as they are where there are none."""
    tables = tables_beside(path)
    has_ids = "id" in posts.columns and posts["id"].dtype.is_integer() and posts["id"].count() > 0
    if not tables or not has_ids:
        return posts
    tag, relation = tables
    ids = posts["id"]
    uses = (
        pl.scan_parquet(relation, glob=False)
        .select("post_id", "tag_id")
        .filter(pl.col("post_id").is_between(ids.min(), ids.max()))
        .collect()
        .join(posts.select(post_id="id").unique(), on="post_id", how="semi")
    )
    names = pl.scan_parquet(tag, glob=False).select(tag_id="id", name="name", type="type").collect()
    known = pl.when(pl.col("type").is_between(0, len(TAG_TYPES) - 1)).then("type").otherwise(0)
    columns = [
        pl.col("name").filter(known == number).str.join(" ").alias(f"tag_string_{tag_class}")
        for number, tag_class in enumerate(TAG_TYPES)
    ]
    # In order of the ids of tags: the relation has no order of its own.
    in_order = uses.join(names, on="tag_id").sort("post_id", "tag_id")
    lists = in_order.group_by("post_id", maintain_order=True).agg(columns)
    return posts.join(lists, left_on="id", right_on="post_id", how="left", maintain_order="left")
