"""Parts of a model by name: the longest that fits counts, blocks by number are the single file's."""

from __future__ import annotations

import re

import pytest

from animetune.errors import ConfigError
from animetune.merge.parts import part_setting
from animetune.models.networks import network_links
from animetune.models.sdxl import COMPONENTS, sdxl_configs

SDXL = sdxl_configs()


def test_the_longest_part_counts() -> None:
    parts = {"unet.up_blocks.1": 3, "unet": 1, "unet.up_blocks": 2, "text_encoder": 4}
    setting = part_setting(SDXL, parts, otherwise=0, setting="parts")
    assert setting("unet", "conv_in.weight") == 1
    assert setting("unet", "up_blocks.0.resnets.0.conv1.weight") == 2
    assert setting("unet", "up_blocks.1.resnets.0.conv1.weight") == 3
    assert setting("text_encoder", "text_model.final_layer_norm.weight") == 4
    assert setting("text_encoder_2", "text_projection.weight") == 0, "text_encoder is no beginning of text_encoder_2"


def test_a_tensor_alone_is_a_part_too() -> None:
    setting = part_setting(SDXL, {"unet.conv_in.bias": 1}, otherwise=0, setting="parts")
    assert setting("unet", "conv_in.bias") == 1
    assert setting("unet", "conv_in.weight") == 0


def blocks() -> dict[str, str]:
    """Alias -> what the single file's names of that block begin with, written out."""
    unet = "model.diffusion_model."
    inputs = {f"IN{number:02}": f"{unet}input_blocks.{number}." for number in range(9)}
    outputs = {f"OUT{number:02}": f"{unet}output_blocks.{number}." for number in range(9)}
    return inputs | {"M00": f"{unet}middle_block."} | outputs


def test_blocks_by_number_are_those_of_the_single_file() -> None:
    setting = part_setting(SDXL, {name: name for name in blocks()}, otherwise="", setting="parts")
    for component in COMPONENTS:
        for link in network_links(SDXL, component):
            expected = next((alias for alias, prefix in blocks().items() if link.ldm.startswith(prefix)), "")
            assert {setting(component, name) for name in link.names} == {expected}
    # what no block holds
    rest = {
        link.names[0].partition(".")[0] for link in network_links(SDXL, "unet") if not setting("unet", link.names[0])
    }
    assert rest == {"time_embedding", "add_embedding", "conv_norm_out", "conv_out"}


def test_a_block_goes_before_a_module() -> None:
    """`down_blocks.1.attentions.0` lies in IN04."""
    parts = {"unet.down_blocks.1": "module", "IN04": "block"}
    setting = part_setting(SDXL, parts, otherwise="", setting="parts")
    assert setting("unet", "down_blocks.1.attentions.0.proj_in.weight") == "block"
    assert setting("unet", "down_blocks.1.attentions.1.proj_in.weight") == "module"


@pytest.mark.parametrize("part", ["unet.down_block.1", "IN09", "OUT12", "M01", "text_encoder_3", "unet.down_blocks.3"])
def test_what_is_no_part_is_named(part: str) -> None:
    with pytest.raises(ConfigError, match=f"method.parts: {re.escape(part)}: is no part of the model") as raised:
        part_setting(SDXL, {part: 1}, otherwise=0, setting="method.parts")
    for known in ("text_encoder_2", "unet.down_blocks.2", "unet.mid_block", "unet.time_embedding", "IN00"):
        assert known in str(raised.value)
