"""Timesteps: each sample's are uniform, a global batch's are spread evenly, and nothing but the key matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.diffusion.timesteps import stratified_timesteps, uniform_timesteps

KEY = {"seed": 7, "epoch": 2}


def chi_square(timesteps, bins=20):
    """Chi-square statistic of the counts in equal bins; `bins - 1` degrees of freedom."""
    counts = np.bincount(np.asarray(timesteps) * bins // 1000, minlength=bins)
    expected = len(timesteps) / bins
    return ((counts - expected) ** 2 / expected).sum()


CHI_SQUARE_19_AT_1_IN_10000 = 50.8


@settings(max_examples=60, deadline=None)
@given(global_batch=st.integers(1, 400), step=st.integers(0, 10_000), seed=st.integers(0, 2**31))
def test_a_global_batch_covers_the_timesteps_evenly(global_batch, step, seed):
    t = stratified_timesteps(range(global_batch), seed=seed, epoch=0, step=step, global_batch=global_batch).numpy()
    assert t.min() >= 0
    assert t.max() <= 999
    # one sample in each stratum: the empirical distribution is never further from the uniform one than one sample
    boundaries = np.arange(1, 1000)
    below = np.searchsorted(np.sort(t), boundaries)
    assert np.abs(below - global_batch * boundaries / 1000).max() <= 1 + 1e-9


@settings(max_examples=30, deadline=None)
@given(data=st.data(), global_batch=st.integers(1, 64))
def test_any_micro_batches_get_what_the_whole_batch_gets(data, global_batch):
    whole = stratified_timesteps(range(global_batch), step=5, global_batch=global_batch, **KEY).tolist()
    slots = data.draw(st.lists(st.integers(0, global_batch - 1), min_size=1, max_size=10))
    assert stratified_timesteps(slots, step=5, global_batch=global_batch, **KEY).tolist() == [whole[s] for s in slots]


@pytest.mark.parametrize(("global_batch", "slot"), [(1, 0), (7, 0), (7, 6), (96, 50)])
def test_each_slot_is_uniform_over_the_steps(global_batch, slot):
    t = [stratified_timesteps([slot], step=step, global_batch=global_batch, **KEY).item() for step in range(8000)]
    assert chi_square(t) < CHI_SQUARE_19_AT_1_IN_10000


def test_neighbouring_slots_are_spread_too():
    # a micro-batch holds one size; were its timesteps neighbours, a size would see a sliver of the schedule per step
    for step in range(50):
        t = np.sort(stratified_timesteps(range(40, 48), step=step, global_batch=96, **KEY).numpy())
        gaps = np.diff([*t, t[0] + 1000])
        assert gaps.max() < 250


def test_stratification_makes_the_mean_less_noisy():
    def spread(draw):
        return np.std([draw(step).double().square().mean().item() for step in range(200)])

    stratified = spread(lambda step: stratified_timesteps(range(32), step=step, global_batch=32, **KEY))
    uniform = spread(lambda step: uniform_timesteps(range(32 * step, 32 * step + 32), [0] * 32, **KEY))
    assert stratified < uniform / 10


def test_uniform_timesteps_are_uniform_and_keyed_by_sample():
    t = uniform_timesteps(range(20_000), [0] * 20_000, **KEY)
    assert chi_square(t.numpy()) < CHI_SQUARE_19_AT_1_IN_10000
    assert uniform_timesteps([17, 3], [0, 0], **KEY).tolist() == [t[17].item(), t[3].item()]
    assert uniform_timesteps(range(100), [1] * 100, **KEY).tolist() != t[:100].tolist()
    assert uniform_timesteps(range(100), [0] * 100, seed=7, epoch=3).tolist() != t[:100].tolist()


def test_steps_epochs_and_seeds_differ():
    draws = {
        tuple(stratified_timesteps(range(16), seed=seed, epoch=epoch, step=step, global_batch=16).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
        for step in (0, 1)
    }
    assert len(draws) == 8


def test_a_slot_outside_the_global_batch_is_refused():
    with pytest.raises(ValueError, match=r"slots \[4\] .* global batch of 4"):
        stratified_timesteps([4], step=0, global_batch=4, **KEY)
