"""The command line: parse, load the config, call the stage. Nothing else happens here.

Heavy libraries are imported inside the commands, so that `animetune --help` takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from animetune import __version__
from animetune.errors import AnimetuneError, ConfigError, SetupError
from animetune.stages import CONFIGS, STAGES, load_target

PLANS = {
    "shard": "animetune.plan.shards:describe",
    "train": "animetune.plan.run:describe",
    "recipe": "animetune.recipe.plan:describe",
}
"""Stage -> what describes a configuration of it."""

INTERRUPTED = 130

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of this stage.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: --set optimizer.unet_lr=1e-5")
]

app = typer.Typer(
    help="Fine-tune SDXL on anime pictures: posts in, an evaluated checkpoint that ComfyUI loads out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at configurations without running them.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"animetune {__version__}")
        raise typer.Exit


@app.command()
def curate(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    max_requests: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Ask caption models N times at most; run again to go on.")
    ] = None,
) -> None:
    """Posts and pictures -> a curated table: filters, tags, quality classes, content buckets, balance, captions."""
    if max_requests is not None and _load("curate", config, overrides).captions is None:
        raise ConfigError(f"--max-requests: {config} asks no model for captions; leave it out, or add `captions:`")
    limit = [] if max_requests is None else [f"captions.max_requests={max_requests}"]
    _run_stage("curate", config, [*overrides, *limit])


@app.command()
def shard(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """A curated table -> MDS shards of pixels or latents, by size."""
    latents = _run_stage("shard", config, overrides).facts.get("latents")
    if latents is not None:
        from animetune.shards.statistics import statistics_lines

        typer.echo("\n".join(statistics_lines(latents)))


@app.command()
def labels(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """A curated table -> the label set of a shard root: captions, tags, classes, repeats."""
    _run_stage("labels", config, overrides)


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    resume: Annotated[str, typer.Option(metavar="auto|never|PATH", help="What to continue from.")] = "auto",
) -> None:
    """Shards and labels -> a trained checkpoint; run again, it resumes where it stopped."""
    _run_stage("train", config, overrides, resume=resume)


@app.command()
def sample(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """Prompts and a model -> a folder of pictures."""
    _run_stage("sample", config, overrides)


@app.command()
def export(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """A run -> a diffusers folder and one safetensors file that ComfyUI, A1111 and Forge load."""
    _run_stage("export", config, overrides)


@app.command()
def merge(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """Several models (and LoRAs) -> one: weighted sums, differences, slerp, by part and block."""
    _run_stage("merge", config, overrides)


@app.command()
def lora(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """A tuned model and its base -> the difference as a LoRA that ComfyUI, A1111 and diffusers load."""
    facts = _run_stage("lora", config, overrides).facts
    from animetune.lora.table import table_lines

    typer.echo("\n".join(table_lines(facts)))


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    compat: Annotated[
        bool, typer.Option("--compat", help="Also DPG-Bench's totals by its own rules, of the probe `adherence`.")
    ] = False,
) -> None:
    """Models -> what they do with the probes' prompts: pictures, scores and a report."""
    if compat:
        names = [probe.name for probe in _load("evaluate", config, overrides).probes]
        if "adherence" not in names:
            raise ConfigError(f"--compat: {config} does not ask the probe adherence; leave it out, or add the probe")
        overrides = [*overrides, f"probes.{names.index('adherence')}.compat=true"]
    _run_stage("evaluate", config, overrides)


@app.command()
def arena(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    rank: Annotated[bool, typer.Option("--rank", help="Serve nothing: say the ratings and write their page.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Serve nothing: write votes, preferences and ratings there.")
    ] = None,
) -> None:
    """People vote between pictures of models, blindly, in their browsers; the votes become ratings."""
    with _interruptible():
        cfg = _load("arena", config, overrides)
        from animetune.arena import run as arena_run

        if rank:
            arena_run.rank(cfg, typer.echo)
        if export is not None:
            arena_run.export(cfg, export, typer.echo)
        if not rank and export is None:
            _end_by(arena_run.serve(cfg, typer.echo))


@app.command()
def card(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """An export and the manifests behind it -> a model card for the hub."""
    _run_stage("card", config, overrides)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A whole recipe.")],
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="STEP.KEY=VALUE",
            help="Override a setting of a step, or of all of a stage: train:KEY=VALUE",
        ),
    ] = [],  # noqa: B006
    first: Annotated[str | None, typer.Option("--from", metavar="STEP", help="Begin at this step.")] = None,
    last: Annotated[str | None, typer.Option("--until", metavar="STEP", help="End after this step.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; check all of it.")] = False,
) -> None:
    """A whole recipe, from posts to a card; run again, it goes on where it stopped and skips what is unchanged."""
    with _interruptible():
        from animetune.recipe.run import Chosen, run_recipe

        run_recipe(recipe, Chosen(tuple(overrides), first=first, last=last, dry_run=dry_run), say=typer.echo)


@app.command()
def init(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe; `animetune recipes` lists them.")],
    out: Annotated[Path, typer.Option(help="Folder for its files; must not exist, or be empty.")] = Path("configs"),
) -> None:
    """Copy a recipe's files, to be edited."""
    from animetune.recipe.shipped import copy_recipe

    for path in copy_recipe(recipe, out):
        typer.echo(str(path))


@app.command()
def recipes() -> None:
    """The recipes that come with animetune: what each is, from whom, on what hardware."""
    from animetune.recipe.shipped import list_recipes

    typer.echo(list_recipes())


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A stage or a recipe that is to run here.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """What this machine has and lacks, each finding with its remedy; with CONFIG, for what that needs."""
    from animetune.doctor.run import examine

    lines, is_well = examine(config, overrides)
    typer.echo("\n".join(lines))
    if not is_well:
        raise typer.Exit(SetupError.exit_code)


@app.command()
def tagsheet(
    place: Annotated[
        Path, typer.Argument(metavar="LABELS", help="A label set, a curated table, or a run that trained on one.")
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; tagsheet.html beside it by default.")] = None,
    at_least: Annotated[int, typer.Option(min=1, help="Leave out tags of fewer pictures.")] = 10,
) -> None:
    """The words that a model knows, with how often it saw them, as one page: triggers to copy, brackets escaped."""
    with _interruptible():
        from animetune.report.tagsheet import make_tagsheet

        typer.echo(f"see {make_tagsheet(place, out, at_least=at_least)}")


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    assume_images: Annotated[
        int | None, typer.Option(min=1, help="Pictures in the data, where the shards cannot be read from here.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of a GPU hour, in any currency; of a recipe.")] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="KIND", help="GPU whose hours to count, as a100-80 or h100; of a recipe.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Part of the GPU's peak that training gets, as 0.3; of a recipe.")
    ] = None,
) -> None:
    """What a config will do: steps, sizes, parameters, memory; of a recipe also disk, GPU hours and cost."""
    from animetune.config import stage_of

    stage = stage_of(config)
    if stage not in PLANS:
        raise ConfigError(f"{config}: stage: plan takes a configuration of {' or '.join(PLANS)}, not of {stage}")
    if assume_images is not None and stage == "shard":
        raise ConfigError(f"{config}: --assume-images is for training configurations, this one is of {stage}")
    if stage == "recipe":
        typer.echo(
            load_target(PLANS[stage])(config, overrides, assume_images=assume_images, price=price, gpu=gpu, share=share)
        )
        return
    for option, value in {"--price": price, "--gpu": gpu, "--share": share}.items():
        if value is not None:
            raise ConfigError(f"{config}: {option} is for a recipe, this one is of {stage}")
    options = {} if assume_images is None else {"assume_images": assume_images}
    typer.echo(load_target(PLANS[stage])(_load(stage, config, overrides), **options))


@app.command()
def exposure(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    epochs: Annotated[
        float | None, typer.Option(min=0, help="Count so many epochs, instead of the config's length.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Count so many optimizer steps.")] = None,
    so_far: Annotated[bool, typer.Option("--so-far", help="Count up to the run's newest checkpoint.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the counts of every picture, class and tag.")] = None,
) -> None:
    """How often a training config shows each picture, tag and content bucket; counted from the plan, no logs needed."""
    from animetune.report.exposure import describe, read_exposure, write

    found = read_exposure(_load("train", config, overrides), epochs=epochs, steps=steps, so_far=so_far)
    typer.echo(describe(found), nl=False)
    if out is not None:
        write(found, out)


@app.command()
def preview(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Samples shown.")] = 10,
    draws: Annotated[int, typer.Option(min=1, help="Prompts drawn per sample, as in as many epochs.")] = 2,
    table: Annotated[
        Path | None, typer.Option(help="Curated table to take samples from, before there are shards and labels.")
    ] = None,
) -> None:
    """Prompts exactly as a training config will train them."""
    from animetune.data.preview import Labelled, TrainedSamples, preview_lines, preview_prompts

    cfg = _load("train", config, overrides)
    samples: Labelled
    if table is None:
        samples = TrainedSamples(cfg.data)
    else:
        from animetune.report.table_labels import TableLabels

        samples = TableLabels(table)
    for label, prompts in preview_prompts(samples, cfg.prompts, seed=cfg.seed, count=count, draws=draws):
        typer.echo("\n".join(preview_lines(label, prompts, chunks=cfg.data.chunks, split=cfg.data.split)))


@app.command()
def report(
    place: Annotated[
        Path, typer.Argument(metavar="CONFIG_OR_FOLDER", help="A curate or shard config, or the folder of a table.")
    ],
    overrides: Overrides = [],  # noqa: B006
    prompts: Annotated[
        Path | None, typer.Option(metavar="TRAIN.yaml", help="Show prompts by the rules of this training config.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; report.html beside the table by default.")] = None,
    no_thumbnails: Annotated[bool, typer.Option("--no-thumbnails", help="Numbers and words alone.")] = False,
) -> None:
    """A curated table as one offline page: what is odd, what was dropped and why, balance, sizes, prompts, pictures."""
    with _interruptible():
        from animetune.report.table_request import Request, make_report

        request = Request(place, overrides, prompts=prompts, out=out, thumbnails=not no_thumbnails)
        typer.echo(f"see {make_report(request)}")


@app.command()
def verify(
    locations: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Shard roots or label sets; URLs, too.")],
) -> None:
    """Hash every file of shard roots and label sets, and name those that are missing or changed."""
    from animetune.shards.verify import verify as verify_one

    worst = 0
    with _interruptible():
        for location in locations:
            try:
                problems = verify_one(location)
                code = AnimetuneError.exit_code if problems else 0
            except AnimetuneError as error:  # what is out of reach here says nothing of the others
                problems, code = [str(error)], error.exit_code
            for problem in problems:
                typer.echo(problem, err=True)
            worst = max(worst, code)
    if worst:
        raise typer.Exit(worst)
    typer.echo("every file is as it was written")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("runs/demo"),
) -> None:
    """The whole pipeline on a CPU in minutes: draws pictures, trains on them, shows what was learned on one page."""
    with _interruptible():
        from animetune.demo.run import run

        run(out, say=typer.echo)


@config_app.command("show")
def config_show(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """The resolved configuration: includes, overrides and defaults put together."""
    from animetune.config import stage_of, to_yaml

    stage = stage_of(config)
    if stage == "recipe":
        typer.echo(load_target("animetune.recipe.check:shown")(config, overrides), nl=False)
        return
    typer.echo(to_yaml(_load(stage, config, overrides)), nl=False)


@config_app.command("check")
def config_check(configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...")]) -> None:
    """Validate files, and name every mistake in all of them."""
    from animetune.config import stage_of

    problems: list[str] = []
    for path in configs:
        try:
            stage = stage_of(path)
            if stage == "recipe":
                problems += load_target("animetune.recipe.check:problems_of")(path)
                continue
            cfg = _load(stage, path, [])
            if cfg.stage == "curate":
                problems += _without_data(path, cfg)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    typer.echo(f"{len(configs)} file{'s' if len(configs) != 1 else ''}: no mistakes")


def _without_data(path: Path, cfg: Any) -> list[str]:
    """What is wrong with the settings of a curation that only its steps know."""
    try:
        load_target("animetune.curate.chain:check_settings")(cfg)
    except AnimetuneError as error:
        return [f"{path}: {error}"]
    return []


@config_app.command("schema")
def config_schema(stage: Annotated[str, typer.Argument(metavar="STAGE", help=", ".join(CONFIGS))]) -> None:
    """JSON schema of a stage's configuration, for editors that complete and check YAML."""
    from animetune.config import json_schema
    from animetune.fsio import canonical_json

    typer.echo(canonical_json(json_schema(_model(stage)), indent=2))


@config_app.command("reference")
def config_reference(stage: Annotated[str, typer.Argument(metavar="STAGE", help=", ".join(CONFIGS))]) -> None:
    """Every setting of a stage, what it takes and what it does, as Markdown; docs/reference/ holds these pages."""
    from animetune.reference import markdown

    typer.echo(markdown(stage, _model(stage)), nl=False)


def main() -> None:
    """Entry point: our own errors become one message and an exit code, everything else stays a traceback."""
    _quiet_libraries()
    try:
        app(standalone_mode=True)
    except AnimetuneError as error:
        sys.stderr.write(f"{_coloured('error:')} {error}\n")
        sys.exit(error.exit_code)


def _quiet_libraries() -> None:
    """Keep what other libraries say about themselves out of the output; their warnings about our data stay."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("diffusers", "transformers", "streaming"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # pytorch-lightning 2.6 and torch


def _run_stage(stage: str, path: Path, overrides: list[str], **options: Any) -> Any:
    """The manifest, after its summary was shown."""
    with _interruptible():
        cfg = _load(stage, path, overrides)
        manifest = load_target(STAGES[stage].function)(cfg, **options)
        typer.echo(_summary(stage, manifest))
        return manifest


def _end_by(number: int) -> None:
    """End as a program does that a signal ended, after all was put in order."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise typer.Exit(128 + number)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: what was finished is kept, the same command continues", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _load(stage: str, path: Path, overrides: list[str]) -> Any:
    from animetune.config import load_config

    return load_config(path, _model(stage), overrides)


def _model(stage: str) -> Any:
    if stage not in CONFIGS:
        raise ConfigError(f"stage: {stage!r} is not one of {', '.join(CONFIGS)}")
    return load_target(CONFIGS[stage])


def _summary(stage: str, manifest: Any) -> str:
    """One line: what came out, and what did not and why."""
    counts = [f"{manifest.seen} seen", f"{manifest.kept} kept"] if manifest.seen else []
    counts += [f"{count} {reason}" for reason, count in {**manifest.dropped, **manifest.quarantined}.items() if count]
    return f"{stage}: done" + (f" ({', '.join(counts)})" if counts else "")


def _coloured(text: str) -> str:
    return f"\033[1;31m{text}\033[0m" if sys.stderr.isatty() else text
