"""Structured captions of several characters, and the text that they become.

{"characters": [{"name", "position", "appearance", "clothes", "action"}, ...], "interaction": ..., "background": ...}

On the left is Ganyu, a girl with long blue hair, wearing a black bodysuit, holding a bow. On the right is ...
"""

from __future__ import annotations

import re
from typing import Annotated

import pydantic

from animetune.curate.caption.sentences import article, capitalised, closed, sentences, tidy, word_set

_Text = Annotated[str, pydantic.Field(max_length=2000)]
_NOTHING = frozenset(
    {"", "none", "n/a", "na", "null", "unknown", "not visible", "not seen", "none visible", "-", "no", "nobody"}
)

_PLACES = {
    "left": "on the left", "right": "on the right", "far left": "on the far left", "far right": "on the far right",
    "center": "in the center", "centre": "in the center", "middle": "in the middle", "foreground": "in the foreground",
    "background": "in the background", "front": "in front", "back": "at the back", "top": "at the top",
    "bottom": "at the bottom", "behind": "behind", "center left": "left of the center",
    "center right": "right of the center",
}  # fmt: skip
_PLACED = re.compile(
    r"^(?:in|on|at|to|near|behind|beside|next|above|below|left of|right of|between|under|over|among)\b", re.I
)
_WORN = re.compile(r"^(?:(?:is|are)\s+)?(?:wears?|wearing|dressed in|clad in|clothed in|has on)\s+", re.I)
_IS = re.compile(r"^(?:(?:she|he|they|it)\s+)?(?:is|are)\s+(?=\w+ing\b)", re.I)
_PRONOUN = re.compile(r"^(?:she|he|they|it)\s+", re.I)
_SOMEBODY = re.compile(
    r"^(?:an?|the|one|two|three|some|another)\s|^(?:girl|boy|man|woman|person|figure|child|cat|dog|creature)\b", re.I
)
_HAVING = re.compile(r"^(?:with|has|having)\s+", re.I)
_FINITE = re.compile(r"\b(?:is|are|was|has|have|shows?|stands?|lies|features?|stretch(?:es)?|looks?|appears?)\b", re.I)
_ING = re.compile(r"^(?:\w+ly\s+)?\w+ing\b", re.I)


class Character(pydantic.BaseModel):
    """One character of a structured caption; what is not seen is empty."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    name: _Text | None = None
    position: _Text | None = None
    appearance: _Text | None = None
    clothes: _Text | None = None
    action: _Text | None = None


class Scene(pydantic.BaseModel):
    """A structured caption."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    characters: Annotated[tuple[Character, ...], pydantic.Field(min_length=1, max_length=24)]
    interaction: _Text | None = None
    background: _Text | None = None


def to_text(scene: Scene) -> str:
    """Fluent text: a sentence for each character with its place, then what they do together, then the background.

    Empty where nothing at all is said.
    """
    said = [_character(character) for character in scene.characters]
    if interaction := _given(scene.interaction):
        said.append(_whole(interaction))
    if background := _given(scene.background):
        said.append(_background(background))
    return " ".join(sentence for sentence in said if sentence)


def _character(character: Character) -> str:
    name, appearance = _given(character.name), _given(character.appearance)
    who = _who(name, appearance)
    details = [text for text in (_clothes(character.clothes), _action(character.action)) if text]
    if not who and not details:
        return ""
    phrase = ", ".join([who or "a person", *details])
    place = _place(character.position)
    return _whole(f"{place} is {phrase}" if place else f"there is {phrase}")


def _who(name: str, appearance: str) -> str:
    if not appearance:
        return name
    if _SOMEBODY.match(appearance):
        somebody = appearance if appearance.split()[0].lower() in _ARTICLES else f"{article(appearance)} {appearance}"
        return f"{name}, {_lowered(somebody)}" if name else _lowered(somebody)
    return f"{name or 'a person'} with {_lowered(_HAVING.sub('', appearance))}"


_ARTICLES = frozenset({"a", "an", "the", "one", "two", "three", "some", "another"})


def _clothes(text: str | None) -> str:
    worn = _WORN.sub("", _given(text))
    return f"wearing {_lowered(worn)}" if worn else ""


def _action(text: str | None) -> str:
    done = _IS.sub("", _given(text))
    if not done or _ING.match(done):
        return _lowered(done)
    done = _PRONOUN.sub("", done)
    return _lowered(done) if _PLACED.match(done) or _HAVING.match(done) else f"who {_lowered(done)}"


def _place(text: str | None) -> str:
    place = _lowered(_given(text))
    if place in _PLACES:
        return _PLACES[place]
    if not place or _PLACED.match(place):
        return place
    return (
        f"on the {place}"
        if re.search(r"\b(?:side|left|right)$", place)
        else f"at the {place}"
        if len(place.split()) < 3
        else ""
    )


def _background(text: str) -> str:
    if _FINITE.search(text) or len(sentences(text)) > 1:
        return _whole(text)
    return _whole(
        f"in the background, there is {_lowered(text)}"
        if _SOMEBODY.match(text)
        else f"the background shows {_lowered(text)}"
    )


def _given(text: str | None) -> str:
    """The text without marks at its end; empty where it says that there is nothing."""
    said = tidy(text or "")
    return (
        ""
        if said.lower().rstrip(".") in _NOTHING
        else (said.rstrip(".").strip() if len(sentences(said)) == 1 else said)
    )


def _lowered(text: str) -> str:
    """The text for the middle of a sentence: articles and the like in lower case, names as they are."""
    first, _, rest = text.partition(" ")
    known = (
        first.lower() in _ARTICLES
        or _PLACED.match(first)
        or _ING.match(first)
        or first.lower() in _PLACES
        or first.lower() in _COMMON
    )
    return f"{first.lower()} {rest}".strip() if known else text


_COMMON = word_set(
    "with who long short black white blue red green pink purple brown blonde grey gray silver no girl boy far"
)


def _whole(text: str) -> str:
    return closed(capitalised(tidy(text)))
