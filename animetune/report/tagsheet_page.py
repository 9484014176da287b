"""The page of a vocabulary and the list beside it that autocomplete extensions read."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animetune import fsio
from animetune.figures import page_environment, visible, write_page
from animetune.prompt_weights import escape
from animetune.prompts import render_tag
from animetune.prompts.config import WORD_PARTS
from animetune.report.tagsheet_counts import KINDS, Word

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT = TEMPLATES / "tagsheet.js"
TITLES = {
    "character": "Characters",
    "series": "Series",
    "artist": "Artists and styles",
    "general": "General tags",
    "count": "People",
    "special": "Special tags",
    "extra": "Added words",
    "quality": "Quality",
    "aesthetic": "Aesthetic",
    "rating": "Rating",
    "year": "Year",
}
"""Kind -> heading."""
_CATEGORIES = {"artist": 1, "series": 3, "character": 4, "general": 0, "count": 0}
"""Kind -> Danbooru's number of its category; all others are meta."""
_META = 5


@dataclass(frozen=True)
class Sheet:
    """Everything that the page shows."""

    title: str
    lead: str
    words: Sequence[Word]
    notes: Sequence[str] = ()
    """What is left out, and why."""


def write(sheet: Sheet, path: Path) -> Path:
    """Write the page to `path` and the list beside it; returns `path`."""
    fsio.atomic_write(path.with_suffix(".csv"), completion_list(sheet.words).encode("utf-8", errors="replace"))
    write_page(path, render(sheet))
    return path


def render(sheet: Sheet) -> str:
    """The page: data as JSON, and one script, which the policy of the page names by its hash; nothing else runs."""
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    counts = {kind: sum(word.kind == kind for word in sheet.words) for kind in KINDS}
    return (
        page_environment(TEMPLATES)
        .get_template("tagsheet.html.j2")
        .render(
            title=sheet.title,
            lead=sheet.lead,
            notes=sheet.notes,
            sections=[],
            kinds=[(kind, TITLES[kind], count) for kind, count in counts.items() if count],
            has_seen=any(word.seen is not None for word in sheet.words),
            total=len(sheet.words),
            data=data_of(sheet.words),
            script=script,
            script_hash=digest,
        )
    )


def data_of(words: Sequence[Word]) -> str:
    """The words as JSON that may stand in HTML: kind, shown text, trigger (null: as shown), pictures, seen, series."""
    rows = []
    for word in words:
        trigger = escape(word.text)
        shown = visible(trigger, 200)
        rows.append(
            [
                KINDS.index(word.kind),
                shown,
                None if shown == trigger else trigger,
                word.pictures,
                word.seen,
                visible(escape(word.series), 200) if word.series else "",
            ]
        )
    text = json.dumps({"kinds": [TITLES[kind] for kind in KINDS], "rows": rows}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def completion_list(words: Sequence[Word]) -> str:
    """Lines of tag, category, count, aliases, as a1111-sd-webui-tagcomplete and its relatives for ComfyUI read them.

    They put spaces for underscores and escape brackets themselves. A word that prompts write with a prefix is listed
    with it and found without it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    listed: set[str] = set()
    for word in sorted(words, key=lambda word: (-word.pictures, KINDS.index(word.kind), word.text)):
        tag, alias = _completion(word)
        if tag in listed:
            continue
        listed.add(tag)
        writer.writerow([tag, _CATEGORIES.get(word.kind, _META), word.pictures, alias])
    return text.getvalue()


def _completion(word: Word) -> tuple[str, str]:
    """What is put in, underscored where it is a tag, and what it is also found by."""
    if word.kind in WORD_PARTS:
        return word.text, ""
    plain = render_tag(word.tag)
    prefix = word.text.removesuffix(plain)
    return prefix.replace(" ", "_") + word.tag, word.tag if prefix else ""
