"""CCIP: how different two pictures of characters are (deepghs/ccip_onnx)."""

from __future__ import annotations

from animetune.assets import Asset
from animetune.config import StrictModel


class CcipConfig(StrictModel):
    """The two models of CCIP."""

    name: str = "ccip"
    """What it is called in facts and messages."""
    feature: Asset
    """Its model_feat.onnx."""
    metric: Asset
    """Its model_metrics.onnx."""
