"""`make demo`, whole: what it learns, and what is said of its checkpoints by questions and by voters."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from animetune.arena.config import ArenaConfig
from animetune.arena.run import export, rank
from animetune.config import load_config, shipped_configs
from animetune.demo.colours import measure
from animetune.demo.run import run
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.run import run as evaluate
from tests.arena_site import serving
from tests.caption_server import caption_server, picture_of, questions_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CONFIGS = shipped_configs() / "demo"
CHECKPOINTS = {"early": "step-100", "middle": "step-300", "final": "step-900"}
VOTERS, VOTES = 6, 150
ASLEEP = 0.15
"""Share of votes that are given without looking."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, run(folder)


@pytest.fixture(scope="module")
def evaluation(demo: tuple[Path, dict[str, float]]) -> Path:
    """The checkpoints, evaluated with a vision model that knows two questions."""
    folder, _ = demo
    with caption_server(answer=colours_told) as server:
        settings = [
            f"out={folder / 'evaluation'}",
            f"checkpoints.run={folder / 'train'}",
            f"vision={{base_url: '{server.base_url}', model: colours, picture: {{format: PNG}}}}",
        ]
        evaluate(load_config(CONFIGS / "evaluate.yaml", EvaluateConfig, settings))
        assert len(server.asked) == 3 * 64 * 2
        evaluate(load_config(CONFIGS / "evaluate.yaml", EvaluateConfig, settings))
        assert len(server.asked) == 3 * 64 * 2
    return folder / "evaluation"


def test_the_demo_learns_hair_and_background_colours(
    demo: tuple[Path, dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, result = demo
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {value:.3g}" for name, value in result.items()))
    assert result["pictures"] >= 64
    assert result["hair_colour"] >= 0.90
    assert result["background_colour"] >= 0.90
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "animetune demo" in page
    assert (folder / "export" / "animetune-demo.safetensors").is_file()


def test_its_checkpoints_follow_prompts_better_and_better(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = json.loads((evaluation / "results.json").read_text(encoding="utf-8"))
    groups = results["probes"]["adherence"]["measures"]["score"]["groups"]
    overall = groups["all questions"]["models"]
    shares = {name: overall[step]["value"] for name, step in CHECKPOINTS.items()}
    with capsys.disabled():
        print("\nprompts followed: " + ", ".join(f"{name} {value:.3f}" for name, value in shares.items()))
    assert shares["final"] >= 0.93
    assert shares["early"] < shares["final"] - 0.05
    assert overall["step-100"]["n"] == overall["step-900"]["n"]
    assert "step-900" in (evaluation / "report.html").read_text(encoding="utf-8")


def test_voters_prefer_later_checkpoints(evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [f"models.{name}.pictures={evaluation / 'pictures' / step}" for name, step in CHECKPOINTS.items()]
    settings = [*pictures, f"out={tmp_path / 'arena'}", "port=0", "fastest_ms=0"]
    cfg = load_config(CONFIGS / "arena.yaml", ArenaConfig, settings)
    with serving(cfg) as site:
        for number in range(VOTERS):
            rng = np.random.default_rng(number)
            with site.voter() as voter:
                for _ in range(VOTES // VOTERS):
                    vote(voter, rng)
    lines: list[str] = []
    rank(cfg, lines.append)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    export(cfg, tmp_path / "votes", lines.append)
    ratings = json.loads((tmp_path / "votes" / "ratings.json").read_text(encoding="utf-8"))
    scores = {each["model"]: each["score"] for each in ratings["overall"]["scores"]}
    assert scores["final"] > scores["early"]
    assert ratings["counted"]["votes"] == VOTES


def colours_told(about: str, body: dict[str, Any]) -> str:
    """The answer of a vision model that sees colours."""
    (question,) = questions_of(body)
    found = measure(Image.open(io.BytesIO(picture_of(body) or b"")))
    seen = found.hair if "hair" in question else found.background
    return "Yes" if f" {seen}?" in question else "No"


def vote(voter: Any, rng: np.random.Generator) -> None:
    """Look at a battle and take the picture with more of the colours asked for, or a draw where one may."""
    began = time.monotonic()
    battle = asked(lambda: voter.post("/api/battle", json={})).json()["battle"]
    shown = [asked(lambda url=slot["url"]: voter.get(url)) for slot in battle["slots"]]
    seen = [Image.open(io.BytesIO(answer.content)) for answer in shown]
    scores = [told(battle["prompt"], picture) for picture in seen]
    if rng.random() < ASLEEP:
        rng.shuffle(scores)
    order = sorted(set(scores), reverse=True)
    ranks = [order.index(score) for score in scores]
    if len(order) == 1 and not battle["draw"]:
        ranks = [int(place) for place in rng.permutation(len(scores))]
    ballot = {"token": battle["token"], "ranks": ranks, "ms": int(1000 * (time.monotonic() - began))}
    asked(lambda: voter.post("/api/vote", json=ballot))


def asked(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer, after as many waits as the arena wants of somebody so quick."""
    while (answer := ask()).status_code == httpx.codes.TOO_MANY_REQUESTS:
        time.sleep(float(answer.headers["retry-after"]))
    return answer.raise_for_status()


def told(prompt: str, picture: Image.Image) -> int:
    """How many of the two colours of the prompt the picture shows."""
    found = measure(picture)
    return (f" {found.hair} hair" in prompt) + (f" {found.background} background" in prompt)
