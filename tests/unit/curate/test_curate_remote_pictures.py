"""The step `pictures` on a real S3 server: files and members of a tar by offset, read ahead, looked at in the child."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import polars as pl
import pytest

from animetune.curate import looking
from animetune.curate.looking import look_at_each
from animetune.curate.probe import Question, look_at
from animetune.curate.run import run
from animetune.errors import PictureError
from animetune.picture_urls import parse
from tests.builders import curate_config, write_posts
from tests.s3_server import s3_server

LIMITS = {"seconds": 30, "memory_bytes": 1 << 30}


def question(*candidates: str) -> Question:
    return Question(candidates, None, (255, 255, 255), 64_000_000, False, False)


def tar_of(folder: Path) -> tuple[bytes, dict[str, str]]:
    """An uncompressed tar of a folder's files, and for each name `!name@offset+length`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        places = {member.name: f"!{member.name}@{member.offset_data}+{member.size}" for member in archive}
    return stream.getvalue(), places


@pytest.mark.slow
def test_pictures_and_tar_members_on_s3_are_as_on_this_machine(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 6)
    (folder / "images" / "3.png").write_bytes(b"<html>not found</html>")
    (folder / "images" / "4.png").unlink()
    tar, places = tar_of(folder / "images")
    with s3_server() as bucket:
        import s3fs

        filesystem = s3fs.S3FileSystem()
        filesystem.put(str(folder / "images"), f"{bucket}/set/", recursive=True)
        filesystem.pipe_file(f"{bucket}/images.tar", tar)
        names = [f"{number}.png" for number in range(1, 7)]
        here = list(look_at_each([question(str(folder / "images" / n)) for n in names], look_at, **LIMITS))
        there = list(look_at_each([question(f"{bucket}/set/images/{n}") for n in names], look_at, **LIMITS))
        members = [question(f"{bucket}/images.tar{places[name]}") for name in sorted(places)]
        in_tar = list(look_at_each(members, look_at, **LIMITS))

        def told(found):
            return [
                each.code if isinstance(each, PictureError) else {k: v for k, v in each.items() if k != "image"}
                for each in found
            ]

        assert told(there) == told(here)
        assert told(in_tar) == [each for each in told(here) if each != "image_missing"]
        assert told(here)[2:4] == ["markup", "image_missing"]
        assert parse(in_tar[0]["image"]).length == here[0]["image_bytes"]

        images = [{"root": f"{bucket}/set/images", "path": "{id}.png"}]
        source = {"name": "tiny", "posts": [str(folder / "posts.jsonl")], "images": images}
        cfg = curate_config(folder, sources=[source], quarantine_limit=1, executor={"workers": 2})
        manifest = run(cfg)
        assert (manifest.kept, manifest.quarantined) == (4, {"image_missing": 1, "markup": 1})
        quarantined = pl.read_parquet(cfg.out / "quarantined.parquet")
        assert quarantined["detail"].str.contains(bucket).all()


def test_waiting_for_the_network_overlaps(tmp_path: Path, monkeypatch):
    """40 pictures of 50 ms each, in less than half the time that one after the other would take, in order."""
    folder = write_posts(tmp_path / "posts", 40)
    read_first = looking.read_first

    def slow(candidates):
        time.sleep(0.05)
        return read_first(candidates)

    monkeypatch.setattr(looking, "read_first", slow)
    urls = [f"file://{folder}/images/{number}.png" for number in range(1, 41)]
    list(look_at_each([question(urls[0])], look_at, **LIMITS))  # the child is there
    start = time.monotonic()
    found = list(look_at_each(map(question, urls), look_at, **LIMITS))
    assert [each["image"] for each in found] == urls
    assert time.monotonic() - start < 40 * 0.05 / 2


def test_a_network_that_fails_stops_the_work_and_is_no_verdict(monkeypatch):
    def down(candidates):
        raise ConnectionResetError("the server went away")

    monkeypatch.setattr(looking, "read_first", down)
    with pytest.raises(ConnectionResetError):
        list(look_at_each([question("memory://a/1.png")], look_at, **LIMITS))


def test_nothing_is_read_far_ahead(monkeypatch):
    """What is held in memory does not grow with the number of pictures."""
    asked: list[int] = []

    def questions():
        for number in range(100):
            asked.append(number)
            yield question(f"memory://absent/{number}.png")

    looked = look_at_each(questions(), look_at, **LIMITS)
    assert isinstance(next(looked), PictureError)
    assert len(asked) == looking.READ_AHEAD
    looked.close()
