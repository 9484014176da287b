"""Steps run once: again only when their settings or what they read has changed, and then it is said why."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from animetune import fsio
from animetune.errors import ConfigError, SetupError
from animetune.recipe.ledger import Ledger, changed_settings
from animetune.recipe.run import Chosen, run_recipe
from tests.builders import write_lines
from tests.crash.test_sigkill import tree
from tests.tiny_recipe import write_recipe

DATA = "steps=[curate.yaml, shard.yaml, labels.yaml]"
"""The steps of the tiny recipe that train nothing, and take a second."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def run(path: Path, *overrides: str, first: str | None = None, last: str | None = None, dry: bool = False) -> list[str]:
    said: list[str] = []
    run_recipe(path, Chosen((DATA, *overrides), first=first, last=last, dry_run=dry), say=said.append)
    return said


def states(said: list[str]) -> dict[str, str]:
    """Step -> state, of the table."""
    rows = [re.match(r" +\d+  (\S+) +\S+ +(.*)", line) for line in said]
    return {row[1]: row[2] for row in rows if row}


def ran(said: list[str]) -> list[str]:
    return [match[1] for line in said if (match := re.search(r"\d/\d (\S+): done in", line))]


def new_captions(recipe: Path, text: str) -> None:
    posts = recipe.parents[1] / "posts"
    write_lines(posts / "captions.jsonl", [{"id": number, "long": [text]} for number in range(1, 13)])


def test_once_and_then_nothing(recipe: Path) -> None:
    made = recipe.parents[1] / "made"
    dry = run(recipe, dry=True)
    assert states(dry) == {
        "curate": "not yet",
        "shard": "not yet: after curate",
        "labels": "not yet: after curate, shard",
    }
    assert dry[-1].startswith("nothing was run")
    assert not made.exists()

    said = run(recipe)
    assert ran(said) == ["curate", "shard", "labels"]
    assert any(re.search(r"1/3 curate: done in .*: 12 of 12 kept$", line) for line in said)
    assert said[-1].startswith("Tiny: 3 steps, 3 run, 0 unchanged")
    before = tree(made)

    said = run(recipe)
    assert set(states(said).values()) == {"done"}
    assert ran(said) == []
    after = tree(made)
    apart = {name for name in after if name.startswith("recipe/")}
    assert {name: each for name, each in after.items() if name not in apart} == {
        name: each for name, each in before.items() if name not in apart
    }
    assert len(Ledger(made / "recipe").lines) == 3
    events = [json.loads(line)["event"] for line in (made / "recipe" / "log.jsonl").read_text().splitlines()]
    assert events == ["start", *["begin", "done"] * 3, "end", "start", "skip", "skip", "skip", "end"]


def test_what_changes_and_what_does_not(recipe: Path) -> None:
    run(recipe)
    assert set(states(run(recipe, "curate.executor.workers=1", "shard.executor.workers=1", dry=True)).values()) == {
        "done"
    }
    os.utime(recipe.parents[1] / "posts" / "posts.jsonl", (1, 1))
    assert set(states(run(recipe, dry=True)).values()) == {"done"}, "touched, but with the bytes that it had"

    said = run(recipe, "labels.missing_limit=0.5", dry=True)
    assert states(said)["labels"] == "changed: missing_limit was 0.01, is 0.5"
    new_captions(recipe, "Another caption.")
    captions = recipe.parents[1] / "posts" / "captions.jsonl"
    found = states(run(recipe, dry=True))
    assert found["curate"] == f"changed: {captions} is another one"
    assert found["shard"] == "done once: again if curate makes something else"
    assert found["labels"].startswith("done once: again if curate, shard make")


def test_a_stage_that_refuses_its_old_output_is_explained(recipe: Path) -> None:
    """Shards of another table: what changed, by which step, what to remove; and removing it is enough."""
    made = recipe.parents[1] / "made"
    run(recipe)
    before = tree(made / "shards")
    new_captions(recipe, "Another caption.")
    with pytest.raises(ConfigError) as caught:
        run(recipe)
    said = str(caught.value)
    assert said.startswith("shard: out: ")
    assert f"because: {made}/table is another one, since 'curate' made it anew" in said
    assert f"move or remove {made}/shards, or choose another place for it with --set" in said
    assert tree(made / "shards") == before
    assert "failed" in (made / "recipe" / "index.html").read_text()
    fsio.remove(made / "shards")
    assert ran(run(recipe)) == ["shard", "labels"]


def test_a_setting_that_changes_nothing_in_the_output(recipe: Path) -> None:
    """It is run again, since nobody knows; what reads it is not, since it is as it was."""
    ledger = recipe.parents[1] / "made" / "recipe"
    run(recipe)
    before = Ledger(ledger).last("labels")
    assert ran(run(recipe, "labels.missing_limit=0.5")) == ["labels"]
    after = Ledger(ledger).last("labels")
    assert before
    assert after
    assert (before.key == after.key, before.made == after.made) == (False, True)
    assert ran(run(recipe)) == [], "the settings before are known, too"


def test_shards_may_stay_while_labels_change(recipe: Path) -> None:
    run(recipe)
    new_captions(recipe, "Another caption.")
    with pytest.raises(ConfigError, match="they may stay, and --from labels goes on with them"):
        run(recipe)
    assert ran(run(recipe, first="labels")) == ["labels"]


def test_an_output_that_is_gone_or_was_made_by_hand(recipe: Path) -> None:
    made = recipe.parents[1] / "made"
    run(recipe, last="shard")
    assert states(run(recipe, dry=True))["labels"] == "not yet"
    fsio.remove(made / "recipe")
    found = states(run(recipe, dry=True))
    assert found["curate"] == f"not yet: {made}/table is there, made outside of this recipe"
    assert ran(run(recipe)) == ["curate", "shard", "labels"]
    fsio.remove(made / "labels")
    assert states(run(recipe, dry=True))["labels"] == f"changed: {made}/labels is gone, or not finished"
    assert ran(run(recipe)) == ["labels"]


def test_a_part_of_it(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="'curate', is outside of --from and --until"):
        run(recipe, first="shard")
    said = run(recipe, last="curate")
    assert ran(said) == ["curate"]
    assert states(said)["shard"] == "outside: not yet"
    assert ran(run(recipe, first="shard", last="shard")) == ["shard"]


def test_posts_that_are_not_here(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, data=False)
    said: list[str] = []
    with pytest.raises(SetupError, match=r"a run would stop before its first step.*\(2 settings\)"):
        run_recipe(recipe, Chosen((DATA,), dry_run=True), say=said.append)
    assert len([line for line in said if line.startswith("not here yet: ") and "there is no such file" in line]) == 2
    assert said[-1] == "nothing was run: --dry-run"
    with pytest.raises(SetupError, match=r"curate.yaml:5:13: sources.0.posts.0: "):
        run(recipe)
    assert not (tmp_path / "made").exists()


def test_two_at_once(recipe: Path) -> None:
    out = recipe.parents[1] / "made" / "recipe"
    with fsio.lock(out):
        fsio.write_json(out / "running.json", {"pid": 17, "host": "a", "since": "noon"})
        with pytest.raises(
            SetupError, match=r"another animetune process .* \(process 17 on a runs this recipe since noon"
        ):
            run(recipe)
    assert ran(run(recipe, last="curate")) == ["curate"]


def test_one_of_many_ranks_runs_no_recipe(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(SetupError, match="name the command that launches its training in `launch:`"):
        run(recipe)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_signals(recipe: Path, number: int, code: int) -> None:
    """In a step that trains nothing: the exit code, what is said, and that the same command goes on."""
    made = recipe.parents[1] / "made"
    command = [sys.executable, "-m", "animetune", "run", str(recipe), "--set", DATA]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "1/3 curate: animetune" in line:
            process.send_signal(number)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "the same command continues" in errors
    assert "Traceback" not in errors
    log = (made / "recipe" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["event"] == "stopped"
    assert ran(run(recipe)) == ["curate", "shard", "labels"]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def test_the_page_links_to_what_is_there_and_nothing_else(recipe: Path) -> None:
    made = recipe.parents[1] / "made"
    (made / "table").mkdir(parents=True)
    run(recipe, last="curate")
    (made / "table" / "report.html").write_text("")
    run(recipe)
    text = (made / "recipe" / "index.html").read_text()
    links = Links()
    links.feed(text)
    outside = [link for link in links.found if not link.startswith("#")]
    assert "../table/report.html" in outside
    assert all((made / "recipe" / link).exists() for link in outside), outside
    assert not re.search(r"https?://", text)
    assert text.count(">done<") == 3
    assert "12 of 12 kept" in text


def test_changed_settings_are_named() -> None:
    before = {"a": 1, "b": "x", "c": None}
    assert changed_settings(before, before) == []
    assert changed_settings(before, {"a": 1, "b": "y" * 50, "d": True}) == [
        f'b was "x", is "{"y" * 36}...',
        "d was not there, is true",
        "c was null, is not there",
    ]
