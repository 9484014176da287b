"""Posts as a site with seven million of them has them: made up, but with the ratios of the real ones.

python scripts/bench/posts.py FOLDER --posts 1000000 [--tags danbooru.csv] [--format parquet] [--seed 0]

Writes `posts-00000.parquet` (or .jsonl) and so on with the columns of Danbooru's API. About 30 tags a post, drawn by
the counts of a tag list (lines of name,category,count; categories 0 general, 1 artist, 3 series, 4 character, 5 meta),
or by Zipf's law over the built-in vocabulary and made-up names. Who is in the picture, ratings, scores, dates, sizes,
extensions, parents and flags follow distributions that are close to the site's; scores grow with the rating and the
years. A file depends on the seed and its number alone.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FILE_POSTS = 250_000
ID_STEP = 1.25
"""Ids per post: some posts of every site are gone."""
KINDS = {"general": 0, "artist": 1, "copyright": 3, "character": 4, "meta": 5}
ZIPF_NAMES = {"general": 30_000, "artist": 60_000, "copyright": 9_000, "character": 40_000, "meta": 300}
ZIPF_SHIFT, ZIPF_EXPONENT = 6.0, 1.15

SCENES: tuple[tuple[float, str], ...] = (
    (0.460, "1girl solo"), (0.065, "1girl"), (0.075, "1boy male_focus solo"), (0.012, "1boy"),
    (0.085, "2girls multiple_girls"), (0.020, "3girls multiple_girls"), (0.022, "4girls multiple_girls"),
    (0.010, "6+girls multiple_girls"), (0.085, "1boy 1girl"), (0.014, "1boy 2girls multiple_girls"),
    (0.010, "1girl 2boys multiple_boys"), (0.030, "2boys male_focus multiple_boys"), (0.006, "3boys multiple_boys"),
    (0.008, "1other solo"), (0.016, "no_humans scenery"), (0.020, "animal no_humans"), (0.012, "no_humans still_life"),
    (0.020, "no_humans"), (0.010, "1girl comic"), (0.020, ""),
)  # fmt: skip
"""Share of the posts, and the tags that say who is in the picture. These, and tags that follow from the file, are drawn
in no other way: a site has each tag of a post once."""
RATINGS = (("g", 0.27, 2.1), ("s", 0.45, 2.6), ("q", 0.14, 2.9), ("e", 0.14, 3.2))
"""Rating, share, mean of the logarithm of the score."""
EXTENSIONS = (("jpg", 0.675), ("png", 0.296), ("gif", 0.012), ("mp4", 0.008), ("webp", 0.006), ("zip", 0.003))
SIZE_TAGS = ("highres", "absurdres", "incredibly_absurdres", "lowres")
MOVING = {"gif": "animated animated_gif", "mp4": "animated video", "zip": "animated ugoira"}
FIRST_DAY, LAST_DAY = np.datetime64("2005-05-24"), np.datetime64("2024-12-31")
ASPECTS = (0.707, 0.75, 0.5625, 0.667, 1.0, 1.333, 1.414, 1.778)
"""Width / height: portraits first."""


@dataclass(frozen=True)
class TagList:
    """Names in alphabetical order, and how often each occurs, for each kind of tag."""

    names: dict[str, np.ndarray]
    """kind -> object (names,), str"""
    cumulative: dict[str, np.ndarray]
    """kind -> float64 (names,), rising to 1"""

    @classmethod
    def of(cls, counts: dict[str, dict[str, float]]) -> TagList:
        """From kind -> name -> count."""
        given = {
            *SIZE_TAGS,
            *(tag for text in (*MOVING.values(), *(tags for _, tags in SCENES)) for tag in text.split()),
        }
        names, cumulative = {}, {}
        for kind, of_kind in counts.items():
            drawn = sorted(name for name in of_kind if name not in given)
            weights = np.array([of_kind[name] for name in drawn], float)
            names[kind] = np.array(drawn, dtype=object)
            cumulative[kind] = weights.cumsum() / weights.sum()
        return cls(names, cumulative)

    @classmethod
    def read(cls, path: Path) -> TagList:
        """From a CSV of name,category,count without a header, as taggers and prompt completers use them."""
        kinds = {number: kind for kind, number in KINDS.items()}
        counts: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
        with open(path, encoding="utf-8", newline="") as stream:
            for name, category, count, *_ in csv.reader(stream):
                if category.isdigit() and int(category) in kinds:
                    counts[kinds[int(category)]][name] = max(1.0, float(count))
        return cls.of(counts)

    @classmethod
    def zipf(cls) -> TagList:
        """By Zipf's law, with a shift: the general tags of the vocabulary first, in turns, then made-up ones."""
        from animetune.curate.tag.tag_lists import Vocabulary

        groups = [[tag for tag in tags if "*" not in tag] for tags in Vocabulary.load().groups.values()]
        longest = max(map(len, groups))
        known = [group[place] for place in range(longest) for group in groups if place < len(group)]
        counts = {}
        for kind, size in ZIPF_NAMES.items():
            first = list(dict.fromkeys(known))[:size] if kind == "general" else []
            names = first + [f"{kind}_{number:05d}" for number in range(size - len(first))]
            weights = (np.arange(1, size + 1) + ZIPF_SHIFT) ** -ZIPF_EXPONENT
            counts[kind] = dict(zip(names, weights.tolist(), strict=True))
        return cls.of(counts)

    def draw(self, rng: np.random.Generator, kind: str, lengths: np.ndarray) -> pa.ListArray:
        """list<string> (rows,): as many draws as `lengths` says, without repetition, in alphabetical order."""
        rows = np.repeat(np.arange(len(lengths)), lengths)
        drawn = np.searchsorted(self.cumulative[kind], rng.random(len(rows)))
        size = len(self.names[kind])
        once = np.unique(rows * size + np.minimum(drawn, size - 1))
        offsets = np.searchsorted(once, np.arange(len(lengths) + 1) * size).astype(np.int32)
        words = pa.array(self.names[kind].tolist()).take(pa.array(once % size))
        return pa.ListArray.from_arrays(pa.array(offsets), words)


def posts(number: int, count: int, tags: TagList, *, seed: int = 0) -> pa.Table:
    """The posts of file `number`, which begin at `number * FILE_POSTS` of all posts; of `FILE_POSTS`, the first."""
    rng = np.random.default_rng([seed, number])
    places = np.arange(number * FILE_POSTS, number * FILE_POSTS + count)
    ids = 1 + (places * ID_STEP).astype(np.int64)
    rating = rng.choice(len(RATINGS), count, p=_shares(RATINGS))
    scene = rng.choice(len(SCENES), count, p=_shares([(text, share) for share, text in SCENES]))
    extension = rng.choice(len(EXTENSIONS), count, p=_shares(EXTENSIONS))
    width, height = _sizes(rng, count)
    people = pa.array([text for _, text in SCENES]).take(pa.array(scene))
    moving = pc.fill_null(pa.array([MOVING.get(name) for name, _ in EXTENSIONS]).take(pa.array(extension)), "")
    has_people = np.array([bool(text) and "no_humans" not in text for _, text in SCENES])[scene]

    general = tags.draw(rng, "general", np.clip(rng.lognormal(3.08, 0.5, count), 2, 120).astype(int))
    character = tags.draw(rng, "character", rng.choice(4, count, p=(0.30, 0.52, 0.12, 0.06)) * has_people)
    text = {
        "general": _joined(people, general),
        "character": pc.binary_join(character, " "),
        "copyright": pc.binary_join(tags.draw(rng, "copyright", rng.choice(3, count, p=(0.08, 0.80, 0.12))), " "),
        "artist": pc.binary_join(tags.draw(rng, "artist", rng.choice(3, count, p=(0.05, 0.93, 0.02))), " "),
        "meta": _joined(
            _of_size(width, height), tags.draw(rng, "meta", rng.choice(4, count, p=(0.3, 0.4, 0.2, 0.1))), moving
        ),
    }
    up, favourites = _votes(rng, rating, places)
    down = rng.poisson(0.15, count)
    has_parent = rng.random(count) < 0.11
    parent = np.maximum(1, ids - rng.integers(1, 40, count))
    pixels = rng.integers(0, 2**63, count)
    again = rng.random(count) < 0.004  # the same pixels in another file, not long after
    pixels[again] = pixels[np.maximum(0, np.flatnonzero(again) - rng.integers(1, 5000, int(again.sum())))]
    columns: dict[str, Any] = {
        "id": ids,
        "created_at": _times(rng, places),
        "uploader_id": rng.zipf(1.5, count) % 1_000_000,
        "score": up - down,
        "up_score": up,
        "down_score": -down,
        "fav_count": favourites,
        "rating": pa.array([name for name, *_ in RATINGS]).take(pa.array(rating)),
        "md5": _hex(rng, count),
        "file_ext": pa.array([name for name, _ in EXTENSIONS]).take(pa.array(extension)),
        "file_size": (width * height * rng.lognormal(-0.9, 0.6, count)).astype(np.int64) + 1000,
        "image_width": width,
        "image_height": height,
        "pixel_hash": _hex_of(pixels),
        "parent_id": pa.array(parent, mask=~has_parent),
        "has_children": rng.random(count) < 0.08,
        "is_deleted": rng.random(count) < 0.045,
        "is_banned": rng.random(count) < 0.004,
        "is_pending": rng.random(count) < 0.0004,
        "is_flagged": rng.random(count) < 0.0003,
        "source": pc.binary_join_element_wise(
            "https://i.example.net/img", pc.cast(pa.array(ids * 7), pa.string()), "/"
        ),
        "tag_string": _words(*text.values()),
        **{f"tag_string_{kind}": value for kind, value in text.items()},
    }
    return pa.table(columns)


def write_posts(folder: Path, count: int, tags: TagList, *, kind: str = "parquet", seed: int = 0) -> list[Path]:
    """Write `count` posts in files of FILE_POSTS; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    write: Callable[[pa.Table, Path], None] = {"parquet": _write_parquet, "jsonl": _write_jsonl}[kind]
    files = []
    for number, first in enumerate(range(0, count, FILE_POSTS)):
        files.append(folder / f"posts-{number:05d}.{kind}")
        write(posts(number, min(FILE_POSTS, count - first), tags, seed=seed), files[-1])
    return files


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=50_000)


def _write_jsonl(table: pa.Table, path: Path) -> None:
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    frame.write_ndjson(path)


def _shares(choices: Sequence[tuple[Any, ...]]) -> np.ndarray:
    """The second of each, so that they add up to 1."""
    return np.array([choice[1] for choice in choices]) / sum(choice[1] for choice in choices)


def _joined(first: pa.Array, lists: pa.ListArray, *more: pa.Array) -> pa.Array:
    """One string of tags each row: words, then a list of tags, then more words."""
    return _words(first, pc.binary_join(lists, " "), *more)


def _words(*texts: pa.Array) -> pa.Array:
    """Texts of words, some of them empty, as one each row."""
    joined = pc.binary_join_element_wise(*texts, " ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(joined, "  +", " "))


def _of_size(width: np.ndarray, height: np.ndarray) -> pa.Array:
    """The tags that the site gives for a size."""
    rules = (
        (width >= 1600) | (height >= 1200),
        (width >= 3200) | (height >= 2400),
        (width >= 10000) | (height >= 10000),
        (width <= 500) & (height <= 500),
    )
    words = [pa.array(np.where(holds, name, "")) for name, holds in zip(SIZE_TAGS, rules, strict=True)]
    return _words(*words)


def _sizes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """int32 pixels: about 2 MP, mostly portrait; one in a few hundred is a strip."""
    aspect = rng.choice(ASPECTS, count, p=(0.30, 0.18, 0.08, 0.12, 0.12, 0.07, 0.07, 0.06))
    aspect = np.exp(np.log(aspect) + rng.normal(0, 0.06, count))
    strips = rng.random(count) < 0.004
    aspect[strips] = rng.choice((0.08, 0.2, 5.0, 9.0), int(strips.sum()))
    area = rng.lognormal(np.log(1.9e6), 0.95, count)
    width = np.clip(np.sqrt(area * aspect), 64, 14_000)
    return width.astype(np.int32), np.clip(width / aspect, 64, 14_000).astype(np.int32)


def _votes(rng: np.random.Generator, rating: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Votes and favourites: more for later posts and higher ratings, and always some with hundreds."""
    mean = np.array([choice[2] for choice in RATINGS])[rating] + 0.12 * np.log1p(places / 1e5)
    level = rng.normal(mean - 0.9, 1.15)
    votes = rng.poisson(np.exp(np.minimum(level, 7)))
    return votes, rng.poisson(np.exp(np.minimum(level + 0.25 + rng.normal(0, 0.2, len(level)), 8)))


def _times(rng: np.random.Generator, places: np.ndarray) -> pa.Array:
    """Rising with the number of the post, faster in later years; in the time zone of New York, as the site's."""
    share = np.minimum(places / 9e6, 1) ** 0.62
    seconds = (share * (LAST_DAY - FIRST_DAY).astype(np.int64) * 86400).astype(np.int64) + rng.integers(
        0, 60, len(places)
    )
    moments = FIRST_DAY.astype("datetime64[ms]") + (1000 * seconds + rng.integers(0, 1000, len(places))).astype(
        "timedelta64[ms]"
    )
    month = moments.astype("datetime64[M]").astype(int) % 12
    zone = np.where((month >= 2) & (month <= 9), "-04:00", "-05:00")
    return pc.binary_join_element_wise(pa.array(np.datetime_as_string(moments, unit="ms")), pa.array(zone), "")


def _hex(rng: np.random.Generator, count: int) -> pa.Array:
    """string (count,): 32 random digits."""
    digits = np.frombuffer(rng.bytes(16 * count).hex().encode(), "S32")
    return pa.array(digits.astype("U32"))


def _hex_of(numbers: np.ndarray) -> pa.Array:
    """string (rows,): 32 digits, equal for equal numbers."""
    digits = np.frombuffer(np.stack([numbers, ~numbers], axis=1).astype(np.int64).tobytes().hex().encode(), "S32")
    return pa.array(digits.astype("U32"))


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--tags", type=Path, help="CSV of name,category,count; without one, by Zipf's law")
    parser.add_argument("--format", choices=("parquet", "jsonl"), default="parquet")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    tags = TagList.read(asked.tags) if asked.tags else TagList.zipf()
    for path in write_posts(asked.folder, asked.posts, tags, kind=asked.format, seed=asked.seed):
        print(path)


if __name__ == "__main__":
    main()
