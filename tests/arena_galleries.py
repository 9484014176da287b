"""Folders of tiny pictures to vote on, and configurations of arenas of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from animetune.arena.config import ArenaConfig
from animetune.arena.gallery import Gallery, GalleryPicture, Subject, picture_id
from animetune.records import Size


def draw_pictures(
    folder: Path, prompts: Sequence[str], seeds: Sequence[int] = (0,), *, shade: int = 0, side: int = 16
) -> Path:
    """A folder with an `images.jsonl`: a picture for every prompt and seed, of one colour each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for place, prompt in enumerate(prompts):
        for seed in seeds:
            name = f"{place}-{seed}.png"
            Image.new("RGB", (side, side), (shade, place % 256, seed % 256)).save(folder / name)
            lines.append({"file": name, "prompt": prompt, "seed": seed, "width": side, "height": side})
    (folder / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def arena(
    folder: Path, models: str = "ab", prompts: int = 6, seeds: Sequence[int] = (0, 1), **settings: Any
) -> ArenaConfig:
    """The configuration of an arena of models with one-letter names, whose pictures are drawn in `folder`."""
    asked = [f"prompt {number}" for number in range(prompts)]
    drawn = {name: draw_pictures(folder / name, asked, seeds, shade=10 * place) for place, name in enumerate(models)}
    return configured(folder, drawn, **settings)


def configured(folder: Path, pictures: dict[str, Path], **settings: Any) -> ArenaConfig:
    """The configuration of an arena of these folders."""
    told = {
        "stage": "arena",
        "models": {name: {"pictures": str(path)} for name, path in pictures.items()},
        "out": str(folder / "arena"),
    }
    return ArenaConfig.model_validate(told | settings)


def painted(
    models: Sequence[str],
    prompts: int,
    *,
    absent: Sequence[tuple[str, int]] = (),
    seeds_of_first: int = 1,
    **lists: Any,
) -> Gallery:
    """A gallery without files, for what never opens one; `absent` are models and prompts without a picture. The first
    prompt has so many seeds, the others one."""
    pictures = []
    asked = [(0, seed) for seed in range(seeds_of_first)] + [(number, 0) for number in range(1, prompts)]
    for number, seed in asked:
        subject = Subject(f"prompt {number}", seed, Size(16, 16))
        for model in models:
            if (model, number) not in absent:
                id_ = picture_id(model, subject, "0")
                pictures.append(GalleryPicture(id_, model, subject, Path("none"), "0"))
    return Gallery(models, pictures, lists or {"fixed": None, "duel": None, "four": None})
