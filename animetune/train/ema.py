"""Exponential moving averages of the trained weights, kept in fp32 beside them.

    theta_ema <- d_t * theta_ema + (1 - d_t) * theta,    d_t = min(decay, (1 + t) / (10 + t))

The ramp of d_t (as in TensorFlow's ExponentialMovingAverage) keeps the first steps from dominating a short run. With
`every: n` the weights are folded in at every n-th step only, with d_t ** n: the same horizon for an n-th of the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from animetune.train.config import EmaConfig
from animetune.train.optim.master import Fp32Master
from animetune.train.optim.sharded import local, part_of

Tensors = dict[str, torch.Tensor]


class Ema:
    """One average a decay, 4 bytes a parameter each: beside the parameters, sharded like them, or in the CPU's memory.

    It averages the parameters, or their fp32 masters where the optimizer keeps some, since a bf16 weight moves in steps
    of half a per cent. Build it once model and optimizer are where they stay.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, torch.nn.Parameter]],
        cfg: EmaConfig,
        *,
        optimizer: torch.optim.Optimizer | None = None,
    ):
        self.cfg = cfg
        self.parameters = dict(parameters)
        self.sources: Tensors = {
            name: optimizer.master_of(parameter) if isinstance(optimizer, Fp32Master) else parameter
            for name, parameter in self.parameters.items()
        }
        self.averages: dict[str, Tensors] = {
            decay: {name: self._start(source) for name, source in self.sources.items()} for decay in self.decays
        }
        """Decay as text -> average by parameter name."""
        self._offload = _Offload(self.sources) if cfg.device == "cpu" else None

    @property
    def decays(self) -> list[str]:
        """The decays as text, as checkpoints name them; the first is the one that is drawn from and exported."""
        return [str(decay) for decay in self.cfg.decays]

    def update(self, step: int) -> None:
        """Fold in the weights after optimizer step `step` (1 is the first), when it is this step's turn."""
        if step % self.cfg.every:
            return
        weights = {str(decay): 1 - decay_at(step, decay) ** self.cfg.every for decay in self.cfg.decays}
        if self._offload:
            self._offload.fold(self.averages, weights)
        else:
            _fold(self.averages, self.sources, weights)

    def before_step(self) -> None:
        """The weights are about to change: what still copies them must be first."""
        if self._offload:
            self._offload.hold_step()

    def finish(self) -> None:
        """Wait until `averages` are up to date."""
        if self._offload:
            self._offload.finish()

    def load(self, saved: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Take over saved averages, tensor by tensor; decays and names must be equal."""
        for decay, average in self.averages.items():
            for name, tensor in average.items():
                local(tensor).copy_(part_of(saved[decay][name], tensor))

    @contextlib.contextmanager
    @torch.no_grad()
    def swapped(self, decay: str | None = None) -> Iterator[None]:
        """Within the block the weights are the average of `decay` (of the first), rounded to their type.

        The average is only read; the weights are put aside, with the averages (`device`), in their own type: 2 bytes a
        parameter more for bf16 weights, 4 for fp32.
        """
        self.finish()
        average = self.averages[decay or self.decays[0]]
        weights = {name: local(parameter.detach()) for name, parameter in self.parameters.items()}
        aside = {name: tensor.to(local(average[name]).device, copy=True) for name, tensor in weights.items()}
        try:
            for name, tensor in weights.items():
                tensor.copy_(local(average[name]))
            yield
        finally:
            for name, tensor in weights.items():
                tensor.copy_(aside[name])

    def _start(self, source: torch.Tensor) -> torch.Tensor:
        copy = source.detach().to(torch.float32, copy=True)
        return copy.cpu() if self.cfg.device == "cpu" else copy


def decay_at(step: int, decay: float) -> float:
    """d_t of the module's docstring."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def _fold(averages: Mapping[str, Tensors], sources: Tensors, weights: Mapping[str, float]) -> None:
    # One by one: all at once would need another fp32 copy of bf16 weights.
    for name, source in sources.items():
        current = local(source.detach()).float()
        for decay, average in averages.items():
            local(average[name]).lerp_(current, weights[decay])


class _Offload:
    """Folds into averages in the CPU's memory while the GPU goes on with the next step.

    The weights are copied to pinned memory (4 bytes a parameter more, for bf16 weights 2) on a stream of its own; a
    thread waits for the copy and folds it in. The GPU waits for the copy only before it changes the weights again.
    """

    def __init__(self, sources: Tensors):
        self._sources = sources
        on_gpu = any(source.is_cuda for source in sources.values())
        self._stream = torch.cuda.Stream() if on_gpu else None
        self._copies = {
            name: torch.empty_like(source, device="cpu", pin_memory=on_gpu) for name, source in sources.items()
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ema")
        self._folding: Future[None] | None = None

    @torch.no_grad()
    def fold(self, averages: Mapping[str, Tensors], weights: Mapping[str, float]) -> None:
        self.finish()
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream) if self._stream is not None else contextlib.nullcontext():
            for name, source in self._sources.items():
                self._copies[name].copy_(source, non_blocking=True)
        copied = self._stream.record_event() if self._stream is not None else None

        def work() -> None:
            if copied is not None:
                copied.synchronize()
            _fold(averages, self._copies, weights)

        self._folding = self._thread.submit(work)

    def hold_step(self) -> None:
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)

    def finish(self) -> None:
        if self._folding is not None:
            self._folding.result()
            self._folding = None
