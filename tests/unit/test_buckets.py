"""Sizes and crop geometry against hand numbers (research of other trainers' wrong axes) and as properties."""

from __future__ import annotations

import math
from fractions import Fraction

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.buckets import (
    ANIMAGINE_SIZES,
    SDXL_SIZES,
    SizesConfig,
    assign,
    cover_scale,
    enumerate_sizes,
    fit,
    tier_name,
    time_ids,
)
from animetune.records import Size

SIDES = st.integers(1, 20_000)
SOURCES = st.builds(Size, SIDES, SIDES)
TARGETS = st.sampled_from(SDXL_SIZES)


@pytest.mark.parametrize(
    ("source", "target", "resized", "left", "top"),
    [
        # The crop is on the axis that is cut; kohya reports (10, 0), (0, 74) and (0, 46) for the first three.
        ((1000, 1500), (832, 1216), (832, 1248), 0, 16),
        ((1920, 1080), (1216, 832), (1479, 832), 131, 0),
        ((1100, 1000), (1024, 1024), (1126, 1024), 51, 0),
        ((1024, 1024), (1024, 1024), (1024, 1024), 0, 0),
        ((512, 512), (1024, 1024), (1024, 1024), 0, 0),
        ((3, 2), (8, 8), (12, 8), 2, 0),
        ((999, 1000), (1024, 1024), (1024, 1025), 0, 0),  # one row too many: the crop of half a row is none
    ],
)
def test_fit_by_hand(source, target, resized, left, top):
    geometry = fit(Size(*source), Size(*target))
    assert geometry == (source, resized, left, top, target)


def test_time_ids_are_height_first_and_a_flip_mirrors_the_crop():
    geometry = fit(Size(1920, 1080), Size(1216, 832))
    assert time_ids(geometry) == (1080, 1920, 0, 131, 832, 1216)
    # 1479 columns, 1216 kept, 131 cut on the left: 132 were cut on the right, which a flip makes the left.
    assert time_ids(geometry, flipped=True) == (1080, 1920, 0, 132, 832, 1216)


@given(SOURCES, TARGETS)
def test_the_crop_lies_inside_the_resized_picture_and_one_axis_is_exact(source, target):
    geometry = fit(source, target)
    resized = geometry.resized
    assert resized.width == target.width or resized.height == target.height
    assert 0 <= geometry.left <= resized.width - target.width
    assert 0 <= geometry.top <= resized.height - target.height
    assert geometry.left == 0 or geometry.top == 0
    assert abs((resized.width - target.width - geometry.left) - geometry.left) <= 1
    # Rounded to the nearest pixel of the exactly scaled picture.
    scale = max(Fraction(target.width, source.width), Fraction(target.height, source.height))
    assert abs(resized.width - source.width * scale) <= Fraction(1, 2)
    assert abs(resized.height - source.height * scale) <= Fraction(1, 2)
    assert cover_scale(source, target) == pytest.approx(float(scale))


@given(SOURCES, TARGETS)
def test_a_flip_twice_is_none(source, target):
    geometry = fit(source, target)
    flipped = geometry._replace(left=time_ids(geometry, flipped=True)[3])
    assert time_ids(flipped, flipped=True) == time_ids(geometry)


@given(SOURCES, st.sampled_from([ANIMAGINE_SIZES, SDXL_SIZES]))
def test_assign_minimises_the_log_ratio(source, sizes):
    def distance(size):
        return abs(math.log(source.width / source.height) - math.log(size.width / size.height))

    assert distance(assign(source, sizes)) == pytest.approx(min(map(distance, sizes)), abs=1e-12)


@given(TARGETS)
def test_a_size_is_its_own_nearest(size):
    assert assign(size, SDXL_SIZES) == size


def test_presets_are_the_published_lists():
    assert len(ANIMAGINE_SIZES) == len(set(ANIMAGINE_SIZES)) == 9
    assert len(SDXL_SIZES) == len(set(SDXL_SIZES)) == 40
    assert set(ANIMAGINE_SIZES) <= set(SDXL_SIZES)
    for size in SDXL_SIZES:
        assert size.width % 64 == size.height % 64 == 0
        assert 0.87 <= size.area / 1024**2 <= 1.02
    ratios = [size.width / size.height for size in SDXL_SIZES]
    assert ratios == sorted(ratios)
    assert min(ratios) == 0.25
    assert max(ratios) == 4.0
    assert enumerate_sizes(SizesConfig(preset="sdxl")) == tuple(sorted(SDXL_SIZES))
    assert tier_name(SizesConfig(preset="sdxl")) == "1024"


@given(
    st.integers(6, 2048).map(lambda side: side * side),
    st.sampled_from([8, 16, 32, 64]),
    st.floats(1, 8),
)
def test_generated_sizes_keep_their_promises(area, step, max_ratio):
    try:
        cfg = SizesConfig(area=area, step=step, min_side=step, max_side=4096, max_ratio=max_ratio)
    except pydantic.ValidationError:
        assert area < step * step
        return
    sizes = enumerate_sizes(cfg)
    assert sizes
    assert list(sizes) == sorted(set(sizes))
    for size in sizes:
        assert size.area <= area
        assert size.width % step == size.height % step == 0
        assert max(size) <= max_ratio * min(size)
        assert Size(size.height, size.width) in sizes
        square = math.isqrt(area) // step * step
        longest_of_one_side = any(a * (b + step) > area or b + step > 4096 for a, b in (size, size[::-1]))
        assert size == (square, square) or longest_of_one_side


def test_small_generated_sizes_by_hand():
    cfg = SizesConfig(area=64 * 64, step=8, min_side=48, max_side=96, max_ratio=2)
    assert enumerate_sizes(cfg) == ((48, 80), (56, 72), (64, 64), (72, 56), (80, 48))
    assert tier_name(cfg) == "64"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "sdxl", "step": 32}, "leave out preset or step"),
        ({"area": 64}, "no size has an area of at most 64"),
        ({"step": 12}, "multiple of 8"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        SizesConfig(**settings)
