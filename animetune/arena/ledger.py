"""Reading the votes of an arena, in order, with or without its pictures at hand."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from animetune.arena import rows, schema
from animetune.arena.battles import Battle, UnknownBattle
from animetune.arena.config import ArenaConfig
from animetune.arena.rows import ShownPicture
from animetune.arena.votes import Vote
from animetune.errors import SetupError

STORE_NAME = "arena.sqlite3"
"""In the folder `out` of an arena."""
PAGE = 1000
"""Votes read at once."""


class Counts(NamedTuple):
    """How much there is, excluded voters' too."""

    battles: int
    votes: int


class Ledger:
    """The votes that there are. Threads may share it; each gets a connection of its own."""

    def __init__(self, file: Path):
        """Open the file, or make it; raises as `schema.connect`."""
        self.file = file
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connecting = threading.Lock()
        self._pictures: dict[int, ShownPicture] = {}
        self._connection()
        self._identity = file.stat().st_ino

    def check_file(self) -> None:
        """Raise SetupError when the file was removed or replaced since it was opened: SQLite would write on into what
        nobody can open any more."""
        try:
            is_same = self.file.stat().st_ino == self._identity
        except OSError:
            is_same = False
        if not is_same:
            raise SetupError(
                f"{self.file}: was removed or replaced while the arena was running; nothing more is kept. Put it back "
                "if you can, and start the arena again"
            )

    def votes(self, since: int = 0, *, with_excluded: bool = False) -> Iterator[Vote]:
        """Votes in the order they came in, but the first `since` and those of excluded voters."""
        connection = self._connection()
        excluded = frozenset() if with_excluded else self.excluded()
        statement = (
            "SELECT vote.*, battle.* FROM vote JOIN battle ON battle.number = vote.battle WHERE vote.number > ? "
            "ORDER BY vote.number LIMIT ?"
        )
        while found := connection.execute(statement, (since, PAGE)).fetchall():
            since = found[-1][0]
            for row in found:
                battle = self._battle(row[6:])
                if battle.voter not in excluded:
                    yield rows.to_vote(battle, row[:6])

    def shown(self, battle: str) -> tuple[ShownPicture, ...]:
        """The pictures of a battle by its name, left to right; UnknownBattle."""
        row = self._connection().execute("SELECT * FROM battle WHERE number = ?", (battle,)).fetchone()
        if row is None:
            raise UnknownBattle(f"there is no battle {battle}")
        return tuple(map(self._picture, rows.pictures_of(row)))

    def counts(self) -> Counts:
        """How many battles and votes there are; takes no longer with more of them."""
        # rows are never removed, so that the last number is their count
        statement = "SELECT (SELECT max(number) FROM battle), (SELECT max(number) FROM vote)"
        battles, votes = self._connection().execute(statement).fetchone()
        return Counts(battles or 0, votes or 0)

    def votes_of(self, voter: str) -> int:
        """How often a voter has voted."""
        statement = "SELECT count(*) FROM battle JOIN vote ON vote.battle = battle.number WHERE battle.voter = ?"
        return int(self._connection().execute(statement, (voter,)).fetchone()[0])

    def excluded(self) -> frozenset[str]:
        """The voters whose votes are left out."""
        return schema.excluded_voters(self._connection())

    def close(self) -> None:
        """Close the file; no other thread may be at work."""
        with self._connecting:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _battle(self, row: Sequence[Any]) -> Battle:
        return rows.to_battle(row, [self._picture(picture) for picture in rows.pictures_of(row)])

    def _picture(self, picture: int) -> ShownPicture:
        known = self._pictures.get(picture)
        if known is None:
            row = self._connection().execute("SELECT * FROM picture WHERE id = ?", (picture,)).fetchone()
            known = self._pictures[picture] = rows.to_picture(row)
        return known

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = schema.connect(self.file)
            with self._connecting:
                self._connections.append(connection)
        return connection


def open_votes(cfg: ArenaConfig) -> Ledger:
    """The votes of an arena, whether or not its pictures are still there; SetupError where nobody has voted yet."""
    file = cfg.out / STORE_NAME
    if not file.is_file():
        raise SetupError(f"out: {file} is not there: nobody has voted yet; `animetune arena` serves the arena")
    return Ledger(file)
