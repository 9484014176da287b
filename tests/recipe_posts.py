"""The posts of tests/golden/curate/posts.yaml as files with pictures of their sizes, for the recipes' curation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from animetune.curate.config import CurateConfig
from animetune.seeding import Purpose, rng_for
from tests.builders import danbooru_post, picture, write_lines

POSTS = Path(__file__).parent / "golden" / "curate" / "posts.yaml"
SIZE = (832, 1216)
TAG_CLASSES = {"g": "general", "c": "character", "s": "copyright", "a": "artist", "m": "meta"}


@functools.cache
def posts() -> dict[str, Any]:
    """What the file says: the posts of each source by place, and captions by id."""
    said: dict[str, Any] = yaml.safe_load(POSTS.read_text(encoding="utf-8"))
    return said


def write_recipe_posts(folder: Path) -> Path:
    """Write danbooru/posts.jsonl, synthetic/metadata.jsonl, their pictures, captions.jsonl and picked.txt."""
    for source in ("danbooru", "synthetic"):
        (folder / source).mkdir(parents=True)
        for post in posts()[source]:
            _write_picture(post, folder / source, seed=post["id"] + (source == "synthetic") * 1000)
    write_lines(folder / "danbooru" / "posts.jsonl", [_post(post) for post in posts()["danbooru"]])
    drawn = [
        {"file_name": f"{post['id']}.png", **{key: post[key] for key in ("id", "tags", "text") if key in post}}
        for post in posts()["synthetic"]
    ]
    write_lines(folder / "synthetic" / "metadata.jsonl", drawn)
    captions = [{"id": number, **texts} for number, texts in posts()["captions"].items()]
    write_lines(folder / "captions.jsonl", captions)
    (folder / "picked.txt").write_text("".join(f"{key}\n" for key in posts()["picked"]), encoding="utf-8")
    return folder


def at_posts(folder: Path, cfg: CurateConfig) -> list[str]:
    """Overrides that point a recipe's sources and lists at the files in `folder`, and ask no models."""
    overrides = ["answers=null", "models={}", "tag_sources={}", "captions=null", "closeups=null"]
    for place, source in enumerate(cfg.sources):
        if source.name == "danbooru":
            overrides += [
                f"sources.{place}.posts=[{folder}/danbooru/posts.jsonl]",
                f'sources.{place}.images=[{{root: {folder}/danbooru, path: "{{id}}.{{ext}}"}}]',
                f"sources.{place}.captions=[{folder}/captions.jsonl]",
            ]
        else:
            overrides.append(f"sources.{place}.posts=[{folder}/synthetic/metadata.jsonl]")
    if cfg.lists.include:
        overrides.append(f"lists.include=[{folder}/picked.txt]")
    return overrides


def _post(said: Mapping[str, Any]) -> dict[str, Any]:
    width, height = said.get("size", SIZE)
    score, favourites = said.get("score", (5, 5)) or (None, None)
    tags = {name: said.get(short, "") for short, name in TAG_CLASSES.items()}
    return danbooru_post(
        said["id"],
        **tags,
        rating=said.get("rating", "g"),
        score=score,
        fav_count=favourites,
        created_at=f"{said.get('date', '2021-06-01')}T12:00:00.000Z",
        image_width=width,
        image_height=height,
        file_ext=said.get("ext", "png"),
        md5=f"{said.get('same_md5_as', said['id']):032x}",
        parent_id=said.get("parent"),
        is_deleted=said.get("deleted", False),
        aesthetic_score=said.get("aesthetic", ...),
    )


def _write_picture(said: Mapping[str, Any], images: Path, seed: int) -> None:
    if said.get("file") == "none":
        return
    seed = said.get("same_pixels_as", said.get("same_md5_as", seed))
    drawn = picture(seed, *said.get("size", SIZE))
    if not said.get("compressed"):  # a ninth of noise gives files as many bytes a pixel as those of drawings
        block = (drawn.height // 3, drawn.width // 3, 3)
        noise = rng_for(seed, Purpose.DRAW).integers(0, 256, block, dtype=np.uint8)
        drawn.paste(Image.fromarray(noise))
    drawn.save(images / f"{said['id']}.png", compress_level=1)
