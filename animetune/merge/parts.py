"""Parts of a model by name, for settings that differ between them.

    unet                              a network
    unet.down_blocks.1.attentions.0   a module of it, by its name in diffusers
    IN04                              a block of the UNet, by its number in the single file

`IN00` to `IN08`, `M00` and `OUT00` to `OUT08` are `input_blocks.0` to `.8`, `middle_block` and `output_blocks.0` to
`.8` of SDXL's single file, as merges by blocks count them. Where other programs put the time and label embeddings, the
last layers and the text encoders (some call these `BASE`) differs between them; here they have their own names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from animetune.errors import ConfigError
from animetune.models import keys
from animetune.models.networks import network_links
from animetune.models.sdxl import COMPONENTS, Architecture, Component

_T = TypeVar("_T")

_BLOCK = re.compile(r"(IN|M|OUT)(\d\d)")
_BLOCKS = {"IN": "input_blocks.{}", "M": "middle_block", "OUT": "output_blocks.{}"}


def part_setting(
    architecture: Architecture, parts: Mapping[str, _T], *, otherwise: _T, setting: str
) -> Callable[[Component, str], _T]:
    """What a tensor (network, name in it) is set to: the value of the longest part that holds it, or `otherwise`.

    Raises ConfigError, naming the `setting`, for a part that holds no tensor of this model.
    """
    names = _tensor_names(architecture)
    values = dict.fromkeys(names, otherwise)
    # A module before what lies in it; blocks of the single file last, which cut across diffusers' modules.
    for part in sorted(parts, key=lambda part: (bool(_BLOCK.fullmatch(part)), part.count("."))):
        inside = [name for name, ldm in names.items() if _holds(part, name, ldm)]
        if not inside:
            raise ConfigError(f"{setting}: {part}: is no part of the model; {_known(names)}")
        values |= dict.fromkeys(inside, parts[part])
    return lambda component, name: values[f"{component}.{name}"]


def _tensor_names(architecture: Architecture) -> dict[str, str]:
    """Name of a tensor with its network's -> its name in the single file."""
    return {
        f"{component}.{name}": link.ldm
        for component in COMPONENTS
        for link in network_links(architecture, component)
        for name in link.names
    }


def _holds(part: str, name: str, ldm: str) -> bool:
    block = _BLOCK.fullmatch(part)
    if block is None:
        return name.startswith(f"{part}.") or name == part
    letters, number = block.groups()
    if letters == "M" and number != "00":
        return False
    return ldm.startswith(f"{keys.PREFIXES['unet']}{_BLOCKS[letters].format(int(number))}.")


def _known(names: Iterable[str]) -> str:
    """The parts of the first two levels."""
    modules = dict.fromkeys(
        re.sub(r"^(\w+\.(?:(?:down|up)_blocks\.\d+|\w+)).*", r"\1", name) for name in names if name.startswith("unet.")
    )
    return f"it has {', '.join(COMPONENTS)}, {', '.join(modules)}, and IN00, M00, OUT00 ... by the single file's blocks"
