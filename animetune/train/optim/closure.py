"""What `step(closure)` owes its caller, for every optimizer of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def computed_by(closure: Callable[[], Any] | None) -> Any:
    """What the closure, which computes gradients, returns; None without one. For a step that is under `no_grad`."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
