"""Several inquiries with the same questions, answered in one go: what they share is done once.

Taggers and scorers all want the picture decoded, which takes longer than a GPU needs to look at it. So a worker is
given questions and which inquiries lack them, and answers all of these. The answers lie with each inquiry as if it had
been asked alone: another model asks nothing of those that were there before, and appended posts ask all.

    <answers>/together-<digest>/<piece>/rows-<n>.parquet      what workers finished; moved to each inquiry's folder when
                                                              a part of the rows is done, or by the next run
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import xxhash

from animetune import fsio, tables
from animetune.curate.answers import QUESTION, Inquiry, keep_answers, known_answers
from animetune.curate.parts import Part
from animetune.curate.steps import Workplace
from animetune.executor import Chunk
from animetune.manifest import Manifest, has_manifest

JointAnswerer = Callable[[pl.DataFrame, Sequence[int]], Sequence[pl.DataFrame]]
"""Of questions and the numbers of inquiries, to the answers of each: `question` and its columns. Called in worker
processes, so at the top of a module, or a functools.partial of such."""


def ask_together(
    inquiries: Sequence[Inquiry], answer: JointAnswerer, questions: Callable[[Part], pl.DataFrame], at: Workplace
) -> Iterator[tuple[Part, list[pl.DataFrame]]]:
    """Each part of the rows, with `key` and the columns of its answer for every inquiry.

    `questions` as of `answers.ask`; `answer` is called instead of the inquiries' own. Raises SetupError while another
    process asks one of them.
    """
    folders = [inquiry.folder(at.answers) for inquiry in inquiries]
    together = at.answers / f"together-{_digest(folder.name for folder in folders)}"
    with contextlib.ExitStack() as locks:
        for folder in sorted({together, *folders}):
            locks.enter_context(fsio.lock(folder))
            fsio.sweep(folder)
        _share_out(inquiries, folders, together)
        done = 0
        for part in at.rows.parts:
            asked, rows = questions(part), len(part.numbers())
            distinct = asked.unique(QUESTION, keep="first", maintain_order=True)
            chunks = _pieces(inquiries, folders, distinct)

            def progress(finished: int, count: int, before: int = done, rows: int = rows) -> None:
                at.progress(before + (finished * rows // count if count else rows), at.rows.kept)

            at.executor.run(functools.partial(_answer, answer, inquiries), chunks, together, progress=progress)
            _share_out(inquiries, folders, together)
            yield (
                part,
                [
                    asked.select("key", QUESTION)
                    .join(known_answers(inquiry, folder, distinct[QUESTION]), on=QUESTION, how="inner")
                    .drop(QUESTION)
                    for inquiry, folder in zip(inquiries, folders, strict=True)
                ],
            )
            done += rows


def _pieces(inquiries: Sequence[Inquiry], folders: Sequence[Path], asked: pl.DataFrame) -> list[Chunk]:
    """What workers are given: questions that the same inquiries lack, and the numbers of these."""
    if not inquiries:
        return []
    lacks = [
        ~asked[QUESTION].is_in(known_answers(inquiry, folder, asked[QUESTION])[QUESTION].implode())
        for inquiry, folder in zip(inquiries, folders, strict=True)
    ]
    pattern = np.zeros(asked.height, dtype=np.uint64)
    for number, lack in enumerate(lacks):
        pattern |= lack.to_numpy().astype(np.uint64) << np.uint64(number)
    chunks = []
    for bits in sorted(set(pattern.tolist()) - {0}):
        numbers = tuple(number for number in range(len(inquiries)) if bits >> number & 1)
        missing, size = asked.filter(pl.Series(pattern == bits)), min(inquiries[number].at_a_time for number in numbers)
        for start in range(0, missing.height, size):
            piece = missing.slice(start, size)
            name = f"piece-{bits:x}-{xxhash.xxh3_128_hexdigest(piece[QUESTION].to_numpy().tobytes())}"
            chunks.append(Chunk(name, (piece, numbers)))
    return chunks


def _answer(
    answer: JointAnswerer, inquiries: Sequence[Inquiry], payload: tuple[pl.DataFrame, Sequence[int]], folder: Path
) -> Manifest:
    """In a worker process: one piece."""
    questions, numbers = payload
    for number, found in zip(numbers, answer(questions, numbers), strict=True):
        columns = [pl.col(name).cast(dtype) for name, dtype in inquiries[number].schema.items()]
        tables.write_parquet(found.select(columns), folder / f"rows-{number}.parquet")
    return Manifest(kind="chunk", format_version=1, seen=questions.height, kept=questions.height)


def _share_out(inquiries: Sequence[Inquiry], folders: Sequence[Path], together: Path) -> None:
    """Move what workers finished to the inquiries. Killed in between, the next run does it again, to the same end."""
    pieces = sorted(path for path in together.glob("piece-*") if has_manifest(path))
    for number, (inquiry, folder) in enumerate(zip(inquiries, folders, strict=True)):
        files = [piece / f"rows-{number}.parquet" for piece in pieces]
        found = [pl.read_parquet(file, glob=False) for file in files if file.exists()]
        if found:
            keep_answers(pl.concat(found).select(list(inquiry.schema)), folder)
    for piece in pieces:
        fsio.remove(piece)


def _digest(names: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
