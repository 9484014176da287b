"""What a model is asked: a request, the digest by which its answer is kept, and its body as servers want it.

Constant text comes first, then what is known of the picture, then the picture: a server that caches prefixes computes
the instruction once for all pictures.

The digest is of the whole request: model, messages, sampling, and the picture. The picture is named by the hash of its
decoded pixels, its region and the form that it is sent in, and not by the bytes that are sent: those depend on the
version of the encoder, and to hash them every picture would be decoded again only to find that nothing is to be asked.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from animetune import fsio
from animetune.picture_urls import split_region
from animetune.vlm.config import ModelConfig, SentPictureConfig

REQUEST_FORMAT = 1
"""Of what the digest is made of; another one asks everything again."""
PICTURE = "picture"
_MIME = {"JPEG": "image/jpeg", "WEBP": "image/webp", "PNG": "image/png"}


@dataclass(frozen=True, slots=True)
class PictureRef:
    """A picture to be sent, not yet opened."""

    url: str
    identity: str
    """What it is, wherever it lies: hash of its decoded pixels and its region."""
    form: SentPictureConfig

    @classmethod
    def of(cls, url: str, pixel_digest: str | None, form: SentPictureConfig) -> PictureRef:
        """Of the columns `image` and `pixel_digest` of a row; where pixels were never looked at, the URL has to do."""
        whole, region = split_region(url)
        return cls(url, f"{pixel_digest or whole}{'' if region is None else tuple(region)}", form)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model."""

    model: ModelConfig
    messages: tuple[Mapping[str, Any], ...]
    """As the protocol has them, with `{"type": "picture"}` in the place of the picture."""
    seed: int
    picture: PictureRef | None = None

    @property
    def digest(self) -> str:
        """32 hex digits that tell it from all other requests."""
        asked = {
            "format": REQUEST_FORMAT,
            **self._sampling(),
            "messages": list(self.messages),
            "picture": self.picture and [self.picture.identity, self.picture.form.model_dump(mode="json")],
        }
        return hashlib.sha256(fsio.canonical_json(asked).encode()).hexdigest()[:32]

    def body(self, encoded: bytes | None) -> dict[str, Any]:
        """The JSON of POST /chat/completions, with the encoded picture."""
        return {**self._sampling(), "messages": [_with_picture(each, self.picture, encoded) for each in self.messages]}

    def _sampling(self) -> dict[str, Any]:
        cfg = self.model
        return {
            "model": cfg.model,
            "temperature": cfg.temperature,
            "top_p": cfg.top_p,
            "max_tokens": cfg.max_tokens,
            "seed": self.seed,
            **cfg.extra_body,
        }


def first_request(model: ModelConfig, text: str, seed: int, picture: PictureRef | None) -> Request:
    """The first question about a picture, or about a text alone."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    content: Any = text if picture is None else [*parts, {"type": PICTURE}]
    return Request(model, ({"role": "user", "content": content},), seed, picture)


def _with_picture(message: Mapping[str, Any], picture: PictureRef | None, encoded: bytes | None) -> dict[str, Any]:
    if isinstance(message["content"], str):
        return dict(message)
    assert picture is not None
    assert encoded is not None
    url = f"data:{_MIME[picture.form.format]};base64,{base64.b64encode(encoded).decode()}"
    sent = {"type": "image_url", "image_url": {"url": url}}
    return {**message, "content": [sent if part["type"] == PICTURE else part for part in message["content"]]}
