"""The pictures of an arena: what can be compared, and what becomes of files that go or change."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from animetune import samples
from animetune.arena.battles import NothingToShow, Stale
from animetune.arena.gallery import INDEX_NAME, Gallery, Subject, read_gallery
from animetune.arena.texts import asks_for, plain, read_list
from animetune.errors import ConfigError, DataError, SetupError
from animetune.manifest import Manifest, write_manifest
from animetune.records import Request, Size
from tests.arena_galleries import arena, configured, draw_pictures


def files_of(gallery: Gallery) -> set[str]:
    return {f"{each.model}/{each.file.name}" for each in gallery.pictures.values()}


def test_what_two_models_have_of_one_prompt_seed_and_size_is_kept(tmp_path: Path) -> None:
    a = draw_pictures(tmp_path / "a", ["one", "two", "alone"], (0, 1))
    b = draw_pictures(tmp_path / "b", ["  one\n", "two"], (1, 2), shade=1)
    c = draw_pictures(tmp_path / "c", ["two"], (1,), side=32)
    gallery = read_gallery(configured(tmp_path, {"a": a, "b": b, "c": c}))
    size = Size(16, 16)
    assert list(gallery.subjects("duel")) == [Subject("one", 1, size), Subject("two", 1, size)]
    assert gallery.subjects("four") == {}
    assert files_of(gallery) == {"a/0-1.png", "a/1-1.png", "b/0-1.png", "b/1-1.png"}
    assert gallery.notes == [
        "models.a: pictures whose prompt, seed and size no other model has, left out: 4",
        "models.b: pictures whose prompt, seed and size no other model has, left out: 2",
        "models.c: pictures whose prompt, seed and size no other model has, left out: 1",
        "modes.four: is not played: no prompt has pictures of 4 models",
        "models.c: is never shown: it has no picture of what others have drawn",
    ]


def test_the_size_is_that_of_the_pixels(tmp_path: Path) -> None:
    """An upscaled picture says the size that it was drawn at; beside one that was not, it would tell its model."""
    a = draw_pictures(tmp_path / "a", ["one"], side=32)
    lines = (a / "images.jsonl").read_text().replace("32", "16")
    (a / "images.jsonl").write_text(lines)
    b = draw_pictures(tmp_path / "b", ["one"], side=16)
    with pytest.raises(
        NothingToShow,
        match=r"models: no two of them(.|\n)*models\.a: pictures whose prompt, .* no other model has, left out: 1",
    ):
        read_gallery(configured(tmp_path, {"a": a, "b": b}))


def test_folders_of_all_kinds(tmp_path: Path) -> None:
    a = draw_pictures(tmp_path / "a", ["a cat"], (2**64 - 1,))
    request = Request("a cat", 2**64 - 1, Size(16, 16))
    b = tmp_path / "b"
    b.mkdir()
    entry = samples.Entry(request, {"steps": 28, "sampler": "euler", "cfg_scale": 6.0})
    import numpy as np

    samples.save_png(b / "x.png", np.zeros((16, 16, 3), np.uint8), entry)
    samples.publish(
        tmp_path / "c", [request], iter([(0, np.ones((16, 16, 3), np.uint8))]), settings={"steps": 1}, columns=1
    )
    gallery = read_gallery(configured(tmp_path, {"a": a, "b": b, "c": tmp_path / "c"}))
    assert files_of(gallery) == {"a/0-18446744073709551615.png", "b/x.png", "c/00000.png"}


def test_ids_are_those_of_the_bytes(tmp_path: Path) -> None:
    cfg = arena(tmp_path, "abc")
    first, again = read_gallery(cfg), read_gallery(cfg)
    assert dict(first.pictures) == dict(again.pictures)
    assert all(0 < id_ < 2**53 and type(id_) is int for id_ in first.pictures)
    assert len(first.pictures) == 36
    Image.new("RGB", (16, 16), "white").save(tmp_path / "a" / "0-0.png")
    changed = read_gallery(cfg)
    old, new = set(first.pictures) - set(changed.pictures), set(changed.pictures) - set(first.pictures)
    assert [first.pictures[id_].file.name for id_ in old] == ["0-0.png"]
    assert [changed.pictures[id_].file.name for id_ in new] == ["0-0.png"]
    moved = configured(tmp_path, {"a": tmp_path / "a", "b": tmp_path / "b"})
    assert set(read_gallery(moved).pictures) < set(changed.pictures)  # whatever else is in the arena


def test_only_what_is_new_or_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = arena(tmp_path)
    before = read_gallery(cfg)
    hashed: list[str] = []
    from animetune import fsio

    real = fsio.sha256_file
    monkeypatch.setattr(fsio, "sha256_file", lambda path: hashed.append(Path(path).name) or real(path))
    assert dict(read_gallery(cfg).pictures) == dict(before.pictures)
    assert hashed == []
    os.utime(tmp_path / "a" / "1-0.png", ns=(1, 1))
    assert dict(read_gallery(cfg).pictures) == dict(before.pictures)
    assert hashed == ["1-0.png"]


def test_a_picture_that_goes_is_shown_no_more(tmp_path: Path) -> None:
    gallery = read_gallery(arena(tmp_path))
    gone = next(each for each in gallery.pictures.values() if each.file.name == "0-0.png")
    data = gone.file.read_bytes()
    assert gallery.read(gone.id) == data
    gone.file.unlink()
    with pytest.raises(Stale, match="gone or has changed; ask for the next battle"):
        gallery.read(gone.id)
    assert gallery.version == 1
    assert gone.subject not in gallery.subjects("duel")
    assert gallery.notes[-1] == (
        f"models.{gone.model}: {gone.file} cannot be read any more (No such file or directory); "
        "not shown until the next start"
    )
    with pytest.raises(Stale):
        gallery.check(gone.id)
    gone.file.write_bytes(data)
    with pytest.raises(Stale):  # what is dropped stays so: ratings of it would have a hole nobody sees
        gallery.read(gone.id)


def test_a_picture_that_changes_is_never_passed_off_as_the_old_one(tmp_path: Path) -> None:
    gallery = read_gallery(arena(tmp_path))
    victim = next(iter(gallery.pictures.values()))
    state = victim.file.stat()
    data = bytearray(victim.file.read_bytes())
    data[-20] ^= 1
    victim.file.write_bytes(data)
    os.utime(victim.file, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time: only the bytes tell
    with pytest.raises(Stale):
        gallery.read(victim.id)
    assert victim.id not in gallery.pictures
    assert "has changed since the arena was started" in gallery.notes[-1]


def test_a_folder_that_goes_is_noted_once(tmp_path: Path) -> None:
    gallery = read_gallery(arena(tmp_path, "abc"))
    notes = len(gallery.notes)
    shutil.rmtree(tmp_path / "b")
    gallery.drop_missing()
    assert {each.model for each in gallery.pictures.values()} == {"a", "c"}
    assert len(gallery.notes) == notes + 1
    assert "and 9 more is gone" in gallery.notes[-1]
    gallery.drop_missing()
    assert len(gallery.notes) == notes + 1
    assert gallery.version == 1


def test_explicit_prompts_are_hidden_unless_they_are_wanted(tmp_path: Path) -> None:
    prompts = ["a girl, nsfw", "a girl", "Rating:E, boy", "inexplicit things", "EXPLICIT"]
    folders = {name: draw_pictures(tmp_path / name, prompts, shade=ord(name)) for name in "ab"}
    gallery = read_gallery(configured(tmp_path, folders))
    assert [subject.prompt for subject in gallery.subjects("duel")] == ["a girl", "inexplicit things"]
    assert "prompts that ask for explicit pictures, not shown (explicit: true shows them): 3" in gallery.notes
    assert len(read_gallery(configured(tmp_path, folders, explicit=True)).subjects("duel")) == 5
    one = read_gallery(configured(tmp_path, folders, explicit_words=["boy"]))
    assert len(one.subjects("duel")) == 4


def test_modes_have_lists_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "fixed.txt").write_text("# ours\n\n prompt   0\nprompt 1\nnever drawn\n")
    modes = {"fixed": {"prompts": str(tmp_path / "fixed.txt")}, "four": {"share": 0}}
    gallery = read_gallery(arena(tmp_path, "abcd", modes=modes))
    assert {subject.prompt for subject in gallery.subjects("fixed")} == {"prompt 0", "prompt 1"}
    assert len({subject.prompt for subject in gallery.subjects("duel")}) == 6
    assert gallery.subjects("four") == {}
    (tmp_path / "fixed.txt").write_text("never drawn\n")
    assert (
        "modes.fixed: is not played: no prompt has pictures of 2 models"
        in read_gallery(arena(tmp_path, "abcd", modes=modes)).notes
    )


def test_two_pictures_of_one_request_are_refused(tmp_path: Path) -> None:
    cfg = arena(tmp_path)
    index = tmp_path / "a" / "images.jsonl"
    shutil.copy(tmp_path / "a" / "0-0.png", tmp_path / "a" / "copy.png")
    line = json.loads(index.read_text().splitlines()[0])
    index.write_text(index.read_text() + json.dumps(line | {"file": "copy.png"}) + "\n")
    with pytest.raises(DataError, match=r"models\.a\.pictures: .*0-0\.png and .*copy\.png answer the same prompt"):
        read_gallery(cfg)


def test_a_damaged_picture_is_left_out_and_named(tmp_path: Path) -> None:
    cfg = arena(tmp_path)
    (tmp_path / "a" / "0-0.png").write_bytes(b"no picture")
    gallery = read_gallery(cfg)
    assert len(gallery.subjects("duel")) == 11
    assert any(note.startswith(f"models.a: {tmp_path / 'a' / '0-0.png'} cannot be opened") for note in gallery.notes)


def test_what_cannot_be_an_arena(tmp_path: Path) -> None:
    cfg = arena(tmp_path)
    with pytest.raises(SetupError, match=r"models\.c\.pictures: .*there is no such folder"):
        read_gallery(configured(tmp_path, {"a": tmp_path / "a", "c": tmp_path / "c"}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"models\.e\.pictures: .*holds no picture whose prompt, seed and size are"):
        read_gallery(configured(tmp_path, {"a": tmp_path / "a", "e": tmp_path / "empty"}))
    write_manifest(tmp_path / "arena", Manifest(kind="drawings", format_version=1))
    with pytest.raises(ConfigError, match="is a folder of drawings; choose another folder"):
        read_gallery(cfg)
    assert [path.name for path in (tmp_path / "arena").iterdir()] == ["manifest.json"]


def test_the_index_of_files_is_no_source_of_errors(tmp_path: Path) -> None:
    cfg = arena(tmp_path)
    read_gallery(cfg)
    index = cfg.out / INDEX_NAME
    index.write_text(index.read_text() + '{"file": "unfinished')
    assert len(read_gallery(cfg).subjects("duel")) == 12


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        ("1girl, nsfw, smile", True), ("NSFW", True), ("not safe\nrating:e", True), ("inexplicit", False),
        ("explicitly", False), ("rating:explicit", True), ("rating:extra", False), ("sfw", False), ("", False),
    ],
)  # fmt: skip
def test_words_of_prompts(prompt: str, asks: bool) -> None:
    assert asks_for(prompt, ("explicit", "nsfw", "rating:e")) is asks
    assert not asks_for(prompt, ())


def test_phrases_and_odd_characters_are_taken_as_they_are() -> None:
    assert asks_for("a man, looking_at   viewer.", ("looking at viewer",))
    assert asks_for("a [b] c", ("[b]",))
    assert not asks_for("abc", ("a.c",))
    assert plain(" a\n\tb  ") == "a b"


def test_lists_of_prompts(tmp_path: Path) -> None:
    text = tmp_path / "prompts.txt"
    text.write_bytes("﻿one  two\r\n#no\n\nthree\n".encode())
    assert read_list(text, "modes.fixed.prompts") == {"one two", "three"}
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "# one"}\n{"prompt": 3}\nno\n{"other": "x"}\n[1]\n')
    with pytest.raises(ConfigError) as caught:
        read_list(lines, "modes.fixed.prompts")
    places = [problem.partition(": is no JSON")[0] for problem in caught.value.problems]
    assert places == [f"modes.fixed.prompts: {lines}:{number}" for number in (2, 3, 4, 5)]
    lines.write_text('{"prompt": "# one", "seed": 1}\n')
    assert read_list(lines, "x") == {"# one"}
    text.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="holds no prompt"):
        read_list(text, "x")
    text.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_list(text, "x")
    with pytest.raises(ConfigError, match=r"x: .* there is no such file"):
        read_list(tmp_path / "absent.txt", "x")
