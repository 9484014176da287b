"""Folders of pictures with sidecars, and tars of the same."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from animetune.curate.config.sources import SourceConfig
from animetune.curate.read import chunks
from animetune.curate.read.formats import beside
from animetune.curate.read.formats.names import hash_id
from animetune.curate.read.inputs import find_files
from animetune.errors import DataError
from animetune.pictures import decode, read_image
from tests.builders import danbooru_post, ingested


def source(path: Path, **fields) -> SourceConfig:
    return SourceConfig.model_validate({"name": "site", "posts": [str(path)], **fields})


def png(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4 + seed, 5), (seed, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def fill(folder: Path, files: dict[str, bytes | str | dict]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def make_tar(path: Path, files: dict[str, bytes | str | dict], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


KOHYA_FOLDER = {
    "10_sunset/a.png": png(),
    "10_sunset/b.webp": png(),
    "10_sunset/b.txt": "1girl, long hair",
    "10_sunset/b.caption": "A girl stands in the rain.",
    "c.v2.JPG": png(),
    "c.v2.txt": "2girls, sky",
    "d.png": png(),
    "d.png.json": {"category": "danbooru", **danbooru_post(77, general="dog")},
    "e.png": png(),
    ".e_meta.json": {"tags": {"cat": 0.9}},
    "f.png": png(),
    "f.json": {"tags": "bird tree"},
    "f.txt": "bird, sea",
    "g.mp4.json": {"id": 5, "tags": "video", "file_ext": "mp4"},
    "notes.txt": "to do",
    "broken.png": png(),
    "broken.json": "{",
    "list.png": png(),
    "list.json": "[1]",
    "latin.png": png(),
    "latin.txt": b"caf\xe9",
    "other.npz": b"",
}


def test_a_folder_of_pictures(tmp_path: Path):
    fill(tmp_path / "data", KOHYA_FOLDER)
    outcome = ingested(tmp_path, source(tmp_path / "data"))
    assert outcome.facts["formats"] == {"site:data": "folder"}
    assert outcome.facts["records"] == {"site:data": 11}
    rows = {row["image_candidates"][0].removeprefix(f"{tmp_path}/data/"): row for row in outcome.kept.to_dicts()}
    assert {name: row["tags_general"] for name, row in rows.items()} == {
        "10_sunset/a.png": ["sunset"],
        "10_sunset/b.webp": ["1girl", "long_hair"],
        "c.v2.JPG": ["2girls", "sky"],
        "d.png": ["dog"],
        "e.png": ["cat"],
        "f.png": ["bird", "tree", "sea"],
        "g.mp4": ["video"],
    }
    assert rows["10_sunset/b.webp"]["captions_long"] == ["A girl stands in the rain."]
    assert rows["10_sunset/a.png"]["id"] == hash_id("10_sunset/a.png")
    assert rows["d.png"]["id"] == 77
    assert rows["d.png"]["tags_artist"] == ["somebody"]
    refused = {(code, detail) for _, code, detail in outcome.quarantined.iter_rows()}
    assert refused == {
        ("no_picture", "site:data, notes.txt: there is no picture of this name beside it"),
        ("bad_json", "site:data, broken.png: broken.json: Expecting property name enclosed in double quotes: line 1 "
                     "column 2 (char 1)"),
        ("bad_record", "site:data, list.png: list.json: is not a JSON object"),
        ("bad_unicode", "site:data, latin.png: latin.txt: byte 3 is not UTF-8"),
    }  # fmt: skip


def test_json_files_whose_pictures_lie_elsewhere(tmp_path: Path):
    fill(tmp_path / "data", {"g.mp4.json": {"id": 5, "tags": "video", "file_ext": "mp4"}})
    outcome = ingested(tmp_path, source(tmp_path / "data", images=[{"root": "r", "path": "{file_name}"}]))
    assert outcome.kept.select("id", "file_ext", "image_candidates").rows() == [(5, "mp4", ["r/g.mp4"])]


def test_text_is_what_the_source_says(tmp_path: Path):
    fill(tmp_path / "data", {"a.png": png(), "a.txt": "1girl, rain"})
    for kind, tags, captions in (("auto", ["1girl", "rain"], []), ("caption", [], ["1girl, rain"])):
        outcome = ingested(tmp_path / kind, source(tmp_path / "data", text=kind))
        assert outcome.kept.select("tags_general", "captions_long").rows() == [(tags, captions)]


def test_a_folder_in_many_pieces_is_the_same_table(tmp_path: Path, monkeypatch):
    fill(
        tmp_path / "data",
        {f"{n % 3}/{n}.png": png() for n in range(20)} | {f"{n % 3}/{n}.txt": f"tag{n}" for n in range(20)},
    )
    whole = ingested(tmp_path / "1", source(tmp_path / "data"))
    monkeypatch.setattr(chunks, "CHUNK_FILES", 3)
    pieces = ingested(tmp_path / "2", source(tmp_path / "data"))
    assert whole.kept.equals(pieces.kept)
    assert whole.facts == pieces.facts


def test_what_a_folder_depends_on(tmp_path: Path):
    folder = fill(tmp_path / "data", {"a.png": png(), "a.txt": "x", "b.npz": "1"})

    def digest() -> str:
        return find_files([source(folder)])[0].digest

    before = digest()
    (folder / "b.npz").write_text("2")
    (folder / "a.png").write_bytes(png(1))
    assert digest() == before
    (folder / "a.txt").write_text("y")
    after = digest()
    (folder / "a.txt").rename(folder / "c.txt")
    assert len({before, after, digest()}) == 3


TAR = {
    "./0001.jpg": png(1),
    "./0001.txt": "1girl, solo",
    "./0001.json": {"score": 7, "rating": "e"},
    "x/abc.seg.png": png(2),
    "x/abc.webp": png(3),
    "x/abc.cls": "5",
    "no-picture.txt": "words",
    "bad.png": png(4),
    "bad.json": "{",
    "it!s.png": png(5),
    ".hidden": "1",
}


def test_a_tar_is_indexed(tmp_path: Path):
    path = make_tar(tmp_path / "0.tar", TAR)
    outcome = ingested(tmp_path, source(path))
    assert outcome.facts["formats"] == {"site:0.tar": "webdataset"}
    rows = {row["id"]: row for row in outcome.kept.to_dicts()}
    assert set(rows) == {1, hash_id("x/abc"), hash_id("it!s")}
    first = rows[1]
    assert (first["score"], first["rating"], first["tags_general"]) == (7, "e", ["1girl", "solo"])
    for post_id, width in ((1, 5), (hash_id("x/abc"), 7), (hash_id("it!s"), 9)):
        (url,) = rows[post_id]["image_candidates"]
        assert decode(read_image(url)).image.width == width
    assert set(outcome.quarantined["code"]) == {"no_picture", "bad_json"}
    assert outcome.seen == 5


def test_several_tars_and_what_they_depend_on(tmp_path: Path):
    for number in range(2):
        make_tar(tmp_path / f"{number}.tar", {f"{number}.png": png()})
    files = find_files([source(tmp_path / "*.tar")])
    make_tar(tmp_path / "1.tar", {"1.png": png(), "1.txt": "x"})
    assert [a.digest == b.digest for a, b in zip(files, find_files([source(tmp_path / "*.tar")]), strict=True)] == [
        True,
        False,
    ]
    assert ingested(tmp_path, source(tmp_path / "*.tar")).kept["id"].to_list() == [0, 1]


@pytest.mark.parametrize("how", ["gzip", "cut", "none"])
def test_tars_that_cannot_be_read(tmp_path: Path, how: str):
    path = make_tar(tmp_path / "0.tar", {"1.png": png(), "2.png": b"x" * 50_000}, "w:gz" if how == "gzip" else "w")
    if how == "cut":
        path.write_bytes(path.read_bytes()[:20_000])
    if how == "none":
        path.write_bytes(b"no tar" * 500)
    with pytest.raises(DataError, match=r"0\.tar: is no uncompressed tar, or is damaged"):
        find_files([source(path)])


NAMES = st.sampled_from(["a", "a.b", ".a_meta", "1", "ü", "x/a", "10_y/a", "a!"])
SUFFIXES = st.sampled_from([".png", ".jpg", ".png.json", ".json", ".txt", ".caption", ".PNG", ".seg.png", ""])
CONTENTS = st.sampled_from(
    [b"", b"{}", b'{"id": 3}', b"[]", b"\xff", b"1girl, \xe3\x81\x82", b'{"tags": {"a": 1}}', b"{"]
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.tuples(NAMES, SUFFIXES).map("".join), CONTENTS, max_size=8))
def test_any_folder_and_any_tar_have_one_outcome_for_each_record(tmp_path_factory, files: dict[str, bytes]):
    folder = tmp_path_factory.mktemp("beside")
    (folder / "data").mkdir()
    fill(folder / "data", dict(files))
    records = beside.folder_records(folder / "data")
    named = [name for record in records for name in record]
    assert set(beside.list_folder(folder / "data")) <= set(named)
    outcome = ingested(folder, source(folder / "data", format="folder"))  # asserts that each record has an outcome
    assert outcome.seen == len(records)
    path = make_tar(folder / "0.tar", dict(files))
    ingested(folder / "tar", source(path))


def test_suffixes_of_any_case(tmp_path: Path):
    for name, data in (("1.PNG", b""), ("1.TXT", b"a, b"), ("2.png", b""), ("2.png.JSON", b'{"id": 2, "rating": "e"}')):
        (tmp_path / name).write_bytes(data)
    found = {
        raw.name: (raw.value, raw.texts) for raw in beside.read_folder(tmp_path, beside.folder_records(tmp_path), 0)
    }
    assert found == {"1.PNG": ({}, ("a, b",)), "2.png": ({"id": 2, "rating": "e"}, ())}


def test_the_digest_of_a_tar_is_of_texts_of_any_case(tmp_path: Path):
    digests = set()
    for text in (b"a", b"b"):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            (member := tarfile.TarInfo("1.TXT")).size = 1
            tar.addfile(member, io.BytesIO(text))
        digests.add(beside.tar_digest(tmp_path / "a.tar"))
    assert len(digests) == 2
