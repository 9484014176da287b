"""What the report finds out about the image side: of a real curation with close-ups, look-alikes and captions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animetune.curate.closeups.crops import CODES
from animetune.curate.run import run
from animetune.report.image_facts import ImageFacts, Shown, pictures_in, with_images
from animetune.report.image_reading import read_images
from animetune.report.table_noted import posts_read
from animetune.report.table_page import write
from animetune.report.table_reading import Asked, read_table
from animetune.report.table_steps import read_steps
from animetune.report.thumbnails import Wanted
from animetune.seeding import Purpose, rng_for
from animetune.tables import open_table
from tests.builders import curate_config, danbooru_post, write_lines
from tests.caption_server import caption_server
from tests.captioned import captions

HOSTILE = '<script>alert(1)</script> A girl stands in the "rain" \u202eof stones.'


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, one of them twice in other sizes, one with a caption of its own; boxes for two."""
    folder = tmp_path_factory.mktemp("report")
    images = folder / "images"
    images.mkdir()
    general = ["1girl solo smile", "scenery no_humans", "1boy solo", "1girl solo", "1girl solo cat", "1boy solo hat"]
    posts = []
    for number, tags in enumerate(general, start=1):
        noise = rng_for(number, Purpose.DRAW).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        drawn = Image.fromarray(noise).resize((320, 400), Image.Resampling.BICUBIC)
        drawn.save(images / f"{number}.png")
        posts.append(
            danbooru_post(number, general=tags, image_width=320, image_height=400, aesthetic_score=number / 10)
        )
        if number == 1:
            drawn.resize((160, 200), Image.Resampling.LANCZOS).save(images / "7.png")
            posts.append(danbooru_post(7, general=tags, image_width=160, image_height=200))
    write_lines(folder / "posts.jsonl", posts)
    write_lines(folder / "captions.jsonl", [{"id": 2, "long": [HOSTILE]}])
    boxes = [
        {"key": "tiny/3", "left": 100, "top": 100, "right": 180, "bottom": 200, "label": "face", "score": 0.9},
        {"key": "tiny/4", "left": 0, "top": 0, "right": 100, "bottom": 100, "label": "face", "score": 0.9},
    ]
    write_lines(folder / "boxes.jsonl", boxes)
    with caption_server() as server:
        plan = iter(range(1000))

        def script(about, before, body):
            return "refusal" if next(plan) % 3 == 0 else "ok"

        server.script = script
        asked = captions(server, rewrites=0, existing="keep", long={"prompt_price": 2.0})
        run(
            curate_config(
                folder,
                out=folder / "table",
                dedup={"lookalikes": {"then": "drop"}},
                closeups={"boxes": [str(folder / "boxes.jsonl")], "min_side": 64, "margin": 0.2},
                captions=asked,
                content={"fallback": "object"},
                split={"val_share": 0},
            )
        )
    return folder / "table"


@pytest.fixture(scope="module")
def facts(table: Path) -> ImageFacts:
    opened = open_table(table)
    return read_images(opened, read_steps(opened), seed=0)


def test_what_decoding_found(facts: ImageFacts) -> None:
    assert facts.probe is not None
    assert facts.probe.formats == {"PNG": 7}
    assert facts.probe.modes == {"RGB": 7}


def test_lookalikes_are_shown_side_by_side(facts: ImageFacts) -> None:
    assert facts.lookalikes is not None
    (pair,) = facts.lookalikes.pairs
    assert (pair.twin.key, pair.best.key, pair.is_dropped) == ("tiny/7", "tiny/1", True)
    assert pair.measures is not None
    assert pair.measures[0] >= 0.8
    assert dict(facts.lookalikes.notes)["pairs that look alike"] == 1


def test_closeups_are_no_posts(table: Path) -> None:
    opened = open_table(table)
    assert opened.manifest.seen == 9
    assert posts_read(opened.manifest, read_steps(opened)) == posts_read(opened.manifest, []) == 7


def test_every_reason_why_a_box_is_not_used_is_explained(table: Path) -> None:
    assert set(open_table(table).manifest.facts["closeups"]["refused"]) == set(CODES)


def test_closeups_lie_where_their_boxes_are(facts: ImageFacts) -> None:
    assert facts.closeups is not None
    assert facts.closeups.labels == {"face": 2}
    first, second = facts.closeups.parents
    assert [closeup.key for closeup in first.closeups] == ["tiny/3#1"]
    (box,) = first.boxes  # 80 x 100 pixels with a margin of 0.2 at each side, of 320 x 400
    assert box == pytest.approx(
        (100 * (100 - 16) / 320, 100 * (100 - 20) / 400, 100 * 112 / 320, 100 * 140 / 400), abs=1
    )
    assert second.boxes[0][:2] == (0, 0)


def test_scores_and_captions(facts: ImageFacts, table: Path) -> None:
    assert sorted(facts.scores.tolist()) == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.6])
    work = facts.captions
    assert work is not None
    assert sum(work.by.values()) == 8
    assert work.by["own"] == 1
    assert work.asked == 7
    assert work.by["fallback"] == work.reasons["refusal"] == len([each for each in work.gallery if each.reason])
    assert work.cost["total"] == pytest.approx(2.0 * work.requests[0][2] / 1e6)
    rows = {row["key"]: row for row in open_table(table).scan().collect().iter_rows(named=True)}
    assert work.gallery
    for each in work.gallery:
        row = rows[each.shown.key]
        assert (list(each.long), list(each.short)) == (row["captions_long"], row["captions_short"])
        assert each.by == ("fallback" if each.reason else "model")


def test_the_page_of_it_runs_nothing(table: Path, tmp_path: Path) -> None:
    page = write(read_table(table, Asked(workers=0)), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count("data:image/webp") > 15
    bare = write(read_table(table, Asked(thumbnails=False)), tmp_path / "bare.html").read_text(encoding="utf-8")
    assert "data:image/webp" not in bare
    assert 'id="closeups"' in bare


def test_a_table_without_its_steps_has_a_shorter_page(table: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(table, copied)
    for step in (copied / "steps").iterdir():
        if (
            not step.name.endswith(json.loads((copied / "manifest.json").read_text())["digest"])
            and "-table-" not in step.name
        ):
            shutil.rmtree(step)
    opened = open_table(copied)
    found = read_images(opened, read_steps(opened), seed=0)
    assert (found.probe, found.lookalikes, found.closeups, found.captions) == (None,) * 4
    assert len(found.scores) == 8


def test_images_are_put_where_their_pictures_are() -> None:
    shown = [Shown(str(number), Wanted((str(number),), 1), False) for number in range(3)]
    nested = ([shown[0], (shown[1],)], "text", shown[2])
    filled = with_images(nested, {each.wanted: f"uri-{each.key}" for each in shown[:2]})
    assert [each.image for each in pictures_in(filled)] == ["uri-0", "uri-1", ""]
    assert filled[1] == "text"
