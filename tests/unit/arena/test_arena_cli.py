"""`animetune arena` as it is typed: started, stopped, refused, and without a server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.arena_site import MODELS, arena_config, paint_models, serving, wait_for

COMMAND = [sys.executable, "-m", "animetune"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    arena_config(tmp_path, paint_models(tmp_path, MODELS[:2], seeds=(1,)), title="Which one?")
    return tmp_path / "arena.yaml"


def typed(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, words)]
    env = {**os.environ, "COLUMNS": "300", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


@contextlib.contextmanager
def started(*words: str | Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The server, once it has said where it is; and what it has said."""
    command = [*COMMAND, "arena", *map(str, words)]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as server:
        try:
            assert server.stdout is not None
            said = []
            while not said or "Ctrl-C" not in said[-1]:
                line = server.stdout.readline()
                assert line, server.stderr and server.stderr.read()
                said.append(line.rstrip("\n"))
            yield server, said
        finally:
            if server.poll() is None:
                server.kill()


def cast(address: str) -> None:
    with httpx.Client(base_url=address, headers={"origin": address}) as voter:
        wait_for(lambda: _answers(voter))
        assert voter.post("/api/arena", json={}).status_code == 200
        battle = voter.post("/api/battle", json={}).json()["battle"]
        vote = {"token": battle["token"], "ranks": None, "ms": 2000}
        assert voter.post("/api/vote", json=vote).status_code == 200


def _answers(voter: httpx.Client) -> bool:
    try:
        return voter.get("/").status_code == 200
    except httpx.TransportError:
        return False


def address_of(said: list[str]) -> str:
    found = re.search(r"vote: +(http://127\.0\.0\.1:\d+)/", "\n".join(said))
    assert found, said
    return found[1]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "what was finished is kept"), (signal.SIGTERM, 143, "")]
)
def test_it_serves_until_it_is_stopped_and_keeps_every_vote(
    config: Path, number: signal.Signals, code: int, said: str
) -> None:
    with started(config) as (server, lines):
        address = address_of(lines)
        assert lines[-4].startswith("Which one?: 2 models, 4 pictures; votes so far: 0")
        cast(address)
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))):  # one that never asks
            server.send_signal(number)
            out, err = server.communicate(timeout=20)
    assert server.returncode == code, err
    assert "Traceback" not in err
    assert said in err
    assert out == ""
    with sqlite3.connect(config.parent / "arena" / "arena.sqlite3") as store:
        assert store.execute("SELECT ranks, milliseconds FROM vote").fetchall() == [(None, 2000)]
    store.close()


def test_the_link_of_the_moderator_opens_their_page(config: Path) -> None:
    with started(config) as (_, lines):
        address = address_of(lines)
        token = next(line for line in lines if line.startswith("moderate:")).partition("#token=")[2]
        with httpx.Client(base_url=address, headers={"origin": address}) as moderator:
            wait_for(lambda: _answers(moderator))
            assert moderator.post("/api/moderate", json={"token": token}).status_code == 200
            assert "Results for moderators" in moderator.get("/moderate").text


def test_a_token_of_the_environment_is_not_said(config: Path) -> None:
    with started(config, "--set", "token_env=ARENA_TOKEN", ARENA_TOKEN="quite a long secret") as (_, lines):
        text = "\n".join(lines)
        assert "quite a long secret" not in text
        assert "$ARENA_TOKEN" in text
        assert re.search(r"/\?invite=[0-9a-f]{24}$", text, re.MULTILINE)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost"])
def test_the_link_that_is_said_lets_people_in(config: Path, host: str) -> None:
    settings = ("--set", f"host={host}", "--set", "token_env=ARENA_TOKEN")
    with started(config, *settings, ARENA_TOKEN="quite a long secret") as (_, lines):
        link = next(line for line in lines if line.startswith("vote:")).split()[1]
        address, _, invite = link.partition("/?invite=")
        with httpx.Client(base_url=address, headers={"origin": address}) as voter:
            wait_for(lambda: _answers(voter))
            assert voter.get(link).status_code == 200
            assert voter.post("/api/arena", json={"invite": invite}).status_code == 200


def test_a_port_that_is_taken(config: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = typed("arena", config, "--set", f"port={port}")
    assert done.returncode == 3
    assert f"port: {port} at 127.0.0.1 is taken by another program" in done.stderr
    assert "--set port=0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (["host=0.0.0.0"], 2, "token_env"),
        (["token_env=ARENA_TOKEN"], 3, "ARENA_TOKEN is not set"),
        (["host=203.0.113.7", "token_env=LONG"], 3, "is no address of this machine"),
        (["models.none={pictures: nowhere}"], 3, "there is no such folder"),
        (["models.base-xl.pictures=."], 1, ""),
        (["prot=1"], 2, "did you mean 'port'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy(config: Path, settings: list[str], code: int, said: str) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    done = typed("arena", config, *words, LONG="long enough, that is")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_missing_package_is_named_with_its_extra(config: Path, tmp_path: Path, package: str) -> None:
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / f"{package}.py").write_text("raise ModuleNotFoundError('no such module')\n")
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = typed("arena", config, PYTHONPATH=paths)
    assert done.returncode == 3
    assert f"{package} is not installed; pip install 'animetune[arena]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ratings_and_their_page(config: Path, tmp_path: Path) -> None:
    nobody = typed("arena", config, "--rank")
    assert nobody.returncode == 3
    assert "nobody has voted yet" in nobody.stderr
    vote_a_little(tmp_path)
    done = typed("arena", config, "--rank")
    assert done.returncode == 0, done.stderr
    assert all(model in done.stdout for model in MODELS[:2])
    assert "ranking.html" in done.stdout
    assert (tmp_path / "arena" / "ranking.html").read_text().startswith("<!doctype html>")
    assert "told apart at 95 %" in done.stdout
    other = typed("arena", config, "--rank", "--set", "goal.confidence=0.8")
    assert "told apart at 80 %" in other.stdout
    assert "at 80 % over all pairs" in (tmp_path / "arena" / "ranking.html").read_text()


def test_the_export(config: Path, tmp_path: Path) -> None:
    vote_a_little(tmp_path)
    for _ in range(2):  # the same votes: the same export
        done = typed("arena", config, "--export", tmp_path / "exported")
        assert done.returncode == 0, done.stderr
        assert "3 votes" in done.stdout
    names = {"votes.csv", "votes.parquet", "preferences.jsonl", "ratings.json", "ranking.html", "manifest.json"}
    assert {file.name for file in (tmp_path / "exported").iterdir()} == names
    vote_a_little(tmp_path)
    refused = typed("arena", config, "--export", tmp_path / "exported")
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr


def test_pictures_may_be_gone_when_votes_are_counted(config: Path, tmp_path: Path) -> None:
    vote_a_little(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    assert typed("arena", config, "--rank").returncode == 0


def vote_a_little(tmp_path: Path) -> None:
    models = json.loads((tmp_path / "arena.yaml").read_text())["models"]
    with serving(arena_config(tmp_path, models, title="Which one?", fastest_ms=0)) as site:
        for _ in range(3):
            battle = site.store.new_battle("0" * 32)
            ranks = [0, *[1] * (len(battle.pictures) - 1)]
            site.store.vote(battle.token, "0" * 32, ranks, 1000)


def test_settings_can_be_looked_at(config: Path) -> None:
    assert "no mistakes" in typed("config", "check", config).stdout
    assert "port: 0" in typed("config", "show", config).stdout
    assert "`stage: arena`" in typed("config", "reference", "arena").stdout
    assert '"const": "arena"' in typed("config", "schema", "arena").stdout


def test_the_command_line_is_light() -> None:
    code = (
        "import sys, animetune.cli\n"
        "from animetune.stages import ARENA, load_target\n"
        "load_target(ARENA)\n"
        "heavy = {'fastapi', 'uvicorn', 'starlette', 'torch', 'polars'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
