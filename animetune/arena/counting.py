"""Keeping the tally up with the store, whoever wrote there: this process, another thread or another process."""

from __future__ import annotations

import json
import sqlite3

from animetune.arena import schema
from animetune.arena.gallery import Gallery, Subject
from animetune.arena.tally import Field, Shown, Tally
from animetune.records import Size


class Counting:
    """A tally, and how far it has read. One thread at a time."""

    def __init__(self, gallery: Gallery):
        """Nothing is read before `up_to_date`."""
        self._gallery = gallery
        self._pictures: dict[int, tuple[str, Subject]] = {}
        self._excluded: frozenset[str] = frozenset()
        self._battles = self._votes = self._exclusions = 0
        """Numbers of the last rows that were read."""
        self._tally = Tally(Field(gallery))

    def up_to_date(self, connection: sqlite3.Connection) -> Tally:
        """The tally of all battles and votes; begun anew when pictures went, or voters were excluded."""
        exclusions = connection.execute("SELECT max(number) FROM exclusion").fetchone()[0] or 0
        if self._gallery.version != self._tally.field.version or exclusions != self._exclusions:
            self._begin_anew(connection, exclusions)
        connection.execute("BEGIN")  # so that both reads see the same moment
        try:
            battles = connection.execute(
                "SELECT number, mode, voter, pictures, repeat_of FROM battle WHERE number > ? ORDER BY number",
                (self._battles,),
            ).fetchall()
            votes = connection.execute(
                "SELECT vote.number, vote.battle, vote.ranks, vote.flags, battle.voter FROM vote JOIN battle "
                "ON battle.number = vote.battle WHERE vote.number > ? ORDER BY vote.number",
                (self._votes,),
            ).fetchall()
        finally:
            connection.execute("COMMIT")
        for number, mode, voter, pictures, repeat_of in battles:
            self._battles = number
            subject, models = self._places(connection, json.loads(pictures))
            again = None if repeat_of is None else str(repeat_of)
            self._tally.add_battle(voter, Shown(str(number), mode, subject, models, again))
        for number, battle, ranks, flags, voter in votes:
            self._votes = number
            counts = voter not in self._excluded and not json.loads(flags)  # as for the ratings
            self._tally.add_vote(str(battle), None if ranks is None else json.loads(ranks), counts=counts)
        return self._tally

    def _begin_anew(self, connection: sqlite3.Connection, exclusions: int) -> None:
        self._tally = Tally(Field(self._gallery))
        self._battles = self._votes = 0
        self._exclusions = exclusions
        self._excluded = schema.excluded_voters(connection)

    def _places(self, connection: sqlite3.Connection, pictures: list[int]) -> tuple[int, tuple[int, ...]]:
        """Places of the subject and the models in the field; -1 for what is there no more."""
        for id_ in pictures:
            if id_ not in self._pictures:
                model, prompt, seed, *size = connection.execute(
                    "SELECT model, prompt, seed, width, height FROM picture WHERE id = ?", (id_,)
                ).fetchone()
                self._pictures[id_] = model, Subject(prompt, int(seed), Size(*size))
        field = self._tally.field
        subject = field.place.get(self._pictures[pictures[0]][1], -1)
        return subject, tuple(field.model_place.get(self._pictures[id_][0], -1) for id_ in pictures)
