"""Which style classes a model has learned: by hand, by a table, or by the losses of a training.

AIDXL's second rule boosts a class that is not yet fitted or underfitted, and holds back one that is fitted or
overfitted. How it knows is not published. Of `loss-by-class.csv` we take the last epoch: a class whose loss, relative
to that of all samples at the same timesteps, is above a limit and still falls from epoch to epoch is underfitted. One
that stays above is harder than others, and more of it would not help.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from animetune import fsio
from animetune.curate.config.balance import AdaptiveBalance, Balance
from animetune.curate.weigh.csv_rows import read_rows
from animetune.curate.weigh.styles import Styles
from animetune.errors import DataError

UNDERFITTED, FITTED = "underfitted", "fitted"
WORDS = {"unfitted": UNDERFITTED, "underfitted": UNDERFITTED, "fitted": FITTED, "overfitted": FITTED}
"""What a table may say, and what it comes to."""
LOSS_KIND = "artist"
"""The kind of class in `loss-by-class.csv` that style classes are made of."""


@dataclass(frozen=True, slots=True)
class States:
    """What is known of style classes."""

    of_class: dict[str, str] = field(default_factory=dict)
    """Style class -> UNDERFITTED or FITTED."""
    repeats: dict[str, float] = field(default_factory=dict)
    """Style class -> factor on the repeats of its pictures, by hand."""

    @classmethod
    def load(cls, cfg: AdaptiveBalance, styles: Styles) -> States:
        """What the configuration says, else its table of states, else its losses. DataError for files amiss."""
        table = _read_states(cfg.states) if cfg.states else cls()
        losses = _read_losses(cfg.losses, styles, above=cfg.losses_above) if cfg.losses else {}
        by_hand = dict.fromkeys([*cfg.underfitted, *cfg.repeats], UNDERFITTED) | dict.fromkeys(cfg.fitted, FITTED)
        repeats = {name: factor for name, factor in table.repeats.items() if by_hand.get(name) is None}
        return cls(losses | table.of_class | by_hand, repeats | cfg.repeats)


def load_states(factors: Sequence[Balance], styles: Styles) -> dict[int, States]:
    """Place of each `adaptive` factor -> what is known of style classes. DataError for files amiss."""
    return {
        place: States.load(factor, styles)
        for place, factor in enumerate(factors)
        if isinstance(factor, AdaptiveBalance)
    }


def digest(states: Mapping[int, States]) -> str:
    """SHA-256 of all that is known."""
    known = {str(place): asdict(each) for place, each in states.items()}
    return hashlib.sha256(fsio.canonical_json(known).encode()).hexdigest()


def _read_states(path: Path) -> States:
    found = States()
    setting = "balance: adaptive: states"
    for line, row in read_rows(path, setting, ("style", "state")):
        place, style, word, factor = f"{setting}: {path}:{line}", row["style"], row["state"], row.get("repeats", "")
        if not style:
            raise DataError(f"{place}: names no style")
        if style in found.of_class:
            raise DataError(f"{place}: {style} is in the table twice")
        if word not in WORDS and (word or not factor):
            raise DataError(f"{place}: {style}: {word!r} is no state; there are {', '.join(WORDS)}")
        found.of_class[style] = WORDS[word or UNDERFITTED]
        if factor:
            if found.of_class[style] == FITTED:
                raise DataError(f"{place}: {style} is {word}, so it cannot have repeats; leave one of them empty")
            found.repeats[style] = _number(factor, place, "repeats")
            if not found.repeats[style] > 0:
                raise DataError(f"{place}: repeats: {factor} is no factor; give a number above 0")
    return found


def _read_losses(path: Path, styles: Styles, *, above: float) -> dict[str, str]:
    """Style class -> state, of every class that the training saw; artists of one class are taken together."""
    setting = "balance: adaptive: losses"
    sums: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for line, row in read_rows(path, setting, ("kind", "class", "epoch", "samples", "relative_loss")):
        place = f"{setting}: {path}:{line}"
        style = styles.of_artist(row["class"]) if row["kind"] == LOSS_KIND else None
        if style is not None:
            samples = _number(row["samples"], place, "samples")
            epoch = sums[style][int(_number(row["epoch"], place, "epoch"))]
            epoch[0] += samples
            epoch[1] += samples * _number(row["relative_loss"], place, "relative_loss")
    if not sums:
        raise DataError(
            f"{setting}: {path}: has no line of the kind {LOSS_KIND} whose class is a style; "
            f"set `watch.classes: [{LOSS_KIND}]` in the training's configuration"
        )
    return {style: _state(epochs, above) for style, epochs in sums.items()}


def _state(epochs: Mapping[int, Sequence[float]], above: float) -> str:
    """Of (samples, sum of relative losses) by epoch."""
    losses = [epochs[epoch][1] / epochs[epoch][0] for epoch in sorted(epochs) if epochs[epoch][0] > 0]
    if not losses or losses[-1] <= above:
        return FITTED
    return UNDERFITTED if len(losses) == 1 or losses[-1] < losses[-2] else FITTED


def _number(text: str, place: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {name}: {text!r} is no number")
    return number
