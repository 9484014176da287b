"""Borders, watermarks, signatures and text: what is done about them."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.curate.tag.tag_names import normal_tag
from animetune.vision.detectors import DetectorConfig

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
BorderAction = Literal["crop", "tag", "mask", "drop"]


class MarkConfig(StrictModel):
    """What is done about what a detector finds under one label; several things, if wished."""

    tag: str | None = None
    """The picture gets this tag."""
    mask: bool = False
    """The loss does not count there."""
    grow: Annotated[float, pydantic.Field(ge=0, le=4)] = 0.1
    """Share of a box's width and height that is masked around it, too."""
    drop_above: Share | None = None
    """Pictures of which more than this share is covered are dropped, as `mark_<label>`."""

    @pydantic.field_validator("tag")
    @classmethod
    def _normal(cls, tag: str | None) -> str | None:
        if tag is not None and not normal_tag(tag):
            raise ValueError("is a tag without any character")
        return None if tag is None else normal_tag(tag)

    @pydantic.model_validator(mode="after")
    def _does_something(self) -> MarkConfig:
        if self.tag is None and not self.mask and self.drop_above is None:
            raise ValueError("does nothing: give `tag`, `mask: true` or `drop_above`")
        return self


class MarkDetector(StrictModel):
    """A detector, and what is done about what it finds."""

    detector: DetectorConfig
    """Finds boxes."""
    labels: Annotated[dict[str, MarkConfig], pydantic.Field(min_length=1)]
    """Label -> what is done; other labels are left alone."""

    @pydantic.model_validator(mode="after")
    def _labels_are_found(self) -> MarkDetector:
        if strange := [label for label in self.labels if label not in self.detector.labels]:
            raise ValueError(
                f"labels: the detector does not find {strange[0]!r}, but {', '.join(self.detector.labels)}"
            )
        return self


class MarksConfig(StrictModel):
    """Borders of one colour (letterboxes), found by code, and marks that detectors find."""

    letterbox: tuple[BorderAction, ...] = ()
    """`crop`: the borders are cut off, and filters on sizes see what is left. `tag`: `letterboxed` (bars above or
    below) and `pillarboxed` (at the sides) are added. `mask`: the loss does not count there. `drop`: such pictures are
    dropped, as `letterbox`. None: borders stay."""
    detectors: tuple[MarkDetector, ...] = ()
    """Detectors of watermarks, signatures, text."""

    @pydantic.field_validator("letterbox")
    @classmethod
    def _agree(cls, actions: tuple[BorderAction, ...]) -> tuple[BorderAction, ...]:
        if len(set(actions)) != len(actions):
            raise ValueError(f"names one thing twice: {', '.join(actions)}")
        if "drop" in actions and len(actions) > 1:
            raise ValueError("`drop` leaves nothing for the others to do")
        if {"crop", "tag"} <= set(actions) or {"crop", "mask"} <= set(actions):
            raise ValueError("`crop` leaves no border to tag or mask")
        return actions

    @pydantic.model_validator(mode="after")
    def _has_work(self) -> MarksConfig:
        if not self.letterbox and not self.detectors:
            raise ValueError("does nothing: give `letterbox` or `detectors`")
        return self
