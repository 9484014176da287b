"""index.html of a folder of pictures: all of them to look at closely, to search, and to compare along their axes.

The page needs no network and nothing but its folder. Thumbnails of up to `EMBEDDED` pictures are inside it, so that it
shows them even where it is sent alone; of more pictures it shows the PNGs beside it, as they come into view. Its one
script is its own, named by hash in the Content-Security-Policy; without it the page is a list of all pictures.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from animetune import figures, fsio
from animetune.samples.parameters import VERSION, titled
from animetune.samples.sheets import Axis, Layout

TEMPLATES = Path(__file__).parent / "templates"
PAGE_NAME = "index.html"
EMBEDDED = 400
"""Pictures whose thumbnails are inside the page, about 10 MB."""
THUMBNAIL = 384
"""Pixels of the longer side."""
LONGEST_TEXT = 20_000
"""Characters of a prompt that are shown."""
_NO_FACTS = ("file", "prompt", "negative", "request", "width", "height")


def write_page(folder: Path, lines: Sequence[Mapping[str, Any]], layout: Layout | None = None) -> None:
    """Write index.html beside the pictures that `lines`, those of images.jsonl, name."""
    facts = [_facts(line) for line in lines]
    differing = {name for each in facts for name in each if any(other.get(name) != each[name] for other in facts[:1])}
    differing |= {name for name in facts[0] if any(name not in other for other in facts)}
    script = (TEMPLATES / "samples.js").read_text(encoding="utf-8")
    pictures = [
        {
            "file": line["file"],
            "width": line["width"],
            "height": line["height"],
            "prompt": figures.visible(line["prompt"], LONGEST_TEXT),
            "thumbnail": _thumbnail(folder, line["file"], len(lines)),
            "note": ", ".join(f"{name} {value}" for name, value in each.items() if name in differing),
        }
        for line, each in zip(lines, facts, strict=True)
    ]
    data = {
        "axes": [_axis(axis) for axis in layout.axes] if layout else [],
        "pictures": [
            {
                "file": line["file"],
                "prompt": line["prompt"],
                "shown": _shown(line["prompt"]),
                "negative": _shown(line["negative"]),
                "facts": list(each.items()),
            }
            for line, each in zip(lines, facts, strict=True)
        ],
    }
    negatives = {line["negative"] for line in lines}
    html = figures.page_environment(TEMPLATES).get_template("samples.html.j2").render(
        title=_title(lines),
        sections=(),
        pictures=pictures,
        shared=[(name, value) for name, value in facts[0].items() if name not in differing],
        negative=figures.visible(negatives.pop(), LONGEST_TEXT) if len(negatives) == 1 else "",
        layout=layout,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=fsio.canonical_json(data).replace("<", "\\u003c"),
    )  # fmt: skip
    figures.write_page(folder / PAGE_NAME, html)


def _axis(axis: Axis) -> dict[str, Any]:
    return {"name": figures.visible(axis.name), "values": [figures.visible(value) for value in axis.values]}


def _shown(text: str) -> str:
    """All of a text, its lines kept, with what has no glyph named."""
    return "\n".join(figures.visible(line, LONGEST_TEXT) for line in text.split("\n"))


def _title(lines: Sequence[Mapping[str, Any]]) -> str:
    models = list(dict.fromkeys(str(line["model"]) for line in lines if "model" in line))
    count = f"{len(lines):,} pictures" if len(lines) > 1 else "1 picture"
    named = models[0] if len(models) == 1 else f"{len(models)} models" if models else ""
    return figures.visible(f"{count} by {named}" if named else count, 120)


def _facts(line: Mapping[str, Any]) -> dict[str, str]:
    """What a line says of how the picture was drawn, under the names that others show."""
    settings = {name: value for name, value in line.items() if name not in _NO_FACTS}
    facts = titled({**settings, "size": f"{line['width']}x{line['height']}"})
    return {name: figures.visible(value, 200) for name, value in facts.items() if name != VERSION}


def _thumbnail(folder: Path, file: str, count: int) -> str:
    return figures.thumbnail(folder / file, side=THUMBNAIL) if count <= EMBEDDED else file
