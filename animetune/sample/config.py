"""The configuration of the `sample` stage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.diffusion.config import SamplerConfig, Share, Side
from animetune.diffusion.draw_config import PLAIN, TextConfig, UpscaleConfig
from animetune.executor import ExecutorConfig
from animetune.models.config import ModelConfig
from animetune.records import Request, Size
from animetune.remote import ON_THIS_MACHINE
from animetune.sample import axes
from animetune.sample.drawing import Drawing
from animetune.samples.sheets import MAX_SHEET

Count = Annotated[int, pydantic.Field(ge=1)]
Seed = Annotated[int, pydantic.Field(ge=-(2**63), lt=2**63)]
SizeName = Annotated[str, pydantic.Field(pattern=r"^\d+x\d+$")]
Value = bool | int | float | str | None

PLACEHOLDER = "{prompt}"


class PromptConfig(StrictModel):
    """A prompt with settings of its own; what is not given is the stage's."""

    prompt: str
    """What to draw."""
    negative: str | None = None
    """In place of the negative prompt of all."""
    seed: Seed | None = None
    """Drawn with this seed only, not with each of `seeds`."""
    width: Side | None = None
    """Pixels; with `height`, drawn in this size only."""
    height: Side | None = None
    """Pixels."""
    steps: Annotated[int, pydantic.Field(ge=1, le=500)] | None = None
    """In place of sampler.steps."""
    cfg_scale: Annotated[float, pydantic.Field(ge=0)] | None = None
    """In place of sampler.cfg_scale."""
    sampler: str | None = None
    """In place of sampler.name, and of sampler.sigmas if it is one of A1111's names such as `DPM++ 2M Karras`."""
    init: Path | None = None
    """Picture to start from, in place of noise."""
    strength: Share | None = None
    """With `init`: how much of it is drawn anew; 1 is all. Null: 0.6."""

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> PromptConfig:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: give both, or neither")
        if self.strength is not None and self.init is None:
            raise ValueError("strength: is for a picture to start from; name it in init, or leave strength out")
        return self


class AxisConfig(StrictModel):
    """One direction of a grid: a setting and the values that it takes."""

    key: str
    """What changes: `seed`, `size`, `prompt`, `negative`, `replace` (the first value is looked for in the prompts, and
    each value is put in its place), `strength`, `model`, or a setting: `sampler.steps`, `sampler.name`,
    `model.weights`, `upscale.factor` ..."""
    values: Annotated[tuple[Value, ...], pydantic.Field(min_length=1)]
    """One after the other."""
    titles: tuple[str, ...] = ()
    """What the values are called in the grid; as they are written if left out."""

    @pydantic.model_validator(mode="after")
    def _a_title_each(self) -> AxisConfig:
        if self.titles and len(self.titles) != len(self.values):
            raise ValueError(f"titles: {len(self.titles)} for {len(self.values)} values; give one each, or none")
        if len(set(map(repr, self.values))) != len(self.values):
            raise ValueError("values: one is there twice")
        return self


class GridConfig(StrictModel):
    """Every value of each axis with every value of the others, over all prompts, seeds and sizes."""

    x: AxisConfig
    """Columns."""
    y: AxisConfig | None = None
    """Rows; null: the prompts, or the seeds."""
    z: AxisConfig | None = None
    """A sheet for each."""

    @property
    def axes(self) -> dict[str, AxisConfig]:
        """Those that are there, by name."""
        named = {"x": self.x, "y": self.y, "z": self.z}
        return {name: axis for name, axis in named.items() if axis is not None}

    @pydantic.model_validator(mode="after")
    def _can_be_seen(self) -> GridConfig:
        keys = [axis.key for axis in self.axes.values() if axis.key != "replace"]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"{twice[0]}: is on two axes")
        sheet = math.prod(len(axis.values) for axis in (self.x, self.y) if axis is not None)
        if sheet > MAX_SHEET:
            raise ValueError(
                f"x and y make a sheet of {sheet} pictures, at most {MAX_SHEET} can be seen; give fewer values, or put "
                "one of the two on z"
            )
        return self


class SampleConfig(StrictModel):
    """`animetune sample CONFIG`."""

    stage: Literal["sample"]
    model: ModelConfig
    """What draws: a run directory, a folder, a single file or a hub id."""
    out: Annotated[str, ON_THIS_MACHINE]
    """Folder of the pictures; must not exist, or hold the very same request."""
    prompts: tuple[str | PromptConfig, ...] = ()
    """Prompts, each as text or, with settings of its own, as `{prompt: ..., negative: ..., seed: ...}`."""
    prompts_file: Path | None = None
    """More prompts: .txt with one a line (kohya's `--n --w --h --d --s --l` are understood), .jsonl, .csv or .yaml with
    the settings of a prompt; or what was drawn before: a PNG with A1111's parameters, a folder of this
    stage, or its images.jsonl."""
    template: str = PLACEHOLDER
    """What is made of every prompt, such as `{prompt}, masterpiece, best quality`."""
    negative: str = ""
    """Negative prompt of all that have none of their own."""
    seeds: Annotated[tuple[Seed, ...], pydantic.Field(min_length=1)] = (0,)
    """Every prompt is drawn with every seed."""
    width: Side = 1024
    """Pixels."""
    height: Side = 1024
    """Pixels."""
    sizes: tuple[SizeName, ...] = ()
    """Several sizes, as `832x1216`, in place of `width` and `height`: every prompt is drawn in each."""
    text: TextConfig = PLAIN
    """How prompts are read: as they stand, or with A1111's weights, `(word:1.2)`."""
    sampler: SamplerConfig = SamplerConfig()
    """Sampler, its steps and guidance."""
    upscale: UpscaleConfig | None = None
    """A second pass that makes pictures larger ("hires fix"); null: none."""
    grid: GridConfig | None = None
    """Compare settings: rows and columns of pictures that differ in one setting each."""
    batch: Count = 4
    """Pictures drawn at once; changes speed and memory, and single grey levels by rounding."""
    columns: Count = 8
    """Columns of grid.png, where there is no `grid`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    executor: ExecutorConfig = ExecutorConfig()
    """Who draws. `workers`: null takes one a GPU (this process, if there is one or none); 0 is this process."""

    @pydantic.model_validator(mode="after")
    def _something_to_draw(self) -> SampleConfig:
        has_prompts = bool(self.prompts) or self.prompts_file is not None
        keys = [axis.key for axis in self.grid.axes.values()] if self.grid else []
        if "prompt" in keys and has_prompts:
            raise ValueError("grid: the prompts are on an axis; leave prompts and prompts_file out")
        if not has_prompts and "prompt" not in keys:
            raise ValueError("no prompts: give prompts or prompts_file")
        if self.template.count(PLACEHOLDER) != 1:
            raise ValueError(f"template: should hold {PLACEHOLDER} once, where the prompt goes")
        return self

    @pydantic.model_validator(mode="after")
    def _sizes_can_be_drawn(self) -> SampleConfig:
        for place, name in enumerate(self.sizes):
            try:
                axes.parse_size(name)
            except ValueError as error:
                raise ValueError(f"sizes.{place}: {error}") from error
        return self

    @pydantic.model_validator(mode="after")
    def _axes_can_be_drawn(self) -> SampleConfig:
        """Each value with the first ones of the axes that are turned before; all others are met when prompts are."""
        drawing = Drawing(Request("", 0, Size(64, 64)), self.model, self.sampler, self.text, self.upscale)
        named = self.grid.axes.items() if self.grid else ()
        for name, axis in sorted(named, key=lambda item: axes.application_order(item[1].key)):
            turned = []
            for place, value in enumerate(axis.values):
                try:
                    turned.append(axes.turned(drawing, axis.key, value, search=axis.values[0]))
                except ValueError as error:
                    raise ValueError(f"grid.{name}.values.{place}: {error}") from error
            drawing = turned[0]
        return self
