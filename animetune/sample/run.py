"""The `sample` stage. Other stages that draw call `draw_folder`."""

from __future__ import annotations

from pathlib import Path

from animetune import samples
from animetune.manifest import Manifest, check_place
from animetune.sample.config import SampleConfig
from animetune.sample.drawing import Drawing
from animetune.sample.parts import Where, draw_folder
from animetune.sample.requests import build
from animetune.sample.weights import WeightsReader

__all__ = ["Drawing", "WeightsReader", "Where", "draw_folder", "run"]


def run(cfg: SampleConfig) -> Manifest:
    """Draw what the configuration asks for into `cfg.out`; a killed run is continued.

    A folder that holds the same request is left as it is. Raises SetupError when `cfg.out` holds something else,
    ConfigError when that is the output of another stage, or for a mistake in a file of prompts.
    """
    out = Path(cfg.out)
    check_place(out, samples.SAMPLES_KIND)
    asked = build(cfg)
    where = Where(device=cfg.device, batch=cfg.batch, executor=cfg.executor)
    return draw_folder(out, asked.drawings, where=where, layout=asked.layout, columns=cfg.columns)
