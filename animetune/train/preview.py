"""Pictures from the model in training, published like those of the `sample` stage."""

from __future__ import annotations

import collections
from pathlib import Path

import torch

from animetune import samples
from animetune.diffusion.draw import draw
from animetune.diffusion.draw_config import TextConfig
from animetune.models.sdxl import Sdxl
from animetune.records import Request, Size
from animetune.train.config import TrainConfig


def draw_preview(models: Sdxl, cfg: TrainConfig, folder: Path, *, device: torch.device, publishes: bool = True) -> None:
    """Draw `cfg.preview.prompts` into `folder`; picture i always has the seed cfg.seed + i.

    Ranks that hold a part of the weights draw along with the one that `publishes`.
    """
    preview = cfg.preview
    requests = [
        Request(prompt, seed=cfg.seed + i, size=Size(preview.width, preview.height), negative=preview.negative)
        for i, prompt in enumerate(preview.prompts)
    ]
    if not requests:
        return
    training = models.training
    models.eval()
    text = TextConfig(split=cfg.data.split)
    pictures = draw(models, requests, diffusion=cfg.diffusion, sampler=preview.sampler, text=text, device=device)
    settings = {"sampler": preview.sampler.name, "steps": preview.sampler.steps, "cfg_scale": preview.sampler.cfg_scale}
    if publishes:
        samples.publish(folder, requests, pictures, settings=settings, columns=min(8, len(requests)))
    else:
        collections.deque(pictures, maxlen=0)
    models.train(training)
