"""Prompts with their questions, each question a node of a graph whose edges come from the questions it depends on."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from animetune.errors import ConfigError
from animetune.evaluate.adherence.rows import Row, parse_rows, shortened

SHIPPED = "comics.csv"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a picture, answered yes where the prompt is followed."""

    id: int
    text: str
    parents: tuple[int, ...]
    """Questions that must be answered yes for a yes to this one to count."""
    category: str
    """The axis that it is counted under."""
    subcategory: str
    proposition: str

    @property
    def subject(self) -> str:
        """What the proposition is about: the first name between its brackets; empty where there is none."""
        _, _, inside = self.proposition.partition("(")
        return inside.rstrip(")").split(",")[0].strip()


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and its questions, parents before those that depend on them."""

    id: str
    prompt: str
    questions: tuple[Question, ...]


def shipped_rows() -> list[Row]:
    """The rows of the questions about comics that come with animetune."""
    file = importlib.resources.files("animetune.evaluate.adherence") / "data" / SHIPPED
    return parse_rows(file.read_text(encoding="utf-8"), SHIPPED)


def build_items(
    rows: Iterable[Row], name: str, prompts: Mapping[str, str] | None = None, *, leave_out: bool = False
) -> tuple[list[Item], list[str]]:
    """(the prompts in the order of the rows, the mistakes in those left out).

    `prompts` are texts by item that stand for those of the rows. Raises ConfigError with every mistake as
    `file:line: what`, or, with `leave_out`, leaves out the prompts that have one; one must be left.
    """
    blocks = [(item, list(block)) for item, block in groupby(rows, key=lambda row: row.item)]
    first_lines: dict[str, int] = {}
    items, problems = [], []
    for item, block in blocks:
        found = _problems(block, first_lines.get(item), prompts)
        first_lines.setdefault(item, block[0].line)
        problems += [f"{name}:{line}: {item}: {what}" for line, what in found]
        if not found:
            items.append(Item(item, block[0].text if prompts is None else prompts[item], _questions(block)))
    if problems and (not leave_out or not items):
        raise ConfigError(shortened(problems))
    return items, problems


def ordered(parents: Mapping[int, Sequence[int]]) -> list[int]:
    """The questions, each after those that it depends on, else in the order given.

    Raises ValueError for a circle, with the questions on it as its argument.
    """
    done: dict[int, None] = {}
    for start in parents:
        if start not in done:
            _visit(start, parents, done)
    return list(done)


def _visit(start: int, parents: Mapping[int, Sequence[int]], done: dict[int, None]) -> None:
    """Depth first without recursion, so that a chain may be as long as it likes."""
    path = {start: iter(parents[start])}
    while path:
        here = next(reversed(path))
        for other in path[here]:
            if other in path:
                circle = list(path)
                raise ValueError([*circle[circle.index(other) :], other])
            if other not in done:
                path[other] = iter(parents[other])
                break
        else:
            del path[here]
            done[here] = None


def _questions(block: Sequence[Row]) -> tuple[Question, ...]:
    by_id = {row.id: row for row in block}
    return tuple(_question(by_id[number]) for number in ordered({row.id: row.parents for row in block}))


def _question(row: Row) -> Question:
    return Question(row.id, row.question, row.parents, row.broad or "other", row.detailed or "other", row.proposition)


def _problems(block: Sequence[Row], earlier: int | None, prompts: Mapping[str, str] | None) -> list[tuple[int, str]]:
    """(line, what is wrong) of one prompt's rows."""
    first = block[0]
    if earlier is not None:
        return [(first.line, f"has rows in line {earlier} already; put the rows of a prompt together")]
    found = []
    if prompts is None and not first.text:
        found.append(
            (first.line, "text: is empty; give `prompts`, the folder of <item_id>.txt, or write the prompt here")
        )
    if prompts is not None and first.item not in prompts:
        found.append((first.line, f"has no prompt; the folder of prompts should have {first.item}.txt"))
    lines: dict[int, int] = {}
    for row in block:
        if row.id in lines:
            found.append((row.line, f"question {row.id} is there already, in line {lines[row.id]}"))
        lines.setdefault(row.id, row.line)
        if prompts is None and row.text != first.text:
            found.append((row.line, f"text: is not that of line {first.line}, though it is the same prompt"))
    absent = [(row, parent) for row in block for parent in row.parents if parent not in lines]
    found += [(row.line, f"question {row.id} depends on {parent}, which is not there") for row, parent in absent]
    if not found:
        try:
            ordered({row.id: row.parents for row in block})
        except ValueError as error:
            circle = error.args[0]
            found.append(
                (lines[circle[0]], f"questions depend on each other in a circle: {' on '.join(map(str, circle))}")
            )
    return found
