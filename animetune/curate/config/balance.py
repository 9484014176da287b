"""How often pictures are seen in an epoch."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel

Positive = Annotated[float, pydantic.Field(gt=0)]
Strength = Annotated[float, pydantic.Field(ge=0, le=1)]


class TagGroupsBalance(StrictModel):
    """Pictures with tags of frequent tag groups are seen less often, with tags of rare groups more often."""

    name: Literal["tag_groups"]
    strength: Strength = 0.5
    """Exponent on (median group / group): 0 changes nothing, 1 levels the groups."""
    min: Positive = 0.5
    """Lower limit of a picture's factor."""
    max: Positive = 2.0
    """Upper limit of a picture's factor."""


class ContentBucketsBalance(StrictModel):
    """Over-represented content buckets are seen less often, under-represented ones more: toward the median bucket."""

    name: Literal["content_buckets"]
    strength: Strength = 1.0
    """Exponent on (median bucket / bucket): 0 changes nothing, 1 makes all buckets as large as the median."""
    min: Positive = 0.1
    """Lower limit of a bucket's factor."""
    max: Positive = 10.0
    """Upper limit of a bucket's factor: how often one picture may be seen in an epoch."""


Balance = Annotated[TagGroupsBalance | ContentBucketsBalance, pydantic.Field(discriminator="name")]
