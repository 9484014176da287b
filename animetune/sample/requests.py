"""From a configuration to the pictures that it asks for, in order, and how a grid of them is laid out."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animetune import fsio
from animetune.errors import ConfigError, PictureError
from animetune.pictures import decode
from animetune.records import Init, Request, Size
from animetune.sample import axes
from animetune.sample.config import PLACEHOLDER, AxisConfig, PromptConfig, SampleConfig
from animetune.sample.drawing import Drawing, is_whole, plain, with_settings
from animetune.sample.prompt_files import Wanted, is_writable, of_config, read_prompts
from animetune.samples.sheets import Axis, Layout

STRENGTH = 0.6
"""Of a picture to start from, unless it is given."""


class Asked(NamedTuple):
    """What a configuration asks for."""

    drawings: list[Drawing]
    layout: Layout | None
    """Of a grid."""


def build(cfg: SampleConfig) -> Asked:
    """Every prompt in every size with every seed, seeds innermost, and all of it for every value of a grid's axes.

    Raises ConfigError, with every mistake of a file of prompts.
    """
    keys = {axis.key for axis in cfg.grid.axes.values()} if cfg.grid else set()
    seeds = cfg.seeds[:1] if "seed" in keys else cfg.seeds
    sizes = _sizes(cfg)[:1] if "size" in keys else _sizes(cfg)
    cfg = cfg.model_copy(update={"seeds": seeds, "sizes": tuple(size.name for size in sizes)})
    prompts = [Wanted(PromptConfig(prompt=""))] if "prompt" in keys else _prompts(cfg)
    base = [drawing for prompt in prompts for drawing in _drawings(prompt, cfg)]
    if cfg.grid is None:
        return Asked(base, None)
    return _grid(cfg, prompts, base)


def read_init(path: Path, size: Size) -> np.ndarray:
    """A picture to start from, uint8 RGB (height, width, 3): upright, sRGB, on white, cut and scaled to the size.

    Raises PictureError.
    """
    from PIL import Image, ImageOps

    image = decode(path.read_bytes(), first_frame=True).image
    return np.asarray(ImageOps.fit(image, (size.width, size.height), Image.Resampling.LANCZOS))


def _prompts(cfg: SampleConfig) -> list[Wanted]:
    listed = [of_config(prompt, f"prompts.{place}") for place, prompt in enumerate(cfg.prompts)]
    unwritable = [each.place for each in listed if not is_writable(each.own.prompt + (each.own.negative or ""))]
    if unwritable:
        raise ConfigError([f"{place}: is no text that can be written down" for place in unwritable])
    return listed + (read_prompts(cfg.prompts_file) if cfg.prompts_file else [])


def _sizes(cfg: SampleConfig) -> list[Size]:
    return [axes.parse_size(name) for name in cfg.sizes] or [Size(cfg.width, cfg.height)]


def _drawings(prompt: Wanted, cfg: SampleConfig) -> Iterator[Drawing]:
    own = prompt.own
    sizes = [Size(own.width, own.height)] if own.width is not None and own.height is not None else _sizes(cfg)
    init = _looked_at(prompt)
    for size in sizes:
        for seed in cfg.seeds if own.seed is None else (own.seed,):
            request = Request(
                own.prompt if prompt.is_drawn else _templated(cfg, own.prompt),
                seed=seed,
                size=size,
                negative=cfg.negative if own.negative is None else own.negative,
                init=init and _of_size(init, size),
            )
            drawing = Drawing(request, cfg.model, cfg.sampler, cfg.text, cfg.upscale)
            if prompt.is_ours and is_whole(prompt.settings):
                drawing = plain(drawing)
            try:
                yield with_settings(drawing, prompt.settings)
            except ValueError as error:
                raise ConfigError(f"{prompt.place}: {error}") from error


def _of_size(init: Init, size: Size) -> Init:
    assert isinstance(init.read, functools.partial)
    return replace(init, read=functools.partial(read_init, init.read.args[0], size))


def _looked_at(prompt: Wanted) -> Init | None:
    """The picture to start from, not yet of a size. ConfigError if it is unreadable, or not the one that is meant."""
    own = prompt.own
    if own.init is None:
        return None
    if not own.init.is_file():
        raise ConfigError(f"{prompt.place}: init: {own.init}: there is no such picture")
    digest = fsio.sha256_file(own.init)[:10]
    if prompt.init_digest not in ("", digest):
        raise ConfigError(
            f"{prompt.place}: init: {own.init}: is not the picture that was drawn from, whose digest begins with "
            f"{prompt.init_digest}; put that one there"
        )
    try:
        decode(own.init.read_bytes(), first_frame=True)
    except PictureError as error:
        raise ConfigError(f"{prompt.place}: init: {own.init}: is no picture to start from ({error})") from error
    strength = STRENGTH if own.strength is None else own.strength
    return Init(f"{own.init.name}@{digest}", strength, functools.partial(read_init, own.init, Size(1, 1)))


def _templated(cfg: SampleConfig, prompt: str) -> str:
    """The template with the prompt in it; beside an empty prompt no comma is left over."""
    text = cfg.template.replace(PLACEHOLDER, prompt)
    return text if prompt else text.strip(", ")


# ---- grids


def _grid(cfg: SampleConfig, prompts: Sequence[Wanted], base: Sequence[Drawing]) -> Asked:
    assert cfg.grid is not None
    given = [axis for axis in (cfg.grid.z, cfg.grid.y, cfg.grid.x) if axis is not None]
    prompts_axis = next((axis.values for axis in given if axis.key == "prompt"), None)
    texts = [each.request.prompt for each in base] if prompts_axis is None else list(map(str, prompts_axis))
    for axis in given:
        _check_axis(axis, base, texts)
    order = sorted(range(len(given)), key=lambda at: axes.application_order(given[at].key))
    drawings = []
    for drawing in base:
        for values in itertools.product(*(axis.values for axis in given)):
            turned = drawing
            for at in order:
                turned = _turned(cfg, given[at], turned, values[at])
            drawings.append(turned)
    titles = [
        Axis(axis.key, axis.titles or tuple(axes.shown(axis.key, value) for value in axis.values)) for axis in given
    ]
    return Asked(drawings, Layout((*_implied(cfg, prompts, base), *titles)))


def _turned(cfg: SampleConfig, axis: AxisConfig, drawing: Drawing, value: object) -> Drawing:
    if axis.key == "prompt":
        value = _templated(cfg, str(value))
    try:
        turned = axes.turned(drawing, axis.key, value, search=axis.values[0])
    except ValueError as error:
        raise ConfigError(f"grid: {axis.key}: {error} (prompt {drawing.request.prompt[:60]!r})") from error
    init = turned.request.init
    if axis.key == "size" and init is not None:
        turned = replace(turned, request=replace(turned.request, init=_of_size(init, turned.request.size)))
    return turned


def _check_axis(axis: AxisConfig, base: Sequence[Drawing], texts: Sequence[str]) -> None:
    if axis.key == "replace" and not any(str(axis.values[0]) in text for text in texts):
        raise ConfigError(f"grid: replace: {axis.values[0]!r}, the first value, is in none of the prompts")
    if axis.key == "strength" and any(drawing.request.init is None for drawing in base):
        raise ConfigError("grid: strength: is for prompts that start from a picture; name it in init")


def _implied(cfg: SampleConfig, prompts: Sequence[Wanted], base: Sequence[Drawing]) -> list[Axis]:
    """Axes of the prompts, sizes and seeds that there are several of; of one kind where not all have the same."""
    sizes = _sizes(cfg)
    is_even = len(base) == len(prompts) * len(sizes) * len(cfg.seeds)
    found: list[tuple[str, list[str]]]
    if is_even and all(each.own.seed is None and each.own.width is None for each in prompts):
        found = [
            ("prompt", [each.own.prompt for each in prompts]),
            ("size", [size.name for size in sizes]),
            ("seed", [str(seed) for seed in cfg.seeds]),
        ]
    else:
        several: list[Callable[[Drawing], str]] = [
            part
            for part in (lambda each: each.request.size.name, lambda each: f"seed {each.request.seed}")
            if len({part(drawing) for drawing in base}) > 1
        ]
        titles = [", ".join([drawing.request.prompt, *(part(drawing) for part in several)]) for drawing in base]
        found = [("prompt", titles)]
    return [Axis(name, tuple(values)) for name, values in found if len(values) > 1]
