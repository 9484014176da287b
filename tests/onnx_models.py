"""Tiny networks in ONNX whose answers can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def save_network(path: Path, shape: Sequence[int | str], nodes: Sequence[tuple], **weights: np.ndarray) -> Path:
    """Write a network from `pixels` to `output`; a node is (operator, inputs, output, attributes)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(operator, inputs, [output], **attributes) for operator, inputs, output, attributes in nodes
    ]
    graph = helper.make_graph(
        made,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def save_colour_model(
    path: Path,
    slopes: Sequence[Sequence[float]],
    offsets: Sequence[float],
    *,
    shape: Sequence[int | str] = ("b", 8, 8, 3),
    last: str = "Sigmoid",
) -> Path:
    """Of the mean of each channel: last(mean @ slopes + offsets), (b, outputs). `last` is an operator of ONNX."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    return save_network(
        path,
        shape,
        [
            ("ReduceMean", ["pixels"], "means", {"axes": axes, "keepdims": 0}),
            ("MatMul", ["means", "slopes"], "product", {}),
            ("Add", ["product", "offsets"], "sum", {}),
            (last, ["sum"], "output", {}),
        ],
        slopes=np.array(slopes, dtype=np.float32),
        offsets=np.array(offsets, dtype=np.float32),
    )


def save_tag_list(path: Path, tags: Sequence[tuple[str, int]]) -> Path:
    """A selected_tags.csv of (name, category)."""
    lines = ["tag_id,name,category,count", *(f"{at},{name},{kind},{at * 10}" for at, (name, kind) in enumerate(tags))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


RATINGS = [("general", 9), ("sensitive", 9), ("questionable", 9), ("explicit", 9)]


def save_tagger(folder: Path, *, shape: Sequence[int | str] = ("b", 8, 8, 3)) -> dict[str, dict[str, str]]:
    """`model` and `tags` of a tagger with two tags for each colour: sigmoid((mean - 128) / 32) for 1girl (blue),
    solo (green), ^_^ (red), and the same minus 2 for hatsune_miku (blue), smile (green), red_hair (red); its ratings
    are 0.5, 0.6, 0.4, 0.3 whatever it sees."""
    slope = 1 / 32
    colours = np.zeros((3, 10))
    offsets = np.zeros(10)
    offsets[:4] = np.log(np.array([0.5, 0.6, 0.4, 0.3]) / (1 - np.array([0.5, 0.6, 0.4, 0.3])))
    for channel in range(3):
        colours[channel, 4 + channel] = colours[channel, 7 + channel] = slope
        offsets[4 + channel], offsets[7 + channel] = -4, -6
    tags = [*RATINGS, ("1girl", 0), ("solo", 0), ("^_^", 0), ("hatsune_miku", 4), ("smile", 0), ("red_hair", 0)]
    return {
        "model": {"path": str(save_colour_model(folder / "model.onnx", colours, offsets, shape=shape))},
        "tags": {"path": str(save_tag_list(folder / "selected_tags.csv", tags))},
    }


def save_ccip(folder: Path) -> dict[str, dict[str, str]]:
    """`feature` and `metric` of a CCIP whose feature is the mean of each channel of its input, and whose difference of
    two features is the mean of |a - b| over their numbers."""
    feature = save_network(
        folder / "model_feat.onnx",
        ("b", 3, "h", "w"),
        [("ReduceMean", ["pixels"], "output", {"axes": [2, 3], "keepdims": 0})],
    )
    metric = save_network(
        folder / "model_metrics.onnx",
        ("n", 3),
        [
            ("Unsqueeze", ["pixels", "one"], "rows", {}),
            ("Unsqueeze", ["pixels", "zero"], "columns", {}),
            ("Sub", ["rows", "columns"], "gaps", {}),
            ("Abs", ["gaps"], "sizes", {}),
            ("ReduceMean", ["sizes"], "output", {"axes": [2], "keepdims": 0}),
        ],
        one=np.array([1]),
        zero=np.array([0]),
    )
    return {"feature": {"path": str(feature)}, "metric": {"path": str(metric)}}
