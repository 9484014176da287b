"""Which models look at pictures, and what is made of their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel
from animetune.curate.tag.tag_names import normal_tag
from animetune.vision.aesthetics import ScorerConfig
from animetune.vision.session import Device
from animetune.vision.taggers import TaggerConfig

Probability = Annotated[float, pydantic.Field(gt=0, le=1)]
Policy = Literal["original", "tagger", "union", "written_first"]
When = Literal["missing", "always", "never"]
TAG_KINDS = ("general", "character", "copyright", "artist", "meta")
Tag = Annotated[str, pydantic.Field(min_length=1)]


class ModelsConfig(StrictModel):
    """Models that look at every picture; without any, there is no such step. What they say is asked once for good."""

    taggers: tuple[TaggerConfig, ...] = ()
    """WD taggers, v1.4 or v3."""
    scorers: tuple[ScorerConfig, ...] = ()
    """Aesthetic scorers."""
    device: Device = "auto"
    """Where they run: `auto` is the first GPU, or the CPU where there is none."""
    batch: Annotated[int, pydantic.Field(ge=1, le=256)] = 8
    """Pictures at once, in every worker."""

    @pydantic.model_validator(mode="after")
    def _names_differ(self) -> ModelsConfig:
        twice = [name for name, count in Counter(model.name for model in self.all).items() if count > 1]
        if twice:
            raise ValueError(f"two models are called {twice[0]}")
        return self

    @property
    def all(self) -> tuple[Any, ...]:
        """Taggers, then scorers."""
        return (*self.taggers, *self.scorers)


class Thresholds(StrictModel):
    """Tags that are at least so likely are taken."""

    general: Probability = 0.35
    """What AIDXL took with WD v1.4 SwinV2."""
    character: Probability = 0.85
    """Higher than for general tags, as in the authors' demo: a wrong name is worse than none."""
    copyright: Probability = 0.85
    """Of taggers that know series; WD's do not."""
    artist: Probability = 0.85
    """Of taggers that know artists; WD's do not."""
    meta: Probability = 0.35
    """Of taggers that know meta tags; WD's do not."""


class TagSourceRules(StrictModel):
    """Whose tags a post has: `original`, the post's own; `tagger`, a model's; `union`, its own and then those of the
    model that it lacks; `written_first`, its own where it has any of that kind, else the model's."""

    general: Policy = "written_first"
    """Of general tags."""
    character: Policy = "written_first"
    """Of character tags."""
    copyright: Policy = "original"
    """Of series."""
    artist: Policy = "original"
    """Of artists."""
    meta: Policy = "original"
    """Of meta tags."""
    thresholds: Thresholds = Thresholds()
    """How likely a tag has to be."""
    tags: dict[Tag, Probability] = pydantic.Field(default={})
    """Tag -> a threshold of its own; 1 as good as bans it."""
    rating: When = "missing"
    """When the tagger's rating is taken: where the post has none, always, or never."""
    aesthetic_score: When = "missing"
    """When the scorer's score is taken, likewise."""

    @pydantic.field_validator("tags")
    @classmethod
    def _normal(cls, tags: dict[str, float]) -> dict[str, float]:
        return {normal_tag(tag): value for tag, value in tags.items()}


class TagSourcesConfig(TagSourceRules):
    """What is made of the answers of `models`."""

    combine: Literal["mean", "max"] = "mean"
    """Of several taggers, how likely they find a tag together: the mean of those that know it, or the largest. What a
    tagger finds less likely than its `floor` counts as 0."""
    scorer: str | None = None
    """Name of the scorer whose score is taken; null for the first."""
    sources: dict[str, TagSourceRules] = pydantic.Field(default={})
    """Name of a source -> settings of its own, on top of the settings above."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _pass_on_to_sources(cls, given: Any) -> Any:
        own = given.get("sources") if isinstance(given, Mapping) else None
        if not isinstance(own, Mapping):
            return given
        general = {name: value for name, value in given.items() if name in TagSourceRules.model_fields}
        return {**given, "sources": {name: _on_top(general, rules) for name, rules in own.items()}}

    @property
    def asks_taggers(self) -> str | None:
        """The first setting by which tags are a tagger's, as `general: union`; None where there is none."""
        asked = (
            f"{kind}: {policy}"
            for rules in (self, *self.sources.values())
            for kind in TAG_KINDS
            if (policy := getattr(rules, kind)) in ("tagger", "union")
        )
        return next(asked, None)

    def of_source(self, source: str) -> TagSourceRules:
        """What holds for the posts of a source."""
        return self.sources.get(source, self)


def _on_top(general: dict[str, Any], rules: Any) -> Any:
    """A source's settings on top of the general ones, thresholds and tags one by one."""
    if not isinstance(rules, Mapping):
        return rules
    groups = {
        name: {**general[name], **rules[name]}
        for name in ("thresholds", "tags")
        if isinstance(general.get(name), Mapping) and isinstance(rules.get(name), Mapping)
    }
    return {**general, **rules, **groups}
