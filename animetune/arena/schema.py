"""The file of an arena's votes: its tables, and opening it.

Rows are only ever added: triggers refuse whatever would change, replace or remove one, also from another program. One
vote a battle is a constraint of the table, so that no race counts two.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from animetune import fsio
from animetune.arena.battles import DiskFull
from animetune.errors import DataError, FormatVersionError, SetupError

APPLICATION = 0x616E4172  # "anAr", what `file` and others tell kinds of SQLite files by
VERSION = 1
BUSY_SECONDS = 20.0
"""How long to wait for another process that writes."""
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE")

_TABLES = {
    "picture": """
        id INTEGER PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, seed TEXT NOT NULL,
        width INTEGER NOT NULL, height INTEGER NOT NULL, sha256 TEXT NOT NULL, file TEXT NOT NULL""",
    "battle": """
        number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, mode TEXT NOT NULL, voter TEXT NOT NULL,
        pictures TEXT NOT NULL, repeat_of INTEGER REFERENCES battle(number), at TEXT NOT NULL""",
    "vote": """
        number INTEGER PRIMARY KEY, battle INTEGER NOT NULL UNIQUE REFERENCES battle(number), ranks TEXT,
        milliseconds INTEGER NOT NULL, flags TEXT NOT NULL, at TEXT NOT NULL""",
    "exclusion": """
        number INTEGER PRIMARY KEY, voter TEXT NOT NULL, excluded INTEGER NOT NULL, reason TEXT NOT NULL,
        at TEXT NOT NULL""",
}
"""`seed` is text: seeds of other programs have 64 bits without a sign, which SQLite's integers do not hold."""
_TRIGGERS = (
    "CREATE TRIGGER TABLE_no_update BEFORE UPDATE ON TABLE "
    "BEGIN SELECT RAISE(ABORT, 'TABLE: rows are only added'); END",
    "CREATE TRIGGER TABLE_no_delete BEFORE DELETE ON TABLE "
    "BEGIN SELECT RAISE(ABORT, 'TABLE: rows are only added'); END",
    # `INSERT OR REPLACE` would remove the old row without a word
    "CREATE TRIGGER TABLE_no_replace BEFORE INSERT ON TABLE WHEN EXISTS (SELECT 1 FROM TABLE WHERE KEY = NEW.KEY) "
    "BEGIN SELECT RAISE(ABORT, 'TABLE: rows are only added'); END",
)
"""Of every table."""
_OTHERS = (
    "CREATE TRIGGER vote_no_second BEFORE INSERT ON vote WHEN EXISTS (SELECT 1 FROM vote WHERE battle = NEW.battle) "
    "BEGIN SELECT RAISE(ABORT, 'vote: the battle has its vote'); END",
    "CREATE TRIGGER battle_no_second BEFORE INSERT ON battle WHEN EXISTS "
    "(SELECT 1 FROM battle WHERE token = NEW.token) BEGIN SELECT RAISE(ABORT, 'battle: the token is taken'); END",
    "CREATE INDEX battle_of_voter ON battle(voter, at)",
)


def connect(file: Path) -> sqlite3.Connection:
    """A connection for one thread, in autocommit, that waits its turn; makes the tables where there are none.

    SetupError where the file cannot be made or is none of an arena, FormatVersionError for another version's.
    """
    with fsio.turn(file.parent):  # changing to a log of writes waits for no one, unlike all that follows
        try:
            connection = sqlite3.connect(
                file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        except sqlite3.Error as error:
            raise SetupError(f"{file}: cannot be opened ({error}); choose another `out`") from error
        try:
            _prepare(connection, file)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise _opening_failed(file, error) from error
            raise
    return connection


@contextlib.contextmanager
def writing(connection: sqlite3.Connection, file: Path) -> Iterator[None]:
    """One transaction: all of it is kept or nothing; DiskFull where there is no room, else SetupError."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        raise _explained(file, error) from error


def excluded_voters(connection: sqlite3.Connection) -> frozenset[str]:
    """Whose last exclusion was not taken back."""
    found = connection.execute("SELECT voter, excluded FROM exclusion ORDER BY number").fetchall()
    return frozenset(voter for voter, is_out in dict(found).items() if is_out)


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION and not (is_empty and application == version == 0):
        raise SetupError(f"{file}: is a database of another program; choose another `out`")
    if application == APPLICATION and version != VERSION:
        raise FormatVersionError(
            f"{file}: is of version {version} of the arena's format, this animetune reads {VERSION}; use the animetune "
            "that wrote it, or choose another `out`"
        )
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise SetupError(f"{file}: this file system does not take SQLite's log; choose an `out` on a local disk")
    connection.execute("PRAGMA synchronous = NORMAL")  # why that is enough: `Store`
    connection.execute("PRAGMA foreign_keys = ON")
    if application != APPLICATION:
        with writing(connection, file):
            for statement in _statements():
                connection.execute(statement)


def _statements() -> Iterator[str]:
    for table, columns in _TABLES.items():
        yield f"CREATE TABLE {table}({columns})"
        for trigger in _TRIGGERS:
            yield trigger.replace("TABLE", table).replace("KEY", "id" if table == "picture" else "number")
    yield from _OTHERS
    yield f"PRAGMA application_id = {APPLICATION}"
    yield f"PRAGMA user_version = {VERSION}"


def _opening_failed(file: Path, error: sqlite3.DatabaseError) -> Exception:
    if isinstance(error, sqlite3.OperationalError):
        return _explained(file, error)
    return DataError(f"{file}: is no database that SQLite can read ({error}); restore it, or choose another `out`")


def _explained(file: Path, error: sqlite3.OperationalError) -> Exception:
    code = getattr(error, "sqlite_errorname", "")
    if code in _FULL:
        return DiskFull(
            f"{file}: there is no room to write ({error}); free some space. Nothing of this was kept, all before it was"
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return SetupError(f"{file}: another process has been writing for {BUSY_SECONDS:.0f} s; try again")
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return SetupError(f"{file}: cannot be written to ({error}); change its rights, or choose another `out`")
    return SetupError(f"{file}: SQLite could not go on ({error}, {code}); look at the disk, and restart")
