"""The configuration of the `card` stage, field for field as in `configs/card.yaml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.diffusion.config import Side
from animetune.remote import ON_THIS_MACHINE

Text = Annotated[str, pydantic.Field(min_length=1)]
Count = Annotated[int, pydantic.Field(ge=1)]
DiffusersSampler = Literal[
    "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "heun", "lms", "ddim", "unipc"
]


class AboutConfig(StrictModel):
    """What no manifest knows: names, words and thanks."""

    title: Text
    """Name of the model."""
    license: Text
    """Licence of the weights: an id of the hub (openrail++), faipl-1.0-sd, or another, then with `license_link`. None
    is chosen for you, and one that a base forbids is refused."""
    license_name: str | None = None
    """Short name of a licence that the hub does not know; null for what `license` says."""
    license_link: str | None = None
    """Where its text is; needed for a licence that animetune does not know."""
    description: Text
    """What the model is, in Markdown."""
    author: str = ""
    """Who made it."""
    hub_id: Annotated[str, pydantic.Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    """Where it is published, owner/name; the code that loads it names it. Null: the code names a folder."""
    languages: tuple[Text, ...] = ("en",)
    """Languages of its prompts, as the hub writes them."""
    tags: tuple[Text, ...] = ("text-to-image", "stable-diffusion-xl", "anime")
    """Words to find it by."""
    datasets: tuple[Text, ...] = ()
    """Data sets on the hub that it was trained on, owner/name."""
    links: dict[Text, Text] = pydantic.Field(default={})
    """Text -> URL: demo, paper, chat."""
    limitations: tuple[Text, ...] = ()
    """What it cannot do, a sentence each, in addition to what is known from its settings."""
    thanks: tuple[Text, ...] = ()
    """Who and what helped, a line each."""
    original: str = ""
    """What the published recipe that this one follows states of itself, in Markdown; a section of its own, since it
    says nothing of this model's training."""


class InferenceConfig(StrictModel):
    """How pictures are drawn from it best."""

    sampler: DiffusersSampler = "euler_ancestral"
    """Recommended sampler."""
    karras: bool = False
    """Whether with the noise levels of Karras et al."""
    steps: Count = 28
    """Recommended steps."""
    cfg_scale: Annotated[float, pydantic.Field(ge=0)] = 6.0
    """Recommended guidance."""
    cfg_rescale: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    """Recommended rescaling of the guidance (Lin et al. 2023), for models with zero terminal SNR."""
    width: Side = 832
    """Pixels of the example."""
    height: Side = 1216
    """Pixels of the example."""
    advice: tuple[Text, ...] = ()
    """More of that, a line each: ranges, other samplers, habits."""
    prompt: str = ""
    """Prompt of the example; empty: one as it was trained."""
    prefix: str = ""
    """Words that are best put before a prompt."""
    suffix: str = ""
    """Words that are best put behind a prompt."""
    negative: str = ""
    """Recommended negative prompt."""


class HardwareConfig(StrictModel):
    """What the recipe is meant for; what the runs really had is read from them."""

    gpus: Count = 1
    """Number of GPUs, by which its batches are written as micro-batch x accumulation x GPUs."""
    name: str = ""
    """Their name."""


class CardConfig(StrictModel):
    """`animetune card CONFIG`."""

    stage: Literal["card"]
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of the card; must not exist, or hold the very same card."""
    export: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Folder of the finished weights, by `export` or `merge`; null: the card names no files."""
    runs: Annotated[tuple[Annotated[Path, ON_THIS_MACHINE], ...], pydantic.Field(min_length=1)]
    """The last training run; of a merge the last one of each of its models, the one whose prompts are described last.
    The runs before, their shards, labels and tables are found from there."""
    tables: tuple[Annotated[Path, ON_THIS_MACHINE], ...] = ()
    """Folders of curated tables that lie neither beside the labels, nor the shards, nor the runs."""
    configs: tuple[Path, ...] = ()
    """Configurations of the recipe, files or folders of them: what the recipe asks for where a run did otherwise, and
    its stages that were not run. A path that is not there is looked for among those that come with animetune, as
    `recipes/animagine-3.1`."""
    samples: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Folder of the `sample` stage, for pictures; null: none are shown."""
    pictures: Annotated[int, pydantic.Field(ge=0, le=100)] = 8
    """Pictures that are shown, at most, evenly chosen."""
    evaluation: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Folder of the `evaluate` stage; null: the card says that nothing was measured."""
    bases: dict[Text, Text] = pydantic.Field(default={})
    """Base -> its licence, where it is not known: a path or hub id as the run names it."""
    knowledge_cutoff: str | None = None
    """Day of the newest picture, as 2024-03-31, where the table does not know it."""
    hardware: HardwareConfig = HardwareConfig()
    """What the recipe is meant for."""
    inference: InferenceConfig = InferenceConfig()
    """How to draw from it."""
    about: AboutConfig
    """What no manifest knows."""

    @pydantic.field_validator("knowledge_cutoff", mode="before")
    @classmethod
    def _is_a_day(cls, day: object) -> object:
        if day is not None and not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", str(day)):
            raise ValueError("should be a day, a month or a year, as 2024-03-31")
        return None if day is None else str(day)
