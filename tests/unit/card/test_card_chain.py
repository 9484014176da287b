"""A card of weights that the stages themselves made: training, export and the code of the card, which is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from animetune import checkpoint
from animetune.card.config import CardConfig
from animetune.card.published import settings_digest
from animetune.card.run import run
from animetune.checkpoint import Checkpoint
from animetune.export.config import ExportConfig
from animetune.export.run import run as export
from animetune.merge.config import MergeConfig
from animetune.merge.run import run as merge
from animetune.models.tiny import build_tiny
from tests.unit.card.test_card_run import front, train_config, write_run

ABOUT = {"title": "Tiny", "license": "openrail++"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with checkpoints, an export of one and a merge of both."""
    folder = tmp_path_factory.mktemp("chain")
    for seed, name in enumerate(("one", "two")):
        cfg = train_config(folder, name, "random:tiny", seed=seed)
        write_run(cfg)
        state = {"epoch": 0, "step_in_epoch": 2, "images": 8, "data": {}, "identity": {}}
        digest = {"config_digest": settings_digest(cfg)}
        models = build_tiny(seed).state_dict()
        saved = Checkpoint(step=20, model=models, ema={}, optimizer={}, state=state | digest)
        checkpoint.save(saved, folder / name / "checkpoints")
    target = {"dtype": "float32", "about": ABOUT}
    base, out = str(folder / "one"), str(folder / "export")
    export(ExportConfig.model_validate({"stage": "export", "base": base, "out": out, **target}))
    models_ = {name: {"base": str(folder / name)} for name in ("one", "two")}
    method = {"name": "weighted_sum", "weights": {"one": 0.5, "two": 0.5}}
    settings = {"stage": "merge", "models": models_, "method": method, "out": str(folder / "merged"), **target}
    merge(MergeConfig.model_validate(settings | {"formats": ["single_file"]}))
    return folder


def card_of(made: Path, runs: list[str], weights: str, out: Path) -> str:
    settings = {
        "stage": "card",
        "runs": [str(made / name) for name in runs],
        "export": str(made / weights),
        "out": str(out),
        "about": ABOUT | {"description": "For tests."},
        "inference": {"width": 64, "height": 64, "steps": 2, "prompt": "a tree"},
    }
    run(CardConfig.model_validate(settings))
    return (out / "README.md").read_text(encoding="utf-8")


def test_the_code_of_a_card_draws_with_the_export(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = card_of(made, ["one"], "export", tmp_path / "card")
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert program is not None
    code = program[1]
    for theirs, ours in (("path/to/diffusers", f"{made}/export/diffusers"), ('"cuda"', '"cpu"')):
        assert code.count(theirs) == 1
        code = code.replace(theirs, ours)
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        exec(compile(code, "README.md", "exec"), {})
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (64, 64)


def test_the_card_of_a_merge_has_all_its_runs_and_its_rule(made: Path, tmp_path: Path) -> None:
    text = card_of(made, ["two", "one"], "merged", tmp_path / "card")
    assert "**Merged**: 0.5 x one + 0.5 x two" in text
    assert "|  | two | one |" in text
    assert "base_model" not in front(text)
    assert "from_single_file" in text


def test_what_started_from_the_merge_has_them_too(made: Path, tmp_path: Path) -> None:
    write_run(train_config(made, "last", str(made / "merged")))
    settings = {"stage": "card", "runs": [str(made / "last")], "out": str(tmp_path / "card")}
    run(CardConfig.model_validate(settings | {"about": ABOUT | {"description": "For tests."}}))
    text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "|  | one | two | last |" in text
    assert str(made) not in text
