"""Figures and the offline page that they stand on: picture grids, thumbnails, SVG charts, an HTML shell.

A chart is an `Svg`, built as a tree, so that text in it is escaped by construction; Jinja2 takes it as it is. Its
colours are the page's, which follow the reader's light or dark setting. A page needs neither network nor script, and
the Content-Security-Policy of the shell forbids both.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from xml.etree import ElementTree

from animetune import fsio
from animetune.svg import CHART_HEIGHT, CHART_WIDTH, Svg, add, chart, round_ticks, shorten, tick_step

if TYPE_CHECKING:
    import jinja2
    from PIL import Image, ImageFont

_BREAKS = re.compile(r"[\t\n\r]")

TEMPLATES = Path(__file__).parent / "templates"
"""Folder of the shell, `page.html.j2`, and of its style sheet."""

GRID_GAP = 12
"""Pixels between the pictures of a grid."""
FONT_SIZE = 15
LINE_HEIGHT = 20
MAX_CAPTION_LINES = 8

MAX_POINTS = 600
"""Points drawn of a line; more cannot be told apart and make the page heavy."""
MAX_HOVERS = 120
"""Places of a line chart that show their numbers under the pointer."""


def image_grid(
    images: Sequence[Image.Image], *, captions: Sequence[str] | None = None, columns: int, cell: int = 256
) -> Image.Image:
    """Pictures in rows on white, each fitted into `cell` pixels (small ones enlarged), its caption wrapped below."""
    from PIL import Image, ImageDraw, ImageOps

    if not images:
        raise ValueError("a grid needs at least one picture")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(images)} pictures but {len(captions)} captions")
    fitted = [ImageOps.contain(image.convert("RGB"), (cell, cell)) for image in images]
    texts = [wrap_text(caption, cell, caption_font()) for caption in captions or [""] * len(images)]
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    picture_height = max(image.height for image in fitted)
    step_x = cell + GRID_GAP
    step_y = picture_height + max(len(lines) for lines in texts) * LINE_HEIGHT + GRID_GAP
    grid = Image.new("RGB", (columns * step_x + GRID_GAP, rows * step_y + GRID_GAP), "white")
    pen = ImageDraw.Draw(grid)
    for place, (image, lines) in enumerate(zip(fitted, texts, strict=True)):
        left, top = GRID_GAP + place % columns * step_x, GRID_GAP + place // columns * step_y
        grid.paste(image, (left + (cell - image.width) // 2, top + (picture_height - image.height) // 2))
        for number, line in enumerate(lines):
            pen.text((left, top + picture_height + 3 + number * LINE_HEIGHT), line, fill="#333333", font=caption_font())
    return grid


def thumbnail(image: Image.Image | Path, *, side: int, quality: int = 82) -> str:
    """A `data:` URI of the picture as WebP, shrunk to fit into `side` pixels; small pictures keep their size."""
    from PIL import Image

    if isinstance(image, Path):
        with Image.open(image) as opened:
            return thumbnail(opened, side=side, quality=quality)
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


@functools.cache
def caption_font(size: int = FONT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of what stands on grids, in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def wrap_text(
    text: str,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    max_lines: int = MAX_CAPTION_LINES,
) -> list[str]:
    """Lines of at most `width` pixels; words too long for one are broken, text too long for `max_lines` is cut."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") > width:
            if len(lines) > max_lines:
                break
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
        while len(lines[-1]) > 1 and font.getlength(lines[-1]) > width:
            fits = next((n for n in range(len(lines[-1]) - 1, 1, -1) if font.getlength(lines[-1][:n]) <= width), 1)
            lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], lines[max_lines - 1][:-1] + "…"]
    return [line for line in lines if line]


class Line(NamedTuple):
    """One line of a chart; `faint` draws it thin and pale, for what lies behind a smoothed one."""

    label: str
    points: Sequence[tuple[float, float]]
    faint: bool = False


class Mark(NamedTuple):
    """A place on the x axis with a vertical line, and what it says."""

    at: float
    label: str


def line_chart(lines: Sequence[Line], *, title: str, x_label: str) -> Svg:
    """Lines over a common x axis; points that are not finite are left out."""
    lines = [line._replace(points=[point for point in line.points if all(map(math.isfinite, point))]) for line in lines]
    lines = [line for line in lines if line.points]
    root = chart(title, [line.label for line in lines] if len(lines) > 1 else [])
    if not lines:
        return _nothing(root)
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    frame = _Frame.around(min(xs), max(xs), min(ys), max(ys))
    frame.draw_axes(root, x_label)
    for place, line in enumerate(lines):
        points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in _every(line.points, MAX_POINTS))
        kind = f"line series-{place}" + (" faint" if line.faint else "")
        if len(line.points) == 1:
            x, y = line.points[0]
            add(root, "circle", cx=frame.x(x), cy=frame.y(y), r=3, class_=f"bar series-{place}")
        else:
            add(root, "polyline", points=points, class_=kind)
    _add_hovers(root, lines, frame, x_label)
    return Svg(root)


def bar_chart(bars: Mapping[str, Sequence[float]], *, title: str, series: Sequence[str]) -> Svg:
    """Horizontal bars: for each label one value per series, none negative, with the number behind each bar."""
    label_width, bar_height, group_gap, top = 168, 13, 9, 44 if len(series) > 1 else 34
    group_height = bar_height * len(series) + group_gap
    root = chart(title, series if len(series) > 1 else (), height=top + group_height * max(1, len(bars)))
    if not bars:
        return _nothing(root)
    longest = max(max(values) for values in bars.values()) or 1
    room = CHART_WIDTH - label_width - 64
    for place, (label, values) in enumerate(bars.items()):
        y = top + place * group_height
        group = add(root, "g")
        hover = ", ".join(f"{name} {format_number(value)}" for name, value in zip(series, values, strict=True))
        add(group, "title", text=f"{label}: {hover}")
        middle = y + bar_height * len(series) / 2 + 4
        add(group, "text", text=shorten(label, 24), x=label_width - 8, y=middle, class_="label")
        for number, value in enumerate(values):
            width = max(room * value / longest, 1 if value else 0)
            y_bar = y + number * bar_height
            add(group, "rect", x=label_width, y=y_bar, width=width, height=bar_height - 2, rx=2,
                 class_=f"bar series-{number}")  # fmt: skip
            add(group, "text", text=format_number(value), x=label_width + width + 5, y=y_bar + 10, class_="value")
    return Svg(root)


def histogram(values: Sequence[float], *, title: str, x_label: str, bins: int = 24) -> Svg:
    """How many of the values fall into each of `bins` equal intervals from the least to the greatest."""
    values = [value for value in values if math.isfinite(value)]
    root = chart(title, ())
    if not values:
        return _nothing(root)
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    frame = _Frame.around(low, high, 0, max(counts))
    frame.draw_axes(root, x_label)
    for place, count in enumerate(counts):
        start, end = (low + (high - low) * edge / bins for edge in (place, place + 1))
        x = frame.x(start)
        bar = add(root, "rect", x=x + 0.5, y=frame.y(count), width=max(frame.x(end) - x - 1, 0.5),
                   height=frame.y(0) - frame.y(count), class_="bar series-0")  # fmt: skip
        add(bar, "title", text=f"{format_number(start)} to {format_number(end)}: {count:,}")
    return Svg(root)


def binned_chart(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    title: str,
    x_label: str,
    marks: Sequence[Mark] = (),
    ticks: Sequence[Mark] | None = None,
) -> Svg:
    """Bars over intervals that were counted before: `counts[i]` lies between `edges[i]` and `edges[i + 1]`.

    `marks` are drawn over the bars, as far as they lie within the edges. `ticks` name places of an axis whose numbers
    say nothing to a reader, such as logarithms; None numbers the axis.
    """
    root = chart(title, ())
    if not any(counts):
        return _nothing(root)
    frame = _Frame.around(edges[0], edges[-1], 0, max(counts))
    whole = [value for value in round_ticks(frame.y_low, frame.y_high) if value == round(value)]
    frame.draw_axes(root, x_label, ticks, [Mark(value, format_number(value)) for value in whole])
    for (start, end), count in zip(itertools.pairwise(edges), counts, strict=True):
        if not count:
            continue
        left, top = frame.x(start), frame.y(count)
        bar = add(root, "rect", x=left + 0.3, y=top, width=max(frame.x(end) - left - 0.6, 0.5),
                   height=frame.y(0) - top, class_="bar series-0")  # fmt: skip
        interval = f"{format_number(start)} to {format_number(end)}: " if ticks is None else ""
        add(bar, "title", text=f"{interval}{format_number(count)}")
    _add_marks(root, frame, marks)
    return Svg(root)


def log_chart(lines: Sequence[Line], *, title: str, x_label: str) -> Svg:
    """Lines over two logarithmic axes; points that are not above zero are left out."""
    logs = [
        line._replace(points=[(math.log10(x), math.log10(y)) for x, y in line.points if x > 0 and y > 0])
        for line in lines
    ]
    logs = [line for line in logs if line.points]
    root = chart(title, [line.label for line in logs])
    if not logs:
        return _nothing(root)
    xs = [x for line in logs for x, _ in line.points]
    ys = [y for line in logs for _, y in line.points]
    frame = _Frame.around(min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys)))
    frame.draw_axes(root, x_label, _decades(min(xs), max(xs)), _decades(frame.y_low, frame.y_high))
    for place, line in enumerate(logs):
        points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in _every(line.points, MAX_POINTS))
        if len(line.points) == 1:
            x, y = line.points[0]
            add(root, "circle", cx=frame.x(x), cy=frame.y(y), r=3, class_=f"bar series-{place}")
        else:
            add(root, "polyline", points=points, class_=f"line series-{place}")
    return Svg(root)


class Cell(NamedTuple):
    """A rectangle of a plane, and how much lies in it."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    amount: float
    label: str
    """What is shown under the pointer."""


def density_chart(
    cells: Sequence[Cell],
    *,
    title: str,
    limits: tuple[float, float],
    labels: tuple[str, str],
    ticks: Sequence[Mark],
    spots: Sequence[Spot] = (),
) -> Svg:
    """Cells of a plane, darker the more lies in them, on a logarithmic scale.

    Both axes have the same `limits` and `ticks`; `labels` are those of the x and the y axis. `spots` are drawn over the
    cells.
    """
    root = chart(title, ())
    if not cells:
        return _nothing(root)
    frame = _Frame(*limits, *limits)
    frame.draw_axes(root, labels[0], ticks, ticks)
    add(root, "text", text=labels[1], x=frame.LEFT, y=frame.TOP - 9)
    most = math.log1p(max(cell.amount for cell in cells))
    for cell in cells:
        top, left = frame.y(cell.y_high), frame.x(cell.x_low)
        box = add(root, "rect", x=left, y=top, width=frame.x(cell.x_high) - left, height=frame.y(cell.y_low) - top,
                   class_="bar series-0")  # fmt: skip
        box.set("fill-opacity", f"{0.18 + 0.82 * math.log1p(cell.amount) / most:.2f}")
        add(box, "title", text=cell.label)
    for spot in spots:
        if frame.x_low <= spot.x <= frame.x_high and frame.y_low <= spot.y <= frame.y_high:
            ring = add(root, "circle", cx=frame.x(spot.x), cy=frame.y(spot.y), r=3, class_="spot")
            add(ring, "title", text=spot.label)
    return Svg(root)


class Spot(NamedTuple):
    """A point of a plane, and what it says."""

    x: float
    y: float
    label: str


def smooth(values: Sequence[float], *, half_life: float) -> list[float]:
    """Average of all values, each weighing half as much for every `half_life` values that lie between.

    It looks both ways, so it does not lag, and is without bias at the ends.
    """
    ahead = _decaying_sums(values, 0.5 ** (1 / half_life))
    back = _decaying_sums(values[::-1], 0.5 ** (1 / half_life))[::-1]
    return [
        (total_ahead + total_back - value) / (weight_ahead + weight_back - 1)
        for value, (total_ahead, weight_ahead), (total_back, weight_back) in zip(values, ahead, back, strict=True)
    ]


def _decaying_sums(values: Sequence[float], keep: float) -> list[tuple[float, float]]:
    """For each place, the sum of the values up to it, and of their weights: keep ** distance."""
    total = weight = 0.0
    sums = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        sums.append((total, weight))
    return sums


def format_number(value: float) -> str:
    """Three or four digits: 0.0821, 1,024, 12.5k, 2.5e-6."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size >= 1e3:
        return f"{value:,.0f}"
    if 0 < size < 1e-2:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.3g}"


def visible(text: str, limit: int = 2000) -> str:
    """Text of the data as a page may show it, cut to `limit`: line ends are spaces, what has no glyph is named.

    Characters that turn the direction of what follows, or that have no width, would let a tag say one thing and show
    another; here they read `<U+202E>`.
    """
    shown = shorten(text, limit)
    if shown.isprintable():
        return shown
    shown = _BREAKS.sub(" ", shown)
    return "".join(f"<U+{ord(char):04X}>" if _is_hidden(char) else char for char in shown)


def has_hidden(text: str) -> bool:
    """Whether the text holds a character that `visible` names."""
    return not text.isprintable() and any(_is_hidden(char) for char in _BREAKS.sub(" ", text))


def page_environment(*folders: Path) -> jinja2.Environment:
    """Templates from `folders` and the shell `page.html.j2`, which they extend. Whatever is put in is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    environment.filters["visible"] = visible
    return environment


def write_page(path: Path, html: str) -> None:
    """Write a page; half surrogates, which JSON may hold and UTF-8 cannot, become question marks."""
    fsio.atomic_write(path, html.encode("utf-8", errors="replace"))


def _nothing(root: ElementTree.Element) -> Svg:
    add(root, "text", text="nothing to show", x=2, y=40)
    return Svg(root)


@dataclass(frozen=True)
class _Frame:
    """The plane of a chart: the limits of the data, and where they lie on it."""

    LEFT: ClassVar = 48
    RIGHT: ClassVar = CHART_WIDTH - 20
    TOP: ClassVar = 46
    BOTTOM: ClassVar = CHART_HEIGHT - 34

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @classmethod
    def around(cls, x_low: float, x_high: float, y_low: float, y_high: float) -> _Frame:
        """A frame that holds these limits, its y axis ending at ticks."""
        if x_low == x_high:
            x_low, x_high = x_low - 0.5, x_high + 0.5
        if y_low == y_high:
            margin = abs(y_low) / 2 or 0.5
            y_low, y_high = y_low - margin, y_high + margin
        step = tick_step(y_low, y_high)
        return cls(x_low, x_high, math.floor(y_low / step) * step, math.ceil(y_high / step) * step)

    def x(self, value: float) -> float:
        return self.LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (self.RIGHT - self.LEFT)

    def y(self, value: float) -> float:
        return self.BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (self.BOTTOM - self.TOP)

    def draw_axes(
        self,
        root: ElementTree.Element,
        x_label: str,
        x_ticks: Sequence[Mark] | None = None,
        y_ticks: Sequence[Mark] | None = None,
    ) -> None:
        """Grid, numbers and the name of the x axis; ticks that are given stand in for the numbers."""
        for at, label in self._named_ticks(self.y_low, self.y_high, y_ticks):
            y = self.y(at)
            add(root, "path", d=f"M{self.LEFT} {y:.1f}H{self.RIGHT}", class_="grid")
            add(root, "text", text=label, x=self.LEFT - 6, y=y + 4, class_="label")
        end = -math.inf
        for at, label in self._named_ticks(self.x_low, self.x_high, x_ticks):
            half = 3.6 * len(label) + 4
            if self.x(at) - half > end:  # two labels never run into one
                add(root, "text", text=label, x=self.x(at), y=self.BOTTOM + 15, class_="middle")
                end = self.x(at) + half
        add(root, "text", text=x_label, x=(self.LEFT + self.RIGHT) / 2, y=self.BOTTOM + 30, class_="middle")

    @staticmethod
    def _named_ticks(low: float, high: float, given: Sequence[Mark] | None) -> list[Mark]:
        if given is None:
            return _numbered(round_ticks(low, high), tick_step(low, high))
        return [tick for tick in given if low <= tick.at <= high]


def _decades(low: float, high: float) -> list[Mark]:
    """Powers of ten between two logarithms."""
    return [Mark(power, format_number(10.0**power)) for power in range(math.floor(low), math.ceil(high) + 1)]


def _add_marks(root: ElementTree.Element, frame: _Frame, marks: Sequence[Mark]) -> None:
    """Vertical lines; labels that would run into the one before stand a line higher."""
    end, is_raised = -math.inf, False
    for mark in sorted(marks):
        if not frame.x_low <= mark.at <= frame.x_high:
            continue
        x = frame.x(mark.at)
        kind = "mark" if mark.label else "mark faint"
        add(root, "path", d=f"M{x:.1f} {frame.TOP}V{frame.BOTTOM}", class_=kind)
        is_raised = x < end and not is_raised
        if mark.label and (x >= end or is_raised):
            add(root, "text", text=mark.label, x=x, y=frame.TOP - (16 if is_raised else 4), class_="middle")
            end = x + 7.0 * len(mark.label)


def _numbered(places: Sequence[float], step: float) -> list[Mark]:
    """Ticks with their numbers, of as many digits as it takes to tell them apart."""
    names = [format_number(place) for place in places]
    if len(set(names)) < len(names):
        names = [f"{place:.{max(0, -math.floor(math.log10(step)))}f}" for place in places]
    return [Mark(place, name) for place, name in zip(places, names, strict=True)]


def _add_hovers(root: ElementTree.Element, lines: Sequence[Line], frame: _Frame, x_label: str) -> None:
    """Invisible columns over the chart, whose titles browsers show under the pointer."""
    values: dict[float, list[str]] = {}
    for line in lines:
        for x, y in line.points:
            values.setdefault(x, []).append(f"{line.label}: {format_number(y)}")
    places = _every(sorted(values), MAX_HOVERS)
    edges = [
        frame.LEFT,
        *((frame.x(a) + frame.x(b)) / 2 for a, b in itertools.pairwise(places)),
        frame.RIGHT,
    ]
    for place, (left, right) in zip(places, itertools.pairwise(edges), strict=True):
        column = add(root, "rect", x=left, y=frame.TOP, width=right - left, height=frame.BOTTOM - frame.TOP,
                      class_="hover")  # fmt: skip
        add(column, "title", text="\n".join([f"{x_label} {format_number(place)}", *values[place]]))


def _every(items: Sequence[Any], limit: int) -> list[Any]:
    """At most about `limit` items, evenly chosen, the last among them."""
    stride = max(1, math.ceil(len(items) / limit))
    return [*items[: len(items) - 1 : stride], items[-1]] if items else []


def _is_hidden(char: str) -> bool:
    """Controls, formats (direction, zero width), half surrogates, separators of lines and paragraphs."""
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
