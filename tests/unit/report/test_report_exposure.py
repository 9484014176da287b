"""Exposure against counting one by one from the plan and the labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from animetune import checkpoint, config, fsio
from animetune.cli import app
from animetune.data.epoch_plan import plan_epoch
from animetune.data.source import open_data, plan_spec, size_classes, source_of
from animetune.errors import ConfigError, DataError
from animetune.manifest import Manifest, read_manifest, verify_files, write_manifest
from animetune.records import NO_ROW
from animetune.report.exposure import CLASSES, TAG_COLUMNS, count_rows, describe, read_exposure, repeats_digest, write
from animetune.train.config import TrainConfig
from tests.builders import TINY_SOURCES, tiny_shards


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    """Two sources with classes, tags and repeats of their own, and rows that are never drawn."""
    folder = tmp_path_factory.mktemp("exposure")
    first = tiny_shards(
        folder / "first",
        TINY_SOURCES * 6,
        split=["train"] * 25 + ["val"] * 5,
        content_bucket=["1girl_only", "animal", "1girl_only"] * 10,
        quality=["best", None, "low", "low", "best"] * 6,
        repeats=[(0.0, 0.4, 1.0, 2.5, 1.0)[row % 5] for row in range(30)],
        tags_general=[["smile", f"tag_{row % 7}"] if row % 5 else ["left_out"] * (row % 2) for row in range(30)],
    )
    second = tiny_shards(
        folder / "second", TINY_SOURCES * 4, source="other", key=[f"other/{row}" for row in range(20)], year="new"
    )
    sources = [
        {"shards": str(first[0]), "labels": str(first[1])},
        {"shards": str(second[0]), "labels": str(second[1]), "weight": 0.5},
    ]
    return TrainConfig.model_validate(
        {
            "stage": "train",
            "run": str(folder / "run"),
            "seed": 3,
            "model": {"base": "random:tiny"},
            "data": {"sources": sources, "global_batch": 6, "micro_batch": 3},
            "optimizer": {"name": "adafactor", "unet_lr": 1e-5},
            "loop": {"steps": 17},
        }
    )


def brute_force(cfg, steps):
    """Counters by class, by tag, and by key, walking through the plan sample by sample."""
    sources = open_data(cfg.data)
    spec = plan_spec(cfg.data, sources, seed=cfg.seed)
    classes, tags, keys = Counter(), Counter(), Counter()
    for step in range(steps):
        epoch, place = divmod(step, spec.steps)
        plan = plan_epoch(spec, epoch)
        for index, rows in zip(plan.classes[place], plan.rows[place], strict=True):
            for row in rows[rows != NO_ROW].tolist():
                source = source_of(sources, row)
                label = source.label(row)
                keys[label.key] += 1
                own = {"source": label.key.split("/")[0], "tier": size_classes(sources)[index].tier}
                for kind in CLASSES:
                    classes[kind, own.get(kind) or getattr(label, kind, None)] += 1
                for column in TAG_COLUMNS:
                    tags.update((column.removeprefix("tags_"), tag) for tag in getattr(label, column))
    return classes, tags, keys


@pytest.mark.parametrize("steps", [1, 17, 40])
def test_counts_are_those_of_a_walk_through_the_plan(cfg, steps):
    exposure = read_exposure(cfg, steps=steps)
    classes, tags, keys = brute_force(cfg, steps)
    assert exposure.steps == steps
    assert dict(exposure.pictures.select("key", "seen").iter_rows()) == {
        key: keys[key] for key in exposure.pictures["key"]
    }
    assert keys.keys() <= set(exposure.pictures["key"])
    assert exposure.pictures.height == 45
    assert {row[:2]: row[3] for row in exposure.classes.filter(pl.col("seen") > 0).iter_rows()} == classes
    assert {row[:2]: row[3] for row in exposure.tags.filter(pl.col("seen") > 0).iter_rows()} == tags


def test_samples_of_a_tag_or_class_are_the_rows_that_are_ever_drawn(cfg):
    exposure = read_exposure(cfg, steps=1)
    drawn, tagged = Counter(), Counter()
    for source in open_data(cfg.data):
        for row, repeats in zip(source.rows, source.repeats.tolist(), strict=True):
            label = source.label(row)
            drawn[label.quality] += repeats > 0
            for tag in label.tags_general:
                tagged[tag] += repeats > 0
    quality = exposure.classes.filter(kind="quality")
    assert dict(quality.select("name", "samples").iter_rows()) == drawn
    general = exposure.tags.filter(kind="general")
    assert dict(general.select("tag", "samples").iter_rows()) == tagged
    assert tagged["left_out"] == 0  # told, although its rows have repeats 0
    assert "left_out" in tagged


@pytest.mark.parametrize(
    "length", [{"epochs": float("inf")}, {"epochs": float("nan")}, {"epochs": -1.0}, {"steps": -1}]
)
def test_what_is_no_length_is_refused(cfg, length):
    ((name, value),) = length.items()
    with pytest.raises(ConfigError, match=f"--{name} {value}: is no length; give a number from 0"):
        read_exposure(cfg, **length)


def test_the_length_is_that_of_the_run_unless_it_is_given(cfg):
    spec = plan_spec(cfg.data, open_data(cfg.data), seed=cfg.seed)
    assert read_exposure(cfg).steps == 17
    assert read_exposure(cfg, epochs=2.5).steps == round(2.5 * spec.steps)
    assert read_exposure(cfg, steps=0).pictures["seen"].sum() == 0
    with pytest.raises(ConfigError, match="give the length once"):
        read_exposure(cfg, epochs=1, steps=3)


def checkpoint_at(cfg, step, **changed):
    """What `checkpoint.save` leaves of its counters, without weights."""
    spec = plan_spec(cfg.data, open_data(cfg.data), seed=cfg.seed)
    facts = {"step": step, "identity": config.identity(cfg), "data": {"repeats": repeats_digest(spec)}} | changed
    folder = Path(cfg.run) / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, Manifest(kind="checkpoint", format_version=checkpoint.CHECKPOINT_FORMAT, facts=facts))


def test_so_far_counts_to_the_newest_checkpoint_of_the_same_data(cfg, tmp_path):
    cfg = cfg.model_copy(update={"run": str(tmp_path / "run")})
    with pytest.raises(DataError, match="has no checkpoint; leave out --so-far"):
        read_exposure(cfg, so_far=True)
    checkpoint_at(cfg, 4)
    checkpoint_at(cfg, 9)
    exposure = read_exposure(cfg, so_far=True)
    assert exposure.steps == 9
    assert (exposure.pictures["seen"] == read_exposure(cfg, steps=9).pictures["seen"]).all()
    other_seed = cfg.model_copy(update={"seed": 4})
    with pytest.raises(DataError, match=r"other data.*\n  seed: 3 then, 4 now"):
        read_exposure(other_seed, so_far=True)
    checkpoint_at(cfg, 12, data={"repeats": "0123"})
    with pytest.raises(DataError, match="repeats: '0123' then"):
        read_exposure(cfg, so_far=True)


def test_the_fingerprint_of_the_loader_holds_the_same_digest_of_repeats(cfg):
    from animetune.data.loader import build_loader

    data = cfg.data.model_copy(update={"workers": 0})
    loader = build_loader(data, cfg.prompts, seed=cfg.seed)
    try:
        assert loader.fingerprint["repeats"] == repeats_digest(loader.spec)
    finally:
        loader.close()


def test_the_text_names_what_is_seen_most_least_and_never(cfg):
    exposure = read_exposure(cfg, steps=1)
    text = describe(exposure)
    drawn = exposure.pictures.filter(pl.col("repeats") > 0)["seen"]
    assert f"{drawn.sum()} samples seen of {len(drawn)} pictures; {45 - len(drawn)} more have repeats 0" in text
    assert f"min 0, 5 % 0, median 0, 95 % 1, max {drawn.max()}; mean {drawn.mean():.2f}" in text
    never = (drawn == 0).sum()
    assert f"never, though their repeats are not 0: {never} pictures ({never / len(drawn):.1%})" in text
    for kind in ("content_bucket", "quality", "rating", "year", "source", "tier"):
        assert f"\n{kind}:\n" in text
    assert "\naesthetic:\n" not in text  # no sample has one
    assert "(none)" in text
    trained = exposure.tags.filter(pl.col("samples") > 0)
    assert f"most seen of {trained.height} tags" in text
    assert f"least seen, {trained.filter(seen=0).height} of them never" in text


def test_the_files_are_equal_each_time_and_are_replaced_by_a_longer_count(cfg, tmp_path):
    def files(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}

    manifest = write(read_exposure(cfg, steps=5), tmp_path / "one")
    write(read_exposure(cfg, steps=5), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert sorted(manifest.files) == ["classes.parquet", "pictures.parquet", "tags.parquet"]
    longer = read_exposure(cfg, steps=17)
    write(longer, tmp_path / "one")
    manifest = read_manifest(tmp_path / "one", kind="exposure", format_version=1)
    assert manifest.facts["steps"] == 17
    assert verify_files(tmp_path / "one", manifest) == []
    assert pl.read_parquet(tmp_path / "one" / "pictures.parquet").equals(longer.pictures)
    assert pl.read_parquet(tmp_path / "one" / "tags.parquet").equals(longer.tags)
    with fsio.lock(tmp_path / "two"), pytest.raises(Exception, match="another animetune process"):
        write(longer, tmp_path / "two")


def test_the_command_prints_and_writes_the_same_counts(cfg, tmp_path):
    fsio.atomic_write(tmp_path / "train.yaml", config.to_yaml(cfg))
    arguments = ["exposure", str(tmp_path / "train.yaml"), "--steps", "5", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    expected = read_exposure(cfg, steps=5)
    assert result.output == describe(expected)
    assert pl.read_parquet(tmp_path / "out" / "pictures.parquet").equals(expected.pictures)


def test_a_count_over_epochs_is_the_sum_of_their_plans(cfg):
    spec = plan_spec(cfg.data, open_data(cfg.data), seed=cfg.seed)
    whole = sum(
        np.bincount(rows[rows != NO_ROW], minlength=len(spec.repeats))
        for rows in (plan_epoch(spec, epoch).rows for epoch in range(3))
    )
    assert (count_rows(spec, 3 * spec.steps) == whole).all()
