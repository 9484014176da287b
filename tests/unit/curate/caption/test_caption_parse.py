"""Answers of models in all the forms that models give them."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from animetune.curate.caption.outcomes import CODES, FORMS, Draft
from animetune.curate.caption.parse import Rejected, parse

BOTH = '{"long": "A girl with blue hair smiles.", "short": "A girl smiles."}'
WANTED = Draft(("A girl with blue hair smiles.",), ("A girl smiles.",))
SCENE = {
    "characters": [
        {"name": "Ganyu", "position": "left", "appearance": "A girl with long blue hair", "clothes": "Wearing a "
            "black dress",
         "action": "is holding a bow."},
        {"name": None, "position": "right side", "appearance": "short brown hair, green eyes", "clothes": "none",
        "action": "smiles"},
    ],
    "interaction": "They hold hands",
    "background": "A forest at night",
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        BOTH,
        f"```json\n{BOTH}\n```",
        f"```\n{BOTH}\n```",
        f"Sure! Here is the JSON you asked for:\n\n{BOTH}\n\nLet me know if you need more.",
        f"<think>The user wants {{}} and {{\"long\": 1}}.</think>{BOTH}",
        "\ufeff" + BOTH,
        BOTH.replace('."}', '.",}'),
        BOTH.replace(", ", ",\n  "),
        '{"short": "A girl smiles.", "long": "A girl with blue hair smiles.", "confidence": 0.9}',
        '{"note": "x"} ' + BOTH,
        BOTH.replace("hair smiles", "hair\\n smiles"),
        BOTH.replace("hair smiles", "hair\tsmiles"),
    ],
)  # fmt: skip
def test_a_json_object_is_found_wherever_it_stands(text: str) -> None:
    found = parse(text, "both")
    assert [" ".join(caption.split()) for caption in (*found.long, *found.short)] == [*WANTED.long, *WANTED.short]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ('{"long": "A girl with blue ha', "cut_off"),
        ('{"long": "A girl", "short": "A g', "cut_off"),
        ('```json\n{"long": "A girl", ', "cut_off"),
        ("<think>Let me look at the picture", "cut_off"),
        ("A girl smiles.", "not_json"),
        ("{A girl smiles.}", "not_json"),
        ("[1, 2]", "not_json"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ('{"long": "A girl."}', "wrong_schema"),
        ('{"long": 3, "short": "A girl."}', "wrong_schema"),
        ('{"long": null, "short": "A girl."}', "wrong_schema"),
        ('{"long": {"text": "A"}, "short": "A girl."}', "wrong_schema"),
        ('{"long": ["A", 2], "short": "A girl."}', "wrong_schema"),
        ('{"long": "", "short": "A girl."}', "empty"),
        ('{"long": [], "short": "A girl."}', "empty"),
        (json.dumps({"long": "a " * 5000, "short": "b"}), "too_big"),
        (json.dumps({"long": ["a"] * 20, "short": "b"}), "too_big"),
        ("x" * 70_000, "too_big"),
        ("{" * 5000, "cut_off"),
        ('{"a":' * 5000, "cut_off"),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(text: str, code: str) -> None:
    with pytest.raises(Rejected) as raised:
        parse(text, "both")
    assert raised.value.code == code


def test_several_captions_of_one_answer() -> None:
    assert parse('{"long": ["A girl.", "A child."], "short": "A girl."}', "both").long == ("A girl.", "A child.")


@pytest.mark.parametrize(
    "text",
    [
        "A girl smiles.",
        '"A girl smiles."',
        "“A girl smiles.”",
        "Caption: A girl smiles.",
        "**Caption:** A girl smiles.",
        "Short description: A girl smiles.",
        "Here is a caption for the picture:\n\nA girl smiles.",
        "Sure! Here's the shortened caption: A girl smiles.",
        "Certainly! A girl smiles.",
        "```\nA girl smiles.\n```",
        "A girl smiles.\n\nLet me know if you would like changes!",
        "A girl smiles. (3 words)",
        "A girl smiles.\nI hope this helps!",
        '{"caption": "A girl smiles."}',
        '```json\n{"short": "A girl smiles."}\n```',
        "<think>hm</think>\n\nA girl smiles.",
        "hm </think> A girl smiles.",
    ],
)
def test_chatter_around_plain_text_is_left_out(text: str) -> None:
    assert parse(text, "compress") == Draft(short=("A girl smiles.",))


@pytest.mark.parametrize(
    "text",
    [
        "A sign says: here is the answer.",
        "Sure of herself, the girl draws her sword.",
        'A girl holds a sign that reads "Caption: none".',
        "Great waves rise behind a small boat.",
        "Here is a girl: she smiles.",
    ],
)
def test_captions_that_look_like_chatter_are_left_whole(text: str) -> None:
    assert parse(text, "long") == Draft(long=(text,))


def test_structured_captions_become_text() -> None:
    assert parse(json.dumps(SCENE), "characters").long == (
        "On the left is Ganyu, a girl with long blue hair, wearing a black dress, holding a bow. On the right side "
        "is a "
        "person with short brown hair, green eyes, who smiles. They hold hands. In the background, there is a forest "
        "at night.",
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"characters": []}, "wrong_schema"),
        ({"characters": "two"}, "wrong_schema"),
        ({"characters": [{"name": 3}]}, "wrong_schema"),
        ({"characters": [{}] * 30}, "wrong_schema"),
        ({"background": ["x"]}, "wrong_schema"),
        ({"characters": [{}], "interaction": "", "background": "none"}, "empty"),
    ],
)
def test_structured_captions_of_another_form_are_rejected(change: dict, code: str) -> None:
    with pytest.raises(Rejected) as raised:
        parse(json.dumps({**SCENE, **change}), "characters")
    assert raised.value.code == code


def outcome(text: str, form: str) -> Draft | Rejected:
    try:
        return parse(text, form)
    except Rejected as rejected:
        return rejected


@settings(max_examples=300)
@given(st.text(max_size=300) | st.text('{}[]",:\\ atrue1`<think>/\n', max_size=120), st.sampled_from(FORMS))
def test_any_text_is_a_draft_or_rejected_with_a_known_code(text: str, form: str) -> None:
    found = outcome(text, form)
    if isinstance(found, Rejected):
        assert found.code in CODES
        return
    assert found.long or found.short
    assert all(caption.strip() == caption != "" for caption in (*found.long, *found.short))


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80), st.integers(1, 200))
def test_whatever_is_encoded_comes_back_and_a_cut_is_seen(long: str, short: str, keep: int) -> None:
    answer = json.dumps({"long": f"A{long}.", "short": f"B{short}."})
    found = parse(answer, "both")
    assert "".join(found.long[0].split()) == "".join(f"A{long}.".lstrip("\ufeff").split())
    with pytest.raises(Rejected) as raised:
        parse(answer[: 1 + keep % (len(answer) - 1)], "both")
    assert raised.value.code in ("cut_off", "refusal")
