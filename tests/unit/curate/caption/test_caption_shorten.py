"""Captions made short by rules, captions from tags, and structured captions."""

from __future__ import annotations

import csv
import random
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from animetune.curate.caption.characters import Character, Scene, to_text
from animetune.curate.caption.checks import problems
from animetune.curate.caption.describe import describe
from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.sentences import article, sentences
from animetune.curate.caption.shorten import shorten
from animetune.curate.caption.style import style_references
from animetune.curate.config.caption_text import ChecksConfig, StyleConfig
from animetune.tokens import count_tokens

LONG = (
    "A girl with long blue hair and red eyes stands on a bridge, holding a paper lantern, while petals drift through "
    "the air. "
    "The rails of the bridge are old, with moss on them. She is wearing a white kimono with a golden sash. Behind "
    "her, a river "
    "runs between dark hills under a full moon."
)
CLAUSES = (
    " with green hair", ". Two boys stand in a street", ", holding a sword", ", with a cat on her lap",
    "; a bird flies by",
    ". She is wearing a red dress", ", looking at the viewer", ". The background shows a forest", ", while rain falls",
    ". e.g. a hat",
    ' with a sign that reads "OPEN, with care"', " (seen from behind, holding a bag)", ". Her eyes are blue",
)  # fmt: skip


def test_what_fits_is_left_as_it_is() -> None:
    assert shorten(LONG, count_tokens(LONG)) == LONG
    assert shorten("no mark", 75) == "no mark"


def test_people_hair_and_clothes_go_before_the_rest() -> None:
    short = shorten(LONG, 34)
    assert "long blue hair and red eyes" in short
    assert "white kimono" in short
    assert "moss" not in short
    assert "river" not in short
    assert shorten(LONG, 16) == "A girl with long blue hair and red eyes stands on a bridge."


@settings(max_examples=400)
@given(st.lists(st.sampled_from(CLAUSES), min_size=1, max_size=14), st.integers(4, 90))
def test_always_within_the_limit_whole_and_in_the_words_of_the_text(parts: list[str], most: int) -> None:
    text = "A girl" + "".join(parts) + "."
    short = shorten(text, most)
    assert count_tokens(short) <= most
    assert shorten(short, most) == short
    if count_tokens(text) > most:
        assert short.endswith((".", '."', '".', ")."))
        assert not re.search(r"\b(?:a|an|the|with|and|of|is|holding|wearing)\.$", short), short
        words = set(re.findall(r"\w+", text.lower()))
        assert set(re.findall(r"\w+", short.lower())) <= words


@settings(max_examples=200)
@given(st.text(max_size=400), st.integers(1, 75))
def test_any_text_gets_within_the_limit(text: str, most: int) -> None:
    assert count_tokens(shorten(text, most)) <= most


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"tags_count": ("1girl", "solo"), "tags_general": ("long_hair", "blue_hair", "red_eyes", "smile",
        "looking_at_viewer", "red_dress", "dress", "outdoors")},
         "A girl with long blue hair and red eyes is smiling and looking at the viewer. She is wearing a red dress. "
         "The place is outdoors."),
        ({"tags_count": ("1boy",), "tags_general": ("black_hair", "closed_eyes", "gloves", "white_background")},
         "A boy with black hair has closed eyes. He is wearing gloves. The background is white."),
        ({"tags_count": ("2girls", "1boy")}, "Two girls and a boy."),
        ({"tags_count": ("6+girls", "multiple_girls"), "tags_general": ("classroom",)}, "Several girls. The "
            "background shows a classroom."),
        ({"tags_count": ("1girl",), "tags_character": ("ganyu_(genshin_impact)",),
        "tags_general": ("holding_umbrella",)},
         "A girl named ganyu (genshin impact) is holding an umbrella."),
        ({"tags_count": ("no_humans",), "tags_general": ("cat", "watercolor_(medium)")}, "A cat."),
        ({"tags_count": ("no_humans",), "tags_general": ("forest", "night")}, "The scene shows a forest, at night. "
            "There are no people."),
        ({}, "A scene."),
        ({"tags_general": ("1990s_(style)", "realistic", "bad_hands", ">_<")}, "A scene."),
    ],
)  # fmt: skip
def test_sentences_from_tags(tags: dict, said: str) -> None:
    assert describe(PictureFacts("a/1", **tags)) == said


def test_sentences_from_any_real_tags_are_well_formed_and_true(shared_data) -> None:
    with (shared_data / "tags" / "danbooru.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row[0], int(row[2])) for row in csv.reader(file) if row[1] == "0"][:6000]
    rng = random.Random(5)
    counts = [("1girl", "solo"), ("1boy",), ("2girls", "multiple_girls"), ("1girl", "1boy"), ("no_humans",), ()]
    from animetune.curate.caption.semantics import class_of

    usable = [(tag, count) for tag, count in rows if class_of(tag) != "people"]
    for _ in range(600):
        tags = rng.choices([tag for tag, _ in usable], [count for _, count in usable], k=rng.randint(0, 30))
        facts = PictureFacts("a/1", rng.choice(counts), (), (), (), tuple(dict.fromkeys(tags)))
        said = describe(facts)
        assert style_references(said) == [], (said, tags)
        wrong = problems(said, facts, ChecksConfig(min_words=1, people=False), StyleConfig())
        assert wrong == [], (said, tags, wrong)
        assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in sentences(said))


def test_characters_without_anything_are_left_out() -> None:
    scene = Scene(
        characters=(Character(), Character(name="Miku", position="center", action="She sings.")), background="none"
    )
    assert to_text(scene) == "In the center is Miku, who sings."


@pytest.mark.parametrize(
    ("character", "said"),
    [
        (Character(name="Rin", appearance="blonde hair"), "There is Rin with blonde hair."),
        (Character(appearance="girl with a hat", position="background"), "In the background is a girl with a hat."),
        (
            Character(appearance="An elf", clothes="dressed in a green cloak", position="far left"),
            "On the far left is an elf, wearing a green cloak.",
        ),
        (
            Character(appearance="a boy", action="running", position="behind the girl"),
            "Behind the girl is a boy, running.",
        ),
        (Character(appearance="has red eyes", clothes="N/A"), "There is a person with red eyes."),
        (Character(appearance="A man", action="He is reading a book"), "There is a man, reading a book."),
    ],
)
def test_a_character_as_a_sentence(character: Character, said: str) -> None:
    assert to_text(Scene(characters=(character,))) == said


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A cat. A dog.", ["A cat.", "A dog."]),
        ("a cat. a dog! what?", ["a cat.", "a dog!", "what?"]),
        ("Toys, e.g. a ball, lie here. Dr. Wily waves.", ["Toys, e.g. a ball, lie here.", "Dr. Wily waves."]),
        ('She says "Hi." He nods.', ['She says "Hi."', "He nods."]),
        ("A price of 3.50 yen... and more. End", ["A price of 3.50 yen... and more.", "End"]),
        ("One\n\nTwo", ["One", "Two"]),
        ("", []),
    ],
)
def test_sentences_apart(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("apple", "an"), ("girl", "a"), ("hour", "an"), ("honest", "an"), ("house", "a"), ("unicorn", "a"),
        ("uniform", "a"), ("umbrella", "an"),
        ("unusual", "an"), ("one-piece", "a"), ("European", "a"), ("8-bit", "an"), ("ukulele", "a"), ("urn", "an"),
        ("Elf", "an"), ("orange", "an"),
        ("unimpressed", "an"), ("used", "a"), ("ugly", "an"), ("heir", "an"), ("horse", "a"), ("yellow", "a"),
        ("useful", "a"), ("uninteresting", "an"),
    ],
)  # fmt: skip
def test_articles(word: str, right: str) -> None:
    assert article(word) == right
