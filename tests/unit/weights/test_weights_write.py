"""Streaming of weights into both forms: one tensor in memory at a time, exact round trips, losses that are named."""

from __future__ import annotations

import dataclasses
import json
import logging
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from animetune.errors import ConfigError, DataError, SetupError
from animetune.models.config import ModelConfig
from animetune.models.keys import PREFIXES
from animetune.models.lazy import LazyTensor, State
from animetune.models.networks import expected_shapes
from animetune.models.sdxl import COMPONENTS, Component, Parameterization, sdxl_configs
from animetune.models.source import Source
from animetune.models.sources import open_source, source_of
from animetune.models.tiny import build_tiny, tiny_configs
from animetune.weights.config import AboutConfig, WeightsTarget
from animetune.weights.single_file import single_file_entries
from animetune.weights.tensors import Lost
from animetune.weights.write import write_weights

ABOUT = AboutConfig(title="t", license="openrail++")
SINGLE = WeightsTarget(formats=("single_file",), dtype="float32")


@pytest.fixture(scope="module")
def tiny() -> Source:
    return source_of(build_tiny(1))


def changed(source: Source, component: Component, name: str, tensor: Tensor | None) -> Source:
    """`source` with another tensor in one place (None: without it)."""

    def stored(asked: Component) -> State:
        state = dict(source.stored(asked))
        if asked == component:
            state.pop(name, None)
            if tensor is not None:
                state[name] = LazyTensor(tuple(tensor.shape), tensor.dtype, lambda: tensor)
        return state

    return dataclasses.replace(source, stored=stored)


def write(folder: Path, source: Source, target: WeightsTarget = SINGLE, about: AboutConfig = ABOUT) -> Path:
    folder.mkdir()
    write_weights(folder, source, target, about)
    return folder / "model.safetensors"


class _Counting:
    """A source that knows how many bytes of its tensors are alive."""

    def __init__(self, source: Source):
        self.alive = self.most = self.loads = 0
        self.source = dataclasses.replace(source, stored=self._stored(source))

    def _stored(self, source: Source):
        def stored(component: Component) -> State:
            return {name: self._counted(lazy) for name, lazy in source.stored(component).items()}

        return stored

    def _counted(self, lazy: LazyTensor) -> LazyTensor:
        def load() -> Tensor:
            tensor = lazy.load().clone()
            size = tensor.nbytes
            self.loads += 1
            self.alive += size
            self.most = max(self.most, self.alive)
            weakref.finalize(tensor.untyped_storage(), self._gone, size)
            return tensor

        return dataclasses.replace(lazy, load=load)

    def _gone(self, size: int) -> None:
        self.alive -= size


@pytest.mark.parametrize("formats", [("single_file",), ("diffusers",), ("diffusers", "single_file")])
def test_one_tensor_is_in_memory_at_a_time(tiny: Source, tmp_path: Path, formats: tuple[str, ...]) -> None:
    counting = _Counting(tiny)
    write(tmp_path / "out", counting.source, WeightsTarget(formats=formats))
    sizes = [lazy.numel * 4 for component in COMPONENTS for lazy in tiny.state(component).values()]
    assert counting.loads == len(sizes), "each is loaded once, also for both forms"
    assert counting.most <= 1.01 * max(sizes), "q, k and v are together at most, and small"
    assert counting.most < sum(sizes) / 2
    assert counting.alive == 0


def test_nothing_is_loaded_before_it_is_written(tiny: Source) -> None:
    counting = _Counting(tiny)
    for component in COMPONENTS:
        counting.source.state(component)
    single_file_entries(counting.source, dtype=torch.float16, vae_dtype=torch.float32, lost=Lost())
    assert counting.loads == 0


@pytest.mark.parametrize(("dtype", "prediction"), [("float16", "epsilon"), ("bfloat16", "v"), ("float32", "flow")])
def test_single_file_to_folder_and_back_has_equal_bytes(
    tiny: Source, tmp_path: Path, dtype: str, prediction: str
) -> None:
    """With everything that a folder of diffusers has no place for."""
    parameterization = {
        "epsilon": Parameterization(),
        "v": Parameterization("v", True),
        "flow": Parameterization("flow", False, 2.5, True),
    }[prediction]
    source = dataclasses.replace(
        tiny, parameterization=parameterization, logit_scale=4.6054, facts={"step": "12", "weights": "ema-0.99"}
    )
    target = WeightsTarget(dtype=dtype, vae_dtype="bfloat16", formats=("single_file",))
    first = write(tmp_path / "first", source, target)
    again = write(tmp_path / "again", open_source(ModelConfig(base=str(first))), target)
    assert again.read_bytes() == first.read_bytes()
    folder = target.model_copy(update={"formats": ("diffusers",)})
    write(tmp_path / "imported", open_source(ModelConfig(base=str(first))), folder)
    imported = open_source(ModelConfig(base=str(tmp_path / "imported" / "diffusers")))
    assert (imported.parameterization, imported.facts) == (parameterization, source.facts)
    back = write(tmp_path / "back", imported, target)
    assert back.read_bytes() == first.read_bytes()


def test_the_folder_is_the_same_with_and_without_a_single_file(tiny: Source, tmp_path: Path) -> None:
    both, alone = WeightsTarget(), WeightsTarget(formats=("diffusers",))
    write(tmp_path / "both", tiny, both)
    write(tmp_path / "alone", tiny, alone)
    files = sorted(path for path in (tmp_path / "alone" / "diffusers").rglob("*") if path.is_file())
    assert len(files) == 19
    for file in files:
        assert file.read_bytes() == (tmp_path / "both" / file.relative_to(tmp_path / "alone")).read_bytes(), file


def test_logit_scale_is_exact_in_float32(tiny: Source, tmp_path: Path) -> None:
    exact = torch.tensor(4.605432).item()
    path = write(tmp_path / "out", dataclasses.replace(tiny, logit_scale=exact))
    assert load_file(path)[f"{PREFIXES['text_encoder_2']}logit_scale"].item() == exact
    assert open_source(ModelConfig(base=str(path))).logit_scale == exact


# ---- what ComfyUI and others find in a file of the true size


def meta_source(prediction: str = "epsilon", *, zero_terminal_snr: bool = False) -> Source:
    """SDXL's true shapes; nothing can be loaded."""

    def refuse() -> Tensor:
        raise AssertionError("a tensor was loaded")

    def stored(component: Component) -> State:
        shapes = expected_shapes(sdxl_configs(), component)
        return {name: LazyTensor(shape, torch.float32, refuse) for name, shape in shapes.items()}

    kind = Parameterization(prediction, zero_terminal_snr)
    return Source("meta", sdxl_configs(), stored, files={}, parameterization=kind)


def test_the_whole_file_of_the_true_size() -> None:
    entries = single_file_entries(meta_source(), dtype=torch.float16, vae_dtype=torch.float32, lost=Lost())
    names = [entry.name for entry in entries]
    counts = {component: sum(name.startswith(prefix) for name in names) for component, prefix in PREFIXES.items()}
    assert counts == {"unet": 1680, "text_encoder": 196, "text_encoder_2": 517 - 128 + 1, "vae": 248}
    assert len(names) == len(set(names)) == sum(counts.values()), "no other key, no marker"
    # ComfyUI takes the prefix that more than five keys begin with, and the text encoders by these two.
    assert any(name.startswith("conditioner.embedders.0.transformer.text_model") for name in names)
    assert any(name.startswith("conditioner.embedders.1.model.") for name in names)
    total = sum(torch.Size(entry.shape).numel() for entry in entries)
    assert total == 2_567_463_684 + 123_060_480 + 694_659_840 + 83_653_863 + 1
    types = {entry.dtype for entry in entries if not entry.name.startswith(PREFIXES["vae"])}
    assert types == {torch.float16}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (meta_source(), set()),
        (meta_source("v"), {"v_pred"}),
        (meta_source("v", zero_terminal_snr=True), {"v_pred", "ztsnr"}),
        (meta_source("flow"), set()),
    ],
    ids=["epsilon", "v", "v ztsnr", "flow"],
)
def test_markers(source: Source, expected: set[str]) -> None:
    entries = single_file_entries(source, dtype=torch.float16, vae_dtype=torch.float32, lost=Lost())
    found = {entry.name: entry.shape for entry in entries if "." not in entry.name}
    assert found == dict.fromkeys(expected, (0,))


# ---- metadata


def metadata(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def picture(path: Path, side: int = 32, **settings: object) -> Path:
    from PIL import Image

    Image.effect_noise((side, side), 90).convert("RGB").save(path, **settings)
    return path


def test_every_key_of_modelspec(tiny: Source, tmp_path: Path) -> None:
    about = AboutConfig(
        title="t", license="openrail++", author="a", description="d", date="2026-11-21", usage_hint="u",
        trigger_phrase="anime illustration", tags=("x", "y"), merged_from=("one", "two"), timestep_range="0,200",
        thumbnail=picture(tmp_path / "thumbnail.webp"),
    )  # fmt: skip
    found = metadata(
        write(tmp_path / "out", dataclasses.replace(tiny, facts={"step": "7", "shards": "ab"}), about=about)
    )
    keys = {key.removeprefix("modelspec.") for key in found if key.startswith("modelspec.")}
    assert keys == {
        "sai_model_spec", "architecture", "implementation", "implementation_version", "title", "resolution",
        "description", "author", "date", "hash_sha256", "license", "usage_hint", "tags", "merged_from", "thumbnail",
        "prediction_type", "predict_key", "timestep_range", "encoder_layer", "trigger_phrase", "unet_dtype",
        "vae_dtype",
    }  # fmt: skip
    assert found["modelspec.trigger_phrase"] == "anime illustration"
    assert found["modelspec.merged_from"] == "one, two"
    assert found["modelspec.timestep_range"] == "0,200"
    assert found["modelspec.encoder_layer"] == "2"
    assert (found["animetune.step"], found["animetune.shards"]) == ("7", "ab")
    media, _, data = found["modelspec.thumbnail"].partition(";base64,")
    assert media == "data:image/webp"
    import base64

    assert base64.b64decode(data) == (tmp_path / "thumbnail.webp").read_bytes()


def test_what_a_run_knows_of_its_timesteps(tiny: Source, tmp_path: Path) -> None:
    found = metadata(write(tmp_path / "out", dataclasses.replace(tiny, facts={"timestep_range": "0,200"})))
    assert found["modelspec.timestep_range"] == "0,200"
    assert "modelspec.timestep_range" not in metadata(write(tmp_path / "all", tiny))


def test_thumbnails_that_cannot_be_used(tiny: Source, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"nothing")
    for path, what in (
        (tmp_path / "absent.png", "there is no such file"),
        (tmp_path / "no.png", "cannot be read as a picture"),
        (
            picture(tmp_path / "large.png", 400),
            r"has \d+,\d+ bytes, at most 262,144 are put into a file; make it smaller",
        ),
        (picture(tmp_path / "x.gif"), "is no PNG, WebP or JPEG"),
    ):
        with pytest.raises(ConfigError, match=rf"about\.thumbnail: .*{what}"):
            write(tmp_path / f"out-{path.stem}", tiny, about=ABOUT.model_copy(update={"thumbnail": path}))


def test_text_in_a_thumbnail_is_told(tiny: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "1girl, secret")
    path = picture(tmp_path / "x.png", pnginfo=info)
    write(tmp_path / "out", tiny, about=ABOUT.model_copy(update={"thumbnail": path}))
    assert "holds text (parameters) that everyone can read" in caplog.text


# ---- numbers that do not fit


def test_small_numbers_are_told_once(tiny: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shape = expected_shapes(tiny_configs(), "unet")["conv_in.weight"]
    tensor = torch.full(shape, 0.5)
    tensor.view(-1)[: tensor.numel() // 4] = 1e-7
    bias = torch.full((32,), 1e-9)
    lossy = changed(changed(tiny, "unet", "conv_in.weight", tensor), "unet", "conv_in.bias", bias)
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "half", lossy, WeightsTarget())
    (record,) = caplog.records
    assert "model.diffusion_model.input_blocks.0.0.bias: 1e+02 % of its numbers are so small" in record.message
    assert "those of 1 other tensors" in record.message
    assert "write bfloat16 or float32" in record.message
    caplog.clear()
    write(tmp_path / "bfloat16", lossy, WeightsTarget(dtype="bfloat16"))
    write(tmp_path / "healthy", tiny, WeightsTarget())
    assert not caplog.records


def test_weights_drawn_like_sdxls_give_no_warning() -> None:
    """A normal of deviation 0.02: a quarter of a per cent is subnormal in float16, and as exact as its neighbours."""
    from animetune.weights.tensors import cast

    lost = Lost()
    tensor = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)) * 0.02
    assert (tensor.abs() < torch.finfo(torch.float16).smallest_normal).float().mean() > 1e-3
    cast(tensor, torch.float16, "w", lost)
    # Two small ones among a thousand are chance, four are not.
    short = torch.ones(1000)
    short[:2] = 1e-7
    cast(short, torch.float16, "bias", lost)
    assert lost.warning is None
    short[:4] = 1e-7
    cast(short, torch.float16, "bias", lost)
    assert lost.shares == {"bias": 0.004}


@pytest.mark.parametrize("formats", [("single_file",), ("diffusers",)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_damaged_numbers_are_named(tiny: Source, tmp_path: Path, formats: tuple[str, ...], value: float) -> None:
    shape = expected_shapes(tiny_configs(), "vae")["decoder.conv_out.weight"]
    tensor = torch.zeros(shape)
    tensor.view(-1)[-1] = value
    with pytest.raises(DataError, match=r"decoder\.conv_out\.weight: holds NaN or infinity; the weights are damaged"):
        write(tmp_path / "out", changed(tiny, "vae", "decoder.conv_out.weight", tensor), WeightsTarget(formats=formats))


def test_a_full_disk_is_foreseen(tiny: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=20_000_000))
    with pytest.raises(SetupError, match=r"these weights need \d[\d.]+ MB, 20 MB are free; free some space"):
        write(tmp_path / "out", tiny, WeightsTarget(dtype="float32"))
    assert not list((tmp_path / "out").iterdir())


# ---- files that are not whole or of one kind


def altered(path: Path, folder: Path, change) -> str:
    stored = load_file(path)
    header = metadata(path)
    change(stored)
    save_file(stored, folder / "altered.safetensors", header)
    return str(folder / "altered.safetensors")


def test_a_network_of_several_types_is_read_with_a_warning(
    tiny: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "out", tiny)
    name = f"{PREFIXES['unet']}input_blocks.0.0.bias"
    fused = f"{PREFIXES['text_encoder_2']}transformer.resblocks.0.attn.in_proj_bias"

    def change(stored: dict[str, Tensor]) -> None:
        stored[name] = stored[name].bfloat16()
        stored[fused] = stored[fused].half()

    base = altered(path, tmp_path, change)
    source = open_source(ModelConfig(base=base))
    again = write(tmp_path / "again", source)
    unet = len(expected_shapes(tiny_configs(), "unet"))
    assert f"its unet is of several types (1 bfloat16, {unet - 1} float32 tensors)" in caplog.text
    assert "its text_encoder_2 is of several types (3 float16, " in caplog.text
    assert caplog.text.count("its unet is of several types") == 1
    expected = load_file(path)
    assert torch.equal(load_file(again)[name], expected[name].bfloat16().float())


def test_a_fused_tensor_of_float8_and_another_type(tiny: Source, tmp_path: Path) -> None:
    """As in a folder of which a part was quantized; PyTorch promotes no float8."""
    parts = [f"text_model.encoder.layers.0.self_attn.{letter}_proj.bias" for letter in "qkv"]
    state = tiny.state("text_encoder_2")
    eighth = state[parts[0]].load().to(torch.float8_e4m3fn)
    path = write(tmp_path / "out", changed(tiny, "text_encoder_2", parts[0], eighth))
    fused = load_file(path)[f"{PREFIXES['text_encoder_2']}transformer.resblocks.0.attn.in_proj_bias"]
    assert torch.equal(fused, torch.cat([eighth.float(), *(state[name].load() for name in parts[1:])]))


def test_whole_numbers_are_no_weights(tiny: Source, tmp_path: Path) -> None:
    path = write(tmp_path / "out", tiny)
    name = f"{PREFIXES['unet']}out.2.bias"
    base = altered(path, tmp_path, lambda stored: stored.update({name: stored[name].to(torch.int8)}))
    with pytest.raises(
        DataError, match=r"its unet is not .* of numbers that are no weights 1: conv_out\.bias \(torch\.int8\)"
    ):
        open_source(ModelConfig(base=base)).state("unet")


def test_a_missing_vae_is_said_before_anything_is_written(tiny: Source, tmp_path: Path) -> None:
    def stored(component: Component) -> State:
        return {} if component == "vae" else tiny.stored(component)

    (tmp_path / "out").mkdir()
    for formats in (("single_file",), ("diffusers",)):
        with pytest.raises(DataError, match=r"holds no tensor of the vae; name one with `vae`"):
            write_weights(
                tmp_path / "out", dataclasses.replace(tiny, stored=stored), WeightsTarget(formats=formats), ABOUT
            )
    assert not list((tmp_path / "out").iterdir())


def test_of_two_sources_the_one_at_fault_is_named(tiny: Source, tmp_path: Path) -> None:
    path = write(tmp_path / "out", tiny)
    base = altered(path, tmp_path, lambda stored: stored.pop(f"{PREFIXES['vae']}decoder.conv_in.bias"))
    with pytest.raises(DataError, match=r"altered.safetensors: its vae .* missing 1: decoder.conv_in.bias"):
        open_source(ModelConfig(base=str(path), vae=base)).state("vae")
    weights = {f"unet.{name}": lazy.load() for name, lazy in tiny.state("unet").items() if name != "conv_in.bias"}
    with pytest.raises(DataError, match=r"step-7: its unet .* missing 1: conv_in.bias"):
        tiny.with_weights(weights, tmp_path / "step-7" / "manifest.json").state("unet")


def test_missing_and_unexpected_tensors_are_named(tiny: Source, tmp_path: Path) -> None:
    path = write(tmp_path / "out", tiny)
    gone, extra = f"{PREFIXES['unet']}out.2.bias", f"{PREFIXES['unet']}adapter.weight"

    def change(stored: dict[str, Tensor]) -> None:
        del stored[gone]
        stored[extra] = torch.zeros(1)

    with pytest.raises(DataError) as caught:
        open_source(ModelConfig(base=altered(path, tmp_path, change))).state("unet")
    assert "missing 1: conv_out.bias" in str(caught.value)
    assert "unexpected 1: model.diffusion_model.adapter.weight" in str(caught.value)
