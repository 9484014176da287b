"""Text beside a picture: tags, natural language, or both."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.read.formats.free_text import looks_like_tags, read_text, split_tags

SENTENCE = "A girl with very long hair stands in the rain, holding an umbrella."


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("1girl, solo, long hair", ["1girl", "solo", "long_hair"]),
        ("1girl, long_hair,", ["1girl", "long_hair"]),
        ("hatsune miku \\(cosplay\\), re\\:zero", ["hatsune_miku_(cosplay)", "re:zero"]),
        ("\\m/, \\o/, \\||/, \\n/", ["\\m/", "\\o/", "\\||/", "\\n/"]),
        (":d, ;), :3, >:(, ^_^, |_|, <|>_<|>", [":d", ";)", ":3", ">:(", "^_^", "|_|", "<|>_<|>"]),
        ("1girl ||| smile, sky", ["1girl", "smile", "sky"]),
        ("1girl，smile", ["1girl", "smile"]),
        ("\ufeff1girl, smile\r\n", ["1girl", "smile"]),
        ("1girl\nsmile, sky", ["1girl", "smile", "sky"]),
        ("honkai: star rail, 1girl", ["honkai:_star_rail", "1girl"]),
    ],
)
def test_tags(text: str, tags: list[str]):
    assert read_text(text) == ({"general": tags}, [])


def test_prefixes_are_classes():
    found = read_text("1girl, artist: some body, character:miku (x), series:y, style:flat color, artist:", "tags")
    assert found.tags == {
        "general": ["1girl", "flat_color", "artist:"],
        "artist": ["some_body"],
        "character": ["miku_(x)"],
        "copyright": ["y"],
    }


@pytest.mark.parametrize(
    "text", [SENTENCE, "A girl.", "the picture of a girl who reads a book", "She smiles! Behind her, the sea"]
)
def test_natural_language(text: str):
    assert read_text(text) == ({}, [text])


def test_lines_are_told_one_by_one_unless_the_source_says():
    text = f"1girl, rain\n\n  {SENTENCE} \n"
    assert read_text(text) == ({"general": ["1girl", "rain"]}, [SENTENCE])
    assert read_text(text, "caption") == ({}, ["1girl, rain", SENTENCE])
    assert read_text(text, "tags").captions == []


@pytest.mark.parametrize("text", ["", " \n\t\n", ",,,", "|||", "\u200b"])
def test_nothing(text: str):
    assert read_text(text, "tags") == ({}, [])


def test_what_looks_like_tags():
    assert looks_like_tags("1girl, looking at viewer, holding a very long red umbrella")
    assert not looks_like_tags(" , ")
    assert not looks_like_tags("one two three four five")
    assert looks_like_tags("one two three four")
    assert looks_like_tags("no. 1, dr. stone, st. gloriana's")
    assert not looks_like_tags("rain, she weeps. umbrella")
    assert split_tags("a b,, c ") == ["a_b", "c"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text("ab,. \n\\(|:", max_size=40), st.sampled_from(["auto", "tags", "caption"]))
def test_any_text_can_be_read(text: str, kind):
    found = read_text(text, kind)
    words = [tag for tags in found.tags.values() for tag in tags] + found.captions
    assert all(word and word == word.strip() and "\n" not in word for word in words)
    if kind == "caption":
        assert not found.tags
