"""The plan of a whole recipe: of a tiny model, whose numbers are worked out by hand."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from animetune.cli import app
from animetune.errors import ConfigError
from animetune.plan.costs import same_costs, training_costs
from animetune.recipe import plan_facts
from animetune.recipe.plan import describe
from tests.builders import TINY_SOURCES, tiny_shards

TRAIN = """\
stage: train
run: {runs}/{name}
model: {{base: random:tiny, dtype: bfloat16, activation_checkpointing: full{model}}}
data: {{shards: {shards}, labels: {labels}, global_batch: 8, micro_batch: 4, chunks: 1}}
optimizer: {{name: adafactor, unet_lr: 2e-5}}
schedule: {{name: linear}}
loop: {{epochs: 3}}
checkpoints: {{every: 1 epoch, keep: 2}}
"""
SHARD = """\
stage: shard
table: {runs}/table
out: {runs}/shards
store: {{name: latents, vae: builtin:tiny}}
sizes: {{area: 4096, step: 8}}
"""
RECIPE = """\
stage: recipe
name: tiny
title: Tiny
about: nothing much
source: nobody
hardware: 2 x A100
out: {runs}/recipe
steps: [shard.yaml, first.yaml, second.yaml]
launch: [torchrun, --nproc-per-node, "2", -m, animetune]
{stated}
"""
STATED = "stated: {images: {first: 1000}, gpu: a100-80, gpus: 2, days: 1.5e-6, gpu_hours: 3.6e-5}"


@pytest.fixture(scope="module", autouse=True)
def costs_once():
    """Rehearse equal steps once for all tests."""
    known = {}

    def once(cfg, architecture, size, *, pixels, devices):
        key = same_costs(cfg, size, pixels=pixels, devices=devices)
        if key not in known:
            known[key] = training_costs(cfg, architecture, size, pixels=pixels, devices=devices)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_facts, "training_costs", once)
        yield


@pytest.fixture
def recipe(tmp_path):
    def write(stated=STATED, shards=None, labels=None):
        runs = tmp_path / "runs"
        found = {"shards": shards or f"{runs}/shards", "labels": labels or f"{runs}/labels", "runs": runs}
        (tmp_path / "shard.yaml").write_text(SHARD.format(runs=runs))
        (tmp_path / "first.yaml").write_text(TRAIN.format(name="first", model="", **found))
        second = TRAIN.format(name="second", model="", **found).replace(
            "base: random:tiny", "base: random:tiny, train_text_encoder: false, train_text_encoder_2: false"
        )
        (tmp_path / "second.yaml").write_text(second)
        (tmp_path / "recipe.yaml").write_text(RECIPE.format(runs=runs, stated=stated))
        return tmp_path / "recipe.yaml"

    return write


def row(text, *starts):
    """The words of the first line that begins with these."""
    pattern = r"^\s+" + r"\s+".join(map(re.escape, starts)) + r"\s+(.*)$"
    found = re.search(pattern, text, re.M)
    assert found, text
    return found[1].split()


@pytest.mark.slow
def test_what_is_stated_is_counted_and_the_rest_is_not(recipe):
    text = describe(recipe(), price=10.0)
    assert row(text, "first")[:7] == ["1,000", "stated", "3", "375", "8", "3,000", "2"]  # 125 steps an epoch
    assert row(text, "second")[:6] == ["?", "unknown", "?", "?", "8", "?"]
    assert "give --assume-images N" in text
    assert row(text, "first", "UNet")[:3] == ["2e-05", "2e-05", "5.33e-08"]  # 2e-5 / 375 at the last of 375 steps
    assert row(text, "second", "UNet")[1] == "?"
    assert re.search(r"second .* \? +2 +\? +\?$", text, re.M)  # no hours, no wall time, no cost
    assert (
        "shards of latents (float16), 472 bytes a picture" in text
    )  # 59 cells of 4 numbers on average, of 2 bytes each


def test_both_readings_of_the_published_hours(recipe):
    text = describe(recipe())
    readings = r" = 0\.0000%d GPU hours: \d+%% MFU \(\d+%% with what is recomputed\), plausible"
    assert re.search(r"1\.5e-06 days on 2" + readings % 72, text)
    assert re.search("as published" + readings % 36, text)
    assert "is about the wall hours of 1.5e-06 days" in text
    assert "second came on top, of unknown length" in text
    assert "the published hours" not in describe(recipe(stated=""))


def test_assumed_pictures_are_of_every_step(recipe):
    text = describe(recipe(), assume_images=4000)
    assert row(text, "first")[:6] == row(text, "second")[:6] == ["4,000", "assumed", "3", "1,500", "8", "12,000"]
    assert "?" not in text.split("warnings:")[0].split("memory:")[0].split("steps:")[1]


@pytest.mark.slow
def test_shards_that_are_there_are_read_with_their_prompts(recipe, tmp_path):
    shards, labels = tiny_shards(tmp_path / "made", TINY_SOURCES * 8)
    text = describe(recipe(shards=shards, labels=labels))
    assert row(text, "first")[1] == "shards"
    assert re.search(r"first, second: 1 chunk, 75 tokens; of \d+ prompts 0\.0% are cut; median \d+, longest \d+", text)


def test_a_measured_rate_goes_before_an_assumption(recipe, tmp_path):
    path = recipe()
    run = tmp_path / "runs/first"
    run.mkdir(parents=True)
    lines = ['{"step": 1, "images_per_second": 1.0}', '{"step": 2, "images_per_second": 0.5}']
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (run / "env.json").write_text('{"gpus": ["NVIDIA A100-SXM4-80GB"]}')
    hours = row(describe(path, price=6.0).split("time of training")[1], "first")
    assert hours[2:] == ["0.50", "measured", "on", "NVIDIA", "A100-SXM4-80GB", "1.7", "2", "50", "min", "10"]
    other = row(describe(path, gpu="h100").split("time of training")[1], "first")
    assert other[3] == "assumed"


def test_options_are_checked(recipe):
    path = recipe()
    with pytest.raises(ConfigError, match="--gpu: voodoo is no kind of GPU that plan knows; there are rtx3090"):
        describe(path, gpu="voodoo")
    with pytest.raises(ConfigError, match=r"--share 1\.5: is no part of a GPU's peak"):
        describe(path, share=1.5)
    with pytest.raises(ConfigError, match="--assume-images 0"):
        describe(path, assume_images=0)


def test_half_the_share_is_twice_the_time(recipe):
    def hours(share):
        return float(row(describe(recipe(), share=share).split("time of training")[1], "first")[4])

    assert hours(0.1) == pytest.approx(2 * hours(0.2), rel=0.06)


def test_on_the_command_line(recipe):
    done = CliRunner().invoke(
        app, ["plan", str(recipe()), "--set", "train:loop.epochs=6", "--gpu", "h200", "--price", "3"]
    )
    assert done.exit_code == 0, done.output
    assert "time of training on H200 141 GB" in done.output
    assert row(done.output, "first")[:5] == ["1,000", "stated", "6", "750", "8"]
