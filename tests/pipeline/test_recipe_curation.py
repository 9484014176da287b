"""Every `curate*.yaml` of every recipe on the posts of tests/golden/curate/posts.yaml, with goldens to be read.

`python -m tests.pipeline.test_recipe_curation` writes the goldens anew; read the difference against RECIPES.md.
"""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import polars as pl
import pytest

from animetune import tables
from animetune.config import load_config, shipped_configs, stage_of
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from tests.recipe_posts import at_posts, posts, write_recipe_posts

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "curate"
STAGES = ("curate", "curate-stage2")
RECIPES = shipped_configs() / "recipes"
CONFIGS = [path for path in sorted(RECIPES.rglob("*.yaml")) if stage_of(path) == "curate"]
TAGS = ("tags_count", "tags_character", "tags_copyright", "tags_artist", "tags_general", "tags_special")
COLUMNS = (
    "key",
    "outcome",
    "content_bucket",
    "rating",
    "quality",
    "aesthetic",
    "year",
    "style_class",
    "repeats",
    "tags",
)


def golden_of(path: Path) -> Path:
    return GOLDEN / f"{path.parent.name}-{path.stem}.csv"


def outcomes(path: Path, files: Path, out: Path) -> str:
    """What a configuration makes of every post, as CSV in the order of the keys."""
    overrides = [
        f"out={out}",
        "quarantine_limit=1",
        "executor.workers=0",
        *at_posts(files, load_config(path, CurateConfig)),
    ]
    run(load_config(path, CurateConfig, overrides))
    table = tables.open_table(out)
    rows = [_kept(row) for row in table.scan().collect().iter_rows(named=True)]
    for name, why in (("dropped", "reason"), ("quarantined", "code")):
        gone = pl.read_parquet(out / f"{name}.parquet").rows(named=True)
        rows += [{"key": row["key"], "outcome": row[why]} for row in gone]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: _natural(row["key"])))
    return text.getvalue()


def _kept(row: dict) -> dict:
    tags = "; ".join(", ".join(row[name]) for name in TAGS)
    shown = {name: row[name] for name in COLUMNS if name in row}
    return {**shown, "outcome": "", "repeats": f"{row['repeats']:.3f}", "tags": tags}


def _natural(key: str) -> tuple[str, int]:
    source, _, number = key.partition("/")
    return source, int(number)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe_posts(tmp_path_factory.mktemp("posts"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recipe_curates(path: Path, files: Path, tmp_path: Path) -> None:
    found = outcomes(path, files, tmp_path / "table")
    assert found == golden_of(path).read_text(encoding="utf-8")
    sources = {source.name for source in load_config(path, CurateConfig).sources}
    keys = [f"{source}/{post['id']}" for source in sorted(sources) for post in posts()[source]]
    assert [line.partition(",")[0] for line in found.splitlines()[1:]] == keys


def test_the_second_stage_leaves_the_classes_of_the_first_as_they_were() -> None:
    """A picture that is `best` in one stage and `high` in the next would teach that these words mean nothing."""
    first, second = ({row["key"]: row for row in _golden_rows(f"dashanime-{name}")} for name in STAGES)
    both = [key for key, row in second.items() if not row["outcome"]]
    assert len(both) > 10
    for name in ("quality", "aesthetic", "year", "rating", "content_bucket"):
        assert {key: second[key][name] for key in both} == {key: first[key][name] for key in both}


def _golden_rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((GOLDEN / f"{name}.csv").read_text(encoding="utf-8"))))


def test_there_is_a_golden_for_every_configuration_and_no_other() -> None:
    assert {golden_of(path) for path in CONFIGS} == set(GOLDEN.glob("*.csv"))


def write() -> None:
    """Write what every configuration makes of the posts now."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_recipe_posts(Path(folder) / "posts")
        for path in CONFIGS:
            text = outcomes(path, files, Path(folder) / path.parent.name / path.stem)
            golden_of(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
