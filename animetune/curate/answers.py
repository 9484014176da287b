"""Answers about single pictures, kept for good: what decoding found in one, what a model said of it.

    <answers>/<name>-<digest of settings>/<piece>/    rows.parquet (`question` and the answer's columns), manifest.json

An answer depends on its question and on the settings in the folder's name, never on other rows. So a changed filter,
appended posts, or another table with the same `answers` asks only what was never asked. Workers publish small pieces;
when a part of the rows is done, its pieces become one. Killed or not, and with any number of workers, the answers come
out the same.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from animetune import fsio, tables
from animetune.curate.parts import Part
from animetune.curate.steps import Workplace
from animetune.executor import Chunk, Executor
from animetune.manifest import Manifest, has_manifest, read_manifest, record_files, write_manifest

QUESTION = "question"
"""Column: a number that tells a question from all others of its inquiry (`question_of`)."""

Answerer = Callable[[pl.DataFrame], pl.DataFrame]
"""Of questions, to their answers: `question` and the columns of the answer. A question may be left out, which is asked
again next time. Called in worker processes, so at the top of a module, or a functools.partial of such."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One kind of question, and how it is answered."""

    name: str
    settings: Any
    """JSON value: all that answers depend on beside their question; with a number of its own for their format."""
    answer: Answerer
    columns: Mapping[str, pl.DataType]
    """Of an answer, without `question`."""
    at_a_time: int = 256
    """Questions that a worker is given at once."""

    def folder(self, answers: Path) -> Path:
        """Where its answers are."""
        digest = hashlib.sha256(fsio.canonical_json(self.settings).encode()).hexdigest()
        return answers / f"{self.name}-{digest[:16]}"

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Of a frame of answers."""
        return {QUESTION: pl.UInt64(), **self.columns}


def question_of(*values: Any) -> int:
    """A number for the JSON values that an answer depends on (xxh64: among ten million, two agree by chance once in
    hundreds of thousands of tables)."""
    return xxhash.xxh64_intdigest(fsio.canonical_json(values))


def ask(
    inquiry: Inquiry, questions: Callable[[Part], pl.DataFrame], at: Workplace
) -> Iterator[tuple[Part, pl.DataFrame]]:
    """Each part of the rows, with `key` and the columns of the answer for those of its rows that have one.

    `questions` reads what is asked of a part: `key`, `question`, and what the answerer reads; a question may be that of
    several rows, and a row may have none. Raises SetupError while another process asks the same.
    """
    folder = inquiry.folder(at.answers)
    with fsio.lock(folder):
        fsio.sweep(folder)
        _forget_empty(folder)
        done = 0
        for part in at.rows.parts:
            asked, rows = questions(part), len(part.numbers())
            distinct = asked.unique(QUESTION, keep="first", maintain_order=True)

            def progress(share: float, before: int = done, rows: int = rows) -> None:
                at.progress(before + int(share * rows), at.rows.kept)

            found = _answers(inquiry, distinct, folder, at.executor, progress)
            yield part, asked.select("key", QUESTION).join(found, on=QUESTION, how="inner").drop(QUESTION)
            done += rows


def ask_all(inquiry: Inquiry, asked: pl.DataFrame, at: Workplace) -> pl.DataFrame:
    """`question` and the columns of the answer, for those of the questions that have one.

    For questions that are not of single rows, such as those about pairs: `asked` has distinct ones, and what the
    answerer reads. Raises SetupError while another process asks the same.
    """
    folder = inquiry.folder(at.answers)
    with fsio.lock(folder):
        fsio.sweep(folder)
        _forget_empty(folder)
        return _answers(
            inquiry, asked, folder, at.executor, lambda share: at.progress(int(share * asked.height), asked.height)
        )


def _answers(
    inquiry: Inquiry, asked: pl.DataFrame, folder: Path, executor: Executor, progress: Callable[[float], None]
) -> pl.DataFrame:
    """The answers to distinct questions; `progress` is told the share that is answered."""
    known = known_answers(inquiry, folder, asked[QUESTION])
    missing = asked.filter(~pl.col(QUESTION).is_in(known[QUESTION].implode()))
    pieces = [missing.slice(start, inquiry.at_a_time) for start in range(0, missing.height, inquiry.at_a_time)]
    chunks = [Chunk(_name("piece", piece[QUESTION]), piece) for piece in pieces]

    def told(finished: int, _: int) -> None:
        left = max(0, missing.height - finished * inquiry.at_a_time)
        progress(1 - left / max(1, asked.height))

    executor.run(functools.partial(_answer, inquiry), chunks, folder, progress=told)
    if not chunks:
        return known
    found = pl.concat([pl.read_parquet(folder / chunk.name / "rows.parquet", glob=False) for chunk in chunks])
    keep_answers(found, folder)
    for chunk in chunks:
        fsio.remove(folder / chunk.name)
    return pl.concat([known, found])


def _forget_empty(folder: Path) -> None:
    """Remove pieces without any answer that a killed process left: they have the names of pieces to be asked again."""
    for piece in folder.glob("piece-*"):
        if has_manifest(piece) and not read_manifest(piece).kept:
            fsio.remove(piece)


def _answer(inquiry: Inquiry, questions: pl.DataFrame, folder: Path) -> Manifest:
    """In a worker process: one piece."""
    answers = inquiry.answer(questions).select(pl.col(name).cast(dtype) for name, dtype in inquiry.schema.items())
    return _written(answers, questions.height, folder)


def _written(answers: pl.DataFrame, asked: int, folder: Path) -> Manifest:
    tables.write_parquet(answers, folder / "rows.parquet")
    return Manifest(kind="chunk", format_version=1, seen=asked, kept=answers.height)


def keep_answers(found: pl.DataFrame, folder: Path) -> None:
    """Publish answers as one part of an inquiry's folder; none leave it as it is."""
    if found.is_empty():
        return
    with fsio.publish_dir(folder / _name("part", found[QUESTION])) as temporary:
        manifest = _written(found, found.height, temporary)
        write_manifest(temporary, manifest.model_copy(update={"files": record_files(temporary)}))


def known_answers(inquiry: Inquiry, folder: Path, wanted: pl.Series) -> pl.DataFrame:
    """What is known of the wanted questions. What a killed process left of pieces that became one is there twice."""
    files = sorted(path / "rows.parquet" for path in folder.iterdir() if has_manifest(path))
    known = tables.scan_parts(files, inquiry.schema).filter(pl.col(QUESTION).is_in(wanted.implode()))
    return known.collect().unique(QUESTION, keep="first", maintain_order=True)


def _name(kind: str, questions: pl.Series) -> str:
    return f"{kind}-{xxhash.xxh3_128_hexdigest(questions.to_numpy().tobytes())}"
