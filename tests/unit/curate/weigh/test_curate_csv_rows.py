"""Hand-written CSV files: what they say, and every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.curate.weigh.csv_rows import read_rows
from animetune.errors import DataError


def read(folder: Path, text: str | bytes) -> list:
    path = folder / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_rows(path, "styles: map", ("tag", "style")))


def test_rows_with_their_lines(tmp_path: Path):
    text = '\ufeffstyle, tag ,note\r\nflat, ann ,x\r\n\r\n,"a, ""b""",\r\n'
    assert read(tmp_path, text) == [
        (2, {"style": "flat", "tag": "ann", "note": "x"}),
        (4, {"style": "", "tag": 'a, "b"', "note": ""}),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"list.csv:1: the first line has to name the column tag"),
        ("tag,name\na,b\n", r"name the column style; it names tag, name$"),
        ("tag,style\na,b\nc\n", r"list.csv:3: has 1 values, not 2"),
        ('tag,style\n"a,b\n', r"is no CSV"),
        (b"tag,style\n\xff\xfe,b\n", r"cannot be read as UTF-8"),
        ("tag,style\na,b\0c\n", None),
    ],
)
def test_mistakes(tmp_path: Path, text: str | bytes, words: str | None):
    if words is None:
        assert read(tmp_path, text) == [(2, {"tag": "a", "style": "b\0c"})]
        return
    with pytest.raises(DataError, match=words):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match=r"styles: map: .*nowhere.csv: there is no such file"):
        list(read_rows(tmp_path / "nowhere.csv", "styles: map", ("tag",)))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(tmp_path, "styles: map", ("tag",)))
