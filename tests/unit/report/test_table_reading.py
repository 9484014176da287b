"""From a table on disk to its report: the demo's way, hostile tags, equal bytes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from animetune.buckets import SizesConfig
from animetune.data.preview import preview_prompts
from animetune.errors import DataError
from animetune.prompts import PromptConfig
from animetune.report import table_reading
from animetune.report.table_facts import Training
from animetune.report.table_labels import TableLabels
from animetune.report.table_page import write
from animetune.report.table_reading import Asked, choose_sheet, crop_of, read_table
from animetune.tables import open_table
from tests.builders import tiny_table

SIZES = SizesConfig(area=64 * 64, step=8, min_side=48, max_side=96, max_ratio=2.0)
SOURCES = [(70, 70), (100, 70), (70, 100), (64, 64), (90, 60), (20, 20)]
HOSTILE = "<script>alert(1)</script>\u202e"
TRAINING = Training(PromptConfig(order=("general", "quality"), shuffle=("general",), tag_dropout=0.5), seed=3, chunks=1)
ASKED = Asked(training=TRAINING, sizes=SIZES, workers=0)


def hostile_table(folder):
    return tiny_table(
        folder,
        SOURCES,
        key=[f"tiny/{HOSTILE}{row}" for row in range(6)],
        tags_general=[["smile", HOSTILE, f"tag_{row}"] for row in range(6)],
        tags_artist=[[HOSTILE]] * 6,
        captions_long=[[f"A {HOSTILE} caption {row}."] for row in range(6)],
        captions_short=[["word " * 100], [], [], [], [], []],
        content_bucket=["animal", "animal", "animal", "object", "object", None],
        rating=["g", "s", "q", "e", None, "g"],
        style_class=[HOSTILE, None, None, None, None, None],
        repeats=[1.0, 2.0, 0.5, 1.0, 1.0, 0.0],
        split=["train"] * 5 + ["val"],
    )


def test_a_hostile_table_makes_a_harmless_page_twice_the_same(tmp_path):
    folder = hostile_table(tmp_path / "table")
    pages = [write(read_table(folder, ASKED), tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]
    page = pages[0].decode()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;U+202E&gt;" in page
    assert page.count("data:image/webp;base64,") == 5


def test_facts_of_a_table(tmp_path):
    facts = read_table(hostile_table(tmp_path / "table"), ASKED)
    assert (facts.pictures, facts.held_out) == (5, 1)
    assert set(facts.hidden_tags) == {HOSTILE}
    assert facts.title.endswith("/table")
    assert sum(row.pictures for row in facts.sizes.rows) == 5
    assert facts.texts.captions == 7
    assert facts.texts.hidden == 6
    assert len(facts.texts.prompt_tokens) == 5
    assert sorted(shown.is_veiled for shown in facts.sheet) == [False, False, True, True, True]  # q, e and unrated
    assert all(shown.crop is not None for shown in facts.sheet)


def test_prompts_are_those_of_preview(tmp_path):
    folder = tiny_table(tmp_path / "table", SOURCES)
    facts = read_table(folder, ASKED)
    previewed = preview_prompts(TableLabels(folder), TRAINING.prompts, seed=3, count=6, draws=table_reading.DRAWS)
    expected = {label.key: list(dict.fromkeys(prompts)) for label, prompts in previewed}
    assert {shown.key: [draw.trained for draw in shown.draws] for shown in facts.sheet} == expected
    some = [draw for shown in facts.sheet for draw in shown.draws]
    assert any(draw.dropped for draw in some)


def test_prompts_that_do_not_fit_are_cut_and_counted(tmp_path):
    tags = [[f"unpronounceable_{row}_{number}" for number in range(40)] for row in range(6)]
    folder = tiny_table(tmp_path / "table", SOURCES, tags_general=tags)
    plain = Training(PromptConfig(order=("general",)), chunks=1)
    facts = read_table(folder, Asked(training=plain, sizes=SIZES, workers=0))
    assert facts.texts.prompts_cut == 6
    for shown in facts.sheet:
        (draw,) = shown.draws
        assert draw.tokens > 75
        assert draw.trained
        assert draw.cut
        assert f"{draw.trained} {draw.cut}".count("unpronounceable") == 40


def test_without_thumbnails_no_picture_is_opened(tmp_path, monkeypatch):
    folder = tiny_table(tmp_path / "table", SOURCES)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened a picture"))
    facts = read_table(folder, Asked(training=TRAINING, sizes=SIZES, thumbnails=False, workers=0))
    assert len(facts.sheet) == 6
    assert not any(shown.image for shown in facts.sheet)


def test_missing_pictures_leave_the_rest(tmp_path):
    folder = tiny_table(tmp_path / "table", SOURCES)
    (tmp_path / "table-images" / "0.png").unlink()
    facts = read_table(folder, ASKED)
    assert [bool(shown.image) for shown in facts.sheet].count(False) == 1


def test_an_empty_table_has_a_report(tmp_path):
    facts = read_table(tiny_table(tmp_path / "table", []), ASKED)
    assert facts.pictures == 0
    assert "No picture is for training." in write(facts, tmp_path / "a.html").read_text()


def test_no_table_is_told(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "nothing")


def test_sheet_takes_turns_among_content_buckets(tmp_path):
    names = ["animal"] * 90 + ["object"] * 3 + ["no_human"]
    folder = tiny_table(tmp_path / "table", [(8, 8)] * 94, content_bucket=names)
    rows = open_table(folder).scan().collect()
    chosen = choose_sheet(rows, count=9, seed=0)["content_bucket"].to_list()
    assert sorted(chosen) == ["animal"] * 5 + ["no_human"] + ["object"] * 3
    assert chosen == sorted(chosen)
    assert choose_sheet(rows, count=9, seed=0).equals(choose_sheet(rows, count=9, seed=0))
    assert choose_sheet(rows.clear(), count=9, seed=0).height == 0


def test_crop_is_that_of_the_shards():
    row = {"width": 128, "height": 64, "focus_x": None, "focus_y": None}
    square = SizesConfig(area=64 * 64, step=64, min_side=64, max_side=64)
    crop = crop_of(row, square, 1.0)
    assert crop is not None
    assert (crop.left, crop.top, crop.width, crop.height, crop.size) == (25, 0, 50, 100, "64x64")
    right = crop_of({**row, "focus_x": 1.0}, square, 1.0)
    assert right is not None
    assert right.left == 50
    assert crop_of({**row, "height": 32}, square, 1.5) is None  # it would be enlarged twice
    assert crop_of({**row, "width": None}, square, 1.0) is None


def test_sample_is_a_part_of_large_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(table_reading, "SAMPLE", 3)
    facts = read_table(tiny_table(tmp_path / "table", SOURCES), ASKED)
    assert facts.texts.pictures == len(facts.texts.prompt_tokens) == len(facts.sheet) == 3
    assert facts.pictures == 6
    assert "3 pictures of 6, chosen at random" in write(facts, tmp_path / "a.html").read_text()


def test_pages_are_small(tmp_path):
    noise = np.random.Generator(np.random.Philox(0)).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    folder = tiny_table(tmp_path / "table", [(400, 400)] * 40)
    for row in range(40):
        Image.fromarray(noise).save(tmp_path / "table-images" / f"{row}.png")
    page = write(read_table(folder, Asked(sizes=SIZES, workers=0)), tmp_path / "a.html")
    assert page.stat().st_size < 8_000_000
