"""Close-ups with tags of their own: what taggers see in each, asked once, with other people's tags left out."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pydantic
import pytest
from PIL import Image

from animetune import tables
from animetune.curate.recognize import models
from animetune.curate.run import run
from tests.builders import curate_config, danbooru_post, write_lines
from tests.onnx_models import save_tagger

BLUE, RED, GREEN = (0, 0, 255), (255, 0, 0), (0, 255, 0)
LEFT, RIGHT = (0, 0, 32, 32), (32, 0, 64, 32)


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """1 shows two girls, one blue and one red; 2 a green one alone; 3 nobody. By the tagger, blue is 1girl and Miku,
    red is ^_^ with red hair, green is solo and smiles."""
    folder = tmp_path / "posts"
    (folder / "images").mkdir(parents=True)
    for number, (left, right) in enumerate([(BLUE, RED), (GREEN, GREEN), (RED, RED)], start=1):
        image = Image.new("RGB", (64, 48), left)
        image.paste(right, (32, 0, 64, 48))
        image.save(folder / "images" / f"{number}.png")
    tags = [
        ("2girls long_hair monochrome", "hatsune_miku megurine_luka", "vocaloid"),
        ("1girl blue_eyes", "kagamine_rin", "vocaloid"),
        ("no_humans scenery", "", "original"),
    ]
    write_lines(
        folder / "posts.jsonl",
        [
            danbooru_post(
                number, image_width=64, image_height=48, tag_string_general=general, tag_string_character=character,
                tag_string_copyright=series, tag_string_artist="somebody",
            )
            for number, (general, character, series) in enumerate(tags, start=1)
        ],
    )  # fmt: skip
    boxes = [(1, *LEFT, "face"), (1, *RIGHT, "face"), (2, *LEFT, "face"), (3, *LEFT, "cup")]
    lines = ["key,left,top,right,bottom,label", *(",".join(map(str, box)) for box in boxes)]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def config(posts: Path, *, closeups=None, taggers=("one",), **settings):
    home = posts.parent / "models"
    made = {
        "closeups": {
            "boxes": [str(posts / "boxes.csv")], "margin": 0, "min_side": 24, "tags": "tagger", **(closeups or {}),
        },
        "models": {
            "device": "cpu",
            "taggers": [
                {"name": name, "floor": floor, **save_tagger(home / name)}
                for name, floor in zip(taggers, (0.05, 0.04), strict=False)
            ],
        },
        "tag_sources": {"general": "original", "character": "original"},
        "content": {"fallback": "no_human"},
    }  # fmt: skip
    source = {
        "name": "tiny",
        "posts": [str(posts / "posts.jsonl")],
        "images": [{"root": str(posts / "images"), "path": "{id}.png"}],
    }
    return curate_config(posts, **{"sources": [source], **made, **settings})


def closeups_of(cfg) -> dict[str, dict]:
    rows = tables.open_table(cfg.out).scan().filter(pl.col("key").str.contains("#")).collect()
    return {row["key"]: row for row in rows.iter_rows(named=True)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that any model looks at, in this process."""
    seen: list[str] = []
    real = models._look

    def look(cfg, number, images, urls):
        seen.extend(urls)
        return real(cfg, number, images, urls)

    monkeypatch.setattr(models, "_look", look)
    return seen


def test_each_has_what_is_seen_in_it(posts: Path):
    cfg = config(posts)
    manifest = run(cfg)
    rows = closeups_of(cfg)
    assert (manifest.seen, manifest.kept) == (7, 7)
    assert {key: (row["tags_count"], set(row["tags_general"]), row["tags_character"]) for key, row in rows.items()} == {
        "tiny/1#1": (["1girl"], {"close-up", "portrait"}, ["hatsune_miku"]),  # the tagger says which of the two
        "tiny/1#2": ([], {"^_^", "red_hair", "close-up", "portrait"}, []),
        "tiny/2#1": (["solo"], {"smile", "close-up", "portrait"}, ["kagamine_rin"]),  # alone: nobody else it could be
        "tiny/3#1": ([], {"^_^", "red_hair", "close-up"}, []),
    }
    assert {row["tags_copyright"][0] for row in rows.values()} == {"vocaloid", "original"}
    assert [(row["tags_artist"], row["tags_special"]) for row in rows.values()] == [(["somebody"], ["lowres"])] * 4
    assert rows["tiny/1#1"]["parent"] == "tiny/1"


def test_a_character_that_the_picture_has_not_is_none(posts: Path):
    text = (posts / "posts.jsonl").read_text()
    (posts / "posts.jsonl").write_text(text.replace("hatsune_miku", "someone_else"))
    cfg = config(posts)
    run(cfg)
    assert closeups_of(cfg)["tiny/1#1"]["tags_character"] == []


def test_asked_once_and_another_threshold_asks_nothing(posts: Path, asked):
    cfg = config(posts)
    run(cfg)
    assert sum("#xywh=" in url for url in asked) == 4
    assert len(asked) == 3 + 4
    asked.clear()
    again = config(posts, tag_sources={**cfg.tag_sources.model_dump(), "thresholds": {"general": 0.9}})
    run(again)
    assert asked == []
    assert set(closeups_of(again)["tiny/1#2"]["tags_general"]) == {"^_^", "close-up", "portrait"}


def test_two_taggers_say_it_together(posts: Path, asked):
    cfg = config(posts, taggers=("one", "two"))
    run(cfg)
    one = config(posts, out=posts.parent / "one")
    run(one)
    columns = ("tags_general", "tags_count", "tags_character")
    two, one = closeups_of(cfg), closeups_of(one)
    assert {key: [row[name] for name in columns] for key, row in two.items()} == {
        key: [row[name] for name in columns] for key, row in one.items()
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_and_workers_change_nothing(posts: Path, workers: int, monkeypatch: pytest.MonkeyPatch):
    whole = config(posts, out=posts.parent / "whole")
    run(whole)
    monkeypatch.setattr(tables, "PART_ROWS", 1)
    monkeypatch.setattr("animetune.curate.read.merge.PART_ROWS", 1, raising=False)
    parts = config(posts, out=posts.parent / "parts", executor={"workers": workers})
    run(parts)
    assert len(tables.open_table(parts.out).parts) > 2
    assert closeups_of(parts) == closeups_of(whole)


def test_another_list_of_tags_tags_them_anew(posts: Path):
    cfg = config(posts)
    run(cfg)
    path = Path(str(cfg.models.taggers[0].tags.path))
    path.write_text(path.read_text().replace("red_hair", "pink_hair"))
    run(cfg)
    assert "pink_hair" in closeups_of(cfg)["tiny/1#2"]["tags_general"]


def test_without_a_tagger_it_is_a_mistake(posts: Path):
    with pytest.raises(pydantic.ValidationError, match=r"closeups\.tags: tagger: `models` has no taggers"):
        config(posts, taggers=(), tag_sources={})
