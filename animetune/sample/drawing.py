"""One picture to draw with all that it depends on, and its settings as flat names: in images.jsonl, PNGs, prompt files.

sampler, steps, cfg_scale, sigmas, spacing ...     of SamplerConfig; its `name` is called `sampler`
syntax, emphasis ...                               of TextConfig
upscale_factor, upscale_method ...                 of UpscaleConfig; its sampler's are `upscale_sampler_steps` ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pydantic

from animetune.diffusion.config import SamplerConfig
from animetune.diffusion.draw_config import PLAIN, TextConfig, UpscaleConfig
from animetune.models.config import ModelConfig
from animetune.records import Request
from animetune.samples.parameters import Setting

ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)

UPSCALE = "upscale_"
UPSCALE_SAMPLER = "upscale_sampler_"
_SIZES = ("original_size", "crop", "target_size")
_ALWAYS = ("sampler", "sigmas", "steps", "cfg_scale", "spacing")
"""Settings that are written down even where they are the defaults."""


@dataclass(frozen=True)
class Drawing:
    """A picture that is to be drawn; nothing else than this and the bytes of the weights decides what it shows."""

    request: Request
    model: ModelConfig
    sampler: SamplerConfig
    text: TextConfig = PLAIN
    upscale: UpscaleConfig | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        """How it is drawn, flat; defaults only of what matters always."""
        found = _flat_sampler(self.sampler)
        found |= {name: value for name, value in self.text if value != getattr(PLAIN, name)}
        if self.request.init is not None:
            found |= {"init": self.request.init.name, "strength": self.request.init.strength}
        if self.upscale is not None:
            found |= {f"{UPSCALE}{name}": value for name, value in self.upscale if name != "sampler"}
            if self.upscale.sampler is not None:
                found |= {
                    f"{UPSCALE_SAMPLER}{name}": value for name, value in _flat_sampler(self.upscale.sampler).items()
                }
        return found


def plain(drawing: Drawing) -> Drawing:
    """The drawing with the defaults of all settings: what whole `settings` were written on top of."""
    return replace(drawing, sampler=SamplerConfig(), text=PLAIN, upscale=None)


def is_whole(settings: Mapping[str, Any]) -> bool:
    """Whether they are all settings of a drawing, but for defaults; A1111 and older folders say less."""
    return set(_ALWAYS) <= set(settings)


def is_setting(name: str) -> bool:
    """Whether a flat name is one of a setting of drawing."""
    return (
        name.removeprefix(UPSCALE_SAMPLER) in _SAMPLER_NAMES
        or name in TextConfig.model_fields
        or (name.startswith(UPSCALE) and name.removeprefix(UPSCALE) in UpscaleConfig.model_fields)
    )


def with_settings(drawing: Drawing, settings: Mapping[str, Any]) -> Drawing:
    """The drawing with other settings, by their flat names; text that stands for a number is one.

    Raises ValueError, which names the setting, for what there is not or what does not fit.
    """
    given: dict[str, dict[str, Any]] = {"sampler": {}, "text": {}, "upscale": {}, "second": {}}
    for name, value in settings.items():
        if name in _SAMPLER_NAMES:
            given["sampler"]["name" if name == "sampler" else name] = value
        elif name in TextConfig.model_fields:
            given["text"][name] = value
        elif name.startswith(UPSCALE_SAMPLER):
            inner = name.removeprefix(UPSCALE_SAMPLER)
            given["second"]["name" if inner == "sampler" else inner] = value
        else:
            given["upscale"][name.removeprefix(UPSCALE)] = value
    for each in (given["sampler"], given["second"]):
        if each.get("sigmas", "normal") != "normal":
            each.setdefault("spacing", "trailing")  # which only `normal` heeds
        for name in _SIZES:
            if isinstance(each.get(name), str):
                each[name] = each[name].split("x")
    sampler = changed(drawing.sampler, given["sampler"])
    text = changed(drawing.text, given["text"])
    upscale = drawing.upscale
    if given["second"]:
        base = upscale.sampler if upscale and upscale.sampler else sampler
        if {"name", *_ALWAYS[1:]} <= set(given["second"]):
            base = SamplerConfig()
        given["upscale"]["sampler"] = changed(base, given["second"], prefix=UPSCALE_SAMPLER)
    if given["upscale"]:
        upscale = changed(upscale or UpscaleConfig(), given["upscale"], prefix=UPSCALE)
    return replace(drawing, sampler=sampler, text=text, upscale=upscale)


def changed(model: ModelT, values: Mapping[str, Any], *, prefix: str = "") -> ModelT:
    """The model with other values, checked. Raises ValueError in words: `{prefix}steps: 0: Input should be ...`."""
    if not values:
        return model
    try:
        return type(model).model_validate({**dict(model), **values})
    except pydantic.ValidationError as error:
        raise ValueError("; ".join(f"{prefix}{line}" for line in in_words(error))) from error


def in_words(error: pydantic.ValidationError) -> list[str]:
    """A line for each problem: `steps: 0: Input should be greater than or equal to 1`."""
    lines = []
    for each in error.errors():
        where = ".".join(str(part) for part in each["loc"])
        message = each["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {each['input']!r}: {message}" if where else message)
    return lines


def _flat_sampler(sampler: SamplerConfig) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name, value in sampler:
        flat = "sampler" if name == "name" else name
        if flat in _ALWAYS or value != SamplerConfig.model_fields[name].default:
            found[flat] = list(value) if isinstance(value, tuple) else value
    return found


_SAMPLER_NAMES = {"sampler"} | set(SamplerConfig.model_fields) - {"name"}
