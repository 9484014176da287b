"""The grammar of weights: A1111's published examples, ComfyUI's differences, and escaping."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.prompt_weights import Piece, escape, parse, plain


def only(prompt: str, **options: bool) -> list[tuple[str, float]]:
    (part,) = parse(prompt, **options)
    return [(text, pytest.approx(weight)) for text, weight in part]


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        # the examples that A1111 states beside its parser
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.3 * 1.1 * 1.1),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.1**4),
                (".", 1.1),
            ],
        ),
        # ours
        ("", [("", 1)]),
        ("(tag)", [("tag", 1.1)]),
        ("((tag))", [("tag", 1.21)]),
        ("[tag]", [("tag", 1 / 1.1)]),
        ("[[tag]]", [("tag", 1 / 1.21)]),
        ("(tag:.5)", [("tag", 0.5)]),
        ("(tag: 2 )", [("tag", 2)]),
        ("(tag:-0.5)", [("tag", -0.5)]),
        ("(tag:0)", [("tag", 0)]),
        (r"(hatsune miku \(vocaloid\):1.2), solo", [("hatsune miku (vocaloid)", 1.2), (", solo", 1)]),
        ("(a, (b:1.2):1.5)", [("a, ", 1.5), ("b", 1.8)]),
        ("tag)", [("tag)", 1)]),
        ("tag]", [("tag]", 1)]),
        ("tag:1.2)", [("tag:1.2)", 1)]),
        ("(tag:big)", [("tag:big", 1.1)]),
        ("re:zero, :d", [("re:zero, :d", 1)]),
        (r"\m/", [(r"\m/", 1)]),
        (r"\\m/", [(r"\m/", 1)]),
        ("a [b", [("a ", 1), ("b", 1 / 1.1)]),
        ("\n(two\nlines:1.3)", [("\n", 1), ("two\nlines", 1.3)]),
    ],
)
def test_examples(prompt, pieces):
    assert only(prompt) == pieces


def test_square_brackets_may_be_text():
    assert only("[tag] (b)", square_brackets=False) == [("[tag] ", 1), ("b", 1.1)]


def test_break_begins_a_part():
    assert parse("a, BREAK b") == [[Piece("a,", 1)], [Piece("b", 1)]]
    assert parse("BREAK a BREAK BREAK b BREAK") == [[Piece("a", 1)], [Piece("b", 1)]]
    assert parse("BREAK") == [[Piece("", 1)]]
    assert parse("BREAKFAST, break") == [[Piece("BREAKFAST, break", 1)]]
    # a bracket may reach over it
    assert parse("(a BREAK b:1.5)") == [[Piece("a", 1.5)], [Piece("b", 1.5)]]


@given(st.text())
def test_escaped_text_is_read_as_it_stands(text):
    joined = "".join(piece.text for part in parse(escape(text)) for piece in part)
    assert joined.lower() == text.lower()
    assert {piece.weight for part in parse(escape(text)) for piece in part} == {1.0}
    assert escape("hatsune miku (vocaloid)") == r"hatsune miku \(vocaloid\)"


@given(st.text(), st.floats(0.1, 3).map(lambda weight: round(weight, 3)))
def test_an_escaped_name_keeps_its_weight(text, weight):
    pieces = [piece for part in parse(f"x, ({escape(text)}:{weight}), y") for piece in part]
    assert "".join(piece.text for piece in pieces).lower() == f"x, {text}, y".lower()
    # a weight of 1 leaves one piece
    assert [piece.weight for piece in pieces] == ([1, weight, 1] if text and weight != 1 else [1])


@given(st.text(alphabet="ab ()[]:.12\\,BREAK", max_size=40), st.booleans())
def test_whatever_is_typed_is_read(prompt, square):
    parts = parse(prompt, square_brackets=square)
    assert parts
    assert all(parts)
    assert all(math.isfinite(piece.weight) for part in parts for piece in part)


@given(st.text().filter(lambda text: not set(text) & set("()[]\\:") and "BREAK" not in text))
def test_text_without_brackets_is_plain(text):
    assert parse(text) == plain(text)
