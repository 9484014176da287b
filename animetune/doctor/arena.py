"""What an arena needs: its packages, its pictures, its port and its token."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from animetune.arena.config import ArenaConfig
from animetune.arena.run import listen
from animetune.arena.security import given_token
from animetune.config import load_config
from animetune.doctor.findings import Finding, Group, look, note, ok, problem
from animetune.errors import AnimetuneError, ConfigError

INSTALL = "pip install 'animetune[arena]'"


def arena_groups(config: Path, overrides: Sequence[str]) -> list[Group]:
    """What stands in the way of `animetune arena CONFIG`."""
    title = str(config)
    try:
        cfg = load_config(config, ArenaConfig, overrides)
    except ConfigError as error:
        return [Group(title, tuple(problem("configuration", each, "correct it") for each in error.problems))]
    return [
        look(
            title,
            {
                "packages": _packages,
                "pictures": lambda: _pictures(cfg),
                "port": lambda: _port(cfg),
                "token": lambda: _token(cfg),
            },
        )
    ]


def _packages() -> Iterator[Finding]:
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            yield problem(name, "is not installed, and serves the arena", INSTALL)
        else:
            yield ok(name, "installed")
    if importlib.util.find_spec("openskill") is None:
        yield note("openskill", "is not installed: ratings lack one of their views", INSTALL)


def _pictures(cfg: ArenaConfig) -> Iterator[Finding]:
    for name, model in cfg.models.items():
        if model.pictures.is_dir():
            yield ok(f"models.{name}", str(model.pictures))
        else:
            yield problem(f"models.{name}", f"{model.pictures}: there is no such folder", "draw its pictures first")


def _port(cfg: ArenaConfig) -> Iterator[Finding]:
    try:
        listen(cfg.host, cfg.port).close()
    except AnimetuneError as error:
        yield problem("port", str(error), "or it is this arena, and serves already")
    else:
        yield ok("port", f"{cfg.host}:{cfg.port} is free" if cfg.port else f"{cfg.host}, any port that is free")


def _token(cfg: ArenaConfig) -> Iterator[Finding]:
    if cfg.token_env is None:
        yield ok("token", "none: whoever uses this machine may vote, and the start says the moderator's link")
        return
    try:
        given_token(cfg.token_env)
    except AnimetuneError as error:
        yield problem("token", str(error), f"export {cfg.token_env}")
    else:
        yield ok("token", f"in {cfg.token_env}")
