"""The plan of a training configuration over tiny shards: its numbers are those of shards, labels and epoch plan."""

from __future__ import annotations

import re

import numpy as np
import pytest

from animetune.data.epoch_plan import plan_epoch
from animetune.data.source import open_data, plan_spec, size_classes
from animetune.errors import ConfigError, DataError
from animetune.plan.run import architecture_of, describe, guards
from animetune.records import NO_ROW
from animetune.train.config import TrainConfig
from tests.builders import TINY_SOURCES, tiny_shards


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two roots: one of which the labels keep a third, one of which they keep all."""
    folder = tmp_path_factory.mktemp("roots")
    some = tiny_shards(folder / "some", TINY_SOURCES * 6, repeats=[0.0 if row % 3 else 1.5 for row in range(30)])
    every = tiny_shards(folder / "every", TINY_SOURCES * 4, source="other", key=[f"other/{row}" for row in range(20)])
    return some, every


def train_config(*roots, weights=(1.0,), **data):
    sources = [
        {"shards": str(shards), "labels": str(labels), "weight": weight}
        for (shards, labels), weight in zip(roots, weights, strict=True)
    ]
    return TrainConfig.model_validate(
        {
            "stage": "train",
            "run": "none",
            "model": {"base": "random:tiny"},
            "data": {"sources": sources, "global_batch": 4, "micro_batch": 2, **data},
            "optimizer": {"name": "adafactor", "unet_lr": 1e-5},
            "loop": {"epochs": 2},
        }
    )


def table(text):
    """Size name -> numbers of its line."""
    lines = (line.split() for line in text.splitlines())
    return {
        words[1]: [float(word.replace(",", "")) for word in words[2:6]]
        for words in lines
        if len(words) >= 6 and re.fullmatch(r"\d+x\d+", words[1])
    }


def test_the_table_has_rows_samples_capacities_and_micro_batches_of_every_size(roots):
    cfg = train_config(*roots, weights=(1.0, 2.0), equal_pixels=True, tier_micro_batches={"64": 3})
    text = describe(cfg)
    sources = open_data(cfg.data)
    spec = plan_spec(cfg.data, sources, seed=cfg.seed)
    rows = np.concatenate([plan_epoch(spec, epoch).rows.ravel() for epoch in range(300)])
    seen = np.bincount(rows[rows != NO_ROW], minlength=len(spec.repeats)) / 300
    found = table(text)
    for index, each in enumerate(size_classes(sources)):
        groups = np.flatnonzero(spec.group_classes == index)
        of_class = np.concatenate([np.arange(*spec.group_starts[g : g + 2]) for g in groups])
        samples, expected, capacity, micro_batches = found[each.size.name]
        assert samples == len(of_class)
        assert expected == pytest.approx(spec.repeats[of_class].sum(), abs=0.06)
        assert expected == pytest.approx(seen[of_class].sum(), rel=0.1)
        assert capacity == 3
        assert micro_batches == pytest.approx(spec.units_by_class[index], abs=0.06)
    assert "30 samples in " in text
    assert "40.0 expected an epoch, weight 2" in text
    assert f"{spec.steps} steps an epoch" in text
    assert f"{2 * spec.steps} steps in all = 2.00 epochs = {round(2 * spec.samples)} pictures" in text


def test_the_learning_rates_are_drawn(roots):
    text = describe(scheduled(roots, {"name": "linear", "warmup": "50 %"}), assume_images=4000)
    curves = re.findall(r"(unet|text_encoder|text_encoder_2) +([▁▂▃▄▅▆▇█]+) (\S+), (\S+) at the last step", text)
    assert [name for name, *_ in curves] == ["unet", "text_encoder", "text_encoder_2"]
    _, drawn, highest, last = curves[0]
    assert len(drawn) == 60
    assert list(drawn[:30]) == sorted(drawn[:30])
    assert list(drawn[30:]) == sorted(drawn[30:], reverse=True)
    assert float(highest) == 1e-5
    assert float(last) == pytest.approx(1e-5 / 1000, rel=0.01)  # 2000 steps, of which the second 1000 fall
    assert "linear, warm-up 50 %" in text


def test_where_the_rate_ends_the_run(roots):
    text = describe(scheduled(roots, {"name": "linear", "stop_below_lr": 5e-6}), assume_images=4000)
    assert "linear, warm-up 0 steps, ends below 5e-06, 999 steps before its length" in text
    assert "1,001 steps in all = 1.00 epochs" in text


@pytest.mark.parametrize(("warmup", "fills"), [(1999, False), (2000, True), (3000, True)])
def test_a_warmup_that_fills_the_run_is_told(roots, warmup, fills):
    text = describe(scheduled(roots, {"name": "constant", "warmup": warmup}), assume_images=4000)
    assert (f"the warm-up of {warmup:,} steps fills the run" in text) == fills


def scheduled(roots, schedule):
    cfg = train_config(roots[1])
    return TrainConfig.model_validate(cfg.model_dump() | {"schedule": schedule})


def test_a_growing_batch_has_fewer_steps_an_epoch(roots):
    cfg = train_config(roots[1], global_batch_from={1: 8})
    text = describe(cfg, assume_images=4000)
    assert "from epoch 0, a step: 2 micro-batches of 2 pictures, over all devices; 1,000 steps an epoch" in text
    assert "from epoch 1, a step: 4 micro-batches of 2 pictures, over all devices; 500 steps an epoch" in text
    assert "ranks that fit: 1, 2\n" in text
    assert "1,500 steps in all = 2.00 epochs" in text


def test_labels_that_use_little_of_the_shards_are_told(roots):
    text = describe(train_config(roots[0]))
    share = re.search(r"(\d+)% of the bytes in the others belong", text)
    assert share
    assert int(share[1]) < 50
    assert f"the labels use {share[1]}% of the bytes that are read" in text
    text = describe(train_config(roots[1]))
    assert "100% of the bytes" in text
    assert "of the bytes that are read" not in text


def test_a_cache_smaller_than_what_is_in_use_is_warned_of(roots, tmp_path):
    enough = describe(train_config(roots[1], cache=str(tmp_path), cache_bytes=10**6))
    assert re.search(r"in use at a time: at most [\d.]+ KB", enough)
    assert "downloaded again and again" not in enough
    warned = describe(train_config(roots[1], cache=str(tmp_path), cache_bytes=100))
    assert "data.cache_bytes, 100 bytes, is less than the shards in use at a time" in warned


def test_sizes_smaller_than_a_micro_batch_come_with_the_remedy(roots):
    text = describe(train_config(roots[1], micro_batch=8, global_batch=8))
    assert re.search(r"fewer pictures than a micro-batch holds, so .*: (.*, )?56x72 of tier 64 \(8\)", text)
    assert "sizes.min_pictures" in text
    assert "fewer pictures" not in describe(train_config(roots[1]))


@pytest.mark.parametrize("images", [1, 8])
def test_few_pictures_may_be_assumed(roots, images):
    text = describe(train_config(roots[1]), assume_images=images)
    assert f"{images:,} pictures assumed" in text
    assert "1 steps an epoch" in text or "2 steps an epoch" in text
    assert f"{2 * images} pictures\n" in text


@pytest.mark.parametrize("images", [0, -5])
def test_no_pictures_cannot_be_assumed(roots, images):
    with pytest.raises(ConfigError, match=f"--assume-images {images}: is no number of pictures; give one from 1"):
        describe(train_config(roots[1]), assume_images=images)


@pytest.mark.parametrize(
    ("base", "width"), [("random:tiny", 32), ("builtin:tiny", 32), ("random:sdxl", 320), ("somebody/else:tiny", 320)]
)
def test_the_architecture_is_that_of_the_base(roots, base, width):
    cfg = train_config(roots[1])
    cfg = cfg.model_copy(update={"model": cfg.model.model_copy(update={"base": base})})
    assert architecture_of(cfg).unet["block_out_channels"][0] == width


def test_without_shards_a_number_of_pictures_is_assumed(roots, tmp_path):
    gone = train_config((tmp_path / "gone", tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone.*\n\(with --assume-images N"):
        describe(gone)
    text = describe(gone, assume_images=9000)
    assert "9,000 pictures assumed" in text
    assert "2,250 steps an epoch" in text


def test_what_the_recipes_warn_of(roots, tmp_path):
    base = tmp_path / "base"
    (base / "checkpoints").mkdir(parents=True)

    def warnings(images, **changes):
        cfg = train_config(roots[0]).model_dump()
        cfg["data"] = {"shards": "none", "labels": "none", "global_batch": 256, "micro_batch": 8}
        for key, value in changes.items():
            section, _, name = key.partition("__")
            cfg[section][name] = value
        return "".join(guards(TrainConfig.model_validate(cfg), images))

    frozen = {"model__train_text_encoder": False, "model__train_text_encoder_2": False}
    assert warnings(1_000_000) == ""
    assert "on 8,000 pictures" in warnings(8000)
    assert "train" not in warnings(8000, **frozen)
    assert "4e-07 is too low" in warnings(1_000_000, optimizer__unet_lr=4e-7)
    assert "a batch of 48" in warnings(1_000_000, diffusion__noise_offset=0.0357, data__global_batch=48)
    assert warnings(1_000_000, diffusion__noise_offset=0.0357) == ""
    assert f"keep and export {base}" in warnings(1_000_000, model__base=str(base), **frozen)
    assert warnings(1_000_000, model__base=str(base)) == ""
