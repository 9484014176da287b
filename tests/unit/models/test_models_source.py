"""What tells weights from others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from animetune.models.config import ModelConfig
from animetune.models.sdxl import Parameterization
from animetune.models.sources import open_source


def test_digests_notice_bytes_and_what_is_said_of_them(tmp_path: Path) -> None:
    made = open_source(ModelConfig(base="builtin:tiny"))
    digests = made.digests()
    assert digests == open_source(ModelConfig(base="builtin:tiny")).digests()
    other = dataclasses.replace(made, parameterization=Parameterization("v")).digests()
    assert {part for part in digests if digests[part] != other[part]} == {"settings"}
    file = tmp_path / "unet.safetensors"
    file.write_bytes(b"another")
    other = dataclasses.replace(made, files={**made.files, "unet": (file,)}).digests()
    assert {part for part in digests if digests[part] != other[part]} == {"unet"}


def test_digests_of_some_networks_leave_the_others_unread() -> None:
    made = open_source(ModelConfig(base="builtin:tiny"))
    without = dataclasses.replace(made, files={**made.files, "vae": (Path("nowhere"),)})
    assert set(without.digests(("unet", "text_encoder"))) == {"settings", "unet", "text_encoder"}


def test_made_weights_are_told_apart_by_their_names() -> None:
    tiny, full = (open_source(ModelConfig(base=f"random:{name}")).digests() for name in ("tiny", "sdxl"))
    assert tiny.keys() == full.keys() == {"settings"}
    assert tiny != full
