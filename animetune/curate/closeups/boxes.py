"""Files of boxes, drawn by hand or found by any tool: CSV with a first line of names, JSONL, parquet.

    key,left,top,right,bottom,label
    danbooru/4711,310,120.5,520,360,face

`label` and `score` may be missing or empty: then they are `face`, and 1. Of one source, a bare id is a key.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio
from animetune.errors import DataError
from animetune.vision.detectors import Box

SIDES = ("left", "top", "right", "bottom")
COLUMNS = ("key", *SIDES, "label", "score")
NEEDED = COLUMNS[:5]
LABEL, SCORE = "face", 1.0


@dataclass(frozen=True)
class BoxFiles:
    """The boxes of all files, by the key of their picture."""

    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Sequence[Path], sources: Sequence[str]) -> BoxFiles:
        """Read files; ids are those of the only source.

        Raises DataError, naming file and line (of parquet: row), for a file of another kind, missing columns, what is
        no number, boxes without area or left of or above the picture, and keys of no source.
        """
        found: dict[str, list[Box]] = {}
        for path in paths:
            for place, record in _records(path):
                try:
                    key, box = _parsed(record, sources)
                except ValueError as error:
                    raise DataError(f"closeups: boxes: {path}, {place}: {error}") from error
                found.setdefault(key, []).append(box)
        return cls({key: tuple(boxes) for key, boxes in found.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of all boxes."""
        ordered = {key: sorted(boxes) for key, boxes in self.boxes.items()}
        return hashlib.sha256(fsio.canonical_json(ordered).encode()).hexdigest()


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place in the file, record)."""
    if not path.is_file():
        raise DataError(f"closeups: boxes: {path}: there is no such file; correct the path")
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"closeups: boxes: {path}: is none of {', '.join(readers)}")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"closeups: boxes: {path}: byte {error.start} is not UTF-8; save it as UTF-8 text") from error


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        _check_columns(path, [name.strip() for name in rows.fieldnames or []], "its first line has")
        rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
        try:
            for row in rows:
                if None in row or None in row.values():
                    raise DataError(
                        f"closeups: boxes: {path}, line {rows.line_num}: should have {len(rows.fieldnames)} cells"
                    )
                yield f"line {rows.line_num}", row
        except csv.Error as error:
            raise DataError(f"closeups: boxes: {path}, line {rows.line_num}: {error}") from error


def _jsonl(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"closeups: boxes: {path}, line {number}: is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"closeups: boxes: {path}, line {number}: is no object with {', '.join(NEEDED)}")
        yield f"line {number}", record


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"closeups: boxes: {path}: cannot be read as parquet: {error}") from error
    _check_columns(path, rows.columns, "it has")
    for number, record in enumerate(rows.iter_rows(named=True)):
        yield f"row {number}", record


def _check_columns(path: Path, names: Sequence[str], where: str) -> None:
    if missing := [name for name in NEEDED if name not in names]:
        raise DataError(f"closeups: boxes: {path}: {where} no {', '.join(missing)}; needed are {', '.join(NEEDED)}")


def _parsed(record: Mapping[str, Any], sources: Sequence[str]) -> tuple[str, Box]:
    """(key, box). Raises ValueError."""
    left, top, right, bottom = (_number(record.get(name), name) for name in SIDES)
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError(f"{left:g},{top:g},{right:g},{bottom:g} is no box: 0 <= left < right and 0 <= top < bottom")
    if right <= 1 and bottom <= 1:
        raise ValueError(f"{left:g},{top:g},{right:g},{bottom:g} are shares of the sides; give pixels of the picture")
    score = _number(record["score"], "score") if record.get("score") not in (None, "") else SCORE
    return _key(record.get("key"), sources), Box(left, top, right, bottom, score, str(record.get("label") or LABEL))


def _number(value: Any, name: str) -> float:
    if not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            pass
        else:
            if math.isfinite(number):
                return number
    raise ValueError(f"{name}: {value!r} is not a number")


def _key(value: Any, sources: Sequence[str]) -> str:
    key = str(value).strip() if value not in (None, "") else ""
    source, slash, post = key.rpartition("/")
    if not post.isdecimal():
        raise ValueError(f"key: {value!r} is no key (source/123)")
    if not slash and len(sources) > 1:
        raise ValueError(
            f"key: {value!r} is an id, but of which source? Write it as a key, such as {sources[0]}/{post}"
        )
    if slash and source not in sources:
        raise ValueError(f"key: {value!r} is of no source of this configuration; there are {', '.join(sources)}")
    return f"{source or sources[0]}/{int(post)}"
