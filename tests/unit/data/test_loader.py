"""The loaders on real shards through mosaicml-streaming: contents, order, resume, and everything that must raise."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pydantic
import pytest
from PIL import Image

from animetune import shardset
from animetune.data.config import DataConfig
from animetune.data.epoch_plan import plan_epoch
from animetune.errors import ConfigError, DataError, ResumeError, SetupError, ShortEpochError
from animetune.prompts import PromptConfig, compose
from animetune.records import NO_ROW
from animetune.seeding import Purpose, rng_for
from animetune.tokens import tokenize
from tests.builders import TINY_SOURCES, tiny_shards

pytestmark = [
    pytest.mark.xdist_group("streaming"),  # importing it takes seconds: once is enough
    # torch warns of more workers than CPUs, which is harmless here.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    # streaming reads a downloaded shard to hash it, and leaves closing the file to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]

SEED = 11
PROMPTS = PromptConfig(order=("count", "general", "quality"), shuffle=("general",), tag_dropout=0.3)
REPEATS = [1.0, 0.5, 2.5, 1.0, 3.0, 0.0, 1.0, 1.0] * 5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_shards(tmp_path_factory.mktemp("loader"), repeats=REPEATS, loss_weight=[0.5, 1.0] * 20)


@pytest.fixture
def build(tiny, monkeypatch):
    """Builds loaders on the tiny root, and closes them."""
    from animetune.data import loader

    built = []

    def build_one(*, shards=tiny[0], labels=tiny[1], prompts=PROMPTS, seed=SEED, **changes):
        settings = {"global_batch": 8, "micro_batch": 2, "workers": 0, "prefetch": 2, "chunks": 1} | changes
        where = {} if "sources" in changes else {"shards": str(shards), "labels": str(labels)}
        cfg = DataConfig(**where, **settings)
        built.append(loader.build_loader(cfg, prompts, seed=seed))
        return built[-1]

    yield build_one
    for each in built:
        each.close()


def summary(batch):
    """All of a batch that training sees, comparable with ==."""
    return {
        "place": (batch.epoch, batch.step, batch.share, batch.global_batch, batch.size),
        "ids": [batch.rows.tolist(), batch.copies.tolist(), batch.slots.tolist()],
        "prompts": batch.prompts,
        "numbers": [batch.token_ids.tolist(), batch.time_ids.tolist(), batch.loss_weights.tolist()],
        "pixels": batch.pixels.tolist(),
    }


@pytest.fixture(scope="module")
def uninterrupted(tiny):
    """Two epochs as one process without workers sees them."""
    from animetune.data import loader

    cfg = DataConfig(
        shards=str(tiny[0]), labels=str(tiny[1]), global_batch=8, micro_batch=2, workers=0, chunks=1, flip=0.5
    )
    train = loader.build_loader(cfg, PROMPTS, seed=SEED)
    epochs = [[summary(batch) for batch in train] for _ in range(2)]
    train.close()
    return epochs


def test_the_order_is_the_plans(build, uninterrupted):
    train = build()
    assert len(train) == train.steps_per_epoch * train.accumulation == len(uninterrupted[0])
    assert train.accumulation == 4
    for epoch, batches in enumerate(uninterrupted):
        plan = plan_epoch(train.spec, epoch)
        flat = zip(plan.rows.reshape(-1, 2), plan.copies.reshape(-1, 2), strict=True)
        for index, (batch, (rows, copies)) in enumerate(zip(batches, flat, strict=True)):
            real = rows != NO_ROW
            assert batch["place"][:2] == (epoch, index // 4)
            assert batch["ids"][:2] == [rows[real].tolist(), copies[real].tolist()]


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_inside_epochs_of_a_grown_batch(build, workers):
    """Epochs 0, 1, 2 have steps of 4, 8 and 2 micro-batches; every point of them is one to go on from."""
    settings = {"global_batch": 8, "global_batch_from": {1: 16, 2: 4}}
    train = build(**settings)
    straight = [[summary(batch) for batch in train] for _ in range(3)]
    assert [train.accumulation_in(epoch) for epoch in range(4)] == [4, 8, 2, 2]
    for epoch, batches in enumerate(straight):
        assert len(batches) == train.calendar.steps_in(epoch) * train.accumulation_in(epoch)
        assert {batch["place"][0] for batch in batches} == {epoch}
    for epoch, step in ((0, 1), (1, 1), (2, 3)):
        resumed = build(**settings, workers=workers)
        resumed.load_state_dict({"epoch": epoch, "step": step, "fingerprint": train.fingerprint})
        found = [summary(batch) for batch in resumed]
        assert found == straight[epoch][step * train.accumulation_in(epoch) :]
        if epoch < 2:
            assert [summary(batch) for batch in resumed] == straight[epoch + 1]
        resumed.close()
    with pytest.raises(ResumeError, match="batch"):
        build().load_state_dict({"epoch": 1, "step": 0, "fingerprint": train.fingerprint})


def test_shares_and_slots_make_the_mean_over_the_steps_samples(uninterrupted):
    for batches in uninterrupted:
        for at in range(0, len(batches), 4):
            step = batches[at : at + 4]
            samples = sum(len(batch["prompts"]) for batch in step)
            assert {batch["place"][3] for batch in step} == {samples}
            assert [slot for batch in step for slot in batch["ids"][2]] == list(range(samples))
            losses = [float(row) for batch in step for row in batch["ids"][0]]
            means = [np.mean(batch["ids"][0]) * batch["place"][2] for batch in step]
            assert np.mean(means) == pytest.approx(np.mean(losses))


def test_samples_hold_the_picture_the_geometry_and_the_prompt_of_their_key(tiny, build, uninterrupted):
    from streaming.base.format import reader_from_json

    root = shardset.open_root(tiny[0])
    labels = shardset.open_labels(tiny[1], root)
    stored = [
        sample
        for group in root.groups
        for shard in root.index(group)
        for sample in reader_from_json(str(root.folder / group.folder), None, shard)
    ]
    flipped = 0
    for batch in [*uninterrupted[0], *uninterrupted[1]]:
        epoch = batch["place"][0]
        for index, (row, copy) in enumerate(zip(*batch["ids"][:2], strict=True)):
            pixels = np.asarray(Image.open(io.BytesIO(stored[row]["image"])))
            height, width = stored[row]["source"].tolist()
            top, left = stored[row]["crop"].tolist()
            if rng_for(SEED, Purpose.FLIP, epoch, row, copy).random() < 0.5:
                flipped += 1
                pixels = pixels[:, ::-1]
                left = stored[row]["resized"][1] - batch["place"][4].width - left
            assert batch["pixels"][index] == pixels.transpose(2, 0, 1).tolist()
            target = [batch["place"][4].height, batch["place"][4].width]
            assert batch["numbers"][1][index] == [height, width, top, left, *target]
            prompt = compose(labels.label(row), PROMPTS, rng_for(SEED, Purpose.CAPTION, epoch, row, copy))
            assert batch["prompts"][index] == prompt
            assert batch["numbers"][0][index] == tokenize(prompt, chunks=1).tolist()
            assert batch["numbers"][2][index] == labels.loss_weights[row]
    assert 20 < flipped < 80


def test_copies_of_a_row_are_augmented_differently(uninterrupted):
    prompts: dict[int, set[str]] = {}
    for batch in uninterrupted[0]:
        for row, prompt in zip(batch["ids"][0], batch["prompts"], strict=True):
            prompts.setdefault(row, set()).add(prompt)
    assert any(len(each) > 1 for each in prompts.values())


def test_preview_shows_the_prompts_that_are_trained(tiny, uninterrupted):
    from animetune.data.preview import TrainedSamples, preview_prompts

    cfg = DataConfig(shards=str(tiny[0]), labels=str(tiny[1]), global_batch=8, micro_batch=2)
    root = shardset.open_root(tiny[0])
    keys = root.samples("key")["key"].to_pylist()
    trained = {
        (keys[row], batch["place"][0]): prompt
        for epoch in uninterrupted
        for batch in epoch
        for row, copy, prompt in zip(*batch["ids"][:2], batch["prompts"], strict=True)
        if copy == 0
    }
    shown = {
        (label.key, epoch): prompt
        for label, prompts in preview_prompts(TrainedSamples(cfg), PROMPTS, seed=SEED, count=12, draws=2)
        for epoch, prompt in enumerate(prompts)
    }
    both = shown.keys() & trained.keys()
    assert len(both) > 12
    assert all(shown[each] == trained[each] for each in both)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing_and_live_on_over_epochs(build, uninterrupted, workers):
    train = build(workers=workers, flip=0.5)
    assert [[summary(batch) for batch in train] for _ in range(2)] == uninterrupted


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", ["first", "middle", "last", "inside a step", "last of the epoch"])
def test_a_new_loader_continues_exactly(build, uninterrupted, workers, stop):
    accumulation, length = 4, len(uninterrupted[0])
    taken = {
        "first": accumulation,
        "middle": length // 2 // accumulation * accumulation,
        "last": length - accumulation,
        "inside a step": 2 * accumulation + 1,
        "last of the epoch": length,
    }[stop]
    train = build(workers=workers, flip=0.5)
    batches = iter(train)
    head = [summary(next(batches)) for _ in range(taken)]
    state = json.loads(json.dumps(train.state_dict()))
    assert len(json.dumps(state)) < 500
    expected = (1, 0) if taken == length else (0, taken // accumulation)
    assert (state["epoch"], state["step"]) == expected

    other = build(workers=2 - workers, flip=0.5)
    other.load_state_dict(state)
    assert other.state_dict() == state
    whole = taken // accumulation * accumulation
    rest = [] if expected[0] else [summary(batch) for batch in other]
    assert head[:whole] + rest == uninterrupted[0]
    assert [summary(batch) for batch in other] == uninterrupted[1]


def test_an_iteration_that_was_broken_off_goes_on_from_the_last_whole_step(build, uninterrupted):
    for workers in (0, 2):
        train = build(workers=workers, flip=0.5)
        for count, _ in enumerate(train, start=1):
            if count == 6:
                break
        assert [summary(batch) for batch in train] == uninterrupted[0][4:]
        assert [summary(batch) for batch in train] == uninterrupted[1]
        train.load_state_dict({"epoch": 0, "step": 2})
        assert [summary(batch) for batch in train] == uninterrupted[0][8:]


def test_a_far_epoch_is_reached_without_the_ones_before(build):
    train = build(workers=2)
    train.load_state_dict({"epoch": 41, "step": 1})
    first = next(iter(train))
    plan = plan_epoch(train.spec, 41)
    assert (first.epoch, first.step) == (41, 1)
    assert first.rows.tolist() == plan.rows[1, 0].tolist()


def test_a_step_of_one_size(build):
    train = build(one_size_per="step")
    sizes = [batch.size for batch in train]
    assert all(len(set(sizes[at : at + 4])) == 1 for at in range(0, len(sizes), 4))


def test_a_custom_rank_takes_its_columns(build, uninterrupted, monkeypatch):
    """Streaming's own view of a rank, without its process group: ranks on nodes of one rank each."""
    import torch.distributed

    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    order = []
    for rank in range(2):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("MASTER_PORT", str(40_000 + rank))
        train = build(flip=0.5)
        assert train.accumulation == 2
        assert len(train) == len(uninterrupted[0]) // 2
        order.append([summary(batch) for batch in train])
    merged = [batch for at in range(0, len(order[0]), 2) for rank in range(2) for batch in order[rank][at : at + 2]]
    assert merged == uninterrupted[0]


def test_data_workers_outlive_a_sigterm_to_all_processes_but_not_their_loader(build, uninterrupted):
    """Slurm's is for training, which wants to finish its step and save."""
    train = build(workers=2, flip=0.5)
    batches = iter(train)
    head = [summary(next(batches))]
    workers = train._loader._iterator._workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert head + [summary(batch) for batch in batches] == uninterrupted[0]
    train.close()
    assert not any(worker.is_alive() for worker in workers)


# What must raise.


def test_a_process_group_that_the_environment_does_not_know_is_refused(build, monkeypatch):
    import torch.distributed as dist

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with pytest.raises(SetupError, match=r"the environment says rank 0 of 1 .*, torch.distributed rank 1 of 2"):
        build()


@pytest.fixture
def copied(tiny, tmp_path):
    """A root that may be damaged; its labels still fit."""
    return Path(shutil.copytree(tiny[0], tmp_path / "shards"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_missing_shard_raises_and_is_named(build, copied, workers):
    victim = sorted((copied / "train").rglob("*.mds"))[2]
    train = build(shards=copied, workers=workers)
    victim.unlink()
    with pytest.raises(DataError, match=f"^{victim}: cannot be read: "):  # the message alone, also from a worker
        list(train)


def test_a_shard_that_was_missing_from_the_start_raises(build, copied):
    victim = sorted((copied / "train").rglob("*.mds"))[0]
    victim.unlink()
    with pytest.raises(DataError, match=str(victim.relative_to(copied))):
        list(build(shards=copied, workers=2))


@pytest.mark.parametrize("damage", ["truncated", "empty", "zeros"])
def test_a_damaged_shard_raises_and_is_named(build, copied, damage):
    victim = sorted((copied / "train").rglob("*.mds"))[1]
    data = victim.read_bytes()
    victim.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "zeros": bytes(len(data))}[damage])
    with pytest.raises(DataError, match=str(victim.relative_to(copied))):
        list(build(shards=copied))


def test_samples_that_are_not_the_labels_raise(build):
    train = build()
    (maker,) = train.source.makers
    reader = train.source.shards[0]
    assert maker.make(reader[0], epoch=0, row=0, copy=0).row == 0
    with pytest.raises(DataError, match=r"row 1 is 'tiny/\d+' in the shard but 'tiny/\d+'"):
        maker.make(reader[0], epoch=0, row=1, copy=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_remote_shards_are_copied_and_give_the_same_epoch(build, tiny, tmp_path, uninterrupted, workers):
    train = build(shards=f"file://{tiny[0]}", cache=str(tmp_path / "cache"), workers=workers, flip=0.5)
    assert [summary(batch) for batch in train] == uninterrupted[0]
    copies = {path.name for path in (tmp_path / "cache").rglob("*") if path.suffix == ".mds"}
    assert copies == {"shard.00000.mds"}
    assert not list((tmp_path / "cache").rglob("val/**/*.mds"))  # training never opens val


@pytest.mark.parametrize("workers", [0, 2])
def test_a_remote_shard_with_a_wrong_hash_raises_and_its_copy_is_removed(build, copied, tmp_path, workers):
    victim = sorted((copied / "train").rglob("*.mds"))[1]
    data = bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.write_bytes(data)
    name = victim.relative_to(copied).as_posix()
    cache = tmp_path / "cache"
    train = build(shards=copied, cache=str(cache), workers=workers)
    with pytest.raises(DataError, match=f"{name}: is damaged: its bytes have changed"):
        list(train)
    assert not [path for path in cache.rglob("*.mds") if path.as_posix().endswith(name)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_remote_shard_that_is_gone_raises_and_is_named(build, copied, tmp_path, workers):
    train = build(shards=copied, cache=str(tmp_path / "cache"), workers=workers)
    victim = sorted((copied / "train").rglob("*.mds"))[1]
    victim.unlink()
    with pytest.raises(DataError, match=victim.relative_to(copied).as_posix()):
        list(train)


def test_an_epoch_that_ends_early_raises(build, monkeypatch):
    from animetune.data.dataset import TrainDataset

    train = build()
    original = TrainDataset._get_work
    monkeypatch.setattr(TrainDataset, "_get_work", lambda self, *position: original(self, *position)[:-3])
    with pytest.raises(ShortEpochError, match=r"ended after \d+ of \d+ micro-batches"):
        list(train)


def test_the_main_process_may_not_iterate_the_workers_data_set(build):
    train = build(workers=2)
    with pytest.raises(RuntimeError, match="may only be iterated in the loader's workers"):
        next(iter(train.source))


def test_a_state_of_other_data_is_refused_with_the_difference(build, tiny, tmp_path):
    from animetune.shards import labels
    from animetune.shards.config import LabelsConfig

    state = build().state_dict()
    table = tiny[0].parent / "table"
    others = {"stage": "labels", "table": table, "shards": tiny[0], "out": tmp_path, "keep": {"rating": ["g"]}}
    labels.run(LabelsConfig.model_validate(others))
    build(labels=tmp_path).load_state_dict(state)  # the filter keeps all: the same repeats, so the same order
    labels.run(LabelsConfig.model_validate(others | {"tiers": "all", "keep": {"quality": ["low"]}}))
    with pytest.raises(ConfigError, match=r"an epoch has 0\.0 samples"):
        build(labels=tmp_path)
    with pytest.raises(
        ResumeError, match=r"(?s)order of the data has changed.*batch: 4 micro-batches of 2 2 2 2 then, 8 micro-batches"
    ):
        build(global_batch=16).load_state_dict(state)
    with pytest.raises(ResumeError, match=r"order: .*seed 11, .* then, .*seed 12, .* now"):
        build(seed=12).load_state_dict(state)
    with pytest.raises(ResumeError, match="there is no step 99 in epoch 0"):
        build().load_state_dict({"epoch": 0, "step": 99})


def test_ranks_that_do_not_divide_are_refused(build, monkeypatch):
    import torch.distributed

    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("MASTER_PORT", "40010")
    with pytest.raises(ConfigError, match="4 micro-batches cannot be dealt evenly to 3 ranks; start 1, 2, 4 ranks"):
        build()


def test_too_little_shared_memory_is_refused(build, monkeypatch):
    from animetune.data import loader

    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(SetupError, match="--shm-size"):
        build()


def test_flipped_latents_have_to_be_in_the_shards(tmp_path, build):
    shards, labels = tiny_shards(tmp_path, [(64, 64)] * 4, store={"name": "latents", "vae": "random:tiny"})
    with pytest.raises(ConfigError, match=r"data.flip: .* holds no latents of mirrored pictures"):
        build(shards=shards, labels=labels, flip=0.5, global_batch=2)


def test_sizes_with_fewer_pictures_than_a_micro_batch_are_reported_and_trained(tmp_path, build, caplog):
    shards, labels = tiny_shards(tmp_path, [(64, 64)] * 14 + [(90, 60)] * 2)
    with caplog.at_level(logging.WARNING):
        train = build(shards=shards, labels=labels, micro_batch=4)
    assert "fewer pictures than a micro-batch holds" in caplog.text
    assert ": 80x48 of tier 64 (4). Merge" in caplog.text
    sizes = [len(batch.prompts) for _ in range(12) for batch in train if batch.size.name == "80x48"]
    assert sizes


def test_only_one_job_at_a_time_uses_a_cache(build, tiny, tmp_path):
    train = build(cache=str(tmp_path / "cache"))
    with pytest.raises(SetupError, match="another animetune process"):
        build(cache=str(tmp_path / "cache"))
    train.close()
    assert len(build(cache=str(tmp_path / "cache")))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_that_is_too_small_for_all_shards_gives_the_same_epoch(build, tiny, tmp_path, uninterrupted, workers):
    shards = [path.stat().st_size for path in (tiny[0] / "train").rglob("*.mds")]
    indexes = sum(path.stat().st_size for path in (tiny[0] / "train").glob("*/*/index.json"))
    limit = indexes + 4 * max(shards)  # the least that streaming accepts
    assert indexes + sum(shards) > limit
    cache = tmp_path / "cache"
    train = build(shards=tiny[0], cache=str(cache), cache_bytes=limit, workers=workers, flip=0.5)
    assert [summary(batch) for batch in train] == uninterrupted[0]
    assert sum(path.stat().st_size for path in cache.rglob("*.mds")) <= limit
    assert len(list((tiny[0] / "train").rglob("*.mds"))) == len(shards)


def test_a_cache_without_room_and_a_limit_without_cache_are_refused(build, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.cache_bytes: "):
        build(cache=str(tmp_path / "cache"), cache_bytes=1000)
    with pytest.raises(pydantic.ValidationError, match="cache_bytes limits the copies in cache"):
        build(cache_bytes=10**9)  # streaming would evict shards of the root itself


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="POSIX shared memory is elsewhere on this system")
def test_nothing_is_left_in_shared_memory_and_tmpdir(build, monkeypatch, tmp_path):
    import tempfile

    def own() -> list[str]:  # other tests run beside this one
        return sorted(path.name for path in Path("/dev/shm").glob(f"{train.source._shm_prefix_int}_*"))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    train = build(workers=2)
    list(train)
    train.load_state_dict({"epoch": 0, "step": 1})
    next(iter(train))
    assert own()
    with pytest.raises(BlockingIOError), open(f"/dev/shm/{train.source._shm_prefix_int}_locals", "rb") as locals_file:
        fcntl.flock(locals_file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held, so that no other job sweeps it
    train.close()
    assert own() == []
    assert not [path for path in tmp_path.iterdir() if "filelock" in path.name]


def test_what_killed_jobs_left_is_swept_but_nothing_of_the_living(build, monkeypatch, tmp_path):
    from animetune.data import shared_memory

    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    names = [f"{number}_{kind}" for number in (111111111, 222222222, 333333333) for kind in ("locals", "epoch_data")]
    for name in [*names, "000001_locals", "torch_111111111_locals"]:
        (tmp_path / name).write_bytes(b"x")
        age = 0 if name.startswith("333333333") else 2 * shared_memory.SWEEP_AFTER
        os.utime(tmp_path / name, (0, (tmp_path / name).stat().st_mtime - age))
    with (tmp_path / "222222222_locals").open("rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        shared_memory.sweep_shared_memory()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted([*names[2:], "000001_locals", "torch_111111111_locals"])


# Latents.


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_latents_are_read_as_they_were_stored(tmp_path, build, dtype):
    import torch

    store = {"name": "latents", "vae": "random:tiny", "dtype": dtype, "flip": True}
    shards, labels = tiny_shards(tmp_path, [(64, 64)] * 6, store=store)
    from streaming.base.format import reader_from_json

    root = shardset.open_root(shards)
    (group,) = root.groups
    stored = [
        sample
        for shard in root.index(group)
        for sample in reader_from_json(str(root.folder / group.folder), None, shard)
    ]
    seen = set()
    for batch in build(shards=shards, labels=labels, flip=0.5, global_batch=2):
        assert batch.pixels is None
        assert batch.latents.dtype == torch.float32
        for row, copy, latent in zip(batch.rows.tolist(), batch.copies.tolist(), batch.latents, strict=True):
            mirrored = rng_for(SEED, Purpose.FLIP, 0, row, copy).random() < 0.5
            data = stored[row]["latent_flip" if mirrored else "latent"]
            expected = torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype)).reshape(4, 8, 8).float()
            assert torch.equal(latent, expected)
            seen.add(mirrored)
    assert seen == {True, False}


# Validation.


@pytest.mark.parametrize(
    ("pictures", "places"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_some_validation_pictures_evenly_spread(tiny, pictures, places):
    from animetune.data.loader import build_val_loader

    cfg = DataConfig(shards=str(tiny[0]), labels=str(tiny[1]), global_batch=8, micro_batch=2, chunks=1)
    labels = shardset.open_labels(tiny[1])
    kept = [row for row in range(35, 40) if labels.repeats[row] > 0]
    found = list(build_val_loader(cfg, PROMPTS, seed=SEED, pictures=pictures))
    assert [row for batch in found for row in batch.rows.tolist()] == [kept[place] for place in places]
    assert [slot for batch in found for slot in batch.slots.tolist()] == list(range(len(places)))


def test_no_validation_pictures(tmp_path):
    from animetune.data.loader import build_val_loader

    shards, labels = tiny_shards(tmp_path, TINY_SOURCES, split="train")
    cfg = DataConfig(shards=str(shards), labels=str(labels), global_batch=2, micro_batch=2, chunks=1)
    with pytest.raises(DataError, match=r"no validation sample that the labels keep; leave out `validation:`"):
        build_val_loader(cfg, PROMPTS, seed=SEED)


def test_validation_sees_every_kept_row_once_and_always_the_same(tiny, monkeypatch):
    from animetune.data.loader import build_val_loader

    settings = {"shards": str(tiny[0]), "labels": str(tiny[1]), "global_batch": 8, "micro_batch": 2, "chunks": 1}
    cfg = DataConfig(**settings, flip=1.0)
    batches = [summary(batch) for batch in build_val_loader(cfg, PROMPTS, seed=SEED)]
    assert batches == [summary(batch) for batch in build_val_loader(cfg, PROMPTS, seed=SEED)]
    labels = shardset.open_labels(tiny[1])
    kept = [row for row in range(35, 40) if labels.repeats[row] > 0]
    assert [row for batch in batches for row in batch["ids"][0]] == kept
    assert len(kept) == 4
    assert {copy for batch in batches for copy in batch["ids"][1]} == {0}
    root = shardset.open_root(tiny[0])
    sources = {f"tiny/{row}": TINY_SOURCES[row % 5] for row in range(40)}
    keys = root.samples("key")["key"].to_pylist()
    for batch in batches:
        for row, ids in zip(batch["ids"][0], batch["numbers"][1], strict=True):
            assert ids[:2] == [sources[keys[row]][1], sources[keys[row]][0]]
    # On two ranks: equally many micro-batches, and the mean over all of share * mean is the mean over the samples.
    weighted = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        mine = [summary(batch) for batch in build_val_loader(cfg, PROMPTS, seed=SEED)]
        weighted.append([batch["place"][2] * np.mean(batch["ids"][0]) for batch in mine])
    assert len(weighted[0]) == len(weighted[1])
    assert np.mean(weighted) == pytest.approx(np.mean(kept))


def test_both_loaders_split_prompts_as_configured(build, tiny):
    from animetune.data.loader import build_val_loader

    prompts = PromptConfig(order=("prefix",), prefix="big red cat, " * 30)
    settings = {"global_batch": 8, "micro_batch": 2, "chunks": 2, "split": "commas"}
    cfg = DataConfig(shards=str(tiny[0]), labels=str(tiny[1]), **settings)
    for loader in (build(prompts=prompts, **settings), build_val_loader(cfg, prompts, seed=SEED)):
        batch = next(iter(loader))
        expected = tokenize(batch.prompts[0], chunks=2, split="commas")
        assert batch.token_ids[0].tolist() == expected.tolist()
        assert expected.tolist() != tokenize(batch.prompts[0], chunks=2).tolist()


def test_validation_of_a_remote_root_reads_its_copy(tiny, tmp_path):
    from animetune.data.loader import build_val_loader

    settings = {"labels": str(tiny[1]), "global_batch": 8, "micro_batch": 2, "chunks": 1}
    here = DataConfig(shards=str(tiny[0]), **settings)
    there = DataConfig(shards=f"file://{tiny[0]}", cache=str(tmp_path), **settings)
    batches = [[summary(batch) for batch in build_val_loader(cfg, PROMPTS, seed=SEED)] for cfg in (here, there)]
    assert batches[0] == batches[1]
    assert len(list(tmp_path.rglob("*.mds"))) == 4


# pytorch-lightning.


def test_lightning_saves_and_restores_the_position(build, tmp_path, uninterrupted):
    import pytorch_lightning as pl
    import torch

    class Recorder(pl.LightningModule):
        """Notes what it is given, and saves a checkpoint after a step, where ModelCheckpoint does."""

        def __init__(self, save_at):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.save_at = save_at
            self.seen = []

        def training_step(self, batch, index):
            self.seen.append(summary(batch))
            return self.layer(torch.ones(1, 1)).sum()

        def on_train_batch_end(self, outputs, batch, index):
            if self.global_step == self.save_at and (index + 1) % 4 == 0:
                self.trainer.save_checkpoint(tmp_path / f"step {self.global_step}")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def fit(steps, workers, checkpoint=None):
        module = Recorder(save_at=steps)
        trainer = pl.Trainer(
            max_epochs=5,
            max_steps=steps,
            accumulate_grad_batches=4,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, build(workers=workers, flip=0.5), ckpt_path=checkpoint)
        return module.seen

    every = [batch for epoch in uninterrupted for batch in epoch]
    per_epoch = len(uninterrupted[0]) // 4
    assert fit(2, 0) == every[:8]
    assert fit(per_epoch, 2, tmp_path / "step 2") == every[8 : 4 * per_epoch]
    assert fit(per_epoch + 2, 0, tmp_path / f"step {per_epoch}") == every[4 * per_epoch : 4 * per_epoch + 8]


# Hashed on first touch.


@pytest.mark.parametrize("workers", [0, 2])
def test_a_flipped_byte_in_a_pixel_raises_though_it_could_be_read(build, copied, workers):
    victim = sorted((copied / "train").rglob("*.mds"))[1]
    data = bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.write_bytes(data)
    with pytest.raises(DataError, match=f"^{victim}: cannot be read: its bytes have changed.*`animetune shard` again;"):
        list(build(shards=copied, workers=workers))


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_copy_is_downloaded_again(build, tiny, tmp_path, uninterrupted, damage):
    settings = {"shards": f"file://{tiny[0]}", "cache": str(tmp_path / "cache"), "flip": 0.5}
    first = build(**settings)
    assert [summary(batch) for batch in first] == uninterrupted[0]
    first.close()
    victim = sorted((tmp_path / "cache").rglob("*.mds"))[2]
    data = bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.unlink()
    if damage != "missing":
        victim.write_bytes(data if damage == "flipped" else data[:100])
    assert [summary(batch) for batch in build(**settings, workers=2)] == uninterrupted[0]
    data[-3] ^= 1
    assert victim.read_bytes() == data


def test_leftovers_of_a_killed_download_are_swept_and_nothing_else(build, tiny, tmp_path):
    cache = tmp_path / "cache"
    (cache / "shards-0" / "part").mkdir(parents=True)
    (cache / "shards-0" / "part" / ".tmp-123-shard.mds").write_bytes(b"half")
    (cache / "mine.txt").write_text("of the user")
    build(shards=f"file://{tiny[0]}", cache=str(cache))
    assert not list(cache.rglob(".tmp-*"))
    assert (cache / "mine.txt").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "index.json"),
        (lambda text: text.replace('"version": 2', '"version": 3', 1), "index.json"),
        (lambda text: text.replace("part-00000/", "../../../outside/", 1), "index.json"),
        (None, "index.json"),
    ],
    ids=["truncated", "of another version", "leading outside", "missing"],
)
def test_an_index_that_is_not_as_written_raises_before_training(build, copied, damage, message):
    victim = sorted((copied / "train").glob("*/*/index.json"))[1]
    text = victim.read_text()
    victim.unlink()
    if damage:
        assert damage(text) != text
        victim.write_text(damage(text))
    with pytest.raises(DataError, match=f"{victim.relative_to(copied)}"):
        build(shards=copied)


# Remote.


@pytest.fixture(scope="module")
def on_s3(tiny):
    import s3fs

    from tests.s3_server import s3_server

    with s3_server() as bucket:
        store = s3fs.S3FileSystem()
        for folder, name in zip(tiny, ("shards", "labels"), strict=True):
            store.put(f"{folder}/", f"{bucket}/{name}/", recursive=True)
        yield bucket


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_and_labels_on_s3(build, on_s3, tmp_path, uninterrupted, workers):
    where = {"shards": f"{on_s3}/shards", "labels": f"{on_s3}/labels", "cache": str(tmp_path)}
    assert [summary(batch) for batch in build(**where, workers=workers, flip=0.5)] == uninterrupted[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_remote_that_vanishes_raises_and_is_named(build, on_s3, tmp_path, monkeypatch, workers):
    from animetune import remote

    monkeypatch.setattr(remote, "PATIENCE", 0.5)
    where = {"shards": f"{on_s3}/shards", "labels": f"{on_s3}/labels", "cache": str(tmp_path)}
    train = build(**where, workers=workers)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=f"{on_s3}/shards/train/.*: is out of reach"):
        list(train)
    s3fs.S3FileSystem.clear_instance_cache()


# Several sources and tiers.


def test_two_sources_are_mixed_by_their_weights(build, tiny, tmp_path):
    others = tiny_shards(tmp_path, [(64, 64)] * 12 + [(100, 70)] * 4)
    sources = [
        {"shards": str(tiny[0]), "labels": str(tiny[1])},
        {"shards": str(others[0]), "labels": str(others[1]), "weight": 2.0},
    ]
    train = build(sources=sources, workers=2)
    first = train.source.makers[1].first_row
    assert first == 35
    seen = {0: 0, 1: 0}
    roots = [shardset.open_root(each["shards"]) for each in sources]
    keys = [root.samples("key")["key"].to_pylist() for root in roots]
    opened = [shardset.open_labels(each["labels"]) for each in sources]
    mixed = 0
    for batch in train:
        origins = set()
        for row, copy, prompt in zip(batch.rows.tolist(), batch.copies.tolist(), batch.prompts, strict=True):
            source = int(row >= first)
            local = row - first * source
            label = opened[source].label(local)
            assert label.key == keys[source][local]
            assert prompt == compose(label, PROMPTS, rng_for(SEED, Purpose.CAPTION, 0, row, copy))
            seen[source] += 1
            origins.add(source)
        mixed += len(origins) == 2
    assert seen[1] == pytest.approx(32, abs=1.5)
    assert mixed  # one size of two roots shares micro-batches
    assert train.fingerprint["shards"].count(" ") == 1


def test_sources_that_do_not_go_together_are_refused(build, tiny, tmp_path):
    latents = tiny_shards(tmp_path, [(64, 64)] * 4, store={"name": "latents", "vae": "random:tiny"})
    sources = [{"shards": str(each[0]), "labels": str(each[1])} for each in (tiny, latents)]
    with pytest.raises(ConfigError, match=r"data.sources: .* holds latents but .* pixels"):
        build(sources=sources)
    with pytest.raises(ConfigError, match=r"data.sources: .* holds the same samples as"):
        build(sources=sources[:1] * 2)
    with pytest.raises(ConfigError, match=r"data.crop: .* holds nothing around its crops"):
        build(crop="random")
    with pytest.raises(ConfigError, match=r"data.sample_latents: .* holds pixels"):
        build(sample_latents=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_tiers_have_micro_batches_of_their_own(build, tmp_path, workers):
    tiers = [{"area": 64 * 64}, {"area": 128 * 128, "max_side": 160}]
    sizes = {"tiers": [{"step": 8, "min_side": 48, "max_side": 96, "max_ratio": 2.0} | each for each in tiers]}
    folders = tiny_shards(tmp_path, [(64, 64)] * 24 + [(140, 140)] * 8, settings={"sizes": sizes})
    train = build(
        shards=folders[0], labels=folders[1], workers=workers, tier_micro_batches={"64": 4, "128": 1}, global_batch=8
    )
    plan = plan_epoch(train.spec, 0)
    order, widths = [], {}
    for batch in train:
        order += batch.rows.tolist()
        widths.setdefault(batch.size.name, set()).add(len(batch.prompts))
    assert order == [row for row in plan.rows.ravel().tolist() if row != NO_ROW]
    assert max(widths["64x64"]) == 4
    assert widths["128x128"] == {1}
    assert set(order) == set(range(32))
