"""A shard root on an object store: the same bytes as a local one, made from wherever a run before stopped."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import fsspec
import pytest

from animetune import fsio, remote
from animetune.errors import ChunkError, ConfigError, DataError
from animetune.shards import labels, run, upload, write
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.shards.verify import verify
from animetune.shardset import open_labels, open_root
from tests.builders import TINY_SIZES, tiny_shards, tiny_table
from tests.s3_server import s3_server

KEPT = ("manifest.json", "index.json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The table and the local root that remote ones are compared with."""
    folder = tmp_path_factory.mktemp("upload")
    shards, _ = tiny_shards(folder)
    return folder / "table", shards


@pytest.fixture
def memory():
    """The URL of a store in this process."""
    yield "memory://upload/root"
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists("/upload"):
        filesystem.rm("/upload", recursive=True)


def config(table: Path, url: str, work: Path, **changes) -> ShardConfig:
    settings = {
        "stage": "shard",
        "table": table,
        "out": url,
        "work": work,
        "store": {"name": "pixels", "format": "png"},
        "sizes": TINY_SIZES,
        "shard_bytes": 40_000,
        "executor": {"workers": 0},
    }
    return ShardConfig.model_validate(settings | changes)


def local_hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def remote_hashes(url: str) -> dict[str, str]:
    return {name: remote.hash_file(f"{url}/{name}")[1] for name in remote.list_files(url)}


@pytest.fixture
def puts(monkeypatch):
    """The URLs that files were put to, in order, and how many shards there were on this machine at each."""
    real, seen = remote.put, []

    def put(path, url):
        above = Path(path).parents
        folder = next((each for each in above if (each / ".lock").exists()), Path(path).parent)
        seen.append((url, len(list(folder.rglob("*.mds")))))
        real(path, url)

    monkeypatch.setattr(remote, "put", put)
    return seen


def test_a_remote_root_has_the_bytes_of_a_local_one(tiny, tmp_path, memory, puts):
    table, shards = tiny
    work = tmp_path / "work"
    manifest = run.run(config(table, memory, work))
    assert manifest == open_root(shards).manifest
    assert remote_hashes(memory) == local_hashes(shards)
    assert verify(memory) == []
    # Shards pass through one by one, and what is left here is all but them: the copies of a cache.
    assert max(count for _, count in puts) == 1
    kept = local_hashes(shards)
    assert local_hashes(work) == {name: digest for name, digest in kept.items() if not name.endswith(".mds")}
    assert open_root(memory, cache=work).digest == manifest.digest


def test_what_vouches_for_others_is_uploaded_after_them(tiny, tmp_path, memory, puts):
    run.run(config(tiny[0], memory, tmp_path / "work"))
    names = [url.removeprefix(f"{memory}/") for url, _ in puts]
    assert names[0] == "settings.json"
    assert names[-1] == "manifest.json"
    last_part = max(place for place, name in enumerate(names) if "/part-" in name)
    assert all("/part-" not in name for name in names[last_part + 1 :])
    parts = names[1 : last_part + 1]
    assert [name.rpartition("/")[2] for name in parts] == ["shard.00000.mds", *KEPT[::-1]] * (len(parts) // 3)


@pytest.mark.parametrize("lost", ["nothing", "the ledger", "a part in the store", "a shard was cut", "an index here"])
def test_a_stopped_run_goes_on_from_ledger_or_store(tiny, tmp_path, memory, monkeypatch, lost):
    """The fourth part fails; then some of what the first three left is lost. Nothing is made twice but what is lost."""
    table, shards = tiny
    cfg = config(table, memory, tmp_path / "work")
    real, made = write.write_part, []

    def fails_at_fourth(part, folder, **settings):
        made.append(part.rows["key"].to_list())
        if len(made) == 4:
            raise OSError("the machine went away")
        return real(part, folder, **settings)

    monkeypatch.setattr(run, "write_part", fails_at_fourth)
    with pytest.raises(ChunkError, match="the machine went away"):
        run.run(cfg)
    filesystem = fsspec.filesystem("memory")
    shard = next(name for name in filesystem.find("/upload/root") if name.endswith(".mds"))
    assert not remote.exists(f"{memory}/manifest.json")
    remade = 1
    match lost:
        case "nothing":
            remade = 0
        case "the ledger":
            shutil.rmtree(cfg.folder)
            remade = 0
        case "a part in the store":
            filesystem.rm(f"{shard.rpartition('/')[0]}/manifest.json")
        case "a shard was cut":
            filesystem.pipe(shard, filesystem.cat(shard)[:-1])
            shutil.rmtree(cfg.folder)
        case "an index here":
            next(cfg.folder.rglob("part-*/index.json")).write_text("")
    run.run(cfg)
    assert len(made) == 4 + remade + sum(path.name.startswith("part-") for path in shards.rglob("*")) - 3
    assert remote_hashes(memory) == local_hashes(shards)


def test_a_finished_root_is_known_without_its_ledger(tiny, tmp_path, memory, monkeypatch):
    table, _ = tiny
    manifest = run.run(config(table, memory, tmp_path / "work"))
    monkeypatch.setattr(run, "write_part", None)
    assert run.run(config(table, f"{memory}/", tmp_path / "other")) == manifest


def test_a_damaged_root_is_repaired_in_the_store(tiny, tmp_path, memory):
    """Its part and its manifest are removed there; the ledger, which has both, follows."""
    table, shards = tiny
    cfg = config(table, memory, tmp_path / "work")
    run.run(cfg)
    filesystem = fsspec.filesystem("memory")
    shard = next(name for name in filesystem.find("/upload/root") if name.endswith(".mds"))
    filesystem.pipe(shard, filesystem.cat(shard)[:-1] + b"!")
    assert f"memory:/{shard}: its bytes have changed" in verify(memory)[0]
    filesystem.rm(shard.rpartition("/")[0], recursive=True)
    filesystem.rm("/upload/root/manifest.json")
    run.run(cfg)
    assert remote_hashes(memory) == local_hashes(shards)


def test_other_settings_or_something_else_in_the_place_are_refused(tiny, tmp_path, memory):
    table, _ = tiny
    run.run(config(table, memory, tmp_path / "work"))
    with pytest.raises(
        ConfigError, match=rf"(?s){memory} was begun with other settings.*shard_bytes: 40000 there, 50000"
    ):
        run.run(config(table, memory, tmp_path / "other", shard_bytes=50_000))
    other = tiny_table(tmp_path / "table", [(64, 64)])
    with pytest.raises(ConfigError, match=r"(?s)work was begun with other settings.*table: "):
        run.run(config(other, "memory://upload/other", tmp_path / "work"))
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/upload/root/settings.json", b"{")
    with pytest.raises(DataError, match=rf"{memory}/settings\.json: is damaged"):
        run.run(config(table, memory, tmp_path / "work"))
    filesystem.pipe("/upload/labels/manifest.json", b"{}")
    with pytest.raises(ConfigError, match="memory://upload/labels holds something else"):
        run.run(config(table, "memory://upload/labels", tmp_path / "labels"))


def test_work_is_for_urls_and_urls_need_work(tmp_path):
    settings = config(tmp_path, "memory://root", tmp_path / "work").model_dump() | {"stage": "shard"}
    with pytest.raises(ValueError, match="work: is missing: shards for a URL pass through a folder on this machine"):
        ShardConfig.model_validate(settings | {"work": None})
    with pytest.raises(ValueError, match="work: is only for a URL in out, and runs/shards is a folder; remove it"):
        ShardConfig.model_validate(settings | {"out": "runs/shards"})


def test_a_store_that_vanishes_is_an_error_that_names_the_file(tiny, tmp_path, memory, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.1)
    real = type(fsspec.filesystem("memory")).put_file
    left = iter([True] * 5)

    def vanishes(self, path, name, **more):
        if not next(left, False):
            raise ConnectionRefusedError("nobody listens")
        real(self, path, name, **more)

    cfg = config(tiny[0], memory, tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "put_file", vanishes)
        with pytest.raises(ChunkError, match=rf"chunk (\S+): {memory}/\1/index\.json: is out of reach, after \d+ att"):
            run.run(cfg)
    assert not list(cfg.folder.rglob("*.mds"))
    assert not list(cfg.folder.rglob(f"{fsio.TEMP_PREFIX}*"))
    run.run(cfg)
    assert remote_hashes(memory) == local_hashes(tiny[1])


def test_a_part_without_samples_has_no_shard(tmp_path, memory):
    table = tiny_table(tmp_path / "table", [(64, 64), (90, 60)])
    (tmp_path / "table-images" / "1.png").unlink()
    cfg = config(table, memory, tmp_path / "work", quarantine_limit=1.0)
    run.run(cfg)
    assert verify(memory) == []
    shutil.rmtree(cfg.folder)
    remote_part = "train/64/80x48/part-00000"
    assert {name for name in remote.list_files(memory) if name.startswith(remote_part)} == {
        f"{remote_part}/{file}" for file in KEPT
    }
    upload.agree(cfg.folder, memory, [remote_part])
    assert sorted(path.name for path in (cfg.folder / remote_part).iterdir()) == sorted(KEPT)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_root_on_s3(tiny, tmp_path, workers):
    table, shards = tiny
    with s3_server() as bucket:
        url = f"{bucket}/some/root"
        run.run(config(table, url, tmp_path / "work", executor={"workers": workers}))
        assert remote_hashes(url) == local_hashes(shards)
        assert not list((tmp_path / "work").rglob("*.mds"))
        assert verify(url) == []
        root = open_root(url, cache=tmp_path / "cache")
        root.check("train")
        root.fetch_shards("val")
        copies = [path.relative_to(tmp_path / "cache") for path in (tmp_path / "cache").rglob("*.mds")]
        assert copies
        # Labels are made from what is kept here, and belong to the remote root.
        labels.run(LabelsConfig(stage="labels", table=table, shards=tmp_path / "work", out=tmp_path / "labels"))
        assert len(open_labels(tmp_path / "labels", root)) == 40
        # Or, where that is not, from the remote root itself: the very same set.
        anywhere = LabelsConfig(
            stage="labels", table=table, shards=url, cache=tmp_path / "elsewhere", out=tmp_path / "other-labels"
        )
        labels.run(anywhere)
        assert local_hashes(tmp_path / "other-labels") == local_hashes(tmp_path / "labels")
        assert not list((tmp_path / "elsewhere").rglob("*.mds"))
        assert all((tmp_path / "cache" / path).read_bytes() == (shards / path).read_bytes() for path in copies)
        with pytest.raises(DataError, match=r"s3://nowhere/root/settings\.json: its bucket does not exist"):
            run.run(config(table, "s3://nowhere/root", tmp_path / "nowhere"))
