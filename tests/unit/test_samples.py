"""A folder of drawn pictures: what is written can be read, by us and by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from animetune import samples
from animetune.manifest import read_manifest, verify_files
from animetune.records import Request, Size

REQUESTS = [Request("1girl, blue hair", 1, Size(16, 24), negative="worst"), Request("a cat", 2, Size(16, 24))]
SETTINGS = {"sampler": "euler_ancestral", "steps": 28, "cfg_scale": 6.0}


def publish(folder: Path, *, reverse: bool = False) -> Path:
    pictures = [(place, np.full((24, 16, 3), 40 * place, np.uint8)) for place in range(2)]
    ordered = reversed(pictures) if reverse else pictures
    samples.publish(folder, REQUESTS, iter(list(ordered)), settings=SETTINGS, columns=2)
    return folder


def test_round_trip(tmp_path: Path) -> None:
    folder = publish(tmp_path / "out")
    drawn = samples.read(folder)
    assert [picture.request for picture in drawn] == REQUESTS
    with Image.open(drawn[1].file) as image:
        assert np.asarray(image)[0, 0].tolist() == [40, 40, 40]
    manifest = read_manifest(folder, kind="samples", format_version=samples.SAMPLES_FORMAT)
    assert verify_files(folder, manifest) == []
    assert "grid.png" in manifest.files


def test_png_carries_its_settings_as_a1111_writes_them(tmp_path: Path) -> None:
    folder = publish(tmp_path / "out")
    with Image.open(folder / "00000.png") as image:
        assert image.text["parameters"] == (
            "1girl, blue hair\nNegative prompt: worst\n"
            "Steps: 28, Sampler: Euler a, CFG scale: 6.0, Seed: 1, Size: 16x24, Version: animetune"
        )


def test_bytes_do_not_depend_on_the_order_of_drawing(tmp_path: Path) -> None:
    first, second = publish(tmp_path / "a"), publish(tmp_path / "b", reverse=True)
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name
