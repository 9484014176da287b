"""Files of text that the user gives: prompts, questions."""

from __future__ import annotations

from pathlib import Path

from animetune.errors import ConfigError

MAX_BYTES = 50_000_000


def read_text(path: Path, setting: str) -> str:
    """A text file in UTF-8; raises ConfigError naming `setting` where there is none, and the line that is not UTF-8."""
    if not path.is_file():
        raise ConfigError(f"{setting}: {path}: there is no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{setting}: {path}: has more than {MAX_BYTES:,} bytes; it should hold text")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from error
