"""The steps `models` and `tag_sources` as the chain has them: only where models are configured."""

from __future__ import annotations

import functools

from animetune.curate.config import CurateConfig
from animetune.curate.recognize import models, tag_sources
from animetune.curate.step_kinds import by_part
from animetune.curate.steps import Step


def models_steps(cfg: CurateConfig) -> list[Step]:
    """The step that asks models, if there are any. Raises SetupError and ConfigError as `models.check` does."""
    if not cfg.models.all:
        return []
    models.check(cfg.models)
    work = functools.partial(models.look_with_models, cfg.models, cfg.pictures)
    return [Step("models", work, settings=models.settings(cfg.models))]


def tag_sources_steps(cfg: CurateConfig) -> list[Step]:
    """The step that makes use of what models said, if there are any. Raises ConfigError as `tag_sources.check` does."""
    if not cfg.models.all:
        return []
    tag_sources.check(cfg.models, cfg.tag_sources, [source.name for source in cfg.sources])
    lists = tag_sources.tag_lists(cfg.models.taggers)
    tag_sources.check_kinds(cfg.tag_sources, lists)
    return [
        by_part(
            "tag_sources",
            functools.partial(tag_sources.choose, models=cfg.models, cfg=cfg.tag_sources, lists=lists),
            reads=tag_sources.reads(cfg.models, cfg.tag_sources),
            writes=tag_sources.writes(cfg.models, cfg.tag_sources),
            coded=True,
            settings=[cfg.tag_sources.model_dump(mode="json"), [model.name for model in cfg.models.all]],
            # The answers hold numbers of tags: with another list they are the same, and mean something else.
            inputs={f"tags of {tagger.name}": tagger.tags.digest for tagger in cfg.models.taggers},
        )
    ]
