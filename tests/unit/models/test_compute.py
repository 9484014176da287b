"""Settings of how the networks compute: they change time and memory, and no result."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from animetune.errors import SetupError
from animetune.models.compute import compile_blocks, recomputed_modules
from animetune.models.config import ModelConfig
from animetune.models.load import prepare
from animetune.models.offload import visiting
from animetune.models.sdxl import Sdxl
from animetune.models.tiny import build_tiny
from tests.builders import token_ids


def models_with(**settings: Any) -> Sdxl:
    models = build_tiny(seed=3).train()
    prepare(models, ModelConfig(base="random:tiny", **settings))
    return models


def prediction(models: Sdxl, *, samples: int = 2, height: int = 8, width: int = 12) -> Tensor:
    text = models.encode_text(token_ids(*["a long haired girl", "a cat"][:samples], chunks=2))
    x_t = torch.linspace(-1, 1, samples * 4 * height * width).reshape(samples, 4, height, width)
    time_ids = torch.tensor([[64.0, 96, 0, 0, 64, 96]]).expand(samples, -1)
    return models.predict(x_t, torch.tensor([100, 900][:samples]), text, time_ids)


def gradients(models: Sdxl, **shape: int) -> dict[str, Tensor]:
    prediction(models, **shape).square().mean().backward()
    return {name: parameter.grad for name, parameter in models.named_parameters() if parameter.grad is not None}


@pytest.fixture(scope="module")
def plain() -> tuple[Tensor, dict[str, Tensor]]:
    """Prediction and gradients of diffusers' and transformers' own networks, with none of our settings."""
    models = build_tiny(seed=3).train()
    return prediction(models).detach(), gradients(models)


# ---- attention


@pytest.mark.parametrize("kernel", ["auto", "flash", "math"])
def test_attention_is_that_of_diffusers(kernel: str, plain: tuple[Tensor, dict[str, Tensor]]) -> None:
    models = models_with(attention=kernel)
    torch.testing.assert_close(prediction(models), plain[0], rtol=1e-5, atol=1e-6)
    found = gradients(models)
    assert found.keys() == plain[1].keys()
    for name, expected in plain[1].items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6, msg=name)


def test_masked_attention_is_that_of_diffusers() -> None:
    ours = models_with(mask_padding=True)
    theirs = build_tiny(seed=3)
    theirs.mask_padding = True
    torch.testing.assert_close(prediction(ours), prediction(theirs), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(prediction(ours), prediction(models_with()), atol=1e-4)


def test_a_kernel_that_the_device_lacks_is_named() -> None:
    with pytest.raises(SetupError, match=r"model\.attention: cudnn has no kernel for float32 on cpu; use auto"):
        prediction(models_with(attention="cudnn"))


# ---- recomputation


@pytest.mark.parametrize("mode", ["selective", "full"])
@pytest.mark.parametrize("trained", ["train_unet", "train_text_encoder", "all"])
def test_recomputation_changes_no_gradient(mode: str, trained: str) -> None:
    switches = ("train_unet", "train_text_encoder", "train_text_encoder_2")
    frozen = {} if trained == "all" else {name: name == trained for name in switches}
    kept = gradients(models_with(**frozen))
    recomputed = gradients(models_with(activation_checkpointing=mode, **frozen))
    assert kept.keys() == recomputed.keys()
    for name in kept:
        assert torch.equal(recomputed[name], kept[name]), name


def saved_bytes(models: Sdxl) -> int:
    """What autograd keeps of one forward pass."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in models.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        held = prediction(models)
    assert held.requires_grad
    return sum(saved.values())


def test_recomputation_frees_activations() -> None:
    none, selective, full = (
        saved_bytes(models_with(activation_checkpointing=m)) for m in ("none", "selective", "full")
    )
    assert full < selective < none


def test_what_is_recomputed() -> None:
    models = models_with(train_text_encoder_2=False)
    kinds = {
        mode: [type(module) for module in recomputed_modules(models, mode)] for mode in ("none", "selective", "full")
    }
    blocks = count(models.unet, BasicTransformerBlock)
    assert kinds["none"] == []
    assert kinds["selective"].count(FeedForward) == blocks
    assert kinds["selective"].count(ResnetBlock2D) == 5  # two down, three up, at 32 channels
    assert kinds["full"].count(BasicTransformerBlock) == blocks
    assert kinds["full"].count(ResnetBlock2D) == count(models.unet, ResnetBlock2D)
    assert len(kinds["full"]) == blocks + count(models.unet, ResnetBlock2D) + 2  # CLIP-L's layers; CLIP-G is frozen


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def test_no_recomputation_without_gradients() -> None:
    models = models_with(activation_checkpointing="full")
    with torch.no_grad():
        assert not prediction(models).requires_grad


# ---- layout


def test_channels_last_holds_in_every_convolution(plain: tuple[Tensor, dict[str, Tensor]]) -> None:
    models = models_with(channels_last=True)
    turned = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        turned.append(args[0].is_contiguous(memory_format=torch.channels_last))

    for name, module in models.unet.named_modules():
        # Of a shortcut, diffusers turns the input itself.
        if isinstance(module, nn.Conv2d) and not name.endswith("conv_shortcut"):
            module.register_forward_pre_hook(look)
    found = gradients(models)
    assert len(turned) > 20
    assert all(turned)
    for name, expected in plain[1].items():
        assert found[name].is_contiguous()
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-6, msg=name)


# ---- offloading


def test_a_visiting_network_goes_home(plain: tuple[Tensor, dict[str, Tensor]]) -> None:
    """Whatever the block makes of the visiting copies, the weights at home are as they were."""
    models = models_with(offload_frozen=True, train_text_encoder=False, train_text_encoder_2=False)
    homes = [parameter.data_ptr() for parameter in models.text_encoder.parameters()]
    with visiting(models.text_encoder, torch.device("cpu")):
        for parameter in models.text_encoder.parameters():
            parameter.data = torch.zeros_like(parameter)
    assert [parameter.data_ptr() for parameter in models.text_encoder.parameters()] == homes
    torch.testing.assert_close(prediction(models), plain[0], rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_offloaded_networks_take_no_memory_of_the_gpu() -> None:
    models = models_with(offload_frozen=True, train_text_encoder=False, train_text_encoder_2=False).cuda()
    ids = token_ids("a cat").cuda()
    models.encode_text(ids)  # from now on they are at home
    assert all(parameter.is_cpu and parameter.is_pinned() for parameter in models.text_encoder.parameters())
    before = torch.cuda.memory_allocated()
    models.encode_text(ids)
    assert torch.cuda.memory_allocated() == before
    assert models.vae is not None
    assert models.vae.device.type == "cpu"
    assert models.decode(torch.zeros(1, 4, 8, 8, device="cuda")).is_cuda


def test_only_frozen_networks_are_offloaded() -> None:
    models = models_with(offload_frozen=True, train_text_encoder=False)
    visits: list[nn.Module] = []
    models._present = lambda network: visits.append(network) or Sdxl._present(models, network)  # type: ignore[method-assign, func-returns-value]
    found = gradients(models)
    assert any(name.startswith("text_encoder_2.") for name in found)
    assert not any(name.startswith("text_encoder.") for name in found)
    assert visits == [models.text_encoder, models.text_encoder_2]


# ---- compilation


def test_names_do_not_change() -> None:
    settings = {"compile": "blocks", "activation_checkpointing": "full", "channels_last": True, "attention": "math"}
    models = models_with(**settings)
    assert list(models.state_dict()) == list(build_tiny(seed=3).state_dict())
    compiled = [module for module in models.unet.modules() if module._compiled_call_impl is not None]
    assert {type(module) for module in compiled} == {BasicTransformerBlock, ResnetBlock2D}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own, of its own
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize("mode", ["none", "selective", "full"])
def test_compiled_blocks_give_the_same_gradients(mode: str) -> None:
    """Three sizes and both kinds of batch; once each kind was seen, nothing is compiled again."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    eager, compiled = models_with(), models_with(activation_checkpointing=mode)
    compile_blocks(compiled.unet.mid_block)  # of the whole, seven times as many shapes
    # None with a side as long as another or as the batch, which would be a kind of its own.
    for shape in ({"samples": 2, "height": 16, "width": 20}, {"samples": 1, "height": 24, "width": 16}):
        found, expected = gradients(compiled, **shape), gradients(eager, **shape)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-5, msg=name)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    gradients(compiled, samples=2, height=12, width=28)
    assert counters["stats"]["unique_graphs"] == graphs
