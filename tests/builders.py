"""Small things that tests are built from: posts, pictures, shard roots, tiny models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Curated tables, shard roots, label sets.


def picture(seed: int, width: int, height: int):
    """An RGB picture that differs from every other seed's: two colours, split at a random place."""
    from PIL import Image

    from animetune.seeding import Purpose, rng_for

    rng = rng_for(seed, Purpose.DRAW, width, height)
    image = Image.new("RGB", (width, height), tuple(int(255 * value) for value in rng.random(3)))
    image.paste(tuple(int(255 * value) for value in rng.random(3)), (0, 0, 1 + int(width * rng.random()), height // 2))
    return image


def tiny_table(folder: Path, sources: Sequence[tuple[int, int]], **columns: Any) -> Path:
    """A curated table of PNG pictures with the given (width, height); `columns` replace the default values.

    A column is one value for all rows, or a list with one each.
    """
    import polars as pl

    from animetune import fsio, tables
    from animetune.manifest import Manifest, record_files, write_manifest
    from animetune.records import TABLE_COLUMNS

    images = folder.parent / f"{folder.name}-images"
    images.mkdir(parents=True, exist_ok=True)
    for row, (width, height) in enumerate(sources):
        picture(row, width, height).save(images / f"{row}.png")
    rows = range(len(sources))
    values: dict[str, Any] = {
        "key": [f"tiny/{row}" for row in rows],
        "source": "tiny",
        "id": list(rows),
        "image": [str(images / f"{row}.png") for row in rows],
        "width": [width for width, _ in sources],
        "height": [height for _, height in sources],
        "rating": "g",
        "quality": "best",
        "content_bucket": "1girl_only",
        "tags_general": [[f"tag_{row}", "smile", "long_hair"] for row in rows],
        "tags_character": [[f"someone_{row}"] for row in rows],
        "captions_long": [[f"A long caption of picture {row}."] for row in rows],
        "repeats": 1.0,
        "loss_weight": 1.0,
        "split": "train",
        **columns,
    }
    schema = tables.schema()
    for column in TABLE_COLUMNS:
        default = [] if column.dtype == "list[str]" else None
        value = values.get(column.name, default)
        one_each = isinstance(value, list) and len(value) == len(sources) and value != default
        values[column.name] = value if one_each else [value] * len(sources)
    frame = pl.DataFrame(values, schema=schema)
    with fsio.publish_dir(folder) as temporary:
        (temporary / "steps" / "01-tiny").mkdir(parents=True)
        tables.write_parts(frame, temporary / "steps" / "01-tiny", "kept")
        manifest = Manifest(
            kind=tables.TABLE_KIND,
            format_version=tables.TABLE_FORMAT,
            seen=frame.height,
            kept=frame.height,
            files=record_files(temporary),
        )
        write_manifest(temporary, manifest)
    return folder


TINY_SIZES = {"area": 64 * 64, "step": 8, "min_side": 48, "max_side": 96, "max_ratio": 2.0}
"""Five sizes of about 64x64 pixels."""

TINY_SOURCES = ((70, 70), (100, 70), (70, 100), (64, 64), (90, 60))
"""Of sizes 64x64, 72x56, 56x72, 64x64, 80x48."""


def tiny_shards(
    folder: Path,
    sources: Sequence[tuple[int, int]] | None = None,
    *,
    store: Mapping[str, Any] | None = None,
    **columns: Any,
) -> tuple[Path, Path]:
    """A shard root and its label set, by the real stages; 40 pictures of four sizes, the last 5 of them validation."""
    from animetune.shards import labels, run
    from animetune.shards.config import LabelsConfig, ShardConfig

    if sources is None:
        sources = TINY_SOURCES * 8
        columns.setdefault("split", ["train"] * 35 + ["val"] * 5)
    table = tiny_table(folder / "table", sources, **columns)
    shard = {
        "stage": "shard",
        "table": table,
        "out": folder / "shards",
        "store": store or {"name": "pixels", "format": "png"},
        "sizes": TINY_SIZES,
        "shard_bytes": 40_000,
        "executor": {"workers": 0},
    }
    run.run(ShardConfig.model_validate(shard))
    labels.run(LabelsConfig(stage="labels", table=table, shards=folder / "shards", out=folder / "labels"))
    return folder / "shards", folder / "labels"
