"""Tiny detectors in ONNX whose boxes are known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.onnx_models import save_network

SIDE = 64
"""Of the input of the network."""


def save_detector(
    path: Path, boxes: Sequence[tuple[float, float, float, float, int]], labels: Sequence[str], **settings: Any
) -> dict[str, Any]:
    """A detector of YOLOv10's layout, as a configuration: boxes (left, top, right, bottom, label) in pixels of its
    square of SIDE, whose scores are the mean redness of that square."""
    width = 6 * len(boxes)
    slopes, offsets = np.zeros((3, width), np.float32), np.zeros(width, np.float32)
    for at, (left, top, right, bottom, label) in enumerate(boxes):
        offsets[6 * at : 6 * at + 6] = (left, top, right, bottom, 0, label)
        slopes[0, 6 * at + 4] = 1
    save_network(
        path,
        (1, 3, SIDE, SIDE),
        [
            ("ReduceMean", ["pixels"], "means", {"axes": [2, 3], "keepdims": 0}),
            ("MatMul", ["means", "slopes"], "product", {}),
            ("Add", ["product", "offsets"], "sum", {}),
            ("Reshape", ["sum", "layout"], "output", {}),
        ],
        slopes=slopes,
        offsets=offsets,
        layout=np.array([1, len(boxes), 6], np.int64),
    )
    return {"asset": {"path": str(path)}, "labels": list(labels), "size": SIDE, "device": "cpu", **settings}
