"""An evaluation that asks a vision model: what its manifest says, and what it asks when it is run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.run import run
from tests.caption_server import CaptionServer, Mode, answers_from, by_question, caption_server, faults
from tests.captioned import FAST
from tests.evaluated import BLUE, config, paint, requests

COLUMNS = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
COLUMNS += "question_natural_language"
GIRL, HAIR, BOY = "Is there a girl?", "Is her hair blue?", "Is there a boy?"
ROWS = (
    f"a,a girl with blue hair,,1,0,entity,whole,entity (girl),{GIRL}",
    f"a,a girl with blue hair,,2,1,attribute,color,attribute (hair),{HAIR}",
    f"b,a boy,,1,0,entity,whole,entity (boy),{BOY}",
)

Make = Callable[..., EvaluateConfig]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The configuration of an evaluation of two models with two prompts and two seeds, 12 questions in all."""
    (tmp_path / "asked.csv").write_text("\n".join((COLUMNS, *ROWS)) + "\n")
    for name in ("base", "tuned"):
        paint(tmp_path / name, requests(["a girl with blue hair", "a boy"]), lambda _: BLUE)

    def made(server: CaptionServer, **changes: Any) -> EvaluateConfig:
        vision = {"base_url": server.base_url, "model": "eyes", "client": FAST, **changes.pop("vision", {})}
        probe = {"name": "adherence", "set": "dpg", "questions": str(tmp_path / "asked.csv"), "prefixed": False}
        return config(tmp_path, probes=[probe], vision=vision, **changes)

    return made


def test_the_manifest_says_what_was_asked_and_what_it_cost(make: Make, tmp_path: Path) -> None:
    known = {GIRL: "Yes.", HAIR: "No.", BOY: "Perhaps."}
    with caption_server(answer=answers_from(known), about=by_question) as server:
        cfg = make(server, vision={"prompt_price": 1.0, "completion_price": 10.0})
        manifest = run(cfg)
        assert len(server.asked) == 12
        assert manifest.facts["questions"] == {
            "questions": 12,
            "yes": 4,
            "no": 4,
            "problems": {"unclear": 4},
            "prompt_tokens": 1200,
            "completion_tokens": 480,
            "cost": 0.006,
        }
        lines = [json.loads(line) for line in (cfg.out / "answers.jsonl").read_text().splitlines()]
        said = [answer for line in lines for asked in line["questions"].values() for answer in asked.values()]
        assert len(said) == 12
        assert said.count({"answer": None, "said": "Perhaps.", "problem": "unclear"}) == 4
        assert run(cfg).digest == manifest.digest
        assert run(make(server, out=str(tmp_path / "other"), answers=str(cfg.out / "answers"))).kept == manifest.kept
        assert len(server.asked) == 12


def test_ask_again_asks_a_finished_evaluation_what_it_lacks(make: Make) -> None:
    plan: dict[str, list[Mode] | Mode] = {BOY: "http400", HAIR: "http500"}
    with caption_server(faults(plan), answer=answers_from({GIRL: "Yes.", BOY: "Yes."}), about=by_question) as server:
        assert run(make(server)).facts["questions"]["problems"] == {"failed": 4, "refused": 4}
        plan.clear()
        asked = len(server.asked)
        assert run(make(server)).facts["questions"]["problems"] == {"failed": 4, "refused": 4}
        assert len(server.asked) == asked
        again = make(server, vision={"ask_again": True})
        healed = run(again)
        assert healed.facts["questions"]["problems"] == {}
        assert (healed.facts["questions"]["yes"], healed.facts["questions"]["no"]) == (8, 4)
        assert len(server.asked) == asked + 8
        assert run(again).digest == run(make(server)).digest == healed.digest
        assert len(server.asked) == asked + 8


def test_a_model_more_asks_about_its_pictures_alone(make: Make, tmp_path: Path) -> None:
    base, tuned = ({"pictures": str(tmp_path / name)} for name in ("base", "tuned"))
    with caption_server(answer=answers_from({GIRL: "Yes."}), about=by_question) as server:
        run(make(server, models={"base": base}))
        assert len(server.asked) == 6
        grown = run(make(server, models={"base": base, "tuned": tuned}))
        assert len(server.asked) == 12
        whole = run(make(server, models={"base": base, "tuned": tuned}, out=str(tmp_path / "at-once")))
        assert len(server.asked) == 24
        assert grown.digest == whole.digest


def test_no_vision_model_is_said(make: Make, tmp_path: Path) -> None:
    with caption_server() as server:
        cfg = make(server).model_copy(update={"vision": None})
        manifest = run(cfg)
        assert server.asked == []
    assert "questions" not in manifest.facts
    assert "vision" in (cfg.out / "report.html").read_text()
