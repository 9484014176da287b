"""Battles and votes: each vote counts once, for its voter, or is refused and leaves nothing behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from animetune.arena import schema
from animetune.arena.answers import check_ranks, flags_of
from animetune.arena.battles import (
    AlreadyVoted,
    BadVote,
    Battle,
    DiskFull,
    NothingToShow,
    Refused,
    Stale,
    UnknownBattle,
    WrongVoter,
)
from animetune.arena.config import ArenaConfig
from animetune.arena.gallery import read_gallery
from animetune.arena.ledger import STORE_NAME, open_votes
from animetune.arena.store import Store, open_store
from animetune.errors import DataError, FormatVersionError, SetupError
from animetune.seeding import Purpose, rng_for
from tests.arena_galleries import arena, configured, draw_pictures


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    cfg = arena(tmp_path, "abcd")
    with Store(cfg.out / STORE_NAME, read_gallery(cfg), cfg, clock=clock) as opened:
        yield opened


def battle_of(store: Store, mode: str, voter: str = "v") -> Battle:
    """A new battle of this mode."""
    return next(found for found in iter(lambda: store.new_battle(voter), None) if found.mode == mode)


def some_ranks(battle: Battle) -> tuple[int, ...]:
    return tuple(range(len(battle.models)))


def cast(store: Store, voter: str = "v") -> Battle:
    battle = store.new_battle(voter)
    if isinstance(store._clock, Clock):
        store._clock.pass_(seconds=1)
    store.vote(battle.token, voter, some_ranks(battle), 1000)
    return battle


def test_a_battle_becomes_a_vote(store: Store, clock: Clock) -> None:
    battle = battle_of(store, "fixed")
    assert len(battle.models) == len(set(battle.models)) == len(battle.pictures) == 2
    pictures = [store.gallery.pictures[id_] for id_ in battle.pictures]
    assert [each.model for each in pictures] == list(battle.models)
    assert {each.subject for each in pictures} == {(battle.prompt, battle.seed, battle.size)}
    assert len(battle.token) == 24
    assert store.battle(battle.token, "v") == battle
    clock.pass_(seconds=3)
    recorded = store.vote(battle.token, "v", (0, 0), 2500)
    assert recorded.number == 1
    vote = recorded.vote
    assert (vote.battle, vote.models, vote.ranks, vote.milliseconds) == (battle.name, battle.models, (0, 0), 2500)
    assert (vote.at, vote.flags, vote.repeat_of) == ("2026-11-21T12:00:03.000000+00:00", (), None)
    assert list(store.votes()) == [vote]
    shown = store.shown(vote.battle)
    assert [(each.model, Path(each.file), each.sha256) for each in shown] == [
        (each.model, each.file, each.sha256) for each in pictures
    ]
    assert store.counts()[1] == store.votes_of("v") == 1
    assert store.votes_of("w") == 0


def test_the_modes(store: Store) -> None:
    for mode, count in (("fixed", 2), ("duel", 2), ("four", 4)):
        battle = battle_of(store, mode)
        assert len(set(battle.models)) == count
        assert store.vote(battle.token, "v", None, 1000).vote.ranks is None
    assert [vote.mode for vote in store.votes()] == ["fixed", "duel", "four"]


def test_a_vote_counts_once(store: Store) -> None:
    battle = battle_of(store, "four")
    store.vote(battle.token, "v", (0, 1, 1, 1), 1000)
    for ranks in ((0, 1, 1, 1), (3, 2, 1, 0), None):
        with pytest.raises(AlreadyVoted, match="has its vote already; ask for the next"):
            store.vote(battle.token, "v", ranks, 1000)
    assert [vote.ranks for vote in store.votes()] == [(0, 1, 1, 1)]


def test_forged_votes(store: Store) -> None:
    battle = store.new_battle("v")
    with pytest.raises(UnknownBattle):
        store.vote("x" * 24, "v", None, 1000)
    with pytest.raises(UnknownBattle):
        store.vote(battle.name, "v", None, 1000)
    with pytest.raises(WrongVoter, match="shown to somebody else"):
        store.vote(battle.token, "w", None, 1000)
    with pytest.raises(WrongVoter):
        store.battle(battle.token, "w")
    with pytest.raises(UnknownBattle):
        store.vote("' OR 1=1 --", "v", None, 1000)
    store.vote(battle.token, "v", None, 1000)
    with pytest.raises(WrongVoter):  # nor does one learn that it was voted on
        store.vote(battle.token, "w", None, 1000)
    assert store.counts().votes == 1


@pytest.mark.parametrize(
    ("mode", "ranks"),
    [
        ("fixed", (0,)), ("fixed", (0, 1, 2)), ("fixed", ()), ("fixed", (1, 2)), ("fixed", (0, 2)), ("fixed", (-1, 0)),
        ("fixed", (True, False)), ("fixed", (0.0, 1.0)), ("fixed", "01"), ("fixed", 0), ("fixed", {0: 1}),
        ("duel", (0, 0)), ("four", (0, 0, 0, 0)), ("four", (0, 1)), ("four", (0, 1, 1, 3)), ("fixed", (0, None)),
    ],
)  # fmt: skip
def test_ranks_that_no_battle_has(mode: Any, ranks: Any) -> None:
    with pytest.raises(BadVote, match=r"^ranks: "):
        check_ranks(mode, 4 if mode == "four" else 2, ranks)


@pytest.mark.parametrize(
    ("mode", "ranks"),
    [
        ("fixed", (0, 0)), ("fixed", (1, 0)), ("duel", (0, 1)), ("four", (0, 1, 1, 1)), ("four", (3, 1, 0, 2)),
        ("four", (0, 0, 1, 2)), ("duel", None), ("fixed", [0, 1]),
    ],
)  # fmt: skip
def test_ranks_that_one_has(mode: Any, ranks: Any) -> None:
    assert check_ranks(mode, 4 if mode == "four" else 2, ranks) == (None if ranks is None else tuple(ranks))


@pytest.mark.parametrize(
    ("milliseconds", "passed", "flags"),
    [
        (400, 400, ()), (399, 1000, ("fast",)), (1000, 399, ("fast",)), (0, 0, ("fast",)), (9000, 4000, ()),
        (9001, 4000, ("clock",)), (9001, 300, ("fast", "clock")),
    ],
)  # fmt: skip
def test_what_is_odd_about_the_time(milliseconds: int, passed: float, flags: tuple[str, ...]) -> None:
    assert flags_of(milliseconds, passed, 400) == flags


@pytest.mark.parametrize("milliseconds", [-1, 1.5, True, None, "1", 10**12])
def test_times_that_are_none(store: Store, milliseconds: Any) -> None:
    battle = store.new_battle("v")
    with pytest.raises(BadVote, match=r"^ms: "):
        store.vote(battle.token, "v", None, milliseconds)
    store.vote(battle.token, "v", None, 1000)  # a refused vote costs nothing


def test_old_battles_are_stale(store: Store, clock: Clock) -> None:
    battle, other = store.new_battle("v"), store.new_battle("v")
    clock.pass_(minutes=719)
    store.vote(other.token, "v", None, 1000)
    assert store.open_battles("v") == [battle]
    clock.pass_(minutes=1)
    with pytest.raises(Stale, match="older than 720 minutes"):
        store.vote(battle.token, "v", None, 1000)
    assert store.open_battles("v") == []


def test_open_battles_are_those_without_a_vote(store: Store) -> None:
    battles = [store.new_battle("v") for _ in range(4)]
    store.new_battle("w")
    store.vote(battles[1].token, "v", None, 1000)
    assert store.open_battles("v") == [battles[0], *battles[2:]]


def test_a_picture_that_goes_takes_its_battles_along_and_no_votes(store: Store) -> None:
    voted, battle = cast(store), store.new_battle("v")
    store.gallery.pictures[battle.pictures[0]].file.unlink()
    with pytest.raises(Stale, match="gone or has changed"):
        store.vote(battle.token, "v", some_ranks(battle), 1000)
    assert battle not in store.open_battles("v")
    assert [vote.battle for vote in store.votes()] == [voted.name]
    later = [store.new_battle("v") for _ in range(100)]
    assert battle.pictures[0] not in {id_ for each in later for id_ in each.pictures}


def test_a_changed_picture_is_stale_as_soon_as_somebody_looks(store: Store) -> None:
    battle = store.new_battle("v")
    victim = store.gallery.pictures[battle.pictures[0]].file
    victim.write_bytes(victim.read_bytes() + b" ")
    with pytest.raises(Stale):
        store.gallery.read(battle.pictures[0])
    with pytest.raises(Stale):
        store.vote(battle.token, "v", some_ranks(battle), 1000)


def test_a_folder_that_goes_under_way(store: Store, tmp_path: Path) -> None:
    for _ in range(20):
        cast(store)
    shutil.rmtree(tmp_path / "c")
    later = [cast(store) for _ in range(60)]
    assert {model for battle in later for model in battle.models} == {"a", "b", "d"}
    assert {battle.mode for battle in later} == {"fixed", "duel"}
    for name in "ab":
        shutil.rmtree(tmp_path / name)
    with pytest.raises(NothingToShow, match="no prompt is left that enough models have pictures of"):
        store.new_battle("v")
    assert store.counts() == (80, 80)


def test_models_come_and_go_between_starts(tmp_path: Path) -> None:
    cfg = arena(tmp_path, "abc", modes={"four": {"share": 0}})
    with open_store(cfg, read_gallery(cfg)) as store:
        for _ in range(30):
            cast(store)
        before = list(store.votes())
        waiting = next(each for each in iter(lambda: store.new_battle("v"), None) if "c" in each.models)
        fine = next(each for each in iter(lambda: store.new_battle("v"), None) if "c" not in each.models)
    d = draw_pictures(tmp_path / "d", [f"prompt {number}" for number in range(6)], (0, 1), shade=200)
    fewer = configured(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b", "d": d})
    with open_store(fewer, read_gallery(fewer)) as store:
        assert list(store.votes()) == before
        with pytest.raises(Stale, match="or its model is"):
            store.vote(waiting.token, "v", (0, 1), 1000)
        store.vote(fine.token, "v", (0, 1), 1000)
        later = [cast(store) for _ in range(30)]
        assert {model for battle in later for model in battle.models} == {"a", "b", "d"}
        assert "d" in later[0].models  # which nothing is known of
    assert [each.model for each in open_and_show(cfg, before[0].battle)] == list(before[0].models)


def open_and_show(cfg: ArenaConfig, battle: str) -> Any:
    with open_votes(cfg) as votes:
        return votes.shown(battle)


def test_votes_are_read_where_one_stopped(store: Store) -> None:
    from animetune.arena import ledger

    names = [cast(store).name for _ in range(25)]
    assert [vote.battle for vote in store.votes(since=10)] == names[10:]
    assert list(store.votes(since=25)) == []
    page, ledger.PAGE = ledger.PAGE, 4
    try:
        assert [vote.battle for vote in store.votes()] == names
    finally:
        ledger.PAGE = page


def test_votes_are_read_without_the_pictures(tmp_path: Path) -> None:
    cfg = arena(tmp_path)
    with pytest.raises(SetupError, match="nobody has voted yet"):
        open_votes(cfg)
    assert not cfg.out.exists()
    with open_store(cfg, read_gallery(cfg)) as store:
        cast(store)
        votes = list(store.votes())
    shutil.rmtree(tmp_path / "a")
    with open_votes(cfg) as ledger:
        assert list(ledger.votes()) == votes


def test_voters_are_left_out_and_taken_in_again(store: Store) -> None:
    for voter in "vwvw":
        cast(store, voter)
    store.exclude("w", "fast and random")
    assert store.excluded() == {"w"}
    assert [vote.voter for vote in store.votes()] == ["v", "v"]
    assert [vote.voter for vote in store.votes(with_excluded=True)] == ["v", "w", "v", "w"]
    store.new_battle("v")
    assert store._counting._tally.votes == 2
    store.exclude("w", "a mistake", excluded=False)
    assert store.excluded() == frozenset()
    assert len(list(store.votes())) == 4
    store.new_battle("v")
    assert store._counting._tally.votes == 4


def test_votes_that_ratings_leave_out_do_not_steer_the_choice(store: Store, clock: Clock) -> None:
    for milliseconds in (1000, 3, 10_000_000, 1000):
        battle = battle_of(store, "fixed")
        clock.pass_(seconds=2)
        store.vote(battle.token, "v", (0, 1), milliseconds)
    assert [vote.flags for vote in store.votes()] == [(), ("fast",), ("clock",), ()]
    store.new_battle("v")
    tally = store._counting._tally
    assert (tally.votes, tally.wins.sum()) == (2, 2)


@pytest.mark.parametrize("table", ["picture", "battle", "vote", "exclusion"])
def test_rows_are_only_added(store: Store, table: str) -> None:
    cast(store)
    store.exclude("w", "no reason")
    with sqlite3.connect(store.file) as other:
        before = other.execute(f"SELECT * FROM {table}").fetchall()
        columns = [row[1] for row in other.execute(f"PRAGMA table_info({table})")]
        change = f"UPDATE {table} SET {columns[-1]} = 'x'"
        replace = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1"
        for statement in (change, f"DELETE FROM {table}", replace):
            with pytest.raises(sqlite3.IntegrityError, match=r"rows are only added|has its vote|token is taken"):
                other.execute(statement)
        assert other.execute(f"SELECT * FROM {table}").fetchall() == before
    other.close()


def test_not_even_another_program_adds_a_second_vote(store: Store) -> None:
    cast(store)
    other = sqlite3.connect(store.file)
    for how in ("INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE"):
        with pytest.raises(sqlite3.IntegrityError, match="the battle has its vote"):
            other.execute(f"{how} INTO vote(battle, milliseconds, flags, at) VALUES (1, 1, '[]', 'now')")
    other.close()
    assert store.counts().votes == 1


def test_sixteen_voters_fight_over_the_same_battles(store: Store) -> None:
    """Each of the battles is voted on by all threads at once: one wins, the others are told."""
    battles = [store.new_battle("v") for _ in range(40)]
    outcomes: Counter[str] = Counter()
    gate = threading.Barrier(16)

    def all_of_them(_: int) -> None:
        gate.wait()
        for battle in battles:
            try:
                store.vote(battle.token, "v", some_ranks(battle), 1000)
                outcomes[battle.name] += 1
            except AlreadyVoted:
                outcomes["refused"] += 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(all_of_them, range(16)))
    assert outcomes.pop("refused") == 15 * 40
    assert outcomes == {battle.name: 1 for battle in battles}
    assert Counter(vote.battle for vote in store.votes()) == outcomes


def vote_in_a_process(cfg: ArenaConfig, voter: str, count: int) -> None:
    with open_store(cfg, read_gallery(cfg)) as store:
        for _ in range(count):
            cast(store, voter)


def test_several_processes_share_the_file(tmp_path: Path) -> None:
    """They make it at the same moment, too."""
    cfg = arena(tmp_path, "abcd")
    read_gallery(cfg)
    fork = multiprocessing.get_context("fork")
    voters = [fork.Process(target=vote_in_a_process, args=(cfg, f"v{number}", 20)) for number in range(16)]
    for process in voters:
        process.start()
    for process in voters:
        process.join()
    assert [process.exitcode for process in voters] == [0] * 16
    with open_votes(cfg) as ledger:
        votes = list(ledger.votes())
    assert Counter(vote.voter for vote in votes) == {f"v{number}": 20 for number in range(16)}
    assert len({vote.battle for vote in votes}) == 320


def test_the_tally_is_the_same_after_a_start(tmp_path: Path) -> None:
    """What was counted as it came is what a new process counts from the file: the same battles would follow."""
    cfg = arena(tmp_path, "abcd")
    with open_store(cfg, read_gallery(cfg)) as first:
        for number in range(120):
            cast(first, f"v{number % 3}")
        running = first._counting.up_to_date(first._connection())
        with open_store(cfg, read_gallery(cfg)) as second:
            read = second._counting.up_to_date(second._connection())
            for name in ("wins", "shown_pairs", "shown_subjects", "shown_prompts"):
                assert (getattr(running, name) == getattr(read, name)).all()
            assert running.voters == read.voters
            for number in range(20):
                rngs = [rng_for(number, Purpose.PAIRING) for _ in range(2)]
                one, two = (each.new_battle("v1", rng) for each, rng in zip((first, second), rngs, strict=True))
                assert one.token != two.token
        assert first.counts().votes == 120


def with_little_room(file: Path, bytes_: int, work: Callable[[], None]) -> int:
    """Run `work` in a child that may not make a file larger than this; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))
            work()
            os._exit(0)
        except DiskFull:
            os._exit(28)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_full_disk_costs_the_vote_and_nothing_else(tmp_path: Path) -> None:
    """Files may not grow beyond what they have: the write fails as on a full disk, at every point of it in turn."""
    cfg = arena(tmp_path)
    gallery = read_gallery(cfg)
    acknowledged = tmp_path / "acknowledged"

    def vote_on() -> None:
        with open(acknowledged, "ab", buffering=0) as thanks, open_store(cfg, gallery) as store:
            while True:
                battle = cast(store)
                thanks.write(f"{battle.name}\n".encode())

    with open_store(cfg, gallery) as store:
        cast(store)
    full = 0
    for room in (4096, 40_000, 100_000, 180_001, 260_000, 400_123):
        full += with_little_room(cfg.out / STORE_NAME, room, vote_on) == 28
        with open_votes(cfg) as ledger:
            kept = [vote.battle for vote in ledger.votes()]
        thanked = acknowledged.read_text().split() if acknowledged.exists() else []
        assert kept[1:] == thanked
    assert full == 6
    assert len(thanked) > 30
    with open_store(cfg, gallery) as store:
        cast(store)
        assert store.counts().votes == len(thanked) + 2


def fill(write: Callable[[], object]) -> None:
    """Write until there is no room."""
    for _ in range(2000):
        write()


def test_a_full_disk_is_said_and_the_same_vote_goes_through_later(store: Store) -> None:
    battle = store.new_battle("v")
    connection = store._connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull, match=r"arena\.sqlite3: there is no room to write \(database or disk is full\); free"):
        fill(lambda: store.exclude("w" * 1000, "fills what is left"))
    with pytest.raises(DiskFull):
        fill(lambda: store.new_battle("w"))
    votes = store.counts().votes
    connection.execute(f"PRAGMA max_page_count = {2 * pages + 100}")
    assert store.counts().votes == votes == 0
    assert store.vote(battle.token, "v", some_ranks(battle), 1000).number == 1


def test_a_transaction_is_kept_whole_or_not_at_all(store: Store) -> None:
    connection = schema.connect(store.file)
    insert = "INSERT INTO exclusion(voter, excluded, reason, at) VALUES ('w', 1, '', '')"

    def interrupted() -> None:
        with schema.writing(connection, store.file):
            connection.execute(insert)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.excluded() == frozenset()
    with schema.writing(connection, store.file):
        connection.execute(insert)
    connection.close()
    assert store.excluded() == {"w"}


def test_files_that_are_none_of_an_arena(tmp_path: Path) -> None:
    file = tmp_path / STORE_NAME
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE t(x)")
    other.commit()
    other.close()
    before = file.read_bytes()
    with pytest.raises(SetupError, match="is a database of another program; choose another `out`"):
        schema.connect(file)
    assert file.read_bytes() == before
    file.write_bytes(b"certainly not a database, but long enough to look at" * 100)
    with pytest.raises(DataError, match="is no database that SQLite can read"):
        schema.connect(file)
    file.unlink()
    schema.connect(file).close()
    with sqlite3.connect(file) as newer:
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(FormatVersionError, match="is of version 2 of the arena's format, this animetune reads 1"):
        schema.connect(file)
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="is a file, where a folder is needed"):
        schema.connect(tmp_path / "file" / STORE_NAME)


def test_a_writer_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    cfg = arena(tmp_path)
    with open_store(cfg, read_gallery(cfg)) as store:
        other = sqlite3.connect(store.file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SetupError, match="another process has been writing for 0 s; try again"):
            store.new_battle("v")
        other.execute("ROLLBACK")
        other.close()
        store.new_battle("v")


def test_a_file_that_is_removed_or_replaced_takes_no_more_votes(store: Store, tmp_path: Path) -> None:
    """SQLite itself would go on in the file without a name, and thank for votes that are gone with the process."""
    battle = store.new_battle("v")
    copy = tmp_path / "copy"
    shutil.copy(store.file, copy)
    store.file.unlink()
    with pytest.raises(SetupError, match=r"arena\.sqlite3: was removed or replaced while the arena was running"):
        store.vote(battle.token, "v", None, 1000)
    copy.rename(store.file)
    with pytest.raises(SetupError, match="start the arena again"):
        store.new_battle("v")


def test_refusals_are_no_setup_errors() -> None:
    assert {error.__name__ for error in Refused.__subclasses__()} == {
        "UnknownBattle", "WrongVoter", "AlreadyVoted", "Stale", "BadVote"
    }  # fmt: skip


def test_the_log_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second, and when the store is closed."""
    from animetune.arena import flushing

    synced: list[str] = []
    monkeypatch.setattr(flushing.os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    file = tmp_path / "log"
    file.write_text("x")
    flusher = flushing.Flusher(file, 0.01)
    flusher.written()
    deadline = time.monotonic() + 10
    while not synced and time.monotonic() < deadline:
        time.sleep(0.01)
    assert synced == [str(file)]
    flusher.close()
    assert synced == [str(file)]  # nothing was written since
    last = flushing.Flusher(file, 3600)
    last.written()
    last.close()
    assert synced == [str(file)] * 2
    file.unlink()
    gone = flushing.Flusher(file, 3600)
    gone.written()
    gone.close()


def test_closing_brings_all_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = arena(tmp_path)
    store = open_store(cfg, read_gallery(cfg))
    cast(store)
    ended: list[bool] = []
    close = store._flusher.close
    monkeypatch.setattr(store._flusher, "close", lambda: ended.append(True) or close())
    store.close()
    assert ended == [True]


def test_votes_wake_the_flusher(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr(store._flusher, "written", lambda: woken.append(store.counts().votes))
    cast(store)
    assert woken == [1]


def test_seeds_of_64_bits_without_a_sign(tmp_path: Path) -> None:
    cfg = arena(tmp_path, seeds=(2**64 - 1,))
    with open_store(cfg, read_gallery(cfg)) as store:
        cast(store)
        assert next(store.votes()).seed == 2**64 - 1


def test_hostile_prompts_are_kept_as_they_are(tmp_path: Path) -> None:
    prompt = "'); DROP TABLE vote; -- <script>alert(1)</script> \u202e\x1b[31m 😀"
    folders = {name: draw_pictures(tmp_path / name, [prompt], shade=ord(name)) for name in "ab"}
    cfg = configured(tmp_path, folders)
    with open_store(cfg, read_gallery(cfg)) as store:
        cast(store)
        assert next(store.votes()).prompt == prompt
        assert json.loads(json.dumps(next(store.votes()).prompt)) == prompt
