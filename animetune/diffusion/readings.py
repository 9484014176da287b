"""Prompts as a model reads them: tokens, their weights, and text states that are computed once for equal prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol

import torch

from animetune import prompt_weights
from animetune.diffusion.denoiser import DenoiserProtocol, TextT
from animetune.diffusion.draw_config import Emphasis, TextConfig
from animetune.tokens import WeightedText, count_chunks, tokenize_weighted


class ReadingModel(DenoiserProtocol[TextT], Protocol[TextT]):
    """A denoiser that also knows weights."""

    def encode_weighted(self, token_ids: torch.Tensor, weights: torch.Tensor, *, emphasis: Emphasis) -> TextT:
        """Conditioning of int64 (b, 2, 77 * chunks) in which each place counts as float32 (b, 77 * chunks) says."""
        ...

    def join_texts(self, texts: Sequence[TextT]) -> TextT:
        """The samples of several texts of one number of chunks, in their order."""
        ...


KEPT = 256
"""Text states that are kept; SDXL's take 0.6 MB for each chunk in float32."""


@dataclass
class Reader(Generic[TextT]):
    """Reads prompts for a model, each by itself, so that a picture's text does not depend on its batch mates."""

    models: ReadingModel[TextT]
    cfg: TextConfig
    device: torch.device | str

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, int], TextT] = {}

    def chunks(self, prompt: str) -> int:
        """Chunks of tokens that the prompt fills, at least 1."""
        return count_chunks(self._parts(prompt), split=self.cfg.split)

    @torch.no_grad()
    def read(self, prompts: Sequence[str], chunks: int) -> TextT:
        """The text of the prompts, in their order, each padded to `chunks` chunks."""
        return self.models.join_texts([self._read(prompt, chunks) for prompt in prompts])

    def _read(self, prompt: str, chunks: int) -> TextT:
        key = (prompt, chunks)
        text = self._known.pop(key, None)
        if text is None:
            text = self._encode(prompt, chunks)
        self._known[key] = text
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]  # the one unused for the longest time
        return text

    def _encode(self, prompt: str, chunks: int) -> TextT:
        ids, weights = tokenize_weighted(self._parts(prompt), chunks=chunks, split=self.cfg.split)
        token_ids = torch.from_numpy(ids)[None].to(self.device)
        if (weights == 1).all():
            return self.models.encode_text(token_ids)
        return self.models.encode_weighted(
            token_ids, torch.from_numpy(weights)[None].to(self.device), emphasis=self.cfg.emphasis
        )

    def _parts(self, prompt: str) -> WeightedText:
        if self.cfg.syntax == "plain":
            return prompt_weights.plain(prompt)
        return prompt_weights.parse(prompt, square_brackets=self.cfg.square_brackets)
