"""Answers about pictures: asked once, whoever asks, however often it is killed, and joined back onto their rows."""

from __future__ import annotations

import functools
from pathlib import Path

import polars as pl
import pytest

from animetune import fsio
from animetune.curate.answers import QUESTION, Inquiry, ask, question_of
from animetune.curate.parts import Part, PartFile
from animetune.curate.steps import Rows, Workplace
from animetune.errors import ChunkError, SetupError
from animetune.executor import LocalExecutor


def squares(
    questions: pl.DataFrame, log: Path, refuse: tuple[int, ...] = (), fail: tuple[int, ...] = ()
) -> pl.DataFrame:
    """The square of `n`; of some there is no answer, and some are an error."""
    for number in questions["n"]:
        if number in fail:
            raise ValueError(f"{number} is too much")
        fsio.append_line(log, {"n": number})
    found = questions.filter(~pl.col("n").is_in(refuse))
    return found.select(QUESTION, square=pl.col("n") ** 2)


def inquiry(log: Path, **settings) -> Inquiry:
    return Inquiry("squares", 1, functools.partial(squares, log=log, **settings), {"square": pl.Int64()}, at_a_time=4)


def workplace(folder: Path, numbers: list[list[int]], workers: int = 0, told: list | None = None) -> Workplace:
    """Rows `s/0`, `s/1` ... with a number each, in parts."""
    folder.mkdir(exist_ok=True)
    parts, row = [], 0
    for index, each in enumerate(numbers):
        path = folder / f"rows-{index}.parquet"
        rows = range(row, row + len(each))
        frame = pl.DataFrame(
            {
                "row": pl.Series(rows, dtype=pl.UInt32),
                "key": [f"s/{r}" for r in rows],
                "n": pl.Series(each, dtype=pl.Int64),
            }
        )
        frame.write_parquet(path)
        parts.append(Part((PartFile(path, ("key", "n")),)))
        row += len(each)
    progress = (lambda done, total: None) if told is None else (lambda done, total: told.append((done, total)))
    before = Rows(parts, row, {})
    return Workplace(before, folder / "chunks", LocalExecutor(workers), progress, folder / "answers")


def questions(part: Part) -> pl.DataFrame:
    """Of all rows but those of the number 99."""
    rows = part.read(("key", "n")).filter(pl.col("n") != 99)
    return rows.with_columns(pl.Series(QUESTION, [question_of(n) for n in rows["n"]], dtype=pl.UInt64))


def asked_in(log: Path) -> list[int]:
    return [record["n"] for record in fsio.read_lines(log)]


def answers(inquiry: Inquiry, at: Workplace) -> dict[str, int]:
    return {key: square for _, found in ask(inquiry, questions, at) for key, square in found.iter_rows()}


NUMBERS = [[1, 2, 3, 1, 99, 4, 5], [], [5, 6, 7, 7, 2]]
SQUARES = {f"s/{row}": n * n for row, n in enumerate(n for part in NUMBERS for n in part) if n != 99}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_question_is_asked_once_and_answers_every_row_that_asks_it(tmp_path: Path, workers: int):
    log, told = tmp_path / "log", []
    at = workplace(tmp_path / "place", NUMBERS, workers, told)
    assert answers(inquiry(log), at) == SQUARES
    assert sorted(asked_in(log)) == [1, 2, 3, 4, 5, 6, 7]
    assert told == sorted(told)
    assert told[-1] == (12, 12)
    assert answers(inquiry(log), at) == SQUARES
    assert len(asked_in(log)) == 7


def test_the_pieces_of_a_part_become_one_and_what_is_left_of_a_kill_does_no_harm(tmp_path: Path):
    log = tmp_path / "log"
    at = workplace(tmp_path / "place", NUMBERS)
    assert answers(inquiry(log), at) == SQUARES
    folder = inquiry(log).folder(at.answers)
    kinds = sorted(path.name.partition("-")[0] for path in folder.iterdir() if not path.name.startswith("."))
    assert kinds == ["part", "part"]

    whole = next(folder.glob("part-*"))
    with fsio.publish_dir(folder / "piece-left") as temporary:  # killed before it was removed
        for file in whole.iterdir():
            fsio.link(file, temporary / file.name)
    assert answers(inquiry(log), at) == SQUARES
    assert len(asked_in(log)) == 7


def test_what_failed_or_was_left_out_is_asked_again_and_nothing_else(tmp_path: Path):
    log = tmp_path / "log"
    at = workplace(tmp_path / "place", NUMBERS)
    with pytest.raises(ChunkError, match="6 is too much"):
        answers(inquiry(log, refuse=(2,), fail=(6,)), at)
    assert sorted(asked_in(log)) == [1, 2, 3, 4, 5]
    without = {key: square for key, square in SQUARES.items() if square != 4}
    assert answers(inquiry(log, refuse=(2,)), at) == without
    assert sorted(asked_in(log)) == [1, 2, 2, 2, 3, 4, 5, 6, 7]  # 2 in the first part again, and in the third
    assert answers(inquiry(log), at) == SQUARES
    assert len(asked_in(log)) == 10


def test_other_settings_ask_anew_and_other_rows_only_what_is_new(tmp_path: Path):
    log = tmp_path / "log"
    at = workplace(tmp_path / "place", NUMBERS)
    answers(inquiry(log), at)
    more = workplace(tmp_path / "place", [[7, 8], *NUMBERS])
    assert answers(inquiry(log), more)["s/1"] == 64
    assert len(asked_in(log)) == 8
    other = Inquiry("squares", 2, functools.partial(squares, log=log), {"square": pl.Int64()})
    answers(other, at)
    assert len(asked_in(log)) == 15


def test_two_that_ask_the_same_take_no_turns(tmp_path: Path):
    at = workplace(tmp_path / "place", NUMBERS)
    asked = inquiry(tmp_path / "log")
    with fsio.lock(asked.folder(at.answers)), pytest.raises(SetupError, match="another animetune process"):
        answers(asked, at)


def test_questions_are_their_values():
    assert question_of("a", None, [1]) == question_of("a", None, [1])
    assert len({question_of("a"), question_of("b"), question_of("a", None), question_of(["a"]), question_of(1)}) == 5
