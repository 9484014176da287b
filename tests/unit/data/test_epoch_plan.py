"""The promises of the epoch plan, as properties over random data sets, batches, worlds and resume points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.data.epoch_plan import PlanSpec, apportion, for_world, plan_epoch, plan_units, work_of
from animetune.errors import ConfigError, DataError
from animetune.records import NO_ROW
from animetune.seeding import Purpose, rng_for


def make_spec(rows_by_size, repeats, *, micro_batch=4, global_batch=16, seed=0, rows_per_shard=10, **settings):
    size_starts = np.concatenate([[0], np.cumsum(rows_by_size)])
    cuts = [np.arange(first, stop, rows_per_shard) for first, stop in itertools.pairwise(size_starts)]
    return PlanSpec(
        repeats=np.broadcast_to(np.asarray(repeats, np.float32), size_starts[-1]),
        size_starts=size_starts,
        shard_starts=np.concatenate([*cuts, size_starts[-1:]]),
        micro_batch=micro_batch,
        global_batch=global_batch,
        seed=seed,
        **settings,
    )


@st.composite
def specs(draw):
    rows_by_size = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    micro_batch = draw(st.integers(1, 5))
    micro_batches = draw(st.sampled_from([1, 2, 4, 6, 12]))
    values = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.3, 2.0, 3.7]), min_size=1, max_size=6))
    # At least one step's worth of samples, so that the batch can be filled.
    rows_by_size.append(-(-micro_batch * micro_batches // 1))
    repeats = np.resize(np.array(values, np.float32), sum(rows_by_size))
    repeats[-rows_by_size[-1] :] = 1.0
    return make_spec(
        rows_by_size,
        repeats,
        micro_batch=micro_batch,
        global_batch=micro_batch * micro_batches,
        seed=draw(st.integers(0, 2**31)),
        rows_per_shard=draw(st.integers(1, 20)),
        shuffle_block=draw(st.sampled_from([1, 7, 1 << 14])),
        whole_steps=draw(st.booleans()),
    )


@given(specs(), st.integers(0, 5))
def test_a_micro_batch_has_one_size_and_is_full_but_in_the_last_two_steps(spec, epoch):
    plan = plan_epoch(spec, epoch)
    assert plan.rows.shape == (spec.steps, spec.micro_batches, spec.micro_batch)
    size_of = np.repeat(np.arange(len(spec.size_starts) - 1), np.diff(spec.size_starts))
    real = plan.rows != NO_ROW
    for size, rows in zip(plan.sizes.ravel(), plan.rows.reshape(-1, spec.micro_batch), strict=True):
        assert {size_of[row] for row in rows if row != NO_ROW} == {size}
    assert real[:-2].all()
    # Padding stands at the end of a micro-batch, so places count up from the first.
    assert (np.diff(real.astype(int), axis=2) <= 0).all()
    units = plan_units(spec, epoch)
    assert (real.sum(axis=2) == units.widths).all()
    assert (plan.sizes == units.sizes).all()
    last = units.widths.sum(axis=1)[-2:]
    if spec.steps > 1:
        assert last.min() >= spec.global_batch // 2
    if spec.whole_steps:
        assert (plan.sizes == plan.sizes[:, :1]).all()


@given(specs(), st.integers(0, 5))
def test_every_row_and_copy_comes_once_and_counts_are_the_rounded_share(spec, epoch):
    plan = plan_epoch(spec, epoch)
    real = plan.rows != NO_ROW
    rows, copies = plan.rows[real], plan.copies[real]
    assert len(set(zip(rows.tolist(), copies.tolist(), strict=True))) == len(rows)
    counts = np.bincount(rows, minlength=len(spec.repeats))
    assert (counts[spec.repeats == 0] == 0).all()
    for row in np.flatnonzero(counts):
        # In training order the copies of a row count up from 0.
        assert copies[rows == row].tolist() == list(range(counts[row]))
    for first, stop in itertools.pairwise(spec.size_starts):
        share = spec.repeats[first:stop].astype(np.float64)
        if share.sum() > 0:
            share *= counts[first:stop].sum() / share.sum()
            assert np.abs(counts[first:stop] - share).max() < 1 + 1e-6
    if spec.micro_batch > 1:  # with 1, a step cannot be smaller than the global batch
        assert abs(len(rows) - spec.samples) <= 1 + 0.01 * spec.global_batch


@given(specs(), st.integers(0, 3), st.data())
def test_the_global_order_is_the_same_for_any_ranks_and_workers_and_from_any_step(spec, epoch, data):
    plan = plan_epoch(spec, epoch)
    ids = np.where(plan.rows == NO_ROW, NO_ROW, plan.copies * len(spec.repeats) + plan.rows)
    divisors = [n for n in range(1, spec.micro_batches + 1) if spec.micro_batches % n == 0]
    nodes = data.draw(st.sampled_from(divisors))
    ranks_per_node = data.draw(st.sampled_from([n for n in divisors if spec.micro_batches % (n * nodes) == 0]))
    workers = data.draw(st.integers(1, 5))
    first_step = data.draw(st.integers(0, spec.steps))
    dealt = for_world(ids, nodes=nodes, ranks_per_node=ranks_per_node, workers=workers, first_step=first_step)
    assert dealt.shape[:3] == (nodes, ranks_per_node, workers)
    ranks = nodes * ranks_per_node
    per_rank = (spec.steps - first_step) * spec.micro_batches // ranks
    rebuilt = np.full_like(ids[first_step:], -7)
    for rank, queues in enumerate(dealt.reshape(ranks, workers, -1, spec.micro_batch)):
        share = spec.micro_batches // ranks
        for turn in range(per_rank):  # what DataLoader yields: one micro-batch of each worker in turn
            step, column = divmod(turn, share)
            rebuilt[step, rank * share + column] = queues[turn % workers, turn // workers]
        assert (queues.swapaxes(0, 1).reshape(-1, spec.micro_batch)[per_rank:] == NO_ROW).all()
        for worker in range(workers):
            work = work_of(
                spec.steps, spec.micro_batches, rank=rank, ranks=ranks, worker=worker, workers=workers,
                first_step=first_step,
            )  # fmt: skip
            for batch, (step, column) in enumerate(work):
                assert (queues[worker, batch] == ids[step, column]).all()
    assert (rebuilt == ids[first_step:]).all()


@given(specs())
def test_equal_specs_and_epochs_give_equal_plans_and_epochs_differ(spec):
    first, again, other = plan_epoch(spec, 0), plan_epoch(spec, 0), plan_epoch(spec, 1)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert other.rows.shape == first.rows.shape
    if spec.samples > 60:
        assert (other.rows != first.rows).any()


@pytest.mark.parametrize("whole_steps", [False, True])
@pytest.mark.parametrize("samples_over", [0, 1, 9])  # whole steps, and a little or much more
def test_expected_counts_are_the_repeats_within_one_percent(whole_steps, samples_over):
    """Pooled over all rows of one size with equal repeats, over many epochs; also in a size of only two rows."""
    repeats = np.concatenate([np.tile([0.3, 0.7, 1.0, 2.5], 30), [1.0, 0.5], np.ones(60 + samples_over)])
    spec = make_spec([120, 2, 60 + samples_over], repeats, whole_steps=whole_steps)
    epochs = 4000 if whole_steps else 1500
    counts = np.zeros(len(repeats))
    for epoch in range(epochs):
        rows = plan_epoch(spec, epoch).rows
        counts += np.bincount(rows[rows != NO_ROW], minlength=len(repeats))
    mean = counts / epochs
    for pool in (slice(0, 120, 4), slice(1, 120, 4), slice(2, 120, 4), slice(3, 120, 4), slice(122, None)):
        assert mean[pool].mean() == pytest.approx(spec.repeats[pool].mean(), rel=0.01)
    assert mean.sum() == pytest.approx(spec.samples, rel=0.002)
    # 1.5 expected samples in micro-batches of 4 or steps of 16: all or nothing each epoch, so the mean is less sharp.
    assert mean[120:122].sum() == pytest.approx(1.5, rel=0.12)
    assert spec.small_sizes == [1]


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, 1.5, 7.0]), min_size=1, max_size=30).filter(any), st.integers(0, 100))
def test_apportion_is_exact_in_sum_and_in_expectation(weights, total):
    class Comb:  # every offset of a fine comb in turn, in place of random ones
        def __init__(self, offset):
            self.offset = offset

        def random(self):
            return self.offset

    share = np.array(weights) * total / np.sum(weights)
    drawn = np.array([apportion(np.array(weights), total, Comb((i + 0.5) / 400)) for i in range(400)])
    assert (drawn.sum(axis=1) == total).all()
    assert (np.abs(drawn - share) < 1 + 1e-9).all()
    assert (drawn[:, np.array(weights) == 0] == 0).all()
    assert np.abs(drawn.mean(axis=0) - share).max() <= 1 / 400 + 1e-9


def test_apportion_at_the_edge_of_rounding_keeps_its_sum():
    class Last:
        def random(self):
            return np.nextafter(1.0, 0.0)

    drawn = apportion(np.array([0.1] * 7 + [0.0]), 10**6, Last())
    assert drawn.sum() == 10**6
    assert drawn[-1] == 0
    assert drawn.min() >= 0


def test_the_mix_is_the_same_all_along_the_epoch():
    """Copies must not pile up at the end: each quarter has a quarter of the often and of the rarely seen rows."""
    repeats = np.tile([0.5, 1.0, 5.0], 400)
    plan = plan_epoch(make_spec([1200], repeats, micro_batch=4, global_batch=16), 0)
    quarters = np.array_split(plan.rows[plan.rows != NO_ROW], 4)
    for value in (0.5, 1.0, 5.0):
        seen = [np.count_nonzero(repeats[quarter] == value) for quarter in quarters]
        assert min(seen) > 0.7 * max(seen)


def test_copies_of_a_row_lie_apart():
    plan = plan_epoch(make_spec([400], 4.0, micro_batch=4, global_batch=16), 0)
    sequence = plan.rows[plan.rows != NO_ROW]
    for row in range(0, 400, 37):
        quarters = np.flatnonzero(sequence == row) * 4 // len(sequence)
        assert quarters.tolist() == [0, 1, 2, 3]


def test_few_shards_are_open_at_a_time_and_their_order_is_random():
    spec = make_spec([20_000], 1.0, micro_batch=10, global_batch=100, rows_per_shard=100, shuffle_block=1000)
    orders = []
    for epoch in (0, 1):
        rows = plan_epoch(spec, epoch).rows.ravel()
        shards = rows[rows != NO_ROW] // 100
        # A window of 100 places touches the shards whose 1000 places overlap it: about 11 of 200.
        open_shards = [len(set(shards[at : at + 100])) for at in range(0, 20_000, 1000)]
        assert max(open_shards) < 35
        orders.append(list(dict.fromkeys(shards.tolist())))
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_one_step_may_be_smaller_than_the_global_batch():
    spec = make_spec([20], 1.0, micro_batch=8, global_batch=64)
    plan = plan_epoch(spec, 0)
    assert spec.steps == 1
    assert sorted(plan.rows[plan.rows != NO_ROW]) == list(range(20))
    assert sorted((plan.rows != NO_ROW).sum(axis=2).ravel()) == [2, 2, 2, 2, 3, 3, 3, 3]


def test_steps_are_rounded_up_and_the_last_two_share_the_rest():
    spec = make_spec([70], 1.0, micro_batch=4, global_batch=16)
    assert spec.steps == 5  # 70 / 16 = 4.4
    assert plan_units(spec, 0).widths.sum(axis=1).tolist() in ([16, 16, 16, 11, 11], [16, 16, 16, 12, 10])
    assert make_spec([64], 1.0, micro_batch=4, global_batch=16).steps == 4
    assert make_spec([64], np.float32(1.001), micro_batch=4, global_batch=16).steps == 4  # within SLACK


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"global_batch": 18}, ConfigError, "18 is not a multiple of data.micro_batch 4"),
        ({"global_batch": 400}, ConfigError, "50.0 samples .* too few for one step of 100 micro-batches"),
        ({"repeats": np.nan}, DataError, "repeats of row 0 is nan"),
        ({"repeats": -1.0}, DataError, "repeats of row 0 is -1"),
    ],
)
def test_what_cannot_be_planned_is_refused(changed, error, message):
    with pytest.raises(error, match=message):
        make_spec([50], changed.get("repeats", 1.0), global_batch=changed.get("global_batch", 16))


def test_ranks_that_do_not_divide_are_refused_with_those_that_do():
    ids = np.zeros((2, 6, 4), np.int64)
    with pytest.raises(ConfigError, match="6 micro-batches cannot be dealt evenly to 4 ranks; start 1, 2, 3, 6 ranks"):
        for_world(ids, nodes=2, ranks_per_node=2, workers=1)


def test_the_plan_is_pinned():
    """A checkpoint resumes inside an epoch, so the order may not change between versions without a new format."""
    plan = plan_epoch(make_spec([9, 3], [1.0] * 9 + [0.5] * 3, micro_batch=2, global_batch=4, seed=1), 3)
    assert plan.rows.tolist() == [[[3, 6], [4, 8]], [[1, 5], [7, -1]], [[2, 0], [11, 10]]]


@settings(max_examples=20)
@given(st.integers(0, 2**40))
def test_draws_of_the_plan_use_only_uniforms(seed):
    """NumPy keeps `random()` of Philox stable between versions, but not `permutation` or `choice`."""
    rng = rng_for(seed, Purpose.PLAN, 0)
    bits = rng_for(seed, Purpose.PLAN, 0).bit_generator.random_raw(3)
    assert [rng.random() for _ in range(3)] == [(int(raw) >> 11) * 2.0**-53 for raw in bits]
