"""KID and CMMD: torchmetrics and plain loops as oracles, laws, and what repeated samples say of bias and coverage."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.evaluate import kernels
from animetune.evaluate.kernels import SCALE, compare, gaussian, kid, kid_of_subsets, polynomial, unit_rows


def draw(n: int, d: int = 6, *, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def torchmetrics_kid(x: np.ndarray, y: np.ndarray, *, subsets: int, size: int, seed: int = 0) -> tuple[float, float]:
    """torchmetrics on features as they stand: y real, x fake."""
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    class AsTheyStand(torch.nn.Module):
        num_features = x.shape[1]

        def forward(self, features):
            return features

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = KernelInceptionDistance(AsTheyStand(), subsets=subsets, subset_size=size).set_dtype(torch.float64)
    metric.orig_dtype = torch.float64
    metric.real_features = [torch.from_numpy(y.astype(np.float64))]
    metric.fake_features = [torch.from_numpy(x.astype(np.float64))]
    metric._update_count = 1
    torch.manual_seed(seed)
    mean, deviation = metric.compute()
    return float(mean), float(deviation)


class TorchOrder:
    """The permutations that torchmetrics draws, which takes the real pictures' first."""

    def __init__(self, n: int, m: int, subsets: int, seed: int):
        import torch

        torch.manual_seed(seed)
        self._left = []
        for _ in range(subsets):
            real, fake = torch.randperm(m).numpy(), torch.randperm(n).numpy()
            self._left += [fake, real]

    def permutation(self, n: int) -> np.ndarray:
        found = self._left.pop(0)
        assert len(found) == n
        return found


def loops_mmd(kernel, x, y) -> tuple[float, float]:
    """(unbiased, biased) MMD², pair by pair."""
    xx = [[kernel(a, b) for b in x] for a in x]
    yy = [[kernel(a, b) for b in y] for a in y]
    xy = math.fsum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    biased = sum(math.fsum(map(math.fsum, k)) / len(k) ** 2 for k in (xx, yy)) - 2 * xy
    if min(len(x), len(y)) < 2:
        return math.nan, biased
    pairs = [
        math.fsum(k[i][j] for i in range(len(k)) for j in range(len(k)) if i != j) / (len(k) * (len(k) - 1))
        for k in (xx, yy)
    ]
    return sum(pairs) - 2 * xy, biased


def dot(a, b) -> float:
    return math.fsum(float(p) * float(q) for p, q in zip(a, b, strict=True))


def cmmd_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    def unit(row):
        length = math.sqrt(dot(row, row))
        return [float(value) / length for value in row]

    def k(a, b):
        return math.exp(-math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * 10**2))

    return 1000 * loops_mmd(k, [unit(row) for row in x], [unit(row) for row in y])[1]


@pytest.mark.parametrize(("n", "d", "shift"), [(2, 1, 0.0), (7, 3, 0.5), (40, 16, 0.0), (64, 8, 2.0)])
def test_kid_is_that_of_torchmetrics(n: int, d: int, shift: float) -> None:
    """With subsets of all pictures, torchmetrics' random order changes nothing."""
    x, y = draw(n, d, shift=shift), draw(n, d, seed=1)
    mean, deviation = torchmetrics_kid(x, y, subsets=3, size=n)
    assert kid(x, y) == pytest.approx(mean, rel=1e-10, abs=1e-12)
    assert deviation == pytest.approx(0, abs=1e-9)
    assert kid_of_subsets(x, y, subsets=3, size=n, rng=np.random.default_rng(0)).mean == kid(x, y)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (25, 40)])
def test_subsets_are_those_of_torchmetrics(n: int, m: int) -> None:
    x, y = draw(n, shift=0.3), draw(m, seed=1)
    mean, deviation = torchmetrics_kid(x, y, subsets=11, size=10, seed=5)
    found = kid_of_subsets(x, y, subsets=11, size=10, rng=TorchOrder(n, m, 11, 5))
    assert found.mean == pytest.approx(mean, rel=1e-10)
    assert found.deviation == pytest.approx(deviation, rel=1e-8)
    assert (found.subsets, found.size) == (11, 10)


def test_kid_by_hand() -> None:
    """d = 1: k(a, b) = (ab + 1)³. x = 0, 1; y = 0, 2: k(0, 1) + k(0, 2) - (1 + 1 + 1 + 27) / 2 = 1 + 1 - 15."""
    assert kid(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])) == pytest.approx(-13)


@pytest.mark.parametrize(("n", "m"), [(3, 5), (9, 4)])
def test_kid_of_sets_of_two_sizes(n: int, m: int) -> None:
    x, y = draw(n, 4), draw(m, 4, seed=1)
    expected = loops_mmd(lambda a, b: (dot(a, b) / 4 + 1) ** 3, x, y)[0]
    assert kid(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 2), (1, 4, 3), (6, 9, 5), (20, 20, 12)])
def test_cmmd_is_a_double_loop(n: int, m: int, d: int) -> None:
    x, y = draw(n, d, shift=0.4), draw(m, d, seed=1)
    assert kernels.cmmd(x, y) == pytest.approx(cmmd_by_loops(x, y), rel=1e-9, abs=1e-9)


def test_cmmd_by_hand() -> None:
    """Opposite and orthogonal vectors of length 1 lie 4 and 2 apart, squared; other lengths are no matter."""
    e = np.array([[3.0, 0.0]])
    assert kernels.cmmd(e, -7 * e) == pytest.approx(2000 * (1 - math.exp(-4 / 200)))
    assert kernels.cmmd(e, np.array([[0.0, 0.1]])) == pytest.approx(2000 * (1 - math.exp(-2 / 200)))


SETS = st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(1, 5), st.integers(0, 2**31))


@given(SETS)
@settings(max_examples=60, deadline=None)
def test_laws(sizes: tuple[int, int, int, int]) -> None:
    n, m, d, seed = sizes
    x, y = draw(n, d, seed=seed, shift=0.2), draw(m, d, seed=seed + 1)
    rng = np.random.default_rng(seed)
    for distance in (kid, kernels.cmmd):
        value = distance(x, y)
        assert distance(y, x) == pytest.approx(value, rel=1e-9, abs=1e-9)
        assert distance(x[rng.permutation(n)], y[rng.permutation(m)]) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert kernels.cmmd(x, y) >= -1e-9
    assert kernels.cmmd(x, x) == pytest.approx(0, abs=1e-9)
    assert kernels.cmmd(x, 3 * x[rng.permutation(n)]) == pytest.approx(0, abs=1e-6)
    # Identical sets: unbiased KID falls below 0 by what a picture's pair with itself is above the others.
    k = polynomial(x.astype(np.float64), x.astype(np.float64))
    off = (k.sum() - np.trace(k)) / (n * (n - 1))
    assert kid(x, x) == pytest.approx(2 * (off - np.trace(k) / n) / n, rel=1e-8, abs=1e-9)
    assert kid(x, x) <= 1e-9


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_groups_change_no_total(groups: list[int], seed: int) -> None:
    groups = kernels.groups_of([str(each) for each in groups])
    x, y = draw(len(groups), 3, seed=seed), draw(5, 3, seed=seed + 1)
    grouped = compare(gaussian, unit_rows(x), groups, unit_rows(y), range(5))
    single = compare(gaussian, unit_rows(x), range(len(groups)), unit_rows(y), range(5))
    for name in ("xx", "xy", "yy"):
        assert getattr(grouped, name).mean == pytest.approx(getattr(single, name).mean, rel=1e-12)
        assert getattr(grouped, name).pairs.sum() == getattr(single, name).pairs.sum()
    sizes = np.bincount(groups)
    assert np.diag(grouped.xx.pairs).tolist() == (sizes * (sizes - 1)).tolist()


def test_blocks_and_folds_change_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(50, 3).astype(np.float64), draw(30, 3, seed=1).astype(np.float64)
    expected = kid(x, y)
    monkeypatch.setattr(kernels, "_ROWS", 7)
    monkeypatch.setattr(kernels, "MOST_GROUPS", 8)
    assert kid(x, y) == pytest.approx(expected, rel=1e-12)
    assert compare(polynomial, x, range(50), y, range(30)).xx.sums.shape == (8, 8)


def test_kid_is_unbiased_and_cmmd_is_not() -> None:
    """1,500 pairs of samples of one distribution: the mean of KID lies within 4 standard errors of 0 and that of CMMD
    far above; without pairs of a picture with itself, CMMD's is 0, too."""
    rng = np.random.default_rng(3)
    found = {"kid": [], "cmmd": [], "unbiased": []}
    for _ in range(1500):
        x, y = rng.normal(size=(2, 12, 4))
        found["kid"].append(kid(x, y))
        found["cmmd"].append(kernels.cmmd(x, y))
        compared = compare(gaussian, unit_rows(x), range(12), unit_rows(y), range(12))
        found["unbiased"].append(SCALE * kernels.unbiased(compared))
    z = {name: np.mean(each) / (np.std(each) / math.sqrt(len(each))) for name, each in found.items()}
    assert abs(z["kid"]) < 4
    assert abs(z["unbiased"]) < 4
    assert z["cmmd"] > 20


def test_kid_finds_the_distance_of_two_normals() -> None:
    """d = 1: E (ab + 1)³ = E a³ E b³ + 3 E a² E b² + 3 E a E b + 1, so MMD² of N(0, 1) and N(s, 1) is
    (s³ + 3s)² + 3 s⁴ + 3 s²: 3.578125 with s = 0.5."""
    s, expected = 0.5, 3.578125
    rng = np.random.default_rng(4)
    found = [kid(rng.normal(size=(40, 1)) + s, rng.normal(size=(40, 1))) for _ in range(1500)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / math.sqrt(1500))
    assert np.std(found) / math.sqrt(1500) < 0.1 * expected


def test_intervals_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 120 pairs of 60 prompts and 60 real pictures, N(0.5, 1) and N(0, 1) in 1 dimension, 95 % of the intervals
    hold the distance, give or take (binomial: 4 standard errors are 8 points)."""
    monkeypatch.setattr(kernels, "RESAMPLES", 300)
    s, truth = 0.5, 3.578125
    rng = np.random.default_rng(5)
    held = 0
    for place in range(120):
        x, y = rng.normal(size=(60, 1)) + s, rng.normal(size=(60, 1))
        compared = compare(polynomial, x, range(60), y, range(60))
        ends = kernels.interval(compared, is_biased=False, purpose=str(place))
        assert ends.low < kernels.unbiased(compared) < ends.high
        held += ends.low <= truth <= ends.high
    assert held / 120 > 0.85


def test_intervals_of_pictures_of_one_prompt_are_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight pictures each of 12 prompts, all but equal: they are worth 12 pictures, not 96."""
    rng = np.random.default_rng(6)
    x = np.repeat(rng.normal(size=(12, 3)), 8, axis=0) + 0.01 * rng.normal(size=(96, 3))
    y = rng.normal(size=(60, 3))
    by_prompt = compare(polynomial, x, np.repeat(np.arange(12), 8).tolist(), y, range(60))
    by_picture = compare(polynomial, x, range(96), y, range(60))
    wide, narrow = (kernels.interval(each, is_biased=False, purpose="") for each in (by_prompt, by_picture))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_an_interval_of_the_biased_distance_surrounds_it() -> None:
    x, y = unit_rows(draw(80, 4, shift=0.3)), unit_rows(draw(70, 4, seed=1))
    compared = compare(gaussian, x, range(80), y, range(70))
    ends = kernels.interval(compared, is_biased=True, purpose="")
    assert ends.low < kernels.biased(compared) < ends.high
    same = compare(gaussian, x, range(80), x[:40], range(40))
    assert kernels.interval(same, is_biased=True, purpose="").low == 0 > kernels.unbiased(same)
    assert SCALE * kernels.biased(compared) == pytest.approx(kernels.cmmd(draw(80, 4, shift=0.3), draw(70, 4, seed=1)))


def test_changes_are_narrower_than_their_parts() -> None:
    """The same prompts, drawn a little nearer: that is plain from the pairs, though the distances overlap."""
    y, noise = draw(60, 4, seed=1).astype(np.float64), draw(60, 4, seed=2).astype(np.float64)
    far, near = (compare(polynomial, noise + shift, range(60), y, range(60)) for shift in (0.5, 0.4))
    change = kernels.change_interval(far, near, is_biased=False, purpose="")
    assert change.high < 0
    assert change.low < kernels.unbiased(near) - kernels.unbiased(far) < change.high
    one, other = (kernels.interval(each, is_biased=False, purpose="") for each in (far, near))
    assert other.high > one.low


def test_few_groups_have_no_interval() -> None:
    x, y = draw(4).astype(np.float64), draw(30, seed=1).astype(np.float64)
    compared = compare(polynomial, x, range(4), y, range(30))
    assert kernels.interval(compared, is_biased=False, purpose="") is None
    assert kernels.change_interval(compared, compared, is_biased=False, purpose="") is None
    assert len(kernels.halves(compared.xx, is_biased=False, splits=5, purpose="")) == 0


def test_halves_of_one_set_are_about_equal() -> None:
    """By hand for each split, from the two halves themselves."""
    y = draw(20, 3).astype(np.float64)
    sums = kernels.grouped_sums(polynomial, y, range(20))
    found = kernels.halves(sums, is_biased=False, splits=400, purpose="a")
    assert abs(np.mean(found)) < 4 * np.std(found)
    assert found.tolist() == kernels.halves(sums, is_biased=False, splits=400, purpose="a").tolist()
    (one,) = kernels.halves(sums, is_biased=True, splits=1, purpose="b")
    rng = kernels.rng_for(kernels.SEED, kernels.Purpose.BOOTSTRAP, kernels.text_counter("b"))
    order = rng.permutation(20)
    first, second = y[np.sort(order[:10])], y[np.sort(order[10:])]
    k = [polynomial(a, b) for a, b in ((first, first), (second, second), (first, second))]
    off = [(each.sum() - np.trace(each)) / 90 for each in k[:2]]
    assert one == pytest.approx(sum(mean + (1 - mean) / 10 for mean in off) - 2 * k[2].mean())
