"""Checkpoints: round trip, damage, the newest whole one, pruning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animetune import checkpoint
from animetune.checkpoint import Checkpoint
from animetune.errors import ResumeError


def make(step: int = 3) -> Checkpoint:
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3) + step
    return Checkpoint(
        step=step,
        model={"unet.conv.weight": weight, "text_encoder.bias": torch.ones(4, dtype=torch.bfloat16)},
        ema={"unet.conv.weight": weight * 2},
        optimizer={"unet.conv.weight": {"step": 3, "exp_avg": weight * 0.5, "RMS": torch.tensor(1.5)}},
        state={"epoch": 0, "identity": {"seed": 1}},
    )


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def test_round_trip(tmp_path: Path) -> None:
    path = checkpoint.save(make(), tmp_path)
    assert path.name == "step-00000003"
    loaded = checkpoint.load(path)
    original = make()
    assert loaded.step == 3
    assert loaded.state["identity"] == {"seed": 1}
    assert loaded.model.keys() == original.model.keys()
    assert all(torch.equal(loaded.model[name], original.model[name]) for name in original.model)
    assert loaded.model["text_encoder.bias"].dtype == torch.bfloat16
    assert torch.equal(loaded.ema["unet.conv.weight"], original.ema["unet.conv.weight"])
    state = loaded.optimizer["unet.conv.weight"]
    assert state["step"] == 3
    assert torch.equal(state["exp_avg"], original.optimizer["unet.conv.weight"]["exp_avg"])
    assert state["RMS"].item() == 1.5


def test_equal_checkpoints_have_equal_bytes(tmp_path: Path) -> None:
    first, second = checkpoint.save(make(), tmp_path / "a"), checkpoint.save(make(), tmp_path / "b")
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_weights_ema_over_raw(tmp_path: Path) -> None:
    path = checkpoint.save(make(), tmp_path)
    raw, ema = checkpoint.read_weights(path, "raw"), checkpoint.read_weights(path, "ema")
    assert torch.equal(ema["unet.conv.weight"], raw["unet.conv.weight"] * 2)
    assert torch.equal(ema["text_encoder.bias"], raw["text_encoder.bias"])


def test_latest_passes_over_a_damaged_one(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(make(step), tmp_path / "checkpoints")
    flip_a_byte(tmp_path / "checkpoints/step-00000003/model-unet.safetensors")
    assert checkpoint.latest(tmp_path).name == "step-00000002"
    with pytest.raises(ResumeError, match=r"model-unet\.safetensors"):
        checkpoint.load(tmp_path / "checkpoints/step-00000003")


def test_an_unfinished_one_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(make(1), tmp_path)
    (tmp_path / "step-00000002").mkdir()
    assert checkpoint.latest(tmp_path).name == "step-00000001"


def test_none_whole_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    path = checkpoint.save(make(), tmp_path)
    (path / "state.json").unlink()
    with pytest.raises(ResumeError, match=r"state\.json: is missing"):
        checkpoint.latest(tmp_path)


def test_prune_keeps_the_newest(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save(make(step), tmp_path)
    checkpoint.prune(tmp_path, 2)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000004", "step-00000005"]


def test_prune_keeps_all_when_the_newest_is_damaged(tmp_path: Path) -> None:
    for step in range(1, 4):
        checkpoint.save(make(step), tmp_path)
    flip_a_byte(tmp_path / "step-00000003/state.json")
    checkpoint.prune(tmp_path, 1)
    assert len(checkpoint.steps(tmp_path)) == 3
