"""An arena to test with: drawn pictures of made-up models, and its server on a free port of this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image, ImageDraw, PngImagePlugin

from animetune.arena.config import ArenaConfig
from animetune.arena.gallery import Gallery, read_gallery
from animetune.arena.run import listen, make_server
from animetune.arena.security import Access
from animetune.arena.store import Store, open_store
from animetune.config import load_config

MODELS = ("base-xl", "tuned-hi", "merged-9", "theirs-42")
PROMPTS = (
    "1girl, solo, long silver hair, red eyes, school uniform, cherry blossoms, looking at viewer, masterpiece",
    "no humans, mountain lake at night, stars, reflection, scenery",
)
TOKEN = "a-moderator's-long-token"


def draw(model: int, prompt: int, size: tuple[int, int]) -> Image.Image:
    """A landscape: its palette is the prompt's, its shapes are the model's."""
    width, height = size
    image = Image.new("RGB", size)
    pen = ImageDraw.Draw(image)
    for row in range(height):
        part = row / height
        pen.line(
            [(0, row), (width, row)], fill=(int(40 + 120 * part), int(60 + 40 * prompt % 90), int(150 - 60 * part))
        )
    radius = width // (4 + model)
    middle = (width * (model + 1) // 5, height // 3)
    pen.ellipse([middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius], fill=(250, 220, 170))
    for hill in range(3):
        base = height * (6 + hill) // 10
        points = [
            (x, base + int((x * (model + 3) * 7 + hill * 31) % max(9, height // 14))) for x in range(0, width + 8, 8)
        ]
        pen.polygon(
            [(0, height), *points, (width, height)], fill=(30 + 30 * hill, 70 + 25 * hill, 60 + 20 * prompt % 60)
        )
    return image


def paint_models(
    folder: Path,
    models: Sequence[str] = MODELS,
    prompts: Sequence[str] = PROMPTS,
    *,
    seeds: Sequence[int] = (1, 2),
    size: tuple[int, int] = (64, 96),
) -> dict[str, dict[str, str]]:
    """Folders of pictures with their requests, the models' names in every text chunk; the `models` of a config."""
    for number, model in enumerate(models):
        place = folder / "pictures" / model
        place.mkdir(parents=True)
        lines = []
        for index, prompt in enumerate(prompts):
            for seed in seeds:
                name = f"{model}-{index}-{seed}.{'webp' if number % 2 else 'png'}"
                told = PngImagePlugin.PngInfo()
                told.add_text("model", model)
                told.add_itxt("parameters", f"drawn by {model} in {place}")
                exif = Image.Exif()
                exif[0x010E] = model
                save = {"pnginfo": told} if name.endswith("png") else {"lossless": True}
                draw(number, index, size).save(place / name, exif=exif, **save)
                line = {"file": name, "prompt": prompt, "seed": seed, "width": size[0], "height": size[1]}
                lines.append(json.dumps(line))
        (place / "images.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {model: {"pictures": str(folder / "pictures" / model)} for model in models}


def arena_config(folder: Path, models: dict[str, dict[str, str]], **settings: Any) -> ArenaConfig:
    """A configuration as from a file."""
    values = {"stage": "arena", "models": models, "out": str(folder / "arena"), "port": 0, **settings}
    path = folder / "arena.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return load_config(path, ArenaConfig)


@dataclass(frozen=True)
class Site:
    """An arena that is being served."""

    cfg: ArenaConfig
    store: Store
    gallery: Gallery
    access: Access
    server: uvicorn.Server
    port: int

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def visitor(self) -> httpx.Client:
        """A browser of its own, as far as cookies and the Origin go."""
        return httpx.Client(base_url=self.url, headers={"origin": self.url}, timeout=20)

    @contextlib.contextmanager
    def voter(self) -> Iterator[httpx.Client]:
        """A visitor who has opened the page."""
        with self.visitor() as visitor:
            visitor.post("/api/arena", json={}).raise_for_status()
            yield visitor

    @contextlib.contextmanager
    def moderator(self) -> Iterator[httpx.Client]:
        """A visitor who has given the token."""
        with self.visitor() as visitor:
            visitor.post("/api/moderate", json={"token": TOKEN}).raise_for_status()
            yield visitor


@contextlib.contextmanager
def serving(cfg: ArenaConfig, *, is_open: bool = True) -> Iterator[Site]:
    """The arena on a real server in a thread, on a free port; ended, and its votes brought to the disk, afterwards."""
    gallery = read_gallery(cfg)
    access = Access(TOKEN, is_open=is_open)
    with contextlib.closing(listen("127.0.0.1", cfg.port)) as listener, open_store(cfg, gallery) as store:
        server = make_server(cfg, store, gallery, access)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield Site(cfg, store, gallery, access, server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            assert not thread.is_alive()


def wait_for(happened: Any, seconds: float = 15.0) -> None:
    """Until `happened()` is true; AssertionError when it is not in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.02)


def raw(port: int, request: bytes, *, seconds: float = 10.0) -> bytes:
    """What the server answers to these bytes, until it closes the connection or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
        return answer
