"""Quality, aesthetic, year and rating classes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from animetune.config import StrictModel
from animetune.curate.classify.presets import PRESETS, PresetName, merged
from animetune.curate.classify.windows import Window

Positive = Annotated[int, pydantic.Field(gt=0)]
Rating = Literal["g", "s", "q", "e"]
WindowText = Annotated[str, pydantic.BeforeValidator(lambda text: str(Window.parse(text)))]
YEAR = "{year}"
"""In the name of a year class: the year itself."""


class Level(StrictModel):
    """One class of a scale."""

    name: str | None
    """The class; prompts render its words. null: pictures here have no class."""
    above: pydantic.FiniteFloat | None = None
    """Holds where the measure is greater than this; null for the last level, which takes the rest."""


class ScaleConfig(StrictModel):
    """Classes by a score."""

    column: Literal["score", "fav_count", "aesthetic_score"]
    """The score: the site's votes or favourites, or a model's."""
    measure: Literal["percentile", "window", "value"]
    """What levels are compared with. `percentile` of the score among all posts; `window`: the percentile among those
    uploaded at about the same time; `value`: the score itself. Pictures drawn by a model are in no percentile and have
    none."""
    within: tuple[Literal["source", "rating"], ...]
    """A percentile is one among the posts of the same source, and of the same rating, since scores grow with it."""
    window: WindowText = "12 months"
    """How wide the window is, the post in its middle: `12 months`, `100000 posts`. Of posts, in the order of their ids;
    of time, by upload, and posts without it have no percentile."""
    min_population: Positive = 1000
    """Least number of posts in a window. One with fewer is widened to the nearest so many."""
    levels: tuple[Level, ...]
    """From best to worst; each holds from its `above` (not itself) to the one before (itself included). None: no
    classes."""

    @pydantic.field_validator("levels")
    @classmethod
    def _descend(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
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

    @pydantic.model_validator(mode="after")
    def _can_be_reached(self) -> ScaleConfig:
        bounds = [level.above for level in self.levels if level.above is not None]
        if self.measure != "value" and (strange := [bound for bound in bounds if not 0 <= bound < 100]):
            raise ValueError(
                f"levels: above: {strange[0]:g} is no percentile, which are 0 to 100; or set measure: value"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _ids_are_of_one_source(self) -> ScaleConfig:
        if self.measure == "window" and Window.parse(self.window).is_of_posts and "source" not in self.within:
            raise ValueError(
                f"window: {self.window} goes by the ids of posts, which say nothing across sources: list source in "
                "within, or give a window in days, months or years"
            )
        return self


class QualityConfig(ScaleConfig):
    """Quality classes."""

    column: Literal["score", "fav_count", "aesthetic_score"] = "score"
    """The score: the site's votes or favourites, or a model's."""
    measure: Literal["percentile", "window", "value"] = "percentile"
    """What levels are compared with. `percentile` of the score among all posts; `window`: the percentile among those
    uploaded at about the same time; `value`: the score itself. Pictures drawn by a model are in no percentile, and have
    a class only by the `value` of `aesthetic_score`."""
    within: tuple[Literal["source", "rating"], ...] = ("source", "rating")
    """A percentile is one among the posts of the same source, and of the same rating, since scores grow with it."""
    mature_days: Positive | None = None
    """Posts younger than this, against the newest of their source, have no quality and are in no percentile: votes are
    still coming. A model's score needs no time. null: all are old enough."""
    mature_id: int | None = None
    """Posts with a greater id are as those too young, for a dump whose last scores were taken too early."""
    levels: tuple[Level, ...] = (
        Level(name="masterpiece", above=95),
        Level(name="best", above=85),
        Level(name="high", above=75),
        Level(name="medium", above=50),
        Level(name="normal", above=25),
        Level(name="low", above=10),
        Level(name="worst"),
    )
    """From best to worst; each holds from its `above` (not itself) to the one before (itself included). None: no
    classes."""


class AestheticConfig(ScaleConfig):
    """Aesthetic classes."""

    column: Literal["score", "fav_count", "aesthetic_score"] = "aesthetic_score"
    """The score: the site's votes or favourites, or a model's."""
    measure: Literal["percentile", "window", "value"] = "value"
    """As for quality; here the `value` of a model's score is the common one."""
    within: tuple[Literal["source", "rating"], ...] = ()
    """A percentile is one among the posts of the same source, and of the same rating; none: among all."""
    levels: tuple[Level, ...] = (
        Level(name="very aesthetic", above=0.71),
        Level(name="aesthetic", above=0.45),
        Level(name="displeasing", above=0.27),
        Level(name="very displeasing"),
    )
    """As for quality. The default is Animagine XL 3.1's, for the scores of aesthetic-shadow-v2."""


class YearClass(StrictModel):
    """One year class: years from `first` to `last`, both included."""

    name: str
    """The class; prompts render its words. `{year}` in it is the year itself, as in `year {year}`."""
    first: int | None = None
    """First year; null for no beginning."""
    last: int | None = None
    """Last year; null for no end."""

    @property
    def names(self) -> list[str]:
        """The classes that it stands for; with `{year}` one a year, where there is no first or last of 1990 to 2100."""
        if YEAR not in self.name:
            return [self.name]
        years = range(_or(self.first, 1990), _or(self.last, 2100) + 1)
        return [self.name.replace(YEAR, str(year)) for year in years]


class ClassRules(StrictModel):
    """What decides the classes of pictures."""

    preset: PresetName | None = None
    """Classes as a published model has them. What is given beside it goes on top: settings of quality and of aesthetic
    one by one, all else as a whole. A resolved configuration has the settings themselves, and null here. The defaults
    are `dashanime`."""
    quality: QualityConfig = QualityConfig()
    """Quality classes; `levels: []` for none."""
    aesthetic: AestheticConfig = AestheticConfig()
    """Aesthetic classes; `levels: []` for none."""
    years: tuple[YearClass, ...] = (
        YearClass(name="oldest", first=2005, last=2010),
        YearClass(name="early", first=2011, last=2014),
        YearClass(name="mid", first=2015, last=2017),
        YearClass(name="recent", first=2018, last=2020),
        YearClass(name="newest", first=2021),
    )
    """Year classes by upload time (UTC); a year in none of them has none."""
    rating: dict[Literal["g", "s", "q", "e", "none"], Rating | None] = pydantic.Field(default={})
    """Rating at the source -> rating in the table, as in `{none: g}` for pictures of your own, or `{q: e}`. Filters on
    ratings and percentiles go by the one at the source; filters with `after: classes` by the one in the table."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        return _resolved(given)

    @pydantic.field_validator("years")
    @classmethod
    def _disjoint(cls, years: tuple[YearClass, ...]) -> tuple[YearClass, ...]:
        ends = {year.name: (_or(year.first, -1), _or(year.last, 9999)) for year in years}
        if len(ends) != len(years):
            raise ValueError("two year classes have the same name")
        for name, (first, last) in ends.items():
            if last < first:
                raise ValueError(f"{name} ends in {last}, before it begins in {first}")
        in_order = sorted(ends.items(), key=lambda item: item[1])
        for (before, (_, last)), (after, (first, _)) in itertools.pairwise(in_order):
            if last >= first:
                raise ValueError(f"{before} and {after} both hold {max(first, 0)}")
        return years


class ClassesConfig(ClassRules):
    """Quality, aesthetic, year and rating classes."""

    sources: dict[str, ClassRules] = pydantic.Field(default={})
    """Name of a source -> settings of its own, on top of the settings above, or of a preset that it names. Its posts
    are then in no percentile of other sources."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _pass_on_to_sources(cls, given: Any) -> Any:
        given = _resolved(given)
        own = given.get("sources") if isinstance(given, Mapping) else None
        if not isinstance(own, Mapping):
            return given
        inherited = {name: value for name, value in given.items() if name in ClassRules.model_fields}
        return {**given, "sources": {name: _inherited(rules, inherited) for name, rules in own.items()}}

    def of_source(self, source: str) -> ClassRules:
        """What decides the classes of a source's pictures."""
        return self.sources.get(source, self)

    def names(self, column: Literal["quality", "aesthetic", "year"]) -> list[str]:
        """The classes that pictures can have, from best to worst, or as given."""
        found: dict[str, None] = {}
        for rules in (self, *self.sources.values()):
            if column == "year":
                found.update((name, None) for year in rules.years for name in year.names)
            else:
                levels = rules.quality.levels if column == "quality" else rules.aesthetic.levels
                found.update((level.name, None) for level in levels if level.name is not None)
        return list(found)


def _resolved(given: Any) -> Any:
    """Settings on top of the preset that they name, without its name. What names none, or a wrong one, stays."""
    name = given.get("preset") if isinstance(given, Mapping) else None
    if not isinstance(name, str) or name not in PRESETS:
        return given
    return merged(PRESETS[name], {key: value for key, value in given.items() if key != "preset"})


def _inherited(rules: Any, general: dict[str, Any]) -> Any:
    """A source's settings on top of those of all sources, unless it names a preset."""
    if not isinstance(rules, Mapping) or rules.get("preset") is not None:
        return rules
    return merged(general, dict(rules))


def _or(year: int | None, otherwise: int) -> int:
    return otherwise if year is None else year
