"""The `train` stage: resume or start, put the pieces together, hand them to Lightning, and say how it ended."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from animetune import checkpoint, config, fsio
from animetune.checkpoint import Checkpoint
from animetune.data.loader import build_loader
from animetune.data.ranks import export_ranks
from animetune.errors import Preempted, ResumeError, SetupError
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest, write_manifest
from animetune.models.load import load_models
from animetune.models.sdxl import Sdxl
from animetune.train import callbacks, cluster
from animetune.train.class_losses import ClassLosses
from animetune.train.config import LoopConfig, TrainConfig
from animetune.train.ema import Ema
from animetune.train.journal import Journal
from animetune.train.module import TrainModule
from animetune.train.optim.build import trained_parameters
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
        ResumeError: the checkpoint belongs to another configuration (the difference is listed) or is damaged.
        Preempted: SIGTERM or SIGUSR1 came; a checkpoint was saved.
        KeyboardInterrupt: SIGINT came; a checkpoint was saved.
    """
    check_place(cfg.run, RUN_KIND, setting="run")
    with contextlib.ExitStack() as held:
        if _is_first_rank():
            held.enter_context(fsio.lock(cfg.run))
            fsio.sweep(Path(cfg.run) / "checkpoints")
        return _run(cfg, resume)


def _run(cfg: TrainConfig, resume: str) -> Manifest:
    folder = Path(cfg.run)
    first = _find_checkpoint(folder, resume)
    finished = _finished(folder, cfg, first)
    if finished:
        return finished
    resumed = checkpoint.load(first) if first else None
    if resumed and first:
        check_identity(resumed.state["identity"], config.identity(cfg), first)
    if _is_first_rank():
        _write_run_files(folder, cfg, resumed)

    models = load_models(cfg.model)
    if resumed:
        models.load_state_dict(resumed.model)
    ema = _build_ema(models, cfg, resumed)
    identity = config.identity(cfg)
    # Of the identity, not of the whole config: a run that was moved, or resumed on other devices, is the same run.
    digest = hashlib.sha256(fsio.canonical_json(identity).encode()).hexdigest()
    state = {"identity": identity, "config_digest": digest}
    fingerprint = resumed.state["data"] if resumed else None
    module = TrainModule(models, cfg, lambda trainer: _build_stream(cfg, trainer, module.step, fingerprint), resumed)

    journal = Journal(folder, cfg.watch, config=cfg.model_dump(mode="json"))
    classes = ClassLosses(cfg.watch.classes)
    classes.load_state_dict(resumed.state["class_losses"] if resumed else [])
    metrics = callbacks.MetricsCallback(folder, journal=journal, classes=classes)
    saver = callbacks.CheckpointCallback(folder / "checkpoints", state=state, ema=ema, measured=metrics.state_to_save)
    stop = callbacks.StopOnSignal(saver.save_now)
    own = [
        callbacks.HeartbeatCallback(folder, timeout=cfg.watch.step_timeout),
        callbacks.AccumulationCallback(),
        *([callbacks.EmaCallback(ema)] if ema else []),
        metrics,
        callbacks.PreviewCallback(folder, ema=ema),
        saver,
        stop,
    ]
    trainer = build_trainer(cfg, own)
    with cluster.private_tmpdir(folder):
        try:
            trainer.fit(module)
        finally:
            module.close()
    if stop.received == signal.SIGINT:
        raise KeyboardInterrupt
    if stop.received:
        raise Preempted(
            f"{folder}: stopped at step {module.step} by {signal.Signals(stop.received).name}; the checkpoint is "
            "saved, the same command continues from it"
        )
    return _finish(folder, cfg, module)


def build_trainer(cfg: TrainConfig, own_callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """The Lightning trainer: one endless epoch, our own checkpoints, metrics and progress (see `stream`).

    Raises SetupError when the global batch does not divide over the ranks.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):  # which set their own level when imported
        logging.getLogger(name).setLevel(logging.WARNING)
    devices, nodes = _devices_and_nodes(cfg.loop)
    trainer = pl.Trainer(
        accelerator=cfg.loop.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(devices, nodes),
        plugins=_plugins(),
        max_epochs=1,
        callbacks=list(own_callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    per_pass = cfg.data.micro_batch * trainer.world_size
    for name, batch in cfg.data.global_batches.items():
        if batch % per_pass:
            fitting = [n for n in range(1, trainer.world_size + 1) if batch % (cfg.data.micro_batch * n) == 0]
            raise SetupError(
                f"data.{name}: {batch} samples do not divide into micro-batches of {cfg.data.micro_batch} on "
                f"{trainer.world_size} ranks; with this micro_batch it fits "
                f"{', '.join(map(str, fitting)) or 'no number of'} ranks"
            )
    trainer.accumulate_grad_batches = cfg.data.global_batch // per_pass
    return trainer


def check_identity(saved: dict[str, Any], current: dict[str, Any], source: Path) -> None:
    """Raise ResumeError with every setting that has to be equal and is not."""
    keys = sorted(saved.keys() | current.keys())
    changed = [key for key in keys if saved.get(key) != current.get(key)]
    if changed:
        lines = [f"  {key}: {saved.get(key)!r} in the checkpoint, {current.get(key)!r} now" for key in changed]
        raise ResumeError(
            f"{source}: was trained with other settings:\n" + "\n".join(lines) + "\nset them back to resume, or choose "
            "another `run:` (with `model.base:` this run directory, to train on from its weights)"
        )


def _find_checkpoint(folder: Path, resume: str) -> Path | None:
    if resume == "never":
        if checkpoint.steps(folder / "checkpoints"):
            raise ResumeError(
                f"{folder}: has checkpoints, and --resume never would overwrite its run; choose another run:"
            )
        return None
    if resume != "auto":
        newer = [path.name for path in checkpoint.steps(folder / "checkpoints") if path.name > Path(resume).name]
        if newer:
            raise ResumeError(
                f"{folder}: has newer checkpoints ({', '.join(newer)}), from which the next start would go on; move "
                "them away first, or choose another run:"
            )
        return Path(resume)
    return checkpoint.latest(folder / "checkpoints")


def _finished(folder: Path, cfg: TrainConfig, newest: Path | None) -> Manifest | None:
    """The manifest of a run that this very configuration has finished."""
    if newest is None or not has_manifest(folder):
        return None
    manifest = read_manifest(folder, kind=RUN_KIND, format_version=RUN_FORMAT)
    same = manifest.config_digest == config.digest(cfg) and manifest.facts["checkpoint"] == newest.name
    return manifest if same else None


def _build_ema(models: Sdxl, cfg: TrainConfig, resumed: Checkpoint | None) -> Ema | None:
    if cfg.loop.ema_decay is None:
        return None
    ema = Ema(trained_parameters(models), decay=cfg.loop.ema_decay)
    if resumed:
        ema.load(resumed.ema)
    return ema


def _build_stream(
    cfg: TrainConfig, trainer: pl.Trainer, first_step: int, fingerprint: dict[str, str] | None
) -> StepStream:
    export_ranks(trainer)
    loader = build_loader(cfg.data, cfg.prompts, seed=cfg.seed)
    _check_ranks_agree(trainer, (first_step, loader.fingerprint))
    length = cfg.total_steps(loader.calendar)
    return StepStream(loader, first_step=first_step, total_steps=length, fingerprint=fingerprint)


def _check_ranks_agree(trainer: pl.Trainer, position: tuple[int, dict[str, str]]) -> None:
    """Raise ResumeError on every rank unless all found the same checkpoint and the same data."""
    if trainer.world_size == 1:
        return
    found: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, position)
    if any(each != found[0] for each in found):
        steps = ", ".join(f"rank {rank} at step {each[0]}" for rank, each in enumerate(found))
        raise ResumeError(
            f"the ranks do not see the same run or the same data ({steps}); `run:`, shards and labels must be on a "
            "file system that all nodes share"
        )


def _devices_and_nodes(loop: LoopConfig) -> tuple[int | str, int]:
    """What torchrun or Slurm started, where `devices` leaves it open; else the machine's devices."""
    launched = os.environ
    if loop.devices != "auto":
        return loop.devices, loop.nodes
    if "TORCHELASTIC_RUN_ID" in launched:
        local = int(launched["LOCAL_WORLD_SIZE"])
        return local, int(launched["WORLD_SIZE"]) // local
    if "SLURM_NTASKS_PER_NODE" in launched:
        return int(launched["SLURM_NTASKS_PER_NODE"]), int(launched.get("SLURM_NNODES", loop.nodes))
    return "auto", loop.nodes


def _strategy(devices: int | str, nodes: int) -> Any:
    """DDP wherever there are several ranks."""
    if nodes > 1 or (torch.cuda.device_count() > 1 if devices == "auto" else devices != 1):
        from pytorch_lightning.strategies import DDPStrategy

        return DDPStrategy(gradient_as_bucket_view=True, static_graph=False)
    return "auto"


def _plugins() -> list[Any]:
    """Under Slurm, Lightning would pickle a checkpoint of its own and requeue on a signal that is ours."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _is_first_rank() -> bool:
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)


def _write_run_files(folder: Path, cfg: TrainConfig, resumed: Checkpoint | None) -> None:
    """config.yaml and env.json of this session, and a line in the ledger that keeps those of all sessions."""
    fsio.atomic_write(folder / "config.yaml", config.to_yaml(cfg))
    environment = {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in ENVIRONMENT_PACKAGES},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
    fsio.write_json(folder / "env.json", environment)
    event = {"event": "resume", "step": resumed.step} if resumed else {"event": "start", "step": 0}
    fsio.append_line(folder / "ledger.jsonl", {**event, "config": config.digest(cfg)})


def _finish(folder: Path, cfg: TrainConfig, module: TrainModule) -> Manifest:
    newest = checkpoint.latest(folder / "checkpoints")
    facts = {
        "step": module.step,
        "images": module.images,
        "checkpoint": newest.name if newest else "",
    }
    manifest = Manifest(kind=RUN_KIND, format_version=RUN_FORMAT, config_digest=config.digest(cfg), facts=facts)
    if _is_first_rank():
        fsio.append_line(folder / "ledger.jsonl", {"event": "done", "step": module.step})
        write_manifest(folder, manifest)
    return manifest
