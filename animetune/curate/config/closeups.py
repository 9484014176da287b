"""Close-ups: which pictures they are cut from, where, and what they are tagged with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.curate.tag.tag_names import normal_tag
from animetune.vision.detectors import DetectorConfig

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
RareKind = Literal["general", "character", "copyright", "artist"]

FACE = (
    "hair", "hairstyle", "headwear", "eyes", "gaze", "face", "expression", "race", "sex", "animal-traits", "style",
)  # fmt: skip
"""Semantic classes of what a face shows, and the hair and the head around it."""


class LabelConfig(StrictModel):
    """What a close-up shows whose box has one label."""

    shows: tuple[str, ...] = ("style",)
    """Semantic classes (files of `vocabulary/classes`, or `other`) of the tags that it inherits from its picture."""
    add: tuple[str, ...] = ("close-up",)
    """Tags that it gets."""
    person: bool = False
    """It shows one of the persons of its picture: it inherits the tags of characters, and how many people there are."""
    margin: Annotated[float, pydantic.Field(ge=0, le=4)] | None = None
    """In place of `margin` of all."""

    @pydantic.field_validator("add")
    @classmethod
    def _tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        normal = tuple(normal_tag(tag) for tag in tags)
        if not all(normal):
            raise ValueError("has a tag without any character")
        return normal


LABELS = {
    "face": LabelConfig(shows=FACE, add=("close-up", "portrait"), person=True),
    "head": LabelConfig(shows=FACE, add=("portrait",), person=True),
    "halfbody": LabelConfig(shows=(*FACE, "accessories", "clothing"), add=("upper_body",), person=True),
    "salient": LabelConfig(shows=("style", "hair", "hairstyle"), person=True),
}
"""What is known of labels unless the configuration says otherwise; other labels are as `LabelConfig` has it."""


class CloseupsConfig(StrictModel):
    """Close-ups cut from pictures of the table, each a row of its own: `<key of its picture>#<n>`.

    Which pictures: those that are large or rare; all, where neither is asked. Where: boxes of files, of detectors, and
    where these have none, what stands out.
    """

    min_megapixels: Annotated[float, pydantic.Field(gt=0)] | None = None
    """From pictures of at least so many million pixels."""
    min_picture_side: Annotated[int, pydantic.Field(ge=1)] | None = None
    """From pictures whose shorter side has at least so many pixels."""
    rare: dict[RareKind, Annotated[int, pydantic.Field(ge=2)]] = pydantic.Field(default={})
    """Class of tags -> number: from pictures with a tag of the class that fewer pictures have."""
    boxes: tuple[Path, ...] = ()
    """CSV, JSONL or parquet files of boxes: key, left, top, right, bottom, and perhaps label and score; in pixels of
    the upright picture as it was decoded, before anything was cut off."""
    detectors: tuple[DetectorConfig, ...] = ()
    """Networks that find boxes."""
    saliency: bool = False
    """Cut what stands out (label `salient`), where there is no other box."""
    min_saliency: Share = 0.25
    """Least score of what stands out: its share of the saliency less its share of the area."""
    focus: Literal["keep", "saliency"] = "keep"
    """Set `focus_x` and `focus_y` of the pictures that have none to what stands out most. Opens all of them."""
    margin: Annotated[float, pydantic.Field(ge=0, le=4)] = 0.5
    """Share of a box's width and height that is added at each of its sides."""
    max_ratio: Annotated[float, pydantic.Field(ge=1)] = 2.0
    """Longest side of a close-up over its shortest."""
    min_side: Annotated[int, pydantic.Field(ge=16)] = 512
    """Least side of a close-up in pixels: nothing is enlarged."""
    max_share: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.6
    """Close-ups of a larger share of the picture are left out: they show nothing new."""
    max_overlap: Share = 0.3
    """Of two close-ups of a picture that share more of their area (intersection over union), the lesser one goes."""
    per_picture: Annotated[int, pydantic.Field(ge=1)] = 2
    """Close-ups of a picture at most, those of the best score."""
    tags: Literal["inherit", "tagger"] = "inherit"
    """`inherit`: the tags of the picture that such a close-up shows. `tagger`: those that the taggers of `models` see
    in the close-up itself, by the thresholds of `tag_sources`; of characters only those that the picture has."""
    several_people: Literal["skip", "count"] = "skip"
    """With `tags: inherit`, persons out of pictures with several: none is cut, as nobody knows which tags are whose; or
    they are cut, with `1girl`, `1boy` or `1other` where all are of one kind, and without tags of persons."""
    labels: dict[str, LabelConfig] = pydantic.Field(default={})
    """Label of boxes -> what such a close-up shows, in place of what is built in."""

    def of_label(self, label: str) -> LabelConfig:
        """What a close-up of this label shows."""
        return self.labels.get(label) or LABELS.get(label) or LabelConfig()

    @pydantic.model_validator(mode="after")
    def _has_work(self) -> CloseupsConfig:
        if not (self.boxes or self.detectors or self.saliency or self.focus == "saliency"):
            raise ValueError("say where close-ups are: give `boxes`, `detectors`, or `saliency: true`")
        return self
