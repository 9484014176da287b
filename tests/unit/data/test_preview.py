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
    assert "" in boy
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
