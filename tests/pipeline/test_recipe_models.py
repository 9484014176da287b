"""Recipes with what the other tests leave out: DashAnime's captions by a real server, AIDXL's tagger by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from animetune.config import load_config, shipped_configs
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from animetune.tables import open_table
from tests.caption_server import caption_server, text_of
from tests.onnx_models import save_tagger
from tests.recipe_posts import at_posts, write_recipe_posts

pytestmark = pytest.mark.slow

RECIPES = shipped_configs() / "recipes"
KEPT = ("answers=", "captions=", "models=", "tag_sources=", "closeups=")
"""Overrides of `at_posts` that switch off what is tested here."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe_posts(tmp_path_factory.mktemp("posts"))


def curate(recipe: str, files: Path, out: Path, *overrides: str) -> pl.DataFrame:
    path = RECIPES / f"{recipe}.yaml"
    moved = [each for each in at_posts(files, load_config(path, CurateConfig)) if not each.startswith(KEPT)]
    own = [f"out={out / recipe.replace('/', '-')}", f"answers={out / 'answers'}", "executor.workers=0"]
    cfg = load_config(path, CurateConfig, [*moved, *own, "quarantine_limit=1", *overrides])
    run(cfg)
    return open_table(cfg.out).scan().collect()


def describe(about: str, body: dict[str, Any]) -> str:
    """A long caption with a word about style, or the short one that is asked for without a picture."""
    if not about:
        return "Somebody stands in a quiet garden, looking at the sky."
    return "In this digital illustration, somebody stands in a quiet garden and looks up at the sky above the trees."


def test_dashanime_is_captioned_and_its_second_stage_drops_style_without_asking_again(
    files: Path, tmp_path: Path
) -> None:
    with caption_server(answer=describe) as server:
        at = [f"captions.{model}.base_url={server.base_url}" for model in ("long", "compress")]
        checks = "captions.checks.people=false"  # the server does not look
        first = curate("dashanime/curate", files, tmp_path, *at, checks).filter(pl.col("repeats") > 0)
        asked = len(server.asked)
        second = curate("dashanime/curate-stage2", files, tmp_path, *at, checks).filter(pl.col("repeats") > 0)
        models = {each.body["model"] for each in server.asked}
        seen = [each for each in server.asked if each.about]
        assert "garden" in text_of(server.asked[-1].body)
    assert models == {"Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"}
    assert 0 < len(seen) <= first.height
    written = pl.col("captions_long").list.join(" ")
    by_model = first.filter(written.str.contains("quiet garden"))
    assert by_model.height > 10
    assert by_model["captions_long"].list.join(" ").str.contains("digital illustration").all()
    assert (by_model["captions_short"].list.len() > 0).all()
    of_both = second.filter(pl.col("key").is_in(by_model["key"].implode()))
    assert of_both.height > 5
    assert not of_both["captions_long"].list.join(" ").str.contains("digital illustration").any()
    assert of_both["captions_long"].list.join(" ").str.contains("quiet garden").all()
    new = [each for each in server.asked[asked:] if each.about and each.body["max_tokens"] > 1]
    assert new == []  # long captions are those of the first stage


def test_aidxl_has_the_tags_of_a_tagger_and_close_ups(files: Path, tmp_path: Path) -> None:
    tagger = save_tagger(tmp_path / "tagger")
    at = [f"models.taggers.0.{part}.path={said['path']}" for part, said in tagger.items() if "path" in said]
    assert len(at) == 2
    names = set((Path(tagger["tags"]["path"])).read_text(encoding="utf-8").replace(",", "\n").split("\n"))
    rows = curate("aidxl/curate", files, tmp_path, *at)
    general = set(rows["tags_general"].explode().drop_nulls()) - {"close-up", "portrait"}
    assert general
    assert general <= names  # the posts' own general tags are gone
    closeups = rows.filter(pl.col("key").str.contains("#", literal=True))
    assert closeups.height > 0
    assert closeups["image"].str.contains("#xywh=", literal=True).all()
    assert set(closeups["parent"]) <= set(rows["key"])
