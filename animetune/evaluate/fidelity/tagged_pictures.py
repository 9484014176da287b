"""Real pictures with tags that people gave them: what says how many of the tags the tagger can find at all.

    folder/1.png, 1.txt ...             tags, separated by commas
    folder/images.jsonl                 {"file": "1.png", "tags": [...]}; without `tags`, the prompt's parts
    pictures.jsonl                      the same; files lie beside it, or where they say

Danbooru's `tag_string` is read, too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from animetune import fsio
from animetune.curate.read.formats.beside import list_folder
from animetune.curate.read.formats.free_text import split_tags
from animetune.curate.read.formats.names import is_picture
from animetune.curate.tag.tag_names import normal_tag
from animetune.errors import DataError

INDEX = "images.jsonl"
FILE_FIELDS = ("file", "file_name", "image")
TAG_FIELDS = ("tags", "tag_string", "prompt")


class Tagged(NamedTuple):
    """A real picture."""

    name: str
    """Names it within its folder, with slashes."""
    file: Path
    tags: tuple[str, ...]


def read_tagged(place: Path) -> list[Tagged]:
    """All pictures that have tags, in order of name.

    Raises DataError for a place that is not there or has none, a line that cannot be read, and files that are missing.
    """
    if place.is_dir():
        index = place / INDEX
        found = list(_of_lines(index)) if index.is_file() else list(_of_folder(place))
    elif place.is_file():
        found = list(_of_lines(place))
    else:
        raise DataError(f"reference: {place}: there is no such folder or file")
    if not found:
        raise DataError(
            f"reference: {place}: has no picture with tags; put 1.txt with its tags beside 1.png, or an {INDEX} with "
            "lines of `file` and `tags`"
        )
    return sorted(found, key=lambda each: each.name)


def chosen(pictures: Sequence[Tagged], wanted: Collection[str], *, per_tag: int, limit: int) -> list[Tagged]:
    """Pictures so that every wanted tag has `per_tag` of them where there are so many, `limit` in all at most.

    The pictures are gone through in an order that depends on their names alone; one is taken if it helps a tag. Rare
    tags come first, so that `limit` cuts those that have enough.
    """
    having: dict[str, list[int]] = {tag: [] for tag in wanted}
    shuffled = sorted(pictures, key=lambda each: (fsio.short_digest(each.name), each.name))
    for place, each in enumerate(shuffled):
        for tag in set(each.tags) & having.keys():
            having[tag].append(place)
    taken: set[int] = set()
    for _, places in sorted(having.items(), key=lambda item: (len(item[1]), item[0])):
        short = per_tag - sum(place in taken for place in places)
        fresh = [place for place in places if place not in taken]
        taken.update(fresh[: max(0, min(short, limit - len(taken)))])
    return sorted((shuffled[place] for place in taken), key=lambda each: each.name)


def _of_folder(folder: Path) -> Iterator[Tagged]:
    names = list_folder(folder)
    known = set(names)
    for name in names:
        beside = f"{name.rpartition('.')[0]}.txt"
        if is_picture(name) and beside in known:
            yield Tagged(name, folder / name, _tags(_text(folder / beside).replace("\n", ",")))


def _of_lines(path: Path) -> Iterator[Tagged]:
    seen: dict[str, int] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"reference: {path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{place}: is not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(record, Mapping):
            raise DataError(f"{place}: is no JSON object")
        name = _file(record, place)
        if name in seen:
            raise DataError(f"{place}: {name} is in line {seen[name]}, too; remove one of them")
        seen[name] = number
        file = path.parent / name
        if not file.is_file():
            raise DataError(f"{place}: {file}: there is no such file")
        yield Tagged(name, file, _tags_of(record, place))


def _file(record: Mapping[str, Any], place: str) -> str:
    for field in FILE_FIELDS:
        if field in record:
            name = record[field]
            if not isinstance(name, str) or not name:
                raise DataError(f"{place}: {field}: should be the name of a picture, not {name!r}")
            return name
    raise DataError(f"{place}: names no picture; `file` is missing")


def _tags_of(record: Mapping[str, Any], place: str) -> tuple[str, ...]:
    for field in TAG_FIELDS:
        if field not in record:
            continue
        value = record[field]
        if isinstance(value, str):
            return _tags(value.replace(" ", ",") if field == "tag_string" else value)
        if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
            return tuple(dict.fromkeys(filter(None, map(normal_tag, value))))
        raise DataError(f"{place}: {field}: should be a list of tags, or a text with commas")
    raise DataError(f"{place}: has no `tags`")


def _tags(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(normal_tag, split_tags(text))))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"reference: {path}: cannot be read as UTF-8 text ({error})") from error
