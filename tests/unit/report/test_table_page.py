"""The report of a table: whole, offline, of bounded size, and safe whatever is written in the data."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune import figures
from animetune.curate.caption.outcomes import CODES
from animetune.curate.classify.presets import PRESETS
from animetune.manifest import Manifest
from animetune.pictures import PICTURE_CODES
from animetune.records import CONTENT_BUCKETS, Size
from animetune.report.image_facts import (
    Box,
    Captioned,
    CaptionWork,
    CloseUps,
    ImageFacts,
    Lookalikes,
    Models,
    Pair,
    Parent,
    Probe,
    Shown,
)
from animetune.report.table_alerts import find_alerts
from animetune.report.table_counts import NO_CLASS, Count
from animetune.report.table_facts import (
    Crop,
    Draw,
    LossExample,
    PhraseCount,
    SheetPicture,
    ShownLoss,
    TableFacts,
    TagCounts,
    Texts,
)
from animetune.report.table_page import (
    OPTIONAL,
    SECTIONS,
    class_meters,
    funnel,
    meters,
    spread,
    tails,
    token_shares,
    write,
)
from animetune.report.table_sizes import SizeRow, Sizes
from animetune.report.table_steps import Loss, StepCount
from animetune.report.table_texts import Phrase
from animetune.report.thumbnails import Wanted
from tests.unit.report.test_table_alerts import facts_of

HOSTILE = "\"'</title></style></svg><script>alert(1)</script><img src=http://x.example/a onerror=alert(1)>"
BIDI = "safe\u202egpj.exe\u2066\u200b\ufeff"
PIXEL = "data:image/webp;base64,UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="


def image_facts(text: str) -> ImageFacts:
    """What the image side leaves, with `text` wherever data can put text."""
    shown = Shown(text, Wanted((text,), 64), True, PIXEL)
    counts = {text: 3, text + "2": 1}
    return ImageFacts(
        probe=Probe(counts, counts, counts, [(text, 3)]),
        lookalikes=Lookalikes(
            [(text, 1)], [Pair(shown, shown, True, (0.9, 1.0, 2.0)), Pair(shown, shown, False, None)]
        ),
        closeups=CloseUps([(text, 1)], counts, counts, [Parent(shown, [Box(0, 10.5, 20, 30)], [shown])]),
        models=Models([(text, text, text)], [(text, 5, 2)]),
        captions=CaptionWork(
            by={text: 5, "model": 3},
            reasons=counts,
            rejected=counts,
            requests=[(text, 5, 100, 20)],
            cost={text: 0.5, "total": 0.5},
            short_by_rules=2,
            gallery=[Captioned(shown, text, text, [text], [text], [text])],
        ),
        marks=[(text, 3)],
        scores=np.array([0.1, 0.4, 0.9], np.float32),
    )


def build(text: str = "words", **changes: Any) -> TableFacts:
    """Facts with `text` wherever data can put text."""
    counted = {text + name: Count(10, 12.5) for name in CONTENT_BUCKETS}
    dropped, unusable = Loss(text, 15, False, text), Loss(text + "!", 5, True, text)
    example = LossExample(text, PIXEL, True, text)
    picture = SheetPicture(
        key=text,
        image=PIXEL,
        is_veiled=True,
        notes=[text],
        crop=Crop(0, 10.0, 100, 80, text),
        draws=[Draw("prompt " + text, text, [text, "a"], 90), Draw("", "", [], 0)],
        taken_out=[text],
    )
    manifest = Manifest(
        kind="table",
        format_version=1,
        seen=100,
        kept=80,
        dropped={text: 15},
        quarantined={text + "!": 5},
        inputs={text: text},
        facts={"odd": {text: [text]}},
    )
    values: dict[str, Any] = {
        "title": text,
        "manifest": manifest,
        "posts": 100,
        "pictures": 90,
        "classes": {"content_bucket": counted, "quality": {text: Count(90, 112.5)}, "style_class": counted},
        "tags": {
            name: TagCounts({text: Count(90, 100.0), text + "2": Count(3, 1.0)}) for name in ("general", "artist")
        },
        "hidden_tags": [text],
        "views": np.linspace(0.5, 2, 90, dtype=np.float32),
        "repeats": np.linspace(0.5, 2, 90, dtype=np.float32),
        "loss_weights": np.linspace(0.9, 1.1, 90, dtype=np.float32),
        "sizes": Sizes([SizeRow("1024", Size(64, 96), 60, 66.5, 0.25, 7)], 3, {Size(70, 100): 60}, [Size(64, 96)]),
        "texts": Texts(
            pictures=80,
            captions=100,
            long_tokens=np.array([10, 80, 160, 300]),
            prompt_tokens=np.array([75, 76]),
            prompts_cut=1,
            openings=[Phrase(text, 30)],
            phrases=[PhraseCount(text, 40, 20)],
            captions_with_style=40,
            prompts_with_style=2,
            runs=[Phrase(text, 9)],
            repeated=[Phrase(text, 3)],
            hidden=2,
        ),
        "steps": [
            StepCount(text, None, 100, 95, {}, {text + "!": 5}, {"noted": text}),
            StepCount("filters", None, 95, 80, {text: 15}, {}, {}),
        ],
        "losses": [ShownLoss(dropped, [example]), ShownLoss(unusable, [example])],
        "sheet": [picture],
        "images": image_facts(text),
        "commands": [(text, text)],
        "versions": [(text, text)],
        **changes,
    }
    return facts_of(**values)


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
        return [(tag, sorted(attrs)) for tag, attrs in self.elements]


def outline(facts: TableFacts, folder) -> Outline:
    return Outline(write(facts, folder / "report.html").read_text(encoding="utf-8"))


def test_sections_of_the_image_side_are_there_only_with_something_to_show(tmp_path):
    parts = {
        "pictures": {"probe", "lookalikes"}, "closeups": {"closeups"}, "models": {"models", "scores"},
        "written": {"captions"},
    }  # fmt: skip
    assert set(parts) == set(OPTIONAL)
    full = image_facts("words")
    for anchor, names in parts.items():
        for name in names:
            found = outline(build(images=ImageFacts(**{name: getattr(full, name)})), tmp_path)
            sections = [attrs["id"] for tag, attrs in found.elements if tag == "section"]
            assert sections == [each for each, _ in SECTIONS if each not in OPTIONAL or each == anchor]
    none = outline(build(images=ImageFacts()), tmp_path)
    assert not {attrs.get("id") for _, attrs in none.elements} & set(OPTIONAL)


def test_codes_are_told_in_words(tmp_path):
    work = CaptionWork({"fallback": 2}, {"refusal": 2}, {"loop": 1}, [], {}, 0, [])
    unusable = ShownLoss(Loss("cmyk_no_profile", 2, True, "pictures"), [LossExample("a/1", "", False, "x")])
    found = outline(build(images=ImageFacts(captions=work), losses=[unusable]), tmp_path)
    for words in (CODES["refusal"], CODES["loop"], PICTURE_CODES["cmyk_no_profile"]):
        assert words in found.text


def test_every_section_is_there_and_linked(tmp_path):
    found = outline(build(), tmp_path)
    sections = [attrs["id"] for tag, attrs in found.elements if tag == "section"]
    assert sections == [anchor for anchor, _ in SECTIONS]
    links = [attrs["href"] for tag, attrs in found.elements if tag == "a"]
    assert links[: len(sections)] == [f"#{anchor}" for anchor in sections]
    assert {link.removeprefix("#") for link in links} == set(sections)  # alerts point to sections that are there


def test_page_needs_nothing_else(tmp_path):
    found = outline(build(), tmp_path)
    assert not {tag for tag, _ in found.elements} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attrs in found.elements:
        for name in ("src", "href"):
            if name in attrs:
                assert attrs[name].startswith(("data:image/webp;base64,", "#")), (tag, attrs[name])
        assert not [name for name in attrs if name.startswith("on")]
    policy = [attrs for tag, attrs in found.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"] == "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
    assert "url(" not in (tmp_path / "report.html").read_text()


@settings(max_examples=6)
@given(st.text(max_size=30))
def test_no_text_becomes_markup(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("page")
    benign = outline(build("x words"), folder)
    for hostile in ("x" + HOSTILE + text, "x" + BIDI, "x" + text):
        assert outline(build(hostile), folder).shape() == benign.shape()


def test_what_cannot_be_seen_is_named(tmp_path):
    outline(build(BIDI), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not set(page) & set("\u202e\u2066\u200b\ufeff\0")
    assert "safe&lt;U+202E&gt;gpj.exe&lt;U+2066&gt;&lt;U+200B&gt;&lt;U+FEFF&gt;" in page


def test_long_text_of_many_rows_makes_no_page_that_cannot_be_opened(tmp_path):
    long = "x" * 100_000
    many = {f"{long}{index}": Count(1, 1.0) for index in range(500)}
    facts = build(
        long,
        tags={name: TagCounts(many) for name in ("general", "artist")},
        classes={"style_class": many, "content_bucket": many},
        hidden_tags=list(many),
        losses=[ShownLoss(Loss(name, 1, False, long), [LossExample(long, "", False, long)]) for name in many],
        sheet=[dataclasses.replace(build(long).sheet[0], taken_out=list(many))] * 36,
        texts=Texts(captions=9, openings=[Phrase(name, 1) for name in list(many)[:12]]),
    )
    write(facts, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000  # and thumbnails have five


def test_pictures_of_ratings_are_blurred_until_asked_for(tmp_path):
    found = outline(build(), tmp_path)
    labels = [attrs for tag, attrs in found.elements if tag == "label" and attrs.get("class") == "veil"]
    boxes = [attrs for tag, attrs in found.elements if tag == "input"]
    # The sheet, a dropped and an unusable post; four look-alikes, a picture with its close-up, the gallery.
    assert len(labels) == 10
    assert [box.get("id") for box in boxes].count("reveal") == 1
    assert all(box["type"] == "checkbox" and "checked" not in box for box in boxes)
    assert "Show the 10 pictures" in found.text
    css = (tmp_path / "report.html").read_text()
    assert re.search(r"\.veil img \{[^}]*blur", css)
    shown = dataclasses.replace(build(), sheet=[dataclasses.replace(build().sheet[0], is_veiled=False)], losses=[])
    shown = dataclasses.replace(shown, images=ImageFacts())
    clear = outline(shown, tmp_path)
    assert not [attrs for tag, attrs in clear.elements if tag == "input"]


def test_numbers_of_the_data_are_on_the_page(tmp_path):
    text = re.sub(r"\s+", " ", outline(build(), tmp_path).text)
    cells = text.replace(" ", "")  # of one row stand side by side
    assert "posts read 100" in text
    assert "filters 80 words −15" in text
    assert "15 posts, 15.0 %; dropped in words" in text
    assert "64 × 96 60 66.5 25.0 % 7" in text
    assert "3 pictures are too small for any" in text
    assert "prompts250%50%0%0%" in cells
    assert "longcaptions425%25%25%25%" in cells
    assert "Read closely: 80 pictures of 80, with 100 captions" in text
    assert "words4020" in cells
    assert "Loss weights are 0.9 to 1.1" in text
    assert "empty, for classifier-free guidance" in text
    assert "90 tokens" in text


def test_an_empty_table_says_so_in_every_section(tmp_path):
    found = outline(facts_of(pictures=0, views=np.zeros(0), repeats=np.zeros(0)), tmp_path)
    assert [attrs["id"] for tag, attrs in found.elements if tag == "section"] == [
        anchor for anchor, _ in SECTIONS if anchor not in OPTIONAL
    ]
    assert "No picture is for training." in found.text


def test_funnel_is_one_step_where_the_steps_are_gone():
    rows = funnel(build(steps=[]))
    assert [(row.name, row.left, row.percent) for row in rows] == [
        ("posts read", 100, 100.0),
        ("curate", 80, 80.0),
        ("kept", 80, 80.0),
    ]
    assert rows[1].lost == [("words", 15, False), ("words!", 5, True)]


def test_funnel_shows_steps_that_lost_something():
    steps = [*build().steps, StepCount("tags", None, 80, 80, {}, {"none": 0}, {})]
    rows = funnel(build(steps=steps))
    assert [row.name for row in rows] == ["posts read", "words", "filters", "kept"]


def test_literal_pseudo_code_stands_beside_what_was_done(tmp_path):
    epoch = {"gini_pictures": {"before": 0.0, "after": 0.25, "literal": 0.75}, "samples": {"before": 1.0, "after": 2.0}}
    manifest = Manifest(kind="table", format_version=1, facts={"epoch": epoch, "knowledge_cutoff": "2024-05-06T01:02"})
    text = re.sub(r"\s+", "", outline(build(manifest=manifest, steps=[]), tmp_path).text)
    assert "ginipictures00.250.75" in text
    assert "newestpost2024-05-06" in text
    assert "pseudo-code" not in outline(build(), tmp_path).text


def test_meters_are_as_long_as_their_numbers():
    shown = meters("t", {"a": Count(10, 5.0), "b": Count(2, 20.0), "c": Count(1, 1.0)}, most=2)
    assert [(item.name, item.before_width, item.after_width, item.change) for item in shown.items] == [
        ("a", 50.0, 25.0, "×0.50"),
        ("b", 10.0, 100.0, "×10"),
    ]
    assert shown.others == 1
    assert meters("t", {"a": Count(3, 3.0)}, most=5).items[0].change == ""


def test_classes_stand_in_their_order_and_none_is_last():
    counts = {name: Count(1, 1.0) for name in (NO_CLASS, "worst", "own", "best", "masterpiece")}
    names = [item.name for item in class_meters("t", counts).items]
    assert names == ["masterpiece", "best", "worst", "own", NO_CLASS]


def test_spread_of_an_epoch():
    facts = build(
        classes={"content_bucket": {"a": Count(3, 2.0), "b": Count(1, 2.0)}},
        tags={},
        pictures=4,
        views=np.array([1.0, 1, 1, 1]),
    )
    rows = {name: (before, after) for name, before, after, _ in spread(facts)}
    assert rows["Entropy of content buckets"] == ("0.81 bits", "1.00 bits")
    assert rows["Gini of content buckets"] == ("0.250", "0.000")
    assert rows["Effective sample size"] == ("4", "4")


def test_tails_hold_every_tag_once():
    tags = {f"t{count}": Count(count, float(count)) for count in (1, 9, 10, 99, 100, 5000)}
    facts = build(tags={"general": TagCounts(tags)})
    assert [(name, number) for name, number, _, _ in tails(facts)] == [
        ("1 to 9", 2), ("10 to 99", 2), ("100 to 999", 1), ("1,000 to 9,999", 1),
    ]  # fmt: skip


def test_token_shares_are_by_chunks():
    facts = build(texts=Texts(prompt_tokens=np.array([0, 75, 76, 150, 225, 226, 9999, 1])))
    assert token_shares(facts) == [("prompts", 8, ["38 %", "25 %", "12 %", "25 %"])]


def test_alerts_are_first_and_all_shown(tmp_path):
    facts = build()
    found = outline(facts, tmp_path)
    alerts = find_alerts(facts)
    assert len(alerts) > 3
    for alert in alerts:
        assert figures.visible(alert.text) in found.text
    assert found.text.index(alerts[0].text) < found.text.index("From posts to pictures")


@pytest.mark.parametrize("has_thumbnails", [True, False])
def test_without_pictures_the_page_says_why(tmp_path, has_thumbnails):
    sheet = [dataclasses.replace(build().sheet[0], image="")]
    found = outline(build(sheet=sheet, losses=[], has_thumbnails=has_thumbnails, images=ImageFacts()), tmp_path)
    assert ("no picture to show" in found.text) is has_thumbnails
    assert ("without thumbnails" in found.text) is not has_thumbnails
    assert not [tag for tag, _ in found.elements if tag == "img"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scale", ["quality", "aesthetic", "years"])
def test_classes_of_every_preset_stand_best_and_newest_first(preset: str, scale: str):
    given = PRESETS[preset].get(scale, [])
    levels = given[::-1] if scale == "years" else given["levels"] if given else []
    names = [level["name"].replace("{year}", "2011") for level in levels if level["name"]]
    assert [item.name for item in class_meters("t", dict.fromkeys(sorted(names), Count(1, 1.0))).items] == names


def test_years_by_number_stand_newest_first():
    counts = {
        "year 2009": Count(9, 9.0),
        "year 2023": Count(1, 1.0),
        NO_CLASS: Count(1, 1.0),
        "year 2011": Count(5, 5.0),
    }
    assert [item.name for item in class_meters("t", counts).items] == ["year 2023", "year 2011", "year 2009", NO_CLASS]
