"""Sheets of pictures: rows and columns of one PNG, with captions below the pictures or titles at the margins.

A sheet shows at most `MAX_SHEET` pictures. Of a longer list grid.png shows the first; the rows of a comparison go on in
grid-001.png and so on. The pictures themselves are never in memory together, only as small as they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from animetune.figures import GRID_GAP, caption_font, image_grid, wrap_text

GRID_NAME = "grid.png"
MAX_SHEET = 400
"""Pictures on a sheet; more cannot be told apart, and viewers give up."""
CELL = 256
"""Pixels of a picture in a list, the longer side."""
LARGE_CELL = 448
"""Pixels of a picture in a comparison, the longer side, where there is room for it."""
SHEET_PIXELS = 40e6
"""Pixels of a sheet in a comparison, about: with more pictures, each is smaller."""
TITLE_WIDTH = 190
TITLE_LINES = 6
TITLE_SIZE, HEAD_SIZE = 18, 22
_INK, _MUTED = "#222222", "#666666"


@dataclass(frozen=True)
class Axis:
    """A direction of a comparison: the name of what changes, and its values in words."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """A comparison: picture `place` stands at the place's digits, one per axis, of which the last changes fastest.

    The last axis is the columns of a sheet, the one before it the rows; all others choose the sheet.
    """

    axes: tuple[Axis, ...]

    @property
    def count(self) -> int:
        """Pictures in all."""
        return math.prod(len(axis.values) for axis in self.axes)


def write_grid(folder: Path, files: Sequence[Path], *, captions: Sequence[str], columns: int) -> None:
    """Write grid.png with the first `MAX_SHEET` of the pictures, their captions below them."""
    shown = [_small(file, CELL) for file in files[:MAX_SHEET]]
    image_grid(shown, captions=captions[: len(shown)], columns=columns, cell=CELL).save(folder / GRID_NAME)


def write_sheets(folder: Path, files: Sequence[Path], layout: Layout) -> None:
    """Write a sheet for every choice of values of the outer axes: grid.png, grid-001.png ..."""
    *outer, rows, columns = (Axis("", ("",)), *layout.axes)
    per_sheet = max(1, MAX_SHEET // len(columns.values))
    number = 0
    for index, choice in enumerate(_choices(outer)):
        begin = index * len(rows.values) * len(columns.values)
        for top in range(0, len(rows.values), per_sheet):
            part = Axis(rows.name, rows.values[top : top + per_sheet])
            start = begin + top * len(columns.values)
            cells = files[start : start + len(part.values) * len(columns.values)]
            sheet = draw_sheet(cells, rows=part, columns=columns, head=choice)
            sheet.save(folder / (GRID_NAME if number == 0 else f"grid-{number:03d}.png"))
            number += 1


def draw_sheet(files: Sequence[Path], *, rows: Axis, columns: Axis, head: str) -> Image.Image:
    """One sheet: the pictures row by row, the values of both axes at the margins, `head` above all."""
    longest = int(max(48, min(LARGE_CELL, math.sqrt(SHEET_PIXELS / len(files)))))
    small = [_small(file, longest) for file in files]
    width, height = max(each.width for each in small), max(each.height for each in small)
    font, head_font = caption_font(TITLE_SIZE), caption_font(HEAD_SIZE)
    line, head_line = round(TITLE_SIZE * 1.3), round(HEAD_SIZE * 1.3)
    has_rows = any(rows.values)
    left = GRID_GAP + (TITLE_WIDTH + GRID_GAP if has_rows else 0)
    total = left + len(columns.values) * (width + GRID_GAP)
    above = wrap_text(head, total - 2 * GRID_GAP, head_font, TITLE_LINES)
    said = ", ".join(f"{name}: {axis.name}" for name, axis in (("columns", columns), ("rows", rows)) if axis.name)
    names = wrap_text(said, total - 2 * GRID_GAP, font, 2)
    tops = [wrap_text(value, width, font, TITLE_LINES) for value in columns.values]
    top = GRID_GAP + len(above) * head_line + len(names) * line + 6 + max(map(len, tops)) * line + 6
    sheet = Image.new("RGB", (total, top + len(rows.values) * (height + GRID_GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    y = GRID_GAP
    for text in above:
        pen.text((GRID_GAP, y), text, fill=_INK, font=head_font)
        y += head_line
    for text in names:
        pen.text((GRID_GAP, y), text, fill=_MUTED, font=font)
        y += line
    for place, lines in enumerate(tops):
        x = left + place * (width + GRID_GAP) + width / 2
        for number, text in enumerate(lines):
            pen.text((x, top - 6 - (len(lines) - number) * line), text, fill=_INK, font=font, anchor="ma")
    for place, image in enumerate(small):
        x = left + place % len(columns.values) * (width + GRID_GAP)
        y = top + place // len(columns.values) * (height + GRID_GAP)
        sheet.paste(image, (x + (width - image.width) // 2, y + (height - image.height) // 2))
    for place, value in enumerate(rows.values if has_rows else ()):
        lines = wrap_text(value, TITLE_WIDTH, font, max(1, min(height // line, 2 * TITLE_LINES)))
        y = top + place * (height + GRID_GAP) + (height - len(lines) * line) // 2
        for number, text in enumerate(lines):
            pen.text((left - GRID_GAP, y + number * line), text, fill=_INK, font=font, anchor="ra")
    return sheet


def _choices(axes: Sequence[Axis]) -> Iterator[str]:
    """Every choice of one value each, in words, the last axis fastest."""
    if not axes:
        yield ""
        return
    first, *others = axes
    for value in first.values:
        said = f"{first.name}: {value}" if first.name else ""
        for rest in _choices(others):
            yield " · ".join(filter(None, (said, rest)))


def _small(file: Path, side: int) -> Image.Image:
    with Image.open(file) as image:
        return ImageOps.contain(image.convert("RGB"), (side, side))
