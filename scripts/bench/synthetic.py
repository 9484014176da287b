"""Data that benchmarks are run on: drawn, but of the sizes and frequencies of a Danbooru-style data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PART_ROWS = 262_144
TAGS = {"tags_general": 22, "tags_character": 2, "tags_copyright": 1, "tags_artist": 1, "tags_count": 2}
"""Mean number of tags in a row."""
CLASSES = {
    "rating": ["g", "s", "q", "e"],
    "quality": ["masterpiece", "best", "high", "normal", "low", None],
    "aesthetic": ["very_aesthetic", "aesthetic", None],
    "year": ["newest", "recent", "mid", "early", "oldest"],
    "content_bucket": ["1girl_with_emotion", "1girl_only", "multiple_girls", "no_human"],
}


def write_table(folder: Path, rows: int, *, pictures: Sequence[Path] = (), side: int = 1024) -> None:
    """A curated table with about 30 tags a row of 50,000 words by Zipf's law, and a long caption for two rows in five.

    Pictures of `side` x `side` take turns. The texts of a part repeat in the next, under other keys: drawing five
    million would take longer than what is measured.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from animetune import tables
    from animetune.manifest import Manifest, record_files, write_manifest
    from animetune.records import TABLE_COLUMNS

    rng = np.random.default_rng(0)
    height = min(rows, PART_ROWS)
    columns: dict[str, Any] = _texts(rng, height)
    for name, values in CLASSES.items():
        columns[name] = pa.array(values, pa.string()).take(pa.array(rng.integers(0, len(values), height)))
    columns["repeats"] = pa.array(rng.choice(np.float32([0.5, 1, 1, 1, 2]), height))
    columns["loss_weight"] = pa.array(np.ones(height, np.float32))
    columns["split"] = pa.array(["train"] * height)
    columns["width"] = columns["height"] = pa.array(np.full(height, side, np.int32))
    if pictures:
        columns["image"] = pa.array([str(pictures[row % len(pictures)]) for row in range(height)])

    types = {"str": pa.string(), "i64": pa.int64(), "i32": pa.int32(), "f32": pa.float32(), "bool": pa.bool_()}
    types |= {"datetime": pa.timestamp("us", "UTC"), "list[str]": pa.list_(pa.string())}
    names = [column.name for column in TABLE_COLUMNS]
    step = folder / "steps" / "01-synthetic"
    step.mkdir(parents=True)
    for part, start in enumerate(range(0, rows, PART_ROWS)):
        columns["key"] = pa.array([f"danbooru/{number}" for number in range(start, start + height)])
        arrays = [columns.get(column.name, pa.nulls(height, types[column.dtype])) for column in TABLE_COLUMNS]
        table = pa.Table.from_arrays(arrays, names).slice(0, rows - start)
        path = step / f"kept-{part:05d}.parquet"
        pq.write_table(table, path, row_group_size=tables.ROW_GROUP_ROWS, compression="zstd", store_schema=False)
    manifest = Manifest(
        kind=tables.TABLE_KIND,
        format_version=tables.TABLE_FORMAT,
        seen=rows,
        kept=rows,
        facts={"pictures": {"background": [255, 255, 255], "max_pixels": 64_000_000}},
        files=record_files(folder),
    )
    write_manifest(folder, manifest)


def write_bare_root(folder: Path, rows: int) -> int:
    """Of a shard root, what the labels stage reads: every picture at a random place, an eighth also in a second tier.

    Returns its samples.
    """
    import polars as pl

    from animetune import shardset, tables
    from animetune.manifest import Manifest, record_files, write_manifest

    rng = np.random.default_rng(1)
    pictures = np.concatenate([np.arange(rows), rng.permutation(rows)[: rows // 8]])
    tiers = np.where(np.arange(len(pictures)) < rows, "1024", "1536")
    order = rng.permutation(len(pictures))
    samples = pl.DataFrame({"number": pictures[order], "tier": tiers[order]}).select(
        row=pl.int_range(pl.len()),
        key="danbooru/" + pl.col("number").cast(pl.String),
        split=pl.lit("train"),
        tier="tier",
    )
    folder.mkdir()
    tables.write_parquet(samples, folder / shardset.SAMPLES_NAME)
    tables.write_parquet(pl.DataFrame(schema=tables.DROPPED_SCHEMA), folder / "dropped.parquet")
    tables.write_parquet(pl.DataFrame(schema=tables.QUARANTINED_SCHEMA), folder / "quarantined.parquet")
    files = record_files(folder)
    write_manifest(folder, Manifest(kind=shardset.ROOT_KIND, format_version=shardset.ROOT_FORMAT, files=files))
    return len(pictures)


def write_pictures(folder: Path, count: int, side: int = 1024) -> list[Path]:
    """JPEG files that weigh what anime pictures do: flat shapes with hard lines, soft shading and a little grain."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        paths.append(folder / f"{number}.jpg")
        draw_picture(rng, side).save(paths[-1], quality=90)
    return paths


def draw_picture(rng: np.random.Generator, side: int) -> Any:
    """The picture of `write_pictures`, `side` x `side`."""
    from PIL import Image, ImageDraw, ImageFilter

    image = Image.new("RGB", (side, side), tuple(rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        corners = [tuple(corner) for corner in rng.integers(0, side, (int(rng.integers(3, 7)), 2))]
        draw.polygon(corners, fill=tuple(rng.integers(0, 256, 3)), outline=(20, 20, 30), width=3)
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    grain = rng.normal(0, 3, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def _texts(rng: np.random.Generator, rows: int) -> dict[str, Any]:
    """Tag lists and captions as Arrow arrays."""
    import pyarrow as pa

    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["_".join(_word(rng, letters) for _ in range(rng.integers(1, 4))) for _ in range(50_000)])
    tags = pa.array(words)
    columns = {}
    for name, mean in TAGS.items():
        ends = np.cumsum(rng.poisson(mean, rows), dtype=np.int32)
        drawn = pa.array(np.minimum(rng.zipf(1.2, ends[-1]) - 1, len(words) - 1))
        columns[name] = pa.ListArray.from_arrays(np.append(np.int32(0), ends), tags.take(drawn))
    ends = np.cumsum(rng.random(rows) < 0.4, dtype=np.int32)
    captions = [" ".join(words[each]).replace("_", " ") for each in rng.integers(0, 5_000, (int(ends[-1]), 30))]
    columns["captions_long"] = pa.ListArray.from_arrays(np.append(np.int32(0), ends), pa.array(captions))
    return columns


def _word(rng: np.random.Generator, letters: np.ndarray) -> str:
    return "".join(rng.choice(letters, rng.integers(3, 8)))
