"""Recall against the tagger's own ceiling: what it finds of the same tags in real pictures that have them.

A tagger misses much of what is there, more of small and rare things. Of every tag the ceiling is the share of real
pictures with the tag in which it is found. Over several tags

    ratio = found / sum over tags of (pictures asked * ceiling of the tag)

so the ceiling is weighted as the prompts ask, and 1 is a model whose pictures show as much as real ones. Tags with
fewer than LEAST_REAL real pictures are in neither sum. Intervals resample prompts and real pictures, both whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from animetune.evaluate.intervals import RESAMPLES, SEED
from animetune.evaluate.measures import Difference, Estimate
from animetune.intervals import Interval
from animetune.seeding import Purpose, rng_for, text_counter

LEAST_REAL = 5
"""Real pictures that a tag must have."""
_AT_ONCE = 250


@dataclass(frozen=True)
class Tally:
    """How often tags were asked and found, by prompt; of real pictures every one stands for itself."""

    prompts: tuple[str, ...]
    asked: np.ndarray
    """float64 (prompts, tags): pictures of the prompt that were asked for the tag."""
    found: np.ndarray
    """float64 (prompts, tags): those of them in which it is found."""

    @classmethod
    def of(cls, pictures: Iterable[tuple[str, Collection[str], Collection[str]]], tags: Sequence[str]) -> Tally:
        """Of (prompt, asked tags, found tags), a picture each; other tags than `tags` are passed over."""
        column = {tag: place for place, tag in enumerate(tags)}
        rows: dict[str, int] = {}
        listed = list(pictures)
        for prompt, _, _ in sorted(listed, key=lambda each: each[0]):
            rows.setdefault(prompt, len(rows))
        asked_of, found_of = np.zeros((len(rows), len(tags))), np.zeros((len(rows), len(tags)))
        for prompt, asked, found in listed:
            for tag in asked:
                if tag in column:
                    asked_of[rows[prompt], column[tag]] += 1
                    found_of[rows[prompt], column[tag]] += tag in found
        return cls(tuple(rows), asked_of, found_of)

    def recall(self) -> np.ndarray:
        """float64 (tags,): share of the asked that is found; NaN where it was not asked."""
        asked = self.asked.sum(axis=0)
        return np.divide(self.found.sum(axis=0), asked, out=np.full(len(asked), np.nan), where=asked > 0)


@dataclass(frozen=True)
class Ceiling:
    """What the tagger finds of each tag in real pictures."""

    shares: np.ndarray
    """float64 (tags,); NaN for a tag with too few real pictures."""
    pictures: np.ndarray
    """float64 (tags,): real pictures that have the tag."""
    draws: np.ndarray
    """float64 (resamples, tags): the shares in resampled real pictures; NaN where none of them has the tag."""

    @classmethod
    def of(cls, real: Tally, *, purpose: str = "fidelity/ceiling") -> Ceiling:
        """Of real pictures; `purpose` names the stream of random draws."""
        pictures = real.asked.sum(axis=0)
        shares = np.where(pictures >= LEAST_REAL, real.recall(), np.nan)
        draws = np.concatenate(
            [_shares(weights @ real.found, weights @ real.asked) for weights in _weights(len(real.prompts), purpose)]
        )
        return cls(shares, pictures, np.where(np.isnan(shares), np.nan, draws))

    @property
    def has(self) -> np.ndarray:
        """bool (tags,): whether there is a share."""
        return ~np.isnan(self.shares)


def against(tally: Tally, ceiling: Ceiling, slices: Sequence[Sequence[int]], *, purpose: str) -> list[Estimate | None]:
    """The ratio over each of some slices, which name places of tags; n counts asked tags of pictures.

    None where nothing of a slice was asked that has a ceiling above 0.
    """
    drawn = _drawn(tally, purpose)
    return [
        None
        if (value := _ratio(tally, ceiling, columns)) is None
        else Estimate(value, _asked(tally, ceiling, columns), _interval(_ratios(drawn, ceiling, columns), tally))
        for columns in map(list, slices)
    ]


def change(
    first: Tally, second: Tally, ceiling: Ceiling, slices: Sequence[Sequence[int]], *, purpose: str
) -> list[Difference | None]:
    """Ratio of the second minus that of the first over each slice; both asked the same of the same prompts."""
    if first.prompts != second.prompts or not np.array_equal(first.asked, second.asked):
        raise ValueError("the two are not of the same pictures")
    drawn = [_drawn(each, purpose) for each in (first, second)]
    found: list[Difference | None] = []
    for columns in map(list, slices):
        one, two = (_ratio(each, ceiling, columns) for each in (first, second))
        if one is None or two is None:
            found.append(None)
            continue
        draws = _ratios(drawn[1], ceiling, columns) - _ratios(drawn[0], ceiling, columns)
        found.append(Difference(two - one, _asked(first, ceiling, columns), _interval(draws, first)))
    return found


def by_tag(tallies: Mapping[str, Tally], tags: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Model -> tag -> {asked, found}, pictures; tags that were not asked are left out."""
    return {
        model: {
            tag: {"asked": int(tally.asked[:, place].sum()), "found": int(tally.found[:, place].sum())}
            for place, tag in enumerate(tags)
            if tally.asked[:, place].any()
        }
        for model, tally in tallies.items()
    }


def _drawn(tally: Tally, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """float64 (resamples, tags), twice: asked and found in resampled prompts; equal purposes draw the same ones."""
    drawn = [(weights @ tally.asked, weights @ tally.found) for weights in _weights(len(tally.prompts), purpose)]
    asked, found = (np.concatenate(each) for each in zip(*drawn, strict=True))
    return asked, found


def _ratios(drawn: tuple[np.ndarray, np.ndarray], ceiling: Ceiling, columns: Sequence[int]) -> np.ndarray:
    """float64 (resamples,): the ratio in resampled prompts and real pictures."""
    asked, found = (each[:, columns] for each in drawn)
    shares = ceiling.draws[:, columns]
    known = ~np.isnan(shares)
    return _shares((found * known).sum(axis=1), (asked * np.where(known, shares, 0)).sum(axis=1))


def _ratio(tally: Tally, ceiling: Ceiling, columns: Sequence[int]) -> float | None:
    kept = [place for place in columns if ceiling.has[place]]
    below = float((tally.asked[:, kept].sum(axis=0) * ceiling.shares[kept]).sum())
    return float(tally.found[:, kept].sum()) / below if below > 0 else None


def _asked(tally: Tally, ceiling: Ceiling, columns: Sequence[int]) -> int:
    return int(tally.asked[:, [place for place in columns if ceiling.has[place]]].sum())


def _shares(found: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return np.divide(found, asked, out=np.full(found.shape, np.nan), where=asked > 0)


def _weights(count: int, purpose: str) -> Iterable[np.ndarray]:
    """How often each of `count` things is drawn, float64 (resamples, count), some resamples at a time."""
    rng = rng_for(SEED, Purpose.BOOTSTRAP, text_counter(purpose))
    for start in range(0, RESAMPLES, _AT_ONCE):
        size = min(_AT_ONCE, RESAMPLES - start)
        yield rng.multinomial(count, np.full(count, 1 / max(count, 1)), size=size).astype(np.float64)


def _interval(draws: np.ndarray, tally: Tally) -> Interval | None:
    known = draws[~np.isnan(draws)]
    if len(tally.prompts) < 2 or not len(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(float(low), float(high))
