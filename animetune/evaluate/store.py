"""What scorers said of pictures, kept by the bytes of the picture: asked once, by however many evaluations.

    <answers>/<scorer>-<digest>/piece-<digest>/    pictures.txt        SHA-256 of the pictures, a line each
                                                   answers.jsonl       of a scorer: an answer a line
                                                   features.safetensors    of a featurizer: `features`, float32 (n, d)

A piece is there whole or not at all, and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from animetune import fsio
from animetune.errors import DataError
from animetune.manifest import has_manifest

PIECE = "piece-"
PICTURES = "pictures.txt"
ANSWERS = "answers.jsonl"
FEATURES = "features.safetensors"
TENSOR = "features"


class Shelf:
    """The pieces of one scorer. Answers are read when they are wanted, and each piece's list of pictures once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._pieces: set[str] = set()
        self._place: dict[str, str] = {}

    def take(self, wanted: Iterable[str]) -> dict[str, Any]:
        """What is known of the pictures with these digests by now, in the order of `wanted`.

        Raises DataError for a piece that is damaged.
        """
        self._look()
        order = [digest for digest in wanted if digest in self._place]
        found: dict[str, Any] = {}
        for piece in dict.fromkeys(self._place[digest] for digest in order):
            found |= read_piece(self._folder / piece)
        return {digest: found[digest] for digest in order}

    def _look(self) -> None:
        for path in sorted(self._folder.glob(f"{PIECE}*")):
            if path.name not in self._pieces and has_manifest(path):
                self._pieces.add(path.name)
                for digest in _digests(path):
                    self._place.setdefault(digest, path.name)


def piece_name(digests: Sequence[str]) -> str:
    """Of the piece that holds the answers about these pictures."""
    return PIECE + fsio.short_digest("\n".join(digests))


def write_answers(folder: Path, digests: Sequence[str], answers: Sequence[Mapping[str, Any]]) -> None:
    """The files of a piece of a scorer."""
    fsio.atomic_write(folder / ANSWERS, "".join(fsio.canonical_json(answer) + "\n" for answer in answers))
    fsio.atomic_write(folder / PICTURES, "".join(f"{digest}\n" for digest in digests))


def write_features(folder: Path, digests: Sequence[str], features: np.ndarray) -> None:
    """The files of a piece of a featurizer; float32 (n, d)."""
    write_vectors(folder / FEATURES, features)
    fsio.atomic_write(folder / PICTURES, "".join(f"{digest}\n" for digest in digests))


def write_vectors(path: Path, vectors: np.ndarray) -> None:
    """Float32 (n, d) as the one tensor `features` of a safetensors file."""
    fsio.atomic_write(path, safetensors.numpy.save({TENSOR: np.ascontiguousarray(vectors, dtype=np.float32)}))


def read_piece(folder: Path) -> dict[str, Any]:
    """Digest of a picture -> what was said of it: JSON, or float32 (d,). Raises DataError where a file is damaged."""
    digests = _digests(folder)
    try:
        said: Sequence[Any] | np.ndarray
        if (folder / FEATURES).is_file():
            said = safetensors.numpy.load((folder / FEATURES).read_bytes())[TENSOR]
        else:
            said = fsio.read_lines(folder / ANSWERS)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DataError(
            f"{folder}: cannot be read ({error!r}); remove it, and its pictures are looked at again"
        ) from error
    if len(said) != len(digests):
        raise DataError(
            f"{folder}: has {len(said)} answers for {len(digests)} pictures; remove it, and they are looked at again"
        )
    return dict(zip(digests, said, strict=True))


def _digests(folder: Path) -> list[str]:
    try:
        return (folder / PICTURES).read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: cannot be read ({error}); remove it, and its pictures are looked at again"
        ) from error
