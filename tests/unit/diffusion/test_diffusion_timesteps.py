"""Timesteps: each sample's have the density asked for, a global batch covers it, and nothing but the key matters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.diffusion.config import BinTimesteps, LogitNormalTimesteps, UniformTimesteps
from animetune.diffusion.timesteps import independent_draws, stratified_draws, times_at
from animetune.seeding import SampleKeys

KEY = {"seed": 7, "epoch": 2}

ranges = st.tuples(st.integers(0, 999), st.integers(1, 1000)).filter(lambda pair: pair[0] < pair[1])
densities = st.one_of(
    st.builds(UniformTimesteps, range=ranges),
    st.builds(LogitNormalTimesteps, mean=st.floats(-2, 2), std=st.floats(0.4, 3), range=ranges),
    st.builds(BinTimesteps, weights=st.lists(st.floats(0.01, 5), min_size=1, max_size=12), range=ranges),
)


def uniform_draws(count, *, copy=0, epoch=2, seed=7):
    return independent_draws(SampleKeys(seed, epoch, range(count), [copy] * count))


def grid(count):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def kolmogorov(sample, cumulative):
    """Distance of an empirical distribution from F, times sqrt(n); above 2.2 once in ten thousand."""
    x = np.sort(np.asarray(sample))
    f = cumulative(x)
    n = len(x)
    return math.sqrt(n) * max((np.arange(1, n + 1) / n - f).max(), (f - np.arange(n) / n).max())


@settings(max_examples=60, deadline=None)
@given(global_batch=st.integers(1, 400), step=st.integers(0, 10_000), seed=st.integers(0, 2**31))
def test_a_global_batch_covers_the_strata(global_batch, step, seed):
    u = stratified_draws(range(global_batch), seed=seed, epoch=0, step=step, global_batch=global_batch).numpy()
    assert u.dtype == np.float64
    # one sample in each stratum
    assert sorted(np.floor(u * global_batch + 1e-9)) == list(range(global_batch))


@settings(max_examples=60, deadline=None)
@given(global_batch=st.integers(1, 200), cfg=densities, shift=st.floats(0.3, 6))
def test_a_global_batch_covers_any_density_and_range_evenly(global_batch, cfg, shift):
    t = times_at(stratified_draws(range(global_batch), step=3, global_batch=global_batch, **KEY), cfg, shift=shift)
    first, last = cfg.range
    assert t.min() >= first
    assert t.max() < last
    # below any quantile lies its share of the batch, to one sample: the strata survive density, range and shift
    shares = torch.arange(1, 20, dtype=torch.float64) / 20
    below = torch.searchsorted(t.sort().values, times_at(shares, cfg, shift=shift))
    assert (below - global_batch * shares).abs().max() <= 1 + 1e-6


@given(cfg=densities, shift=st.floats(0.3, 6))
def test_times_grow_with_u(cfg, shift):
    t = times_at(torch.linspace(0, 1, 101, dtype=torch.float64), cfg, shift=shift)
    assert (t.diff() >= 0).all()


@settings(max_examples=30, deadline=None)
@given(data=st.data(), global_batch=st.integers(1, 64))
def test_any_micro_batches_get_what_the_whole_batch_gets(data, global_batch):
    whole = stratified_draws(range(global_batch), step=5, global_batch=global_batch, **KEY).tolist()
    slots = data.draw(st.lists(st.integers(0, global_batch - 1), min_size=1, max_size=10))
    assert stratified_draws(slots, step=5, global_batch=global_batch, **KEY).tolist() == [whole[s] for s in slots]


@pytest.mark.parametrize(("global_batch", "slot"), [(1, 0), (7, 0), (7, 6), (96, 50)])
def test_each_slot_is_uniform_over_the_steps(global_batch, slot):
    u = [stratified_draws([slot], step=step, global_batch=global_batch, **KEY).item() for step in range(8000)]
    assert kolmogorov(u, lambda x: x) < 2.2


def test_neighbouring_slots_are_spread_too():
    # a micro-batch holds one size; were its timesteps neighbours, a size would see a sliver of the schedule per step
    for step in range(50):
        u = np.sort(stratified_draws(range(40, 48), step=step, global_batch=96, **KEY).numpy())
        assert np.diff([*u, u[0] + 1]).max() < 0.25


def test_stratification_makes_the_mean_less_noisy():
    def spread(draw):
        return np.std([draw(step).square().mean().item() for step in range(200)])

    stratified = spread(lambda step: stratified_draws(range(32), step=step, global_batch=32, **KEY))
    alone = spread(lambda step: independent_draws(SampleKeys(7, 2, range(32 * step, 32 * step + 32), [0] * 32)))
    assert stratified < alone / 10


def test_uniform_is_uniform_over_all_timesteps():
    t = times_at(uniform_draws(20_000), UniformTimesteps())
    assert kolmogorov(t, lambda x: x / 1000) < 2.2
    assert t.long().min() == 0
    assert t.long().max() == 999
    assert kolmogorov(times_at(uniform_draws(20_000), UniformTimesteps(range=(200, 300))), lambda x: x / 100 - 2) < 2.2


def test_a_range_of_one_timestep_is_that_timestep():
    # 29 / 1000 * 1000 is 28.999999999999996: rounded down it would leave the range
    for only in (0, 29, 58, 999):
        for cfg in (UniformTimesteps(range=(only, only + 1)), LogitNormalTimesteps(range=(only, only + 1))):
            assert set(times_at(uniform_draws(50), cfg).long().tolist()) == {only}


def test_logit_normal_is_that_of_the_paper():
    t = times_at(uniform_draws(20_000), LogitNormalTimesteps(mean=0.5, std=1.5)).numpy() / 1000
    logits = np.log(t / (1 - t))
    assert logits.mean() == pytest.approx(0.5, abs=0.04)
    assert logits.std() == pytest.approx(1.5, abs=0.04)
    # and equation 19, as a density: the share of draws in a thin slice
    dense = times_at(grid(1_000_000), LogitNormalTimesteps(mean=0.5, std=1.5)).numpy() / 1000
    for middle in (0.1, 0.5, 0.9):
        logit = math.log(middle / (1 - middle))
        density = math.exp(-((logit - 0.5) ** 2) / (2 * 1.5**2)) / (
            1.5 * math.sqrt(2 * math.pi) * middle * (1 - middle)
        )
        assert (np.abs(dense - middle) < 0.005).mean() == pytest.approx(density * 0.01, rel=0.01)


def test_a_cut_density_is_the_density_inside():
    cut = times_at(uniform_draws(20_000), LogitNormalTimesteps(range=(600, 900))).numpy()
    whole = np.sort(times_at(grid(200_000), LogitNormalTimesteps()).numpy())
    inside = whole[(whole >= 600) & (whole < 900)]
    assert kolmogorov(cut, lambda x: np.searchsorted(inside, x) / len(inside)) < 2.2


def test_a_range_far_in_either_tail_is_resolved():
    # 13 and more standard deviations above the mean, where F is 1 in float64; and as many below
    high = times_at(grid(1000), LogitNormalTimesteps(std=0.5, range=(999, 1000)))
    low = times_at(grid(1000), LogitNormalTimesteps(std=0.5, range=(0, 1)))
    assert len(high.unique()) > 990
    torch.testing.assert_close((1000 - high).flip(0), low, rtol=1e-9, atol=1e-12)


def test_bins_by_hand():
    t = times_at(grid(100_000), BinTimesteps(weights=(1, 0, 3, 0)))
    counts = torch.bincount((t / 250).long(), minlength=4) / len(t)
    assert counts.tolist() == pytest.approx([0.25, 0, 0.75, 0], abs=1e-4)
    # the second half of the first bin has half its weight
    cut = times_at(grid(100_000), BinTimesteps(weights=(1, 0, 3, 0), range=(125, 1000)))
    assert (cut < 250).double().mean().item() == pytest.approx(0.5 / 3.5, abs=1e-4)
    assert times_at(
        torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64), BinTimesteps(weights=(0, 1, 1, 0))
    ).tolist() == (pytest.approx([250, 375, 750]))


def test_a_shift_acts_behind_the_density():
    # shift 3 maps t = 1/2 to 3/4, whatever the density
    for cfg in (UniformTimesteps(), LogitNormalTimesteps()):
        half = torch.tensor([0.5], dtype=torch.float64)
        assert times_at(half, cfg, shift=3).item() == pytest.approx(750)
    t = times_at(uniform_draws(20_000), UniformTimesteps(range=(500, 1000)), shift=3).numpy() / 1000
    # 3 t / (1 + 2 t) reaches 1/2 at 1/4: of a uniform t, the share below x is (x / (3 - 2 x) - 1/4) / (3/4)
    assert kolmogorov(t, lambda x: (x / (3 - 2 * x) - 0.25) / 0.75) < 2.2


def test_draws_alone_are_keyed_by_sample():
    u = uniform_draws(100)
    assert independent_draws(SampleKeys(7, 2, [17, 3], [0, 0])).tolist() == [u[17].item(), u[3].item()]
    for other in (uniform_draws(100, copy=1), uniform_draws(100, epoch=3), uniform_draws(100, seed=8)):
        assert not torch.isin(other, u).any()


def test_steps_epochs_and_seeds_differ():
    draws = {
        tuple(stratified_draws(range(16), seed=seed, epoch=epoch, step=step, global_batch=16).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
        for step in (0, 1)
    }
    assert len(draws) == 8


def test_a_slot_outside_the_global_batch_is_refused():
    with pytest.raises(ValueError, match=r"slots \[4\] .* global batch of 4"):
        stratified_draws([4], step=0, global_batch=4, **KEY)
