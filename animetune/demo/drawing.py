"""Procedural anime pictures, drawn with Pillow: characters, groups, animals, objects and sceneries.

    content bucket --imagine--> Scene (what is to be seen) --draw--> picture

Everything is a pure function of a NumPy generator. Hair and backgrounds have saturated, well separated colours, so that
`animetune.demo.colours` can read them back from a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageDraw

ChoiceT = TypeVar("ChoiceT")
RGB = tuple[int, int, int]
Point = tuple[float, float]

HAIR: dict[str, RGB] = {
    "red": (214, 44, 48),
    "blue": (48, 88, 222),
    "green": (44, 168, 78),
    "blonde": (246, 212, 92),
    "pink": (250, 138, 190),
    "purple": (140, 66, 190),
    "black": (40, 36, 48),
    "white": (240, 242, 248),
}
"""Hair colours by the word of their tag (`red_hair`)."""

BACKGROUNDS: dict[str, RGB] = {
    "grey": (130, 132, 138),
    "orange": (248, 150, 48),
    "aqua": (92, 216, 224),
    "brown": (118, 78, 46),
}
"""Background colours by the word of their tag (`orange_background`)."""

EYES: dict[str, RGB] = {
    "blue": (60, 120, 220),
    "green": (60, 170, 90),
    "red": (200, 50, 60),
    "purple": (140, 80, 200),
    "brown": (130, 80, 50),
}
CLOTHES: dict[str, RGB] = {
    "white": (244, 244, 248),
    "black": (52, 50, 62),
    "red": (206, 60, 66),
    "blue": (70, 96, 190),
    "green": (70, 150, 100),
}
FUR: dict[str, RGB] = {"white": (244, 242, 240), "black": (56, 52, 62), "golden": (236, 190, 104)}
"""Colours of animals; objects have those of clothes."""
SKIN: RGB = (255, 224, 204)
SKIN_SHADE: RGB = (240, 188, 168)
INK: RGB = (58, 40, 48)
WHITE: RGB = (255, 255, 255)

Expression = Literal["neutral", "blush", "smile", "open_mouth", "frown", "closed_eyes"]
CALM: tuple[Expression, ...] = ("neutral", "neutral", "blush")
FELT: tuple[Expression, ...] = ("smile", "open_mouth", "frown", "closed_eyes")
ANIMALS = ("cat", "dog", "rabbit", "bird")
OBJECTS = ("cup", "book", "sword", "apple", "umbrella")
SCENERIES = ("mountain", "ocean", "night_sky", "city")


@dataclass(frozen=True)
class Person:
    """One character; colour words are keys of HAIR, EYES and CLOTHES."""

    girl: bool
    hair: str
    eyes: str
    clothes: str
    expression: Expression
    accessory: str | None = None
    """`hair_bow`, `hairband`, `glasses` or None."""
    twintails: bool = False

    @property
    def noun(self) -> str:
        """girl or boy."""
        return "girl" if self.girl else "boy"


@dataclass(frozen=True)
class Scene:
    """What a picture shows: people, or else one thing (an animal, an object or a scenery)."""

    people: tuple[Person, ...] = ()
    thing: str | None = None
    colour: str | None = None
    """Colour word of an animal (a key of FUR) or an object (a key of CLOTHES)."""
    background: str | None = None
    """A key of BACKGROUNDS; None for a scenery."""

    @property
    def is_animal(self) -> bool:
        """Whether the thing is an animal."""
        return self.thing in ANIMALS


# --- what is to be seen -------------------------------------------------------------------------------------------

KINDS: dict[str, float] = {
    "1girl_with_emotion": 0.30,
    "1girl_only": 0.20,
    "1boy_with_emotion": 0.14,
    "1boy_only": 0.10,
    "multiple_girls": 0.07,
    "multiple_boys": 0.05,
    "animal": 0.05,
    "object": 0.05,
    "no_human": 0.04,
}
"""Share of each content bucket among the pictures: uneven, as on the sites, so that balancing has work to do."""


def imagine(kind: str, rng: np.random.Generator) -> Scene:
    """A scene of the content bucket `kind` (a key of KINDS)."""
    background = _pick(rng, list(BACKGROUNDS))
    if kind == "no_human":
        return Scene(thing=_pick(rng, SCENERIES))
    if kind in ("animal", "object"):
        things, colours = (ANIMALS, FUR) if kind == "animal" else (OBJECTS, CLOTHES)
        return Scene(thing=_pick(rng, things), colour=_pick(rng, list(colours)), background=background)
    several = kind.startswith("multiple")
    emotion = bool(rng.random() < 0.5) if several else kind.endswith("emotion")
    count = int(rng.integers(2, 4)) if several else 1
    girl = "girl" in kind
    return Scene(people=tuple(_imagine_person(girl, emotion, rng) for _ in range(count)), background=background)


def _imagine_person(girl: bool, emotion: bool, rng: np.random.Generator) -> Person:
    accessory = _pick(rng, ["hair_bow", "hairband", None, None, None] if girl else ["glasses", None, None, None])
    return Person(
        girl=girl,
        hair=_pick(rng, list(HAIR)),
        eyes=_pick(rng, list(EYES)),
        clothes=_pick(rng, list(CLOTHES)),
        expression=_pick(rng, FELT if emotion else CALM),
        accessory=accessory,
        twintails=girl and bool(rng.random() < 0.25),
    )


def _pick(rng: np.random.Generator, choices: Sequence[ChoiceT]) -> ChoiceT:
    return choices[int(rng.integers(len(choices)))]


# --- the picture --------------------------------------------------------------------------------------------------

OVERSAMPLING = 2
"""Pictures are drawn this many times larger and shrunk, which anti-aliases Pillow's hard edges."""


def draw(scene: Scene, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """The scene as an RGB picture of `width` x `height` pixels; `rng` sways position, size and tilt."""
    w, h = width * OVERSAMPLING, height * OVERSAMPLING
    image = Image.new("RGB", (w, h), BACKGROUNDS[scene.background] if scene.background else WHITE)
    canvas = ImageDraw.Draw(image)
    if scene.background:
        _decorate(canvas, w, h, BACKGROUNDS[scene.background], rng)
    if scene.people:
        _draw_people(canvas, w, h, scene.people, rng)
    elif scene.thing in SCENERY_DRAWINGS:
        SCENERY_DRAWINGS[scene.thing](canvas, w, h, rng)
    else:
        pen = Pen(canvas, (w * _sway(rng, 0.5, 0.05), h * _sway(rng, 0.52, 0.04)), min(w, h) * _sway(rng, 0.3, 0.04))
        drawings, colours = (ANIMAL_DRAWINGS, FUR) if scene.is_animal else (OBJECT_DRAWINGS, CLOTHES)
        drawings[str(scene.thing)](pen, colours[str(scene.colour)])
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _decorate(canvas: ImageDraw.ImageDraw, w: int, h: int, colour: RGB, rng: np.random.Generator) -> None:
    """A plain background stays plain in most pictures; some get soft dots or a disc of a slightly lighter tone."""
    style = rng.random()
    light = mix(colour, WHITE, 0.14)
    if style < 0.15:
        step = min(w, h) / 5
        for row in range(int(h / step) + 2):
            for column in range(int(w / step) + 2):
                x, y = (column + 0.5 * (row % 2)) * step, row * step
                canvas.ellipse([x - step / 8, y - step / 8, x + step / 8, y + step / 8], fill=light)
    elif style < 0.35:
        radius = min(w, h) * 0.44
        canvas.ellipse([w / 2 - radius, h / 2 - radius, w / 2 + radius, h / 2 + radius], fill=light)


def _draw_people(
    canvas: ImageDraw.ImageDraw, w: int, h: int, people: Sequence[Person], rng: np.random.Generator
) -> None:
    count = len(people)
    radius = min(w * 0.3, h * 0.265) * _sway(rng, 1.0, 0.06) if count == 1 else min(h * 0.26, w * 0.44 / count)
    for index, person in enumerate(people):
        x = w * ((index + 0.5) / count + float(rng.uniform(-0.03, 0.03)))
        y = h * _sway(rng, 0.47, 0.02 if count == 1 else 0.06)
        draw_person(Pen(canvas, (x, y), radius), person, tilt=float(rng.uniform(-0.09, 0.09)))


def _sway(rng: np.random.Generator, middle: float, by: float) -> float:
    return float(middle + rng.uniform(-by, by))


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Colour `a` moved by `share` (0 to 1) toward `b`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Pen:
    """Draws smooth shapes in the units of a figure: origin at its centre, y down, 1 = its radius."""

    canvas: ImageDraw.ImageDraw
    origin: Point
    unit: float
    tilt: float = 0.0
    """Rotation in radians, clockwise."""

    def at(self, x: float, y: float) -> Point:
        """Pixel position of a point of the figure."""
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return self.origin[0] + (x * cos - y * sin) * self.unit, self.origin[1] + (x * sin + y * cos) * self.unit

    def shape(self, points: Sequence[Point], fill: RGB, ink: RGB | None = None, *, smooth: bool = True) -> None:
        """Fill a closed outline through `points`, as a Catmull-Rom spline if `smooth`; `ink` draws its edge."""
        outline = [self.at(*point) for point in (_spline(points) if smooth else points)]
        self.canvas.polygon(outline, fill=fill)
        if ink:
            self.canvas.line([*outline, outline[0]], fill=ink, width=self._width(0.035), joint="curve")

    def oval(self, x: float, y: float, rx: float, ry: float, fill: RGB, ink: RGB | None = None) -> None:
        """Fill an ellipse around (x, y)."""
        angles = [2 * math.pi * k / 24 for k in range(24)]
        points = [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]
        self.shape(points, fill, ink, smooth=False)

    def stroke(self, points: Sequence[Point], fill: RGB, width: float) -> None:
        """An open line through `points`, `width` in the figure's unit."""
        self.canvas.line([self.at(*p) for p in points], fill=fill, width=self._width(width), joint="curve")

    def arc(self, x: float, y: float, rx: float, bend: float, fill: RGB, width: float) -> None:
        """A parabola of half-width `rx`; a positive `bend` hangs down like a smile."""
        steps = [k / 4 for k in range(-4, 5)]
        self.stroke([(x + rx * s, y + bend * (1 - s * s)) for s in steps], fill, width)

    def _width(self, width: float) -> int:
        return max(1, round(width * self.unit))


def _spline(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """A closed Catmull-Rom curve through `points`."""
    p = np.asarray(points, dtype=np.float64)
    t = (np.arange(steps) / steps)[:, None]
    before, after, beyond = np.roll(p, 1, axis=0), np.roll(p, -1, axis=0), np.roll(p, -2, axis=0)
    curve = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(before, p, after, beyond, strict=True)
    ]
    return [(float(x), float(y)) for x, y in np.concatenate(curve)]


def mirror(points: Sequence[Point]) -> list[Point]:
    """The right half of an outline (top to bottom) and its mirror image, as one closed outline."""
    return [*points, *((-x, y) for x, y in reversed(points) if x)]


# --- people -------------------------------------------------------------------------------------------------------

SKULL = mirror([(0, -1.28), (0.62, -1.16), (1.05, -0.72), (1.16, -0.1), (1.0, 0.5), (0.5, 0.8)])
LONG_HAIR = mirror(
    [(0, -1.28), (0.62, -1.16), (1.06, -0.72), (1.2, -0.05), (1.22, 0.7), (1.34, 1.5), (1.12, 2.0), (0.5, 1.9)]
)
SPIKES = (
    (0, -1.36), (0.3, -1.14), (0.62, -1.38), (0.72, -1.04), (1.14, -1.06), (1.02, -0.66), (1.34, -0.48), (1.1, -0.14),
    (1.26, 0.2), (0.9, 0.5),
)  # fmt: skip
FACE = mirror([(0, -0.86), (0.6, -0.74), (0.88, -0.2), (0.86, 0.24), (0.66, 0.62), (0.24, 0.93), (0, 0.99)])
FRINGE_GIRL = (
    (-0.97, 0.2), (-1.08, -0.5), (-0.7, -1.05), (0, -1.24), (0.7, -1.05), (1.08, -0.5), (0.97, 0.2), (0.84, -0.26),
    (0.6, -0.5), (0.5, -0.12), (0.22, -0.48), (0.04, -0.14), (-0.2, -0.5), (-0.44, -0.12), (-0.6, -0.46),
    (-0.82, -0.22),
)  # fmt: skip
FRINGE_BOY = (
    (-0.98, -0.06), (-1.1, -0.5), (-0.7, -1.08), (0, -1.26), (0.7, -1.08), (1.1, -0.5), (0.98, -0.06), (0.82, -0.44),
    (0.6, -0.22), (0.34, -0.62), (0.1, -0.2), (-0.16, -0.6), (-0.5, -0.24), (-0.72, -0.5),
)  # fmt: skip


def draw_person(pen: Pen, person: Person, *, tilt: float = 0.0) -> None:
    """A bust: big head, hair, eyes, mouth, shoulders. `pen` is centred on the face; the head alone is tilted."""
    hair = HAIR[person.hair]
    ink = mix(hair, INK, 0.55) if person.hair != "white" else (150, 150, 170)
    head = Pen(pen.canvas, pen.origin, pen.unit, tilt)
    if person.twintails:
        for side in (-1, 1):
            tail = [(1.0, -0.7), (1.5, -0.72), (1.86, 0.0), (1.8, 1.0), (1.5, 1.7), (1.3, 0.9), (1.22, 0.1)]
            head.shape([(side * x, y) for x, y in tail], hair, ink)
        head.shape(SKULL, hair, ink)
    elif person.girl:
        head.shape(LONG_HAIR, hair, ink)
    _draw_body(pen, person)
    if not person.girl:
        spikes = mirror(SPIKES)
        head.shape(spikes, hair, ink, smooth=False)
        for side in (-1, 1):
            head.oval(side * 0.9, 0.14, 0.15, 0.22, SKIN, SKIN_SHADE)
    head.shape(FACE, SKIN, mix(SKIN_SHADE, INK, 0.3))
    _draw_face(head, person, ink)
    head.shape(FRINGE_GIRL if person.girl else FRINGE_BOY, hair, smooth=False)
    _draw_shine(head, hair)
    for lock in (-0.4, 0.1, 0.5):
        head.stroke([(lock * 1.2, -0.95), (lock, -0.52)], ink, 0.03)
    _draw_accessory(head, person)


def _draw_body(pen: Pen, person: Person) -> None:
    cloth = CLOTHES[person.clothes]
    ink = mix(cloth, INK, 0.6)
    wide = 1.12 if person.girl else 1.34
    pen.shape(
        mirror([(0, 1.1), (0.34, 1.16), (wide * 0.8, 1.36), (wide, 1.8), (wide * 1.06, 9)]), cloth, ink, smooth=False
    )
    pen.shape([(-0.26, 0.7), (0.26, 0.7), (0.3, 1.2), (0, 1.5), (-0.3, 1.2)], SKIN_SHADE, smooth=False)
    collar = mix(cloth, WHITE, 0.55) if person.clothes != "white" else (90, 110, 190)
    for side in (-1, 1):
        pen.shape([(side * 0.26, 1.12), (side * 0.6, 1.24), (side * 0.42, 1.62), (0, 1.52)], collar, ink, smooth=False)
    if person.girl:
        for side in (-1, 1):
            pen.shape([(0, 1.6), (side * 0.34, 1.46), (side * 0.34, 1.8)], (214, 60, 80), ink, smooth=False)


def _draw_face(head: Pen, person: Person, ink: RGB) -> None:
    iris = EYES[person.eyes]
    tall = 0.27 if person.girl else 0.22
    brow = {"frown": 0.1, "blush": -0.06}.get(person.expression, -0.02)
    for side in (-1, 1):
        x = side * 0.42
        if person.expression == "closed_eyes":
            head.arc(x, 0.3, 0.2, -0.14, INK, 0.075)
        else:
            head.oval(x, 0.22, 0.2, tall, WHITE)
            head.oval(x, 0.24, 0.155, tall * 0.9, iris)
            head.oval(x, 0.18, 0.15, tall * 0.55, mix(iris, INK, 0.6))
            head.oval(x - 0.05, 0.1, 0.06, 0.07, WHITE)
            head.arc(x, 0.06, 0.23, -0.1, INK, 0.09)
        head.stroke([(side * 0.26, -0.2 + brow), (side * 0.6, -0.2 - brow)], ink, 0.05)
        if person.expression in ("blush", "open_mouth", "closed_eyes"):
            strength = 0.75 if person.expression == "blush" else 0.4
            head.oval(side * 0.58, 0.54, 0.17, 0.09, mix(SKIN, (250, 110, 120), strength))
    head.stroke([(0.0, 0.42), (0.03, 0.5)], SKIN_SHADE, 0.04)
    if person.expression == "open_mouth":
        head.shape([(-0.22, 0.64), (0.22, 0.64), (0.12, 0.84), (-0.12, 0.84)], (190, 50, 66), INK)
    elif person.expression in ("smile", "closed_eyes"):
        head.arc(0, 0.66, 0.22, 0.12, (150, 50, 60), 0.06)
    elif person.expression == "frown":
        head.arc(0, 0.78, 0.2, -0.12, (150, 50, 60), 0.06)
    else:
        head.stroke([(-0.12, 0.71), (0.12, 0.71)], (150, 70, 70), 0.05)


def _draw_shine(head: Pen, hair: RGB) -> None:
    """The band of light on the hair of cel animation."""
    light = mix(hair, WHITE, 0.34) if sum(hair) < 660 else (214, 218, 234)
    band = [(-0.72, -0.8), (-0.35, -0.94), (0, -0.98), (0.35, -0.94), (0.72, -0.8)]
    lower = [(0.6, -0.72), (0.3, -0.86), (0, -0.82), (-0.3, -0.86), (-0.6, -0.72)]
    head.shape([*band, *lower], light, smooth=False)


def _draw_accessory(head: Pen, person: Person) -> None:
    if person.accessory == "hair_bow":
        for side in (-1, 1):
            head.shape([(0.8, -0.98), (0.8 + side * 0.4, -1.24), (0.8 + side * 0.4, -0.74)], (236, 70, 96), INK)
        head.oval(0.8, -0.98, 0.11, 0.11, (200, 40, 70))
    elif person.accessory == "hairband":
        band = [(-1.06, -0.42), (-0.66, -0.8), (0, -0.94), (0.66, -0.8), (1.06, -0.42)]
        head.stroke(band, (250, 250, 252), 0.13)
    elif person.accessory == "glasses":
        for side in (-1, 1):
            angles = [2 * math.pi * k / 20 for k in range(21)]
            head.stroke([(side * 0.42 + 0.29 * math.cos(a), 0.24 + 0.27 * math.sin(a)) for a in angles], INK, 0.05)
        head.stroke([(-0.13, 0.2), (0.13, 0.2)], INK, 0.05)


# --- animals, objects, sceneries ----------------------------------------------------------------------------------


def _animal_face(pen: Pen, fur: RGB, *, muzzle: bool) -> RGB:
    ink = mix(fur, INK, 0.6)
    pen.oval(0, 1.35, 0.75, 0.9, fur, ink)
    pen.oval(0, 0, 1.0, 0.85, fur, ink)
    if muzzle:
        pen.oval(0, 0.35, 0.45, 0.36, mix(fur, WHITE, 0.6))
    for side in (-1, 1):
        pen.oval(side * 0.42, -0.08, 0.15, 0.2, (250, 230, 120) if fur == FUR["black"] else INK)
        pen.oval(side * 0.42, -0.06, 0.07, 0.16, INK)
        pen.oval(side * 0.38, -0.16, 0.05, 0.06, WHITE)
        pen.arc(side * 0.12, 0.4, 0.12, 0.08, INK, 0.05)
    pen.oval(0, 0.3, 0.1, 0.07, (226, 110, 120))
    return ink


def _cat(pen: Pen, fur: RGB) -> None:
    for side in (-1, 1):
        pen.shape(
            [(side * 0.95, -0.2), (side * 0.9, -1.2), (side * 0.25, -0.75)], fur, mix(fur, INK, 0.6), smooth=False
        )
        pen.shape([(side * 0.82, -0.4), (side * 0.82, -0.95), (side * 0.45, -0.7)], (250, 170, 180), smooth=False)
    ink = _animal_face(pen, fur, muzzle=False)
    for side in (-1, 1):
        for droop in (0.0, 0.16):
            pen.stroke([(side * 0.5, 0.34 + droop / 2), (side * 1.2, 0.26 + droop)], ink, 0.035)


def _dog(pen: Pen, fur: RGB) -> None:
    ink = _animal_face(pen, fur, muzzle=True)
    pen.oval(0, 0.22, 0.16, 0.11, INK)
    for side in (-1, 1):
        ear = [(0.62, -0.72), (0.95, -0.62), (1.25, 0.1), (1.05, 0.55), (0.85, 0.2)]
        pen.shape([(side * x, y) for x, y in ear], mix(fur, INK, 0.3), ink)


def _rabbit(pen: Pen, fur: RGB) -> None:
    for side in (-1, 1):
        pen.oval(side * 0.42, -1.15, 0.24, 0.75, fur, mix(fur, INK, 0.6))
        pen.oval(side * 0.42, -1.1, 0.12, 0.55, (250, 180, 190))
    _animal_face(pen, fur, muzzle=False)


def _bird(pen: Pen, fur: RGB) -> None:
    ink = mix(fur, INK, 0.6)
    pen.shape([(-0.6, 0.5), (-1.6, 0.9), (-1.5, 1.3), (-0.3, 1.0)], mix(fur, INK, 0.25), ink, smooth=False)
    pen.oval(0, 0.35, 1.0, 0.85, fur, ink)
    pen.oval(0.55, -0.45, 0.6, 0.56, fur, ink)
    pen.shape([(1.05, -0.55), (1.6, -0.36), (1.05, -0.22)], (250, 190, 60), ink, smooth=False)
    pen.oval(0.7, -0.52, 0.1, 0.12, INK)
    pen.oval(0.67, -0.56, 0.04, 0.04, WHITE)
    pen.shape([(-0.7, 0.1), (0.25, 0.0), (0.2, 0.6), (-0.5, 0.8)], mix(fur, WHITE, 0.3), ink)
    for x in (-0.1, 0.25):
        pen.stroke([(x, 1.15), (x, 1.6)], (230, 150, 50), 0.08)


def _cup(pen: Pen, fur: RGB) -> None:
    ink = mix(fur, INK, 0.6)
    pen.stroke([(0.85, -0.3), (1.4, -0.25), (1.4, 0.4), (0.8, 0.5)], ink, 0.26)
    pen.stroke([(0.85, -0.3), (1.4, -0.25), (1.4, 0.4), (0.8, 0.5)], fur, 0.18)
    pen.shape([(-0.95, -0.7), (0.95, -0.7), (0.75, 0.95), (-0.75, 0.95)], fur, ink, smooth=False)
    pen.oval(0, -0.7, 0.95, 0.26, mix(fur, WHITE, 0.4), ink)
    pen.oval(0, -0.66, 0.78, 0.18, (110, 66, 40))
    pen.shape([(-0.7, -0.2), (-0.5, -0.2), (-0.42, 0.7), (-0.58, 0.7)], mix(fur, WHITE, 0.5), smooth=False)


def _book(pen: Pen, fur: RGB) -> None:
    ink = mix(fur, INK, 0.6)
    pen.shape([(-1.3, -0.7), (0, -0.5), (1.3, -0.7), (1.3, 0.9), (0, 1.1), (-1.3, 0.9)], fur, ink, smooth=False)
    for side in (-1, 1):
        pen.shape([(0, -0.55), (side * 1.15, -0.85), (side * 1.15, 0.7), (0, 0.95)], (252, 248, 236), INK, smooth=False)
        for row in range(5):
            y = -0.45 + row * 0.24
            pen.stroke([(side * 0.15, y + 0.06), (side * 0.95, y - 0.12)], (150, 140, 140), 0.05)


def _sword(pen: Pen, fur: RGB) -> None:
    pen.shape([(-0.2, 0.6), (-0.2, -1.25), (0, -1.6), (0.2, -1.25), (0.2, 0.6)], (214, 222, 234), INK, smooth=False)
    pen.shape([(0, 0.6), (0, -1.55), (0.2, -1.25), (0.2, 0.6)], (160, 172, 194), smooth=False)
    pen.shape([(-0.75, 0.55), (0.75, 0.55), (0.65, 0.8), (-0.65, 0.8)], (240, 196, 70), INK, smooth=False)
    pen.shape([(-0.14, 0.8), (0.14, 0.8), (0.14, 1.45), (-0.14, 1.45)], fur, INK, smooth=False)
    pen.oval(0, 1.5, 0.2, 0.2, (240, 196, 70), INK)


def _apple(pen: Pen, fur: RGB) -> None:
    ink = mix(fur, INK, 0.6)
    body = [(0, -0.62), (0.5, -0.86), (1.0, -0.5), (1.02, 0.2), (0.6, 0.95), (0, 0.85)]
    pen.shape(mirror(body), fur, ink)
    pen.stroke([(0, -0.6), (0.08, -1.15)], (110, 70, 40), 0.12)
    pen.shape([(0.1, -0.95), (0.6, -1.3), (0.9, -1.1), (0.5, -0.9)], (90, 180, 80), INK)
    pen.oval(-0.5, -0.25, 0.16, 0.28, mix(fur, WHITE, 0.6))


def _umbrella(pen: Pen, fur: RGB) -> None:
    ink = mix(fur, INK, 0.6)
    pen.stroke([(0, -0.8), (0, 1.2), (0.12, 1.4), (0.36, 1.4), (0.42, 1.2)], INK, 0.1)
    dome = [(1.4 * math.cos(a), 0.1 - 1.15 * math.sin(a)) for a in (math.pi * k / 12 for k in range(13))]
    pen.shape([*dome, (-0.95, -0.12), (-0.47, 0.1), (0, -0.12), (0.47, 0.1), (0.95, -0.12)], fur, ink, smooth=False)
    for x in (-0.47, 0.47):
        pen.stroke([(x, 0.1), (x * 0.5, -0.7), (0, -1.05)], ink, 0.05)


ANIMAL_DRAWINGS = {"cat": _cat, "dog": _dog, "rabbit": _rabbit, "bird": _bird}
OBJECT_DRAWINGS = {"cup": _cup, "book": _book, "sword": _sword, "apple": _apple, "umbrella": _umbrella}


def _sky(canvas: ImageDraw.ImageDraw, w: int, h: int, top: RGB, bottom: RGB) -> None:
    for y in range(h):
        canvas.line([(0, y), (w, y)], fill=mix(top, bottom, y / h))


def _mountain(canvas: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    _sky(canvas, w, h, (96, 170, 240), (226, 244, 255))
    for middle, tall, colour in ((0.25, 0.5, (112, 130, 170)), (0.72, 0.62, (86, 104, 150))):
        x, peak = w * _sway(rng, middle, 0.1), h * (0.8 - tall * _sway(rng, 1, 0.15))
        foot = h * 0.8
        canvas.polygon([(x - w * 0.45, foot), (x, peak), (x + w * 0.45, foot)], fill=colour)
        snow = 0.3
        edge = [(x - w * 0.45 * snow, peak + (foot - peak) * snow), (x, peak)]
        edge += [(x + w * 0.45 * snow, peak + (foot - peak) * snow), (x + w * 0.05, peak + (foot - peak) * 0.2)]
        canvas.polygon([*edge, (x - w * 0.04, peak + (foot - peak) * 0.34)], fill=(246, 250, 255))
    canvas.ellipse([-w * 0.5, h * 0.72, w * 0.8, h * 1.5], fill=(110, 190, 96))
    canvas.ellipse([w * 0.3, h * 0.76, w * 1.5, h * 1.5], fill=(90, 170, 84))


def _ocean(canvas: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    _sky(canvas, w, h, (250, 160, 110), (255, 226, 180))
    sun, radius, horizon = w * _sway(rng, 0.5, 0.2), min(w, h) * 0.16, h * _sway(rng, 0.56, 0.04)
    canvas.ellipse([sun - radius, horizon - radius * 1.2, sun + radius, horizon + radius * 0.8], fill=(255, 246, 210))
    canvas.rectangle([0, horizon, w, h], fill=(50, 96, 170))
    for row in range(7):
        y = horizon + (h - horizon) * (row + 0.4) / 7
        half = radius * float(rng.uniform(0.4, 1.2))
        canvas.line([(sun - half, y), (sun + half, y)], fill=(255, 214, 170), width=max(1, h // 70))


def _night_sky(canvas: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    _sky(canvas, w, h, (16, 20, 60), (70, 70, 140))
    for x, y, r in rng.random((40, 3)):
        radius = (0.3 + r) * min(w, h) / 110
        canvas.ellipse(
            [x * w - radius, y * h * 0.8 - radius, x * w + radius, y * h * 0.8 + radius], fill=(255, 250, 220)
        )
    radius, x, y = min(w, h) * 0.14, w * _sway(rng, 0.65, 0.15), h * 0.26
    canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(255, 240, 180))
    for k in range(9):
        middle, tall = w * k / 8, h * float(rng.uniform(0.14, 0.24))
        canvas.polygon([(middle - w * 0.09, h), (middle, h - tall), (middle + w * 0.09, h)], fill=(14, 30, 40))


def _city(canvas: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    _sky(canvas, w, h, (120, 190, 240), (240, 240, 220))
    for k in range(6):
        left, right = w * k / 6, w * (k + 0.92) / 6
        top = h * float(rng.uniform(0.3, 0.62))
        tone = (int(rng.integers(90, 190)), int(rng.integers(100, 170)), int(rng.integers(120, 190)))
        canvas.rectangle([left, top, right, h], fill=tone)
        pane = (right - left) / 5
        for row in range(int((h * 0.95 - top) / (pane * 1.8))):
            for column in (1, 3):
                x, y = left + column * pane, top + pane * (0.8 + row * 1.8)
                canvas.rectangle([x, y, x + pane, y + pane], fill=(255, 244, 190))
    canvas.rectangle([0, h * 0.93, w, h], fill=(90, 90, 100))


SCENERY_DRAWINGS = {"mountain": _mountain, "ocean": _ocean, "night_sky": _night_sky, "city": _city}
