"""Opening shard roots and label sets: in place, through a cache, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from animetune.errors import DataError, FormatVersionError, SetupError
from animetune.manifest import read_manifest, record_files, write_manifest
from animetune.shards import labels as stage
from animetune.shards.config import LabelsConfig
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
    assert names == sorted(["manifest.json", *(f"{group.folder}/index.json" for group in root.groups)])
    assert root.samples("key").num_rows == 40
    assert (tmp_path / "cache" / "samples.parquet").is_file()  # when asked for: training does not need it
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
    with pytest.raises(DataError, match="holds copies of another shard root than"):
        open_root(other, cache=tmp_path / "cache")


def test_labels_that_were_remade_replace_their_copy(tiny, tmp_path):
    root = open_root(tiny[0])
    where = shutil.copytree(tiny[1], tmp_path / "labels")
    url = f"memory://remade-{tmp_path.name}"
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(f"{where}/", f"{url}/", recursive=True)
    open_labels(url, root, cache=tmp_path / "cache")
    config = {"stage": "labels", "table": tiny[0].parent / "table", "shards": tiny[0], "out": where}
    stage.run(LabelsConfig.model_validate(config | {"keep": {"rating": ["e"]}}))
    store.rm(url, recursive=True)
    store.put(f"{where}/", f"{url}/", recursive=True)
    labels = open_labels(url, root, cache=tmp_path / "cache")
    assert labels.repeats.max() == 0
    assert len(list((tmp_path / "cache").rglob("labels.arrow"))) == 1


def test_what_is_no_root_is_refused(tiny, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_root(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"nothing/manifest.json: does not exist"):
        open_root(tmp_path / "nothing", cache=tmp_path / "cache")
    with pytest.raises(DataError, match="is a label-set, but a shard-root is needed here"):
        open_root(tiny[1])
    with pytest.raises(FormatVersionError, match="has format version 99"):
        open_root(rewritten(tiny[0], tmp_path / "newer", format_version=99))


def reindexed(folder, target, change):
    """A copy of a root whose first index went through `change`, with a manifest that agrees."""
    shutil.copytree(folder, target)
    name = f"{open_root(target).groups[0].folder}/index.json"
    index = json.loads((target / name).read_text())
    change(index)
    (target / name).write_text(json.dumps(index))
    manifest = read_manifest(target)
    files = manifest.files | record_files(target, [name])
    write_manifest(target, manifest.model_copy(update={"files": files}))
    return open_root(target)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "is missing"),
        (b"", "is damaged: it has 0 bytes"),
        (b'{"version": 2, "sh', "is damaged: it has 18 bytes"),
        ("flip", r"is damaged: its bytes have changed \(SHA-256 differs\)"),
    ],
)
def test_an_index_that_is_not_as_it_was_written_is_named(tiny, tmp_path, damage, message):
    root = open_root(rewritten(tiny[0], tmp_path / "copy"))
    path = root.folder / root.groups[0].folder / "index.json"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"0", b"1", 1) if damage == "flip" else damage)
    for look in (root.check, lambda split: root.index(root.groups_of(split)[0])):
        with pytest.raises(DataError, match=rf"train/64/56x72/index\.json: {message}.*; restore it from a copy"):
            look("train")
    root.check("val")


def put_in(*place):
    """A change of the first shard of an index: the value at the end of `place` is put where the rest of it leads."""
    *keys, last, value = place

    def change(index):
        shard = index["shards"][0]
        for key in keys:
            shard = shard[key]
        shard[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda index: index.update(version=3), "version is 3"),
        (lambda index: index.pop("shards"), "shards is .*Field required"),
        (put_in("version", 1), "shards.0.version is 1"),
        (put_in("format", "json"), "shards.0.format is 'json'"),
        (put_in("compression", "zstd:3"), "shards.0.compression is 'zstd:3'"),
        (put_in("zip_data", {"basename": "a"}), "shards.0.zip_data is "),
        (put_in("column_encodings", 0, "pkl"), "shards.0.column_encodings.0 is 'pkl'"),
        (put_in("samples", 0), "shards.0.samples is 0"),
        (put_in("raw_data", "hashes", {}), "shards.0.raw_data.hashes.xxh64 is "),
        (put_in("raw_data", "bytes", "many"), "shards.0.raw_data.bytes is 'many'"),
        *(
            (put_in("raw_data", "basename", name), f"shards.0.raw_data.basename is '{name}'")
            for name in (
                "../outside.mds",
                "../56x72/part-00000/shard.00000.mds",
                "/etc/passwd",
                "part-00000/../../../../outside.mds",
                "part-00000",
                "",
            )
        ),
        (put_in("raw_data", "basename", "part-00000/shard.00000.mds\n"), "shards.0.raw_data.basename is "),
    ],
)
def test_an_index_of_something_else_is_refused_even_when_the_manifest_agrees(tiny, tmp_path, change, what):
    root = reindexed(tiny[0], tmp_path / "copy", change)
    with pytest.raises(DataError, match=rf"train/64/56x72/index\.json: is no index of this version: {what}"):
        root.index(root.groups[0])


def test_an_index_of_other_samples_is_refused(tiny, tmp_path):
    root = reindexed(tiny[0], tmp_path / "copy", put_in("samples", 1))
    with pytest.raises(DataError, match=r"index\.json: lists \d+ samples, its root has \d+; make the shards again"):
        root.index(root.groups[0])
    (root.folder / root.groups[0].folder / "index.json").write_text("[")
    name = f"{root.groups[0].folder}/index.json"
    root.manifest.files.update(record_files(root.folder, [name]))
    with pytest.raises(DataError, match=r"index\.json: is no index: Expecting"):
        root.index(root.groups[0])


def test_shards_that_are_missing_cut_or_elsewhere_are_named(tiny, tmp_path):
    root = open_root(rewritten(tiny[0], tmp_path / "copy"))
    root.check("train")
    shard = next((root.folder / "train").rglob("*.mds"))
    data = shard.read_bytes()

    shard.unlink()
    with pytest.raises(DataError, match=rf"{shard}: is missing \(No such file.*; restore it"):
        root.check("train")
    shard.write_bytes(data[:-1])
    with pytest.raises(DataError, match=rf"{shard}: has {len(data) - 1} bytes, {len(data)} were written"):
        root.check("train")
    shard.unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / shard.name).write_bytes(data)
    shard.symlink_to(tmp_path / "elsewhere" / shard.name)
    with pytest.raises(DataError, match=rf"{shard}: is a link to a file elsewhere"):
        root.check("train")
    shutil.rmtree(shard.parent)
    shard.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"{shard}: is a link to a file elsewhere"):
        root.check("train")
    root.check("val")


@pytest.mark.parametrize("group", [{"split": "../train"}, {"split": "test"}, {"tier": "../64"}, {"tier": ""}])
def test_a_group_that_would_lie_elsewhere_is_refused(tiny, tmp_path, group):
    manifest = read_manifest(tiny[0])
    facts = manifest.facts | {"groups": [manifest.facts["groups"][0] | group]}
    root = open_root(rewritten(tiny[0], tmp_path / "copy", facts=facts))
    with pytest.raises(DataError, match=r"has a group that cannot be: .*; make the shards again"):
        _ = root.groups


def test_changed_samples_are_never_read(tiny, tmp_path):
    root = open_root(rewritten(tiny[0], tmp_path / "copy"))
    path = root.folder / "samples.parquet"
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"samples\.parquet: is damaged: its bytes have changed"):
        root.samples("key")


def test_a_damaged_copy_is_named_and_one_that_was_cut_is_fetched_again(tiny, tmp_path):
    root = open_root(tiny[0], cache=tmp_path / "cache")
    path = root.folder / root.groups[0].folder / "index.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert open_root(tiny[0], cache=tmp_path / "cache").index(root.groups[0]) == root.index(root.groups[0])
    path.write_bytes(whole.replace(b"0", b"1", 1))
    with pytest.raises(DataError, match=r"index\.json: is damaged: .*; remove this copy and run again"):
        open_root(tiny[0], cache=tmp_path / "cache").index(root.groups[0])


def test_a_damaged_original_is_never_copied(tiny, tmp_path):
    source = rewritten(tiny[0], tmp_path / "source")
    path = source / "samples.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DataError, match=rf"{path}: is damaged: its bytes have changed"):
        open_root(source, cache=tmp_path / "cache").samples()
    assert not (tmp_path / "cache" / "samples.parquet").exists()
    (source / "manifest.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"source/manifest\.json: is not a manifest"):
        open_root(source, cache=tmp_path / "other cache")
    assert not (tmp_path / "other cache").exists()


def test_labels_of_another_root_are_refused(tiny, tmp_path):
    other = rewritten(tiny[0], tmp_path / "other", config_digest="another")
    with pytest.raises(DataError, match="these labels were made for another shard root"):
        open_labels(tiny[1], open_root(other))


def test_a_damaged_label_file_is_named(tiny, tmp_path):
    copy = rewritten(tiny[1], tmp_path / "labels")
    labels = open_labels(copy)
    labels.file.write_bytes(labels.file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"labels\.arrow: is missing or has not the \d+ bytes written"):
        _ = labels.repeats
    labels.file.write_bytes(bytes((tiny[1] / labels.file.relative_to(copy)).stat().st_size))
    with pytest.raises(DataError, match=r"labels\.arrow: cannot be read"):
        _ = labels.repeats
