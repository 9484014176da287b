"""Optimizers: groups and rates, what is refused, reference trajectories, state that survives a round trip."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from animetune import checkpoint
from animetune.config import load_config
from animetune.errors import ConfigError, ResumeError
from animetune.models.tiny import build_tiny
from animetune.train.config import TrainConfig
from animetune.train.optim import build_optimizer
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.config import (
    AdafactorConfig,
    AdamW8bitConfig,
    AdamWConfig,
    ClipConfig,
    CustomConfig,
    LionConfig,
)
from animetune.train.optim.state import dump_optimizer, load_optimizer
from tests.builders import token_ids
from tests.unit.train.optim.parts import Parts, set_gradients, take_steps, worst

ADAFACTOR = AdafactorConfig(name="adafactor", unet_lr=1e-2)
ADAMW = AdamWConfig(name="adamw", unet_lr=1e-2)
ADAMW8 = AdamW8bitConfig(name="adamw8bit", unet_lr=1e-2)
LION = LionConfig(name="lion", unet_lr=1e-3)
RADAM = CustomConfig.model_validate(
    {"name": "custom", "class": "torch.optim.RAdam", "unet_lr": 1e-2, "arguments": {"betas": [0.9, 0.99]}}
)
ALL = [ADAFACTOR, ADAMW, ADAMW8, LION, RADAM]
BF16 = torch.bfloat16


def changed(cfg, **settings):
    return type(cfg).model_validate(cfg.model_dump() | settings)


# Groups.


def test_groups_and_rates() -> None:
    cfg = changed(ADAMW, unet_lr=3e-5, text_encoder_lr=1e-6)
    optimizer = build_optimizer(Parts(), cfg)
    assert [(g["name"], g["lr"], g["base_lr"]) for g in optimizer.param_groups] == [
        ("unet", 3e-5, 3e-5),
        ("text_encoder", 1e-6, 1e-6),
        ("text_encoder_2", 1e-6, 1e-6),
    ]
    assert optimizer.param_groups[1]["param_names"] == ["text_encoder.weight", "text_encoder.bias"]


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize("cfg", ALL, ids=lambda cfg: cfg.name)
def test_blocks_have_their_own_rates_and_the_longest_entry_decides(cfg, dtype) -> None:
    model = Parts(dtype)
    blocks = {"down": 1e-6, "down.1": 2e-6, "conv_in.bias": 3e-6}
    optimizer = build_optimizer(model, changed(cfg, block_lrs=blocks))
    rates = {
        name: group["lr"]
        for group in optimizer.param_groups
        for name in group["param_names"]
        if group["name"].startswith("unet")
    }
    assert rates == {
        "unet.conv_in.weight": cfg.unet_lr,
        "unet.conv_in.bias": 3e-6,
        "unet.down.0.weight": 1e-6,
        "unet.down.0.bias": 1e-6,
        "unet.down.1.weight": 2e-6,
        "unet.down.1.bias": 2e-6,
        "unet.down.2.weight": 1e-6,
        "unet.down.2.bias": 1e-6,
    }
    names = [group["name"] for group in optimizer.param_groups]
    assert names == ["unet", "text_encoder", "text_encoder_2", "unet.down", "unet.down.1", "unet.conv_in.bias"]
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert owned == {id(parameter) for parameter in model.parameters()}

    before = model.unet["down"][1].weight.detach().clone()
    for group in optimizer.param_groups:
        group["lr"] = 1.0 if group["name"] == "unet.down.1" else 0.0
    take_steps(model, optimizer, range(1))
    assert not torch.equal(before, model.unet["down"][1].weight)
    assert torch.equal(model.unet["conv_in"].weight, Parts(dtype).unet["conv_in"].weight)


def test_the_23_blocks_of_kohya() -> None:
    """sd-scripts' block_lr: time and label embedding, 9 input blocks, 3 of the middle, 9 output blocks, out."""
    lr = iter(range(1, 100))
    blocks = {name: next(lr) * 1e-7 for name in ("time_embedding", "add_embedding", "conv_in", "conv_out")}
    for side, layers in (("down_blocks", 2), ("up_blocks", 3)):
        for block in range(3):
            for layer in range(layers):
                blocks[f"{side}.{block}.resnets.{layer}"] = next(lr) * 1e-7
    blocks |= {f"mid_block.{name}": next(lr) * 1e-7 for name in ("resnets.0", "attentions.0", "resnets.1")}
    blocks |= {"down_blocks.0.downsamplers.0": 1e-6, "down_blocks.1.downsamplers.0": 1e-6}
    optimizer = build_optimizer(build_tiny(0), changed(ADAMW, block_lrs=blocks))
    found = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert {name: found[f"unet.{name}"] for name in blocks} == blocks


def test_an_entry_that_names_nothing_lists_what_is_near() -> None:
    with pytest.raises(ConfigError, match=r"block_lrs\.down_blocks\.7: names no .* down_blocks\.0"):
        build_optimizer(build_tiny(0), changed(ADAMW, block_lrs={"down_blocks.7": 1e-6}))
    with pytest.raises(ConfigError, match=r"similar: .*down_blocks.*mid_block"):
        build_optimizer(build_tiny(0), changed(ADAMW, block_lrs={"xyz": 1e-6}))
    with pytest.raises(ConfigError, match="longer entry"):
        build_optimizer(Parts(), changed(ADAMW, block_lrs={"conv_in": 1e-6, "conv_in.weight": 1, "conv_in.bias": 1}))
    frozen = Parts()
    frozen.unet.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"block_lrs: conv_in: the UNet is not trained; set model\.train_unet"):
        build_optimizer(frozen, changed(ADAMW, block_lrs={"conv_in": 1e-6}))


def test_frozen_parts_have_no_group() -> None:
    model = Parts()
    model.text_encoder.requires_grad_(False)
    assert [g["name"] for g in build_optimizer(model, ADAMW).param_groups] == ["unet", "text_encoder_2"]
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing is trained"):
        build_optimizer(model, ADAMW)


# What is refused.

YAML = """
stage: train
run: nowhere
model: {base: random:tiny}
data: {shards: a, labels: b, global_batch: 1, micro_batch: 1}
loop: {steps: 1}
optimizer: {unet_lr: 1e-5, name: NAME}
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("adamw, in_backward: true", "clip: null or clip: {by: tensor_norm, at: 1.0}"),
        ("custom, class: RAdam", "package.module.Class, not 'RAdam'"),
        ("custom", "optimizer.class: is missing"),
        ("custom, class: torch.optim.SGD, arguments: {lr: 1}", "should not hold lr"),
        ("custom, class: torch.optim.SGD, in_backward: true, clip: null", "may step one tensor alone"),
        ("adafactor, relative_step: false", "the learning rate is always the configured one"),
        ("adamw, rounding: nearest", "should be 'master' or 'stochastic', not 'nearest'"),
        ("adamw, block_lrs: {down_blocks.0: 0}", "should be greater than 0"),
    ],
)
def test_settings_that_do_not_go_together(settings: str, message: str, tmp_path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(YAML.replace("NAME", settings))
    with pytest.raises(ConfigError) as caught:
        load_config(file, TrainConfig)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("place", "arguments", "message"),
    [
        ("torch.optim.RAdamm", {}, r"torch\.optim\.RAdamm cannot be imported: .*RAdamm"),
        ("no_such_package.RAdam", {}, "cannot be imported: No module named 'no_such_package'"),
        ("torch.nn.Linear", {}, "no subclass of torch.optim.Optimizer"),
        ("torch.optim.RAdam", {"beta": 1}, "refuses them: .*'beta'"),
        ("torch.optim.RAdam", {"betas": [2.0, 0.9]}, "refuses them: Invalid beta"),
    ],
)
def test_custom_optimizers_that_cannot_be_made(place: str, arguments: dict, message: str) -> None:
    cfg = CustomConfig.model_validate({"name": "custom", "class": place, "unet_lr": 1.0, "arguments": arguments})
    with pytest.raises(ConfigError, match=message):
        build_optimizer(Parts(), cfg)


class Failing(torch.optim.SGD):
    """Cannot step."""

    def step(self, closure=None):
        if closure is not None:
            closure()
        raise NotImplementedError("only complex weights, please")


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, "master"), (BF16, "master"), (BF16, "stochastic")])
def test_a_custom_optimizer_that_cannot_step_is_named(dtype, rounding) -> None:
    place = f"{Failing.__module__}.Failing"
    for each, words in (("torch.optim.SparseAdam", "not support dense gradients"), (place, "only complex weights")):
        cfg = CustomConfig.model_validate({"name": "custom", "class": each, "unet_lr": 1e-3, "rounding": rounding})
        model = Parts(dtype)
        optimizer = build_optimizer(model, cfg)
        set_gradients(model, 0)
        with pytest.raises(ConfigError, match=rf"optimizer\.class: {each} cannot step these weights: .*{words}"):
            optimizer.step()


def test_what_fails_in_the_closure_is_not_the_optimizers() -> None:
    def closure() -> None:
        raise ValueError("of the loss")

    optimizer = build_optimizer(Parts(), RADAM)
    with pytest.raises(ValueError, match="of the loss"):
        optimizer.step(closure)


def test_paged_state_on_the_cpu() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.paged: .* on cpu; set it to false"):
        build_optimizer(Parts(), changed(ADAMW8, paged=True))


# Trajectories.


def test_adamw_follows_torch() -> None:
    model, reference = Parts(), Parts()
    take_steps(model, build_optimizer(model, changed(ADAMW, weight_decay=0.1)), range(50))
    take_steps(reference, torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.1), range(50))
    assert worst(model, reference) < 1e-6


def test_lion_follows_its_paper_in_float64() -> None:
    """Algorithm 2 of Chen et al. 2023, written out."""
    model = Parts()
    optimizer = build_optimizer(model, changed(LION, weight_decay=0.1))
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    momenta = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for step in range(50):
        set_gradients(model, step)
        for name, parameter in model.named_parameters():
            g, m, w = parameter.grad.double(), momenta[name], weights[name]
            c = 0.9 * m + (1 - 0.9) * g
            weights[name] = w - 1e-3 * (c.sign() + 0.1 * w)
            momenta[name] = 0.99 * m + (1 - 0.99) * g
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.double(), weights[name], rtol=1e-6, atol=1e-6)


def test_adamw8bit_stays_near_adamw() -> None:
    model, reference = Parts(), Parts()
    take_steps(model, build_optimizer(model, ADAMW8), range(20))
    take_steps(reference, build_optimizer(reference, ADAMW), range(20))
    assert {state["state1"].dtype for state in build_and_step(ADAMW8).state.values()} == {torch.uint8, torch.float32}
    assert worst(model.unet["down"][0], reference.unet["down"][0]) < 0.2


def build_and_step(cfg) -> torch.optim.Optimizer:
    model = Parts()
    optimizer = build_optimizer(model, cfg)
    take_steps(model, optimizer, range(1))
    return optimizer


def test_a_custom_optimizer_is_the_class_with_its_arguments() -> None:
    model, reference = Parts(), Parts()
    take_steps(model, build_optimizer(model, RADAM), range(8))
    take_steps(reference, torch.optim.RAdam(reference.parameters(), lr=1e-2, betas=(0.9, 0.99)), range(8))
    assert worst(model, reference) == 0


# State.


@pytest.mark.parametrize("rounding", ["master", "stochastic", "fp32"])
@pytest.mark.parametrize(
    "cfg", [*ALL, changed(ADAFACTOR, beta1=0.9, weight_decay=0.1, flatten_convolutions=True)], ids=lambda cfg: cfg.name
)
def test_resume_is_exact(cfg, rounding, tmp_path) -> None:
    """State by parameter name through a checkpoint: bit by bit what would have come without the stop."""
    dtype = torch.float32 if rounding == "fp32" else BF16
    cfg = changed(cfg, **({"rounding": rounding} if rounding != "fp32" else {}))
    straight, first, second = Parts(dtype), Parts(dtype), Parts(dtype)
    take_steps(straight, build_optimizer(straight, cfg, seed=4), range(6))

    before = build_optimizer(first, cfg, seed=4)
    take_steps(first, before, range(3))
    saved = checkpoint.save(checkpoint.Checkpoint(step=3, model={}, optimizer=dump_optimizer(before)), tmp_path)
    state = checkpoint.load(saved).optimizer
    assert state.keys() == {name for name, _ in first.named_parameters()}

    second.load_state_dict(first.state_dict())
    after = build_optimizer(second, cfg, seed=4)
    load_optimizer(after, state)
    take_steps(second, after, range(3, 6))
    assert worst(straight, second) == 0
    again = dump_optimizer(after)
    for name, expected in dump_optimizer(before).items():
        for key, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert again[name][key].dtype == value.dtype, (name, key)


def test_state_of_parameters_that_are_not_trained_is_refused() -> None:
    state = dump_optimizer(build_and_step(ADAMW))
    model = Parts()
    model.text_encoder.requires_grad_(False)
    with pytest.raises(ResumeError, match=r"2 parameters that are not trained now: text_encoder\.bias, text_encod"):
        load_optimizer(build_optimizer(model, ADAMW), state)


class Counting(torch.optim.SGD):
    """Keeps numbers for each group, as Prodigy and schedule-free optimizers do."""

    def __init__(self, params, lr: float):
        super().__init__(params, lr)
        for group in self.param_groups:
            group.setdefault("d", 1.0)

    def step(self, closure=None):
        for group in self.param_groups:
            group["d"] *= 1.5
            group["lr"] *= group["d"]
        super().step(closure)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_numbers_that_an_optimizer_keeps_for_a_group(dtype, tmp_path) -> None:
    place = f"{Counting.__module__}.Counting"
    cfg = CustomConfig.model_validate({"name": "custom", "class": place, "unet_lr": 1e-3})
    model = Parts(dtype)
    optimizer = build_optimizer(model, cfg)
    take_steps(model, optimizer, range(3))
    saved = checkpoint.Checkpoint(step=3, model={}, optimizer=dump_optimizer(optimizer))
    state = checkpoint.load(checkpoint.save(saved, tmp_path)).optimizer
    after = build_optimizer(model, cfg)
    load_optimizer(after, state)
    assert [group["d"] for group in getattr(after, "inner", after).param_groups] == [1.5**3] * 3


# Gradients.


def test_every_trained_parameter_gets_a_gradient() -> None:
    """What gets none would keep its old value, and DDP would wait for it in vain."""
    for chunks in (1, 2):
        models = build_tiny(0)
        text = models.encode_text(token_ids("1girl, solo " * 20, chunks=chunks))
        latents = torch.ones(1, 4, 8, 8)
        time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
        models.predict(latents, torch.tensor([500]), text, time_ids).square().mean().backward()
        without = [name for name, each in models.named_parameters() if each.requires_grad and each.grad is None]
        zero = [name for name, each in models.named_parameters() if each.requires_grad and not each.grad.any()]
        assert (without, zero) == ([], [])
        frozen = [name for name, each in models.named_parameters() if not each.requires_grad]
        assert frozen
        assert all(name.startswith("text_encoder.") for name in frozen)
        assert all(".layers.1." in name or "final_layer_norm" in name for name in frozen)


def test_norms_are_those_of_torch_and_clipping_is_what_it_is_called() -> None:
    def clipped(by: str | None, at: float) -> tuple[Parts, float]:
        model = Parts()
        set_gradients(model, 2)
        return model, clip_gradients(model.parameters(), ClipConfig(by=by, at=at) if by else None)

    plain, total = clipped(None, 1.0)
    norms = [parameter.grad.norm().item() for parameter in plain.parameters()]
    assert total == pytest.approx(math.sqrt(sum(norm**2 for norm in norms)), rel=1e-6)

    for at in (3.0, 1e9):
        ours, norm = clipped("global_norm", at)
        theirs, _ = clipped(None, at)
        assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), at)), rel=1e-6)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=0)

    each, norm = clipped("tensor_norm", 3.0)
    assert norm == pytest.approx(total)
    assert [parameter.grad.norm().item() for parameter in each.parameters()] == pytest.approx(
        [min(norm, 3.0) for norm in norms], rel=1e-5
    )
    assert max(norms) > 3 > min(norms)


def test_a_norm_that_is_not_finite_leaves_gradients_alone() -> None:
    model = Parts()
    set_gradients(model, 0)
    model.text_encoder.bias.grad[0] = math.inf
    before = [parameter.grad.clone() for parameter in model.parameters()]
    for by in ("global_norm", "tensor_norm"):
        assert not math.isfinite(clip_gradients(model.parameters(), ClipConfig(by=by, at=1e-3)))
    assert all(torch.equal(a, b.grad) for a, b in zip(before, model.parameters(), strict=True))
    assert clip_gradients(nn.Linear(2, 2).parameters(), ClipConfig()) == 0.0
