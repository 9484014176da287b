"""Remote files: whole or not at all, patience with what may pass, and none with what will not."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import socket
import time

import fsspec
import pytest
import xxhash

from animetune import fsio, remote
from animetune.errors import DataError, SetupError

DATA = bytes(range(256)) * 500


@pytest.fixture
def memory():
    """An empty folder of fsspec's memory file system: its file system and its URL."""
    filesystem = fsspec.filesystem("memory")
    yield filesystem, "memory://test-remote"
    if filesystem.exists("/test-remote"):
        filesystem.rm("/test-remote", recursive=True)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.3)
    monkeypatch.setattr(remote, "LONGEST_WAIT", 0.01)


class Fails:
    """A method of a file system that raises each error in turn, and then is the real one again."""

    def __init__(self, monkeypatch, filesystem, name, *errors):
        self.real, self.errors, self.calls = getattr(filesystem, name), list(errors), 0
        monkeypatch.setattr(type(filesystem), name, lambda _, *given, **more: self(*given, **more))

    def __call__(self, *given, **more):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.real(*given, **more)


def http_error(status):
    import aiohttp

    class Answered(aiohttp.ClientResponseError):
        def __str__(self):
            return f"answered {self.status}"

    return Answered(None, (), status=status)


@pytest.mark.parametrize(
    ("location", "expected"),
    [("s3://bucket/root", True), ("memory://a", True), ("/data/a", False), ("a/b", False), ("file:///data/a", False)],
)
def test_what_is_remote(location, expected):
    assert remote.is_remote(location) is expected


def test_what_was_put_is_listed_read_hashed_and_fetched(memory, tmp_path):
    _, url = memory
    assert remote.list_files(url) == {}
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "empty").write_bytes(b"")
    remote.put(tmp_path / "a", f"{url}/deep/er/a")
    remote.put(tmp_path / "empty", f"{url}/empty")
    assert remote.list_files(f"{url}/") == remote.list_files(url) == {"deep/er/a": len(DATA), "empty": 0}
    assert remote.read(f"{url}/deep/er/a") == DATA
    assert remote.exists(f"{url}/empty")
    assert not remote.exists(f"{url}/nothing")
    assert remote.hash_file(f"{url}/deep/er/a") == (len(DATA), hashlib.sha256(DATA).hexdigest())
    path = tmp_path / "new" / "copy"
    hashes = {"sha256": hashlib.sha256(DATA).hexdigest(), "xxh64": xxhash.xxh64_hexdigest(DATA)}
    remote.fetch(f"{url}/deep/er/a", path, size=len(DATA), **hashes)
    assert path.read_bytes() == DATA
    remote.fetch(str(path), tmp_path / "from a path", **hashes)
    assert (tmp_path / "from a path").read_bytes() == DATA


@pytest.mark.parametrize(
    ("expected", "damage"),
    [
        ({"size": len(DATA) + 1}, "it has 128000 bytes, 128001 were written"),
        ({"sha256": "0" * 64}, r"its bytes have changed \(SHA-256 differs\)"),
        ({"size": len(DATA), "xxh64": "0" * 16}, r"its bytes have changed \(xxh64 differs\)"),
    ],
)
def test_a_damaged_file_never_gets_its_name(memory, tmp_path, expected, damage):
    filesystem, url = memory
    filesystem.pipe("/test-remote/a", DATA)
    with pytest.raises(DataError, match=rf"memory://test-remote/a: is damaged: {damage}"):
        remote.fetch(f"{url}/a", tmp_path / "a", **expected)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_was_cut_is_made_again(memory, tmp_path, monkeypatch):
    filesystem, url = memory
    filesystem.pipe("/test-remote/a", DATA)
    real = type(filesystem).get_file
    sizes = iter([100, len(DATA)])

    def cut(self, name, path, **more):
        real(self, name, path, **more)
        with open(path, "r+b") as stream:
            stream.truncate(next(sizes))

    monkeypatch.setattr(type(filesystem), "get_file", cut)
    remote.fetch(f"{url}/a", tmp_path / "a", size=len(DATA))
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("read timed out"),
        ConnectionResetError("reset by peer"),
        socket.gaierror(socket.EAI_AGAIN, "no address for the name"),
        OSError(errno.EIO, "internal error"),  # what s3fs makes of a 500
        OSError(errno.EBUSY, "slow down"),  # and of a 503
        http_error(502),
        http_error(429),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(memory, monkeypatch, impatient, error):
    filesystem, url = memory
    filesystem.pipe("/test-remote/a", DATA)
    fails = Fails(monkeypatch, filesystem, "cat_file", error, error)
    assert remote.read(f"{url}/a") == DATA
    assert fails.calls == 3


def test_an_upload_that_arrives_in_part_is_made_again(memory, tmp_path, monkeypatch, impatient):
    filesystem, url = memory
    (tmp_path / "a").write_bytes(DATA)
    real = type(filesystem).put_file
    lengths = iter([10, len(DATA)])

    def cut(self, path, name, **more):
        real(self, path, name, **more)
        self.pipe(name, DATA[: next(lengths)])

    monkeypatch.setattr(type(filesystem), "put_file", cut)
    remote.put(tmp_path / "a", f"{url}/a")
    assert remote.read(f"{url}/a") == DATA


def test_patience_ends(memory, monkeypatch, impatient):
    filesystem, url = memory
    fails = Fails(monkeypatch, filesystem, "cat_file", *[ConnectionRefusedError("refused")] * 1000)
    began = time.monotonic()
    with pytest.raises(DataError, match=rf"{url}/a: is out of reach, after \d+ attempts .*ConnectionRefusedError"):
        remote.read(f"{url}/a")
    assert 0.3 < time.monotonic() - began < 3
    assert fails.calls > 3


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FileNotFoundError("a"), DataError, "does not exist; is this where the stage wrote to"),
        (PermissionError("403"), SetupError, "access was refused .* set the credentials"),
        (type("NoCredentialsError", (Exception,), {})("none"), SetupError, "access was refused"),
        (OSError(errno.EINVAL, "invalid bucket name"), DataError, "cannot be used: .*invalid bucket name"),
        (type("ParamValidationError", (Exception,), {})("bad name"), DataError, "cannot be used: bad name"),
        (http_error(400), DataError, "cannot be used: answered 400"),
        (KeyError("a bug"), KeyError, "a bug"),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_raised_at_once(memory, monkeypatch, error, kind, message):
    filesystem, url = memory
    fails = Fails(monkeypatch, filesystem, "cat_file", error)
    with pytest.raises(kind, match=message) as raised:
        remote.read(f"{url}/a")
    assert fails.calls == 1
    if kind in (DataError, SetupError):
        assert str(raised.value).startswith(f"{url}/a: ")


def test_a_server_that_takes_calls_and_never_answers_is_no_hang(tmp_path, monkeypatch):
    """Neither aiohttp nor botocore nor s3fs would ever give up such an upload."""
    import s3fs

    monkeypatch.setattr(remote, "PATIENCE", 0.0)
    monkeypatch.setattr(remote, "LONGEST_SILENCE", 1.0)
    (tmp_path / "a").write_bytes(b"data")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        s3fs.S3FileSystem.clear_instance_cache()
        began = time.monotonic()
        with pytest.raises(DataError, match=r"s3://bucket/a: is out of reach, after 2 attempts in \d s .*Timeout"):
            remote.put(tmp_path / "a", "s3://bucket/a")
        assert time.monotonic() - began < 10
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_full_disk_is_no_fault_of_the_network(memory, tmp_path, monkeypatch):
    filesystem, url = memory
    Fails(monkeypatch, filesystem, "get_file", OSError(errno.ENOSPC, "no space"))
    with pytest.raises(SetupError, match=r"a: the disk is full"):
        remote.fetch(f"{url}/a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("url", "message"), [("nothing://a/b", "nothing"), ("abfs://a@b/c", "with the extra")])
def test_an_unknown_protocol_is_named(url, message):
    with pytest.raises(SetupError, match=rf"{url}: .*{message}"):
        remote.read(url)


def fetch_often(source, path, failures):
    try:
        for _ in range(20):
            remote.fetch(source, path, size=len(DATA), xxh64=xxhash.xxh64_hexdigest(DATA))
            if path.read_bytes() != DATA:
                failures.put("half a file was seen")
    except Exception as error:
        failures.put(repr(error))


def test_what_a_disk_refuses_is_no_matter_of_patience(tmp_path, monkeypatch):
    Fails(monkeypatch, fsspec.filesystem("file"), "cat_file", OSError(errno.EIO, "a bad sector"))
    with pytest.raises(DataError, match=rf"{tmp_path}/a: cannot be read: .*a bad sector"):
        remote.read(f"{tmp_path}/a")


def test_threads_keep_the_order_and_raise_the_first_failure():
    asked = []

    def slowly(number):
        asked.append(number)
        time.sleep(0.001 * (number % 3))
        if number == 100:
            raise ValueError("the hundredth")
        return number

    assert list(remote.in_threads(slowly, range(90))) == list(range(90))
    done = remote.in_threads(slowly, range(10**9))
    with pytest.raises(ValueError, match="the hundredth"):
        list(done)
    assert len(asked) < 300


def test_processes_that_fetch_one_file_do_each_other_no_harm(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    fork = multiprocessing.get_context("fork")
    failures = fork.SimpleQueue()
    jobs = [fork.Process(target=fetch_often, args=(str(source), tmp_path / "copies" / "a", failures)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert failures.empty(), failures.get()
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["a"]
    assert fsio.xxh64_file(tmp_path / "copies" / "a") == xxhash.xxh64_hexdigest(DATA)
