"""The loaders: what training and validation iterate over, and where the position in the epoch is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import signal
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import DataLoader

from animetune import fsio
from animetune.data.config import DataConfig
from animetune.data.dataset import TrainDataset
from animetune.data.epoch_plan import ORDER, PlanSpec
from animetune.data.maker import SampleMaker, Treatment, collate
from animetune.data.ranks import rank_and_size
from animetune.data.shared_memory import SHARED_MEMORY
from animetune.data.source import Source, describe_small, open_data, plan_spec, size_classes
from animetune.errors import AnimetuneError, ConfigError, DataError, ResumeError, SetupError, ShortEpochError
from animetune.lifeline import die_with
from animetune.mds import ShardLayout, read_sample
from animetune.prompts import PromptConfig
from animetune.records import Batch, Size
from animetune.remote import damage_of
from animetune.shardset import Group, ShardRoot

WORKER_TIMEOUT = 1800.0
"""Seconds without a micro-batch after which the loader gives up: longer than any download may take."""

_log = logging.getLogger(__name__)


class TrainLoader:
    """The micro-batches of this rank, epoch after epoch; each `iter` goes on where the last one stopped.

    The position is (epoch, optimizer step): `state_dict` rounds down to a whole step, and after the last step says
    (epoch + 1, 0). A run that continues from it, on any number of ranks and workers, sees the very samples, prompts
    and crops that it would have seen. Lightning saves and restores the position in checkpoints that are made after a
    step; in those made at the end of an epoch, its version 2.6 forgets it.
    """

    def __init__(self, dataset: TrainDataset, cfg: DataConfig, *, ranks: int, held: contextlib.ExitStack):
        self.source = dataset  # not `dataset`: Lightning would warn of its length and change its settings
        self.spec: PlanSpec = dataset.spec
        self.calendar = self.spec.calendar
        self._cfg = cfg
        self._ranks = ranks
        self._held = held
        self._epoch = 0
        self._yielded = 0  # micro-batches of the epoch, as if it had been iterated from its start
        in_workers: dict[str, Any] = {
            "prefetch_factor": cfg.prefetch,
            "persistent_workers": True,
            "multiprocessing_context": "fork",  # workers inherit the first plan and the maps of the labels
            "timeout": WORKER_TIMEOUT,
            "worker_init_fn": functools.partial(_leave_group, parent=os.getpid()),
        }
        self._loader: DataLoader[Batch | AnimetuneError] = DataLoader(
            dataset,
            batch_size=None,
            num_workers=cfg.workers,
            pin_memory=torch.cuda.is_available(),
            **(in_workers if cfg.workers else {}),
        )

    def accumulation_in(self, epoch: int) -> int:
        """Micro-batches of each of an epoch's steps on this rank."""
        return self.spec.at(epoch).columns // self._ranks

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of the epoch that the position is in."""
        return self.calendar.steps_in(self._epoch)

    @property
    def accumulation(self) -> int:
        """Micro-batches of its steps on this rank."""
        return self.accumulation_in(self._epoch)

    def __len__(self) -> int:
        """Micro-batches of the whole of that epoch on this rank."""
        return self.steps_per_epoch * self.accumulation

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = self._position()
        self._epoch, self._yielded = epoch, step * self.accumulation_in(epoch)
        self.source.seek(epoch, step)
        for batch in self._loader:
            if isinstance(batch, AnimetuneError):
                raise batch
            self._yielded += 1
            yield batch
        if self._yielded != len(self):
            raise ShortEpochError(f"epoch {epoch}: the data ended after {self._yielded} of {len(self)} micro-batches")

    def state_dict(self) -> dict[str, Any]:
        """The position and the fingerprint, as JSON values of a few hundred bytes."""
        epoch, step = self._position()
        return {"epoch": epoch, "step": step, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next `iter` begin at `{"epoch", "step"}`.

        Raises ResumeError when there is no such step, or when the state's fingerprint is there and is another.
        """
        theirs = state.get("fingerprint", self.fingerprint)
        changed = [name for name in self.fingerprint if theirs.get(name) != self.fingerprint[name]]
        if changed:
            lines = [f"  {name}: {theirs.get(name)} then, {self.fingerprint[name]} now" for name in changed]
            raise ResumeError(
                "the order of the data has changed since the checkpoint, so its position means nothing:\n"
                + "\n".join(lines)
                + "\ncontinue with the old shards, labels and batch sizes, or start a new run from its weights"
            )
        epoch, step = state["epoch"], state["step"]
        if epoch < 0 or not 0 <= step < self.calendar.steps_in(epoch):
            steps = self.calendar.steps_in(max(0, epoch))
            raise ResumeError(f"there is no step {step} in epoch {epoch}: an epoch has {steps} steps")
        self._epoch, self._yielded = epoch, step * self.accumulation_in(epoch)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the order of the samples and their labels depend on, in short."""
        spec = self.spec
        makers = self.source.makers
        later = "".join(f", from epoch {epoch} {columns}" for epoch, columns in spec.columns_from)
        return {
            "shards": " ".join(maker.root.digest[:16] for maker in makers),
            "labels": " ".join(maker.labels.content[:16] for maker in makers),
            "repeats": xxhash.xxh3_64_hexdigest(np.ascontiguousarray(spec.repeats).tobytes()),
            "batch": f"{spec.columns}{later} micro-batches of {' '.join(map(str, spec.capacities))}",
            "order": f"version {ORDER}, seed {spec.seed}, block {spec.shuffle_block}, whole steps {spec.whole_steps}",
        }

    @property
    def shapes(self) -> list[tuple[Size, int]]:
        """Each size of the data, with the samples of its full micro-batches."""
        groups = (group for maker in self.source.makers for group in maker.root.groups_of("train"))
        return sorted({(group.size, self._cfg.capacity(group.tier)) for group in groups})

    @property
    def holds_pixels(self) -> bool:
        """Whether samples are pixels, not latents."""
        return self.source.makers[0].root.latents is None

    def keys_of(self, rows: Sequence[int]) -> list[str]:
        """The keys of samples, by their rows in the plan."""
        starts = [maker.first_row for maker in self.source.makers]
        found = ((self.source.makers[bisect_right(starts, row) - 1], row) for row in rows)
        return [maker.labels.label(row - maker.first_row).key for maker, row in found]

    def close(self) -> None:
        """Stop the workers and give back shared memory, locks and the cache. Leaving the process does the same."""
        iterator: Any = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()
            for worker in getattr(iterator, "_workers", ()):  # PyTorch terminates those that wait; they do not hear it
                worker.kill()
            self._loader._iterator = None
        self.source.release()
        self._held.close()

    def _position(self) -> tuple[int, int]:
        if self._yielded == len(self):
            return self._epoch + 1, 0
        return self._epoch, self._yielded // self.accumulation


def _leave_group(worker: int, *, parent: int) -> None:
    """A signal to all processes (Ctrl-C, Slurm) is for training, which saves first; it needs its workers until then.

    They end with their parent, even when that is killed.
    """
    os.setpgrp()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    die_with(parent)


def build_loader(cfg: DataConfig, prompts: PromptConfig, *, seed: int) -> TrainLoader:
    """Open shards and labels and plan the first epoch.

    Ranks are taken from RANK, WORLD_SIZE and LOCAL_WORLD_SIZE, as torchrun sets them; build it on every rank, after
    the process group. Raises DataError, ConfigError or SetupError on every rank when something does not fit.
    """
    _, ranks = rank_and_size()
    with contextlib.ExitStack() as held:
        sources = _open_once_a_node(cfg, held)
        spec = plan_spec(cfg, sources, seed=seed)
        for source in sources:
            source.root.check("train")
        _check_shared_memory(cfg, sources, spec)
        _warn_of_small_classes(cfg, sources, spec)
        treatment = _treatment(cfg, prompts, seed=seed)
        makers = [SampleMaker(source.root, source.labels, source.rows.start, treatment) for source in sources]
        try:
            dataset = TrainDataset(makers, spec, in_workers=cfg.workers > 0, cache_bytes=cfg.cache_bytes)
        except ValueError as error:
            if cfg.cache_bytes is None:
                raise
            raise ConfigError(f"data.cache_bytes: {error}") from error  # streaming wants room for four shards
        return TrainLoader(dataset, cfg, ranks=ranks, held=held.pop_all())


def build_val_loader(cfg: DataConfig, prompts: PromptConfig, *, seed: int, pictures: int | None = None) -> ValLoader:
    """The validation split once, in shard order, always with the prompts of (epoch 0, copy 0) and never mirrored.

    Of more than `pictures`, so many are taken, evenly spread: samples of a size lie in the order of a hash of their key
    there.

    The whole split counts as one step: the mean of `share * loss` over the micro-batches of all ranks is the mean over
    its samples. Each rank gets equally many; ranks that would have one less repeat one with share 0.
    """
    with _turn(cfg):
        sources = open_data(cfg)
        for source in sources:
            source.root.fetch_shards("val")
    treatment = Treatment(prompts=prompts, seed=seed, chunks=cfg.chunks, split=cfg.split)
    makers = []
    first_row = 0
    for source in sources:
        makers.append(SampleMaker(source.root, source.labels, first_row, treatment))
        first_row += len(source.labels)
    rank, ranks = rank_and_size()
    return ValLoader(makers, cfg, rank=rank, ranks=ranks, pictures=pictures)


def _open_once_a_node(cfg: DataConfig, held: contextlib.ExitStack) -> tuple[Source, ...]:
    """`open_data`, one rank of the node after another, so that the first copies what is remote and the others find it.

    The node's first rank holds the cache as long as the loader lives: another job would evict shards that this one
    reads. It sweeps what a killed job left of its downloads; nobody downloads meanwhile.
    """
    if cfg.cache is None:
        return open_data(cfg)
    leads = os.environ.get("LOCAL_RANK", "0") == "0"
    if leads:
        held.enter_context(fsio.lock(cfg.cache))
    with _turn(cfg):
        if leads:
            fsio.sweep(cfg.cache)
        return open_data(cfg)


def _turn(cfg: DataConfig) -> contextlib.AbstractContextManager[None]:
    """While this rank copies to the cache, the others of its node wait, to find what it copied."""
    return contextlib.nullcontext() if cfg.cache is None else fsio.turn(cfg.cache)


def _treatment(cfg: DataConfig, prompts: PromptConfig, *, seed: int) -> Treatment:
    return Treatment(
        prompts=prompts,
        seed=seed,
        chunks=cfg.chunks,
        split=cfg.split,
        flip=cfg.flip,
        random_crop=cfg.crop == "random",
        sample_latents=cfg.sample_latents,
    )


def _warn_of_small_classes(cfg: DataConfig, sources: Sequence[Source], spec: PlanSpec) -> None:
    if os.environ.get("RANK", "0") != "0" or not spec.small_classes:
        return
    classes = size_classes(sources)
    _log.warning("%s", describe_small(cfg, [classes[index] for index in spec.small_classes]))


class ValLoader:
    """This rank's micro-batches of the validation split, read in place, without streaming's shared memory and locks.

    No DataLoader: Lightning would deal it out to the ranks a second time.
    """

    def __init__(
        self, makers: Sequence[SampleMaker], cfg: DataConfig, *, rank: int, ranks: int, pictures: int | None = None
    ):
        self._makers: dict[int, tuple[SampleMaker, str, ShardLayout, int]] = {}
        groups: list[tuple[int, list[int]]] = []
        for maker in makers:
            row = maker.first_row + maker.root.rows_of("val").start
            for group in maker.root.groups_of("val"):
                drawn = []
                for path, layout, place in _places(maker.root, group):
                    if maker.labels.repeats[row - maker.first_row] > 0:
                        self._makers[row] = maker, path, layout, place
                        drawn.append(row)
                    row += 1
                groups.append((cfg.capacity(group.tier), drawn))
        taken = _spread([row for _, drawn in groups for row in drawn], pictures)
        batches = [
            mine[at : at + width]
            for width, drawn in groups
            for mine in [[row for row in drawn if row in taken]]
            for at in range(0, len(mine), width)
        ]
        if not batches:
            folders = ", ".join(str(maker.root.folder) for maker in makers)
            raise DataError(
                f"{folders}: no validation sample that the labels keep; leave out `validation:`, or hold out more "
                "with `split.val_share` of the curate stage"
            )
        self._samples = sum(map(len, batches))
        self._slots = np.cumsum([0, *map(len, batches)])
        self._batches = batches
        self._ranks = ranks
        self._mine = list(range(rank, -(-len(batches) // ranks) * ranks, ranks))

    def __len__(self) -> int:
        return len(self._mine)

    def __iter__(self) -> Iterator[Batch]:
        return map(self._batch, self._mine)

    def _batch(self, place: int) -> Batch:
        surplus = place >= len(self._batches)
        place %= len(self._batches)
        samples = []
        for row in self._batches[place]:
            maker, path, layout, at = self._makers[row]
            samples.append(maker.make(read_sample(path, at, layout), epoch=0, row=row, copy=0))
        batch = collate(
            samples,
            epoch=0,
            step=0,
            first_slot=int(self._slots[place]),
            step_samples=self._samples,
            step_batches=len(self._mine) * self._ranks,
        )
        return dataclasses.replace(batch, share=0.0) if surplus else batch


def _spread(rows: list[int], count: int | None) -> set[int]:
    """`count` of the rows, evenly spread; all, if there are fewer."""
    if count is None or count >= len(rows):
        return set(rows)
    return {rows[place * len(rows) // count] for place in range(count)}


def _places(root: ShardRoot, group: Group) -> Iterator[tuple[str, ShardLayout, int]]:
    """Path, layout and place in the shard of every sample of a group, in row order. Hashes the shards first."""
    for shard in root.index(group):
        raw = shard["raw_data"]
        path = root.folder / group.folder / raw["basename"]
        damage = damage_of(path, size=raw["bytes"], xxh64=raw["hashes"]["xxh64"])
        if damage:
            raise DataError(f"{path}: cannot be read: {damage}; {root.remedy}")
        layout = ShardLayout.of(shard)
        yield from ((str(path), layout, place) for place in range(shard["samples"]))


def _check_shared_memory(cfg: DataConfig, sources: Sequence[Source], spec: PlanSpec) -> None:
    """Raise SetupError when /dev/shm cannot hold a plan and the micro-batches under way: workers die of SIGBUS then."""
    if not SHARED_MEMORY.is_dir():
        return
    bytes_per_pixel = 3.0 if sources[0].root.latents is None else 4 * 4 / 64
    if any(source.root.has_masks for source in sources):
        bytes_per_pixel += 4 / 64
    largest = max(
        cfg.capacity(group.tier) * group.size.area * bytes_per_pixel
        for source in sources
        for group in source.root.groups_of("train")
    )
    batches = cfg.workers * (cfg.prefetch + 1) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    plan = max(spec.at(phase.first_epoch).columns * phase.steps for phase in spec.calendar.phases) * spec.widest
    needed = 8 * plan + batches * largest
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < needed:
        raise SetupError(
            f"{SHARED_MEMORY}: has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed for the order of an "
            "epoch and the micro-batches under way; start the container with --shm-size or --ipc=host, or lower "
            "data.workers"
        )
