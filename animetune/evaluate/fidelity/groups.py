"""Groups of tags: those of which a picture has one, so that another than the asked one is an error, and all others.

A tag that a closed group lists, or that implies one that it lists (black_thighhighs), belongs there; any other belongs
to one of curation's groups (hair, clothing, objects ...), of which nothing is an error: a picture may show more than
was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import pydantic

from animetune import yamltree
from animetune.config import StrictModel, load_config
from animetune.curate.tag.tag_lists import OTHER, Vocabulary
from animetune.curate.tag.tag_names import NamedTag
from animetune.evaluate.fidelity.counting import Implications

ALL = "*"
"""Of `beside`: every tag of the group."""
FILE = "tag-groups.yaml"

Tags = Annotated[tuple[NamedTag, ...], pydantic.Field(min_length=2)]


class ClosedGroup(StrictModel):
    """Tags that exclude each other in a picture of one person."""

    title: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]
    """What it is called on the page."""
    tags: Tags
    """What it consists of, as the tagger's list writes it."""
    beside: dict[str, tuple[str, ...]] = pydantic.Field(default={})
    """Tag -> tags of the group that may come with it and are no error; `*` is all of them."""

    @pydantic.model_validator(mode="after")
    def _names_its_own(self) -> ClosedGroup:
        for tag, others in self.beside.items():
            for name in (tag, *others):
                if name != ALL and name not in self.tags:
                    raise ValueError(f"beside: {name!r} is none of the tags of {self.title!r}")
        return self


class GroupsFile(StrictModel):
    """A file of closed groups."""

    groups: tuple[ClosedGroup, ...]
    """In the order of the page."""

    @pydantic.model_validator(mode="after")
    def _is_a_partition(self) -> GroupsFile:
        owner: dict[str, str] = {}
        titles = [group.title for group in self.groups]
        for place, group in enumerate(self.groups):
            if group.title in titles[:place]:
                raise ValueError(f"groups.{place}: {group.title!r} is there twice")
            for tag in group.tags:
                if tag in owner:
                    raise ValueError(f"groups.{place}: {tag} is in {owner[tag]!r} and in {group.title!r}")
                owner[tag] = group.title
        return self


@dataclass(frozen=True)
class TagGroups:
    """Which group a tag belongs to, and which groups are closed."""

    closed: tuple[ClosedGroup, ...]

    @functools.cached_property
    def _owners(self) -> Mapping[str, str]:
        return {tag: group.title for group in self.closed for tag in group.tags}

    def titles_of(self, tags: Iterable[str]) -> dict[str, str]:
        """Tag -> title of its group."""
        listed = list(tags)
        implications = Implications.among({*listed, *self._owners})
        owners = {tag: self._owners.get(tag) or self._first(implications.of.get(tag, ())) for tag in listed}
        others = _vocabulary().group_of(tag for tag, owner in owners.items() if owner is None)
        return {tag: owner or open_title(others[tag]) for tag, owner in owners.items()}

    def _first(self, tags: Collection[str]) -> str | None:
        """Title of the first closed group that has one of the tags."""
        return next((group.title for group in self.closed if not set(tags).isdisjoint(group.tags)), None)

    def facts_of(self, title: str) -> dict[str, list[str]] | None:
        """Of a closed group, each tag -> what may come with it, as JSON; None for an open group."""
        for group in self.closed:
            if group.title == title:
                return {
                    tag: [*group.tags] if ALL in group.beside.get(tag, ()) else [*group.beside.get(tag, ())]
                    for tag in group.tags
                }
        return None


def open_title(group: str) -> str:
    """What one of curation's groups is called on the page: what is left of it beside the closed ones."""
    return "Everything else" if group == OTHER else f"{group.capitalize()}, other"


def load_groups(path: Path | None) -> TagGroups:
    """The built-in groups, or those of a file. Raises ConfigError with every mistake of the file, and its place."""
    return _built_in() if path is None else TagGroups(load_config(path, GroupsFile).groups)


@functools.cache
def _built_in() -> TagGroups:
    text = (resources.files("animetune.evaluate.fidelity") / FILE).read_text(encoding="utf-8")
    root, problems = yamltree.parse(text, FILE)
    assert root is not None
    assert not problems
    return TagGroups(GroupsFile.model_validate(root.plain()).groups)


@functools.cache
def _vocabulary() -> Vocabulary:
    return Vocabulary.load()
