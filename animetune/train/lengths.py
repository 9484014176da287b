"""Lengths of time in training as people write them: `500 steps`, `1.5 epochs`, `5 %`, `200000 images`, `30 minutes`."""

from __future__ import annotations

import math
import re
from typing import Annotated, NamedTuple

import pydantic

from animetune.data.calendar import Calendar

_UNITS = {
    **dict.fromkeys(("step", "steps", ""), "steps"),
    **dict.fromkeys(("epoch", "epochs"), "epochs"),
    "%": "%",
    **dict.fromkeys(("image", "images"), "images"),
    **dict.fromkeys(("minute", "minutes"), "minutes"),
}
_WHOLE = ("steps", "images")


class Length(NamedTuple):
    """A number and its unit: `steps`, `epochs`, `%` of the run, `images` or `minutes`."""

    number: float
    unit: str

    def __str__(self) -> str:
        return f"{self.number:.15g} {self.unit}"

    @classmethod
    def parse(cls, text: object) -> Length:
        """The length that a person wrote; a number alone counts steps. ValueError when it is none."""
        match = re.fullmatch(r"(\d+(?:_\d+)*(?:\.\d+)?(?:[eE][+]?\d+)?)\s*([a-z%]*)", str(text).strip())
        if isinstance(text, bool) or match is None or match[2] not in _UNITS:
            raise ValueError(f"should be a number and a unit, as in '500 steps', not {text!r}")
        length = cls(float(match[1]), _UNITS[match[2]])
        if length.unit in _WHOLE and not length.number.is_integer():
            raise ValueError(f"should be a whole number of {length.unit}, not {text!r}")
        if length.unit == "%" and length.number > 100:
            raise ValueError(f"should be at most 100 %, not {text!r}")
        return length


def _of(*units: str) -> pydantic.BeforeValidator:
    def check(text: object) -> str:
        length = Length.parse(text)
        if length.unit not in units:
            raise ValueError(f"should be in {' or '.join(units)}, not {text!r}")
        return str(length)

    return pydantic.BeforeValidator(check)


_SCHEMA = pydantic.WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]})

Duration = Annotated[str, _of("steps", "epochs", "%"), _SCHEMA]
"""A part of the run: `500`, `500 steps`, `1 epoch`, `5 %`."""


def _not_zero(text: str) -> str:
    if not Length.parse(text).number:
        raise ValueError(f"should be more than nothing, not {text!r}")
    return text


Interval = Annotated[str, _of("steps", "epochs", "images", "minutes"), pydantic.AfterValidator(_not_zero), _SCHEMA]
"""How often something happens: `500`, `500 steps`, `1 epoch`, `200000 images`, `30 minutes`."""


def steps_of(duration: str, *, total_steps: int, calendar: Calendar) -> int:
    """Optimizer steps that a `Duration` from the start of the run takes, rounded up."""
    number, unit = Length.parse(duration)
    if unit == "epochs":
        return calendar.step_of(number)
    return math.ceil(round(number if unit == "steps" else number * total_steps / 100, 6))
