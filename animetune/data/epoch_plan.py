"""The epoch plan: which sample is trained in which micro-batch of which step. A pure function, without state.

    repeats, sizes, shards, batch, seed, epoch  --plan_epoch-->  (step, micro-batch, row, copy)

Micro-batches hold one size. Nothing depends on ranks, workers or where a run was resumed: `for_world` only cuts the
plan up. Nothing depends on another epoch, so any epoch can be recomputed alone, which is how exposure is counted.

Three things are rounded at random each epoch, all by systematic sampling (`apportion`), which keeps sums exact and
expectations unbiased: the samples of the last two steps, the micro-batches of each size, the copies of each row. Hence
the expected count of a row IS its repeats, also in sizes with fewer rows than a micro-batch, while the number of steps
is fixed and every micro-batch is full, but in the last two steps, which share what is left over: at least half a
global batch each, so that no step learns from a handful of samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from animetune.errors import ConfigError, DataError
from animetune.records import NO_ROW
from animetune.seeding import Purpose, rng_for

SLACK = 0.01
"""An epoch that exceeds whole steps by less than this part of a step is rounded down to them."""


@dataclass(frozen=True, eq=False)
class PlanSpec:
    """All that the sample order depends on, but the epoch.

    Raises ConfigError for a batch that cannot be cut or filled, DataError for repeats that are no numbers.
    """

    repeats: np.ndarray
    """float32 (rows,): expected count of each row in an epoch; 0 is never."""
    size_starts: np.ndarray
    """int64 (sizes + 1,): rows `size_starts[i]` to `size_starts[i + 1]` have size i."""
    shard_starts: np.ndarray
    """int64 (shards + 1,): the same for shards; a shard holds one size."""
    micro_batch: int
    """Samples of a micro-batch."""
    global_batch: int
    """Samples of an optimizer step, over all ranks."""
    seed: int
    shuffle_block: int = 1 << 14
    """Rows are shuffled over this many places of their size, so that shards are read one after another."""
    whole_steps: bool = False
    """All micro-batches of a step have the same size."""

    def __post_init__(self) -> None:
        if self.global_batch % self.micro_batch:
            raise ConfigError(
                f"data.global_batch: {self.global_batch} is not a multiple of data.micro_batch {self.micro_batch}"
            )
        wrong = np.flatnonzero(~(np.isfinite(self.repeats) & (self.repeats >= 0)))
        if len(wrong):
            raise DataError(
                f"repeats of row {wrong[0]} is {self.repeats[wrong[0]]} ({len(wrong)} such rows); repeats are finite "
                "and not negative: make the label set again"
            )
        if self.samples < self.micro_batches:
            raise ConfigError(
                f"data.global_batch: an epoch has {self.samples:.1f} samples (the sum of repeats), too few for one "
                f"step of {self.micro_batches} micro-batches; lower global_batch or raise micro_batch"
            )

    @cached_property
    def samples(self) -> float:
        """Expected samples of an epoch."""
        return float(self.repeats.sum(dtype=np.float64))

    @cached_property
    def samples_by_size(self) -> np.ndarray:
        """float64 (sizes,): expected samples of an epoch in each size."""
        running = np.concatenate([[0.0], np.cumsum(self.repeats, dtype=np.float64)])
        return np.diff(running[self.size_starts])

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step, over all ranks."""
        return self.global_batch // self.micro_batch

    @property
    def steps(self) -> int:
        """Optimizer steps of every epoch."""
        steps = self.samples / self.global_batch
        # Every micro-batch needs a sample: with micro_batch 1 a step cannot be smaller than the global batch.
        return max(1, round(steps) if self.micro_batch == 1 else int(np.ceil(steps - SLACK)))

    @property
    def small_sizes(self) -> list[int]:
        """Sizes with fewer rows to draw than a micro-batch: its rows then come more than once in one micro-batch."""
        drawn = np.concatenate([[0], np.cumsum(self.repeats > 0)])
        rows = np.diff(drawn[self.size_starts])
        return [int(size) for size in np.flatnonzero((rows > 0) & (rows < self.micro_batch))]


class Units(NamedTuple):
    """The micro-batches of an epoch before rows fill them; cheap, so that every data worker computes them itself."""

    sizes: np.ndarray
    """int64 (steps, micro_batches): index of the size."""
    widths: np.ndarray
    """int64 (steps, micro_batches): samples, at least 1."""


class EpochPlan(NamedTuple):
    """An epoch in training order; NO_ROW pads micro-batches that are not full."""

    sizes: np.ndarray
    """int64 (steps, micro_batches): index of the size."""
    rows: np.ndarray
    """int64 (steps, micro_batches, micro_batch)"""
    copies: np.ndarray
    """int64, like rows: how many times the row came before in this epoch."""


def plan_units(spec: PlanSpec, epoch: int) -> Units:
    """The size and the number of samples of each micro-batch of an epoch."""
    rng = rng_for(spec.seed, Purpose.PLAN, epoch)
    steps, columns = spec.steps, spec.micro_batches
    tail = min(steps, 2)
    left = spec.samples - (steps - tail) * spec.global_batch
    places = min(max(int(left + rng.random()), tail * columns), tail * spec.global_batch)
    widths = np.full((steps, columns), spec.micro_batch, np.int64)
    widths[steps - tail :] = apportion(np.ones(tail * columns), places, rng).reshape(tail, columns)

    units = steps if spec.whole_steps else steps * columns
    sizes = np.repeat(np.arange(len(spec.samples_by_size)), apportion(spec.samples_by_size, units, rng))
    sizes = sizes[np.argsort(rng.random(units), kind="stable")].reshape(steps, -1)
    return Units(np.broadcast_to(sizes, (steps, columns)), widths)


def plan_epoch(spec: PlanSpec, epoch: int) -> EpochPlan:
    """The whole order of an epoch. Takes about 0.3 s a million draws."""
    units = plan_units(spec, epoch)
    rows = np.full((*units.widths.shape, spec.micro_batch), NO_ROW, np.int64)
    copies = np.zeros_like(rows)
    for size in np.unique(units.sizes):
        mine = np.flatnonzero(units.sizes == size)
        widths = units.widths.ravel()[mine]
        places = int(widths.sum())
        first = np.cumsum(widths) - widths
        at = np.repeat(mine * spec.micro_batch - first, widths) + np.arange(places)
        rows.ravel()[at], copies.ravel()[at] = _order_size(spec, int(size), places, epoch)
    return EpochPlan(units.sizes, rows, copies)


def apportion(weights: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Integers (n,) that sum to `total`, each its exact share `total * weight / sum` rounded down or up.

    Each equals its share in expectation. Systematic sampling (Madow and Madow, 1944): a comb with one tooth per unit
    and a random offset is laid over the line of weights.
    """
    line = np.cumsum(weights, dtype=np.float64)
    teeth = np.minimum(np.floor(line * (total / line[-1]) + rng.random()), total)
    teeth[line == line[-1]] = total  # exact in spite of rounding; and nothing for zeros at the end
    return np.diff(teeth, prepend=0.0).astype(np.int64)


def for_world(ids: np.ndarray, *, nodes: int, ranks_per_node: int, workers: int, first_step: int = 0) -> np.ndarray:
    """Cut (steps, micro_batches, micro_batch) into (nodes, ranks of node, workers, batches, micro_batch).

    Each rank has equally many neighbouring micro-batches of every step. DataLoader asks its workers in turn, so worker
    w gets each rank's micro-batches w, w + workers, ...; what does not divide is padded with NO_ROW at the end.
    """
    ranks = nodes * ranks_per_node
    steps, columns, width = ids[first_step:].shape
    check_ranks(columns, ranks)
    queues = ids[first_step:].reshape(steps, ranks, columns // ranks, width).swapaxes(0, 1).reshape(ranks, -1, width)
    padding = np.full((ranks, -queues.shape[1] % workers, width), NO_ROW, np.int64)
    queues = np.concatenate([queues, padding], axis=1)
    dealt = queues.reshape(ranks, -1, workers, width).swapaxes(1, 2)
    return np.ascontiguousarray(dealt.reshape(nodes, ranks_per_node, workers, -1, width))


def work_of(
    steps: int, columns: int, *, rank: int, ranks: int, worker: int, workers: int, first_step: int = 0
) -> list[tuple[int, int]]:
    """(step, micro-batch of the step) of every micro-batch that `for_world` gives to one worker, in its order."""
    check_ranks(columns, ranks)
    share = columns // ranks
    queue = range(first_step * share + worker, steps * share, workers)
    return [(place // share, rank * share + place % share) for place in queue]


def check_ranks(micro_batches: int, ranks: int) -> None:
    """Raise ConfigError unless the micro-batches of a step can be dealt evenly to the ranks."""
    if micro_batches % ranks:
        valid = [str(count) for count in range(1, micro_batches + 1) if micro_batches % count == 0]
        raise ConfigError(
            f"data.global_batch: its {micro_batches} micro-batches cannot be dealt evenly to {ranks} ranks; start "
            f"{', '.join(valid)} ranks, or change global_batch or micro_batch"
        )


def _order_size(spec: PlanSpec, size: int, places: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and copies (places,) of one size in training order.

    A row's k copies are spread evenly: copy j falls at a random time in [j/k, (j+1)/k) of the epoch. The times of a
    shard's rows lie within `shuffle_block` places of each other, modulo 1/k, so few shards are open at a time, and the
    mix of rows with many and with few copies is the same all along the epoch.
    """
    rng = rng_for(spec.seed, Purpose.REPEATS, epoch, size)
    first, stop = spec.size_starts[size : size + 2]
    rows = first + np.flatnonzero(spec.repeats[first:stop] > 0)
    rows = rows[np.argsort(rng.random(len(rows)), kind="stable")]  # neighbours on the line are rounded together
    counts = apportion(spec.repeats[rows], places, rng)
    copies = np.arange(places) - np.repeat(np.cumsum(counts) - counts, counts)
    rows, counts = np.repeat(rows, counts), np.repeat(counts, counts)

    shards = np.searchsorted(spec.shard_starts, rows, side="right") - 1
    phases = rng.random(len(spec.shard_starts) - 1)[shards] + rng.random(places) * min(1.0, spec.shuffle_block / places)
    times = (copies + (phases * counts) % 1.0) / counts
    order = np.argsort(times, kind="stable")
    return rows[order], copies[order]
