"""Rules that take references to style out of a sentence: what goes whole, and what a phrase becomes.

    whole        The art style is cartoonish.                                    -> nothing
    opening      A digital illustration of a girl / The image shows a girl       -> A girl
    phrase       a girl drawn in an anime style, with cel shading                -> a girl
    attribute    An anime-style, stylized girl                                   -> A girl
    frame        on the left side of the image / The image conveys joy           -> on the left side / The scene ...

The rules work on masked text (`style_objects`), so that pictures within the picture stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from animetune.curate.caption.sentences import article
from animetune.curate.caption.style_phrases import (
    ABOUT,
    ADJECTIVES,
    BE,
    CLAUSE_END,
    DRAWN,
    ENDING,
    IN_MEDIUM,
    INTENSELY,
    MADE,
    MEDIUM,
    MOODS,
    OF_ART,
    OF_PICTURE,
    PLAIN,
    QUALIFIED,
    SHOWS,
    STYLE_NOUN,
    STYLE_PHRASE,
    TECHNIQUE,
    THE,
    THE_PICTURE,
    WORDS,
)

Replacement = str | Callable[[re.Match[str]], str]


class Rule(NamedTuple):
    """A pattern and what stands in its place."""

    pattern: re.Pattern[str]
    replacement: Replacement


def _rule(pattern: str, replacement: Replacement = "") -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), replacement)


def _shown_person(match: re.Match[str]) -> str:
    """`The image shows her sitting` -> `She is sitting`."""
    subject = {"her": "She is", "him": "He is", "them": "They are"}[match["who"].lower()]
    return f"{subject} {match['rest']}"


def _framed(match: re.Match[str]) -> str:
    """`A full-body illustration of a girl` -> `A full-body view of a girl`: framing is no style."""
    framing = match["framing"].lower()
    return f"{article(framing)} {framing} view of "


def _has(match: re.Match[str]) -> str:
    return "have " if match["be"].lower() in ("are", "were") else "has "


def attribute(match: re.Match[str]) -> str:
    """What is left of `an anime-style ` before a noun: the article that suits the noun."""
    found = match["article"]
    if not found:
        return ""
    suited = article(match.string[match.end() :])
    return (suited.capitalize() if found[0].isupper() else suited) + " "


_PEOPLE = r"(?:girl|boy|woman|man|lady|child|character|figure|person|cat|dog|elf|warrior|knight|witch|creature)"
LEADS = _rule(
    r"^(?:the|its)\s+(?:[\w'’-]+\s+){0,2}?(?:style|aesthetic)\s+(?:of\s+the\s+\w+\s+)?is\s+[^,;]{1,60},\s+(?:with|featuring"
    rf"|showing|depicting)\s+(?=(?:an?|two|three|four|several)\s+(?:{PLAIN},?\s+){{0,3}}?{_PEOPLE}s?\b)"
)
"""What is said of style before people are named; what follows stays."""

WHOLE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:(?:overall|also|additionally|moreover|furthermore|finally|lastly),?\s+)?(?:(?:the|this|its"
        rf"|an?)\s+)?(?:[\w'’-]+\s+){{0,2}}?"
        rf"{ABOUT}(?![\w-])(?!\s+of\s+(?:his|her|their|the\s+(?!image|picture|illustration|artwork|drawing|painting"
        r"|art|piece|photo)))",
        rf"^(?:{OF_PICTURE}|this|it|everything)\s+{BE}\s+(?:{INTENSELY}(?:rich|full)\s+(?:in|of)"
        rf"|{INTENSELY}detail(?:ed)?|well[- ]"
        r"(?:drawn|composed|executed)|of\s+(?:high|low)\s+quality|(?:high|low)[- ]quality|(?:in"
        r"|a\s+work\s+of)\s+art)\b.*",
        rf"^(?:{OF_PICTURE}|(?:the|this)\s+scene|this|it|the\s+(?:\w+\s+)?(?:character|girl|boy|woman|man"
        rf"|figure)s?(?:['’]s\s+\w+)?|she|he|they)\s+(?:{BE}|has|have|features?|uses?"
        rf"|employs?|exhibits?|showcases?|displays?|boasts?|adopts?|follows?|appears?(?:\s+to\s+be)?"
        r"|seems?(?:\s+to\s+be)?|combines?|embodies"
        rf"|embraces?)\s+(?:{MADE}\s+)?(?:in\s+|with\s+|as\s+)?{STYLE_PHRASE}[.!]?$",
        rf"^(?:{OF_PICTURE}|this|it)\s+(?:{BE}|appears?\s+to\s+be|seems\s+to\s+be"
        rf"|looks\s+like)\s+(?:{THE}\s+)?{QUALIFIED}{MEDIUM}"
        rf"(?:\s*,?\s+{OF_ART})?[.!]?$",
        rf"^(?:{OF_PICTURE}|this|it|she|he|they|{THE}\s+(?:[\w'-]+\s+){{0,3}}?[\w'-]+)\s+(?:{BE}|looks?|appears?"
        rf"|seems?)\s+{ADJECTIVES}[.!]?$",
        rf"^{OF_PICTURE}\s+is\s+signed\b.*",
        rf"^(?:{THE}\s+)?{QUALIFIED}(?!anime|manga|cartoon){MEDIUM}[.!]?$",
        rf"^(?:{THE}\s+)?{ADJECTIVES}(?:\s+{STYLE_NOUN})?[.!]?$",
    )
)
"""Sentences that speak of style alone."""

_GO_ON = r"(?:that\s+)?(?:there\s+is\s+|there\s+are\s+)?"
_SUBJECT = r"(?:(?:an?|the|this|these|here\s+is|this\s+is|it\s+is|it['’]s|here['’]s)\s+)*"
REWRITES = (
    # openings
    _rule(
        rf"^{_SUBJECT}{QUALIFIED}(?P<framing>close-?up|full[- ]body|upper[- ]body|half[- ]body|wide|side|aerial"
        r"|bird's[- ]eye|back)\s+"
        rf"(?:[\w-]+\s+){{0,3}}?{MEDIUM}\s+{SHOWS}\s+",
        _framed,
    ),
    _rule(
        rf"^(?:{OF_PICTURE})\s+(?:shows|depicts|captures|portrays)\s+(?P<who>her|him|them)\s+"
        r"(?P<rest>(?:\w+ing|from|in|with|on|at|as)\b)",
        _shown_person,
    ),
    _rule(
        rf"^(?:{OF_PICTURE}|this|it)\s+(?:{BE}|appears?\s+to\s+be"
        rf"|seems?\s+to\s+be)\s+(?:{THE}\s+)?{QUALIFIED}{MEDIUM}"
        rf"(?:\s+{OF_ART})?,?\s+(?:that\s+|which\s+)?{SHOWS}\s+{_GO_ON}"
    ),
    _rule(rf"^{_SUBJECT}{QUALIFIED}{MEDIUM}(?:\s+{OF_ART})?,?\s+(?:that\s+|which\s+)?{SHOWS}\s+{_GO_ON}"),
    _rule(
        rf"^in\s+{OF_PICTURE},?\s+(?:we\s+(?:can\s+)?see\s+|you\s+can\s+see\s+|there\s+is\s+|there\s+are\s+"
        r"|one\s+can\s+see\s+)?"
    ),
    _rule(rf"^in\s+this\s+(?:{PLAIN},?\s+){{1,4}}?{THE_PICTURE}\s*,\s*(?:we\s+see\s+|there\s+is\s+)?"),
    _rule(rf"^(?:{MADE}\s+)?in\s+{STYLE_PHRASE}\s*,\s*"),
    _rule(rf"^(?:with|using|featuring)\s+{STYLE_PHRASE}\s*,\s*"),
    _rule(rf"^{DRAWN}\s+{IN_MEDIUM}\s*,\s*"),
    _rule(
        r"(?P<subject>\w+)\s+and\s+(?:the\s+)?(?:overall\s+)?(?:art\s+)?style\s+of\s+the\s+(?:image|picture"
        r"|illustration|artwork)\s+"
        r"(?P<verb>suggest|indicate|convey|imply|evoke)\b",
        r"\g<subject> \g<verb>s",
    ),
    # clauses about style, to the end of the sentence
    _rule(
        r"\s*[,;]?\s+(?:and|while|but|as|with|where)\s+(?:the|its)\s+(?:[\w-]+\s+){0,2}?(?:art\s?style|(?:art"
        r"|drawing|visual|animation|image)\s+style"
        r"|style|aesthetic|line\s?work|line\s?art|cel[- ]shading|shading|rendering|artwork|overall\s+(?:impression"
        r"|effect|aesthetic|style|mood\s+conveyed"
        r"|atmosphere\s+conveyed)|mood\s+conveyed|image|illustration)\s+(?:of\s+the\s+\w+\s+)?(?:is|are|was|has"
        r"|gives?|adds?|suggests?|conveys?"
        r"|emphasi[sz]es|resembles|evokes?|being|enhances?|appears|reminiscent|leans|features?)\b[^.;!?]*"
    ),
    _rule(r"\s*,?\s+(?:and\s+|with\s+)?(?:it\s+)?(?:is|are)?\s*rich(?:ly)?\s+(?:in\s+detail|detailed\s+art\w*)\b"),
    # drawn in a style, with more behind it
    _rule(
        rf"\s+(?P<be>{BE})\s+(?:{MADE}\s+)?in\s+{STYLE_PHRASE}\s*,?\s+(?:with|featuring|having)\s+",
        lambda match: " " + _has(match),
    ),
    _rule(
        rf"(?<=\w)\s+(?P<be>{BE})\s+{DRAWN}\s+with\s+(?=[\w-])(?!{TECHNIQUE}|(?:his|her|their|both|one|all|great)\b)",
        lambda match: " " + _has(match),
    ),
    _rule(rf"\s+(?P<be>{BE})\s+{ADJECTIVES}\s*,?\s+with\s+", lambda match: " " + _has(match)),
    # drawn in a style, at the end
    _rule(rf"\s*,?\s+(?:and\s+)?(?:(?:that|which|who)\s+)?(?:{BE}\s+)?{MADE}\s+(?:in|with|using|as)\s+{STYLE_PHRASE}"),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:(?:that|which|who)\s+)?(?:{BE}\s+)?(?:drawn|rendered|illustrated|painted|sketched"
        r"|executed|animated)\s+in\s+(?:an?|the)\s+"
        rf"{WORDS}(?:styles?|manner|aesthetic)(?:,?\s+{OF_ART})?{CLAUSE_END}"
    ),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:(?:that|which|who)\s+)?(?:{BE}\s+)?(?:drawn|rendered|depicted|illustrated|painted"
        r"|done|created|executed|presented|animated)\s+"
        rf"{IN_MEDIUM}(?:\s+and\s+[\w-]+(?:\s+\w+)?)?{CLAUSE_END}"
    ),
    _rule(rf"\s*,?\s+(?:and\s+)?(?:in|with|giving\s+(?:it|her|him|them)|has|having|using)\s+{STYLE_PHRASE}"),
    _rule(r"\s*,?\s+in\s+the\s+(?:art\s+)?style\s+of\s+[^.,;!?]*"),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:with|using|featuring|through|by)\s+(?:the\s+use\s+of\s+"
        rf"|an?\s+)?{TECHNIQUE}(?:\s*(?:,|,?\s+and|,?\s+or)\s+(?:{TECHNIQUE}"
        rf"|(?:[\w-]+\s+)?(?:colou?rs|lines|outlines|shading)))*(?:\s+(?:that|which)\b[^.,;]*)?{ENDING}"
    ),
    _rule(rf"\s*,?\s+(?:and\s+)?with\s+(?:[\w-]+\s+){{1,2}}?(?:out)?(?:lines|colou?rs)\s+and\s+{TECHNIQUE}{ENDING}"),
    _rule(rf"\s*(?:,|,?\s+and)\s+{TECHNIQUE}{CLAUSE_END}"),
    _rule(rf"\s*,?\s+(?:(?:that|which)\s+(?:is|are)\s+)?(?:which\s+is\s+|as\s+is\s+)?{OF_ART}(?:\s+(?:style|art))?"),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:creating|resulting\s+in|making\s+for|making\s+it)\s+an?\s+(?:{PLAIN},?\s+){{0,2}}?"
        rf"{MOODS}(?:\s+(?:and\s+)?{PLAIN},?){{0,3}}?\s+{MEDIUM}{ENDING}"
    ),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:(?:that|which)\s+)?(?:{BE}\s+)?(?:drawn|rendered|illustrated)\s+(?:in|with)\s+"
        rf"(?:[\w-]+,?\s+(?:and\s+)?){{0,3}}?(?:colou?rs|tones|hues|shades|details?){ENDING}"
    ),
    # attributes
    _rule(
        rf"\s+(?P<be>{BE}|looks?|appears?|seems?)\s+{ADJECTIVES}\s+and\s+(?={PLAIN}\s*[.,;!?])",
        lambda match: f" {match['be']} ",
    ),
    _rule(rf"(?:,\s*|\s+)and\s+{ADJECTIVES}{ENDING}"),
    _rule(rf"\s*,?\s+(?:and\s+)?(?:{BE}|looks?|appears?|seems?)\s+{ADJECTIVES}{ENDING}"),
    _rule(rf"(?<=\w)\s*,\s*(?:and\s+)?{ADJECTIVES}\s+(?=\w)(?!and\b)", " "),
    _rule(rf"(?<=\w)\s+and\s+{ADJECTIVES}\s+(?=\w)", " "),
    _rule(
        rf"(?:(?<!\w)(?P<article>an?)\s+)?(?<![\w-]){ADJECTIVES}(?:\s*,\s*(?=[\w-])(?!and\b)|\s+and\s+|\s+)(?=[\w\"“])",
        attribute,
    ),
    _rule(
        r"(?:(?<!\w)(?P<article>an?)\s+)?(?<![\w-])digital\s+(?=(?:portrait|character|girl|boy|woman|man|figure"
        r"|person|scene|rendition|avatar)s?\b)",
        attribute,
    ),
    # the frame
    _rule(
        rf"\s+(?:(?:is|are)\s+)?(?:visible|present|shown|seen|depicted|featured)?\s*(?:in|within|throughout|across"
        rf"|of)\s+{OF_PICTURE}"
        r"(?=\s*[.,;!?]|\s*$)",
        lambda match: _kept_verb(match),
    ),
    _rule(rf"\s+(?:in|within|throughout|across|of)\s+{OF_PICTURE}(?![\w-])"),
    _rule(
        rf"^{OF_PICTURE}\s+(?=(?:{BE}\s+)?(?:cropped|framed|zoomed|close-?up|seen|taken|shot|from\s+(?:above|below"
        r"|behind|the)))",
        "The view ",
    ),
    _rule(rf"(?<![\w-]){OF_PICTURE}(?!['’\w-])", lambda match: "The scene" if match.start() == 0 else "the scene"),
)
"""Rewrites of a sentence, in this order."""


def _kept_verb(match: re.Match[str]) -> str:
    """`is visible in the image` -> `is visible`; without a verb nothing."""
    found = re.match(
        r"\s+(?:is|are)\s+(?:visible|present|shown|seen|depicted|featured)|\s+(?:visible|present|shown|seen)",
        match.group(),
        re.I,
    )
    return found.group() if found else ""


TRIGGER = re.compile(
    r"anim|manga|cartoon|comic|chibi|styl|illustrat|imag|pictur|\bart\b|artw|artist|draw|paint|sketch|render|photo"
    r"|realis|lifelike"
    r"|water-?colou?r|pixel|line\s?work|line\s?art|lineart|shad(?:ing|ed)|brush|3d|2d|cgi?\b|digital|aesthetic|webtoon"
    r"|manhwa|ghibli|disney|pixar"
    r"|depict|portray|screenshot|visual|medium|impression|overall|screentone|halftone|hatching|detail|snapshot"
    r"|composition|still|piece|super[- ]deformed",
    re.IGNORECASE,
)
"""Without any of these a text has no reference to style."""
