"""Opening shard roots and label sets: in place, through a cache, and what is refused."""

from __future__ import annotations

import shutil

import pytest

from animetune.errors import DataError, FormatVersionError, SetupError
from animetune.manifest import read_manifest, write_manifest
from animetune.shardset import open_labels, open_root
from tests.builders import tiny_shards


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_shards(tmp_path_factory.mktemp("shardset"))


def rewritten(folder, target, **changes):
    """A copy of a published folder with another manifest."""
    shutil.copytree(folder, target)
    write_manifest(target, read_manifest(target).model_copy(update=changes))
    return target


def test_a_root_in_place(tiny):
    root = open_root(tiny[0])
    assert root.remote is None
    assert root.store == "pixels"
    assert root.latents is None
    assert [group.folder for group in root.groups_of("val")] == [
        "val/64/56x72", "val/64/64x64", "val/64/72x56", "val/64/80x48",
    ]  # fmt: skip
    assert sum(shard["samples"] for group in root.groups for shard in root.index(group)) == 40
    with pytest.raises(ValueError, match="'test' is no split; there are train, val"):
        root.rows_of("test")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_root_through_a_cache_copies_its_small_files_only(tiny, tmp_path, scheme):
    root = open_root(f"{scheme}{tiny[0]}", cache=tmp_path / "cache")
    assert root.remote == str(tiny[0])
    assert root.digest == open_root(tiny[0]).digest
    names = sorted(path.relative_to(tmp_path / "cache").as_posix() for path in (tmp_path / "cache").rglob("*.*"))
    assert names == sorted(
        ["manifest.json", "samples.parquet", *(f"{group.folder}/index.json" for group in root.groups)]
    )
    assert root.samples("key").num_rows == 40
    # Opened again, from what was copied.
    assert open_root(f"{scheme}{tiny[0]}", cache=tmp_path / "cache").digest == root.digest
    root.fetch_shards("val")
    shards = list((tmp_path / "cache").rglob("*.mds"))
    assert len(shards) == 4
    assert all(shard.read_bytes() == (tiny[0] / shard.relative_to(tmp_path / "cache")).read_bytes() for shard in shards)


def test_labels_through_a_cache(tiny, tmp_path):
    root = open_root(tiny[0])
    labels = open_labels(f"file://{tiny[1]}", root)
    assert len(labels) == 40
    memory = "memory://labels-of-test"
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(tiny[1]) + "/", "/labels-of-test/", recursive=True)
    try:
        with pytest.raises(SetupError, match="remote labels need a folder on this machine: set `cache`"):
            open_labels(memory, root)
        copied = open_labels(memory, root, cache=tmp_path / "labels")
        assert copied.repeats.tolist() == labels.repeats.tolist()
        assert copied.label(7) == labels.label(7)
    finally:
        filesystem.rm("/labels-of-test", recursive=True)


def test_a_remote_root_needs_a_cache():
    with pytest.raises(SetupError, match="s3://bucket/shards: the shards of a remote root need a folder"):
        open_root("s3://bucket/shards/")


def test_a_cache_of_another_root_is_refused(tiny, tmp_path):
    open_root(tiny[0], cache=tmp_path / "cache")
    other = rewritten(tiny[0], tmp_path / "other", config_digest="another")
    with pytest.raises(DataError, match="holds copies of another shard-root than"):
        open_root(other, cache=tmp_path / "cache")


def test_what_is_no_root_is_refused(tiny, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_root(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"nothing/manifest.json: does not exist"):
        open_root(tmp_path / "nothing", cache=tmp_path / "cache")
    with pytest.raises(DataError, match="is a label-set, but a shard-root is needed here"):
        open_root(tiny[1])
    with pytest.raises(FormatVersionError, match="has format version 99"):
        open_root(rewritten(tiny[0], tmp_path / "newer", format_version=99))


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2, "sh'])
def test_a_damaged_index_is_named(tiny, tmp_path, text):
    root = open_root(rewritten(tiny[0], tmp_path / "copy"))
    (root.folder / root.groups[0].folder / "index.json").write_text(text)
    with pytest.raises(DataError, match=r"train/64/56x72/index\.json: is missing or damaged"):
        root.index(root.groups[0])


def test_labels_of_another_root_are_refused(tiny, tmp_path):
    other = rewritten(tiny[0], tmp_path / "other", config_digest="another")
    with pytest.raises(DataError, match="these labels were made for another shard root"):
        open_labels(tiny[1], open_root(other))


def test_a_damaged_label_file_is_named(tiny, tmp_path):
    copy = rewritten(tiny[1], tmp_path / "labels")
    labels = open_labels(copy)
    labels.file.write_bytes(labels.file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"labels\.arrow: cannot be read"):
        _ = labels.repeats
