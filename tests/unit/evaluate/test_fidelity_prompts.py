"""Groups, deciles, prompts made of tags, and real pictures with tags."""

from __future__ import annotations

import itertools
import json
import runpy
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from animetune.errors import ConfigError, DataError
from animetune.evaluate.config import FidelityConfig
from animetune.evaluate.fidelity.counting import Implications, asked_in
from animetune.evaluate.fidelity.frequencies import Deciles, read_counts
from animetune.evaluate.fidelity.groups import load_groups
from animetune.evaluate.fidelity.prompts import TagPrompt
from animetune.evaluate.fidelity.tagged_pictures import chosen, read_tagged
from animetune.evaluate.prompt_files import parse, read_prompts

CLOSED = [tag for group in load_groups(None).closed for tag in group.tags]
ROOT = Path(__file__).resolve().parents[3]
SHIPPED = read_prompts(FidelityConfig(name="fidelity"), TagPrompt, "fidelity.jsonl")


def test_every_tag_has_one_group() -> None:
    titles = load_groups(None).titles_of(
        ["blue_hair", "twintails", "1girl", "sword", "made_up_tag", "very_long_hair", "black_thighhighs"]
    )
    assert titles == {
        "blue_hair": "Hair colour",
        "twintails": "Hair, other",
        "1girl": "People",
        "sword": "Objects, other",
        "made_up_tag": "Everything else",
        "very_long_hair": "Hair length",
        "black_thighhighs": "Legwear",
    }
    assert load_groups(None).facts_of("Hair, other") is None


def test_groups_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_text("groups:\n  - {title: Fruit, tags: [Apple, pear], beside: {apple: ['*']}}\n", encoding="utf-8")
    groups = load_groups(path)
    assert groups.titles_of(["apple", "blue_hair"]) == {"apple": "Fruit", "blue_hair": "Hair, other"}
    assert groups.facts_of("Fruit") == {"apple": ["apple", "pear"], "pear": []}
    for text, said in (
        ("groups:\n  - {title: A, tags: [x, y]}\n  - {title: B, tags: [y, z]}\n", "y is in 'A' and in 'B'"),
        ("groups:\n  - {title: A, tags: [x, y], beside: {x: [z]}}\n", "'z' is none of the tags of 'A'"),
        ("groups:\n  - {title: A, tags: [x, y]}\n  - {title: A, tags: [v, w]}\n", "'A' is there twice"),
        ("groups:\n  - {title: A, tags: [x]}\n", "groups.yaml:2"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            load_groups(path)


def test_deciles_by_hand() -> None:
    """Twenty tags used 1 to 20 times: two a part."""
    deciles = Deciles.of({f"t{n}": n for n in range(1, 21)})
    assert [deciles.part(f"t{n}") for n in (1, 2, 3, 19, 20)] == [1, 1, 2, 10, 10]
    assert deciles.part("unknown") is None
    assert deciles.title(1) == "1: 1 to 2"
    assert deciles.title(10) == "10: from 19 uses"
    few = Deciles.of({"a": 5, "b": 5, "c": 9})
    assert [few.part(tag) for tag in "abc"] == [1, 1, 2]


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 50), min_size=1))
def test_deciles_keep_the_order_of_use(counts: dict[str, int]) -> None:
    """More uses are never in a lower part, equal ones in the same; no part has more than a tenth but for ties."""
    deciles = Deciles.of(counts)
    parts = {tag: deciles.part(tag) or 0 for tag in counts}
    for a, b in itertools.combinations(counts, 2):
        assert (counts[a] <= counts[b]) == (parts[a] <= parts[b]) or counts[a] > counts[b]
        assert counts[a] != counts[b] or parts[a] == parts[b]
    assert set(parts.values()) <= set(range(1, 11))
    for part in set(parts.values()):
        assert deciles.title(part).startswith(f"{part}: ")


def test_tables_of_counts(tmp_path: Path) -> None:
    wd = tmp_path / "selected_tags.csv"
    wd.write_text("tag_id,name,category,count\n9,general,9,100\n1,1girl,0,50\n2,miku,4,7\n,,,\n3,^_^,0,3\n")
    assert read_counts(wd) == {"1girl": 50, "^_^": 3}
    list_ = tmp_path / "danbooru.csv"
    list_.write_text('1girl,0,600,"1girls,sole_female"\nmiku,4,9,\n')
    assert read_counts(list_) == {"1girl": 600}
    plain = tmp_path / "plain.csv"
    plain.write_text("count,name\n5,Long Hair\n")
    assert read_counts(plain) == {"long_hair": 5}
    for text, said in (
        ("name,kind\na,b\n", "not name and count"),
        ("name,count\na,many\n", "plain.csv:2: the count 'many'"),
        ("a,0\n", "plain.csv:1: has 2 columns"),
        ("", "has no general tag"),
    ):
        plain.write_text(text)
        with pytest.raises(DataError, match=said):
            read_counts(plain)
    plain.write_text("name,category\na,0\n")
    assert read_counts(plain, must=False) == {}
    with pytest.raises(DataError, match="there is no such file"):
        read_counts(tmp_path / "absent.csv")


def test_prompts_are_tags_or_have_a_text() -> None:
    tags, said = parse(
        '{"tags": ["1girl", "long_hair", "^_^", "hatsune_miku"]}\n'
        '{"tags": "1girl, Blue Eyes, 1girl", "prompt": "A girl with blue eyes"}\n',
        TagPrompt,
        "mine.jsonl",
    )
    assert tags.text == "1girl, long hair, ^_^, hatsune miku"
    assert (said.tags, said.text) == (("1girl", "blue_eyes"), "A girl with blue eyes")
    (line,) = parse("1girl, long hair, saber_\\(fate\\)\n", TagPrompt, "mine.txt")
    assert line.tags == ("1girl", "long_hair", "saber_(fate)")
    assert line.key == TagPrompt(tags=("1girl", "long_hair", "saber_(fate)")).key
    assert len({tags.key, said.key, line.key}) == 3
    with pytest.raises(ConfigError, match=r"mine.jsonl:1: tags: "):
        parse('{"tags": []}', TagPrompt, "mine.jsonl")
    with pytest.raises(ConfigError, match=r"mine.jsonl:2: this prompt is asked already, in line 1"):
        parse('{"tags": ["a_b"]}\n{"tags": ["a b"]}', TagPrompt, "mine.jsonl")


def test_shipped_prompts_do_not_contradict_themselves() -> None:
    """Of every closed group one person has one tag, or tags that may come together."""
    assert len(SHIPPED) >= 200
    groups = load_groups(None)
    for prompt in SHIPPED:
        titles = groups.titles_of(prompt.tags)
        implications = Implications.among({*prompt.tags, *CLOSED})
        for title, count in Counter(titles.values()).items():
            closed = groups.facts_of(title)
            if closed is None or count == 1 or not {"solo", "no_humans"} & set(prompt.tags):
                continue
            mine = sorted(asked_in(closed, [tag for tag in prompt.tags if titles[tag] == title], implications))
            for a, b in itertools.combinations(mine, 2):
                assert b in closed[a] or a in closed[b], (a, b, prompt)
        if {"closed_eyes", "sunglasses"} & set(prompt.tags):
            assert "Eye colour" not in titles.values(), prompt
        if "portrait" in prompt.tags:
            assert not {"Posture", "Legwear", "Footwear"} & set(titles.values()), prompt


def test_shipped_prompts_cover_the_closed_groups() -> None:
    asked = {tag for prompt in SHIPPED for tag in prompt.tags}
    assert len(asked) >= 600
    asked = Implications.among([*asked, "thighhighs", "socks", "kneehighs", "pantyhose"]).following(asked)
    for title in ("Hair colour", "Eye colour", "Emotion", "Outfit", "Legwear", "Hats", "Plain background", "Posture"):
        closed = load_groups(None).facts_of(title) or {}
        assert len(asked & closed.keys()) >= 4, title
    assert {">_<", "^_^", "hatsune_miku", "no_humans"} <= asked


def test_the_script_is_deterministic_and_asks_only_what_the_table_has(tmp_path: Path) -> None:
    """From a table with a tenth of the tags."""
    make = runpy.run_path(str(ROOT / "scripts" / "make_fidelity_prompts.py"))["make"]
    asked = sorted({tag for prompt in SHIPPED for tag in prompt.tags})
    counts = {tag: 10 + place for place, tag in enumerate(asked)}
    assert make(counts) == make(dict(reversed(counts.items())))
    few = {tag: count for tag, count in counts.items() if count % 10 == 0 or tag in ("1girl", "solo")}
    named = {tag for tags in make(few) for tag in tags}
    characters = {prompt.tags[2] for prompt in SHIPPED[-30:]}
    assert "hatsune_miku" in named
    assert named - few.keys() <= characters | {"no_humans"}


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def test_real_pictures_in_three_forms(tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    _picture(beside / "b" / "2.png")
    _picture(beside / "1.jpg")
    _picture(beside / "without.png")
    (beside / "1.txt").write_text("1girl, Long hair, saber \\(fate\\)\n", encoding="utf-8")
    (beside / "b" / "2.txt").write_text("\ufeff1boy,\nsmile, smile", encoding="utf-8")
    found = read_tagged(beside)
    assert [(each.name, each.tags) for each in found] == [
        ("1.jpg", ("1girl", "long_hair", "saber_(fate)")),
        ("b/2.png", ("1boy", "smile")),
    ]
    lines = tmp_path / "posts.jsonl"
    lines.write_text(
        '{"file": "beside/1.jpg", "tags": ["1girl", "Blue Eyes"]}\n\n'
        '{"file_name": "beside/b/2.png", "tag_string": "1boy >_<"}\n',
        encoding="utf-8",
    )
    assert [each.tags for each in read_tagged(lines)] == [("1girl", "blue_eyes"), ("1boy", ">_<")]
    (beside / "images.jsonl").write_text('{"file": "1.jpg", "prompt": "1girl, smile", "seed": 1}\n', encoding="utf-8")
    assert [each.tags for each in read_tagged(beside)] == [("1girl", "smile")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", ":1: is not JSON"),
        ("[]", ":1: is no JSON object"),
        ('{"tags": ["a"]}', ":1: names no picture"),
        ('{"file": 1, "tags": ["a"]}', ":1: file: should be"),
        ('{"file": "no.png", "tags": ["a"]}', "there is no such file"),
        ('{"file": "1.png"}', ":1: has no `tags`"),
        ('{"file": "1.png", "tags": [1]}', ":1: tags: should be a list"),
        ('{"file": "1.png", "tags": "a"}\n{"file": "1.png", "tags": "a"}', ":2: 1.png is in line 1, too"),
        ("", "has no picture with tags"),
    ],
)
def test_mistakes_of_real_pictures_are_named(tmp_path: Path, line: str, said: str) -> None:
    _picture(tmp_path / "1.png")
    (tmp_path / "real.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_tagged(tmp_path / "real.jsonl")
    with pytest.raises(DataError, match="there is no such folder or file"):
        read_tagged(tmp_path / "absent")


def test_some_pictures_of_every_tag(tmp_path: Path) -> None:
    """Every tag gets its pictures where there are so many; the rare ones first where the limit is short."""
    lines = [
        json.dumps({"file": f"{n}.png", "tags": ["1girl", *(["harp"] if n % 25 == 0 else [])]}) for n in range(100)
    ]
    for n in range(100):
        _picture(tmp_path / f"{n}.png")
    (tmp_path / "images.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pictures = read_tagged(tmp_path)
    assert chosen(pictures, {"oboe"}, per_tag=5, limit=50) == []
    some = chosen(pictures, {"1girl", "harp"}, per_tag=10, limit=50)
    counts = Counter(tag for each in some for tag in each.tags)
    assert counts == {"1girl": 10, "harp": 4}
    assert chosen(pictures[::-1], {"1girl", "harp"}, per_tag=10, limit=50) == some
    few = chosen(pictures, {"1girl", "harp"}, per_tag=10, limit=3)
    assert Counter(tag for each in few for tag in each.tags) == {"1girl": 3, "harp": 3}
