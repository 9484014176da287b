"""Memory by micro-batch against what `predict_memory` says of that very batch; recomputation; keys of equal costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.models.rehearsal import meta_models
from animetune.models.sdxl import sdxl_configs
from animetune.models.tiny import tiny_configs
from animetune.plan.costs import CONTEXT, MemoryCurve, mean_flops, same_costs, training_costs
from animetune.plan.memory import predict_memory
from animetune.records import Size
from animetune.train.config import TrainConfig

SIZE = Size(64, 64)


def train_config(model=None, optimizer=None, **data):
    return TrainConfig.model_validate(
        {
            "stage": "train",
            "run": "none",
            "model": {"base": "random:tiny", "dtype": "bfloat16", **(model or {})},
            "data": {"shards": "s", "labels": "l", "global_batch": 8, "micro_batch": 4, **data},
            "optimizer": {"name": "adafactor", "unet_lr": 1e-5, **(optimizer or {})},
            "loop": {"epochs": 2},
        }
    )


@pytest.mark.parametrize(("devices", "checkpointing"), [(1, "none"), pytest.param(2, "full", marks=pytest.mark.slow)])
def test_the_curve_never_lies_below_a_rehearsal(devices, checkpointing):
    cfg = train_config(
        {"activation_checkpointing": checkpointing}, {"clip": None, "in_backward": devices == 1}, global_batch=4
    )
    architecture = tiny_configs()
    curve = training_costs(cfg, architecture, SIZE, pixels=False, devices=devices).memory
    models = meta_models(architecture, cfg.model)
    for batch in (1, 3, 20):
        exact = predict_memory(
            models, cfg.optimizer, SIZE, batch=batch, chunks=cfg.data.chunks, accumulates=devices > 1
        ).total
        assert exact <= 1.001 * curve.at(batch)  # the ids of tokens grow in other steps
        assert curve.at(batch) <= 1.25 * exact


@pytest.mark.slow
def test_recomputation_is_counted_and_only_where_it_is_asked_for():
    architecture = tiny_configs()
    plain = training_costs(train_config(), architecture, SIZE, pixels=False, devices=1)
    again = training_costs(
        train_config({"activation_checkpointing": "full"}), architecture, SIZE, pixels=False, devices=1
    )
    assert plain.recomputed == 1
    assert 1.1 < again.recomputed < 1.4
    assert mean_flops(plain, [(SIZE, 1.0), (Size(128, 64), 3.0)]) == pytest.approx(
        (plain.flops(SIZE) + 3 * plain.flops(Size(128, 64))) / 4
    )


@given(st.integers(0, 10**9), st.integers(1, 10**8), st.integers(0, 2 * 10**11))
def test_the_largest_batch_fits_and_the_next_does_not(base, each, memory):
    curve = MemoryCurve(((1, base + each), (8, base + 8 * each), (64, base + 64 * each)))
    most = curve.largest(memory)
    assert most == 0 or curve.needed(most) <= memory
    assert most >= (1 << 13) - 1 or curve.needed(most + 1) > memory
    assert curve.needed(1) > CONTEXT


def test_what_changes_no_cost_shares_them():
    def key(*args, **kwargs):
        return same_costs(train_config(*args, **kwargs), SIZE, pixels=False, devices=1)

    assert key() == key({"compile": "blocks"}) == key(None, {"unet_lr": 3e-6})
    different = [
        key({"train_unet": False}),
        key({"dtype": "float32"}),
        key(None, {"rounding": "stochastic"}),
        key(chunks=1),
    ]
    assert len({key(), *different}) == 5
    assert sdxl_configs() != tiny_configs()
