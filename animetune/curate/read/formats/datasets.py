"""Records of training sets, known by their files' names -> Danbooru's post object, which `posts.parse_post` reads."""

from __future__ import annotations

import re
from typing import Any

from animetune.curate.read import fields
from animetune.curate.read.fields import RecordError
from animetune.curate.read.formats import boorus
from animetune.curate.read.formats.boorus import Context, Post
from animetune.curate.read.formats.free_text import read_text, split_tags
from animetune.curate.read.formats.names import hash_id, is_picture, plain_name
from animetune.curate.read.posts import TAG_CLASSES

NAME_COLUMNS = ("file_name", "filename", "image_path", "file_path", "filepath", "path", "file", "image")
"""Where the name of a picture is looked for."""
TEXT_COLUMNS = ("text", "caption", "prompt", "description")
_SIZE = re.compile(r"\s*\(?\s*(\d+)\s*[x, ]\s*(\d+)\s*\)?\s*")
_BOORUS = {
    "danbooru": boorus.danbooru, "aibooru": boorus.danbooru, "atfbooru": boorus.danbooru,
    "e621": boorus.e621, "e926": boorus.e621, "e6ai": boorus.e621, "zerochan": boorus.zerochan,
}  # fmt: skip


def metadata(record: Post, context: Context) -> Post:
    """The columns of Hugging Face's image folders and of SimpleTuner: a file's name, text, and whatever else."""
    post = named(record, context)
    for column in TEXT_COLUMNS:
        _add_text(post, record.get(column), context, column)
    return post


def kohya(record: Post, context: Context) -> Post:
    """The JSON of kohya's scripts: name -> {tags, caption}. `train_resolution` is of a bucket, so it says no size."""
    post = {key: value for key, value in named(record, context).items() if key != "tags"}
    for column in ("tags", "caption"):
        _add_text(post, record.get(column), context._replace(text="tags") if column == "tags" else context, column)
    return post


def waifuset(record: Post, context: Context) -> Post:
    """waifuset v1: `caption` is tags with prefixes, `description` a caption. `perceptual_hash` proves nothing."""
    post = {key: value for key, value in named(record, context).items() if key != "tags"}
    for column, tags in (("tags", True), ("caption", True), ("description", False)):
        value = record.get(column)
        text = ", ".join(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value
        _add_text(post, text, context._replace(text="tags" if tags else "caption"), column)
    for column, tag_class in (("artist", "artist"), ("characters", "character"), ("character", "character")):
        value = record.get(column)
        listed = [{"name": tag, "category": tag_class} for text in _texts(value, column) for tag in split_tags(text)]
        if listed:
            post["tags"] = [*(post.get("tags") or []), *listed]
    size = record.get("original_size")
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found or (isinstance(size, list) and len(size) == 2):
        width, height = found.groups() if found else list(size or ())
        post |= {"image_width": width, "image_height": height}
    rating = next((record[name] for name in ("safe_rating", "rating") if record.get(name) is not None), None)
    return post | {"rating": rating}


def samples(record: Post, context: Context) -> Post:
    """A line of `images.jsonl` of `animetune sample`: a picture that a model of ours drew from a prompt."""
    name = fields.text(record, "file")
    if name is None:
        raise RecordError("bad_record", "file: the record names none")
    drawn_as = f"{request}/" if isinstance(request := record.get("request"), str) else context.prefix
    post: Post = {"id": hash_id(f"{drawn_as}{name}"), "file_name": name, "is_synthetic": True}
    post |= {key: record[key] for key in ("width", "height", "aesthetic_score", "rating") if key in record}
    _add_text(post, record.get("prompt"), context, "prompt")
    return post


def sidecar(record: Post, context: Context) -> Post:
    """What stands beside a picture: gallery-dl's JSON of many sites, waifuc's with the post under `danbooru`, texts.

    Tags of classes (`tag_string_general` ...) are not added to by what texts say.
    """
    post = _sidecar(record, context)
    for text in context.texts:
        _add_text(post, text, context, "text")
    if context.name is not None and is_picture(context.name):  # it lies here, whatever the JSON says of elsewhere
        post["file_name"] = context.name
    return _with_id(post, context)


def _sidecar(record: Post, context: Context) -> Post:
    scores = record.get("tags")
    if isinstance(inner := record.get("danbooru"), dict):
        return {"tags": _scored(scores), **inner}
    if isinstance(scores, dict) and all(isinstance(score, int | float) for score in scores.values()):
        return {**record, "tags": _scored(scores)}
    category = record.get("category")
    dialect = _BOORUS.get(category) if isinstance(category, str) else None
    post = dict((dialect or _by_shape(record))(record, context))
    if "file_ext" not in post and isinstance(post.get("extension"), str):
        post["file_ext"] = post["extension"]
    if category is None:
        for column in TEXT_COLUMNS:
            if isinstance(post.get(column), str):
                _add_text(post, post[column], context, column)
    return post


def named(record: Post, context: Context) -> Post:
    """The record with `file_name`, and an `id` where it has no number for one. Raises RecordError without a name."""
    name: Any = context.name
    for column in NAME_COLUMNS:
        value = record.get(column)
        if isinstance(value, dict):  # the `datasets` library's column of pictures
            value = value.get("path")
        if isinstance(value, str) and value:
            name = value
            break
    if not isinstance(name, str) or not name:
        raise RecordError("bad_record", f"file_name: the record names no file; looked for {', '.join(NAME_COLUMNS)}")
    return _with_id({**record, **_split(record), "file_name": name}, context._replace(name=name))


def _split(record: Post) -> Post:
    """What has tags between commas, as lists of tags."""
    return {
        key: split_tags(value)
        for key in ("tags", *(f"tag_string_{name}" for name in TAG_CLASSES))
        if isinstance(value := record.get(key), str) and "," in value
    }


def _with_id(post: Post, context: Context) -> Post:
    """The post with a number for an id: its own, or the hash of its name; and with parts of its name for paths."""
    name = context.name
    if name is None:
        return post
    plain = plain_name(name)
    stem, dot, _ = plain.rpartition(".")
    post = {**post, "file_name": post.get("file_name", name), "file_stem": stem if dot and stem else plain}
    try:
        if fields.integer(post, "id") is not None:
            return post
    except RecordError:
        pass
    return {**post, "id": hash_id(f"{context.prefix}{plain}")}


def _add_text(post: Post, value: Any, context: Context, column: str) -> None:
    """Add what a text, or each of a list of texts, says."""
    for text in _texts(value, column):
        found = read_text(text, context.text)
        if found.tags:
            kept = post.get("tags")
            kept = _listed(kept.split()) if isinstance(kept, str) else kept or []
            listed = [{"name": tag, "category": name} for name, tags in found.tags.items() for tag in tags]
            post["tags"] = [*kept, *listed] if isinstance(kept, list) else kept
        if found.captions:
            kept = post.get("captions_long") or []
            post["captions_long"] = [*([kept] if isinstance(kept, str) else kept), *found.captions]


def _texts(value: Any, column: str) -> list[str]:
    """A text, or each of a list of texts. Raises RecordError."""
    texts = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(text, str) for text in texts):
        raise RecordError("bad_record", f"{column}: {fields.shown(value)} is neither text nor a list of texts")
    return texts


def _by_shape(record: Post) -> Any:
    """The dialect of a post of an unnamed site."""
    if "tag_string" in record or "tag_string_general" in record:
        return boorus.danbooru
    if isinstance(record.get("file"), dict) or isinstance(record.get("relationships"), dict):
        return boorus.e621
    if "primary" in record:
        return boorus.zerochan
    return boorus.gelbooru


def _scored(tags: Any) -> list[str]:
    return list(tags) if isinstance(tags, dict) else []


def _listed(tags: list[str]) -> list[dict[str, str]]:
    return [{"name": tag, "category": "general"} for tag in tags]
