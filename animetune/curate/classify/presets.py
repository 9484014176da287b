"""Classes as published models have them: `classes.preset`.

A preset is a part of the settings of `classes`, and what is given beside it goes on top (`merged`). Names fit the words
of the prompt preset of the same name. All intervals are half-open: a level holds above its bound, not at it, and up to
the bound before it, itself included.

    dashanime       the defaults. Stated are the seven names of the quality classes and the four aesthetic ones; the
                    bounds are those of Animagine XL 3.1, by our choice.
    aidxl           stated are the six names, and that they are of quality; the percentiles are ours.
    animagine-2.0   stated: raw scores, masterpiece > 150, best 100 to 150, high 75 to 100, medium 25 to 75, normal 0 to
                    25, low -5 to 0, worst < -5. A bound that two classes share is of the lower one, but for 0, which is
                    normal (`worst < -5` makes -5 low, so the lower end is closed there).
    animagine-3.1   stated: all bounds; that a percentile is one within its rating is inferred ("scores and ratings").
                    The card leaves aesthetic scores of exactly 0.71 and 0.45 to no class; here they are in the lower.
    illustrious     stated: the percentages, a moving window over time for each rating, the last years. Not stated, and
                    ours: the length of the window, the first year, aesthetic modifiers (none here).
    hakubooru       HakuBooru, the data of Kohaku XL: percentile of favourites within a rating, its `quality_tag_new`.
                    It gives no quality to posts above an id of its dump: set `quality.mature_id` for yours.
    noobai          stated: the percentiles, normalized by source and rating, the top and the bottom 5 % of aesthetic
                    scores, the years. Its weights by recency are not published and left out. It counts 2014 as early
                    and as mid; here it is early.
    animagine-4.0   stated are the words. What they measure, and all bounds, are ours: votes for the six scores, the
                    aesthetic score for `masterpiece` to `worst quality`. A year class is `year 2023`.

A last year of publication is left open (`newest` of 3.1 was 2021 to 2024), so that newer posts are newest as well.
"""

from __future__ import annotations

from typing import Any, Literal

PresetName = Literal[
    "dashanime", "aidxl", "animagine-2.0", "animagine-3.1", "illustrious", "hakubooru", "noobai", "animagine-4.0",
]  # fmt: skip


NONE = "-"
"""Stands for no class."""


def _levels(text: str) -> list[dict[str, Any]]:
    """`best > 85, good > 50, worst`: the levels from best to worst, of which the last takes the rest."""
    pairs = [(name, bound) for name, _, bound in (level.partition(" > ") for level in text.split(", "))]
    return [{"name": None if name == NONE else name, "above": float(bound) if bound else None} for name, bound in pairs]


def _years(text: str) -> list[dict[str, Any]]:
    """`old ..2010, new 2011..`: names, and the first and the last year of each."""
    pairs = [years.rpartition(" ") for years in text.split(", ")]
    ends = [(name, *span.split("..")) for name, _, span in pairs]
    return [{"name": name, "first": _year(first), "last": _year(last)} for name, first, last in ends]


def _year(text: str) -> int | None:
    return int(text) if text else None


NO_LEVELS: dict[str, Any] = {"levels": []}
ANIMAGINE_YEARS = "oldest 2005..2010, early 2011..2014, mid 2015..2017, recent 2018..2020, newest 2021.."
HAKUBOORU_YEARS = "old 2005..2010, early 2011..2014, mid 2015..2017, recent 2018..2020, newest 2021.."

PRESETS: dict[str, dict[str, Any]] = {
    "dashanime": {},
    "aidxl": {
        "quality": {
            "measure": "percentile",
            "levels": _levels("amazing > 95, best > 85, high > 60, normal > 25, low > 10, worst"),
        },
        "aesthetic": NO_LEVELS,
        "years": [],
    },
    "animagine-2.0": {
        "quality": {
            "measure": "value",
            "levels": _levels("masterpiece > 150, best > 100, high > 75, medium > 25, normal > -1, low > -6, worst"),
        },
        "aesthetic": NO_LEVELS,
        "years": [],
    },
    "animagine-3.1": {
        "quality": {
            "measure": "percentile",
            "levels": _levels("masterpiece > 95, best > 85, great > 75, good > 50, normal > 25, low > 10, worst"),
        },
        "aesthetic": {
            "measure": "value",
            "levels": _levels("very aesthetic > 0.71, aesthetic > 0.45, displeasing > 0.27, very displeasing"),
        },
        "years": _years(ANIMAGINE_YEARS),
    },
    "illustrious": {
        "quality": {
            "measure": "window",
            "levels": _levels("masterpiece > 92, best > 82, good > 60, average > 20, bad > 8, worst"),
        },
        "aesthetic": NO_LEVELS,
        "years": _years("oldest ..2017, old 2018..2019, modern 2020..2020, recent 2021..2022, newest 2023.."),
    },
    "hakubooru": {
        "quality": {
            "column": "fav_count",
            "measure": "percentile",
            "levels": _levels("masterpiece > 90, best > 75, great > 60, good > 45, normal > 30, low > 10, worst"),
        },
        "aesthetic": NO_LEVELS,
        "years": _years(HAKUBOORU_YEARS),
    },
    "noobai": {
        "quality": {
            "measure": "percentile",
            "levels": _levels("masterpiece > 95, best > 85, good > 60, normal > 30, worst"),
        },
        "aesthetic": {
            "measure": "percentile",
            "within": [],
            "levels": _levels(f"very awa > 95, {NONE} > 5, worst aesthetic"),
        },
        "years": _years(HAKUBOORU_YEARS),
    },
    "animagine-4.0": {
        "quality": {
            "measure": "percentile",
            "levels": _levels("high > 90, great > 75, good > 50, average > 25, bad > 10, low"),
        },
        "aesthetic": {
            "measure": "percentile",
            "within": [],
            "levels": _levels(f"masterpiece > 95, best quality > 75, {NONE} > 25, low quality > 5, worst quality"),
        },
        "years": _years("year {year} 2005.."),
    },
}
"""Name -> settings of `classes`."""


def merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given` on top of `base`: settings of quality and of aesthetic one by one, all else as a whole."""
    groups = {
        name: {**base[name], **given[name]}
        for name in ("quality", "aesthetic")
        if isinstance(given.get(name), dict) and isinstance(base.get(name), dict)
    }
    return {**base, **given, **groups}
