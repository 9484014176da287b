"""`animetune report`: what its arguments mean, and what the page says about making it again."""

from __future__ import annotations

import shlex

import pytest
from typer.testing import CliRunner

from animetune.cli import app
from animetune.errors import ConfigError
from animetune.records import Size
from animetune.report.table_request import Request, make_report, understand
from tests.builders import tiny_table

CURATE = "stage: curate\nout: {table}\nsources: [{{name: tiny, posts: [posts.jsonl]}}]\n"
SHARD = "stage: shard\ntable: {table}\nout: {table}-shards\nstore: {{name: pixels}}\nsizes: {{area: 4096, step: 8}}\n"
TRAIN = (
    "stage: train\nrun: {table}-run\nseed: 7\nmodel: {{base: 'random:tiny'}}\n"
    "data: {{shards: a, labels: b, global_batch: 32, micro_batch: 4, chunks: 2, split: commas}}\n"
    "prompts: {{prefix: anime illustration}}\noptimizer: {{name: adafactor, unet_lr: 1e-4}}\nloop: {{steps: 1}}\n"
)


@pytest.fixture
def table(tmp_path):
    return tiny_table(tmp_path / "my table", [(70, 70), (90, 60)])


def config(folder, text, **values):
    file = folder / f"{text.split()[1]}.yaml"
    file.write_text(text.format(**values))
    return file


def test_a_folder_a_curate_and_a_shard_config_mean_the_same_table(tmp_path, table):
    folder, asked = understand(Request(table))
    assert folder == table
    assert asked.sizes is None
    folder, asked = understand(Request(config(tmp_path, CURATE, table=table)))
    assert folder == table
    assert asked.sizes is None
    folder, asked = understand(Request(config(tmp_path, SHARD, table=table), ["max_upscale=2"]))
    assert folder == table
    assert asked.sizes is not None
    assert asked.sizes.area == 4096
    assert asked.max_upscale == 2


def test_a_training_config_gives_prompts_and_lengths(tmp_path, table):
    train = config(tmp_path, TRAIN, table=table)
    _, asked = understand(Request(table, prompts=train))
    training = asked.training
    assert training.prompts.prefix == "anime illustration"
    assert (training.seed, training.chunks, training.split, training.global_batch) == (7, 2, "commas", 32)
    assert training.limit == 150
    assert training.file == train


def test_commands_are_those_that_were_given(tmp_path, table):
    shard = config(tmp_path, SHARD, table=table)
    train = config(tmp_path, TRAIN, table=table)
    request = Request(shard, ["max_upscale=2"], prompts=train, out=tmp_path / "a b.html", thumbnails=False)
    lines = [shlex.split(line) for _, line in understand(request)[1].commands]
    assert lines == [
        ["animetune", "shard", str(shard), "--set", "max_upscale=2"],
        ["animetune", "report", str(shard), "--set", "max_upscale=2", "--prompts", str(train), "--out",
         str(tmp_path / "a b.html"), "--no-thumbnails"],
        ["animetune", "preview", str(train), "-n", "20", "--table", str(table)],
    ]  # fmt: skip


def test_other_configurations_and_settings_of_a_folder_are_refused(tmp_path, table):
    train = config(tmp_path, TRAIN, table=table)
    with pytest.raises(ConfigError, match="report takes the folder of a curated table, or a configuration of curate"):
        understand(Request(train))
    with pytest.raises(ConfigError, match="is a folder, so --set has nothing to change"):
        understand(Request(table, ["seed=1"]))
    with pytest.raises(ConfigError):
        understand(Request(tmp_path / "nothing"))


def test_page_lies_beside_its_table_or_where_it_is_asked_for(tmp_path, table):
    assert make_report(Request(table, thumbnails=False)) == table / "report.html"
    page = make_report(Request(config(tmp_path, SHARD, table=table), out=tmp_path / "x.html", thumbnails=False))
    assert page == tmp_path / "x.html"
    assert Size(64, 64).name in page.read_text()
    assert (table / "report.html").read_text() != page.read_text()


def test_command_line(table):
    done = CliRunner().invoke(app, ["report", str(table), "--no-thumbnails"])
    assert done.exit_code == 0, done.output
    assert f"see {table / 'report.html'}" in done.output
    assert "animetune report" in (table / "report.html").read_text()
