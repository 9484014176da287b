"""Style classes: the map, then tags, then the artist."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.coded import CodedLists
from animetune.curate.config.styles import StylesConfig
from animetune.curate.weigh.styles import OTHER_LISTS, Styles
from animetune.errors import DataError

LISTS = ("tags_artist", *OTHER_LISTS)


def rows(*pictures: dict[str, list[str]]) -> pl.DataFrame:
    data = {name: [picture.get(name, []) for picture in pictures] for name in LISTS}
    return pl.DataFrame(data, schema=dict.fromkeys(LISTS, pl.List(pl.String)))


def classes(styles: Styles, *pictures: dict[str, list[str]]) -> list[str | None]:
    frame = rows(*pictures)
    found = styles.of_lists(lambda name: CodedLists.of(frame[name]))
    assert found.name == "style_class"
    assert found.dtype == pl.String
    return found.to_list()


def load(folder: Path, text: str, **settings) -> Styles:
    path = folder / "map.csv"
    path.write_text("tag,style\n" + text, encoding="utf-8")
    return Styles.load(StylesConfig(map=path, **settings))


ARTISTS = [{"tags_artist": ["ann"]}, {"tags_artist": ["bob", "ann"]}, {}]


@pytest.mark.parametrize(
    ("artist", "expected"),
    [("first", ["ann", "bob", None]), ("only", ["ann", None, None]), ("none", [None, None, None])],
)
def test_artists(artist: str, expected: list[str | None]):
    assert classes(Styles.load(StylesConfig(artist=artist)), *ARTISTS) == expected


def test_the_map_comes_first_and_artists_in_it_before_other_tags(tmp_path: Path):
    styles = load(tmp_path, "Ann Lee,soft\nimpasto,thick\nbob,hard\n", tags=("flat color", "impasto"))
    assert styles.by_tag["ann_lee"] == "soft"
    assert classes(
        styles,
        {"tags_artist": ["cid", "ann_lee", "bob"], "tags_general": ["impasto"]},
        {"tags_artist": ["cid"], "tags_general": ["smile", "impasto", "flat_color"]},
        {"tags_artist": ["cid"], "tags_meta": ["flat_color"]},
        {"tags_artist": ["cid"], "tags_general": ["smile"]},
        {"tags_special": ["flat_color"]},
    ) == ["soft", "thick", "flat_color", "cid", "flat_color"]


def test_of_several_style_tags_the_first_in_the_order_of_the_configuration():
    styles = Styles.load(StylesConfig(tags=("celluloid", "flat_color")))
    pictures = [{"tags_general": ["flat_color", "celluloid"]}, {"tags_general": ["flat_color"]}]
    assert classes(styles, *pictures) == ["celluloid", "flat_color"]


def test_a_tag_that_the_map_says_is_no_style(tmp_path: Path):
    styles = load(tmp_path, "anonymous,\n")
    pictures = [{"tags_artist": ["anonymous"]}, {"tags_artist": ["anonymous", "ann"]}]
    assert classes(styles, *pictures) == [None, "ann"]
    assert classes(load(tmp_path, "anonymous,\n", artist="only"), *pictures) == [None, "ann"]
    assert styles.of_artist("anonymous") is None
    assert styles.of_artist("ann") == "ann"
    assert load(tmp_path, "ann,soft\n", artist="none").of_artist("ann") == "soft"
    assert load(tmp_path, "ann,soft\n", artist="none").of_artist("bob") is None


def test_a_map_with_a_line_without_a_tag(tmp_path: Path):
    with pytest.raises(DataError, match=r"styles: map: .*map.csv:3: names no tag"):
        load(tmp_path, "ann,a\n ,b\n")


def test_two_styles_for_one_tag(tmp_path: Path):
    with pytest.raises(DataError, match=r"map.csv:3: ann is 'b' here and 'a' above; keep one"):
        load(tmp_path, "ann,a\nANN,b\n")
    assert load(tmp_path, "ann,a\nann,a\n").by_tag == {"ann": "a"}


def test_the_digest_is_of_what_decides_not_of_the_place(tmp_path: Path):
    (tmp_path / "other").mkdir()
    assert load(tmp_path, "ann,a\nbob,b\n").digest == load(tmp_path / "other", "bob,b\nann,a\n").digest
    assert load(tmp_path, "ann,a\n").digest != load(tmp_path, "ann,b\n").digest
    assert load(tmp_path, "ann,a\n").digest != load(tmp_path, "ann,a\n", artist="only").digest


def test_no_rows():
    assert classes(Styles.load(StylesConfig(tags=("x",)))) == []


NAMES = st.sampled_from(["ann", "bob", "cid", "flat", "impasto", "", "☃"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.lists(NAMES, max_size=4, unique=True)] * 4), max_size=8),
    st.dictionaries(NAMES, st.sampled_from(["", "soft", "hard"]), max_size=4),
    st.lists(NAMES.filter(bool), max_size=3, unique=True),
    st.sampled_from(["first", "only", "none"]),
)
def test_as_said_in_plain_python(pictures, by_tag, tags, artist):
    styles = Styles(StylesConfig(tags=tuple(tags), artist=artist), by_tag)

    def plainly(artists, *others) -> str | None:
        for tag in [*artists, *(tag for other in others for tag in other)]:
            if by_tag.get(tag):
                return by_tag[tag]
        for tag in tags:
            if tag and any(tag in other for other in others):
                return tag
        styled = [tag for tag in artists if by_tag.get(tag, tag)]
        if artist == "none" or not styled or (artist == "only" and len(styled) > 1):
            return None
        return styled[0]

    assert classes(styles, *(dict(zip(LISTS, picture, strict=True)) for picture in pictures)) == [
        plainly(*picture) for picture in pictures
    ]
