"""Sizes (resolution buckets): which there are, which one a picture gets, how it is resized and cropped to it.

    source --place--> tier, target      the size of nearest ratio, in the tier that the picture fills
    source --cover-fit--> resized --crop at (left, top)--> target, kept with a margin as `stored_region`

Everything is integer arithmetic on pixels, so that shards, conditioning and tests agree to the pixel. A table has
millions of pictures, so sizes are chosen for whole arrays of (width, height).

Micro-conditioning (SDXL paper, section 2.2) tells the model where a training picture was cut. `time_ids` gives the
true cut: of the axis that is really cropped, in pixels of the resized picture, mirrored when the picture is.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import pydantic

from animetune.config import StrictModel
from animetune.records import Size

ANIMAGINE_SIZES = tuple(
    Size(*size)
    for size in (
        (1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344), (1536, 640),
        (640, 1536),
    )
)  # fmt: skip
"""The nine resolutions of the Animagine XL model cards."""

SDXL_SIZES = tuple(
    Size(*size)
    for size in (
        (512, 2048), (512, 1984), (512, 1920), (512, 1856), (576, 1792), (576, 1728), (576, 1664), (640, 1600),
        (640, 1536), (704, 1472), (704, 1408), (768, 1344), (768, 1280), (832, 1216), (832, 1152), (896, 1152),
        (896, 1088), (960, 1088), (960, 1024), (1024, 1024), (1024, 960), (1088, 960), (1088, 896), (1152, 896),
        (1152, 832), (1216, 832), (1280, 768), (1344, 768), (1344, 704), (1408, 704), (1472, 704), (1536, 640),
        (1600, 640), (1664, 576), (1728, 576), (1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512),
    )
)  # fmt: skip
"""The 40 sizes that SDXL was trained on (SDXL paper, appendix I); 1344x704 has no portrait twin there either."""

PRESETS: dict[str, tuple[Size, ...]] = {"animagine": ANIMAGINE_SIZES, "sdxl": SDXL_SIZES}

PRESET_AREA = 1024 * 1024


class TierConfig(StrictModel):
    """Sizes of about one area: a published list (`preset`), a generated one, or as many as the pictures ask for."""

    preset: Literal["animagine", "sdxl"] | None = None
    """Nine sizes (animagine) or forty (sdxl), all of about 1024x1024 pixels."""
    open: bool = False
    """No list: each picture has the size of its own ratio, both sides rounded to the nearest step. AIDXL: with step 32,
    min_side 256, max_side 4096 and max_ratio 16."""
    area: int = pydantic.Field(default=PRESET_AREA, ge=64)
    """Pixels of a generated size at most: for each side the longest other side, both ways round, and the square."""
    step: int = pydantic.Field(default=64, ge=8, multiple_of=8)
    """Sides of a generated size are multiples of this many pixels; the VAE needs multiples of 8."""
    min_side: int | None = pydantic.Field(default=None, ge=8)
    """Shortest side of a generated size, in pixels; null is half the side of the square."""
    max_side: int | None = pydantic.Field(default=None, ge=8)
    """Longest side of a generated size, in pixels; null is twice the side of the square."""
    max_ratio: float = pydantic.Field(default=4.0, ge=1)
    """Largest ratio of long to short side of a generated size; one above max_side / min_side limits nothing."""

    @property
    def name(self) -> str:
        """The tier's name: the side, in pixels, of the square that has its area."""
        return str(round(self.area**0.5))

    @property
    def sides(self) -> range:
        """Every side that a generated size may have."""
        shortest, longest = self._limits
        return range(-(-shortest // self.step) * self.step, longest + 1, self.step)

    @property
    def _limits(self) -> tuple[int, int]:
        square = math.isqrt(self.area)
        return self.min_side or square // 2, self.max_side or 2 * square

    @pydantic.model_validator(mode="after")
    def _one_way_of_choosing(self) -> TierConfig:
        generated = [name for name in _written_out(self) if name != "preset"]
        if self.preset is not None and generated:
            raise ValueError(f"preset {self.preset} has its own list; leave out preset or {', '.join(generated)}")
        if not _has_sizes(self):
            shortest, longest = self._limits
            finer = self.model_copy(update={"step": 8})
            remedy = "lower step" if _has_sizes(finer) else "lower min_side or raise area"
            if longest < shortest:
                remedy = "lower min_side or raise max_side"
            raise ValueError(
                f"no size has an area of at most {self.area} pixels, sides of {shortest} to {longest} in steps of "
                f"{self.step} and a ratio of at most {self.max_ratio}; {remedy}"
            )
        return self


class SizesConfig(TierConfig):
    """The sizes that pictures are cropped to: those of one tier, written here, or of several `tiers`."""

    tiers: tuple[TierConfig, ...] = ()
    """Several areas at once, each with its sizes; then nothing is written beside them but what follows."""
    assign: Literal["highest", "every"] = "highest"
    """Of several tiers a picture goes to the highest that it fills without being enlarged, or to every such one."""
    min_pictures: int = pydantic.Field(default=0, ge=0)
    """Sizes with fewer training pictures are given up, the smallest first: their pictures go to the next nearest size
    that they fill (in the lowest tier: with at most `max_upscale`), else to the next lower tier. A size stays where one
    of its pictures has neither, and every tier keeps a size. 0 and 1 give up none."""

    @property
    def all_tiers(self) -> tuple[TierConfig, ...]:
        """The tiers from small to large; one if none are listed."""
        return tuple(sorted(self.tiers, key=lambda tier: tier.area)) or (self,)

    @pydantic.model_validator(mode="after")
    def _tiers_or_one(self) -> SizesConfig:
        if self.tiers and (beside := _written_out(self)):
            raise ValueError(f"{', '.join(beside)}: describes one tier, but there are `tiers`; write it inside them")
        names = [tier.name for tier in self.tiers]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tiers have the area of a square of side {', '.join(doubled)}; make one of them")
        return self


def enumerate_sizes(tier: TierConfig) -> tuple[Size, ...]:
    """The sizes of a tier, ordered by width, then height; none when it is open."""
    if tier.preset is not None:
        return tuple(sorted(PRESETS[tier.preset]))
    if tier.open:
        return ()
    sides = tier.sides
    square = math.isqrt(tier.area) // tier.step * tier.step
    sizes = {Size(square, square)} if square in sides else set()
    for side in sides:
        other = min(tier.area // side // tier.step * tier.step, sides[-1])
        if other >= sides[0] and max(side, other) <= tier.max_ratio * min(side, other):
            sizes |= {Size(side, other), Size(other, side)}
    return tuple(sorted(sizes))


def nearest(sources: np.ndarray, sizes: np.ndarray, *, max_upscale: float = math.inf) -> np.ndarray:
    """Index of the size whose ratio of sides is nearest to each source's on a logarithmic scale; the first of equals.

    `sources`: int64 (n, 2), width and height; `sizes`: int64 (k, 2). Returns int64 (n,): -1 where every size
    would enlarge it by more than `max_upscale`. |log a - log b| is ordered as max(a/b, b/a), without a logarithm.
    """
    best, found = np.full(len(sources), np.inf), np.full(len(sources), -1, np.int64)
    for index, (width, height) in enumerate(sizes):
        across, down = sources[:, 0] * height, sources[:, 1] * width
        distortion = np.maximum(across, down) / np.minimum(across, down)
        nearer = distortion < best
        if max_upscale < math.inf:
            nearer &= _scales(sources, sizes[index]) <= max_upscale
        best[nearer], found[nearer] = distortion[nearer], index
    return found


def open_size(source: Size, tier: TierConfig) -> Size:
    """The size of a tier without a list: the source scaled to the tier's area, both sides rounded to the nearest step.

    A ratio beyond `max_ratio` is cut back first, so the crop takes the rest; then both sides are held within limits.
    """
    sides = tier.sides
    numerator, denominator = tier.max_ratio.as_integer_ratio()
    long, short = max(source), min(source)
    if long * denominator > short * numerator:
        long, short = numerator, denominator
    # round(sqrt(area * long / short) / step), in integers.
    long_side, short_side = (
        (math.isqrt(4 * tier.area * a // (tier.step**2 * b)) + 1) // 2 * tier.step
        for a, b in ((long, short), (short, long))
    )
    short_side = min(max(short_side, sides[0]), sides[-1])
    widest = short_side * numerator // denominator // tier.step * tier.step  # rounding may have passed the limit
    long_side = max(min(long_side, sides[-1], widest), short_side)
    return Size(long_side, short_side) if source.width >= source.height else Size(short_side, long_side)


class Placed(NamedTuple):
    """The sources that go to one tier."""

    tier: TierConfig
    which: np.ndarray
    """int64 (m,): index of each of them."""
    targets: np.ndarray
    """int64 (m, 2): the width and height that each is cropped to."""


def place(sources: np.ndarray, counts: np.ndarray, cfg: SizesConfig, *, max_upscale: float) -> list[Placed]:
    """Which pictures go to which tier and size, tier by tier from small to large.

    `sources`: int64 (n, 2), distinct sizes of pictures; `counts`: int64 (n,), training pictures of each, for
    `min_pictures`. A source that fills no tier goes to the lowest if it is enlarged by at most `max_upscale`; those
    that are nowhere in the result would be enlarged by more. `min_pictures` drops none and enlarges none beyond that:
    see `SizesConfig` for where its pictures go. With `assign: every` a picture may so lose a tier, but not its last.
    """
    tiers = cfg.all_tiers
    targets = [_targets(sources, tier) for tier in tiers]
    scales = np.stack([_scales(sources, each) for each in targets])
    fills = scales <= 1
    mine = fills if cfg.assign == "every" else fills & (np.cumsum(fills[::-1], axis=0)[::-1] == 1)
    mine = np.vstack([(mine[:1] | ~fills.any(axis=0)) & (scales[:1] <= max_upscale), mine[1:]])
    placed = []
    for level in reversed(range(len(tiers))):
        which = np.flatnonzero(mine[level])
        merged = _merge_small(
            sources[which],
            counts[which],
            targets[level][which],
            least=cfg.min_pictures,
            max_upscale=1.0 if level else max_upscale,
            movable=fills[:level, which].any(axis=0),
        )
        stays = merged[:, 0] > 0
        placed.append(Placed(tiers[level], which[stays], merged[stays]))
        if level:
            leaves = which[~stays]
            mine[level - 1 - fills[:level, leaves][::-1].argmax(axis=0), leaves] = True
    return placed[::-1]


class Geometry(NamedTuple):
    """How a source picture became a training picture; all in pixels."""

    source: Size
    """The decoded picture, before any resize."""
    resized: Size
    """The source scaled until it covers the target; at least one side equals the target's."""
    left: int
    """First column of the crop in the resized picture."""
    top: int
    """First row of the crop in the resized picture."""
    target: Size
    """The training picture."""


class Region(NamedTuple):
    """A rectangle of the resized picture, in its pixels."""

    left: int
    top: int
    size: Size


def cover_scale(source: Size, target: Size) -> float:
    """Factor by which the source is scaled to cover the target; above 1 it is enlarged."""
    return max(target.width / source.width, target.height / source.height)


def fit(source: Size, target: Size, *, focus: tuple[float | None, float | None] = (None, None)) -> Geometry:
    """Scale until the target is covered, round half up, cut the axis that is too long.

    `focus` (x, y) is the point that the crop is centred on as far as the picture reaches, in shares of the source's
    sides (0 to 1); None stands for the centre.
    """
    if target.width * source.height >= target.height * source.width:
        resized = Size(target.width, _rounded(source.height * target.width, source.width))
    else:
        resized = Size(_rounded(source.width * target.height, source.height), target.height)
    left, top = (_crop_start(*axis) for axis in zip(resized, target, focus, strict=True))
    return Geometry(source, resized, left, top, target)


def stored_region(geometry: Geometry, margin: float) -> Region:
    """The crop and up to `margin` of the target's side beyond it, where the picture was cut and as far as it reaches.

    What is beyond lies on both sides of the crop in equal parts, or more on one where the other ends.
    """
    spans = [
        _stored_span(*axis, margin)
        for axis in zip((geometry.left, geometry.top), geometry.target, geometry.resized, strict=True)
    ]
    (left, width), (top, height) = spans
    return Region(left, top, Size(width, height))


def time_ids(geometry: Geometry, *, flipped: bool = False) -> tuple[int, int, int, int, int, int]:
    """SDXL's micro-conditioning (original h, w, crop top, left, target h, w); a horizontal flip mirrors the crop."""
    source, resized, left, top, target = geometry
    if flipped:
        left = resized.width - target.width - left
    return source.height, source.width, top, left, target.height, target.width


def _written_out(tier: TierConfig) -> list[str]:
    """Settings of the tier that ask for something; a default that is written out, as in a resolved file, does not."""
    return sorted(name for name, field in TierConfig.model_fields.items() if getattr(tier, name) != field.default)


def _targets(sources: np.ndarray, tier: TierConfig) -> np.ndarray:
    if tier.open:
        return np.array([open_size(Size(*source), tier) for source in sources.tolist()], np.int64).reshape(-1, 2)
    sizes = np.array(enumerate_sizes(tier), np.int64)
    return sizes[nearest(sources, sizes)]


def _has_sizes(tier: TierConfig) -> bool:
    if tier.open:
        return bool(tier.sides) and tier.sides[0] ** 2 <= tier.area
    return bool(enumerate_sizes(tier))


def _scales(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 (n,): `cover_scale` of each source to its target, or to the one target."""
    return (targets / sources).max(axis=1, initial=0)


def _merge_small(
    sources: np.ndarray, counts: np.ndarray, targets: np.ndarray, *, least: int, max_upscale: float, movable: np.ndarray
) -> np.ndarray:
    """The targets in one tier after giving up sizes with fewer than `least` pictures; (0, 0) for those who leave it.

    The size with fewest pictures goes first (the first of equals), its pictures each to the nearest size left that
    enlarges it by at most `max_upscale`; where there is none, a `movable` one leaves the tier. A size with a picture
    that can do neither stays whole, since fewer pictures would only repeat more often. When the whole tier has fewer
    than `least`, the size nearest to its median ratio stays.
    """
    if least <= 1 or not len(sources):
        return targets
    codes, index = np.unique(targets[:, 0] << 32 | targets[:, 1], return_inverse=True)
    sizes = np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1)
    middle = _median_ratio(sources, counts)
    pictures = np.bincount(index, weights=counts)
    left, stay = np.ones(len(sizes), bool), np.zeros(len(sizes), bool)
    while True:
        if pictures.sum() < least:
            others = np.flatnonzero(left)
            stay[others[nearest(middle, sizes[others])]] = True
        small = np.flatnonzero(left & ~stay & (pictures < least))
        if not len(small):
            return np.where(index[:, None] < 0, 0, sizes[index])
        size = small[pictures[small].argmin()]
        members = np.flatnonzero(index == size)
        others = np.flatnonzero(left & (np.arange(len(sizes)) != size))
        choice = nearest(sources[members], sizes[others], max_upscale=max_upscale)
        if (~movable[members] & (choice < 0)).any():
            stay[size] = True
            continue
        left[size], pictures[size] = False, 0
        index[members] = np.where(choice < 0, -1, others[choice])
        np.add.at(pictures, others[choice[choice >= 0]], counts[members[choice >= 0]])


def _median_ratio(sources: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """int64 (1, 2): a source with the median ratio of sides, of training pictures if there are any."""
    order = np.argsort(sources[:, 0] / sources[:, 1])
    line = np.cumsum(counts[order] if counts.any() else np.ones(len(order)))
    return sources[order[np.searchsorted(line, line[-1] / 2)]][None]


def _crop_start(resized: int, target: int, focus: float | None) -> int:
    """First pixel of the crop along one axis."""
    if focus is None:
        return (resized - target) // 2
    return max(0, min(int(focus * resized) - target // 2, resized - target))


def _stored_span(crop: int, target: int, resized: int, margin: float) -> tuple[int, int]:
    """(first pixel, length) along one axis."""
    length = min(resized, target + int(margin * target))
    return max(0, min(crop - (length - target) // 2, resized - length)), length


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest integer, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)
