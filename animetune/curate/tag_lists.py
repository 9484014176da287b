"""Lists of tags with a meaning: text files in `vocabulary/`, which a user can replace one by one.

A file has a tag a line. A line that begins with `# ` is a comment; `include <name>` stands for the tags of another
file. In `groups/`, whose files partition the general tags for balancing, `*` stands for any text.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from animetune import fsio
from animetune.errors import DataError

NAMES = (
    "count", "special", "emotion-strong", "emotion-weak", "animal-focus", "animal", "object-focus", "object",
    "scenery", "place",
)  # fmt: skip
"""The lists outside `groups/`."""
OTHER = "other"
"""The group of general tags that no group lists."""


@dataclass(frozen=True)
class Vocabulary:
    """The tags of every list."""

    lists: dict[str, tuple[str, ...]]
    """Name -> tags, for each of NAMES."""
    groups: dict[str, tuple[str, ...]]
    """Group -> tags and patterns, in order of name."""

    @classmethod
    def load(cls, folder: Path | None = None) -> Vocabulary:
        """The built-in lists, with those of `folder` in place of the ones with the same file name.

        A file of `folder/groups/` that has no built-in namesake adds a group; an empty one removes it.
        Raises DataError for a folder that is not there or that holds files with other names.
        """
        files = {name: _lines(text) for name, text in _built_in().items()}
        if folder is not None:
            if not folder.is_dir():
                raise DataError(f"tags: vocabulary: {folder}: there is no such folder")
            own = {
                path.relative_to(folder).with_suffix("").as_posix(): _lines(path.read_text(encoding="utf-8"))
                for path in sorted(folder.rglob("*.txt"))
            }
            strange = [name for name in own if name not in files and not name.startswith("groups/")]
            if strange:
                raise DataError(f"{folder}: {strange[0]}.txt: the lists are named {', '.join(NAMES)}, groups/<group>")
            files |= own
        groups = {name.removeprefix("groups/"): _included(name, files) for name in files if name.startswith("groups/")}
        return cls(
            lists={name: _included(name, files) for name in NAMES},
            groups={name: tags for name, tags in sorted(groups.items()) if tags},
        )

    def tags(self, *names: str) -> list[str]:
        """The tags of one or several lists."""
        return [tag for name in names for tag in self.lists[name]]

    @property
    def digest(self) -> str:
        """SHA-256 of all lists."""
        return hashlib.sha256(fsio.canonical_json([self.lists, self.groups]).encode()).hexdigest()

    def group_of(self, tags: Iterable[str]) -> dict[str, str]:
        """Tag -> group. A tag that is listed as it is belongs there; else the longest pattern that fits decides."""
        listed = [(entry, group) for group, entries in self.groups.items() for entry in entries]
        exact = {entry: group for entry, group in reversed(listed) if "*" not in entry}
        patterns = [(-len(entry.replace("*", "")), group, entry) for entry, group in listed if "*" in entry]
        patterns.sort()
        # One regular expression of all patterns: the first alternative that fits is the longest pattern.
        literals = ([re.escape(text) for text in entry.split("*")] for _, _, entry in patterns)
        fits = re.compile("|".join(f"({'.*'.join(texts)})" for texts in literals))
        groups = [group for _, group, _ in patterns]

        def fitting(tag: str) -> str:
            match = fits.fullmatch(tag) if patterns else None
            return groups[(match.lastindex or 0) - 1] if match else OTHER

        return {tag: exact.get(tag) or fitting(tag) for tag in tags}


@functools.cache
def _built_in() -> dict[str, str]:
    """File name without `.txt`, below `vocabulary/` -> text."""
    root = resources.files("animetune.curate") / "vocabulary"
    texts = {name: (root / f"{name}.txt").read_text(encoding="utf-8") for name in NAMES}
    groups = sorted((root / "groups").iterdir(), key=lambda file: file.name)
    return texts | {f"groups/{file.name.removesuffix('.txt')}": file.read_text(encoding="utf-8") for file in groups}


def _lines(text: str) -> list[str]:
    stripped = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in stripped if line and not line.startswith("# ") and line != "#"]


def _included(name: str, files: dict[str, list[str]]) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for line in files[name]:
        word, _, other = line.partition(" ")
        if word == "include":
            if other not in files or other == name:
                raise DataError(f"vocabulary: {name}.txt: {line}: there is no such list")
            tags.update(dict.fromkeys(_included(other, files)))
        else:
            tags[line] = None
    return tuple(tags)
