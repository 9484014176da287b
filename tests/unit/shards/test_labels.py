"""The labels stage: joined on the key, in the root's row order, filtered, divided, and never silently short."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animetune import shardset, tables
from animetune.errors import DataError
from animetune.manifest import Manifest, record_files, write_manifest
from animetune.records import LABEL_COLUMNS
from animetune.shards import labels
from animetune.shards.config import LabelsConfig
from tests.builders import tiny_shards, tiny_table


def config(folder: Path, **changes) -> LabelsConfig:
    settings = {"stage": "labels", "table": folder / "table", "shards": folder / "shards", "out": folder / "labels"}
    return LabelsConfig.model_validate(settings | changes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    tiny_shards(
        folder,
        [(64, 64)] * 6,
        repeats=[1.0, 0.5, 2.0, 0.0, 1.0, 1.0],
        quality=["best", "best", "low", None, "best", "low"],
        content_bucket=["1girl_only", "animal", "1girl_only", "animal", "1girl_only", "animal"],
        split=["train"] * 5 + ["val"],
    )
    return folder


def test_row_i_labels_row_i_of_the_root(tiny):
    root = shardset.open_root(tiny / "shards")
    found = shardset.open_labels(tiny / "labels", root)
    keys = root.samples("key")["key"].to_pylist()
    repeats = dict(zip([f"tiny/{row}" for row in range(6)], [1.0, 0.5, 2.0, 0.0, 1.0, 1.0], strict=True))
    assert len(found) == 6
    assert found.repeats.dtype == np.float32
    assert found.repeats.tolist() == [repeats[key] for key in keys]
    for row, key in enumerate(keys):
        number = int(key.removeprefix("tiny/"))
        label = found.label(row)
        assert label.key == key
        assert label.tags_general == (f"tag_{number}", "smile", "long_hair")
        assert label.captions_long == (f"A long caption of picture {number}.",)
        assert label.captions_short == ()
        assert label.quality == ["best", "best", "low", None, "best", "low"][number]
    assert found.manifest.kept == 5
    assert found.manifest.dropped == {"not_in_table": 0, "repeats_0": 1}
    assert found.manifest.facts["expected_samples_per_epoch"] == 4.5  # without the validation row


def test_the_file_is_one_uncompressed_batch_that_pyarrow_maps(tiny):
    found = shardset.open_labels(tiny / "labels")
    reader = pa.ipc.open_file(pa.memory_map(str(found.file)))
    assert reader.num_record_batches == 1
    assert reader.schema.names == [column.name for column in LABEL_COLUMNS]
    assert b"A long caption of picture 3." in found.file.read_bytes()
    assert not any(pa.types.is_string_view(field.type) for field in reader.schema)


def test_filters_set_repeats_to_zero(tiny, tmp_path):
    labels.run(config(tiny, out=tmp_path, keep={"quality": ["best", None], "content_bucket": ["1girl_only"]}))
    found = shardset.open_labels(tmp_path, shardset.open_root(tiny / "shards"))
    drawn = {found.label(row).key for row in np.flatnonzero(found.repeats)}
    assert drawn == {"tiny/0", "tiny/4"}


def test_a_null_class_is_kept_only_when_it_is_listed(tiny, tmp_path):
    labels.run(config(tiny, out=tmp_path, keep={"quality": ["low"]}))
    found = shardset.open_labels(tmp_path)
    assert {found.label(row).key for row in np.flatnonzero(found.repeats)} == {"tiny/2", "tiny/5"}


def test_run_again_changes_nothing_and_new_settings_replace_the_set(tiny, tmp_path):
    first = labels.run(config(tiny, out=tmp_path))
    file = shardset.open_labels(tmp_path).file
    written = file.stat().st_mtime_ns
    assert labels.run(config(tiny, out=tmp_path)) == first
    assert file.stat().st_mtime_ns == written
    labels.run(config(tiny, out=tmp_path, keep={"quality": ["low"]}))
    assert shardset.open_labels(tmp_path).repeats.sum() == 3.0
    assert file.stat().st_mtime_ns == written  # for a training that reads it, and for going back
    assert labels.run(config(tiny, out=tmp_path)) == first
    assert shardset.open_labels(tmp_path).repeats.sum() == 5.5


def test_equal_inputs_give_equal_bytes(tiny, tmp_path):
    labels.run(config(tiny, out=tmp_path))
    ours, theirs = shardset.open_labels(tmp_path), shardset.open_labels(tiny / "labels")
    assert ours.manifest == theirs.manifest
    assert ours.file.read_bytes() == theirs.file.read_bytes()


def test_samples_that_left_the_table_get_repeats_zero(tiny, tmp_path):
    # A later table: two pictures gone, one re-captioned.
    keys = [f"tiny/{row}" for row in (0, 2, 4, 5)]
    table = tiny_table(tmp_path / "table", [(64, 64)] * 4, key=keys, captions_short=[["new"], [], [], []])
    manifest = labels.run(config(tiny, table=table, out=tmp_path / "labels"))
    found = shardset.open_labels(tmp_path / "labels", shardset.open_root(tiny / "shards"))
    by_key = {found.label(row).key: (found.repeats[row], found.label(row)) for row in range(6)}
    assert by_key["tiny/1"][0] == by_key["tiny/3"][0] == 0
    assert by_key["tiny/1"][1].tags_general == ()
    assert by_key["tiny/0"][1].captions_short == ("new",)
    assert manifest.dropped == {"not_in_table": 2, "repeats_0": 0}
    assert found.loss_weights.tolist().count(0.0) == 2


def test_too_many_rows_without_a_sample_are_an_error_and_few_are_listed(tiny, tmp_path):
    keys = [f"tiny/{row}" for row in (0, 1, 2, 8, 9)]
    table = tiny_table(tmp_path / "table", [(64, 64)] * 5, key=keys)
    with pytest.raises(
        DataError, match=r"2 of 5 rows have no sample .* the first is tiny/8; missing_limit allows 1.0%"
    ):
        labels.run(config(tiny, table=table, out=tmp_path / "labels"))
    assert not (tmp_path / "labels" / "manifest.json").exists()
    manifest = labels.run(config(tiny, table=table, out=tmp_path / "labels", missing_limit=0.5))
    assert manifest.facts["missing"] == 2
    (listed,) = (tmp_path / "labels").rglob("missing.txt")
    assert listed.read_text() == "tiny/8\ntiny/9\n"


def test_what_the_shard_stage_refused_is_not_missing(tmp_path):
    from animetune.shards import run
    from animetune.shards.config import ShardConfig
    from tests.builders import TINY_SIZES

    table = tiny_table(tmp_path / "table", [(64, 64), (64, 64), (20, 20)])
    (tmp_path / "table-images" / "1.png").unlink()
    shard = {"stage": "shard", "table": table, "out": tmp_path / "shards", "sizes": TINY_SIZES}
    store = {"name": "pixels", "format": "png"}
    run.run(ShardConfig.model_validate(shard | {"store": store, "quarantine_limit": 1.0, "executor": {"workers": 0}}))
    manifest = labels.run(config(tmp_path))
    assert manifest.facts["missing"] == 0
    assert manifest.seen == 1


@pytest.mark.parametrize(("column", "value"), [("repeats", float("nan")), ("repeats", -1.0), ("loss_weight", None)])
def test_numbers_that_are_no_weights_are_refused(tiny, tmp_path, column, value):
    table = tiny_table(tmp_path / "table", [(64, 64)], key=["tiny/0"], **{column: [value]})
    with pytest.raises(DataError, match=f"{column} of tiny/0 is "):
        labels.run(config(tiny, table=table, out=tmp_path / "labels"))


def test_a_key_that_occurs_twice_is_refused(tiny, tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64)] * 2, key=["tiny/0", "tiny/0"])
    with pytest.raises(DataError, match="the key tiny/0 occurs more than once"):
        labels.run(config(tiny, table=table, out=tmp_path / "labels"))


# Without pictures: only the files that the stage reads.


def bare_table(folder: Path, parts: Sequence[Sequence[dict[str, Any]]]) -> Path:
    """A curated table of the given rows, cut into the given parts; columns that a row does not name are null."""
    defaults = {"repeats": 1.0, "loss_weight": 1.0}
    for number, rows in enumerate(parts):
        frame = pl.DataFrame([defaults | row for row in rows], schema=tables.schema(), orient="row")
        path = folder / "steps" / "01-bare" / f"kept-{number:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        tables.write_parquet(frame, path)
    files = record_files(folder)
    write_manifest(folder, Manifest(kind=tables.TABLE_KIND, format_version=tables.TABLE_FORMAT, files=files))
    return folder


def bare_root(folder: Path, samples: Sequence[tuple[str, str, str]]) -> Path:
    """A root of which only the files that the stage reads exist; samples are (key, split, tier)."""
    folder.mkdir(parents=True)
    frame = pl.DataFrame(samples, schema=["key", "split", "tier"], orient="row").with_row_index("row")
    frame.cast(dict.fromkeys(("key", "split", "tier"), pl.String)).write_parquet(folder / "samples.parquet")
    pl.DataFrame(schema=tables.DROPPED_SCHEMA).write_parquet(folder / "dropped.parquet")
    pl.DataFrame(schema=tables.QUARANTINED_SCHEMA).write_parquet(folder / "quarantined.parquet")
    files = record_files(folder)
    write_manifest(folder, Manifest(kind=shardset.ROOT_KIND, format_version=shardset.ROOT_FORMAT, files=files))
    return folder


TIERS = [("a/0", "train", "64"), ("a/1", "train", "64"), ("a/0", "train", "96"), ("a/2", "train", "96")]
"""a/0 in both tiers."""


@pytest.mark.parametrize(
    ("tiers", "repeats", "drawn"), [("divide", [1.5, 1.0, 1.5, 0.5], 4.5), ("all", [3.0, 1.0, 3.0, 0.5], 7.5)]
)
def test_repeats_of_a_picture_in_several_tiers(tmp_path, tiers, repeats, drawn):
    rows = [{"key": key, "repeats": value} for key, value in (("a/0", 3.0), ("a/1", 1.0), ("a/2", 0.5))]
    bare_table(tmp_path / "table", [rows])
    bare_root(tmp_path / "shards", TIERS)
    manifest = labels.run(config(tmp_path, tiers=tiers))
    found = shardset.open_labels(tmp_path / "labels")
    assert found.repeats.tolist() == repeats
    assert found.loss_weights.tolist() == [1.0] * 4
    assert [found.label(row).key for row in range(4)] == ["a/0", "a/1", "a/0", "a/2"]
    assert manifest.facts["expected_samples_per_epoch"] == drawn


def test_a_sample_that_one_tier_lost_leaves_the_others_their_share(tmp_path):
    bare_table(tmp_path / "table", [[{"key": f"a/{row}", "repeats": 3.0} for row in range(3)]])
    bare_root(tmp_path / "shards", TIERS[:2] + TIERS[3:])  # a/0 was refused in the tier 96
    labels.run(config(tmp_path))
    assert shardset.open_labels(tmp_path / "labels").repeats.tolist() == [3.0, 3.0, 3.0]


words = st.lists(st.text(max_size=3), max_size=3)
rows_of_tables = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.integers(0, 40).map("a/{}".format),
            "repeats": st.sampled_from([0.0, 0.25, 1.0, 3.0]),
            "loss_weight": st.sampled_from([0.5, 1.0]),
            "quality": st.sampled_from([None, "best", "low", ""]),
            "tags_general": st.none() | words,
            "captions_long": words,
        }
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row["key"],
)
samples_of_roots = st.lists(
    st.tuples(st.integers(0, 40).map("a/{}".format), st.sampled_from(["64", "96"])), max_size=40, unique=True
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of_tables, samples=samples_of_roots, cut=st.integers(0, 30), block=st.sampled_from([1, 3, 8, 64]))
def test_any_table_over_any_root(tmp_path_factory, monkeypatch, rows, samples, cut, block):
    """Against dictionaries: with blocks of every length, keys that only one side has, pictures in two tiers."""
    folder = tmp_path_factory.mktemp("any")
    bare_table(folder / "table", [rows[:cut], rows[cut:]])
    bare_root(folder / "shards", [(key, "train", tier) for key, tier in samples])
    monkeypatch.setattr(labels, "BLOCK_ROWS", block)
    manifest = labels.run(config(folder, keep={"quality": ["best", None]}, missing_limit=1.0))
    found = shardset.open_labels(folder / "labels")

    keys = [key for key, _ in samples]
    by_key = {row["key"]: row for row in rows}
    assert len(found) == len(samples)
    for row, key in enumerate(keys):
        label, source = found.label(row), by_key.get(key)
        assert label.key == key
        if source is None:
            assert (found.repeats[row], found.loss_weights[row]) == (0.0, 0.0)
            assert (label.quality, label.tags_general, label.captions_long) == (None, (), ())
            continue
        kept = source["quality"] in ("best", None)
        assert found.repeats[row] == np.float32(source["repeats"] / keys.count(key) if kept else 0.0)
        assert found.loss_weights[row] == source["loss_weight"]
        assert label.quality == source["quality"]
        assert label.tags_general == tuple(source["tags_general"] or ())
        assert label.captions_long == tuple(source["captions_long"])
    (listed,) = (folder / "labels").rglob("missing.txt")
    assert listed.read_text().splitlines() == sorted(by_key.keys() - set(keys))
    assert manifest.dropped["not_in_table"] == sum(key not in by_key for key in keys)
    (file,) = (folder / "labels").rglob("labels.arrow")
    pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0).validate(full=True)


PROJECT = """
import sys
from pathlib import Path
from animetune.shards import labels
from animetune.shards.config import LabelsConfig
labels.BLOCK_ROWS = int(sys.argv[3])
folder = Path(sys.argv[1])
labels.run(LabelsConfig(stage="labels", table=folder / "table", shards=folder / "shards", out=folder / sys.argv[2]))
"""


def test_bytes_depend_neither_on_threads_nor_on_blocks(tmp_path):
    rows = [
        {"key": f"a/{row}", "tags_general": [f"tag_{row % 7}"] * (row % 4), "year": "new" if row % 3 else None}
        for row in range(3000)
    ]
    bare_table(tmp_path / "table", [rows[:1000], rows[1000:]])
    bare_root(tmp_path / "shards", [(f"a/{row * 7 % 3000}", "train", "64") for row in range(3000)])
    contents = []
    for threads, block in ((1, 64), (3, 1 << 17)):
        out = f"labels-{threads}"
        command = [sys.executable, "-c", PROJECT, str(tmp_path), out, str(block)]
        subprocess.run(command, check=True, env=os.environ | {"POLARS_MAX_THREADS": str(threads)})
        contents.append({path.name: path.read_bytes() for path in (tmp_path / out).rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


def test_a_null_in_a_list_is_refused(tmp_path):
    bare_table(tmp_path / "table", [[{"key": "a/0", "tags_artist": ["someone", None]}]])
    bare_root(tmp_path / "shards", TIERS[:1])
    with pytest.raises(DataError, match=r"kept-00000.parquet: a list of tags_artist holds a null"):
        labels.run(config(tmp_path))
    assert not list((tmp_path / "labels" / "steps").iterdir())  # nor anything half done


@pytest.mark.slow
def test_captions_beyond_2_gib(tmp_path):
    """2,200 captions of 1 MiB: offsets of 32 bits would end at 2,047."""
    letters, rows = "abcdefghijk", 200
    texts = [letter * (1 << 20) for letter in letters]
    parts = [[{"key": f"{text[0]}/{row}", "captions_long": [text]} for row in range(rows)] for text in texts]
    bare_table(tmp_path / "table", parts)
    bare_root(tmp_path / "shards", [(f"{letters[row % 11]}/{row // 11}", "train", "64") for row in range(11 * rows)])
    labels.run(config(tmp_path))
    found = shardset.open_labels(tmp_path / "labels")
    assert found.file.stat().st_size > 2**31
    for row in (0, 1, 2046, 2047, 2048, 11 * rows - 1):
        assert found.label(row).captions_long == (texts[row % 11],)


def test_a_second_stage_is_a_second_label_set(tiny, tmp_path):
    """Its labels lie over the very same shards, of which no byte and no time is touched."""

    def state(folder: Path) -> dict[str, tuple[bytes, int]]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = state(tiny / "shards")
    assert any(name.endswith(".mds") for name in before)
    bare_table(
        tmp_path / "table",
        [[{"key": f"tiny/{row}", "quality": "low" if row < 2 else "best", "repeats": 4.0} for row in range(6)]],
    )
    labels.run(config(tiny, table=tmp_path / "table", keep={"quality": ["best"]}, out=tmp_path / "stage2"))
    assert state(tiny / "shards") == before

    root = shardset.open_root(tiny / "shards")
    first, second = shardset.open_labels(tiny / "labels", root), shardset.open_labels(tmp_path / "stage2", root)
    assert len(first) == len(second) == 6
    assert [first.label(row).key for row in range(6)] == [second.label(row).key for row in range(6)]
    assert {second.label(row).key for row in np.flatnonzero(second.repeats == 4.0)} == {
        f"tiny/{n}" for n in range(2, 6)
    }
    assert first.repeats.sum() == 5.5


def test_a_label_set_is_refused_by_another_root(tiny, tmp_path):
    bare_root(tmp_path / "shards", TIERS)
    with pytest.raises(DataError, match="made for another shard root"):
        shardset.open_labels(tiny / "labels", shardset.open_root(tmp_path / "shards"))
