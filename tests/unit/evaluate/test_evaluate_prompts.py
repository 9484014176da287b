"""Files of prompts: those that ship fulfil what they promise, mistakes of others are named by file and line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from animetune.errors import ConfigError
from animetune.evaluate.config import LeakConfig
from animetune.evaluate.probes import black_white, leak, lengths, prefix, quality
from animetune.evaluate.prompt_files import Content, Prompt, Shade, parse, read_prompts
from animetune.tokens import count_tokens

PUBLISHED = {
    "a wall",
    "abstract shapes and colours",
    "a horse",
    "a book",
    "a tree",
    "a vibrant street mural covering an entire wall",
}
NO_STYLE = ("anime", "illustration", "drawing", "photo", "realistic", "painting", "render")


def shipped(file: str, item: type) -> list:
    return read_prompts(LeakConfig(name="leak"), item, file)


def test_the_leak_probe_asks_what_dashanime_asks_and_more() -> None:
    prompts = shipped(leak.FILE, Prompt)
    assert {each.prompt for each in prompts if each.source} == PUBLISHED
    kinds = Counter(each.kind for each in prompts if not each.source)
    assert set(kinds) == {"object", "animal", "scenery", "food", "vehicle", "texture"}
    assert sum(kinds.values()) >= 40
    assert min(kinds.values()) >= 6
    people = {"girl", "boy", "man", "woman", "person", "people", "child", "character", "girls", "boys"}
    assert [each.prompt for each in prompts if people & set(each.prompt.split())] == []


@pytest.mark.parametrize("file", [prefix.FILE, leak.FILE, quality.FILE])
def test_no_shipped_prompt_names_a_style(file: str) -> None:
    assert [p.prompt for p in shipped(file, Prompt) if any(word in p.prompt.lower() for word in NO_STYLE)] == []


def test_lengths_are_what_they_are_called() -> None:
    for content in shipped(lengths.FILE, Content):
        assert count_tokens(content.short) <= 75 < count_tokens(content.long) <= 150
        assert content.longer is not None
        assert count_tokens(content.longer) > 150


def test_black_and_white_are_asked_alike() -> None:
    asked = Counter(each.asked for each in shipped(black_white.FILE, Shade))
    assert asked["dark"] == asked["bright"] >= 8


def test_every_mistake_is_named() -> None:
    lines = [
        '{"prompt": "a wall"}',
        "",
        '{"prompt": "a wall", "asked": "dark"}',
        '{"prompt": "a wall", "asked": "grey"}',
        "{not json",
        '{"prompt": "a wall", "asked": "bright"}',
        '{"prompt": "a door", "asked": "dark", "colour": "red"}',
    ]
    with pytest.raises(ConfigError) as raised:
        parse("\n".join(lines), Shade, "mine.jsonl")
    assert raised.value.problems == [
        "mine.jsonl:1: asked: is missing",
        "mine.jsonl:4: asked: should be 'dark' or 'bright'",
        "mine.jsonl:5: is not JSON (Expecting property name enclosed in double quotes at column 2)",
        "mine.jsonl:6: this prompt is asked already, in line 3; remove the line",
        "mine.jsonl:7: colour: is no field of these prompts",
    ]


def test_a_prompt_that_is_too_short_to_be_long() -> None:
    line = json.dumps({"short": "a cat", "long": "a cat on a mat", "tags": ["cat"]})
    with pytest.raises(ConfigError, match=r"x.jsonl:1: long: has 5 tokens; it should have more than 75"):
        parse(line, Content, "x.jsonl")


def test_text_files_hold_prompts_alone(tmp_path: Path) -> None:
    assert [each.prompt for each in parse("# mine\na cat\n\n a dog \n", Prompt, "x.txt")] == ["a cat", "a dog"]
    with pytest.raises(ConfigError, match="JSON lines"):
        parse("black", Shade, "x.txt")
    with pytest.raises(ConfigError, match=r"x.txt: holds no prompt"):
        parse("# nothing\n", Prompt, "x.txt")
    (tmp_path / "bad.txt").write_bytes(b"a cat\n\xff\n")
    with pytest.raises(ConfigError, match=r"bad.txt:2: is not UTF-8"):
        read_prompts(LeakConfig(name="leak", prompts=tmp_path / "bad.txt", replace=True), Prompt, leak.FILE)
    with pytest.raises(ConfigError, match="there is no such file"):
        read_prompts(LeakConfig(name="leak", prompts=tmp_path / "absent.txt"), Prompt, leak.FILE)


def test_prompts_are_added_replaced_and_limited(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("a green door\n", encoding="utf-8")
    added = read_prompts(LeakConfig(name="leak", prompts=file), Prompt, leak.FILE)
    assert (len(added), added[-1].prompt) == (len(shipped(leak.FILE, Prompt)) + 1, "a green door")
    replaced = read_prompts(LeakConfig(name="leak", prompts=file, replace=True), Prompt, leak.FILE)
    assert [each.prompt for each in replaced] == ["a green door"]
    some = read_prompts(LeakConfig(name="leak", limit=6), Prompt, leak.FILE)
    assert len({each.kind for each in some}) >= 4
    file.write_text("a horse\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.txt:1: this prompt is asked already, by the prompts that come with"):
        read_prompts(LeakConfig(name="leak", prompts=file), Prompt, leak.FILE)
