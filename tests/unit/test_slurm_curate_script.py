"""The batch script of the data pipeline, with the commands of Slurm replaced by ones that note how they were called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm" / "curate-ray.sbatch"
SRUN = """#!/bin/bash
echo "$*" >> "{calls}"
case "$*" in
    *"ray start"*)
        [ {ray} -eq 0 ] || exit {ray}
        trap 'echo ended >> "{calls}"; exit 0' TERM
        sleep 30 > /dev/null 2>&1 &
        wait ;;
    *"ray status"*) [ {ray} -eq 0 ] && [ "$(grep -c 'ray status' "{calls}")" -gt 1 ] ;;
    *) exit {stage} ;;
esac
"""


def submit(folder: Path, *arguments: str, stage: int = 0, ray: int = 0) -> tuple[int, list[str], str]:
    """The script's exit code, the calls of srun, and what it said."""
    calls = folder / "calls"
    commands = {
        "srun": SRUN.format(calls=calls, stage=stage, ray=ray),
        "scontrol": "#!/bin/sh\necho one\necho two\n",
        "sleep": '#!/bin/sh\nexec /bin/sleep "$(( $1 > 2 ? $1 : 0 ))"\n',
    }
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "[one,two]",
        "SLURM_GPUS_ON_NODE": "8",
    }
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


@pytest.mark.parametrize("code", [0, 2])
def test_rays_are_started_the_stage_runs_and_they_end(tmp_path: Path, code: int) -> None:
    ended, calls, _ = submit(tmp_path, "shard", "shard.yaml", "--set", "executor.gpus=1", stage=code)
    assert ended == code
    text = "\n".join(calls)
    assert "exec ray start --head --port=24567" in text
    assert "exec ray start --address=one:24567 --num-cpus=16 --num-gpus=8" in text
    assert text.count("ray status --address=one:24567") == 2  # it was asked until it answered
    (run,) = [call for call in calls if " animetune " in call]
    assert "--nodelist=one" in run
    wanted = "animetune shard shard.yaml --set executor.kind=ray --set executor.address=one:24567 --set executor.gpus=1"
    assert run.endswith(wanted)
    assert calls[-1] == "ended"


def test_a_ray_that_does_not_start_ends_the_job(tmp_path: Path) -> None:
    ended, calls, said = submit(tmp_path, "curate", "curate.yaml", ray=1)
    assert ended == 3
    assert "Ray did not start on one:24567" in said
    assert not any(" animetune " in call for call in calls)


@pytest.mark.parametrize("arguments", [(), ("curate",)])
def test_without_a_config_nothing_is_started(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended, calls, said = submit(tmp_path, *arguments)
    assert ended != 0
    assert calls == []
    assert "usage: sbatch curate-ray.sbatch STAGE CONFIG" in said
