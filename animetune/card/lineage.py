"""The way back from a training run: the runs before it, what each was trained on, and the weights it all began with.

    run/config.yaml --model.base--> the run before ... --> base
                                --> export or merge --settings' digest--> the runs that it was made of ... --> base
                    --data--> shards, labels --digest--> table, table/config.yaml

What a folder does not say, or what is no longer there, is noted as missing. Nothing is guessed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animetune import fsio, shardset
from animetune.card.published import Published, find_published, runs_of, settings_digest
from animetune.config import RESOLVED_NAME, digest, load_config
from animetune.curate.config import CurateConfig
from animetune.data.config import SourceConfig
from animetune.errors import AnimetuneError, DataError
from animetune.manifest import Manifest, has_manifest, read_manifest
from animetune.shardset import LabelSet, ShardRoot, copies_in
from animetune.tables import TABLE_KIND
from animetune.train.config import TrainConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Curated:
    """The table that labels were made from."""

    manifest: Manifest
    cfg: CurateConfig | None
    """How it was made; None where the table does not say it."""


@dataclass(frozen=True)
class Data:
    """One pair of shards and labels that a run was trained on."""

    source: SourceConfig
    root: ShardRoot | None
    labels: LabelSet | None
    table: Curated | None
    missing: tuple[str, ...] = ()
    """What could not be found, a sentence each."""


@dataclass(frozen=True)
class Done:
    """What a run has done, by its own journal."""

    steps: int = 0
    images: int = 0
    epochs: float | None = None
    hours: float | None = None
    """Hours of training, without checkpoints, previews and validation; None where no line says how fast it was."""
    ranks: int = 1
    """Processes that computed at once."""
    devices: tuple[str, ...] = ()
    """Names of the first machine's GPUs; none for a CPU."""
    is_finished: bool = False


@dataclass(frozen=True)
class Run:
    """One stage of training."""

    folder: Path
    cfg: TrainConfig
    done: Done
    data: tuple[Data, ...]
    base_run: Path | None
    """The run that it started from; None for other weights."""
    origin: Published | None = None
    """The export or merge that it started from; None for other weights."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @property
    def digest(self) -> str:
        """Of its resolved configuration."""
        return digest(self.cfg)

    @property
    def settings(self) -> str:
        """Digest by which checkpoints, exports and merges name the run."""
        return settings_digest(self.cfg)


def read_runs(last: Sequence[Path], tables: Sequence[Path] = ()) -> list[Run]:
    """The runs `last` and all that they started from, each once, the ones before first.

    The table of a label set is the one of its digest among `tables` and the folders beside labels, shards and run.

    Raises DataError for a folder that is no run, or when runs start from each other in a circle.
    """
    found: dict[Path, Run] = {}
    for folder in last:
        _follow(folder, found, (), tables)
    return list(found.values())


def bases(runs: Sequence[Run]) -> list[str]:
    """The weights that no run of ours made and that the runs began with, as they name them; of an export or a merge
    what no run among these made."""
    settings = [run.settings for run in runs]
    found: list[str] = []
    for run in runs:
        if run.origin is not None:
            found += [model.name for model in run.origin.foreign(settings)]
        elif run.base_run is None:
            found.append(run.cfg.model.base)
    return list(dict.fromkeys(found))


def place_name(place: str) -> str:
    """A base, shards, labels as a card calls them: hub ids, URLs and the relative paths of a recipe in full, of what is
    named by its place on this machine the last part."""
    path = Path(place)
    is_of_machine = path.is_absolute() or place.startswith(("..", "~"))
    return path.name if is_of_machine and path.name else place


def run_folder(base: str) -> Path | None:
    """The run directory that `model.base` names, or whose checkpoint it names; None for anything else."""
    path = Path(base)
    if path.name.startswith("step-") and path.parent.name == "checkpoints":
        path = path.parent.parent
    return path if (path / RESOLVED_NAME).is_file() else None


def _follow(folder: Path, found: dict[Path, Run], above: tuple[Path, ...], given: Sequence[Path]) -> None:
    place = folder.resolve()
    if place in above:
        raise DataError(f"{folder}: starts from itself, by way of {', '.join(path.name for path in above)}")
    if place in found:
        return
    if not (folder / RESOLVED_NAME).is_file():
        raise DataError(
            f"{folder}: is no training run: there is no {RESOLVED_NAME}; name the folder that `run:` of its "
            "configuration names, and train first"
        )
    cfg = load_config(folder / RESOLVED_NAME, TrainConfig)
    before = run_folder(cfg.model.base)
    origin = find_published(cfg.model.base) if before is None else None
    for each in [before] if before is not None else _made_of(origin, folder):
        _follow(each, found, (*above, place), given)
    data = tuple(_read_data(source, cfg, given) for source in cfg.data.all_sources)
    found[place] = Run(folder, cfg, read_done(folder), data, before, origin)


def _made_of(origin: Published | None, run: Path) -> list[Path]:
    return runs_of(origin, _beside(origin.folder, run)) if origin is not None else []


def read_done(folder: Path) -> Done:
    """What a run's manifest, journal and checkpoints say of its course."""
    lines = {line["step"]: line for line in fsio.read_lines(folder / "metrics.jsonl") if "step" in line}
    ordered = [lines[step] for step in sorted(lines)]
    finished = has_manifest(folder)
    facts: Mapping[str, Any] = read_manifest(folder, kind="run").facts if finished else _newest_checkpoint(folder)
    last = ordered[-1] if ordered else {}
    return Done(
        steps=int(facts.get("step", last.get("step", 0))),
        images=int(facts.get("images", last.get("images", 0))),
        epochs=last.get("epoch"),
        hours=_hours(ordered),
        ranks=max((len(line.get("rank_seconds", ())) for line in ordered), default=1) or 1,
        devices=_devices(folder),
        is_finished=finished,
    )


def _newest_checkpoint(folder: Path) -> Mapping[str, Any]:
    found = sorted(path for path in (folder / "checkpoints").glob("step-*") if has_manifest(path))
    return read_manifest(found[-1]).facts if found else {}


def _hours(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Images over images per second, line by line."""
    seconds, before = 0.0, 0
    for line in lines:
        speed, images = line.get("images_per_second"), line.get("images", before)
        if speed:
            seconds += max(0, images - before) / speed
        before = images
    return seconds / 3600 if seconds else None


def _devices(folder: Path) -> tuple[str, ...]:
    path = folder / "env.json"
    if not path.is_file():
        return ()
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return tuple(str(name) for name in said.get("gpus", ()))
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: is not what training writes ({error}); restore it, or remove it") from error


def _read_data(source: SourceConfig, cfg: TrainConfig, given: Sequence[Path]) -> Data:
    missing: list[str] = []

    def cached(kind: str, location: str) -> Path | None:
        return None if cfg.data.cache is None else copies_in(cfg.data.cache, kind, location)

    root = labels = None
    try:
        root = shardset.open_root(source.shards, cache=cached("shards", source.shards))
        labels = shardset.open_labels(source.labels, root, cache=cached("labels", source.labels))
    except AnimetuneError as error:
        _log.warning("%s", error)
        missing.append(f"shards {place_name(source.shards)} or labels {place_name(source.labels)} could not be read")
    table = None
    if root is not None and labels is not None:
        table = _table_of(source, labels, missing, [*given, *_beside(labels.folder, root.folder, Path(cfg.run))])
    return Data(source, root, labels, table, tuple(missing))


def _beside(*folders: Path) -> Iterator[Path]:
    """What lies beside some folders: there a recipe has its tables."""
    for parent in dict.fromkeys(folder.resolve().parent for folder in folders):
        if parent.is_dir():
            yield from sorted(path for path in parent.iterdir() if path.is_dir())


def _table_of(source: SourceConfig, labels: LabelSet, missing: list[str], candidates: Iterable[Path]) -> Curated | None:
    """The table of a label set, if it is there; else what is wrong is added to `missing`."""
    wanted = labels.manifest.inputs.get("table")
    for folder in candidates:
        manifest = _table_manifest(folder)
        if manifest is None or manifest.digest != wanted:
            continue
        resolved = folder / RESOLVED_NAME
        if resolved.is_file():
            return Curated(manifest, load_config(resolved, CurateConfig))
        missing.append(f"the table of the labels {labels.folder.name!r} does not say how it was curated")
        return Curated(manifest, None)
    missing.append(
        f"the table that the labels {place_name(source.labels)} were made from is not beside them: it is elsewhere "
        "(name it in tables), was removed, or has been made again since"
    )
    return None


def _table_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder that holds a table; None for any other."""
    try:
        return read_manifest(folder, kind=TABLE_KIND)
    except AnimetuneError:
        return None
