"""`animetune report PLACE`: which table a folder or a configuration means, and what its report is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animetune import config
from animetune.curate.config import CurateConfig
from animetune.errors import ConfigError
from animetune.progress import track
from animetune.report.table_facts import Training
from animetune.report.table_page import write
from animetune.report.table_reading import Asked, read_table
from animetune.shards.config import ShardConfig
from animetune.train.config import TrainConfig

PAGE = "report.html"
"""Name of the page in the folder of its table."""


@dataclass(frozen=True)
class Request:
    """What the command line says."""

    place: Path
    """Folder of a table, or a configuration of `curate` or `shard`."""
    overrides: Sequence[str] = ()
    """Settings of that configuration, as `key=value`."""
    prompts: Path | None = None
    """A training configuration, for its prompts; None for the default rules."""
    out: Path | None = None
    """File to write; None for `report.html` beside the table."""
    thumbnails: bool = True


def make_report(request: Request) -> Path:
    """Write the page and return its path.

    Raises ConfigError for a configuration of another stage, DataError when there is no finished table.
    """
    folder, asked = understand(request)
    with track("report") as progress:
        facts = read_table(folder, asked, progress=progress.reach)
    return write(facts, request.out or folder / PAGE)


def understand(request: Request) -> tuple[Path, Asked]:
    """The folder of the table, and what its report is asked for. Raises ConfigError."""
    folder, asked = _place(request)
    commands = [("Make this page again", _command(request))]
    if request.prompts is not None:
        line = shlex.join(["animetune", "preview", str(request.prompts), "-n", "20", "--table", str(folder)])
        commands.append(("See more prompts", line))
    if not request.place.is_dir():
        stage = config.stage_of(request.place)
        what = "Make the table again" if stage == "curate" else "Cut the pictures to their sizes"
        commands.insert(0, (what, shlex.join(["animetune", stage, str(request.place), *_settings(request)])))
    return folder, Asked(
        training=_training(request.prompts),
        sizes=asked.sizes,
        max_upscale=asked.max_upscale,
        thumbnails=request.thumbnails,
        commands=commands,
    )


def _place(request: Request) -> tuple[Path, Asked]:
    """The folder of the table, and the sizes if the configuration has some."""
    if request.place.is_dir():
        if request.overrides:
            raise ConfigError(f"{request.place}: is a folder, so --set has nothing to change; name a configuration")
        return request.place, Asked()
    stage = config.stage_of(request.place)
    if stage == "curate":
        return config.load_config(request.place, CurateConfig, list(request.overrides)).out, Asked()
    if stage == "shard":
        shards = config.load_config(request.place, ShardConfig, list(request.overrides))
        return shards.table, Asked(sizes=shards.sizes, max_upscale=shards.max_upscale)
    raise ConfigError(
        f"{request.place}: stage: report takes the folder of a curated table, or a configuration of curate or shard, "
        f"not of {stage}"
    )


def _training(file: Path | None) -> Training:
    if file is None:
        return Training()
    cfg = config.load_config(file, TrainConfig)
    data = cfg.data
    return Training(cfg.prompts, cfg.seed, data.chunks, data.split, data.global_batch, file)


def _settings(request: Request) -> list[str]:
    return [word for setting in request.overrides for word in ("--set", setting)]


def _command(request: Request) -> str:
    words = ["animetune", "report", str(request.place), *_settings(request)]
    if request.prompts is not None:
        words += ["--prompts", str(request.prompts)]
    if request.out is not None:
        words += ["--out", str(request.out)]
    return shlex.join([*words, *([] if request.thumbnails else ["--no-thumbnails"])])
