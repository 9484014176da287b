"""How a table came about: its steps in order, and examples of what they refused."""

from __future__ import annotations

import itertools
import shutil

import pytest

from animetune.curate.run import run as curate
from animetune.report.table_steps import read_losses, read_steps, tags_read
from animetune.tables import open_table
from tests.builders import curate_config, danbooru_post, write_lines, write_posts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve posts: three too small by rule, one line that is no JSON, one picture that is missing."""
    folder = write_posts(tmp_path_factory.mktemp("steps") / "data", 12)
    lines = (folder / "posts.jsonl").read_bytes().splitlines()
    broken = danbooru_post(99, general="1girl solo smile")
    write_lines(folder / "posts.jsonl", [*lines, b"{broken", broken])
    cfg = curate_config(folder, filters=[{"name": "rating", "keep": ["g", "s", "q"]}], quarantine_limit=0.5)
    curate(cfg)
    return folder / "table"


def test_steps_are_in_order_and_account_for_every_post(folder):
    table = open_table(folder)
    steps = read_steps(table)
    assert steps[0].name == "ingest"
    assert steps[-1].kept == table.manifest.kept
    assert steps[0].seen == table.manifest.seen == 14
    for before, step in itertools.pairwise(steps):
        assert before.kept == step.seen
    lost = sum(sum(step.dropped.values()) + sum(step.quarantined.values()) for step in steps)
    assert lost == table.manifest.seen - table.manifest.kept


def test_steps_of_earlier_settings_are_not_its_own(folder):
    before = read_steps(open_table(folder))
    curate(curate_config(folder.parent, quarantine_limit=0.5))
    now = read_steps(open_table(folder))
    assert len(now) == len(before)
    assert now[-1].kept > before[-1].kept
    curate(curate_config(folder.parent, filters=[{"name": "rating", "keep": ["g", "s", "q"]}], quarantine_limit=0.5))
    assert read_steps(open_table(folder)) == before


def test_losses_have_examples_with_their_pictures(folder):
    table = open_table(folder)
    losses = {loss.reason: loss for loss in read_losses(table, read_steps(table), examples=2, seed=0)}
    assert {reason: (loss.count, loss.is_quarantined, loss.step) for reason, loss in losses.items()} == {
        "rating": (3, False, "filters"),
        "bad_json": (1, True, "ingest"),
        "image_missing": (1, True, "pictures"),
    }
    assert len(losses["rating"].examples) == 2
    for post in losses["rating"].examples:
        assert post.rating == "e"
        assert post.images == (str(folder.parent / "images" / f"{post.key.removeprefix('tiny/')}.png"),)
    assert losses["image_missing"].examples[0].key == "tiny/99"
    assert losses["bad_json"].examples[0].key == ""
    assert losses["bad_json"].examples[0].detail
    assert read_losses(table, read_steps(table), examples=2, seed=0) == list(losses.values())


def test_tags_as_they_were_read(folder):
    table = open_table(folder)
    key = table.scan().select("key").collect()["key"][0]
    found = tags_read([key], read_steps(table))
    assert {"original", "somebody", "highres"} <= set(found[key])


def test_a_table_without_its_steps_still_has_its_counts(folder, tmp_path):
    """As one that was copied from another machine."""
    table = open_table(folder)
    for name in ("manifest.json", *table.manifest.files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, tmp_path / name)
    copied = open_table(tmp_path)
    assert read_steps(copied) == []
    losses = read_losses(copied, [], examples=2, seed=0)
    assert {loss.reason: loss.count for loss in losses} == {"rating": 3, "bad_json": 1, "image_missing": 1}
    assert [post.images for loss in losses for post in loss.examples if loss.reason == "rating"] == [(), ()]
    assert tags_read(["tiny/1"], []) == {}
