"""Content buckets: rules by hand, and every picture in exactly one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.classify import content
from animetune.curate.config.content import ContentConfig
from animetune.curate.config.tags import TagsConfig
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.tag.tags import sort_tags
from animetune.records import CONTENT_BUCKETS
from tests.builders import CONTENT_TAGS

VOCABULARY = Vocabulary.load()
LISTS = pl.List(pl.String)


def assigned(posts: list[str], **config) -> list[tuple[str | None, str | None, str | None]]:
    """(bucket, reason, conflict) of posts given by their general tags; bucket None for those that were dropped."""
    count = len(posts)
    frame = pl.DataFrame(
        {
            "key": [f"{n:03d}" for n in range(count)],
            "is_deleted": [False] * count,
            "width": [800] * count,
            "height": [800] * count,
            **{f"tags_{name}": [[]] * count for name in TAG_CLASSES},
            "tags_general": [post.split() for post in posts],
        },
        schema_overrides={f"tags_{name}": LISTS for name in TAG_CLASSES},
    )
    rows = sort_tags(frame, TagsConfig(), VOCABULARY).kept
    outcome = content.assign(rows, ContentConfig(**config), VOCABULARY)
    assert set(outcome.dropped["reason"]) <= {content.UNASSIGNED}
    assert outcome.kept.columns == [*rows.columns, *content.WRITES]
    decided = {
        row["key"]: (row["content_bucket"], row["content_reason"], row["content_conflict"])
        for row in outcome.kept.iter_rows(named=True)
    }
    found = [decided.get(f"{n:03d}", (None, None, None)) for n in range(count)]
    assert len(decided) + outcome.dropped.height == count
    return found


@pytest.mark.parametrize(("bucket", "tags"), CONTENT_TAGS.items())
def test_each_bucket_has_its_example(bucket: str, tags: str):
    assert assigned([tags])[0][0] == bucket


@pytest.mark.parametrize(
    ("tags", "bucket", "reason", "conflict"),
    [
        # one person
        ("1girl", "1girl_only", "count", ""),
        ("1girl blush parted_lips", "1girl_only", "count", ""),  # weak signs
        ("1girl blush crying", "1girl_with_emotion", "count", ""),
        ("1boy :d", "1boy_with_emotion", "count", ""),
        ("1girl cat animal_focus", "1girl_only", "count", ""),  # somebody is there
        # several of a kind
        ("3girls smile", "multiple_girls", "count", ""),
        ("1girl multiple_girls", "multiple_girls", "count", ""),
        ("6+boys", "multiple_boys", "count", ""),
        # mixed groups
        ("1girl 1boy", "multiple_girls", "majority", ""),
        ("1girl 2boys", "multiple_boys", "majority", ""),
        ("2girls 1boy male_focus", "multiple_boys", "male_focus", ""),
        ("1girl 1boy solo_focus smile", "1girl_with_emotion", "solo_focus", ""),
        ("1girl 1boy solo_focus male_focus", "1boy_only", "solo_focus", ""),
        ("1boy 1other solo_focus", "1boy_only", "solo_focus", ""),
        ("1girl 1other", "multiple_girls", "majority", ""),
        ("1boy 1other", "multiple_boys", "majority", ""),
        ("1other", None, None, None),
        # nobody
        ("no_humans", "no_human", "no_humans", ""),
        ("no_humans simple_background", "no_human", "no_humans", ""),
        ("no_humans outdoors building", "no_human", "no_humans", ""),
        ("no_humans cat", "animal", "animal_tag", "no_human"),
        ("no_humans bird scenery sky", "no_human", "no_humans", ""),
        ("no_humans bird animal_focus scenery", "animal", "animal_focus", "no_human"),
        ("no_humans robot", "object", "object_tag", "no_human"),
        ("no_humans robot outdoors", "no_human", "no_humans", ""),
        ("no_humans robot outdoors mecha_focus", "object", "object_focus", "no_human"),
        ("no_humans cat cup", "animal", "animal_tag", "object,no_human"),
        ("no_humans animal_ears cat_ears", "no_human", "no_humans", ""),  # not animals
        # without a count tag
        ("landscape", "no_human", "scenery", ""),
        ("cat", "animal", "animal_tag", ""),
        ("crowd cityscape", None, None, None),  # people are there
        ("male_focus cat", None, None, None),
        ("crowd no_humans cityscape", "no_human", "no_humans", ""),
        ("long_hair dress", None, None, None),
        ("", None, None, None),
        # contradictions
        ("no_humans 1girl smile", "no_human", "no_humans", "1girl_with_emotion"),
        ("no_humans 1girl cat", "animal", "animal_tag", "no_human,1girl_only"),
    ],
)
def test_decisions(tags, bucket, reason, conflict):
    assert assigned([tags]) == [(bucket, reason, conflict)]


@pytest.mark.parametrize(
    ("mixed", "tags", "bucket"),
    [
        ("boys", "2girls 1boy", "multiple_boys"),
        ("boys", "1girl", "1girl_only"),
        ("majority", "1girl 1boy solo_focus", "multiple_girls"),
        ("majority", "1girl 3boys male_focus", "multiple_boys"),
        ("majority", "3girls 1boy male_focus", "multiple_girls"),
        ("girls", "1girl 3boys male_focus", "multiple_girls"),
        ("girls", "1boy 1other", "multiple_boys"),  # no girl is there
        ("boys", "1girl 1other", "multiple_girls"),
        ("drop", "1girl 1boy", None),
        ("drop", "2girls", "multiple_girls"),
    ],
)
def test_mixed_groups_by_policy(mixed: str, tags: str, bucket: str | None):
    assert assigned([tags], mixed=mixed)[0][0] == bucket


@pytest.mark.parametrize(
    ("others", "tags", "decided"),
    [
        ("apart", "1other", (None, None, None)),
        ("apart", "1girl 1other smile", ("multiple_girls", "majority", "")),
        ("girls", "1other smile", ("1girl_with_emotion", "count", "")),
        ("girls", "1girl 1other", ("multiple_girls", "count", "")),
        ("boys", "1other", ("1boy_only", "count", "")),
        ("boys", "1girl 1other male_focus", ("multiple_boys", "male_focus", "")),
        ("ignore", "1girl 1other smile", ("1girl_with_emotion", "count", "")),
        ("ignore", "1other", (None, None, None)),
        ("ignore", "1other cat", (None, None, None)),  # somebody is there
    ],
)
def test_people_of_neither_kind_by_policy(others: str, tags: str, decided: tuple):
    assert assigned([tags], others=others) == [decided]


def test_what_no_rule_holds_can_have_a_bucket():
    assert assigned(["long_hair", "1girl", "1other"], fallback="unclear") == [
        ("unclear", "fallback", ""),
        ("1girl_only", "count", ""),
        ("unclear", "fallback", ""),
    ]
    assert assigned(["long_hair"], fallback="no_human") == [("no_human", "fallback", "")]
    assert ContentConfig(fallback="unclear").names == [*ContentConfig().priority, "unclear"]


def test_facts_count_reasons_and_conflicts():
    posts = ["no_humans cat", "no_humans cat cup", "no_humans", "1girl", "1girl", "long_hair"]
    frame = pl.DataFrame(
        {
            "key": [f"{n}" for n in range(len(posts))],
            "row": range(len(posts)),
            **{name: [[]] * len(posts) for name in content.READS},
            "tags_general": [post.split() for post in posts],
            "tags_count": [["1girl"] if "1girl" in post else None for post in posts],
        },
        schema_overrides=dict.fromkeys(content.READS, LISTS),
    )
    found = content.assign(frame, ContentConfig(), VOCABULARY)
    assert found.kept.columns == [*frame.columns, *content.WRITES]
    assert found.kept["row"].to_list() == [0, 1, 2, 3, 4]
    assert found.dropped.rows() == [("5", "unassigned")]
    assert found.facts == {
        "conflicts": 2,
        "content": {
            "reasons": {"1girl_only": {"count": 2}, "animal": {"animal_tag": 2}, "no_human": {"no_humans": 1}},
            "conflicts": {"animal": {"no_human": 2, "object": 1}},
        },
    }


def test_without_rows():
    frame = pl.DataFrame(schema={"key": pl.String(), **dict.fromkeys(content.READS, LISTS)})
    for cfg in (ContentConfig(), ContentConfig(fallback="rest")):
        found = content.assign(frame, cfg, VOCABULARY)
        assert found.kept.height == found.dropped.height == found.facts["conflicts"] == 0
        assert found.kept.schema["content_bucket"] == pl.String


def test_weak_emotions_count_when_asked():
    assert assigned(["1girl blush"], emotion="any")[0][0] == "1girl_with_emotion"


def test_priority_is_configuration():
    (decided,) = assigned(["no_humans 1girl cat"], priority=CONTENT_BUCKETS)  # people first
    assert decided == ("1girl_only", "count", "animal,no_human")
    assert assigned(["no_humans", "1girl"], priority=["1girl_only"]) == [
        (None, None, None),
        ("1girl_only", "count", ""),
    ]


@pytest.mark.parametrize(
    ("priority", "words"),
    [
        ([], "at most once"),
        (["animal", "animal"], "at most once"),
        (["cats"], "cats is no content bucket; there are 1girl_with_emotion"),
        (["1girl_onyl"], "did you mean '1girl_only'"),
    ],
)
def test_a_priority_that_makes_no_sense(priority, words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        ContentConfig(priority=priority)


TAGS = st.sampled_from(
    [
        "1girl", "2girls", "multiple_girls", "1boy", "3boys", "1other", "solo", "solo_focus", "male_focus", "no_humans",
        "smile", "blush", "cat", "animal_focus", "cup", "object_focus", "scenery", "outdoors", "long_hair", "comic",
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(TAGS, max_size=6, unique=True).map(" ".join), min_size=1, max_size=8),
    st.sampled_from(["focus", "majority", "girls", "drop"]),
    st.permutations(CONTENT_BUCKETS),
)
def test_every_picture_is_in_one_bucket_or_dropped(posts: list[str], mixed: str, priority: list[str]):
    for bucket, reason, conflict in assigned(posts, mixed=mixed, priority=priority):
        if bucket is None:
            continue
        assert bucket in CONTENT_BUCKETS
        assert reason
        others = conflict.split(",") if conflict else []
        ranks = [priority.index(name) for name in (bucket, *others)]
        assert ranks == sorted(ranks)
        assert len([name for name in (bucket, *others) if name[:2] in ("1g", "1b", "mu")]) <= 1


def test_the_real_pictures_are_where_a_person_puts_them(shared_data: Path):
    folder = shared_data / "images"
    posts = {post["file_name"]: post for post in map(json.loads, (folder / "posts.jsonl").read_text().splitlines())}
    with (folder / "expected_buckets.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    expected = {row["file"]: row["expected_bucket"].replace("_emotion", "_with_emotion") for row in rows}
    found = assigned([posts[name]["tag_string_general"] for name in expected])
    wrong = {
        name: f"{bucket}, a person says {person}"
        for (name, person), (bucket, _, _) in zip(expected.items(), found, strict=True)
        if bucket != person
    }
    print(f"{len(expected) - len(wrong)} of {len(expected)} content buckets agree; others: {wrong}")
    assert wrong == {}
