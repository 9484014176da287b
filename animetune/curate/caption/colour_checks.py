"""Colours of hair, eyes and clothes in a caption against the tags. What is not said is no contradiction."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from animetune.curate.caption.colours import COLOUR, families
from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.people_checks import counted
from animetune.curate.caption.sentences import sentences, word_set

_SHADE = (
    r"(?:dark|light|pale|bright|deep|vibrant|soft|dirty|ash|platinum|strawberry|icy|fiery|rich|vivid|bluish|pastel"
    r"|dusty|royal|sky|slightly|reddish|hot|baby|neon)"
)
_MIXED = rf"{_SHADE}?[- ]?{COLOUR}(?:ish)?(?:\s*(?:,\s*(?:and\s+)?|and|to|-and-|/|-)\s*(?:{_SHADE}[- ]?)?{COLOUR})*"
_DESCRIBING = (
    r"(?:long|short|medium|shoulder|waist|knee|hip|chin|ankle|floor|very|extremely|length|wavy|curly|straight|messy"
    r"|flowing|spiky|spiked|silky|thick|fluffy|neat(?:ly)?|tied|tousled|loose"
    r"|beautiful|shiny|glossy|smooth|soft|voluminous|braided|styled|layered|shaggy|windswept|wild|big|large|small"
    r"|round|expressive|striking|bright|piercing|sharp|gentle|narrow|half|closed"
    r"|wide|sparkling|glowing|almond|shaped|bob|cut|cropped|sleek|unruly|slightly|somewhat|colou?red|shimmering"
    r"|ruffled|frilly|lace|pleated|knee-length|sleeveless|cotton|silk|tight|fitted"
    r"|ornate|elegant|simple|fancy|formal|casual|oversized|puffy|button|collared|hooded|mini|strapless|thigh|high|low"
    r"|medium-length|shoulder-length|waist-length)"
)
_TAIL = rf"(?:[\s,-]+(?:and\s+)?{_DESCRIBING})*[\s,-]+"
_NOT = re.compile(
    r"(?:\b(?:not|no|isn['’]t|aren['’]t|never|rather\s+than|instead\s+of|without|than|neither"
    r"|nor)\s+(?:[\w-]+\s+){0,2})$",
    re.I,
)
_HAIR_WORD = (
    r"(?:hair(?:styles?)?|ponytails?|twintails|pigtails|braids?|bangs|locks|bob|tresses)(?!\s*-?\s*(?:ornaments?"
    r"|clips?|ribbons?|bows?|bands?|pins?|ties?|accessor\w+|flowers?|decorations?|sticks?|bells?|pieces?|tubes?"
    r"|buns?\s+covers?|scrunch\w+|salon|dryer|brush))"
)
_ANY_COLOURS = word_set(
    "multicolored_hair two-tone_hair gradient_hair streaked_hair colored_inner_hair rainbow_hair split-color_hair "
    "alternate_hair_color colored_tips roots_(hair)"
)
_ANY_EYES = word_set(
    "heterochromia multicolored_eyes two-tone_eyes gradient_eyes rainbow_eyes mismatched_sclera alternate_eye_color"
)
_GREY_PICTURE = word_set("monochrome greyscale spot_color partially_colored sepia limited_palette")
_GARMENTS = (
    "dress", "shirt", "t-shirt", "blouse", "skirt", "miniskirt", "jacket", "coat", "cardigan", "sweater", "hoodie",
    "vest", "kimono", "yukata", "apron", "cape", "cloak", "capelet", "pants", "shorts", "jeans", "leotard",
    "swimsuit", "bikini", "bodysuit", "hat", "cap", "beret", "gloves", "thighhighs", "pantyhose", "socks",
    "kneehighs", "boots", "shoes", "footwear", "scarf", "necktie", "bowtie", "bow", "ribbon", "choker", "hairband",
    "headband", "bra", "panties", "robe", "uniform", "armor", "sailor_collar", "leggings", "hakama",
)  # fmt: skip
_SAYS = {
    "thighhighs": "thighhighs|thigh[- ]highs|thigh[- ]high\\s+(?:socks|stockings)|stockings",
    "pantyhose": "pantyhose|tights|stockings", "shirt": "shirt|t-shirt|blouse|top",
    "t-shirt": "t-?shirt|shirt", "blouse": "blouse|shirt|top", "skirt": "skirt|miniskirt", "miniskirt": "miniskirt"
    "|skirt", "kneehighs": "knee[- ]?highs|socks", "footwear": "shoes|boots|footwear|sneakers",
    "necktie": "necktie|tie", "hairband": "hairband|headband", "hat": "hat", "cap": "cap", "kimono": "kimono",
    "sailor_collar": "sailor\\s+collar", "gloves": "gloves", "swimsuit": "swimsuit", "armor": "armou?r",
}  # fmt: skip

_HAIR = re.compile(r"hair|tails?\b|braid|bangs|locks|bob\b|tresses|blonde|brunette|redhead", re.IGNORECASE)
_EYES = re.compile(r"eye[sd]\b", re.IGNORECASE)


def hair(text: str, facts: PictureFacts) -> str | None:
    """The words that give hair another colour than the tags; None where they agree or tags state none."""
    tags = facts.all_tags
    if _ANY_COLOURS & tags or _GREY_PICTURE & tags:
        return None
    return _contradiction(_about(_HAIR, text), _tagged(facts, "_hair"), _hair_pattern(), facts)


def eyes(text: str, facts: PictureFacts) -> str | None:
    """The words that give eyes another colour than the tags; None where they agree or tags state none."""
    tags = facts.all_tags
    if _ANY_EYES & tags or _GREY_PICTURE & tags:
        return None
    return _contradiction(_about(_EYES, text), _tagged(facts, "_eyes"), _eyes_pattern(), facts)


def clothes(text: str, facts: PictureFacts) -> str | None:
    """The words that give a garment another colour than its tag, where one person is seen and one colour is tagged."""
    if _GREY_PICTURE & facts.all_tags or _people(facts) != 1:
        return None
    for garment in _GARMENTS:
        tagged = _tagged(facts, f"_{garment}")
        if len(tagged) != 1 or _is_patterned(garment, facts):
            continue
        said = re.compile(_SAYS.get(garment, re.escape(garment)), re.IGNORECASE)
        about = _about(said, text)
        found = [(match.group(), families(match["colour"])) for match in _found(about, _garment_pattern(garment))]
        wrong = [said for said, of in found if not of & tagged[0]]
        if wrong and len(wrong) == len(found):
            return wrong[0]
    return None


def _about(subject: re.Pattern[str], text: str) -> str:
    """The sentences that speak of it: the expressions about colours are slow."""
    return " ".join(sentence for sentence in sentences(text) if subject.search(sentence))


def _contradiction(
    text: str, tagged: list[frozenset[str]], pattern: re.Pattern[str], facts: PictureFacts
) -> str | None:
    if not tagged or (_people(facts) != 1 and len(tagged) > 1):
        return None
    allowed = frozenset().union(*tagged)
    for match in _found(text, pattern):
        said = next(group for group in match.groups() if group)
        of = families(said)
        if of and not of & allowed:
            return match.group()
    return None


def _tagged(facts: PictureFacts, ending: str) -> list[frozenset[str]]:
    """Families of the colours of tags such as `red_dress`, one for each."""
    found = []
    for tag in facts.tags_general:
        if tag.endswith(ending):
            colour = tag.removesuffix(ending)
            if (
                of := families(colour.replace("_", " "))
                if re.fullmatch(rf"(?:(?:light|dark|pale)_)?{COLOUR}", colour)
                else None
            ):
                found.append(of)
    return found


def _is_patterned(garment: str, facts: PictureFacts) -> bool:
    kinds = ("multicolored", "two-tone", "striped", "plaid", "print", "gradient", "checkered", "polka_dot")
    return any(tag.endswith(garment) and tag.startswith(kinds) for tag in facts.tags_general)


def _people(facts: PictureFacts) -> int | None:
    """How many people tags state exactly; None where that is open."""
    counts = [counted(facts, kind) for kind in ("girl", "boy", "other")]
    if any(count.most is None for count in counts):
        return None
    return sum(count.least for count in counts) or (1 if "solo" in facts.tags_count else None)


def _found(text: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    return (
        match for match in pattern.finditer(text) if not _NOT.search(text[max(0, match.start() - 40) : match.start()])
    )


@functools.cache
def _hair_pattern() -> re.Pattern[str]:
    return re.compile(
        rf"(?<![\w-])(?:(?P<a>{_MIXED}){_TAIL}{_HAIR_WORD}\b|(?P<b>(?:{_SHADE}[- ])?{COLOUR})[- ]haired\b"
        rf"|\bhair,?\s+(?:(?:which|that)\s+)?(?:is|are|was)\s+(?:(?:a|an|very"
        rf"|{_DESCRIBING})\s*,?\s*(?:and\s+)?)*(?P<c>{_MIXED})\b(?!\s+(?:ribbon|bow|hat|flower))"
        rf"|(?P<d>blonde|brunette|redhead)\s+(?:girl|boy|woman|man|character))",
        re.IGNORECASE,
    )


@functools.cache
def _eyes_pattern() -> re.Pattern[str]:
    return re.compile(
        rf"(?<![\w-])(?:(?P<a>{_MIXED}){_TAIL}eyes\b|(?P<b>(?:{_SHADE}[- ])?{COLOUR})[- ]eyed\b"
        rf"|\beyes,?\s+(?:(?:which|that)\s+)?(?:are|is|were)\s+(?:(?:a|an|very"
        rf"|{_DESCRIBING})\s*,?\s*(?:and\s+)?)*(?P<c>{_MIXED})\b)",
        re.IGNORECASE,
    )


@functools.cache
def _garment_pattern(garment: str) -> re.Pattern[str]:
    said = _SAYS.get(garment, re.escape(garment))
    return re.compile(
        rf"(?<![\w-])(?P<colour>{_MIXED}){_TAIL}(?:{said})\b(?!\s+(?:ribbon|bow|button|collar|trim|strap))",
        re.IGNORECASE,
    )
