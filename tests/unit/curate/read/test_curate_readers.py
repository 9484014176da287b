"""How records lie in files: nothing that is wrong with one record costs another."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.sources import SourceConfig
from animetune.curate.read.fields import RecordError
from animetune.curate.read.formats import readers
from animetune.curate.read.json_text import parse_items, parse_json
from animetune.errors import DataError
from tests.builders import ingested


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.jsonl", "lines"), ("a.jsonl.gz", "lines"), ("a.txt", "lines"), ("a.json", "json"), ("a.json.gz", "json"),
        ("a.b.csv", "csv"), ("a.CSV.gz", "csv"), ("a.tsv", "csv"), ("a.parquet", "parquet"), ("a.tar", "tar"),
        ("a.json.parquet", "parquet"), ("a.json.tar", "tar"), ("a.json.jsonl", "lines"), ("a.json.1", "json"),
        ("a.jsonl.GZ", "lines"), ("a.JSON.GZ", "json"),
    ],
)  # fmt: skip
def test_layouts(name: str, how: str):
    assert readers.layout(Path(name)) == how


def csv_file(folder: Path, text: str | bytes, name: str = "a.csv") -> list:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return [raw.value for raw in readers.read_csv(folder / name)]


def test_csv(tmp_path: Path):
    text = '\ufeffid,tags,score\r\n1,"a, b",\r\n\r\n2,"line\nbreak ""quoted""",5\r\n'
    assert csv_file(tmp_path, text) == [
        {"id": "1", "tags": "a, b", "score": None},
        {"id": "2", "tags": 'line\nbreak "quoted"', "score": "5"},
    ]
    assert csv_file(tmp_path, "id\ttags\n1\ta,b\n", "a.tsv") == [{"id": "1", "tags": "a,b"}]
    assert csv_file(tmp_path, "id\ttags\n1\ta,b\n", "a.TSV") == [{"id": "1", "tags": "a,b"}]
    assert csv_file(tmp_path, gzip.compress(b"id,tags\n1,a\n"), "a.csv.GZ") == [{"id": "1", "tags": "a"}]
    assert csv_file(tmp_path, "") == []


def test_rows_of_csv_that_cannot_be_used(tmp_path: Path):
    long = "x" * (readers.MAX_LINE + 1)
    found = csv_file(tmp_path, f"id,tags\n1,a\n2\n3,b,c\n4,{long}\n".encode() + b"5,\xff\n6,\x00d\n7,e\n")
    codes = [value.code if isinstance(value, RecordError) else value for value in found]
    assert codes == [
        {"id": "1", "tags": "a"}, "bad_record", "bad_record", "bad_record", "bad_unicode", {"id": "6", "tags": "\x01d"},
        {"id": "7", "tags": "e"},
    ]  # fmt: skip
    with pytest.raises(DataError, match="the header names a column twice"):
        csv_file(tmp_path, "id,id\n1,2\n")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text('a,"\n\r\x00é', max_size=40).map(lambda text: f"id,tags\n{text}".encode()))
def test_any_csv_has_one_outcome_for_each_row(tmp_path_factory, data: bytes):
    folder = tmp_path_factory.mktemp("csv")
    try:
        found = csv_file(folder, data)
    except DataError:
        return
    outcome = ingested(folder, SourceConfig(name="site", posts=(str(folder / "a.csv"),)))
    assert outcome.seen == len(found)


def json_file(folder: Path, data: str | bytes, *, keyed: bool = False) -> list:
    (folder / "a.json").write_bytes(data.encode() if isinstance(data, str) else data)
    raws = list(readers.read_json(folder / "a.json", keyed=keyed))
    return [(raw.name, raw.value.code if isinstance(raw.value, RecordError) else raw.value) for raw in raws]


def test_what_is_wrong_with_one_item_costs_no_other(tmp_path: Path):
    text = '[{"id": 1}, {"id": NaN}, {"a": [{"b": 1, "b": 2}]}, {"id": "\\ud800"}, [1e999], 5, {"id": 2}]'
    assert json_file(tmp_path, text) == [
        (None, {"id": 1}), (None, "bad_json"), (None, "dup_key"), (None, "bad_unicode"), (None, "bad_json"), (None, 5),
        (None, {"id": 2}),
    ]  # fmt: skip
    assert json_file(tmp_path, '{"id": NaN, "score": 1}') == [(None, "bad_json")]
    assert json_file(tmp_path, '{"id": 1, "id": 2}') == [(None, "dup_key")]


def test_objects_of_names(tmp_path: Path):
    text = '{"a": {"tags": "x"}, "b": {"tags": Infinity}, "\\ud800": {}}'
    assert json_file(tmp_path, text, keyed=True) == [("a", {"tags": "x"}), ("b", "bad_json"), ("?", "bad_unicode")]
    assert json_file(tmp_path, '[{"id": 1}]', keyed=True) == [(None, {"id": 1})]


@pytest.mark.parametrize("data", [b"[1, 2", b"\xff", b"", b"[" * 100_000])
def test_json_files_that_are_damaged(tmp_path: Path, data: bytes):
    with pytest.raises(DataError, match=r"a\.json: is not JSON"):
        json_file(tmp_path, data)


@pytest.mark.parametrize("depth", [50, 400, 900, 5000])
def test_deep_items_are_refused_or_read_and_raise_nothing_else(depth: int):
    deep = "[" * depth + "]" * depth
    for parse, text in ((parse_items, f"[5, {deep}]"), (parse_json, f'[5, {deep}, "\\ud83d\\ude00"]')):
        try:
            code, items = None, parse(text.encode())
        except RecordError as error:
            code, items = error.code, [5]
        assert code in (None, "bad_json")
        assert items[0] == 5


def test_rows_of_parquet(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"name": [f"{n}" for n in range(10)], "score": [float("nan")] + [1.0] * 9}).with_columns(
        kind=pl.Series(["a", "b"] * 5, dtype=pl.Categorical)
    ).write_parquet(path, row_group_size=4)
    found = list(readers.read_parquet(path, 3, 8))
    assert [(raw.offset, raw.value["name"]) for raw in found] == [(n, str(n)) for n in range(3, 8)]
    assert next(readers.read_parquet(path, 0, 1)).value == {"name": "0", "score": None, "kind": "a"}
    assert len(list(readers.read_parquet(path, 0, None))) == 10
    assert readers.parquet_columns(path) == ["name", "score", "kind"]


def test_text_of_parquet_that_is_not_utf8_costs_its_row(tmp_path: Path):
    text = pa.array([b"a", b"\xff", b"c", b"\xfe"], pa.binary()).view(pa.string())
    inner = pa.StructArray.from_arrays([text], ["x"])
    pq.write_table(pa.table({"file_name": ["1", "2", "3", "4"], "inner": inner}), tmp_path / "a.parquet")
    values = [raw.value for raw in readers.read_parquet(tmp_path / "a.parquet", 0, None)]
    assert [isinstance(value, RecordError) for value in values] == [False, True, False, True]
    assert values[1].detail == "inner: is not UTF-8"
    assert values[2] == {"file_name": "3", "inner": {"x": "c"}}


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet" * 99])
def test_parquet_that_is_damaged(tmp_path: Path, data: bytes):
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: is no parquet file, or is damaged"):
        readers.parquet_columns(tmp_path / "a.parquet")
    assert readers.first_record(tmp_path / "a.parquet") is None


def test_the_first_record_that_can_be_read(tmp_path: Path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"{\n[1]\n" + json.dumps({"id": 5}).encode()))
    assert readers.first_record(tmp_path / "a.jsonl.gz") == {"id": 5}
    for text, first in (('[{"id": 5}, {"id"', {"id": 5}), ('{"posts": [5, {"id": 6}]}', {"id": 6}), ("[5, ", None)):
        (tmp_path / "a.json").write_text(text)
        assert readers.first_record(tmp_path / "a.json") == first
        assert readers.begins_with_object(tmp_path / "a.json") == text.startswith("{")
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    assert readers.first_record(tmp_path / "b.jsonl.gz") is None


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b'{"id": 1}', b'{"id": 2, "x": "\xff"}', b'{"id": 3}'], [1, "bad_unicode", 3]),
        ([b'{"id": 1', b'{"id": 2}'], ["bad_json", 2]),
        ([b"\xff", b'{"id": 2}', b"", b'{"id": 3}'], ["bad_unicode", 2, 3]),
    ],
)
def test_a_bad_line_of_a_json_file_of_lines_costs_itself(tmp_path: Path, lines: list[bytes], codes: list):
    (tmp_path / "a.json").write_bytes(b"\n".join(lines))
    found = [raw.value for raw in readers.read_json(tmp_path / "a.json", keyed=False)]
    assert [value.code if isinstance(value, RecordError) else value["id"] for value in found] == codes


@pytest.mark.parametrize(
    "data", [b'[{"id": 1},\n{"id": 2}\n', b'[\n{"id": 1},\n{"id": 2}\n', b'{\n"a": {},\n"b": {}\n']
)
def test_a_json_file_that_breaks_off_is_damaged(tmp_path: Path, data: bytes):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.json: is not JSON"):
        list(readers.read_json(tmp_path / "a.json", keyed=False))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40), st.integers(1, 12), st.integers(1, 9), st.integers(0, 45), st.none() | st.integers(0, 45)
)  # fmt: skip
def test_any_range_of_rows_of_any_row_groups(
    tmp_path_factory, rows: int, group: int, batch: int, start: int, stop: int | None
):
    path = tmp_path_factory.mktemp("rows") / "a.parquet"
    pq.write_table(pa.table({"id": pa.array(range(rows), pa.int64())}), path, row_group_size=group)
    found = [(raw.offset, raw.value["id"]) for raw in readers.read_parquet(path, start, stop)]
    assert found == [(number, number) for number in range(rows)][start:stop]
    with readers.parquet_file(path) as file:
        tables = list(readers.rows_between(file, start, rows if stop is None else stop, batch, ["id"]))
    assert all(0 < len(table) <= batch for table in tables)
    assert [number for table in tables for number in table["id"].to_pylist()] == list(range(rows))[start:stop]


def test_two_columns_of_one_name_are_named(tmp_path: Path):
    pq.write_table(pa.table([[1], ["a"], ["b"]], names=["id", "tags", "tags"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: has two columns 'tags'; write it with one of each name"):
        list(readers.read_parquet(tmp_path / "a.parquet", 0, None))


def test_pictures_in_a_parquet_file_are_not_read(tmp_path: Path):
    images = [{"bytes": b"\x89PNG", "path": "1.png"}, {"bytes": b"x", "path": None}]
    pq.write_table(
        pa.table({"image": images, "only": [{"bytes": b"1"}] * 2, "text": ["a", "b"]}), tmp_path / "a.parquet"
    )
    found = [raw.value for raw in readers.read_parquet(tmp_path / "a.parquet", 0, None)]
    assert found == [{"image": {"path": "1.png"}, "text": "a"}, {"image": {"path": None}, "text": "b"}]
