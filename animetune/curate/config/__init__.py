"""`CurateConfig`: the YAML of the `curate` stage, field for field; one file a group of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.curate.config.balance import Factors
from animetune.curate.config.captions import CaptionsConfig
from animetune.curate.config.classes import ClassesConfig
from animetune.curate.config.closeups import CloseupsConfig
from animetune.curate.config.content import ContentConfig
from animetune.curate.config.dedup import DedupConfig
from animetune.curate.config.filters import Filters, check_names
from animetune.curate.config.lists import ListsConfig
from animetune.curate.config.marks import MarksConfig
from animetune.curate.config.models import ModelsConfig, TagSourcesConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.config.sources import SourceConfig
from animetune.curate.config.split import Share, SplitConfig
from animetune.curate.config.styles import StylesConfig
from animetune.curate.config.tags import TagsConfig
from animetune.executor import ExecutorConfig
from animetune.remote import ON_THIS_MACHINE


class CurateConfig(StrictModel):
    """From posts and pictures to a curated table."""

    stage: Literal["curate"]
    """The command that this file configures."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of the table. Its steps stay there, so that a changed setting re-runs only what depends on it."""
    answers: Annotated[Path, ON_THIS_MACHINE] | None = None
    """Folder of what was found out about single pictures, by decoding them or asking models; null for one in `out`.
    Tables of the same pictures, such as of two stages, had better share one. Nothing in it is ever asked twice, and
    nothing removes it."""
    sources: Annotated[tuple[SourceConfig, ...], pydantic.Field(min_length=1)]
    """Where posts come from."""
    lists: ListsConfig = ListsConfig()
    """Files of single posts: what must never be used, and what was picked by hand."""
    filters: Filters = ()
    """What is dropped, first to last; the first filter that drops a row is its reason."""
    pictures: PicturesConfig = PicturesConfig()
    """How pictures are decoded."""
    marks: MarksConfig | None = None
    """Letterboxes, watermarks, signatures, text: what is done about them; null for nothing."""
    models: ModelsConfig = ModelsConfig()
    """Taggers and aesthetic scorers that look at every picture."""
    tag_sources: TagSourcesConfig = TagSourcesConfig()
    """What of `models` is taken: whose tags a post has, whose rating and score."""
    tags: TagsConfig = TagsConfig()
    """Which tags mean what."""
    dedup: DedupConfig = DedupConfig()
    """Which of equal and related pictures are kept."""
    closeups: CloseupsConfig | None = None
    """Close-ups that are cut from pictures, as rows of their own; null for none."""
    classes: ClassesConfig = ClassesConfig()
    """Quality, aesthetic, year and rating classes."""
    content: ContentConfig = ContentConfig()
    """Content buckets."""
    styles: StylesConfig = StylesConfig()
    """Style classes."""
    balance: Factors = ()
    """Factors on `repeats` or `loss_weight`, applied in this order; none leaves every picture at 1."""
    captions: CaptionsConfig | None = None
    """Captions by models, for what is left after balancing; null asks none."""
    split: SplitConfig = SplitConfig()
    """Training and validation."""
    seed: int = 0
    """Seed of the split."""
    quarantine_limit: Share = 0.05
    """Share of the posts read that may be unusable before the stage stops."""
    executor: ExecutorConfig = ExecutorConfig()
    """Where posts are parsed and pictures decoded; changes nothing in the output."""
    prune: bool = False
    """Remove the steps of earlier settings when the new table is published."""

    @pydantic.field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources have the same name: {', '.join(names)}")
        return sources

    @pydantic.model_validator(mode="after")
    def _what_looks_at_pictures_has_some(self) -> CurateConfig:
        if self.pictures.decode:
            return self
        if self.dedup.lookalikes is not None:
            raise ValueError(
                "dedup.lookalikes: compares pictures, and `pictures.decode: false` opens none; leave one out"
            )
        if self.captions is not None:
            raise ValueError(
                "captions: are written by models that look at pictures, and `pictures.decode: false` opens none; leave "
                "one out"
            )
        if self.models.all:
            raise ValueError("models: look at pictures, and `pictures.decode: false` opens none; leave one out")
        if self.marks is not None:
            raise ValueError("marks: are found in pictures, and `pictures.decode: false` opens none; leave one out")
        looks = self.closeups is not None and (
            self.closeups.detectors or self.closeups.saliency or self.closeups.focus == "saliency"
        )
        if looks:
            raise ValueError(
                "closeups: are looked for in pictures, and `pictures.decode: false` opens none; give `boxes` alone"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _tag_sources_have_taggers(self) -> CurateConfig:
        if not self.models.taggers and (strange := self.tag_sources.asks_taggers):
            raise ValueError(f"tag_sources: {strange}, and `models` has no taggers; name one, or take original")
        return self

    @pydantic.model_validator(mode="after")
    def _closeups_have_taggers(self) -> CurateConfig:
        if self.closeups is not None and self.closeups.tags == "tagger" and not self.models.taggers:
            raise ValueError("closeups.tags: tagger: `models` has no taggers; name one, or take inherit")
        return self

    @pydantic.model_validator(mode="after")
    def _filters_name_what_there_is(self) -> CurateConfig:
        made = {column: self.classes.names(column) for column in ("quality", "aesthetic", "year")}
        check_names(self.filters, {"source": [source.name for source in self.sources], **made})
        return self

    @pydantic.model_validator(mode="after")
    def _classes_are_of_sources(self) -> CurateConfig:
        known = [source.name for source in self.sources]
        if strange := [name for name in self.classes.sources if name not in known]:
            raise ValueError(f"classes.sources: {strange[0]} is no source; there are {', '.join(known)}")
        return self
