"""Lines and boards: TensorBoard's files read back, Weights & Biases by a stand-in for its package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from animetune import fsio
from animetune.errors import SetupError
from animetune.train.config import WandbConfig, WatchConfig
from animetune.train.journal import Journal


def pictures(folder: Path) -> list[tuple[str, int, int, int]]:
    """Name, step, width and height of what TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"images": 0})
    found.Reload()
    return [(tag, each.step, each.width, each.height) for tag in found.Tags()["images"] for each in found.Images(tag)]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_lines_and_curves(tmp_path: Path) -> None:
    journal = Journal(tmp_path, WatchConfig(), config={})
    journal.open(first_step=0)
    journal.metrics({"step": 2, "loss": 0.5, "lr/unet": 0.25, "images": 3, "grad_norm": None, "rank_seconds": [1.0]})
    journal.validation({"step": 2, "weights": "ema-0.5", "loss": 0.75, "loss_by_content/cat": 1.5})
    journal.event({"event": "stragglers", "step": 2})
    journal.close()
    assert fsio.read_lines(tmp_path / "metrics.jsonl")[0]["rank_seconds"] == [1.0]
    assert fsio.read_lines(tmp_path / "validation.jsonl")[0]["weights"] == "ema-0.5"
    assert fsio.read_lines(tmp_path / "ledger.jsonl") == [{"event": "stragglers", "step": 2}]
    assert curves(tmp_path / "tb") == {
        "train/loss": [(2, 0.5)],
        "lr/unet": [(2, 0.25)],
        "validation/ema-0.5/loss": [(2, 0.75)],
        "validation/ema-0.5/loss_by_content/cat": [(2, 1.5)],
    }


def test_steps_done_again_replace_those_of_a_killed_session(tmp_path: Path) -> None:
    for first, steps, loss in ((0, (2, 4, 6), 1.0), (4, (6, 8), 2.0)):
        journal = Journal(tmp_path, WatchConfig(), config={})
        journal.open(first_step=first)
        for step in steps:
            journal.metrics({"step": step, "loss": loss})
        journal.close()
    assert curves(tmp_path / "tb") == {"train/loss": [(2, 1.0), (4, 1.0), (6, 2.0), (8, 2.0)]}


def test_previews_are_shown(tmp_path: Path) -> None:
    grid = tmp_path / "grid.png"
    Image.new("RGB", (6, 4), "teal").save(grid)
    for first, steps in ((0, (0, 2, 4)), (2, (4, 6))):
        journal = Journal(tmp_path, WatchConfig(), config={})
        journal.open(first_step=first)
        for step in steps:
            journal.preview(step, grid)
        journal.close()
    assert pictures(tmp_path / "tb") == [("samples", step, 6, 4) for step in (0, 2, 4, 6)]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, WatchConfig(), config={})
    journal.metrics({"step": 2, "loss": 0.5})
    journal.preview(2, tmp_path / "grid.png")
    journal.close()
    assert list(tmp_path.iterdir()) == []


class FakeRun:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: self.calls.append((name, (args, named)))


def test_wandb_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[dict[str, Any]] = []
    run = FakeRun()
    module: Any = ModuleType("wandb")
    module.Image = lambda path: ("picture", path)
    module.init = lambda **settings: (starts.append(settings), run)[1]
    monkeypatch.setitem(sys.modules, "wandb", module)
    watch = WatchConfig(tensorboard=False, wandb=WandbConfig(project="anime", mode="offline"))
    for _ in range(2):
        journal = Journal(tmp_path / "run", watch, config={"seed": 3})
        journal.open(first_step=0)
        journal.metrics({"step": 2, "loss": 0.5, "grad_norm": None})
        journal.preview(2, tmp_path / "grid.png")
        journal.close()
    first, second = starts
    assert first == second
    assert (first["project"], first["mode"], first["name"], first["config"]) == ("anime", "offline", "run", {"seed": 3})
    assert first["resume"] == "allow"
    assert run.calls[:4] == [
        ("define_metric", (("*",), {"step_metric": "step"})),
        ("log", (({"step": 2, "train/loss": 0.5},), {})),
        ("log", (({"step": 2, "samples": ("picture", str(tmp_path / "grid.png"))},), {})),
        ("finish", ((), {})),
    ]
    assert not (tmp_path / "run" / "tb").exists()


def test_wandb_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    journal = Journal(tmp_path, WatchConfig(tensorboard=False, wandb=WandbConfig(project="anime")), config={})
    with pytest.raises(SetupError, match=r"watch\.wandb: needs the package wandb: pip install"):
        journal.open(first_step=0)
