"""The stage `evaluate`: the probes' prompts drawn by every model, looked at, scored, and shown on one page.

    <out>/requests.jsonl            what every model is asked
    <out>/pictures/<model>/         as of the stage `sample`
    <out>/answers/                  what the scorers said of single pictures, unless `answers` names another folder
    <out>/answers.jsonl, features/  the same by model, with what they say of the real pictures
    <out>/results.json, report.html, grids/, manifest.json

A killed run goes on where it stopped: pictures stay as `sample` keeps them, answers by pieces. So does a run with other
models: what was drawn and said of the same ones is there, and the rest of the files is made anew, as if at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.errors import SetupError
from animetune.evaluate import pictures
from animetune.evaluate.checkpoints import with_checkpoints
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.looking import look
from animetune.evaluate.pictures import MissingPictures
from animetune.evaluate.plan import QUESTIONS, Plan, make_plan
from animetune.evaluate.publish import (
    EVALUATION_FORMAT,
    EVALUATION_KIND,
    REQUEST_NAME,
    REQUESTS_NAME,
    publish,
    request_json,
)
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest
from animetune.records import Request
from animetune.sample.weights import WeightsReader
from animetune.vlm.replies import FAILED, REFUSED

PICTURES = "pictures"


def run(cfg: EvaluateConfig) -> Manifest:
    """Make the evaluation, or go on with it; a folder that holds the same one is left as it is.

    Raises ConfigError for mistakes in prompts, for a tagger that lacks tags, and when `out` is of another stage;
    SetupError when `out` holds something else or weights cannot be had; DataError for pictures that are missing.
    """
    check_place(cfg.out, EVALUATION_KIND)
    reader = WeightsReader()
    with fsio.claim(cfg.out):
        begun = _begun(cfg.out)
        folders = sorted((cfg.out / PICTURES).glob("*"))
        drawn_before = {folder.name: folder for folder in folders if has_manifest(folder)}
        cfg = with_checkpoints(cfg, drawn_before, begun.get("run"))
        try:
            plan = make_plan(cfg, reader)
        except MissingPictures as error:
            if _is_free(cfg.out):  # so that they can be drawn elsewhere
                _write_requests(cfg.out, error.requests)
            raise
        done = _finished(cfg, plan, begun)
        if done is not None:
            return done
        if not has_manifest(cfg.out):
            fsio.write_json(cfg.out / REQUEST_NAME, request_json(cfg, plan))
            _write_requests(cfg.out, plan.requests)
        drawn = {
            name: plan.found[name] if name in plan.found else pictures.draw(name, model, plan.requests, cfg, reader)
            for name, model in cfg.models.items()
        }
        return publish(cfg, plan, drawn, look(cfg, plan, drawn))


def _begun(out: Path) -> Mapping[str, Any]:
    """What was begun there; empty where that cannot be said."""
    try:
        begun = json.loads((out / REQUEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return begun if isinstance(begun, dict) else {}


def _finished(cfg: EvaluateConfig, plan: Plan, begun: Mapping[str, Any]) -> Manifest | None:
    """The manifest of an evaluation that is finished; SetupError where `out` holds something else."""
    out = cfg.out
    if has_manifest(out):
        manifest = read_manifest(out, kind=EVALUATION_KIND, format_version=EVALUATION_FORMAT)
        if manifest.facts.get("request") == plan.digest and not _may_be_answered_now(cfg, manifest):
            return manifest
    if _is_free(out):
        return None
    if begun.get("asked") != plan.asked:
        raise SetupError(
            f"out: {out}: holds another evaluation, or other files; choose another folder. Pictures that it has need "
            f"not be drawn again: name {out / PICTURES}/<model> as `pictures` of a model. Only models may be added to "
            "an evaluation, or left out"
        )
    for name, weights in begun["models"].items():
        if name in cfg.models and name not in plan.found and weights is not None and weights != plan.digests[name]:
            raise SetupError(
                f"models.{name}: {out} has pictures of other weights under this name; give these another name, or "
                "choose another folder"
            )
    return None


def _may_be_answered_now(cfg: EvaluateConfig, manifest: Manifest) -> bool:
    """Whether a vision model refused or failed to answer, and is to be asked again."""
    problems = manifest.facts.get(QUESTIONS, {}).get("problems", {})
    return cfg.vision is not None and cfg.vision.ask_again and any(problems.get(code) for code in (REFUSED, FAILED))


def _is_free(out: Path) -> bool:
    """Whether nothing lies there but what was to be drawn elsewhere."""
    return not out.exists() or (out.is_dir() and all(path.name == REQUESTS_NAME for path in out.iterdir()))


def _write_requests(out: Path, requests: Sequence[Request]) -> None:
    lines = [
        {
            "prompt": each.prompt,
            "negative": each.negative,
            "seed": each.seed,
            "width": each.size.width,
            "height": each.size.height,
        }
        for each in requests
    ]
    fsio.atomic_write(out / REQUESTS_NAME, "".join(fsio.canonical_json(line) + "\n" for line in lines))
