"""Pictures and questions about them for the tests of what a vision model answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from animetune.evaluate.config.vision import VisionConfig
from tests.caption_server import CaptionServer
from tests.captioned import FAST


def picture_of_colour(folder: Path, number: int) -> Path:
    """A PNG of one colour, `colour(number)` to `by_colour`."""
    file = folder / f"{number}.png"
    Image.new("RGB", (24, 24), _rgb(number)).save(file)
    return file


def colour(number: int) -> str:
    """What `by_colour` calls the picture of that number."""
    return ",".join(str(round(value / 16)) for value in _rgb(number))


def vision(server: CaptionServer, **changes: Any) -> VisionConfig:
    """A model of the server, asked with short waits; `client` adds to those."""
    client = {**FAST, "connect": 1.0, "read": 1.0, **changes.pop("client", {})}
    settings = {"base_url": server.base_url, "model": "eyes", "client": client, "picture": {"format": "PNG"}}
    return VisionConfig.model_validate({**settings, **changes})


def _rgb(number: int) -> tuple[int, int, int]:
    return 16 * (number % 16), 16 * (number // 16 % 16), 128
