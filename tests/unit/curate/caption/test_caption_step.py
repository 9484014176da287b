"""The step `captions` within a curation: who is asked about, where captions come from, and what becomes of the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from animetune import tables
from animetune.config import to_yaml
from animetune.curate.run import run
from animetune.errors import SetupError
from tests.builders import write_lines, write_posts
from tests.caption_server import CaptionServer, by_colour, caption_server, faults, plain_answer, text_of
from tests.captioned import captioned_config
from tests.unit.curate.caption.test_caption_faults import captions_of, colour_of

OWN = "A picture with the number {}."
SHORT = "A person is in a quiet garden under a pale sky."


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    return write_posts(tmp_path_factory.mktemp("posts"), 12)


def steps(out: Path) -> list[str]:
    return [path.name.split("-")[1] for path in sorted((out / "steps").iterdir())]


def test_the_step_runs_behind_balance_and_not_again(posts: Path, tmp_path: Path):
    with caption_server() as server:
        cfg = captioned_config(posts, tmp_path / "table", server)
        first = run(cfg)
        assert steps(cfg.out)[-5:] == ["tag_epoch", "captions", "places", "split", "table"]
        before = {path: path.stat().st_mtime_ns for path in (cfg.out / "steps").rglob("*")}
        moved = captioned_config(
            posts,
            tmp_path / "table",
            server,
            long={"base_url": "http://localhost:1/v1", "prompt_price": 2.0, "completion_price": 10.0},
            client={"concurrency": 3, "attempts": 9},
            max_requests=5,
        )
        second = run(moved)
        assert {path: path.stat().st_mtime_ns for path in (cfg.out / "steps").rglob("*")} == before
        assert len(server.asked) == 12
    assert first.facts["captions"]["long"] == {"answers": 12, "prompt_tokens": 1200, "completion_tokens": 480}
    assert "cost" not in first.facts["captions"]
    # 12 answers of 100 and 40 tokens at 2 and 10 a million
    assert second.facts["captions"]["cost"] == {"long": 0.0072, "total": 0.0072}
    assert first.files == second.files
    assert str(server.base_url) not in (cfg.out / "manifest.json").read_text()


def test_only_pictures_that_are_seen_cost_a_request(posts: Path, tmp_path: Path, monkeypatch):
    from animetune.curate.weigh import balance

    real = balance.weigh

    def half(rows, *args, **settings):
        outcome = real(rows, *args, **settings)
        seen = pl.col("key").str.strip_prefix("tiny/").cast(pl.Int64) % 2 == 0
        kept = outcome.kept.with_columns(repeats=pl.when(seen).then(1.0).otherwise(0.0).cast(pl.Float32))
        return balance.Outcome(kept, outcome.dropped, facts=outcome.facts)

    monkeypatch.setattr(balance, "weigh", half)
    with caption_server() as server:
        manifest = run(captioned_config(posts, tmp_path / "table", server))
    assert len(server.asked) == 6
    assert manifest.facts["captions"]["never_seen"] == 6
    found = captions_of(tmp_path / "table")
    assert found["caption_by"].to_list() == [None, "model"] * 6
    assert found["captions_long"][0].to_list() == [OWN.format(1)]


@pytest.mark.parametrize("existing", ["keep", "replace", "add"])
def test_captions_that_posts_bring_along(posts: Path, tmp_path: Path, existing: str):
    write_lines(posts / "captions.jsonl", [{"id": n, "long": [OWN.format(n)]} for n in range(1, 7)])
    with caption_server() as server:
        run(captioned_config(posts, tmp_path / "table", server, existing=existing))
    found = captions_of(tmp_path / "table")
    own, without = found["captions_long"][0].to_list(), found["captions_long"][11].to_list()
    assert len(server.asked) == (6 if existing == "keep" else 12)
    assert len(without) == 1
    assert OWN.format(12) not in without
    assert (OWN.format(1) in own) == (existing != "replace")
    assert len(own) == (2 if existing == "add" else 1)
    assert found["captions_short"].list.len().min() == 1
    write_lines(posts / "captions.jsonl", [{"id": n, "long": [OWN.format(n)]} for n in range(1, 13)])


@pytest.mark.parametrize("on_refused", ["fallback", "keep", "drop"])
def test_what_becomes_of_a_picture_without_an_answer(posts: Path, tmp_path: Path, on_refused: str):
    with caption_server(faults({colour_of(3): "refusal", colour_of(4): "http400"}), about=by_colour) as server:
        cfg = captioned_config(
            posts, tmp_path / "table", server, on_refused=on_refused, balance=[{"name": "tag_groups"}]
        )
        manifest = run(cfg)
    rows = tables.open_table(cfg.out).scan().collect()
    assert (manifest.seen, manifest.kept) == (12, rows.height)
    if on_refused == "drop":
        assert manifest.dropped == {"caption_refusal": 1, "caption_refused": 1}
        assert set(rows["key"]) == {f"tiny/{n}" for n in range(1, 13)} - {"tiny/3", "tiny/4"}
        names = steps(cfg.out)
        behind = names[names.index("captions") + 1 :]
        assert behind == ["weights", "balance", "tag_views", "tag_epoch", "places", "split", "table"]
        # balanced as if the two had never been there
        lines = (posts / "posts.jsonl").read_text().splitlines()
        fewer = tmp_path / "fewer.jsonl"
        fewer.write_text("\n".join(lines[:2] + lines[4:]) + "\n")
        source = cfg.sources[0].model_copy(update={"posts": (str(fewer),)})
        run(cfg.model_copy(update={"out": tmp_path / "fewer", "sources": (source,), "captions": None}))
        columns = ("key", "repeats", "loss_weight", "split")
        assert rows.select(columns).equals(tables.open_table(tmp_path / "fewer").scan().select(columns).collect())
    else:
        by = captions_of(cfg.out).filter(pl.col("key").is_in(["tiny/3", "tiny/4"]))
        assert by["caption_reason"].to_list() == ["refusal", "refused"]
        assert by["caption_by"].to_list() == ["fallback" if on_refused == "fallback" else "own"] * 2
        texts = by["captions_long"].explode().to_list()
        assert (texts == [OWN.format(3), OWN.format(4)]) == (on_refused == "keep")


def test_several_captions_by_templates_and_seeds(posts: Path, tmp_path: Path):
    template = tmp_path / "mine.j2"
    template.write_text("Say what you see, in two sentences. {{ tags | join(', ') }}")
    with caption_server() as server:
        long = {"templates": ["long", str(template)], "per_template": 2}
        manifest = run(captioned_config(posts, tmp_path / "table", server, long=long))
        assert len(server.asked) == 48
        assert sorted({each.body["seed"] for each in server.asked}) == [0, 1000]
        assert sum("Say what you see" in text_of(each.body) for each in server.asked) == 24
        # the answers of this server depend on the seed alone: two of the four are the same
        assert set(captions_of(tmp_path / "table")["captions_long"].list.len()) == {2}
        assert manifest.facts["captions"]["long"]["answers"] == 48
        template.write_text("Say what is there, in two sentences.")
        run(captioned_config(posts, tmp_path / "table", server, long=long))
        assert len(server.asked) == 48 + 24


def with_two_minds(about: str, body) -> str:
    """Long captions for pictures, short ones for text."""
    return plain_answer(about, body) if about else SHORT


def test_short_captions_by_another_model(posts: Path, tmp_path: Path):
    with caption_server(answer=with_two_minds) as server:
        words = {"base_url": server.base_url, "model": "words", "prompt_price": 1.0}
        manifest = run(captioned_config(posts, tmp_path / "table", server, compress=words))
    asked = [each for each in server.asked if each.body["model"] == "words"]
    assert len(asked) == 12
    long = captions_of(tmp_path / "table")["captions_long"].list.first().to_list()
    assert sorted(long) == sorted(text for text in long for each in asked if text in text_of(each.body))
    assert captions_of(tmp_path / "table")["captions_short"].to_list() == [[SHORT]] * 12
    assert manifest.facts["captions"]["short"]["answers"] == 12
    assert manifest.facts["captions"]["cost"] == {"short": 0.0012, "total": 0.0012}


def test_long_and_short_in_one_answer(posts: Path, tmp_path: Path):
    def both(about: str, body) -> str:
        return json.dumps({"long": plain_answer(about, body), "short": SHORT})

    with caption_server(answer=both) as server:
        manifest = run(captioned_config(posts, tmp_path / "table", server, form="both"))
    found = captions_of(tmp_path / "table")
    assert found["captions_short"].to_list() == [[SHORT]] * 12
    assert found["captions_long"].list.first().str.starts_with("A person stands").all()
    assert manifest.facts["captions"]["by"] == {"model": 12}


def test_style_is_taken_out_and_counted(posts: Path, tmp_path: Path):
    def styled(about: str, body) -> str:
        return f"This is an anime-style digital illustration. {plain_answer(about, body)}"

    with caption_server(answer=styled) as server:
        manifest = run(captioned_config(posts, tmp_path / "table", server))
    assert manifest.facts["captions"]["by"] == {"model": 12}
    assert manifest.facts["captions"]["style_removed"] >= 12
    assert not captions_of(tmp_path / "table")["captions_long"].explode().str.contains("(?i)anime|illustration").any()


def test_equal_requests_at_the_same_time_are_sent_once(tmp_path: Path):
    posts = write_posts(tmp_path / "posts", 12, general="1girl solo", rating="g")
    first = (posts / "images" / "3.png").read_bytes()
    for number in (6, 9, 12):
        (posts / "images" / f"{number}.png").write_bytes(first)
    with caption_server(latency=0.02) as server:
        cfg = captioned_config(posts, tmp_path / "table", server)
        cfg = cfg.model_copy(update={"dedup": cfg.dedup.model_copy(update={"by": ()})})
        assert run(cfg).kept == 12
        assert len(server.asked) == 9
        assert server.most_at_once <= 8


def test_a_run_that_asks_the_same_model_elsewhere_is_told_to_wait(posts: Path, tmp_path: Path):
    from animetune import fsio

    with caption_server() as server:
        cfg = captioned_config(posts, tmp_path / "table", server)
        folder = cfg.out / "answers" / f"captions-{fsio.short_digest('eyes')}"
        with fsio.lock(folder), pytest.raises(SetupError, match="another animetune process"):
            run(cfg)


def command(cfg, tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    file = tmp_path / "curate.yaml"
    file.write_text(to_yaml(cfg))
    arguments = [sys.executable, "-m", "animetune", "curate", str(file), *options]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(server: CaptionServer, answered: int) -> None:
    end = time.monotonic() + 60
    while len(server.answered) < answered and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.slow
def test_the_command_line_stops_at_its_limit_and_at_ctrl_c(posts: Path, tmp_path: Path):
    with caption_server(latency=0.05) as server:
        cfg = captioned_config(posts, tmp_path / "table", server, client={"concurrency": 2, "read": 5.0})
        process = command(cfg, tmp_path, "--max-requests", "5")
        _, said = process.communicate(timeout=120)
        assert process.returncode == 75
        assert "all 5 requests" in said
        assert "run the same command again" in said
        assert len(server.asked) == 5

        process = command(cfg, tmp_path)
        wait_for(server, 8)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "the same command continues" in said
        assert "Traceback" not in said
        asked = len(server.asked)
        assert asked < 12
        run(cfg)
        assert len(server.asked) <= 12 + 2
        assert len(server.asked_again()) <= 2


def test_the_group_can_be_written_as_yaml(posts: Path, tmp_path: Path):
    with caption_server() as server:
        cfg = captioned_config(posts, tmp_path / "table", server)
    assert type(cfg).model_validate(yaml.safe_load(to_yaml(cfg))) == cfg
