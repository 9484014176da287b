"""Sources of a data configuration: what may be trained together, and what the plan gets from several."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pydantic
import pytest

from animetune.config import identity
from animetune.data.config import DataConfig
from animetune.data.epoch_plan import plan_epoch
from animetune.data.preview import TrainedSamples, preview_prompts
from animetune.data.source import SizeClass, describe_small, open_data, plan_spec, size_classes, source_of
from animetune.errors import ConfigError, DataError
from animetune.prompts import PromptConfig
from animetune.records import NO_ROW, Size
from animetune.shardset import ShardRoot
from tests.builders import TINY_SOURCES, tiny_shards


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two roots of pixels, with sizes of which they share some, and validation samples in the first."""
    folder = tmp_path_factory.mktemp("sources")
    first = tiny_shards(folder / "first", TINY_SOURCES * 4, split=["train"] * 15 + ["val"] * 5)
    second = tiny_shards(
        folder / "second",
        [*TINY_SOURCES * 2, (60, 90)],
        source="other",
        key=[f"other/{row}" for row in range(11)],
        repeats=[0.25 * row for row in range(11)],
    )
    return first, second


def data_config(*roots, weights=(1.0, 1.0), **settings):
    sources = [
        {"shards": str(shards), "labels": str(labels), "weight": weight}
        for (shards, labels), weight in zip(roots, weights, strict=False)
    ]
    return DataConfig.model_validate({"global_batch": 4, "micro_batch": 2, **settings, "sources": sources})


def test_rows_go_from_one_source_to_the_next(roots):
    cfg = data_config(*roots, weights=(1.0, 3.0))
    sources = open_data(cfg)
    assert [source.rows for source in sources] == [range(15), range(15, 26)]
    spec = plan_spec(cfg, sources, seed=0)
    assert spec.repeats.dtype == np.float32
    for row in range(26):
        source = source_of(sources, row)
        own = row - source.rows.start
        assert source is sources[row >= 15]
        assert spec.repeats[row] == source.labels.repeats[own] * np.float32(source.weight)
        assert source.label(row).key == source.root.samples("key")["key"][own].as_py()


def test_groups_of_one_size_are_one_class_from_whatever_source(roots):
    cfg = data_config(*roots)
    sources = open_data(cfg)
    classes = size_classes(sources)
    assert classes == tuple(sorted(set(classes)))
    assert SizeClass("64", Size(48, 80)) in classes  # only in the second
    spec = plan_spec(cfg, sources, seed=0)
    assert len(spec.capacities) == len(classes)
    index = 0
    for source in sources:
        samples = source.root.samples("row", "split", "tier", "width", "height").to_pylist()
        for sample in (sample for sample in samples if sample["split"] == "train"):
            row = source.rows.start + sample["row"]
            group = int(np.searchsorted(spec.group_starts, row, side="right") - 1)
            index = spec.group_classes[group]
            assert classes[index] == SizeClass(sample["tier"], Size(sample["width"], sample["height"]))
    mixed = False
    for index, rows in zip(*(part.reshape(-1, *part.shape[2:]) for part in plan_epoch(spec, 0)[:2]), strict=True):
        real = rows[rows != NO_ROW]
        mixed |= real.min() < 15 <= real.max()
        assert {spec.group_classes[np.searchsorted(spec.group_starts, row, side="right") - 1] for row in real} == {
            index
        }
    assert mixed


def test_shards_tile_the_rows_of_all_sources(roots):
    cfg = data_config(*roots)
    sources = open_data(cfg)
    spec = plan_spec(cfg, sources, seed=0)
    assert spec.shard_starts[0] == 0
    assert spec.shard_starts[-1] == spec.group_starts[-1] == len(spec.repeats) == 26
    assert set(spec.group_starts) <= set(spec.shard_starts)  # a shard lies in one group
    assert (np.diff(spec.shard_starts) > 0).all()


@pytest.mark.parametrize(
    ("settings", "tier", "capacity"),
    [
        ({}, "1536", 8),
        ({"equal_pixels": True}, "1024", 8),
        ({"equal_pixels": True}, "512", 32),
        ({"equal_pixels": True}, "1536", 3),  # 8 / 2.25
        ({"equal_pixels": True}, "4096", 1),
        ({"equal_pixels": True, "tier_micro_batches": {"1536": 2}}, "1536", 2),
        ({"equal_pixels": True, "tier_micro_batches": {"1536": 2}}, "512", 32),
        ({"tier_micro_batches": {"512": 20}}, "512", 20),
    ],
)
def test_micro_batches_of_a_tier(settings, tier, capacity):
    cfg = DataConfig(shards="a", labels="b", global_batch=64, micro_batch=8, **settings)
    assert cfg.capacity(tier) == capacity
    assert cfg.micro_batches == 8


def test_a_tier_that_no_shards_have_is_a_mistake(roots):
    cfg = data_config(*roots, tier_micro_batches={"1024": 2})
    with pytest.raises(ConfigError, match=r"data\.tier_micro_batches: no shards have the tier 1024; there are 64"):
        plan_spec(cfg, open_data(cfg), seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either shards and labels, or `sources`"),
        ({"shards": "a"}, "shards and labels belong together"),
        ({"shards": "a", "labels": "b", "sources": [{"shards": "c", "labels": "d"}]}, "give either shards and labels"),
        ({"shards": "a", "labels": "b", "micro_batch": 3}, "global_batch 4 is not a multiple of micro_batch 3"),
        ({"sources": [{"shards": "c", "labels": "d", "weight": 0}]}, "greater than 0"),
        ({"sources": [{"shards": "c", "labels": "d", "weight": float("nan")}]}, "finite|greater than 0"),
        ({"shards": "a", "labels": "b", "tier_micro_batches": {"512": 0}}, "greater than or equal to 1"),
    ],
)
def test_configurations_that_say_nothing_or_too_much_are_refused(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        DataConfig.model_validate({"global_batch": 4, "micro_batch": 2, **settings})


def test_one_source_is_the_same_in_both_notations():
    long = DataConfig(sources=[{"shards": "a", "labels": "b"}], global_batch=4, micro_batch=2)
    short = DataConfig(shards="a", labels="b", global_batch=4, micro_batch=2)
    assert long.all_sources == short.all_sources
    assert identity(long) == identity(short)  # so that a run resumes under either


def test_what_the_order_and_the_samples_depend_on_is_fixed_for_a_run():
    fixed = identity(DataConfig(shards="a", labels="b", global_batch=4, micro_batch=2))
    for name in ("equal_pixels", "tier_micro_batches", "crop", "sample_latents", "one_size_per", "shuffle_block"):
        assert name in fixed
    assert "workers" not in fixed


def described(source, **facts):
    """The source with other facts in its root's manifest, which then has another digest."""
    manifest = source.root.manifest
    changed = manifest.model_copy(update={"facts": manifest.facts | facts})
    return dataclasses.replace(source.root, manifest=changed)


LATENTS = {"dtype": "float16", "flip": False, "std": False, "vae": "a" * 64, "scaling_factor": 0.13025}


@pytest.mark.parametrize(
    ("first", "second", "settings", "message"),
    [
        ({}, {"store": {"name": "latents"}, "latents": LATENTS}, {}, "holds latents but .* pixels"),
        (
            {"store": {"name": "latents"}, "latents": LATENTS},
            {"store": {"name": "latents"}, "latents": LATENTS | {"vae": "b" * 64}},
            {},
            "by another VAE .bbbbbbbbbbbb. than those of .* .aaaaaaaaaaaa.",
        ),
        ({"latents": LATENTS}, {"latents": LATENTS}, {"flip": 0.5}, "data.flip: .* no latents of mirrored pictures"),
        ({"latents": LATENTS}, {}, {"crop": "random"}, "data.crop: .* holds latents, which are cut already"),
        ({"latents": LATENTS}, {}, {"sample_latents": True}, "data.sample_latents: .* the means of the latents only"),
        ({}, {}, {"sample_latents": True}, "data.sample_latents: .* holds pixels"),
        (
            {"crop": {"at": "centre", "margin": 0.0}},
            {},
            {"crop": "random"},
            "data.crop: .* holds nothing around its crops",
        ),
    ],
)
def test_roots_that_lack_what_is_asked_or_do_not_go_together_are_refused(
    roots, monkeypatch, first, second, settings, message
):
    opened = open_data(data_config(*roots))
    held = {str(shards): root for (shards, _), root in zip(
        roots, (described(opened[0], **first), described(opened[1], **second)), strict=True
    )}  # fmt: skip
    labels = {str(labels): source.labels for (_, labels), source in zip(roots, opened, strict=True)}
    monkeypatch.setattr("animetune.data.source.open_root", lambda location, cache: held[location])
    monkeypatch.setattr("animetune.data.source.open_labels", lambda location, root, cache: labels[location])
    with pytest.raises(ConfigError, match=message):
        open_data(data_config(*roots, **settings))


def test_the_same_root_twice_is_refused(roots):
    with pytest.raises(ConfigError, match=r"holds the same samples as .*first.*name each root once"):
        open_data(data_config(roots[0], roots[0]))


def test_a_root_without_training_samples_is_refused(roots, monkeypatch):
    monkeypatch.setattr(ShardRoot, "rows_of", lambda self, split: range(0))
    with pytest.raises(DataError, match="holds no sample of the split train"):
        open_data(data_config(roots[0]))


def test_previews_come_from_all_sources(roots):
    cfg = data_config(*roots)
    shown = list(preview_prompts(TrainedSamples(cfg), PromptConfig(), seed=0, count=25, draws=1))
    keys = {label.key for label, _ in shown}
    assert {key.split("/")[0] for key in keys} == {"tiny", "other"}
    assert "other/0" not in keys  # repeats 0


@pytest.mark.parametrize(
    ("one_size_per", "expected"),
    [
        (
            "micro_batch",
            r"than a micro-batch holds, .*: 64x64 of tier 64 \(2\), .* tier 128 \(5\) and 2 more.* lower data.micro",
        ),
        (
            "step",
            r"than a step holds, .*: 64x64 of tier 64 \(8\), .* tier 128 \(20\) and 2 more.* lower data.global_batch",
        ),
    ],
)
def test_small_sizes_are_told_with_what_they_would_have_to_fill(one_size_per, expected):
    cfg = DataConfig(
        shards="a", labels="b", global_batch=8, micro_batch=2, tier_micro_batches={"128": 5}, one_size_per=one_size_per
    )
    small = [SizeClass("64", Size(side, 64)) for side in range(64, 120, 8)] + [SizeClass("128", Size(128, 128))] * 3
    assert re.search(expected, describe_small(cfg, small))
