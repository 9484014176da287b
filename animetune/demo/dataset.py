"""The demo's data set: drawn pictures with the posts of a Danbooru dump and the captions of a vision-language model.

    <folder>/posts.jsonl      one post a line, in Danbooru's schema
             captions.jsonl   {"id", "long": [...], "short": [...]}
             images/<id>.<ext>
             manifest.json

A few inputs are bad on purpose, as in any real dump: curation has to report each of them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animetune import fsio
from animetune.demo.drawing import KINDS, Person, Scene, draw, imagine
from animetune.manifest import Manifest, record_files, write_manifest
from animetune.progress import track
from animetune.seeding import Purpose, rng_for

FORMAT = 1
FIRST_ID = 1000
NUMBERS = {1: "a", 2: "two", 3: "three"}
EXPRESSION_TAGS: dict[str, tuple[str, ...]] = {
    "neutral": (),
    "blush": ("blush",),
    "smile": ("smile",),
    "open_mouth": ("smile", "open_mouth"),
    "frown": ("frown",),
    "closed_eyes": ("smile", "closed_eyes"),
}
EXPRESSION_WORDS = {
    "neutral": "a calm face",
    "blush": "a blush",
    "smile": "a smile",
    "open_mouth": "a happy open mouth",
    "frown": "a frown",
    "closed_eyes": "closed eyes and a smile",
}
SCENERY_TAGS: dict[str, tuple[str, ...]] = {
    "mountain": ("mountain", "snow", "blue_sky", "day"),
    "ocean": ("ocean", "sunset", "sun", "horizon"),
    "night_sky": ("night_sky", "starry_sky", "full_moon", "night"),
    "city": ("city", "building", "cityscape", "day"),
}
SCENERY_WORDS = {
    "mountain": "snowy mountains under a blue sky",
    "ocean": "a sunset over the ocean",
    "night_sky": "a starry night sky with a full moon",
    "city": "a city street with tall buildings",
}


# --- what is said about a scene -----------------------------------------------------------------------------------


def tags_of(scene: Scene) -> list[str]:
    """The general tags of a scene, sorted, as a careful Danbooru user would give them."""
    tags = {f"{scene.background}_background", "simple_background"} if scene.background else {"scenery", "outdoors"}
    count = len(scene.people)
    if count:
        noun = scene.people[0].noun
        tags |= {"1" + noun, "solo"} if count == 1 else {f"{count}{noun}s", f"multiple_{noun}s"}
        tags |= {"upper_body", "looking_at_viewer"}
    else:
        tags |= {"no_humans"}
    for person in scene.people:
        tags |= {f"{person.hair}_hair", f"{person.clothes}_shirt", *EXPRESSION_TAGS[person.expression]}
        tags |= {"long_hair", "sailor_collar"} if person.girl else {"short_hair", "spiked_hair"}
        tags |= {"twintails"} if person.twintails else set()
        tags |= {person.accessory} if person.accessory else set()
        tags |= {f"{person.eyes}_eyes"} if person.expression != "closed_eyes" else set()
    if scene.thing in SCENERY_TAGS:
        tags |= set(SCENERY_TAGS[scene.thing])
    elif scene.thing:
        tags |= {scene.thing, "animal_focus" if scene.is_animal else "still_life"}
    return sorted(tags)


def captions_of(scene: Scene) -> tuple[str, str]:
    """A long and a short caption of a scene; both name every hair colour and the background."""
    if scene.thing in SCENERY_WORDS:
        words = SCENERY_WORDS[scene.thing]
        return f"The picture shows {words}. Nobody is there.", words
    behind = f"{scene.background} background"
    if scene.thing:
        subject = f"a {scene.colour} {scene.thing}"
        where = "sits" if scene.is_animal else "is"
        return f"{_capital(subject)} {where} in the middle of the picture, {behind}.", f"{subject}, {behind}"
    if len(scene.people) == 1:
        person = scene.people[0]
        hair = f"{'long' if person.girl else 'short'} {person.hair} hair"
        eyes = f" and {person.eyes} eyes" if person.expression != "closed_eyes" else ""
        style = " tied in twintails" if person.twintails else ""
        wears = f"a {person.clothes} shirt" + (f" and {_with_article(person.accessory)}" if person.accessory else "")
        face = EXPRESSION_WORDS[person.expression]
        pronoun = "She" if person.girl else "He"
        long = (
            f"A {person.noun} with {hair}{eyes}{style}, {behind}. "
            f"{pronoun} wears {wears}, looks at the viewer and has {face}."
        )
        return long, f"a {person.noun} with {person.hair} hair and {face}, {behind}"
    crowd = f"{NUMBERS[len(scene.people)]} {scene.people[0].noun}s"
    heads = [f"{person.hair} hair" for person in scene.people]
    listed = ", ".join(heads[:-1]) + f" and {heads[-1]}"
    looks = "; ".join(_look(person) for person in scene.people)
    return (
        f"{_capital(crowd)} stand side by side, {behind}. From left to right: {looks}.",
        f"{crowd} with {listed}, {behind}",
    )


def _look(person: Person) -> str:
    return f"{person.hair} hair, a {person.clothes} shirt and {EXPRESSION_WORDS[person.expression]}"


def _with_article(accessory: str) -> str:
    return accessory if accessory == "glasses" else "a " + accessory.replace("_", " ")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


# --- the files ----------------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """One drawn picture and what is said about it."""

    scene: Scene
    picture: Image.Image
    rng: np.random.Generator
    """The generator of this picture, for whatever else belongs to it."""


def draw_picture(index: int, *, seed: int) -> Drawn:
    """Picture `index` of the data set of `seed`: a pure function of both. Sides are 128 to 256 pixels."""
    rng = rng_for(seed, Purpose.DRAW, index)
    scene = imagine(kind_of(index), rng)
    width, height = _size(rng)
    return Drawn(scene, draw(scene, width, height, rng), rng)


def draw_scene(index: int, size: tuple[int, int], *, seed: int) -> Image.Image:
    """A scene of the data set's mixture at exactly `size` (width, height)."""
    rng = rng_for(seed, Purpose.DRAW, index)
    return draw(imagine(kind_of(index), rng), *size, rng)


def write_dataset(folder: str | Path, *, count: int, seed: int) -> Manifest:
    """Draw `count` good pictures and six flawed inputs into the new folder `folder`; returns its manifest."""
    with fsio.publish_dir(folder) as folder, track("draw", count) as progress:
        (folder / "images").mkdir()
        posts, captions = [], []
        for index in range(count):
            drawn = draw_picture(index, seed=seed)
            extension = ("png", "jpg", "webp")[index % 3]
            data = _encoded(drawn.picture, extension)
            posts.append(_publish(folder, FIRST_ID + index, drawn, data, extension))
            captions.append(_caption_record(FIRST_ID + index, drawn.scene))
            progress.advance(1)
        flawed = list(_flawed(folder, first=count, seed=seed))
        lines = [fsio.canonical_json(post) for post in posts + flawed]
        lines.insert(len(lines) // 2, '{"id": 999, "rating": "g", "tag_string_general": "1girl so')
        fsio.atomic_write(folder / "posts.jsonl", "\n".join(lines) + "\n")
        fsio.atomic_write(folder / "captions.jsonl", "\n".join(map(fsio.canonical_json, captions)) + "\n")
        manifest = Manifest(
            kind="drawings",
            format_version=FORMAT,
            seen=len(lines),
            kept=len(lines),
            facts={"count": count, "seed": seed},
            files=record_files(folder),
        )
        return write_manifest(folder, manifest)


def _flawed(folder: Path, *, first: int, seed: int) -> Iterator[dict[str, Any]]:
    """What every dump has some of; the seventh, a line that is no JSON, is written by the caller."""
    truncated, rotated, clear, small, deleted = (draw_picture(first + k, seed=seed) for k in range(5))
    ids = iter(range(FIRST_ID + first, FIRST_ID + first + 6))
    data = _encoded(truncated.picture, "png")
    yield _publish(folder, next(ids), truncated, data[: len(data) // 2], "png")

    # Stored lying on its side; the EXIF tag 274 says how to turn it upright.
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(rotated.picture.transpose(Image.Transpose.ROTATE_90), "jpg", exif=exif)
    yield _publish(folder, next(ids), rotated, data, "jpg")

    faded = clear.picture.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(faded.size).point(lambda level: 255 - level // 2))
    yield _publish(folder, next(ids), clear, _encoded(faded, "png"), "png")

    data = _encoded(small.picture.resize((64, 48)), "png")
    yield _publish(folder, next(ids), small._replace(picture=small.picture.resize((64, 48))), data, "png")

    yield _publish(folder, next(ids), deleted, _encoded(deleted.picture, "png"), "png") | {"is_deleted": True}

    again = draw_picture(0, seed=seed)
    yield _publish(folder, next(ids), again, _encoded(again.picture, "png"), "png")


def kind_of(index: int) -> str:
    """Content buckets by their shares, spread evenly over the index (multiples of the golden ratio)."""
    place = index * 0.6180339887498949 % 1.0
    edges = np.cumsum(list(KINDS.values()))
    return list(KINDS)[min(int(np.searchsorted(edges, place, side="right")), len(KINDS) - 1)]


def _size(rng: np.random.Generator) -> tuple[int, int]:
    short = int(rng.integers(128, 177))
    long = round(short * float(rng.uniform(1.15, 1.45)))
    shape = rng.random()
    return (short, short) if shape < 0.5 else (short, long) if shape < 0.75 else (long, short)


def _encoded(picture: Image.Image, extension: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[extension], quality=92, **options)
    return stream.getvalue()


def _publish(folder: Path, post_id: int, drawn: Drawn, data: bytes, extension: str) -> dict[str, Any]:
    """Write the picture into a folder that is still private, and return its post."""
    (folder / "images" / f"{post_id}.{extension}").write_bytes(data)
    score = int(drawn.rng.normal(20, 15))
    general = " ".join(tags_of(drawn.scene))
    day = int(drawn.rng.integers(0, 6 * 365))
    created = np.datetime64("2019-01-01T12:00:00") + np.timedelta64(day, "D")
    width, height = drawn.picture.size
    return {
        "id": post_id,
        "created_at": f"{created}.000-05:00",
        "updated_at": f"{created}.000-05:00",
        "uploader_id": 1,
        "source": "",
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "rating": "s" if drawn.rng.random() < 0.1 else "g",
        "score": score,
        "up_score": max(score, 0) + 2,
        "down_score": min(score, 0) - 2,
        "fav_count": max(0, 2 * score),
        "image_width": width,
        "image_height": height,
        "file_ext": extension,
        "file_size": len(data),
        "parent_id": None,
        "has_children": False,
        "is_deleted": False,
        "is_banned": False,
        "is_pending": False,
        "is_flagged": False,
        "tag_string": f"drawn_by_animetune {general} original",
        "tag_count": len(general.split()) + 2,
        "tag_string_general": general,
        "tag_string_artist": "drawn_by_animetune",
        "tag_string_copyright": "original",
        "tag_string_character": "",
        "tag_string_meta": "",
    }


def _caption_record(post_id: int, scene: Scene) -> dict[str, Any]:
    long, short = captions_of(scene)
    return {"id": post_id, "long": [long], "short": [short]}
