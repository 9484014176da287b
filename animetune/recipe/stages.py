"""What the configuration of each stage reads and writes: the one table that the chain of a recipe is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from animetune import stages
from animetune.config import StrictModel
from animetune.stages import load_target

Kind = Literal["table", "shards", "labels", "run", "export", "weights", "output", "pictures", "file", "source"]
"""What a setting names: what one stage publishes, an `output` of any, `weights` (also a hub id, or what comes with
animetune), a folder of `pictures`, whoever drew them, a `file` (or a folder of files), or a `source` of posts or
captions, where `*` is allowed."""

MAKERS: dict[Kind, tuple[str, ...]] = {
    "table": ("curate",),
    "shards": ("shard",),
    "labels": ("labels",),
    "run": ("train",),
    "export": ("export", "merge"),
    "weights": ("train", "export", "merge"),
    "pictures": ("sample",),
}
"""Which stages make what is read; anything else may be made by all."""


@dataclass(frozen=True, slots=True)
class StageKind:
    """Places in the configuration of a stage. Settings are dotted; `*` stands for each item of a list or map."""

    writes: str
    """The setting that names what it publishes."""
    reads: Mapping[str, Kind]
    """Settings that name what it reads. One that a configuration does not have, since it is of another member of a
    union, reads nothing."""
    apart: tuple[str, ...] = ()
    """Further settings of paths, which name neither what is read nor what is published: caches, scratch, answers.
    All other settings that are paths name a `file`."""
    handling: tuple[str, ...] = ()
    """Settings that change nothing in the output, so that another value runs nothing again."""


STAGES: dict[str, StageKind] = {
    "curate": StageKind(
        writes="out",
        reads={"sources.*.posts.*": "source", "sources.*.captions.*": "source"},
        apart=("answers", "captions.long.folder", "captions.compress.folder"),
        handling=("answers", "executor", "prune", "captions.client", "captions.max_requests"),
    ),
    "shard": StageKind(
        writes="out",
        reads={"table": "table", "store.vae": "weights"},
        apart=("work",),
        handling=("work", "executor", "store.batch", "store.device"),
    ),
    "labels": StageKind(
        writes="out",
        reads={"table": "table", "shards": "shards"},
        apart=("cache",),
        handling=("cache",),
    ),
    "train": StageKind(
        writes="run",
        reads={
            "model.base": "weights",
            "model.vae": "weights",
            "data.shards": "shards",
            "data.labels": "labels",
            "data.sources.*.shards": "shards",
            "data.sources.*.labels": "labels",
        },
        handling=("data.workers", "data.prefetch", "data.cache", "data.cache_bytes", "watch"),
    ),
    "sample": StageKind(
        writes="out",
        reads={"model.base": "weights", "model.vae": "weights", "prompts_file": "file"},
        handling=("batch", "device", "executor"),
    ),
    "export": StageKind(
        writes="out",
        reads={"base": "weights", "vae": "weights"},
    ),
    "merge": StageKind(
        writes="out",
        reads={"models.*.base": "weights", "models.*.vae": "weights", "loras.*.file": "file"},
    ),
    "lora": StageKind(
        writes="out",
        reads={"tuned": "weights", "base": "weights"},
        handling=("device",),
    ),
    "evaluate": StageKind(
        writes="out",
        reads={
            "models.*.base": "weights",
            "models.*.vae": "weights",
            "models.*.pictures": "pictures",
            "checkpoints.run": "run",
            "checkpoints.vae": "weights",
        },
        apart=("answers",),
        handling=(
            "answers",
            "batch",
            "device",
            "executor",
            "vision.base_url",
            "vision.api_key_env",
            "vision.device",
            "vision.batch",
            "vision.client",
            "vision.max_requests",
        ),
    ),
    "card": StageKind(
        writes="out",
        reads={"export": "export", "runs.*": "run", "samples": "output", "evaluation": "output"},
    ),
}
"""Stage -> what it is."""


@dataclass(frozen=True, slots=True)
class Read:
    """Something that a step reads."""

    keys: tuple[str, ...]
    """The setting that names it: its keys from the outermost on."""
    place: str
    """A path, pattern, URL or hub id, as the configuration has it."""
    kind: Kind

    @property
    def key(self) -> str:
        """The setting, dotted."""
        return ".".join(self.keys)


def model_of(stage: str) -> type[StrictModel]:
    """The model of a stage's configuration."""
    model: type[StrictModel] = load_target(stages.STAGES[stage].config)
    return model


def run_stage(stage: str, cfg: StrictModel) -> Any:
    """Run a stage in this process; returns its manifest."""
    return load_target(stages.STAGES[stage].function)(cfg)


def read_by(cfg: StrictModel, stage: str) -> tuple[Read, ...]:
    """What a configuration of a stage reads, in the order of its settings."""
    kind = STAGES[stage]
    found = []
    for key, value in settings_of(cfg):
        listed = next((what for pattern, what in kind.reads.items() if _fits(pattern, key)), None)
        is_file = isinstance(value, Path) and not any(_fits(pattern, key) for pattern in (kind.writes, *kind.apart))
        what = listed or ("file" if is_file else None)
        if what is not None and isinstance(value, str | Path) and str(value):
            found.append(Read(key, str(value), what))
    return tuple(found)


def written_by(cfg: StrictModel, stage: str) -> str:
    """What a configuration of a stage publishes: a folder, or a URL."""
    return str(getattr(cfg, STAGES[stage].writes))


def folder_of(cfg: StrictModel, stage: str) -> Path:
    """Where the manifest of what it publishes is on this machine."""
    work = getattr(cfg, "work", None) if stage == "shard" else None
    return Path(work or written_by(cfg, stage).removeprefix("file://"))


def settings_of(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting that is no group, list or map: its keys from the outermost on, and its value."""
    if isinstance(value, pydantic.BaseModel):
        items: Any = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield above, value
        return
    for name, item in items:
        yield from settings_of(item, (*above, str(name)))


def is_handling(stage: str, key: Sequence[str]) -> bool:
    """Whether a setting changes nothing in what the stage publishes."""
    return any(_fits(pattern, key[: pattern.count(".") + 1]) for pattern in STAGES[stage].handling)


def _fits(pattern: str, key: Sequence[str]) -> bool:
    wanted = pattern.split(".")
    return len(wanted) == len(key) and all(each in ("*", part) for each, part in zip(wanted, key, strict=True))
