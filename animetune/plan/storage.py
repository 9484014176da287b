"""What an epoch reads from disk or network: how much of each shard, and how many bytes of them it holds at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from animetune.data.epoch_plan import EpochPlan, PlanSpec
from animetune.data.source import Source
from animetune.records import NO_ROW


@dataclass(frozen=True)
class Usage:
    """How much of the shards the labels use."""

    shares: np.ndarray
    """float64 (shards,): part of each shard's samples with repeats above 0."""
    sizes: np.ndarray
    """int64 (shards,): bytes."""

    @property
    def read_bytes(self) -> int:
        """Bytes of the shards that are read at all: a shard is downloaded whole, for whatever is used of it."""
        return int(self.sizes[self.shares > 0].sum())

    @property
    def used_share(self) -> float:
        """Part of `read_bytes` that belongs to samples with repeats above 0."""
        return float((self.shares * self.sizes).sum() / self.read_bytes)


@dataclass(frozen=True)
class Traffic:
    """Shards of one epoch, as a machine sees it that reads all micro-batches. Each of several reads a little less."""

    most_open: int
    """Bytes of the shards in use at a time, at most."""
    reopened: int
    """Bytes of all shards, each as often as it comes into use: what is downloaded by a cache of `most_open` bytes."""


def shard_sizes(sources: Sequence[Source]) -> np.ndarray:
    """int64 (shards,): bytes of each shard of the plan."""
    shards = (
        shard for source in sources for group in source.root.groups_of("train") for shard in source.root.index(group)
    )
    return np.array([shard["raw_data"]["bytes"] for shard in shards], np.int64)


def usage_of(spec: PlanSpec, sizes: np.ndarray) -> Usage:
    """How much of each shard is ever drawn; `sizes` are the shards' bytes."""
    used = np.concatenate([[0], np.cumsum(spec.repeats > 0)])[spec.shard_starts]
    return Usage(np.diff(used) / np.diff(spec.shard_starts), sizes)


def traffic_of(spec: PlanSpec, plan: EpochPlan, sizes: np.ndarray) -> Traffic:
    """Follow every shard through an epoch.

    A shard is in use from a sample of it to the next, if that is no further away than the rows of a shard are shuffled;
    otherwise it comes into use again: a row's copies are spread over the epoch.
    """
    shard_of_row = np.repeat(np.arange(len(sizes), dtype=np.int64), np.diff(spec.shard_starts))
    drawn = plan.rows != NO_ROW
    bits = spec.steps.bit_length()
    uses = shard_of_row[plan.rows[drawn]]
    uses <<= bits
    uses |= np.repeat(np.arange(spec.steps), drawn.sum(axis=(1, 2)))
    uses.sort()
    uses = uses[np.diff(uses, prepend=-1) > 0]
    shards, steps = uses >> bits, uses & ((1 << bits) - 1)

    same = np.diff(shards, prepend=-1) == 0
    opens = ~(same & (np.diff(steps, prepend=0) <= _window_steps(spec)[shards]))
    first, last = steps[opens], steps[np.append(np.flatnonzero(opens)[1:], len(steps)) - 1]
    opened = sizes[shards[opens]]
    change = np.zeros(spec.steps + 1, np.int64)
    np.add.at(change, first, opened)
    np.subtract.at(change, last + 1, opened)
    return Traffic(most_open=int(np.cumsum(change).max()), reopened=int(opened.sum()))


def _window_steps(spec: PlanSpec) -> np.ndarray:
    """int64 (shards,): steps over which the rows of each shard are shuffled."""
    groups = np.searchsorted(spec.group_starts, spec.shard_starts[:-1], side="right") - 1
    places = np.maximum(spec.samples_by_class, 1)
    windows = np.ceil(np.minimum(1.0, spec.shuffle_block / places) * spec.steps).astype(np.int64)
    return windows[spec.group_classes[groups]]
