"""What docs/evaluate-pictures.md says of the intervals of KID and CMMD: how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from animetune.evaluate import kernels

pytestmark = pytest.mark.slow

SIDES = 16
REPEATS = 200
REAL = 100


def draw(rng: np.random.Generator, prompts: int, seeds: int, shift: float, alike: float) -> np.ndarray:
    """Vectors of `seeds` pictures of each prompt; `alike` is the square root of what those of one prompt share."""
    of_prompt = rng.normal(size=(prompts, 1, SIDES))
    own = rng.normal(size=(prompts, seeds, SIDES))
    return (shift + alike * of_prompt + np.sqrt(1 - alike**2) * own).reshape(-1, SIDES)


@pytest.mark.parametrize("kernel", [kernels.polynomial, kernels.gaussian], ids=["kid", "cmmd"])
@pytest.mark.parametrize(("prompts", "seeds", "alike"), [(100, 1, 0.0), (50, 4, 0.7)])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_intervals_hold_the_truth(monkeypatch, shift, prompts, seeds, alike, kernel) -> None:
    monkeypatch.setattr(kernels, "RESAMPLES", 500)
    rng = np.random.default_rng(0)
    ready = kernels.unit_rows if kernel is kernels.gaussian else np.asarray

    def compared(x: np.ndarray, y: np.ndarray, seeds: int = 1) -> kernels.Compared:
        return kernels.compare(kernel, ready(x), (np.arange(len(x)) // seeds).tolist(), ready(y), range(len(y)))

    truth = 0.0
    if shift:
        truth = kernels.unbiased(compared(draw(rng, 6000, 1, shift, 0), draw(rng, 6000, 1, 0, 0)))
    held = 0
    for repeat in range(REPEATS):
        found = compared(draw(rng, prompts, seeds, shift, alike), draw(rng, REAL, 1, 0, 0), seeds)
        ends = kernels.interval(found, is_biased=False, purpose=str(repeat))
        held += ends.low <= truth <= ends.high
    assert held >= (0.9 if shift else 0.93) * REPEATS
