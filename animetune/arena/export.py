"""The arena's votes for others: tables of all votes, pairs to tune on, and what the ratings say.

    votes.csv, votes.parquet    a row a vote, in the order they came; flagged ones and repeats too
    preferences.jsonl           a line a preference between two pictures, as tuning on preferences (DPO) takes it
    ratings.json                every number of the ratings
    ranking.html                the page of the ratings

Voters are salted hashes: equal within exports of one salt, and of no use to who lacks it. Equal votes give equal bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from animetune import fsio
from animetune.arena import report
from animetune.arena.ratings.shapes import Ratings, Rules
from animetune.arena.votes import Vote
from animetune.errors import ConfigError
from animetune.manifest import Manifest, check_place, record_files, same_output, write_manifest

EXPORT_KIND = "arena-export"
EXPORT_FORMAT = 1
CSV_NAME, PARQUET_NAME = "votes.csv", "votes.parquet"
PREFERENCES_NAME, RATINGS_NAME, RANKING_NAME = "preferences.jsonl", "ratings.json", "ranking.html"
SLOTS = 4
"""Columns of pictures in the tables; a vote on two leaves the others empty."""
_HASH_DIGITS = 16
_FORMULA = r"^[=+\-@\t\r]"

SCHEMA: dict[str, pl.DataType] = {
    "battle": pl.String(),
    "mode": pl.String(),
    "voter": pl.String(),
    "prompt": pl.String(),
    "seed": pl.String(),
    **{f"model_{slot}": pl.String() for slot in range(1, SLOTS + 1)},
    **{f"rank_{slot}": pl.Int32() for slot in range(1, SLOTS + 1)},
    "all_bad": pl.Boolean(),
    "milliseconds": pl.Int64(),
    "at": pl.String(),
    "repeat_of": pl.String(),
    "flags": pl.String(),
}
"""Columns of the tables. Seeds are text: those of other programs have 64 bits without a sign."""


class Shown(Protocol):
    """A picture of a battle."""

    @property
    def file(self) -> str:
        """Where it is."""

    @property
    def sha256(self) -> str:
        """Of its bytes, when it was shown."""


ShownIn = Callable[[str], Sequence[Shown]]
"""The name of a battle -> its pictures, left to right; `Store.shown` is one."""


def voter_hash(voter: str, salt: str) -> str:
    """16 hex digits for a voter; ConfigError for an empty salt."""
    if not salt:
        raise ConfigError("salt: is empty; voters would be known by their hashes: give some secret text")
    return hmac.new(salt.encode(), voter.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS]


def votes_table(votes: Sequence[Vote], salt: str) -> pl.DataFrame:
    """A row a vote, in columns of `SCHEMA`."""
    return pl.DataFrame([_row(vote, salt) for vote in votes], schema=SCHEMA, orient="row")


def votes_csv(votes: Sequence[Vote], salt: str) -> bytes:
    """The table as CSV, UTF-8. Text that a spreadsheet would run as a formula begins with an apostrophe."""
    table = votes_table(votes, salt)
    guarded = [
        pl.when(pl.col(name).str.contains(_FORMULA)).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name, kind in SCHEMA.items()
        if kind == pl.String()
    ]
    buffer = io.BytesIO()
    table.with_columns(guarded).write_csv(buffer)
    return buffer.getvalue()


def votes_parquet(votes: Sequence[Vote], salt: str) -> bytes:
    """The table as Parquet."""
    buffer = io.BytesIO()
    votes_table(votes, salt).write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def preferences(
    votes: Sequence[Vote], salt: str, *, shown: ShownIn | None = None, rules: Rules | None = None
) -> Iterator[dict[str, Any]]:
    """Every preference between two pictures of a vote that counts by `rules`; draws and all-bad votes have none.

    `weight` is 1 over the preferences of the vote, so that every vote weighs the same: a pick of four is three
    preferences of a third each. With `shown`, `chosen` and `rejected` are files, and their SHA-256 stands beside them.
    """
    rules = rules or Rules()
    for vote in votes:
        is_out = (rules.flagged == "drop" and vote.flags) or (rules.repeats == "drop" and vote.repeat_of is not None)
        if is_out or vote.ranks is None:
            continue
        pairs = [
            (better, worse)
            for better, rank in enumerate(vote.ranks)
            for worse, other in enumerate(vote.ranks)
            if rank < other
        ]
        pictures = shown(vote.battle) if shown is not None and pairs else None
        for better, worse in pairs:
            line: dict[str, Any] = {
                "battle": vote.battle,
                "mode": vote.mode,
                "voter": voter_hash(vote.voter, salt),
                "prompt": vote.prompt,
                "seed": vote.seed,
                "chosen_model": vote.models[better],
                "rejected_model": vote.models[worse],
                "weight": round(1 / len(pairs), 6),
            }
            if pictures is not None:
                for what, place in (("chosen", better), ("rejected", worse)):
                    line |= {what: pictures[place].file, f"{what}_sha256": pictures[place].sha256}
            yield line


def preferences_jsonl(
    votes: Sequence[Vote], salt: str, *, shown: ShownIn | None = None, rules: Rules | None = None
) -> bytes:
    """`preferences` as JSON lines."""
    lines = preferences(votes, salt, shown=shown, rules=rules)
    return "".join(fsio.canonical_json(line) + "\n" for line in lines).encode("utf-8", errors="replace")


def ratings_json(ratings: Ratings, salt: str) -> dict[str, Any]:
    """Every number of the ratings, floats of six digits, voters as hashes."""
    told = _plain(ratings)
    for report_ in told["voters"]:
        report_["voter"] = voter_hash(report_["voter"], salt)
    return {"format": EXPORT_FORMAT, **told}


def export(
    votes: Sequence[Vote],
    ratings: Ratings,
    folder: Path,
    *,
    salt: str,
    title: str = "Arena",
    shown: ShownIn | None = None,
) -> Manifest:
    """Publish all files in `folder`, which must not exist unless it holds an export of the very same.

    Raises ConfigError where it holds something else of animetune's or the salt is empty, SetupError for another export.
    """
    check_place(folder, EXPORT_KIND, setting="export")
    contents = {
        CSV_NAME: votes_csv(votes, salt),
        PARQUET_NAME: votes_parquet(votes, salt),
        PREFERENCES_NAME: preferences_jsonl(votes, salt, shown=shown, rules=ratings.rules),
        RATINGS_NAME: (fsio.canonical_json(ratings_json(ratings, salt), indent=2) + "\n").encode(),
        RANKING_NAME: report.render(ratings, title=title).encode("utf-8", errors="replace"),
    }
    announced = Manifest(
        kind=EXPORT_KIND,
        format_version=EXPORT_FORMAT,
        inputs={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        seen=len(votes),
        kept=len(votes),
        facts={"models": [score.model for score in ratings.models]},
    )
    with fsio.claim(folder):
        if folder.exists():
            return same_output(folder, announced, remedy="; export to a new folder, each is of the votes of its time")
        with fsio.publish_dir(folder) as temporary:
            for name, data in contents.items():
                fsio.atomic_write(temporary / name, data)
            return write_manifest(temporary, announced.model_copy(update={"files": record_files(temporary)}))


def _row(vote: Vote, salt: str) -> tuple[Any, ...]:
    if len(vote.models) > SLOTS:
        raise ValueError(f"vote of battle {vote.battle}: {len(vote.models)} pictures, the tables have {SLOTS} columns")
    empty = [None] * (SLOTS - len(vote.models))
    return (
        vote.battle,
        vote.mode,
        voter_hash(vote.voter, salt),
        vote.prompt,
        str(vote.seed),
        *[*vote.models, *empty],
        *([*vote.ranks, *empty] if vote.ranks is not None else [None] * SLOTS),
        vote.ranks is None,
        vote.milliseconds,
        vote.at,
        vote.repeat_of,
        " ".join(vote.flags),
    )


def _plain(value: Any) -> Any:
    """JSON values of dataclasses and tuples, however deep."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(each) for name, each in vars(value).items()}
    if hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
