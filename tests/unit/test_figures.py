"""Grids, thumbnails and charts: what is drawn is where the numbers say, and no text becomes markup."""

from __future__ import annotations

import base64
import io
import itertools
import math
import subprocess
import sys
from xml.etree import ElementTree

import jinja2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from animetune import figures, svg
from animetune.figures import (
    CHART_HEIGHT,
    CHART_WIDTH,
    FONT_SIZE,
    GRID_GAP,
    MAX_CAPTION_LINES,
    Cell,
    Line,
    Mark,
    Spot,
    bar_chart,
    binned_chart,
    density_chart,
    format_number,
    has_hidden,
    histogram,
    image_grid,
    line_chart,
    log_chart,
    page_environment,
    smooth,
    thumbnail,
    visible,
    write_page,
)

RED, BLUE = (200, 10, 10), (10, 10, 200)
HOSTILE = "</text><script>alert(1)</script>\"'&lt;"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=40)


def parse(svg):
    """The tree that a reader of the markup gets."""
    return ElementTree.fromstring(str(svg))


def texts(root, tag="text"):
    return [element.text or "" for element in root.iter(tag)]


def of_class(root, name):
    return [element for element in root.iter() if name in element.get("class", "").split()]


# --- grids


def test_grid_places_each_picture_in_its_cell():
    images = [Image.new("RGB", (50, 50), RED), Image.new("RGB", (100, 50), BLUE), Image.new("RGB", (30, 60), RED)]
    grid = image_grid(images, columns=2, cell=100)
    assert grid.size == (2 * 100 + 3 * GRID_GAP, 2 * 100 + 3 * GRID_GAP)
    first, second, third = (
        grid.getpixel((GRID_GAP + 50, GRID_GAP + 50)),
        grid.getpixel((2 * GRID_GAP + 150, GRID_GAP + 50)),
        grid.getpixel((GRID_GAP + 50, 2 * GRID_GAP + 150)),
    )
    assert (first, second, third) == (RED, BLUE, RED)
    # ratios are kept: the wide one leaves white above, the tall one beside it
    assert grid.getpixel((2 * GRID_GAP + 150, GRID_GAP + 20)) == (255, 255, 255)
    assert grid.getpixel((GRID_GAP + 20, 2 * GRID_GAP + 150)) == (255, 255, 255)


def test_captions_stay_below_their_picture_and_inside_their_cell():
    images = [Image.new("RGB", (64, 64), RED)] * 2
    long = "1girl, " + "supercalifragilisticexpialidocious" * 3 + " and a few more words that need several lines"
    grid = np.asarray(image_grid(images, captions=[long, ""], columns=2, cell=120))
    ink = (grid < 128).all(axis=2)
    below = ink[GRID_GAP + 120 :]
    assert below[:, GRID_GAP : GRID_GAP + 120].any()
    # at most antialiasing of a last letter reaches the gap; the other cell, without a caption, stays empty
    assert not below[:, GRID_GAP + 122 :].any()


@settings(max_examples=50)
@given(st.lists(st.text("abcdefgh,_()", min_size=1, max_size=30), max_size=20), st.integers(60, 300))
def test_wrapped_lines_fit_and_lose_nothing(words, width):
    lines = figures.wrap_text(" ".join(words), width, figures.caption_font())
    # a cut last line may be longer by the mark that it was cut
    assert all(figures.caption_font().getlength(line) <= width for line in lines[:-1])
    assert not lines or figures.caption_font().getlength(lines[-1]) <= width + figures.caption_font().getlength("... ")
    if len(lines) < MAX_CAPTION_LINES:
        assert "".join(lines).replace(" ", "") == "".join(words)
    assert len(lines) <= MAX_CAPTION_LINES


def test_grid_refuses_what_does_not_fit_together():
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="1 pictures but 2 captions"):
        image_grid([image], captions=["a", "b"], columns=1)
    with pytest.raises(ValueError, match="at least one"):
        image_grid([], columns=1)


def test_thumbnail_shrinks_and_never_enlarges(tmp_path):
    Image.new("RGBA", (400, 100), (*RED, 255)).save(tmp_path / "wide.png")
    uri = thumbnail(tmp_path / "wide.png", side=128)
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (128, 32)
    assert np.abs(np.asarray(image.convert("RGB"))[16, 64].astype(int) - RED).max() < 12
    small = Image.open(io.BytesIO(base64.b64decode(thumbnail(Image.new("L", (9, 7)), side=128).split(",")[1])))
    assert small.size == (9, 7)


# --- charts


def test_line_chart_maps_data_to_the_plane():
    root = parse(line_chart([Line("loss", [(0, 0.0), (50, 5.0), (100, 10.0)])], title="Loss", x_label="step"))
    ((x0, y0), (x1, y1), (x2, y2)) = (
        tuple(map(float, pair.split(","))) for pair in of_class(root, "line")[0].get("points").split()
    )
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.2)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.2)
    assert x0 < x2
    assert y0 > y2  # upwards
    labels = texts(root)
    assert "Loss" in labels
    assert "step" in labels
    assert {"0", "2", "4", "6", "8", "10"} <= set(labels)
    assert "step 50\nloss: 5" in texts(root, "title")


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.floats(allow_nan=True, allow_infinity=True, width=32)), max_size=30)
)
def test_line_chart_keeps_everything_inside(points):
    root = parse(line_chart([Line("a", points), Line("b", points[:1])], title="t", x_label="x"))
    for element in root.iter():
        for pair in element.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= CHART_WIDTH
            assert 0 <= y <= CHART_HEIGHT
    if not any(math.isfinite(y) for _, y in points):
        assert "nothing to show" in texts(root)


def test_long_lines_are_thinned_but_keep_their_end():
    points = [(step, float(step % 7)) for step in range(20_001)]
    root = parse(line_chart([Line("loss", points)], title="t", x_label="step"))
    drawn = of_class(root, "line")[0].get("points").split()
    assert 300 < len(drawn) <= figures.MAX_POINTS + 1
    assert texts(root, "title")[-1].startswith("step 20k")
    assert len(str(line_chart([Line("loss", points)], title="t", x_label="step"))) < 40_000


def test_bars_are_as_long_as_their_values():
    root = parse(bar_chart({"a": [100, 50], "b": [0, 25]}, title="t", series=["rows", "repeats"]))
    widths = [float(bar.get("width")) for bar in of_class(root, "bar") if float(bar.get("height")) == 11]
    assert widths == pytest.approx([widths[0], widths[0] / 2, 0, widths[0] / 4])
    assert {"100", "50", "0", "25", "a", "b", "rows", "repeats"} <= set(texts(root))
    assert "a: rows 100, repeats 50" in texts(root, "title")


@settings(max_examples=40)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 30))
def test_histogram_counts_every_value_once(values, bins):
    root = parse(histogram(values, title="t", x_label="x", bins=bins))
    counts = [int(title.rsplit(": ")[1].replace(",", "")) for title in texts(root, "title")]
    assert len(counts) == bins
    assert sum(counts) == len(values)


def test_charts_without_data_say_so():
    for chart in (
        line_chart([], title="t", x_label="x"),
        bar_chart({}, title="t", series=["a"]),
        histogram([math.nan], title="t", x_label="x"),
    ):
        assert "nothing to show" in texts(parse(chart))


@settings(max_examples=60)
@given(TEXTS)
def test_text_in_charts_stays_text(text):
    def charts(label):
        return [
            line_chart([Line(label, [(0, 1), (1, 2)]), Line(label, [(0, 1)])], title=label, x_label=label),
            bar_chart({label: [1, 2]}, title=label, series=[label, label]),
            histogram([1, 2], title=label, x_label=label),
        ]

    for hostile, benign in zip(charts(HOSTILE + text), charts("benign"), strict=True):
        root = parse(hostile)
        assert [element.tag for element in root.iter()] == [element.tag for element in parse(benign).iter()]
        assert HOSTILE + text in texts(root)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e9))
def test_ticks_are_few_round_and_inside(low, span):
    ticks = svg.round_ticks(low, low + span)
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.floats(0.5, 20))
def test_smoothing_is_the_average_that_it_says(values, half_life):
    weights = 0.5 ** (np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values)))) / half_life)
    expected = weights @ np.array(values) / weights.sum(axis=1)
    np.testing.assert_allclose(smooth(values, half_life=half_life), expected, atol=1e-9)


def test_smoothing_does_not_lag():
    values = [float(step) for step in range(201)]
    assert smooth(values, half_life=5)[100] == pytest.approx(100)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1"), (61.5, "61.5"), (0.0691, "0.0691"), (1024, "1,024"), (12_500, "12.5k"), (3.1e6, "3.1M"),
        (2.5e-6, "2.5e-6"), (1e-5, "1e-5"), (0.0015, "1.5e-3"), (-0.5, "-0.5"),
    ],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert format_number(value) == text


# --- pages


def test_pages_escape_and_refuse_what_is_missing(tmp_path):
    (tmp_path / "x.html.j2").write_text("<p title='{{ text }}'>{{ text }}{{ chart }}</p>")
    template = page_environment(tmp_path).get_template("x.html.j2")
    html = template.render(text=HOSTILE, chart=bar_chart({"a": [1]}, title="t", series=["n"]))
    assert "<script>" not in html
    assert "<svg" in html
    with pytest.raises(jinja2.UndefinedError):
        template.render(text="a")


def test_shell_allows_no_script_and_no_network():
    html = page_environment().get_template("page.html.j2").render(title="t", sections=[])
    assert "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'" in html
    assert "http:" not in html
    assert "https:" not in html


def test_half_surrogates_do_not_stop_a_page(tmp_path):
    write_page(tmp_path / "page.html", "<p>\ud83c</p>")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "<p>?</p>"


def test_figures_import_neither_torch_nor_pillow():
    code = "import sys, animetune.figures; sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'jinja2')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_font_is_the_one_that_is_measured():
    assert figures.caption_font().size == FONT_SIZE


# --- charts of what was counted before, of ranks, of planes


def test_binned_chart_draws_counts_where_they_lie():
    chart = binned_chart([0, 1, 2, 4], [3, 0, 6], title="t", x_label="x", marks=[Mark(2, "here"), Mark(9, "outside")])
    root = parse(chart)
    first, last = of_class(root, "bar")
    assert float(last.get("height")) == pytest.approx(2 * float(first.get("height")))
    assert float(last.get("width")) > 1.9 * float(first.get("width"))
    assert texts(root, "title") == ["0 to 1: 3", "2 to 4: 6"]
    assert "here" in texts(root)
    assert "outside" not in texts(root)
    (line,) = of_class(root, "mark")
    assert float(line.get("d")[1:].split()[0]) == pytest.approx(float(last.get("x")), abs=1)
    assert "nothing to show" in texts(parse(binned_chart([0, 1], [0], title="t", x_label="x")))


def test_an_axis_of_near_values_has_numbers_that_differ():
    root = parse(binned_chart([1.0612, 1.0702, 1.0792], [3, 1], title="t", x_label="x"))
    assert {"1.065", "1.070", "1.075"} <= set(texts(root))


def test_binned_chart_counts_in_whole_numbers_and_keeps_labels_apart():
    ticks = [Mark(value, f"label {value}") for value in range(40)]
    root = parse(binned_chart(range(41), [1] * 40, title="t", x_label="x", ticks=ticks))
    labels = [text for text in texts(root) if text.startswith("label")]
    assert labels[0] == "label 0"
    assert 3 <= len(labels) < 12
    assert not {"0.2", "0.5"} & set(texts(root))


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.lists(st.floats(-5, 70), max_size=30))
def test_binned_chart_keeps_everything_inside(counts, places):
    marks = [Mark(place, "label") for place in places]
    root = parse(binned_chart(range(len(counts) + 1), counts, title="t", x_label="x", marks=marks))
    for bar in of_class(root, "bar"):
        assert 0 <= float(bar.get("x")) <= CHART_WIDTH
        assert 0 <= float(bar.get("y")) <= float(bar.get("y")) + float(bar.get("height")) <= CHART_HEIGHT


def test_log_chart_has_decades_and_a_straight_power_law():
    points = [(rank, 1e6 / rank) for rank in (1, 10, 100, 1000)]
    root = parse(log_chart([Line("a", [*points, (5, 0), (0, 5)]), Line("b", [(1, 1)])], title="t", x_label="rank"))
    drawn = [tuple(map(float, pair.split(","))) for pair in of_class(root, "line")[0].get("points").split()]
    steps = [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in itertools.pairwise(drawn)]
    assert len(drawn) == 4
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert {"1", "10", "100", "1,000", "1M"} <= set(texts(root))
    assert "nothing to show" in texts(parse(log_chart([Line("a", [(0, 0)])], title="t", x_label="x")))


def test_density_chart_is_darker_where_there_is_more():
    cells = [Cell(0, 1, 0, 1, 1, "few"), Cell(1, 2, 1, 2, 1000, "many")]
    spots = [Spot(1, 1, "middle"), Spot(5, 5, "outside")]
    root = parse(density_chart(cells, title="t", limits=(0, 2), labels=("x", "y"), ticks=[Mark(1, "one")], spots=spots))
    few, many = of_class(root, "bar")
    assert 0.15 < float(few.get("fill-opacity")) < float(many.get("fill-opacity")) == 1
    assert float(many.get("x")) > float(few.get("x"))
    assert float(many.get("y")) < float(few.get("y"))
    assert texts(root, "title") == ["few", "many", "middle"]
    assert texts(root).count("one") == 2
    nothing = density_chart([], title="t", limits=(0, 1), labels=("x", "y"), ticks=[])
    assert "nothing to show" in texts(parse(nothing))


@settings(max_examples=40)
@given(TEXTS)
def test_text_in_these_charts_stays_text(text):
    def charts(label):
        mark, cell = Mark(0.5, label), Cell(0, 1, 0, 1, 1, label)
        return [
            binned_chart([0, 1], [1], title=label, x_label=label, marks=[mark], ticks=[mark]),
            log_chart([Line(label, [(1, 1), (2, 2)])], title=label, x_label=label),
            density_chart([cell], title=label, limits=(0, 1), labels=(label, label), ticks=[mark],
                          spots=[Spot(0.5, 0.5, label)]),
        ]  # fmt: skip

    for hostile, benign in zip(charts(HOSTILE + text), charts("benign"), strict=True):
        root = parse(hostile)
        assert [element.tag for element in root.iter()] == [element.tag for element in parse(benign).iter()]
        assert HOSTILE + text in texts(root)


# --- text of the data


def test_what_has_no_glyph_is_named():
    assert visible("1girl, smile") == "1girl, smile"
    assert visible("a\u202eb\u200b\0c") == "a<U+202E>b<U+200B><U+0000>c"
    assert visible("two\nlines\tof text") == "two lines of text"
    assert visible("\ud83c") == "<U+D83C>"
    assert visible("初音ミク ★ é") == "初音ミク ★ é"
    assert visible("x" * 50, 10) == "x" * 9 + "…"
    assert has_hidden("a\u2066")
    assert not has_hidden("a\nb ★\u00a0")


@given(st.text(max_size=40))
def test_visible_text_is_visible(text):
    shown = visible(text, 100)
    assert not has_hidden(shown)
    assert ("<U+" in shown) >= has_hidden(text)
    assert visible(shown, 1000) == shown
