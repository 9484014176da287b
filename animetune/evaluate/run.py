"""The stage `evaluate`: the probes' prompts drawn by every model, looked at, scored, and shown on one page.

    <out>/requests.jsonl            what every model is asked
    <out>/pictures/<model>/         as of the stage `sample`
    <out>/answers.jsonl             what the scorers say of every picture
    <out>/results.json, report.html, grids/, manifest.json

A killed run goes on where it stopped: pictures stay as `sample` keeps them, answers by chunks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from animetune import fsio
from animetune.errors import SetupError
from animetune.evaluate import pictures
from animetune.evaluate.asking import Question, ask
from animetune.evaluate.cases import requests_of
from animetune.evaluate.config import EvaluateConfig
from animetune.evaluate.pictures import MissingPictures, Pictures
from animetune.evaluate.plan import Plan, make_plan
from animetune.evaluate.probes.registry import PROBES
from animetune.evaluate.publish import EVALUATION_FORMAT, EVALUATION_KIND, REQUEST_NAME, REQUESTS_NAME, publish
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest
from animetune.records import Request
from animetune.sample.weights import WeightsReader

PARTS = ".answers"


def run(cfg: EvaluateConfig) -> Manifest:
    """Make the evaluation, or go on with it; a folder that holds the same one is left as it is.

    Raises ConfigError for mistakes in prompts, for a tagger that lacks tags, and when `out` is of another stage;
    SetupError when `out` holds something else or weights cannot be had; DataError for pictures that are missing.
    """
    check_place(cfg.out, EVALUATION_KIND)
    reader = WeightsReader()
    with fsio.claim(cfg.out):
        try:
            plan = make_plan(cfg, reader)
        except MissingPictures as error:
            if _is_free(cfg.out):  # so that they can be drawn elsewhere
                _write_requests(cfg.out, error.requests)
            raise
        done = _begun(cfg.out, plan)
        if done is not None:
            return done
        fsio.write_json(cfg.out / REQUEST_NAME, {"request": plan.digest})
        _write_requests(cfg.out, plan.requests)
        drawn = {
            name: plan.found[name] if name in plan.found else pictures.draw(name, model, plan.requests, cfg, reader)
            for name, model in cfg.models.items()
        }
        answers = _ask(cfg, plan, drawn)
        manifest = publish(cfg, plan, drawn, answers)
        if (cfg.out / PARTS).exists():
            fsio.remove(cfg.out / PARTS)
        return manifest


def _begun(out: Path, plan: Plan) -> Manifest | None:
    """The manifest of an evaluation that is finished; SetupError where `out` holds something else."""
    if not out.exists():
        return None
    begun = out / REQUEST_NAME
    if has_manifest(out):
        manifest = read_manifest(out, kind=EVALUATION_KIND, format_version=EVALUATION_FORMAT)
        if manifest.facts.get("request") == plan.digest:
            return manifest
    elif _is_free(out) or (begun.is_file() and plan.digest in begun.read_text(encoding="utf-8")):
        return None
    raise SetupError(
        f"out: {out}: holds another evaluation, or other files; choose another folder. Pictures that it has need not "
        f"be drawn again: name {out / 'pictures'}/<model> as `pictures` of a model"
    )


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


def _ask(
    cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures]
) -> Mapping[tuple[str, Request], dict[str, Any]]:
    """Every scorer about every picture of the probes that need it."""
    answers: dict[tuple[str, Request], dict[str, Any]] = {}
    for spec in plan.scorers:
        names = [probe.name for probe in cfg.probes if spec.name in PROBES[probe.name].needs(probe).scorers]
        wanted = requests_of([case for name in names for case in plan.cases[name]])
        questions = [
            Question(model, request, found.files[request])
            for model, found in drawn.items()
            for request in wanted
            if request in found.files
        ]
        for key, answer in ask([spec], questions, cfg.out / PARTS, cfg.executor).items():
            answers.setdefault(key, {}).update(answer)
    return answers
