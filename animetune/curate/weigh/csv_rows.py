"""Small CSV files that people write by hand: rows by column name, and every mistake with file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from animetune.errors import DataError


def read_rows(path: Path, setting: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, column -> text without spaces around it) of every row that is not blank.

    `columns` have to be there; others may be. `setting` is the configuration's name for the file, for errors.
    Raises DataError for a file that cannot be read, for missing columns and for rows of another length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{setting}: {path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{setting}: {path}: cannot be read as UTF-8 text: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in header]:
            found = f"it names {', '.join(header)}" if any(header) else "it is empty"
            raise DataError(f"{setting}: {path}:1: the first line has to name the column {missing[0]}; {found}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(f"{setting}: {path}:{reader.line_num}: has {len(cells)} values, not {len(header)}")
            yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise DataError(f"{setting}: {path}:{reader.line_num}: is no CSV: {error}") from error
