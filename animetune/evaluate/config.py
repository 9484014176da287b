"""The configuration of the `evaluate` stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.diffusion.config import SamplerConfig
from animetune.diffusion.draw_config import PLAIN, TextConfig
from animetune.executor import ExecutorConfig
from animetune.models.config import ModelConfig, Weights
from animetune.records import PIXELS_PER_CELL, Size
from animetune.remote import ON_THIS_MACHINE
from animetune.vision.aesthetics import ScorerConfig
from animetune.vision.taggers import TaggerConfig

Count = Annotated[int, pydantic.Field(ge=1)]
Threshold = Annotated[float, pydantic.Field(gt=0, lt=1)]
Seeds = Annotated[tuple[Annotated[int, pydantic.Field(ge=0)], ...], pydantic.Field(min_length=1)]
ModelName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
Rating = Literal["general", "sensitive", "questionable", "explicit"]
SMALLEST_SIDE = 64


def _is_size(text: str) -> str:
    try:
        size = Size.parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no size; write <width>x<height>, as 832x1216") from error
    if min(size) < SMALLEST_SIDE or any(side % PIXELS_PER_CELL for side in size):
        raise ValueError(f"{text}: sides should be multiples of {PIXELS_PER_CELL} and at least {SMALLEST_SIDE}")
    return size.name


SizeName = Annotated[str, pydantic.AfterValidator(_is_size)]
Sizes = Annotated[tuple[SizeName, ...], pydantic.Field(min_length=1)]


class EvaluatedModel(StrictModel):
    """A model that draws, or pictures that one has drawn."""

    base: str | None = None
    """Its weights: a run directory, an export, a diffusers folder, a single file, a hub id or `builtin:tiny`."""
    weights: Weights = "ema"
    """Which weights of a run directory: `ema`, `ema-0.999` or `raw`."""
    vae: str | None = None
    """Another VAE than that of `base`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that UNet and text encoders are computed in."""
    mask_padding: bool = False
    """Hide the padding of prompts, as the model was trained."""
    pictures: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Score the pictures of this folder in place of drawing: one of `animetune sample`, one with an `images.jsonl`
    (file, prompt, seed, width, height), or PNGs that carry A1111's parameters, as A1111, Forge and ComfyUI's savers
    write them. Prompt, seed and size say which picture answers what."""
    allow_missing: bool = False
    """Score `pictures` also where some of those asked for are not among them."""

    @pydantic.model_validator(mode="after")
    def _draws_or_has_drawn(self) -> EvaluatedModel:
        if (self.base is None) == (self.pictures is None):
            raise ValueError("give `base`, the weights that draw, or `pictures`, a folder of what was drawn")
        if self.allow_missing and self.pictures is None:
            raise ValueError("allow_missing: goes with `pictures`")
        return self

    @property
    def model(self) -> ModelConfig:
        """What is loaded to draw."""
        assert self.base is not None
        return ModelConfig(
            base=self.base, weights=self.weights, vae=self.vae, dtype=self.dtype, mask_padding=self.mask_padding
        )


class _Probe(StrictModel):
    prompts: Path | None = None
    """File of more prompts, or of all with `replace`: JSON lines, or text with one prompt a line where a prompt is all
    that this probe needs. docs/evaluate.md has the fields."""
    replace: bool = False
    """Ask only what `prompts` holds."""
    limit: Count | None = None
    """Ask so many of the prompts, taken evenly from the list; for a quick look."""
    seeds: Seeds | None = None
    """Every prompt is drawn with every seed; null: those of the stage."""
    sizes: Sizes | None = None
    """Every prompt is drawn at every size; null: those of the stage."""

    @pydantic.model_validator(mode="after")
    def _replaces_by_something(self) -> _Probe:
        if self.replace and self.prompts is None:
            raise ValueError("replace: needs `prompts`, the file to ask from")
        return self


class _TaggedProbe(_Probe):
    threshold: Threshold = 0.35
    """A tag is there when the tagger finds it at least so likely."""


class LeakConfig(_TaggedProbe):
    """How often a person appears where none was asked for (DashAnime XL)."""

    name: Literal["leak"]
    arms: Annotated[tuple[Literal["plain", "prefix"], ...], pydantic.Field(min_length=1)] = ("plain", "prefix")
    """Ask without the prefix, with it, or both."""


class PrefixConfig(_TaggedProbe):
    """How often a picture is a photo or realistic, with and without the prefix (DashAnime XL)."""

    name: Literal["prefix"]


class LengthsConfig(_TaggedProbe):
    """What short, long and very long prompts of one content bring of the things that all name (DashAnime XL)."""

    name: Literal["lengths"]


class _WordedProbe(_Probe):
    template: str = "{prefix}{prompt}. {words}"
    """How a prompt is put together; without words, commas and full stops at its ends go, too."""

    @pydantic.field_validator("template")
    @classmethod
    def _has_its_places(cls, template: str) -> str:
        left = template
        for place in ("{prefix}", "{prompt}", "{words}"):
            left = left.replace(place, "")
        if "{prompt}" not in template or "{words}" not in template or "{" in left or "}" in left:
            raise ValueError(f"{template!r} should hold {{prompt}} and {{words}}, and no other braces but {{prefix}}")
        return template


class RatingConfig(_WordedProbe):
    """Whether pictures have the rating that a word asks for."""

    name: Literal["rating"]
    words: Annotated[dict[str, Rating], pydantic.Field(min_length=1)] = pydantic.Field(
        default={"safe": "general", "sensitive": "sensitive"}
    )
    """Words of a prompt -> the rating that they should bring, as the tagger calls it."""


class QualityConfig(_WordedProbe):
    """What quality words do: a grid of pictures, and the scorer's mean by word."""

    name: Literal["quality"]
    quality: tuple[str, ...] = (
        "masterpiece quality",
        "best quality",
        "high quality",
        "medium quality",
        "normal quality",
        "low quality",
        "worst quality",
    )
    """Words from the best to the worst."""
    aesthetic: tuple[str, ...] = ("very aesthetic", "aesthetic", "displeasing", "very displeasing")
    """Words from the best to the worst."""
    grid_rows: Count = 6
    """Prompts shown in a grid."""

    @pydantic.model_validator(mode="after")
    def _has_ladders(self) -> QualityConfig:
        for field in ("quality", "aesthetic"):
            words = getattr(self, field)
            if len(words) == 1 or len(set(words)) < len(words):
                raise ValueError(f"{field}: needs two different words or more, from the best to the worst, or none")
        if not self.quality and not self.aesthetic:
            raise ValueError("quality: and `aesthetic` are both empty; give words, or remove the probe")
        return self


class BlackWhiteConfig(_Probe):
    """How dark and how bright pictures become that are asked to be black or white (zero terminal SNR)."""

    name: Literal["black_white"]


ProbeConfig = Annotated[
    LeakConfig | PrefixConfig | LengthsConfig | RatingConfig | QualityConfig | BlackWhiteConfig,
    pydantic.Field(discriminator="name"),
]


class EvaluateConfig(StrictModel):
    """`animetune evaluate CONFIG`."""

    stage: Literal["evaluate"]
    title: str = "Evaluation"
    """Heading of the page."""
    models: Annotated[dict[ModelName, EvaluatedModel], pydantic.Field(min_length=1)]
    """What is compared, by name: the base and the tuned model, raw and averaged weights ..."""
    baseline: str | None = None
    """The model that the others are compared with; null is the first."""
    probes: Annotated[tuple[ProbeConfig, ...], pydantic.Field(min_length=1)]
    """What is asked of all of them."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of pictures, answers, results.json and report.html; must not exist, or hold the very same request, which
    is gone on with."""
    prefix: str = "anime illustration, "
    """What stands before prompts, but for those that are asked without."""
    negative: str = ""
    """Negative prompt of all."""
    seeds: Seeds = (0, 1, 2, 3)
    """Every prompt is drawn with every seed."""
    sizes: Sizes = ("1024x1024",)
    """Every prompt is drawn at every size, <width>x<height>."""
    sampler: SamplerConfig = SamplerConfig()
    """Sampler, its steps and guidance; the same for all models."""
    text: TextConfig = PLAIN
    """How prompts are read; `split` as the models were trained."""
    batch: Count = 4
    """Pictures drawn, and looked at, at once; changes speed and memory, and single grey levels by rounding."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw, and to look at pictures."""
    tagger: TaggerConfig | None = None
    """Says what is to be seen. Without it pictures and grids are made, and the page says what was not scored."""
    aesthetic: ScorerConfig | None = None
    """Scores pictures for the probe of quality words."""
    executor: ExecutorConfig = ExecutorConfig(workers=0)
    """Processes that look at pictures; each loads the tagger."""

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> EvaluateConfig:
        if self.baseline is not None and self.baseline not in self.models:
            raise ValueError(f"baseline: {self.baseline!r} is none of the models: {', '.join(self.models)}")
        names = [probe.name for probe in self.probes]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"probes.{place}: {name} is asked twice; write its settings in one place")
        for place, probe in enumerate(self.probes):
            if self.tagger and isinstance(probe, _TaggedProbe) and probe.threshold < self.tagger.floor:
                raise ValueError(
                    f"probes.{place}: threshold {probe.threshold:g} lies below tagger.floor {self.tagger.floor:g}, "
                    "under which nothing is kept; lower the floor"
                )
        return self

    @property
    def reference(self) -> str:
        """The name of the baseline."""
        return self.baseline or next(iter(self.models))
