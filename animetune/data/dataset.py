"""Samples from shards: mosaicml-streaming downloads, caches and evicts; the order and the errors are ours.

`TrainDataset` enters StreamingDataset by one hook, an entry of `batching_methods`: the function that returns the ids
for all nodes, ranks and workers. Ids are `copy * N + row` of the epoch plan. With one stream per size, in row order,
streaming's sample number is the row.

What streaming gets wrong is closed here: a failed download or a failed hash ends its epoch silently, or hangs the other
workers; an error in the plan hangs all ranks but one; its names in /dev/shm and TMPDIR collide between jobs.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import json
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streaming.base.shared.prefix as shm_names
import torch
import xxhash
from PIL import Image
from streaming import Stream, StreamingDataset
from streaming.base.batching import batching_methods
from streaming.base.constant import BARRIER_FILELOCK, CACHE_FILELOCK, LOCALS
from streaming.base.dataset import _ShardState
from streaming.base.world import World
from torch.utils.data import get_worker_info

from animetune.buckets import Geometry, time_ids
from animetune.data.epoch_plan import PlanSpec, Units, check_ranks, for_world, plan_epoch, plan_units, work_of
from animetune.errors import AnimetuneError, DataError, ShortEpochError
from animetune.prompts import PromptConfig, compose
from animetune.records import NO_ROW, Batch, Sample, Size
from animetune.seeding import Purpose, rng_for
from animetune.shardset import LabelSet, ShardRoot
from animetune.tokens import tokenize

METHOD = "animetune"
"""Name of our order among streaming's batching methods."""
DOWNLOAD_TIMEOUT = 300.0
"""Seconds for one shard."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Linux keeps it)
NAME_DIGITS = 9
"""Of the number that begins the names of a job in shared memory; streaming's own have 6."""
SWEEP_AFTER = 600.0
"""Seconds after which unlocked names are those of a dead job, and not of one that is just starting."""


@dataclass(frozen=True, slots=True)
class SampleMaker:
    """Makes the sample of (epoch, row, copy) from what the shard holds of it; equal keys give equal samples."""

    root: ShardRoot
    labels: LabelSet
    prompts: PromptConfig
    seed: int
    chunks: int
    flip: float

    def make(self, stored: dict[str, Any], *, epoch: int, row: int, copy: int) -> Sample:
        """Decode, mirror, compose and tokenize. Raises DataError when the sample is damaged or not the label's."""
        label = self.labels.label(row)
        if stored["key"] != label.key:
            raise DataError(
                f"row {row} is {stored['key']!r} in the shard but {label.key!r} in {self.labels.folder}; verify the "
                "shards, then make the label set again"
            )
        geometry = _geometry(stored)
        flipped = bool(self.flip) and rng_for(self.seed, Purpose.FLIP, epoch, row, copy).random() < self.flip
        prompt = compose(label, self.prompts, rng_for(self.seed, Purpose.CAPTION, epoch, row, copy))
        sample = Sample(
            row=row,
            copy=copy,
            size=geometry.target,
            prompt=prompt,
            token_ids=tokenize(prompt, chunks=self.chunks),
            time_ids=np.array(time_ids(geometry, flipped=flipped), np.float32),
            loss_weight=float(self.labels.loss_weights[row]),
        )
        try:
            if self.root.latents is None:
                sample.pixels = _decode_pixels(stored["image"], geometry.target, flipped=flipped)
            else:
                latent = stored["latent_flip" if flipped else "latent"]
                sample.latent = _decode_latent(latent, geometry.target, self.root.latents["dtype"])
        except (OSError, ValueError) as error:
            raise DataError(f"the data of {label.key} is damaged: {error}") from error
        return sample


class TrainDataset(StreamingDataset):
    """The training split of a shard root; iterating yields this worker's micro-batches of the next epoch.

    Constructing it makes the plan of the first epoch, on every rank, so that what is wrong raises on every rank.
    """

    def __init__(self, maker: SampleMaker, spec: PlanSpec, *, in_workers: bool, cache_bytes: int | None):
        root = maker.root
        if os.environ.get("LOCAL_RANK", "0") == "0":
            sweep_shared_memory()
        with _private_names():
            super().__init__(
                streams=_streams(root),
                batch_size=spec.micro_batch,
                cache_limit=cache_bytes,
                num_canonical_nodes=1,
                validate_hash=None if root.remote is None else "xxh64",
                download_timeout=DOWNLOAD_TIMEOUT,
            )
        self._lives = _hold_names(self._shm_prefix_int)
        weakref.finalize(self, self._lives.close)  # for loops that do not close their loader
        self.batching_method = METHOD  # after the constructor, which knows only streaming's own four
        self.spanner = _RowSpanner(self.spanner, self.num_samples)  # type: ignore[assignment]
        self.maker = maker
        self.spec = spec
        self.in_workers = in_workers
        check_ranks(spec.micro_batches, self._parallel_rank_world.num_ranks)
        self._plan = (0, self._ids(0))  # inherited by the workers of the first epoch
        self._epoch = 0
        self._work: list[tuple[int, int]] = []
        self._units: Units
        self._failure: DataError | None = None

    def seek(self, epoch: int, step: int) -> None:
        """Let the next iteration begin at an optimizer step. Call it on every rank."""
        self.next_epoch = epoch
        position = {
            "epoch": epoch,
            "sample_in_epoch": step * self.spec.global_batch,
            "num_canonical_nodes": self.num_canonical_nodes,
            "shuffle_seed": self.shuffle_seed,
        }
        if not hasattr(self, "_resume_shm"):
            self.load_state_dict(position)
        else:  # each load_state_dict would leave another handle behind
            data = json.dumps(position).encode() + b"\0"
            self._resume_shm.buf[: len(data)] = data

    def __iter__(self) -> Iterator[Batch | AnimetuneError]:  # type: ignore[override]  # streaming says dict
        """Micro-batches; in a worker, an error of ours is the last item: raised, it would arrive as a traceback."""
        if self.in_workers and get_worker_info() is None:
            raise RuntimeError(
                "the training data set may only be iterated in the loader's workers: file locks taken in the main "
                "process are inherited by workers that are forked later, which then wait for ever"
            )
        try:
            yield from self._batches()
        except AnimetuneError as error:
            if not self.in_workers:
                raise
            yield error

    def _batches(self) -> Iterator[Batch]:
        samples: list[Sample] = []
        done = 0
        stream: Iterator[Any] = super().__iter__()
        for sample in stream:  # which begins with _get_work
            samples.append(sample)
            step, column = self._work[done]
            if len(samples) == self._units.widths[step, column]:
                yield self._batch(samples, step, column)
                samples = []
                done += 1
        if self._failure is not None:
            raise self._failure
        if samples or done < len(self._work):
            raise ShortEpochError(
                f"epoch {self._epoch}: the data ended after {done} of {len(self._work)} micro-batches of this worker"
            )

    def get_item(self, sample_id: int, retry: int = 7) -> Sample:
        """The sample of an id of the epoch plan, in the epoch that is being iterated."""
        copy, row = divmod(int(sample_id), self.num_samples)
        shard_id, _ = self.spanner[row]
        try:
            stored = super().get_item(row, retry)
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise self._failure or self._unreadable(shard_id, error) from error
        try:
            return self.maker.make(stored, epoch=self._epoch, row=row, copy=copy)
        except DataError as error:
            raise DataError(f"{self._shard_path(shard_id)}: {error}") from error

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Download a shard; what goes wrong names it, and ends this worker and those that wait for the shard."""
        try:
            super().prepare_shard(shard_id, blocking)
        except Exception as error:
            self._failure = self._unreadable(shard_id, error)
            if str(error).startswith("Checksum failure"):
                # Streaming leaves the file where the next run would read it without checking.
                self._shard_path(shard_id).unlink(missing_ok=True)
            # Other workers wait until the shard is local; they then miss the file, try for themselves, and raise too.
            self._shard_states[shard_id] = _ShardState.LOCAL
            raise self._failure from error

    def on_exception(self, future: Future) -> None:
        """Called when a download thread ends: an exception stops the iteration, which then raises it."""
        error = future.exception()
        if error is not None:
            self._failure = self._failure or DataError(f"{self.maker.root.remote}: reading failed: {error}")
            self._event.set()

    def _get_work(self, epoch: int, sample_in_epoch: int) -> np.ndarray:
        """Streaming's counter tells the epoch: also to workers that live on, and after `seek`."""
        world = self._parallel_worker_world
        self._epoch = epoch
        self._units = plan_units(self.spec, epoch)
        self._work = work_of(
            self.spec.steps,
            self.spec.micro_batches,
            rank=world.rank,
            ranks=world.num_ranks,
            worker=world.worker_of_rank,
            workers=world.workers_per_rank,
            first_step=sample_in_epoch // self.spec.global_batch,
        )
        return super()._get_work(epoch, sample_in_epoch)

    def _ids(self, epoch: int) -> np.ndarray:
        plan = plan_epoch(self.spec, epoch)
        return np.where(plan.rows == NO_ROW, NO_ROW, plan.copies * self.num_samples + plan.rows)

    def _work_of_world(self, world: World, epoch: int, sample_in_epoch: int) -> np.ndarray:
        if self._plan[0] != epoch:
            self._plan = (epoch, self._ids(epoch))
        return for_world(
            self._plan[1],
            nodes=world.num_nodes,
            ranks_per_node=world.ranks_per_node,
            workers=world.workers_per_rank,
            first_step=sample_in_epoch // self.spec.global_batch,
        )

    def _batch(self, samples: list[Sample], step: int, column: int) -> Batch:
        widths = self._units.widths[step]
        return collate(
            samples,
            epoch=self._epoch,
            step=step,
            first_slot=int(widths[:column].sum()),
            step_samples=int(widths.sum()),
            step_batches=len(widths),
        )

    def _shard_path(self, shard_id: int) -> Path:
        shard = self.shards[shard_id]
        return Path(shard.dirname, shard.split, shard.file_pairs[0][0].basename)

    def _unreadable(self, shard_id: int, error: Exception) -> DataError:
        return DataError(
            f"{self._shard_path(shard_id)}: cannot be read: {error}; `animetune verify` names every damaged file of a "
            "shard root; a damaged copy in `cache` can be removed"
        )

    def release(self) -> None:
        """Stop the threads, give back shared memory and lock files; the data set cannot be used afterwards."""
        if hasattr(self, "_iterator"):  # iterated in this process; a thread would wait for a shard for ever
            self._event.set()
            self._iterator.non_blocking_exit()
            self._executor.shutdown()
        shared = [
            self._locals_shm,
            self._shared_barrier._arr.shm,
            self._next_epoch.arr.shm,
            self._cache_usage.arr.shm,
            self._shard_states.shm,
            self._shard_access_times.shm,
            *([self._resume_shm] if hasattr(self, "_resume_shm") else []),
        ]
        for memory in shared:
            memory.cleanup()
        for name in (BARRIER_FILELOCK, CACHE_FILELOCK):
            Path(self._filelock_root, shm_names._get_path(self._shm_prefix_int, name)).unlink(missing_ok=True)
        self._lives.close()


def collate(
    samples: Sequence[Sample], *, epoch: int, step: int, first_slot: int, step_samples: int, step_batches: int
) -> Batch:
    """The micro-batch of samples that follow one another in a step of `step_samples` samples."""

    def stack(arrays: list[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays))

    first = samples[0]
    return Batch(
        size=first.size,
        epoch=epoch,
        step=step,
        rows=torch.tensor([sample.row for sample in samples]),
        copies=torch.tensor([sample.copy for sample in samples]),
        slots=torch.arange(first_slot, first_slot + len(samples)),
        token_ids=stack([sample.token_ids for sample in samples]),
        time_ids=stack([sample.time_ids for sample in samples]),
        loss_weights=torch.tensor([sample.loss_weight for sample in samples], dtype=torch.float32),
        share=len(samples) * step_batches / step_samples,
        global_batch=step_samples,
        prompts=[sample.prompt for sample in samples],
        latents=None if first.latent is None else stack([sample.latent for sample in samples]),
        pixels=None if first.pixels is None else stack([sample.pixels for sample in samples]),
    )


def _streams(root: ShardRoot) -> list[Stream]:
    """One stream per size of the training split, in row order: streaming then numbers samples as rows."""
    return [
        Stream(
            remote=None if root.remote is None else f"{root.remote}/{group.folder}",
            local=str(root.folder / group.folder),
        )
        for group in root.groups_of("train")
    ]


def _geometry(stored: dict[str, Any]) -> Geometry:
    (height, width), (resized_height, resized_width) = stored["source"].tolist(), stored["resized"].tolist()
    (top, left), (target_height, target_width) = stored["crop"].tolist(), stored["target"].tolist()
    return Geometry(
        Size(width, height), Size(resized_width, resized_height), left, top, Size(target_width, target_height)
    )


def _decode_pixels(data: bytes, size: Size, *, flipped: bool) -> np.ndarray:
    """uint8 (3, h, w); ValueError when the picture has another size."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP", "PNG")) as image:
        pixels = np.asarray(image)
    if pixels.shape != (size.height, size.width, 3):
        raise ValueError(f"its shape is {pixels.shape}, not {size.height} x {size.width} x 3")
    return np.ascontiguousarray((pixels[:, ::-1] if flipped else pixels).transpose(2, 0, 1))


def _decode_latent(data: bytes, size: Size, dtype: str) -> np.ndarray:
    """float32 (4, h / 8, w / 8); ValueError when there is more or less data."""
    if dtype == "bfloat16":  # the upper half of a float32
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data, "<f2").astype(np.float32)
    return values.reshape(4, size.height // 8, size.width // 8)


def sweep_shared_memory() -> None:
    """Remove what killed jobs left in /dev/shm, which is memory. A job that lives holds a lock on its `locals` file."""
    for path in SHARED_MEMORY.glob(f"{'[0-9]' * NAME_DIGITS}_{LOCALS}"):
        with contextlib.suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - path.stat().st_mtime > SWEEP_AFTER:
                for leftover in SHARED_MEMORY.glob(f"{path.name.removesuffix(LOCALS)}*"):
                    leftover.unlink(missing_ok=True)


def _hold_names(number: int) -> contextlib.ExitStack:
    """Lock the names that begin with `number` until closed, or until this process and its workers have ended."""
    held = contextlib.ExitStack()
    path = SHARED_MEMORY / shm_names._get_path(number, LOCALS)
    if path.is_file():  # not on macOS, where shared memory has no files
        descriptor = os.open(path, os.O_RDONLY)
        held.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return held


@contextlib.contextmanager
def _private_names() -> Iterator[None]:
    """Let streaming number its files in /dev/shm and TMPDIR from a number of this job, not from 0.

    All jobs of a machine share those names; from 0, two that start together take the same, and whatever a killed job
    left is in the way of the next. The ranks of a job share one number, since they share the files.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        job = ":".join(os.environ.get(name, "") for name in ("SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT"))
    else:
        job = str(os.getpid())
    smallest = 10 ** (NAME_DIGITS - 1)
    first = smallest + xxhash.xxh32_intdigest(job.encode()) % (9 * smallest)
    original = shm_names._each_prefix_int
    shm_names._each_prefix_int = lambda: itertools.count(first)
    try:
        yield
    finally:
        shm_names._each_prefix_int = original


class _RowSpanner:
    """Streaming's map from samples to shards, for ids of the epoch plan."""

    def __init__(self, spanner: Any, rows: int):
        self.spanner = spanner
        self.rows = rows

    def __getitem__(self, sample_id: int) -> tuple[int, int]:
        return self.spanner[int(sample_id) % self.rows]


def _generate_work(dataset: TrainDataset, world: World, epoch: int, sample_in_epoch: int) -> np.ndarray:
    return dataset._work_of_world(world, epoch, sample_in_epoch)


batching_methods[METHOD] = _generate_work  # type: ignore[assignment]
