"""The step `tags` in the chain: a user's tables, overlap, order, homonyms beside the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from animetune import tables
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from animetune.curate.tag.homonyms import FILE
from animetune.errors import ConfigError, DataError
from tests.builders import curate_config, write_lines, write_posts

TAGS = {
    1: "1girl solo long_hair very_long_hair gun holding smile name_connection",
    2: "1girl solo boobs doctor",
    3: "no_humans katana sword weapon simple_background white_background",
    4: "1girl 1boy long_hair very_long_hair weapon katana",
}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four posts with TAGS; the second has the character `doctor`, too."""
    folder = write_posts(tmp_path_factory.mktemp("posts"), 4)
    lines = [json.loads(line) for line in (folder / "posts.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines, start=1):
        line["tag_string_general"] = TAGS[number]
        line["tag_string_character"] = "doctor" if number == 2 else "doctor_(arknights)"
    write_lines(folder / "posts.jsonl", lines)
    return folder


def curated(posts: Path, tmp_path: Path, **settings: Any) -> tuple[dict[str, Any], pl.DataFrame, CurateConfig]:
    """The manifest's facts, the table by id, and the configuration."""
    cfg = curate_config(posts, **{"out": tmp_path / "table", "dedup": {"by": []}, **settings})
    facts = run(cfg).facts
    return facts, tables.open_table(cfg.out).scan().sort("id").collect(), cfg


def test_overlap_and_order_and_what_content_sees(posts: Path, tmp_path: Path):
    settings = {"overlap": "drop", "order": "aidxl-caption"}
    facts, rows, _ = curated(posts, tmp_path, tags=settings)
    assert rows["tags_general"].to_list() == [
        ["very_long_hair", "smile", "holding", "gun"],
        ["doctor", "boobs"],
        ["katana", "white_background"],
        ["long_hair", "very_long_hair", "katana"],
    ]
    assert facts["tags_removed"] == {"noise": 1, "overlap": 5}
    assert facts["tag_classes"]["weapons"] == 3
    # `katana` is on no list of objects; `sword`, which it implies, is
    assert rows["content_bucket"].to_list()[2] == "object"
    assert set(rows.columns) == set(tables.schema())


def test_aliases_categories_and_renames(posts: Path, tmp_path: Path):
    (tmp_path / "tags.csv").write_text('breasts,0,9,"boobs,/b"\ndoctor,4,3,\n')
    files = [tmp_path / "tags.csv"]
    facts, rows, cfg = curated(posts, tmp_path, tags={"aliases": files, "categories": files})
    assert rows["tags_general"].to_list()[1] == ["breasts"]
    assert rows["tags_character"].to_list()[1] == ["doctor"]
    assert facts["tags_rewritten"] == {"alias": 1, "category": 1}
    assert facts["tags_removed"] == {"noise": 1, "twice": 1}
    (tmp_path / "tags.csv").write_text("oppai,boobs\n")
    tags = cfg.tags.model_copy(update={"categories": ()})
    assert run(cfg.model_copy(update={"tags": tags})).facts["tags_rewritten"] == {}


def test_homonyms_and_a_rename_that_ends_them(posts: Path, tmp_path: Path):
    facts, _, cfg = curated(posts, tmp_path)
    assert facts["homonyms"] == 1
    assert pl.read_csv(cfg.out / FILE).rows() == [
        ("doctor", "same_text", "character", "doctor", 1),
        ("doctor", "same_text", "general", "doctor", 1),
    ]
    facts, _, cfg = curated(posts, tmp_path, tags={"rename": {"general:doctor": "doctor_(profession)"}})
    assert facts["homonyms"] == 0
    assert (cfg.out / FILE).read_text() == "text,match,kind,tag,count\n"


def test_what_is_wrong_is_said_before_anything_is_done(posts: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"tags.order: 'hat' is no semantic class"):
        curated(posts, tmp_path, tags={"order": ["hat"]})
    with pytest.raises(DataError, match=r"tags.aliases: .*none.csv: there is no such file"):
        curated(posts, tmp_path, tags={"aliases": [tmp_path / "none.csv"]})
    assert not list((tmp_path / "table").glob("steps/*"))


def test_filters_after_tags_see_what_overlap_took_out(posts: Path, tmp_path: Path):
    exclude = {"name": "exclude_tags", "tags": ["weapon"], "after": "tags"}
    _, rows, _ = curated(posts, tmp_path, tags={"overlap": "drop"}, filters=[exclude])
    assert rows["id"].to_list() == [1, 2]
