"""Samples from shards: mosaicml-streaming caches, prefetches and evicts; the order, the bytes and the errors are ours.

`TrainDataset` enters StreamingDataset by one hook, an entry of `batching_methods`: the function that returns the ids
for all nodes, ranks and workers. Ids are `copy * N + row` of the epoch plan. With one stream per size, in row order,
streaming's sample number is the row.

What streaming gets wrong is closed here. A failed download or a failed hash ends its epoch silently, or hangs the other
workers. A shard that is on the disk already is never hashed; here each is hashed before its first sample is read, by
the first of the node's workers (`_first_touch`). A shard that was evicted between its download and its use is waited
for, for ever. A wrong plan hangs all ranks but one. Names in /dev/shm and TMPDIR collide between jobs (see
`shared_memory`).
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import sleep, time_ns
from typing import Any

import numpy as np
from streaming import Stream, StreamingDataset
from streaming.base.batching import batching_methods
from streaming.base.constant import BARRIER_FILELOCK, CACHE_FILELOCK, TICK
from streaming.base.dataset import _Iterator, _ShardState
from streaming.base.shared import SharedArray
from streaming.base.world import World
from torch.utils.data import get_worker_info

from animetune import remote
from animetune.data.epoch_plan import PlanSpec, Units, check_ranks, for_world, plan_epoch, plan_units, work_of
from animetune.data.maker import SampleMaker, collate
from animetune.data.shared_memory import hold_names, name_of, private_names, sweep_shared_memory
from animetune.errors import AnimetuneError, DataError, ShortEpochError
from animetune.mds import ShardLayout, read_sample
from animetune.records import NO_ROW, Batch, Sample
from animetune.shardset import Group, ShardRoot

METHOD = "animetune"
"""Name of our order among streaming's batching methods."""
CHECKED = "checked"
"""Name of the array in shared memory that says which shards were hashed."""


class TrainDataset(StreamingDataset):
    """The training split of shard roots; iterating yields this worker's micro-batches of the next epoch.

    Constructing it makes the plan of the first epoch, on every rank, so that what is wrong raises on every rank.
    """

    def __init__(
        self, makers: Sequence[SampleMaker], spec: PlanSpec, *, in_workers: bool, cache_bytes: int | None = None
    ):
        if os.environ.get("LOCAL_RANK", "0") == "0":
            sweep_shared_memory()
        groups = [(maker.root, group) for maker in makers for group in maker.root.groups_of("train")]
        with private_names():
            super().__init__(
                streams=[_CheckedStream(root, group) for root, group in groups],
                batch_size=spec.widest,
                cache_limit=cache_bytes,
                num_canonical_nodes=1,
            )
        self._checked = SharedArray(self.num_shards, np.uint8, name_of(self._shm_prefix_int, CHECKED))
        self._lives = hold_names(self._shm_prefix_int)
        weakref.finalize(self, self._lives.close)  # for loops that do not close their loader
        self.batching_method = METHOD  # after the constructor, which knows only streaming's own four
        self.spanner = _RowSpanner(self.spanner, self.num_samples)  # type: ignore[assignment]
        self.makers = tuple(makers)
        self._layouts = [ShardLayout.of(root.index(group)[0]) for root, group in groups]
        self._paths = [str(self._shard_path(shard_id)) for shard_id in range(self.num_shards)]
        self._first_rows = np.array([maker.first_row for maker in makers])
        self.spec = spec
        self.in_workers = in_workers
        for epoch in (phase.first_epoch for phase in spec.calendar.phases):
            check_ranks(spec.at(epoch).columns, self._parallel_rank_world.num_ranks)
        # Made by one rank of a node, inherited by its workers; the others only see that it can be made.
        self._plan = (0, self._ids(0) if self._unique_rank_world.is_local_leader else None)
        plan_units(spec, 0)
        self._epoch = 0
        self._work: list[tuple[int, int]] = []
        self._units: Units
        self._failure: AnimetuneError | None = None

    def seek(self, epoch: int, step: int) -> None:
        """Let the next iteration begin at an optimizer step. Call it on every rank."""
        self.next_epoch = epoch
        position = {
            "epoch": epoch,
            "sample_in_epoch": step,  # which streaming only hands on to `_get_work`
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
        if hasattr(self, "_iterator"):
            self._iterator.exit()
            self._iterator.sample_ids = np.empty(0, np.int64)  # streaming keeps every epoch's until the process ends
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
        shard_id, place = self.spanner[row]
        stored = self._read(shard_id, place, attempts=1 + retry)
        maker = self.makers[int(np.searchsorted(self._first_rows, row, side="right")) - 1]
        try:
            return maker.make(stored, epoch=self._epoch, row=row, copy=copy)
        except DataError as error:
            raise DataError(f"{self._paths[shard_id]}: {error}") from error

    def _read(self, shard_id: int, place: int, *, attempts: int) -> dict[str, Any]:
        """The columns of a sample; again when its shard is evicted just before it is read."""
        for _ in range(attempts):
            self.prepare_shard(shard_id)
            try:
                return read_sample(self._paths[shard_id], place, self._layouts[self.stream_per_shard[shard_id]])
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                raise self._unreadable(shard_id, error) from error
        what = (
            "it was removed, or is evicted again and again: raise data.cache_bytes"
            if self.cache_limit
            else "it is gone"
        )
        raise self._unreadable(shard_id, what)

    # The life of a shard: remote -> downloaded and hashed (`_CheckedStream`) or found on the disk and hashed
    # (`_first_touch`) -> read -> evicted when there is a cache limit.

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Make a shard ready to be read; what goes wrong names it and raises, in every worker that needs the shard."""
        while not (self._shard_states[shard_id] == _ShardState.LOCAL and self._checked[shard_id]):
            try:
                super().prepare_shard(shard_id, False)
                if self._shard_states[shard_id] == _ShardState.LOCAL:
                    self._checked[shard_id] = self._first_touch(shard_id)
            except Exception as error:
                self._shard_states[shard_id] = _ShardState.REMOTE  # so that others do not wait, but try and raise too
                failure = error if isinstance(error, AnimetuneError) else self._unreadable(shard_id, error)
                self._failure = failure
                raise failure from error
            if not blocking:
                return
            if self._shard_states[shard_id] == _ShardState.PREPARING:  # by another thread or worker
                if hasattr(self, "_event") and self._event.is_set():
                    raise self._failure or self._unreadable(shard_id, "another thread failed")
                sleep(TICK)
        self._shard_access_times[shard_id] = time_ns()  # as on reading, without streaming's file lock for each sample

    def _first_touch(self, shard_id: int) -> bool:
        """Whether a shard's bytes are known to be right; hashes those that were here when the run began.

        Costs one reading, which the samples then find in memory. A damaged copy is downloaded again; a damaged shard of
        a root that is used in place raises DataError.
        """
        path, info = self._shard_path(shard_id), self.shards[shard_id].file_pairs[0][0]
        stream = self.streams[self.stream_per_shard[shard_id]]
        if info.basename in stream.fetched:
            return True
        try:
            problem = remote.damage_of(path, size=info.bytes, xxh64=info.hashes["xxh64"])
        except FileNotFoundError:
            if not self.cache_limit:
                raise
            return False  # evicted meanwhile
        if problem and stream.remote is None:
            raise self._unreadable(shard_id, problem)
        if problem:
            stream._download_file(info.basename)
        return True

    # Streaming runs these two in threads of each worker. An exception in one would be forgotten, and the other waited
    # for without end.

    def _prepare_thread(self, it: _Iterator) -> None:
        """Download ahead of what is read."""
        self._run_thread(super()._prepare_thread, it)

    def _ready_thread(self, it: _Iterator) -> None:
        """Let the samples be read whose shards are ready.

        Streaming's own waits until the shard's state is `local`. When the thread that downloads ahead evicts it first,
        nobody downloads it again, and the epoch hangs.
        """
        self._run_thread(self._release_samples, it)

    def _release_samples(self, it: _Iterator) -> None:
        while not (it.should_exit() or it.ready_index == it.total or self._event.is_set()):
            if self.predownload is not None and it.ready_index - it.yield_index > self.predownload:
                sleep(TICK)
                continue
            sample_id = it.sample_ids[it.ready_index]
            if sample_id != NO_ROW:
                self.prepare_shard(self.spanner[sample_id][0])
            it.ready_index += 1
        it.on_exit()

    def _run_thread(self, body: Callable[[_Iterator], None], it: _Iterator) -> None:
        try:
            body(it)
        except Exception as error:
            self._failure = self._failure or DataError(f"{self.streams[0].local}: reading ahead failed: {error!r}")
            self._event.set()  # ends the iteration, which then raises the failure
            it.on_exit()

    # The order.

    def _get_work(self, epoch: int, sample_in_epoch: int) -> np.ndarray:
        """Streaming's counter tells the epoch: also to workers that live on, and after `seek`."""
        world = self._parallel_worker_world
        self._epoch = epoch
        self._units = plan_units(self.spec, epoch)
        spec = self.spec.at(epoch)
        self._work = work_of(
            spec.steps,
            spec.columns,
            rank=world.rank,
            ranks=world.num_ranks,
            worker=world.worker_of_rank,
            workers=world.workers_per_rank,
            first_step=sample_in_epoch,
        )
        return super()._get_work(epoch, sample_in_epoch)

    def _ids(self, epoch: int) -> np.ndarray:
        return plan_epoch(self.spec, epoch).ids(self.num_samples)

    def _work_of_world(self, world: World, epoch: int, sample_in_epoch: int) -> np.ndarray:
        made_for, ids = self._plan
        if made_for != epoch or ids is None:
            ids = self._ids(epoch)
            self._plan = (epoch, ids)
        return for_world(
            ids,
            nodes=world.num_nodes,
            ranks_per_node=world.ranks_per_node,
            workers=world.workers_per_rank,
            first_step=sample_in_epoch,
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

    def _unreadable(self, shard_id: int, error: Exception | str) -> DataError:
        remedy = self.streams[self.stream_per_shard[shard_id]].remedy
        return DataError(f"{self._shard_path(shard_id)}: cannot be read: {error}; {remedy}")

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
            self._checked.shm,
            *([self._resume_shm] if hasattr(self, "_resume_shm") else []),
        ]
        for memory in shared:
            memory.cleanup()
        for name in (BARRIER_FILELOCK, CACHE_FILELOCK):
            Path(self._filelock_root, name_of(self._shm_prefix_int, name)).unlink(missing_ok=True)
        self._lives.close()


class _CheckedStream(Stream):
    """A stream whose downloads are whole and right before they are seen, from every place that fsspec knows."""

    def __init__(self, root: ShardRoot, group: Group):
        super().__init__(local=str(root.folder / group.folder))
        if root.remote is not None:  # not through the constructor, which knows fewer protocols
            self.remote = f"{root.remote}/{group.folder}"
        self.fetched: set[str] = set()
        """Names of the shards that this process downloaded."""
        self.remedy = root.remedy
        self._raw = {shard["raw_data"]["basename"]: shard["raw_data"] for shard in root.index(group)}

    def _download_file(self, from_basename: str, to_basename: str | None = None) -> str:
        path = Path(self.local, to_basename or from_basename)
        if self.remote is None:
            raise FileNotFoundError("it is missing")
        raw = self._raw[from_basename]
        remote.fetch(f"{self.remote}/{from_basename}", path, size=raw["bytes"], xxh64=raw["hashes"]["xxh64"])
        self.fetched.add(from_basename)
        return str(path)


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
