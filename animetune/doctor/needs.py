"""What the steps of a recipe need beside their inputs: servers, packages, devices, credentials."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from animetune import remote
from animetune.curate.config import CurateConfig
from animetune.doctor.findings import Finding, note, ok, problem
from animetune.doctor.inputs import assets_of
from animetune.evaluate.config import EvaluateConfig
from animetune.plan.hours import launched_devices
from animetune.recipe.config import Recipe, Step
from animetune.train.config import TrainConfig
from animetune.vlm.config import ModelConfig

SERVER_SECONDS = 10.0
"""Seconds for a server of models to list them."""
PROTOCOLS = {"s3": ("s3fs", "pip install 'animetune[s3]'"), "gs": ("gcsfs", "pip install gcsfs")}
"""Protocol of a URL -> the package that speaks it, and how it is installed."""


def server_findings(recipe: Recipe, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Servers of models for captions and questions: reachable, and serving the model; keys in the environment."""
    asked: set[tuple[str | None, str, str | None]] = set()
    for step in recipe.steps:
        for model in _asked_models(step.cfg):
            if (place := (model.base_url, model.model, model.api_key_env)) in asked:
                continue
            asked.add(place)
            if model.folder is not None:
                is_there = (model.folder / "config.json").is_file()
                yield (
                    ok(step.name, f"{model.model} in {model.folder}")
                    if is_there
                    else problem(
                        step.name,
                        f"{model.folder}: there is no model (config.json)",
                        "download it there, or correct folder",
                    )
                )
                continue
            assert model.base_url is not None
            key = environment.get(model.api_key_env or "", "")
            if model.api_key_env and not key:
                yield problem(
                    step.name,
                    f"{model.api_key_env} is not set, the key of {model.base_url}",
                    f"export {model.api_key_env}",
                )
                continue
            yield server_finding(step.name, model.base_url, model.model, key)


def _asked_models(cfg: Any) -> Iterator[ModelConfig]:
    """The vision-language models that a stage asks."""
    if isinstance(cfg, CurateConfig) and cfg.captions is not None:
        yield cfg.captions.long
        if cfg.captions.compress is not None:
            yield cfg.captions.compress
    if isinstance(cfg, EvaluateConfig) and cfg.vision is not None:
        yield cfg.vision


def server_finding(what: str, base_url: str, model: str, key: str) -> Finding:
    """Ask a server of OpenAI's protocol which models it has."""
    import openai

    try:
        with openai.OpenAI(base_url=base_url, api_key=key or "none", timeout=SERVER_SECONDS, max_retries=0) as client:
            served = [each.id for each in client.models.list().data]
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            return problem(what, f"{base_url}: refuses the key ({error.status_code})", "correct the key it wants")
        return note(what, f"{base_url}: is up, but does not list its models ({error.status_code})")
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        cause = error.__cause__ or error
        return problem(
            what,
            f"{base_url}: no server answers ({str(cause).splitlines()[0] if str(cause) else type(cause).__name__})",
            "start it, or correct base_url; docs/captions.md and docs/evaluate-server.md show how",
        )
    if model not in served:
        return problem(
            what, f"{base_url}: serves {', '.join(served) or 'nothing'}, not {model}", "correct model, or serve it"
        )
    return ok(what, f"{base_url} serves {model}")


def package_findings(recipe: Recipe, has: Callable[[str], bool] | None = None) -> Iterator[Finding]:
    """Optional packages that some setting asks for."""
    is_there = has or (lambda name: importlib.util.find_spec(name) is not None)
    wanted: dict[str, tuple[str, str]] = {}
    for step in recipe.steps:
        for package, why, remedy in _packages_of(step):
            wanted.setdefault(package, (f"{step.name}: {why}", remedy))
    for package, (why, remedy) in wanted.items():
        yield (
            ok(package, f"for {why}") if is_there(package) else problem(package, f"is not installed, for {why}", remedy)
        )


def device_findings(recipe: Recipe, gpus: int) -> Iterator[Finding]:
    """GPUs of this machine against the launch and the batches of training steps."""
    launch = recipe.cfg.launch
    if launch is not None and shutil.which(launch[0]) is None:
        yield problem("launch", f"{launch[0]}: there is no such program on PATH", "correct `launch` in the recipe")
    for step in recipe.steps:
        if isinstance(step.cfg, TrainConfig):
            yield from _training_findings(step, step.cfg, launch, gpus)


def _training_findings(step: Step, cfg: TrainConfig, launch: Sequence[str] | None, gpus: int) -> Iterator[Finding]:
    asked = launched_devices(launch, cfg.loop)
    machines = max(cfg.loop.nodes, _nodes(launch))
    on_cpu = cfg.loop.accelerator == "cpu"
    if not gpus and not on_cpu:
        if cfg.model.base.endswith(":tiny"):
            yield note(step.name, "trains a tiny model on the CPU: no GPU here")
        else:
            yield problem(step.name, "trains SDXL, and there is no GPU here", "run it on a machine with GPUs")
    elif asked is not None and not on_cpu and asked > gpus * machines:
        yield problem(
            step.name,
            f"asks for {asked} GPUs{f' on {machines} machines' if machines > 1 else ''}, and {gpus} are here",
            "correct --nproc-per-node in launch, or loop.devices",
        )
    devices = asked or max(1, gpus)
    fits = [count for count in range(1, devices) if cfg.data.micro_batches % count == 0]
    if cfg.data.micro_batches % devices:
        yield problem(
            step.name,
            f"{cfg.data.global_batch} samples a step in micro-batches of {cfg.data.micro_batch} do not divide over "
            f"{devices} devices",
            f"change data.global_batch or data.micro_batch, or take {fits[-1]} device{'s' * (fits[-1] > 1)}",
        )


def _packages_of(step: Step) -> Iterator[tuple[str, str, str]]:
    cfg: Any = step.cfg
    if any(asset.name.endswith(".onnx") for _, asset in assets_of(cfg)):
        yield "onnxruntime", "models in ONNX", "pip install 'animetune[onnx]' (onnxruntime-gpu for GPUs)"
    if getattr(getattr(cfg, "executor", None), "kind", "") == "ray":
        yield "ray", "executor.kind: ray", "pip install 'animetune[ray]'"
    if isinstance(cfg, TrainConfig):
        if cfg.watch.wandb is not None:
            yield "wandb", "watch.wandb", "pip install 'animetune[wandb]'"
        if cfg.optimizer.name == "adamw8bit":
            yield "bitsandbytes", "optimizer.name: adamw8bit", "pip install bitsandbytes"
    for place in (*step.reads, step.writes):
        protocol = place.partition("://")[0]
        if remote.is_remote(place) and protocol in PROTOCOLS:
            yield (PROTOCOLS[protocol][0], place, PROTOCOLS[protocol][1])


def _nodes(launch: Sequence[str] | None) -> int:
    words = " ".join(launch or ()).replace("=", " ").replace("_", "-").split()
    places = [words[place + 1] for place, word in enumerate(words[:-1]) if word == "--nnodes"]
    return int(places[0].rpartition(":")[2]) if places and places[0].rpartition(":")[2].isdigit() else 1


def credentials_note(recipe: Recipe, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether anything says who we are to S3, where an S3 URL is read or written."""
    is_asked = any(place.startswith("s3://") for step in recipe.steps for place in (*step.reads, step.writes))
    known = {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
    files = [Path(environment.get("HOME", "~")).expanduser() / ".aws" / name for name in ("credentials", "config")]
    if is_asked and not known & environment.keys() and not any(os.path.isfile(path) for path in files):
        yield note(
            "S3",
            "no credentials in the environment or ~/.aws; a machine's role may give some",
            "export AWS_ACCESS_KEY_ID",
        )
