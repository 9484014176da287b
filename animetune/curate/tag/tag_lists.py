"""Lists of tags with a meaning: text files in `vocabulary/`, which a user can replace one by one.

A file has a tag a line. A line that begins with `# ` is a comment; `include <name>` stands for the tags of another
file. Two folders partition the general tags: `classes/` by what a tag says of a picture, for their order, and
`groups/`, made of classes, for balancing. There and in `noise.txt`, `*` stands for any text. Upper case, and spaces for
`_`, make no other tag. `overlap.txt` says which tags say less than others (`overlap`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from animetune import fsio
from animetune.curate.tag.tag_names import normal_tag
from animetune.curate.tag.tag_patterns import Partition
from animetune.errors import DataError

NAMES = (
    "count", "special", "emotion-strong", "emotion-weak", "animal-focus", "animal", "object-focus", "object",
    "scenery", "place", "style", "aidxl-triggers", "noise",
)  # fmt: skip
"""The lists of tags outside of folders."""
OVERLAP = "overlap"
"""The file of rules about tags that say less than others."""
FOLDERS = ("groups", "classes")
OTHER = "other"
"""The group, and the class, of general tags that none lists."""


@dataclass(frozen=True)
class Vocabulary:
    """The tags of every list."""

    lists: dict[str, tuple[str, ...]]
    """Name -> tags, for each of NAMES."""
    groups: dict[str, tuple[str, ...]]
    """Group -> tags and patterns, in order of name."""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Semantic class -> tags and patterns, in order of name."""
    overlap: tuple[str, ...] = ()
    """The lines of overlap.txt."""

    @classmethod
    def load(cls, folder: Path | None = None) -> Vocabulary:
        """The built-in lists, with those of `folder` in place of the ones with the same file name.

        A file of `folder/groups/` or `folder/classes/` that has no built-in namesake adds a group or class; an empty
        one removes it. Raises DataError for a folder that is not there or that holds files with other names.
        """
        files = {name: _lines(text) for name, text in _built_in().items()}
        if folder is not None:
            files |= _own_files(folder)
        parts = {
            kind: {
                name.removeprefix(f"{kind}/"): tags
                for name in sorted(files)
                if name.startswith(f"{kind}/") and (tags := _included(name, files))
            }
            for kind in FOLDERS
        }
        return cls(
            lists={name: _included(name, files) for name in NAMES},
            groups=parts["groups"],
            classes=parts["classes"],
            overlap=tuple(files[OVERLAP]),
        )

    def tags(self, *names: str) -> list[str]:
        """The tags of one or several lists."""
        return [tag for name in names for tag in self.lists[name]]

    @property
    def digest(self) -> str:
        """SHA-256 of all lists."""
        everything = [self.lists, self.groups, self.classes, self.overlap]
        return hashlib.sha256(fsio.canonical_json(everything).encode()).hexdigest()

    def group_of(self, tags: Iterable[str]) -> dict[str, str]:
        """Tag -> group. A tag that is listed as it is belongs there; else the longest pattern that fits decides."""
        return _parts_of(tags, Partition(self.groups))

    def class_of(self, tags: Iterable[str]) -> dict[str, str]:
        """Tag -> semantic class, decided as groups are."""
        return _parts_of(tags, Partition(self.classes))


def _parts_of(tags: Iterable[str], partition: Partition) -> dict[str, str]:
    return {tag: partition.part_of(tag) or OTHER for tag in tags}


@functools.cache
def _built_in() -> dict[str, str]:
    """File name without `.txt`, below `vocabulary/` -> text."""
    root = resources.files("animetune.curate") / "vocabulary"
    texts = {name: (root / f"{name}.txt").read_text(encoding="utf-8") for name in (*NAMES, OVERLAP)}
    for folder in FOLDERS:
        for file in sorted((root / folder).iterdir(), key=lambda file: file.name):
            texts[f"{folder}/{file.name.removesuffix('.txt')}"] = file.read_text(encoding="utf-8")
    return texts


def _own_files(folder: Path) -> dict[str, list[str]]:
    """The lines of the files in a user's folder."""
    if not folder.is_dir():
        raise DataError(f"tags: vocabulary: {folder}: there is no such folder")
    own = {}
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        parent, _, stem = name.rpartition("/")
        if name not in (*NAMES, OVERLAP) and not (parent in FOLDERS and stem):
            known = ", ".join((*NAMES, OVERLAP, "groups/<group>", "classes/<class>"))
            raise DataError(f"{folder}: {name}.txt: the lists are named {known}")
        try:
            own[name] = _lines(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8 text") from error
    return own


def _lines(text: str) -> list[str]:
    stripped = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in stripped if line and not line.startswith("# ") and line != "#"]


def _included(name: str, files: dict[str, list[str]], above: tuple[str, ...] = ()) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for line in files[name]:
        word, _, other = line.partition(" ")
        if word != "include":
            tags[normal_tag(line)] = None
        elif other in (*above, name):
            raise DataError(
                f"vocabulary: {name}.txt: {line}: goes round in a circle: {' -> '.join((*above, name, other))}"
            )
        elif other not in files or other == OVERLAP:
            raise DataError(f"vocabulary: {name}.txt: {line}: there is no such list")
        else:
            tags.update(dict.fromkeys(_included(other, files, (*above, name))))
    return tuple(tags)
