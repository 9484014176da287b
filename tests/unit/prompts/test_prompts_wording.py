"""From tags to words: underscores, paraphrases, introductions, register tokens."""

from __future__ import annotations

import collections
import csv
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts import KAOMOJI, Naming, Paraphrase, PromptConfig, Registers, render_tag
from animetune.prompts.config import COUNT_VARIANTS
from animetune.prompts.wording import introduction, random_string
from animetune.records import Label
from animetune.seeding import Purpose, rng_for
from tests.unit.prompts.draws import DRAWS, assert_share, count_prompts, draw


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
        ("saber_alter_(swimsuit)_(fate)", "saber alter (swimsuit) (fate)"),
        ("aikatsu!_(series)", "aikatsu! (series)"),
        ("mr._c.b._(umamusume)", "mr. c.b. (umamusume)"),
        ("s&w_m&p", "s&w m&p"),
        ("m_k", "m k"),
        ("no_no", "no no"),
        ("_", "_"),
        ("", ""),
    ],
)
def test_render_tag(tag: str, text: str) -> None:
    assert render_tag(tag) == text


@pytest.mark.parametrize(
    "tag",
    [
        "0_0",
        "(o)_(o)",
        "+_+",
        "+_-",
        "._.",
        "<o>_<o>",
        "<|>_<|>",
        "=_=",
        ">_<",
        "3_3",
        "6_9",
        ">_o",
        "@_@",
        "^_^",
        "o_o",
        "u_u",
        "x_x",
        "|_|",
        "||_||",
        "d_d",
        "t_t",
        "n_n",
        "o_x",
    ],
)
def test_emoticons_keep_their_underscore(tag: str) -> None:
    assert render_tag(tag) == tag


def test_of_all_tags_only_emoticons_keep_an_underscore(shared_data: Path) -> None:
    with (shared_data / "tags" / "danbooru.csv").open(encoding="utf-8") as stream:
        kept = {row[0] for row in csv.reader(stream) if "_" in render_tag(row[0])}
    faces = "^_^ >_< @_@ +_+ =_= o_o |_| 0_0 u_u >_o ._. x_x <|>_<|> <o>_<o> t_t 3_3 6_9 +_- o_x"
    assert kept == set(faces.split())


@given(st.text(alphabet="abz09_()<>|:^", max_size=20))
def test_render_tag_changes_only_underscores(tag: str) -> None:
    rendered = render_tag(tag)
    assert len(rendered) == len(tag)
    assert all(new in (old, " " if old == "_" else old) for old, new in zip(tag, rendered, strict=True))
    assert tag not in KAOMOJI or rendered == tag


def test_paraphrases_in_their_shares() -> None:
    """`"1girl, 1boy" -> "one girl, single women" ...`: each tag by itself, each variant as likely."""
    variants = {"1girl": ("one girl", "single woman"), "1boy": ("one boy",)}
    cfg = PromptConfig(
        order=("count", "general"), paraphrase=Paraphrase(probability=0.4, variants=variants), artist_prefix="by "
    )
    label = Label(key="demo/1", tags_count=("1girl", "1boy"), tags_general=("hat",))
    counts = count_prompts(label, cfg)
    girl = {"1girl": 0.6, "one girl": 0.2, "single woman": 0.2}
    boy = {"1boy": 0.6, "one boy": 0.4}
    assert counts.keys() == {f"{one}, {other}, hat" for one in girl for other in boy}
    for one, first in girl.items():
        for other, second in boy.items():
            assert_share(counts[f"{one}, {other}, hat"], first * second)


def test_the_table_of_counts_says_what_the_tags_say() -> None:
    from animetune.curate.tag.tag_lists import Vocabulary

    counts = set(Vocabulary.load().tags("count"))
    assert set(COUNT_VARIANTS) - {"no_humans"} <= counts
    for tag, variants in COUNT_VARIANTS.items():
        girls, boys = "girl" in tag, "boy" in tag
        for variant in variants:
            words = set(re.findall("[a-z]+", variant))
            assert bool(words & {"girl", "girls", "woman", "women"}) == girls
            assert bool(words & {"boy", "boys", "man", "men"}) == boys
            assert not any(map(str.isdigit, variant))


MIKU = Label(key="demo/2", tags_count=("1girl", "solo"), tags_character=("hatsune_miku",), tags_copyright=("vocaloid",))
AIDXL = PromptConfig(order=("character", "count"), character_prefix="1 ", naming=Naming(probability=0.3))


def test_introductions_in_their_share() -> None:
    """`from v0.8 also "a girl/boy named X from Y series"`"""
    counts = count_prompts(MIKU, AIDXL)
    phrase = "a girl named hatsune miku from vocaloid series, 1girl, solo"
    assert counts.keys() == {phrase, "1 hatsune miku, 1girl, solo"}
    assert_share(counts[phrase], 0.3)


def test_several_templates_are_equally_likely() -> None:
    naming = Naming(probability=1, templates=("{character} ({series})", "a {who}, {character}"))
    counts = count_prompts(MIKU, PromptConfig(order=("character",), naming=naming), 10_000)
    assert counts.keys() == {"hatsune miku (vocaloid)", "a girl, hatsune miku"}
    assert_share(counts["a girl, hatsune miku"], 0.5, of=10_000)


TEMPLATE = "a {who} named {character} from {series} series"


@pytest.mark.parametrize(
    ("character", "counts", "series", "expected"),
    [
        ("frieren", ["1girl"], ["sousou_no_frieren"], "a girl named frieren from sousou no frieren series"),
        (
            "ganyu_(genshin_impact)",
            ["solo", "1girl"],
            ["genshin_impact"],
            "a girl named ganyu from genshin impact series",
        ),
        (
            "saber_(fate)",
            ["1girl"],
            ["fate/stay_night", "fate_(series)"],
            "a girl named saber from fate (series) series",
        ),
        ("miku_(swimsuit)", ["1girl"], ["vocaloid"], "a girl named miku (swimsuit) from vocaloid series"),
        ("emiya", ["1boy"], ["fate", "other"], "a boy named emiya from fate series"),
        ("emiya", ["1boy", "1girl"], ["fate"], None),
        ("emiya", ["2boys"], ["fate"], None),
        ("emiya", ["1other"], ["fate"], None),
        ("emiya", ["solo"], ["fate"], None),
        ("emiya", ["1boy"], [], None),
    ],
)
def test_introduction(character: str, counts: list[str], series: list[str], expected: str | None) -> None:
    assert introduction(TEMPLATE, character, counts=counts, series=series) == expected


def test_only_a_single_known_character_is_introduced() -> None:
    cfg = AIDXL.model_copy(update={"naming": Naming(probability=1)})
    two = Label(key="demo/3", tags_count=("1girl",), tags_character=("a", "b"), tags_copyright=("c",))
    assert draw(two, cfg) == "1 a, 1 b, 1girl"
    assert draw(Label(key="demo/4", tags_count=("1girl",), tags_copyright=("c",)), cfg) == "1girl"


def test_a_listed_concept_always_has_its_token() -> None:
    """`a FIXED token for each identified outlier concept (a table)`"""
    registers = Registers(concepts={"ms_paint_(medium)": "xq7", "hatsune_miku": "zzk"})
    cfg = PromptConfig(
        order=("character", "general"),
        registers=registers,
        naming=Naming(probability=1),
        paraphrase=Paraphrase(probability=1, variants={"hatsune_miku": ("somebody",)}),
    )
    label = Label(key="demo/5", tags_character=("hatsune_miku",), tags_general=("hat", "ms_paint_(medium)"))
    assert count_prompts(label, cfg, 100).keys() == {"zzk, hat, xq7"}


def test_random_strings_in_their_share() -> None:
    """`random alphanumeric strings as a sink for what the metadata lacks`"""
    cfg = PromptConfig(order=("count",), registers=Registers(random=0.15, length=6), prompt_dropout=0.1)
    counts = count_prompts(MIKU, cfg)
    assert_share(counts[""], 0.1)
    assert_share(counts["1girl, solo"], 0.9 * 0.85)
    attached = {prompt for prompt in counts if prompt not in ("", "1girl, solo")}
    assert all(re.fullmatch("1girl, solo, [a-z0-9]{6}", prompt) for prompt in attached)
    assert len(attached) > 0.99 * 0.9 * 0.15 * DRAWS


def test_random_strings_have_every_letter_and_digit_alike() -> None:
    text = random_string(DRAWS, rng_for(3, Purpose.CAPTION))
    counts = collections.Counter(text)
    assert counts.keys() == set(string.ascii_lowercase + string.digits)
    for count in counts.values():
        assert_share(count, 1 / 36)
