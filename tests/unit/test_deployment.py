"""Containers and the batch script of a whole recipe. `make check` lints them; here is what a linter cannot know."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
SCRIPT = ROOT / "scripts" / "slurm" / "recipe.sbatch"
ANIMETUNE = """#!/bin/bash
echo "animetune $*" >> "{calls}"
trap 'echo USR1 >> "{calls}"; sleep 0.2; exit 75' USR1
trap 'echo TERM >> "{calls}"; sleep 0.2; exit 75' TERM
touch "{calls}.started"
[ -n "{waits}" ] || exit {code}
for i in $(seq 300); do sleep 0.1; done
"""


def start(folder: Path, *arguments: str, code: int = 0, waits: bool = False) -> subprocess.Popen[bytes]:
    """The batch script, with Slurm's commands and animetune replaced by ones that write down how they were called."""
    calls = folder / "calls"
    commands = {
        "animetune": ANIMETUNE.format(calls=calls, code=code, waits="yes" if waits else ""),
        "scontrol": f'#!/bin/sh\necho "scontrol $*" >> "{calls}"\n',
    }
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "12", "SLURM_JOB_ID": "7"}
    return subprocess.Popen(["bash", str(SCRIPT), *arguments], env=environment, stderr=subprocess.DEVNULL)


def calls_in(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


@pytest.mark.parametrize("code", [0, 2, 75, 130])
def test_a_recipe_on_slurm_is_queued_again_when_it_was_preempted(tmp_path: Path, code: int) -> None:
    assert start(tmp_path, "my/recipe.yaml", "--from", "stage1", code=code).wait(60) == code
    called, *after = calls_in(tmp_path)
    assert called == (
        "animetune run my/recipe.yaml --set launch=[srun, --cpus-per-task=12, --kill-on-bad-exit=0, --wait=120, "
        "animetune] --from stage1"
    )
    assert after == (["scontrol requeue 7"] if code == 75 else [])


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_slurms_signals_reach_the_recipe(tmp_path: Path, number: signal.Signals) -> None:
    script = start(tmp_path, "my/recipe.yaml", waits=True)
    while not (tmp_path / "calls.started").exists():
        time.sleep(0.05)
    script.send_signal(number)
    assert script.wait(60) == 75
    assert calls_in(tmp_path)[1:] == [number.name.removeprefix("SIG"), "scontrol requeue 7"]


def test_without_a_recipe_nothing_is_started(tmp_path: Path) -> None:
    assert start(tmp_path).wait(60) != 0
    assert calls_in(tmp_path) == []


def test_the_image_installs_what_the_lock_file_holds_and_is_not_root() -> None:
    assert "--constraint requirements.lock" in DOCKERFILE
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users == ["1000"]
    (version,) = re.findall(r"astral-sh/uv:(\S+)", DOCKERFILE)
    assert f"UV_VERSION := {version}\n" in (ROOT / "Makefile").read_text()


def test_the_image_has_all_that_the_package_is_built_from() -> None:
    copied = {name for line in re.findall(r"^COPY ([^-\n]+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]}
    assert {"requirements.lock", "pyproject.toml", "README.md", "LICENSE", "animetune", "configs"} <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_kubernetes_starts_as_many_ranks_as_it_has_gpus() -> None:
    service, job = yaml.safe_load_all((ROOT / "docker" / "kubernetes" / "train.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = dict(part.removeprefix("--").partition("=")[::2] for part in container["command"] if "=" in part)
    assert int(options["nnodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(options["nproc-per-node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert int(options["shutdown-timeout"]) < pod["terminationGracePeriodSeconds"]
    name, port = job["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert options["rdzv-endpoint"] == f"{name}-0.{service['metadata']['name']}:{port}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_compose_has_no_password_of_its_own() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    environment = services["animetune"]["environment"]
    assert environment["AWS_ENDPOINT_URL"] == environment["S3_ENDPOINT_URL"] == "http://store:9000"
    keys = [environment["AWS_SECRET_ACCESS_KEY"], services["store"]["environment"]["MINIO_ROOT_PASSWORD"]]
    assert all(re.fullmatch(r"\$\{STORE_PASSWORD:\?[^}]+\}", key) for key in keys)
    assert all(port.startswith("127.0.0.1:") for port in services["store"]["ports"])
