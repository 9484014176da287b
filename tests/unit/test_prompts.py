"""Prompts: the recipes' own words as oracle, and statistics over many draws."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts import KAOMOJI, CaptionMix, PromptConfig, compose, render_tag
from animetune.records import Label
from animetune.seeding import Purpose, rng_for

LABEL = Label(
    key="demo/1",
    rating="g",
    quality="best",
    aesthetic="very aesthetic",
    year="newest",
    tags_count=("1girl", "solo"),
    tags_character=("hatsune_miku",),
    tags_copyright=("vocaloid",),
    tags_artist=("some_one",),
    tags_general=("long_hair", "smile", ">_<"),
    tags_special=("monochrome",),
    captions_long=("A girl with long hair smiles.",),
    captions_short=("A smiling girl",),
)


def draw(cfg: PromptConfig, label: Label = LABEL, n: int = 0) -> str:
    return compose(label, cfg, rng_for(0, Purpose.CAPTION, 0, n, 0))


def test_dashanime_order_and_words() -> None:
    cfg = PromptConfig(prefix="anime illustration")
    expected = "anime illustration, A girl with long hair smiles. best quality, very aesthetic, safe, monochrome"
    assert draw(cfg) == expected


def test_animagine_order_and_words() -> None:
    cfg = PromptConfig(
        order=("count", "character", "series", "general", "rating", "quality", "aesthetic", "year"),
        words={"quality": {"best": "best quality"}, "rating": {"g": "safe"}},
    )
    expected = "1girl, solo, hatsune miku, vocaloid, long hair, smile, >_<, safe, best quality, very aesthetic, newest"
    assert draw(cfg) == expected


def test_a_missing_part_leaves_no_separator() -> None:
    bare = Label(key="demo/2", captions_long=("A tree.",), rating="g")
    assert draw(PromptConfig(), bare) == "A tree. safe"


def test_a_sample_without_captions_gets_its_tags() -> None:
    bare = Label(key="demo/3", tags_count=("1girl",), tags_general=("red_hair",))
    assert draw(PromptConfig(order=("prefix", "caption"), prefix="anime illustration"), bare) == (
        "anime illustration, 1girl, red hair"
    )


def test_words_may_be_empty() -> None:
    cfg = PromptConfig(order=("caption", "rating"), words={"rating": {"g": ""}})
    assert draw(cfg) == "A girl with long hair smiles"


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("long_hair", "long hair"),
        ("fate_(series)", "fate (series)"),
        (">_<", ">_<"),
        ("(o)_(o)", "(o)_(o)"),
        ("<|>_<|>", "<|>_<|>"),
        ("||_||", "||_||"),
        ("^_^", "^_^"),
        ("0_0", "0_0"),
        ("3_3", "3_3"),
        (">_o", ">_o"),
        ("re:zero_kara_hajimeru", "re:zero kara hajimeru"),
        (":d", ":d"),
    ],
)
def test_render_tag(tag: str, text: str) -> None:
    assert render_tag(tag) == text


@given(st.text(alphabet="abz09_()<>|:^", max_size=20))
def test_render_tag_changes_only_underscores(tag: str) -> None:
    rendered = render_tag(tag)
    assert len(rendered) == len(tag)
    assert all(new in (old, " " if old == "_" else old) for old, new in zip(tag, rendered, strict=True))
    assert tag not in KAOMOJI or rendered == tag


def test_caption_mix_frequencies() -> None:
    cfg = PromptConfig(order=("caption",), captions=CaptionMix(long=5, short=3, tags=2))
    n = 20_000
    rng = rng_for(1, Purpose.CAPTION)
    counts = collections.Counter(compose(LABEL, cfg, rng) for _ in range(n))
    shares = [
        counts["A girl with long hair smiles"] / n,
        counts["A smiling girl"] / n,
        counts["1girl, solo, hatsune miku, vocaloid, some one, long hair, smile, >_<"] / n,
    ]
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=4 * 0.5 / np.sqrt(n))


def test_kinds_that_a_sample_lacks_leave_the_draw() -> None:
    only_short = Label(key="demo/4", captions_short=("A cat",))
    cfg = PromptConfig(order=("caption",), captions=CaptionMix(long=99, short=1))
    assert {draw(cfg, only_short, n) for n in range(200)} == {"A cat"}


def test_shuffle_is_uniform_and_stays_inside_its_parts() -> None:
    cfg = PromptConfig(order=("count", "general"), shuffle=("general",))
    n = 12_000
    rng = rng_for(2, Purpose.CAPTION)
    counts = collections.Counter(compose(LABEL, cfg, rng) for _ in range(n))
    assert all(prompt.startswith("1girl, solo, ") for prompt in counts)
    assert len(counts) == 6
    np.testing.assert_allclose([count / n for count in counts.values()], 1 / 6, atol=0.02)


def test_neighbouring_shuffled_parts_are_shuffled_together() -> None:
    cfg = PromptConfig(order=("artist", "general"), shuffle=("artist", "general"))
    first = {draw(cfg, LABEL, n).split(", ")[0] for n in range(100)}
    assert first == {"some one", "long hair", "smile", ">_<"}


def test_tag_dropout_keeps_the_kept_tags() -> None:
    cfg = PromptConfig(order=("general",), shuffle=("general",), tag_dropout=0.3, keep_tags=frozenset({"smile"}))
    n = 10_000
    rng = rng_for(3, Purpose.CAPTION)
    prompts = [compose(LABEL, cfg, rng).split(", ") for _ in range(n)]
    assert all("smile" in prompt for prompt in prompts)
    assert abs(sum("long hair" in prompt for prompt in prompts) / n - 0.7) < 0.02


def test_prompt_dropout_frequency() -> None:
    cfg = PromptConfig(prompt_dropout=0.1)
    n = 20_000
    empty = sum(draw(cfg, LABEL, i) == "" for i in range(n))
    assert abs(empty / n - 0.1) < 4 * np.sqrt(0.1 * 0.9 / n)


@given(st.integers(0, 2**31))
def test_equal_keys_give_equal_prompts_and_invent_no_tag(n: int) -> None:
    cfg = PromptConfig(order=("count", "general"), shuffle=("general",), tag_dropout=0.5)
    assert draw(cfg, LABEL, n) == draw(cfg, LABEL, n)
    allowed = {render_tag(tag) for tag in LABEL.tags_count + LABEL.tags_general}
    assert set(draw(cfg, LABEL, n).split(", ")) <= allowed


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": ("count", "count")},
        {"shuffle": ("quality",)},
        {"captions": CaptionMix(long=0, short=0, tags=0)},
        {"tag_dropout": 1.5},
    ],
)
def test_nonsense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        PromptConfig(**wrong)
