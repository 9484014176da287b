"""The words that models are asked with: Jinja2 files, of which tags are only data.

A template sees `characters`, `series`, `people` and `tags` (lists of words), `rating`, `caption` (what is to be
shortened) and `facts` (the raw tags); it may include `rules.j2` and `facts.j2`. What is constant stands first and what
is of one picture last, so that a server computes the constant part once for all pictures.

Tags come from strangers. They are put in as values, never as template text; each is kept to one line, without the
special tokens of models, so that no tag ends its line or its place.
"""

from __future__ import annotations

import functools
import hashlib
import re
import traceback
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

from animetune.curate.caption.facts import PictureFacts, names
from animetune.curate.caption.outcomes import FORMS
from animetune.curate.caption.semantics import is_style
from animetune.errors import ConfigError

PARTIALS = ("rules.j2", "facts.j2")
"""Files that templates can include."""
MAX_BYTES = 64 * 1024
"""Largest template of a user's."""
MOST_TAGS = 120
"""Tags given to a model, of those that a picture has."""
MOST_CHARACTERS = 160
"""Longest tag in characters; Danbooru allows 170, and nobody uses more than 111."""

# <|im_end|>, <|vision_start|>, <image>, [INST], <<SYS>>, </s>: never an emoticon such as <|>_<|>
_SPECIAL = re.compile(
    r"<\|\w[\w .:-]*\|>|</?(?:s|image|img|video|audio|tool_call|think)>|\[/?INST\]|<</?SYS>>", re.IGNORECASE
)
_EXAMPLE = PictureFacts(
    "example/1", ("1girl",), ("ganyu_(genshin_impact)",), ("genshin_impact",), (), ("smile",), (), "g"
)


@dataclass(frozen=True)
class Template:
    """A text with places for what is known of a picture."""

    name: str
    """Name of a built-in one, or path of a user's file."""
    source: str
    """The text of the file."""

    @classmethod
    def load(cls, name_or_path: str | Path) -> Template:
        """A built-in template by name, or one of the user's by path.

        Raises ConfigError, with file and line, for a file that is not there or no template, or that names something
        that templates do not have: it is tried with an example.
        """
        name = str(name_or_path)
        template = cls(name, _built_in(f"{name}.j2") if name in FORMS else _read(Path(name)))
        template.render(_EXAMPLE, "A girl.")
        return template

    @property
    def digest(self) -> str:
        """SHA-256 of the text, and of what it can include."""
        texts = (self.source, *(_built_in(name) for name in PARTIALS))
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()

    def render(self, facts: PictureFacts, caption: str = "") -> str:
        """The request about a picture; `caption` is the long one that is to be shortened.

        Raises ConfigError where the template fails on it.
        """
        try:
            return _compiled(self.name, self.source).render(_values(facts, caption)).strip()
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"{self.name}:{error.lineno}: {error.message}") from error
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            known = ", ".join(_values(_EXAMPLE, ""))
            raise ConfigError(
                f"{self.name}:{_line_of(error, self.name)}: {error}; a caption template has {known}"
            ) from error


def plain(text: str) -> str:
    """A text of strangers on one line, without control characters and special tokens of models."""
    previous = None
    while previous != text:  # a token can hide in a token
        previous, text = text, _SPECIAL.sub(" ", text)
    kept = (" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join("".join(kept).split())


def _values(facts: PictureFacts, caption: str) -> dict[str, Any]:
    return {
        "characters": _words(facts.characters),
        "series": _words(facts.series),
        "people": _words(names(facts.tags_count)),
        "tags": _words(names(tag for tag in facts.tags_general if not is_style(tag)))[:MOST_TAGS],
        "rating": facts.rating,
        "caption": plain(caption),
        "facts": facts,
    }


def _words(texts: Iterable[str]) -> list[str]:
    cleaned = (plain(text).replace(",", " ")[:MOST_CHARACTERS].strip() for text in texts)
    return [text for text in cleaned if text]


@functools.lru_cache(maxsize=32)
def _compiled(name: str, source: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(lambda file: _built_in(file) if file in PARTIALS else None),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    code = environment.compile(source, name, name)
    return jinja2.Template.from_code(environment, code, environment.make_globals(None))


def _line_of(error: BaseException, name: str) -> int:
    """The line of the template at which it failed; 1 where that is not known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return lines[-1] or 1 if lines else 1


@functools.cache
def _built_in(file: str) -> str:
    return (resources.files("animetune.curate.caption") / "templates" / file).read_text(encoding="utf-8")


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: the template cannot be read ({error.strerror}); name a file, or one of {', '.join(FORMS)}"
        ) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than a template can be ({len(data)} of {MAX_BYTES} bytes)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from error
