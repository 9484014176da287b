"""The promises of the epoch plan, as properties over random data sets, batches, worlds and resume points."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from animetune.data.epoch_plan import SLACK, PlanSpec, apportion, for_world, plan_epoch, plan_units, work_of
from animetune.errors import ConfigError, DataError
from animetune.records import NO_ROW
from animetune.seeding import Purpose, rng_for


def make_spec(
    rows_by_group, repeats=1.0, *, capacities=(4,), classes=None, columns=4, seed=0, rows_per_shard=10, **settings
):
    """Groups of the given rows, each a class of its own unless `classes` says which; capacities are repeated."""
    group_starts = np.concatenate([[0], np.cumsum(rows_by_group)])
    group_classes = np.arange(len(rows_by_group)) if classes is None else np.asarray(classes)
    cuts = [np.arange(first, stop, rows_per_shard) for first, stop in itertools.pairwise(group_starts)]
    return PlanSpec(
        repeats=np.broadcast_to(np.asarray(repeats, np.float32), group_starts[-1]),
        group_starts=group_starts,
        group_classes=group_classes,
        shard_starts=np.concatenate([*cuts, group_starts[-1:]]),
        capacities=np.resize(capacities, group_classes.max() + 1),
        columns=columns,
        seed=seed,
        **settings,
    )


@st.composite
def specs(draw):
    rows_by_group = draw(st.lists(st.integers(1, 60), min_size=1, max_size=6))
    capacities = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    columns = draw(st.sampled_from([1, 2, 4, 6, 12]))
    values = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.3, 2.0, 3.7]), min_size=1, max_size=6))
    rows_by_group.append(columns)  # at least one step's worth of samples, so that the batch can be filled
    repeats = np.resize(np.array(values, np.float32), sum(rows_by_group))
    repeats[-columns:] = 1.0
    classes = draw(st.lists(st.integers(0, 3), min_size=len(rows_by_group), max_size=len(rows_by_group)))
    return make_spec(
        rows_by_group,
        repeats,
        capacities=capacities,
        classes=np.unique(classes, return_inverse=True)[1],
        columns=columns,
        seed=draw(st.integers(0, 2**31)),
        rows_per_shard=draw(st.integers(1, 20)),
        shuffle_block=draw(st.sampled_from([1, 7, 1 << 14])),
        whole_steps=draw(st.booleans()),
    )


def class_of_rows(spec):
    return np.repeat(spec.group_classes, np.diff(spec.group_starts))


@given(specs(), st.integers(1, 3), st.integers(2, 4))
def test_a_batch_that_grows_changes_nothing_but_the_columns(spec, first_epoch, times):
    """Epochs before it and from it on are those of a plan that has always had so many columns."""
    more = times * spec.columns
    assume(spec.samples >= more)
    grows = replace(spec, columns_from=((first_epoch, more),))
    large = replace(spec, columns=more)
    for epoch in range(5):
        alone = spec if epoch < first_epoch else large
        assert (plan_epoch(grows, epoch).rows == plan_epoch(alone, epoch).rows).all()
        assert grows.calendar.steps_in(epoch) == alone.steps == len(plan_epoch(grows, epoch).rows)
        assert grows.at(epoch).columns == alone.columns


@given(specs(), st.integers(0, 5))
def test_a_micro_batch_has_one_class_and_is_full_but_in_the_last_two_steps(spec, epoch):
    plan = plan_epoch(spec, epoch)
    units = plan_units(spec, epoch)
    assert plan.rows.shape == plan.copies.shape == (spec.steps, spec.columns, spec.widest)
    class_of = class_of_rows(spec)
    real = plan.rows != NO_ROW
    for index, rows in zip(plan.classes.ravel(), plan.rows.reshape(-1, spec.widest), strict=True):
        assert {class_of[row] for row in rows if row != NO_ROW} == {index}
    # Padding stands at the end of a micro-batch, so places count up from the first.
    assert (np.diff(real.astype(int), axis=2) <= 0).all()
    assert (real.sum(axis=2) == units.widths).all()
    assert (plan.classes == units.classes).all()
    assert units.widths.min() >= 1
    full = spec.capacities[units.classes]
    assert (units.widths[:-2] == full[:-2]).all()
    assert (units.widths <= full).all()
    if spec.steps > 1:  # rounded down once for both steps
        assert units.widths[-2:].sum() >= full[-2:].sum() // 2
    if spec.whole_steps:
        assert (plan.classes == plan.classes[:, :1]).all()


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
    class_of = class_of_rows(spec)
    for index, samples in enumerate(spec.samples_by_class):
        share = np.where(class_of == index, spec.repeats, 0).astype(np.float64)
        assert share.sum() == pytest.approx(samples)
        if samples > 0:
            share *= counts[class_of == index].sum() / share.sum()
            assert np.abs(counts - share)[class_of == index].max() < 1 + 1e-6


@given(specs())
def test_expected_samples_of_each_class_are_those_that_it_has(spec):
    """By arithmetic, from the contract alone: so many micro-batches on average, so many samples in each."""
    units = spec.steps * spec.columns
    tail = min(spec.steps, 2) * spec.columns
    assert spec.units_by_class.sum() == pytest.approx(units)
    filled = np.maximum(spec.capacities * spec.fill, 1)
    expected = spec.units_by_class * ((units - tail) * spec.capacities + tail * filled) / units
    possible = spec.samples_by_class > 0
    ratio = expected[possible] / spec.samples_by_class[possible]
    assert ratio == pytest.approx(np.full(len(ratio), ratio[0]))  # no class is favoured
    steps_off = abs(ratio[0] - 1) * (spec.samples_by_class / spec.capacities).sum() / spec.columns
    # What is left over finds room in micro-batches of several samples; without these, steps are rounded.
    assert steps_off <= (SLACK if spec.capacities.min() > 1 else 0.5) + 1e-9


@given(specs(), st.integers(0, 3), st.data())
def test_the_global_order_is_the_same_for_any_ranks_and_workers_and_from_any_step(spec, epoch, data):
    plan = plan_epoch(spec, epoch)
    ids = plan.ids(len(spec.repeats))
    assert ids.dtype == np.int64
    assert (ids == np.where(plan.rows == NO_ROW, NO_ROW, plan.copies * len(spec.repeats) + plan.rows)).all()
    divisors = [n for n in range(1, spec.columns + 1) if spec.columns % n == 0]
    nodes = data.draw(st.sampled_from(divisors))
    ranks_per_node = data.draw(st.sampled_from([n for n in divisors if spec.columns % (n * nodes) == 0]))
    workers = data.draw(st.integers(1, 5))
    first_step = data.draw(st.integers(0, spec.steps))
    dealt = for_world(ids, nodes=nodes, ranks_per_node=ranks_per_node, workers=workers, first_step=first_step)
    assert dealt.shape[:3] == (nodes, ranks_per_node, workers)
    ranks = nodes * ranks_per_node
    per_rank = (spec.steps - first_step) * spec.columns // ranks
    rebuilt = np.full_like(ids[first_step:], -7)
    for rank, queues in enumerate(dealt.reshape(ranks, workers, -1, spec.widest)):
        share = spec.columns // ranks
        for turn in range(per_rank):  # what DataLoader yields: one micro-batch of each worker in turn
            step, column = divmod(turn, share)
            rebuilt[step, rank * share + column] = queues[turn % workers, turn // workers]
        assert (queues.swapaxes(0, 1).reshape(-1, spec.widest)[per_rank:] == NO_ROW).all()
        for worker in range(workers):
            work = work_of(
                spec.steps, spec.columns, rank=rank, ranks=ranks, worker=worker, workers=workers,
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
@pytest.mark.parametrize("capacities", [(4, 4, 4), (2, 9, 4), (7, 3, 2), (1, 6, 3)])
@pytest.mark.parametrize("samples_over", [0, 1, 9])  # whole steps, and a little or much more
def test_expected_counts_are_the_repeats_within_one_percent(whole_steps, capacities, samples_over):
    """Pooled over all rows of one class with equal repeats, over many epochs; also in a class of only two rows.

    Counts come in micro-batches, so their mean is less sharp than that of the repeats: bounds are 1 % or five times
    the standard error, which is measured, and narrow where it matters.
    """
    repeats = np.concatenate([np.tile([0.3, 0.7, 1.0, 2.5], 30), [1.0, 0.5], np.ones(60 + samples_over)])
    spec = make_spec(
        [120, 2, 30, 30 + samples_over], repeats, capacities=capacities, classes=[0, 1, 2, 2], whole_steps=whole_steps
    )
    pools = {
        **{f"{value} in class 0": slice(place, 120, 4) for place, value in enumerate((0.3, 0.7, 1.0, 2.5))},
        "class 1": slice(120, 122),
        "class 2": slice(122, None),
    }
    epochs = 1200
    means = np.empty((epochs, len(pools)))
    for epoch in range(epochs):
        rows = plan_epoch(spec, epoch).rows
        counts = np.bincount(rows[rows != NO_ROW], minlength=len(repeats))
        means[epoch] = [counts[pool].mean() for pool in pools.values()]
    expected = np.array([spec.repeats[pool].mean(dtype=np.float64) for pool in pools.values()])
    errors = 5 * means.std(axis=0) / np.sqrt(epochs)
    assert (np.abs(means.mean(axis=0) - expected) < np.maximum(0.01 * expected, errors)).all()
    assert spec.small_classes == [1]


def test_the_weight_of_a_source_multiplies_its_share():
    """Two sources with groups of one class: rows of the heavier come as much more often."""
    repeats = np.repeat(np.float32([1.0, 2.5]), 200)
    spec = make_spec([200, 200], repeats, classes=[0, 0], capacities=(8,))
    counts = np.zeros(400)
    for epoch in range(200):
        rows = plan_epoch(spec, epoch).rows
        counts += np.bincount(rows[rows != NO_ROW], minlength=400)
    assert counts[200:].sum() / counts[:200].sum() == pytest.approx(2.5, rel=0.01)
    both = plan_epoch(spec, 0).rows[:-2]
    assert ((both < 200).any(axis=2) & (both >= 200).any(axis=2)).any()  # in one micro-batch


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
    spec = make_spec([1200], repeats)
    seen = np.zeros((3, 4))  # of each value, in each quarter
    for epoch in range(100):
        rows = plan_epoch(spec, epoch).rows
        for quarter, part in enumerate(np.array_split(rows[rows != NO_ROW], 4)):
            seen[:, quarter] += np.bincount(part % 3, minlength=3)
    assert (seen.min(axis=1) > 0.95 * seen.max(axis=1)).all()


def test_copies_of_a_row_lie_apart():
    plan = plan_epoch(make_spec([400], 4.0), 0)
    sequence = plan.rows[plan.rows != NO_ROW]
    for row in range(0, 400, 37):
        quarters = np.flatnonzero(sequence == row) * 4 // len(sequence)
        assert quarters.tolist() == [0, 1, 2, 3]


def test_few_shards_are_open_at_a_time_and_their_order_is_random():
    spec = make_spec([20_000], capacities=(10,), columns=10, rows_per_shard=100, shuffle_block=1000)
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
    spec = make_spec([20], capacities=(8,), columns=8)
    plan = plan_epoch(spec, 0)
    assert spec.steps == 1
    assert sorted(plan.rows[plan.rows != NO_ROW]) == list(range(20))
    assert sorted((plan.rows != NO_ROW).sum(axis=2).ravel()) == [2, 2, 2, 2, 3, 3, 3, 3]


def test_steps_are_rounded_up_and_the_last_two_share_the_rest():
    spec = make_spec([70])
    assert spec.steps == 5  # 70 / 16 = 4.4
    assert plan_units(spec, 0).widths.sum(axis=1).tolist() in ([16, 16, 16, 11, 11], [16, 16, 16, 12, 10])
    assert make_spec([64]).steps == 4
    assert make_spec([64], 1.001).steps == 4  # within SLACK


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"columns": 100}, ConfigError, "50.0 samples .* too few for one step of 100 micro-batches"),
        ({"repeats": np.nan}, DataError, "repeats of row 0 is nan"),
        ({"repeats": -1.0}, DataError, "repeats of row 0 is -1"),
    ],
)
def test_what_cannot_be_planned_is_refused(changed, error, message):
    with pytest.raises(error, match=message):
        make_spec([50], **changed)


def test_ranks_that_do_not_divide_are_refused_with_those_that_do():
    ids = np.zeros((2, 6, 4), np.int64)
    with pytest.raises(ConfigError, match="6 micro-batches cannot be dealt evenly to 4 ranks; start 1, 2, 3, 6 ranks"):
        for_world(ids, nodes=2, ranks_per_node=2, workers=1)


def test_the_plan_is_pinned():
    """A checkpoint resumes inside an epoch, so the order may not change between versions without a new format."""
    plan = plan_epoch(make_spec([9, 3], [1.0] * 9 + [0.5] * 3, capacities=(2,), columns=2, seed=1), 3)
    assert plan.rows.tolist() == [[[7, 4], [6, 0]], [[2, -1], [8, 3]], [[5, 1], [9, -1]]]


@settings(max_examples=20)
@given(st.integers(0, 2**40))
def test_draws_of_the_plan_use_only_uniforms(seed):
    """NumPy keeps `random()` of Philox stable between versions, but not `permutation` or `choice`."""
    rng = rng_for(seed, Purpose.PLAN, 0)
    bits = rng_for(seed, Purpose.PLAN, 0).bit_generator.random_raw(3)
    assert [rng.random() for _ in range(3)] == [(int(raw) >> 11) * 2.0**-53 for raw in bits]
