"""What a session continues from and what it leaves for the next; all ranks agree on both."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from animetune import checkpoint, config, fsio
from animetune.checkpoint import Checkpoint
from animetune.errors import ResumeError
from animetune.train.config import TrainConfig
from animetune.train.module import TrainModule
from animetune.train.optim.state import live_state
from animetune.train.parallel import from_first_rank, together


def find(trainer: pl.Trainer, cfg: TrainConfig, resume: str) -> Checkpoint | None:
    """The checkpoint to continue from (`run.run` says what `resume` may be), None for a new run.

    Rank 0 looks, and hashes; the others take its word. Raises ResumeError on all ranks when it was made with other
    settings, is damaged, or is not to be seen from one of the ranks.
    """
    path = from_first_rank(trainer, lambda: choose(Path(cfg.run), resume))
    if path is None:
        return None
    with together(trainer):
        if not path.is_dir():
            raise ResumeError(
                f"{path}: rank {trainer.global_rank} does not see it; `run:` must be on a file system that all nodes "
                "share"
            )
        saved = checkpoint.load(path, verify=False)
        check_identity(saved.state["identity"], config.identity(cfg), path)
    return saved


def choose(run: Path, resume: str) -> Path | None:
    """The newest verified checkpoint of a run, or the one that `resume` names; None for a new run."""
    folder = run / "checkpoints"
    if resume == "never":
        if checkpoint.steps(folder):
            raise ResumeError(
                f"{run}: has checkpoints, and --resume never would overwrite its run; choose another run:"
            )
        return None
    if resume == "auto":
        return checkpoint.latest(folder)
    if checkpoint.steps(folder) and Path(resume).resolve().parent != folder.resolve():
        raise ResumeError(
            f"{resume}: is none of the checkpoints of {run}, and what follows it would mix with them; choose another "
            "run: (with `model.base:` the run directory that it is from, to begin from its weights)"
        )
    newer = [path.name for path in checkpoint.steps(folder) if path.name > Path(resume).name]
    if newer:
        raise ResumeError(
            f"{run}: has newer checkpoints ({', '.join(newer)}), from which the next start would go on; move them away "
            "first, or choose another run:"
        )
    checkpoint.load(Path(resume))
    return Path(resume)


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


def check_length(cfg: TrainConfig, done: int, total_steps: int) -> None:
    """Raise ResumeError when more optimizer steps are `done` than the run has now."""
    if done > total_steps:
        raise ResumeError(
            f"{cfg.run}: its checkpoint has {done:,} steps, and the run is to end after {total_steps:,}; raise "
            f"loop.{'steps' if cfg.loop.steps else 'epochs'}, or choose another run:"
        )


def save(trainer: pl.Trainer, module: TrainModule, *, measured: dict[str, Any]) -> None:
    """Publish a checkpoint of the step that was just finished, and remove what need not be kept; every rank calls it.

    `measured` is what callbacks want to find in `module.resumed` again. When rank 0 cannot write, all ranks raise.
    """
    cfg, step = module.cfg, module.step
    epoch, step_in_epoch = module.stream.calendar.position(step)
    identity = config.identity(cfg)
    if module.ema:
        module.ema.finish()
    saved = Checkpoint(
        step=step,
        model=module.models.state_dict(),
        ema=module.ema.averages if module.ema else {},
        optimizer=live_state(module.optimizer),
        state={
            **measured,
            "identity": identity,
            # Of the identity, not of the whole config: a run that was moved, or goes on elsewhere, is the same run.
            "config_digest": hashlib.sha256(fsio.canonical_json(identity).encode()).hexdigest(),
            "epoch": epoch,
            "step_in_epoch": step_in_epoch,
            "images": module.images,
            "skipped": module.skipped.steps,
            "data": module.stream.loader.fingerprint,
        },
    )
    run = Path(cfg.run)
    with together(trainer):
        path = checkpoint.save(saved, run / "checkpoints", writes=trainer.is_global_zero)
        if trainer.is_global_zero:
            checkpoint.prune(run / "checkpoints", cfg.checkpoints.keep, also_every=cfg.checkpoints.keep_every)
            fsio.append_line(run / "ledger.jsonl", {"event": "checkpoint", "path": path.name})
