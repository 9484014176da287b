"""Orders of the general tags, as lists of semantic classes.

An order is a list of places, first to last; a place is a class, or a list of classes whose tags stand there as the
source has them. `*` is the place of all classes that the order does not name; without it they stand at the end.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Sequence
from importlib import resources

import numpy as np

from animetune import yamltree
from animetune.curate.coded import CodedLists
from animetune.curate.config.tags import ORDER_NAMES, Place
from animetune.curate.tag.tag_lists import OTHER
from animetune.errors import ConfigError

REST = "*"
"""The place of the classes that an order does not name."""


def places(order: str | Sequence[Place]) -> tuple[tuple[str, ...], ...]:
    """The places of an order that is given by name or as a list, the classes of each as a tuple."""
    listed = _built_in(order) if isinstance(order, str) else order
    return tuple((place,) if isinstance(place, str) else tuple(place) for place in listed)


def ranks(order: str | Sequence[Place], classes: Iterable[str]) -> dict[str, int]:
    """Semantic class -> its place, for each of `classes` and OTHER.

    Raises ConfigError for an order that names a class that there is not, or one twice.
    """
    known = dict.fromkeys((*classes, OTHER))
    found: dict[str, int] = {}
    for rank, place in enumerate(listed := places(order)):
        for name in place:
            if name not in known and name != REST:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                raise ConfigError(f"tags.order: {name!r} is no semantic class of tags; {meant}")
            if name in found:
                raise ConfigError(f"tags.order: {name!r} is there twice")
            found[name] = rank
    rest = found.pop(REST, len(listed))
    return {name: found.get(name, rest) for name in known}


def arranged(coded: CodedLists, rank: np.ndarray) -> CodedLists:
    """Each list sorted by `rank`, int (distinct,), of its names; of equal rank as they were."""
    span = int(rank.max(initial=0)) + 1
    key = coded.rows * span + rank[coded.codes]
    return CodedLists(coded.offsets, coded.codes[np.argsort(key, kind="stable")], coded.names)


@functools.cache
def _built_in(name: str) -> tuple[Place, ...]:
    assert name in ORDER_NAMES
    file = resources.files("animetune.curate") / "vocabulary" / "orders" / f"{name}.yaml"
    root, problems = yamltree.parse(file.read_text(encoding="utf-8"), str(file))
    assert root is not None
    assert not problems
    return tuple(root.plain())
