"""What models are asked for, as messages name it: the stage, and the settings that a user would reach for."""

from __future__ import annotations

from typing import NamedTuple


class Errand(NamedTuple):
    """Words of messages; changes nothing else."""

    name: str = "questions"
    """What a message begins with."""
    ask_again: str = "ask_again=true"
    """The setting by which refusals are asked about again."""
    without: str = ""
    """How to do without any model; empty where there is no way."""
