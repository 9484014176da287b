"""Alerts: each is raised by the facts that it is for, and by no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from animetune.manifest import Manifest
from animetune.records import Size
from animetune.report.image_facts import CaptionWork, ImageFacts
from animetune.report.table_alerts import find_alerts
from animetune.report.table_counts import NO_CLASS, Count
from animetune.report.table_facts import PhraseCount, TableFacts, TagCounts, Texts, Training
from animetune.report.table_sizes import SizeRow, Sizes
from animetune.report.table_texts import Phrase


def facts_of(**changes: Any) -> TableFacts:
    """A table of a thousand pictures in which nothing stands out."""
    values: dict[str, Any] = {
        "title": "table",
        "manifest": Manifest(kind="table", format_version=1, seen=1000, kept=1000),
        "posts": 1000,
        "pictures": 1000,
        "held_out": 5,
        "classes": {},
        "years": {},
        "people": {},
        "captions": {},
        "tags": {},
        "hidden_tags": [],
        "repeats": np.ones(1000, np.float32),
        "views": np.ones(1000, np.float32),
        "loss_weights": np.ones(1000, np.float32),
        "untagged": 0,
        "bare": 0,
        "sizes": Sizes([], 0, {}, []),
        "sizes_are_given": True,
        "max_upscale": 1.25,
        "texts": Texts(),
        "training": Training(),
        **changes,
    }
    return TableFacts(**values)


def manifest(**fields: Any) -> Manifest:
    return Manifest(kind="table", format_version=1, **{"seen": 1000, "kept": 1000, **fields})


def texts(**fields: Any) -> Texts:
    return Texts(**{"pictures": 100, "captions": 100, "prompt_tokens": np.full(100, 50), **fields})


def size(pictures: int) -> Sizes:
    return Sizes([SizeRow("1024", Size(64, 64), pictures, 1.0, 0, 0)], 0, {}, [])


def captions(**by: int) -> ImageFacts:
    return ImageFacts(captions=CaptionWork(by, {"refusal": 9, "people": 1}, {}, [], {}, 0, []))


RAISED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "captions": ("warning", "10 % of the captions are not by the model, most of them because of refusal", {
        "images": captions(model=90, fallback=8, none=2, own=500)}),
    "unusable": ("warning", "2.0 % of the posts cannot be used, most of them as truncated", {
        "manifest": manifest(kept=980, quarantined={"truncated": 15, "empty": 5})}),
    "one filter": ("warning", "The filter rating drops 60 % of the posts.", {
        "manifest": manifest(kept=400, dropped={"rating": 600})}),
    "sizes differ": ("note", "7 pictures have another size", {"manifest": manifest(facts={"size_mismatches": 7})}),
    "md5": ("note", "7 pictures are not the files", {"manifest": manifest(facts={"md5_mismatches": 7})}),
    "conflicts": ("note", "30 % of the pictures fit the rules", {"manifest": manifest(facts={"conflicts": 300})}),
    "homonyms": ("note", "4 texts are written for tags of two", {"manifest": manifest(facts={"homonyms": 4})}),
    "metadata alone": ("note", "No picture was opened", {"manifest": manifest(facts={"pictures": {"decoded": False}})}),
    "nothing": ("warning", "No picture is for training.", {"pictures": 0}),
    "never": ("note", "3 training pictures have repeats 0", {"repeats": np.array([0, 0, 0, 1])}),
    "top": ("warning", "One in a hundred pictures makes up 50 % of an epoch", {
        "views": np.array([99.0, *[1.0] * 99])}),
    "rare": ("note", "Under 0.5 % of an epoch: animal.", {
        "classes": {"content_bucket": {"1girl_only": Count(999, 999.0), "animal": Count(1, 1.0)}}}),
    "no validation": ("note", "No picture is held out", {"held_out": 0}),
    "no quality": ("note", "40 % of the pictures have no quality class.", {
        "classes": {"quality": {"best": Count(600, 600.0), NO_CLASS: Count(400, 400.0)}}}),
    "synthetic": ("note", "20 % of an epoch were drawn by a model", {
        "classes": {"is_synthetic": {"yes": Count(1, 200.0), "no": Count(1, 800.0)}}}),
    "too small": ("warning", "10 % of the pictures are too small for every size", {
        "sizes": Sizes([], 100, {}, [])}),
    "too small by default": ("note", "10 % of the pictures are too small for SDXL's sizes", {
        "sizes": Sizes([], 100, {}, []), "sizes_are_given": False}),
    "few of a size": ("note", "1 of 1 sizes have less than 64 pictures: 64x64.", {"sizes": size(63)}),
    "less than a batch": ("note", "1 of 1 sizes have less than one global batch", {
        "sizes": size(200), "training": Training(global_batch=256)}),
    "hidden tags": ("warning", "1 tags hold characters that cannot be seen", {"hidden_tags": ["a\u200b"]}),
    "artist": ("note", "The artist wlop is in 15 % of an epoch.", {
        "tags": {"artist": TagCounts({"wlop": Count(150, 150.0), "b": Count(50, 50.0)})}}),
    "artists": ("note", "The artist a is in 30 % of an epoch; 1 more in over 10 %.", {
        "tags": {"artist": TagCounts({"a": Count(300, 300.0), "b": Count(200, 200.0), "c": Count(1, 1.0)})}}),
    "bare": ("warning", "2 pictures have neither tags nor captions.", {"bare": 2}),
    "cut": ("warning", "6.0 % of the prompts are longer than the 225 tokens", {"texts": texts(prompts_cut=6)}),
    "style in prompts": ("warning", "40 % of the prompts speak of style, as “stylized” does", {
        "texts": texts(prompts_with_style=40, phrases=[PhraseCount("stylized", 50, 40)])}),
    "style in captions": ("note", "50 % of the captions speak of style.", {
        "texts": texts(captions_with_style=50, phrases=[PhraseCount("stylized", 50, 0)])}),
    "opening": ("note", "30 % of the captions begin “a digital illustration of a”", {
        "texts": texts(openings=[Phrase("a digital illustration of a", 30)])}),
    "same caption": ("note", "the most frequent has 9", {"texts": texts(repeated=[Phrase("a", 9)])}),
    "hidden captions": ("warning", "3 captions hold characters", {"texts": texts(hidden=3)}),
}  # fmt: skip


def test_nothing_stands_out_where_nothing_does():
    assert find_alerts(facts_of()) == []


@pytest.mark.parametrize("name", RAISED)
def test_each_alert_is_raised_alone(name):
    level, text, changes = RAISED[name]
    (alert,) = find_alerts(facts_of(**changes))
    assert alert.level == level
    assert text in alert.text


def test_limits_are_not_passed_by_what_lies_below_them():
    quiet = {
        "manifest": manifest(kept=500, dropped={"rating": 500}, facts={"size_mismatches": 0, "conflicts": 100}),
        "classes": {"quality": {"best": Count(800, 800.0), NO_CLASS: Count(200, 200.0)}},
        "tags": {"artist": TagCounts({"wlop": Count(100, 100.0)})},
        "sizes": size(64),
        "texts": texts(prompts_cut=5, prompts_with_style=5, openings=[Phrase("a girl with long hair", 20)]),
    }
    assert find_alerts(facts_of(**quiet)) == []


def test_a_small_table_has_no_hundredth():
    assert find_alerts(facts_of(pictures=26, views=np.array([9.0, *[1.0] * 25]))) == []


def test_warnings_come_first():
    alerts = find_alerts(facts_of(held_out=0, bare=1))
    assert [alert.level for alert in alerts] == ["warning", "note"]
