"""Write what was found: answers, vectors, numbers, grids, the page and the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animetune import fsio, samples
from animetune.evaluate import page
from animetune.evaluate.checkpoints import run_name
from animetune.evaluate.config import REFERENCE, EvaluateConfig
from animetune.evaluate.looking import Seen
from animetune.evaluate.pictures import Pictures
from animetune.evaluate.plan import QUESTIONS, Plan
from animetune.evaluate.probes.shape import Grid
from animetune.evaluate.results import Evaluation, results_json
from animetune.evaluate.scorers import FEATURIZERS
from animetune.evaluate.scoring import answers_of, evaluate
from animetune.evaluate.store import write_vectors
from animetune.figures import image_grid
from animetune.manifest import MANIFEST_NAME, Manifest, has_manifest, read_manifest, record_files, write_manifest
from animetune.records import Request

EVALUATION_KIND = "evaluation"
EVALUATION_FORMAT = 1
REQUEST_NAME = "request.json"
REQUESTS_NAME = "requests.jsonl"
ANSWERS_NAME = "answers.jsonl"
RESULTS_NAME = "results.json"
REPORT_NAME = "report.html"
GRIDS = "grids"
FEATURES = "features"
GRID_CELL = 192


def request_json(cfg: EvaluateConfig, plan: Plan) -> dict[str, Any]:
    """What `out` holds, or is to hold: model -> digest of the weights that drew; null where pictures were given."""
    models = {name: None if name in plan.found else plan.digests[name] for name in cfg.models}
    made = {"request": plan.digest, "asked": plan.asked, "models": models}
    return made if cfg.checkpoints is None else {**made, "run": run_name(cfg.checkpoints)}


def publish(cfg: EvaluateConfig, plan: Plan, drawn: Mapping[str, Pictures], seen: Seen) -> Manifest:
    """Score every probe and write all files but the pictures, the manifest last.

    What lies there of the same evaluation with other models is replaced; it counts no more from the first file on.
    """
    answers: dict[str, dict[str, Any]] = {model: {} for model in drawn}
    for probe in plan.cases:
        for model, said in answers_of(probe, plan, drawn, seen).items():
            answers[model] |= said
    files = {
        model: {
            case.key: found.files[case.request]
            for asked in plan.cases.values()
            for case in asked
            if case.request in found.files
        }
        for model, found in drawn.items()
    }
    evaluation = evaluate(cfg, plan, drawn, seen)
    out = cfg.out
    if has_manifest(out):
        fsio.remove(out / MANIFEST_NAME)
    fsio.write_json(out / REQUEST_NAME, request_json(cfg, plan))
    lines = [*_picture_lines(plan, drawn, seen), *_reference_lines(plan, seen)]
    fsio.atomic_write(out / ANSWERS_NAME, "".join(fsio.canonical_json(line) + "\n" for line in lines))
    fsio.write_json(out / RESULTS_NAME, results_json(evaluation))
    page.write(out / REPORT_NAME, evaluation, answers, files)
    names = [REQUEST_NAME, REQUESTS_NAME, ANSWERS_NAME, RESULTS_NAME, REPORT_NAME]
    names += _write_grids(out, evaluation, files) + _write_features(out, plan, drawn, seen)
    names += _write_lines(out, evaluation)
    total = sum(len(found.files) for found in drawn.values())
    manifest = Manifest(
        kind=EVALUATION_KIND,
        format_version=EVALUATION_FORMAT,
        inputs={
            **{f"model {name}": digest for name, digest in plan.digests.items()},
            **{f"scorer {name}": digest for name, digest in plan.scorer_digests.items()},
            **{
                f"real pictures of {probe}": fsio.short_digest(
                    "".join(f"{plan.reference_digests[each.file]} {each.key}\n" for each in group)
                )
                for probe, group in plan.references.items()
                if group
            },
            **{
                f"pictures {name}": read_manifest(out / "pictures" / name, kind=samples.SAMPLES_KIND).digest
                for name in cfg.models
                if name not in plan.found
            },
        },
        seen=total,
        kept=total,
        facts={
            "request": plan.digest,
            "baseline": cfg.reference,
            "probes": list(plan.cases),
            **({QUESTIONS: dict(seen.questions_facts)} if seen.questions_facts else {}),
        },
        files=record_files(out, names),
    )
    return write_manifest(out, manifest)


def _picture_lines(plan: Plan, drawn: Mapping[str, Pictures], seen: Seen) -> list[dict[str, Any]]:
    """A line a picture: its model, file, the cases that it answers and what each scorer says."""
    keys: dict[Request, list[str]] = {}
    for asked in plan.cases.values():
        for case in asked:
            keys.setdefault(case.request, []).append(case.key)
    lines = []
    for model, found in drawn.items():
        for request in plan.requests:
            if request in found.files:
                line = {
                    "model": model,
                    "file": found.files[request].relative_to(found.root).as_posix(),
                    "sha256": found.digests[request],
                    "cases": keys[request],
                    "answers": _told(seen.pictures[model][request]),
                }
                said = {key: seen.questions[model, key] for key in keys[request] if (model, key) in seen.questions}
                lines.append({**line, QUESTIONS: said} if said else line)
    return lines


def _reference_lines(plan: Plan, seen: Seen) -> list[dict[str, Any]]:
    """A line a real picture of each probe."""
    return [
        {
            "model": REFERENCE,
            "file": each.file.name,
            "sha256": plan.reference_digests[each.file],
            "cases": [f"{probe}/{each.key}"],
            "answers": _told(seen.references[probe][each.key]),
        }
        for probe, group in plan.references.items()
        for each in group
    ]


def _told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Without vectors, which have files of their own."""
    return {name: said for name, said in answer.items() if name not in FEATURIZERS}


def _write_features(out: Path, plan: Plan, drawn: Mapping[str, Pictures], seen: Seen) -> list[str]:
    """`features/<name>-<model>.safetensors`: a row for each line of answers.jsonl that the featurizer looked at."""
    rows: dict[str, list[np.ndarray]] = {}
    for name in [spec.name for spec in plan.scorers if spec.name in FEATURIZERS]:
        for model in drawn:
            said = seen.pictures[model]
            rows[f"{name}-{model}"] = [said[each][name] for each in plan.requests if name in said.get(each, {})]
        compared = [seen.references[probe][each.key] for probe, group in plan.references.items() for each in group]
        rows[f"{name}-{REFERENCE}"] = [answer[name] for answer in compared if name in answer]
    names = []
    for name, vectors in rows.items():
        if vectors:
            names.append(f"{FEATURES}/{name}.safetensors")
            write_vectors(out / names[-1], np.stack(vectors))
    _remove_others(out / FEATURES, out, names)
    return names


def _write_lines(out: Path, evaluation: Evaluation) -> list[str]:
    """What probes have counted, a line each, in files that are named after it."""
    names = []
    for found in evaluation.probes:
        for name, lines in found.score.lines.items():
            names.append(f"{name}.jsonl")
            fsio.atomic_write(out / names[-1], "".join(fsio.canonical_json(line) + "\n" for line in lines))
    return names


def _write_grids(out: Path, evaluation: Evaluation, files: Mapping[str, Mapping[str, Path]]) -> list[str]:
    names = []
    for found in evaluation.probes:
        for grid in found.score.grids:
            for model, mine in files.items():
                names.append(f"{GRIDS}/{grid.name}-{model}.png")
                _write_grid(out / names[-1], grid, mine)
    _remove_others(out / GRIDS, out, names)
    return names


def _remove_others(folder: Path, out: Path, names: Sequence[str]) -> None:
    """Remove what is left of models that are no more in the evaluation."""
    for path in sorted(folder.glob("*")):
        if path.relative_to(out).as_posix() not in names:
            fsio.remove(path)


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
