"""The rules of merging, against float64 and their own laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from animetune.merge.arithmetic import add_difference, angle, slerp, slerp_shares, weighted_sum
from animetune.seeding import Purpose, rng_for

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
SEEDS = st.integers(0, 2**32)
SHAPES = st.sampled_from([(7,), (5, 3), (4, 3, 3, 3), (1,), (64, 33)])
ULP = torch.finfo(torch.float32).eps


def drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(rng_for(seed, Purpose.INIT).standard_normal(shape)).to(dtype)


@given(SEEDS, SHAPES, DTYPES, st.lists(st.floats(-2, 2), min_size=1, max_size=5))
def test_a_weighted_sum_is_that_of_float64(
    seed: int, shape: tuple[int, ...], dtype: torch.dtype, weights: list[float]
) -> None:
    tensors = [drawn(seed + place, shape, dtype) for place in range(len(weights))]
    ours = weighted_sum(zip(weights, tensors, strict=True))
    pairs = list(zip(weights, tensors, strict=True))
    oracle = sum(weight * tensor.double() for weight, tensor in pairs)
    scale = sum(abs(weight) * tensor.double().abs() for weight, tensor in pairs)
    assert ours.dtype == torch.float32
    assert ((ours.double() - oracle).abs() <= 2 * len(weights) * ULP * scale + 1e-37).all()


@given(SEEDS, SHAPES, DTYPES)
def test_weight_one_gives_the_tensor_back(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = drawn(seed, shape, dtype)
    assert torch.equal(weighted_sum([(1.0, tensor)]), tensor.float())
    assert torch.equal(weighted_sum([(1.0, tensor)]).to(dtype), tensor)


@given(SEEDS, SHAPES, st.permutations(range(4)))
def test_a_weighted_sum_hardly_depends_on_the_order(seed: int, shape: tuple[int, ...], order: list[int]) -> None:
    pairs = [(0.1 + 0.2 * place, drawn(seed + place, shape)) for place in range(4)]
    one, other = weighted_sum(pairs), weighted_sum(pairs[place] for place in order)
    assert torch.allclose(one, other, rtol=0, atol=16 * ULP * 4)


@given(SEEDS, SHAPES, DTYPES, st.floats(-3, 3))
def test_add_difference(seed: int, shape: tuple[int, ...], dtype: torch.dtype, alpha: float) -> None:
    a, b, c = (drawn(seed + place, shape, dtype) for place in range(3))
    assert torch.equal(add_difference(a, b, b, alpha), a.float()), "no difference changes nothing"
    ours = add_difference(a, b, c, alpha).double()
    oracle = a.double() + alpha * (b.double() - c.double())
    scale = a.double().abs() + abs(alpha) * (b.double().abs() + c.double().abs())
    assert ((ours - oracle).abs() <= 4 * ULP * scale + 1e-37).all()


@given(SEEDS, SHAPES, DTYPES, st.floats(0, 1))
def test_slerp_at_its_ends_and_from_either_side(
    seed: int, shape: tuple[int, ...], dtype: torch.dtype, t: float
) -> None:
    a, b = drawn(seed, shape, dtype), drawn(seed + 1, shape, dtype)
    assert torch.equal(slerp(a, b, 0), a.float())
    assert torch.equal(slerp(a, b, 1), b.float())
    largest = max(a.float().abs().max().item(), b.float().abs().max().item())
    # 1 - t is rounded, and divided by a sine that may be small
    slack = largest * (1e-6 + 1e-15 / max(math.sin(angle(a, b)), 1e-7))
    assert torch.allclose(slerp(a, b, t), slerp(b, a, 1 - t), rtol=0, atol=slack)


def shoemake(a: Tensor, b: Tensor, t: float) -> Tensor:
    """As published, in float64, by the arc cosine."""
    cosine = (a.double().flatten() @ b.double().flatten()) / (a.double().norm() * b.double().norm())
    omega = torch.arccos(cosine)
    shares = torch.sin((1 - t) * omega) / torch.sin(omega), torch.sin(t * omega) / torch.sin(omega)
    return shares[0] * a.double() + shares[1] * b.double()


@given(SEEDS, st.floats(0.01, 0.99))
def test_slerp_is_shoemakes(seed: int, t: float) -> None:
    a, b = drawn(seed, (40, 5)), drawn(seed + 1, (40, 5))
    assert torch.allclose(slerp(a, b, t).double(), shoemake(a, b, t), rtol=0, atol=1e-5)


@given(SEEDS, st.floats(0, 1))
def test_slerp_keeps_the_length_where_a_sum_shortens_it(seed: int, t: float) -> None:
    a = drawn(seed, (50,))
    b = drawn(seed + 1, (50,))
    b = b - (a @ b) / (a @ a) * a
    b = b * a.norm() / b.norm()
    assert slerp(a, b, t).norm().item() == pytest.approx(a.norm().item(), rel=1e-5)
    assert weighted_sum([(0.5, a), (0.5, b)]).norm().item() == pytest.approx(a.norm().item() / math.sqrt(2), rel=1e-5)
    assert angle(a, slerp(a, b, t)) == pytest.approx(t * math.pi / 2, abs=1e-5), "it goes at an even pace"


def test_slerp_by_hand() -> None:
    half = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)
    assert torch.allclose(half, torch.full((2,), math.sqrt(0.5)))
    third = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 1 / 3)
    assert torch.allclose(third, torch.tensor([math.cos(math.pi / 6), 0.5]))


@pytest.mark.parametrize("second", [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [0.0, 0.0]])
def test_without_a_direction_to_turn_the_way_is_straight(second: list[float]) -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor(second)
    assert torch.allclose(slerp(a, b, 0.25), 0.75 * a + 0.25 * b)


def test_an_angle_is_exact_where_its_cosine_rounds_to_one() -> None:
    """Runs from one base differ by a thousandth: their cosine is 1 - 5e-7, which float32 barely holds."""
    a = drawn(1, (1000,)).double()
    b = drawn(2, (1000,)).double()
    b = b - (a @ b) / (a @ a) * a
    for wanted in (1e-3, 1e-5, 1e-7):
        turned = a / a.norm() * math.cos(wanted) + b / b.norm() * math.sin(wanted)
        assert angle(a, turned) == pytest.approx(wanted, rel=1e-6)
    assert angle(a, -a) == pytest.approx(math.pi)
    assert angle(a, torch.zeros(1000)) == 0


@given(st.floats(0, math.pi), st.floats(0, 1))
def test_the_shares_are_those_of_a_line_where_nothing_turns(omega: float, t: float) -> None:
    share, rest = slerp_shares(omega, t)
    assert math.isfinite(share)
    assert math.isfinite(rest)
    if omega < 1e-4:
        assert share == pytest.approx(1 - t, abs=1e-8)
        assert rest == pytest.approx(t, abs=1e-8)


def test_large_tensors_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = drawn(1, (33, 7)), drawn(2, (33, 7))
    whole = angle(a, b)
    monkeypatch.setattr("animetune.merge.arithmetic._CHUNK", 10)
    assert angle(a, b) == pytest.approx(whole, rel=1e-12)
