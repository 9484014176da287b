"""GPU hours: the arithmetic by hand, published anchors, and rates that runs measured."""

from __future__ import annotations

import json

import pytest

from animetune.errors import DataError
from animetune.models.config import ModelConfig
from animetune.models.flops import training_flops
from animetune.models.sdxl import sdxl_configs
from animetune.plan.gpus import GPU_KINDS, gpu_kind, kind_of_device
from animetune.plan.hours import assumed_rate, launched_devices, measured_rate, reading
from animetune.plan.stated import StatedConfig
from animetune.plan.text import about, aligned
from animetune.records import Size
from animetune.train.config import LoopConfig

LOOP = LoopConfig(epochs=1)


def test_settings_like_those_of_bigasp_land_near_its_rate():
    """300 pictures a second on 32 H100: 9.4 each; UNet alone, frozen text encoders, latents, about 1 megapixel."""
    model = ModelConfig(base="random:sdxl", dtype="bfloat16", train_text_encoder=False, train_text_encoder_2=False)
    flops = training_flops(sdxl_configs(), Size(1024, 1024), batch=1, chunks=1, cfg=model)
    assert flops == pytest.approx(20.34e12, rel=0.002)  # 20.23 of the UNet, 0.11 of the text encoders
    assert assumed_rate(flops, gpu_kind("h100"), "bfloat16") == pytest.approx(300 / 32, rel=0.1)
    assert assumed_rate(flops, gpu_kind("h100"), "bfloat16", share=1.0) == pytest.approx(48.6, abs=0.1)


def test_the_hours_of_animagine_in_both_readings():
    """873,504 pictures, 10 epochs, text encoders trained with 225 tokens: 21.75 TFLOP of 1024x1024."""
    flops = 873_504 * 10 * 21.75e12
    whole = reading(15 * 24 * 2, flops, gpu_kind("a100-80"), recomputed=1.25)
    assert whole.mfu == pytest.approx(0.235, abs=0.005)
    assert whole.share == pytest.approx(1.25 * whole.mfu)
    assert whole.is_likely
    published = reading(350, flops, gpu_kind("a100-80"), recomputed=1.25)
    assert published.mfu == pytest.approx(0.48, abs=0.01)
    assert not published.is_likely


def test_recomputation_takes_time():
    kind = gpu_kind("a100-80")
    assert assumed_rate(2e13, kind, "bfloat16") == pytest.approx(2 * assumed_rate(4e13, kind, "bfloat16"))
    assert assumed_rate(3.12e12, kind, "bfloat16", share=0.5) == pytest.approx(50)


def test_float32_has_the_peak_without_tensor_cores():
    kind = gpu_kind("a100-80")
    assert (kind.tflops("bfloat16"), kind.tflops("float32")) == (312.0, 19.5)


def test_every_kind_has_a_peak_and_is_found_by_its_own_name():
    for name, kind in GPU_KINDS.items():
        assert kind.bf16_tflops > kind.fp32_tflops
        assert kind_of_device(kind.cuda_name) is kind, name
    assert kind_of_device("NVIDIA GeForce GTX 1080") is None
    with pytest.raises(ValueError, match="h1000 is no kind of GPU that plan knows; there are rtx3090"):
        gpu_kind("h1000")


def test_a_recipe_cannot_state_an_unknown_gpu():
    with pytest.raises(ValueError, match="no kind of GPU"):
        StatedConfig(gpu="voodoo2")


def write_run(folder, lines, gpus):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "env.json").write_text(json.dumps({"gpus": gpus}))
    return folder


def test_a_measured_rate_is_the_median_of_a_device_after_the_first_line(tmp_path):
    rates = [1.0, 18.0, 20.0, 22.0]  # compilation is in the first
    lines = [{"step": n, "images_per_second": rate, "rank_seconds": [0.1, 0.1]} for n, rate in enumerate(rates)]
    found = measured_rate(write_run(tmp_path / "run", lines, ["NVIDIA H100 80GB HBM3"]))
    assert found is not None
    assert (found.per_gpu, found.devices, found.device_name) == (10.0, 2, "NVIDIA H100 80GB HBM3")


def test_no_rate_before_there_are_lines(tmp_path):
    assert measured_rate(tmp_path / "absent") is None
    assert measured_rate(write_run(tmp_path / "young", [{"step": 1, "images_per_second": 3.0}], [])) is None


def test_damaged_lines_are_named(tmp_path):
    run = write_run(tmp_path / "run", [{"step": 1}], [])
    (run / "metrics.jsonl").write_text("{\n{}\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl:1: is not JSON"):
        measured_rate(run)


@pytest.mark.parametrize(
    ("words", "devices"),
    [
        (["torchrun", "--nproc-per-node", "8", "-m", "animetune"], 8),
        (["torchrun", "--nproc_per_node=4", "--nnodes=2", "-m", "animetune"], 8),
        (["torchrun", "--nnodes", "1:4", "--nproc-per-node", "8", "-m", "animetune"], 32),
        (["srun", "animetune"], None),
        (None, None),
    ],
)
def test_devices_of_a_launch(words, devices):
    assert launched_devices(words, LOOP) == devices


def test_devices_of_the_loop_go_first():
    assert launched_devices(["torchrun", "--nproc-per-node", "8"], LoopConfig(epochs=1, devices=2, nodes=3)) == 6


@pytest.mark.parametrize(
    ("value", "text"),
    [(723.4, "720"), (1234, "1,200"), (0.03456, "0.035"), (9.97, "10"), (2.94, "2.9"), (0, "0"), (48.6, "49")],
)
def test_two_digits_are_enough_of_an_estimate(value, text):
    assert about(value).removesuffix(".0") == text


def test_tables_are_aligned():
    lines = aligned([("step", "images", "by"), ("a", "1,000", "x"), ("longer", "?", "")])
    assert lines == ["step    images  by", "a        1,000  x", "longer       ?"]
    assert aligned([]) == []
