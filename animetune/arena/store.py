"""The votes of an arena in one SQLite file: battles are handed out, each takes one vote, and votes are read in order.

What outlives what: a vote is in the log (WAL) before `vote` returns, so that killing the process at any moment, however
hard, loses none that a voter was thanked for. The log reaches the disk within `FLUSH_SECONDS`: a power cut may take the
votes of that last moment, and never leaves a half one. Waiting for the disk at every vote (synchronous = FULL) would
save them too, at a fraction of the speed, for votes that can be cast again.

Several threads and processes may share the file.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from animetune.arena import rows, schema
from animetune.arena.answers import check_ranks, flags_of
from animetune.arena.battles import AlreadyVoted, Battle, Recorded, Stale, UnknownBattle, WrongVoter
from animetune.arena.config import ArenaConfig
from animetune.arena.counting import Counting
from animetune.arena.flushing import Flusher
from animetune.arena.gallery import PLAYERS, Gallery
from animetune.arena.ledger import STORE_NAME, Ledger
from animetune.arena.pairing import Choice, Rules, choose
from animetune.arena.tally import Tally
from animetune.seeding import Purpose, rng_for

FLUSH_SECONDS = 1.0
"""Between two times that the log is brought to the disk, while votes come in."""
_TOKEN_BYTES = 18


class Store(Ledger):
    """The votes, and the battles that become votes. Threads may share it."""

    def __init__(self, file: Path, gallery: Gallery, cfg: ArenaConfig, *, clock: Callable[[], datetime] | None = None):
        """Open the file, or make it; raises as `schema.connect`. `clock` tells the time, UTC."""
        super().__init__(file)
        self.gallery = gallery
        self._cfg = cfg
        self._rules = Rules({mode: getattr(cfg.modes, mode).share for mode in PLAYERS}, cfg.repeats)
        self._clock = clock or (lambda: datetime.now(UTC))
        self._turn = threading.Lock()  # threads of one process wait here, at no cost, and not in SQLite, which sleeps
        self._counting = Counting(gallery)
        self._flusher = Flusher(Path(f"{file}-wal"), FLUSH_SECONDS)
        self._register()

    def new_battle(self, voter: str, rng: np.random.Generator | None = None) -> Battle:
        """Choose and keep the next battle of a voter; `rng` is one that nobody can guess unless it is given.

        Raises NothingToShow when no prompt is left, DiskFull, SetupError.
        """
        rng = rng or rng_for(int.from_bytes(os.urandom(7)), Purpose.PAIRING)
        token = base64.urlsafe_b64encode(os.urandom(_TOKEN_BYTES)).decode()
        with self._turn:
            connection = self._connection()
            choice, pictures = self._choose(connection, voter, rng)
            repeat_of = None if choice.repeat_of is None else int(choice.repeat_of)
            row = (choice.mode, voter, json.dumps(pictures), repeat_of)
            at = self._time()
            with self._writing(connection):
                number = connection.execute(
                    "INSERT INTO battle(token, mode, voter, pictures, repeat_of, at) VALUES (?, ?, ?, ?, ?, ?)",
                    (token, *row, at),
                ).lastrowid
        return self._battle((number, token, *row, at))

    def battle(self, token: str, voter: str) -> Battle:
        """The battle of a token; UnknownBattle, WrongVoter."""
        return self._find(self._connection(), token, voter)[0]

    def open_battles(self, voter: str) -> list[Battle]:
        """What was shown to a voter and can still be voted on, oldest first: what a page that was left goes on with."""
        statement = (
            "SELECT * FROM battle WHERE voter = ? AND at > ? AND NOT EXISTS "
            "(SELECT 1 FROM vote WHERE vote.battle = battle.number) ORDER BY number"
        )
        found = self._connection().execute(statement, (voter, self._oldest())).fetchall()
        known = self.gallery.pictures
        return [self._battle(row) for row in found if all(id_ in known for id_ in rows.pictures_of(row))]

    def vote(self, token: str, voter: str, ranks: Sequence[int] | None, milliseconds: int) -> Recorded:
        """Keep a vote: `ranks` as in `Vote`, in the order shown; `milliseconds` by the voter's clock.

        Raises UnknownBattle, WrongVoter, AlreadyVoted, Stale or BadVote, and DiskFull or SetupError; nothing is kept
        then.
        """
        with self._turn:
            connection = self._connection()
            with self._writing(connection):
                battle, shown_at = self._find(connection, token, voter)
                number = int(battle.name)
                if connection.execute("SELECT 1 FROM vote WHERE battle = ?", (number,)).fetchone():
                    raise AlreadyVoted("this battle has its vote already; ask for the next")
                given = check_ranks(battle.mode, len(battle.pictures), ranks)
                passed = (self._clock() - datetime.fromisoformat(shown_at)) / timedelta(milliseconds=1)
                flags = flags_of(milliseconds, passed, self._cfg.fastest_ms)
                self._check_fresh(battle, shown_at)
                row = (
                    number,
                    None if given is None else json.dumps(given),
                    milliseconds,
                    json.dumps(flags),
                    self._time(),
                )
                recorded = connection.execute(
                    "INSERT INTO vote(battle, ranks, milliseconds, flags, at) VALUES (?, ?, ?, ?, ?)", row
                ).lastrowid
        self._flusher.written()
        assert recorded is not None
        return Recorded(recorded, rows.to_vote(battle, (recorded, *row)))

    def exclude(self, voter: str, reason: str, *, excluded: bool = True) -> None:
        """Leave a voter's votes out from now on, or (`excluded=False`) take them in again; nothing is removed."""
        with self._turn:
            connection = self._connection()
            with self._writing(connection):
                connection.execute(
                    "INSERT INTO exclusion(voter, excluded, reason, at) VALUES (?, ?, ?, ?)",
                    (voter, int(excluded), reason, self._time()),
                )
        self._flusher.written()

    def close(self) -> None:
        """Bring all to the disk, and close; no other thread may be at work."""
        self._flusher.close()
        super().close()

    def _choose(self, connection: sqlite3.Connection, voter: str, rng: np.random.Generator) -> tuple[Choice, list[int]]:
        """A battle, and the ids of its pictures, all of which are there."""
        while True:
            tally = self._counting.up_to_date(connection)
            choice = choose(tally, voter, self._rules, rng)
            pictures = _ids(tally, choice)
            try:
                for picture in pictures:
                    self.gallery.check(picture)
            except Stale:
                self.gallery.drop_missing()  # where one is gone the whole folder may be
                continue
            return choice, pictures

    def _find(self, connection: sqlite3.Connection, token: str, voter: str) -> tuple[Battle, str]:
        """A voter's battle, and when it was made."""
        found = connection.execute("SELECT * FROM battle WHERE token = ?", (token,)).fetchone()
        if found is None:
            raise UnknownBattle("there is no such battle; ask for the next")
        battle = self._battle(found)
        if battle.voter != voter:
            raise WrongVoter("this battle was shown to somebody else; ask for one of your own")
        return battle, found[6]

    def _check_fresh(self, battle: Battle, shown_at: str) -> None:
        if shown_at <= self._oldest():
            raise Stale(f"this battle is older than {self._cfg.valid_minutes} minutes; ask for the next")
        for picture in battle.pictures:
            self.gallery.check(picture)

    @contextlib.contextmanager
    def _writing(self, connection: sqlite3.Connection) -> Iterator[None]:
        """As `schema.writing`, and only into the file that has this name still."""
        self.check_file()
        with schema.writing(connection, self.file):
            yield

    def _register(self) -> None:
        """Keep what is known of the pictures, for when they are gone."""
        connection = self._connection()
        known = {row[0] for row in connection.execute("SELECT id FROM picture")}
        new = [rows.from_picture(each) for id_, each in sorted(self.gallery.pictures.items()) if id_ not in known]
        if new:
            with self._writing(connection):
                connection.executemany(
                    "INSERT INTO picture SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 "
                    "WHERE NOT EXISTS (SELECT 1 FROM picture WHERE id = ?1)",
                    new,
                )

    def _time(self) -> str:
        return self._clock().isoformat(timespec="microseconds")

    def _oldest(self) -> str:
        """Battles of this time or before cannot be voted on any more."""
        return (self._clock() - timedelta(minutes=self._cfg.valid_minutes)).isoformat(timespec="microseconds")


def open_store(cfg: ArenaConfig, gallery: Gallery) -> Store:
    """The store of an arena, in its folder, made if it is not there; raises as `Store`."""
    return Store(cfg.out / STORE_NAME, gallery, cfg)


def _ids(tally: Tally, choice: Choice) -> list[int]:
    ids = tally.field.ids[choice.subject]
    return [ids[tally.field.models[model]] for model in choice.models]
