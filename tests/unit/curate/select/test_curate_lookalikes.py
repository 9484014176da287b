"""The step `lookalikes` in a curation of a few drawn pictures: which are compared, which are one, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydantic
import pytest
from PIL import Image, ImageDraw

from animetune import tables
from animetune.curate.config.dedup import LookalikesConfig
from animetune.curate.run import run
from animetune.curate.select import lookalikes
from animetune.manifest import Manifest
from tests.builders import curate_config, danbooru_post, write_lines

SMILE, CRY = "1girl solo long_hair smile", "1girl solo long_hair crying"


def drawing(seed: int, mouth: str = "smile") -> Image.Image:
    """A picture like no other seed's, with a small mouth."""
    side = 320
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(30, 226, (9, 9, 3), dtype=np.uint8)).resize((side, side))
    draw = ImageDraw.Draw(image)
    draw.ellipse((side * 0.3, side * 0.3, side * 0.7, side * 0.7), fill=(250, 220, 200), outline=(20, 10, 10), width=3)
    box = tuple(side * share for share in (0.46, 0.56, 0.54, 0.62))
    if mouth == "smile":
        draw.arc(box, 0, 180, fill=(120, 30, 40), width=3)
    else:
        draw.ellipse(box, fill=(120, 30, 40))
    return image


def curated(folder: Path, posts: list[tuple[str, Image.Image, dict[str, Any]]], **settings: Any) -> Any:
    """The configuration over posts of (file, picture, fields), numbered from 1."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (file, picture, fields) in enumerate(posts, start=1):
        options = {"quality": 60} if file.endswith(("jpg", "webp")) else {}
        picture.save(images / f"{number}.{file}", **options)
        size = {"image_width": picture.width, "image_height": picture.height}
        written.append(danbooru_post(number, file_ext=file, **{"general": SMILE, **size, **fields}))
    write_lines(folder / "posts.jsonl", written)
    source = {
        "name": "tiny",
        "posts": [str(folder / "posts.jsonl")],
        "images": [{"root": str(folder / "images"), "path": "{id}.{file_ext}"}],
    }
    dedup = {"lookalikes": {}, **settings.pop("dedup", {})}
    return curate_config(folder, sources=[source], dedup=dedup, **settings)


def kept(cfg: Any) -> list[str]:
    return sorted(tables.open_table(cfg.out).scan().select("key").collect()["key"])


def family_of(cfg: Any) -> dict[str, str]:
    (step,) = (cfg.out / "steps").glob("*-lookalikes-*")
    (ingest,) = (cfg.out / "steps").glob("*-ingest-*")
    names = pl.read_parquet(ingest / "part-*.parquet").select("row", "key")
    rows = pl.read_parquet(step / "part-*.parquet").join(names, on="row")
    return dict(rows.select("key", "family").iter_rows())


def twins_of(cfg: Any) -> dict[str, tuple[str, bool]]:
    """Key -> the best of its set, and whether the two were compared."""
    (step,) = (cfg.out / "steps").glob("*-lookalikes-*")
    rows = pl.read_parquet(step / lookalikes.TWINS_FILE)
    return {key: (best, structure is not None) for key, best, structure, *_ in rows.iter_rows()}


def facts(manifest: Manifest) -> dict[str, int]:
    return manifest.facts["lookalikes"]


COPIES = [
    ("png", drawing(1), {}),
    ("jpg", drawing(1), {"score": 99}),
    ("webp", drawing(1).resize((240, 240), Image.Resampling.LANCZOS), {}),
    ("png", drawing(2), {}),
    ("png", drawing(1, mouth="surprise"), {}),  # tagged as the first one is
    ("png", drawing(1, mouth="surprise"), {"general": CRY, "score": 7}),
]


def test_the_best_of_copies_is_kept_and_another_face_is_not_one(tmp_path: Path):
    posts = [*COPIES[:5], ("jpg", drawing(3), {"general": CRY}), ("png", drawing(3), {})]
    cfg = curated(tmp_path, posts)
    manifest = run(cfg)
    assert kept(cfg) == ["tiny/2", "tiny/4", "tiny/5", "tiny/6", "tiny/7"]  # of equal areas the higher score
    assert manifest.dropped == {"lookalike": 2}
    assert facts(manifest) == {
        "candidates": 6, "blocked_by_tags": 1, "other_shape": 0, "unanswered": 0, "confirmed": 3, "sets": 1,
    }  # fmt: skip
    families = family_of(cfg)
    assert len(set(families.values())) == 5
    assert twins_of(cfg) == {"tiny/1": ("tiny/2", True), "tiny/3": ("tiny/2", True)}


def test_equal_pixels_under_other_emotions_or_counts_stay(tmp_path: Path):
    several = {"general": "2girls multiple_girls smile"}
    posts = [("png", drawing(1), {}), ("jpg", drawing(1), {"general": CRY}), ("webp", drawing(1), several)]
    cfg = curated(tmp_path, posts)
    assert run(cfg).dropped == {}
    assert facts(run(cfg))["blocked_by_tags"] == 3


@pytest.mark.parametrize(("apart", "left"), [([], 1), (["characters"], 2), (["content"], 2)])
def test_more_can_be_kept_apart(tmp_path: Path, apart: list[str], left: int):
    posts = [("png", drawing(1), {}), ("jpg", drawing(1), {"character": "rem", "general": f"{SMILE} maid"})]
    cfg = curated(tmp_path, posts, dedup={"lookalikes": {"apart": apart}})
    assert run(cfg).kept == left


def test_without_dropping_copies_are_one_family(tmp_path: Path):
    cfg = curated(tmp_path, COPIES[:4], dedup={"lookalikes": {"then": "join"}})
    manifest = run(cfg)
    assert (manifest.kept, manifest.dropped, facts(manifest)["sets"]) == (4, {}, 1)
    families = family_of(cfg)
    assert families["tiny/1"] == families["tiny/2"] == families["tiny/3"] == "tiny/1"
    assert families["tiny/4"] == "tiny/4"
    assert twins_of(cfg) == {"tiny/1": ("tiny/2", True), "tiny/3": ("tiny/2", True)}


def test_twins_by_way_of_another_have_no_measures():
    rows = pl.DataFrame({"row": [3, 5, 9], "key": ["a", "b", "c"], "twin_of": [9, 9, 9]})
    best, others = rows.filter(pl.col("row") == 9), rows.filter(pl.col("row") < 9)
    alike = pl.DataFrame(
        {"left": [3, 5], "right": [5, 9], "structure": [0.9, 0.8], "luma": [1.0, 2.0], "chroma": [0.0, 3.0]}
    )
    assert lookalikes.twins_of(best, others, alike).rows() == [("a", "c", None, None, None), ("b", "c", 0.8, 2.0, 3.0)]


def test_relatives_of_a_copy_are_relatives_of_the_one_kept(tmp_path: Path):
    posts = [*COPIES[:2], ("png", drawing(5), {"parent_id": 1})]
    cfg = curated(tmp_path, posts)
    run(cfg)
    assert set(family_of(cfg)) == {"tiny/2", "tiny/3"}
    assert len(set(family_of(cfg).values())) == 1


def test_pairs_are_compared_once_for_all_settings_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    real = lookalikes.likeness
    monkeypatch.setattr(lookalikes, "likeness", lambda one, other: asked.append(one) or real(one, other))
    answers = tmp_path / "answers"
    first = curated(tmp_path, COPIES[:4], answers=answers)
    run(first)
    assert len(asked) == 3
    other = curated(tmp_path, COPIES[:4], answers=answers, out=tmp_path / "other",
                    dedup={"lookalikes": {"structure": 1.0, "luma": 0}})  # fmt: skip
    assert run(other).kept == 4
    assert len(asked) == 3


@pytest.mark.parametrize("workers", [2])
def test_any_number_of_workers_makes_the_same_table(tmp_path: Path, workers: int):
    one = curated(tmp_path, COPIES, out=tmp_path / "one")
    many = curated(tmp_path, COPIES, out=tmp_path / "many", executor={"workers": workers})
    assert run(one).digest == run(many).digest


def test_a_picture_that_is_gone_is_left_as_it_is(tmp_path: Path):
    cfg = curated(tmp_path, COPIES[:2], answers=tmp_path / "answers")
    off = cfg.model_copy(update={"dedup": cfg.dedup.model_copy(update={"lookalikes": None})})
    assert run(off).kept == 2
    (tmp_path / "images" / "2.jpg").unlink()
    manifest = run(cfg)
    assert (manifest.kept, facts(manifest)["unanswered"]) == (2, 1)


def test_the_step_changes_nothing_where_it_is_off(tmp_path: Path):
    cfg = curated(tmp_path, COPIES[:4], dedup={"lookalikes": None})
    assert run(cfg).kept == 4
    assert not list((cfg.out / "steps").glob("*lookalikes*"))


def test_it_needs_pictures(tmp_path: Path):
    with pytest.raises(pydantic.ValidationError, match="compares pictures"):
        curated(tmp_path, COPIES[:1], pictures={"decode": False})


def test_kinds_are_sums_over_sets_of_tags():
    rows = pl.DataFrame(
        {
            "tags_general": [["smile", "hat"], ["hat", "cat", "smile"], ["smile", "crying"], [], ["smile"]],
            "tags_count": [["1girl", "solo"], ["solo", "1girl"], ["1girl", "solo"], ["1girl", "solo"], None],
            "tags_character": [["a"], ["b"], ["a"], ["a"], ["a"]],
        }
    )
    emotions = ["smile", "crying"]
    kinds = lookalikes.kinds_of(rows, LookalikesConfig(), emotions)
    assert kinds[0] == kinds[1]
    assert len(set(kinds.tolist())) == 4
    for apart in ("characters", "content"):
        assert len(set(lookalikes.kinds_of(rows, LookalikesConfig(apart=(apart,)), emotions).tolist())) == 5
