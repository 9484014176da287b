"""The table of what stages read and write is that of the command line, and leads to settings that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin

import pytest

from animetune import stages
from animetune.config import shipped_configs
from animetune.problems import _inside, _members
from animetune.recipe.config import load_recipe
from animetune.recipe.stages import STAGES, folder_of, is_handling, model_of, read_by, settings_of
from animetune.shards.config import ShardConfig


def test_the_stages_are_those_of_the_command_line() -> None:
    assert STAGES.keys() == stages.STAGES.keys()


def lead_to(model: type, pattern: str) -> list[Any]:
    """The annotations that a dotted pattern leads to."""
    members: list[Any] = [model]
    for part in pattern.split("."):
        inner = [_inside(member, 0 if part == "*" and get_origin(member) is tuple else part) for member in members]
        members = [each for annotation in inner if annotation is not None for each in _members(annotation)]
    return members


@pytest.mark.parametrize("stage", STAGES)
def test_every_pattern_leads_to_a_setting(stage: str) -> None:
    kind, model = STAGES[stage], model_of(stage)
    for pattern in (kind.writes, *kind.reads, *kind.apart, *kind.handling):
        assert lead_to(model, pattern), pattern


def test_paths_that_no_pattern_names_are_files_that_are_read(tmp_path: Path) -> None:
    cfg = model_of("curate").model_validate(
        {
            "stage": "curate",
            "out": "t",
            "answers": "a",
            "sources": [{"name": "x", "posts": ["p*.jsonl", "q"]}],
            "lists": {"takedown": ["gone.txt"]},
            "styles": {"map": "styles.csv"},
        }
    )
    found = {read.key: (read.place, read.kind) for read in read_by(cfg, "curate")}
    assert found == {
        "sources.0.posts.0": ("p*.jsonl", "source"),
        "sources.0.posts.1": ("q", "source"),
        "lists.takedown.0": ("gone.txt", "file"),
        "styles.map": ("styles.csv", "file"),
    }


def test_names_of_models_may_hold_dots() -> None:
    text = {"first": {"base": "a/b"}, "v0.1": {"base": "c/d", "vae": "e/f"}}
    cfg = model_of("merge").model_validate(
        {
            "stage": "merge",
            "out": "m",
            "models": text,
            "method": {"name": "slerp", "first": "first", "second": "v0.1"},
            "about": {"title": "t", "license": "x"},
        }
    )
    assert [read.keys for read in read_by(cfg, "merge")] == [
        ("models", "first", "base"),
        ("models", "v0.1", "base"),
        ("models", "v0.1", "vae"),
    ]


def test_a_shard_root_at_a_url_has_its_manifest_in_the_working_folder() -> None:
    cfg = ShardConfig.model_validate(
        {
            "stage": "shard", "table": "t", "out": "s3://b/s", "work": "w",
            "store": {"name": "pixels"}, "sizes": {"preset": "sdxl"},
        }
    )  # fmt: skip
    assert folder_of(cfg, "shard") == Path("w")
    assert is_handling("shard", ("executor", "workers"))
    assert not is_handling("shard", ("store", "format"))
    assert is_handling("train", ("data", "workers"))
    assert not is_handling("train", ("data", "micro_batch"))


def test_what_the_shipped_recipe_reads() -> None:
    recipe = load_recipe(shipped_configs() / "recipes" / "dashanime" / "recipe.yaml")
    reads = {step.name: step.reads for step in recipe.steps}
    assert reads["stage2"] == (
        "runs/dashanime/stage1",
        "runs/dashanime/shards",
        "runs/dashanime/labels-stage2",
    )
    assert set(reads["card"]) >= {"runs/dashanime/export", "runs/dashanime/stage2", "runs/dashanime/samples"}
    assert all(dict(settings_of(step.cfg)) for step in recipe.steps)


@pytest.mark.parametrize("stage", STAGES)
def test_where_it_is_worked_on_runs_nothing_again(stage: str) -> None:
    for name in {"device", "executor", "batch"} & set(model_of(stage).model_fields):
        assert is_handling(stage, (name,)), name


EVALUATION = {
    "stage": "evaluate",
    "out": "e",
    "answers": "said",
    "models": {"v0.1": {"base": "export"}, "others": {"pictures": "by-others"}},
    "checkpoints": {"run": "run"},
    "vision": {"base_url": "http://127.0.0.1:8000/v1", "model": "qwen"},
    "ccip": {"feature": {"path": "feat.onnx"}, "metric": {"path": "metrics.onnx"}, "meta": {"path": "metrics.json"}},
    "probes": [
        {"name": "characters", "prompts": "cast.jsonl", "references": "cast"},
        {"name": "adherence", "set": "dpg", "questions": "asked.csv"},
        {"name": "fidelity", "prompts": "tags.jsonl", "groups": "groups.yaml", "counts": "uses.csv", "reference": "a"},
        {"name": "distribution", "reference": "b"},
        {"name": "aesthetic", "reference": "c"},
    ],
}


def test_what_an_evaluation_reads() -> None:
    cfg = model_of("evaluate").model_validate(EVALUATION)
    reads: dict[str, set[str]] = {}
    for read in read_by(cfg, "evaluate"):
        reads.setdefault(read.kind, set()).add(read.place)
    assert reads == {
        "weights": {"export"},
        "pictures": {"by-others"},
        "run": {"run"},
        "file": {"feat.onnx", "metrics.onnx", "metrics.json", "cast.jsonl", "cast", "asked.csv", "tags.jsonl"}
        | {"groups.yaml", "uses.csv", "a", "b", "c"},
    }
    assert is_handling("evaluate", ("vision", "base_url"))
    assert is_handling("evaluate", ("vision", "client", "concurrency"))
    assert not is_handling("evaluate", ("vision", "model"))
