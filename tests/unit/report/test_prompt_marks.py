"""What prompts lack: the tags that a draw left out, and the end beyond the tokens that are trained."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts import PromptConfig, compose
from animetune.records import Label
from animetune.report.prompt_marks import dropped_tags, split_at_limit
from animetune.seeding import Purpose, rng_for
from animetune.tokens import count_tokens

TAGS = ("long_hair", "hair", "blue_shirt", "shirt", ">_<", "1girl")


def test_an_end_that_does_not_fit_is_cut_at_a_word():
    assert split_at_limit("a photo of a cat", 3) == ("a photo of", "a cat")
    assert split_at_limit("a photo of a cat", 5) == ("a photo of a cat", "")
    assert split_at_limit("supercalifragilistic", 1) == ("", "supercalifragilistic")
    assert split_at_limit("", 75) == ("", "")


@given(st.text("ab ,.", max_size=60), st.integers(0, 40))
def test_no_word_is_lost_and_what_is_trained_fits(prompt, tokens):
    trained, cut = split_at_limit(prompt, tokens)
    assert re.sub(" +", "", trained + cut) == re.sub(" +", "", prompt)
    assert count_tokens(trained) <= tokens


@given(st.integers(0, 10_000))
def test_dropped_tags_are_those_that_dropout_took(seed):
    """A tag whose words are part of another's is not taken for it."""
    cfg = PromptConfig(order=("general",), shuffle=("general",), tag_dropout=0.5)
    label = Label(key="a/1", tags_general=TAGS)
    prompt = compose(label, cfg, rng_for(seed, Purpose.CAPTION))
    shown = prompt.split(", ") if prompt else []
    dropped = dropped_tags(label, prompt, cfg)
    if shown:
        assert sorted([*shown, *dropped]) == sorted(["long hair", "hair", "blue shirt", "shirt", ">_<", "1girl"])
    else:
        assert dropped == []


def test_a_caption_lacks_no_tags_and_tags_in_its_place_do():
    cfg = PromptConfig(order=("caption", "special"), captions={"long": 1, "tags": 1})
    label = Label(key="a/1", tags_general=("smile",), tags_special=("lowres",), captions_long=("A girl smiles.",))
    assert dropped_tags(label, "A girl smiles. lowres", cfg) == []
    assert dropped_tags(label, "A girl smiles", cfg) == ["lowres"]
    assert dropped_tags(label, "lowres", cfg) == ["smile"]


def test_what_is_said_in_other_words_is_said():
    cfg = PromptConfig(
        order=("count", "character", "artist"),
        artist_prefix="by ",
        paraphrase={"probability": 1},
        naming={"probability": 1},
        registers={"concepts": {"somebody": "[abc]"}},
    )
    label = Label(
        key="a/1", tags_count=("1girl",), tags_character=("ganyu_(genshin_impact)",), tags_artist=("somebody", "wlop")
    )
    prompt = "one girl, a girl named ganyu from genshin impact series, [abc], by wlop"
    assert dropped_tags(label, prompt, cfg) == []
    assert dropped_tags(label, "one girl, by wlop", cfg) == ["ganyu (genshin impact)", "somebody"]
