"""Prompts as the arena compares them: which are the same, which are on a list, which ask for explicit pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from animetune.errors import ConfigError
from animetune.text_files import read_text


def plain(prompt: str) -> str:
    """The prompt with single spaces: those that differ in blanks alone are the same."""
    return " ".join(prompt.split())


def asks_for(prompt: str, words: Sequence[str]) -> bool:
    """Whether one of the words or phrases stands in the prompt, whatever its case; a part of a word does not count."""
    if not words:
        return False
    either = "|".join(re.escape(plain(word).replace("_", " ")) for word in words)
    return re.search(rf"(?<!\w)(?:{either})(?!\w)", plain(prompt).replace("_", " "), re.IGNORECASE) is not None


def read_list(path: Path, setting: str) -> frozenset[str]:
    """The prompts of a file, as `plain`: one a line (# begins a comment), or JSON lines with `prompt`, named .jsonl.

    Raises ConfigError with every mistake, as `setting: file:line: what`.
    """
    text = read_text(path, setting)
    prompts, problems = set(), []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or (path.suffix != ".jsonl" and line.lstrip().startswith("#")):
            continue
        try:
            prompts.add(plain(_prompt_of(line) if path.suffix == ".jsonl" else line))
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{setting}: {path}:{number}: is no JSON object with a text `prompt` ({error!r})")
    if problems:
        raise ConfigError(problems)
    if not prompts:
        raise ConfigError(f"{setting}: {path}: holds no prompt")
    return frozenset(prompts)


def _prompt_of(line: str) -> str:
    prompt = json.loads(line)["prompt"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise TypeError(f"prompt: {prompt!r}")
    return prompt
