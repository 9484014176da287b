"""The configuration of the arena."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.remote import ON_THIS_MACHINE

Count = Annotated[int, pydantic.Field(ge=1)]
ModelName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
HostName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9.:_\[\]-]+$", max_length=253)]


class ArenaModel(StrictModel):
    """A model, by the pictures that it has drawn."""

    pictures: Annotated[Path, ON_THIS_MACHINE]
    """Folder of its pictures: one of `animetune sample`, `pictures/<model>` of an evaluation, one with an
    `images.jsonl` (file, prompt, seed, width, height), or PNGs that carry A1111's parameters or ComfyUI's graph."""


class ModeConfig(StrictModel):
    """One way to vote."""

    share: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 1.0
    """How often it is played, against the shares of the other modes; 0 is never."""
    prompts: Path | None = None
    """File of the prompts that it is played with: text with one a line, or JSON lines with `prompt`. Null is every
    prompt that two models (in `four`: four) have pictures of."""


class ModesConfig(StrictModel):
    """The ways to vote."""

    fixed: ModeConfig = ModeConfig()
    """Two pictures of a fixed list of prompts; a draw is allowed."""
    duel: ModeConfig = ModeConfig()
    """Two pictures, one of which must be chosen."""
    four: ModeConfig = ModeConfig()
    """Four pictures of four models, the best chosen or all ranked; only where four models have pictures of a prompt."""

    @pydantic.model_validator(mode="after")
    def _plays_something(self) -> ModesConfig:
        if not any(mode.share for mode in (self.fixed, self.duel, self.four)):
            raise ValueError("every mode has a share of 0; give one of fixed, duel and four a larger one")
        return self


class GoalConfig(StrictModel):
    """When it is enough."""

    votes: Count = 600
    """Votes that the page counts towards; 600 order six models of ordinary distances."""
    confidence: Annotated[float, pydantic.Field(gt=0.5, lt=1)] = 0.95
    """With which two models are told apart, over all pairs (Holm); intervals are 95 % whatever it is."""


class ArenaConfig(StrictModel):
    """`animetune arena CONFIG`."""

    stage: Literal["arena"]
    title: str = "Arena"
    """Heading of the pages."""
    intro: str = "Which picture is better?"
    """What voters are told: what to look at, and who sees the votes. Plain text."""
    models: Annotated[dict[ModelName, ArenaModel], pydantic.Field(min_length=2)]
    """What is voted on, by name. Voters see no names before they have voted."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of the votes, `arena.sqlite3`, which are only ever added to. Models and pictures may be added and removed
    between two starts; votes stay. On a disk of this machine: SQLite's log does not work on network file systems."""
    modes: ModesConfig = ModesConfig()
    """The ways to vote, and how often each is played."""
    repeats: Annotated[float, pydantic.Field(ge=0, le=0.5)] = 0.05
    """Share of battles that show a voter an earlier one of theirs again, turned round: how consistent they are."""
    fastest_ms: Annotated[int, pydantic.Field(ge=0)] = 400
    """Votes that came in less time are flagged as fast."""
    explicit: bool = False
    """Show prompts that ask for explicit pictures, too."""
    explicit_words: tuple[Annotated[str, pydantic.Field(min_length=1)], ...] = ("explicit", "nsfw", "rating:e")
    """Words or phrases by which a prompt asks for them."""
    reveal: bool = True
    """Name the models of a battle once it is voted on."""
    valid_minutes: Count = 720
    """A battle that is not voted on for so long cannot be any more."""
    goal: GoalConfig = GoalConfig()
    """When it is enough."""
    host: HostName = "127.0.0.1"
    """Address to listen at; any but this machine's own needs `token_env`."""
    port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 8765
    """Port to listen at; 0 takes a free one."""
    token_env: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable of the secret that voters from other machines, and whoever moderates, give."""
    hosts: tuple[HostName, ...] = ()
    """Names under which browsers may ask for the pages besides `host` and localhost, such as that of a proxy."""

    @pydantic.model_validator(mode="after")
    def _is_guarded(self) -> ArenaConfig:
        if not is_loopback(self.host) and self.token_env is None:
            raise ValueError(
                f"host: {self.host} can be reached from other machines; name in `token_env` the environment variable "
                "of a secret, or listen at 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens at `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
