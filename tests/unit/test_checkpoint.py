"""Checkpoints: round trip, damage, the newest whole one, pruning."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from animetune import checkpoint, fsio
from animetune.checkpoint import Checkpoint
from animetune.errors import DataError, ResumeError, SetupError
from animetune.manifest import read_manifest


def make(step: int = 3) -> Checkpoint:
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3) + step
    return Checkpoint(
        step=step,
        model={"unet.conv.weight": weight, "text_encoder.bias": torch.ones(4, dtype=torch.bfloat16)},
        ema={"0.99": {"unet.conv.weight": weight * 2}, "0.9": {"unet.conv.weight": weight * 3}},
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
    assert list(loaded.ema) == ["0.99", "0.9"]
    for decay, average in original.ema.items():
        assert loaded.ema[decay].keys() == average.keys()
        assert torch.equal(loaded.ema[decay]["unet.conv.weight"], average["unet.conv.weight"])
    state = loaded.optimizer["unet.conv.weight"]
    assert state["step"] == 3
    assert torch.equal(state["exp_avg"], original.optimizer["unet.conv.weight"]["exp_avg"])
    assert state["RMS"].item() == 1.5


def test_equal_checkpoints_have_equal_bytes(tmp_path: Path) -> None:
    first, second = checkpoint.save(make(), tmp_path / "a"), checkpoint.save(make(), tmp_path / "b")
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_the_manifest_repeats_of_the_state_only_what_is_short(tmp_path: Path) -> None:
    checkpointed = make()
    checkpointed.state["class_losses"] = [["a", 1, 0.5]] * 1000
    path = checkpoint.save(checkpointed, tmp_path)
    assert read_manifest(path).facts == {"averages": ["0.99", "0.9"], "epoch": 0, "identity": {"seed": 1}, "step": 3}
    assert checkpoint.load(path).state["class_losses"] == checkpointed.state["class_losses"]


def test_weights_ema_over_raw(tmp_path: Path) -> None:
    path = checkpoint.save(make(), tmp_path)
    raw, ema = checkpoint.read_weights(path, "raw"), checkpoint.read_weights(path, "ema")
    assert torch.equal(ema["unet.conv.weight"], raw["unet.conv.weight"] * 2)
    assert torch.equal(ema["text_encoder.bias"], raw["text_encoder.bias"])
    named = checkpoint.read_weights(path, "ema-0.9")
    assert torch.equal(named["unet.conv.weight"], raw["unet.conv.weight"] * 3)
    assert checkpoint.which_weights(path, "ema") == "ema-0.99"
    with pytest.raises(DataError, match=r"no weights 'ema-0.999'; it has raw, ema-0\.99, ema-0\.9$"):
        checkpoint.read_weights(path, "ema-0.999")


def test_without_averages_ema_means_the_weights(tmp_path: Path) -> None:
    plain = make()
    plain.ema = {}
    path = checkpoint.save(plain, tmp_path)
    assert checkpoint.which_weights(path, "ema") == "raw"
    assert torch.equal(checkpoint.read_weights(path)["unet.conv.weight"], plain.model["unet.conv.weight"])


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


def test_prune_keeps_some_for_good(tmp_path: Path) -> None:
    for step in range(1, 9):
        checkpoint.save(make(step), tmp_path)
    checkpoint.prune(tmp_path, 1, also_every=3)
    assert [path.name[-1] for path in checkpoint.steps(tmp_path)] == ["3", "6", "8"]


def test_prune_keeps_all_when_the_newest_is_damaged(tmp_path: Path) -> None:
    for step in range(1, 4):
        checkpoint.save(make(step), tmp_path)
    flip_a_byte(tmp_path / "step-00000003/state.json")
    checkpoint.prune(tmp_path, 1)
    assert len(checkpoint.steps(tmp_path)) == 3


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed from here on, one an entry."""
    names: list[str] = []
    hash_file = fsio.sha256_file

    def counting(path: Path) -> str:
        names.append(Path(path).name)
        return hash_file(path)

    monkeypatch.setattr(fsio, "sha256_file", counting)
    return names


def test_what_was_written_here_is_not_read_again(tmp_path: Path, hashed: list[str]) -> None:
    for step in range(1, 4):
        path = checkpoint.save(make(step), tmp_path)
        checkpoint.prune(tmp_path, 2)
    assert checkpoint.latest(tmp_path) == path
    checkpoint.load(path)
    checkpoint.read_weights(path)
    assert set(hashed) == {"state.json"}


def test_a_checkpoint_is_hashed_once_and_again_only_when_it_changed(tmp_path: Path, hashed: list[str]) -> None:
    path = checkpoint.save(make(), tmp_path)
    os.utime(path / "model-unet.safetensors", (0, 0))
    hashed.clear()
    for _ in range(2):
        assert checkpoint.latest(tmp_path) == path
        checkpoint.load(path)
    assert hashed.count("model-unet.safetensors") == 1
    flip_a_byte(path / "model-unet.safetensors")
    with pytest.raises(ResumeError, match="its bytes have changed"):
        checkpoint.load(path)
    checkpoint.load(path, verify=False)


def test_tensors_are_read_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = checkpoint.load(checkpoint.save(make(), tmp_path))
    read: list[str] = []
    get = checkpoint.Stored.__getitem__
    monkeypatch.setattr(checkpoint.Stored, "__getitem__", lambda self, name: read.append(name) or get(self, name))
    assert loaded.optimizer.keys() == {"unet.conv.weight"}
    assert "text_encoder.bias" in list(loaded.model)
    assert read == []
    first = loaded.model["unet.conv.weight"]
    assert read == ["unet.conv.weight"]
    first.zero_()
    assert loaded.model["unet.conv.weight"].any(), "the file's own memory was handed out"


def test_files_are_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = checkpoint.save(make(), tmp_path)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o644}


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint.save(make(1), tmp_path)
    monkeypatch.setattr(checkpoint, "write_safetensors", full)
    with pytest.raises(SetupError, match="step-00000002: the disk is full"):
        checkpoint.save(make(2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
