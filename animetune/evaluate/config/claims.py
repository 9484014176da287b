"""The probes of what the published models claim."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.evaluate.config.asked import AskedProbe, Count, TaggedProbe

Rating = Literal["general", "sensitive", "questionable", "explicit"]


class LeakConfig(TaggedProbe):
    """How often a person appears where none was asked for (DashAnime XL)."""

    name: Literal["leak"]
    arms: Annotated[tuple[Literal["plain", "prefix"], ...], pydantic.Field(min_length=1)] = ("plain", "prefix")
    """Ask without the prefix, with it, or both."""


class PrefixConfig(TaggedProbe):
    """How often a picture is a photo or realistic, with and without the prefix (DashAnime XL)."""

    name: Literal["prefix"]


class LengthsConfig(TaggedProbe):
    """What short, long and very long prompts of one content bring of the things that all name (DashAnime XL)."""

    name: Literal["lengths"]


class _WordedProbe(AskedProbe):
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


class BlackWhiteConfig(AskedProbe):
    """How dark and how bright pictures become that are asked to be black or white (zero terminal SNR)."""

    name: Literal["black_white"]
