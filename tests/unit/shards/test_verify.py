"""`animetune verify`: any changed byte of a shard root or a label set is found, in a folder or behind a URL."""

from __future__ import annotations

import shutil

import fsspec
import pytest

from animetune import shardset
from animetune.manifest import read_manifest, record_files, write_manifest
from animetune.seeding import Purpose, rng_for
from animetune.shards.verify import verify
from tests.builders import tiny_shards, tiny_table

FLIPS = 100


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A root and its label set; some pictures are refused, and some rows have no picture, so that no file is empty."""
    folder = tmp_path_factory.mktemp("verify")
    shards, labels = tiny_shards(folder)
    return shards, labels


def copied(folder, target):
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".lock"))


def problems_of(location):
    """What `verify` says of a damaged place, without the remedy that is its last line."""
    *problems, remedy = verify(location)
    assert remedy.startswith(f"{str(location).rstrip('/')}: to repair it, remove ")
    return problems


def agreeing(folder, name):
    """Let the manifest of a folder agree with a file that was changed."""
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"files": manifest.files | record_files(folder, [name])}))


def test_every_one_of_many_flipped_bytes_is_found(tiny, tmp_path):
    """In files of every kind, which take turns; where in them is random."""
    roots = [copied(folder, tmp_path / folder.name) for folder in tiny]
    kinds: dict[tuple[str, str], list] = {}
    for root in roots:
        for path in sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size):
            depth = str(len(path.relative_to(root).parts))
            kinds.setdefault((root.name + depth, path.name), []).append((root, path))
    assert {name for _, name in kinds} == {
        "manifest.json", "settings.json", "samples.parquet", "dropped.parquet", "quarantined.parquet", "index.json",
        "shard.00000.mds", "labels.arrow",
    }  # fmt: skip
    rng = rng_for(5, Purpose.DRAW)
    for flip in range(FLIPS):
        files = list(kinds.values())[flip % len(kinds)]
        root, path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        place = int(rng.integers(len(whole)))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << int(rng.integers(8)))]) + whole[place + 1 :])
        problems = verify(root)
        assert len(problems) == 1 or (len(problems) == 2 and ": to repair it, " in problems[1]), (path, place, problems)
        assert problems[0].startswith((str(path), f"{root}: this ")), problems  # the version of a format was hit
        path.write_bytes(whole)
    for root in roots:
        assert verify(root) == []


def test_what_is_missing_or_cut_is_named(tiny, tmp_path):
    copy = copied(tiny[0], tmp_path / "copy")
    shard, other = sorted(copy.rglob("*.mds"))[:2]
    size = other.stat().st_size
    shard.unlink()
    other.write_bytes(other.read_bytes()[:-1])
    assert problems_of(copy) == [f"{shard}: is missing", f"{other}: has {size - 1} bytes, {size} were written"]
    part = shard.parent / "manifest.json"
    part.unlink()
    assert problems_of(copy) == [f"{part}: is missing", f"{other}: has {size - 1} bytes, {size} were written"]
    (problem,) = verify(tmp_path)
    assert problem.startswith(f"{tmp_path}/manifest.json: does not exist")


def test_another_version_is_named(tiny, tmp_path):
    copy = copied(tiny[0], tmp_path / "copy")
    write_manifest(copy, read_manifest(copy).model_copy(update={"format_version": 99}))
    assert verify(copy) == [f"{copy}: this shard-root has format version 99; version {shardset.ROOT_FORMAT} is known"]


def test_a_curated_table_is_verified_too(tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64)])
    (tmp_path / "table" / "steps" / "01-tiny" / "kept-00000.parquet").rename(tmp_path / "away")
    assert verify(table)[0] == f"{table}/steps/01-tiny/kept-00000.parquet: is missing"


@pytest.mark.parametrize(
    ("name", "of", "to", "problem"),
    [
        ("train/64/64x64/index.json", b"part-00000/", b"../72x56/part-00000/", "is no index of this version"),
        ("train/64/64x64/index.json", b"part-00000/", b"part-00009/", "does not list the shards of its parts"),
    ],
)
def test_files_that_do_not_agree_are_named(tiny, tmp_path, name, of, to, problem):
    """Here the manifest agrees with what was changed."""
    copy = copied(tiny[0], tmp_path / "copy")
    path = copy / name
    path.write_bytes(path.read_bytes().replace(of, to, 1))
    agreeing(copy, name)
    (line,) = problems_of(copy)
    assert line.startswith(f"{path}: {problem}")


def test_samples_in_another_order_are_named(tiny, tmp_path):
    import polars as pl

    copy = copied(tiny[0], tmp_path / "copy")
    samples = pl.read_parquet(copy / "samples.parquet")
    samples.with_columns(pl.col("key").reverse()).write_parquet(copy / "samples.parquet")
    agreeing(copy, "samples.parquet")
    assert problems_of(copy) == [f"{copy}/samples.parquet: its keys are not those of the parts, in their order"]


def test_a_remote_root_is_streamed(tiny, tmp_path, monkeypatch):
    filesystem = fsspec.filesystem("memory")
    try:
        for folder in tiny:
            filesystem.put(f"{copied(folder, tmp_path / folder.name)}/", f"/verify/{folder.name}/", recursive=True)
            assert verify(f"memory://verify/{folder.name}") == []
        shard = next(name for name in filesystem.find("/verify/shards") if name.endswith(".mds"))
        filesystem.pipe(shard, filesystem.cat(shard)[:-1] + b"!")
        assert problems_of("memory://verify/shards") == [f"memory:/{shard}: its bytes have changed (SHA-256 differs)"]
        filesystem.rm(shard)
        assert problems_of("memory://verify/shards/") == [f"memory:/{shard}: is missing"]
    finally:
        filesystem.rm("/verify", recursive=True)


def test_the_command_names_every_problem(tiny, tmp_path):
    from typer.testing import CliRunner

    from animetune.cli import app

    runner = CliRunner()
    good = runner.invoke(app, ["verify", *map(str, tiny)])
    assert (good.exit_code, good.output) == (0, "every file is as it was written\n")
    copies = [copied(folder, tmp_path / folder.name) for folder in tiny]
    files = [copies[0] / "settings.json", next(copies[1].rglob("labels.arrow"))]
    for file in files:
        file.unlink()
    bad = runner.invoke(app, ["verify", *map(str, copies)])
    assert bad.exit_code == 1
    lines = bad.output.splitlines()
    assert [line for line in lines if "to repair it" not in line] == [f"{file}: is missing" for file in files]
    assert "manifest.json; `animetune shard` with the same settings" in lines[1]
    assert lines[3] == f"{copies[1]}: to repair it, remove it, and run the stage that makes this label-set again"


def test_the_command_goes_on_behind_what_is_out_of_reach(tiny, tmp_path):
    """And ends with the worst of the exit codes."""
    from typer.testing import CliRunner

    from animetune.cli import app

    copy = copied(tiny[0], tmp_path / "copy")
    (copy / "settings.json").unlink()
    result = CliRunner().invoke(app, ["verify", "nonesuch://bucket/shards", str(copy)])
    assert result.exit_code == 3
    first, *rest = result.output.splitlines()
    assert first.startswith("nonesuch://bucket/shards/manifest.json: ")
    assert rest[0] == f"{copy}/settings.json: is missing"
    assert CliRunner().invoke(app, ["verify", "nonesuch://bucket/shards", str(tiny[0])]).exit_code == 3
