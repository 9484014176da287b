"""Where measurements go: JSON lines always, TensorBoard by default, Weights & Biases when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from animetune import fsio
from animetune.errors import SetupError
from animetune.train.config import WandbConfig, WatchConfig


class Board(Protocol):
    """A display of curves and pictures."""

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""

    def show_picture(self, step: int, name: str, file: Path) -> None:
        """Add a picture to those of this name."""

    def close(self) -> None:
        """Write what is not written yet."""


class Journal:
    """The measurements of a run. Every rank has one; the first rank opens it, and those of the others write nothing.

    Args:
        run: the run directory.
        watch: which boards there are.
        config: the whole configuration as JSON values, for boards that show it.
    """

    def __init__(self, run: Path, watch: WatchConfig, *, config: Mapping[str, Any]):
        self.run = run
        self._watch = watch
        self._config = config
        self._boards: list[Board] | None = None

    def open(self, *, first_step: int) -> None:
        """Open the boards; what a killed session left on them of later steps goes away. SetupError when one cannot."""
        self._boards = []
        if self._watch.tensorboard:
            self._boards.append(TensorBoard(self.run / "tb", first_step=first_step))
        if self._watch.wandb:
            self._boards.append(WeightsAndBiases(self.run, self._watch.wandb, config=self._config))

    def metrics(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl; on boards, names without a group are in the group `train`."""
        self._write("metrics.jsonl", line, {name if "/" in name else f"train/{name}": line[name] for name in line})

    def validation(self, line: Mapping[str, Any]) -> None:
        """A line of validation.jsonl, which has `weights`; on boards, it is in the group `validation`."""
        self._write("validation.jsonl", line, {f"validation/{line['weights']}/{name}": line[name] for name in line})

    def preview(self, step: int, grid: Path) -> None:
        """The grid of a preview, for boards alone; the file stays where it is."""
        for board in self._boards or []:
            board.show_picture(step, "samples", grid)

    def event(self, line: Mapping[str, Any]) -> None:
        """A line of ledger.jsonl, which has `event`."""
        self._write("ledger.jsonl", line, {})

    def close(self) -> None:
        """Close the boards."""
        boards, self._boards = self._boards or [], None
        for board in boards:
            board.close()

    def _write(self, file: str, line: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
        if self._boards is not None:
            fsio.append_line(self.run / file, dict(line))
            values = {name: value for name, value in curves.items() if isinstance(value, float)}
            for board in self._boards if values else ():
                board.show(line["step"], values)


class TensorBoard:
    """`tensorboard --logdir <run>/tb`."""

    def __init__(self, folder: Path, *, first_step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else 0)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Add a scalar to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def show_picture(self, step: int, name: str, file: Path) -> None:
        """Add a picture to those of this name."""
        with Image.open(file) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()


class WeightsAndBiases:
    """A run on Weights & Biases that a resumed training goes on with; its name is that of the run directory.

    Raises SetupError without the package.
    """

    def __init__(self, run: Path, cfg: WandbConfig, *, config: Mapping[str, Any]):
        try:
            wandb: Any = importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise SetupError("watch.wandb: needs the package wandb: pip install 'animetune[wandb]'") from error
        self._run = wandb.init(
            project=cfg.project,
            entity=cfg.entity,
            mode=cfg.mode,
            name=run.name,
            id=fsio.short_digest(str(run.resolve())),
            resume="allow",
            dir=str(run),
            config=dict(config),
        )
        self._picture = wandb.Image
        self._run.define_metric("*", step_metric="step")  # its own counter would refuse steps that are done again

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Log all values at once."""
        self._run.log({"step": step, **values})

    def show_picture(self, step: int, name: str, file: Path) -> None:
        """Upload a picture."""
        self._run.log({"step": step, name: self._picture(str(file))})

    def close(self) -> None:
        """Upload what is not uploaded yet."""
        self._run.finish()
