"""Models in the real stage: asked once for good, the same bytes with any number of workers, what is broken is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from animetune import tables
from animetune.curate import pictures
from animetune.curate.recognize import models
from animetune.curate.run import run
from animetune.errors import AnimetuneError, ChunkError, ConfigError, SetupError
from tests.builders import curate_config, write_posts
from tests.onnx_models import save_colour_model, save_network, save_tag_list, save_tagger

POSTS = 18
FLOORS = {"one": 0.05, "two": 0.04, "renamed": 0.05}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(model, pictures) of every time that a model looks, in this process."""
    seen: list[tuple[str, int]] = []
    real = models._look

    def look(cfg, number, images, urls):
        seen.append((cfg.all[number].name, len(images)))
        return real(cfg, number, images, urls)

    monkeypatch.setattr(models, "_look", look)
    return seen


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that were opened for models, in this process."""
    seen: list[str] = []
    real = models.open_picture
    monkeypatch.setattr(models, "open_picture", lambda url, **how: seen.append(url) or real(url, **how))
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Posts of two sizes of colours, without general tags, ratings and scores; and models."""
    made = write_posts(tmp_path / "posts", POSTS, general="", rating=None)
    paint(made, range(1, POSTS + 1))
    return made


def paint(folder: Path, numbers) -> None:
    for number in numbers:
        colour = (number * 14 % 256, 255 - number * 14 % 256, number * 70 % 256)
        Image.new("RGB", (40 + number, 48), colour).save(folder / "images" / f"{number}.png")


def config(folder: Path, *, taggers=("one",), scorers=("fine",), **settings):
    home = folder.parent / "models"
    made = {
        "batch": 4,
        "device": "cpu",
        "taggers": [{"name": name, "floor": FLOORS[name], **save_tagger(home / name)} for name in taggers],
        "scorers": [
            {
                "kind": "onnx",
                "name": name,
                "model": {"path": str(scorer(home / name))},
                "labels": ["bad", "fair", "good"],
            }
            for name in scorers
        ],
    }
    own = {"tags": {"noise": "keep"}, "content": {"fallback": "no_human"}, "models": made}
    return curate_config(folder, **{**own, **settings})


def scorer(home: Path) -> Path:
    slopes = np.zeros((3, 3))
    slopes[1, 2] = 1.5
    return save_colour_model(home / "model.onnx", slopes, [0, 1, 0], shape=("b", 3, 8, 8), last="Softmax")


def table(cfg) -> pl.DataFrame:
    return tables.open_table(cfg.out).scan().collect().sort("id")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def by_formula(path: Path) -> tuple[set[str], float]:
    """(tags that are at least as likely as their threshold, score) of a picture, from what the networks compute."""
    side = max((image := Image.open(path)).size)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    red, green, blue = np.asarray(square.resize((8, 8), Image.Resampling.BICUBIC), dtype=np.float64).mean(axis=(0, 1))

    def sigmoid(mean: float, offset: float) -> float:
        return round(1 / (1 + np.exp(offset - mean / 32)), 4)

    likely = {"1girl": (blue, 4), "solo": (green, 4), "^_^": (red, 4), "smile": (green, 6), "red_hair": (red, 6)}
    tags = {name for name, given in likely.items() if sigmoid(*given) >= 0.35}
    if sigmoid(blue, 6) >= 0.85:
        tags.add("hatsune_miku")
    mean = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR), dtype=np.float64)[:, :, 1].mean()
    grades = np.exp([0, 1, 1.5 * (mean / 127.5 - 1)])
    return tags, float((np.round(grades / grades.sum(), 4) * [0, 1, 2]).sum())


def test_tags_ratings_and_scores_are_the_formula(folder: Path):
    cfg = config(folder)
    manifest = run(cfg)
    rows = table(cfg)
    assert rows.height == POSTS
    seen = set()
    for row in rows.iter_rows(named=True):
        tags, score = by_formula(Path(row["image"]))
        found = {*row["tags_general"], *row["tags_count"], *row["tags_character"]}
        assert found == tags, row["key"]
        assert row["aesthetic_score"] == pytest.approx(score, abs=2e-4)
        assert row["rating"] == "s"
        seen |= tags
    assert len(seen) >= 5
    noted = manifest.facts["tag_sources"]
    assert (noted["ratings"], noted["scores"]) == (POSTS, POSTS)
    assert set(manifest.facts["models"]) == {"one", "fine"}
    assert list(rows.columns) == [column.name for column in tables.TABLE_COLUMNS]


def test_the_same_bytes_with_any_number_of_workers(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "PICTURES_AT_A_TIME", 4)
    made = []
    for workers in (0, 2):
        cfg = config(folder, out=folder.parent / f"table{workers}", executor={"workers": workers})
        run(cfg)
        made.append({name: data for name, data in files(cfg.out).items() if not name.startswith("answers/")})
    assert made[0] == made[1]
    assert any("tag_sources" in name for name in made[0])


def test_a_picture_is_opened_once_for_all_models_and_never_again(folder: Path, asked, opened):
    cfg = config(folder, taggers=("one", "two"))
    run(cfg)
    assert len(opened) == POSTS
    assert sum(count for name, count in asked if name == "one") == POSTS
    assert {name for name, _ in asked} == {"one", "two", "fine"}
    asked.clear()
    other = {"thresholds": {"general": 0.6, "character": 0.2}, "combine": "max", "general": "union"}
    before = table(cfg)
    run(config(folder, taggers=("one", "two"), tag_sources=other))
    assert asked == []
    assert not before.equals(table(cfg))


def test_weights_of_scores_ask_nothing(folder: Path, asked):
    cfg = config(folder)
    run(cfg)
    before = table(cfg)["aesthetic_score"]
    asked.clear()
    weighted = cfg.models.scorers[0].model_copy(update={"weights": {"good": 1.0}})
    again = cfg.model_copy(update={"models": cfg.models.model_copy(update={"scorers": (weighted,)})})
    run(again)
    assert asked == []
    assert (table(cfg)["aesthetic_score"] < before).all()


def test_another_model_asks_only_it(folder: Path, asked, opened):
    run(config(folder))
    asked.clear()
    opened.clear()
    run(config(folder, taggers=("one", "two")))
    assert {name for name, _ in asked} == {"two"}
    assert len(opened) == POSTS


def test_another_name_asks_nothing(folder: Path, asked):
    run(config(folder))
    asked.clear()
    run(config(folder, taggers=("renamed",)))
    assert asked == []


def test_a_model_that_is_there_twice(folder: Path):
    with pytest.raises(ConfigError, match="renamed: is the same model as one"):
        run(config(folder, taggers=("one", "renamed")))


def test_appended_posts_ask_only_theirs(folder: Path, asked):
    out = {"out": folder.parent / "table"}
    run(config(folder, **out))
    asked.clear()
    shutil.rmtree(folder)
    write_posts(folder, POSTS + 3, general="", rating=None)
    paint(folder, range(1, POSTS + 4))
    cfg = config(folder, **out)
    run(cfg)
    assert asked == [("one", 3), ("fine", 3)]
    assert table(cfg)["aesthetic_score"].null_count() == 0


def test_what_a_killed_run_finished_is_not_asked_again(folder: Path, asked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "PICTURES_AT_A_TIME", 4)
    real, calls = models.look_together, []

    def ends_in_the_middle(*given, **how):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("pulled the plug")
        return real(*given, **how)

    monkeypatch.setattr(models, "look_together", ends_in_the_middle)
    cfg = config(folder)
    with pytest.raises(ChunkError, match="pulled the plug"):
        run(cfg)
    monkeypatch.setattr(models, "look_together", real)
    run(cfg)
    assert sum(count for name, count in asked if name == "one") == POSTS
    fresh = config(folder, out=folder.parent / "fresh")
    run(fresh)
    assert table(fresh).equals(table(cfg))


def test_without_models_the_steps_are_as_before(folder: Path):
    cfg = curate_config(folder, tags={"noise": "keep"}, content={"fallback": "no_human"})
    run(cfg)
    names = [path.name.split("-")[1] for path in sorted((cfg.out / "steps").iterdir())]
    assert {"models", "tag_sources"}.isdisjoint(names)
    assert table(cfg)["rating"].null_count() == POSTS


def test_a_model_that_gives_nan_is_named_with_the_picture(folder: Path):
    cfg = config(folder, taggers=())
    nodes = [
        ("ReduceMean", ["pixels"], "means", {"axes": [2, 3], "keepdims": 0}),
        ("Sub", ["means", "half"], "less", {}),
        ("Sqrt", ["less"], "output", {}),  # of what is below the middle: NaN
    ]
    path = folder.parent / "models" / "fine" / "model.onnx"
    save_network(path, ("b", 3, 8, 8), nodes, half=np.array(0, dtype=np.float32))
    with pytest.raises(ChunkError, match=r"fine: gives NaN for .*images/\d+\.png; the model is broken"):
        run(cfg)


def test_a_list_of_another_length(folder: Path):
    cfg = config(folder)
    save_tag_list(Path(str(cfg.models.taggers[0].tags.path)), [("general", 9), ("1girl", 0)])
    with pytest.raises(ChunkError, match=r"one: the model gives \(10,\) values for a picture, and its list has 2 tags"):
        run(cfg)


def test_another_list_of_as_many_tags_is_read_again(folder: Path):
    """Answers hold numbers: they are the same with a corrected list, and what they mean is not."""
    cfg = config(folder)
    run(cfg)
    assert "smile" in set(table(cfg)["tags_general"].explode())
    path = Path(str(cfg.models.taggers[0].tags.path))
    path.write_text(path.read_text().replace("smile", "frown"))
    run(cfg)
    tags = set(table(cfg)["tags_general"].explode())
    assert "frown" in tags
    assert "smile" not in tags


def test_files_that_are_missing_or_others_are_named_before_a_picture_is_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pictures, "look_at_pictures", lambda *_: pytest.fail("pictures were decoded"))
    cfg = config(folder)
    one = cfg.models.taggers[0]
    wrong = one.model.model_copy(update={"sha256": "0" * 64})
    changed = cfg.models.model_copy(update={"taggers": (one.model_copy(update={"model": wrong}),)})
    with pytest.raises(
        SetupError, match=f"model.onnx: is another file than the configuration asks for.*not {'0' * 64}"
    ):
        run(cfg.model_copy(update={"models": changed}))
    for file in ("model.onnx", "selected_tags.csv"):
        cfg = config(folder)
        (folder.parent / "models" / "one" / file).unlink()
        with pytest.raises(SetupError, match=f"{file}: there is no such file"):
            run(cfg)


def test_models_need_pictures(folder: Path):
    with pytest.raises(ValueError, match=r"models: look at pictures, and `pictures\.decode: false` opens none"):
        config(folder, pictures={"decode": False})


def test_a_picture_that_went_is_named(folder: Path):
    cfg = curate_config(folder, tags={"noise": "keep"}, content={"fallback": "no_human"})
    run(cfg)
    (folder / "images" / "3.png").unlink()
    with pytest.raises(AnimetuneError, match=r"3\.png: image_missing.*it was in order when it was decoded"):
        run(config(folder))
