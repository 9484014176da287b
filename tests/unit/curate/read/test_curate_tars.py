"""Pictures of posts in tars: their members found by name, read where they lie."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import fsspec
import polars as pl
import pydantic
import pytest
import s3fs
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.sources import SourceConfig
from animetune.curate.read.tars import lookup as lookups
from animetune.curate.read.tars.index_files import read_index
from animetune.curate.read.tars.listing import find_tars
from animetune.curate.read.tars.members import read_members
from animetune.curate.run import run
from animetune.errors import ChunkError, DataError, QuarantineLimitError
from animetune.pictures import decode, read_image
from animetune.tables import open_table
from tests.builders import Ingested, curate_config, danbooru_post, ingested, write_lines, write_posts
from tests.s3_server import s3_server


def make_tar(path: Path, files: Mapping[str, bytes], *, form: int = tarfile.GNU_FORMAT, mode: str = "w") -> Path:
    with tarfile.open(path, mode, format=form) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def members_of(path: Path) -> dict[str, bytes]:
    """What a scan says, read back from where it says that it is."""
    data = path.read_bytes()
    found = read_members(io.BytesIO(data), len(data))
    assert not found.problem
    return {name: data[offset : offset + length] for name, offset, length in found.rows.iter_rows()}


def ingest(folder: Path, images: list[dict] | dict, ids: list[int], **fields) -> Ingested:
    write_lines(folder / "posts.jsonl", [danbooru_post(number, file_ext="png", **fields) for number in ids])
    images = images if isinstance(images, list) else [images]
    source = SourceConfig.model_validate({"name": "site", "posts": [str(folder / "posts.jsonl")], "images": images})
    return ingested(folder / "work", source)


def read_all(found: Ingested) -> dict[int, list[bytes]]:
    rows = found.kept.select("id", "image_candidates").iter_rows()
    return {number: [read_image(url) for url in urls] for number, urls in rows}


# Headers


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_kind_of_tar(tmp_path: Path, form: int) -> None:
    files = {f"{number}.png": bytes([number]) * number * 300 for number in range(6)}
    if form != tarfile.USTAR_FORMAT:
        files |= {"a/" * 70 + "long.png": b"long", f"{'ü' * 120}.png": b"wide", "é.png": b"e"}
    assert members_of(make_tar(tmp_path / "a.tar", files, form=form)) == files


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(
        lambda name: name not in (".", "..") and not name.startswith("./")), st.binary(max_size=1100), max_size=6),
)  # fmt: skip
def test_any_names_and_lengths(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    assert members_of(make_tar(path, files, form=tarfile.PAX_FORMAT)) == files


def test_the_last_of_equal_names_counts_as_when_the_tar_is_unpacked(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"1.png": b"old", "2.png": b"two"})
    make_tar(path, {"./1.png": b"new"}, mode="a")
    assert members_of(path) == {"2.png": b"two", "1.png": b"new"}
    with path.open("rb") as stream:
        assert read_members(stream, path.stat().st_size).repeated == 1


def test_folders_links_and_names_that_are_no_text_are_not_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("\udcff.png"))
        tar.addfile(tarfile.TarInfo("../../etc/passwd"))
    with (tmp_path / "a.tar").open("rb") as stream:
        found = read_members(stream, (tmp_path / "a.tar").stat().st_size)
    assert found.rows["member"].to_list() == ["../../etc/passwd"]  # a name that is looked up, never a path
    assert (found.unusable, found.is_cut) == (3, False)


def test_a_tar_that_is_cut_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    files = {f"{number}.png": bytes([number]) * 700 for number in range(3)}
    data = make_tar(tmp_path / "a.tar", files).read_bytes()
    step = 512 + 1024  # header, and 700 bytes in two blocks
    for size in (0, 100, 511, 512, 1000, *range(step, 3 * step + 1, 97), 3 * step):
        found = read_members(io.BytesIO(data[:size]), size)
        assert not found.problem
        whole = [name for place, name in enumerate(files) if place * step + 512 + 700 <= size]
        assert found.rows["member"].to_list() == whole, size
        assert found.is_cut, size
    assert not read_members(io.BytesIO(data), len(data)).is_cut


def test_a_damaged_header_ends_the_tar_and_is_told(tmp_path: Path) -> None:
    data = bytearray(make_tar(tmp_path / "a.tar", {"1.png": b"a", "2.png": b"b"}).read_bytes())
    data[1024 + 150] ^= 255
    found = read_members(io.BytesIO(data), len(data))
    assert (found.rows["member"].to_list(), found.is_cut, found.problem) == (["1.png"], True, "")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_says_what_to_do(tmp_path: Path, mode: str) -> None:
    make_tar(tmp_path / "a.tar", {"1.png": b"x" * 3000}, mode=mode)
    with pytest.raises(ChunkError, match=r"a\.tar: is compressed .*; decompress it") as error:
        ingest(tmp_path, {"tars": str(tmp_path / "a.tar")}, [1])
    assert error.value.exit_code == DataError.exit_code
    make_tar(tmp_path / "b.tar.gz", {"1.png": b"x"}, mode="w:gz")
    source = {"name": "site", "posts": ["p.jsonl"], "images": [{"tars": str(tmp_path / "b.tar.gz")}]}
    with pytest.raises(DataError, match=r"sources: site: images: tars: .*b\.tar\.gz: is compressed"):
        find_tars([SourceConfig.model_validate(source)])


def test_what_is_no_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"<html>" * 500)
    with pytest.raises(ChunkError, match=r"a\.tar: is no tar: .*; copy it again"):
        ingest(tmp_path, {"tars": str(tmp_path / "a.tar")}, [1])


# Posts


def test_posts_find_their_pictures(tmp_path: Path) -> None:
    """As HakuBooru and the tars of Danbooru2023 have them: by id modulo 1000."""
    make_tar(tmp_path / "data-0001.tar", {"1.png": b"one", "1001.png": b"thousand and one"})
    make_tar(tmp_path / "data-0002.tar", {"2.png": b"two"})
    found = ingest(tmp_path, {"tars": str(tmp_path / "data-*.tar")}, [1, 2, 3, 1001])
    assert read_all(found) == {1: [b"one"], 2: [b"two"], 3: [], 1001: [b"thousand and one"]}
    assert found.kept["image_candidates"].to_list()[0] == [f"{tmp_path}/data-0001.tar!1.png@512+3"]
    assert found.facts["tars"] == {
        "site:images:data-*.tar": {"tars": 2, "members": 3, "repeated": 0, "unusable": 0, "cut": []},
        "ambiguous": 0,
    }


def test_records_that_are_parsed_one_by_one_find_them_too(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", {"1.png": b"one", "2.png": b"two"})
    odd = ingest(tmp_path, {"tars": str(tmp_path / "a.tar")}, [1, 2], created_at="Sat Sep 13 06:00:00 -0500 2025")
    assert read_all(odd) == {1: [b"one"], 2: [b"two"]}


def test_places_are_tried_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1.png").write_bytes(b"file")
    make_tar(tmp_path / "a.tar", {"1.png": b"first"})
    make_tar(tmp_path / "b.tar", {"1.png": b"second"})
    places = [
        {"tars": str(tmp_path / "b.tar")},
        {"root": str(tmp_path / "files")},
        {"tars": str(tmp_path / "a.tar"), "member": "{id}.{ext}"},
    ]
    assert read_all(ingest(tmp_path, places, [1])) == {1: [b"second", b"file", b"first"]}


def test_of_one_name_in_several_tars_the_first_tar_is_taken(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        make_tar(tmp_path / f"{name}.tar", {"1.png": name.encode()})
    assert read_all(ingest(tmp_path, {"tars": str(tmp_path / "*.tar")}, [1])) == {1: [b"a"]}


def test_folders_in_a_tar(tmp_path: Path) -> None:
    """A bare name is found in any folder, if only one member can be meant; a name with folders is the whole name."""
    files = {"x/1.png": b"1", "x/2.png": b"x2", "y/2.png": b"y2", "y/3.png": b"y3", "3.png": b"3", "11.png": b"11"}
    make_tar(tmp_path / "a.tar", files)
    (tmp_path / "bare").mkdir()
    (tmp_path / "whole").mkdir()
    bare = ingest(tmp_path / "bare", {"tars": str(tmp_path / "a.tar")}, [1, 2, 3])
    assert read_all(bare) == {1: [b"1"], 2: [], 3: [b"3"]}
    assert bare.facts["tars"]["ambiguous"] == 1
    whole = ingest(tmp_path / "whole", {"tars": str(tmp_path / "a.tar"), "member": "y/{id}.png"}, [1, 2, 3])
    assert read_all(whole) == {1: [], 2: [b"y2"], 3: [b"y3"]}


@pytest.mark.parametrize("name", ["a!b@0+9.png", "1.png#xywh=0,0,1,1", "a\nb.png", "!!.png", "x@1+1", "ä ö.png"])
def test_names_that_look_like_parts_of_a_url(tmp_path: Path, name: str) -> None:
    make_tar(tmp_path / "a.tar", {name: b"right", "0.png": b"wrong"})
    write_lines(tmp_path / "posts.jsonl", [danbooru_post(1, note=name)])
    images = {"tars": str(tmp_path / "a.tar"), "member": "{note}"}
    source = {"name": "site", "posts": [str(tmp_path / "posts.jsonl")], "images": [images]}
    found = ingested(tmp_path / "work", SourceConfig.model_validate(source))
    assert read_all(found) == {1: [b"right"]}


def test_masks_may_be_in_tars(tmp_path: Path) -> None:
    make_tar(tmp_path / "masks.tar", {"1.png": b"mask"})
    write_lines(tmp_path / "posts.jsonl", [danbooru_post(1), danbooru_post(2)])
    source = {
        "name": "site",
        "posts": [str(tmp_path / "posts.jsonl")],
        "images": [{"root": "images"}],
        "masks": [{"tars": str(tmp_path / "masks.tar"), "member": "{id}.png"}],
    }
    found = ingested(tmp_path / "work", SourceConfig.model_validate(source))
    masks = found.kept["mask_candidates"].to_list()
    assert [[read_image(url) for url in urls] for urls in masks] == [[b"mask"], []]
    assert found.kept["image_candidates"].to_list() == [["images/1.png"], ["images/2.png"]]


# What is kept


def test_a_tar_is_scanned_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = []

    def counting(stream, size):
        scanned.append(size)
        return read_members(stream, size)

    monkeypatch.setattr(lookups, "read_members", counting)
    first = make_tar(tmp_path / "a.tar", {"1.png": b"one"})
    make_tar(tmp_path / "b.tar", {"2.png": b"two"})
    images = {"tars": str(tmp_path / "*.tar")}
    write_lines(tmp_path / "posts.jsonl", [danbooru_post(number, file_ext="png") for number in (1, 2)])
    source = SourceConfig.model_validate({"name": "s", "posts": [str(tmp_path / "posts.jsonl")], "images": [images]})

    def again() -> dict[int, list[bytes]]:
        for old in (tmp_path / "work" / "ingested", tmp_path / "work" / "chunks"):
            if old.exists():
                old.rename(tmp_path / f"old-{len(list(tmp_path.iterdir()))}")
        return read_all(ingested(tmp_path / "work", source))

    assert again() == {1: [b"one"], 2: [b"two"]}
    assert len(scanned) == 2
    digest = find_tars([source])[0].digest
    assert again() == {1: [b"one"], 2: [b"two"]}
    assert len(scanned) == 2
    make_tar(first, {"0.png": b"before", "1.png": b"uno"})
    os.utime(first, (1, 1))
    assert find_tars([source])[0].digest != digest
    assert again() == {1: [b"uno"], 2: [b"two"]}
    assert len(scanned) == 3


def test_an_index_spares_the_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "read_members", None)
    size = make_tar(tmp_path / "a.tar", {"1.png": b"one", "2.png": b"two"}).stat().st_size
    files = {"1.png": {"offset": 512, "size": 3, "sha256": "?"}, "./2.png": {"offset": 1536, "size": 3}}
    (tmp_path / "a.json").write_text(json.dumps({"filesize": size, "hash": None, "files": files}))
    images = {"tars": str(tmp_path / "a.tar"), "index": "{stem}.json"}
    assert read_all(ingest(tmp_path, images, [1, 2, 3])) == {1: [b"one"], 2: [b"two"], 3: []}

    rows = pl.DataFrame({"member": ["1.png"], "offset": [1536], "length": [3]})
    (tmp_path / "index").mkdir()
    rows.write_parquet(tmp_path / "index" / "a.parquet")
    own = {"tars": str(tmp_path / "a.tar"), "index": f"{tmp_path}/index/{{name}}.parquet"}
    (tmp_path / "own").mkdir()
    assert read_all(ingest(tmp_path / "own", own, [1])) == {1: [b"two"]}  # it is believed


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"{", "is no JSON"),
        (b"[]", 'has no "files"'),
        (b'{"files": {"a": {"offset": 1}}}', "'a' has no offset and size"),
        (b'{"files": {"a": {"offset": 1, "size": -1}}}', "'a' has no offset and size"),
        (b'{"files": {"a": {"offset": 1, "size": true}}}', "'a' has no offset and size"),
        (b'{"filesize": 7, "files": {}}', "is of a tar of 7 bytes, and this one has 1000"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_an_index_that_cannot_be_used(said: bytes, problem: str) -> None:
    assert problem in read_index(io.BytesIO(said), "a.json", 1000).problem


def test_an_index_that_points_outside_the_tar_is_not_believed() -> None:
    files = {"in": {"offset": 990, "size": 10}, "out": {"offset": 990, "size": 11}, "far": {"offset": 2**62, "size": 1}}
    found = read_index(io.BytesIO(json.dumps({"files": files}).encode()), "a.json", 1000)
    assert found.rows["member"].to_list() == ["in"]
    assert (found.unusable, found.is_cut) == (2, True)
    assert "parquet" in read_index(io.BytesIO(b"PAR1"), "a.parquet", 1000).problem


def test_mistakes_in_the_configuration(tmp_path: Path) -> None:
    def images(**fields):
        return {"name": "site", "posts": ["p.jsonl"], "images": [fields]}

    for fields, message in (
        ({"tars": "a.tar", "member": "1.png"}, "names no field"),
        ({"tars": "a.tar", "index": "index.json"}, "each tar has an index of its own"),
        ({"tars": "a.tar", "index": "{stem}.csv"}, "should end in .json or .parquet"),
        ({"tars": "a.tar", "root": "x"}, "Extra inputs"),
        ({"path": "{id}.png"}, "Field required"),
    ):
        with pytest.raises(pydantic.ValidationError, match=message):
            SourceConfig.model_validate(images(**fields))
    absent = SourceConfig.model_validate(images(tars=str(tmp_path / "*.tar")))
    with pytest.raises(DataError, match=r"sources: site: images: tars: .*\*\.tar: there is no such file"):
        find_tars([absent])
    make_tar(tmp_path / "a.tar", {})
    unindexed = SourceConfig.model_validate(images(tars=str(tmp_path / "*.tar"), index="{stem}.json"))
    with pytest.raises(DataError, match=r"sources: site: images: index: .*a\.json.*leave `index` out"):
        find_tars([unindexed])


# Elsewhere


def test_tars_in_memory_behind_a_url(tmp_path: Path) -> None:
    local = make_tar(tmp_path / "a.tar", {"1.png": b"one"})
    memory = fsspec.filesystem("memory")
    memory.pipe("/tars-of-test/a.tar", local.read_bytes())
    try:
        found = ingest(tmp_path, {"tars": "memory://tars-of-test/*.tar"}, [1])
        assert read_all(found) == {1: [b"one"]}
    finally:
        memory.rm("/tars-of-test", recursive=True)


def test_tars_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    get = s3fs.core._fetch_range

    def counting(fs, bucket, key, version_id, start, end, **options):
        fetched.append(end - start)
        return get(fs, bucket, key, version_id, start, end, **options)

    with s3_server() as bucket:
        for number in (1, 2):
            files = {f"{number}.png": bytes([number]) * 5000, f"{number}0.png": b"\0" * 2_000_000}
            local = make_tar(tmp_path / "a.tar", files)
            fsspec.filesystem("s3").put_file(str(local), f"{bucket}/tars/data-{number}.tar")
        found = ingest(tmp_path, {"tars": f"{bucket}/tars/data-*.tar"}, [1, 2, 3])
        monkeypatch.setattr(s3fs.core, "_fetch_range", counting)
        assert read_all(found) == {1: [b"\1" * 5000], 2: [b"\2" * 5000], 3: []}
        assert fetched == [5000, 5000]  # no bytes of neighbours
        assert found.kept["image_candidates"].to_list()[0] == [f"{bucket}/tars/data-1.tar!1.png@512+5000"]


def test_a_table_of_pictures_in_tars(tmp_path: Path) -> None:
    """From tars to a table, which says what is missing where a share of the posts finds nothing."""
    posts = write_posts(tmp_path / "posts", 6)
    pictures = {f"{number}.png": (posts / "images" / f"{number}.png").read_bytes() for number in range(1, 7)}
    with_one_missing = {name: data for name, data in pictures.items() if name != "4.png"}
    make_tar(tmp_path / "a.tar", with_one_missing)
    source = {
        "name": "tiny",
        "posts": [str(posts / "posts.jsonl")],
        "images": [{"tars": str(tmp_path / "*.tar"), "member": "{id}.png"}],
    }
    with pytest.raises(QuarantineLimitError, match=r"image_missing 1.*no member .*\*\.tar!\{id\}\.png, or several"):
        run(curate_config(posts, sources=[source], out=tmp_path / "table"))
    manifest = run(curate_config(posts, sources=[source], out=tmp_path / "table", quarantine_limit=0.2))
    assert manifest.quarantined == {"image_missing": 1}
    rows = open_table(tmp_path / "table").scan().select("id", "image", "width", "height").collect()
    assert rows["id"].to_list() == [1, 2, 3, 5, 6]
    for number, url, *size in rows.iter_rows():
        assert read_image(url) == pictures[f"{number}.png"]
        assert tuple(size) == decode(read_image(url)).image.size
