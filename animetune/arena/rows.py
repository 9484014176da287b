"""Rows of the store as records, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from animetune.arena.battles import Battle
from animetune.arena.gallery import GalleryPicture
from animetune.arena.votes import Vote
from animetune.records import Size


class ShownPicture(NamedTuple):
    """A picture as it was shown, also where it is gone by now."""

    id: int
    model: str
    prompt: str
    seed: int
    width: int
    height: int
    sha256: str
    file: str
    """Where it was when it was first known."""


def to_picture(row: Sequence[Any]) -> ShownPicture:
    """Of a row of `picture`."""
    return ShownPicture(row[0], row[1], row[2], int(row[3]), *row[4:])


def from_picture(picture: GalleryPicture) -> tuple[Any, ...]:
    """A row of `picture`."""
    prompt, seed, size = picture.subject
    return picture.id, picture.model, prompt, str(seed), *size, picture.sha256, str(picture.file)


def pictures_of(row: Sequence[Any]) -> list[int]:
    """The ids in a row of `battle`."""
    return list(map(int, json.loads(row[4])))


def to_battle(row: Sequence[Any], pictures: Sequence[ShownPicture]) -> Battle:
    """Of a row of `battle` and its pictures."""
    number, token, mode, voter, _, repeat_of, _ = row
    first = pictures[0]
    return Battle(
        token=token,
        name=str(number),
        mode=mode,
        voter=voter,
        prompt=first.prompt,
        seed=first.seed,
        size=Size(first.width, first.height),
        pictures=tuple(picture.id for picture in pictures),
        models=tuple(picture.model for picture in pictures),
        repeat_of=None if repeat_of is None else str(repeat_of),
    )


def to_vote(battle: Battle, row: Sequence[Any]) -> Vote:
    """Of a battle and its row of `vote`."""
    _, _, ranks, milliseconds, flags, at = row
    return Vote(
        battle=battle.name,
        mode=battle.mode,
        voter=battle.voter,
        prompt=battle.prompt,
        seed=battle.seed,
        models=battle.models,
        ranks=None if ranks is None else tuple(json.loads(ranks)),
        milliseconds=milliseconds,
        at=at,
        repeat_of=battle.repeat_of,
        flags=tuple(json.loads(flags)),
    )
