"""What doctor says of an arena."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from animetune.arena.run import listen
from animetune.doctor.findings import Finding
from animetune.doctor.run import config_groups
from tests.arena_site import MODELS, arena_config, paint_models


def found(config: Path, *overrides: str) -> dict[str, Finding]:
    return {finding.what: finding for group in config_groups(config, overrides) for finding in group.findings}


def test_an_arena_that_can_be_served(tmp_path: Path) -> None:
    arena_config(tmp_path, paint_models(tmp_path, MODELS[:2], seeds=(1,)))
    findings = found(tmp_path / "arena.yaml")
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert {"fastapi", "uvicorn", f"models.{MODELS[0]}", "port", "token"} <= set(findings)


def test_what_stands_in_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARENA_TOKEN", raising=False)
    arena_config(tmp_path, {"a": {"pictures": str(tmp_path / "a")}, "b": {"pictures": str(tmp_path)}})
    with contextlib.closing(listen("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        findings = found(tmp_path / "arena.yaml", f"port={port}", "token_env=ARENA_TOKEN")
    assert {what for what, finding in findings.items() if finding.state == "problem"} == {"models.a", "port", "token"}
    assert "is taken" in findings["port"].text
    assert findings["token"].remedy == "export ARENA_TOKEN"


def test_a_mistake_in_its_settings(tmp_path: Path) -> None:
    arena_config(tmp_path, {"a": {"pictures": "a"}, "b": {"pictures": "b"}})
    findings = found(tmp_path / "arena.yaml", "prot=1")
    assert "did you mean 'port'" in findings["configuration"].text
