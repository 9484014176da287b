"""The batch script, with Slurm's own commands replaced by ones that write down how they were called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "slurm" / "train.sbatch"


def submit(folder: Path, *arguments: str, ends_with: int) -> tuple[int, list[str]]:
    """The script's exit code, and the commands that it gave."""
    calls = folder / "calls"
    for name, code in (("srun", ends_with), ("scontrol", 0)):
        command = folder / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> "{calls}"\nexit {code}\n')
        command.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "12", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, check=False)
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize("code", [0, 1, 2, 75, 130])
def test_only_what_was_preempted_is_queued_again(tmp_path: Path, code: int) -> None:
    ended, calls = submit(tmp_path, "configs/stage1.yaml", "--set", "loop.strategy=fsdp", ends_with=code)
    assert ended == code
    assert calls[0].startswith("srun --cpus-per-task=12 ")
    assert calls[0].endswith("animetune train configs/stage1.yaml --set loop.strategy=fsdp")
    assert calls[1:] == (["scontrol requeue 7"] if code == 75 else [])


def test_without_a_config_nothing_is_started(tmp_path: Path) -> None:
    ended, calls = submit(tmp_path, ends_with=0)
    assert ended != 0
    assert calls == []


def test_slurm_is_asked_for_a_warning_and_for_one_task_a_gpu() -> None:
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in SCRIPT.read_text().splitlines()
        if line.startswith("#SBATCH --")
    )
    assert asked["signal"] == "USR1@300"
    assert "requeue" in asked
    assert int(asked["nodes"]) == 2
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
