"""The hyper-parameters of every stage of training, and what each run really did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from animetune.card.lineage import Done, Run, place_name
from animetune.card.markdown import bullets, escape, number, table
from animetune.diffusion.config import DiffusionConfig
from animetune.tokens import CHUNK_BODY
from animetune.train.config import TrainConfig
from animetune.train.lengths import Length
from animetune.train.lr import AnySchedule, CosineAnnealingWarmRestartsSchedule
from animetune.train.optim.config import AdafactorConfig, AnyOptimizerConfig, CustomConfig

OPTIMIZERS = {
    "adafactor": "Adafactor",
    "adamw": "AdamW",
    "adamw8bit": "AdamW8bit",
    "lion": "Lion",
}
SCHEDULES = {
    "constant": "constant",
    "cosine": "cosine",
    "cosine_restarts": "cosine with restarts",
    "cosine_annealing_warm_restarts": "cosine annealing with warm restarts",
    "linear": "linear",
    "polynomial": "polynomial",
    "wsd": "warm-up, stable, decay",
    "inverse_sqrt": "inverse square root",
}
PARTS = {"text_encoder": "CLIP-L", "text_encoder_2": "CLIP-G"}
NONE = "-"


def training_section(runs: Sequence[Run], asked: Sequence[TrainConfig], names: Mapping[str, str], *, gpus: int) -> str:
    """The tables of the section: what the recipe asks for, where that is not what was run, and what was run."""
    otherwise = differences(runs, asked, names, gpus=gpus)
    parts = []
    if otherwise:
        parts += [
            "### What the recipe asks for",
            "From its configurations; below is what was really run for this model, and how it differs.",
            stages_table({names[cfg.run]: hyperparameters(cfg, gpus=gpus) for cfg in asked}),
        ]
    done = {names[str(run.folder)]: hyperparameters(run.cfg, gpus=run.done.ranks) | course(run) for run in runs}
    parts += [
        "### What was run",
        "A batch is micro-batch x accumulation x GPUs. Times are those of training itself, by the run's own journal.",
        stages_table(done),
    ]
    parts += [bullets(otherwise)] if otherwise else []
    return "\n\n".join(parts)


def stage_names(folders: Sequence[str]) -> dict[str, str]:
    """Run directory -> its name, with that of the folder around it where two have the same."""
    names = {folder: Path(folder).name for folder in folders}
    count = Counter(names.values())
    return {folder: name if count[name] == 1 else "/".join(Path(folder).parts[-2:]) for folder, name in names.items()}


def differences(runs: Sequence[Run], asked: Sequence[TrainConfig], names: Mapping[str, str], *, gpus: int) -> list[str]:
    """A line for each stage that was run otherwise than the recipe asks, and for each that was not run here."""
    by_folder = {str(run.folder): run for run in runs}
    lines = []
    for cfg in asked:
        name, run = escape(names[cfg.run]), by_folder.get(cfg.run)
        if run is None:
            lines.append(f"**{name}** of the recipe was not run for this model.")
            continue
        wanted, did = hyperparameters(cfg, gpus=gpus), hyperparameters(run.cfg, gpus=run.done.ranks)
        changed = [
            f"{setting.lower()} {did[setting]} instead of {value}"
            for setting, value in wanted.items()
            if did[setting] != value
        ]
        if changed:
            lines.append(f"**{name}** was run otherwise than the recipe asks: {'; '.join(changed)}.")
    return lines


def stages_table(stages: Mapping[str, Mapping[str, str]]) -> str:
    """A row a setting, a column a stage; settings that no stage has are left out."""
    names = list(dict.fromkeys(name for cells in stages.values() for name in cells))
    rows = [[name, *(cells.get(name, NONE) for cells in stages.values())] for name in names]
    used = [row for row in rows if any(cell != NONE for cell in row[1:])]
    return table(["", *(escape(name) for name in stages)], used)


def hyperparameters(cfg: TrainConfig, *, gpus: int) -> dict[str, str]:
    """Setting -> its value as text, in the order of a model card; `-` for none."""
    model, data, prompts = cfg.model, cfg.data, cfg.prompts
    encoders = [PARTS[part] for part in model.trained if part in PARTS]
    return {
        "Starts from": escape(place_name(model.base)),
        "Length": length(cfg),
        "UNet learning rate": number(cfg.optimizer.unet_lr) if model.train_unet else "frozen",
        "Text encoder learning rate": text_rates(cfg),
        "Trains text encoders": " and ".join(encoders) or "no",
        "Batch": batch(cfg, gpus=gpus),
        "Optimizer": optimizer(cfg.optimizer),
        "Learning rate schedule": schedule(cfg.schedule, cfg),
        "Gradient clipping": clipping(cfg.optimizer),
        "Noise offset": number(cfg.diffusion.noise_offset) if cfg.diffusion.noise_offset else "none",
        "Loss": loss(cfg.diffusion),
        "Prompt": f"{data.chunks * CHUNK_BODY} tokens",
        "Empty prompts": _percent(prompts.prompt_dropout),
        "Tag dropout": dropout(cfg),
        "Averages of weights": ", ".join(number(decay) for decay in cfg.ema.decays) if cfg.ema else NONE,
        "Precision": precision(cfg),
    }


def course(run: Run) -> dict[str, str]:
    """What a run did."""
    done = run.done
    steps = f"{number(done.steps)} steps, {number(done.images)} images"
    return {
        "Done": f"{steps}{'' if done.is_finished else ' (not finished)'}",
        "Epochs done": f"{done.epochs:.2f}" if done.epochs is not None else NONE,
        "Hardware": hardware(done, nodes=run.cfg.loop.nodes),
        "Time": _hours(done.hours) if done.hours else "not known",
        "Time of all devices": _hours(done.hours * done.ranks) if done.hours else "not known",
    }


def hardware(done: Done, *, nodes: int = 1) -> str:
    """`2 x NVIDIA A100`, `1 x CPU`."""
    names = list(dict.fromkeys(done.devices))
    what = escape(", ".join(names)) if names else "CPU process"
    return f"{done.ranks} x {what}" + (f" on {nodes} machines" if nodes > 1 else "")


def length(cfg: TrainConfig) -> str:
    """`10 epochs`, `900 steps`."""
    loop = cfg.loop
    count, unit = (loop.steps, "step") if loop.steps is not None else (loop.epochs or 0, "epoch")
    stop = cfg.schedule.stop_below_lr
    ends = f", stopped below a rate of {number(stop)}" if stop is not None else ""
    return f"{number(count)} {unit}{'' if count == 1 else 's'}{ends}"


def text_rates(cfg: TrainConfig) -> str:
    """The learning rates of the text encoders that train; one where they agree."""
    rates = {PARTS[part]: number(cfg.optimizer.lr_of(part)) for part in cfg.model.trained if part in PARTS}
    if len(set(rates.values())) == 1:
        return next(iter(rates.values()))
    return ", ".join(f"{part} {rate}" for part, rate in rates.items()) or NONE


def batch(cfg: TrainConfig, *, gpus: int) -> str:
    """`96 = 16 x 3 x 2`; on fewer GPUs where the batch does not divide over all."""
    data = cfg.data
    used = next(n for n in range(max(1, gpus), 0, -1) if n == 1 or data.global_batch % (data.micro_batch * n) == 0)
    accumulated = data.global_batch // (data.micro_batch * used)
    later = "".join(f", {count} from epoch {epoch}" for epoch, count in sorted(data.global_batch_from.items()))
    return f"{number(data.global_batch)} = {data.micro_batch} x {accumulated} x {used}{later}"


def optimizer(cfg: AnyOptimizerConfig) -> str:
    """Name and arguments, without the rates."""
    if isinstance(cfg, CustomConfig):
        given = ", ".join(f"{name} {value}" for name, value in cfg.arguments.items())
        return escape(f"{cfg.place}{f' ({given})' if given else ''}")
    said = {
        name: getattr(cfg, name)
        for name in ("weight_decay", "betas", "eps", "beta1", "decay_rate", "clip_threshold")
        if getattr(cfg, name, None) is not None
    }
    arguments = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in said.items()]
    if isinstance(cfg, AdafactorConfig):
        # It has no relative step and no warm-up of its own, so that these are facts of every one.
        arguments = [f"scale parameter {cfg.scale_parameter}, relative step False, warmup init False", *arguments]
    if cfg.block_lrs:
        arguments.append("own rates of " + ", ".join(f"{name} {number(rate)}" for name, rate in cfg.block_lrs.items()))
    return escape(f"{OPTIMIZERS[cfg.name]}: {', '.join(arguments)}")


def schedule(cfg: AnySchedule, run: TrainConfig) -> str:
    """Name and arguments of a learning-rate schedule."""
    warmup = Length.parse(cfg.warmup)
    name = SCHEDULES[cfg.name] + (" with warm-up" if warmup.number and cfg.name == "constant" else "")
    arguments = [f"warm-up {_length(cfg.warmup)}"] if warmup.number else []
    if isinstance(cfg, CosineAnnealingWarmRestartsSchedule):
        cycles = _cycles(cfg, run)
        arguments += [f"{number(cycles)} cycles"] if cycles else []
        arguments += [
            f"first cycle {_length(cfg.first_cycle)}",
            f"min LR {number(cfg.min_lr)}",
            f"decay {number(cfg.cycle_decay)} a cycle",
        ]
        arguments += [f"each {number(cfg.cycle_multiplier)} times as long"] if cfg.cycle_multiplier != 1 else []
    writers: dict[str, Callable[[object], str]] = {
        "cycles": _plain,
        "floor": lambda value: f"{_plain(value)} of the rate",
        "power": _plain,
        "cooldown": lambda value: _length(str(value)),
        "timescale": lambda value: _length(str(value)),
        "shape": str,
    }
    for field, write in writers.items():
        value = getattr(cfg, field, None)
        if value is not None and (field, value) != ("floor", 0.0):
            arguments.append(f"{field} {write(value)}")
    return f"{name}{': ' if arguments else ''}{', '.join(arguments)}"


def clipping(cfg: AnyOptimizerConfig) -> str:
    """`global norm 1`."""
    return f"{cfg.clip.by.replace('_', ' ')} {number(cfg.clip.at)}" if cfg.clip else "off"


def loss(cfg: DiffusionConfig) -> str:
    """What is predicted, and how errors are weighed."""
    said = [{"epsilon": "epsilon prediction", "v": "v prediction", "flow": "rectified flow"}[cfg.prediction]]
    if cfg.zero_terminal_snr:
        said.append("zero terminal SNR")
    if cfg.prediction == "flow":
        said.append(f"shift {number(cfg.shift)}" + (" growing with the area" if cfg.shift_by_area else ""))
    gamma = getattr(cfg.weighting, "gamma", None)
    if cfg.weighting.name != "none":
        said.append(_words(cfg.weighting.name) + (f" (gamma {number(gamma)})" if gamma is not None else ""))
    if cfg.loss.name != "mse":
        said.append(_words(cfg.loss.name))
    if cfg.input_perturbation:
        drawn = "0 to " if cfg.input_perturbation_random else ""
        said.append(f"input perturbation {drawn}{number(cfg.input_perturbation)}")
    if cfg.multires is not None:
        said.append(f"multi-resolution noise ({cfg.multires.levels} levels, {number(cfg.multires.discount)})")
    if cfg.timesteps.name != "uniform" or cfg.timesteps.range != (0, 1000):
        said.append(f"timesteps {_words(cfg.timesteps.name)} {cfg.timesteps.range[0]} to {cfg.timesteps.range[1]}")
    return ", ".join(said)


def dropout(cfg: TrainConfig) -> str:
    """How tags are left out."""
    prompts = cfg.prompts
    if prompts.dropout_levels:
        levels = [
            f"{_percent(level.probability)}: {_percent(level.share)}, at least {level.at_least}"
            if level.at_most is None
            else f"{_percent(level.probability)}: at most {level.at_most}"
            for level in prompts.dropout_levels
        ]
        return f"in levels ({'; '.join(levels)})"
    return _percent(prompts.tag_dropout)


def precision(cfg: TrainConfig) -> str:
    """Type of the weights, and how they are updated."""
    if cfg.model.dtype != "bfloat16":
        return cfg.model.dtype
    return "bfloat16, " + ("fp32 master weights" if cfg.optimizer.rounding == "master" else "stochastic rounding")


def _cycles(cfg: CosineAnnealingWarmRestartsSchedule, run: TrainConfig) -> float | None:
    first = Length.parse(cfg.first_cycle)
    total = {"epochs": run.loop.epochs, "steps": run.loop.steps}.get(first.unit)
    return total / first.number if total and cfg.cycle_multiplier == 1 else None


def _length(text: str) -> str:
    found = Length.parse(text)
    unit = found.unit.removesuffix("s") if found.number == 1 else found.unit
    return f"{number(found.number)} {unit}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 0.1 else f"{hours * 3600:.3g} seconds"


def _percent(value: float) -> str:
    return f"{number(round(100 * value, 6))} %"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(_plain(each) for each in value)
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _words(name: str) -> str:
    return name.replace("_", "-")
