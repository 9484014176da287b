"""Which vision-language model is asked, in what form pictures are sent to it, and how servers are treated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic

from animetune.config import StrictModel

Seconds = Annotated[float, pydantic.Field(gt=0)]
Count = Annotated[int, pydantic.Field(ge=1)]
Price = Annotated[float, pydantic.Field(ge=0)]

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
    """One model, behind a server or in a local folder."""

    base_url: str | None = None
    """A server that speaks the protocol of OpenAI, up to and with `/v1`. The same model served elsewhere is the same:
    moving it asks nothing again."""
    folder: Path | None = None
    """A folder in the layout of transformers with safetensors, in place of a server. No code from it is run."""
    model: Annotated[str, pydantic.Field(min_length=1)]
    """Name of the model, as the server knows it; for a local folder a name that is new when its weights are."""
    api_key_env: Annotated[str, pydantic.AfterValidator(_is_a_variable)] | None = None
    """NAME of the environment variable that holds the key; never the key. Null for servers that want none."""
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
