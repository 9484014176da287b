"""What ComfyUI drew a picture from, by the graph of nodes that it writes into a PNG where no saver wrote A1111's text.

    `prompt`     what was computed: id -> {class_type, inputs: {name: value, or [id, output]}}
    `workflow`   what was on the screen: nodes with widgets in order, and links between them

Read is what stands there directly: one sampler (or one that begins from an empty latent, where others refine), the text
of its two prompts, and the size of the latent. Where a node that computes stands between, nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from animetune.records import Request, Size

CHUNKS = ("prompt", "workflow")
"""Names of the PNG's text chunks, the surest first."""

_SEEDS = ("seed", "noise_seed")
_TEXTS = ("text", "value", "string")
"""Inputs of a node that hands on a text."""
_LATENTS = frozenset({"EmptyLatentImage", "EmptySD3LatentImage"})
_REROUTES = frozenset({"Reroute", "PrimitiveNode"})
_WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": ("seed",),
    "KSamplerAdvanced": ("add_noise", "noise_seed"),
    "SamplerCustom": ("add_noise", "noise_seed"),
    "RandomNoise": ("noise_seed",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": (
        "width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l",
    ),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "PrimitiveNode": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveInt": ("value",),
}  # fmt: skip
"""Type of a node -> names of its first widgets, in their order."""
_FARTHEST = 32
"""Links that are followed from one value."""


class _Node(NamedTuple):
    kind: str
    inputs: Mapping[str, Any]


class _Unknown(Exception):
    """Something does not stand there directly."""


def read_graph(chunk: str, text: str) -> Request | None:
    """What the text of a chunk (of `CHUNKS`) says was asked for; None where it is no graph, or does not say directly.

    A batch of several pictures has one seed for all, which says nothing of one of them: None.
    """
    try:
        values = json.loads(text)
        nodes = _of_prompt(values) if chunk == "prompt" else _of_workflow(values)
        return _request(nodes)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, _Unknown):
        return None


def _of_prompt(values: Any) -> dict[str, _Node]:
    return {str(key): _Node(str(node["class_type"]), dict(node["inputs"])) for key, node in values.items()}


def _of_workflow(values: Any) -> dict[str, _Node]:
    """As the frontend turns a workflow into a prompt: widgets by their order, links by their numbers."""
    sources = {link[0]: [str(link[1]), link[2]] for link in values["links"]}
    nodes = {}
    for node in values["nodes"]:
        if node.get("mode", 0) != 0:  # muted or bypassed
            continue
        kind = str(node["type"])
        widgets = node.get("widgets_values") or []
        inputs: dict[str, Any] = {}
        if isinstance(widgets, list):
            inputs = dict(zip(_WIDGETS.get(kind, ()), widgets, strict=False))
        for place, given in enumerate(node.get("inputs") or []):
            if given.get("link") is not None:
                inputs["value" if kind in _REROUTES else str(given["name"] or place)] = sources[given["link"]]
        nodes[str(node["id"])] = _Node(kind, inputs)
    return nodes


def _request(nodes: Mapping[str, _Node]) -> Request:
    samplers = [node for node in nodes.values() if _is_sampler(node)]
    if len(samplers) > 1:
        samplers = [node for node in samplers if _starts_empty(nodes, node)]
    if len(samplers) != 1:
        raise _Unknown
    (sampler,) = samplers
    size = _size(nodes, sampler)
    asked = sampler if "positive" in sampler.inputs else _follow(nodes, sampler.inputs["guider"])
    prompt = _text(nodes, asked.inputs["positive"] if "positive" in asked.inputs else asked.inputs["conditioning"])
    negative = _text(nodes, asked.inputs["negative"]) if "negative" in asked.inputs else ""
    return Request(prompt, _seed(nodes, sampler), size, negative)


def _is_sampler(node: _Node) -> bool:
    return "latent_image" in node.inputs and ("positive" in node.inputs or "guider" in node.inputs)


def _starts_empty(nodes: Mapping[str, _Node], sampler: _Node) -> bool:
    try:
        return _follow(nodes, sampler.inputs["latent_image"]).kind in _LATENTS
    except _Unknown:
        return False


def _size(nodes: Mapping[str, _Node], sampler: _Node) -> Size:
    latent = _follow(nodes, sampler.inputs["latent_image"])
    if latent.kind not in _LATENTS or _whole(nodes, latent.inputs.get("batch_size", 1)) != 1:
        raise _Unknown
    return Size(_whole(nodes, latent.inputs["width"]), _whole(nodes, latent.inputs["height"]))


def _seed(nodes: Mapping[str, _Node], sampler: _Node) -> int:
    node = _follow(nodes, sampler.inputs["noise"]) if "noise" in sampler.inputs else sampler
    name = next(name for name in (*_SEEDS, "") if not name or name in node.inputs)
    return _whole(nodes, node.inputs[name])


def _text(nodes: Mapping[str, _Node], link: Any) -> str:
    """The text of a conditioning."""
    node = _follow(nodes, link)
    if node.kind == "ConditioningZeroOut":
        return ""
    if node.kind == "CLIPTextEncodeSDXL":
        both = {_string(nodes, node.inputs[name]) for name in ("text_g", "text_l")}
        if len(both) != 1:
            raise _Unknown
        return both.pop()
    links = {name for name, value in node.inputs.items() if isinstance(value, list)}
    if "clip" not in links or links - {"clip", "text"}:
        raise _Unknown
    return _string(nodes, node.inputs["text"])


def _string(nodes: Mapping[str, _Node], value: Any) -> str:
    found = _value(nodes, value, _TEXTS)
    if not isinstance(found, str):
        raise _Unknown
    return found


def _whole(nodes: Mapping[str, _Node], value: Any) -> int:
    found = _value(nodes, value, ("value", *_SEEDS, "int", "number"))
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise _Unknown
    return found


def _value(nodes: Mapping[str, _Node], value: Any, names: tuple[str, ...]) -> Any:
    """A value as it stands, or that of the node which it is linked to, if that only hands it on."""
    for _ in range(_FARTHEST):
        if not isinstance(value, list):
            return value
        node = _follow(nodes, value)
        given = [name for name in names if name in node.inputs]
        if len(given) != 1 or len(node.inputs) != 1:
            raise _Unknown
        value = node.inputs[given[0]]
    raise _Unknown


def _follow(nodes: Mapping[str, _Node], link: Any) -> _Node:
    """The node that a link comes from, past reroutes."""
    for _ in range(_FARTHEST):
        if not isinstance(link, list) or len(link) != 2:
            raise _Unknown
        node = nodes[str(link[0])]
        onward = node.inputs.get("value")
        if node.kind != "Reroute" or not isinstance(onward, list):
            return node
        link = onward
    raise _Unknown
