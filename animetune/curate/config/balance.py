"""How often pictures are seen in an epoch, or how much they count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Positive = Annotated[float, pydantic.Field(gt=0)]
Strength = Annotated[float, pydantic.Field(ge=0, le=1)]
Result = Literal["repeats", "loss_weight"]
TagKind = Literal["general", "character", "copyright", "artist"]


class _Limited(StrictModel):
    @pydantic.model_validator(mode="after")
    def _has_room(self) -> _Limited:
        low, high = getattr(self, "min", 0.0), getattr(self, "max", float("inf"))
        if low > high:
            raise ValueError(f"min {low} is above max {high}")
        return self


class TagGroupsBalance(_Limited):
    """Pictures with tags of frequent tag groups are seen less often, with tags of rare groups more often."""

    name: Literal["tag_groups"]
    strength: Strength = 0.5
    """Exponent on (median group / group): 0 changes nothing, 1 levels the groups."""
    min: Positive = 0.5
    """Lower limit of a picture's factor."""
    max: Positive = 2.0
    """Upper limit of a picture's factor."""
    result: Result = "repeats"
    """What takes the factor: `repeats`, how often a picture is seen, or `loss_weight`, how much it counts then."""


class TagsBalance(_Limited):
    """Pictures with frequent tags are seen less often, with rare tags more often; tags are compared inside a group."""

    name: Literal["tags"]
    strength: Strength = 0.5
    """Exponent on (typical tag of the group / tag), both in pictures. Typical is the tag at which half of the uses of
    the group's tags are reached, counted from the rarest. A picture has the geometric mean of its tags, inside each
    group and then over the groups."""
    kinds: Annotated[tuple[TagKind, ...], pydantic.Field(min_length=1)] = ("general",)
    """Which tags count. Characters, series (`copyright`) and artists are a group each."""
    min_pictures: Annotated[int, pydantic.Field(ge=1)] = 20
    """Tags of fewer pictures have no say: they are misspelled or one-offs."""
    min: Positive = 0.5
    """Lower limit of a picture's factor."""
    max: Positive = 2.0
    """Upper limit of a picture's factor."""
    result: Result = "repeats"
    """What takes the factor: `repeats`, how often a picture is seen, or `loss_weight`, how much it counts then."""


class ContentBucketsBalance(_Limited):
    """Over-represented content buckets are seen less often, under-represented ones more: toward the median bucket."""

    name: Literal["content_buckets"]
    strength: Strength = 1.0
    """Exponent on (median bucket / bucket): 0 changes nothing, 1 makes all buckets as large as the median."""
    min: Positive = 0.1
    """Lower limit of a bucket's factor."""
    max: Positive = 10.0
    """Upper limit of a bucket's factor: how often one picture may be seen in an epoch."""
    result: Result = "repeats"
    """What takes the factor: `repeats`, how often a picture is seen, or `loss_weight`, how much it counts then."""


class AdaptiveBalance(StrictModel):
    """AIDXL's adaptive repeats: by quality, by how well a style class is learned already, and never above a limit.

    A class is fitted or underfitted by hand, else by the file `states`, else by the file `losses`, else by `otherwise`.
    """

    name: Literal["adaptive"]
    quality: dict[str, Positive] = pydantic.Field(default={})
    """Rule 1: quality class -> factor. Classes that are not named, and pictures without one, keep 1."""
    class_total: Positive = 100.0
    """Rule 2: an underfitted class is boosted until its pictures are seen so often in an epoch, all together."""
    repeats: dict[str, Positive] = pydantic.Field(default={})
    """Rule 2 by hand: style class -> factor, in place of a boost to `class_total`."""
    underfitted: tuple[str, ...] = ()
    """Style classes that are not learned yet."""
    fitted: tuple[str, ...] = ()
    """Style classes that are learned already."""
    states: Path | None = None
    """CSV of style classes with the columns `style`, `state` (unfitted, underfitted, fitted, overfitted) and, if
    wanted, `repeats`, the factor by hand."""
    losses: Path | None = None
    """`loss-by-class.csv` of a training whose `watch.classes` has `artist`: a class is underfitted while its relative
    loss is above `losses_above` and still falls, else fitted."""
    losses_above: Positive = 1.05
    """Relative loss above which a class may be underfitted; 1 is the average."""
    otherwise: Literal["underfitted", "fitted"] = "underfitted"
    """Style classes that nothing else decides: those of new data are not learned yet."""
    fitted_max: Positive = 1.0
    """Rule 2: pictures of a fitted class are seen at most so often."""
    drop: tuple[str, ...] = ("low", "worst")
    """Quality classes of which a fitted class loses its pictures; the drop reason is `fitted`."""
    max: Positive = 10.0
    """Rule 3: no picture is seen more often."""
    result: Result = "repeats"
    """What takes the factor: `repeats`, how often a picture is seen, or `loss_weight`, how much it counts then."""

    @pydantic.model_validator(mode="after")
    def _one_state_each(self) -> AdaptiveBalance:
        if both := sorted({*self.fitted} & {*self.underfitted, *self.repeats}):
            raise ValueError(f"{both[0]} is fitted, so it cannot be underfitted or have repeats too")
        if self.fitted_max > self.max:
            raise ValueError(f"fitted_max {self.fitted_max} is above max {self.max}")
        return self


class SyntheticBalance(StrictModel):
    """Synthetic pictures are seen less often, until they are no more than a share of the epoch."""

    name: Literal["synthetic"]
    max_share: Annotated[float, pydantic.Field(gt=0, lt=1)]
    """The largest share of what is seen in an epoch. Factors behind this one may change it: put it last."""
    result: Result = "repeats"
    """What takes the factor: `repeats`, how often a picture is seen, or `loss_weight`, how much it counts then."""


Balance = Annotated[
    TagGroupsBalance | TagsBalance | ContentBucketsBalance | AdaptiveBalance | SyntheticBalance,
    pydantic.Field(discriminator="name"),
]


def _one_of_tags(factors: tuple[Balance, ...]) -> tuple[Balance, ...]:
    if sum(isinstance(factor, TagsBalance) for factor in factors) > 1:
        raise ValueError("holds `tags` twice; it is measured once, so give it one strength")
    return factors


Factors = Annotated[tuple[Balance, ...], pydantic.AfterValidator(_one_of_tags)]
"""The factors in order; each changes what the ones before left."""
