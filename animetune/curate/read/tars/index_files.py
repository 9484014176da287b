"""Files beside tars that say what is in them, so that no header has to be read.

    .json       of hfutils, which deepghs puts beside its tars: {"filesize": 123, "files": {"1.webp": {"offset": 512,
                "size": 20480, ...}, ...}}
    .parquet    columns member (text), offset and length (bytes), as this package keeps them

They are data of strangers: a place that is not inside the tar is a mistake of the index, never read.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from animetune.curate.read.tars.members import MEMBER_SCHEMA, Members, distinct, plain_name


def read_index(stream: Any, name: str, size: int) -> Members:
    """The members of a tar of `size` bytes as a file called `name` says; their `problem` is that of the file."""
    try:
        rows = _of_parquet(stream) if name.lower().endswith(".parquet") else _of_json(stream.read(), size)
    except _IndexError as error:
        return Members(pl.DataFrame(schema=MEMBER_SCHEMA), problem=str(error))
    usable = rows.drop_nulls().filter(
        (pl.col("offset") >= 0) & (pl.col("length") >= 0) & (pl.col("offset") <= size - pl.col("length"))
    )
    each_once = distinct(usable)
    return Members(
        each_once, usable.height - each_once.height, rows.height - usable.height, is_cut=usable.height < rows.height
    )


class _IndexError(ValueError):
    """What is wrong with an index as a whole."""


def _of_json(data: bytes, size: int) -> pl.DataFrame:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _IndexError(f"is no JSON ({error})") from error
    files = said.get("files") if isinstance(said, dict) else None
    if not isinstance(files, dict):
        raise _IndexError('has no "files": {name: {"offset": bytes, "size": bytes}}, as hfutils writes it')
    if said.get("filesize", size) != size:
        raise _IndexError(f"is of a tar of {said['filesize']} bytes, and this one has {size}")
    rows = []
    for name, place in files.items():
        where = [place.get(key) for key in ("offset", "size")] if isinstance(place, dict) else []
        if len(where) != 2 or not all(type(number) is int and 0 <= number < 2**63 for number in where):
            raise _IndexError(f"{name!r:.80} has no offset and size in bytes")
        rows.append((_plain_unicode(name), *where))
    return pl.DataFrame(rows, schema=MEMBER_SCHEMA, orient="row")


def _of_parquet(stream: Any) -> pl.DataFrame:
    try:
        table = pq.read_table(stream, columns=list(MEMBER_SCHEMA))
        rows = pl.from_arrow(table)
        assert isinstance(rows, pl.DataFrame)
        if missing := [name for name in MEMBER_SCHEMA if name not in rows.columns]:
            raise _IndexError(f"has no column {', '.join(missing)}")
        typed = rows.select(pl.col(name).cast(dtype) for name, dtype in MEMBER_SCHEMA.items())
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise _IndexError(f"is no parquet file of member, offset and length ({error})") from error
    return typed.with_columns(pl.col("member").str.replace(r"^(\./)+", ""))


def _plain_unicode(name: str) -> str | None:
    """Null for a name with half a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    return plain_name(name)
