"""The numbers of an evaluation, read from its results.json as far as they are understood."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from animetune.card.markdown import escape, number, table
from animetune.errors import DataError

RESULTS_NAME = "results.json"
ROWS = 60
"""Most lines of the table."""


def evaluation_section(folder: Path | None) -> str:
    """A table of measures by model; DataError when the folder has no results that can be read."""
    if folder is None:
        return "Nothing was measured for this card."
    rows = list(measured(read_results(folder)))
    if not rows:
        return f"{escape(RESULTS_NAME)} of the evaluation holds no number that this card understands."
    models = list(dict.fromkeys(model for _, _, values in rows for model in values))
    lines = [
        [escape(what), escape(group), *(values.get(model, "-") for model in models)] for what, group, values in rows
    ]
    shown = table(["measure", "of", *(escape(model) for model in models)], lines[:ROWS])
    more = f"\n\nAnd {len(lines) - ROWS} more in the evaluation's own report." if len(lines) > ROWS else ""
    return f"By `animetune evaluate`; in brackets the 95 % interval.\n\n{shown}{more}"


def read_results(folder: Path) -> Any:
    """The JSON of an evaluation; DataError when there is none."""
    path = folder / RESULTS_NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: the results of the evaluation cannot be read ({error}); run `animetune evaluate`, or leave out "
            "`evaluation`"
        ) from error


def measured(results: Any) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(measure, group, model -> value) of every measure, wherever in the results it stands."""
    if isinstance(results, Mapping):
        groups = results.get("groups")
        if isinstance(groups, Mapping):
            title = str(results.get("title") or "")
            for group, found in groups.items():
                models = found.get("models") if isinstance(found, Mapping) else None
                if isinstance(models, Mapping):
                    shown = {str(model): _estimate(each, results.get("unit")) for model, each in models.items()}
                    if scored := {model: text for model, text in shown.items() if text}:
                        yield title, str(group), scored
        for name, value in results.items():
            if name != "groups":
                yield from measured(value)
    elif isinstance(results, list):
        for value in results:
            yield from measured(value)


def _estimate(said: Any, unit: Any) -> str:
    value = said.get("value") if isinstance(said, Mapping) else said
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    interval = said.get("interval") if isinstance(said, Mapping) else None
    text = _written(value, unit)
    if isinstance(interval, list) and len(interval) == 2:
        text += f" ({_written(interval[0], unit)} to {_written(interval[1], unit)})"
    count = said.get("n") if isinstance(said, Mapping) else None
    return f"{text}, n = {count}" if isinstance(count, int) else text


def _written(value: float, unit: Any) -> str:
    return f"{100 * value:.1f} %" if unit == "share" else number(float(f"{value:.4g}"))
