"""Features: a vector for a picture, by which sets of pictures are compared.

    pictures --picture_input--> network --> float32 (pictures, d)

`onnx`: any network of one picture input whose numbers are known, such as DINOv2 or CCIP's.
`clip`: the folder of a CLIP of transformers; its projected image embeddings, which CMMD is defined on.
`inception`: the network of FID and KID, by the weights of pytorch-fid, which are torch-fidelity's, too. It was trained
on photos of 1,000 kinds of things and says little of drawings.

What loads them is in `features_onnx`, `features_clip` and `features_inception`; only the last two need torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pydantic
from PIL import Image

from animetune.assets import Asset
from animetune.config import StrictModel
from animetune.vision.picture_input import CLIP_MEAN, CLIP_STD, Channels, Filter, Fit, Layout
from animetune.vision.session import Device

Name = Annotated[str, pydantic.Field(pattern=r"^[a-zA-Z0-9_.-]+$")]
Side = Annotated[int, pydantic.Field(ge=8, le=4096)]
Pool = Literal["first", "mean"]
Positive = Annotated[float, pydantic.Field(gt=0)]
BESIDE = ("config.json", "preprocessor_config.json")
"""Files of a folder of transformers beside its weights."""


class OnnxFeaturesConfig(StrictModel):
    """A network in ONNX."""

    kind: Literal["onnx"] = "onnx"
    """Any network that reads a picture."""
    name: Name = "onnx"
    """What it is called on the page and in messages."""
    model: Asset
    """The ONNX file."""
    output: str | None = None
    """Name of the output that is the vector; null is the only one."""
    pool: Pool | None = None
    """Of an output with a vector for each token: the `first`, as DINOv2's class token, or the `mean` of all. Of one
    with a vector for each place, (pictures, d, height, width): `mean`."""
    size: Side = 224
    """Side of its input in pixels, where the network leaves it open."""
    fit: Fit = "stretch"
    """How a picture becomes square: `stretch`, `crop` to the middle, or `pad` with white."""
    filter: Filter = "bicubic"
    """How it is resized."""
    mean: tuple[float, float, float] = CLIP_MEAN
    """Of the channels in their order, in levels from 0 to 1; the network reads (level - mean) / std."""
    std: tuple[Positive, Positive, Positive] = CLIP_STD
    """Of the channels in their order; 0.00392157 (1/255) and a mean of 0 make levels from 0 to 255."""
    channels: Channels = "rgb"
    """Order of the channels."""
    layout: Layout = "nchw"
    """Order of the axes: channels before height and width, or behind."""


class ClipFeaturesConfig(StrictModel):
    """The vision side of a CLIP of transformers."""

    kind: Literal["clip"]
    """A folder with model.safetensors, config.json and preprocessor_config.json."""
    name: Name = "clip"
    """What it is called on the page and in messages."""
    model: Asset
    """Its model.safetensors, as that of openai/clip-vit-large-patch14-336, which CMMD was published with; the other two
    lie beside it."""
    fit: Fit = "crop"
    """How a picture becomes square: `crop` to the middle as CLIP was trained, `stretch`, or `pad` with white."""


class InceptionFeaturesConfig(StrictModel):
    """Inception v3 of 2015, the network of FID and KID."""

    kind: Literal["inception"]
    """Its 2,048 numbers behind the last pooling."""
    name: Name = "inception-2015-12-05"
    """What it is called on the page and in messages."""
    model: Asset
    """pt_inception-2015-12-05-6726825d.pth of mseitzer/pytorch-fid, as safetensors; docs/evaluate-pictures.md says how.
    """
    fit: Fit = "stretch"
    """How a picture becomes square: `stretch`, `crop` to the middle, or `pad` with white."""


FeaturesConfig = Annotated[
    OnnxFeaturesConfig | ClipFeaturesConfig | InceptionFeaturesConfig, pydantic.Field(discriminator="kind")
]


class Features(Protocol):
    """Gives a vector for a picture."""

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """float32 (pictures, d), all finite; pictures of any size and mode. Raises DataError where there are none."""


def load_features(cfg: FeaturesConfig, device: Device, batch: int) -> Features:
    """The network of a configuration, loaded once a process; `batch` pictures are looked at at once.

    Raises SetupError for a file, extra or GPU that is missing, DataError for a file that is no such network.
    """
    return _loaded(cfg, device, batch)


@functools.lru_cache(maxsize=2)
def _loaded(cfg: FeaturesConfig, device: Device, batch: int) -> Features:
    if isinstance(cfg, OnnxFeaturesConfig):
        from animetune.vision.features_onnx import open_onnx_features

        return open_onnx_features(cfg, device, batch)
    if isinstance(cfg, ClipFeaturesConfig):
        from animetune.vision.features_clip import ClipFeatures

        return ClipFeatures(cfg, device, batch)
    from animetune.vision.features_inception import InceptionFeatures

    return InceptionFeatures(cfg, device, batch)


def digests(cfg: FeaturesConfig) -> dict[str, Any]:
    """What its vectors depend on: the files, and how pictures are made ready."""
    settings = cfg.model_dump(mode="json", exclude={"name", "model"})
    files = {"model": cfg.model.digest}
    if isinstance(cfg, ClipFeaturesConfig):
        files |= {file: cfg.model.beside(file).digest for file in BESIDE}
    return {**settings, **files}
