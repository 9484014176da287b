"""The words that a model knows: counted by hand, written as prompts have them, safe to show, found and copied."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess
import time

import polars as pl
import pytest

from animetune import fsio
from animetune.config import load_config, to_yaml
from animetune.errors import DataError
from animetune.manifest import Manifest, write_manifest
from animetune.prompts import PromptConfig
from animetune.report.exposure import read_exposure
from animetune.report.tagsheet import make_tagsheet, read_sheet
from animetune.report.tagsheet_counts import KINDS, Word, count, left_out, words
from animetune.report.tagsheet_page import Sheet, completion_list, data_of, render, write
from animetune.train.config import TrainConfig
from tests.builders import TINY_SOURCES, tiny_shards

HOSTILE = "</script><script>document.title='x'</script>"


def rows(**columns):
    """A block of rows: lists of tags and classes, empty where none are given."""
    names = ["tags_count", "tags_character", "tags_copyright", "tags_artist", "tags_general", "tags_special"]
    length = len(next(iter(columns.values())))
    tags = {name: pl.Series(name, columns.get(name, [[]] * length), dtype=pl.List(pl.String)) for name in names}
    classes = {
        name: pl.Series(name, columns.get(name, [None] * length), dtype=pl.String)
        for name in ("quality", "aesthetic", "rating", "year")
    }
    return pl.DataFrame({**tags, **classes})


BLOCKS = [
    rows(
        tags_character=[["hatsune_miku"], ["hatsune_miku", "kaito"], ["saber_(fate)"]],
        tags_copyright=[["vocaloid"], ["vocaloid"], ["fate", "fate/zero"]],
        tags_artist=[["wlop"], [], ["wlop"]],
        tags_general=[["smile", "long_hair", "smile"], ["smile"], [">_<"]],
        quality=["best", "best", None],
        rating=["g", "e", "g"],
    ),
    rows(tags_character=[["saber_(fate)"]], tags_copyright=[["fate"]], tags_general=[["smile"]], quality=["worst"]),
]


def of_kind(found, kind):
    return {word.text: word.pictures for word in found if word.kind == kind}


def test_counts_are_those_of_the_rows_over_all_blocks():
    found = words(count(iter(BLOCKS)), PromptConfig(preset="animagine-3.1"), at_least=1)
    assert of_kind(found, "character") == {"hatsune miku": 2, "saber (fate)": 2, "kaito": 1}
    assert of_kind(found, "series") == {"fate": 2, "vocaloid": 2, "fate/zero": 1}
    assert of_kind(found, "general") == {"smile": 3, ">_<": 1, "long hair": 1}
    assert of_kind(found, "quality") == {"best quality": 2, "worst quality": 1}
    assert of_kind(found, "rating") == {"safe": 2, "explicit, nsfw": 1}
    assert of_kind(found, "artist") == {}  # the preset has no artists
    assert {word.text: word.series for word in found if word.kind == "character"} == {
        "hatsune miku": "vocaloid",
        "saber (fate)": "fate",
        "kaito": "vocaloid",
    }


def test_words_are_written_as_the_prompts_of_the_recipe_have_them():
    cfg = PromptConfig(preset="aidxl", add=("my_style",))
    found = words(count(iter(BLOCKS)), cfg, at_least=1)
    assert of_kind(found, "artist") == {"by wlop": 2}
    assert of_kind(found, "character") == {"1 hatsune miku": 2, "1 saber (fate)": 2, "1 kaito": 1}
    assert of_kind(found, "extra") == {"my style": 4}
    assert of_kind(found, "rating") == {}


def test_rare_words_and_kinds_that_prompts_lack_are_left_out():
    counts = count(iter(BLOCKS))
    found = words(counts, PromptConfig(preset="animagine-3.1"), at_least=2)
    assert min(word.pictures for word in found) == 2
    assert left_out(counts, PromptConfig(preset="animagine-3.1")) == ["artist"]
    assert "general" in left_out(counts, PromptConfig(preset="dashanime-2"))


def test_a_character_of_many_series_belongs_to_none():
    block = rows(tags_character=[["a"], ["a"], ["a"]], tags_copyright=[["x"], ["y"], ["z"]])
    found = words(count(iter([block])), PromptConfig(preset="animagine-3.1"), at_least=1)
    [word] = [each for each in found if each.kind == "character"]
    assert word.series == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of 10 steps of 4 on 40 pictures, 35 of them for training, 5 of those with repeats 0."""
    folder = tmp_path_factory.mktemp("tagsheet")
    shards, labels = tiny_shards(
        folder,
        TINY_SOURCES * 8,
        split=["train"] * 35 + ["val"] * 5,
        repeats=[0.0 if row % 7 == 3 else 1.0 for row in range(40)],
        tags_artist=[["wlop"]] * 40,
    )
    cfg = TrainConfig.model_validate(
        {
            "stage": "train",
            "run": str(folder / "run"),
            "model": {"base": "random:tiny"},
            "data": {"shards": str(shards), "labels": str(labels), "global_batch": 4, "micro_batch": 2},
            "prompts": {"order": ["artist", "general", "quality"], "artist_prefix": "by "},
            "optimizer": {"name": "adafactor", "unet_lr": 1e-5},
            "loop": {"steps": 100},
        }
    )
    fsio.atomic_write(folder / "run" / "config.yaml", to_yaml(cfg))
    write_manifest(folder / "run", Manifest(kind="run", format_version=1, facts={"step": 10, "images": 40}))
    return folder


def test_of_a_run_the_words_say_how_often_training_showed_them(run):
    sheet = read_sheet(run / "run", at_least=2)
    by_text = {word.text: word for word in sheet.words}
    assert by_text["by wlop"].pictures == 30
    cfg = load_config(run / "run" / "config.yaml", TrainConfig)
    shown = read_exposure(cfg, steps=10).pictures["seen"].sum()
    assert 30 < shown <= 40  # 10 steps of 4, less what fills up micro-batches
    assert by_text["by wlop"].seen == by_text["best quality"].seen == shown  # every picture has them
    assert "tag 1" not in by_text
    assert "10 steps" in sheet.lead
    assert any("characters" in note for note in sheet.notes)


def test_of_labels_and_of_a_table_words_are_counted(run):
    of_labels = {word.text: word.pictures for word in read_sheet(run / "labels", at_least=2).words}
    of_table = {word.text: word.pictures for word in read_sheet(run / "table", at_least=2).words}
    assert of_table["smile"] == 30
    assert of_labels["smile"] == 34  # with the validation pictures, of which one has repeats 0
    assert all(word.seen is None for word in read_sheet(run / "labels", at_least=1).words)


def test_what_is_none_of_them_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="neither a run, a label set nor a curated table"):
        make_tagsheet(tmp_path, None, at_least=1)
    with pytest.raises(DataError, match="is a shard-root"):
        make_tagsheet(run / "shards", None, at_least=1)


def test_equal_places_give_equal_bytes(run, tmp_path):
    first, second = (make_tagsheet(run / "run", tmp_path / f"{name}.html", at_least=1) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".csv").read_bytes() == second.with_suffix(".csv").read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    assert make_tagsheet(run / "run", folder, at_least=1) == folder / "tagsheet.html"


def test_the_list_for_autocomplete_has_tag_category_count_aliases():
    found = words(count(iter(BLOCKS)), PromptConfig(preset="aidxl"), at_least=1)
    lines = {line[0]: line[1:] for line in csv.reader(io.StringIO(completion_list(found)))}
    assert lines["by_wlop"] == ["1", "2", "wlop"]
    assert lines["1_saber_(fate)"] == ["4", "2", "saber_(fate)"]
    assert lines["long_hair"] == ["0", "1", ""]
    assert lines["best quality"] == ["5", "2", ""]
    counts = [int(line[1]) for line in lines.values()]
    assert counts == sorted(counts, reverse=True)


def test_a_tag_with_commas_and_quotes_is_one_field_of_the_list():
    text = completion_list([Word("general", 'a,"b"', 'a,"b"', 3)])
    assert list(csv.reader(io.StringIO(text))) == [['a,"b"', "0", "3", ""]]


def test_brackets_are_escaped_and_hidden_characters_shown():
    said = json.loads(data_of([Word("character", "x", "miku (v) \u202e", 1)]))
    [[kind, shown, trigger, pictures, seen, series]] = said["rows"]
    assert (KINDS[kind], pictures, seen, series) == ("character", 1, None, "")
    assert shown == r"miku \(v\) <U+202E>"
    assert trigger == "miku \\(v\\) \u202e"


def test_hostile_names_stay_text():
    page = render(Sheet(HOSTILE, HOSTILE, [Word("general", HOSTILE, HOSTILE, 5, 1)], [HOSTILE]))
    assert page.count("<script") == 2  # the data, and the one that the policy names by its hash
    assert HOSTILE not in page
    assert html.escape(HOSTILE) in page.replace("&#39;", "&#x27;")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert not re.search(r'(src|href)="https?:', page)


def big_sheet():
    ws = [Word("character", f"miku_({i})", f"miku ({i})", 90_000 - i, 7, "vocaloid") for i in range(25_000)]
    ws += [Word("general", f"some_tag_{i}", f"some tag {i}", 60_000 - i, i) for i in range(25_000)]
    return Sheet("Words", "Of a run.", [*ws, Word("general", HOSTILE, HOSTILE, 100_000, 1)])


def test_fifty_thousand_words_are_a_small_file(tmp_path):
    started = time.monotonic()
    path = write(big_sheet(), tmp_path / "big.html")
    assert path.stat().st_size < 8_000_000
    assert time.monotonic() - started < 20


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def dom_of(path, fragment=""):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run([*command, f"{path.as_uri()}{fragment}"], capture_output=True, timeout=120, check=True)
    return done.stdout.decode()


def shown_in(dom):
    return [html.unescape(text) for text in re.findall(r'class="word"[^>]*>([^<]*)<', dom)]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_searches_sorts_and_copies_in_a_browser(tmp_path):
    path = write(big_sheet(), tmp_path / "big.html")
    everything = dom_of(path)
    assert "50,001 words" in everything
    assert shown_in(everything)[:2] == [HOSTILE.replace("(", r"\(").replace(")", r"\)"), r"miku \(0\)"]
    assert len(shown_in(everything)) < 100  # only what is near the window is drawn
    assert "<title>Words</title>" in everything
    searched = dom_of(path, "#q=miku+24999&kind=Characters")
    assert shown_in(searched) == [r"miku \(24999\)"]
    click = """<script>
    document.execCommand = () => {
      document.body.dataset.area = document.querySelector("textarea").value;
      return true;
    };
    Object.defineProperty(navigator, "clipboard", { value: { writeText: () => Promise.reject() } });
    addEventListener("load", () => {
      const box = document.getElementById("search");
      box.value = "vocaloid 123"; box.dispatchEvent(new Event("input"));
      setTimeout(() => document.querySelector("button.row").click(), 500);
    });
    </script>"""
    clicked = tmp_path / "clicked.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text(encoding="utf-8"))
    clicked.write_text(text.replace("</body>", f"{click}</body>"), encoding="utf-8")
    dom = dom_of(clicked)
    assert r'data-area="miku \(123\)"' in dom
    assert r"Copied: miku \(123\)" in dom
