"""A user's CSV files of aliases, categories and implications: every form, and every mistake with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.config.tags import TagsConfig
from animetune.curate.tag.tag_tables import TagTables, read_aliases, read_categories, read_implications
from animetune.errors import DataError


@pytest.fixture
def write(tmp_path: Path):
    """Write a CSV; returns its path."""

    def _write(text: str, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write


TAG_LIST = (
    'sky,0,900,"/sk,skies"\nskies,0,10,\nbreast,0,800,"boobs,bust"\nbosom,0,5,bust\nganyu_(genshin_impact),4,7,""\n'
)


def test_aliases_of_a_tag_list(write):
    """A name is no alias (`skies`); the first tag has an alias that two claim (`bust`)."""
    assert read_aliases([write(TAG_LIST)]) == {"/sk": "sky", "boobs": "breast", "bust": "breast"}


def test_a_tag_list_with_a_first_line(write):
    text = 'name,category,post_count,aliases\nsky,0,900,"/sk,skies"\nbreast,0,800,\n'
    assert read_aliases([write(text)]) == {"/sk": "sky", "skies": "sky"}


@pytest.mark.parametrize(
    "text",
    [
        "Old Tag,new_tag\na,b\n",
        "alias,name\nold_tag,new_tag\n\na,b\n",
        "\ufeffalias,name\r\nold_tag, new_tag \r\na,b\r\n",
        "id,antecedent_name,consequent_name,status\n1,old_tag,new_tag,active\n2,a,b,active\n3,c,d,deleted\n",
        'old_tag,new_tag\n"a",b',
    ],
)
def test_aliases_as_pairs(write, text: str):
    assert read_aliases([write(text)]) == {"old_tag": "new_tag", "a": "b"}


def test_chains_are_followed_over_files(write):
    files = [write("a,b\n", "1.csv"), write("b,c\n", "2.csv"), write('d,0,5,"c"\n', "3.csv")]
    assert read_aliases(files) == {"a": "d", "b": "d", "c": "d"}


def test_a_name_that_is_said_to_be_its_own_is_none(write):
    assert read_aliases([write("c,c\na,b\n")]) == {"a": "b"}


def test_a_pair_goes_before_a_tag_list(write):
    assert read_aliases([write(TAG_LIST, "1.csv"), write("skies,clouds\nbust,sculpture\n", "2.csv")]) == {
        "/sk": "sky", "boobs": "breast", "bust": "sculpture", "skies": "clouds",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\nb,c\nc,a\n", "aliases go round in a circle: a -> b -> c -> a"),
        ("a,b\na,c\n", "table.csv:2: 'a' is 'c' here, and 'b' at .*table.csv:1"),
        ("a,b\n,c\n", "table.csv:2: has an empty name"),
        ("a,b\na\n", "table.csv:2: has 1 cells; write alias,name in a line, or"),
        ("a,b,c\n", "table.csv:1: has 3 cells; write alias,name in a line, or name,category,count"),
        ("alias,name\na\n", "table.csv:2: has 1 of the columns; number 2 is missing: add it to the line"),
        ("", "table.csv: is empty"),
        (" , \n\n", "table.csv: is empty"),
        ('a,b\nc,"d\n', "table.csv:2: is no CSV: unexpected end of data"),
    ],
)
def test_aliases_that_cannot_be_read(write, text: str, words: str):
    with pytest.raises(DataError, match=words):
        read_aliases([write(text)])


def test_files_that_are_not_there_or_no_text(tmp_path: Path):
    with pytest.raises(DataError, match=r"tags.aliases: .*none.csv: there is no such file"):
        read_aliases([tmp_path / "none.csv"])
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"tags.categories: .*x.csv: cannot be read as UTF-8"):
        read_categories([tmp_path / "x.csv"])


def test_categories_as_numbers_and_words(write):
    text = "Sky,0,9\nganyu,4,7\nwlop,1,5\nvocaloid,3,2\nhighres,5,1\nganyu,1,3\n"
    expected = {"sky": "general", "ganyu": "character", "wlop": "artist", "vocaloid": "copyright", "highres": "meta"}
    assert read_categories([write(text)]) == expected
    words = "tag,type\nsky,General\nganyu,character\nwlop,ARTIST\nvocaloid,series\nhighres,meta\n"
    assert read_categories([write(words)]) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sky,2\n", "table.csv:1: category '2' is unknown; there are 0, 1"),
        ("sky,0\nx,species\n", "table.csv:2: category 'species'"),
        ("sky\n", "table.csv:1: has 1 of the columns; number 2 is missing: add it to the line"),
    ],
)
def test_categories_that_cannot_be_read(write, text: str, words: str):
    with pytest.raises(DataError, match=words):
        read_categories([write(text)])


def test_implications(write):
    text = "more,less\ncat ears,animal_ears\ncat_ears,animal_ears\ncat_ears,ears\nears,ears\n"
    assert read_implications([write(text)]) == {"cat_ears": ("animal_ears", "ears")}
    danbooru = "antecedent_name,consequent_name,created_at,status\na,b,2020,active\nb,c,2021,retired\n"
    assert read_implications([write(danbooru)]) == {"a": ("b",)}


def test_implications_in_a_circle(write):
    with pytest.raises(DataError, match=r"implications go round in a circle: b -> c -> b"):
        read_implications([write("a,b\nb,c\nd,b\nc,b\n")])
    long_chain = "".join(f"t{n},t{n + 1}\n" for n in range(5000))
    assert len(read_implications([write(long_chain)])) == 5000


def test_all_tables_of_a_configuration(write):
    cfg = TagsConfig(
        aliases=(write("a,b\n", "a.csv"),),
        categories=(write("x,4\n", "c.csv"),),
        implications=(write("m,l\n", "i.csv"),),
        overlap="drop",
    )
    tables = TagTables.load(cfg)
    assert (tables.aliases, tables.categories, tables.implications) == ({"a": "b"}, {"x": "character"}, {"m": ("l",)})
    assert tables.digest != TagTables().digest
    assert tables.digest == TagTables.load(cfg).digest
    assert TagTables.load(TagsConfig()) == TagTables()


def test_danbooru_as_it_is(shared_data: Path):
    path = shared_data / "tags" / "danbooru.csv"
    aliases, categories = read_aliases([path]), read_categories([path])
    assert len(aliases) > 29_000
    assert aliases["oppai"] == "breasts"
    assert categories["hatsune_miku"] == "character"
    assert not set(aliases) & set(categories)
    assert not set(aliases) & set(aliases.values())


@given(st.text(alphabet='ab,"\n\r \x00é', max_size=30))
def test_any_text_gives_a_table_or_an_error_with_its_place(tmp_path_factory: pytest.TempPathFactory, text: str):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8", newline="")
    for read in (read_aliases, read_categories, read_implications):
        problem, found = "any.csv", {}
        try:
            found = read([path])
        except DataError as error:
            problem = str(error)
        assert re.search(r"any.csv|circle", problem)
        assert all(isinstance(tag, str) and tag for tag in found)
