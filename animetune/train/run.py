"""The `train` stage: resume or start, put the pieces together, hand them to Lightning, and say how it ended."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from animetune import checkpoint, config, fsio
from animetune.data.loader import build_loader, build_val_loader
from animetune.data.ranks import export_ranks
from animetune.errors import Preempted, ResumeError, SetupError
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest, write_manifest
from animetune.train import callbacks, cluster
from animetune.train.class_losses import ClassLosses
from animetune.train.config import TrainConfig
from animetune.train.journal import Journal
from animetune.train.module import TrainModule
from animetune.train.optim.in_backward import refuse_accumulation
from animetune.train.parallel import build_strategy, gathered, together
from animetune.train.resume import check_length, find
from animetune.train.signals import Stop
from animetune.train.stream import StepStream

RUN_FORMAT = 1
RUN_KIND = "run"
ENVIRONMENT_PACKAGES = (
    "animetune",
    "torch",
    "diffusers",
    "transformers",
    "mosaicml-streaming",
    "pytorch-lightning",
    "numpy",
)


def run(cfg: TrainConfig, *, resume: str = "auto") -> Manifest:
    """Train by `cfg` in the run directory `cfg.run`; returns the run's manifest when the last step is done.

    Args:
        cfg: the whole configuration.
        resume: `auto` continues from the newest checkpoint that verifies and starts anew where there is none; `never`
            starts anew and refuses a run directory that has checkpoints; a path continues from that checkpoint.

    Raises:
        ConfigError: the folder holds the output of another stage.
        ResumeError: the checkpoint belongs to another configuration (the difference is listed) or another run, lies
            past the end of this one, or is damaged.
        Preempted: SIGTERM or SIGUSR1 came; a checkpoint was saved, if there was a step to save.
        KeyboardInterrupt: SIGINT came; likewise.
    """
    check_place(cfg.run, RUN_KIND, setting="run")
    with contextlib.ExitStack() as held:
        stop = held.enter_context(Stop())
        if cluster.is_first_rank():
            held.enter_context(fsio.lock(cfg.run))
            fsio.sweep(Path(cfg.run) / "checkpoints")
        return _finished(cfg, resume) or _run(cfg, resume, stop)


def _run(cfg: TrainConfig, resume: str, stop: Stop) -> Manifest:
    folder = Path(cfg.run)
    module = TrainModule(
        cfg,
        begin=functools.partial(find, cfg=cfg, resume=resume),
        stream=functools.partial(_build_stream, cfg=cfg, stop=stop),
    )
    journal = Journal(folder, cfg.watch, config=cfg.model_dump(mode="json"))
    metrics = callbacks.MetricsCallback(folder, journal=journal, classes=ClassLosses(cfg.watch.classes))
    saver = callbacks.CheckpointCallback(measured=metrics.state_to_save)
    own = [
        callbacks.HeartbeatCallback(folder, timeout=cfg.watch.step_timeout),
        callbacks.AccumulationCallback(),
        metrics,
        callbacks.PreviewCallback(folder, journal),
        *_validating(cfg, journal),
        saver,
        callbacks.StopOnSignal(stop, saver.save_now),
    ]
    trainer = build_trainer(cfg, own)
    with cluster.private_tmpdir(folder):
        try:
            trainer.fit(module)
        finally:
            module.close()
    if stop.received:
        raise Preempted(
            f"{folder}: stopped at step {module.step} by {stop.name}; the checkpoint is saved, the same command "
            "continues from it"
        )
    return _finish(cfg, module)


def build_trainer(cfg: TrainConfig, own_callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """The Lightning trainer: one endless epoch, our own checkpoints, metrics and progress (see `stream`).

    Raises SetupError when the global batch does not divide over the ranks, or the machine lacks the devices.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):  # which set their own level when imported
        logging.getLogger(name).setLevel(logging.WARNING)
    devices, nodes = cluster.devices_and_nodes(cfg.loop)
    on_machine = torch.cuda.device_count() if cfg.loop.accelerator != "cpu" else 0
    ranks = nodes * (max(1, on_machine) if devices == "auto" else devices)
    try:
        trainer = pl.Trainer(
            accelerator=cfg.loop.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=build_strategy(cfg.loop.strategy, ranks=ranks, in_backward=cfg.optimizer.in_backward),
            plugins=cluster.plugins(),
            max_epochs=1,
            callbacks=list(own_callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            use_distributed_sampler=False,
        )
    except MisconfigurationException as error:
        raise SetupError(
            f"loop.accelerator: {cfg.loop.accelerator}, with loop.devices: {devices}: this machine cannot: "
            f"{str(error).strip()}"
        ) from error
    per_pass = cfg.data.micro_batch * trainer.world_size
    for name, batch in cfg.data.global_batches.items():
        if batch % per_pass:
            fitting = [n for n in range(1, trainer.world_size + 1) if batch % (cfg.data.micro_batch * n) == 0]
            raise SetupError(
                f"data.{name}: {batch} samples do not divide into micro-batches of {cfg.data.micro_batch} on "
                f"{trainer.world_size} ranks; with this micro_batch it fits "
                f"{', '.join(map(str, fitting)) or 'no number of'} ranks"
            )
        refuse_accumulation(cfg.optimizer, batch // per_pass)
    trainer.accumulate_grad_batches = cfg.data.global_batch // per_pass
    return trainer


def _build_stream(
    trainer: pl.Trainer, first_step: int, resumed: dict[str, Any], *, cfg: TrainConfig, stop: Stop
) -> StepStream:
    """The data from `first_step` on, after what is said of the session was written."""
    stop.take()
    export_ranks(trainer)
    with together(trainer):
        loader = build_loader(cfg.data, cfg.prompts, seed=cfg.seed)
    _check_data_agree(trainer, loader.fingerprint)
    length = cfg.total_steps(loader.calendar)
    check_length(cfg, first_step, length)
    with together(trainer):
        if trainer.is_global_zero:
            _write_run_files(cfg, first_step)
    return StepStream(loader, first_step=first_step, total_steps=length, fingerprint=resumed.get("data"))


def _check_data_agree(trainer: pl.Trainer, fingerprint: dict[str, str]) -> None:
    """Raise ResumeError on every rank unless all have the same data."""
    found = gathered(trainer, fingerprint)
    if any(each != found[0] for each in found):
        odd = ", ".join(str(rank) for rank, each in enumerate(found) if each != found[0])
        raise ResumeError(
            f"rank {odd}: sees other data than rank 0; shards and labels must be on a file system that all nodes share"
        )


def _validating(cfg: TrainConfig, journal: Journal) -> list[pl.Callback]:
    if cfg.validation is None:
        return []
    load = functools.partial(build_val_loader, cfg.data, cfg.prompts, seed=cfg.seed, pictures=cfg.validation.pictures)
    return [callbacks.ValidationCallback(journal, load)]


def _write_run_files(cfg: TrainConfig, first_step: int) -> None:
    """config.yaml and env.json of this session, and a line in the ledger that keeps those of all sessions."""
    folder = Path(cfg.run)
    fsio.atomic_write(folder / "config.yaml", config.to_yaml(cfg))
    environment = {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in ENVIRONMENT_PACKAGES},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
    fsio.write_json(folder / "env.json", environment)
    event = {"event": "resume" if first_step else "start", "step": first_step, "config": config.digest(cfg)}
    fsio.append_line(folder / "ledger.jsonl", event)


def _finished(cfg: TrainConfig, resume: str) -> Manifest | None:
    """The manifest of a run that this very configuration has finished."""
    newest = checkpoint.steps(Path(cfg.run, "checkpoints"))[-1:]
    if resume != "auto" or not newest or not has_manifest(cfg.run):
        return None
    manifest = read_manifest(cfg.run, kind=RUN_KIND, format_version=RUN_FORMAT)
    same = manifest.config_digest == config.digest(cfg) and manifest.facts["checkpoint"] == newest[0].name
    return manifest if same else None


def _finish(cfg: TrainConfig, module: TrainModule) -> Manifest:
    facts = {"step": module.step, "images": module.images, "checkpoint": checkpoint.folder_name(module.step)}
    manifest = Manifest(kind=RUN_KIND, format_version=RUN_FORMAT, config_digest=config.digest(cfg), facts=facts)
    if cluster.is_first_rank():
        fsio.append_line(Path(cfg.run, "ledger.jsonl"), {"event": "done", "step": module.step})
        write_manifest(cfg.run, manifest)
    return manifest
