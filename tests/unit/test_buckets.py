"""Sizes and crop geometry against hand numbers (research of other trainers' wrong axes) and as properties."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.buckets import (
    ANIMAGINE_SIZES,
    SDXL_SIZES,
    SizesConfig,
    TierConfig,
    cover_scale,
    enumerate_sizes,
    fit,
    nearest,
    open_size,
    place,
    stored_region,
    time_ids,
)
from animetune.records import Size

SIDES = st.integers(1, 20_000)
SOURCES = st.builds(Size, SIDES, SIDES)
TARGETS = st.sampled_from(SDXL_SIZES)
SHARES = st.floats(0, 1, width=32)
FOCUS = st.tuples(st.none() | SHARES, st.none() | SHARES)
MARGINS = st.floats(0, 1)
AIDXL = TierConfig(open=True, step=32, min_side=256, max_side=4096, max_ratio=16)
ILLUSTRIOUS = SizesConfig.model_validate({"tiers": [{"area": 1536**2}, {"area": 384**2}, {"preset": "sdxl"}]})


def distance(source, size):
    """What `assign` minimises: how far apart two ratios are."""
    return abs(math.log(source.width / source.height) - math.log(size.width / size.height))


def assign(source, sizes):
    return sizes[nearest(np.array([source]), np.array(sizes))[0]]


def unmerged(source, cfg, name):
    tier = next(tier for tier in cfg.all_tiers if tier.name == name)
    return open_size(source, tier) if tier.open else assign(source, enumerate_sizes(tier))


def placed(sources, cfg, *, counts=None, max_upscale=1.25):
    """Per source, its {tier: size}."""
    counts = np.ones(len(sources), np.int64) if counts is None else np.array(counts)
    found = [{} for _ in sources]
    for each in place(np.array(sources, np.int64).reshape(-1, 2), counts, cfg, max_upscale=max_upscale):
        for index, target in zip(each.which.tolist(), each.targets.tolist(), strict=True):
            found[index][each.tier.name] = Size(*target)
    return found


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


@given(SOURCES, TARGETS, FOCUS)
def test_the_crop_lies_inside_the_resized_picture_and_one_axis_is_exact(source, target, focus):
    geometry = fit(source, target, focus=focus)
    resized = geometry.resized
    assert resized.width == target.width or resized.height == target.height
    assert 0 <= geometry.left <= resized.width - target.width
    assert 0 <= geometry.top <= resized.height - target.height
    assert geometry.left == 0 or geometry.top == 0
    for at, start, side, whole in zip(focus, (geometry.left, geometry.top), target, resized, strict=True):
        if at is None:
            assert abs((whole - side - start) - start) <= 1
        else:  # as near to the focus as the picture allows
            wanted = min(max(at * whole - side / 2, 0), whole - side)
            assert abs(start - wanted) <= 1
    # Rounded to the nearest pixel of the exactly scaled picture.
    scale = max(Fraction(target.width, source.width), Fraction(target.height, source.height))
    assert abs(resized.width - source.width * scale) <= Fraction(1, 2)
    assert abs(resized.height - source.height * scale) <= Fraction(1, 2)
    assert cover_scale(source, target) == pytest.approx(float(scale))


@given(SOURCES, TARGETS)
def test_a_focus_in_the_middle_is_the_centre(source, target):
    assert fit(source, target, focus=(0.5, 0.5)) == fit(source, target)


def test_a_focus_by_hand():
    # 1479x832 columns of which 1216 are kept; the face is at the right, then beyond what can be centred.
    assert fit(Size(1920, 1080), Size(1216, 832), focus=(0.55, 0.1)).left == int(0.55 * 1479) - 608 == 205
    assert fit(Size(1920, 1080), Size(1216, 832), focus=(0.95, None)).left == 1479 - 1216
    assert fit(Size(1920, 1080), Size(1216, 832), focus=(0.05, None)).left == 0


@given(SOURCES, TARGETS, FOCUS, MARGINS)
def test_what_is_stored_lies_in_the_picture_and_holds_the_crop(source, target, focus, margin):
    geometry = fit(source, target, focus=focus)
    region = stored_region(geometry, margin)
    axes = ((0, region.left, geometry.left), (1, region.top, geometry.top))
    for axis, start, crop in axes:
        stored, side, whole = region.size[axis], target[axis], geometry.resized[axis]
        assert 0 <= start <= crop
        assert crop + side <= start + stored <= whole
        assert stored == min(whole, side + int(margin * side))  # no more than asked, no less than there is
        before, after = crop - start, start + stored - crop - side
        assert abs(before - after) <= 1 or start == 0 or start + stored == whole


@given(SOURCES, TARGETS, FOCUS)
def test_without_a_margin_the_crop_is_stored(source, target, focus):
    geometry = fit(source, target, focus=focus)
    assert stored_region(geometry, 0.0) == (geometry.left, geometry.top, target)


def test_a_margin_by_hand():
    geometry = fit(Size(1920, 1080), Size(1216, 832))  # left 131 of 1479
    assert stored_region(geometry, 0.1) == (71, 0, Size(1337, 832))  # 121 more: 60 before, 61 behind
    assert stored_region(geometry, 1.0) == (0, 0, Size(1479, 832))


@given(SOURCES, TARGETS)
def test_a_flip_twice_is_none(source, target):
    geometry = fit(source, target)
    flipped = geometry._replace(left=time_ids(geometry, flipped=True)[3])
    assert time_ids(flipped, flipped=True) == time_ids(geometry)


@given(SOURCES, st.sampled_from([ANIMAGINE_SIZES, SDXL_SIZES]))
def test_the_nearest_size_minimises_the_log_ratio(source, sizes):
    best = min(distance(source, size) for size in sizes)
    assert distance(source, assign(source, sizes)) == pytest.approx(best, abs=1e-12)


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
    assert SizesConfig(preset="sdxl").name == "1024"


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
    assert cfg.name == "64"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "sdxl", "step": 32}, "leave out preset or step"),
        ({"area": 64}, r"no size has an area of at most 64 pixels, sides of 4 to 16 in steps of 64 .*; lower step \["),
        ({"area": 65536, "step": 512}, r"sides of 128 to 512 in steps of 512 .*; lower step \["),
        ({"open": True, "min_side": 1088}, "sides of 1088 to 2048 .*; lower min_side or raise area"),
        ({"min_side": 300, "max_side": 200}, "sides of 300 to 200 .*; lower min_side or raise max_side"),
        ({"preset": "sdxl", "open": True}, "leave out preset or open"),
        ({"area": 512**2, "tiers": [{"preset": "sdxl"}]}, "area: describes one tier, but there are `tiers`"),
        ({"tiers": [{"preset": "sdxl"}, {"area": 1024**2, "step": 32}]}, "two tiers have .* a square of side 1024"),
        ({"step": 12}, "multiple of 8"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        SizesConfig(**settings)


# Tiers, open sets, merging.


def test_defaults_of_a_generated_tier_follow_its_area():
    """So `{area: 147456}` is a tier: the sides of SDXL's, scaled."""
    assert TierConfig().sides == range(512, 2049, 64)
    assert TierConfig(area=384**2).sides == range(192, 769, 64)
    assert [tier.name for tier in ILLUSTRIOUS.all_tiers] == ["384", "1024", "1536"]
    assert SizesConfig().all_tiers == (SizesConfig(),)


@given(SOURCES, st.floats(1, 2))
def test_a_picture_goes_to_the_highest_tier_that_it_fills(source, max_upscale):
    every = ILLUSTRIOUS.model_copy(update={"assign": "every"})
    (one,), (all_of_them,) = (placed([source], cfg, max_upscale=max_upscale) for cfg in (ILLUSTRIOUS, every))
    nearest_of = {tier.name: assign(source, enumerate_sizes(tier)) for tier in ILLUSTRIOUS.all_tiers}
    filled = [name for name, size in nearest_of.items() if cover_scale(source, size) <= 1]
    if filled:
        assert one == {filled[-1]: nearest_of[filled[-1]]}
        assert all_of_them == {name: nearest_of[name] for name in filled}
    else:
        enlarged = cover_scale(source, nearest_of["384"])
        assert one == all_of_them == ({"384": nearest_of["384"]} if enlarged <= max_upscale else {})


@given(
    SOURCES, st.sampled_from([AIDXL, TierConfig(open=True), TierConfig(open=True, area=640**2, step=8, max_ratio=2)])
)
def test_an_open_size_is_the_source_at_the_area_and_the_step(source, tier):
    size = open_size(source, tier)
    assert size.width % tier.step == size.height % tier.step == 0
    assert tier.sides[0] <= min(size)
    assert max(size) <= tier.sides[-1]
    assert max(size) <= tier.max_ratio * min(size)
    assert (size.width - size.height) * (source.width - source.height) >= 0
    assert size == open_size(Size(*source[::-1]), tier)[::-1]
    ideal = [math.sqrt(tier.area * a / b) for a, b in (source, source[::-1])]
    inside = all(tier.sides[0] <= side <= tier.sides[-1] for side in ideal)
    if inside and max(source) <= tier.max_ratio * min(source):  # rounding may pass the limit by less than a step
        nearest_step = tier.step / 2 + 1e-6
        assert abs(min(size) - min(ideal)) <= nearest_step
        assert -nearest_step - tier.step <= max(size) - max(ideal) <= nearest_step


def test_open_sizes_by_hand():
    """The user guide of AIDXL: area around 1024x1024, multiples of 32, not under 256; no fixed set."""
    by_hand = {(1024, 1024): (1024, 1024), (1000, 1500): (832, 1248), (1920, 1080): (1376, 768), (2, 1): (1440, 736)}
    for source, size in by_hand.items():
        assert open_size(Size(*source), AIDXL) == size
        assert Size(*size) not in SDXL_SIZES or source == (1024, 1024)
    assert open_size(Size(10, 900), AIDXL) == (256, 4096)
    (sizes,) = placed([(1000, 1500)], SizesConfig.model_validate(AIDXL.model_dump()))
    assert sizes == {"1024": (832, 1248)}


def test_small_sizes_are_merged_smallest_first_into_the_next_nearest():
    sources = [(1024, 1024), (1152, 896), (1216, 832), (1344, 768), (1536, 640), (640, 1536)]
    counts = [100, 9, 30, 5, 12, 3]
    before = placed(sources, SizesConfig(preset="animagine"), counts=counts, max_upscale=2)
    assert [sizes["1024"] for sizes in before] == sources

    def merged(least):
        cfg = SizesConfig(preset="animagine", min_pictures=least)
        return [sizes["1024"] for sizes in placed(sources, cfg, counts=counts, max_upscale=2)]

    # By hand: 640x1536 (3) is nearest to 1024x1024; then 1344x768 (5) to 1216x832; 1152x896 (9) to 1216x832.
    assert merged(4) == [*sources[:5], (1024, 1024)]
    assert merged(6) == [*sources[:3], (1216, 832), (1536, 640), (1024, 1024)]
    assert merged(10) == [(1024, 1024), (1216, 832), (1216, 832), (1216, 832), (1536, 640), (1024, 1024)]
    assert merged(1000) == [(1024, 1024)] * 6


MERGING = st.tuples(
    st.builds(
        lambda tiers, assign: {"tiers": tiers, "assign": assign},
        st.sampled_from([
            [{"preset": "animagine"}],
            [{"preset": "animagine"}, {"area": 512**2}],
            [{"preset": "sdxl"}, {"area": 384**2}, {"area": 1536**2, "open": True, "max_ratio": 8}],
        ]),
        st.sampled_from(["highest", "every"]),
    ),
    st.dictionaries(
        st.tuples(st.integers(150, 2500), st.integers(150, 2500)), st.integers(0, 5), min_size=1, max_size=40
    ),
    st.sampled_from([1.0, 1.25, 2.0, 1e9]),
)  # fmt: skip
"""Tiers, training pictures of each size of picture, max_upscale."""


@given(MERGING, st.integers(2, 12))
def test_merging_drops_none_enlarges_none_too_much_and_moves_only_who_must(merging, least):
    settings, pictures, max_upscale = merging
    sources, counts = [Size(*source) for source in pictures], list(pictures.values())
    cfg = SizesConfig.model_validate(settings | {"min_pictures": least})
    before, after = (
        placed(sources, each, counts=counts, max_upscale=max_upscale)
        for each in (SizesConfig.model_validate(settings), cfg)
    )
    train, left = Counter(), defaultdict(set)
    for sizes, count in zip(after, counts, strict=True):
        train.update(dict.fromkeys(sizes.items(), count))
        for tier, size in sizes.items():
            left[tier].add(size)
    names = [tier.name for tier in cfg.all_tiers]
    limits = {name: 1.0 if place else max_upscale for place, name in enumerate(names)}

    def near(source, tier, but=None):
        """The sizes of the tier that the source may go to, the nearest first."""
        reached = [size for size in left[tier] - {but} if cover_scale(source, size) <= limits[tier]]
        return sorted(reached, key=lambda size: distance(source, size))

    needed = set()
    for source, old, new in zip(sources, before, after, strict=True):
        assert bool(new) == bool(old)
        for tier, size in new.items():
            assert cover_scale(source, size) <= limits[tier]
            if tier in old and old[tier] in left[tier]:
                assert size == old[tier]
            elif tier in old:
                assert distance(source, size) == pytest.approx(distance(source, near(source, tier)[0]), abs=1e-12)
            lower = names[: names.index(tier)]
            filled = [name for name in lower if cover_scale(source, unmerged(source, cfg, name)) <= 1]
            if not filled and not near(source, tier, but=size):
                needed.add((tier, size))
        for tier in old.keys() - new.keys():  # it left the tier for a lower one
            assert not near(source, tier)
            assert any(names.index(name) < names.index(tier) for name in new)
    for tier, sizes in left.items():
        small = {size for size in sizes if train[tier, size] < least and (tier, size) not in needed}
        assert not small or (len(small) == 1 and sum(train[tier, size] for size in sizes) < least)


@given(MERGING, st.integers(2, 12), st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_the_order_of_rows(merging, least, random):
    settings, pictures, max_upscale = merging
    cfg = SizesConfig.model_validate(settings | {"min_pictures": least})
    rows = list(pictures.items())
    random.shuffle(rows)
    both = []
    for items in (list(pictures.items()), rows):
        sources, counts = [source for source, _ in items], [count for _, count in items]
        found = placed(sources, cfg, counts=counts, max_upscale=max_upscale)
        both.append(dict(zip(sources, found, strict=True)))
    assert both[0] == both[1]


@given(MERGING)
def test_one_picture_is_enough_where_no_more_are_asked_for(merging):
    settings, pictures, max_upscale = merging
    none, one = (
        placed(
            list(pictures),
            SizesConfig.model_validate(settings | {"min_pictures": least}),
            counts=list(pictures.values()),
            max_upscale=max_upscale,
        )
        for least in (0, 1)
    )
    assert none == one


def test_pictures_that_are_dropped_do_not_count():
    """Ninety strips that are too small for 640x1536 do not keep it for ten that are large enough."""
    sources, counts = [(1024, 1024), (1100, 1600), (300, 720)], [100, 10, 90]
    cfg = SizesConfig.model_validate({"preset": "animagine", "min_pictures": 50})
    narrow = [(1100, 2640), *sources]
    expected = [{"1024": (1024, 1024)}] * 3 + [{}]
    assert placed(narrow, cfg, counts=[10, *counts]) == expected


def test_a_picture_goes_past_a_nearer_size_that_would_enlarge_it():
    """1220x1020 (log ratio 0.18) is nearest to 1152x896, then to 1024x1024 (0), then to 1216x832 (0.38)."""
    sources, counts = [(1024, 1024), (1216, 832), (1220, 1020)], [100, 100, 1]
    cfg = SizesConfig(preset="animagine", min_pictures=50)
    for max_upscale, size in ((1.25, (1024, 1024)), (1.0, (1216, 832))):
        found = placed(sources, cfg, counts=counts, max_upscale=max_upscale)
        assert [each["1024"] for each in found] == [*sources[:2], size]


def test_a_size_stays_whole_where_a_picture_has_no_other():
    """1540x645 would be enlarged to 1344x768; then 2000x830 keeps it company, though it fills the other."""
    sources, counts = [(1344, 768), (1540, 645), (2000, 830)], [100, 1, 5]
    cfg = SizesConfig(preset="animagine", min_pictures=50)
    for max_upscale, size in ((1.25, (1344, 768)), (1.0, (1536, 640))):
        found = placed(sources, cfg, counts=counts, max_upscale=max_upscale)
        assert [each["1024"] for each in found] == [(1344, 768), size, size]


def test_a_tier_with_few_pictures_keeps_its_most_central_size():
    sources, counts = [(2000, 800), (1300, 900), (1400, 1400), (900, 2300)], [4, 3, 3, 3]
    cfg = SizesConfig(preset="animagine", min_pictures=50)
    # Ratios 2.5, 1.44, 1 and 0.39: of the 13 the seventh is 1.44, though 1536x640 has most.
    found = placed(sources, cfg, counts=counts, max_upscale=1.4)
    assert [each["1024"] for each in found] == [(1216, 832)] * 4
    # Validation pictures have the median where there are no others.
    found = placed(sources, cfg, counts=[0, 0, 0, 0], max_upscale=1.5)
    assert [each["1024"] for each in found] == [(1024, 1024)] * 4


def test_a_picture_that_merging_pushes_out_of_a_tier_goes_to_the_next_below():
    """1536x640 alone would be merged into 1024x1024, which it does not fill."""
    tiers = [{"area": 512**2}, {"preset": "animagine"}]
    sources, counts = [(1536, 640), (1024, 1024), (600, 600)], [1, 100, 100]
    cfg = SizesConfig.model_validate({"tiers": tiers, "min_pictures": 50})
    expected = [{"512": (512, 512)}, {"1024": (1024, 1024)}, {"512": (512, 512)}]
    assert placed(sources, cfg, counts=counts) == expected
    every = placed(sources, cfg.model_copy(update={"assign": "every"}), counts=counts)
    assert every == [expected[0], {"512": (512, 512), "1024": (1024, 1024)}, expected[2]]


def test_no_pictures_are_no_trouble():
    assert [len(each.which) for each in place(np.zeros((0, 2), np.int64), np.zeros(0), ILLUSTRIOUS, max_upscale=1)] == [
        0
    ] * 3
