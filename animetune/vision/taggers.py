"""Taggers: how likely each tag of a list is to be true of a picture (the WD taggers by SmilingWolf, v1.4 and v3).

    picture --white square, bicubic--> (side, side, 3) BGR 0..255 --Session.run--> (tags,) probabilities

The list is the model's `selected_tags.csv`: tag_id, name, category, count, a line for each output. Names stay as the
site writes them, with `_`, kaomoji too.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic
from PIL import Image

from animetune.assets import Asset
from animetune.config import StrictModel
from animetune.errors import DataError
from animetune.vision.session import Device, Session, in_batches, open_session

WHITE = (255, 255, 255)
KINDS = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"}
"""Danbooru's numbers of categories, and WD's 9 for what it calls ratings."""
RATING = "rating"
SIDE = 448
"""Of the input in pixels, where the model leaves it open: that of all WD taggers."""
_SLACK = 1e-3
"""What a sigmoid in half precision may be beyond 0 and 1."""


class TaggerConfig(StrictModel):
    """A tagger, and the list of its tags."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-zA-Z0-9_-]+$")]
    """What it is called in facts and messages."""
    model: Asset
    """The ONNX file, as model.onnx of SmilingWolf/wd-swinv2-tagger-v3."""
    tags: Asset
    """Its selected_tags.csv."""
    floor: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.05
    """Less likely tags are not kept, and no threshold can bring them back without asking again."""


@dataclass(frozen=True, slots=True)
class TagList:
    """What the outputs of a tagger mean."""

    names: tuple[str, ...]
    """As on the site."""
    kinds: tuple[str, ...]
    """Values of KINDS."""

    @classmethod
    def read(cls, path: Path) -> TagList:
        """Of a selected_tags.csv. Raises DataError for a file that is none, naming the line."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8; it should be the selected_tags.csv of a tagger") from error
        lines = csv.DictReader(io.StringIO(text, newline=""))
        if not {"name", "category"} <= set(lines.fieldnames or ()):
            raise DataError(f"{path}: has the columns {lines.fieldnames}, not name and category as selected_tags.csv")
        names, kinds = [], []
        for line in lines:
            if line["category"] not in KINDS or not line["name"]:
                raise DataError(
                    f"{path}:{lines.line_num}: {line['name']!r} of category {line['category']!r}; "
                    f"known categories are {', '.join(f'{number} ({kind})' for number, kind in KINDS.items())}"
                )
            names.append(line["name"])
            kinds.append(KINDS[line["category"]])
        return cls(tuple(names), tuple(kinds))

    def __len__(self) -> int:
        return len(self.names)


class Tagger:
    """Says how likely tags are; `batch` pictures are looked at at once, unless the model has its own number."""

    def __init__(self, session: Session, tags: TagList, batch: int = 8, name: str = "tagger"):
        count, self._side = _square(session.input_shape, name)
        self._session = session
        self.tags = tags
        self._batch = count or batch
        self._name = name

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """float32 (images, tags), 0 to 1, or NaN where the model gives that. RGB pictures of any size.

        Raises DataError when its list of tags is not the model's, or it gives no probabilities.
        """
        if not images:
            return np.zeros((0, len(self.tags)), dtype=np.float32)
        found = in_batches(self._session, images, lambda image: wd_input(image, self._side), self._batch)[0]
        if found.ndim != 2 or found.shape[1] != len(self.tags):
            raise DataError(
                f"{self._name}: the model gives {found.shape[1:]} values for a picture, and its list has "
                f"{len(self.tags)} tags; take the selected_tags.csv that came with it"
            )
        return as_probabilities(found, self._name)


@functools.lru_cache(maxsize=4)
def load_tagger(cfg: TaggerConfig, device: Device, batch: int) -> Tagger:
    """The tagger of a configuration, loaded once a process."""
    tags = TagList.read(cfg.tags.locate())
    return Tagger(open_session(cfg.model, device), tags, batch, cfg.name)


def wd_input(image: Image.Image, side: int) -> np.ndarray:
    """float32 (side, side, 3), blue green red, 0 to 255: what WD taggers were trained on.

    The RGB picture stands in the middle of a white square, one pixel nearer the upper left if it has to, which is then
    resized by Pillow's bicubic filter (that of the authors' own demo of v3).
    """
    longer = max(image.size)
    if image.width != image.height:
        square = Image.new("RGB", (longer, longer), WHITE)
        square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
        image = square
    if longer != side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, dtype=np.float32)[:, :, ::-1])


def as_probabilities(found: np.ndarray, name: str) -> np.ndarray:
    """The values within 0 and 1. Raises DataError for others, such as logits; NaN stays."""
    if found.size and (np.nanmin(found, initial=0) < -_SLACK or np.nanmax(found, initial=0) > 1 + _SLACK):
        raise DataError(
            f"{name}: gives values from {np.nanmin(found):.3g} to {np.nanmax(found):.3g}, which are no probabilities; "
            "export it with its last sigmoid or softmax"
        )
    return np.clip(found, 0, 1)


def _square(shape: tuple[int | None, ...], name: str) -> tuple[int | None, int]:
    """(pictures in a batch, if the model says; side in pixels) of an input (b, side, side, 3)."""
    if len(shape) != 4 or shape[3] not in (3, None) or shape[1] != shape[2]:
        raise DataError(
            f"{name}: reads {shape}, and a WD tagger (pictures, side, side, 3); other taggers are not known here"
        )
    return shape[0], shape[1] or SIDE
