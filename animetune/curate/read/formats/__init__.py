"""What ingest can read: how records lie in a file (`readers`), and what their keys mean (`boorus`, `datasets`).

Every record is put into the form of Danbooru's post object, about which `posts.parse_post` decides in one way.

| format | records |
|---|---|
| danbooru | posts of Danbooru's API and dumps, any year; anything with an id and tags |
| gelbooru | posts of Gelbooru's engine and of Moebooru: all tags in one text |
| e621 | posts of its API, and its database export |
| zerochan | its entries: tags in title case |
| hakubooru | HakuBooru's database as parquet: `post`, `tag` and `posttagrelation` beside each other |
| gallery-dl | the JSON files that gallery-dl, or waifuc, writes beside pictures |
| metadata | Hugging Face's metadata.jsonl, .csv, .parquet and SimpleTuner's: a file's name and free columns |
| kohya | the JSON of kohya's scripts: name -> tags and caption |
| waifuset | waifuset v1, JSON or CSV |
| samples | `images.jsonl` of `animetune sample`: pictures that a model drew |
| folder | pictures with .txt, .caption and .json files beside them, kohya's `10_name` folders |
| webdataset | tars of pictures with .txt and .json; read in place, never unpacked |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from animetune.curate.read.formats import boorus, datasets
from animetune.curate.read.formats.boorus import Context, Post

__all__ = ["FORMATS", "Context", "Format", "format_of_object", "format_of_record"]


class Format(NamedTuple):
    """What the keys of a record mean."""

    adapt: Callable[[Post, Context], Post]
    """Puts a record into the form of Danbooru's post object. Raises RecordError."""
    of_files: bool = False
    """Whether records are of files, so that pictures lie beside the file of records unless the source says where."""


FORMATS: dict[str, Format] = {
    "danbooru": Format(boorus.danbooru),
    "gelbooru": Format(boorus.gelbooru),
    "e621": Format(boorus.e621),
    "zerochan": Format(boorus.zerochan),
    "hakubooru": Format(boorus.hakubooru),
    "gallery-dl": Format(datasets.sidecar, of_files=True),
    "metadata": Format(datasets.metadata, of_files=True),
    "kohya": Format(datasets.kohya, of_files=True),
    "waifuset": Format(datasets.waifuset, of_files=True),
    "samples": Format(datasets.samples, of_files=True),
    "folder": Format(datasets.sidecar, of_files=True),
    "webdataset": Format(datasets.sidecar),
}
"""Name in the configuration -> format."""


def format_of_record(record: Any) -> str:
    """The format that a record looks like; `danbooru` where nothing tells."""
    if not isinstance(record, dict):
        return "danbooru"
    keys = record.keys()
    if {"file", "prompt", "seed"} <= keys:
        return "samples"
    if "image_path" in keys and keys & {"caption", "description", "perceptual_hash", "original_size", "safe_level"}:
        return "waifuset"
    if isinstance(record.get("category"), str) and {"extension", "filename"} <= keys:
        return "gallery-dl"
    if {"tag_string", "locked_tags"} <= keys or isinstance(record.get("file"), dict):
        return "e621"
    rating = record.get("rating")
    names = keys & set(datasets.NAME_COLUMNS)
    is_captioned = names and keys & set(datasets.TEXT_COLUMNS)
    if isinstance(rating, int) and not isinstance(rating, bool) and "id" in keys and not is_captioned:
        return "hakubooru"
    if any(name.startswith("tag_string") for name in keys):
        return "danbooru"
    if "id" in keys:
        if keys & {"primary", "thumbnail"} and isinstance(record.get("tags"), list):
            return "zerochan"
        if isinstance(record.get("tags"), str) and keys & {"directory", "image", "sample_url", "creator_id", "author"}:
            return "gelbooru"
        if keys & {"md5", "score"} and not is_captioned:
            return "danbooru"
    return "metadata" if names else "danbooru"


def format_of_object(value: Any) -> str | None:
    """The format of a JSON object of names -> records, of which few may be none; None for anything else."""
    records = [record for record in value.values() if isinstance(record, dict)] if isinstance(value, dict) else []
    if 2 * len(records) <= len(value or ()) or "id" in value:
        return None
    keys = {key for record in records for key in record}
    if "image_path" in keys:
        return "waifuset"
    return "kohya" if keys & {"tags", "caption", "train_resolution"} and "id" not in keys else None
