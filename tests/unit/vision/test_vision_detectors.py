"""Detectors: letterboxes there and back, both layouts of YOLO, non-maximum suppression against a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from animetune.errors import DataError
from animetune.vision.detectors import (
    Detector,
    DetectorConfig,
    intersection_over_union,
    letterbox_of,
    letterboxed,
    load_detector,
    suppress,
)
from tests.onnx_models import save_network


class Told:
    """A session that gives what it was told, and keeps what it was given."""

    input_shape = (None, 3, None, None)

    def __init__(self, *rows: np.ndarray):
        self.rows = list(rows)
        self.given: list[np.ndarray] = []

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self.given.append(batch)
        return [self.rows[len(self.given) - 1][None]]


def yolov8(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array(boxes, dtype=np.float32).T


def test_yolov8_boxes_come_back_to_the_picture():
    """1280 x 640 into 640: scaled by a half, 160 rows of grey above."""
    session = Told(
        yolov8(
            (320, 320, 100, 60, 0.9, 0.1),
            (324, 320, 100, 60, 0.8, 0.1),
            (100, 320, 20, 20, 0.1, 0.7),
            (9, 9, 9, 9, 0.2, 0.1),
        )
    )
    found = Detector(session, ["face", "head"]).detect([Image.new("RGB", (1280, 640), (255, 0, 0))])
    assert [(box.label, round(box.score, 3)) for box in found[0]] == [("face", 0.9), ("head", 0.7)]
    assert found[0][0][:4] == pytest.approx((540, 260, 740, 380))
    assert found[0][1][:4] == pytest.approx((180, 300, 220, 340))
    (given,) = session.given
    assert given.shape == (1, 3, 640, 640)
    assert given.dtype == np.float32
    assert given[0, :, 159, 5] == pytest.approx(np.array([114, 114, 114]) / 255)
    assert given[0, :, 160, 5].tolist() == [1, 0, 0]


def test_yolov10_boxes_are_corners_already():
    rows = np.array([[10, 10, 30, 50, 0.9, 1], [0, 0, 640, 640, 0.24, 0]], dtype=np.float32)
    (found,) = Detector(Told(rows), ["face", "head"]).detect([Image.new("RGB", (640, 640))])
    assert len(found) == 1
    assert found[0][:4] == pytest.approx((10, 10, 30, 50))
    assert found[0].label == "head"


def test_boxes_end_where_the_picture_ends():
    session = Told(yolov8((320, 160, 700, 100, 0.9)))
    (found,) = Detector(session, ["face"]).detect([Image.new("RGB", (100, 50))])
    assert found[0][:4] == pytest.approx((0, 0, 100, 7.8125))


def test_overlapping_boxes_of_two_labels_both_stay():
    session = Told(yolov8((50, 50, 20, 20, 0.9, 0), (50, 50, 20, 20, 0, 0.8), (50, 50, 20, 20, 0.7, 0)))
    (found,) = Detector(session, ["face", "text"]).detect([Image.new("RGB", (640, 640))])
    assert [box.label for box in found] == ["face", "text"]


def test_other_layouts_are_named():
    with pytest.raises(DataError, match=r"detector: gives \(1, 7, 3\) for 2 labels, not \(b, 6, n\) or \(b, n, 6\)"):
        Detector(Told(np.zeros((7, 3), np.float32)), ["a", "b"]).detect([Image.new("RGB", (8, 8))])
    with pytest.raises(DataError, match="finds label 4, and 2 have names"):
        Detector(Told(np.array([[0, 0, 9, 9, 1, 4]], np.float32)), ["a", "b"]).detect([Image.new("RGB", (8, 8))])
    with pytest.raises(DataError, match="gives NaN or infinity"):
        Detector(Told(np.full((6, 3), np.nan, np.float32)), ["a", "b"]).detect([Image.new("RGB", (8, 8))])


def test_no_pictures_and_no_boxes():
    assert Detector(Told(), ["a"]).detect([]) == []
    assert Detector(Told(np.zeros((5, 0), np.float32)), ["a"]).detect([Image.new("RGB", (8, 8))]) == [[]]


def test_a_network_in_onnxruntime(tmp_path: Path):
    """Its only box is where its weights say, and its score the mean of the picture's red."""
    box = np.array([[[16.0], [16.0], [8.0], [4.0]]], dtype=np.float32)
    nodes = [
        ("Slice", ["pixels", "zero", "one", "axis"], "red", {}),
        ("ReduceMean", ["red"], "mean", {"axes": [2, 3], "keepdims": 0}),
        ("Unsqueeze", ["mean", "last"], "score", {}),
        ("Concat", ["box", "score"], "output", {"axis": 1}),
    ]
    int64 = {
        name: np.array([value], dtype=np.int64) for name, value in {"zero": 0, "one": 1, "axis": 1, "last": 2}.items()
    }
    path = save_network(tmp_path / "m.onnx", (1, 3, 32, 32), nodes, box=box, **int64)
    detector = load_detector(DetectorConfig(asset={"path": path}, labels=("face",), device="cpu"))
    found = detector.detect([Image.new("RGB", (64, 64), (204, 0, 0)), Image.new("RGB", (64, 64), (51, 0, 0))])
    assert [len(boxes) for boxes in found] == [1, 0]
    assert found[0][0][:5] == pytest.approx((24, 28, 40, 36, 0.8), abs=1e-6)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([32, 640]))
def test_a_letterbox_holds_the_whole_picture(width: int, height: int, side: int):
    fit = letterbox_of((width, height), side)
    right, bottom = fit.left + width * fit.across, fit.top + height * fit.down
    assert 0 <= fit.left <= right <= side + 1e-6
    assert 0 <= fit.top <= bottom <= side + 1e-6
    assert max(right - fit.left, bottom - fit.top) == pytest.approx(side)
    assert abs(fit.left - (side - right)) <= 1 + 1e-6


def test_a_letterbox_is_grey_around():
    found = letterboxed(Image.new("RGB", (16, 32), (0, 255, 0)), 32)
    assert (found[:, :, :8] == np.float32(114) / 255).all()
    assert (found[1, :, 8:24] == 1).all()


corners = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 20).map(np.float32)
).map(lambda made: np.hstack([made[:, :2], made[:, :2] + made[:, 2:] + 1]))


@given(corners, st.randoms(use_true_random=False), st.sampled_from([0.0, 0.3, 0.7]))
def test_suppression_is_the_plain_loop(boxes: np.ndarray, random, overlap: float):
    scores = np.array([random.randint(0, 5) / 5 for _ in boxes], dtype=np.float32)
    labels = np.array([random.randint(0, 1) for _ in boxes], dtype=np.int64)
    kept: list[int] = []
    for at in sorted(range(len(boxes)), key=lambda at: (-scores[at], at)):
        others = [other for other in kept if labels[other] == labels[at]]
        if all(area_shared(boxes[at], boxes[other]) <= overlap for other in others):
            kept.append(at)
    assert suppress(boxes, scores, labels, overlap) == kept


def area_shared(one: np.ndarray, other: np.ndarray) -> np.float32:
    width = max(min(one[2], other[2]) - max(one[0], other[0]), np.float32(0))
    height = max(min(one[3], other[3]) - max(one[1], other[1]), np.float32(0))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (areas[0] + areas[1] - width * height)


def test_intersection_over_union_by_hand():
    found = intersection_over_union(np.array([0.0, 0, 2, 2]), np.array([[1.0, 1, 3, 3], [5, 5, 6, 6], [0, 0, 2, 2]]))
    assert found == pytest.approx([1 / 7, 0, 1])


def test_a_network_of_another_input_is_named():
    class Tagger:
        input_shape = (None, 8, 8, 3)

        def run(self, batch: np.ndarray) -> list[np.ndarray]:
            raise AssertionError("is not asked")

    detector = Detector(Tagger(), ["face"], name="tagger.onnx")
    with pytest.raises(DataError, match=r"tagger\.onnx: reads \(None, 8, 8, 3\), not \(b, 3, side, side\)"):
        detector.detect([Image.new("RGB", (10, 10))])
