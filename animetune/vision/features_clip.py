"""Features by a CLIP of transformers: its projected image embeddings, computed in float32."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animetune.errors import DataError, SetupError
from animetune.vision.features import BESIDE, ClipFeaturesConfig
from animetune.vision.features_onnx import finite
from animetune.vision.picture_input import CLIP_MEAN, CLIP_STD, Numbers, fitted, normalised, on_white
from animetune.vision.session import Device, in_batches


class ClipFeatures:
    """`Features` of a CLIP; `batch` pictures are looked at at once. Only safetensors are read."""

    def __init__(self, cfg: ClipFeaturesConfig, device: Device, batch: int):
        import transformers
        from safetensors import SafetensorError

        from animetune.models.device import pick_device

        folder = _folder(cfg)
        self._device = pick_device(device, setting="device")
        self._cfg = cfg
        self._batch = batch
        self._numbers = _numbers(folder / BESIDE[1])
        try:
            model, said = transformers.CLIPVisionModelWithProjection.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise DataError(
                f"{cfg.name}: {folder}: transformers cannot open it as a CLIP: {str(error).splitlines()[0]}"
            ) from error
        if said["missing_keys"]:
            raise DataError(
                f"{cfg.name}: {folder}: lacks {len(said['missing_keys'])} weights of a CLIP with a projection, such as "
                f"{sorted(said['missing_keys'])[0]}; take the whole model"
            )
        self._model = model.to(self._device).float().eval()
        side = model.config.image_size
        self._size = (side, side)

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """See `Features`."""
        if not pictures:
            return np.zeros((0, 0), dtype=np.float32)
        return finite(in_batches(self, pictures, self._read, self._batch)[0], self._cfg.name)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """As of `Session`."""
        return (None, 3, *self._size)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """As of `Session`."""
        import torch

        with torch.inference_mode():
            return [self._model(torch.from_numpy(batch).to(self._device)).image_embeds.float().cpu().numpy()]

    def _read(self, picture: Image.Image) -> np.ndarray:
        return normalised(fitted(on_white(picture), self._size, self._cfg.fit, "bicubic"), self._numbers)


def _folder(cfg: ClipFeaturesConfig) -> Path:
    weights = cfg.model.locate()
    missing = [file for file in BESIDE if not (weights.parent / file).is_file()]
    if weights.name != "model.safetensors" or missing:
        raise SetupError(f"{cfg.name}: {weights}: should be a model.safetensors with {' and '.join(BESIDE)} beside it")
    return weights.parent


def _numbers(file: Path) -> Numbers:
    """CLIP's, unless the model's own file has others."""
    try:
        given: dict[str, Any] = json.loads(file.read_bytes())
        mean, std = (tuple(float(each) for each in given.get(key, known)) for key, known in _KNOWN.items())
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: is no preprocessor_config.json ({error}); get it again") from error
    if len(mean) != len(CLIP_MEAN) or len(std) != len(CLIP_STD) or min(std) <= 0:
        raise DataError(f"{file}: image_mean and image_std: are not 3 numbers each, those of image_std above 0")
    return Numbers(mean, std)


_KNOWN = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}
