"""Settings of the arena."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from animetune.arena.config import ArenaConfig, is_loopback
from animetune.config import load_config, shipped_configs, to_yaml
from animetune.errors import ConfigError

TWO = {"a": {"pictures": "a"}, "b": {"pictures": "b"}}


def config(**settings: Any) -> ArenaConfig:
    return ArenaConfig.model_validate({"stage": "arena", "models": TWO, "out": "arena"} | settings)


def test_little_has_to_be_said() -> None:
    cfg = config()
    assert (cfg.host, cfg.port, cfg.token_env, cfg.explicit, cfg.repeats) == ("127.0.0.1", 8765, None, False, 0.05)


def test_the_shipped_configuration(tmp_path: Path) -> None:
    cfg = load_config(shipped_configs() / "arena.yaml", ArenaConfig)
    (tmp_path / "again.yaml").write_text(to_yaml(cfg))
    assert load_config(tmp_path / "again.yaml", ArenaConfig) == cfg


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"models": {"a": {"pictures": "a"}}}, "at least 2"),
        ({"models": {"a/b": {"pictures": "a"}, "b": {"pictures": "b"}}}, "pattern"),
        ({"host": "0.0.0.0"}, "host: 0.0.0.0 can be reached from other machines; name in `token_env`"),
        ({"host": "::"}, "can be reached from other machines"),
        ({"host": "example.org"}, "can be reached from other machines"),
        ({"host": "evil host"}, "pattern"),
        ({"hosts": ["a/b"]}, "pattern"),
        ({"token_env": "NOT A NAME"}, "pattern"),
        ({"port": 70000}, "65535"),
        ({"repeats": 0.9}, "0.5"),
        ({"modes": {mode: {"share": 0} for mode in ("fixed", "duel", "four")}}, "every mode has a share of 0"),
        ({"modes": {"duel": {"share": float("inf")}}}, "finite"),
        ({"modes": {"five": {}}}, "five"),
        ({"out": "s3://bucket/arena"}, "is a URL"),
        ({"fastest": 1}, "fastest"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        config(**settings)


def test_a_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "arena.yaml"
    file.write_text("stage: arena\nmodels:\n  a: {pictures: a}\n  b: {pictures: b}\nout: arena\nhost: 0.0.0.0\n")
    with pytest.raises(ConfigError, match=r"arena\.yaml:6:\d+: host: .*token_env"):
        load_config(file, ArenaConfig)


def test_with_a_token_it_may_listen_anywhere() -> None:
    assert config(host="0.0.0.0", token_env="ARENA_TOKEN").host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("LOCALHOST", True), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("localhost.example", False),
        ("127.0.0.1.example.org", False),
    ],
)  # fmt: skip
def test_what_only_this_machine_can_reach(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own
