"""The settings of a picture as A1111 writes them into a PNG, and back.

    prompt, over as many lines as it has
    Negative prompt: ...
    Steps: 28, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.0, Seed: 1, Size: 832x1216, ...

A1111, Forge, ComfyUI's extensions and the sites of pictures read this text. Its grammar has no escapes for prompts: a
line that begins with `Negative prompt:`, or blanks at an end, are read as something else. Where that would happen, the
prompt stands in the last line too, as JSON (`Exact prompt`), which others show and `read_parameters` heeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from animetune.records import Request
from animetune.sampler_names import SAMPLERS

Setting = str | int | float | bool | list[int] | None

SCHEDULES = {
    "Karras": ("karras", "trailing"),
    "Exponential": ("exponential", "trailing"),
    "SGM Uniform": ("normal", "trailing"),
    "Normal": ("normal", "linspace"),
    "DDIM": ("normal", "leading"),
    "Simple": ("normal", "trailing"),
    "Uniform": ("normal", "linspace"),
}
"""A1111's schedule types -> the settings `sigmas` and `spacing` that are the same, or next to it; the first of several
is the one that is written."""
UPSCALERS = {
    "Latent (nearest-exact)": ("latent", "nearest-exact"),
    "Latent": ("latent", "bilinear"),
    "Latent (bicubic)": ("latent", "bicubic"),
    "Lanczos": ("pixel", "lanczos"),
    "Nearest": ("pixel", "nearest-exact"),
    "Bilinear": ("pixel", "bilinear"),
    "Bicubic": ("pixel", "bicubic"),
    "Latent (nearest)": ("latent", "nearest-exact"),
}
"""A1111's upscalers -> the settings `upscale_space` and `upscale_method`."""
FIELD_TITLES = {
    "steps": "Steps",
    "sampler": "Sampler",
    "schedule": "Schedule type",
    "cfg_scale": "CFG scale",
    "seed": "Seed",
    "size": "Size",
    "model_hash": "Model hash",
    "model": "Model",
    "strength": "Denoising strength",
    "upscale_factor": "Hires upscale",
    "upscale_sampler_steps": "Hires steps",
    "upscaler": "Hires upscaler",
    "upscale_sampler_sampler": "Hires sampler",
    "upscale_sampler_schedule": "Hires schedule type",
    "upscale_sampler_cfg_scale": "Hires CFG Scale",
    "upscale_strength": "Hires denoising strength",
    "cfg_rescale": "CFG rescale",
    "init": "Init image",
}
"""Our settings under A1111's names, in its order; others stand behind them, `Square brackets` for `square_brackets`."""
VERSION = "Version"
PROGRAM = "animetune"

_UNTITLED = (
    "eta", "shift", "original_size", "crop", "target_size", "syntax", "square_brackets", "emphasis", "split",
    "upscale_sampler_cfg_rescale", "upscale_sampler_eta", "upscale_sampler_shift", "upscale_sampler_original_size",
    "upscale_sampler_crop", "upscale_sampler_target_size",
)  # fmt: skip
"""Settings that A1111 does not know, read back under the names that `field_title` gives them."""
_NEGATIVE = "Negative prompt:"
_EXACT = "Exact prompt"
_EXACT_NEGATIVE = "Exact negative prompt"
_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_FEWEST = 3
"""Fields that make a line the settings, for A1111, and not a part of the prompt."""


class Parameters(NamedTuple):
    """What a text of A1111 says."""

    prompt: str
    negative: str
    fields: dict[str, str]
    """The last line, by A1111's names."""


def parameters_text(request: Request, settings: Mapping[str, Setting]) -> str:
    """The settings as A1111 writes them; those that are None are left out."""
    fields = titled({**settings, "seed": request.seed, "size": request.size.name})
    text = _text(request.prompt, request.negative, {name: _quoted(value) for name, value in fields.items()})
    read = read_parameters(text)
    if (read.prompt, read.negative) == (request.prompt, request.negative):
        return text
    fields |= {_EXACT: request.prompt, _EXACT_NEGATIVE: request.negative}
    return _text(request.prompt, request.negative, {name: _quoted(value) for name, value in fields.items()})


def titled(settings: Mapping[str, Setting]) -> dict[str, str]:
    """Settings as A1111 names and shows them, in its order, `Version` last."""
    known = {name: value for name, value in settings.items() if value is not None and value != ""}
    for prefix in ("", "upscale_sampler_"):
        if f"{prefix}sigmas" in known:
            pair = (str(known.pop(f"{prefix}sigmas")), str(known.pop(f"{prefix}spacing", "trailing")))
            known[f"{prefix}schedule"] = _title_of(pair, SCHEDULES)
    if "upscale_method" in known:
        pair = (str(known.pop("upscale_space", "latent")), str(known.pop("upscale_method")))
        known["upscaler"] = _title_of(pair, UPSCALERS)
    if "upscale_strength" in known and "strength" not in known:
        known["strength"] = known.pop("upscale_strength")
    ordered = [name for name in FIELD_TITLES if name in known] + [name for name in known if name not in FIELD_TITLES]
    return {field_title(name): _shown(name, known[name]) for name in ordered} | {VERSION: PROGRAM}


def read_parameters(text: str) -> Parameters:
    """What A1111 reads from the text, with its settings unquoted; none where its last line holds fewer than three."""
    lines = text.strip().split("\n")
    found = _FIELD.findall(lines[-1])
    if len(found) >= _FEWEST:
        lines.pop()
    fields = {name: _unquoted(value) for name, value in found} if len(found) >= _FEWEST else {}
    prompt = negative = ""
    is_negative = False
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            is_negative = True
            line = line.removeprefix(_NEGATIVE).strip()
        if is_negative:
            negative += ("\n" if negative else "") + line
        else:
            prompt += ("\n" if prompt else "") + line
    return Parameters(fields.pop(_EXACT, prompt), fields.pop(_EXACT_NEGATIVE, negative), fields)


def field_title(name: str) -> str:
    """A1111's name of a setting: `CFG scale` for `cfg_scale`."""
    return FIELD_TITLES.get(name, name.replace("_", " ").capitalize())


def settings_of(parameters: Parameters) -> dict[str, str]:
    """The settings under our names; those of A1111 that we do not have are left out.

    `Sampler: DPM++ 2M Karras`, as A1111 wrote before it had schedules, is a sampler and its schedule.
    """
    names = {title.lower(): name for name, title in FIELD_TITLES.items()}
    names |= {field_title(name).lower(): name for name in _UNTITLED}
    found = {names[title.lower()]: value for title, value in parameters.fields.items() if title.lower() in names}
    for prefix in ("", "upscale_sampler_"):
        schedule = found.pop(f"{prefix}schedule", "Automatic")
        if f"{prefix}sampler" in found:
            found[f"{prefix}sampler"], sigmas = sampler_of(found[f"{prefix}sampler"])
            schedule = sigmas.capitalize() if sigmas else schedule
        if schedule not in ("Automatic", "Use same scheduler"):
            sigmas, spacing = _of_title(schedule, SCHEDULES, (schedule, "trailing"))
            found |= {f"{prefix}sigmas": sigmas, f"{prefix}spacing": spacing}
    if "upscale_factor" in found:
        upscaler = found.pop("upscaler", "Latent")
        space, method = _of_title(upscaler, UPSCALERS, ("pixel", upscaler))
        found |= {"upscale_space": space, "upscale_method": method}
        if "init" not in found and "strength" in found:
            found["upscale_strength"] = found.pop("strength")
    return found


def sampler_of(title: str) -> tuple[str, str | None]:
    """Our name of a sampler, and of its sigmas if they stand behind it, of a name of A1111's or of ours."""
    for sigmas in ("karras", "exponential"):
        head = title.removesuffix(f" {sigmas.capitalize()}")
        if head != title and (name := _sampler(head)) is not None:
            return name, sigmas
    return _sampler(title) or title, None


def _sampler(title: str) -> str | None:
    return next((name for name, each in SAMPLERS.items() if each.title.lower() == title.strip().lower()), None)


def _title_of(pair: tuple[str, str], titles: Mapping[str, tuple[str, str]]) -> str:
    return next((title for title, each in titles.items() if each == pair), " ".join(pair))


def _of_title(title: str, titles: Mapping[str, tuple[str, str]], other: tuple[str, str]) -> tuple[str, str]:
    return next((pair for each, pair in titles.items() if each.lower() == title.lower()), other)


def _shown(name: str, value: Setting) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    known: dict[str, str] = {name: each.title for name, each in SAMPLERS.items()} if name.endswith("sampler") else {}
    return known.get(str(value), str(value))


def _quoted(text: str) -> str:
    plain = text == text.strip() and text and not set(text) & set(',:"\n\r')
    return text if plain else json.dumps(text)


def _text(prompt: str, negative: str, fields: Mapping[str, str]) -> str:
    middle = f"\n{_NEGATIVE} {negative}" if negative else ""
    return f"{prompt}{middle}\n" + ", ".join(f"{name}: {value}" for name, value in fields.items())


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value.strip()
    try:
        return str(json.loads(value))
    except ValueError:
        return value
