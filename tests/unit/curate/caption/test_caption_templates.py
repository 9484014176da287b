"""Templates of requests, and tags of strangers in them."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from animetune.curate.caption.facts import PictureFacts, bare_name, character_name
from animetune.curate.caption.outcomes import FORMS
from animetune.curate.caption.templates import PARTIALS, Template, plain
from animetune.errors import ConfigError

FACTS = PictureFacts(
    "a/1", ("1girl", "solo"), ("hatsune_miku",), ("vocaloid",), ("someone",), ("blue_hair", ">_<", "realistic",
    "bad_hands"), ("highres",), "g"
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_built_in_templates_say_what_is_constant_first(form: str) -> None:
    template = Template.load(form)
    one = template.render(FACTS, "A girl.")
    other = template.render(PictureFacts("b/2"), "A boy.")
    same = one[: next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)]
    assert len(same) > 600
    assert "hatsune" not in same
    assert "hatsune miku (vocaloid)" in one
    assert "someone" not in one
    assert "no heading" in same
    assert "<" not in same


def test_tags_are_words_without_style_and_flaws() -> None:
    asked = Template.load("long").render(FACTS)
    assert "Tags: blue hair, >_<" in asked.splitlines()
    assert "People: 1girl, solo" in asked.splitlines()
    assert "Nothing is known." in Template.load("long").render(PictureFacts("b/2"))


EVIL = st.text(st.sampled_from(list("{}%#<|>_/[]\n\r\t\0\u2028im_endINSTab,")), max_size=60)


@given(EVIL, EVIL)
def test_tags_stay_in_their_line_and_are_never_template_or_token(tag: str, name: str) -> None:
    template = Template.load("both")
    plain_facts = PictureFacts("a/1", ("1girl",), ("a",), (), (), ("x",))
    lines = len(template.render(plain_facts).splitlines())
    asked = template.render(PictureFacts("a/1", ("1girl",), (f"a{name}a",), (), (), (f"x{tag}x",)))
    assert len(asked.splitlines()) == lines
    for token in ("<|im_end|>", "[INST]", "</s>"):
        assert token not in asked


def test_a_tag_that_is_a_template_is_not_run() -> None:
    asked = Template.load("long").render(PictureFacts("a", tags_general=("{{7*7}}", "{%_for_x_in_y_%}")))
    assert "{{7*7}}" in asked
    assert "49" not in asked


@pytest.mark.parametrize("text", ["<|>_<|>", "<o>_<o>", "(o)_(o)", "\\m/", ":<", "a < b > c", "^_^", "|_|"])
def test_emoticons_are_no_tokens(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a<|im_end|>b", "a b"),
        ("<|<|im_end|>im_end|>", ""),
        ("[INST]x[/INST]", "x"),
        ("a<image>b", "a b"),
        ("a\u202eb\x07c", "a b c"),
    ],
)
def test_special_tokens_go_even_when_one_hides_another(text: str, left: str) -> None:
    assert plain(text).replace("< im_end|>", "").replace("<| im_end|>", "") == left


def test_a_template_of_the_users(tmp_path) -> None:
    path = tmp_path / "mine.j2"
    path.write_text('{% include "rules.j2" %}{{ rating }} {{ tags | length }} {{ caption }}')
    template = Template.load(path)
    assert template.render(FACTS, "hm").endswith("g 2 hm")
    digest = template.digest
    path.write_text("Describe.")
    assert Template.load(str(path)).digest != digest


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a\nb\n{% if %}", 3, "Expected an expression"),
        ("a\n{{ carachters }}", 2, "'carachters' is undefined"),
        ("a\n\n{{ facts.nothing }}", 3, "nothing"),
        ('a\n{% include "/etc/passwd" %}', 2, "/etc/passwd"),
        ("{{ tags.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ 1 / 0 }}", 1, "division"),
        ("{{ tags.append('x') }}", 1, ""),
        ("{{ tags | nofilter }}", 1, "nofilter"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(tmp_path, text: str, line: int, words: str) -> None:
    path = tmp_path / "mine.j2"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        Template.load(path)
    assert f"{path}:{line}: " in str(raised.value)
    assert words in str(raised.value)


def test_files_that_are_no_templates(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"logn: .*one of long, short, both"):
        Template.load("logn")
    (tmp_path / "a").write_bytes(b"a\n\xff")
    with pytest.raises(ConfigError, match=r"a:2: is not UTF-8"):
        Template.load(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"a" * 100_000)
    with pytest.raises(ConfigError, match="larger"):
        Template.load(tmp_path / "b")


def test_every_template_is_in_the_package() -> None:
    from importlib import resources

    files = {file.name for file in (resources.files("animetune.curate.caption") / "templates").iterdir()}
    assert files == {*PARTIALS, *(f"{form}.j2" for form in FORMS)}


@pytest.mark.parametrize(
    ("tag", "series", "name"),
    [
        ("ganyu_(genshin_impact)", ("genshin_impact",), "ganyu (genshin impact)"),
        ("hatsune_miku", ("vocaloid",), "hatsune miku (vocaloid)"),
        ("hatsune_miku", ("vocaloid", "pokemon"), "hatsune miku"),
        ("hatsune_miku", ("original",), "hatsune miku"),
        ("artoria_pendragon_(fate)", ("fate_(series)",), "artoria pendragon (fate)"),
        ("someone", ("fate_(series)",), "someone (fate)"),
        ("saber_(alter)_(fate)", (), "saber (alter) (fate)"),
    ],
)
def test_names_of_characters(tag: str, series: tuple[str, ...], name: str) -> None:
    assert character_name(tag, series) == name
    assert "(" not in bare_name(tag)


def test_facts_of_a_row() -> None:
    row = {
        "key": "a/1",
        "tags_count": ["1girl"],
        "tags_character": ["a", "b_(cosplay)"],
        "tags_general": None,
        "score": 3,
    }
    facts = PictureFacts.of_row(row)
    assert facts == PictureFacts("a/1", ("1girl",), ("a", "b_(cosplay)"))
    assert facts.characters == ("a",)
