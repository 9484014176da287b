"""Stand-ins of the evaluation: pictures of one colour whose requests are known, a tagger that reads their colours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animetune.config import load_config
from animetune.evaluate.cases import Asked, Case, expand
from animetune.evaluate.config import EvaluateConfig
from tests.onnx_models import RATINGS, save_colour_model, save_tag_list

Colour = tuple[int, int, int]
BLUE, GREEN, RED, BLACK, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 0, 0), (255, 255, 255)


def save_colour_tagger(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """1girl for blue, no_humans for green, realistic and `explicit` for red: sigmoid((value - 128) / 8), so about 0 or
    1; 1boy and solo never; `general` is 0.5 whatever it sees."""
    tags = [*RATINGS, ("1girl", 0), ("1boy", 0), ("solo", 0), ("no_humans", 0), ("realistic", 0)]
    slopes, offsets = np.zeros((3, len(tags))), np.full(len(tags), -9.0)
    names = [name for name, _ in tags]
    offsets[0] = 0
    for name, channel in (("1girl", 0), ("no_humans", 1), ("realistic", 2), ("explicit", 2)):  # blue, green, red
        slopes[channel, names.index(name)], offsets[names.index(name)] = 1 / 8, -16
    kept = [place for place, name in enumerate(names) if name not in without]
    save_colour_model(folder / "model.onnx", slopes[:, kept], offsets[kept])
    save_tag_list(folder / "selected_tags.csv", [tags[place] for place in kept])
    return {
        "name": "colours",
        "model": {"path": str(folder / "model.onnx")},
        "tags": {"path": str(folder / "selected_tags.csv")},
    }


def config(folder: Path, **settings: Any) -> EvaluateConfig:
    """A configuration as from a file; `models` are two folders of pictures unless given."""
    values = {
        "stage": "evaluate",
        "models": {"base": {"pictures": str(folder / "base")}, "tuned": {"pictures": str(folder / "tuned")}},
        "probes": [{"name": "leak", "prompts": str(folder / "asked.txt"), "replace": True}],
        "out": str(folder / "out"),
        "seeds": [0, 1],
        "sizes": ["64x64"],
        "device": "cpu",
        **settings,
    }
    path = folder / "evaluate.json.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return load_config(path, EvaluateConfig)


def paint(folder: Path, asked: list[Mapping[str, Any]], colour: Callable[[Mapping[str, Any]], Colour]) -> Path:
    """A picture for each line of requests, with an images.jsonl; no two folders or requests have equal files."""
    folder.mkdir(parents=True)
    lines = []
    for place, request in enumerate(asked):
        info = PngInfo()
        info.add_text("comment", f"{folder.name} {place}")
        Image.new("RGB", (16, 16), colour(request)).save(folder / f"{place}.png", pnginfo=info)
        lines.append({**request, "file": f"{place}.png"})
    (folder / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def requests(prompts: list[str], *, seeds: tuple[int, ...] = (0, 1)) -> list[Mapping[str, Any]]:
    return [{"prompt": prompt, "seed": seed, "width": 64, "height": 64} for prompt in prompts for seed in seeds]


def tagged(rating: str = "general", **tags: float) -> dict[str, Any]:
    """The answer of a tagger."""
    return {"tags": {"tags": tags, "ratings": {rating: 0.9}}}


def cases_of(cfg: EvaluateConfig, arms: Mapping[str, list[str]], **facts: Any) -> list[Case]:
    """Cases of the first probe: arm -> names of prompts."""
    return expand((Asked(name, arm, name, facts) for arm, names in arms.items() for name in names), cfg.probes[0], cfg)
