"""Taggers: preprocessing against numbers made by hand, and tiny networks in onnxruntime whose answers are formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animetune.assets import Asset
from animetune.errors import DataError
from animetune.vision.session import open_session
from animetune.vision.taggers import Tagger, TaggerConfig, TagList, load_tagger, wd_input
from tests.onnx_models import save_colour_model, save_tag_list, save_tagger


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def picture(width: int, height: int, colour=(10, 20, 30)) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def tagger(folder: Path, batch: int = 4, **made) -> Tagger:
    return load_tagger(TaggerConfig(name="tiny", **save_tagger(folder, **made)), "cpu", batch)


def test_input_is_bgr_in_the_middle_of_a_white_square():
    image = Image.new("RGB", (4, 2))
    image.putdata([(n, n + 50, n + 100) for n in range(8)])
    found = wd_input(image, 4)
    assert found.dtype == np.float32
    assert found.shape == (4, 4, 3)
    assert (found[[0, 3]] == 255).all()
    assert found[1].tolist() == [[100 + n, 50 + n, n] for n in range(4)]
    assert found[2].tolist() == [[104 + n, 54 + n, 4 + n] for n in range(4)]


def test_an_odd_border_is_wider_below_and_right():
    assert (wd_input(picture(1, 4), 4)[0, :, 0] == [255, 30, 255, 255]).all()
    assert (wd_input(picture(4, 1), 4)[:, 0, 0] == [255, 30, 255, 255]).all()


def test_bicubic_weights_of_a_halved_edge():
    """Pillow's bicubic (a = -0.5) with the support of the smaller picture, at a step from 0 to 200 of 8 pixels."""
    levels = np.repeat(np.array([0, 0, 0, 0, 200, 200, 200, 200], dtype=np.uint8)[None], 8, axis=0)
    found = wd_input(Image.fromarray(np.stack([levels] * 3, axis=2)), 4)[0, :, 0]

    def keys(x: float) -> float:
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    for at, level in enumerate(found):
        weights = np.array([keys((n + 0.5 - (2 * at + 1)) / 2) for n in range(8)])
        expected = weights @ levels[0] / weights.sum()
        assert level == pytest.approx(np.clip(expected, 0, 255), abs=0.51)


def test_probabilities_are_the_formula(tmp_path: Path):
    found = tagger(tmp_path).probabilities([picture(9, 9, (128, 160, 255)), picture(5, 5, (0, 0, 192))])
    assert found.shape == (2, 10)
    assert found[0, :4] == pytest.approx([0.5, 0.6, 0.4, 0.3], abs=1e-6)
    assert found[0, 4:7] == pytest.approx([sigmoid(255 / 32 - 4), sigmoid(1), sigmoid(0)], abs=1e-6)
    assert found[0, 7:] == pytest.approx([sigmoid(255 / 32 - 6), sigmoid(-1), sigmoid(-2)], abs=1e-6)
    assert found[1, 4] == pytest.approx(sigmoid(2), abs=1e-6)


def test_what_it_is_asked_together_with_changes_nothing(tmp_path: Path):
    images = [picture(7 + n, 9, (n * 20, 255 - n * 20, n)) for n in range(11)]
    whole = tagger(tmp_path / "a").probabilities(images)
    assert tagger(tmp_path / "a").probabilities(images[::-1])[::-1].tobytes() == whole.tobytes()
    for count in (1, 3, 5):
        assert tagger(tmp_path / "a").probabilities(images[:count]).tobytes() == whole[:count].tobytes()


def test_a_model_with_a_batch_of_its_own(tmp_path: Path):
    images = [picture(7, 9, (n * 20, 255 - n * 20, n)) for n in range(5)]
    free = tagger(tmp_path / "free").probabilities(images)
    for own in (1, 2):
        found = tagger(tmp_path / f"own{own}", shape=(own, 8, 8, 3)).probabilities(images)
        assert found == pytest.approx(free, abs=1e-6)


def test_no_pictures(tmp_path: Path):
    assert tagger(tmp_path).probabilities([]).shape == (0, 10)


def test_tags_stay_as_the_site_writes_them(tmp_path: Path):
    tags = TagList.read(save_tag_list(tmp_path / "t.csv", [("^_^", 0), (">_<", 0), ("long_hair", 0), ("miku", 4)]))
    assert tags.names == ("^_^", ">_<", "long_hair", "miku")
    assert tags.kinds == ("general", "general", "general", "character")


def test_a_list_of_another_length(tmp_path: Path):
    own = save_tagger(tmp_path)
    save_tag_list(tmp_path / "selected_tags.csv", [("1girl", 0), ("solo", 0)])
    with pytest.raises(DataError, match=r"tiny: the model gives \(10,\) values for a picture, and its list has 2 tags"):
        load_tagger(TaggerConfig(name="tiny", **own), "cpu", 3).probabilities([picture(8, 8)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"has the columns \['a', 'b'\], not name and category"),
        ("name,category\nx,7\n", r":2: 'x' of category '7'; known categories are 0 \(general\)"),
        ("name,category\n,0\n", r":2: '' of category '0'"),
        ("", "has the columns None"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, text: str, message: str):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        TagList.read(tmp_path / "t.csv")


def test_logits_are_no_probabilities(tmp_path: Path):
    path = save_colour_model(tmp_path / "m.onnx", np.eye(3), [0, 0, 0], last="Identity")
    tags = TagList(("a", "b", "c"), ("general",) * 3)
    with pytest.raises(DataError, match=r"m: gives values from 10 to 30, which are no probabilities"):
        Tagger(open_session(Asset(path=path), "cpu"), tags, 1, "m").probabilities([picture(8, 8)])


def test_a_model_of_another_layout(tmp_path: Path):
    path = save_colour_model(tmp_path / "m.onnx", np.eye(3), [0, 0, 0], shape=("b", 3, 8, 8))
    with pytest.raises(DataError, match=r"reads \(None, 3, 8, 8\), and a WD tagger \(pictures, side, side, 3\)"):
        Tagger(open_session(Asset(path=path), "cpu"), TagList(("a",) * 3, ("general",) * 3))
