"""Colours as captions and tags say them: families of names that one person or another would give to one colour."""

from __future__ import annotations

import re

_FAMILIES: dict[str, str] = {
    "black": "black ebony raven jet obsidian navy charcoal",
    "white": "white silver snowy ivory cream platinum pearl off-white snow",
    "grey": "grey gray silver ash ashen charcoal slate white steel silvery greyish grayish platinum",
    "blonde": "blonde blond golden gold yellow flaxen platinum honey sandy beige cream light-brown strawberry "
    "champagne",
    "yellow": "yellow golden gold blonde blond amber lemon mustard orange honey",
    "brown": "brown chestnut auburn brunette hazel chocolate tan caramel copper brownish beige mahogany bronze amber "
    "maroon umber coffee khaki",
    "red": "red crimson scarlet ruby auburn maroon burgundy reddish vermilion cherry copper ginger redhead rose wine "
    "redheaded",
    "orange": "orange ginger copper amber peach coral tangerine apricot auburn salmon golden",
    "pink": "pink rose magenta salmon coral peach fuchsia pinkish rosy cherry",
    "purple": "purple violet lavender lilac magenta indigo plum amethyst purplish mauve fuchsia",
    "blue": "blue navy azure cyan aqua teal turquoise indigo sapphire cerulean cobalt bluish sky-blue aquamarine "
    "periwinkle slate",
    "aqua": "aqua cyan teal turquoise aquamarine mint azure blue",
    "green": "green teal mint emerald lime olive turquoise jade aquamarine aqua greenish khaki chartreuse",
}  # fmt: skip
FAMILIES: dict[str, frozenset[str]] = {
    word: frozenset(family for family, words in _FAMILIES.items() if word in words.split())
    for word in dict.fromkeys(" ".join(_FAMILIES.values()).split())
}
"""Colour word -> families that it may belong to."""
COLOUR = rf"(?:{'|'.join(sorted(map(re.escape, FAMILIES), key=len, reverse=True))})"
"""Any colour word, as a regular expression."""

_WORD = re.compile(rf"(?<![a-z]){COLOUR}(?![a-z])")
# A dark red may pass for brown or black, a light blue for white or grey.
_DARK = {"dark": ("black",), "deep": ("black",)}
_LIGHT = {"light": ("white", "grey"), "pale": ("white", "grey")}
_MIXTURES = {
    ("dark", "red"): ("brown",), ("light", "brown"): ("blonde",), ("dark", "blonde"): ("brown",),
    ("light", "red"): ("pink", "orange"), ("light", "purple"): ("pink", "blue"), ("light", "orange"): ("blonde",),
    ("dark", "pink"): ("red", "purple"), ("light", "green"): ("aqua",), ("light", "pink"): ("blonde",),
    ("dirty", "blonde"): ("brown",), ("strawberry", "blonde"): ("pink", "orange", "red"), ("dark", "blue"): ("purple",),
    ("dark", "orange"): ("red", "brown"), ("pale", "purple"): ("pink", "blue"), ("light", "yellow"): ("blonde",),
}  # fmt: skip


def families(text: str) -> frozenset[str]:
    """The families of all colours that a phrase names: `light brown` -> brown, blonde; empty where it names none."""
    words = text.lower().replace("-", " ").split()
    found: set[str] = set(FAMILIES.get(text.lower(), ()))
    for place, word in enumerate(words):
        word = word.strip(",")
        of_word = FAMILIES.get(word)
        if of_word is None:
            continue
        found |= of_word
        before = words[place - 1] if place else ""
        if not found & {"black", "white"}:
            found.update(_DARK.get(before, ()), _LIGHT.get(before, ()))
        for family in of_word:
            found.update(_MIXTURES.get((before, family), ()))
    return frozenset(found)
