"""Optimizer steps whose loss or gradients are not finite: skipped on all ranks, written down, and no more than so many.

No flag of its own has to travel between the ranks: gradients are averaged over them before their norm is taken, so a
NaN on one rank makes the norm NaN on all. (With the optimizer in the backward pass the loss is asked instead, and its
flag does travel: `TrainModule.backward`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from animetune import fsio
from animetune.errors import NonFiniteError

IN_A_ROW = 10
"""Skipped steps in a row after which training stops."""
RECENT, WINDOW = 100, 10_000
"""Skipped steps among so many after which it stops."""


class SkippedSteps:
    """Counts skipped steps and writes the samples that caused them to the ledger.

    Args:
        ledger: the run's ledger.jsonl.
        rank: of this process.
        skipped: the steps that earlier sessions skipped.
    """

    def __init__(self, ledger: Path, *, rank: int, skipped: Iterable[int] = ()):
        self.ledger = ledger
        self.rank = rank
        self.steps = list(skipped)
        """Skipped steps among the last `WINDOW`, ascending; what a checkpoint keeps."""
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def saw(self, rows: torch.Tensor, losses: torch.Tensor) -> None:
        """The samples of a micro-batch of the step, by row, and their losses: (b,) each; losses stay on the device."""
        self._seen.append((rows, losses))

    def finish(self, step: int, *, is_finite: bool, keys_of: Callable[[Sequence[int]], list[str]]) -> None:
        """Optimizer step `step` (1 is the first) is done, or was skipped.

        `keys_of` gives the keys of samples by row. Raises NonFiniteError, on all ranks alike, when it was one too many.
        """
        seen, self._seen = self._seen, []
        if is_finite:
            return
        rows = [row for each, losses in seen for row in each[~losses.isfinite().cpu()].tolist()]
        if rows or self.rank == 0:
            event = {"event": "skipped", "step": step, "rank": self.rank, "rows": rows, "keys": keys_of(rows)}
            fsio.append_line(self.ledger, event)
        self.steps = [*(each for each in self.steps if each > step - WINDOW), step]
        in_a_row = self.steps[-IN_A_ROW:] == list(range(step - IN_A_ROW + 1, step + 1))
        if in_a_row or len(self.steps) >= RECENT:
            which = f"{IN_A_ROW} steps in a row" if in_a_row else f"{RECENT} of the last {WINDOW:,} steps"
            raise NonFiniteError(
                f"step {step}: loss or gradients were NaN or infinite in {which}, which were skipped; the newest "
                "checkpoint is from before. Lower the learning rate, or look at the samples of these steps "
                f"({self.ledger}, event `skipped`)"
            )
