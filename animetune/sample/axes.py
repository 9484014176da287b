"""What an axis of a grid changes in a drawing: its seed, size, words, model, or any setting."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic

from animetune.diffusion.config import SamplerConfig, Side
from animetune.diffusion.draw_config import TextConfig, UpscaleConfig
from animetune.models.config import ModelConfig
from animetune.records import Request, Size
from animetune.sample.drawing import Drawing, changed, in_words, with_settings
from animetune.sampler_names import SAMPLERS
from animetune.samples.parameters import sampler_of

SIMPLE = ("seed", "size", "prompt", "negative", "replace", "strength", "model")
SECTIONS: dict[str, type[pydantic.BaseModel]] = {
    "sampler": SamplerConfig,
    "model": ModelConfig,
    "text": TextConfig,
    "upscale": UpscaleConfig,
}
"""What else an axis may name, as `section.setting`."""
_FIRST = ("prompt", "replace", "sampler.name", "sampler.spacing", "upscale.space")
_SIDE: pydantic.TypeAdapter[int] = pydantic.TypeAdapter(Side)


def turned(drawing: Drawing, key: str, value: Any, *, search: Any = None) -> Drawing:
    """The drawing with what `key` names set to `value`; `replace` puts it in the place of `search` in the prompt.

    Raises ValueError for a key that there is not, and for a value that does not fit it.
    """
    section, dot, name = key.partition(".")
    if dot and section in SECTIONS and name in SECTIONS[section].model_fields:
        if section == "sampler":
            return with_settings(drawing, _sampler_settings(name, value))
        if section == "upscale":
            whole = value is None and name == "factor"
            return replace(
                drawing, upscale=None if whole else changed(drawing.upscale or UpscaleConfig(), {name: value})
            )
        return replace(drawing, **{section: changed(getattr(drawing, section), {name: value})})
    if key == "model":
        return replace(drawing, model=changed(drawing.model, {"base": value}))
    if key not in SIMPLE:
        near = difflib.get_close_matches(key, _all_keys(), 1, 0.6)
        raise ValueError(
            f"{key}: is nothing that an axis can change"
            + (f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(SIMPLE)} and section.setting")
        )
    return replace(drawing, request=_turned_request(drawing.request, key, value, search))


def application_order(key: str) -> int:
    """Where a key stands when a drawing is turned by several: what others depend on comes first.

    Words are put into the prompt that is there, eta into the sampler that has one. `upscale.factor` is last: its null
    takes the second pass away, whatever else is said of it.
    """
    if key == "upscale.factor":
        return len(_FIRST) + 1
    return _FIRST.index(key) if key in _FIRST else len(_FIRST)


def shown(key: str, value: Any) -> str:
    """A value as a title."""
    if value is None:
        return "none"
    if key == "sampler.name" and value in SAMPLERS:
        return SAMPLERS[value].title
    if key == "model" and isinstance(value, str):
        path = Path(value)
        return path.stem if path.suffix == ".safetensors" else path.name if path.exists() else value
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_size(text: Any) -> Size:
    """A size written as `832x1216`. Raises ValueError."""
    try:
        size = Size.parse(text)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{text!r} is no size; write it as 832x1216") from error
    try:
        return Size(_SIDE.validate_python(size.width), _SIDE.validate_python(size.height))
    except pydantic.ValidationError as error:
        raise ValueError(f"{text}: {in_words(error)[0]}") from error


def _sampler_settings(name: str, value: Any) -> dict[str, Any]:
    """By their flat names; one of A1111's names, `DPM++ 2M Karras`, may set two."""
    if name != "name":
        return {name: value}
    sampler, sigmas = sampler_of(value) if isinstance(value, str) else (value, None)
    return {"sampler": sampler} if sigmas is None else {"sampler": sampler, "sigmas": sigmas}


def _turned_request(request: Request, key: str, value: Any, search: Any) -> Request:
    if key == "size":
        return replace(request, size=parse_size(value))
    if key == "seed":
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise ValueError(f"{value!r} is no seed, which is a whole number")
        return replace(request, seed=value)
    if key == "strength":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{value!r} is no strength, which is between 0 and 1")
        return replace(request, init=request.init and dataclasses.replace(request.init, strength=float(value)))
    if value is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is no text; put it between quotes")
    if key == "replace":
        if not str(search):
            raise ValueError("the first value is what is looked for in the prompts, and it is empty")
        return replace(request, prompt=request.prompt.replace(str(search), str(value)))
    return replace(request, prompt=str(value)) if key == "prompt" else replace(request, negative=str(value))


def _all_keys() -> list[str]:
    return [*SIMPLE, *(f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields)]
