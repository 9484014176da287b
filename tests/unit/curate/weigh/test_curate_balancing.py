"""Balancing within the stage: every factor on one table, equal bytes, and only what changed is done again."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from animetune import tables
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from animetune.errors import ConfigError, DataError
from tests.builders import CONTENT_TAGS, curate_config, danbooru_post, write_lines

FACTORS = [
    {"name": "tag_groups"},
    {"name": "tags", "min_pictures": 2, "kinds": ["general", "artist"]},
    {"name": "content_buckets", "strength": 0.5, "result": "loss_weight"},
    {"name": "adaptive", "class_total": 30, "states": "states.csv", "drop": ["worst"]},
    {"name": "synthetic", "max_share": 0.5},
]
"""`states.csv` stands for the one that the fixture writes."""


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    """60 posts of four artists; only what they state is looked at."""
    folder = tmp_path_factory.mktemp("posts")
    general = list(CONTENT_TAGS.values())
    write_lines(
        folder / "posts.jsonl",
        [
            danbooru_post(
                number,
                general=general[number * number % len(general)],
                artist=["ann", "bob", "cid", ""][number % 4],
                score=number,
                image_width=1024,
                image_height=1024,
            )
            for number in range(1, 61)
        ],
    )
    (folder / "states.csv").write_text("style,state\nbob,fitted\n", encoding="utf-8")
    (folder / "map.csv").write_text("tag,style\nann,soft\ncid,soft\n", encoding="utf-8")
    return folder


def fresh(posts: Path, out: Path, *, balance: list[dict] = FACTORS, **settings) -> CurateConfig:
    written = json.loads(json.dumps(balance).replace("states.csv", str(posts / "states.csv")))
    source = {"name": "tiny", "posts": [str(posts / "posts.jsonl")], "images": [{"root": str(posts), "path": "{id}"}]}
    return curate_config(
        posts,
        **{"out": out, "sources": [source], "pictures": {"decode": False}, "balance": written, **settings},
    )


def steps(folder: Path) -> dict[str, str]:
    return {path.name.split("-")[1]: path.name for path in sorted((folder / "steps").iterdir())}


def test_a_table_with_all_factors(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path / "table", styles={"map": str(posts / "map.csv")})
    manifest = run(cfg)
    rows = tables.open_table(cfg.out).scan().collect()
    assert manifest.seen == manifest.kept + sum(manifest.dropped.values()) == 60
    assert manifest.dropped == {"fitted": 60 - rows.height}
    assert 0 < manifest.dropped["fitted"] < 15
    assert not rows.filter(pl.col("style_class") == "bob").filter(pl.col("quality") == "worst").height
    assert set(rows["style_class"].unique().to_list()) == {"soft", "bob", None}

    views = (rows["repeats"].cast(pl.Float64) * rows["loss_weight"].cast(pl.Float64)).to_numpy()
    soft = (rows["style_class"] == "soft").fill_null(value=False).to_numpy()
    epoch = manifest.facts["epoch"]
    assert rows["repeats"].sum() == pytest.approx(views.sum(), rel=1e-5)
    assert epoch["samples"] == {"before": 60, "after": pytest.approx(views.sum(), rel=1e-4), "literal": pytest.approx(
        epoch["samples"]["literal"])}  # fmt: skip
    assert [factor["name"] for factor in epoch["factors"]] == [factor["name"] for factor in FACTORS]
    assert epoch["factors"][3]["underfitted"] == 1
    assert epoch["style_class"]["classes"] == 2
    scale = views.sum() / epoch["factors"][-1]["samples"]  # loss weights were brought to a mean of 1
    assert views[soft].sum() == pytest.approx(30 * scale, rel=1e-4)

    tags = manifest.facts["tag_epoch"]
    assert tags["artist"]["tags"] == 3
    seen = rows.filter(pl.col("tags_general").list.contains("long_hair"))
    after = (seen["repeats"] * seen["loss_weight"]).sum()
    assert tags["general"]["most"]["long_hair"]["after"] == pytest.approx(after, abs=0.05)
    assert tags["general"]["most"]["long_hair"]["before"] >= seen.height


def test_workers_and_a_second_run_change_no_byte(posts: Path, tmp_path: Path):
    def contents(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    one = fresh(posts, tmp_path / "one")
    two = fresh(posts, tmp_path / "two", executor={"workers": 2})
    assert run(one).digest == run(two).digest
    assert contents(one.out) == contents(two.out)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"balance": [FACTORS[0] | {"strength": 0.1}, *FACTORS[1:]]}, "balance"),
        ({"balance": [FACTORS[0], FACTORS[1] | {"strength": 0.1}, *FACTORS[2:]]}, "balance"),
        ({"balance": [FACTORS[0], FACTORS[1] | {"min_pictures": 25}, *FACTORS[2:]]}, "rarity"),
        ({"styles": {"artist": "none"}}, "weights"),
    ],
)
def test_a_changed_setting_begins_again_where_it_matters(posts: Path, tmp_path: Path, change: dict, again: str):
    cfg = fresh(posts, tmp_path)
    run(cfg)
    before = steps(tmp_path)
    run(fresh(posts, tmp_path, **change, prune=True))
    after = steps(tmp_path)
    assert list(after) == list(before)
    changed = [name for name in after if after[name] != before[name]]
    assert changed == list(after)[list(after).index(again) :]


def test_a_changed_file_of_states_is_noticed_and_its_place_is_not(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path / "table")
    first = run(cfg)
    other = tmp_path / "other.csv"
    other.write_text((posts / "states.csv").read_text())
    moved = [factor | ({"states": str(other)} if factor["name"] == "adaptive" else {}) for factor in FACTORS]
    before = steps(cfg.out)
    assert run(fresh(posts, tmp_path / "table", balance=moved)).files == first.files
    assert steps(cfg.out) == before
    other.write_text("style,state\nann,fitted\n")
    assert run(fresh(posts, tmp_path / "table", balance=moved)).files != first.files


@pytest.mark.parametrize(
    ("factor", "error", "words"),
    [
        ({"quality": {"superb": 2}}, ConfigError, "quality: superb: there is no such quality class"),
        ({"fitted": ["annn"]}, ConfigError, "fitted: annn: no picture has this style class; similar ones: ann"),
        ({"states": "nowhere.csv"}, DataError, "adaptive: states: nowhere.csv: there is no such file"),
        ({"losses": "nowhere.csv"}, DataError, "adaptive: losses: nowhere.csv: there is no such file"),
    ],
)
def test_mistakes_are_named(posts: Path, tmp_path: Path, factor: dict, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        run(fresh(posts, tmp_path / "table", balance=[{"name": "adaptive", **factor}]))
