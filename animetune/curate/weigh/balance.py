"""The step `balance`: how often each picture is seen, as `repeats`, or how much it counts, as `loss_weight`.

The factors of the configuration are applied one after the other, each to the repeats or to the loss weights. What a
picture is worth, its VIEWS, is the product of both, and every factor counts the views that the ones before left. At
last, loss weights are divided by their mean over the epoch, so that they change no learning rate.

The formulas are in `formulas` and `adaptive`; what the outcome looks like is noted by `expected`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from animetune.curate.coded import codes
from animetune.curate.config.balance import (
    AdaptiveBalance,
    Balance,
    ContentBucketsBalance,
    SyntheticBalance,
    TagGroupsBalance,
    TagsBalance,
)
from animetune.curate.select.lists import INCLUDED
from animetune.curate.steps import Outcome
from animetune.curate.weigh import expected
from animetune.curate.weigh.adaptive import Adapted, Pictures, adapt
from animetune.curate.weigh.formulas import bucket_factors, group_factors, synthetic_factor
from animetune.curate.weigh.literal import literal_repeats
from animetune.curate.weigh.states import States
from animetune.errors import ConfigError

READS = ("tag_groups", "content_bucket", "quality", "style_class", "is_synthetic", INCLUDED)
"""And `tag_rarity`, where there is a factor `tags`. A picture on an include list is not dropped; how often it is seen
is for the factors to say."""
WRITES = ("repeats", "loss_weight", "literal_repeats")
FITTED = "fitted"
"""Drop reason: low quality in a style class that is learned already."""


def weigh(
    rows: pl.DataFrame, factors: Sequence[Balance], groups: Sequence[str], states: Mapping[int, States]
) -> Outcome:
    """Add `repeats`, `loss_weight` and `literal_repeats`; pictures that `adaptive` has no use for are dropped.

    `groups`: names of the places of `tag_groups`; `states`: what is known of style classes, for each `adaptive` by its
    place in `factors`. `literal_repeats` is null without a factor `tag_groups`, whose published form it is.

    Raises ConfigError for a style class by hand that no picture has, and for a share of synthetic pictures that cannot
    be had.
    """
    pictures = _Pictures(rows)
    weights = {name: np.ones(rows.height) for name in ("repeats", "loss_weight")}
    alive = np.ones(rows.height, dtype=bool)
    steps: list[dict[str, Any]] = []
    for place, cfg in enumerate(factors):
        views = weights["repeats"] * weights["loss_weight"]
        noted: dict[str, Any] = {}
        if isinstance(cfg, AdaptiveBalance):
            adapted = _adapted(pictures, cfg, states[place], views)
            factor = np.divide(adapted.repeats, views, out=np.ones(rows.height), where=views > 0)
            dropped = adapted.dropped & alive & ~rows[INCLUDED].to_numpy()
            factor[dropped] = 0.0
            alive &= ~dropped
            noted = adapted.facts | {"dropped": int(dropped.sum())}
        else:
            factor = _factor(pictures, cfg, views, alive)
        weights[cfg.result] *= factor
        steps.append({"name": cfg.name, "result": cfg.result, **_described(factor[alive], views * factor), **noted})

    repeats, loss_weight = weights["repeats"], weights["loss_weight"]
    seen = float((repeats * loss_weight).sum())
    loss_weight = loss_weight * (float(repeats[alive].sum()) / seen) if seen else loss_weight
    literal = _literal(pictures, factors)
    weighed = rows.with_columns(
        repeats=pl.Series(repeats, dtype=pl.Float32),
        loss_weight=pl.Series(loss_weight, dtype=pl.Float32),
        literal_repeats=pl.lit(None, dtype=pl.Float32) if literal is None else pl.Series(literal, dtype=pl.Float32),
    )
    by_weight = {"before": np.ones(rows.height), "after": repeats * loss_weight * alive}
    return Outcome(
        kept=weighed.filter(pl.Series(alive)),
        dropped=rows.filter(pl.Series(~alive)).select("key", reason=pl.lit(FITTED)),
        facts={
            "repeats": round(float(repeats[alive].sum()), 3),
            "epoch": {
                **_epoch(pictures, groups, by_weight if literal is None else by_weight | {"literal": literal}),
                "factors": steps,
            },
        },
    )


def reads(factors: Sequence[Balance]) -> tuple[str, ...]:
    """The columns that `weigh` needs."""
    return (*READS, "tag_rarity") if any(isinstance(factor, TagsBalance) for factor in factors) else READS


def check_names(factors: Sequence[Balance], qualities: Sequence[str]) -> None:
    """ConfigError when a factor names a quality class that is not among `qualities`, those that are configured."""
    for factor in factors:
        if isinstance(factor, AdaptiveBalance):
            by_hand = factor.drop if "drop" in factor.model_fields_set else ()
            for setting, names in (("quality", factor.quality), ("drop", by_hand)):
                for name in names:
                    if name not in qualities:
                        raise ConfigError(
                            f"balance: adaptive: {setting}: {name}: there is no such quality class; "
                            f"there are {', '.join(qualities) or 'none: set `classes.quality`'}"
                        )


def group_table(rows: pl.DataFrame) -> np.ndarray:
    """uint8 (rows, groups) of the column `tag_groups`; (0, 0) without rows. Group by group in memory, as it is used."""
    table = rows["tag_groups"].explode(empty_as_null=False).to_numpy().reshape(rows.height, -1 if rows.height else 0)
    return np.asfortranarray(table)


@dataclass(frozen=True)
class _Pictures:
    """What balancing looks at, in the form that formulas take it in; made when it is first asked for."""

    rows: pl.DataFrame

    @functools.cached_property
    def groups(self) -> np.ndarray:
        """As of `group_table`."""
        return group_table(self.rows)

    @functools.cached_property
    def buckets(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and names of content buckets."""
        return codes(self.rows["content_bucket"])

    @functools.cached_property
    def styles(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and names of style classes."""
        return codes(self.rows["style_class"])

    @functools.cached_property
    def is_synthetic(self) -> np.ndarray:
        """bool (pictures,)"""
        return self.rows["is_synthetic"].fill_null(False).to_numpy()


def _factor(pictures: _Pictures, cfg: Balance, views: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """float64 (rows,), within the limits."""
    match cfg:
        case TagGroupsBalance():
            factor = group_factors((pictures.groups > 0) & alive[:, None], strength=cfg.strength)
        case TagsBalance():
            factor = np.exp(cfg.strength * pictures.rows["tag_rarity"].to_numpy().astype(np.float64))
        case ContentBucketsBalance():
            factor = bucket_factors(pictures.buckets[0], views, strength=cfg.strength)
        case SyntheticBalance():
            return _synthetic(pictures.is_synthetic, cfg, views)
        case _:
            raise TypeError(f"{cfg.name} is no factor of its own")
    return np.clip(factor, cfg.min, cfg.max)


def _synthetic(is_synthetic: np.ndarray, cfg: SyntheticBalance, views: np.ndarray) -> np.ndarray:
    try:
        factor = synthetic_factor(is_synthetic, views, max_share=cfg.max_share)
    except ValueError as error:
        raise ConfigError(
            f"balance: synthetic: max_share {cfg.max_share} cannot be had: {error}; leave this factor out"
        ) from error
    return np.where(is_synthetic, factor, 1.0)


def _adapted(pictures: _Pictures, cfg: AdaptiveBalance, states: States, views: np.ndarray) -> Adapted:
    return adapt(Pictures(views, *pictures.styles, *codes(pictures.rows["quality"])), cfg, states)


def _literal(pictures: _Pictures, factors: Sequence[Balance]) -> np.ndarray | None:
    groups = [factor.strength for factor in factors if isinstance(factor, TagGroupsBalance)]
    content = [factor.strength for factor in factors if isinstance(factor, ContentBucketsBalance)]
    if not groups or not pictures.rows.height:
        return None
    strengths = {"groups": groups[0], "content": content[0] if content else 0.0}
    return literal_repeats(pictures.groups, pictures.buckets[0], **strengths)


def _epoch(pictures: _Pictures, groups: Sequence[str], weights: expected.Weights) -> dict[str, Any]:
    """What is seen in an epoch, by all that balancing looks at."""
    table, (style, styles) = pictures.groups, pictures.styles
    held = [np.flatnonzero(of_group > 0) for of_group in table.T]
    by_group = {name: np.array([each.take(places).sum() for places in held]) for name, each in weights.items()}
    by_style = expected.evenness(expected.sizes_of(style, len(styles), weights))  # styles may be a hundred thousand
    return {
        **expected.of_pictures(weights, table.sum(axis=1, dtype=np.int64)),
        "content_bucket": expected.of_classes(*pictures.buckets, weights),
        "tag_groups": expected.of_sizes(np.array(groups[: table.shape[1]], dtype=object), by_group),
        "style_class": {"classes": len(styles), **by_style},
        "synthetic": {name: round(float(each[pictures.is_synthetic].sum()), 3) for name, each in weights.items()},
    }


def _described(factor: np.ndarray, views: np.ndarray) -> dict[str, float]:
    """A factor in a few numbers, and how much is seen when it was applied."""
    if not len(factor):
        return {"samples": 0.0}
    return {
        "smallest": round(float(factor.min()), 6),
        "mean": round(float(factor.mean()), 6),
        "largest": round(float(factor.max()), 6),
        "samples": round(float(views.sum()), 3),
    }
