"""The page of a run: whole, offline, and safe whatever is written in the data."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from animetune.manifest import Manifest
from animetune.records import CONTENT_BUCKETS, Size
from animetune.report.run_page import (
    SECTIONS,
    Command,
    ContentCount,
    Picture,
    ProgressRow,
    PromptDraws,
    RunPage,
    Score,
    pick,
    score_line,
    training_charts,
    validation_charts,
    write,
)

HOSTILE = "\"'</title></style><script>alert(1)</script><img src=http://x.example/a onerror=alert(1)>"


def build(text: str = "words") -> RunPage:
    """A page with `text` wherever data can put text."""
    pictures = [Picture(Image.new("RGB", (16, 24), (20 * i, 90, 120)), f"prompt {i} {text}", text) for i in range(3)]
    return RunPage(
        title=f"run {text}",
        table=Manifest(
            kind="table", format_version=1, seen=100, kept=80, dropped={text: 15}, quarantined={text + "!": 5}
        ),
        shards=[
            Manifest(kind="shard-root", format_version=1, seen=70, kept=69, dropped={text: 1}),
            Manifest(kind="shard-root", format_version=1, seen=10, kept=9, dropped={text: 1}),
        ],
        content=[ContentCount(text + name, 10, 12.5) for name in CONTENT_BUCKETS],
        sizes=[(Size(64, 96), 60), (Size(96, 64), 20)],
        repeats=[0.5, 1, 1, 2],
        pictures=pictures,
        prompts=[PromptDraws(text, text, [text, ""])],
        metrics=[
            {"step": step, "images": 8 * step, "loss": 1 / step, f"lr/{text}": 1e-5, "grad_norm": 1.0}
            for step in range(1, 40)
        ],
        validation=[{"step": step, "weights": text, "loss": 1.0, f"loss_by_content/{text}": 2.0} for step in (0, 9)],
        progress=[ProgressRow(0, pictures), ProgressRow(1000, pictures)],
        final=pictures,
        scores=[Score(text, 62, 64)],
        commands=[Command(text, text)],
    )


class Outline(HTMLParser):
    """Every element with its attributes, and the text between them."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def shape(self):
        """Elements and the names of their attributes."""
        return [(tag, sorted(attrs)) for tag, attrs in self.elements]


def outline(page: RunPage, folder) -> Outline:
    return Outline(write(page, folder / "index.html").read_text(encoding="utf-8"))


def test_every_section_is_there_and_linked(tmp_path):
    found = outline(build(), tmp_path)
    sections = [attrs["id"] for tag, attrs in found.elements if tag == "section"]
    assert sections == [anchor for anchor, _ in SECTIONS]
    links = [attrs["href"] for tag, attrs in found.elements if tag == "a"]
    assert links == [f"#{anchor}" for anchor in sections]


def test_page_needs_nothing_else(tmp_path):
    found = outline(build(), tmp_path)
    assert not {tag for tag, _ in found.elements} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attrs in found.elements:
        for name in ("src", "href"):
            if name in attrs:
                assert attrs[name].startswith(("data:image/webp;base64,", "#")), (tag, attrs[name])
    policy = [attrs for tag, attrs in found.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"] == "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
    assert "url(" not in (tmp_path / "index.html").read_text()


@settings(max_examples=12)
@given(st.text(max_size=30))
def test_no_text_becomes_markup(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("page")
    benign = outline(build(), folder)
    for hostile in (HOSTILE + text, text + "x"):
        assert outline(build(hostile), folder).shape() == benign.shape()


def test_prompts_are_shown_as_they_are(tmp_path):
    found = outline(build("<b>&amp;</b> (name:1.2) \\(series\\)"), tmp_path)
    assert "prompt 2 <b>&amp;</b> (name:1.2) \\(series\\)" in found.text
    assert "empty, for classifier-free guidance" in found.text


def test_numbers_of_the_data_are_on_the_page(tmp_path):
    found = outline(build(), tmp_path)
    page = found.text
    assert "80 of 100" in page  # kept
    assert "dropped: words: pictures 15" in page
    assert "unusable: words!: pictures 5" in page
    assert "not sharded: words: pictures 2" in page
    assert "in shards: pictures 78" in page
    assert "words1girl_only: pictures 10, seen per epoch, balanced 12.5" in page
    assert re.search(r"64 × 96\s+60\s+75 %", page)
    assert re.search(r"words\s+62\s+64\s+97 %", page)
    rows = [attrs for tag, attrs in found.elements if tag == "img" and attrs.get("loading") == "lazy"]
    assert len(rows) == 3 + 2 * 3 + 3  # sheet, two steps, final


def test_an_empty_page_says_so_in_every_section(tmp_path):
    found = outline(RunPage(title="nothing yet"), tmp_path)
    assert [attrs["id"] for tag, attrs in found.elements if tag == "section"] == [anchor for anchor, _ in SECTIONS]
    assert found.text.count("nothing to show") >= 8


def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert write(build(), tmp_path / "a.html").read_bytes() == write(build(), tmp_path / "b.html").read_bytes()


def test_half_surrogates_are_written(tmp_path):
    assert "run ?" in outline(build("\ud83c"), tmp_path).text


def test_repeats_are_only_shown_when_they_differ(tmp_path):
    title = "How often a picture is seen per epoch"
    assert title in outline(build(), tmp_path).text
    assert title not in outline(dataclasses.replace(build(), repeats=[1.0, 1.0]), tmp_path).text


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ([], ""),
        ([Score("hair", 62, 64), Score("background", 64, 64)],
         "As the prompt says: hair 97 %, background 100 %, over 64 pictures."),
        ([Score("hair", 1, 2), Score("eyes", 0, 0)], "As the prompt says: hair 50 %, eyes –, over 0 to 2 pictures."),
    ],
)  # fmt: skip
def test_score_line(scores, line):
    assert score_line(scores) == line


def test_pick_takes_some_in_order():
    pictures = [Picture(Image.new("RGB", (1, 1)), str(i)) for i in range(20)]
    chosen = [int(picture.prompt) for picture in pick(pictures, 8)]
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 8
    assert pick(pictures[:3], 8) == pictures[:3]


def test_validation_is_drawn_for_all_weights() -> None:
    lines = [
        {"step": step, "weights": weights, "loss": loss, "loss_by_content/cat": 2 * loss, "loss_by_size/64x64": loss}
        for step, weights, loss in ((0, "raw", 1.0), (500, "raw", 0.5), (500, "ema-0.9", 0.25))
    ]
    curves, content = (str(chart) for chart in validation_charts(lines))
    assert "raw" in curves
    assert "ema-0.9" in curves
    assert "cat: step 0 2, step 500 1" in content
    assert "64x64" not in content
    assert validation_charts([]) == []


def test_losses_of_every_third_interval_of_timesteps_are_drawn() -> None:
    names = [f"loss_by_timestep/{start:03}-{start + 99:03}" for start in range(0, 1000, 100)]
    drawn = str(training_charts([{"step": step, "loss": 1.0, **dict.fromkeys(names, 0.5)} for step in (1, 2)])[1])
    assert [name.removeprefix("loss_by_timestep/") in drawn for name in names] == [
        place % 3 == 0 for place in range(10)
    ]
