"""Tells which references to style a caption has, word by word, without the rules that remove them.

A word of style counts wherever it stands, but for pictures in the picture (`style_objects`). A word that has ordinary
uses as well (picture, style, drawing) counts by its neighbours.
"""

from __future__ import annotations

import functools
import re

from animetune.curate.caption import style_objects
from animetune.curate.caption.sentences import sentences, word_set
from animetune.curate.config.caption_text import StyleConfig

_DEFAULT = StyleConfig()
_TOKEN = re.compile(r"[\w\ue000]+(?:['’][\w\ue000]+)*")

_ALWAYS = word_set(
    "anime animes manga mangas manhwa webtoon cartoon cartoons cartoonish cartoony cartoonlike animated animation "
    "animations stylized stylised stylization stylisation illustrated illustration illustrations illustrative "
    "illustrator artwork artworks fanart artstyle lineart linework brushwork brushstroke brushstrokes "
    "photorealistic photorealism hyperrealistic semirealistic realistic realism lifelike watercolor watercolors "
    "watercolour watercolours painterly impressionistic gouache screentone screentones cgi rendered render "
    "renders rendering renderings chibi chibis digitally ghibli pixar screenshot screencap 3d 2d"
)
_PAIRS = frozenset({
    "art style", "art styles", "drawing style", "painting style", "visual style", "artistic style", "comic style",
    "disney style", "vector style", "pixel art", "line art", "digital art", "fan art", "concept art", "pop art",
    "cel shading", "cel shaded", "cell shading", "cell shaded", "hand drawn", "hand painted", "brush strokes",
    "brush stroke", "line work", "digital painting", "digital drawing", "digital portrait", "digital character",
    "pencil sketch", "computer generated", "super deformed", "ai generated", "artist's style", "artist's use",
    "artist's work", "artist's technique", "overall impression", "overall aesthetic", "overall style",
    "mood conveyed", "visual novel", "rich detail", "comic panel style", "drawn style", "sketch like",
    "drawing depicts", "drawing shows", "sketch style", "inked style", "storybook style",
})  # fmt: skip
_TRIPLES = frozenset(
    ("rich in detail", "piece of art", "work of art", "level of detail", "attention to detail", "style typical of",
     "style reminiscent of", "style similar to", "quality of art", "comic book style", "graphic novel style",
     "style of art",
     "style of drawing")
)  # fmt: skip
_PICTURES = frozenset(
    {"image", "picture", "photo", "photograph", "drawing", "painting", "sketch", "art", "pictures", "images"}
)
_SHOWING = word_set(
    "of shows show depicts depicting showing features featuring portrays portraying captures is has conveys contains "
    "presents displays "
    "focuses includes seems appears uses was also"
)
_STOPS = word_set("of in on at with by for from to and or a an is are was has have as who which while she he they it")


def style_references(text: str, cfg: StyleConfig = _DEFAULT) -> list[str]:
    """The words of the text that speak of style, medium or picture, first to last; empty for none."""
    keep, extra = _patterns(cfg)
    found = []
    for sentence in sentences(text):
        masked = style_objects.mask(sentence, keep)
        words = [word.lower() for word in _TOKEN.findall(masked.replace("-", " "))]
        found += [reference for place in range(len(words)) if (reference := _reference(words, place))]
        if extra is not None:
            found += [match.group().lower() for match in extra.finditer(masked)]
    return found


def _reference(words: list[str], place: int) -> str | None:
    """The reference that begins at a word of a sentence."""
    word = words[place]
    if word in _ALWAYS:
        return word
    pair, triple = " ".join(words[place : place + 2]), " ".join(words[place : place + 3])
    if triple in _TRIPLES:
        return triple
    if pair in _PAIRS:
        return pair
    if word in _PICTURES and _is_this_picture(words, place):
        return " ".join(words[max(0, place - 1) : place + 1])
    if word in ("style", "aesthetic") and _is_of_this_picture(words, place):
        return " ".join(words[max(0, place - 1) : place + 2])
    return None


def _is_this_picture(words: list[str], place: int) -> bool:
    """Whether a word for pictures means the one that is described: `the image`, `a picture of` at the beginning."""
    before = words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    if before == "this" or (before == "the" and words[place] in ("image", "illustration", "picture")):
        return True
    if words[place] == "art":
        return False
    opens = not any(word in _STOPS - {"a", "an", "is", "it"} for word in words[:place]) and place <= 7
    # `The girl drawing of`: nobody is named before the medium
    alone = opens and not any(
        word.endswith(("ing", "s")) and word not in ("this", "is") for word in words[: max(0, place - 1)]
    )
    if before in ("the", "a", "an") and place == 1:
        return after in _SHOWING
    return alone and after in ("of", "depicting", "showing", "featuring", "portraying") and words[0] in (
        "a", "an", "the", "this", "digital", "it", words[place], "detailed", "colorful"
    )  # fmt: skip


def _is_of_this_picture(words: list[str], place: int) -> bool:
    """Whether `style` is that of the picture: its subject, or one that it is drawn in."""
    before = words[:place]
    after = words[place + 1 : place + 4]
    if after[:2] == ["of", "the"] and after[2:] and after[2] in _PICTURES | {"illustration", "artwork", "scene"}:
        return True
    if any(word in ("drawn", "rendered", "sketched") for word in before[-6:]):
        return True
    subject = [word for word in before if word not in ("the", "this", "its", "overall", "general", "visual")]
    return not subject and bool(before) and after[:1] != ["of"]


@functools.lru_cache(maxsize=8)
def _patterns(cfg: StyleConfig) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    def of(words: tuple[str, ...]) -> re.Pattern[str] | None:
        joined = "|".join(map(re.escape, words))
        return re.compile(rf"(?<![\w-])(?:{joined})(?![\w-])", re.IGNORECASE) if words else None

    return of(cfg.keep), of(cfg.extra)
