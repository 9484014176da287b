"""What fsio publishes is there whole or not at all: after exceptions, a full disk, a race, a kill."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune import fsio
from animetune.errors import DataError, SetupError

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class TestAtomicFile:
    def test_replaces_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "a.txt"
        fsio.atomic_write(target, "one")
        fsio.atomic_write(target, b"two")
        assert target.read_bytes() == b"two"
        assert names(tmp_path) == ["new", "new/a.txt"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_exception_leaves_the_old_state(self, tmp_path: Path, error: type[BaseException]) -> None:
        target = tmp_path / "a.txt"
        fsio.atomic_write(target, "old")

        def write_half() -> None:
            with fsio.atomic_file(target) as temporary:
                temporary.write_text("half")
                raise error

        with pytest.raises(error):
            write_half()
        assert target.read_text() == "old"
        assert names(tmp_path) == ["a.txt"]

    def test_a_writer_that_wrote_nothing_is_an_error(self, tmp_path: Path) -> None:
        fsio.atomic_write(tmp_path / "a.txt", "old")
        with pytest.raises(FileNotFoundError), fsio.atomic_file(tmp_path / "a.txt"):
            pass
        assert (tmp_path / "a.txt").read_text() == "old"

    def test_the_temporary_file_is_beside_the_final_one(self, tmp_path: Path) -> None:
        """A rename is atomic on one filesystem only; elsewhere it would be a copy."""
        with fsio.atomic_file(tmp_path / "x" / "a.txt") as temporary:
            assert temporary.parent == tmp_path / "x"
            assert temporary.name.startswith(fsio.TEMP_PREFIX)
            assert temporary.suffix == ".txt"  # libraries choose the format by it
            temporary.touch()


class TestPublishDir:
    def test_publishes_a_tree(self, tmp_path: Path) -> None:
        with fsio.publish_dir(tmp_path / "out") as folder:
            (folder / "deep" / "er").mkdir(parents=True)
            (folder / "deep" / "er" / "a").write_text("a")
            assert not (tmp_path / "out").exists()
        assert names(tmp_path) == ["out", "out/deep", "out/deep/er", "out/deep/er/a"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_an_exception_leaves_nothing(self, tmp_path: Path, error: type[BaseException]) -> None:
        def write_half() -> None:
            with fsio.publish_dir(tmp_path / "out") as folder:
                (folder / "a").write_text("half")
                raise error

        with pytest.raises(error):
            write_half()
        assert names(tmp_path) == []

    def test_what_is_published_is_never_changed(self, tmp_path: Path) -> None:
        with fsio.publish_dir(tmp_path / "out") as folder:
            (folder / "a").write_text("first")
        with fsio.publish_dir(tmp_path / "out") as folder:
            (folder / "a").write_text("second")
        assert (tmp_path / "out" / "a").read_text() == "first"
        assert names(tmp_path) == ["out", "out/a"]

    def test_a_file_in_its_place_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("a file")
        with pytest.raises(NotADirectoryError), fsio.publish_dir(tmp_path / "out") as folder:
            (folder / "a").write_text("a")
        assert names(tmp_path) == ["out"]

    def test_one_of_many_racing_writers_wins_whole(self, tmp_path: Path) -> None:
        count, errors = 8, []
        barrier = threading.Barrier(count)

        def publish(number: int) -> None:
            try:
                with fsio.publish_dir(tmp_path / "out") as folder:
                    for name in ("a", "b"):
                        (folder / name).write_text(str(number))
                    barrier.wait()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert names(tmp_path) == ["out", "out/a", "out/b"]
        assert (tmp_path / "out" / "a").read_text() == (tmp_path / "out" / "b").read_text()


class TestDisk:
    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
        """What fsio asks of the filesystem, in order, with temporary names shortened."""
        made: list[tuple[str, str]] = []
        opened: dict[int, str] = {}
        real_open, real_fsync = os.open, os.fsync

        def name_of(path: Any) -> str:
            name = Path(path).name
            return f"temporary of {name.rpartition('-')[2]}" if name.startswith(fsio.TEMP_PREFIX) else name

        def opening(path: Any, *args: Any, **kwargs: Any) -> int:
            descriptor = real_open(path, *args, **kwargs)
            opened[descriptor] = name_of(path)
            return descriptor

        def syncing(descriptor: int) -> None:
            made.append(("fsync", opened[descriptor]))
            real_fsync(descriptor)

        def moving(real: Any) -> Any:
            def move(source: Any, target: Any) -> None:
                made.append(("rename", name_of(target)))
                real(source, target)

            return move

        monkeypatch.setattr(os, "open", opening)
        monkeypatch.setattr(os, "fsync", syncing)
        monkeypatch.setattr(os, "rename", moving(os.rename))
        monkeypatch.setattr(os, "replace", moving(os.replace))
        return made

    def test_bytes_reach_the_disk_before_the_name_does(self, tmp_path: Path, calls: list[tuple[str, str]]) -> None:
        """After a power cut, a name without its bytes would be a file of zeros that looks finished."""
        fsio.atomic_write(tmp_path / "a.txt", "a")
        assert calls == [("fsync", "temporary of a.txt"), ("rename", "a.txt"), ("fsync", tmp_path.name)]
        calls.clear()
        with fsio.publish_dir(tmp_path / "out") as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "b").write_text("b")
        *synced, renamed, last = calls
        assert sorted(synced) == [("fsync", "b"), ("fsync", "deep"), ("fsync", "temporary of out")]
        assert [renamed, last] == [("rename", "out"), ("fsync", tmp_path.name)]

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_named_and_leaves_the_old_state(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        fsio.atomic_write(tmp_path / "a.txt", "old")

        def full(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SetupError, match=r"a\.txt: the disk is full \(.* MB free\); free some space"):
            fsio.atomic_write(tmp_path / "a.txt", "new")
        with pytest.raises(SetupError, match="out: the disk is full"), fsio.publish_dir(tmp_path / "out") as folder:
            (folder / "a").write_text("a")
        assert names(tmp_path) == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "old"

    def test_other_failures_of_the_disk_pass_through(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(descriptor: int) -> None:
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="broken"):
            fsio.atomic_write(tmp_path / "a.txt", "new")
        assert names(tmp_path) == []

    def test_a_real_write_that_stops_half_way(self, tmp_path: Path) -> None:
        """The kernel cuts the write at 5,000 bytes, as a full disk would."""
        program = f"""
import resource
from animetune import fsio
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
fsio.atomic_write({str(tmp_path / "small")!r}, b"x" * 4000)
for write in (
    lambda: fsio.atomic_write({str(tmp_path / "large")!r}, b"x" * 6000),
    lambda: fsio.append_line({str(tmp_path / "lines")!r}, {{"a": "x" * 3000}}),
    lambda: fsio.append_line({str(tmp_path / "lines")!r}, {{"a": "y" * 3000}}),
    lambda: fsio.append_line({str(tmp_path / "lines")!r}, {{"b": 1}}),
):
    try:
        write()
    except Exception as error:
        print(type(error).__name__)
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["OSError", "SetupError"]
        assert names(tmp_path) == ["lines", "small"]
        assert fsio.read_lines(tmp_path / "lines") == [{"a": "x" * 3000}, {"b": 1}]
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


class TestLines:
    def test_are_read_back(self, tmp_path: Path) -> None:
        records = [{"b": 1, "a": "äß\n\u2028"}, {}, {"c": [None, 1.5]}]
        for record in records:
            fsio.append_line(tmp_path / "x" / "log", record)
        assert fsio.read_lines(tmp_path / "x" / "log") == records
        assert (tmp_path / "x" / "log").read_bytes().startswith('{"a":"äß\\n\u2028","b":1}\n'.encode())
        assert fsio.read_lines(tmp_path / "none") == []

    @given(st.integers(0, 60), st.sampled_from(["é", "x" * 5000]))
    def test_a_kill_tears_the_last_line_only(self, cut: int, text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            fsio.append_line(log, {"n": 1, "t": text})
            whole = log.read_bytes()
            line = json.dumps({"n": 2, "t": "éé"}, ensure_ascii=False).encode() + b"\n"
            log.write_bytes(whole + line[: min(cut, len(line) - 1)])
            assert fsio.read_lines(log) == [{"n": 1, "t": text}]
            fsio.append_line(log, {"n": 3})
            assert fsio.read_lines(log) == [{"n": 1, "t": text}, {"n": 3}]

    def test_a_damaged_inner_line_is_an_error(self, tmp_path: Path) -> None:
        for damage in (b'{"a": 1', b'{"a": "\xff"}', b""):
            (tmp_path / "log").write_bytes(b'{"a":1}\n' + damage + b'\n{"a":3}\n')
            with pytest.raises(DataError, match=r"log:2: is not JSON"):
                fsio.read_lines(tmp_path / "log")

    def test_concurrent_writers_lose_nothing(self, tmp_path: Path) -> None:
        def write(writer: int) -> None:
            for number in range(50):
                fsio.append_line(tmp_path / "log", {"writer": writer, "number": number})

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = {(record["writer"], record["number"]) for record in fsio.read_lines(tmp_path / "log")}
        assert found == {(writer, number) for writer in range(4) for number in range(50)}

    def test_not_a_number_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            fsio.append_line(tmp_path / "log", {"loss": float("nan")})
        assert fsio.read_lines(tmp_path / "log") == []


def test_json_is_canonical(tmp_path: Path) -> None:
    fsio.write_json(tmp_path / "a", {"b": [1, 2.5], "a": "ä"})
    fsio.write_json(tmp_path / "b", {"a": "ä", "b": [1, 2.5]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_text(encoding="utf-8") == '{\n  "a": "ä",\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    assert fsio.canonical_json({"b": 1, "a": None}) == '{"a":null,"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        fsio.canonical_json({"a": float("inf")})


HOLDER = """
import sys
from animetune.fsio import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_other_processes_out_and_ends_with_its_holder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SetupError, match="out: another animetune process is writing"), fsio.lock(tmp_path / "out"):
            pytest.fail("the lock was given twice")
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert "SetupError" in second.stderr
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with fsio.lock(tmp_path / "out"):
        pass
    with fsio.lock(tmp_path / "out"):
        pass


def test_sweep_removes_what_killed_processes_left_and_nothing_else(tmp_path: Path) -> None:
    program = f"""
import os, signal
from animetune import fsio
with fsio.publish_dir({str(tmp_path / "deep" / "out")!r}) as folder:
    (folder / "a").write_text("a")
    with fsio.atomic_file(folder / "b") as temporary:
        temporary.write_text("b")
        with fsio.atomic_file({str(tmp_path / "c")!r}) as other:
            other.write_text("c")
            os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -signal.SIGKILL
    fsio.atomic_write(tmp_path / "kept", "kept")
    fsio.atomic_write(tmp_path / "deep" / ".hidden", "kept")
    assert len(names(tmp_path)) == 7
    assert fsio.sweep(tmp_path) == 2
    assert names(tmp_path) == ["deep", "deep/.hidden", "kept"]
    assert fsio.sweep(tmp_path) == 0


def test_remove_takes_files_and_folders(tmp_path: Path) -> None:
    fsio.atomic_write(tmp_path / "a", "a")
    fsio.atomic_write(tmp_path / "b" / "c" / "d", "d")
    fsio.remove(tmp_path / "a")
    fsio.remove(tmp_path / "b")
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        fsio.remove(tmp_path / "a")


def test_digests(tmp_path: Path) -> None:
    fsio.atomic_write(tmp_path / "abc", "abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert fsio.sha256_file(tmp_path / "abc") == digest
    assert fsio.short_digest("abc") == digest[:12]


@pytest.mark.parametrize("hold", [fsio.lock, fsio.turn, fsio.claim])
def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path, hold: Any) -> None:
    """A file on the way, and a file system where nothing can be made, not even by root."""
    (tmp_path / "file").write_text("somebody's")
    for folder in (tmp_path / "file" / "in", tmp_path / "file" / "further" / "in"):
        with pytest.raises(SetupError, match=f"^{tmp_path}/file: is a file, where a folder is needed"), hold(folder):
            pytest.fail("there is no such folder")
    with pytest.raises(SetupError, match=r"^/proc/none(/out)?: cannot be written to \("), hold("/proc/none/out"):
        pytest.fail("there is no such folder")
    assert names(tmp_path) == ["file"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("somebody's")
    with pytest.raises(SetupError, match=f"^{tmp_path}/out: is a file"), fsio.lock(tmp_path / "out"):
        pytest.fail("there is no such folder")
    with pytest.raises(SetupError, match=f"^{tmp_path}/out: is a file"):
        fsio.atomic_write(tmp_path / "out" / "a.txt", "a")
    with pytest.raises(SetupError, match=f"^{tmp_path}/out: is a file"), fsio.publish_dir(tmp_path / "out" / "table"):
        pytest.fail("there is no such folder")
    with pytest.raises(SetupError, match=f"^{tmp_path}/out: is a file"):
        fsio.append_line(tmp_path / "out" / "lines", {})
