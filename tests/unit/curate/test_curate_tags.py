"""Lists of tags, and where each tag of a post goes."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest

from animetune.curate.config.tags import TagsConfig
from animetune.curate.posts import TAG_CLASSES
from animetune.curate.tag_lists import NAMES, OTHER, Vocabulary
from animetune.curate.tags import sort_tags
from animetune.errors import DataError

BUILT_IN = Vocabulary.load()


def sorted_post(general: list[str], meta: list[str] | None = None, size: tuple[int, int] = (800, 800), **settings):
    """The lists of one post after the step."""
    frame = pl.DataFrame(
        {
            "tags_general": [general],
            "tags_meta": [meta or []],
            **{f"tags_{name}": [[]] for name in TAG_CLASSES if name not in ("general", "meta")},
            "width": [size[0]],
            "height": [size[1]],
        },
        schema_overrides={f"tags_{name}": pl.List(pl.String) for name in TAG_CLASSES},
    )
    return sort_tags(frame, TagsConfig(**settings), BUILT_IN).kept.row(0, named=True)


def test_count_and_special_tags_leave_their_lists_and_order_stays():
    row = sorted_post(
        ["smile", "1girl", "monochrome", "long_hair", "solo", "greyscale"], ["highres", "commentary", "absurdres"]
    )
    assert row["tags_count"] == ["1girl", "solo"]
    assert row["tags_special"] == ["monochrome", "greyscale", "highres", "absurdres"]
    assert row["tags_general"] == ["smile", "long_hair"]
    assert row["tags_meta"] == ["commentary"]


def test_case_and_repeats():
    row = sorted_post(["Smile", "smile", "LONG_hair", ":D", ":d"], ["Highres", "highres"])
    assert row["tags_general"] == ["smile", "long_hair", ":d"]
    assert row["tags_special"] == ["highres"]


def test_a_tag_in_two_lists_is_special_once():
    assert sorted_post(["comic"], ["comic"])["tags_special"] == ["comic"]


@pytest.mark.parametrize(
    ("size", "tags"),
    [
        ((500, 500), ["lowres"]),
        ((501, 500), []),
        ((1600, 100), ["highres"]),
        ((1599, 1199), []),
        ((100, 1200), ["highres"]),
        ((3200, 100), ["highres", "absurdres"]),
        ((100, 2400), ["highres", "absurdres"]),
        ((10000, 100), ["highres", "absurdres", "incredibly_absurdres"]),
    ],
)
def test_size_tags_of_the_picture(size, tags):
    row = sorted_post([], ["absurdres", "commentary"], size, size_tags="picture")
    assert row["tags_special"] == tags
    assert row["tags_meta"] == ["commentary"]


def test_size_tags_of_the_site_are_left_alone():
    assert sorted_post([], ["absurdres"], (100, 100))["tags_special"] == ["absurdres"]


def test_every_built_in_tag_exists_on_danbooru(shared_data: Path):
    """Each tag is a tag of the site, and each pattern fits one; no tag is in two groups."""
    with (shared_data / "tags" / "danbooru.csv").open(encoding="utf-8") as stream:
        general = {row[0]: int(row[2]) for row in csv.reader(stream) if row[1] in "05"}
    listed = {tag for tags in BUILT_IN.lists.values() for tag in tags}
    grouped = [tag for tags in BUILT_IN.groups.values() for tag in tags]
    assert {tag for tag in listed.union(grouped) if "*" not in tag and tag not in general} == set()
    assert len(grouped) == len(set(grouped))
    assert not set(BUILT_IN.lists["emotion-strong"]) & set(BUILT_IN.lists["emotion-weak"])
    assert not set(BUILT_IN.lists["animal"]) & set(BUILT_IN.lists["object"])
    assert not set(BUILT_IN.lists["place"]) & set(BUILT_IN.lists["object"])

    taken_out = {*BUILT_IN.lists["count"], *BUILT_IN.lists["special"]}
    uses = {tag: count for tag, count in general.items() if tag not in taken_out}
    group = BUILT_IN.group_of(uses)
    grouped_uses = sum(count for tag, count in uses.items() if group[tag] != OTHER)
    assert grouped_uses / sum(uses.values()) > 0.85


def test_lists_are_not_empty():
    assert all(BUILT_IN.lists[name] for name in NAMES)
    assert len(BUILT_IN.groups) > 10


@pytest.mark.parametrize(
    ("tag", "group"),
    [
        ("long_hair", "hair"),
        ("hair_between_eyes", "hair"),  # listed there, though it fits *_eyes
        ("blue_eyes", "eyes"),
        ("animal_ears", "body"),
        ("white_shirt", "clothing"),
        ("hair_ribbon", "accessories"),
        ("smile", "expression"),
        (":d", "expression"),
        ("@_@", "expression"),
        ("?", "expression"),
        ("looking_at_viewer", "pose"),
        ("looking_at_another", "interaction"),
        ("white_background", "background"),
        ("katana", "objects"),
        ("mouse_(animal)", "animals"),
        ("no_such_tag_at_all", OTHER),
        ("x", OTHER),  # must not fit a pattern that begins with ?
    ],
)
def test_the_group_of_a_tag(tag: str, group: str):
    assert BUILT_IN.group_of([tag]) == {tag: group}


def test_the_longest_pattern_decides(tmp_path: Path):
    for name, text in {"a": "*_hair\n*r\n", "b": "long_*\n", "c": "long_hair_[x]*\n"}.items():
        (tmp_path / "groups").mkdir(exist_ok=True)
        (tmp_path / "groups" / f"{name}.txt").write_text(text)
    own = Vocabulary.load(tmp_path)
    mine = Vocabulary(lists=own.lists, groups={name: own.groups[name] for name in "abc"})
    found = mine.group_of(["long_hair", "short_hair", "long_x", "bar", "long_hair_[x]y", "long_hair_xy", "z"])
    assert list(found.values()) == ["a", "a", "b", "a", "c", "b", OTHER]


def test_a_user_can_replace_a_list_and_add_or_remove_groups(tmp_path: Path):
    (tmp_path / "groups").mkdir()
    (tmp_path / "special.txt").write_text("# mine\n\nlowres\nfoo\nlowres\n")
    (tmp_path / "groups" / "cats.txt").write_text("cat*\ninclude special\n")
    (tmp_path / "groups" / "hair.txt").write_text("")
    own = Vocabulary.load(tmp_path)
    assert own.lists["special"] == ("lowres", "foo")
    assert own.lists["count"] == BUILT_IN.lists["count"]
    assert own.groups["cats"] == ("cat*", "lowres", "foo")
    assert "hair" not in own.groups
    assert own.digest != BUILT_IN.digest
    assert Vocabulary.load().digest == BUILT_IN.digest


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "there is no such folder"),
        ({"specials.txt": "x"}, "specials.txt: the lists are named count, special"),
        ({"special.txt": "include nothing"}, "include nothing: there is no such list"),
        ({"special.txt": "include special"}, "there is no such list"),
    ],
)
def test_a_vocabulary_that_cannot_be_used(tmp_path: Path, files: dict | None, words: str):
    folder = tmp_path / "vocabulary"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(DataError, match=words):
        Vocabulary.load(folder)
