"""Pictures as posts state them, when none is looked at; what decoding finds is tested with the whole stage."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pydantic
import pytest

from animetune import tables
from animetune.curate import pictures
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.run import run
from animetune.errors import DataError
from tests.builders import curate_config, write_posts


def test_without_decoding_no_picture_is_looked_at(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 12)
    shutil.rmtree(folder / "images")
    cfg = curate_config(
        folder, pictures={"decode": False}, filters=[{"name": "aspect_ratio", "max": 1.2}], quarantine_limit=0
    )
    manifest = run(cfg)
    rows = tables.open_table(cfg.out).scan().collect()
    assert (manifest.kept, manifest.dropped) == (4, {"aspect_ratio": 8})
    assert manifest.facts["pictures"]["decoded"] is False
    assert rows["image"].to_list() == [str(folder / "images" / f"{n}.png") for n in (2, 5, 8, 11)]
    assert rows.select("width", "height").unique().rows() == [(56, 56)]
    assert rows.select("image_format", "had_alpha", "mask").null_count().row(0) == (4, 4, 4)
    assert list((cfg.out / "chunks").iterdir()) == []


def test_a_post_that_states_no_size_is_quarantined(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 3, image_width=None)
    cfg = curate_config(folder, pictures={"decode": False}, quarantine_limit=1)
    with pytest.raises(DataError, match="nothing is left of 3 posts; not usable: no_size 3"):
        run(cfg)
    key, code, detail = pl.read_parquet(cfg.out / "quarantined.parquet").row(0)
    assert (key, code) == ("tiny/1", "no_size")
    assert "states no width and height" in detail


def test_what_only_the_file_would_tell_is_null():
    rows = pl.DataFrame(
        {
            "row": [0, 1, 2],
            "key": ["a/1", "a/2", "a/3"],
            "post_width": [10, 20, 30],
            "post_height": [10, None, 30],
            "post_bytes": [7, 8, None],
            "image_candidates": [["x", "y"], ["z"], []],
        },
        schema_overrides={"image_candidates": pl.List(pl.String)},
    )
    outcome = pictures.as_stated(rows, [])
    assert outcome.kept.select("key", "image", "width", "height", "image_bytes").rows() == [
        ("a/1", "x", 10, 10, 7),
        ("a/3", None, 30, 30, None),
    ]
    assert set(pictures.WRITES) <= set(outcome.kept.columns)
    others = set(pictures.WRITES) - {"image", "width", "height", "image_bytes"}
    assert set(outcome.kept.select(others).null_count().row(0)) == {2}
    assert outcome.kept["pixel_digest"].dtype == pl.String
    assert outcome.quarantined["key"].to_list() == ["a/2"]


def test_a_check_of_files_needs_files():
    with pytest.raises(pydantic.ValidationError, match="check_md5 reads the pictures"):
        PicturesConfig(decode=False, check_md5=True)
