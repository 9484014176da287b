"""`animetune preview`: every rule of prompts as it will be trained, and what is cut off."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from animetune.cli import app
from tests.builders import tiny_shards

STAGE = """
stage: train
run: {folder}/run
model: {{base: builtin:tiny}}
optimizer: {{name: adamw, unet_lr: 1e-3}}
data: {{shards: {folder}/shards, labels: {folder}/labels, global_batch: 1, micro_batch: 1, chunks: 1, split: commas}}
prompts:
  order: [count, "|||", character, "|||", general, caption, artist, quality]
  other_orders: [{{probability: 0.3, order: [prefix, caption, quality]}}]
  prefix: anime illustration
  style_words: [digital illustration]
  space_separator: 0.2
  character_prefix: "1 "
  naming: {{probability: 0.4}}
  paraphrase: {{probability: 0.3}}
  shuffle: [general]
  drop: [character, general, artist]
  tag_dropout: 0.2
  dropout_levels: [{{probability: 0.3, at_most: 1}}]
  no_dropout: {folder}/no-dropout.txt
  protect: {{tags: [miku], probability: 0.5}}
  registers: {{concepts: {{ms_paint: xq7z}}, random: 0.3}}
  prompt_dropout: 0.1
loop: {{steps: 1}}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview")
    tiny_shards(
        folder,
        [(64, 64)] * 2,
        tags_count=[["1girl"], ["1boy"]],
        tags_character=[["miku"], ["emiya"]],
        tags_copyright=[["vocaloid"], ["fate"]],
        tags_general=[["smile", "long_hair", "nude"], ["ms_paint", *(f"a_tag_of_{n}_words" for n in range(60))]],
        captions_long=[["A digital illustration of a girl."], ["A boy."]],
    )
    (folder / "no-dropout.txt").write_text("# provocative\nnude\n")
    file = folder / "stage.yaml"
    file.write_text(STAGE.format(folder=folder))
    return file


def test_preview_shows_what_the_rules_make(stage):
    result = CliRunner().invoke(app, ["preview", str(stage), "--count", "2", "--draws", "200"])
    assert result.exit_code == 0, result.output
    girl, boy = (
        [line.strip() for line in part.splitlines()[1:]] for part in re.split(r"(?m)^tiny/\d+  ", result.output)[1:]
    )
    if "1boy" in girl[0] + girl[1] + girl[2]:
        girl, boy = boy, girl
    assert len(girl) == len(boy) == 200
    assert all("nude" in prompt for prompt in girl)
    assert "nude" in girl  # an empty prompt, but for what is never dropped
    assert "(an empty prompt)" in boy
    assert not any("digital" in prompt for prompt in girl)
    for seen in (
        "A girl. best quality",
        "anime illustration, A girl",
        "a girl named miku from vocaloid series",
        "1 miku",
        "one girl",
        "1girl 1 miku",
    ):
        assert any(seen in prompt for prompt in girl), seen
    assert any(re.search(r"best quality, [a-z0-9]{8}$", prompt) for prompt in girl if "nude" in prompt)
    assert any("xq7z" in prompt for prompt in boy)
    cut = [re.search(r"\[cut: (\d+) tokens, (\d+) are trained\]", prompt) for prompt in boy]
    assert any(cut)
    assert all(55 < int(found[2]) <= 75 < int(found[1]) for found in cut if found)
    assert result.output == CliRunner().invoke(app, ["preview", str(stage), "--count", "2", "--draws", "200"]).output


def test_a_list_of_tags_that_is_not_there_is_one_line(stage):
    from animetune.errors import ConfigError

    wrong = ["preview", str(stage), "--set", "prompts.no_dropout=nowhere/names.txt"]
    with pytest.raises(ConfigError, match=r"prompts.no_dropout: nowhere/names.txt: the file of tags cannot be read"):
        CliRunner().invoke(app, wrong, catch_exceptions=False)


LABELLED = {
    "tags_count": [["1girl"], ["1boy"], ["no_humans"]],
    "tags_general": [["smile"], ["hat"], None],
    "repeats": [1.0, 0.5, 2.0],
}


def preview_of(stage, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["preview", str(stage), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_table_is_previewed_before_there_are_shards(tmp_path):
    """The same words as from the shards that are made of it, where nothing is drawn at random."""
    shards, labels = tiny_shards(tmp_path, [(64, 64)] * 3, **LABELLED)
    stage = tmp_path / "stage.yaml"
    stage.write_text(
        "stage: train\nrun: unused\nmodel: {base: builtin:tiny}\noptimizer: {name: adamw, unet_lr: 1e-3}\n"
        f"data: {{shards: {shards}, labels: {labels}, global_batch: 1, micro_batch: 1}}\n"
        "prompts: {preset: animagine-2.0, add: [old_scan]}\nloop: {steps: 1}\n"
    )
    from_table = preview_of(stage, "--table", str(tmp_path / "table"), "--set", "data.shards=nowhere", "-n", "5")
    assert from_table.splitlines()[:3] == [
        "tiny/0  [1girl_only]",
        "    1girl, someone 0, smile, old scan, best quality",
        "    1girl, someone 0, smile, old scan, best quality",
    ]
    assert "    no humans, someone 2, old scan, best quality" in from_table
    paragraphs = re.findall(r"tiny/\d+ .*\n(?:    .*\n)+", from_table)
    assert sorted(re.findall(r"tiny/\d+ .*\n(?:    .*\n)+", preview_of(stage))) == paragraphs


def test_only_what_is_trained_is_shown(tmp_path):
    from tests.builders import tiny_table

    table = tiny_table(
        tmp_path / "table", [(64, 64)] * 5, repeats=[0.0, 1.0, 1.0, 0.25, 0.0], split=["train", "val", *["train"] * 3]
    )
    stage = tmp_path / "stage.yaml"
    stage.write_text(STAGE.format(folder=tmp_path))
    (tmp_path / "no-dropout.txt").write_text("nude\n")
    arguments = ("--table", str(table), "--draws", "1")
    shown = re.findall(r"(?m)^tiny/\d+", preview_of(stage, *arguments))
    assert shown == ["tiny/2", "tiny/3"]
    assert len(re.findall(r"(?m)^tiny/\d+", preview_of(stage, *arguments, "-n", "1"))) == 1


def test_nothing_trained_is_an_error(tmp_path, stage):
    from animetune.errors import DataError
    from tests.builders import tiny_table

    table = tiny_table(tmp_path / "table", [(64, 64)], repeats=0.0)
    with pytest.raises(DataError, match="no sample is trained: repeats are 0"):
        preview_of(stage, "--table", str(table))
    with pytest.raises(DataError, match="nowhere"):
        preview_of(stage, "--table", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("from_table", [True, False])
def test_a_source_that_there_is_not_is_named(stage, from_table):
    from animetune.errors import ConfigError

    rule = "prompts.order=[extra, general]"
    arguments = ["--table", str(stage.parent / "table")] if from_table else []
    settings = ["--set", rule, "--set", "prompts.drop=[general]", "--set", "prompts.add_by_source={tiny: [a_b]}"]
    assert "    a b" in preview_of(stage, *arguments, *settings, "--set", "prompts.space_separator=0")
    settings[-1] = "prompts.add_by_source={tiyn: [a_b]}"
    with pytest.raises(ConfigError, match="add_by_source: no sample is from the source tiyn; there are tiny"):
        preview_of(stage, *arguments, *settings)


def test_tags_do_not_command_the_terminal():
    from animetune.data.preview import preview_lines
    from animetune.records import Label

    label = Label(key="a/\x1b]0;b", content_bucket="animal")
    lines = list(preview_lines(label, ["red\x1b[31m\r\nhat \u202e \u3042"], chunks=1, split="anywhere"))
    assert lines == ["a/\\x1b]0;b  [animal]", "    red\\x1b[31m\\r\\nhat \\u202e \u3042"]


def test_an_empty_prompt_is_seen():
    from animetune.data.preview import preview_lines
    from animetune.records import Label

    lines = list(preview_lines(Label(key="a/1", content_bucket="animal"), ["", "cat"], chunks=1, split="anywhere"))
    assert lines == ["a/1  [animal]", "    (an empty prompt)", "    cat"]
