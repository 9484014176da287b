"""The votes of an arena in one SQLite file: battles are handed out, each takes one vote, and votes are read in order.

What outlives what: a vote is in the log (WAL) before `vote` returns, so that killing the process at any moment, however
hard, loses none that a voter was thanked for. The log reaches the disk within `FLUSH_SECONDS`: a power cut may take the
votes of that last moment, and never leaves a half one. Waiting for the disk at every vote (synchronous = FULL) would
save them too, at a tenth or less of the speed, for votes that can be cast again.

Several threads and processes may share the file.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animetune.arena import schema
from animetune.arena.battles import AlreadyVoted, BadVote, Battle, Recorded, Stale, UnknownBattle, WrongVoter
from animetune.arena.config import ArenaConfig
from animetune.arena.counting import Counting
from animetune.arena.flushing import Flusher
from animetune.arena.gallery import Gallery, Subject
from animetune.arena.pairing import Rules, choose
from animetune.arena.ranks import check_ranks
from animetune.arena.votes import Vote
from animetune.records import Size
from animetune.seeding import Purpose, rng_for

STORE_NAME = "arena.sqlite3"
FLUSH_SECONDS = 1.0
"""Between two times that the log is brought to the disk, while votes come in."""
LONGEST_MS = 24 * 3600 * 1000
"""What a vote can say that it took."""
CLOCK_SLACK_MS = 5000
"""By how much a voter's clock may differ from ours."""
_TOKEN_BYTES = 18
_VOTES = """
    SELECT vote.number, battle.number, battle.mode, battle.voter, battle.pictures, vote.ranks, vote.milliseconds,
           vote.at, battle.repeat_of, vote.flags
    FROM vote JOIN battle ON battle.number = vote.battle WHERE vote.number > ? ORDER BY vote.number"""


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
    """Where it was when it was first shown."""


class Counts(NamedTuple):
    """How much there is."""

    battles: int
    votes: int
    voters: int
    """Who have voted."""


class Store:
    """Battles and votes. Threads may share it; each gets a connection of its own."""

    def __init__(self, file: Path, gallery: Gallery, cfg: ArenaConfig, *, clock: Callable[[], datetime] | None = None):
        """Open the file, or make it; raises as `schema.connect`. `clock` tells the time, UTC."""
        self.file = file
        self.gallery = gallery
        self._cfg = cfg
        self._rules = Rules({mode: getattr(cfg.modes, mode).share for mode in ("fixed", "duel", "four")}, cfg.repeats)
        self._clock = clock or (lambda: datetime.now(timezone.utc))
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connecting = threading.Lock()
        self._turn = threading.Lock()  # threads of one process wait here, at no cost, and not in SQLite, which sleeps
        self._shown: dict[int, ShownPicture] = {}
        self._counting = Counting(gallery)
        self._flusher = Flusher(Path(f"{file}-wal"), FLUSH_SECONDS)
        self._register()

    def new_battle(self, voter: str, rng: np.random.Generator | None = None) -> Battle:
        """Choose and keep the next battle of a voter; `rng` is one that nobody can guess unless it is given.

        Raises NothingToShow when no prompt is left, DiskFull, SetupError.
        """
        rng = rng or rng_for(int.from_bytes(os.urandom(7)), Purpose.PAIRING)
        with self._turn:
            connection = self._connection()
            tally = self._counting.up_to_date(connection)
            choice = choose(tally, voter, self._rules, rng)
            ids = tally.field.ids[choice.subject]
            pictures = [ids[tally.field.models[model]] for model in choice.models]
            token = base64.urlsafe_b64encode(os.urandom(_TOKEN_BYTES)).decode()
            row = (token, choice.mode, voter, json.dumps(pictures), choice.repeat_of and int(choice.repeat_of))
            with schema.writing(connection, self.file):
                number = connection.execute(
                    "INSERT INTO battle(token, mode, voter, pictures, repeat_of, at) VALUES (?, ?, ?, ?, ?, ?)",
                    (*row, self._now()),
                ).lastrowid
        return self._battle((number, *row))

    def battle(self, token: str, voter: str) -> Battle:
        """The battle of a token; UnknownBattle, WrongVoter."""
        return self._battle(self._row(self._connection(), token, voter))

    def open_battles(self, voter: str) -> list[Battle]:
        """What was shown to a voter and can still be voted on, oldest first: what a page that was left goes on with."""
        rows = self._connection().execute(
            "SELECT number, token, mode, voter, pictures, repeat_of, at FROM battle WHERE voter = ? AND at > ? AND NOT "
            "EXISTS (SELECT 1 FROM vote WHERE vote.battle = battle.number) ORDER BY number",
            (voter, self._oldest()),
        )
        known = self.gallery.pictures
        return [self._battle(row[:6]) for row in rows.fetchall() if all(id_ in known for id_ in json.loads(row[4]))]

    def vote(self, token: str, voter: str, ranks: Sequence[int] | None, milliseconds: int) -> Recorded:
        """Keep a vote: `ranks` as in `Vote`, in the order shown; `milliseconds` by the voter's clock.

        Raises UnknownBattle, WrongVoter, AlreadyVoted, Stale or BadVote, and DiskFull, SetupError; then nothing is kept.
        """
        with self._turn:
            connection = self._connection()
            with schema.writing(connection, self.file):
                row = self._row(connection, token, voter)
                if connection.execute("SELECT 1 FROM vote WHERE battle = ?", (row[0],)).fetchone():
                    raise AlreadyVoted("this battle has its vote already; ask for the next")
                battle, shown_at = self._battle(row), row[6]
                ranks = check_ranks(battle.mode, len(battle.pictures), ranks)
                self._check_fresh(battle, shown_at)
                flags = self._flags(milliseconds, shown_at)
                at = self._now()
                number = connection.execute(
                    "INSERT INTO vote(battle, ranks, milliseconds, flags, at) VALUES (?, ?, ?, ?, ?)",
                    (row[0], None if ranks is None else json.dumps(ranks), milliseconds, json.dumps(flags), at),
                ).lastrowid
        self._flusher.written()
        assert number is not None
        return Recorded(number, self._vote(battle, ranks, milliseconds, at, flags))

    def votes(self, since: int = 0, *, with_excluded: bool = False) -> Iterator[Vote]:
        """Votes in the order they came in, but the first `since` and those of excluded voters."""
        connection = self._connection()
        excluded = frozenset() if with_excluded else self.excluded()
        while rows := connection.execute(f"{_VOTES} LIMIT 1000", (since,)).fetchall():  # noqa: S608
            for number, battle, mode, voter, pictures, ranks, milliseconds, at, repeat_of, flags in rows:
                since = number
                if voter in excluded:
                    continue
                shown = self._battle((battle, "", mode, voter, pictures, repeat_of))
                given = None if ranks is None else tuple(json.loads(ranks))
                yield self._vote(shown, given, milliseconds, at, json.loads(flags))

    def shown(self, battle: str) -> tuple[ShownPicture, ...]:
        """The pictures of a battle by its name, left to right; UnknownBattle."""
        row = self._connection().execute("SELECT pictures FROM battle WHERE number = ?", (int(battle),)).fetchone()
        if row is None:
            raise UnknownBattle(f"there is no battle {battle}")
        return tuple(self._picture(id_) for id_ in json.loads(row[0]))

    def counts(self) -> Counts:
        """How many battles and votes there are, excluded voters' too."""
        return Counts(*self._connection().execute(
            "SELECT (SELECT count(*) FROM battle), (SELECT count(*) FROM vote), (SELECT count(DISTINCT battle.voter) "
            "FROM vote JOIN battle ON battle.number = vote.battle)"
        ).fetchone())  # fmt: skip

    def votes_of(self, voter: str) -> int:
        """How often a voter has voted."""
        return int(self._connection().execute(
            "SELECT count(*) FROM vote JOIN battle ON battle.number = vote.battle WHERE battle.voter = ?", (voter,)
        ).fetchone()[0])  # fmt: skip

    def exclude(self, voter: str, reason: str, *, excluded: bool = True) -> None:
        """Leave a voter's votes out from now on, or (`excluded=False`) take them in again; nothing is removed."""
        with self._turn:
            connection = self._connection()
            with schema.writing(connection, self.file):
                connection.execute(
                    "INSERT INTO exclusion(voter, excluded, reason, at) VALUES (?, ?, ?, ?)",
                    (voter, int(excluded), reason, self._now()),
                )

    def excluded(self) -> frozenset[str]:
        """The voters whose votes are left out."""
        rows = self._connection().execute("SELECT voter, excluded FROM exclusion ORDER BY number")
        return frozenset(voter for voter, is_out in dict(rows.fetchall()).items() if is_out)

    def close(self) -> None:
        """Bring all to the disk, and close; no other thread may be at work."""
        self._flusher.close()
        with self._connecting:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = schema.connect(self.file)
            with self._connecting:
                self._connections.append(connection)
        return connection

    def _register(self) -> None:
        """Keep what pictures were shown, also for when they are gone."""
        connection = self._connection()
        known = {row[0] for row in connection.execute("SELECT id FROM picture")}
        new = [picture for id_, picture in sorted(self.gallery.pictures.items()) if id_ not in known]
        with schema.writing(connection, self.file):
            connection.executemany(
                "INSERT OR IGNORE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(each.id, each.model, *_of_subject(each.subject), each.sha256, str(each.file)) for each in new],
            )

    def _row(self, connection: sqlite3.Connection, token: str, voter: str) -> tuple[Any, ...]:
        """number, token, mode, voter, pictures, repeat_of, at of a voter's battle."""
        row = connection.execute(
            "SELECT number, token, mode, voter, pictures, repeat_of, at FROM battle WHERE token = ?", (token,)
        ).fetchone()
        if row is None:
            raise UnknownBattle("there is no such battle; ask for the next")
        if row[3] != voter:
            raise WrongVoter("this battle was shown to somebody else; ask for one of your own")
        return tuple(row)

    def _battle(self, row: Sequence[Any]) -> Battle:
        number, token, mode, voter, pictures, repeat_of = row[:6]
        shown = [self._picture(id_) for id_ in json.loads(pictures)]
        first = shown[0]
        return Battle(
            token=token,
            name=str(number),
            mode=mode,
            voter=voter,
            prompt=first.prompt,
            seed=first.seed,
            size=Size(first.width, first.height),
            pictures=tuple(each.id for each in shown),
            models=tuple(each.model for each in shown),
            repeat_of=None if repeat_of is None else str(repeat_of),
        )

    def _picture(self, id_: int) -> ShownPicture:
        known = self._shown.get(id_)
        if known is None:
            row = self._connection().execute("SELECT * FROM picture WHERE id = ?", (id_,)).fetchone()
            known = self._shown[id_] = ShownPicture(row[0], row[1], row[2], int(row[3]), *row[4:])
        return known

    def _vote(
        self, battle: Battle, ranks: tuple[int, ...] | None, milliseconds: int, at: str, flags: Sequence[str]
    ) -> Vote:
        return Vote(
            battle=battle.name,
            mode=battle.mode,
            voter=battle.voter,
            prompt=battle.prompt,
            seed=battle.seed,
            models=battle.models,
            ranks=ranks,
            milliseconds=milliseconds,
            at=at,
            repeat_of=battle.repeat_of,
            flags=tuple(flags),
        )

    def _check_fresh(self, battle: Battle, shown_at: str) -> None:
        if shown_at <= self._oldest():
            raise Stale(f"this battle is older than {self._cfg.valid_minutes} minutes; ask for the next")
        for picture in battle.pictures:
            self.gallery.check(picture)

    def _flags(self, milliseconds: int, shown_at: str) -> list[str]:
        """What is odd about the time: `fast`, or `clock` where more is said to have passed than has."""
        if type(milliseconds) is not int or not 0 <= milliseconds <= LONGEST_MS:
            raise BadVote(f"ms: should be a whole number of milliseconds from 0 to {LONGEST_MS}")
        passed = (self._clock() - datetime.fromisoformat(shown_at)) / timedelta(milliseconds=1)
        flags = []
        if min(milliseconds, passed) < self._cfg.fastest_ms:
            flags.append("fast")
        if milliseconds > passed + CLOCK_SLACK_MS:
            flags.append("clock")
        return flags

    def _now(self) -> str:
        return self._clock().isoformat(timespec="microseconds")

    def _oldest(self) -> str:
        """Battles of this time or before cannot be voted on any more."""
        return (self._clock() - timedelta(minutes=self._cfg.valid_minutes)).isoformat(timespec="microseconds")


def open_store(cfg: ArenaConfig, gallery: Gallery) -> Store:
    """The store of an arena, in its folder; raises as `Store`."""
    return Store(cfg.out / STORE_NAME, gallery, cfg)


def _of_subject(subject: Subject) -> tuple[str, str, int, int]:
    return subject.prompt, str(subject.seed), subject.size.width, subject.size.height
