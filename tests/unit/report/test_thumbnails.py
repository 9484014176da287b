"""Thumbnails: of whatever is there, within a limit, and whatever happens to a decoder."""

from __future__ import annotations

import os
import signal

from PIL import Image

from animetune.report import thumbnails
from animetune.report.thumbnails import Wanted, make_thumbnails


def save(path, colour=(200, 10, 10)):
    Image.new("RGB", (400, 300), colour).save(path)
    return str(path)


def test_first_place_that_holds_a_picture_is_shown(tmp_path):
    good = save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"<html>")
    wanted = [
        Wanted((str(tmp_path / "missing.png"), good), 64),
        Wanted((str(tmp_path / "bad.png"),), 64),
        Wanted((), 64),
        Wanted((str(tmp_path),), 64),
        Wanted(("nosuchprotocol://a/b.png",), 64),
    ]
    made = make_thumbnails(wanted, workers=0)
    assert made[0].startswith("data:image/webp;base64,")
    assert made[1:] == [""] * 4


def test_all_together_stay_within_the_limit(tmp_path):
    wanted = [Wanted((save(tmp_path / f"{index}.png", (index, 0, 0)),), 64) for index in range(5)]
    size = len(make_thumbnails(wanted[:1], workers=0)[0])
    made = make_thumbnails(wanted, workers=0, limit=2 * size + 10)
    assert [bool(uri) for uri in made] == [True, True, False, False, False]


def test_workers_make_the_same(tmp_path):
    wanted = [Wanted((save(tmp_path / f"{index}.png", (index, 0, 0)),), 64) for index in range(4)]
    assert make_thumbnails(wanted, workers=2) == make_thumbnails(wanted, workers=0)


def dies_of_zero(wanted: Wanted) -> str:
    if wanted.side == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    return str(wanted.side)


def test_a_picture_that_kills_its_process_costs_itself_alone(monkeypatch):
    monkeypatch.setattr(thumbnails, "thumbnail_of", dies_of_zero)
    wanted = [Wanted((), side) for side in (1, 0, 2, 3)]
    assert make_thumbnails(wanted, workers=2) == ["1", "", "2", "3"]
