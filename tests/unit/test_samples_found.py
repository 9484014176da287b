"""Pictures whose requests are known: by an index, by A1111's text, by ComfyUI's graph; nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animetune import samples
from animetune.errors import DataError
from animetune.records import Request, Size
from animetune.samples.found import FoundPicture, find_pictures
from animetune.samples.graphs import read_graph

ASKED = Request("a green door", 7, Size(832, 1216), "lowres")
Graph = dict[str, dict[str, Any]]


def graph(**changes: Mapping[str, Any]) -> Graph:
    """A prompt as ComfyUI's API format has it; `changes`: n<id>={inputs}, or n<id>={"class_type": ...}."""
    nodes: Graph = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 7, "steps": 20, "cfg": 7.0, "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0],
                "negative": ["7", 0], "latent_image": ["5", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a green door", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "lowres", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    }  # fmt: skip
    for name, values in changes.items():
        node = nodes.setdefault(name.removeprefix("n"), {"class_type": "", "inputs": {}})
        node["class_type"] = values.get("class_type", node["class_type"])
        node["inputs"] = {**node["inputs"], **{key: value for key, value in values.items() if key != "class_type"}}
    return nodes


def read_prompt(nodes: Any) -> Request | None:
    return read_graph("prompt", json.dumps(nodes))


def save(file: Path, **chunks: str) -> Path:
    info = PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(file, pnginfo=info)
    return file


WORKFLOW = {
    "last_node_id": 9,
    "nodes": [
        {
            "id": 3, "type": "KSampler", "mode": 0, "widgets_values": [1, "randomize", 20, 7, "euler", "normal", 1],
            "inputs": [
                {"name": "model", "type": "MODEL", "link": 1}, {"name": "positive", "type": "CONDITIONING", "link": 9},
                {"name": "negative", "type": "CONDITIONING", "link": 6},
                {"name": "latent_image", "type": "LATENT", "link": 2},
                {"name": "seed", "type": "INT", "link": 10, "widget": {"name": "seed"}},
            ],
        },
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [832, 1216, 1]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a green door"],
         "inputs": [{"name": "clip", "type": "CLIP", "link": 3}]},
        {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["lowres"],
         "inputs": [{"name": "clip", "type": "CLIP", "link": 5}]},
        {"id": 10, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 4}]},
        {"id": 11, "type": "PrimitiveNode", "widgets_values": [7, "fixed"]},
        {"id": 12, "type": "KSampler", "mode": 4, "widgets_values": [9], "inputs": []},
    ],
    "links": [
        [1, 4, 0, 3, 0, "MODEL"], [2, 5, 0, 3, 3, "LATENT"], [3, 4, 1, 6, 0, "CLIP"], [4, 6, 0, 10, 0, "*"],
        [5, 4, 1, 7, 0, "CLIP"], [6, 7, 0, 3, 2, "CONDITIONING"], [9, 10, 0, 3, 1, "CONDITIONING"],
        [10, 11, 0, 3, 4, "INT"],
    ],
}  # fmt: skip
"""As the frontend saves it: a reroute before the prompt, the seed from a primitive, a bypassed second sampler."""


def test_a_graph_as_comfyui_writes_it() -> None:
    assert read_prompt(graph()) == ASKED
    assert read_graph("workflow", json.dumps(WORKFLOW)) == ASKED


def test_other_nodes_that_say_it_directly() -> None:
    sdxl = {"class_type": "CLIPTextEncodeSDXL", "text_g": "a green door", "text_l": "a green door", "width": 1024}
    assert read_prompt(graph(n6=sdxl)) == ASKED
    primitive = {"class_type": "PrimitiveString", "value": "a green door"}
    assert read_prompt(graph(n6={"text": ["20", 0]}, n20=primitive)) == ASKED
    advanced = graph(n3={"class_type": "KSamplerAdvanced", "noise_seed": 7, "add_noise": "enable"})
    del advanced["3"]["inputs"]["seed"]
    assert read_prompt(advanced) == ASKED
    empty = read_prompt(graph(n7={"class_type": "ConditioningZeroOut", "conditioning": ["6", 0]}))
    assert empty == Request("a green door", 7, Size(832, 1216), "")


def test_a_sampler_of_several_parts() -> None:
    nodes = graph(
        n3={"class_type": "SamplerCustomAdvanced", "noise": ["20", 0], "guider": ["21", 0]},
        n20={"class_type": "RandomNoise", "noise_seed": 7},
        n21={"class_type": "CFGGuider", "positive": ["6", 0], "negative": ["7", 0], "cfg": 7},
    )
    for name in ("seed", "positive", "negative"):
        del nodes["3"]["inputs"][name]
    assert read_prompt(nodes) == ASKED


def test_a_second_pass_does_not_count() -> None:
    """The size is that of the first pass, as in `Request`."""
    refiner = {
        "class_type": "KSampler", "seed": 8, "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["30", 0],
    }  # fmt: skip
    upscaled = {"class_type": "LatentUpscale", "samples": ["3", 0], "width": 1664, "height": 2432}
    assert read_prompt(graph(n31=refiner, n30=upscaled)) == ASKED


@pytest.mark.parametrize(
    "nodes",
    [
        graph(n5={"batch_size": 4}),
        graph(n5={"class_type": "VAEEncode", "pixels": ["20", 0]}, n20={"class_type": "LoadImage"}),
        graph(n6={"class_type": "CLIPTextEncodeSDXL", "text_g": "a green door", "text_l": "a red door"}),
        graph(n6={"text": ["20", 0]}, n20={"class_type": "Wildcards", "text": "a __colour__ door", "seed": 3}),
        graph(n6={"class_type": "ConditioningCombine", "conditioning_1": ["7", 0]}),
        graph(n3={"seed": -1}),
        graph(n3={"seed": 7.5}),
        graph(n3={"seed": True}),
        graph(n3={"seed": ["99", 0]}),
        graph(n6={"text": ["6", 0]}),
        graph(n40={"class_type": "KSampler", "positive": ["6", 0], "latent_image": ["5", 0], "seed": 1}),
        {},
        [],
        {"1": 3},
        None,
    ],
)  # fmt: skip
def test_what_is_not_said_directly_is_not_guessed(nodes: Any) -> None:
    assert read_prompt(nodes) is None


def test_graphs_that_are_none() -> None:
    circle = graph(n6={"class_type": "Reroute", "value": ["6", 0]})
    assert read_prompt(circle) is None
    assert read_graph("prompt", "{") is None
    assert read_graph("prompt", "[" * 100_000) is None
    assert read_graph("workflow", '{"nodes": 3, "links": []}') is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=12,
    ),
    st.sampled_from(["prompt", "workflow"]),
)
def test_any_json_is_read_without_an_error(values: Any, chunk: str) -> None:
    assert read_graph(chunk, json.dumps(values)) is None


@given(
    st.sampled_from(["seed", "positive", "negative", "latent_image"]), st.one_of(st.none(), st.text(), st.integers())
)
def test_a_broken_sampler_is_no_error(name: str, value: Any) -> None:
    found = read_prompt(graph(n3={name: value}))
    assert found is None or (name == "seed" and found.seed == value)


def test_pngs_by_their_text(tmp_path: Path) -> None:
    """A1111's text goes before the graph, which is read where the text says nothing; other PNGs are passed over."""
    text = "a red door\nNegative prompt: bad\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x128"
    nodes = json.dumps(graph())
    both = save(tmp_path / "a" / "both.png", parameters=text, prompt=nodes)
    drawn = save(tmp_path / "a" / "graph.png", prompt=nodes, workflow="{}")
    unsaid = save(tmp_path / "b.png", parameters="made by hand", prompt=nodes)
    screen = save(tmp_path / "c.png", prompt=json.dumps(graph(n3={"seed": -1})), workflow=json.dumps(WORKFLOW))
    save(tmp_path / "other.png")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert list(find_pictures(tmp_path)) == [
        FoundPicture(both, Request("a red door", 3, Size(64, 128), "bad"), True),
        FoundPicture(drawn, ASKED, True),
        FoundPicture(unsaid, ASKED, True),
        FoundPicture(screen, ASKED, True),
    ]


def test_a_folder_with_an_index(tmp_path: Path) -> None:
    save(tmp_path / "x.png")
    line = {"file": "x.png", "prompt": "a", "seed": 1, "width": 64, "height": 72}
    lines = [line, {**line, "seed": 2, "negative": "b"}]
    (tmp_path / "images.jsonl").write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert list(find_pictures(tmp_path)) == [
        FoundPicture(tmp_path / "x.png", Request("a", 1, Size(64, 72)), False),
        FoundPicture(tmp_path / "x.png", Request("a", 2, Size(64, 72), "b"), True),
    ]


def test_a_folder_that_we_drew(tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    samples.publish(folder, [ASKED], [(0, np.zeros((8, 8, 3), np.uint8))], settings={}, columns=1)
    assert list(find_pictures(folder)) == [FoundPicture(folder / "00000.png", ASKED, True)]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"x.png: cannot be opened as a PNG"):
        list(find_pictures(tmp_path))
    (tmp_path / "images.jsonl").write_text('{"file": "x.png"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"images.jsonl:1: is no line of a picture"):
        list(find_pictures(tmp_path))
