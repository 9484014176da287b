"""What the image side of curation left of itself, as plain data: `image_reading` makes it, `table_page` shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from animetune.report.thumbnails import Wanted


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    key: str
    wanted: Wanted
    is_veiled: bool
    """Blurred until the reader asks for it."""
    image: str = ""
    """`data:` URI; empty for none."""


class Box(NamedTuple):
    """A rectangle in percent of a picture's sides."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Probe:
    """What decoding found."""

    formats: Mapping[str, int]
    modes: Mapping[str, int]
    profiles: Mapping[str, int]
    notes: Sequence[tuple[str, int]]
    """What was seen, and in how many pictures."""


@dataclass(frozen=True)
class Pair:
    """A picture that was found to look like another, and that other, the best of its set."""

    twin: Shown
    best: Shown
    is_dropped: bool
    """The twin; else both stay, as one family."""
    measures: tuple[float, float, float] | None
    """Structure, luma and chroma of their worst windows; None where they are alike by way of others."""


@dataclass(frozen=True)
class Lookalikes:
    """What the search for look-alikes came to."""

    notes: Sequence[tuple[str, int]]
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Parent:
    """A picture, where its close-ups lie in it, and these."""

    shown: Shown
    boxes: Sequence[Box]
    closeups: Sequence[Shown]


@dataclass(frozen=True)
class CloseUps:
    """What was cut out of pictures."""

    notes: Sequence[tuple[str, int]]
    labels: Mapping[str, int]
    refused: Mapping[str, int]
    """Reason -> boxes."""
    parents: Sequence[Parent]


@dataclass(frozen=True)
class Models:
    """The models that looked at the pictures, and what came of it."""

    models: Sequence[tuple[str, str, str]]
    """Name, SHA-256, licence."""
    tags: Sequence[tuple[str, int, int]]
    """Kind of tags, how many were added, how many were taken away."""


@dataclass(frozen=True)
class Captioned:
    """A picture with what was written of it."""

    shown: Shown
    by: str
    reason: str
    """Code, why what was asked for is not there, or not all of it; empty for none."""
    long: Sequence[str]
    short: Sequence[str]
    tags: Sequence[str]


@dataclass(frozen=True)
class CaptionWork:
    """What captions cost, and what became of them."""

    by: Mapping[str, int]
    """Who wrote them -> pictures."""
    reasons: Mapping[str, int]
    """Why a picture lacks what was asked for -> pictures."""
    rejected: Mapping[str, int]
    """Why an answer was not taken -> answers."""
    requests: Sequence[tuple[str, int, int, int]]
    """Kind of caption, answers, tokens of requests and of answers."""
    cost: Mapping[str, float]
    short_by_rules: int
    """Pictures whose short captions were to be a model's, and were made by rules."""
    gallery: Sequence[Captioned]

    @property
    def asked(self) -> int:
        """Pictures that captions were asked for."""
        return sum(count for name, count in self.by.items() if name != "own")


@dataclass(frozen=True)
class ImageFacts:
    """Each part is None where its step did not run, or is gone."""

    probe: Probe | None = None
    marks: Sequence[tuple[str, int]] = ()
    """What was found of borders and marks, and in how many pictures."""
    lookalikes: Lookalikes | None = None
    closeups: CloseUps | None = None
    models: Models | None = None
    captions: CaptionWork | None = None
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32: aesthetic scores of the pictures that have one."""


def pictures_in(value: Any) -> Iterator[Shown]:
    """Every picture in facts, in their order."""
    if isinstance(value, Shown):
        yield value
    elif dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            yield from pictures_in(getattr(value, each.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from pictures_in(item)


def with_images(value: Any, images: Mapping[Wanted, str]) -> Any:
    """The same facts, with the URIs of their pictures."""
    if isinstance(value, Shown):
        return dataclasses.replace(value, image=images.get(value.wanted, ""))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {each.name: with_images(getattr(value, each.name), images) for each in dataclasses.fields(value)}
        return dataclasses.replace(value, **found)
    if isinstance(value, list | tuple) and any(True for _ in pictures_in(value)):
        return [with_images(item, images) for item in value]
    return value
