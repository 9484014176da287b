"""The epoch plan: which sample is trained in which micro-batch of which step. A pure function, without state.

    repeats, classes, shards, batch, seed, epoch  --plan_epoch-->  (step, micro-batch, row, copy)

A class is what the samples of a micro-batch have in common: tier and size, from whatever source. Each has its own
capacity, the samples of a full micro-batch. Nothing depends on ranks, workers or where a run was resumed: `for_world`
only cuts the plan up. Nothing depends on another epoch, so any epoch can be recomputed alone, which is how exposure is
counted.

Three things are rounded at random each epoch, all by systematic sampling (`apportion`), which keeps sums exact and
expectations unbiased: the micro-batches of each class, the samples of each micro-batch of the last two steps, the
copies of each row. All other micro-batches are full. With `u` = samples / capacity expected of a class, `full` and
`tail` micro-batches before and in the last two steps, and the latter filled to the part `fill`, a class gets in
proportion to `u / (full + tail * fill)` micro-batches, each of them as likely in the tail as any other; so its expected
samples are as many as it has. `fill` solves that all these sum to the micro-batches that there are. Hence the expected
count of a row IS its repeats, also in classes with fewer rows than a micro-batch, while the number of steps is fixed.

No micro-batch is empty. Where most have the capacity 1, they cannot share what is left over: steps are then rounded,
and all rows come up to half a step more or less than they should, in equal parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from animetune.data.calendar import Calendar, Phase
from animetune.errors import ConfigError, DataError
from animetune.records import NO_ROW
from animetune.seeding import Purpose, rng_for

ORDER = 2
"""Version of the order that a spec gives: a checkpoint made under another one cannot resume inside an epoch."""
SLACK = 0.01
"""An epoch that exceeds whole steps by less than this part of a step is rounded down to them."""
TAIL = 2
"""Steps at the end of an epoch that share what is left over."""
LEAST_FILL = 0.5
"""Part of a full step that those steps have at least, so that none learns from a handful of samples."""
BLOCK = 1 << 18
"""Rows or micro-batches that are worked on at a time, which bounds the memory for intermediate results."""


@dataclass(frozen=True, eq=False)
class PlanSpec:
    """All that the sample order depends on, but the epoch.

    Raises ConfigError for a batch that cannot be filled, DataError for repeats that are no numbers.
    """

    repeats: np.ndarray
    """float32 (rows,): expected count of each row in an epoch; 0 is never."""
    group_starts: np.ndarray
    """int64 (groups + 1,): rows `group_starts[i]` to `group_starts[i + 1]` are group i, which has one class."""
    group_classes: np.ndarray
    """int64 (groups,): class of each group; groups of several sources may have the same."""
    shard_starts: np.ndarray
    """int64 (shards + 1,): the same for shards, each of them inside one group."""
    capacities: np.ndarray
    """int64 (classes,): samples of a full micro-batch of each class."""
    columns: int
    """Micro-batches of an optimizer step, over all ranks, in the first epoch."""
    seed: int
    shuffle_block: int = 1 << 14
    """Rows are shuffled over this many places of their class, so that shards are read one after another."""
    whole_steps: bool = False
    """All micro-batches of a step have the same class."""
    columns_from: tuple[tuple[int, int], ...] = ()
    """(epoch, micro-batches of its steps and of those that follow), by epoch, where they are not `columns`."""

    def __post_init__(self) -> None:
        if not (self.repeats.min() >= 0 and self.repeats.max() < np.inf):  # both are NaN when one is
            wrong = np.flatnonzero(~(np.isfinite(self.repeats) & (self.repeats >= 0)))
            raise DataError(
                f"repeats of row {wrong[0]} is {self.repeats[wrong[0]]} ({len(wrong)} such rows); repeats are finite "
                "and not negative: make the label set again"
            )
        if self.samples < self.columns:
            raise ConfigError(
                f"data.global_batch: an epoch has {self.samples:.1f} samples (the sum of repeats), too few for one "
                f"step of {self.columns} micro-batches; lower global_batch or raise micro_batch"
            )

    def at(self, epoch: int) -> PlanSpec:
        """What an epoch's order depends on: the same with the `columns` of that epoch."""
        reached = [columns for first, columns in self.columns_from if first <= epoch]
        return self._with_columns[reached[-1]] if reached else self

    @cached_property
    def _with_columns(self) -> dict[int, PlanSpec]:
        return {columns: replace(self, columns=columns, columns_from=()) for _, columns in self.columns_from}

    @cached_property
    def calendar(self) -> Calendar:
        """The steps of all epochs."""
        later = (Phase(first, self.at(first).steps) for first, _ in self.columns_from)
        return Calendar((Phase(0, self.steps), *later))

    @property
    def samples(self) -> float:
        """Expected samples of an epoch."""
        return float(self.samples_by_class.sum())

    @cached_property
    def samples_by_class(self) -> np.ndarray:
        """float64 (classes,): expected samples of an epoch in each class."""
        groups = np.split(self.repeats, self.group_starts[1:-1])
        sums = [group.sum(dtype=np.float64) for group in groups]
        return np.bincount(self.group_classes, weights=sums, minlength=len(self.capacities))

    @property
    def widest(self) -> int:
        """Samples of the largest micro-batch."""
        return int(self.capacities.max())

    @cached_property
    def steps(self) -> int:
        """Optimizer steps of the first epoch."""
        exact = float((self.samples_by_class / self.capacities).sum()) / self.columns
        steps = max(1, int(np.ceil(exact - SLACK)))
        return steps if self._fill(steps) >= LEAST_FILL else max(1, round(exact))

    @cached_property
    def fill(self) -> float:
        """Part of its capacity, but at least one sample, that a micro-batch of the last two steps has on average."""
        fill = self._fill(self.steps)
        return max(fill, LEAST_FILL) if self.steps > 1 else fill

    @property
    def small_classes(self) -> list[int]:
        """Classes with fewer rows to draw than a micro-batch, or than a step that holds one class only: their rows then
        come more than once in it."""
        groups = np.split(self.repeats, self.group_starts[1:-1])
        drawn = [np.count_nonzero(group) for group in groups]
        rows = np.bincount(self.group_classes, weights=drawn, minlength=len(self.capacities))
        together = self.capacities * (self.columns if self.whole_steps else 1)
        return [int(index) for index in np.flatnonzero((rows > 0) & (rows < together))]

    def rows_of(self, index: int) -> np.ndarray:
        """int32 (int64 when there are so many): the rows of a class that are ever drawn, in order."""
        dtype = np.int32 if len(self.repeats) < 2**31 else np.int64
        found = []
        for group in np.flatnonzero(self.group_classes == index):
            first, stop = self.group_starts[group : group + 2]
            found.append((np.flatnonzero(self.repeats[first:stop] > 0) + first).astype(dtype))
        return np.concatenate(found)

    @cached_property
    def units_by_class(self) -> np.ndarray:
        """float64 (classes,): expected micro-batches of an epoch in each class."""
        shares = self._shares(self.steps, self.fill)
        return shares * (self.steps * self.columns / shares.sum())

    def _shares(self, steps: int, fill: float) -> np.ndarray:
        """float64 (classes,): part of all micro-batches of `steps` that each class needs for its expected samples."""
        tail = min(steps, TAIL)
        filled = np.maximum(fill, 1 / self.capacities)
        needed = self.samples_by_class / self.capacities
        return needed / (self.columns * (steps - tail + tail * filled))

    def _fill(self, steps: int) -> float:
        """The fill with which the micro-batches of `steps` suffice and none is over, or the nearest in [0, 1]."""
        if self._shares(steps, 1.0).sum() >= 1:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(50):  # the sum falls as the fill grows
            middle = (low + high) / 2
            if self._shares(steps, middle).sum() >= 1:
                low = middle
            else:
                high = middle
        return high


class Units(NamedTuple):
    """The micro-batches of an epoch before rows fill them; cheap, so that every data worker computes them itself."""

    classes: np.ndarray
    """int32 (steps, columns): index of the class."""
    widths: np.ndarray
    """int32 (steps, columns): samples, at least 1."""


class EpochPlan(NamedTuple):
    """An epoch in training order; NO_ROW pads micro-batches that are not the widest."""

    classes: np.ndarray
    """int32 (steps, columns): index of the class."""
    rows: np.ndarray
    """int32 (steps, columns, widest); int64 when rows do not fit."""
    copies: np.ndarray
    """int32, like rows: how many times the row came before in this epoch."""

    def ids(self, total: int) -> np.ndarray:
        """int64, like rows: `copy * total + row` with `total` rows in all; NO_ROW stays."""
        ids = self.copies.astype(np.int64)
        ids *= total
        ids += self.rows
        return ids


def plan_units(spec: PlanSpec, epoch: int) -> Units:
    """The class and the number of samples of each micro-batch of an epoch."""
    spec = spec.at(epoch)
    rng = rng_for(spec.seed, Purpose.PLAN, epoch)
    shape = (spec.steps, spec.columns)
    units = spec.steps if spec.whole_steps else spec.steps * spec.columns
    counts = apportion(spec.units_by_class, units, rng)
    classes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[_permutation(units, rng)]
    classes = np.broadcast_to(classes.reshape(spec.steps, -1), shape)
    widths = spec.capacities.astype(np.int32)[classes]

    tail = widths[-TAIL:]
    expected = np.maximum(tail * spec.fill, 1.0)
    line = np.floor(np.cumsum(expected) + rng.random())
    tail[:] = np.clip(np.diff(line, prepend=0.0).reshape(tail.shape), 1, tail)
    return Units(classes, widths)


def plan_epoch(spec: PlanSpec, epoch: int) -> EpochPlan:
    """The whole order of an epoch. Takes about 0.1 s a million draws, and 40 bytes a draw of the largest class."""
    spec = spec.at(epoch)
    units = plan_units(spec, epoch)
    widths = units.widths.ravel()
    rows = np.full((len(widths), spec.widest), NO_ROW, np.int32 if len(spec.repeats) < 2**31 else np.int64)
    copies = np.zeros(rows.shape, np.int32)
    by_class = np.argsort(units.classes.ravel(), kind="stable")
    counts = np.bincount(units.classes.ravel(), minlength=len(spec.capacities))
    for index, mine in enumerate(np.split(by_class, np.cumsum(counts)[:-1])):
        if len(mine):
            _fill_class(spec, index, epoch, mine, widths[mine], rows, copies)
    shape = (spec.steps, spec.columns, spec.widest)
    return EpochPlan(units.classes, rows.reshape(shape), copies.reshape(shape))


def apportion(weights: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Integers (n,) that sum to `total`, each its exact share `total * weight / sum` rounded down or up.

    Each equals its share in expectation. Systematic sampling (Madow and Madow, 1944): a comb with one tooth per unit
    and a random offset is laid over the line of weights.
    """
    line = np.cumsum(weights, dtype=np.float64)
    end = np.searchsorted(line, line[-1])
    line *= total / line[-1]
    line += rng.random()
    np.floor(line, out=line)
    np.minimum(line, total, out=line)
    line[end:] = total  # exact in spite of rounding; and nothing for zeros at the end
    counts = line.astype(np.int32 if total < 2**31 else np.int64)
    del line
    return np.diff(counts, prepend=counts.dtype.type(0))


def for_world(ids: np.ndarray, *, nodes: int, ranks_per_node: int, workers: int, first_step: int = 0) -> np.ndarray:
    """Cut (steps, columns, widest) into (nodes, ranks of node, workers, batches, widest).

    Each rank has equally many neighbouring micro-batches of every step. DataLoader asks its workers in turn, so worker
    w gets each rank's micro-batches w, w + workers, ...; what does not divide is padded with NO_ROW at the end.
    """
    ranks = nodes * ranks_per_node
    steps, columns, width = ids[first_step:].shape
    check_ranks(columns, ranks)
    share = columns // ranks
    dealt = np.full((ranks, workers, -(-steps * share // workers), width), NO_ROW, np.int64)
    for rank, queues in enumerate(dealt):
        queue = ids[first_step:, rank * share : (rank + 1) * share].reshape(-1, width)
        for worker in range(workers):
            mine = queue[worker::workers]
            queues[worker, : len(mine)] = mine
    return dealt.reshape(nodes, ranks_per_node, workers, -1, width)


def work_of(
    steps: int, columns: int, *, rank: int, ranks: int, worker: int, workers: int, first_step: int = 0
) -> list[tuple[int, int]]:
    """(step, micro-batch of the step) of every micro-batch that `for_world` gives to one worker, in its order."""
    check_ranks(columns, ranks)
    share = columns // ranks
    queue = range(first_step * share + worker, steps * share, workers)
    return [(place // share, rank * share + place % share) for place in queue]


def check_ranks(columns: int, ranks: int) -> None:
    """Raise ConfigError unless the micro-batches of a step can be dealt evenly to the ranks."""
    if columns % ranks:
        valid = [str(count) for count in range(1, columns + 1) if columns % count == 0]
        raise ConfigError(
            f"data.global_batch: its {columns} micro-batches cannot be dealt evenly to {ranks} ranks; start "
            f"{', '.join(valid)} ranks, or change global_batch or micro_batch"
        )


def _fill_class(
    spec: PlanSpec,
    index: int,
    epoch: int,
    units: np.ndarray,
    widths: np.ndarray,
    rows: np.ndarray,
    copies: np.ndarray,
) -> None:
    """Fill the micro-batches `units` of a class, of `widths` samples, in `rows` and `copies` (all units, widest)."""
    order, row_of, copy_of = _order_class(spec, index, int(widths.sum()), epoch)
    capacity = int(spec.capacities[index])
    full = int((widths == capacity).cumprod().sum())
    for first in range(0, full, BLOCK):
        block = units[first : min(first + BLOCK, full)]
        places = order[first * capacity : (first + len(block)) * capacity].reshape(-1, capacity)
        rows[block, :capacity] = row_of[places]
        copies[block, :capacity] = copy_of[places]
    start = full * capacity
    for unit, width in zip(units[full:], widths[full:], strict=True):
        places = order[start : start + width]
        rows[unit, :width] = row_of[places]
        copies[unit, :width] = copy_of[places]
        start += width


def _order_class(spec: PlanSpec, index: int, places: int, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(places,) each: the training order of the draws of one class, and each draw's row and copy.

    A row's k copies are spread evenly: copy j falls at a random time in [j/k, (j+1)/k) of the epoch. The times of a
    shard's rows lie within `shuffle_block` places of each other, modulo 1/k, so few shards are open at a time, and the
    mix of rows with many and with few copies is the same all along the epoch.
    """
    rng = rng_for(spec.seed, Purpose.REPEATS, epoch, index)
    rows = spec.rows_of(index)
    counts = np.empty(len(rows), np.int32)
    shuffled = _permutation(len(rows), rng)  # neighbours on the line are rounded together
    counts[shuffled] = apportion(spec.repeats[rows[shuffled]], places, rng)
    of_shards = np.diff(np.searchsorted(rows, spec.shard_starts.astype(rows.dtype)))
    phases = np.repeat(rng.random(len(of_shards)).astype(np.float32), of_shards)
    window = min(1.0, spec.shuffle_block / places)

    row_of = np.empty(places, rows.dtype)
    copy_of = np.empty(places, np.int32)
    place_bits = places.bit_length()
    time_bits = min(52, 63 - place_bits)
    keys = np.empty(places, np.int64)
    start = 0
    for first in range(0, len(rows), BLOCK):
        block = slice(first, first + BLOCK)
        mine = counts[block]
        here = np.arange(start, start + int(mine.sum()))
        copy = here - np.repeat(start + np.cumsum(mine) - mine, mine)
        often = np.repeat(mine, mine).astype(np.float64)
        times = rng.random(len(here))
        times *= window
        times += np.repeat(phases[block], mine)
        times *= often
        times -= np.floor(times)
        times += copy
        times /= often
        times *= 1 << time_bits
        ticks = np.minimum(times.astype(np.int64), (1 << time_bits) - 1)
        keys[start : start + len(here)] = ticks << place_bits | here
        row_of[start : start + len(here)] = np.repeat(rows[block], mine)
        copy_of[start : start + len(here)] = copy
        start += len(here)
    keys.sort()  # numbers, several times as fast as an argsort of floats, and without a second array
    keys &= (1 << place_bits) - 1
    return keys, row_of, copy_of


def _permutation(count: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (count,): 0 to count - 1 in random order."""
    bits = count.bit_length()
    draws = rng.random(count)
    draws *= 1 << min(52, 63 - bits)
    keys = draws.astype(np.int64)
    del draws
    keys <<= bits
    keys |= np.arange(count)
    keys.sort()
    keys &= (1 << bits) - 1
    return keys
