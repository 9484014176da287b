"""A recipe in words: the table of its steps, and what came out of one."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from animetune.manifest import Manifest
from animetune.progress import bytes_text, first_of
from animetune.recipe.config import Recipe
from animetune.recipe.ledger import Done
from animetune.recipe.state import State

PLACES = 3
"""Places that a step reads and that are named."""
FACTS = ("step", "images")
"""Facts of manifests that are worth showing as numbers."""
WIDTH = 100


def table_lines(recipe: Recipe, states: Sequence[State]) -> list[str]:
    """All steps: where they stand, what they read and write."""
    runs = sum(state.kind in ("changed", "new") for state in states)
    lines = [f"{recipe.cfg.title} ({recipe.path}): {len(states)} steps, {_to_do(states, runs)}"]
    names = max(len(step.name) for step in recipe.steps)
    kinds = max(len(step.stage) for step in recipe.steps)
    for number, (step, state) in enumerate(zip(recipe.steps, states, strict=True), start=1):
        lines.append(f"{number:3}  {step.name:{names}}  {step.stage:{kinds}}  {state.text}")
        places = first_of(step.reads, PLACES) or "nothing"
        lines.append(f"{'':3}  {'':{names}}  {'':{kinds}}    {places} -> {step.writes}")
    return lines


def counts_of(manifest: Manifest) -> dict[str, Any]:
    """What a manifest counted, and some of its facts."""
    counts: dict[str, Any] = {}
    if manifest.seen:
        lost = {**manifest.dropped, **manifest.quarantined}
        counts = {"seen": manifest.seen, "kept": manifest.kept, "lost": {name: n for name, n in lost.items() if n}}
    facts = {name: manifest.facts[name] for name in FACTS if isinstance(manifest.facts.get(name), int | float)}
    size = sum(record.bytes for record in manifest.files.values())
    return counts | ({"facts": facts} if facts else {}) | ({"bytes": size} if size else {})


def counts_text(done: Done) -> str:
    """`: 593 of 600 kept, 7 too_small`; nothing where nothing was counted."""
    said = said_counts(done.counts)
    return f": {said}" if said else ""


def said_counts(counts: Mapping[str, Any]) -> str:
    """`593 of 600 kept, 7 too_small`, or `900 steps, 28,800 pictures seen`, or `1.2 GB`."""
    if "seen" in counts:
        lost = sorted(counts["lost"].items(), key=lambda item: (-item[1], item[0]))
        reasons = [f"{count:,} {reason}" for reason, count in lost]
        return ", ".join([f"{counts['kept']:,} of {counts['seen']:,} kept", *reasons])
    facts = counts.get("facts", {})
    said = {"step": "steps", "images": "pictures seen"}
    found = [f"{facts[name]:,} {what}" for name, what in said.items() if name in facts]
    return ", ".join(found) or (bytes_text(counts["bytes"]) if "bytes" in counts else "")


def wrapped(text: str, indent: str) -> list[str]:
    """Lines of a paragraph."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _to_do(states: Sequence[State], runs: int) -> str:
    done = sum(state.kind == "done" for state in states)
    waits = sum(state.kind == "waits" for state in states)
    outside = sum(state.kind == "outside" for state in states)
    parts = [f"{runs} to run", f"{done} done"]
    parts += [f"{waits} perhaps again"] if waits else []
    parts += [f"{outside} outside of --from and --until"] if outside else []
    return ", ".join(parts)
