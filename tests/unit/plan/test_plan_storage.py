"""What an epoch reads of its shards, against a walk through the plan step by step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.data.epoch_plan import PlanSpec, plan_epoch
from animetune.plan.storage import traffic_of, usage_of
from animetune.records import NO_ROW


def make_spec(repeats, *, rows_per_shard=10, groups=2, block=64, seed=0):
    rows = len(repeats)
    group_starts = np.linspace(0, rows, groups + 1).astype(np.int64)
    cuts = [np.arange(first, stop, rows_per_shard) for first, stop in itertools.pairwise(group_starts)]
    return PlanSpec(
        repeats=np.asarray(repeats, np.float32),
        group_starts=group_starts,
        group_classes=np.arange(groups),
        shard_starts=np.concatenate([*cuts, [rows]]),
        capacities=np.full(groups, 4),
        columns=2,
        seed=seed,
        shuffle_block=block,
    )


def walk(spec, plan, sizes):
    """Most bytes open and bytes opened: a shard closes when it was not used for as long as its rows are shuffled."""
    classes = [int(np.searchsorted(spec.group_starts, first, side="right") - 1) for first in spec.shard_starts[:-1]]
    uses: dict[int, list[int]] = {}
    for step, rows in enumerate(plan.rows):
        for row in rows[rows != NO_ROW].tolist():
            shard = int(np.searchsorted(spec.shard_starts, row, side="right") - 1)
            uses.setdefault(shard, []).append(step)
    opened = []
    for shard, steps in uses.items():
        share = min(1.0, spec.shuffle_block / spec.samples_by_class[classes[shard]])
        start = last = steps[0]
        for step in steps[1:]:
            if step - last > np.ceil(share * spec.steps):
                opened.append((shard, start, last))
                start = step
            last = step
        opened.append((shard, start, last))
    most = max(
        sum(sizes[shard] for shard, start, last in opened if start <= step <= last) for step in range(spec.steps)
    )
    return most, sum(sizes[shard] for shard, _, _ in opened)


@given(
    st.integers(0, 1000),
    st.sampled_from([1, 8, 40, 1000]),
    st.lists(st.sampled_from([0.0, 0.4, 1.0, 2.5]), min_size=1, max_size=5).filter(any),
)
def test_shards_in_use_are_those_of_a_walk_through_the_epoch(seed, block, pattern):
    spec = make_spec(np.resize(np.array(pattern), 200), block=block, seed=seed)
    sizes = np.arange(1, len(spec.shard_starts)) * 1000
    plan = plan_epoch(spec, 0)
    traffic = traffic_of(spec, plan, sizes)
    assert (traffic.most_open, traffic.reopened) == walk(spec, plan, sizes)


def test_a_small_block_needs_a_small_cache_and_a_shuffle_of_everything_needs_all():
    spec = make_spec(np.ones(4000), groups=1, block=100)
    sizes = np.full(400, 7)
    narrow = traffic_of(spec, plan_epoch(spec, 0), sizes)
    assert narrow.most_open < 60 * 7  # about 100 places of 10 a shard, doubled by the spread of each shard
    wide = make_spec(np.ones(4000), groups=1, block=10**6)
    assert traffic_of(wide, plan_epoch(wide, 0), sizes).most_open > 300 * 7
    assert traffic_of(wide, plan_epoch(wide, 0), sizes).reopened == 400 * 7


def test_usage_weighs_shards_by_bytes_and_leaves_out_those_that_are_never_read():
    repeats = np.ones(40)
    repeats[:10] = 0
    repeats[10:15] = 0
    spec = make_spec(repeats, groups=1)
    usage = usage_of(spec, np.array([1000, 600, 100, 300]))
    assert usage.shares.tolist() == [0, 0.5, 1, 1]
    assert usage.read_bytes == 1000
    assert usage.used_share == pytest.approx((300 + 100 + 300) / 1000)
