"""Loading from every kind of place, and errors that name the tensor, the file and the remedy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from animetune import checkpoint, config
from animetune.checkpoint import Checkpoint
from animetune.errors import DataError, ResumeError, SetupError
from animetune.models.config import ModelConfig
from animetune.models.hub import _patterns
from animetune.models.load import load_models, load_vae, vae_digest
from animetune.models.sdxl import COMPONENTS, Parameterization, Sdxl
from animetune.models.sources import open_source, source_of
from animetune.models.tiny import build_tiny
from animetune.weights.config import AboutConfig, WeightsTarget
from animetune.weights.folder import write_folder
from animetune.weights.write import write_weights

SEED = 5


@pytest.fixture(scope="module")
def models() -> Sdxl:
    return build_tiny(SEED)


@pytest.fixture(scope="module")
def folder(models: Sdxl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder written by diffusers and transformers themselves."""
    root = tmp_path_factory.mktemp("folder")
    for component in COMPONENTS:
        getattr(models, component).save_pretrained(root / component)
    return root


@pytest.fixture(scope="module")
def single_file(models: Sdxl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "model.safetensors"
    save_single_file(models, path)
    return path


def save_single_file(models: Sdxl, path: Path) -> None:
    target = WeightsTarget(name=path.stem, formats=("single_file",), dtype="float32")
    write_weights(path.parent, source_of(models), target, AboutConfig(title="t", license="l"))


def assert_equal(found: Sdxl, expected: Sdxl) -> None:
    for component in COMPONENTS:
        ours, theirs = getattr(found, component).state_dict(), getattr(expected, component).state_dict()
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), f"{component}.{name}"


def load(base: Path | str, **settings: object) -> Sdxl:
    return load_models(ModelConfig(base=str(base), **settings))


# ---- places


def test_folder_of_diffusers(folder: Path, models: Sdxl) -> None:
    loaded = load(folder)
    assert_equal(loaded, models)
    assert all(not buffer.is_meta for buffer in loaded.buffers())
    ids = torch.tensor([[[49406, 320, *[49407] * 75]] * 2])
    assert torch.equal(loaded.encode_text(ids).hidden, models.encode_text(ids).hidden)


def test_our_folder_without_tokenizers(models: Sdxl, tmp_path: Path) -> None:
    write_folder(tmp_path, source_of(models), dtype=torch.float32, vae_dtype=torch.float32, tokenizers=False)
    assert not (tmp_path / "tokenizer").exists()
    assert_equal(load(tmp_path), models)


def test_half_precision_variant_and_shards(folder: Path, models: Sdxl, tmp_path: Path) -> None:
    models.unet.save_pretrained(tmp_path / "unet", max_shard_size="2MB")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    for component in ("text_encoder", "text_encoder_2", "vae"):
        getattr(models, component).save_pretrained(tmp_path / component, variant="fp16")
    assert_equal(load(tmp_path), models)


def test_single_file_opens_no_socket(single_file: Path, models: Sdxl, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert_equal(load(single_file), models)


def test_run_directory(models: Sdxl, single_file: Path, tmp_path: Path) -> None:
    """The newest checkpoint, the average over the raw weights; VAE, logit scale and architecture of the run's base."""

    class Diffusion(config.StrictModel):
        prediction: str = "v"
        zero_terminal_snr: bool = True
        noise_offset: float = 0.1

    class Run(config.StrictModel):
        stage: str = "train"
        seed: int = 3
        model: ModelConfig = ModelConfig(base=str(single_file), train_unet=False)
        diffusion: Diffusion = Diffusion()

    (tmp_path / "config.yaml").write_text(config.to_yaml(Run()))
    with pytest.raises(SetupError, match="has no checkpoint yet"):
        load(tmp_path)

    raw = {name: tensor + 1 for name, tensor in models.state_dict().items()}
    average = {"unet.conv_in.weight": raw["unet.conv_in.weight"] * 2}
    older = {name: tensor * 0 for name, tensor in raw.items()}
    checkpoint.save(Checkpoint(step=7, model=older, state={"config_digest": "c0"}), tmp_path / "checkpoints")
    checkpoint.save(
        Checkpoint(step=10, model=raw, ema={"0.99": average}, state={"config_digest": "c0"}), tmp_path / "checkpoints"
    )

    loaded = load(tmp_path)
    assert torch.equal(loaded.unet.conv_in.weight, average["unet.conv_in.weight"])
    assert torch.equal(loaded.unet.conv_in.bias, raw["unet.conv_in.bias"])
    assert vae_digest(loaded.vae) == vae_digest(models.vae)
    assert loaded.parameterization == Parameterization("v", True)
    assert torch.equal(load(tmp_path, weights="raw").unet.conv_in.weight, raw["unet.conv_in.weight"])
    named = load(tmp_path, weights="ema-0.99").unet.conv_in.weight
    assert torch.equal(named, average["unet.conv_in.weight"])
    with pytest.raises(DataError, match=r"no weights 'ema-0\.9'; it has raw, ema-0\.99"):
        load(tmp_path, weights="ema-0.9")
    older_one = load(tmp_path / "checkpoints" / "step-00000007")
    assert older_one.unet.conv_in.weight.abs().sum() == 0

    facts = open_source(ModelConfig(base=str(tmp_path))).facts
    assert facts == {"step": "10", "config_sha256": "c0", "weights": "ema-0.99"}
    assert open_source(ModelConfig(base=str(tmp_path), weights="raw")).facts["weights"] == "raw"
    assert open_source(ModelConfig(base=str(tmp_path / "checkpoints" / "step-00000007"))).facts["weights"] == "raw"

    for damaged in (tmp_path / "checkpoints").glob("step-*/model-unet.safetensors"):
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(ResumeError, match="bytes have changed"):
        load(tmp_path)


def test_run_that_started_from_random_weights(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stage: train\nmodel: {base: 'random:tiny'}\n")
    raw = {name: tensor * 2 for name, tensor in build_tiny(0).state_dict().items()}
    checkpoint.save(Checkpoint(step=1, model=raw), tmp_path / "checkpoints")
    loaded = load(tmp_path)
    assert all(torch.equal(tensor, raw[name]) for name, tensor in loaded.state_dict().items())
    assert vae_digest(loaded.vae) == vae_digest(build_tiny(0).vae)


def test_a_checkpoint_is_named_from_its_own_folder_and_outside_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("stage: train\nmodel: {base: 'random:tiny'}\n")
    saved = checkpoint.save(Checkpoint(step=1, model=build_tiny(0).state_dict()), tmp_path / "checkpoints")
    monkeypatch.chdir(saved.parent)
    assert open_source(ModelConfig(base=saved.name)).facts["step"] == "1"
    alone = tmp_path / "some" / "where" / "step-00000001"
    alone.parent.mkdir(parents=True)
    saved.rename(alone)
    with pytest.raises(DataError, match=r"step-00000001: is a checkpoint outside of its run: .*config.yaml is missing"):
        open_source(ModelConfig(base=str(alone)))


def test_random_weights_are_always_the_same() -> None:
    assert_equal(load("random:tiny"), build_tiny(0))


# ---- VAE


def test_vae_from_every_place_has_one_digest(folder: Path, single_file: Path, models: Sdxl, tmp_path: Path) -> None:
    stored = {name: tensor for name, tensor in load_file(single_file).items() if name.startswith("first_stage_model.")}
    metadata = {"animetune.architecture": json.dumps(vars(models.architecture))}
    save_file(stored, tmp_path / "prefixed.safetensors", metadata)
    bare = {name.removeprefix("first_stage_model."): tensor for name, tensor in stored.items()}
    save_file(bare | {"loss.logvar": torch.zeros(1)}, tmp_path / "bare.safetensors", metadata)
    save_file(models.vae.state_dict(), tmp_path / "diffusers.safetensors", metadata)
    places = [folder, folder / "vae", single_file, *sorted(tmp_path.glob("*.safetensors"))]
    assert len(places) == 6
    assert {vae_digest(load_vae(str(place))) for place in places} == {vae_digest(models.vae)}


def test_vae_with_attention_names_of_old_diffusers(models: Sdxl, folder: Path, tmp_path: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state: dict[str, Tensor] = {}
    for name, tensor in models.vae.state_dict().items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        state[name] = tensor
    assert state.keys() != models.vae.state_dict().keys()
    (tmp_path / "config.json").write_text((folder / "vae" / "config.json").read_text())
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    assert vae_digest(load_vae(str(tmp_path))) == vae_digest(models.vae)


def test_another_vae_takes_the_place_of_the_bases(folder: Path, models: Sdxl) -> None:
    loaded = load(folder, vae="random:tiny")
    assert torch.equal(loaded.unet.conv_in.weight, models.unet.conv_in.weight)
    assert vae_digest(loaded.vae) == vae_digest(build_tiny(0).vae) != vae_digest(models.vae)


def test_vae_stays_float32_beside_bfloat16_networks(folder: Path) -> None:
    loaded = load(folder, dtype="bfloat16")
    assert loaded.unet.dtype == loaded.text_encoder.dtype == loaded.text_encoder_2.dtype == torch.bfloat16
    assert loaded.vae.dtype == torch.float32
    assert load_vae(str(folder), dtype="bfloat16").dtype == torch.bfloat16


# ---- what is said beside the weights


def test_prediction_type_of_a_folder(folder: Path, models: Sdxl, tmp_path: Path) -> None:
    assert load(folder).parameterization == Parameterization("epsilon", False)
    for component in COMPONENTS:
        (tmp_path / component).symlink_to(folder / component)
    scheduler = tmp_path / "scheduler" / "scheduler_config.json"
    scheduler.parent.mkdir()
    scheduler.write_text(json.dumps({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}))
    assert open_source(ModelConfig(base=str(tmp_path))).parameterization == Parameterization("v", True)
    scheduler.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.5}))
    assert open_source(ModelConfig(base=str(tmp_path))).parameterization == Parameterization("flow", shift=2.5)
    scheduler.write_text(json.dumps({"prediction_type": "flow_prediction", "flow_shift": 4}))
    assert open_source(ModelConfig(base=str(tmp_path))).parameterization == Parameterization("flow", shift=4)
    scheduler.write_text(json.dumps({"prediction_type": "sample"}))
    with pytest.raises(DataError, match="prediction_type 'sample' is none of epsilon, v_prediction"):
        load(tmp_path)


def test_wrong_token_ids_of_published_configurations_are_put_right(folder: Path, tmp_path: Path) -> None:
    """SDXL's own text encoders say eos_token_id 2, and transformers then guesses where the text ends."""
    for component in COMPONENTS:
        (tmp_path / component).mkdir()
        for file in (folder / component).iterdir():
            (tmp_path / component / file.name).write_bytes(file.read_bytes())
    for component in ("text_encoder", "text_encoder_2"):
        path = tmp_path / component / "config.json"
        published = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "torch_dtype": "float16"}
        path.write_text(json.dumps(json.loads(path.read_text()) | published))
    loaded = load(tmp_path)
    assert loaded.text_encoder_2.config.eos_token_id == 49407
    assert loaded.text_encoder.dtype == torch.float32


def test_names_without_text_model_are_read_too(folder: Path, models: Sdxl, tmp_path: Path) -> None:
    """transformers 5 leaves out the prefix `text_model.` of CLIP-L."""
    for component in ("unet", "vae", "text_encoder_2"):
        (tmp_path / component).symlink_to(folder / component)
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "config.json").write_text((folder / "text_encoder" / "config.json").read_text())
    state = load_file(folder / "text_encoder" / "model.safetensors")
    bare = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    bare["embeddings.position_ids"] = torch.arange(77)[None]  # transformers before 4.31 saved it
    save_file(bare, tmp_path / "text_encoder" / "model.safetensors")
    assert_equal(load(tmp_path), models)


def test_logit_scale_is_kept(models: Sdxl, single_file: Path, tmp_path: Path) -> None:
    assert load(single_file).logit_scale == pytest.approx(4.6052, abs=1e-4)
    key = "conditioner.embedders.1.model.logit_scale"
    metadata = {"animetune.architecture": json.dumps(vars(models.architecture))}
    save_file(load_file(single_file) | {key: torch.tensor(2.5)}, tmp_path / "other.safetensors", metadata)
    assert load(tmp_path / "other.safetensors").logit_scale == 2.5


def test_untransposed_projection_of_diffusers_script(models: Sdxl, single_file: Path, tmp_path: Path) -> None:
    stored = load_file(single_file)
    name = "conditioner.embedders.1.model.text_projection"
    stored[f"{name}.weight"] = stored.pop(name).T.contiguous()
    metadata = {"animetune.architecture": json.dumps(vars(models.architecture))}
    save_file(stored, tmp_path / "converted.safetensors", metadata)
    assert_equal(load(tmp_path / "converted.safetensors"), models)


# ---- what trains


@pytest.mark.parametrize("train_unet", [True, False])
@pytest.mark.parametrize("train_text", [(True, True), (True, False), (False, True), (False, False)])
def test_what_is_not_trained_is_frozen(train_unet: bool, train_text: tuple[bool, bool]) -> None:
    models = load(
        "random:tiny",
        train_unet=train_unet,
        train_text_encoder=train_text[0],
        train_text_encoder_2=train_text[1],
    )
    parts = (models.unet, models.text_encoder, models.text_encoder_2)
    trained = [any(parameter.requires_grad for parameter in part.parameters()) for part in parts]
    assert trained == [train_unet, *train_text]


# ---- errors


def altered(folder: Path, tmp_path: Path, component: str, change) -> Path:
    """`folder`, but with `change` applied to the state dict of one network."""
    for other in COMPONENTS:
        if other != component:
            (tmp_path / other).symlink_to(folder / other)
    (tmp_path / component).mkdir()
    (tmp_path / component / "config.json").write_text((folder / component / "config.json").read_text())
    (file,) = (folder / component).glob("*.safetensors")
    save_file(change(load_file(file)), tmp_path / component / file.name)
    return tmp_path


def test_missing_unexpected_and_misshaped_tensors_are_named(folder: Path, tmp_path: Path) -> None:
    def change(state: dict[str, Tensor]) -> dict[str, Tensor]:
        del state["conv_in.bias"]
        return state | {"conv_out.bias": torch.zeros(9), "adapter.weight": torch.zeros(1)}

    with pytest.raises(DataError) as caught:
        load(altered(folder, tmp_path, "unet", change))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "its unet is not the expected network" in message
    assert "missing 1: conv_in.bias" in message
    assert "unexpected 1: adapter.weight" in message
    assert "of another shape 1: conv_out.bias [9] instead of [4]" in message


def test_another_models_file_is_refused(single_file: Path, models: Sdxl, tmp_path: Path) -> None:
    save_file({"some.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=r"is no SDXL checkpoint: it has no tensors named model\.diffusion_model\.\*"):
        load(tmp_path / "other.safetensors")

    # Without our metadata, a single file is taken for SDXL, and the tiny tensors do not fit.
    save_file(load_file(single_file), tmp_path / "tiny.safetensors")
    with pytest.raises(DataError, match=r"of another shape \d+: .*conv_in\.bias \[\d+\] instead of \[320\]"):
        load(tmp_path / "tiny.safetensors")

    state = {name: tensor for name, tensor in load_file(single_file).items() if not name.startswith("first_stage")}
    metadata = {"animetune.architecture": json.dumps(vars(models.architecture))}
    save_file(state, tmp_path / "no_vae.safetensors", metadata)
    with pytest.raises(DataError, match=r"holds no tensor of the vae; name one with `vae`"):
        load(tmp_path / "no_vae.safetensors")
    assert vae_digest(load(tmp_path / "no_vae.safetensors", vae="random:tiny").vae) == vae_digest(build_tiny(0).vae)

    save_file(state, tmp_path / "broken.safetensors", {"animetune.architecture": "{"})
    with pytest.raises(DataError, match=r"its metadata animetune\.architecture cannot be read"):
        load(tmp_path / "broken.safetensors")


def test_files_that_are_not_safetensors_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02")
    with pytest.raises(DataError, match=r"pickled weights are not read, they can run code"):
        load(tmp_path / "model.ckpt")
    (tmp_path / "model.safetensors").write_bytes(b"not a header")
    with pytest.raises(DataError, match="is no readable safetensors file"):
        load(tmp_path / "model.safetensors")
    for component in ("vae", "text_encoder", "text_encoder_2"):
        (tmp_path / component).symlink_to(folder / component)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text((folder / "unet" / "config.json").read_text())
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no safetensors of the network \(pickled \.bin files are not read"):
        load(tmp_path)


def test_places_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nobody/nothing: is no local file or folder and could not be had"):
        load("nobody/nothing")
    with pytest.raises(SetupError, match="could not be had"):
        load_vae("nobody/nothing")
    with pytest.raises(SetupError, match="there is no such file or folder, and it is no hub id"):
        load(tmp_path / "absent.safetensors")
    with pytest.raises(SetupError, match="there is no such file or folder"):
        load("models/absent.safetensors")
    with pytest.raises(DataError, match=r"is no diffusers folder of SDXL: unet/config\.json, "):
        load(tmp_path)


def test_only_one_form_of_the_weights_is_downloaded() -> None:
    """Against the file list of SDXL base 1.0's repository, which holds the weights in seven forms."""
    from huggingface_hub.utils import filter_repo_objects

    forms = [
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "model.onnx",
        "config.json",
    ]
    text = ["model.safetensors", "model.fp16.safetensors", "flax_model.msgpack", "openvino_model.bin", "config.json"]
    repository = [
        "sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors", "model_index.json", "README.md",
        "scheduler/scheduler_config.json", "tokenizer/vocab.json", "vae_1_0/diffusion_pytorch_model.safetensors",
        *(f"{component}/{name}" for component in ("unet", "vae") for name in forms),
        *(f"{component}/{name}" for component in ("text_encoder", "text_encoder_2") for name in text),
    ]  # fmt: skip
    chosen = set(filter_repo_objects(repository, allow_patterns=_patterns(COMPONENTS)))
    assert chosen == {
        "README.md", "model_index.json", "scheduler/scheduler_config.json",
        *(f"{component}/config.json" for component in COMPONENTS),
        *(f"{component}/diffusion_pytorch_model.safetensors" for component in ("unet", "vae")),
        *(f"{component}/model.safetensors" for component in ("text_encoder", "text_encoder_2")),
    }  # fmt: skip
    half = set(filter_repo_objects(repository, allow_patterns=_patterns(COMPONENTS, variant=".fp16")))
    assert {name for name in half if name.endswith(".safetensors")} == {
        *(f"{component}/diffusion_pytorch_model.fp16.safetensors" for component in ("unet", "vae")),
        *(f"{component}/model.fp16.safetensors" for component in ("text_encoder", "text_encoder_2")),
    }
    vae = set(filter_repo_objects([*repository, "config.json"], allow_patterns=_patterns(("vae",))))
    assert {name for name in vae if name.endswith(".safetensors")} == {"vae/diffusion_pytorch_model.safetensors"}


@pytest.mark.slow
def test_import_needs_no_data_or_table_library() -> None:
    code = "import sys, animetune.models.load; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"streaming", "polars", "typer", "pytorch_lightning"}.isdisjoint(result.stdout.split())
    assert result.stderr == "", "importing says nothing"
