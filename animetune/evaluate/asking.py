"""Ask scorers about pictures: in chunks, which stay when a run is killed, in as many processes as are given.

    pictures that nobody asked about --cut--> chunks of CHUNK --executor--> <answers>/<scorer>-<digest>/<piece>/

Several evaluations may ask at the same time and share `answers`. The first hexadecimal digit of a picture's digest says
whose turn it is: an evaluation takes the digits that no other holds, looks what was answered by now, and asks the rest.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animetune import fsio
from animetune.errors import DataError, PictureError
from animetune.evaluate.scorers import FEATURIZERS, ScorerSpec, build_featurizer, build_scorer
from animetune.evaluate.store import Shelf, piece_name, write_answers, write_features
from animetune.executor import Chunk, Executor
from animetune.manifest import Manifest
from animetune.pictures import decode
from animetune.progress import track

CHUNK = 64
"""Pictures looked at between two results that are kept."""
ROUND = 4
"""Chunks for each worker that an evaluation keeps others from asking."""
PIECE_KIND = "answers-piece"
PIECE_FORMAT = 1
_DIGITS = "0123456789abcdef"
_TURNS = "turns"


class Part(NamedTuple):
    """What a worker is given."""

    spec: ScorerSpec
    pictures: tuple[tuple[str, Path], ...]
    """Digest and file of each."""


def ask(spec: ScorerSpec, pictures: Mapping[str, Path], answers: Path, workers: Executor) -> dict[str, Any]:
    """Digest of a picture's bytes -> what the scorer says of it: JSON, or float32 (d,) of a featurizer.

    `pictures` are files by digest. Nothing is asked that `answers` knows. Raises ChunkError when a picture cannot be
    read or a scorer has no answer, DataError for answers that are damaged.
    """
    folder = answers / spec.folder_name
    shelf = Shelf(folder)
    _sweep(folder)
    found = shelf.take(pictures)
    waiting: dict[str, list[str]] = {}
    for digest in pictures:
        if digest not in found:
            waiting.setdefault(digest[0], []).append(digest)
    with track(f"evaluate: {spec.name}", len(pictures), done=len(found)) as progress:
        while waiting:
            with contextlib.ExitStack() as turns:
                taken = _take_turns(turns, folder, waiting, CHUNK * ROUND * max(1, workers.workers))
                asked = [digest for digit in taken for digest in waiting.pop(digit)]
                found |= shelf.take(asked)
                missing = [(digest, pictures[digest]) for digest in asked if digest not in found]
                done = len(found)

                def reached(finished: int, _: int, done: int = done, count: int = len(missing)) -> None:
                    progress.reach(done + min(finished * CHUNK, count), len(pictures))

                workers.run(answer_part, _chunks(spec, missing), folder, progress=reached)
                found |= shelf.take(digest for digest, _ in missing)
    return {digest: found[digest] for digest in pictures}


def answer_part(part: Part, folder: Path) -> Manifest:
    """Look at the pictures of a part and write what is to be said of them; what workers do.

    No more than a batch is decoded at once: real pictures may be large, and a scorer reads them small.
    """
    digests = [digest for digest, _ in part.pictures]
    files = [file for _, file in part.pictures]
    size = part.spec.batch
    batches = ([_read(file) for file in files[start : start + size]] for start in range(0, len(files), size))
    if part.spec.name in FEATURIZERS:
        features = build_featurizer(part.spec).features
        write_features(folder, digests, np.concatenate([features(pictures) for pictures in batches]))
    else:
        answers = build_scorer(part.spec).answers
        write_answers(folder, digests, [answer for pictures in batches for answer in answers(pictures)])
    return Manifest(kind=PIECE_KIND, format_version=PIECE_FORMAT, seen=len(files), kept=len(files))


def _chunks(spec: ScorerSpec, missing: Sequence[tuple[str, Path]]) -> list[Chunk]:
    parts = [tuple(missing[start : start + CHUNK]) for start in range(0, len(missing), CHUNK)]
    return [Chunk(piece_name([digest for digest, _ in part]), Part(spec, part)) for part in parts]


def _take_turns(
    turns: contextlib.ExitStack, folder: Path, waiting: Mapping[str, Sequence[str]], enough: int
) -> list[str]:
    """Digits that are this evaluation's to ask, about `enough` pictures together; waits where others hold all."""
    taken: list[str] = []
    for digit in sorted(waiting):
        if taken and sum(len(waiting[each]) for each in taken) + len(waiting[digit]) > enough:
            break
        if turns.enter_context(fsio.turn_if_free(folder / _TURNS / digit)):
            taken.append(digit)
    if not taken:
        first = min(waiting)
        waiting_for = functools.partial(track, f"evaluate: wait for another evaluation at {folder}")
        turns.enter_context(fsio.turn(folder / _TURNS / first, waiting_for))
        taken.append(first)
    return taken


def _sweep(folder: Path) -> None:
    """Remove what killed evaluations left, unless another one is at work."""
    with contextlib.ExitStack() as turns:
        held = (turns.enter_context(fsio.turn_if_free(folder / _TURNS / digit)) for digit in _DIGITS)
        if all(held):
            fsio.sweep(folder)


def _read(file: Path) -> Image.Image:
    try:
        return decode(file.read_bytes()).image
    except (OSError, PictureError) as error:
        raise DataError(f"{file}: cannot be looked at ({error}); remove it or get it again") from error
