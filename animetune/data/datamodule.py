"""The data for Lightning trainers of one's own: `trainer.fit(module, datamodule=AnimeDataModule(...), ckpt_path=...)`.

The position travels in the checkpoint as the data module's state. Lightning also saves the state of loaders, but not in
checkpoints that are made at the end of an epoch, and without any it repeats samples (mosaicml/streaming issue 880).
`animetune train` does without this module: its checkpoints are its own (`train.stream`).
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from animetune.data.config import DataConfig
from animetune.data.loader import TrainLoader, ValLoader, build_loader, build_val_loader
from animetune.data.ranks import export_ranks
from animetune.errors import ConfigError
from animetune.prompts import PromptConfig


class AnimeDataModule(pl.LightningDataModule):
    """Micro-batches of training and validation; `accumulation` of them make an optimizer step on this rank.

    A run continued from a checkpoint, on any number of ranks and data workers, sees the very samples, prompts and crops
    that it would have seen. Save checkpoints after optimizer steps: the position is rounded down to a whole one.
    Raises ConfigError for a batch that grows.
    """

    def __init__(self, cfg: DataConfig, prompts: PromptConfig, *, seed: int):
        super().__init__()
        if cfg.global_batch_from:
            raise ConfigError(
                "data.global_batch_from: Lightning's loops always accumulate the same number of micro-batches; leave "
                "it out, or train with `animetune train`"
            )
        self.cfg = cfg
        self.prompts = prompts
        self.seed = seed
        self._train: TrainLoader | None = None
        self._position: dict[str, Any] | None = None

    def accumulation(self, ranks: int) -> int:
        """What `accumulate_grad_batches` has to be for so many ranks."""
        return self.cfg.micro_batches // ranks

    def train_dataloader(self) -> TrainLoader:
        """Built once, on every rank; its workers live on over epochs."""
        if self._train is None:
            if self.trainer is not None:
                export_ranks(self.trainer)  # Slurm and Lightning's own launcher tell only Lightning
            self._train = build_loader(self.cfg, self.prompts, seed=self.seed)
            if self._position is not None:
                self._train.load_state_dict(self._position)
                self._rescale_progress(self._position["accumulation"], self._train.accumulation)
        return self._train

    def val_dataloader(self) -> ValLoader:
        """The validation split, the same in every epoch; DataError when there is none."""
        if self.trainer is not None:
            export_ranks(self.trainer)
        return build_val_loader(self.cfg, self.prompts, seed=self.seed)

    def state_dict(self) -> dict[str, Any]:
        """The position in the data, for Lightning's checkpoint."""
        if self._train is None:
            return {}
        return self._train.state_dict() | {"accumulation": self._train.accumulation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning before the loaders are built, or later; ResumeError when the data are others."""
        self._position = state_dict or None
        if self._train is not None and self._position is not None:
            self._train.load_state_dict(self._position)

    def _rescale_progress(self, before: int, now: int) -> None:
        """Lightning counts the micro-batches of a rank, which are more on fewer ranks, and ends its epoch by them."""
        if self.trainer is None or before == now:
            return
        counts = self.trainer.fit_loop.epoch_loop.batch_progress.current
        shift = counts.ready * now // before - counts.ready
        for name, count in vars(counts).items():  # `completed` may lag by the batch after which was saved
            setattr(counts, name, count + shift)

    def teardown(self, stage: str) -> None:
        """Stop the workers, give back shared memory."""
        if self._train is not None:
            self._train.close()
            self._train = None
        self._position = None
