"""Quality and year classes."""

from __future__ import annotations

import itertools
from typing import Literal

import pydantic

from animetune.config import StrictModel


class QualityLevel(StrictModel):
    """One quality class."""

    name: str
    """The class; prompts render its words."""
    above: float | None = None
    """Holds where the measure is greater than this; null for the last class, which takes the rest."""


class QualityConfig(StrictModel):
    """Quality classes by score."""

    measure: Literal["percentile", "score"] = "percentile"
    """`percentile` of the score among the posts of the same rating, since scores grow with the rating; or the score."""
    levels: tuple[QualityLevel, ...] = (
        QualityLevel(name="masterpiece", above=95),
        QualityLevel(name="best", above=85),
        QualityLevel(name="high", above=75),
        QualityLevel(name="medium", above=50),
        QualityLevel(name="normal", above=25),
        QualityLevel(name="low", above=10),
        QualityLevel(name="worst"),
    )
    """From best to worst; each holds from its `above` (not itself) to the one before (itself included)."""

    @pydantic.field_validator("levels")
    @classmethod
    def _descend(cls, levels: tuple[QualityLevel, ...]) -> tuple[QualityLevel, ...]:
        if not levels:
            return levels
        *upper, last = levels
        bounds = [level.above for level in upper if level.above is not None]
        if last.above is not None or len(bounds) < len(upper):
            raise ValueError("exactly the last level takes the rest (above: null)")
        if bounds != sorted(set(bounds), reverse=True):
            raise ValueError(f"the levels go from best to worst, so `above` must fall: {bounds}")
        if len({level.name for level in levels}) != len(levels):
            raise ValueError("two levels have the same name")
        return levels


class YearClass(StrictModel):
    """One year class: years from `first` to `last`, both included."""

    name: str
    """The class; prompts render its words."""
    first: int
    """First year."""
    last: int | None = None
    """Last year; null for no end."""


class ClassesConfig(StrictModel):
    """Quality and year classes."""

    quality: QualityConfig = QualityConfig()
    """Quality classes; `levels: []` for none."""
    years: tuple[YearClass, ...] = (
        YearClass(name="oldest", first=2005, last=2010),
        YearClass(name="early", first=2011, last=2014),
        YearClass(name="mid", first=2015, last=2017),
        YearClass(name="recent", first=2018, last=2020),
        YearClass(name="newest", first=2021),
    )
    """Year classes by upload time (UTC); a year in none of them has none."""

    @pydantic.field_validator("years")
    @classmethod
    def _disjoint(cls, years: tuple[YearClass, ...]) -> tuple[YearClass, ...]:
        ordered = sorted(years, key=lambda year: year.first)
        for year in years:
            if year.last is not None and year.last < year.first:
                raise ValueError(f"{year.name} ends in {year.last}, before it begins in {year.first}")
        for before, after in itertools.pairwise(ordered):
            if before.last is None or before.last >= after.first:
                raise ValueError(f"{before.name} and {after.name} both hold {after.first}")
        return years
