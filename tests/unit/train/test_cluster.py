"""Where a job's processes keep their locks and sockets, and what launched them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from animetune.errors import SetupError
from animetune.train import cluster
from animetune.train.config import LoopConfig


@pytest.fixture(autouse=True)
def _not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in this process has left its rank in the environment."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("ANIMETUNE_TMPDIR", str(folder))
    return folder


def test_a_job_has_a_folder_of_its_own_and_removes_it(tmp_path: Path, scratch: Path) -> None:
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    with cluster.private_tmpdir(tmp_path / "run"):
        folder = Path(tempfile.gettempdir())
        assert folder.parent == scratch
        assert os.environ["TMPDIR"] == str(folder)
        assert folder.is_dir()
    assert not list(scratch.iterdir())
    assert (os.environ.get("TMPDIR"), tempfile.tempdir) == before
    assert cluster.JOB_VARIABLE not in os.environ


def test_what_killed_sessions_left_is_removed_and_that_of_other_runs_is_not(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.private_tmpdir(tmp_path / "other"):
        other = Path(tempfile.gettempdir()).name
    with cluster.private_tmpdir(tmp_path / "run"):
        killed = Path(tempfile.gettempdir()).name
    for name in (killed, other):
        (scratch / name / "deep").mkdir(parents=True)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with cluster.private_tmpdir(tmp_path / "run"):
        assert {path.name for path in scratch.iterdir()} == {other, Path(tempfile.gettempdir()).name}


def test_a_name_too_long_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMETUNE_TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(SetupError, match="Set ANIMETUNE_TMPDIR to a folder"), cluster.private_tmpdir(tmp_path):
        pass
    assert cluster.JOB_VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("launched", "expected"),
    [
        ({}, ("auto", 1)),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2"}, (8, 2)),
    ],
    ids=["by hand", "torchrun", "slurm"],
)
def test_devices_and_nodes_are_what_was_launched(
    launched: dict[str, str], expected: tuple[object, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    assert cluster.devices_and_nodes(LoopConfig(steps=1)) == expected
    assert cluster.devices_and_nodes(LoopConfig(steps=1, devices=2, nodes=3)) == (2, 3)


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID", "LOCAL_RANK"])
def test_the_first_rank_knows_itself_before_any_process_group(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.is_first_rank()
    monkeypatch.setenv(name, "1")
    assert not cluster.is_first_rank()


def test_torchrun_inside_an_allocation_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sbatch --wrap "srun torchrun ..."`: Slurm sees one task a node, the ranks are torchrun's."""
    slurm = {"NTASKS": "2", "NTASKS_PER_NODE": "1", "JOB_NAME": "train", "PROCID": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert len(cluster.plugins()) == 1
    assert not cluster.is_first_rank()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "here")
    monkeypatch.setenv("RANK", "0")
    assert cluster.plugins() == []
    assert cluster.is_first_rank()
