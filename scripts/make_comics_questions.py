"""Make animetune/evaluate/adherence/data/comics.csv, prompts and questions about comics, from scripts/comics_questions.

    python scripts/make_comics_questions.py             # writes the CSV
    python scripts/make_comics_questions.py --check     # exit 1 where it is not what the sources give
    python scripts/make_comics_questions.py --prompts comics-prompts
                                                        # <item_id>.txt too, for tools that read DPG-Bench's folder

cast.txt has characters with the traits that every picture of them should show, scenes.txt what they do; the other
files have prompts of their own. How they are written stands at their tops.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from animetune.evaluate.adherence.rows import COLUMNS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "scripts" / "comics_questions"
CSV = ROOT / "animetune" / "evaluate" / "adherence" / "data" / "comics.csv"
OTHERS = ("together.txt", "pages.txt", "things.txt")
PERSONS = ("girl", "boy", "woman", "man")
_LINE = re.compile(
    r"(?P<axis>[a-z_]+)/(?P<detail>[a-z_]+): (?P<what>[^|]*?)(?: (?P<parents>[!^=][0-9^=,]*))? \| (?P<question>.*)"
)


@dataclass(frozen=True)
class Node:
    """One question; parents are ids."""

    axis: str
    detail: str
    what: str
    """What is asserted; of a trait of the cast, whose it is, too."""
    parents: tuple[int, ...]
    question: str


@dataclass
class Prompt:
    """A prompt with its questions, the first has id 1."""

    id: str
    text: str
    subject: str = ""
    """What questions call the character of the cast; empty for other prompts."""
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Character:
    """Of the cast."""

    name: str
    noun: str
    introduction: str
    traits: list[tuple[str, str, str]] = field(default_factory=list)


def read_cast(text: str) -> dict[str, Character]:
    cast: dict[str, Character] = {}
    for _, line in _lines(text):
        if line.startswith("@"):
            name, noun, introduction = (part.strip() for part in line[1:].split("|"))
            cast[name] = Character(name, noun, introduction)
        else:
            left, question = line.split(" | ")
            part, what = left.split(": ")
            list(cast.values())[-1].traits.append((part, what, question))
    return cast


def read_prompts(text: str, cast: dict[str, Character], name: str) -> list[Prompt]:
    prompts: list[Prompt] = []
    expects_text = False
    before = 0
    for number, line in _lines(text):
        if line.startswith("= "):
            prompts.append(Prompt(line[2:].strip(), ""))
            expects_text = True
        elif expects_text:
            _begin(prompts[-1], line, cast)
            before = len(prompts[-1].nodes)
            expects_text = False
        else:
            _ask(prompts[-1], line, before, f"{name}:{number}")
    return prompts


def csv_text(prompts: Sequence[Prompt]) -> str:
    """The file, in DPG-Bench's columns; `keywords` are what is asserted, in short."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for prompt in prompts:
        keywords = "; ".join(dict.fromkeys(node.what for node in prompt.nodes))
        for number, node in enumerate(prompt.nodes, start=1):
            writer.writerow(
                [
                    prompt.id,
                    prompt.text,
                    keywords if number == 1 else "",
                    number,
                    ",".join(map(str, node.parents or (0,))),
                    node.axis,
                    node.detail,
                    f"{node.axis} - {node.detail} ({node.what})",
                    node.question,
                ]
            )
    return out.getvalue()


def all_prompts() -> list[Prompt]:
    cast = read_cast((SOURCES / "cast.txt").read_text(encoding="utf-8"))
    found = read_prompts((SOURCES / "scenes.txt").read_text(encoding="utf-8"), cast, "scenes.txt")
    for name in OTHERS:
        found += read_prompts((SOURCES / name).read_text(encoding="utf-8"), {}, name)
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def _begin(prompt: Prompt, line: str, cast: dict[str, Character]) -> None:
    for name, character in cast.items():
        if "{" + name + "}" not in line:
            continue
        line = line.replace("{" + name + "}", character.introduction)
        prompt.subject = noun = character.noun
        axis, detail = ("gender", noun) if noun in PERSONS else ("count", "presence")
        prompt.nodes.append(Node(axis, detail, noun, (), f"Is there a {noun} in the picture?"))
        prompt.nodes += [
            Node("character_consistency", part, f"{name}, {what}", (1,), question)
            for part, what, question in character.traits
        ]
    prompt.text = line


def _ask(prompt: Prompt, line: str, before: int, place: str) -> None:
    match = _LINE.fullmatch(line)
    if match is None:
        raise SystemExit(f"{place}: should be axis/detail: what is asserted | question, but is: {line}")
    number = len(prompt.nodes) + 1
    parents = _parents(match["parents"] or "", number, before)
    if prompt.subject and re.search(rf"\b(the|a) {prompt.subject}\b", match["question"]):
        parents = tuple(sorted({1, *parents}))
    if any(not 1 <= parent < number for parent in parents):
        raise SystemExit(f"{place}: depends on a question that does not stand above it: {match['parents']}")
    prompt.nodes.append(Node(match["axis"], match["detail"], match["what"], parents, match["question"]))


def _parents(given: str, number: int, before: int) -> tuple[int, ...]:
    """`^` is the line above, `=2` the second of the prompt's own lines, `!` nothing; else the first question."""
    if given == "!" or (not given and number == 1):
        return ()
    if not given:
        return (1,)
    found = [
        number - len(part) if part.startswith("^") else before + int(part)
        for part in given.removeprefix("=").split(",")
    ]
    return tuple(sorted(found))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the CSV is not up to date")
    parser.add_argument("--prompts", type=Path, help="folder for <item_id>.txt")
    given = parser.parse_args(argv)
    prompts = all_prompts()
    text = csv_text(prompts)
    if given.check:
        if CSV.read_bytes().decode() != text:
            print(f"{CSV.name} is not what {SOURCES.name} gives; run {Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    CSV.write_bytes(text.encode())
    if given.prompts:
        given.prompts.mkdir(parents=True, exist_ok=True)
        for prompt in prompts:
            (given.prompts / f"{prompt.id}.txt").write_bytes(prompt.text.encode())
    print(f"{len(prompts)} prompts, {sum(len(prompt.nodes) for prompt in prompts)} questions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
