"""The words that models are asked with: Jinja2 files, of which tags are only data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import jinja2.sandbox

from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.outcomes import CODES, Problem

BUILT_IN = ("long", "short", "both", "characters", "compress")


@dataclass(frozen=True)
class Template:
    """A text with places for what is known of a picture."""

    name: str
    """Name of a built-in one, or path of a user's file."""
    source: str

    @classmethod
    def load(cls, name_or_path: str | Path) -> Template:
        """A built-in template by name, or one of the user's by path."""
        name = str(name_or_path)
        if name in BUILT_IN:
            file = resources.files("animetune.curate.caption") / "templates" / f"{name}.j2"
            return cls(name, file.read_text(encoding="utf-8"))
        return cls(name, Path(name).read_text(encoding="utf-8"))

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def render(self, facts: PictureFacts, caption: str = "") -> str:
        """The request about a picture; `caption` is the long one that is to be compressed."""
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        return environment.from_string(self.source).render(facts=facts, caption=caption)


def retry_request(problems: Sequence[Problem]) -> str:
    """What is said to a model after an answer that was no good."""
    listed = "; ".join(CODES[problem.code] for problem in problems)
    return f"That answer cannot be used: {listed}. Write it again."
