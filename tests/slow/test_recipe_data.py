"""From posts to prompts by the files of each recipe: curate, shard, labels, and what its first stage then trains on.

`python -m tests.slow.test_recipe_data` writes the goldens anew; read the difference against RECIPES.md.
"""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from animetune.config import load_config, shipped_configs, stage_of
from animetune.curate.config import CurateConfig
from animetune.curate.run import run as curate
from animetune.prompts import compose
from animetune.seeding import Purpose, rng_for
from animetune.shards.config import LabelsConfig, ShardConfig
from animetune.shards.labels import run as labels
from animetune.shards.run import run as shard
from animetune.shardset import open_labels, open_root
from animetune.train.config import TrainConfig
from tests.recipe_posts import at_posts, write_recipe_posts

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "labels"
RECIPES = [path for path in sorted((shipped_configs() / "recipes").iterdir()) if path.is_dir()]
COLUMNS = ("key", "tier", "size", "repeats", "prompt")
SMALL = [
    "store={name: pixels, format: jpeg, quality: 50}",
    "sizes.min_pictures=0",  # or few pictures would all go to one size
    "executor.workers=0",
    "quarantine_limit=1",
]


def files_of(recipe: Path, stage: str) -> list[Path]:
    return [path for path in sorted(recipe.glob("*.yaml")) if stage_of(path) == stage]


def train_on(recipe: Path, files: Path, work: Path) -> dict[str, str]:
    """Name of a label set's file -> what is trained on by it, as CSV in the order of the keys."""
    for path in files_of(recipe, "curate"):
        cfg = load_config(path, CurateConfig)
        moved = [f"out={work / cfg.out}", "executor.workers=0", "quarantine_limit=1", "split.val_share=0"]
        curate(load_config(path, CurateConfig, [*moved, *at_posts(files, cfg)]))
    for path in files_of(recipe, "shard"):
        cfg = load_config(path, ShardConfig)
        shard(load_config(path, ShardConfig, [f"table={work / cfg.table}", f"out={work / str(cfg.out)}", *SMALL]))
    stages = [load_config(path, TrainConfig) for path in files_of(recipe, "train")]
    found = {}
    for path in files_of(recipe, "labels"):
        cfg = load_config(path, LabelsConfig)
        at = [f"table={work / cfg.table}", f"shards={work / str(cfg.shards)}", f"out={work / cfg.out}"]
        labels(load_config(path, LabelsConfig, [*at, "missing_limit=0"]))
        stage = next(stage for stage in stages if stage.data.labels == str(cfg.out))
        found[path.stem] = trained(stage, work)
    return found


def trained(stage: TrainConfig, work: Path) -> str:
    """Every sample of a stage: its size, its repeats, and its prompt in the first epoch."""
    root = open_root(work / stage.data.shards)
    made = open_labels(work / stage.data.labels, root)
    samples = pl.read_parquet(root.checked_file("samples.parquet")).with_row_index("place")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for sample in sorted(samples.iter_rows(named=True), key=lambda row: (*_natural(row["key"]), int(row["tier"]))):
        writer.writerow(_line(sample, made, stage))
    return text.getvalue()


def _line(sample: dict[str, Any], made: Any, stage: TrainConfig) -> dict[str, str]:
    label = made.label(sample["place"])
    prompt = compose(label, stage.prompts, rng_for(0, Purpose.CAPTION, *_natural(label.key)[1:]))
    repeats = float(made.repeats[sample["place"]])
    return {
        "key": label.key,
        "tier": sample["tier"],
        "size": f"{sample['width']}x{sample['height']}",
        "repeats": f"{repeats:.3f}",
        "prompt": prompt if repeats else "",
    }


def _natural(key: str) -> tuple[str, int]:
    source, _, number = key.partition("/")
    return source, int(number)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_makes_its_data(recipe: Path, tmp_path: Path) -> None:
    found = train_on(recipe, write_recipe_posts(tmp_path / "posts"), tmp_path)
    golden = {
        path.stem.removeprefix(f"{recipe.name}-"): path.read_text(encoding="utf-8")
        for path in GOLDEN.glob(f"{recipe.name}-*.csv")
    }
    assert found == golden


def write() -> None:
    """Write what every recipe trains on now."""
    GOLDEN.mkdir(exist_ok=True)
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            made = train_on(recipe, write_recipe_posts(Path(folder) / "posts"), Path(folder))
        for name, text in made.items():
            (GOLDEN / f"{recipe.name}-{name}.csv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
