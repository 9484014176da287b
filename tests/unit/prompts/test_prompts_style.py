"""Style taken out of captions: sentences of DashAnime XL's published examples, and what must stay untouched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts.style import without_style

WORDS = (
    "anime-style", "anime style", "digital illustration", "illustration", "cartoonish", "cartoon-style", "stylized",
    "illustrated", "animated",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Two animated characters, one with brown hair and one with green hair.",
            "Two characters, one with brown hair and one with green hair.",
        ),
        ("A girl character with long, light-colored hair.", "A girl character with long, light-colored hair."),
        ("An illustration of a man with spiky, dark blue hair.", "A man with spiky, dark blue hair."),
        (
            "He is holding a guitar. The style of the image is cartoonish, with a focus on the guitar. He smiles.",
            "He is holding a guitar. He smiles.",
        ),
        (
            "A stylized, illustrated character with angelic features, standing centrally.",
            "A character with angelic features, standing centrally.",
        ),
        ("The style of the image is a digital illustration with a fantasy theme.", ""),
        (
            "An animated character with green hair. she is holding a sword.",
            "A character with green hair. she is holding a sword.",
        ),
        ("with large expressive eyes and stylized features.", "with large expressive eyes and features."),
        ("A cartoon-style illustration of an owl", "An owl"),
        ("The image is a digital illustration depicting an elf in a wood.", "An elf in a wood."),
        ("This is an anime-style illustration of a girl reading.", "A girl reading."),
        ("An animated orange cat and an animated dog play", "An orange cat and a dog play"),
        ("The eyes are large and stylized.", "The eyes are large."),
        ("A girl drawn in an anime style, smiling.", "A girl, smiling."),
        ("The image is stylized.", ""),
        ("A digital illustration.", ""),
        ("Reanimated bones, stylized-looking walls", "Reanimated bones, stylized-looking walls"),
    ],
)
def test_style_goes_and_the_rest_stays(text: str, expected: str) -> None:
    assert without_style(text, WORDS) == expected


@given(st.text(alphabet="abc ,.\n", max_size=60))
def test_captions_without_style_stay_as_they_are(text: str) -> None:
    assert without_style(text, WORDS) == text


@given(
    st.lists(
        st.sampled_from([*WORDS, "a", "an", "girl", "is", "and", "of", "the", ",", ".", "The", "with"]), max_size=12
    )
)
def test_no_listed_phrase_survives(words: list[str]) -> None:
    cleaned = without_style(" ".join(words).replace(" ,", ",").replace(" .", "."), WORDS).lower()
    assert not any(f" {word} " in f" {cleaned.replace(',', ' ').replace('.', ' ')} " for word in WORDS)
    assert without_style(cleaned, WORDS) == cleaned
