"""AIDXL's three rules, by hand; and what boosting promises."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.coded import codes
from animetune.curate.config.balance import AdaptiveBalance
from animetune.curate.weigh.adaptive import Adapted, Pictures, adapt, boost
from animetune.curate.weigh.states import States
from animetune.errors import ConfigError


def adapted(styles: list[str | None], qualities: list[str | None], repeats=None, **settings) -> Adapted:
    cfg = AdaptiveBalance(name="adaptive", **settings)
    pictures = Pictures(
        np.ones(len(styles)) if repeats is None else np.array(repeats, float),
        *codes(pl.Series(styles, dtype=pl.String)),
        *codes(pl.Series(qualities, dtype=pl.String)),
    )
    by_hand = dict.fromkeys([*cfg.underfitted, *cfg.repeats], "underfitted") | dict.fromkeys(cfg.fitted, "fitted")
    return adapt(pictures, cfg, States(by_hand, dict(cfg.repeats)))


def test_rule_1_quality_and_rule_3_the_limit():
    found = adapted(
        [None] * 5,
        ["amazing", "best", "normal", None, "low"],
        repeats=[1, 2, 1, 1, 4],
        quality={"amazing": 20, "best": 2, "low": 0.5},
    )
    assert found.repeats.tolist() == [10, 4, 1, 1, 2]
    assert not found.dropped.any()
    assert found.facts["at_max"] == 1
    assert found.facts["without_style"] == 5


def test_rule_2_a_class_is_boosted_to_its_total():
    found = adapted(["ann"] * 20 + ["bob"] * 200, [None] * 220)
    assert found.repeats == pytest.approx([5.0] * 20 + [1.0] * 200)
    assert found.facts["short"] == 0
    assert found.facts["underfitted"] == 2


def test_rule_2_better_pictures_keep_their_lead_up_to_the_limit():
    """Repeats 2, 1, 1 to a total of 20: c = 5 would give 10, 5, 5. To 23: the first stays at 10, c = 6.5."""
    best = ["best", "normal", "normal"]
    assert adapted(["ann"] * 3, best, quality={"best": 2}, class_total=20).repeats == pytest.approx([10, 5, 5])
    assert adapted(["ann"] * 3, best, quality={"best": 2}, class_total=23).repeats == pytest.approx([10, 6.5, 6.5])
    short = adapted(["ann"] * 3, best, quality={"best": 2}, class_total=100)
    assert short.repeats.tolist() == [10, 10, 10]
    assert short.facts["short"] == 1


def test_rule_2_by_hand():
    cfg = AdaptiveBalance(name="adaptive", repeats={"ann": 4, "bob": 40})
    styles = np.array(["ann", "bob"], dtype=object)
    none = np.array([-1, -1], np.int32), np.array([], dtype=object)
    pictures = Pictures(np.array([1.0, 1.0]), np.array([0, 1], np.int32), styles, *none)
    found = adapt(pictures, cfg, States({}, {"ann": 4.0, "bob": 40.0}))
    assert found.repeats.tolist() == [4, 10]
    assert found.facts["by_hand"] == 2


def test_rule_2_a_fitted_class_goes_down_to_1_and_loses_its_low_quality():
    found = adapted(
        ["ann"] * 4 + ["bob"],
        ["best", "low", "worst", None, "low"],
        repeats=[3, 3, 3, 0.25, 1],
        quality={"best": 2},
        fitted=("ann",),
        class_total=1,
    )
    assert found.repeats.tolist() == [1, 1, 1, 0.25, 1]
    assert found.dropped.tolist() == [False, True, True, False, False]
    assert found.facts["fitted"] == 1
    assert not adapted(["ann"], ["low"], fitted=("ann",), drop=()).dropped.any()


def test_classes_that_nothing_decides():
    assert adapted(["ann"], [None]).repeats.tolist() == [10]
    assert adapted(["ann"], [None], otherwise="fitted").repeats.tolist() == [1]


def test_a_style_that_no_picture_has_is_a_mistake():
    with pytest.raises(ConfigError, match="adaptive: fitted: anne: no picture has this style class; similar ones: ann"):
        adapted(["ann"], [None], fitted=("anne",))
    with pytest.raises(ConfigError, match=r"underfitted: zed: .* there are 1 style classes"):
        adapted(["ann"], [None], underfitted=("zed",))


def test_no_pictures():
    found = adapted([], [])
    assert found.repeats.tolist() == []
    assert boost(np.zeros(0), np.zeros(0, int), total=100, limit=10).tolist() == []


def test_the_argument_stays_as_it_is():
    repeats = np.array([1.0, 2.0])
    none = np.array([-1, -1], np.int32), np.array([], dtype=object)
    cfg = AdaptiveBalance(name="adaptive", quality={"best": 3})
    adapt(Pictures(repeats, *none, np.array([0, 0], np.int32), np.array(["best"], dtype=object)), cfg, States())
    assert repeats.tolist() == [1, 2]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0.01, 12) | st.just(0.0)), max_size=40),
    st.floats(0.5, 200),
    st.floats(0.5, 20),
)
def test_boosting(pictures: list[tuple[int, float]], total: float, limit: float):
    classes = np.array([number for number, _ in pictures], int)
    before = np.array([value for _, value in pictures])
    after = boost(before, classes, total=total, limit=limit)
    for number in set(classes.tolist()):
        was, now = before[classes == number], after[classes == number]
        assert (now <= limit * (1 + 1e-9)).all()
        assert (now >= np.minimum(was, limit) * (1 - 1e-9)).all()  # nobody is seen less often
        free = (now > 0) & (now < limit * (1 - 1e-9))
        if free.any():  # one factor for all, and as much as is asked, unless there was more already
            factor = now[free] / was[free]
            assert factor == pytest.approx(np.full(free.sum(), factor[0]), rel=1e-6)
            assert now.sum() == pytest.approx(max(total, np.minimum(was, limit).sum()), rel=1e-6)
        else:
            assert now.sum() <= max(total, np.minimum(was, limit).sum()) * (1 + 1e-6)
        assert ((now == 0) == (was == 0)).all()
