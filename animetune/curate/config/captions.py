"""Captions by models: which model is asked what, how, how often, and what becomes of a picture that gets none."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel
from animetune.curate.config.caption_text import ChecksConfig, StyleConfig
from animetune.vlm import config as vlm
from animetune.vlm.config import ClientConfig, SentPictureConfig

CaptionForm = Literal["text", "both", "characters"]
ShortBy = Literal["answer", "model", "rules", "none"]


class ModelConfig(vlm.ModelConfig):
    """One model, behind a server or in a local folder, and what it is asked."""

    templates: Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None = None
    """What is asked: names of templates that come with animetune, or paths of files. Each gives a caption of its own.
    Null takes the one that fits."""
    per_template: Annotated[int, pydantic.Field(ge=1, le=16)] = 1
    """Captions of each template, by different seeds."""

    @property
    def answers_depend_on(self) -> dict[str, Any]:
        """What changes answers: not where the model is, by which key, or what it costs."""
        apart = {"base_url", "folder", "api_key_env", "prompt_price", "completion_price", "device", "batch"}
        return self.model_dump(mode="json", exclude=apart)


class ShortConfig(StrictModel):
    """Where short captions come from."""

    by: ShortBy | None = None
    """`answer`: the long captions' model gives them with the long ones (`form: both`). `model`: that of `compress`,
    mostly without eyes and cheaper, makes them of the long ones. `rules`: the clauses of the long ones that say most.
    `none`. Null is `answer` with `form: both`, `model` where `compress` names one, else `rules`."""
    max_tokens: Annotated[int, pydantic.Field(ge=8)] = 75
    """Most CLIP tokens of a short caption; SDXL reads 75 at a time."""


class CaptionsConfig(StrictModel):
    """Captions for the pictures that are trained on: those with repeats above zero after balancing."""

    form: CaptionForm = "text"
    """What the vision model is asked for: a long caption as plain `text`, a long and a short one as JSON (`both`), or
    each of several `characters` by itself, as JSON, from which the caption is made."""
    long: ModelConfig
    """The vision model."""
    compress: ModelConfig | None = None
    """The model that makes short captions of long ones."""
    picture: SentPictureConfig = SentPictureConfig()
    """How pictures are sent."""
    short: ShortConfig = ShortConfig()
    """Where short captions come from."""
    existing: Literal["keep", "replace", "add"] = "keep"
    """Captions that posts bring along: `keep` asks for none where there are some (and makes only the short ones, where
    they lack), `replace` puts the model's in their place, `add` puts the model's behind them."""
    rewrites: Annotated[int, pydantic.Field(ge=0, le=10)] = 2
    """How often another answer is asked for in place of one that fails the checks, with its fault named."""
    on_refused: Literal["fallback", "keep", "drop"] = "fallback"
    """A picture for which there is no good answer: gets a caption made of its tags (`fallback`), stays with those that
    it had, or with none (`keep`), or is left out (`drop`; what is left is then balanced again)."""
    style: StyleConfig = StyleConfig()
    """References to style, which are taken out."""
    checks: ChecksConfig = ChecksConfig()
    """What captions have to pass."""
    client: ClientConfig = ClientConfig()
    """How servers are asked."""
    max_requests: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Stop when so many requests were sent; the same command goes on from there. Also `--max-requests`."""
    ask_again: bool = False
    """Ask again what servers refused or failed to answer in earlier runs."""

    @pydantic.model_validator(mode="after")
    def _short_can_be_had(self) -> CaptionsConfig:
        if self.short.by == "answer" and self.form != "both":
            raise ValueError("short.by: answer: only `form: both` gives short captions with the long ones")
        if self.short.by == "model" and self.compress is None:
            raise ValueError("short.by: model: name it in compress")
        if self.compress is not None and self.short_by != "model":
            raise ValueError(f"compress: is not asked with short.by: {self.short_by}; leave one of them out")
        return self

    @property
    def short_by(self) -> ShortBy:
        """Where short captions come from."""
        if self.short.by is not None:
            return self.short.by
        if self.compress is not None:
            return "model"
        return "answer" if self.form == "both" else "rules"

    @property
    def answers_depend_on(self) -> dict[str, Any]:
        """JSON value of all that captions depend on, beside the templates' text."""
        plain = self.model_dump(mode="json", exclude={"client", "max_requests", "ask_again", "long", "compress"})
        return plain | {
            "long": self.long.answers_depend_on,
            "compress": self.compress and self.compress.answers_depend_on,
            "short": {"by": self.short_by, "max_tokens": self.short.max_tokens},
        }

    def without_handling(self) -> CaptionsConfig:
        """A copy in which all that changes no caption is at its default, for the digest of a table's configuration."""
        plain = {"base_url": "http://", "folder": None, "api_key_env": None, "device": "auto", "batch": 8}
        changes = {
            "client": ClientConfig(),
            "max_requests": None,
            "ask_again": False,
            "long": self.long.model_copy(update=plain),
            "compress": self.compress and self.compress.model_copy(update=plain),
        }
        return self.model_copy(update=changes)
