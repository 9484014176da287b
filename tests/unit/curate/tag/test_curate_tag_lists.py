"""Lists of tags, classes and groups: that each entry is a tag, that they cover the tags in use, and a user's own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from animetune.curate.tag.tag_lists import NAMES, OTHER, Vocabulary
from animetune.errors import DataError

BUILT_IN = Vocabulary.load()
TRIGGERS_OF_AIDXL = {"clean_color", "celluloid", "flat-pasto", "thin-pasto", "pseudo-impasto", "cel_shading"}
"""Words that AIDXL made up: no tags of Danbooru."""


@pytest.fixture(scope="module")
def danbooru(shared_data: Path) -> dict[str, tuple[int, int]]:
    """Tag -> (category, posts)."""
    with (shared_data / "tags" / "danbooru.csv").open(encoding="utf-8") as stream:
        return {row[0]: (int(row[1]), int(row[2])) for row in csv.reader(stream)}


def entries() -> dict[str, set[str]]:
    """File -> its tags, patterns left out."""
    found = {name: set(tags) for name, tags in BUILT_IN.lists.items()}
    found |= {f"classes/{name}": set(tags) for name, tags in BUILT_IN.classes.items()}
    found |= {f"groups/{name}": set(tags) for name, tags in BUILT_IN.groups.items()}
    return {file: {tag for tag in tags if "*" not in tag} for file, tags in found.items()}


def test_every_listed_tag_is_a_general_or_meta_tag_of_danbooru(danbooru):
    known = {tag for tag, (category, _) in danbooru.items() if category in (0, 5)} | TRIGGERS_OF_AIDXL
    assert {file: strange for file, tags in entries().items() if (strange := tags - known)} == {}


def test_every_pattern_fits_a_tag_and_no_entry_has_two_classes(danbooru):
    for parts in (BUILT_IN.classes, BUILT_IN.groups):
        listed = [entry for tags in parts.values() for entry in tags]
        assert sorted(listed) == sorted(set(listed))
    for name, tags in BUILT_IN.classes.items():
        fits = {tag for tag in danbooru if danbooru[tag][0] in (0, 5)}
        for pattern in (tag for tag in tags if "*" in tag):
            before, _, after = pattern.partition("*")
            ends = [tag for tag in fits if tag.startswith(before) and tag.endswith(after.rpartition("*")[2])]
            assert ends, f"{name}: {pattern}"


def test_classes_and_groups_cover_the_uses_of_general_tags(danbooru):
    """At least 97 % of 254 million uses have a class; the tags taken out for their own lists count as well."""
    uses = {tag: posts for tag, (category, posts) in danbooru.items() if category == 0}
    for decided in (BUILT_IN.class_of(uses), BUILT_IN.group_of(uses)):
        covered = sum(posts for tag, posts in uses.items() if decided[tag] != OTHER)
        assert covered / sum(uses.values()) > 0.97
    classes = BUILT_IN.class_of(uses)
    frequent = [tag for tag, posts in uses.items() if posts >= 10_000]
    assert [tag for tag in frequent if classes[tag] == OTHER] == []


def test_lists_that_exclude_each_other():
    lists = {name: set(tags) for name, tags in BUILT_IN.lists.items()}
    assert not lists["emotion-strong"] & lists["emotion-weak"]
    assert not lists["animal"] & lists["object"]
    assert not lists["place"] & lists["object"]
    assert not lists["count"] & lists["special"]
    assert not {tag for tag in lists["noise"] if tag in lists["special"] | lists["count"] | lists["style"]}


def test_every_class_is_in_one_group():
    grouped = [entry for tags in BUILT_IN.groups.values() for entry in tags]
    assert set(grouped) == {entry for tags in BUILT_IN.classes.values() for entry in tags}


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("1girl", "people"), ("male_focus", "people"), ("hetero", "people"), ("siblings", "interaction"),
        ("cat_girl", "race"), ("elf", "race"), ("maid", "role"), ("hatsune_miku_(cosplay)", "role"),
        ("upper_body", "composition"), ("foot_focus", "composition"), ("from_above", "composition"),
        ("toon_(style)", "style"), ("cel_shading", "style"), ("flat_color", "style"), ("blue_theme", "style"),
        ("halloween", "theme"), ("crossover", "theme"), ("outdoors", "environment"), ("classroom", "environment"),
        ("white_background", "background"), ("night_sky", "surroundings"), ("couch", "surroundings"),
        ("on_couch", "pose"), ("red_rose", "plants"), ("sitting", "pose"), ("hand_on_own_hip", "pose"),
        ("hand_on_another's_head", "interaction"), ("hand_on_headwear", "pose"), ("looking_at_viewer", "gaze"),
        ("looking_at_another", "interaction"), ("holding_sword", "action"), ("holding_umbrella", "action"),
        ("holding_hands", "interaction"), ("fellatio", "sex"), ("smile", "expression"), (":d", "expression"),
        ("=_=", "expression"), ("open_mouth", "expression"), ("thick_eyebrows", "face"), ("long_hair", "hair"),
        ("green_hair", "hair"), ("twintails", "hairstyle"), ("low_ponytail", "hairstyle"), ("blue_eyes", "eyes"),
        ("heart-shaped_pupils", "eyes"), ("mole_under_eye", "face"), ("mole_on_breast", "body"),
        ("large_breasts", "body"), ("dark_skin", "body"), ("fox_ears", "animal-traits"), ("halo", "animal-traits"),
        ("nude", "nudity"), ("skirt_lift", "nudity"), ("white_shirt", "clothing"), ("striped_shirt", "clothing"),
        ("school_uniform", "clothing"), ("torn_clothes", "clothing"), ("frills", "clothing-details"),
        ("long_sleeves", "clothing-details"), ("black_thighhighs", "legwear"), ("red_footwear", "footwear"),
        ("witch_hat", "headwear"), ("hair_ribbon", "headwear"), ("x_hair_ornament", "headwear"),
        ("red_bow", "accessories"), ("glasses", "accessories"), ("katana", "weapons"), ("bow_(weapon)", "weapons"),
        ("strawberry", "food"), ("wine_glass", "food"), ("motorcycle", "vehicles"), ("smartphone", "items"),
        ("stuffed_animal", "items"), ("black_cat", "animals"), ("mouse_(animal)", "animals"), ("sparkle", "effects"),
        ("speech_bubble", "text"), ("twitter_username", "text"), ("mosaic_censoring", "censorship"),
        ("bad_anatomy", "flaws"), ("no_such_tag_at_all", OTHER),
    ],
)  # fmt: skip
def test_the_class_of_a_tag(tag: str, expected: str):
    assert BUILT_IN.class_of([tag]) == {tag: expected}


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
    (tmp_path / "special.txt").write_text("# mine\n\nlowres\nfoo\nlowres\nFoo  Bar\n")
    (tmp_path / "groups" / "cats.txt").write_text("cat*\ninclude special\n")
    (tmp_path / "groups" / "hair.txt").write_text("")
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "cats.txt").write_text("*cat*\n")
    (tmp_path / "overlap.txt").write_text("kitten > cat\n")
    own = Vocabulary.load(tmp_path)
    assert own.lists["special"] == ("lowres", "foo", "foo_bar")
    assert own.lists["count"] == BUILT_IN.lists["count"]
    assert own.groups["cats"] == ("cat*", "lowres", "foo", "foo_bar")
    assert "hair" not in own.groups
    assert own.class_of(["a_cat_x"]) == {"a_cat_x": "cats"}
    assert own.overlap == ("kitten > cat",)
    assert own.digest != BUILT_IN.digest
    assert Vocabulary.load().digest == BUILT_IN.digest


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "there is no such folder"),
        ({"specials.txt": "x"}, "specials.txt: the lists are named count, special"),
        ({"hair.txt": "x"}, r"hair.txt: the lists are named .*classes/<class>"),
        ({"special.txt": "include overlap"}, "there is no such list"),
        ({"special.txt": "include count", "count.txt": "include special"}, "count -> special -> count"),
        ({"special.txt": "include nothing"}, "include nothing: there is no such list"),
        ({"special.txt": "include special"}, "special.txt: include special: goes round in a circle"),
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
