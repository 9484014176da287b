"""Ask scorers about pictures: in chunks, which stay when a run is killed, in as many processes as are given.

pictures --cut--> chunks of CHUNK --executor--> <out>/.answers/<scorer>-<number>/ --> {request: answer}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from animetune import fsio
from animetune.errors import DataError, PictureError
from animetune.evaluate.scorers import ScorerSpec, build
from animetune.executor import Chunk, ExecutorConfig, build_executor
from animetune.manifest import Manifest
from animetune.pictures import decode
from animetune.progress import track
from animetune.records import Request

CHUNK = 64
"""Pictures looked at between two results that are kept."""
PART_KIND = "answers-part"
PART_FORMAT = 1
FILE = "answers.jsonl"


class Question(NamedTuple):
    """A picture, and what it was drawn from."""

    model: str
    request: Request
    file: Path


class Part(NamedTuple):
    """What a worker is given."""

    spec: ScorerSpec
    questions: tuple[Question, ...]


def ask(
    specs: Sequence[ScorerSpec], questions: Sequence[Question], folder: Path, executor: ExecutorConfig
) -> dict[tuple[str, Request], dict[str, Any]]:
    """(model, request) -> scorer -> its answer. What lies in `folder`, of an earlier run, is not asked again.

    Raises ChunkError when a picture cannot be read or a scorer has no answer.
    """
    answers: dict[tuple[str, Request], dict[str, Any]] = {(each.model, each.request): {} for each in questions}
    with build_executor(executor) as workers:
        for spec in specs:
            parts = [tuple(questions[start : start + CHUNK]) for start in range(0, len(questions), CHUNK)]
            chunks = [Chunk(f"{spec.name}-{place:05d}", Part(spec, part)) for place, part in enumerate(parts)]
            with track(f"evaluate: {spec.name}") as progress:
                workers.run(answer_part, chunks, folder, progress=progress.reach)
            for chunk, part in zip(chunks, parts, strict=True):
                found = fsio.read_lines(folder / chunk.name / FILE)
                if len(found) != len(part):
                    raise DataError(
                        f"{folder / chunk.name}: has {len(found)} answers for {len(part)} pictures; remove it"
                    )
                for question, answer in zip(part, found, strict=True):
                    answers[question.model, question.request][spec.name] = answer
    return answers


def answer_part(part: Part, folder: Path) -> Manifest:
    """Look at the pictures of a part and write the answers, a line each; what workers do."""
    scorer = build(part.spec)
    pictures = [_read(question.file) for question in part.questions]
    answers = scorer.answers(pictures, [question.request for question in part.questions])
    fsio.atomic_write(folder / FILE, "".join(fsio.canonical_json(answer) + "\n" for answer in answers))
    return Manifest(kind=PART_KIND, format_version=PART_FORMAT, seen=len(answers), kept=len(answers))


def _read(file: Path) -> Image.Image:
    try:
        return decode(file.read_bytes()).image
    except (OSError, PictureError) as error:
        raise DataError(f"{file}: cannot be looked at ({error}); remove it or get it again") from error
