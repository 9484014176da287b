"""Lanczos by two libraries: the same picture for any threads, near each other, and what `mixed` does before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from animetune.errors import ConfigError, SetupError
from animetune.manifest import read_manifest
from animetune.pictures import decode
from animetune.resizing import GAP, LARGE, resize
from animetune.shards import run
from animetune.shards.config import ResizeConfig
from tests.builders import shard_config, tiny_table

SIZES = [
    ((900, 1300), (832, 1248)), ((333, 517), (512, 768)), ((2000, 300), (1000, 150)), ((17, 900), (9, 450)),
    ((334, 700), (207, 434)), ((700, 1401), (500, 1001)), ((700, 1405), (350, 702)), ((300, 700), (600, 1400)),
]  # fmt: skip
"""(from, to): down, up, by half, narrow; around twice as tall as wide, and up."""


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Noise of single pixels: nothing is harder for a filter."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def lines(size: tuple[int, int]) -> Image.Image:
    """Black lines of one pixel on white, and patches of full colour, where filters ring and numbers are clipped."""
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    pixels[::7], pixels[:, ::5] = 0, 0
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 2] = (255, 0, 0)
    return Image.fromarray(pixels)


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Decibels, in float64."""
    error = np.square(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("make", [noise, lines])
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_torch_and_pillow_agree_within_60_db(make, source, size):
    image = make(source)
    one, other = resize(image, size, by="torch"), resize(image, size, by="pillow")
    assert (one.size, one.mode) == (size, "RGB")
    assert psnr(one, other) >= 60
    assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 2


def test_real_pictures_agree_within_60_db(shared_data: Path):
    paths = sorted((shared_data / "images").glob("*.jpg"))[:4] + sorted((shared_data / "images").glob("*blue*.png"))
    for path in paths:
        image = decode(path.read_bytes()).image
        size = (image.width * 5 // 8, image.height * 5 // 8)
        assert psnr(resize(image, size, by="torch"), resize(image, size, by="pillow")) >= 60


def test_torch_keeps_its_number_of_threads_and_bytes_do_not_depend_on_it():
    image, threads = noise((700, 500)), torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(resize(image, (300, 200), by="torch").tobytes())
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert len(set(found)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["default", "avx2"])
def test_bytes_do_not_depend_on_the_vector_instructions(instructions: str):
    code = (
        "import hashlib; from tests.unit.test_resizing import SIZES, noise, resize\n"
        "print(hashlib.md5(b''.join(resize(noise(a), b, by='torch').tobytes() for a, b in SIZES)).hexdigest())"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], env=os.environ | more, capture_output=True, text=True, check=True)
        for more in ({}, {"ATEN_CPU_CAPABILITY": instructions})
    ]
    assert found[0].stdout == found[1].stdout != ""


@pytest.mark.parametrize("by", ["torch", "pillow"])
def test_a_picture_that_has_its_size_is_not_touched(by):
    image = noise((30, 20))
    assert resize(image, (30, 20), by=by) is image


def test_mixed_takes_nearest_pixels_to_twice_the_size_of_large_pictures_only():
    large = noise((2500, 1700))
    assert large.width * large.height > LARGE
    near = large.resize((GAP * 500, GAP * 340), Image.Resampling.NEAREST)
    expected = near.resize((500, 340), Image.Resampling.LANCZOS)
    assert resize(large, (500, 340), large="mixed").tobytes() == expected.tobytes()
    assert resize(large, (500, 340), large="lanczos").tobytes() != expected.tobytes()
    small = large.crop((0, 0, 2000, 2000))  # exactly 4 megapixels
    assert resize(small, (500, 500), large="mixed").tobytes() == resize(small, (500, 500)).tobytes()
    # Less than twice as large: nothing to take away first.
    assert resize(large, (2000, 1360), large="mixed").tobytes() == resize(large, (2000, 1360)).tobytes()


# In a shard root.


@pytest.mark.parametrize("by", [pytest.param("torch", marks=pytest.mark.slow), "pillow"])
def test_a_root_is_the_same_for_any_number_of_workers(tmp_path: Path, by):
    table = tiny_table(tmp_path / "table", [(150, 110), (90, 200), (128, 128)] * 3)
    digests = {}
    for workers in (0, 2):
        cfg = shard_config(table, tmp_path / f"shards-{workers}", executor={"workers": workers}, resize={"by": by})
        digests[workers] = run.run(cfg).digest
    assert digests[0] == digests[2]


def test_the_filter_belongs_to_the_root(tmp_path: Path):
    table = tiny_table(tmp_path / "table", [(150, 110), (90, 200)])
    cfg = shard_config(table, tmp_path / "shards")
    manifest = run.run(cfg)
    assert manifest.facts["resize"] == {"by": "pillow", "large": "lanczos"}
    assert run.run(cfg.model_copy(update={"resize": ResizeConfig(by="pillow")})).digest == manifest.digest
    with pytest.raises(ConfigError, match=r"resize\.by: pillow there, torch now"):
        run.run(cfg.model_copy(update={"resize": ResizeConfig(by="torch")}))
    with pytest.raises(ConfigError, match=r"resize\.large: lanczos there, mixed now"):
        run.run(cfg.model_copy(update={"resize": ResizeConfig(large="mixed")}))
    assert read_manifest(tmp_path / "shards").digest == manifest.digest


def test_auto_is_decided_by_store_and_table_alone(tmp_path: Path):
    cfg = shard_config(tmp_path, tmp_path / "shards")
    latents = shard_config(tmp_path, tmp_path / "latents", store={"name": "latents", "vae": "a"})
    forced = shard_config(tmp_path, tmp_path / "forced", resize={"by": "pillow", "large": "mixed"})
    assert run._resize(cfg, pictures=9_999) == {"by": "pillow", "large": "lanczos"}
    assert run._resize(cfg, pictures=10_000)["by"] == "torch"
    assert run._resize(latents, pictures=1)["by"] == "torch"
    assert run._resize(forced, pictures=10**7) == {"by": "pillow", "large": "mixed"}


def test_another_library_is_no_choice():
    with pytest.raises(ValidationError, match="by"):
        ResizeConfig(by="opencv")  # type: ignore[arg-type]


def test_a_torch_without_lanczos_is_named_with_what_to_set(monkeypatch):
    """Before 2.12 or so it has none; bytes must not depend on that, so Pillow is not taken silently."""

    def refuse(*arguments, **settings):
        raise NotImplementedError("Input Error: Only 3D, 4D and 5D input Tensors supported")

    monkeypatch.setattr(torch.nn.functional, "interpolate", refuse)
    with pytest.raises(SetupError, match=r"resize\.by: this PyTorch .* has no Lanczos; set it to pillow"):
        resize(Image.new("RGB", (64, 64)), (32, 32), by="torch")
