"""What the probe asks: the prompts of its set with their questions, as plain facts that cases carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from animetune import fsio
from animetune.errors import ConfigError
from animetune.evaluate.adherence.compat import CompatQuestion, read_as_published
from animetune.evaluate.adherence.controls import Controls
from animetune.evaluate.adherence.controls import facts_of as controls_facts
from animetune.evaluate.adherence.graph import SHIPPED, Item, Question, build_items, shipped_rows
from animetune.evaluate.adherence.rows import Row, read_rows
from animetune.evaluate.config.adherence import AdherenceConfig
from animetune.evaluate.quarters import QUARTERS
from animetune.progress import first_of
from animetune.text_files import read_text

NAMED = 5
"""Missing files that a message names."""


class AskedItem(NamedTuple):
    """A prompt, and what a case must know of it."""

    key: str
    """Names it and its questions: other questions give another key."""
    prompt: str
    facts: Mapping[str, Any]


def asked_items(probe: AdherenceConfig) -> list[AskedItem]:
    """The prompts of the set, as far as `limit` goes. Raises ConfigError with every mistake in its files.

    Facts of each:

        item        as the file calls it
        questions   what to ask of the picture: id (text, unique), text, and `quarter` where it is a grid
        parts       of the picture that are asked about: "" for all of it, or QUARTERS
        graph       the questions with parents first; empty for prompts that are left out for a mistake
        published   with `compat`, the questions as the published script has them; None where it has none
        controls    ids and texts of questions that should be answered no
        left_out    how many prompts of the file were left out
    """
    if probe.set == "comics":
        name, rows = SHIPPED, shipped_rows()
        prompts = None
    else:
        assert probe.questions is not None
        name, rows = str(probe.questions), read_rows(probe.questions)
        prompts = None if probe.prompts is None else read_prompts(probe.prompts, rows)
    items, _ = build_items(rows, name, prompts, leave_out=probe.mistakes == "leave_out")
    ours = {item.id: item for item in items}
    published = {item: asked for item, (_, asked) in read_as_published(rows).items()} if probe.compat else {}
    texts = {row.item: (prompts or {}).get(row.item, row.text) for row in rows}
    names = [item for item in texts if item in ours or (item in published and texts[item])]
    if probe.limit is not None and probe.limit < len(names):
        names = [names[place * len(names) // probe.limit] for place in range(probe.limit)]
    asked = [_asked(each, texts[each], ours.get(each), published.get(each), probe) for each in names]
    others = Controls(items)
    left_out = len(texts) - len(ours)
    return [
        _completed(each, others.of(each.facts["item"], _own_texts(each), probe.controls), left_out) for each in asked
    ]


def read_prompts(folder: Path, rows: Sequence[Row]) -> dict[str, str]:
    """The texts of `<item_id>.txt` for every prompt of the rows; ConfigError names those that are missing or empty."""
    if not folder.is_dir():
        raise ConfigError(f"prompts: {folder}: there is no such folder; it should hold <item_id>.txt")
    files = {item: folder / f"{item}.txt" for item in dict.fromkeys(row.item for row in rows)}
    absent = [file.name for file in files.values() if not file.is_file()]
    if absent:
        raise ConfigError(
            f"prompts: {folder}: lacks {len(absent)} of {len(files)} prompts: {first_of(absent, NAMED)}; add them, or "
            "remove their questions"
        )
    texts = {item: read_text(file, "prompts").strip() for item, file in files.items()}
    empty = [files[item].name for item, text in texts.items() if not text]
    if empty:
        raise ConfigError(
            f"prompts: {folder}: {first_of(empty, NAMED)}: is empty; write the prompt, or remove its questions"
        )
    return texts


def _asked(
    name: str,
    prompt: str,
    item: Item | None,
    published: Sequence[CompatQuestion] | None,
    probe: AdherenceConfig,
) -> AskedItem:
    parts = ("",) if probe.crop is None else QUARTERS
    graph = [] if item is None else [_fact(question) for question in item.questions]
    texts = {question.id: question.text for question in (item.questions if item else published or ())}
    facts = {
        "item": name,
        "questions": [_question(part, number, text) for part in parts for number, text in texts.items()],
        "parts": list(parts),
        "graph": graph,
        "published": None if published is None else [_published_fact(question) for question in published],
    }
    content = [prompt, graph, facts["published"]]
    return AskedItem(f"{name}-{fsio.short_digest(fsio.canonical_json(content))}", prompt, facts)


def _completed(item: AskedItem, controls: Sequence[str], left_out: int) -> AskedItem:
    """With its controls, which the key of a prompt does not depend on."""
    asked = controls_facts(controls)
    questions = [
        *item.facts["questions"],
        *(_question(part, each["id"], each["text"]) for part in item.facts["parts"] for each in asked),
    ]
    return item._replace(facts={**item.facts, "questions": questions, "controls": asked, "left_out": left_out})


def _own_texts(item: AskedItem) -> list[str]:
    return [item.prompt, *(question["text"] for question in item.facts["questions"])]


def _question(part: str, number: int | str, text: str) -> dict[str, Any]:
    """As the vision model's scorer wants it."""
    return {"id": answer_id(part, number), "text": text, **({"quarter": part} if part else {})}


def answer_id(part: str, number: int | str) -> str:
    """By which the answer to a question about a part of a picture is found."""
    return f"{part}:{number}" if part else str(number)


def _fact(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "text": question.text,
        "parents": list(question.parents),
        "category": question.category,
        "subcategory": question.subcategory,
        "subject": question.subject,
    }


def _published_fact(question: CompatQuestion) -> dict[str, Any]:
    return {
        "id": question.id,
        "text": question.text,
        "parents": list(question.parents),
        "proposition": question.proposition,
    }
