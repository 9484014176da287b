"""Low-rank factors of a matrix: the singular value decomposition, cut off.

    A (m, n)  ~  up (m, r) @ down (r, n),    up = U sqrt(S),  down = sqrt(S) V^T

The singular values are shared between both factors: fine-tuning changes weights by a hundredth, and U S alone would
hold numbers below the smallest normal one of float16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from animetune.seeding import Purpose, rng_for, text_counter

OVERSAMPLING = 16
ITERATIONS = 4
"""Of the randomized decomposition: directions beside those that are wanted, and passes over the matrix."""
NOISE = 1e-6
"""Singular values below this share of the largest are rounding errors of float32."""

ChooseRank = Callable[[Tensor, float], int]
"""Squared singular values (float64, descending; perhaps not all) and the sum of all -> how many are kept."""


@dataclass(frozen=True)
class LowRank:
    """A matrix in factors, float32."""

    up: Tensor
    """(m, r)"""
    down: Tensor
    """(r, n)"""

    @property
    def rank(self) -> int:
        """r; 0 for a matrix of zeros."""
        return self.down.shape[0]


def keep_energy(keep: float, most: int) -> ChooseRank:
    """The smallest rank whose squared singular values are a share `keep` of all, but `most` at most."""

    def choose(squares: Tensor, total: float) -> int:
        enough = squares.cumsum(0) >= keep * total * (1 - 1e-12)
        smallest = int(enough.int().argmax()) + 1 if enough.any() else len(squares)
        return min(smallest, most)

    return choose


def exact_factors(matrix: Tensor, choose: ChooseRank) -> LowRank:
    """The best factors of their rank (Eckart and Young 1936) of a float matrix (m, n), on its device.

    By the eigenvectors of the smaller of its two Gram matrices, in float64: what squaring loses lies below the rounding
    of a float32 matrix, and a layer that is ten times as wide takes twice the time, not a hundred times.
    """
    wide = matrix.shape[1] > matrix.shape[0]
    tall = (matrix.T if wide else matrix).double()
    squares, vectors = torch.linalg.eigh(tall.T @ tall)
    squares, vectors = squares.flip(0).clamp_min(0), vectors.flip(1)
    total = tall.square().sum().item()
    vectors = vectors[:, : _rank(squares, total, choose)]
    return _balanced(tall @ vectors, vectors, swap=wide)


def randomized_factors(matrix: Tensor, choose: ChooseRank, *, most: int, name: str) -> LowRank:
    """Nearly the best factors, of rank `most` at most: subspace iteration from random directions that depend on `name`
    alone (Halko, Martinsson and Tropp 2011, algorithm 4.4)."""
    wide = matrix.shape[1] > matrix.shape[0]
    tall = (matrix.T if wide else matrix).float()
    directions = min(most + OVERSAMPLING, tall.shape[1])
    drawn = rng_for(0, Purpose.SKETCH, text_counter(name)).standard_normal((tall.shape[1], directions), dtype="float32")
    basis = torch.linalg.qr(tall @ torch.from_numpy(drawn).to(tall.device)).Q
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(tall @ torch.linalg.qr(tall.T @ basis).Q).Q
    _, values, rows = torch.linalg.svd(basis.T @ tall, full_matrices=False)
    squares = values.double().square()
    vectors = rows.T[:, : min(_rank(squares, tall.double().square().sum().item(), choose), most)].double()
    return _balanced(tall.double() @ vectors, vectors, swap=wide)


def relative_error(matrix: Tensor, factors: LowRank) -> float:
    """`|A - up @ down| / |A|` (Frobenius); 0 for a matrix of zeros."""
    length = matrix.double().norm().item()
    if not length:
        return 0.0
    rest = matrix - factors.up.float() @ factors.down.float()
    return rest.double().norm().item() / length


def _rank(squares: Tensor, total: float, choose: ChooseRank) -> int:
    if not total:
        return 0
    real = int((squares > NOISE**2 * squares[0]).sum())
    return min(choose(squares, total), real)


def _balanced(images: Tensor, vectors: Tensor, *, swap: bool) -> LowRank:
    """Factors of `images @ vectors.T`, the columns of `vectors` of length 1, those of both made equally long."""
    roots = images.norm(dim=0).sqrt()
    # The sign of an eigenvector is left to the library: the largest number of each is made positive.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)) if vectors.numel() else vectors.sum(0)
    signs = torch.where(largest < 0, -1.0, 1.0).to(vectors)
    left, right = (images * signs / roots).float(), (vectors * signs * roots).float()
    up, down = (right, left.T) if swap else (left, right.T)
    return LowRank(up.contiguous(), down.contiguous())


def energy_kept(error: float) -> float:
    """Share of the squared numbers that factors of this relative error hold."""
    return max(0.0, 1 - math.pow(error, 2))
