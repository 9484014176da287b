"""The loaders: what training and validation iterate over, and where the position in the epoch is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xxhash
from streaming.base.format import reader_from_json
from torch.utils.data import DataLoader, Dataset

from animetune import fsio
from animetune.data.config import DataConfig
from animetune.data.dataset import SHARED_MEMORY, SampleMaker, TrainDataset, collate
from animetune.data.epoch_plan import PlanSpec
from animetune.data.source import open_data, plan_spec
from animetune.errors import AnimetuneError, ConfigError, DataError, ResumeError, SetupError, ShortEpochError
from animetune.executor import die_with
from animetune.prompts import PromptConfig
from animetune.records import Batch
from animetune.shardset import ShardRoot

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
        self.steps_per_epoch = self.spec.steps
        self.accumulation = self.spec.micro_batches // ranks
        """Micro-batches of a step on this rank."""
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

    def __len__(self) -> int:
        """Micro-batches of a whole epoch on this rank."""
        return self.steps_per_epoch * self.accumulation

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = self._position()
        self._epoch, self._yielded = epoch, step * self.accumulation
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
        if not (state["epoch"] >= 0 and 0 <= state["step"] < self.steps_per_epoch):
            raise ResumeError(
                f"there is no step {state['step']} in epoch {state['epoch']}: an epoch has {self.steps_per_epoch} steps"
            )
        self._epoch, self._yielded = state["epoch"], state["step"] * self.accumulation

    @property
    def fingerprint(self) -> dict[str, str]:
        """What the order of the samples depends on, in short: equal fingerprints mean equal plans."""
        spec = self.spec
        return {
            "shards": self.source.maker.root.digest[:16],
            "repeats": xxhash.xxh3_64_hexdigest(np.ascontiguousarray(spec.repeats).tobytes()),
            "batch": f"{spec.global_batch}/{spec.micro_batch}",
            "order": f"seed {spec.seed}, block {spec.shuffle_block}, whole steps {spec.whole_steps}",
        }

    def close(self) -> None:
        """Stop the workers and give back shared memory, locks and the cache. Leaving the process does the same."""
        if self._loader._iterator is not None:
            self._loader._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._loader._iterator = None
        self.source.release()
        self._held.close()

    def _position(self) -> tuple[int, int]:
        if self._yielded == len(self):
            return self._epoch + 1, 0
        return self._epoch, self._yielded // self.accumulation


def _leave_group(worker: int, *, parent: int) -> None:
    """A signal to the whole group (Ctrl-C, Slurm) is for training, which saves first; it needs its workers until then.

    They end with their parent, even when that is killed.
    """
    os.setpgrp()
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    die_with(parent)


def build_loader(cfg: DataConfig, prompts: PromptConfig, *, seed: int) -> TrainLoader:
    """Open shards and labels and plan the first epoch.

    Ranks are taken from RANK, WORLD_SIZE and LOCAL_WORLD_SIZE, as torchrun sets them; build it on every rank, after
    the process group. Raises DataError, ConfigError or SetupError on every rank when something does not fit.
    """
    root, labels = open_data(cfg)
    spec = plan_spec(cfg, root, labels, seed=seed)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    _check_shared_memory(cfg, root, spec)
    small = [root.groups_of("train")[index] for index in spec.small_sizes]
    if small and os.environ.get("RANK", "0") == "0":
        _log.warning(
            "%s: fewer pictures than micro_batch %d, so that they repeat inside a micro-batch: %s",
            cfg.shards,
            cfg.micro_batch,
            ", ".join(f"{group.size.name} ({group.samples})" for group in small),
        )
    with contextlib.ExitStack() as held:
        if cfg.cache is not None and os.environ.get("LOCAL_RANK", "0") == "0":
            held.enter_context(fsio.lock(cfg.cache))  # another job would evict shards that this one reads
        maker = SampleMaker(root, labels, prompts, seed=seed, chunks=cfg.chunks, flip=cfg.flip)
        try:
            dataset = TrainDataset(maker, spec, in_workers=cfg.workers > 0, cache_bytes=cfg.cache_bytes)
        except ValueError as error:
            if cfg.cache_bytes is None:
                raise
            raise ConfigError(f"data.cache_bytes: {error}") from error  # streaming wants room for four shards
        return TrainLoader(dataset, cfg, ranks=ranks, held=held.pop_all())


def build_val_loader(cfg: DataConfig, prompts: PromptConfig, *, seed: int) -> DataLoader[Batch]:
    """The validation split once, in shard order, always with the prompts of (epoch 0, copy 0) and never mirrored.

    The whole split counts as one step: the mean of `share * loss` over the micro-batches of all ranks is the mean over
    its samples. Each rank gets equally many; ranks that would have one less repeat one with share 0.
    """
    root, labels = open_data(cfg)
    root.fetch_shards("val")
    maker = SampleMaker(root, labels, prompts, seed=seed, chunks=cfg.chunks, flip=0.0)
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return DataLoader(_ValDataset(maker, cfg.micro_batch, rank=rank, ranks=ranks), batch_size=None)


class _ValDataset(Dataset[Batch]):
    """Micro-batches of the validation split, read in place, without StreamingDataset's shared memory and locks."""

    def __init__(self, maker: SampleMaker, micro_batch: int, *, rank: int, ranks: int):
        self.maker = maker
        rows = maker.root.rows_of("val")
        self._readers = [
            (reader_from_json(str(maker.root.folder / group.folder), None, shard), place)
            for group in maker.root.groups_of("val")
            for shard in maker.root.index(group)
            for place in range(shard["samples"])
        ]
        batches: list[list[int]] = []
        start = rows.start
        for group in maker.root.groups_of("val"):
            drawn = [row for row in range(start, start + group.samples) if maker.labels.repeats[row] > 0]
            batches += [drawn[at : at + micro_batch] for at in range(0, len(drawn), micro_batch)]
            start += group.samples
        if not batches:
            raise DataError(f"{maker.root.folder}: holds no validation sample that the labels keep")
        self._first_row = rows.start
        self._samples = sum(map(len, batches))
        self._slots = np.cumsum([0, *map(len, batches)])
        self._batches = batches
        self._ranks = ranks
        self._mine = list(range(rank, -(-len(batches) // ranks) * ranks, ranks))

    def __len__(self) -> int:
        return len(self._mine)

    def __getitem__(self, index: int) -> Batch:
        place = self._mine[index]
        surplus = place >= len(self._batches)
        place %= len(self._batches)
        samples = []
        for row in self._batches[place]:
            reader, at = self._readers[row - self._first_row]
            samples.append(self.maker.make(reader[at], epoch=0, row=row, copy=0))
        batch = collate(
            samples,
            epoch=0,
            step=0,
            first_slot=int(self._slots[place]),
            step_samples=self._samples,
            step_batches=len(self._mine) * self._ranks,
        )
        return dataclasses.replace(batch, share=0.0) if surplus else batch


def _check_shared_memory(cfg: DataConfig, root: ShardRoot, spec: PlanSpec) -> None:
    """Raise SetupError when /dev/shm cannot hold a plan and the micro-batches under way: workers die of SIGBUS then."""
    if not SHARED_MEMORY.is_dir():
        return
    area = max(group.size.area for group in root.groups_of("train"))
    sample = 3 * area if root.latents is None else 4 * 4 * area // 64
    batches = cfg.workers * (cfg.prefetch + 1) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    needed = 8 * spec.steps * spec.global_batch + batches * cfg.micro_batch * sample
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < needed:
        raise SetupError(
            f"{SHARED_MEMORY}: has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed for the order of an "
            "epoch and the micro-batches under way; start the container with --shm-size or --ipc=host, or lower "
            "data.workers"
        )
