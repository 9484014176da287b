"""The rules of content buckets, as Polars expressions over what the tags of a picture say (`signs`).

Every rule is the reason for which a picture is in the bucket, null where it is not.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import polars as pl

from animetune.curate.config.content import LIST, BucketRule, Comparison, ContentConfig
from animetune.curate.tag.people import COUNTS
from animetune.curate.tag.tag_lists import Vocabulary

NUMBERS = range(1, 7)
"""The numbers that tags state."""
RULE = "rule"
"""The reason of every rule in `content.buckets`."""
_OPERATORS = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def evidence(cfg: ContentConfig, vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Sign -> the tags that are signs of it: `is_<sign>` for the nine buckets, and those of the rules of your own."""
    emotion = ("emotion-strong",) if cfg.emotion == "strong" else ("emotion-strong", "emotion-weak")
    built_in = {
        "is_no_humans": ["no_humans"],
        "is_peopled": _uncounted_people(vocabulary),
        "is_solo_focus": ["solo_focus"],
        "is_male_focus": ["male_focus"],
        "is_emotion": vocabulary.tags(*emotion),
        "is_animal_focus": vocabulary.tags("animal-focus"),
        "is_animal": vocabulary.tags("animal"),
        "is_object_focus": vocabulary.tags("object-focus"),
        "is_object": vocabulary.tags("object"),
        "is_scenery": vocabulary.tags("scenery"),
        "is_place": vocabulary.tags("scenery", "place"),
    }
    return built_in | {
        sign: [each for tag in tags for each in _tags(tag, vocabulary)]
        for rule in cfg.buckets
        for sign, tags in _signs(rule).items()
    }


def stated_counts() -> dict[str, list[str]]:
    """`<number> <kind>` -> the tags that state at least so many."""
    return {
        f"{number} {kind}": [tag for tag, least in stated.items() if least == number]
        for kind, stated in COUNTS.items()
        for number in NUMBERS
    }


def counted_as(others: str) -> dict[str, pl.Expr]:
    """How many girls, boys and others there are, where the last count as `others` says; `people` are all."""
    girls, boys, rest = (pl.col(f"n_{kind}") for kind in COUNTS)
    return {
        "girls": girls + rest if others == "girls" else girls,
        "boys": boys + rest if others == "boys" else boys,
        "others": rest if others == "apart" else 0 * rest,
        "people": girls + boys + rest,
    }


def subject(mixed: str) -> pl.Expr:
    """`<kind>:<reason>`, where kind is 1girl, 1boy, multiple_girls or multiple_boys; null for nobody or no rule.

    Needs girls, boys, others, is_solo_focus, is_male_focus.
    """
    girls, boys, others = pl.col("girls"), pl.col("boys"), pl.col("others")
    of_kinds = (girls > 0).cast(pl.Int32) + (boys > 0).cast(pl.Int32) + (others > 0).cast(pl.Int32)
    girls_only, boys_only = (girls > 0) & (of_kinds == 1), (boys > 0) & (of_kinds == 1)
    is_mixed = (of_kinds > 1) & ((girls > 0) | (boys > 0))
    by_number = (
        pl.when(boys > girls).then(pl.lit("multiple_boys:majority")).otherwise(pl.lit("multiple_girls:majority"))
    )
    on_boys = (boys > 0) & pl.col("is_male_focus")
    by_focus = (
        pl.when(pl.col("is_solo_focus") & (on_boys | (girls == 0)))
        .then(pl.lit("1boy:solo_focus"))
        .when("is_solo_focus")
        .then(pl.lit("1girl:solo_focus"))
        .when(on_boys)
        .then(pl.lit("multiple_boys:male_focus"))
        .otherwise(by_number)
    )
    policies = {
        "focus": by_focus,
        "majority": by_number,
        "girls": pl.when(girls > 0).then(pl.lit("multiple_girls:mixed")).otherwise(pl.lit("multiple_boys:mixed")),
        "boys": pl.when(boys > 0).then(pl.lit("multiple_boys:mixed")).otherwise(pl.lit("multiple_girls:mixed")),
        "drop": pl.lit(None, dtype=pl.String),
    }
    return (
        pl.when(girls_only & (girls == 1))
        .then(pl.lit("1girl:count"))
        .when(boys_only & (boys == 1))
        .then(pl.lit("1boy:count"))
        .when(girls_only)
        .then(pl.lit("multiple_girls:count"))
        .when(boys_only)
        .then(pl.lit("multiple_boys:count"))
        .when(is_mixed)
        .then(policies[mixed])
    )


def parts_of_subject() -> dict[str, pl.Expr]:
    """`kind` and `reason` of `subject`, which it needs; once, since many rules ask for them."""
    both = pl.col("subject")
    return {"kind": both.str.extract(r"^(.*):", 1), "reason": both.str.extract(r":(.*)$", 1)}


def built_in_rules() -> dict[str, pl.Expr]:
    """The nine buckets. Needs `kind` and `reason` (`parts_of_subject`), `people` and the signs."""
    nobody = (pl.col("people") == 0) & ~pl.col("is_peopled")
    unpeopled = pl.col("is_no_humans") | nobody
    kind, reason = pl.col("kind"), pl.col("reason")

    def by_emotion(who: str, *, emotion: bool) -> pl.Expr:
        return pl.when((kind == who) & (pl.col("is_emotion") == emotion)).then(reason)

    return {
        "1girl_with_emotion": by_emotion("1girl", emotion=True),
        "1girl_only": by_emotion("1girl", emotion=False),
        "1boy_with_emotion": by_emotion("1boy", emotion=True),
        "1boy_only": by_emotion("1boy", emotion=False),
        "multiple_girls": pl.when(kind == "multiple_girls").then(reason),
        "multiple_boys": pl.when(kind == "multiple_boys").then(reason),
        "animal": pl.when(unpeopled & pl.col("is_animal_focus"))
        .then(pl.lit("animal_focus"))
        .when(unpeopled & pl.col("is_animal") & ~pl.col("is_scenery"))
        .then(pl.lit("animal_tag")),
        "object": pl.when(unpeopled & pl.col("is_object_focus"))
        .then(pl.lit("object_focus"))
        .when(unpeopled & pl.col("is_object") & ~pl.col("is_place"))
        .then(pl.lit("object_tag")),
        "no_human": pl.when("is_no_humans")
        .then(pl.lit("no_humans"))
        .when(nobody & pl.col("is_scenery"))
        .then(pl.lit("scenery")),
    }


def own_rule(rule: BucketRule) -> pl.Expr:
    """A rule of `content.buckets`. Needs its signs and `n_<kind>`, people as tags state them."""
    stated = {f"{kind}s": pl.col(f"n_{kind}") for kind in COUNTS}
    stated["people"] = pl.sum_horizontal(*stated.values())
    comparisons = Comparison.parse(rule.count) if rule.count else []
    holds = [
        *(~pl.col(sign) if sign == _sign(rule, "none") else pl.col(sign) for sign in _signs(rule)),
        *(_OPERATORS[each.operator](stated[each.who], each.number) for each in comparisons),
    ]
    return pl.when(functools.reduce(operator.and_, holds)).then(pl.lit(RULE))


def _uncounted_people(vocabulary: Vocabulary) -> list[str]:
    """Tags of people that state no number, such as `crowd` and `couple`."""
    counts = set(vocabulary.tags("count"))
    return [tag for tag in vocabulary.classes.get("people", ()) if tag not in counts]


def _signs(rule: BucketRule) -> dict[str, Sequence[str]]:
    """Sign -> what the rule gives for it."""
    each = {_sign(rule, f"all {place}"): (tag,) for place, tag in enumerate(rule.all)}
    signs: dict[str, Sequence[str]] = {_sign(rule, "any"): rule.any, _sign(rule, "none"): rule.none, **each}
    return {sign: tags for sign, tags in signs.items() if tags}


def _sign(rule: BucketRule, what: str) -> str:
    return f"{rule.name} {what}"


def _tags(tag: str, vocabulary: Vocabulary) -> list[str]:
    """A tag, or those of the list that it names."""
    return vocabulary.tags(tag.removeprefix(LIST)) if tag.startswith(LIST) else [tag]
