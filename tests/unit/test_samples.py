"""A folder of drawn pictures: what is written can be read, by us and by others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from animetune import samples
from animetune.manifest import read_manifest, verify_files
from animetune.records import Request, Size
from animetune.samples.sheets import Axis, Layout

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


def test_the_page_names_what_has_no_glyph_and_ends_no_script(tmp_path: Path) -> None:
    """A character that turns the direction would let a title say one thing and show another."""
    hostile = "a\u202egnp.exe\n</script><b>"
    picture = Request(hostile, 1, Size(16, 24), negative="\u200bn")
    entries = [samples.Entry(picture, SETTINGS)] * 2
    for place in range(2):
        samples.save_png(tmp_path / f"{place:05d}.png", np.zeros((24, 16, 3), np.uint8), entries[place])
    layout = Layout((Axis("prompt", (hostile, "b")),))
    samples.finish(tmp_path, entries, facts={}, columns=2, layout=layout)
    page = (tmp_path / samples.PAGE_NAME).read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["axes"] == [{"name": "prompt", "values": ["a<U+202E>gnp.exe </script><b>", "b"]}]
    assert {(each["prompt"], each["shown"], each["negative"]) for each in data["pictures"]} == {
        (hostile, "a<U+202E>gnp.exe\n</script><b>", "<U+200B>n")
    }
    assert page.count("\u202e") == 2, "only where the prompt is copied from"
