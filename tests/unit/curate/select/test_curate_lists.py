"""Lists of posts: what each line means, and where a wrong one is."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.select.lists import PostList
from animetune.errors import DataError

HEX = "0123456789abcdef" * 2
CLASSES = ("general", "character", "copyright", "artist", "meta")


def read(path: Path, text: str | bytes, sources: tuple[str, ...] = ("a", "b"), artists: bool = True) -> PostList:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return PostList.read([path], "lists: takedown", sources, artists=artists)


def test_what_lines_name(tmp_path: Path):
    text = f"\ufeff# by request\r\n#\r\n a/12 \r\nb/007\r\na/3#1\r\n{HEX.upper()}\r\n\r\nArtist: Some One \r\na/12\r\n"
    posts = read(tmp_path / "x.txt", text)
    assert posts == PostList(keys=("a/12", "a/3#1", "b/7"), md5s=(HEX,), artists=("some_one",))
    assert posts.reads == ("md5", *(f"tags_{name}" for name in CLASSES))


def test_an_id_is_of_the_only_source(tmp_path: Path):
    assert read(tmp_path / "x.txt", "012\n", ("a",)) == PostList(keys=("a/12",))
    with pytest.raises(DataError, match=r"x.txt, line 1: '12' is an id, but of which source\? Write .* a/12"):
        read(tmp_path / "x.txt", "12\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/1\nc/2\n", "line 2: 'c/2' is of no source of this configuration; there are a, b"),
        ("https://site/posts/1", "line 1: 'https://site/posts/1' is not a key (source/123), an id, an MD5 or artist:"),
        ("a/x", "is not a key"),
        ("a/" + "9" * 20, "is not a key"),
        ("artist:", "'' is not a tag"),
        ("artist: *", "is not a tag"),
        ("a/1 b/2", "is not a key"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
    ],
)
def test_mistakes_are_placed(tmp_path: Path, text: str | bytes, words: str):
    with pytest.raises(DataError, match=re.escape(words)):
        read(tmp_path / "x.txt", text)


def test_a_source_that_was_meant(tmp_path: Path):
    with pytest.raises(DataError, match="did you mean 'danbooru'"):
        read(tmp_path / "x.txt", "danboru/1", ("danbooru", "other"))


def test_artists_are_for_takedown_only(tmp_path: Path):
    with pytest.raises(DataError, match="names an artist; only posts can be listed here"):
        read(tmp_path / "x.txt", "artist:x", artists=False)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match=r"lists: include: .*nowhere.txt: there is no such file"):
        PostList.read([tmp_path / "nowhere.txt"], "lists: include", ["a"], artists=False)


def test_which_posts_are_named():
    empty = [[] for _ in range(5)]
    tags = {f"tags_{name}": list(empty) for name in CLASSES}
    tags["tags_artist"][2] = ["Some_One"]
    tags["tags_general"][3] = ["some_one"]  # a source without classes of tags
    rows = pl.DataFrame(
        {"key": ["a/1", "a/2", "a/3", "b/1", "b/2"], "md5": [None, HEX, None, None, "f" * 32], **tags},
        schema_overrides=dict.fromkeys(tags, pl.List(pl.String)),
    )
    posts = PostList(keys=("a/1", "b/9"), md5s=(HEX,), artists=("some_one",))
    assert posts.names(rows).to_list() == [True, True, True, True, False]
    assert PostList(keys=("b/2",)).names(rows.select("key")).to_list() == [False] * 4 + [True]
    assert not PostList().names(rows.select("key")).any()
    assert not PostList(md5s=("0" * 32,)).names(rows.select("key", "md5")).any()


def test_the_digest_is_of_what_is_named(tmp_path: Path):
    one = read(tmp_path / "x.txt", "a/1\n# why\na/2\n")
    assert one.digest == read(tmp_path / "y.txt", "a/2\na/1\na/2").digest
    assert one.digest != read(tmp_path / "y.txt", "a/2\n").digest


@given(line=st.text(max_size=40))
def test_no_line_is_lost(tmp_path_factory: pytest.TempPathFactory, line: str):
    """Every line names something, is blank, is a comment, or is an error that tells its number."""
    path = tmp_path_factory.mktemp("lists") / "x.txt"
    words = ""
    posts = PostList()
    try:
        posts = read(path, (line + "\n").encode("utf-8", "surrogatepass"))
    except DataError as error:
        words = str(error)
    named = [*posts.keys, *posts.md5s, *posts.artists]
    is_silent = all(not text.strip() or text.strip()[0] == "#" for text in line.splitlines())
    assert named or is_silent or "line " in words or "UTF-8" in words
