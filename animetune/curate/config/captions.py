"""Captions by models: which model is asked what, how, how often, and what becomes of a picture that gets none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic

from animetune.config import StrictModel
from animetune.curate.config.caption_text import ChecksConfig, StyleConfig

Seconds = Annotated[float, pydantic.Field(gt=0)]
Count = Annotated[int, pydantic.Field(ge=1)]
Price = Annotated[float, pydantic.Field(ge=0)]
CaptionForm = Literal["text", "both", "characters"]
ShortBy = Literal["answer", "model", "rules", "none"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("messages", "model", "stream", "n", "temperature", "top_p", "max_tokens", "seed")


def _is_a_variable(name: str) -> str:
    """The value is not told in the error: it is a key, where somebody put one here."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError("should be the NAME of an environment variable that holds the key, as MY_KEY, not the key")
    return name


class SentPictureConfig(StrictModel):
    """In what form a picture is sent."""

    side: Annotated[int, pydantic.Field(ge=16, le=8192)] = 1024
    """Longest side in pixels; larger pictures are scaled down (Lanczos), smaller ones stay."""
    format: Literal["JPEG", "WEBP", "PNG"] = "JPEG"
    """Encoding."""
    quality: Annotated[int, pydantic.Field(ge=1, le=100)] = 90
    """Of JPEG and WebP. A JPEG that needs no change is sent as it is."""


class ModelConfig(StrictModel):
    """One model, behind a server or in a local folder, and what it is asked."""

    base_url: str | None = None
    """A server that speaks the protocol of OpenAI, up to and with `/v1`. The same model served elsewhere is the same:
    moving it asks nothing again."""
    folder: Path | None = None
    """A folder in the layout of transformers with safetensors, in place of a server. No code from it is run."""
    model: Annotated[str, pydantic.Field(min_length=1)]
    """Name of the model, as the server knows it; for a local folder a name that is new when its weights are."""
    api_key_env: Annotated[str, pydantic.AfterValidator(_is_a_variable)] | None = None
    """NAME of the environment variable that holds the key; never the key. Null for servers that want none."""
    templates: Annotated[tuple[str, ...], pydantic.Field(min_length=1)] | None = None
    """What is asked: names of templates that come with animetune, or paths of files. Each gives a caption of its own.
    Null takes the one that fits."""
    per_template: Annotated[int, pydantic.Field(ge=1, le=16)] = 1
    """Captions of each template, by different seeds."""
    temperature: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.6
    """Of sampling."""
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.9
    """Of sampling."""
    max_tokens: Count = 512
    """Longest answer; one that is cut there is asked for again."""
    seed: int = 0
    """Seed of the first answer; those of others follow from it. Servers that know no seeds ignore it."""
    extra_body: Annotated[dict[str, Any], pydantic.Field(default_factory=dict)]
    """Other fields of the request, as the server knows them: `repetition_penalty`, `chat_template_kwargs`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of a local model."""
    batch: Count = 8
    """Requests that a local model answers at once."""
    prompt_price: Price | None = None
    """Price of a million prompt tokens, in any currency, for the cost in the manifest."""
    completion_price: Price | None = None
    """Price of a million completion tokens."""

    @pydantic.model_validator(mode="after")
    def _one_place(self) -> ModelConfig:
        if (self.base_url is None) == (self.folder is None):
            raise ValueError("give either base_url, of a server, or folder, of a local model")
        if self.base_url is not None and urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError("base_url: should begin with http:// or https:// and mostly ends with /v1")
        if self.base_url is not None and self.base_url.rstrip("/").endswith("/completions"):
            raise ValueError("base_url: should end before /chat/completions, mostly with /v1")
        if strange := [name for name in self.extra_body if name in _RESERVED]:
            raise ValueError(f"extra_body: {strange[0]} is set by animetune; use the setting of that name")
        return self

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


class ClientConfig(StrictModel):
    """How servers are asked; changes no answer."""

    concurrency: Annotated[int, pydantic.Field(ge=1, le=4096)] = 16
    """Pictures asked about at once."""
    connect: Seconds = 5.0
    """Seconds to reach the server."""
    read: Seconds = 120.0
    """Seconds for a whole answer, however it trickles."""
    attempts: Count = 6
    """How often a request is sent that the server fails to answer. One that it has no time for (429) is sent three
    times as often."""
    backoff: Seconds = 1.0
    """Seconds of the first wait, at most; each further one is up to twice as long. The server's Retry-After goes
    first."""
    longest_wait: Seconds = 60.0
    """Seconds; a longer Retry-After is waited for up to ten times this."""
    breaker_failures: Count = 20
    """So many requests in a row that failed, at least as many as are asked at once, and everything pauses."""
    breaker_pause: Seconds = 30.0
    """Seconds of such a pause."""
    breaker_pauses: Annotated[int, pydantic.Field(ge=0)] = 5
    """Pauses in a row before the stage stops. The same command goes on from there."""


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
