"""CCIP: its input worked out by hand, and two tiny networks whose features and differences are formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from animetune.errors import DataError
from animetune.vision.ccip import BLOCK, Ccip, CcipConfig, ccip_input, load_ccip, threshold_of
from animetune.vision.picture_input import CLIP_MEAN, CLIP_STD, fitted, on_white
from tests.onnx_models import save_ccip

MEAN, STD = np.array(CLIP_MEAN), np.array(CLIP_STD)


class Euclid:
    """A metric network of our own: distances of all rows; it notes what it was asked."""

    def __init__(self, rows: int | None = None, width: int | None = None):
        self.input_shape = (rows, width)
        self.asked: list[np.ndarray] = []

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self.asked.append(batch)
        return [np.sqrt(((batch[:, None] - batch[None]) ** 2).sum(axis=2)).astype(np.float32)]


class Means:
    """A feature network of our own: the mean of each channel."""

    input_shape = (None, 3, None, None)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        return [batch.mean(axis=(2, 3))]


def made(rows: int | None = None, threshold: float = 1.0) -> Ccip:
    return Ccip(Means(), Euclid(rows), threshold)


def picture(colour, size=(5, 9)) -> Image.Image:
    return Image.new("RGB", size, colour)


def numbers(colour) -> np.ndarray:
    return (np.array(colour) / 255 - MEAN) / STD


def test_input_is_clips_numbers_of_a_square() -> None:
    found = ccip_input(picture((255, 0, 51)), (384, 384))
    assert found.shape == (3, 384, 384)
    assert found.dtype == np.float32
    assert found[:, 0, 0] == pytest.approx(
        [(1 - 0.48145466) / 0.26862954, -0.4578275 / 0.26130258, -0.7549964], abs=1e-5
    )
    assert (found == found[:, :1, :1]).all()


def test_input_is_stretched_by_a_triangle() -> None:
    """Pillow's bilinear of 4 to 2: a triangle of twice the width, of pixels 0, 40, 80, 120."""
    image = Image.fromarray(np.array([[[level] * 3 for level in (0, 40, 80, 120)]], dtype=np.uint8))
    weights = np.array([0.75, 0.75, 0.25])  # of the first three, at distances -.5, .5, 1.5 in pixels, over 2
    left = (weights @ [0, 40, 80]) / weights.sum()
    found = ccip_input(image, (2, 1)) * STD[:, None, None] + MEAN[:, None, None]
    assert found[0, 0] * 255 == pytest.approx([left, 120 - left], abs=0.51)


def test_what_is_transparent_is_white() -> None:
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert on_white(half).getpixel((0, 0)) == (255, 127, 127)
    clear = Image.new("LA", (4, 4), (0, 0))
    assert on_white(clear).getpixel((1, 1)) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.info["transparency"] = 0
    assert on_white(palette).getpixel((0, 0)) == (255, 255, 255)
    assert on_white(Image.new("L", (2, 2), 7)).getpixel((0, 0)) == (7, 7, 7)


def test_features_and_differences_in_onnx(tmp_path: Path) -> None:
    """The feature is the mean of the channels; a difference the mean of |a - b| over them."""
    ccip = load_ccip(CcipConfig(name="tiny", **save_ccip(tmp_path), threshold=0.5), "cpu", 4)
    colours = [(255, 0, 0), (0, 0, 255), (10, 200, 30)]
    found = ccip.features([picture(colour) for colour in colours])
    assert found.dtype == np.float32
    assert found == pytest.approx(np.stack([numbers(colour) for colour in colours]), abs=1e-3)
    by_hand = [[np.abs(numbers(a) - numbers(b)).mean() for b in colours] for a in colours]
    assert ccip.differences(found, found) == pytest.approx(np.array(by_hand), abs=1e-3)
    assert ccip.differences(found[:1], found[1:]) == pytest.approx(np.array(by_hand)[:1, 1:], abs=1e-3)
    assert ccip.threshold == 0.5


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, BLOCK + 1), (BLOCK, BLOCK), (2 * BLOCK + 3, 5), (70, 70)])
@pytest.mark.parametrize("rows", [None, 2, 7])
def test_differences_do_not_depend_on_blocks(n: int, m: int, rows: int | None) -> None:
    rng = np.random.default_rng(n * 1000 + m)
    a, b = rng.normal(size=(n, 6)).astype(np.float32), rng.normal(size=(m, 6)).astype(np.float32)
    found = made(rows).differences(a, b)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.sqrt(((a[:, None].astype(np.float64) - b[None]) ** 2).sum(axis=2)), abs=1e-5)
    assert made(rows).differences(a, b[:1]).tobytes() == found[:, :1].tobytes()


def test_the_metric_network_reads_blocks_of_one_size() -> None:
    metric = Euclid()
    Ccip(Means(), metric, 1.0).differences(np.ones((3, 4), np.float32), np.zeros((BLOCK + 1, 4), np.float32))
    assert [batch.shape for batch in metric.asked] == [(2 * BLOCK, 4)] * 2
    assert (metric.asked[0][:BLOCK] == 1).all()
    assert (metric.asked[1][BLOCK:] == 0).all()


@given(st.integers(0, 4), st.integers(0, 4))
def test_shapes_of_nothing(n: int, m: int) -> None:
    assert made().differences(np.zeros((n, 3), np.float32), np.zeros((m, 3), np.float32)).shape == (n, m)
    assert len(made().features([picture((n, m, 0))] * n)) == n


def test_what_it_is_asked_together_with_changes_nothing(tmp_path: Path) -> None:
    ccip = load_ccip(CcipConfig(name="tiny", **save_ccip(tmp_path), threshold=0.5), "cpu", 4)
    pictures = [picture((n * 20, 255 - n * 20, n), (3 + n, 9)) for n in range(11)]
    whole = ccip.features(pictures)
    assert ccip.features(pictures[3:5]).tobytes() == whole[3:5].tobytes()
    assert ccip.features(pictures[::-1])[::-1].tobytes() == whole.tobytes()


def test_the_threshold_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"threshold": 0.17847511429108218, "f1": 0.9}))
    files = save_ccip(tmp_path)
    cfg = CcipConfig(name="tiny", **files, meta={"path": str(tmp_path / "metrics.json")})
    assert threshold_of(cfg) == 0.17847511429108218
    assert load_ccip(cfg, "cpu", 1).threshold == 0.17847511429108218
    for wrong in ("{}", "[]", "nothing", '{"threshold": "low"}', '{"threshold": true}', '{"threshold": -1}'):
        (tmp_path / "metrics.json").write_text(wrong)
        with pytest.raises(DataError, match=r"metrics.json: .*threshold"):
            threshold_of(cfg)


@pytest.mark.parametrize("given", [{}, {"threshold": 0.1, "meta": {"path": "m.json"}}])
def test_one_threshold(tmp_path: Path, given: dict) -> None:
    with pytest.raises(pydantic.ValidationError, match="give `threshold`, or `meta`"):
        CcipConfig(name="tiny", feature={"path": "f.onnx"}, metric={"path": "m.onnx"}, **given)


def test_files_of_other_models(tmp_path: Path) -> None:
    files = save_ccip(tmp_path)
    with pytest.raises(DataError, match=r"metric reads \(None, 3, None, None\), and CCIP's model_metrics.onnx"):
        load_ccip(CcipConfig(name="x", feature=files["feature"], metric=files["feature"], threshold=1), "cpu", 1)
    with pytest.raises(DataError, match=r"feature reads \(None, 3\), and CCIP's model_feat.onnx"):
        load_ccip(CcipConfig(name="x", feature=files["metric"], metric=files["metric"], threshold=1), "cpu", 1)
    with pytest.raises(DataError, match=r"feature gives \(3,\) values for a picture, and metric reads 768"):
        Ccip(Means(), Euclid(None, 768), 1.0).features([picture((0, 0, 0))])

    class Wrong(Euclid):
        def run(self, batch: np.ndarray) -> list[np.ndarray]:
            return [batch]

    with pytest.raises(DataError, match=r"metric gives \(64, 3\) for 64 features"):
        Ccip(Means(), Wrong(), 1.0).differences(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32))


def test_nan_is_named() -> None:
    with pytest.raises(DataError, match="ccip: metric gives NaN"):
        made().differences(np.full((1, 3), np.nan, np.float32), np.ones((1, 3), np.float32))


def test_fitting() -> None:
    wide = Image.new("RGB", (40, 10), (9, 9, 9))
    wide.paste((200, 0, 0), (15, 0, 25, 10))
    assert np.asarray(fitted(wide, (10, 10), "crop", "bicubic")).reshape(-1, 3).tolist() == [[200, 0, 0]] * 100
    padded = np.asarray(fitted(wide, (20, 20), "pad", "bilinear"))
    assert (padded[:7] == 255).all()
    assert (padded[7:12, 10] == [200, 0, 0]).all()
    assert (padded[12:] == 255).all()
    assert fitted(wide, (8, 8), "stretch", "lanczos").size == (8, 8)
    assert fitted(Image.new("RGB", (1000, 1)), (8, 8), "pad", "bicubic").size == (8, 8)
