"""What label sets hold: how many pictures each class has, and pictures whose prompts are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from animetune.card.lineage import Data, Run
from animetune.prompts import PromptConfig, compose
from animetune.records import Label
from animetune.seeding import Purpose, rng_for

LOOKED_AT = 4000
"""Samples among which the shown one is looked for."""
SAFE_RATINGS = ("g", "s")


def counted(data: Sequence[Data], column: str) -> dict[str, int]:
    """Value -> training samples that are drawn at all, over all label sets; most first. Of lists, each item."""
    total: dict[str, int] = {}
    for each in data:
        if each.labels is None:
            continue
        values = each.labels.column(column).filter(pa.array(_is_trained(each)))
        flat = values.flatten() if pa.types.is_nested(values.type) else values
        for item in pc.value_counts(flat).to_pylist():
            if item["values"] is not None:
                total[item["values"]] = total.get(item["values"], 0) + item["counts"]
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def drawn_samples(data: Sequence[Data]) -> int | None:
    """Training samples with repeats above zero; None where a label set could not be read."""
    if not data or any(each.labels is None for each in data):
        return None
    return sum(int(np.count_nonzero(_is_trained(each))) for each in data)


def example(run: Run) -> tuple[Label, str] | None:
    """A training sample of a harmless rating with its prompt as `compose` made it in the first epoch.

    One with a character and a caption is taken before others, where prompts have such parts.
    """
    parts: set[str] = {part for _, order in run.cfg.prompts.weighted_orders for part in order}
    best: tuple[int, Label, str] | None = None
    for each in run.data:
        if each.labels is None:
            continue
        for row in np.flatnonzero(_is_trained(each))[:LOOKED_AT].tolist():
            label = each.labels.label(row)
            if label.rating not in SAFE_RATINGS:
                continue
            prompt = _prompt(label, run.cfg.prompts, seed=run.cfg.seed, row=row)
            if not prompt:
                continue
            full = _fullness(label, parts)
            if best is None or full > best[0]:
                best = (full, label, prompt)
            if full == _fullness(None, parts):
                return label, prompt
    return best and best[1:]


def _is_trained(data: Data) -> np.ndarray:
    """bool (rows,): whether a sample is of the training split and has repeats above zero."""
    assert data.labels is not None
    assert data.root is not None
    trained = data.labels.repeats > 0
    trained[len(data.root.rows_of("train")) :] = False  # those of validation stand behind
    return trained


def _prompt(label: Label, cfg: PromptConfig, *, seed: int, row: int) -> str:
    return compose(label, cfg, rng_for(seed, Purpose.CAPTION, 0, row, 0))


def _fullness(label: Label | None, parts: set[str]) -> int:
    """How much of what prompts can show a sample has; of None, all of it."""
    wanted = {
        "character": label is None or len(label.tags_character) == 1,
        "series": label is None or bool(label.tags_copyright),
        "artist": label is None or bool(label.tags_artist),
        "caption": label is None or bool(label.captions_long or label.captions_short),
        "quality": label is None or label.quality is not None,
        "year": label is None or label.year is not None,
    }
    return sum(holds for part, holds in wanted.items() if part in parts)
