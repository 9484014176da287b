"""Write what was found: answers, numbers, grids, the page and the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from animetune import fsio, samples
from animetune.evaluate import page
from animetune.evaluate.cases import Answers, Case
from animetune.evaluate.config import EvaluateConfig, ProbeConfig
from animetune.evaluate.pictures import Pictures
from animetune.evaluate.plan import Plan
from animetune.evaluate.probes.registry import PROBES
from animetune.evaluate.probes.shape import Grid, Looked
from animetune.evaluate.results import Evaluation, Found, results_json
from animetune.figures import image_grid
from animetune.manifest import Manifest, read_manifest, record_files, write_manifest
from animetune.records import Request

EVALUATION_KIND = "evaluation"
EVALUATION_FORMAT = 1
REQUEST_NAME = "request.json"
REQUESTS_NAME = "requests.jsonl"
ANSWERS_NAME = "answers.jsonl"
RESULTS_NAME = "results.json"
REPORT_NAME = "report.html"
GRIDS = "grids"
GRID_CELL = 192
_ABSENT = {
    "tags": "no tagger is configured; give `tagger`",
    "aesthetic": "no aesthetic scorer is configured; give `aesthetic`",
}

ByRequest = Mapping[tuple[str, Request], Mapping[str, Any]]
"""(model, request) -> scorer -> its answer."""


def publish(
    cfg: EvaluateConfig,
    plan: Plan,
    drawn: Mapping[str, Pictures],
    by_request: ByRequest,
) -> Manifest:
    """Score every probe and write all files but the pictures, the manifest last."""
    every = [case for asked in plan.cases.values() for case in asked]
    answers: Answers = {
        model: {case.key: by_request.get((model, case.request), {}) for case in every if case.request in found.files}
        for model, found in drawn.items()
    }
    files = {
        model: {case.key: found.files[case.request] for case in every if case.request in found.files}
        for model, found in drawn.items()
    }
    evaluation = _evaluation(cfg, plan, drawn, answers)
    out = cfg.out
    _write_answers(out / ANSWERS_NAME, plan, drawn, by_request)
    fsio.write_json(out / RESULTS_NAME, results_json(evaluation))
    for found in evaluation.probes:
        for grid in found.score.grids:
            for model in cfg.models:
                _write_grid(out / GRIDS / f"{grid.name}-{model}.png", grid, files[model])
    page.write(out / REPORT_NAME, evaluation, answers, files)
    names = [REQUEST_NAME, REQUESTS_NAME, ANSWERS_NAME, RESULTS_NAME, REPORT_NAME]
    names += sorted(path.relative_to(out).as_posix() for path in (out / GRIDS).glob("*.png"))
    total = sum(len(found.files) for found in drawn.values())
    manifest = Manifest(
        kind=EVALUATION_KIND,
        format_version=EVALUATION_FORMAT,
        inputs={
            **{f"model {name}": digest for name, digest in plan.digests.items()},
            **{f"scorer {spec.name}": spec.digest for spec in plan.scorers},
            **{
                f"pictures {name}": read_manifest(out / "pictures" / name, kind=samples.SAMPLES_KIND).digest
                for name in cfg.models
                if name not in plan.found
            },
        },
        seen=total,
        kept=total,
        facts={"request": plan.digest, "baseline": cfg.reference, "probes": list(plan.cases)},
        files=record_files(out, names),
    )
    return write_manifest(out, manifest)


def _evaluation(cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures], answers: Answers) -> Evaluation:
    return Evaluation(
        title=cfg.title,
        models=plan.names,
        baseline=cfg.reference,
        pictures={model: len(found.files) for model, found in drawn.items()},
        probes=[_score(probe, plan.cases[probe.name], answers, cfg, plan) for probe in cfg.probes],
        scorers={spec.name: spec.digest for spec in plan.scorers},
        setup=_setup(cfg),
        notes=[note for found in drawn.values() for note in found.notes],
    )


def _score(probe: ProbeConfig, cases: Sequence[Case], answers: Answers, cfg: EvaluateConfig, plan: Plan) -> Found:
    asker = PROBES[probe.name]
    have = {spec.name for spec in plan.scorers}
    absent = [_ABSENT[scorer] for scorer in asker.needs(probe).scorers if scorer not in have]
    not_scored = f"Not scored: {'; '.join(absent)}." if absent else ""
    mine = {
        model: {case.key: by_key[case.key] for case in cases if case.key in by_key} for model, by_key in answers.items()
    }
    score = asker.score(probe, Looked(cases, mine, cfg.reference))
    prompts = len({case.item for case in cases})
    return Found(probe.name, asker.TITLE, asker.ABOUT, cases, prompts, score, not_scored)


def _setup(cfg: EvaluateConfig) -> dict[str, str]:
    sampler = ", ".join(
        f"{name} {value}" for name, value in cfg.sampler.model_dump(mode="json", exclude_none=True).items()
    )
    thresholds = {probe.name: probe.threshold for probe in cfg.probes if hasattr(probe, "threshold")}
    tagger = "none" if cfg.tagger is None else cfg.tagger.name
    return {
        "prefix": cfg.prefix or "(none)",
        "negative prompt": cfg.negative or "(none)",
        "seeds": ", ".join(map(str, cfg.seeds)),
        "sizes": ", ".join(cfg.sizes),
        "sampler": sampler,
        "prompts": ", ".join(f"{name} {value}" for name, value in cfg.text),
        "tagger": tagger,
        "thresholds": ", ".join(f"{name} {value:g}" for name, value in thresholds.items()) or "(none)",
        "aesthetic scorer": "none" if cfg.aesthetic is None else cfg.aesthetic.name,
    }


def _write_answers(
    path: Path,
    plan: Plan,
    drawn: Mapping[str, Pictures],
    by_request: ByRequest,
) -> None:
    """A line a picture: its model, file, the cases that it answers and what each scorer says."""
    keys: dict[Request, list[str]] = {}
    for asked in plan.cases.values():
        for case in asked:
            keys.setdefault(case.request, []).append(case.key)
    lines = [
        {
            "model": model,
            "file": found.files[request].relative_to(found.root).as_posix(),
            "cases": keys[request],
            "answers": by_request.get((model, request), {}),
        }
        for model, found in drawn.items()
        for request in plan.requests
        if request in found.files
    ]
    fsio.atomic_write(path, "".join(fsio.canonical_json(line) + "\n" for line in lines))


def _write_grid(path: Path, grid: Grid, files: Mapping[str, Path]) -> None:
    images, captions = [], []
    for row, keys in zip(grid.rows, grid.keys, strict=True):
        for column, key in zip(grid.columns, keys, strict=True):
            if key in files:
                with Image.open(files[key]) as opened:
                    images.append(opened.convert("RGB"))
            else:
                images.append(Image.new("RGB", (GRID_CELL, GRID_CELL), "#dddddd"))
            captions.append(f"{column}: {row}" if column == grid.columns[0] else column)
    with fsio.atomic_file(path) as temporary:
        image_grid(images, captions=captions, columns=len(grid.columns), cell=GRID_CELL).save(temporary, format="PNG")
