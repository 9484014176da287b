"""Where stages publish: a folder of this machine that holds nothing, or an earlier output of the same stage."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from animetune.cli import STAGES
from animetune.config import load_config
from animetune.errors import ConfigError
from animetune.manifest import Manifest, write_manifest
from animetune.report import exposure

CONFIGS = {
    "curate": "sources: [{name: tiny, posts: [posts.jsonl]}]",
    "shard": "table: table\nstore: {name: pixels}\nsizes: {preset: sdxl}",
    "labels": "table: table\nshards: shards",
    "train": (
        "model: {base: random:tiny}\ndata: {shards: shards, labels: labels, global_batch: 1, micro_batch: 1}\n"
        "optimizer: {name: adamw, unet_lr: 1e-5}\nloop: {steps: 1}"
    ),
    "sample": "model: {base: random:tiny}\nprompts: [1girl]",
    "export": "base: random:tiny\nabout: {title: none, author: none, license: none}",
    "merge": (
        "models: {a: {base: random:tiny}, b: {base: builtin:tiny}}\nabout: {title: none, license: none}\n"
        "method: {name: weighted_sum, weights: {a: 1, b: 0}}"
    ),
    "lora": "tuned: builtin:tiny\nbase: random:tiny\nabout: {title: none, license: none}",
    "evaluate": "models: {a: {base: random:tiny}}\nprobes: [{name: black_white}]",
    "card": "runs: [run]\nabout: {title: none, license: none, description: none}",
}
"""Stage -> a configuration without the folder that it publishes in; what it reads does not exist."""


def place_of(stage: str) -> str:
    """The setting that names the folder."""
    return "run" if stage == "train" else "out"


def load(tmp_path: Path, stage: str, place: str) -> Any:
    file = tmp_path / f"{stage}.yaml"
    file.write_text(f"stage: {stage}\n{place_of(stage)}: {place}\n{CONFIGS[stage]}\n")
    return load_config(file, imported(STAGES[stage][0]))


def imported(target: str) -> Any:
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_refuses_the_output_of_another_before_it_writes(tmp_path: Path, stage: str) -> None:
    out = tmp_path / "place"
    write_manifest(out, Manifest(kind="drawings", format_version=1))
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match=f"^{place_of(stage)}: {out} is a folder of drawings; choose another folder$"):
        imported(STAGES[stage][1])(load(tmp_path, stage, str(out)))
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert (out / "manifest.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"place", f"{stage}.yaml"}


def test_so_does_exposure(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest(kind="label-set", format_version=1))
    nothing = exposure.Exposure("run", 0, 1, *[None] * 3, config_digest="", inputs={})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"^--out: {tmp_path} is a label-set; choose another folder$"):
        exposure.write(nothing, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_shards_that_pass_through_a_folder_say_which(tmp_path: Path) -> None:
    work = tmp_path / "work"
    write_manifest(work, Manifest(kind="table", format_version=1))
    cfg = load(tmp_path, "shard", f"s3://bucket/shards\nwork: {work}")
    with pytest.raises(ConfigError, match=f"^work: {work} is a table"):
        imported(STAGES["shard"][1])(cfg)


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_url_is_a_path_and_no_other_url_is_a_folder(tmp_path: Path, stage: str) -> None:
    cfg = load(tmp_path, stage, f"file://{tmp_path}/place")
    folder = cfg.folder if stage == "shard" else getattr(cfg, place_of(stage))
    assert Path(folder) == tmp_path / "place"
    problem = "work: is missing" if stage == "shard" else "s3://bucket/place is a URL; name a folder on this machine"
    with pytest.raises(ConfigError, match=problem):
        load(tmp_path, stage, "s3://bucket/place")
