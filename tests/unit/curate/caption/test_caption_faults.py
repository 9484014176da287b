"""Every way in which a server fails, in real HTTP: each picture ends captioned or with its reason, nothing is asked
twice, and no secret gets anywhere."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from animetune import tables
from animetune.curate.run import run
from animetune.errors import AnimetuneError, RequestLimitError, SetupError
from animetune.fsio import read_lines
from animetune.vlm.config import ClientConfig
from animetune.vlm.pacing import Failure, Pace
from tests.builders import picture, write_posts
from tests.caption_server import MODES, REJECTED, TRANSIENT, Mode, by_colour, caption_server, faults
from tests.captioned import captioned_config

STOPPING: tuple[Mode, ...] = ("http401", "http402", "http403", "http404", "redirect")
REFUSED: tuple[Mode, ...] = ("http400", "http413")
CODES = {"refusal": "refusal", "empty": "empty", "null_content": "empty", "length": "cut_off", "filtered": "refusal"}
"""Mode -> the code of an answer of that kind."""


def colour_of(number: int) -> str:
    """What `by_colour` calls the picture of a post of `write_posts`."""
    image = picture(number, *((64, 48), (48, 64), (56, 56))[number % 3])
    pixel = image.getpixel((image.width // 2, image.height // 2))
    return ",".join(str(round(value / 16)) for value in pixel)


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    return write_posts(tmp_path_factory.mktemp("posts"), 36)


def captions_of(out: Path) -> pl.DataFrame:
    """key, captions_long, caption_by, caption_reason"""
    (step,) = (out / "steps").glob("*-captions-*")
    rows = tables.open_table(out).scan().select("key", "captions_long", "captions_short").collect()
    parts = pl.concat([pl.read_parquet(file) for file in sorted(step.glob("part-*"))])
    return rows.with_columns(parts.select("caption_by", "caption_reason"))


def test_every_mode_has_its_test():
    assert set(MODES) == {"ok", *TRANSIENT, *REJECTED, *REFUSED, *STOPPING}
    assert len(MODES) >= 12
    assert len({colour_of(number) for number in range(1, 37)}) == 36


def test_all_faults_in_one_run(posts: Path, tmp_path: Path):
    """Each transient fault once, each transient fault for ever, each answer that is none once and for ever."""
    once: dict[str, list[Mode] | Mode] = {}
    number = 0
    for mode in (*TRANSIENT, *REJECTED):
        number += 1
        once[colour_of(number)] = [mode]
    for_ever: dict[int, Mode] = {}
    for mode in ("http500", "cut_json", "dropped", "refusal", "filtered", "empty", "length", "http400", "http413"):
        number += 1
        for_ever[number] = mode
    plan = once | {colour_of(each): mode for each, mode in for_ever.items()}
    with caption_server(faults(plan), about=by_colour) as server:
        cfg = captioned_config(posts, tmp_path / "table", server)
        manifest = run(cfg)
        first = len(server.asked)
        assert server.asked_again() == []
        for about, modes in once.items():
            asked = server.asked_about(about)
            assert [each.mode for each in asked] == [*modes, "ok"]
            same = len({each.digest for each in asked}) == 1
            assert same == (modes[0] in TRANSIENT), modes

        run(cfg.model_copy(update={"out": tmp_path / "other", "answers": cfg.out / "answers"}))
        assert len(server.asked) == first

    found = captions_of(cfg.out)
    assert captions_of(tmp_path / "other").equals(found)
    assert (found["captions_long"].list.len() == 1).all()
    assert (found["captions_short"].list.len() == 1).all()
    reasons = dict(found.filter(pl.col("caption_by") == "fallback").select("key", "caption_reason").iter_rows())
    assert reasons == {
        f"tiny/{number}": CODES.get(mode, "refused" if mode in REFUSED else "failed")
        for number, mode in for_ever.items()
    }
    assert set(found.filter(~pl.col("key").is_in(list(reasons)))["caption_by"]) == {"model"}
    facts = manifest.facts["captions"]
    assert facts["by"] == {"fallback": len(for_ever), "model": 36 - len(for_ever)}
    assert facts["sources"] == {"tiny": facts["by"]}
    assert facts["reasons"] == dict(sorted(pl.Series(list(reasons.values())).value_counts().iter_rows()))
    # one answer of each kind that was good at the second try, and three (rewrites: 2) of each that never was
    assert facts["rejected"]["refusal"] == 2 + 3 + 3
    assert facts["rejected"]["empty"] == 2 + 3
    assert facts["rejected"]["cut_off"] == 1 + 3
    assert "failed" not in facts["rejected"]
    (run_of_server,) = read_lines(next((cfg.out / "answers").glob("captions-*")) / "runs.jsonl")
    assert run_of_server["requests"] == first
    assert run_of_server["failures"]["timeout"] == 2  # one never answers, one trickles


@pytest.mark.parametrize("mode", STOPPING)
def test_what_no_other_request_would_be_spared_stops_at_once_and_says_what_to_do(
    posts: Path, tmp_path: Path, mode: Mode, monkeypatch
):
    monkeypatch.setenv("CAPTION_KEY", "sk-very-secret-1234")
    with caption_server(lambda *_: mode) as server:
        cfg = captioned_config(posts, tmp_path / "table", server, long={"api_key_env": "CAPTION_KEY"})
        with pytest.raises(SetupError) as caught:
            run(cfg)
        assert len(server.asked) <= 8
        assert server.asked[0].headers["authorization"] == "Bearer sk-very-secret-1234"
    said = str(caught.value)
    assert server.base_url in said
    remedy = {"http401": "CAPTION_KEY", "http402": "credit", "http403": "CAPTION_KEY", "http404": "/v1"}
    assert remedy.get(mode, "base_url") in said
    assert "very-secret" not in said


def test_a_dead_server_stops_the_stage_and_the_same_command_goes_on(posts: Path, tmp_path: Path):
    plan = {"down": False}

    def script(about, before, body) -> Mode:
        plan["down"] = plan["down"] or len(server.asked) == 12
        return "http503_after" if plan["down"] else "ok"

    with caption_server(script) as server:
        cfg = captioned_config(posts, tmp_path / "table", server, client={"attempts": 2, "concurrency": 4})
        with pytest.raises(SetupError, match=r"8\d requests in a row failed.*1 pauses.*503.*same command again"):
            run(cfg)
        answered = len(server.answered)
        assert answered == 12
        server.script = lambda *_: "ok"
        before = len(server.asked)
        run(cfg)
        assert len(server.asked) - before == 36 - 12
    # what failed while nobody was answered is not held against the pictures
    assert set(captions_of(cfg.out)["caption_by"]) == {"model"}


def test_nobody_listens(posts: Path, tmp_path: Path):
    """Said within seconds, by the waits that users have, and not after all its attempts and pauses."""
    with caption_server() as server:
        pass
    waits = ClientConfig(concurrency=4).model_dump()
    cfg = captioned_config(posts, tmp_path / "table", server, client=waits)
    began = time.monotonic()
    with pytest.raises(SetupError, match=r"nobody listens at http://127.*does not answer \(connection.*Start a server"):
        run(cfg)
    assert time.monotonic() - began < 10


def test_a_server_that_goes_away_is_waited_for(posts: Path, tmp_path: Path):
    """Not as one that was never there: what fails to connect after an answer has its pauses."""
    pace = Pace(ClientConfig(breaker_failures=5, concurrency=1, breaker_pause=0.01), "http://x")
    unreached = Failure("connection: ConnectError", is_unreached=True)
    assert [pace.failed(unreached) for _ in range(3)] == [False, False, True]
    with pytest.raises(SetupError, match="nobody listens"):
        pace.pause(unreached)
    pace.succeeded(time.monotonic())
    assert [pace.failed(unreached) for _ in range(5)] == [False, False, False, False, True]
    pace.pause(unreached)


def test_a_server_that_refuses_everything_is_not_taken_for_36_bad_pictures(posts: Path, tmp_path: Path):
    with caption_server(lambda *_: "http400") as server:
        client = {"breaker_failures": 10}
        cfg = captioned_config(posts, tmp_path / "table", server, client=client)
        with pytest.raises(SetupError, match=r"refused 10 requests in a row.*ask_again=true"):
            run(cfg)
        server.script = lambda *_: "ok"
        run(captioned_config(posts, tmp_path / "table", server, client=client, ask_again=True))
    assert set(captions_of(cfg.out)["caption_by"]) == {"model"}


def test_ask_again_heals_what_failed(posts: Path, tmp_path: Path):
    plan: dict[str, Mode] = {colour_of(1): "http500", colour_of(2): "http400"}
    with caption_server(faults(plan), about=by_colour) as server:
        cfg = captioned_config(posts, tmp_path / "table", server)
        assert run(cfg).facts["captions"]["reasons"] == {"failed": 1, "refused": 1}
        plan.clear()
        asked = len(server.asked)
        run(cfg)
        assert len(server.asked) == asked
        again = captioned_config(posts, tmp_path / "table", server, ask_again=True)
        assert "reasons" not in run(again).facts["captions"]
        assert len(server.asked) == asked + 2
        run(again)
        run(cfg)
        assert len(server.asked) == asked + 2


def test_retry_after_is_waited_for_by_all(posts: Path, tmp_path: Path):
    """The first answer asks for a second of rest; no other request is sent in it but those under way."""
    with caption_server(lambda *_: "http429_after" if len(server.asked) == 0 else "ok") as server:
        run(captioned_config(posts, tmp_path / "table", server, client={"concurrency": 2, "longest_wait": 1.0}))
    times = [each.at - server.asked[0].at for each in server.asked]
    assert sum(time < 0.95 for time in times) <= 2 + 2
    assert len(times) == 37


def test_the_limit_of_requests_stops_cleanly_and_the_next_run_goes_on(posts: Path, tmp_path: Path):
    with caption_server() as server:
        cfg = captioned_config(posts, tmp_path / "table", server, max_requests=15)
        for sent in (15, 30):
            with pytest.raises(
                RequestLimitError, match=r"all 15 requests.*same command again.*of 36 pictures"
            ) as caught:
                run(cfg)
            assert caught.value.exit_code == 75
            assert len(server.asked) == len(server.answered) == sent
        manifest = run(cfg)
        assert len(server.asked) == 36
        whole = run(captioned_config(posts, tmp_path / "unbroken", server))
        assert manifest.digest == whole.digest


def test_secrets_are_nowhere(posts: Path, tmp_path: Path, monkeypatch, capfd):
    """A server that says the key aloud, in errors and answers to bad requests."""
    secret = "sk-abcdefgh-12345678"
    monkeypatch.setenv("CAPTION_KEY", secret)
    monkeypatch.setenv("ANIMETUNE_PROGRESS", "1")
    plan: dict[str, list[Mode] | Mode] = {colour_of(n): mode for n, mode in enumerate(TRANSIENT, start=1)}
    plan |= {colour_of(30): "http400"}
    with caption_server(faults(plan), about=by_colour) as server:
        long = {"api_key_env": "CAPTION_KEY"}
        cfg = captioned_config(posts, tmp_path / "table", server, long=long, client={"attempts": 2})
        with contextlib.suppress(AnimetuneError):
            run(cfg)
        assert server.asked[0].headers["authorization"] == f"Bearer {secret}"
        server.script = lambda *_: "http401"
        with pytest.raises(SetupError) as caught:
            run(cfg.model_copy(update={"out": tmp_path / "second"}))
    said = capfd.readouterr()
    everything = [said.out, said.err, *traceback.format_exception(caught.value), *map(repr, chain_of(caught.value))]
    everything += [file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()]
    assert len(everything) > 20
    for text in everything:
        assert "abcdefgh" not in text


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it was raised in."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_key_that_is_not_there(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("CAPTION_KEY", raising=False)
    with caption_server() as server:
        cfg = captioned_config(posts, tmp_path / "table", server, long={"api_key_env": "CAPTION_KEY"})
        with pytest.raises(SetupError, match=r"CAPTION_KEY.*is not set"):
            run(cfg)
        assert server.asked == []
