"""Assets: found by path, or in the hub's cache of this machine; another file is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pydantic
import pytest

from animetune import assets
from animetune.assets import Asset
from animetune.errors import SetupError

REVISION = "0123456789abcdef0123456789abcdef01234567"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one repository, as huggingface_hub lays it out."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    repository = cache / "models--someone--tagger"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots" / REVISION).mkdir(parents=True)
    (repository / "snapshots" / REVISION / "model.onnx").write_bytes(b"weights")
    return cache


def test_a_path(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    assert Asset(path=path).locate() == path
    assert Asset(path=path).digest == sha256(b"weights")
    assert Asset(path=path, sha256=sha256(b"weights")).locate() == path


def test_another_file_is_refused(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    asset = Asset(path=path, sha256=sha256(b"others"))
    with pytest.raises(SetupError, match=f"its sha256 is {sha256(b'weights')}, not {sha256(b'others')}"):
        asset.locate()
    path.write_bytes(b"others")
    assert asset.locate() == path


def test_a_path_without_a_file(tmp_path: Path):
    with pytest.raises(SetupError, match="there is no such file; get it, or correct the path"):
        Asset(path=tmp_path / "model.onnx").locate()


def test_a_stated_digest_needs_no_file(tmp_path: Path):
    assert Asset(path=tmp_path / "gone.onnx", sha256=sha256(b"weights")).digest == sha256(b"weights")


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    reads = []
    hashed = assets.fsio.sha256_file
    monkeypatch.setattr(assets.fsio, "sha256_file", lambda file: reads.append(file) or hashed(file))
    asset = Asset(path=path, sha256=sha256(b"weights"))
    for _ in range(3):
        asset.locate()
    assert reads == [path]


def test_the_hubs_cache(hub_cache: Path):
    asset = Asset(hub="someone/tagger", file="model.onnx", sha256=sha256(b"weights"))
    assert asset.locate().read_bytes() == b"weights"
    wrong = asset.model_copy(update={"sha256": sha256(b"others")})
    with pytest.raises(SetupError, match=r"someone/tagger/model\.onnx: is another file"):
        wrong.locate()


def test_nothing_is_downloaded_unless_allowed(hub_cache: Path):
    asset = Asset(hub="someone/tagger", file="other.onnx", sha256=sha256(b"weights"))
    with pytest.raises(SetupError, match=r"set allow_download: true, or run `hf download someone/tagger other\.onnx"):
        asset.locate()


def test_a_hub_out_of_reach(hub_cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asset = Asset(hub="someone/tagger", file="other.onnx", sha256=sha256(b"weights"), allow_download=True)
    with pytest.raises(SetupError, match=r"someone/tagger/other\.onnx: cannot be downloaded"):
        asset.locate()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give `path`, or `hub`"),
        ({"path": "a", "hub": "b/c", "file": "d", "sha256": "0" * 64}, "give `path`, or `hub`"),
        ({"hub": "b/c", "file": "d"}, "needs `file` and `sha256`"),
        ({"hub": "b", "file": "d", "sha256": "0" * 64}, "'b' is not owner/name"),
        ({"path": "a", "allow_download": True}, "go with `hub`"),
        ({"path": "a", "sha256": "xyz"}, "64 hexadecimal digits"),
    ],
)
def test_mistakes(given: dict, message: str):
    with pytest.raises(pydantic.ValidationError, match=message):
        Asset.model_validate(given)


def test_a_sha256_in_capitals_is_one_and_another_text_is_not(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    assert Asset(path=path, sha256=sha256(b"weights").upper()).locate() == path
    with pytest.raises(ValueError, match="64 hexadecimal digits, as `sha256sum FILE` prints them"):
        Asset(path=path, sha256="sha256:abc")
    with pytest.raises(SetupError, match="is a folder; name the file in it"):
        Asset(path=tmp_path).locate()
