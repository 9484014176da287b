"""Low-rank factors: exact for matrices of low rank, the best there are for others."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from animetune.lora.factors import (
    energy_kept,
    exact_factors,
    keep_energy,
    randomized_factors,
    relative_error,
)
from tests.tiny_weights import noise

ALL = keep_energy(1.0, 1280)


def of_rank(rank: int, rows: int, columns: int, name: str = "") -> Tensor:
    return noise(f"{name} left", rows, rank) @ noise(f"{name} right", rank, columns) * 1e-3


@given(st.integers(1, 6), st.integers(6, 30), st.integers(6, 30))
def test_a_matrix_of_known_rank_comes_back(rank: int, rows: int, columns: int) -> None:
    matrix = of_rank(rank, rows, columns)
    for factors in (
        exact_factors(matrix, keep_energy(1 - 1e-9, 100)),
        randomized_factors(matrix, keep_energy(1 - 1e-9, 100), most=100, name="layer"),
    ):
        assert factors.rank == rank
        assert factors.up.shape == (rows, rank)
        assert factors.down.shape == (rank, columns)
        assert relative_error(matrix, factors) < 1e-5


@given(st.integers(1, 20), st.integers(20, 40), st.integers(20, 40))
def test_the_error_is_that_of_eckart_and_young(rank: int, rows: int, columns: int) -> None:
    """No factors of a rank can leave less than the singular values behind it."""
    matrix = noise("full", rows, columns)
    values = torch.linalg.svdvals(matrix.double())
    least = math.sqrt(values[rank:].square().sum().item() / values.square().sum().item())
    assert relative_error(matrix, exact_factors(matrix, keep_energy(1.0, rank))) == pytest.approx(least, abs=1e-6)


@given(st.floats(0.05, 0.99))
def test_the_rank_is_the_smallest_that_keeps_the_energy(keep: float) -> None:
    matrix = noise("full", 30, 20)
    squares = torch.linalg.svdvals(matrix.double()).square()
    shares = (squares.cumsum(0) / squares.sum()).tolist()
    factors = exact_factors(matrix, keep_energy(keep, 100))
    assert shares[factors.rank - 1] >= keep - 1e-9
    assert factors.rank == 1 or shares[factors.rank - 2] < keep
    assert energy_kept(relative_error(matrix, factors)) == pytest.approx(shares[factors.rank - 1], abs=1e-5)
    assert exact_factors(matrix, keep_energy(keep, 2)).rank <= 2


def test_random_directions_keep_nearly_as_much() -> None:
    """A spectrum that falls slowly, as that of fine-tuning, is the hard case."""
    left, right = (torch.linalg.qr(noise(side, 300, 300)).Q for side in ("left", "right"))
    matrix = left @ torch.diag(1 / torch.arange(1, 301).sqrt()) @ right
    best = relative_error(matrix, exact_factors(matrix, keep_energy(1.0, 32)))
    found = relative_error(matrix, randomized_factors(matrix, keep_energy(1.0, 32), most=32, name="layer"))
    assert best <= found <= best * 1.002
    again = randomized_factors(matrix, keep_energy(1.0, 32), most=32, name="layer")
    once = randomized_factors(matrix, keep_energy(1.0, 32), most=32, name="layer")
    assert torch.equal(again.up, once.up)


def test_both_factors_are_equally_long_and_their_signs_are_fixed() -> None:
    factors = exact_factors(of_rank(3, 12, 9), ALL)
    assert torch.allclose(factors.up.norm(dim=0), factors.down.norm(dim=1), rtol=1e-5)
    long = exact_factors(of_rank(3, 9, 12), ALL)
    for vectors in (factors.down, long.up.T):
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        assert (largest > 0).all()


@pytest.mark.parametrize("factor", [exact_factors, lambda m, c: randomized_factors(m, c, most=4, name="layer")])
def test_zeros_have_no_rank(factor) -> None:
    factors = factor(torch.zeros(5, 3), ALL)
    assert factors.rank == 0
    assert factors.up.shape == (5, 0)
    assert relative_error(torch.zeros(5, 3), factors) == 0
