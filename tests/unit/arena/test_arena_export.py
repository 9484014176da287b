"""Exports: tables, preference pairs, ratings, and what may not be in them."""

from __future__ import annotations

import csv
import io
import json
from typing import NamedTuple

import arena_votes as made_up
import polars as pl
import pytest

from animetune.arena import export as exporting
from animetune.arena.ratings import Rules, rate
from animetune.errors import ConfigError, SetupError
from animetune.manifest import Manifest, read_manifest, verify_files, write_manifest


class Picture(NamedTuple):
    file: str
    sha256: str


VOTES = [
    made_up.vote(battle="1", voter="cookie-of-ann", prompt="1girl, solo", seed=2**64 - 1),
    made_up.vote("abcd", (1, 0, 1, 1), battle="2", voter="cookie-of-ben", prompt='=HYPERLINK("x")'),
    made_up.vote("ba", (0, 0), battle="3", voter="cookie-of-ann"),
    made_up.vote(ranks=None, battle="4", voter="cookie-of-ann"),
    made_up.vote("abcd", (3, 2, 1, 0), battle="5", voter="cookie-of-ben", prompt="line\nend, “ö”"),
    made_up.vote("ab", (1, 0), battle="6", voter="cookie-of-ben", flags=("fast",)),
    made_up.vote("ba", (1, 0), battle="7", voter="cookie-of-ann", repeat_of="1"),
]


def shown(battle):
    vote = next(vote for vote in VOTES if vote.battle == battle)
    return [Picture(f"{model}/{battle}.png", f"{model}{battle}") for model in vote.models]


def test_the_tables_hold_every_vote():
    table = pl.read_parquet(io.BytesIO(exporting.votes_parquet(VOTES, "salt")))
    assert table.schema == exporting.SCHEMA
    assert table["battle"].to_list() == ["1", "2", "3", "4", "5", "6", "7"]
    assert table["seed"][0] == str(2**64 - 1)
    assert table.select("model_1", "rank_1", "model_4", "rank_4").rows()[1] == ("a", 1, "d", 1)
    assert table.select("model_3", "rank_1", "all_bad").rows()[3] == (None, None, True)
    assert table.select("flags", "repeat_of").rows()[5:] == [("fast", None), ("", "1")]
    assert table["prompt"][1] == '=HYPERLINK("x")'
    rows = list(csv.DictReader(io.StringIO(exporting.votes_csv(VOTES, "salt").decode(), newline="")))
    assert [row["prompt"] for row in rows] == [
        "'" + vote.prompt if vote.prompt.startswith("=") else vote.prompt for vote in VOTES
    ]
    assert [row["voter"] for row in rows] == table["voter"].to_list()


def test_voters_are_salted_hashes():
    first, other = exporting.voter_hash("cookie-of-ann", "salt"), exporting.voter_hash("cookie-of-ben", "salt")
    assert first != other
    assert first == exporting.voter_hash("cookie-of-ann", "salt") != exporting.voter_hash("cookie-of-ann", "pepper")
    assert len(first) == 16
    with pytest.raises(ConfigError, match="salt: is empty"):
        exporting.votes_csv(VOTES, "")


def test_preferences_are_pairs_of_weight_one_a_vote():
    lines = list(exporting.preferences(VOTES, "salt", shown=shown))
    assert [line["battle"] for line in lines] == ["1", "2", "2", "2", "5", "5", "5", "5", "5", "5"]
    assert lines[0] == {
        "battle": "1", "mode": "fixed", "voter": exporting.voter_hash("cookie-of-ann", "salt"),
        "prompt": "1girl, solo", "seed": 2**64 - 1, "chosen_model": "a", "rejected_model": "b",
        "chosen": "a/1.png", "chosen_sha256": "a1", "rejected": "b/1.png", "rejected_sha256": "b1", "weight": 1.0,
    }  # fmt: skip
    assert [(line["chosen"], line["rejected"]) for line in lines[1:4]] == [
        ("b/2.png", "a/2.png"), ("b/2.png", "c/2.png"), ("b/2.png", "d/2.png")
    ]  # fmt: skip
    assert sum(line["weight"] for line in lines) == pytest.approx(3, abs=1e-5)
    assert {(line["chosen_model"], line["rejected_model"]) for line in lines[4:]} == {
        ("d", "c"), ("d", "b"), ("d", "a"), ("c", "b"), ("c", "a"), ("b", "a")
    }  # fmt: skip


def test_preferences_follow_the_rules():
    kept = list(exporting.preferences(VOTES, "salt", rules=Rules(flagged="keep", repeats="keep")))
    assert [line["battle"] for line in kept if line["battle"] in "67"] == ["6", "7"]
    assert "chosen" not in kept[0]
    text = exporting.preferences_jsonl(VOTES, "salt")
    assert [json.loads(line) for line in text.decode().splitlines()] == list(exporting.preferences(VOTES, "salt"))


def test_an_export_is_published_whole_and_once(tmp_path):
    ratings = rate(VOTES, bootstraps=20)
    manifest = exporting.export(VOTES, ratings, tmp_path / "a", salt="salt", title="T", shown=shown)
    assert sorted(manifest.files) == ["preferences.jsonl", "ranking.html", "ratings.json", "votes.csv", "votes.parquet"]
    assert verify_files(tmp_path / "a", read_manifest(tmp_path / "a", kind="arena-export")) == []
    assert exporting.export(VOTES, ratings, tmp_path / "a", salt="salt", title="T", shown=shown) == manifest
    exporting.export(VOTES, ratings, tmp_path / "b", salt="salt", title="T", shown=shown)
    for name in [*manifest.files, "manifest.json"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert b"cookie" not in (tmp_path / "a" / name).read_bytes()
    before = (tmp_path / "a" / "votes.csv").read_bytes()
    with pytest.raises(SetupError, match="export to a new folder"):
        exporting.export(VOTES[:2], rate(VOTES[:2], bootstraps=0), tmp_path / "a", salt="salt")
    assert (tmp_path / "a" / "votes.csv").read_bytes() == before


def test_another_folder_of_animetune_is_left_alone(tmp_path):
    write_manifest(tmp_path, Manifest(kind="table", format_version=1))
    with pytest.raises(ConfigError, match="is a table; choose another folder"):
        exporting.export(VOTES, rate(VOTES, bootstraps=0), tmp_path, salt="salt")
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "mine.txt").write_text("mine")
    with pytest.raises(SetupError, match="or something else"):
        exporting.export(VOTES, rate(VOTES, bootstraps=0), stray, salt="salt")
    assert [path.name for path in stray.iterdir()] == ["mine.txt"]


def test_ratings_json_holds_the_numbers_and_no_cookie():
    ratings = rate(VOTES, bootstraps=20, groups={"1girl, solo": "people"})
    told = json.loads(json.dumps(exporting.ratings_json(ratings, "salt"), allow_nan=False))
    assert [each["model"] for each in told["overall"]["scores"]] == [score.model for score in ratings.models]
    assert told["overall"]["scores"][0]["score"] == pytest.approx(ratings.models[0].score, rel=1e-5)
    assert {each["voter"] for each in told["voters"]} == {
        exporting.voter_hash(voter, "salt") for voter in ("cookie-of-ann", "cookie-of-ben")
    }
    assert set(told["groups"]) == {"people"}
    assert told["counted"]["flagged"] == told["counted"]["repeats"] == 1


def test_no_votes_are_exported_too(tmp_path):
    exporting.export([], rate([], models=["a", "b"]), tmp_path / "none", salt="salt")
    assert (tmp_path / "none" / "preferences.jsonl").read_bytes() == b""
    assert pl.read_parquet(tmp_path / "none" / "votes.parquet").schema == exporting.SCHEMA
    assert (tmp_path / "none" / "votes.csv").read_text().startswith("battle,mode,voter,prompt,seed,model_1")
