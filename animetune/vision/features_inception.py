"""Features by Inception v3 of 2015, as FID and KID are defined on it: torchvision's blocks with TensorFlow's pools.

The network of the papers was ported from TensorFlow (mseitzer/pytorch-fid). It differs from torchvision's in the
average pools, which do not count the border, and in the last block, whose pool takes the maximum. Its picture is
reduced by Pillow's antialiased bicubic filter (Parmar, Zhang and Zhu 2022, "On Aliased Resizing"), not by bilinear
sampling of four pixels as in the oldest code: numbers are those of clean-fid's convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import inception

from animetune.errors import DataError
from animetune.models.device import pick_device
from animetune.vision.features import InceptionFeaturesConfig
from animetune.vision.features_onnx import finite
from animetune.vision.picture_input import Numbers, fitted, normalised, on_white
from animetune.vision.session import Device, in_batches

SIZE = (299, 299)
CLASSES = 1008
"""Of TensorFlow's network; torchvision's has 1,000."""
NUMBERS = Numbers((128 / 255,) * 3, (128 / 255,) * 3)
"""(level - 128) / 128."""


class _A(inception.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_mean_inside(x))]


class _C(inception.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_mean_inside(x))]


class _E(inception.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_mean_inside(x))]


class _Last(inception.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(F.max_pool2d(x, kernel_size=3, stride=1, padding=1))]


class InceptionFeatures:
    """`Features` of Inception v3, d = 2048; `batch` pictures are looked at at once."""

    def __init__(self, cfg: InceptionFeaturesConfig, device: Device, batch: int):
        self._device = pick_device(device, setting="device")
        self._cfg = cfg
        self._batch = batch
        network = build()
        _load(network, cfg.model.locate(), cfg.name)
        network.fc = nn.Identity()
        self._model = network.to(self._device).eval()

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """See `Features`."""
        if not pictures:
            return np.zeros((0, 0), dtype=np.float32)
        return finite(in_batches(self, pictures, self._read, self._batch)[0], self._cfg.name)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """As of `Session`."""
        return (None, 3, *SIZE)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """As of `Session`."""
        with torch.inference_mode():
            return [self._model(torch.from_numpy(batch).to(self._device)).float().cpu().numpy()]

    def _read(self, picture: Image.Image) -> np.ndarray:
        return normalised(fitted(on_white(picture), SIZE, self._cfg.fit, "bicubic"), NUMBERS)


def build() -> inception.Inception3:
    """The network without its weights; its state has the names and shapes of the published file."""
    blocks: list[Any] = [
        inception.BasicConv2d,
        _A,
        inception.InceptionB,
        _C,
        inception.InceptionD,
        _E,
        inception.InceptionAux,
    ]
    network = inception.Inception3(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c = _Last(2048)
    return network


def _load(network: nn.Module, path: Path, name: str) -> None:
    if path.suffix != ".safetensors":
        raise DataError(
            f"{name}: {path}: pickled weights are not read, they can run code; convert the file to safetensors, as "
            "docs/evaluate-pictures.md says"
        )
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{name}: {path}: is not the Inception of pytorch-fid: {_first_line(error)}") from error


def _mean_inside(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
