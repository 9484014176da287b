"""The commands in README.md, docs/ and the comments of docker/, scripts/slurm/ and configs/, as readers type them.

`commands()` finds them; `RUN` says which of them tests/slow/test_docs_run.py runs, in which order and how small;
`ELSEWHERE` which test stands for one that needs what a test has not.
"""

from __future__ import annotations

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMENTED = [
    *sorted((ROOT / "configs").rglob("*.yaml")),
    *sorted((ROOT / "scripts" / "slurm").glob("*.sbatch")),
    *sorted((ROOT / "docker").rglob("*.yaml")),
    ROOT / "docker" / "Dockerfile",
]
SCRIPTS = {"train.sbatch": "train", "recipe.sbatch": "run", "curate-ray.sbatch": ""}
"""Batch script -> the command of animetune that it starts; of the last, its first argument says which."""

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SHELL = ("console", "bash", "sh", "")
_INDENTED = re.compile(r"(?<=\n\n)((?: {4}.*\n)+)")
_INLINE = re.compile(r"`([^`]+)`")
_START = re.compile(
    r"^(?:\$ )?(?P<by>(?:srun|torchrun|sbatch|docker (?:run|compose)) (?:.*? )?(?:-m )?)?"
    r"(?P<what>animetune|scripts/slurm/[\w.-]+)(?: |$)"
)


@dataclass(frozen=True)
class Command:
    """One command of animetune, as a page has it."""

    page: str
    """Path in the repository."""
    words: tuple[str, ...]
    """Without `animetune`, and without what starts it."""
    by: str
    """What starts it: nothing, `torchrun`, `sbatch`, `docker`, `srun`."""
    is_whole: bool
    """A line of its own, or with a file; else a mention, such as `animetune plan`."""

    @property
    def text(self) -> str:
        """As a shell reads it."""
        return " ".join(["animetune", *map(shlex.quote, self.words)])


@functools.cache
def commands() -> tuple[Command, ...]:
    """Every command on every page, each once a page."""
    found: dict[Command, None] = {}
    for page in PAGES:
        for line, is_line in _spans(page.read_text(encoding="utf-8")):
            _add(found, page, line, is_line=is_line)
    for file in COMMENTED:
        comments = re.findall(r"^\s*#(?!SBATCH)(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        text = re.sub(r"\\\n\s*", "", "\n".join(comments))
        for line in re.findall(r"^ {2,}(\S.*)$", text, re.MULTILINE):
            _add(found, file, line, is_line=True)
        for span in _INLINE.findall(re.sub(r"\n\s*", " ", text)):
            _add(found, file, span, is_line=False)
    return tuple(found)


def _spans(text: str) -> list[tuple[str, bool]]:
    """Lines of blocks, and what stands in backticks within sentences."""
    blocks = [block for language, block in _FENCED.findall(text) if language in _SHELL]
    rest = _FENCED.sub("", text)
    indented = _INDENTED.findall(rest)
    prose = re.sub(r"\n\s*", " ", _INDENTED.sub("", rest))
    lines = [line.strip() for block in [*blocks, *indented] for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [*((line, True) for line in lines), *((span, False) for span in _INLINE.findall(prose))]


def _add(found: dict[Command, None], page: Path, line: str, *, is_line: bool) -> None:
    start = _START.match(line)
    if start is None:
        return
    rest = re.sub(r"\[(--[^\]]*?)[ .]*\]$", r"\1", line[start.end() :])  # `CONFIG [--set a=1 ...]`
    words = shlex.split(rest, comments=True)
    by = (start["by"] or "").split(" ")[0]
    if start["what"] != "animetune":
        name = Path(start["what"]).name
        words = [*filter(None, [SCRIPTS[name]]), *words]
    if words:
        whole = is_line or any(word.endswith(".yaml") for word in words)
        found[Command(page.relative_to(ROOT).as_posix(), tuple(words), by, whole)] = None


class Run(NamedTuple):
    """A command as a page has it, and how a test runs it."""

    text: str
    small: tuple[str, ...] = ()
    """Words put before its own, which win: `--set` overrides that make it tiny."""
    leaves: str = ""
    """A file that it writes, or a word that it prints."""


def _set(*settings: str, by: str = "") -> tuple[str, ...]:
    """`--set` for each setting, of all steps of the stage `by` of a recipe."""
    return tuple(word for setting in settings for word in ("--set", f"{by}:{setting}" if by else setting))


_CURATE = ("captions=null", "executor.workers=0", "quarantine_limit=1")
_SHARD = (
    "store.vae=builtin:tiny",
    "sizes={area: 4096, step: 32, min_side: 32, max_side: 128}",
    "executor.workers=0",
    "quarantine_limit=1",
)
_TRAIN = (
    "model.dtype=float32",
    "model.activation_checkpointing=none",
    "data.global_batch=2",
    "data.micro_batch=1",
    "data.workers=0",
    "loop.epochs=null",
    "loop.steps=2",
    "loop.accelerator=cpu",
    "loop.devices=1",
    "loop.log_every=1",
    "preview.every=null",
    "watch.tensorboard=false",
)
_TINY = "model.base=builtin:tiny"
_SAMPLE = (
    "model.dtype=float32",
    "prompts=[a tree, a wall]",
    "seeds=[0]",
    "width=64",
    "height=64",
    "sampler.steps=2",
    "device=cpu",
    "executor.workers=0",
)
_EVALUATE = (
    "models.base={base: builtin:tiny}",
    "models.tuned.dtype=float32",
    "seeds=[0]",
    "sizes=[64x64]",
    "sampler.steps=1",
    "probes=[{name: leak, limit: 1}, {name: black_white, limit: 1}]",
    "device=cpu",
)
_RECIPE = (
    *_set(*_CURATE, by="curate"),
    *_set(*_SHARD, by="shard"),
    *_set(*_TRAIN, by="train"),
    *_set(*_SAMPLE, by="sample"),
    *_set(*_EVALUATE, by="evaluate"),
    *_set("stage1.model.base=builtin:tiny"),
)
_PLAN = _set(*_TRAIN, _TINY, by="train")

RUN = (
    # The recipe
    Run("animetune recipes", leaves="dashanime: DashAnime XL 1.0"),
    Run("animetune init dashanime --out my", leaves="my/recipe.yaml"),
    Run("animetune config check my/recipe.yaml", leaves="no mistakes"),
    Run("animetune doctor", leaves="ok"),
    Run("animetune doctor my/recipe.yaml", _RECIPE, leaves="ok"),
    Run("animetune doctor configs/recipes/dashanime/recipe.yaml --set train:loop.devices=4", _RECIPE, leaves="ok"),
    Run("animetune run my/recipe.yaml --dry-run", _RECIPE, leaves="11 steps, 11 to run"),
    Run("animetune run configs/recipes/dashanime/recipe.yaml --dry-run", _RECIPE, leaves="11 steps, 11 to run"),
    Run("animetune plan my/recipe.yaml --price 2", _PLAN, leaves="stage2"),
    Run("animetune plan configs/recipes/animagine-3.1/recipe.yaml --price 2", _PLAN, leaves="finetuning-2"),
    Run(
        "animetune plan configs/recipes/dashanime/recipe.yaml --assume-images 500000 --gpu h100",
        _set(_TINY, by="train"),
        leaves="500,000",
    ),
    Run("animetune run my/recipe.yaml --until labels", _RECIPE, leaves="runs/dashanime/labels/manifest.json"),
    Run("animetune run my/recipe.yaml", _RECIPE, leaves="runs/dashanime/card/README.md"),
    Run("animetune run configs/recipes/dashanime/recipe.yaml --from stage1", _RECIPE, leaves="unchanged"),
    Run(
        "animetune run my/recipe.yaml --set stage1.loop.epochs=5",
        (*_RECIPE, *_set("stage1.loop.steps=null"), "--dry-run"),
        leaves="changed: ",
    ),
    Run("animetune run my/recipe.yaml --set train:data.workers=8", (*_RECIPE, "--dry-run"), leaves="11 done"),
    Run("animetune run my/recipe.yaml --set launch=null", (*_RECIPE, "--dry-run"), leaves="11 done"),
    Run(
        "animetune shard my/shard.yaml",
        _set(*_SHARD),
        leaves="runs/dashanime/shards/manifest.json",
    ),
    # Stage by stage
    Run("animetune curate configs/curate.yaml", _set(*_CURATE), leaves="runs/table/manifest.json"),
    Run("animetune report configs/curate.yaml", _set(*_CURATE), leaves="runs/table/report.html"),
    Run("animetune report runs/table --prompts configs/stage1.yaml", leaves="runs/table/report.html"),
    Run("animetune preview configs/stage1.yaml --table runs/table", leaves="danbooru/"),
    Run("animetune plan configs/shard.yaml", _set(*_SHARD), leaves="64x64"),
    Run("animetune shard configs/shard.yaml", _set(*_SHARD), leaves="runs/shards/manifest.json"),
    Run(
        "animetune report configs/shard.yaml --prompts configs/stage1.yaml --out report.html --no-thumbnails",
        _set(*_SHARD),
        leaves="report.html",
    ),
    Run("animetune labels configs/labels.yaml", leaves="runs/labels/manifest.json"),
    Run("animetune tagsheet runs/table --out words.html", leaves="words.html"),
    Run("animetune tagsheet runs/labels --at-least 50", leaves="runs/labels/tagsheet.html"),
    Run("animetune doctor configs/stage1.yaml", _set(*_TRAIN, _TINY), leaves="ok"),
    Run("animetune plan configs/stage1.yaml", _set(*_TRAIN, _TINY), leaves="64x64"),
    Run("animetune preview configs/stage1.yaml", leaves="danbooru/"),
    Run("animetune preview configs/stage1.yaml -n 20 --draws 5", leaves="danbooru/"),
    Run("animetune exposure configs/stage1.yaml", _set(*_TRAIN, _TINY), leaves="content"),
    Run("animetune exposure configs/stage1.yaml --epochs 2", _set(*_TRAIN, _TINY), leaves="content"),
    Run("animetune train configs/stage1.yaml", _set(*_TRAIN, _TINY), leaves="runs/stage1/metrics.jsonl"),
    Run("animetune curate configs/curate-stage2.yaml", _set(*_CURATE), leaves="runs/table-stage2/manifest.json"),
    Run("animetune labels configs/labels-stage2.yaml", leaves="runs/labels-stage2/manifest.json"),
    Run("animetune train configs/stage2.yaml", _set(*_TRAIN), leaves="runs/stage2/metrics.jsonl"),
    Run("animetune tagsheet runs/stage2", leaves="runs/stage2/tagsheet.html"),
    Run("animetune sample configs/sample.yaml", _set(*_SAMPLE), leaves="runs/stage2-samples/grid.png"),
    Run(
        "animetune sample configs/sample.yaml --set prompts_file=prompts.txt --set out=runs/more",
        _set(*_SAMPLE),
        leaves="runs/more/index.html",
    ),
    Run("animetune evaluate configs/evaluate.yaml", _set(*_EVALUATE), leaves="runs/stage2-evaluation/report.html"),
    Run("animetune export configs/export.yaml", leaves="runs/stage2-export/my-anime-xl.safetensors"),
    Run("animetune export configs/export.yaml --set base=runs/stage2 --set out=runs/stage2-export", leaves="done"),
    Run("animetune lora configs/lora.yaml", _set("base=builtin:tiny"), leaves="runs/stage2-lora/manifest.json"),
    Run(
        "animetune merge configs/merge.yaml",
        _set("models.high-lr.base=runs/stage1", "models.low-lr.base=runs/stage2"),
        leaves="runs/merged/my-anime-xl-merged.safetensors",
    ),
    Run("animetune card configs/card.yaml", leaves="runs/stage2-card/README.md"),
)
"""Every command of the pages that can be run here, in the order in which they follow one another."""

ELSEWHERE = {
    "animetune train configs/stage1.yaml --set loop.strategy=fsdp": (  # several GPUs, under Slurm
        "tests/dist/test_train_strategies.py::test_many_ranks_are_one_run"
    ),
    "animetune curate configs/curate.yaml --set executor.workers=64": (  # Ray under Slurm
        "tests/unit/test_slurm_curate_script.py::test_rays_are_started_the_stage_runs_and_they_end"
    ),
    "animetune curate configs/curate.yaml --set executor.kind=ray --set executor.address=10.0.0.1:6379": (  # a cluster
        "tests/slow/test_ray.py::test_a_cluster_is_joined_and_left"
    ),
    "animetune shard configs/shard.yaml --set out=s3://animetune/shards --set work=/cache/work": (  # a store
        "tests/unit/shards/test_upload.py::test_a_root_on_s3"
    ),
    "animetune train configs/stage1.yaml --set data.shards=s3://animetune/shards --set data.cache=/cache/shards": (
        "tests/unit/data/test_loader.py::test_shards_and_labels_on_s3"
    ),
    "animetune evaluate configs/demo/evaluate.yaml": (  # after the whole demo
        "tests/slow/test_demo_learns.py::test_its_checkpoints_follow_prompts_better_and_better"
    ),
    "animetune arena configs/demo/arena.yaml": "tests/slow/test_demo_learns.py::test_voters_prefer_later_checkpoints",
    "animetune arena configs/arena.yaml": (  # people who vote
        "tests/unit/arena/test_arena_cli.py::test_it_serves_until_it_is_stopped_and_keeps_every_vote"
    ),
    "animetune arena configs/arena.yaml --rank": "tests/unit/arena/test_arena_cli.py::test_the_ratings_and_their_page",
    "animetune arena configs/arena.yaml --export runs/arena-votes": (
        "tests/unit/arena/test_arena_cli.py::test_the_export"
    ),
}
"""A command that wants other machines, or people -> the test that stands for it."""
