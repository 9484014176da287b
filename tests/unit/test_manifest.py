"""Manifests vouch for every byte beside them, and count every row once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from animetune import fsio
from animetune.errors import ConfigError, DataError, FormatVersionError
from animetune.manifest import (
    FileRecord,
    Manifest,
    check_place,
    has_manifest,
    read_manifest,
    record_files,
    verify_files,
    write_manifest,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    fsio.atomic_write(root / "b.bin", bytes(range(256)) * 4)
    fsio.atomic_write(root / "deep" / "a.txt", "abc")
    fsio.atomic_write(root / "empty", "")
    fsio.atomic_write(root / ".lock", "not ours to vouch for")
    write_manifest(root, Manifest(kind="chunk", format_version=3, seen=2, kept=2, files=record_files(root)))
    return root


def test_files_are_recorded_in_name_order_without_the_manifest(folder: Path) -> None:
    files = read_manifest(folder, kind="chunk", format_version=3).files
    assert list(files) == ["b.bin", "deep/a.txt", "empty"]
    assert files["deep/a.txt"] == FileRecord(
        bytes=3, sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert list(record_files(folder, ["empty", "deep/a.txt"])) == ["deep/a.txt", "empty"]


def test_an_intact_folder_verifies(folder: Path) -> None:
    assert verify_files(folder, read_manifest(folder)) == []


@pytest.mark.parametrize("position", [0, 1, 511, 1023])
def test_one_flipped_bit_is_found(folder: Path, position: int) -> None:
    data = bytearray((folder / "b.bin").read_bytes())
    data[position] ^= 1 << (position % 8)
    fsio.atomic_write(folder / "b.bin", bytes(data))
    assert verify_files(folder, read_manifest(folder)) == [
        f"{folder / 'b.bin'}: its bytes have changed (SHA-256 differs)"
    ]


def test_truncated_and_missing_files_are_found(folder: Path) -> None:
    fsio.atomic_write(folder / "b.bin", (folder / "b.bin").read_bytes()[:-1])
    fsio.remove(folder / "deep" / "a.txt")
    fsio.atomic_write(folder / "empty", "x")
    assert verify_files(folder, read_manifest(folder)) == [
        f"{folder / 'b.bin'}: has 1023 bytes, 1024 were written",
        f"{folder / 'deep' / 'a.txt'}: is missing",
        f"{folder / 'empty'}: has 1 bytes, 0 were written",
    ]


def test_a_folder_without_manifest_is_not_finished(tmp_path: Path, folder: Path) -> None:
    assert has_manifest(folder)
    fsio.remove(folder / "manifest.json")
    assert not has_manifest(folder)
    with pytest.raises(DataError, match=r"out: is not finished: there is no manifest.json; run the stage"):
        read_manifest(folder, kind="table", format_version=1)
    with pytest.raises(DataError, match=r"nowhere: does not exist"):
        read_manifest(tmp_path / "nowhere", kind="table", format_version=1)


def test_another_kind_or_version_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="out: is a chunk, but a table is needed here"):
        read_manifest(folder, kind="table", format_version=3)
    with pytest.raises(FormatVersionError, match="has format version 3, this animetune reads version 4; make it again"):
        read_manifest(folder, kind="chunk", format_version=4)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("shard-root", "a shard-root"),
        ("label-set", "a label-set"),
        ("exposure", "an exposure"),
        ("export", "an export"),
        ("samples", "a folder of samples"),
    ],
)
def test_a_place_that_holds_another_kind_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    folder = tmp_path / "out"
    check_place(folder, "table")
    write_manifest(folder, Manifest(kind=kind, format_version=1))
    check_place(folder, kind)
    with pytest.raises(ConfigError, match=f"^out: {folder} is {words}; choose another folder$"):
        check_place(folder, "table")
    with pytest.raises(ConfigError, match=f"^run: {folder} is {words}; choose"):
        check_place(folder, "run", setting="run")


def test_what_is_made_again_may_be_damaged_or_of_another_version_but_must_be_known(folder: Path) -> None:
    write_manifest(folder, read_manifest(folder).model_copy(update={"format_version": 99}))
    check_place(folder, "chunk")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"seen": 2', '"seen": 3'))
    check_place(folder, "chunk")
    for other in ("{", '{"name": "a web page\'s"}', "[]"):
        path.write_text(other)
        with pytest.raises(ConfigError, match=rf"^out: {path} is damaged, or no manifest of animetune; choose"):
            check_place(folder, "chunk")


def test_every_changed_byte_of_the_manifest_is_found(folder: Path) -> None:
    """Also those that leave a good JSON: a digit of a count or a hash, a blank that becomes another."""
    path = folder / "manifest.json"
    text = path.read_bytes()
    swaps = {ord("0") + n: ord("0") + (n + 1) % 10 for n in range(10)} | {ord(" "): ord("\t"), ord("\n"): ord(" ")}
    for place, byte in enumerate(text):
        path.write_bytes(text[:place] + bytes([swaps.get(byte, byte ^ 1)]) + text[place + 1 :])
        with pytest.raises(
            DataError, match=r"manifest\.json: (is not a manifest|its bytes have changed)|format version"
        ):
            read_manifest(folder, format_version=3)
    path.write_bytes(text)
    assert read_manifest(folder).seen == 2


def test_a_manifest_without_its_digest_is_refused(folder: Path) -> None:
    value = json.loads((folder / "manifest.json").read_text())
    assert value.pop("digest") == read_manifest(folder).digest
    fsio.write_json(folder / "manifest.json", value)
    with pytest.raises(FormatVersionError, match=r"out/manifest\.json: was written by an older .*; make this chunk"):
        read_manifest(folder)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"3", b"\xff", b'{"kind": "chunk"}', b'{"extra": 1}'])
def test_a_damaged_manifest_is_named(folder: Path, damage: bytes) -> None:
    fsio.atomic_write(folder / "manifest.json", damage)
    with pytest.raises(DataError, match=r"manifest.json: is not a manifest of animetune"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", ".."])
def test_files_outside_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="leads out of the folder"):
        Manifest(kind="chunk", format_version=1, files={name: FileRecord(bytes=1, sha256="")})


def test_every_row_has_one_outcome() -> None:
    good = Manifest(
        kind="step", format_version=1, seen=7, kept=3, dropped={"tall": 1, "wide": 1}, quarantined={"cut": 2}
    )
    good.check_outcomes()
    for wrong in ({"seen": 8}, {"kept": 4}, {"dropped": {}}, {"quarantined": {"cut": 2, "html": 1}}):
        with pytest.raises(DataError, match=r"rows were seen but .* have an outcome"):
            good.model_copy(update=wrong).check_outcomes()


def test_digest_is_of_the_content_not_of_the_order() -> None:
    one = Manifest(kind="step", format_version=1, facts={"a": 1, "b": [2.5]}, inputs={"x": "1", "y": "2"})
    two = Manifest(kind="step", format_version=1, facts={"b": [2.5], "a": 1}, inputs={"y": "2", "x": "1"})
    assert one.digest == two.digest == "94e93134d890b1e65fc0f7ac9a45c55421e5dcc47a1a5e7fa4369db1b62bf3b5"
    files = {"f": FileRecord(bytes=1, sha256="")}
    for change in ({"seen": 1}, {"facts": {"a": 2}}, {"config_digest": "x"}, {"files": files}):
        assert one.model_copy(update=change).digest != one.digest


def test_it_is_written_as_stable_text(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    value = json.loads(text)
    assert text == json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert write_manifest(folder, read_manifest(folder)) == read_manifest(folder)
    assert (folder / "manifest.json").read_text() == text
