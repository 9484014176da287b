"""What captions say again and again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from animetune.report.table_texts import (
    RUN_WORDS,
    openings,
    repeated_runs,
    repeated_texts,
    style_phrases,
    with_any,
)

DIGITAL = "A digital illustration of a girl, standing in the rain."


def test_openings_count_the_first_five_words():
    texts = [DIGITAL, "a Digital, illustration of a cat", "One two", "", "..."]
    assert openings(texts, most=5) == [("a digital illustration of a", 2), ("one two", 1)]
    assert openings(texts, most=1) == [("a digital illustration of a", 2)]


def test_style_phrases_are_whole_words():
    texts = [DIGITAL, "An anime-style girl", "She is animated and stylized.", "unstylized hyper-anime-style"]
    found = dict(style_phrases(texts))
    assert found["digital illustration"] == 1
    assert found["illustration of"] == 1
    assert found["anime-style"] == 1
    assert found["stylized"] == 1
    assert "watercolor" not in found
    assert with_any(texts, list(found)) == 3
    assert with_any(texts, []) == 0


def test_repeated_runs_are_counted_once_a_text_and_do_not_overlap():
    sentence = "she looks at the viewer and has a smile today"
    texts = [f"{sentence} {sentence}", sentence, "something else that is said just once"]
    runs = repeated_runs(texts, most=10, at_least=2)
    assert runs == [("at the viewer and has a", 2)]  # of five runs, all of which share four words with it
    assert repeated_runs(texts, most=10, at_least=3) == []


def test_repeated_texts():
    assert repeated_texts(["b", "a", "b", "c", "a", "b"], most=5) == [("b", 3), ("a", 2)]


@given(st.lists(st.text(max_size=60), max_size=20))
def test_no_text_is_too_strange(texts):
    for phrase in [*openings(texts, most=5), *style_phrases(texts), *repeated_runs(texts, most=5, at_least=1)]:
        assert 1 <= phrase.times <= len(texts)
        assert phrase.text
    assert all(len(run.text.split(" ")) == RUN_WORDS for run in repeated_runs(texts, most=5, at_least=1))
