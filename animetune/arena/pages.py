"""The arena's pages and the files that they are made of, held in memory and asked for by name alone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jinja2

from animetune import figures
from animetune.arena.moderation import Moderation
from animetune.arena.report import rounded

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
VOTING = "arena.html"
"""The voting page: one file for everybody; what is on it comes as JSON."""
SIGN_IN = "sign-in.html"
"""Where moderators give their token."""
SHARED_STYLE = "page.css"
"""The style sheet of all of animetune's pages."""
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class Asset(NamedTuple):
    """A file of the pages."""

    data: bytes
    media_type: str
    etag: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """Every file of the pages, by its name; nothing else of the disk has a name here."""
    files = [*sorted(STATIC.iterdir()), figures.TEMPLATES / SHARED_STYLE]
    return {file.name: _asset(file) for file in files if file.suffix in _MEDIA_TYPES}


def render_moderation(moderation: Moderation) -> str:
    """The moderator's page; whatever comes from prompts, names and voters is escaped."""
    return _template("moderate.html.j2").render(page=moderation)


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = figures.page_environment(TEMPLATES)
    environment.filters.update(rounded=rounded)
    return environment.get_template(name)


def _asset(file: Path) -> Asset:
    data = file.read_bytes()
    kind = f"{_MEDIA_TYPES[file.suffix]}; charset=utf-8"
    return Asset(data, kind, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
