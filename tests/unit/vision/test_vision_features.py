"""Features: tiny networks whose vectors are formulas, transformers' own CLIP, and Inception's pools by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydantic
import pytest
from PIL import Image

from animetune.errors import ConfigError, DataError, SetupError
from animetune.vision.features import (
    ClipFeaturesConfig,
    FeaturesConfig,
    InceptionFeaturesConfig,
    OnnxFeaturesConfig,
    digests,
    load_features,
)
from animetune.vision.features_onnx import OnnxFeatures, pooled
from animetune.vision.picture_input import CLIP_MEAN, CLIP_STD, Numbers, fitted, normalised
from tests.onnx_models import save_colour_model, save_network

CONFIGS: pydantic.TypeAdapter = pydantic.TypeAdapter(FeaturesConfig)
LEVELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}


def picture(colour, size=(5, 9)) -> Image.Image:
    return Image.new("RGB", size, colour)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, size=(height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def onnx(path: Path, **settings) -> OnnxFeaturesConfig:
    return OnnxFeaturesConfig(name="tiny", model={"path": str(path)}, **settings)


class Fake:
    """A session of our own with two outputs: the mean of each channel, and every pixel as a token."""

    input_shape = (None, 3, 4, 4)
    output_names = ("pooled", "tokens")

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        return [batch.mean(axis=(2, 3)), batch.reshape(len(batch), 3, 16).transpose(0, 2, 1)]


def test_onnx_reads_levels_as_it_says(tmp_path: Path) -> None:
    slopes = np.array([[1, 0], [0, 1], [10, 0]])
    nchw = save_colour_model(tmp_path / "a.onnx", slopes, [0, 5], shape=("b", 3, 8, 8), last="Identity")
    nhwc = save_colour_model(tmp_path / "b.onnx", slopes, [0, 5], last="Identity")
    one = load_features(onnx(nchw, **LEVELS), "cpu", 2).features(
        [picture((1, 2, 3)), picture((9, 0, 4)), picture((0, 0, 0))]
    )
    assert one == pytest.approx(np.array([[31, 7], [49, 5], [0, 5]]), abs=1e-4)
    assert one.dtype == np.float32
    two = load_features(onnx(nhwc, layout="nhwc", channels="bgr", **LEVELS), "cpu", 2).features([picture((1, 2, 3))])
    assert two == pytest.approx(np.array([[13, 7]]), abs=1e-4)
    three = load_features(onnx(nchw), "cpu", 2).features([picture((255, 0, 255))])
    red, green, blue = ((np.array([1, 0, 1]) - CLIP_MEAN) / CLIP_STD).tolist()
    assert three == pytest.approx(np.array([[red + 10 * blue, green + 5]]), abs=1e-4)


def test_numbers_are_of_the_channels_in_their_order() -> None:
    numbers = Numbers((0.5, 0.0, 0.0), (1.0, 1.0, 2.0), "bgr", "nhwc")
    found = normalised(picture((255, 51, 102), (1, 1)), numbers)
    assert found == pytest.approx(np.array([[[0.4 - 0.5, 0.2, 0.5]]]), abs=1e-6)


def test_what_it_is_asked_together_with_changes_nothing(tmp_path: Path) -> None:
    path = save_colour_model(tmp_path / "a.onnx", np.eye(3), [0, 0, 0], shape=("b", 3, 8, 8))
    features = load_features(onnx(path), "cpu", 4)
    pictures = [noise(9 + place, 14, place) for place in range(10)]
    whole = features.features(pictures)
    assert features.features(pictures[::-1])[::-1].tobytes() == whole.tobytes()
    assert features.features(pictures[2:5]).tobytes() == whole[2:5].tobytes()
    assert len(features.features([])) == 0


def test_outputs_by_name_and_pools() -> None:
    def of(**settings) -> np.ndarray:
        return OnnxFeatures(Fake(), onnx(Path("x.onnx"), **LEVELS, **settings), 3).features([image])

    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    assert of(output="pooled") == pytest.approx(np.array([[22.5, 23.5, 24.5]]), abs=1e-4)
    assert of(output="tokens", pool="first") == pytest.approx(np.array([[0, 1, 2]]), abs=1e-4)
    assert of(output="tokens", pool="mean") == pytest.approx(np.array([[22.5, 23.5, 24.5]]), abs=1e-4)
    with pytest.raises(
        ConfigError, match=r"features.output: tiny has more than one output; name one of pooled, tokens"
    ):
        of()
    with pytest.raises(ConfigError, match=r"tiny has no output 'last'; name one of pooled, tokens"):
        of(output="last")


@pytest.mark.parametrize(
    ("shape", "pool", "message"),
    [
        ((2, 5, 3), None, r"gives \(2, 5, 3\) for 2 pictures with pool: None; set features.pool: first or mean"),
        ((2, 3), "mean", "set features.pool: null"),
        ((2, 3, 4, 4), "first", "set features.pool: mean"),
        ((2,), None, "choose another output$"),
    ],
)
def test_a_pool_that_does_not_fit(shape: tuple[int, ...], pool: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pooled(np.zeros(shape), onnx(Path("x.onnx"), pool=pool))


def test_places_are_averaged() -> None:
    found = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    assert pooled(found, onnx(Path("x.onnx"), pool="mean")).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]


def test_networks_of_another_kind(tmp_path: Path) -> None:
    nhwc = save_colour_model(tmp_path / "b.onnx", np.eye(3), [0, 0, 0])
    with pytest.raises(DataError, match=r"tiny: reads \(None, 8, 8, 3\), not pictures as nchw with 3 channels"):
        load_features(onnx(nhwc), "cpu", 1)
    broken = save_network(tmp_path / "nan.onnx", ("b", 3, 2, 2), [
        ("ReduceMean", ["pixels"], "means", {"axes": [2, 3], "keepdims": 0}),
        ("Log", ["means"], "output", {}),
    ])  # fmt: skip
    with pytest.raises(DataError, match="tiny: gives NaN or infinity for a picture"):
        load_features(onnx(broken), "cpu", 1).features([picture((0, 0, 0))])
    with pytest.raises(SetupError, match=r"there is no such file"):
        load_features(onnx(tmp_path / "none.onnx"), "cpu", 1)


def test_kinds_and_digests(tmp_path: Path) -> None:
    path = save_colour_model(tmp_path / "a.onnx", np.eye(3), [0, 0, 0], shape=("b", 3, 8, 8))
    given = {"name": "a", "model": {"path": str(path)}}
    assert isinstance(CONFIGS.validate_python({"kind": "onnx", **given}), OnnxFeaturesConfig)
    assert isinstance(CONFIGS.validate_python({"kind": "clip", **given}), ClipFeaturesConfig)
    assert isinstance(CONFIGS.validate_python({"kind": "inception", **given}), InceptionFeaturesConfig)
    same = digests(onnx(path)) == digests(CONFIGS.validate_python({"kind": "onnx", **given, "name": "b"}))
    assert same
    for change in ({"size": 32}, {"fit": "pad"}, {"filter": "lanczos"}, {"channels": "bgr"}, {"mean": (0, 0, 0)}):
        assert digests(onnx(path)) != digests(onnx(path, **change))
    save_colour_model(path, 2 * np.eye(3), [0, 0, 0], shape=("b", 3, 8, 8))
    assert digests(onnx(path))["model"] != digests(onnx(save_colour_model(
        tmp_path / "c.onnx", np.eye(3), [0, 0, 0], shape=("b", 3, 8, 8))))["model"]  # fmt: skip
    with pytest.raises(pydantic.ValidationError, match="std"):
        onnx(path, std=(1, 0, 1))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP with random weights, saved as transformers saves one."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("clip")
    sides = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    cfg = transformers.CLIPConfig(
        text_config={**sides, "vocab_size": 40},
        vision_config={**sides, "image_size": 32, "patch_size": 8, "projection_dim": 6},
        projection_dim=6,
    )
    transformers.CLIPModel(cfg).save_pretrained(folder, safe_serialization=True)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def clip_config(folder: Path, **settings) -> ClipFeaturesConfig:
    return ClipFeaturesConfig(kind="clip", name="clip", model={"path": str(folder / "model.safetensors")}, **settings)


def test_clip_is_that_of_transformers(clip: Path) -> None:
    """The same model and picture by transformers alone, its image processor too."""
    import torch
    import transformers

    pictures = [noise(50, 70), noise(64, 40, 1), noise(32, 32, 2), noise(20, 33, 3)]
    processor = transformers.CLIPImageProcessor.from_pretrained(clip)
    model = transformers.CLIPModel.from_pretrained(clip, use_safetensors=True).eval()
    with torch.inference_mode():
        read = processor(images=pictures, return_tensors="pt")["pixel_values"]
        expected = model.get_image_features(pixel_values=read).numpy()
    features = load_features(clip_config(clip), "cpu", 3)
    assert features.features(pictures) == pytest.approx(expected, abs=2e-5)
    numbers = Numbers(CLIP_MEAN, CLIP_STD)
    for image, pixels in zip(pictures, read.numpy(), strict=True):
        assert normalised(fitted(image, (32, 32), "crop", "bicubic"), numbers) == pytest.approx(pixels, abs=1e-5)
    stretched = load_features(clip_config(clip, fit="stretch"), "cpu", 3).features(pictures)
    assert stretched[2] == pytest.approx(expected[2], abs=2e-5)
    assert np.abs(stretched[0] - expected[0]).max() > 1e-3


def test_clip_by_its_own_numbers(clip: Path, tmp_path: Path) -> None:
    for file in clip.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    own = tmp_path / "preprocessor_config.json"
    own.write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}))
    usual, other = (load_features(clip_config(each), "cpu", 1).features([noise(32, 32)]) for each in (clip, tmp_path))
    assert np.abs(usual - other).max() > 1e-3
    for wrong in ("[]", "{", '{"image_std": [0, 1, 1]}', '{"image_mean": [1]}', '{"image_mean": ["a", "b", "c"]}'):
        own.write_text(wrong)
        load_features.__globals__["_loaded"].cache_clear()
        with pytest.raises(DataError, match=r"preprocessor_config\.json"):
            load_features(clip_config(tmp_path), "cpu", 1)


def test_clips_that_are_not_whole(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((clip / "model.safetensors").read_bytes())
    with pytest.raises(SetupError, match=r"with config.json and preprocessor_config.json beside it"):
        load_features(clip_config(tmp_path), "cpu", 1)
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((clip / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="transformers cannot open it as a CLIP"):
        load_features(clip_config(tmp_path), "cpu", 1)
    from safetensors.numpy import load_file, save_file

    tensors = load_file(clip / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        DataError, match=r"lacks 1 weights of a CLIP with a projection, such as visual_projection.weight"
    ):
        load_features(clip_config(tmp_path), "cpu", 1)


def test_inceptions_pools() -> None:
    """Average pools do not count the border, and the last block takes the maximum; inside, and in the other branches,
    the blocks are torchvision's."""
    import torch
    from torchvision.models import inception

    from animetune.vision.features_inception import _A, _C, _E, _Last

    torch.manual_seed(0)
    for made, theirs, channels, rest in (
        (_A, inception.InceptionA, 4, {"pool_features": 3}),
        (_C, inception.InceptionC, 4, {"channels_7x7": 2}),
        (_E, inception.InceptionE, 4, {}),
        (_Last, inception.InceptionE, 4, {}),
    ):
        ours, plain = made(channels, **rest).eval(), theirs(channels, **rest).eval()
        plain.load_state_dict(ours.state_dict())
        x = torch.rand(1, channels, 6, 6)
        with torch.inference_mode():
            found, expected = ours(x), plain(x)
            pooled_channels = ours.branch_pool(x).shape[1]
            assert torch.equal(found[:, :-pooled_channels], expected[:, :-pooled_channels])
            if made is _Last:
                around = torch.nn.functional.pad(x, (1, 1, 1, 1), value=-torch.inf)
                pool = around.unfold(2, 3, 1).unfold(3, 3, 1).amax(dim=(4, 5))
            else:
                counts = torch.full((6, 6), 9.0)
                counts[[0, -1]] = 6
                counts[:, [0, -1]] *= 2 / 3
                around = torch.nn.functional.pad(x, (1, 1, 1, 1))
                pool = around.unfold(2, 3, 1).unfold(3, 3, 1).sum(dim=(4, 5)) / counts
                assert torch.allclose(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-6)
            assert torch.allclose(found[:, -pooled_channels:], ours.branch_pool(pool), atol=1e-6)


def test_inception_reads_its_file(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models.inception import Inception3

    from animetune.vision.features_inception import build

    torch.manual_seed(0)
    network = build()
    theirs = Inception3(1008, aux_logits=False, init_weights=False).state_dict()
    assert {name: each.shape for name, each in network.state_dict().items()} == {n: e.shape for n, e in theirs.items()}
    path = tmp_path / "inception.safetensors"
    # The published file is older than counters of batches.
    save_file({name: each for name, each in network.state_dict().items() if "num_batches" not in name}, path)
    cfg = InceptionFeaturesConfig(kind="inception", model={"path": str(path)})
    image = noise(80, 60)
    found = load_features(cfg, "cpu", 1).features([image])
    assert found.shape == (1, 2048)
    levels = np.asarray(image.resize((299, 299), Image.Resampling.BICUBIC), dtype=np.float32)
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy((levels - 128) / 128).permute(2, 0, 1)[None]).numpy()
    assert found == pytest.approx(expected, abs=1e-4)
    path.write_bytes(b"no weights")
    load_features.__globals__["_loaded"].cache_clear()
    with pytest.raises(DataError, match=r"is not the Inception of pytorch-fid"):
        load_features(cfg, "cpu", 1)
    save_file({"fc.weight": torch.zeros(2, 2)}, path)
    load_features.__globals__["_loaded"].cache_clear()
    with pytest.raises(DataError, match=r"is not the Inception of pytorch-fid: Error"):
        load_features(cfg, "cpu", 1)
    pickled = tmp_path / "inception.pth"
    pickled.write_bytes(b"anything")
    with pytest.raises(DataError, match=r"pickled weights are not read, they can run code; convert the file"):
        load_features(InceptionFeaturesConfig(kind="inception", model={"path": str(pickled)}), "cpu", 1)
