"""How long the prompts of a training configuration are, in CLIP tokens, against what its chunks hold."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from animetune.data.preview import TrainedSamples, preview_prompts
from animetune.tokens import CHUNK_BODY, count_fitting, count_tokens
from animetune.train.config import TrainConfig

SAMPLES = 2000
"""Samples whose prompts are composed, spread over all."""


@dataclass(frozen=True)
class TokenFacts:
    """Of the prompts of the first epoch."""

    prompts: int
    """How many were looked at."""
    median: int
    longest: int
    cut: float
    """Share of the prompts that lose tokens, 0 to 1."""
    room: int
    """Tokens that a prompt may have."""


def token_facts(cfg: TrainConfig, *, count: int = SAMPLES) -> TokenFacts:
    """Compose the prompts of `count` samples just as training does. Raises what `data.source.open_data` raises."""
    samples = preview_prompts(TrainedSamples(cfg.data), cfg.prompts, seed=cfg.seed, count=count, draws=1)
    prompts = [prompt for _, drawn in samples for prompt in drawn]
    lengths = [count_tokens(prompt) for prompt in prompts]
    fitting = [count_fitting(prompt, chunks=cfg.data.chunks, split=cfg.data.split) for prompt in prompts]
    return TokenFacts(
        prompts=len(prompts),
        median=round(statistics.median(lengths)),
        longest=max(lengths),
        cut=sum(length > kept for length, kept in zip(lengths, fitting, strict=True)) / len(prompts),
        room=cfg.data.chunks * CHUNK_BODY,
    )
