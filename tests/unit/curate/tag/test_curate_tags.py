"""Lists of tags, and where each tag of a post goes."""

from __future__ import annotations

import functools
import pickle

import polars as pl
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.config.tags import TagsConfig
from animetune.curate.read.posts import TAG_CLASSES
from animetune.curate.steps import Outcome
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.tag.tag_tables import TagTables
from animetune.curate.tag.tags import READS, WRITES, check, sort_tags
from animetune.errors import ConfigError

BUILT_IN = Vocabulary.load()
SCHEMA = {"width": pl.Int32(), "height": pl.Int32()} | {f"tags_{kind}": pl.List(pl.String) for kind in TAG_CLASSES}


def posts(*rows: dict) -> pl.DataFrame:
    """Posts of 800 x 800 pixels with the tags given by kind, none of the others."""
    blank = {"width": 800, "height": 800} | {f"tags_{kind}": [] for kind in TAG_CLASSES}
    filled = [blank | {name if name in blank else f"tags_{name}": value for name, value in row.items()} for row in rows]
    return pl.DataFrame(filled, schema=SCHEMA)


def outcome(*rows: dict, tables: TagTables | None = None, **settings) -> Outcome:
    """What the step makes of posts."""
    return sort_tags(posts(*rows), TagsConfig(**settings), BUILT_IN, tables)


def sorted_post(general: list[str], meta: list[str] | None = None, size: tuple[int, int] = (800, 800), **settings):
    """The lists of one post after the step."""
    post = {"general": general, "meta": meta or [], "width": size[0], "height": size[1]}
    return outcome(post, **settings).kept.row(0, named=True)


def test_count_and_special_tags_leave_their_lists_and_order_stays():
    row = sorted_post(
        ["smile", "1girl", "monochrome", "long_hair", "solo", "greyscale"], ["highres", "translation_note", "absurdres"]
    )
    assert row["tags_count"] == ["1girl", "solo"]
    assert row["tags_special"] == ["monochrome", "greyscale", "highres", "absurdres"]
    assert row["tags_general"] == ["smile", "long_hair"]
    assert row["tags_meta"] == ["translation_note"]


def test_case_and_repeats():
    row = sorted_post(["Smile", "smile", "LONG_hair", ":D", ":d"], ["Highres", "highres"])
    assert row["tags_general"] == ["smile", "long_hair", ":d"]
    assert row["tags_special"] == ["highres"]


def test_special_tags_may_stay_where_they_are():
    row = sorted_post(["1girl", "comic", "smile"], ["highres"], special="leave")
    assert row["tags_special"] == []
    assert row["tags_general"] == ["comic", "smile"]
    assert row["tags_meta"] == ["highres"]


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
    row = sorted_post([], ["absurdres", "translation_note"], size, size_tags="picture")
    assert row["tags_special"] == tags
    assert row["tags_meta"] == ["translation_note"]


def test_size_tags_of_the_site_are_left_alone():
    assert sorted_post([], ["absurdres"], (100, 100))["tags_special"] == ["absurdres"]


def test_size_tags_of_the_picture_replace_those_of_sources_without_classes():
    row = sorted_post(["absurdres", "smile"], [], (1600, 100), size_tags="picture")
    assert row["tags_general"] == ["smile"]
    assert row["tags_special"] == ["highres"]


def test_writing():
    row = sorted_post(["Long Hair", " red  eyes ", "saber \\\\(fate\\\\)".replace("\\\\", "\\"), "\\m/", "\t", ""])
    assert row["tags_general"] == ["long_hair", "red_eyes", "saber_(fate)", "\\m/"]


def test_noise_goes_and_can_be_kept():
    general, meta = ["smile", "name_connection"], ["commentary_request", "bad_pixiv_id", "photo_(medium)", "commentary"]
    row = sorted_post(general, meta)
    assert (row["tags_general"], row["tags_meta"]) == (["smile"], ["photo_(medium)"])
    row = sorted_post(general, meta, noise="keep")
    assert (row["tags_general"], row["tags_meta"]) == (general, meta)


def test_aliases_categories_and_renames_in_this_order():
    tables = TagTables(
        aliases={"boobs": "breasts", "gan": "ganyu", "miku": "hatsune_miku"},
        categories={
            "ganyu": "character",
            "wlop": "artist",
            "sky": "general",
            "highres": "meta",
            "vocaloid": "copyright",
        },
    )
    general = ["boobs", "breasts", "gan", "wlop", "sky", "vocaloid", "highres", "doctor", "dr"]
    rename = {"Doctor": "doctor_(profession)", "character:ganyu": "ganyu_(genshin_impact)", "general:ganyu": "never"}
    made = outcome({"general": general, "character": ["miku", "sky"]}, tables=tables, rename=rename)
    row = made.kept.row(0, named=True)
    assert row["tags_general"] == ["breasts", "sky", "doctor_(profession)", "dr"]
    assert row["tags_character"] == ["ganyu_(genshin_impact)", "hatsune_miku", "sky"]
    assert (row["tags_artist"], row["tags_copyright"], row["tags_special"]) == (["wlop"], ["vocaloid"], ["highres"])
    assert made.facts["tags_rewritten"] == {"alias": 3, "category": 4, "rename": 2}
    assert made.facts["tags_removed"] == {"twice": 1}


def test_an_alias_can_be_a_count_or_noise():
    tables = TagTables(aliases={"1girls": "1girl", "ids": "bad_id", "hires": "highres"})
    row = outcome({"general": ["1girls", "ids", "hires"]}, tables=tables).kept.row(0, named=True)
    assert (row["tags_count"], row["tags_general"], row["tags_special"]) == (["1girl"], [], ["highres"])


def test_overlap_is_kept_apart():
    tags = ["1girl", "long_hair", "very_long_hair", "smile", "grin", "black_cat", "cat", "animal"]
    row = sorted_post(tags, overlap="drop")
    assert row["tags_general"] == ["very_long_hair", "grin", "black_cat"]
    assert row["tags_implied"] == ["long_hair", "smile", "cat", "animal"]
    row = sorted_post(tags)
    assert (row["tags_general"], row["tags_implied"]) == (tags[1:], [])


def test_overlap_of_several_people_and_of_an_unknown_number():
    tags = ["long_hair", "very_long_hair", "sky", "blue_sky"]
    for count in (["2girls", "multiple_girls"], ["1girl", "1boy"], []):
        row = sorted_post([*count, *tags], overlap="drop")
        assert row["tags_general"] == ["long_hair", "very_long_hair", "blue_sky"]
    row = sorted_post(["2girls", "multiple_girls"], ["4koma", "comic"], overlap="drop")
    assert (row["tags_count"], row["tags_special"]) == (["2girls"], ["4koma"])
    assert sorted(row["tags_implied"]) == ["comic", "multiple_girls"]
    assert row["n_people"] == 2
    assert sorted_post(["no_humans", "1girl"])["n_people"] == 1
    assert sorted_post(["smile"])["n_people"] is None


def test_built_in_rules_are_about_general_tags_and_a_users_about_all():
    tables = TagTables(implications={"miku_(append)": ("miku",), "smile": ("face",)})
    post = {
        "general": ["solo", "smile", "face"],
        "character": ["miku", "miku_(append)", "mole_x", "mole"],
        "copyright": ["white_shirt", "shirt"],
    }
    row = outcome(post, tables=tables, overlap="drop").kept.row(0, named=True)
    assert row["tags_general"] == ["smile"]
    assert row["tags_character"] == ["miku_(append)", "mole_x", "mole"]
    assert row["tags_copyright"] == ["white_shirt", "shirt"]


def test_the_order_of_general_tags():
    row = sorted_post(["gun", "1boy", "holding", "short_hair"], order="aidxl-caption")
    assert row["tags_count"] + row["tags_general"] == ["1boy", "short_hair", "holding", "gun"]
    row = sorted_post(["gun", "smile", "short_hair"], order=["expression", ["weapons", "hair"]])
    assert row["tags_general"] == ["smile", "gun", "short_hair"]


def test_an_order_with_an_unknown_class():
    for make in (outcome, lambda order: check(TagsConfig(order=order), BUILT_IN)):
        with pytest.raises(ConfigError, match="'hairs' is no semantic class of tags; did you mean 'hair"):
            make(order=["hairs"])


def test_facts_and_uses():
    made = outcome(
        {"general": ["1girl", "smile", "SMILE", "zzxx", ""], "artist": ["a"]},
        {"general": ["smile", "commentary"], "character": ["miku"], "artist": ["a"]},
    )
    assert made.facts == {
        "tags": {
            "tags_count": 1, "tags_special": 0, "tags_general": 3, "tags_character": 1, "tags_copyright": 0,
            "tags_artist": 2, "tags_meta": 0,
        },
        "tags_removed": {"empty": 1, "noise": 1, "twice": 1},
        "tags_rewritten": {},
        "tag_classes": {"expression": 2, "other": 1},
    }  # fmt: skip
    assert sorted(made.tables["tag_uses"].rows()) == [
        ("artist", "a", 2), ("character", "miku", 1), ("general", "smile", 2), ("general", "zzxx", 1),
    ]  # fmt: skip


def test_no_posts_and_nulls():
    assert outcome().kept.height == 0
    row = outcome({"general": None, "artist": [None, "a", None]}, overlap="drop", order="aidxl-prompt").kept.row(
        0, named=True
    )
    assert (row["tags_general"], row["tags_artist"], row["tags_implied"]) == ([], ["a"], [])


def test_it_reads_and_writes_the_columns_that_it_says():
    kept = sort_tags(posts({"general": ["a"]}).select(READS), TagsConfig(overlap="drop"), BUILT_IN).kept
    assert set(kept.columns) == {*READS, *WRITES}
    assert {name: kept.schema[name] for name in WRITES} == {
        name: pl.Int32() if name == "n_people" else pl.List(pl.String) for name in WRITES
    }


def test_columns_of_categories_are_columns_of_text():
    """As steps read them."""
    frame = posts({"general": ["b", "1girl", "a"], "artist": None}, {"general": ["a", None], "meta": ["highres"]})
    coded = frame.cast(dict.fromkeys((f"tags_{kind}" for kind in TAG_CLASSES), pl.List(pl.Categorical)))
    settings = (TagsConfig(overlap="drop", order="aidxl-caption", size_tags="picture"), BUILT_IN)
    assert sort_tags(coded, *settings).kept.equals(sort_tags(frame, *settings).kept)


def test_a_configuration_and_its_tables_go_to_other_processes():
    work = functools.partial(sort_tags, cfg=TagsConfig(overlap="drop"), vocabulary=BUILT_IN, tables=TagTables())
    again = pickle.loads(pickle.dumps(work))
    rows = posts({"general": ["1girl", "grin", "smile"]})
    assert again(rows).kept.equals(work(rows).kept)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rename": {"A b": "c", "a_b": "d"}}, "lists a tag twice"),
        ({"rename": {" ": "c"}}, "without any character"),
        ({"implications": ["x.csv"]}, "set overlap: drop"),
        ({"order": "aidxl"}, "order"),
    ],
)
def test_settings_that_are_refused(settings: dict, words: str):
    with pytest.raises(pydantic.ValidationError, match=words):
        TagsConfig(**settings)


names = "1girl 2girls solo smile grin Smile long_hair very_long_hair shirt white_shirt highres commentary old miku"
tags = st.sampled_from(names.split()) | st.sampled_from(["x", "\t"]) | st.text(max_size=4)
lists = st.none() | st.lists(tags | st.none(), max_size=8)
strange_posts = st.lists(st.fixed_dictionaries(dict.fromkeys(TAG_CLASSES, lists)), max_size=6)


@given(
    strange_posts,
    st.sampled_from(["keep", "drop"]),
    st.sampled_from(["site", "aidxl-caption"]),
    st.sampled_from(["site", "picture"]),
)
def test_no_tag_is_lost_or_made_up(rows: list[dict], overlap: str, order: str, size_tags: str):
    """What goes in = what comes out + what was removed, by reason; and every picture is seen by itself."""
    tables = TagTables(aliases={"old": "smile"}, categories={"miku": "character"}, implications={"x": ("smile",)})
    settings = {"tables": tables, "overlap": overlap, "order": order, "size_tags": size_tags}
    made = outcome(*rows, **settings)
    came = sum(tag is not None for row in rows for tags in row.values() for tag in tags or [])
    removed = made.facts["tags_removed"]
    assert came + made.facts["tags_rewritten"].get("size", 0) == sum(made.facts["tags"].values()) + sum(
        removed.values()
    )
    assert sum(made.kept["tags_implied"].list.len()) == removed.get("overlap", 0)
    assert sum(made.facts["tag_classes"].values()) == made.facts["tags"]["tags_general"]
    alone = [outcome(row, **settings).kept for row in rows]
    assert made.kept.equals(pl.concat([posts().with_columns(outcome().kept), *alone]).select(made.kept.columns))
    for kind in ("count", "special", *TAG_CLASSES):
        assert all(len(set(tags)) == len(tags) and "" not in tags for tags in made.kept[f"tags_{kind}"].to_list())
