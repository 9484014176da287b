"""What is wrong with a configuration, in words for the person who wrote it.

`explain` takes pydantic's errors and the tree that was validated, finds each error's place, and suggests what may have
been meant: a similar name at that place, the same name elsewhere, or our name for what other trainers call otherwise.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pydantic

from animetune.yamltree import Node, Place, Problem, shown

FOREIGN_NAMES = {
    "accumulate_grad_batches": "it follows from data.global_batch, data.micro_batch and the number of GPUs",
    "batch_size": "data.micro_batch",
    "cache_latents": "latents are computed once, by the `shard` stage",
    "caption_dropout_rate": "prompts.prompt_dropout",
    "caption_extension": "captions come from the label set that data.labels names",
    "caption_separator": "prompts.separator",
    "caption_tag_dropout_rate": "prompts.tag_dropout",
    "checkpointing_steps": "checkpoints.every",
    "checkpoints_total_limit": "checkpoints.keep",
    "clip_skip": "the states of the penultimate layer are always used, as SDXL was trained",
    "dataloader_num_workers": "data.workers",
    "debiased_estimation_loss": "write diffusion.weighting: {name: debiased}",
    "enable_bucket": "samples of one size are always batched together; the sizes are set in the `shard` stage",
    "flip_aug": "write a probability in data.flip",
    "full_bf16": "write model.dtype: bfloat16",
    "gradient_accumulation_steps": "it follows from data.global_batch, data.micro_batch and the number of GPUs",
    "gradient_checkpointing": "write model.activation_checkpointing: none, selective or full",
    "instance_data_dir": "data.shards",
    "keep_tokens": "the parts of prompts.order that prompts.shuffle does not list keep their place",
    "keep_tokens_separator": "write '|||' between parts of prompts.order, and what to shuffle in prompts.shuffle",
    "learning_rate": "optimizer.unet_lr",
    "learning_rate_te1": "optimizer.text_encoder_lr",
    "learning_rate_te2": "optimizer.text_encoder_2_lr",
    "log_every_n_steps": "loop.log_every",
    "log_with": "TensorBoard is the default; for W&B write watch.wandb: {project: NAME}",
    "logging_steps": "loop.log_every",
    "lr": "optimizer.unet_lr",
    "lr_scheduler": "schedule.name",
    "lr_scheduler_num_cycles": "schedule.cycles",
    "lr_scheduler_power": "schedule.power",
    "lr_warmup_steps": "schedule.warmup",
    "max_data_loader_n_workers": "data.workers",
    "max_grad_norm": "optimizer.clip.at",
    "max_steps": "loop.steps",
    "max_token_length": "write data.chunks, the length in chunks of 75 tokens: 3 for 225",
    "max_train_epochs": "loop.epochs",
    "max_train_steps": "loop.steps",
    "min_snr_gamma": "write diffusion.weighting: {name: min_snr, gamma: 5}",
    "mixed_precision": "model.dtype",
    "network_module": "animetune trains whole models; `animetune lora` takes a LoRA out of one afterwards",
    "num_epochs": "loop.epochs",
    "num_train_epochs": "loop.epochs",
    "optimizer_type": "optimizer.name",
    "relative_step": "the learning rate is always the configured one",
    "output_dir": "run",
    "prediction_type": "diffusion.prediction",
    "pretrained_model_name_or_path": "model.base",
    "proportion_empty_prompts": "prompts.prompt_dropout",
    "report_to": "TensorBoard is the default; for W&B write watch.wandb: {project: NAME}",
    "resolution": "sizes are fixed in the shards, by the `shard` stage",
    "resume": "resuming is the default; see `--resume` of `animetune train`",
    "resume_from_checkpoint": "resuming is the default; see `--resume` of `animetune train`",
    "sample_every_n_steps": "preview.every",
    "sample_prompts": "preview.prompts",
    "save_every_n_steps": "checkpoints.every",
    "shuffle_caption": "list the parts to shuffle in prompts.shuffle, as in shuffle: [general]",
    "snr_gamma": "write diffusion.weighting: {name: min_snr, gamma: 5}",
    "text_encoder_lr": "optimizer.text_encoder_lr",
    "train_batch_size": "data.micro_batch",
    "train_data_dir": "data.shards",
    "train_text_encoder": "model.train_text_encoder",
    "train_text_encoders": "there is one switch for each: model.train_text_encoder and model.train_text_encoder_2",
    "unet_block_lr": "optimizer.block_lrs",
    "use_ema": "write decays in ema.decays",
    "v_parameterization": "write diffusion.prediction: v",
    "validation_prompt": "preview.prompts",
    "validation_steps": "validation.every",
    "xformers": "attention is PyTorch's own; there is nothing to set",
    "warmup_init": "the learning rate is always the configured one; warm it up with schedule.warmup",
    "warmup_steps": "schedule.warmup",
    "zero_terminal_snr_rescale": "diffusion.zero_terminal_snr",
}
"""A name that users of kohya's scripts, diffusers or SimpleTuner type -> our key, or a sentence where we have none."""

_WORDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "should be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "should be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "should be true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be a map of settings"),
    **dict.fromkeys(("list_type", "tuple_type"), "should be a list"),
    "string_type": "should be text",
    "path_type": "should be a path",
}


def explain(error: pydantic.ValidationError, tree: Node, model: type[pydantic.BaseModel]) -> list[Problem]:
    """One problem a place; what the members of a union each want is joined by `or`."""
    wanted: dict[tuple[Place, str], dict[str, str]] = {}
    for details in error.errors(include_url=False):
        spot = _locate(details["loc"], tree, model)
        if spot.path == ("stage",) and details["type"] == "literal_error":
            return [_wrong_stage(spot, details)]
        if details["type"] == "too_short" and len(spot.node.value) >= details["ctx"]["min_length"]:
            continue  # pydantic counts the items without mistakes; those that have some are named by themselves
        place, key, what, ending = _explain_one(details, spot, model)
        wanted.setdefault((place, key), {})[what] = ending
    return [Problem(place, key, _joined(whats)) for (place, key), whats in wanted.items()]


def similar_file(path: Path) -> str:
    """`, did you mean '...'?` if the folder of `path` has a YAML file of a similar name, else nothing."""
    names = sorted(file.name for file in path.parent.glob("*.y*ml"))
    return _did_you_mean([str(path.with_name(name)) for name in difflib.get_close_matches(path.name, names, n=1)])


class _Spot(NamedTuple):
    """Where an error is: dotted key, node (of a missing key: the parent's), types, and the types that hold the key."""

    path: tuple[str, ...]
    node: Node
    types: list[Any]
    owners: list[Any]


def _locate(loc: tuple[int | str, ...], tree: Node, model: type[pydantic.BaseModel]) -> _Spot:
    """Follow pydantic's `loc` down the tree and the types at once; parts that name a member of a union are left out."""
    node, path = tree, []
    members: list[Any] = [model]
    owners: list[Any] = []
    is_named = False
    for part in loc:
        if len(members) > 1 and not is_named:
            members, is_named = [member for member in members if _is_called(member, part)] or members, True
        elif part != "[key]":
            owners, is_named = members, False
            members = [inner for member in members for inner in _members(_inside(member, part))]
            path.append(str(part))
            node = _child(node, part) or node
    return _Spot(tuple(path), node, members, owners)


def _child(node: Node, part: int | str) -> Node | None:
    if isinstance(node.value, list):
        return node.value[part] if isinstance(part, int) and part < len(node.value) else None
    return node.value.get(part) if isinstance(node.value, dict) else None


def _members(annotation: Any) -> list[Any]:
    """The types that an annotation allows, without None."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for option in get_args(annotation) for member in _members(option)]
    return [] if annotation in (None, types.NoneType) else [annotation]


def _inside(member: Any, part: int | str) -> Any:
    """The annotation of a field, item or map value of a type; None if it has none."""
    if _is_model(member):
        return member.model_fields[part].annotation if part in member.model_fields else None
    inner = [argument for argument in get_args(member) if argument is not Ellipsis]
    if not inner or get_origin(member) is Literal:
        return None
    return inner[part] if get_origin(member) is tuple and isinstance(part, int) and part < len(inner) else inner[-1]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def _is_called(member: Any, label: int | str) -> bool:
    """Whether `label` is how pydantic's loc calls this member of a union: its class, or its discriminator's value."""
    return _is_model(member) and (label == member.__name__ or label in _tags(member))


def _tags(model: type[pydantic.BaseModel]) -> list[Any]:
    """What tells a model from the others of its union: fields that have one value only."""
    annotations = [field.annotation for field in model.model_fields.values()]
    choices = [get_args(annotation) for annotation in annotations if get_origin(annotation) is Literal]
    return [choice for choice, *others in choices if not others]


def _wrong_stage(spot: _Spot, details: Any) -> Problem:
    """A file of another command: what else is wrong with it says nothing new."""
    given, needed = shown(details["input"]).strip("'"), details["ctx"]["expected"].strip("'")
    what = f"this file is for `animetune {given}`, but `stage: {needed}` is needed here"
    return Problem(spot.node.place, "stage", what)


def _explain_one(details: Any, spot: _Spot, model: type[pydantic.BaseModel]) -> tuple[Place, str, str, str]:
    """Place, dotted key, what is wrong, and an ending with the value that was given and a guess."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    path, node, place, ending = spot.path, spot.node, spot.node.shown_at, ""
    if kind == "extra_forbidden":
        place, what, ending = node.key_place, "is not a setting here", _suggestion(path, spot.owners, model)
    elif kind == "missing":
        what = "is missing"
    elif kind == "union_tag_not_found":
        name = context["discriminator"].strip("'")
        names = [repr(tag) for member in spot.types for tag in get_args(member.model_fields[name].annotation)]
        path, what = (*path, name), f"is missing; it should be {' or '.join(names)}"
    elif kind == "union_tag_invalid":
        name = context["discriminator"].strip("'")
        path, place = (*path, name), node.value[name].place
        what, ending = _should_be(context["expected_tags"].replace(", ", " or "), context["tag"])
    elif kind == "too_short":
        what = f"should have at least {context['min_length']}, not {context['actual_length']}"
    elif kind in ("literal_error", "enum"):
        what, ending = _should_be(context["expected"], value)
    elif kind in ("value_error", "assertion_error"):
        inner, node, what = _named_in(str(context["error"]), node)
        path, place = (*path, *inner), node.shown_at
    else:
        what = _WORDS.get(kind, details["msg"].removeprefix("Input "))
        ending = "" if ", not " in what else f", not {shown(value)}"
        if kind == "string_type" and isinstance(value, bool | int | float):
            ending += "; put it in quotes"
    return place, ".".join(path), what, ending


def _named_in(message: str, node: Node) -> tuple[list[str], Node, str]:
    """What a validator of a whole group names first, as in `sources.0: ...`: its keys, its node, the rest.

    Without keys, and with the whole message, where it names no setting below `node`.
    """
    name, colon, rest = message.partition(": ")
    keys = name.split(".") if colon else []
    named: Node | None = node
    for key in keys:
        named = named and _child(named, int(key) if isinstance(named.value, list) and key.isdecimal() else key)
    return (keys, named, rest) if keys and named else ([], node, message)


def _should_be(expected: str, value: Any) -> tuple[str, str]:
    options = re.findall(r"'([^']*)'", expected)
    guess = _did_you_mean(difflib.get_close_matches(str(value), options, n=1))
    return f"should be {expected}", f", not {shown(value)}{guess}"


def _joined(whats: dict[str, str]) -> str:
    first, *others = whats
    return " or ".join([first, *(what.removeprefix("should be ") for what in others)]) + max(whats.values(), key=len)


def _suggestion(path: tuple[str, ...], owners: list[Any], model: type[pydantic.BaseModel]) -> str:
    """What an unknown key may have been meant to be: another trainer's name, a similar name, the name elsewhere."""
    *above, name = path
    homes: dict[str, list[Any]] = {}
    for field, owner in _fields(model):
        homes.setdefault(".".join(field), []).append(owner)
    hint = FOREIGN_NAMES.get(name)
    if hint and " " in hint:
        return f"; {hint}"
    if hint:
        return _did_you_mean([hint]) if hint in homes else f"; in a training configuration it is '{hint}'"
    if of_others := [tag for owner in homes.get(".".join(path), []) for tag in _tags(owner)]:
        return f"; it belongs to {' and '.join(of_others)}"
    here = [field for owner in owners if _is_model(owner) for field in owner.model_fields]
    if close := difflib.get_close_matches(name, here, n=1, cutoff=0.7):
        return _did_you_mean([".".join((*above, close[0]))])
    return _did_you_mean(sorted(key for key in homes if key.rpartition(".")[2] == name))


def _fields(model: type[pydantic.BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting's path and the model that has it."""
    for name, field in model.model_fields.items():
        path = (*above, name)
        yield path, model
        if len(path) < 4:  # as deep as a configuration may be, so a model that holds itself ends too
            for member in filter(_is_model, _members(field.annotation)):
                yield from _fields(member, path)


def _did_you_mean(names: list[str]) -> str:
    return f", did you mean '{names[0]}'?" if names else ""
