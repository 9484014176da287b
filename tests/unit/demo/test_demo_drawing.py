"""Drawings: pure functions of their generator, of the size asked for, of every content bucket."""

from __future__ import annotations

import numpy as np
import pytest

from animetune.demo.drawing import ANIMALS, HAIR, KINDS, OBJECTS, SCENERIES, Pen, Scene, draw, imagine, mirror, mix
from animetune.records import CONTENT_BUCKETS
from animetune.seeding import Purpose, rng_for


def test_kinds_are_the_content_buckets_and_their_shares_add_up() -> None:
    assert tuple(KINDS) == CONTENT_BUCKETS
    assert sum(KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_depends_on_its_generator_alone(kind: str) -> None:
    def picture(index: int) -> bytes:
        rng = rng_for(3, Purpose.DRAW, index)
        image = draw(imagine(kind, rng), 96, 160, rng)
        assert (image.size, image.mode) == ((96, 160), "RGB")
        return image.tobytes()

    assert picture(0) == picture(0)
    assert len({picture(index) for index in range(6)}) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_show_what_their_content_bucket_says(kind: str) -> None:
    for index in range(30):
        scene = imagine(kind, rng_for(4, Purpose.DRAW, index))
        felt = [person.expression not in ("neutral", "blush") for person in scene.people]
        if "girl" in kind or "boy" in kind:
            assert {person.girl for person in scene.people} == {"girl" in kind}
            assert len(scene.people) in ((2, 3) if "multiple" in kind else (1,))
            assert "multiple" in kind or felt == [kind.endswith("emotion")]
        else:
            assert scene.thing in {"animal": ANIMALS, "object": OBJECTS, "no_human": SCENERIES}[kind]


def test_every_thing_can_be_drawn() -> None:
    rng = rng_for(0, Purpose.DRAW, 0)
    pictures = {draw(Scene(thing=thing), 64, 64, rng).tobytes() for thing in SCENERIES}
    for thing in ANIMALS + OBJECTS:
        pictures.add(draw(Scene(thing=thing, colour="white", background="grey"), 64, 64, rng).tobytes())
    assert len(pictures) == len(ANIMALS + OBJECTS + SCENERIES)


def test_pen_places_points_in_units_of_the_figure() -> None:
    pen = Pen(canvas=None, origin=(10.0, 20.0), unit=4.0, tilt=np.pi / 2)  # type: ignore[arg-type]
    assert pen.at(0, 0) == (10, 20)
    assert pen.at(1, 0) == pytest.approx((10, 24)), "a quarter turn clockwise, y down"


def test_mirror_and_mix() -> None:
    assert mirror([(0, -1), (1, 0), (0, 1)]) == [(0, -1), (1, 0), (0, 1), (-1, 0)]
    assert mix((0, 100, 200), (100, 100, 100), 0.25) == (25, 100, 175)


def test_hair_colours_are_far_apart() -> None:
    colours = np.array(list(HAIR.values()), dtype=float)
    distances = np.sqrt(np.square(colours[:, None] - colours).sum(-1)) + 1e9 * np.eye(len(colours))
    assert distances.min() > 80
