"""Balancing as a chain of steps: what it needs of the tags, how often pictures are seen, and the epoch that results."""

from __future__ import annotations

import functools

from animetune.curate.config import CurateConfig
from animetune.curate.config.balance import TagsBalance
from animetune.curate.step_kinds import at_once, by_part
from animetune.curate.steps import Step
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.weigh import balance, expected, states, weights
from animetune.curate.weigh.styles import Styles


def balance_steps(cfg: CurateConfig, vocabulary: Vocabulary) -> list[Step]:
    """The steps between `content` and `split`.

    Raises DataError for a file of styles, states or losses that is wrong, ConfigError for a quality class that is not
    configured.
    """
    balance.check_names(cfg.balance, cfg.classes.names("quality"))
    styles = Styles.load(cfg.styles)
    known = states.load_states(cfg.balance, styles)
    return [
        by_part(
            "weights",
            functools.partial(weights.weights, vocabulary=vocabulary, styles=styles),
            reads=weights.READS,
            writes=weights.WRITES,
            coded=True,
            inputs={"vocabulary": vocabulary.digest, "styles": styles.digest},
        ),
        *(_rarity(factor) for factor in cfg.balance if isinstance(factor, TagsBalance)),
        at_once(
            "balance",
            functools.partial(balance.weigh, factors=cfg.balance, groups=weights.group_names(vocabulary), states=known),
            reads=balance.reads(cfg.balance),
            writes=balance.WRITES,
            settings=[factor.model_dump(mode="json", exclude={"states", "losses"}) for factor in cfg.balance],
            inputs={"states": states.digest(known)},
        ),
        by_part("tag_views", expected.count_tags, reads=expected.READS, writes=expected.WRITES, coded=True),
        at_once("tag_epoch", expected.tag_facts, reads=(), writes=(), needs=expected.FACTS_NEEDS),
    ]


def _rarity(factor: TagsBalance) -> Step:
    return by_part(
        "rarity",
        functools.partial(weights.rarity, cfg=factor),
        reads=weights.RARITY_READS,
        writes=weights.RARITY_WRITES,
        coded=True,
        needs=weights.RARITY_NEEDS,
        settings=factor.model_dump(mode="json", include={"kinds", "min_pictures"}),  # all that it depends on
    )
