"""The command line: light, every command there, errors as one message and an exit code."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "polars", "streaming", "transformers", "diffusers", "pytorch_lightning", "pyarrow", "PIL")


def animetune(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "animetune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_help_is_quick() -> None:
    """CPU time, not wall time: the machine may be busy with other tests."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert animetune("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, animetune.cli\n"
        "from typer.main import get_command\n"
        "get_command(animetune.cli.app)\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_command_has_help() -> None:
    listed = animetune("--help").stdout
    for command in (
        "curate",
        "shard",
        "labels",
        "train",
        "sample",
        "export",
        "plan",
        "preview",
        "exposure",
        "report",
        "verify",
        "demo",
        "config",
    ):
        assert command in listed
    assert "--resume" in animetune("train", "--help").stdout


def test_version() -> None:
    assert animetune("--version").stdout.strip().startswith("animetune 0.")


def test_a_config_with_mistakes_exits_with_2_and_names_all(tmp_path: Path) -> None:
    file = tmp_path / "sample.yaml"
    file.write_text("stage: sample\nmodel: {base: random:tiny}\nout: x\npromts: [a]\nwidth: wide\n")
    result = animetune("sample", str(file))
    assert result.returncode == 2
    assert f"{file}:4:1: promts:" in result.stderr
    assert "did you mean 'prompts'" in result.stderr
    assert f"{file}:5:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_config_exits_with_2(tmp_path: Path) -> None:
    result = animetune("curate", str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert "none.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_config_of_another_stage_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sample.yaml"
    file.write_text("stage: sample\nmodel: {base: random:tiny}\nout: x\nprompts: [a]\n")
    result = animetune("export", str(file))
    assert result.returncode == 2
    assert "sample" in result.stderr


@pytest.mark.parametrize("stage", ["curate", "shard", "labels", "train", "sample", "export"])
def test_schema_of_every_stage(stage: str) -> None:
    result = animetune("config", "schema", stage)
    assert result.returncode == 0, result.stderr
    assert f'"const": "{stage}"' in result.stdout


def test_config_show_resolves_overrides(tmp_path: Path) -> None:
    file = tmp_path / "sample.yaml"
    file.write_text("stage: sample\nmodel: {base: random:tiny}\nout: x\nprompts: [a]\n")
    shown = animetune("config", "show", str(file), "--set", "sampler.steps=7")
    assert shown.returncode == 0, shown.stderr
    assert "steps: 7" in shown.stdout
    assert "cfg_scale: 6.0" in shown.stdout


def test_an_interruption_keeps_its_exit_code_wherever_it_falls(tmp_path: Path) -> None:
    """CPython remembers a Ctrl-C that falls into exec("..."), as when dataclasses are made, and `python -m` would end
    by SIGINT for it, after all was said and done."""
    hook = (
        "import sys\n"
        "def interrupt(event, arguments):\n"
        "    if event == 'exec' and arguments[0].co_filename.endswith('curate/run.py'):\n"
        "        exec('raise KeyboardInterrupt')\n"
        "sys.addaudithook(interrupt)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hook)
    config = tmp_path / "curate.yaml"
    config.write_text(f"stage: curate\nout: {tmp_path}/out\nsources: [{{name: made, posts: [posts.jsonl]}}]\n")
    command = [sys.executable, "-m", "animetune", "curate", str(config)]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, timeout=120, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "the same command continues" in done.stderr
