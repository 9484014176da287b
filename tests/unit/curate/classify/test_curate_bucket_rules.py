"""Content buckets of one's own: each condition by hand, mistakes in the configuration, and against a plain reading."""

from __future__ import annotations

import operator

import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.classify import content
from animetune.curate.config.content import BucketRule, Comparison, ContentConfig
from animetune.curate.tag.people import COUNTS
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.records import CONTENT_BUCKETS

VOCABULARY = Vocabulary.load()
COUNT_TAGS = {tag for stated in COUNTS.values() for tag in stated}


def buckets(posts: list[str], *rules: dict, **config) -> list[str | None]:
    """The content buckets of posts given by their tags."""
    cfg = ContentConfig.model_validate({"buckets": rules, **config})
    tags = [post.split() for post in posts]
    columns = {name: [[]] * len(posts) for name in content.READS}
    columns["tags_count"] = [[tag for tag in post if tag in COUNT_TAGS] for post in tags]
    columns["tags_general"] = [[tag for tag in post if tag not in COUNT_TAGS] for post in tags]
    schema = {name: pl.List(pl.String) for name in content.READS}
    frame = pl.DataFrame({"key": [str(n) for n in range(len(posts))], **columns}, schema_overrides=schema)
    outcome = content.assign(frame, cfg, VOCABULARY)
    found = dict(outcome.kept.select("key", "content_bucket").iter_rows())
    return [found.get(str(n)) for n in range(len(posts))]


POSTS = ["1girl comic", "2girls", "1girl 4koma cat", "1boy", "no_humans comic"]


@pytest.mark.parametrize(
    ("rule", "inside"),
    [
        ({"any": ["comic", "4koma"]}, [0, 2, 4]),
        ({"all": ["1girl", "comic"]}, [0]),
        ({"any": ["comic", "4koma"], "none": ["no_humans"]}, [0, 2]),
        ({"none": ["1girl", "2girls"]}, [3, 4]),
        ({"any": ["*koma"]}, [2]),
        ({"any": [" Comic", "4Koma"]}, [0, 2, 4]),  # as people write them
        ({"any": ["list:animal"]}, [2]),
        ({"all": ["list:animal", "*koma"]}, [2]),
        ({"count": "girls >= 1"}, [0, 1, 2]),
        ({"count": "girls==1, boys==0"}, [0, 2]),
        ({"count": "people > 1"}, [1]),
        ({"count": "people <= 0"}, [4]),
        ({"count": "girls != 1"}, [1, 3, 4]),
        ({"count": "girls < 2", "none": ["comic"]}, [2, 3]),
    ],
)
def test_each_condition(rule: dict, inside: list[int]):
    found = buckets(POSTS, {"name": "mine", **rule})
    assert [place for place, bucket in enumerate(found) if bucket == "mine"] == inside


def test_the_reason_and_what_else_would_hold():
    cfg = ContentConfig.model_validate({"buckets": [{"name": "comic", "any": ["comic"]}]})
    frame = pl.DataFrame(
        {"key": ["a"], **{name: [[]] for name in content.READS}, "tags_count": [["1girl"]], "tags_meta": [["comic"]]},
        schema_overrides={name: pl.List(pl.String) for name in content.READS},
    )
    kept = content.assign(frame, cfg, VOCABULARY).kept
    assert kept.select(content.WRITES).row(0) == ("comic", "rule", "1girl_only")


@pytest.mark.parametrize("column", content.READS)
def test_tags_of_every_class_count(column: str):
    columns = {name: [[], []] for name in content.READS} | {column: [["it"], None]}
    schema = {name: pl.List(pl.String) for name in content.READS}
    frame = pl.DataFrame({"key": ["a", "b"], **columns}, schema_overrides=schema)
    cfg = ContentConfig.model_validate({"buckets": [{"name": "mine", "any": ["it"]}]})
    outcome = content.assign(frame, cfg, VOCABULARY)
    assert outcome.kept["key"].to_list() == ["a"]
    assert outcome.dropped["key"].to_list() == ["b"]


def test_own_buckets_come_first_unless_told_otherwise():
    rules = [{"name": "b", "any": ["comic"]}, {"name": "a", "any": ["1girl"]}]
    assert ContentConfig.model_validate({"buckets": rules}).priority[:3] == ("b", "a", "animal")
    assert buckets(["1girl comic"], *rules) == ["b"]
    assert buckets(["1girl comic"], *rules, priority=["a", "1girl_only", "b"]) == ["a"]
    assert buckets(["1girl comic"], *rules, priority=["1girl_only", "a", "b"]) == ["1girl_only"]


def test_one_of_the_nine_can_have_another_rule():
    rule = {"name": "animal", "any": ["animal_ears"]}
    assert ContentConfig.model_validate({"buckets": [rule]}).priority == ContentConfig().priority
    assert buckets(["1girl animal_ears", "no_humans cat"], rule) == ["animal", "no_human"]


def test_people_are_counted_as_tags_state_them():
    """Whatever `others` says."""
    rule = {"name": "mine", "count": "others == 1, girls == 1, people == 2"}
    assert buckets(["1girl 1other", "2girls"], rule, others="girls") == ["mine", "multiple_girls"]
    assert buckets(["6+girls", "multiple_boys"], {"name": "many", "count": "people >= 6"}) == ["many", "multiple_boys"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"buckets": [{"name": "a"}]}, "a would hold every picture.*content.fallback: a"),
        ({"buckets": [{"name": "a", "any": []}]}, "would hold every picture"),
        ({"buckets": [{"name": "a,b", "any": ["x"]}]}, "pattern"),
        ({"buckets": [{"name": "a", "any": [""]}]}, "'' is not a tag"),
        ({"buckets": [{"name": "a", "any": ["list:animals"]}]}, "did you mean 'animal'"),
        ({"buckets": [{"name": "a", "count": "girls"}]}, "'girls >= 2'"),
        ({"buckets": [{"name": "a", "count": "girls = 2"}]}, "'girls = 2' should be a comparison"),
        ({"buckets": [{"name": "a", "count": "cats > 2"}]}, "'cats > 2' should be a comparison"),
        ({"buckets": [{"name": "a", "count": "girls > 2,"}]}, "'' should be a comparison"),
        ({"buckets": [{"name": "a", "any": ["x"]}] * 2}, "same name: a, a"),
        ({"buckets": [{"name": "a", "any": ["x"]}], "priority": ["animal"]}, "a has a rule in `buckets`, but no place"),
        ({"buckets": [{"name": "comic", "any": ["x"]}], "priority": ["comics"]}, "did you mean 'comic'"),
        ({"buckets": "comic"}, "valid tuple"),
        ({"buckets": [{"name": 5, "any": ["x"]}]}, "valid string"),
        ({"buckets": [["comic"]]}, "BucketRule"),
        ({"fallback": "a b"}, "pattern"),
    ],
)
def test_mistakes(config: dict, words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        ContentConfig.model_validate(config)


def test_comparisons_in_parts():
    assert Comparison.parse("girls >= 2,people<10") == [("girls", ">=", 2), ("people", "<", 10)]


OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
TAGS = st.sampled_from(["1girl", "2girls", "1boy", "multiple_boys", "1other", "comic", "4koma", "cat", "sky"])
SOME = st.lists(TAGS, max_size=2, unique=True)
NUMBERS_OF = {"girls": {"1girl": 1, "2girls": 2}, "boys": {"1boy": 1, "multiple_boys": 2}, "others": {"1other": 1}}


def plainly(rule: BucketRule, tags: list[str]) -> bool:
    """The rule, read for one post at a time."""
    numbers = {who: max([least[tag] for tag in tags if tag in least], default=0) for who, least in NUMBERS_OF.items()}
    numbers["people"] = sum(numbers.values())
    comparisons = Comparison.parse(rule.count) if rule.count else []
    return (
        (not rule.any or any(tag in tags for tag in rule.any))
        and all(tag in tags for tag in rule.all)
        and not any(tag in tags for tag in rule.none)
        and all(OPERATORS[each.operator](numbers[each.who], each.number) for each in comparisons)
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rules_as_they_are_read(data: st.DataObject):
    who, how = st.sampled_from(["girls", "boys", "others", "people"]), st.sampled_from(sorted(OPERATORS))
    counts = st.none() | st.builds("{} {} {}".format, who, how, st.integers(0, 4))
    conditions = st.fixed_dictionaries({"any": SOME, "all": SOME, "none": SOME, "count": counts})
    given = data.draw(st.lists(conditions.filter(lambda each: any(each.values())), min_size=1, max_size=3))
    names = data.draw(st.permutations(["mine", "yours", "animal"]))[: len(given)]
    rules = [{"name": name, **each} for name, each in zip(names, given, strict=True)]
    posts = data.draw(st.lists(st.lists(TAGS, max_size=5, unique=True), min_size=1, max_size=6))
    priority = [*names, *(name for name in CONTENT_BUCKETS if name not in names)]
    found = buckets([" ".join(post) for post in posts], *rules, priority=priority)
    for post, bucket in zip(posts, found, strict=True):
        expected = next((rule["name"] for rule in rules if plainly(BucketRule(**rule), post)), None)
        if expected is not None:
            assert bucket == expected
        else:
            assert bucket not in names
