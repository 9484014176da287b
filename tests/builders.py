"""Small things that tests are built from: posts, pictures, shard roots, tiny models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
            facts={"pictures": {"background": [255, 255, 255], "max_pixels": 64_000_000}},
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
    settings: Mapping[str, Any] | None = None,
    **columns: Any,
) -> tuple[Path, Path]:
    """A shard root and its label set, by the real stages; 40 pictures of four sizes, the last 5 of them validation.

    `settings` are of the shard stage, in place of the tiny ones; `columns` of the table.
    """
    from animetune.shards import labels, run
    from animetune.shards.config import LabelsConfig

    if sources is None:
        sources = TINY_SOURCES * 8
        columns.setdefault("split", ["train"] * 35 + ["val"] * 5)
    table = tiny_table(folder / "table", sources, **columns)
    store = store or {"name": "pixels", "format": "png"}
    run.run(shard_config(table, folder / "shards", **{"store": store, **(settings or {})}))
    labels.run(LabelsConfig(stage="labels", table=table, shards=folder / "shards", out=folder / "labels"))
    return folder / "shards", folder / "labels"


def shard_config(table: Path, out: Path, **changes: Any) -> Any:
    """The configuration of `shard` that tests start from: PNG, tiny sizes, small parts, in this process."""
    from animetune.shards.config import ShardConfig

    settings = {
        "stage": "shard",
        "table": table,
        "out": out,
        "store": {"name": "pixels", "format": "png"},
        "sizes": TINY_SIZES,
        "shard_bytes": 40_000,
        "executor": {"workers": 0},
    }
    return ShardConfig.model_validate(settings | changes)


def stored_samples(root: Any) -> Iterator[dict[str, Any]]:
    """Every stored sample of a `ShardRoot` in row order, read by streaming's own reader."""
    from streaming.base.format import reader_from_json

    for group in root.groups:
        for shard in root.index(group):
            yield from reader_from_json(str(root.folder / group.folder), None, shard)


def token_ids(*prompts: str, chunks: int = 1) -> Any:
    """int64 tensor (b, 2, 77 * chunks) of the prompts."""
    import torch

    from animetune.tokens import tokenize

    return torch.stack([torch.from_numpy(tokenize(prompt, chunks=chunks)) for prompt in prompts])


# Posts, as curation reads them.


def danbooru_post(post_id: int, **fields: Any) -> dict[str, Any]:
    """A post object with the keys of Danbooru's API; `fields` replace or add, and those that are `...` are left out."""
    tags = {
        "general": fields.pop("general", "1girl solo long_hair blue_eyes smile"),
        "character": fields.pop("character", ""),
        "copyright": fields.pop("copyright", "original"),
        "artist": fields.pop("artist", "somebody"),
        "meta": fields.pop("meta", "highres"),
    }
    post = {
        "id": post_id,
        "created_at": "2020-06-01T12:00:00.000-04:00",
        "rating": "g",
        "score": 10,
        "fav_count": 12,
        "image_width": 64,
        "image_height": 48,
        "file_ext": "png",
        "md5": f"{post_id:032x}",
        "parent_id": None,
        "is_deleted": False,
        "is_banned": False,
        "is_pending": False,
        "tag_string": " ".join(text for text in tags.values() if text),
        **{f"tag_string_{name}": text for name, text in tags.items()},
        **fields,
    }
    return {name: value for name, value in post.items() if value is not ...}


CONTENT_TAGS = {
    "1girl_with_emotion": "1girl solo long_hair blue_eyes smile",
    "1girl_only": "1girl solo short_hair dress standing",
    "1boy_with_emotion": "1boy solo male_focus short_hair angry",
    "1boy_only": "1boy solo male_focus glasses",
    "multiple_girls": "2girls multiple_girls yuri smile",
    "multiple_boys": "2boys multiple_boys male_focus",
    "animal": "no_humans animal cat grass",
    "object": "no_humans still_life cup simple_background",
    "no_human": "no_humans scenery outdoors sky",
}
"""General tags that put a post in each content bucket."""


def write_posts(folder: Path, count: int, **fields: Any) -> Path:
    """`count` posts with pictures and captions in `folder`; the content buckets take turns.

    Writes posts.jsonl, captions.jsonl and images/<id>.png. `fields` are those of `danbooru_post`, for all posts.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    general = list(CONTENT_TAGS.values())
    posts = []
    for post_id in range(1, count + 1):
        width, height = ((64, 48), (48, 64), (56, 56))[post_id % 3]
        picture(post_id, width, height).save(images / f"{post_id}.png")
        own = {
            "general": general[post_id % len(general)],
            "rating": "gsqe"[post_id % 4],
            "score": post_id * 7 % 50,
            "image_width": width,
            "image_height": height,
        }
        posts.append(danbooru_post(post_id, **{**own, **fields}))
    captions = [{"id": post["id"], "long": [f"A picture with the number {post['id']}."]} for post in posts]
    write_lines(folder / "posts.jsonl", posts)
    write_lines(folder / "captions.jsonl", captions)
    return folder


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    """JSON lines; bytes are written as they are."""
    import json

    lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in records]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def curate_config(folder: Path, **settings: Any) -> Any:
    """The configuration of `curate` over what `write_posts` wrote to `folder`, in this process."""
    from animetune.curate.config import CurateConfig

    source = {
        "name": "tiny",
        "posts": [str(folder / "posts.jsonl")],
        "images": [{"root": str(folder / "images"), "path": "{id}.png"}],
        "captions": [str(folder / "captions.jsonl")],
    }
    own = {"stage": "curate", "out": folder / "table", "sources": [source], "executor": {"workers": 0}}
    return CurateConfig.model_validate({**own, **settings})


class Ingested(NamedTuple):
    """What ingest made of some sources."""

    kept: Any
    """pl.DataFrame of all parts."""
    quarantined: Any
    """pl.DataFrame: key, code, detail."""
    facts: dict[str, Any]
    seen: int


def ingested(folder: Path, *sources: Any, workers: int = 0) -> Ingested:
    """Ingest sources into `folder`, and check that every record has one outcome and every row its number."""
    import polars as pl

    from animetune.curate.read import ingest
    from animetune.curate.steps import Workplace
    from animetune.executor import LocalExecutor

    out = folder / "ingested"
    out.mkdir(parents=True)
    at = Workplace(None, folder / "chunks", LocalExecutor(workers), lambda done, total: None, folder / "answers")
    written = ingest.ingest(ingest.find_files(sources), at, out, ingest.find_tars(sources))
    parts = sorted(out.iterdir())
    assert sorted(written.hashed) == [part.name for part in parts]
    kept = pl.concat([pl.read_parquet(part, glob=False) for part in parts])
    assert kept["row"].to_list() == list(range(kept.height))
    assert kept["key"].is_unique().all()
    assert kept.height == written.kept
    assert written.seen == kept.height + written.quarantined.height
    return Ingested(kept, written.quarantined, dict(written.facts), written.seen)
