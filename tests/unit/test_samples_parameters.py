"""A1111's text of a picture: what is written is read back, whatever the prompt holds, and what A1111 wrote is too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from animetune.records import Request, Size
from animetune.samples.folder import Entry, save_png
from animetune.samples.parameters import parameters_text, read_parameters, sampler_of, settings_of

HOSTILE = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40),
    st.lists(
        st.sampled_from(
            ["Negative prompt:", "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1", "\n", "\r", " ", ",", ":", '"',
             "\\", "1girl", 'Exact prompt: "x"', "(a:1.2)", "\t", "\u2028", "初音ミク", "🎀"]
        ),
        max_size=8,
    ).map("".join),
)  # fmt: skip
SETTINGS = {"sampler": "euler_ancestral", "sigmas": "normal", "spacing": "leading", "steps": 28, "cfg_scale": 6.5}


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(-(2**63), 2**63 - 1))
def test_what_is_written_is_read_back(prompt: str, negative: str, model: str, seed: int) -> None:
    request = Request(prompt, seed, Size(832, 1216), negative=negative)
    read = read_parameters(parameters_text(request, {**SETTINGS, "model": model}))
    assert (read.prompt, read.negative) == (prompt, negative)
    assert read.fields.get("Model", "") == model
    assert settings_of(read) == {
        "sampler": "euler_ancestral", "sigmas": "normal", "spacing": "leading", "steps": "28", "cfg_scale": "6.5",
        "seed": str(seed), "size": "832x1216", **({"model": model} if model else {}),
    }  # fmt: skip


@given(HOSTILE, HOSTILE)
def test_a_png_keeps_it(tmp_path_factory: pytest.TempPathFactory, prompt: str, negative: str) -> None:
    file = tmp_path_factory.mktemp("png") / "a.png"
    save_png(file, np.zeros((8, 8, 3), np.uint8), Entry(Request(prompt, 1, Size(8, 8), negative=negative), SETTINGS))
    with Image.open(file) as image:
        image.load()
        read = read_parameters(image.text["parameters"])
    assert (read.prompt, read.negative) == (prompt, negative)


def test_the_order_and_the_names_are_those_of_a1111() -> None:
    settings = {
        **SETTINGS, "sampler": "dpmpp_2m", "sigmas": "karras", "spacing": "trailing", "model": "anime-xl",
        "model_hash": "0123456789", "upscale_factor": 1.5, "upscale_space": "latent", "upscale_method": "nearest-exact",
        "upscale_strength": 0.55, "syntax": "weighted",
    }  # fmt: skip
    text = parameters_text(Request("1girl,\nsolo", 7, Size(832, 1216), negative="lowres, bad"), settings)
    assert text == (
        "1girl,\nsolo\nNegative prompt: lowres, bad\n"
        "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 7, Size: 832x1216, "
        "Model hash: 0123456789, Model: anime-xl, Denoising strength: 0.55, Hires upscale: 1.5, "
        "Hires upscaler: Latent (nearest-exact), Syntax: weighted, Version: animetune"
    )
    own = settings_of(read_parameters(text))
    written = {name: str(value) for name, value in settings.items()}
    assert own == {**written, "seed": "7", "size": "832x1216"}


def test_what_a1111_wrote_before_it_had_schedules() -> None:
    text = (
        "masterpiece, 1girl\nNegative prompt: lowres,\nbad hands\n"
        'Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 5, Size: 512x768, Model: "a, b", Clip skip: 2, '
        'Lora hashes: "x: 1, y: 2"'
    )
    read = read_parameters(text)
    assert (read.prompt, read.negative) == ("masterpiece, 1girl", "lowres,\nbad hands")
    assert read.fields["Lora hashes"] == "x: 1, y: 2"
    assert settings_of(read) == {
        "sampler": "dpmpp_2m", "sigmas": "karras", "spacing": "trailing", "steps": "20", "cfg_scale": "7", "seed": "5",
        "size": "512x768", "model": "a, b",
    }  # fmt: skip


def test_a_last_line_of_fewer_than_three_settings_is_of_the_prompt() -> None:
    read = read_parameters("a cat\nwith: a hat")
    assert read == ("a cat\nwith: a hat", "", {})


def test_names_of_samplers() -> None:
    assert sampler_of("Euler a") == ("euler_ancestral", None)
    assert sampler_of("euler") == ("euler", None)
    assert sampler_of("DPM++ 2M SDE Exponential") == ("dpmpp_2m_sde", "exponential")
    assert sampler_of("Restart") == ("Restart", None)
