"""The labels stage: joined on the key, in the root's row order, filtered, divided, and never silently short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from animetune import shardset
from animetune.errors import DataError
from animetune.manifest import Manifest, write_manifest
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


def two_tiers(folder: Path) -> Path:
    """A root of which only the files that the labels stage reads exist: tiny/0 in two tiers, tiny/1 in one."""
    import polars as pl

    from animetune import tables
    from animetune.manifest import record_files

    folder.mkdir()
    rows = [(0, "tiny/0", "train", "64"), (1, "tiny/1", "train", "64"), (2, "tiny/0", "train", "96")]
    samples = pl.DataFrame(rows, schema=["row", "key", "split", "tier"], orient="row")
    samples.write_parquet(folder / "samples.parquet")
    pl.DataFrame(schema=tables.DROPPED_SCHEMA).write_parquet(folder / "dropped.parquet")
    pl.DataFrame(schema=tables.QUARANTINED_SCHEMA).write_parquet(folder / "quarantined.parquet")
    files = record_files(folder)
    write_manifest(folder, Manifest(kind=shardset.ROOT_KIND, format_version=shardset.ROOT_FORMAT, files=files))
    return folder


@pytest.mark.parametrize(("tiers", "repeats"), [("divide", [1.0, 1.0, 1.0]), ("all", [2.0, 1.0, 2.0])])
def test_repeats_of_a_picture_in_several_tiers(tmp_path, tiers, repeats):
    table = tiny_table(tmp_path / "table", [(64, 64)] * 2, repeats=[2.0, 1.0])
    labels.run(config(tmp_path, table=table, shards=two_tiers(tmp_path / "shards"), tiers=tiers))
    assert shardset.open_labels(tmp_path / "labels").repeats.tolist() == repeats
