"""Files of boxes: three kinds, and every mistake with its place."""

from __future__ import annotations

import polars as pl
import pytest

from animetune.curate.closeups.boxes import BoxFiles
from animetune.errors import DataError
from animetune.vision.detectors import Box

FACE = Box(1.5, 2.0, 30.0, 40.0, 1.0, "face")
HEAD = Box(0.0, 0.0, 9.0, 9.0, 0.25, "head")


def test_the_three_kinds_say_the_same(tmp_path):
    csv = tmp_path / "a.csv"
    csv.write_text("\ufeffkey, left,top,right,bottom,label,score,note\na/7,1.5,2,30,40,,,x\n7,0,0,9,9,head,0.25,\n")
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text(
        '{"key": "a/7", "left": 1.5, "top": 2, "right": 30, "bottom": 40}\n\n'
        '{"key": 7, "left": 0, "top": 0, "right": 9, "bottom": 9, "label": "head", "score": 0.25}\n'
    )
    parquet = tmp_path / "a.parquet"
    pl.DataFrame(
        {"key": ["a/7", "7"], "left": [1.5, 0], "top": [2, 0], "right": [30, 9], "bottom": [40, 9]}
        | {"label": [None, "head"], "score": [None, 0.25]}
    ).write_parquet(parquet)
    read = [BoxFiles.read([path], ["a"]) for path in (csv, jsonl, parquet)]
    assert read[0].boxes == {"a/7": (FACE, HEAD)}
    assert [each.boxes for each in read] == [read[0].boxes] * 3
    assert len({each.digest for each in read}) == 1


def test_the_digest_is_of_what_is_said_and_not_of_its_order(tmp_path):
    lines = ["a/1,0,0,5,5", "a/1,1,1,6,6", "a/2,0,0,5,5"]
    digests = set()
    for number, order in enumerate((lines, lines[::-1])):
        path = tmp_path / f"{number}.csv"
        path.write_text("\n".join(["key,left,top,right,bottom", *order]))
        digests.add(BoxFiles.read([path], ["a"]).digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "key,left,top,right\n",
            r"a.csv: its first line has no bottom; needed are key, left, top, right, bottom",
        ),
        (
            "a.csv",
            "key,left,top,right,bottom\ntiny/1,0.1,0.1,0.5,0.9\n",
            r"line 2: 0.1,0.1,0.5,0.9 are shares of the sides",
        ),
        ("a.csv", "", r"a.csv: its first line has no key, left"),
        ("a.csv", "key,left,top,right,bottom\na/1,0,0,5,5\na/2,0,x,5,5\n", r"a.csv, line 3: top: 'x' is not a number"),
        ("a.csv", "key,left,top,right,bottom\na/1,0,0,5\n", r"a.csv, line 2: should have 5 cells"),
        ("a.csv", "key,left,top,right,bottom\na/1,0,0,5,5,6\n", r"a.csv, line 2: should have 5 cells"),
        ("a.csv", "key,left,top,right,bottom\na/1,5,0,5,5\n", r"line 2: 5,0,5,5 is no box"),
        ("a.csv", "key,left,top,right,bottom\na/1,-1,0,5,5\n", r"line 2: -1,0,5,5 is no box"),
        ("a.csv", "key,left,top,right,bottom\na/1,nan,0,5,5\n", r"line 2: left: 'nan' is not a number"),
        ("a.csv", "key,left,top,right,bottom\nc/1,0,0,5,5\n", r"line 2: key: 'c/1' is of no source .* a, b"),
        ("a.csv", "key,left,top,right,bottom\n1,0,0,5,5\n", r"line 2: key: '1' is an id, but of which source\?"),
        ("a.csv", "key,left,top,right,bottom\na/x,0,0,5,5\n", r"line 2: key: 'a/x' is no key"),
        ("a.jsonl", '{"key": 1\n', r"a.jsonl, line 1: is not JSON"),
        ("a.jsonl", "[1]\n", r"a.jsonl, line 1: is no object"),
        ("a.jsonl", '{"key": "a/1", "left": true, "top": 0}\n', r"line 1: left: True is not a number"),
        ("a.jsonl", '\n{"key": "a/1", "left": 1}\n', r"line 2: top: None is not a number"),
        ("a.txt", "", r"a.txt: is none of .csv, .jsonl"),
        ("a.parquet", "nothing", r"a.parquet: cannot be read as parquet"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        BoxFiles.read([tmp_path / name], ["a", "b"])


def test_a_file_that_is_not_there_or_is_not_utf8(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        BoxFiles.read([tmp_path / "none.csv"], ["a"])
    (tmp_path / "a.csv").write_bytes(b"key,left,top,right,bottom\n\xff\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        BoxFiles.read([tmp_path / "a.csv"], ["a"])
