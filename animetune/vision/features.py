"""Features of pictures, by which sets of them are compared."""

from __future__ import annotations

from typing import Literal

from animetune.assets import Asset
from animetune.config import StrictModel


class FeaturesConfig(StrictModel):
    """A model in ONNX that gives a vector for a picture."""

    kind: Literal["onnx"] = "onnx"
    """What it is."""
    model: Asset
    """The ONNX file."""
