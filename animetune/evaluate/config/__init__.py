"""`EvaluateConfig`: the YAML of the `evaluate` stage, field for field; one file a group of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.diffusion.config import SamplerConfig
from animetune.diffusion.draw_config import PLAIN, TextConfig
from animetune.evaluate.config.adherence import AdherenceConfig
from animetune.evaluate.config.aesthetic import AestheticConfig
from animetune.evaluate.config.asked import AskedProbe, Count, Seeds, Sizes, TaggedProbe
from animetune.evaluate.config.characters import CharactersConfig
from animetune.evaluate.config.claims import (
    BlackWhiteConfig,
    LeakConfig,
    LengthsConfig,
    PrefixConfig,
    QualityConfig,
    RatingConfig,
)
from animetune.evaluate.config.distribution import DistributionConfig
from animetune.evaluate.config.fidelity import FidelityConfig
from animetune.evaluate.config.models import REFERENCE, CheckpointsConfig, EvaluatedModel, ModelName
from animetune.evaluate.config.vision import VisionConfig
from animetune.executor import ExecutorConfig
from animetune.remote import ON_THIS_MACHINE
from animetune.vision.aesthetics import ScorerConfig
from animetune.vision.ccip import CcipConfig
from animetune.vision.features import FeaturesConfig
from animetune.vision.taggers import TaggerConfig

__all__ = [
    "REFERENCE",
    "AdherenceConfig",
    "AestheticConfig",
    "AskedProbe",
    "BlackWhiteConfig",
    "CcipConfig",
    "CharactersConfig",
    "CheckpointsConfig",
    "DistributionConfig",
    "EvaluateConfig",
    "EvaluatedModel",
    "FeaturesConfig",
    "FidelityConfig",
    "LeakConfig",
    "LengthsConfig",
    "PrefixConfig",
    "ProbeConfig",
    "QualityConfig",
    "RatingConfig",
    "TaggedProbe",
    "VisionConfig",
]

ProbeConfig = Annotated[
    LeakConfig
    | PrefixConfig
    | LengthsConfig
    | RatingConfig
    | QualityConfig
    | BlackWhiteConfig
    | CharactersConfig
    | AdherenceConfig
    | FidelityConfig
    | DistributionConfig
    | AestheticConfig,
    pydantic.Field(discriminator="name"),
]


class EvaluateConfig(StrictModel):
    """`animetune evaluate CONFIG`."""

    stage: Literal["evaluate"]
    title: str = "Evaluation"
    """Heading of the page."""
    models: dict[ModelName, EvaluatedModel] = pydantic.Field(default={})
    """What is compared, by name: the base and the tuned model, raw and averaged weights ..."""
    checkpoints: CheckpointsConfig | None = None
    """The checkpoints of a run as models `step-<n>`, after `models`."""
    baseline: str | None = None
    """The model that the others are compared with; null is the first."""
    probes: Annotated[tuple[ProbeConfig, ...], pydantic.Field(min_length=1)]
    """What is asked of all of them."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of pictures, answers, results.json and report.html; must not exist, or hold this evaluation, which is gone
    on with: of the same models, or of others too, or of fewer."""
    answers: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Folder of what scorers said of pictures; null for one in `out`. Several evaluations may share one, at the same
    time too. No picture in it is looked at twice by the same scorer, and nothing removes it."""
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
    """Scores pictures for the probes `quality` and `aesthetic`."""
    ccip: CcipConfig | None = None
    """Says how different two characters look, for the probe `characters`."""
    features: FeaturesConfig | None = None
    """Gives a vector for a picture, for the probe `distribution`."""
    vision: VisionConfig | None = None
    """Answers questions about pictures, for the probe `adherence`."""
    executor: ExecutorConfig = ExecutorConfig(workers=0)
    """Processes that look at pictures; each loads the tagger."""

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> EvaluateConfig:
        if not self.models and self.checkpoints is None:
            raise ValueError("models: name what is compared, or give `checkpoints`, a run whose checkpoints are")
        if self.baseline is not None and self.checkpoints is None and self.baseline not in self.models:
            raise ValueError(f"baseline: {self.baseline!r} is none of the models: {', '.join(self.models)}")
        names = [probe.name for probe in self.probes]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"probes.{place}: {name} is asked twice; write its settings in one place")
        for place, probe in enumerate(self.probes):
            for setting, threshold in probe.tag_thresholds.items():
                if self.tagger and threshold < self.tagger.floor:
                    raise ValueError(
                        f"probes.{place}: {setting} {threshold:g} lies below tagger.floor {self.tagger.floor:g}, "
                        "under which nothing is kept; lower the floor"
                    )
        return self

    @property
    def reference(self) -> str:
        """The name of the baseline."""
        return self.baseline or next(iter(self.models))
