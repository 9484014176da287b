"""Strict YAML: what each scalar means, what is refused, and where everything is said to stand."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune import yamltree
from animetune.yamltree import Place, Refused

MEANINGS = [
    ("1e-5", 1e-5),
    ("1E5", 1e5),
    ("1.", 1.0),
    (".5", 0.5),
    ("-0.5e+3", -500.0),
    ("12", 12),
    ("+12", 12),
    ("-12", -12),
    ("010", 10),
    ("0o17", 15),
    ("0x1F", 31),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("no", "no"),
    ("No", "No"),
    ("on", "on"),
    ("off", "off"),
    ("yes", "yes"),
    ("y", "y"),
    ("16:9", "16:9"),
    ("12:30:00", "12:30:00"),
    ("2024-01-31", "2024-01-31"),
    ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
    ("1.2.3", "1.2.3"),
    ("1girl", "1girl"),
    ("1e", "1e"),
    ("e5", "e5"),
    ("=", "="),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("false", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("nULL", "nULL"),
    ("inf", "inf"),
    ("nan", "nan"),
    ("'1e-5'", "1e-5"),
    ('"true"', "true"),
    ("''", ""),
    ("! 12", 12),
    ("s3://bucket/a b", "s3://bucket/a b"),
    ("a#b", "a#b"),
    ("a # comment", "a"),
    ("[a, 1, no]", ["a", 1, "no"]),
    ("{no: 1, 1: on}", {"no": 1, "1": "on"}),
    ("|\n  yes\n  1\n", "yes\n1\n"),
    (">-\n  a\n  b\n", "a b"),
]


@pytest.mark.parametrize(("text", "value"), MEANINGS)
def test_meaning_of_a_value(text: str, value: object) -> None:
    tree, problems = yamltree.parse(f"key: {text}", "x.yaml")
    assert tree is not None
    plain = tree.plain()["key"]
    assert plain == value
    assert type(plain) is type(value)
    assert problems == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1", "x.yaml:1:4: &x: anchors and aliases are not allowed"),
        ("a: 1\nb: *a", "x.yaml:2:4: *a: anchors and aliases are not allowed"),
        ("&k a: 1", "&k: anchors and aliases are not allowed"),
        ("a: [1, &y [2]]", "x.yaml:1:8: &y: anchors"),
        ("a:\n  <<: {b: 1}", "x.yaml:2:3: <<: merge keys are not allowed; use `include:`"),
        ("a: !!int 3", "x.yaml:1:4: tag:yaml.org,2002:int: tags are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "tags are not allowed"),
        ("!x a: 1", "!x: tags are not allowed"),
        ("a: .inf", "x.yaml:1:4: .inf is not a finite number; for no limit write null, or a large number"),
        ("a: -.INF", "is not a finite number"),
        ("a: .nan", "is not a finite number"),
        ("a: 1e999", "x.yaml:1:4: 1e999 is not a finite number"),
        ("a: " + "9" * 5000, "is too long for a number; text goes in quotes"),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: a second document begins here"),
        ("? [a]\n: b", "x.yaml:1:3: a key should be text"),
        ("? {a: 1}\n: b", "x.yaml:1:3: a key should be text"),
        ("? \n: 1", "x.yaml:1:2: a key should be text"),
        ("a: [1, 2", "x.yaml:1:9: is not YAML: while parsing a flow sequence, expected"),
        ("a: 'x", "is not YAML: while scanning a quoted scalar"),
        ("a:\n\t- b", "x.yaml:2:1: is not YAML"),
        ("a: b: c", "x.yaml:1:5: is not YAML: mapping values are not allowed here"),
        ("ab: 1\nc: \x00", "x.yaml:2:4: is not YAML: the character U+0000 is not allowed"),
        ("[" * 5000, "x.yaml: is nested too deeply"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(Refused) as caught:
        yamltree.parse(text, "x.yaml")
    assert message in str(caught.value)


def test_deep_but_sane_nesting_is_read() -> None:
    tree, _ = yamltree.parse("[" * 100 + "1" + "]" * 100, "x.yaml")
    value = tree and tree.plain()
    for _ in range(100):
        (value,) = value
    assert value == 1


def test_every_double_key_is_named() -> None:
    tree, problems = yamltree.parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "x.yaml")
    assert [str(problem) for problem in sorted(problems)] == [
        "x.yaml:2:11: c: is given twice, first in line 2; keep one",
        "x.yaml:3:1: a: is given twice, first in line 1; keep one",
    ]
    assert tree is not None


def test_places_are_those_of_an_editor() -> None:
    tree, _ = yamltree.parse("# comment\na:\n  - x\n  - {b:  5}\n", "x.yaml")
    assert tree is not None
    b = tree.value["a"].value[1].value["b"]
    assert b.key_place == Place("x.yaml", 4, 6)
    assert b.place == Place("x.yaml", 4, 10)
    assert tree.value["a"].shown_at == Place("x.yaml", 2, 1)


def test_without_lines_everything_is_at_the_origin() -> None:
    tree, problems = yamltree.parse("{a: 1, a: 2}", "--set x", lines=False)
    assert tree is not None
    assert str(tree.value["a"].place) == "--set x"
    assert [str(problem) for problem in problems] == ["--set x: a: is given twice; keep one"]


def test_nothing_is_none() -> None:
    assert yamltree.parse("", "x.yaml") == (None, [])
    assert yamltree.parse("# only a comment\n", "x.yaml") == (None, [])


def test_maps_merge_and_lists_replace() -> None:
    base, _ = yamltree.parse("{a: {b: 1, c: [1, 2]}, d: {e: 1}, f: 1}", "base")
    over, _ = yamltree.parse("{a: {c: [3]}, d: null, f: {g: 2}}", "over")
    assert base is not None
    assert over is not None
    assert base.merged(over).plain() == {"a": {"b": 1, "c": [3]}, "d": None, "f": {"g": 2}}
    assert base.plain() == {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": 1}


scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
awkward = [".inf", "<<", "*a", "&a", "!x", "1e999", "9" * 50, "- a", "a: b", *(text for text, _ in MEANINGS)]
# PyYAML folds Unicode's own line breaks in keys into spaces; no key of ours has one
text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029")
) | st.sampled_from(awkward)
values = st.recursive(
    scalars | text, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


@given(values)
def test_what_is_written_is_read_back(value: object) -> None:
    tree, problems = yamltree.parse(yamltree.to_text({"key": value}), "x.yaml")
    assert problems == []
    assert tree is not None
    assert repr(tree.plain()) == repr({"key": value})


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        tree, _ = yamltree.parse(text, "x.yaml")
        assert tree is None or yamltree.parse(yamltree.to_text(tree.plain()), "y.yaml")[0] is not None
