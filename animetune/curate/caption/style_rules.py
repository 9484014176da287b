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

Replacement = str | Callable[[re.Match[str]], str]

BE = r"(?:is|are|was|were)"
THE = r"(?:an?|the|this|that|these|its|his|her|their)"
INTENSELY = (
    r"(?:(?:highly|very|somewhat|slightly|clearly|distinctly|beautifully|typically|more|rather|quite|mostly|simply"
    r"|intricately|carefully|heavily|finely|richly|vividly)\s+)?"
)
# What a style can be named after; with `-style` behind it an attribute.
_NAMED = (
    r"(?:anime|manga|cartoon|comic(?:[- ]book)?|webtoon|manhwa|chibi|cel|cgi|cg|2d|3d|pixel(?:[- ]art)?|vector"
    r"|watercolou?r|oil|digital|ink|pencil|crayon|gouache|pastel|ghibli|studio[- ]ghibli|disney|pixar|visual[- ]novel"
    r"|jrpg|moe"
    r"|ukiyo-e|pop[- ]art|illustration|illustrated|illustrative|painting|painted|art|animation|animated|storybook"
    r"|sketch"
    r"|line[- ]art|drawing|hand[- ]drawn|cartoonish|stylized|stylised|semi[- ]realistic|realistic|photorealistic"
    r"|otome|shoujo|shojo|shonen|shounen|seinen|kawaii|video[- ]game|concept[- ]art|graphic[- ]novel)"
)
_JOIN = r"[- ](?:styled?|inspired|like|esque|influenced)"
_ADJECTIVE = (
    r"(?:anime|animated|manga|cartoonish|cartoony|cartoon|chibi|stylized|stylised|illustrated|illustrative"
    r"|hand[- ](?:drawn|painted|illustrated)|digitally[- ](?:drawn|rendered|painted|illustrated|created|animated"
    r"|colou?red)"
    r"|computer[- ](?:generated|animated)|ai[- ]generated|cell?[- ]shaded|photo[- ]?realistic|hyper[- ]?realistic"
    r"|semi[- ]?realistic|realistic|lifelike|painterly|pixel[- ]art|line[- ]art|3d[- ]?(?:rendered|modell?ed|animated)?"
    r"|2d[- ]?(?:rendered|animated)?|cgi|impressionistic|impressionist|super[- ]deformed|watercolou?r|webtoon|manhwa"
    r"|comic[- ]book|sketch[- ]like|sketchily|rendered)"
)
ADJECTIVE = rf"(?:(?:{_NAMED}{_JOIN}|(?:style|semi)[- ]{_ADJECTIVE}|{_ADJECTIVE})(?![\w-]))"
ADJECTIVES = rf"{INTENSELY}{ADJECTIVE}(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s+or\s+|\s+|/){INTENSELY}{ADJECTIVE})*"

_MEDIUM = (
    r"(?:(?:(?:fan|concept|digital|pixel|line|key|anime|manga|cover|promotional|official)[- ]?)?(?:art(?:work)?|visual)"
    r"(?:\s+piece)?|illustrations?|drawings?|paintings?|sketch(?:es)?|renders?|renderings?|images?|pictures?|photos?"
    r"|photographs?|depictions?|portrayals?|screenshots?|screencaps?|piece\s+of\s+(?:[\w-]+\s+)?art(?:work)?"
    r"|work\s+of\s+(?:[\w-]+\s+)?art|animations?|cartoons?|anime|manga|visual\s+novel\s+cg|comics?|fanart|line\s?art"
    r"|still(?:\s+frame)?|watercolou?rs?|gouache|snapshots?|graphic|composition)"
)
# Adjectives before a medium: no articles, prepositions or verbs, so that no other noun phrase is crossed.
_PLAIN = (
    r"(?!(?:an?|the|this|that|his|her|their|its|of|in|on|at|with|by|for|from|to|and|or|is|are|was|has|have|as|who|which"
    r"|while|shows?|depicts?|there|he|she|they|it)\b)[\w'-]+"
)
_QUALIFIED = rf"(?:{_PLAIN},?\s+(?:and\s+)?){{0,6}}?"
_SHOWS = (
    r"(?:shows?|showing|depicts?|depicting|features?|featuring|portrays?|portraying|displays?|displaying|presents?"
    r"|presenting"
    r"|captures?|capturing|illustrates?|illustrating|represents?|representing|showcases?|showcasing|contains?|includes?"
    r"|consists?\s+of|of|is\s+of)"
)
_THE_PICTURE = (
    r"(?:image|picture|illustration|artwork|drawing|painting|photo|photograph|sketch|render|rendering|animation|fanart"
    r"|art\s+piece|(?:piece|work)\s+of\s+(?:[\w-]+\s+)?art(?:work)?|piece|screenshot|visual|depiction|digital\s+art"
    r"|art)"
)
_OF_PICTURE = rf"(?:the|this)\s+(?:{ADJECTIVES}\s+|digital\s+|overall\s+|entire\s+|whole\s+)*{_THE_PICTURE}(?:[’']s)?"

STYLE_NOUN = (
    r"(?:art\s?styles?|styles?|styling|aesthetics?|look|manner|technique|fashion|feel|vibe|appearance|quality|form"
    r"|format)"
)
_ART = (
    rf"(?:{_ADJECTIVE}|{_NAMED}{_JOIN}|{_NAMED}|artistic|art|drawn|sketchy|illustration|comics|cartoons|animations?"
    r"|doujinshi|cel|graphic\s+novels?|cel[- ]shading|japanese\s+animation|visual\s+novels?)"
)
_CROSSED = r"(?!(?:in|of|with|on|at|by|for|from|to|an?|the|his|her|their|its|is|are|has|who|which|while)\b)"
_WORDS = rf"(?:{_CROSSED}[\w'/-]+,?\s+){{0,5}}?"
_OF_ART = (
    rf"(?:(?:typical|characteristic|reminiscent|evocative|representative|indicative|suggestive)(?:ly)?\s+of|(?:common"
    r"|popular|"
    rf"often\s+(?:seen|found|used)|commonly\s+(?:seen|found|used|associated)|typically\s+(?:seen|found)"
    r"|frequently\s+(?:seen|found)"
    rf"|associated|found|seen)\s+(?:in|with)|similar\s+to|inspired\s+by|influenced\s+by|akin\s+to)\s+"
    rf"(?:(?:an?|the|that)\s+)?{_WORDS}{_ART}(?![\w-])(?:\s+(?:and|or)\s+(?:[\w-]+\s+)?{_ART})*"
    r"(?:\s+(?:style|styles|art|characters?|illustrations?|productions|works|media|aesthetics?|series|films?|movies"
    r"|games?"
    r"|culture|artwork|drawings|animation|design|designs|tropes|fashion|girls?|heroines?))*"
)
_STYLE_OF = (
    rf"(?:\s+(?:of|from|in|for)\s+{_WORDS}{_ART}(?:\s+[\w-]+)?(?:\s+(?:and|or)\s+{_ART})*(?:\s+(?:series|films?|art"
    r"|media))?)?"
)
_STYLE_PHRASE = (
    rf"(?:(?:{THE}\s+)?{_WORDS}{_ART}(?:\s+(?:and"
    rf"|or)\s+[\w-]+)?(?:[- ]{_ART})*[- ]{STYLE_NOUN}{_STYLE_OF}(?:,?\s+{_OF_ART})?"
    rf"|(?:an?|the)\s+{_WORDS}(?:styles?|manner|aesthetic)\s*,?\s+{_OF_ART})"
)
_MADE = (
    r"(?:drawn|rendered|depicted|illustrated|painted|presented|portrayed|created|styled|designed|executed|captured|made"
    r"|sketched|animated|done|shown|crafted|composed|stylized)"
)
_DRAWN = r"(?:drawn|rendered|illustrated|animated|sketched|digitally\s+\w+)"
_IN_MEDIUM = (
    r"(?:in|with|using|as)\s+(?:an?\s+)?(?:(?:soft|light|loose|delicate|black|colou?red|traditional|bold|digital"
    r"|vibrant|fine)\s+)*"
    r"(?:watercolou?rs?|pixel\s+art|oils?(?:\s+paints?)?|inks?|pencils?|cel[- ]shading|line\s?art|charcoal|pastels?"
    r"|gouache|acrylics?"
    r"|3d|2d|cgi|digital\s+(?:art|media|medium|painting|illustration)|illustrations?|cartoons?|paintings?|sketch(?:es)?"
    r"|monochrome\s+ink|manga\s+form|chibi(?:\s+form)?|markers?)"
)
_TECHNIQUE = (
    r"(?:(?:soft|bold|clean|crisp|thick|thin|smooth|subtle|delicate|detailed|fine|sharp|visible|loose|strong|clear"
    r"|intricate"
    r"|dynamic|expressive|vibrant|simple|rough|sketchy|careful|confident|digital|heavy|light|flat)\s*,?\s+(?:and\s+)?)*"
    r"(?:cell?[- ]shading|(?:soft|smooth|subtle|flat|gradient)\s+shading|line\s?work|line\s?art|lineart"
    r"|brush\s?strokes?|brush\s?work|screentones?|halftones?"
    r"|cross-?hatching|hatching"
    r"|penciling|rendering|digital\s+(?:shading|colou?ring|painting)|colou?ring\s+technique|pencil\s+strokes"
    r"|lines\s+and\s+shading"
    r"|outlines\s+and\s+shading|stylized\s+(?:features|proportions|elements)|painterly\s+(?:texture|strokes)"
    r"|watercolou?r\s+textures?)"
)
_CLAUSE_END = r"(?=\s*[.,;:!?]|\s*$|\s+(?:with|while|wearing|holding|who|standing|sitting|and)\b)"
_ENDING = r"(?=\s*[.,;:!?]|\s*$)"

_ABOUT = (
    r"(?:art\s?style|style|aesthetic|line\s?work|brush\s?work|brush\s?strokes?|(?:line\s?art|lineart"
    r"|rendering)(?!\s+(?:of|depict\w*|show\w*|featur\w*|portray\w*|captur\w*|style)\b|,)|artist\s?ry"
    r"|draughtsmanship|medium\s+(?:is|of\s+the|used)|cell?[- ]shading|artist(?:['’]s|\s+(?:has|uses|used|employs"
    r"|employed|captures|captured"
    r"|chose"
    r"|seems|rendered|drew))|illustrator(?:['’]s|\s+\w+s)|art\s+direction|visual\s+style|colou?ring\s+style"
    r"|shading\s+(?:is|and|style"
    r"|technique)|colou?ring\s+(?:is|technique)|overall\s+(?:impression|effect|presentation|design)"
    r"|level\s+of\s+detail|attention\s+to"
    r"\s+detail|use\s+of\s+(?:bold\s+|clean\s+|soft\s+)?(?:lines|line|shading|cel|colou?r)|linework|artwork['’]s"
    r"|illustration['’]s\s+style"
    r"|(?:art|animation|artwork|illustration)\s+style|image\s+quality|quality\s+of\s+the|design\s+is\s+(?:typical"
    r"|reminiscent))"
)


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


WHOLE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:(?:overall|also|additionally|moreover|furthermore|finally|lastly),?\s+)?(?:(?:the|this|its"
        rf"|an?)\s+)?(?:[\w'’-]+\s+){{0,2}}?"
        rf"{_ABOUT}(?![\w-])(?!\s+of\s+(?:his|her|their|the\s+(?!image|picture|illustration|artwork|drawing|painting"
        r"|art|piece|photo)))",
        rf"^(?:{_OF_PICTURE}|this|it|everything)\s+{BE}\s+(?:{INTENSELY}(?:rich|full)\s+(?:in|of)"
        rf"|{INTENSELY}detail(?:ed)?|well[- ]"
        r"(?:drawn|composed|executed)|of\s+(?:high|low)\s+quality|(?:high|low)[- ]quality|(?:in"
        r"|a\s+work\s+of)\s+art)\b.*",
        rf"^(?:{_OF_PICTURE}|(?:the|this)\s+scene|this|it|the\s+(?:\w+\s+)?(?:character|girl|boy|woman|man"
        rf"|figure)s?(?:['’]s\s+\w+)?|she|he|they)\s+(?:{BE}|has|have|features?|uses?"
        rf"|employs?|exhibits?|showcases?|displays?|boasts?|adopts?|follows?|appears?(?:\s+to\s+be)?"
        r"|seems?(?:\s+to\s+be)?|combines?|embodies"
        rf"|embraces?)\s+(?:{_MADE}\s+)?(?:in\s+|with\s+|as\s+)?{_STYLE_PHRASE}[.!]?$",
        rf"^(?:{_OF_PICTURE}|this|it)\s+(?:{BE}|appears?\s+to\s+be|seems\s+to\s+be"
        rf"|looks\s+like)\s+(?:{THE}\s+)?{_QUALIFIED}{_MEDIUM}"
        rf"(?:\s*,?\s+{_OF_ART})?[.!]?$",
        rf"^(?:{_OF_PICTURE}|this|it|she|he|they|{THE}\s+(?:[\w'-]+\s+){{0,3}}?[\w'-]+)\s+(?:{BE}|looks?|appears?"
        rf"|seems?)\s+{ADJECTIVES}[.!]?$",
        rf"^(?:{THE}\s+)?{_QUALIFIED}(?!anime|manga|cartoon){_MEDIUM}[.!]?$",
        rf"^(?:{THE}\s+)?{ADJECTIVES}(?:\s+{STYLE_NOUN})?[.!]?$",
    )
)
"""Sentences that speak of style alone."""

_GO_ON = r"(?:that\s+)?(?:there\s+is\s+|there\s+are\s+)?"
_SUBJECT = r"(?:(?:an?|the|this|these|here\s+is|this\s+is|it\s+is|it['’]s|here['’]s)\s+)*"
REWRITES = (
    # openings
    _rule(
        rf"^{_SUBJECT}{_QUALIFIED}(?P<framing>close-?up|full[- ]body|upper[- ]body|half[- ]body|wide|side|aerial"
        r"|bird's[- ]eye|back)\s+"
        rf"(?:[\w-]+\s+){{0,3}}?{_MEDIUM}\s+{_SHOWS}\s+",
        _framed,
    ),
    _rule(
        rf"^(?:{_OF_PICTURE})\s+(?:shows|depicts|captures|portrays)\s+(?P<who>her|him|them)\s+"
        r"(?P<rest>(?:\w+ing|from|in|with|on|at|as)\b)",
        _shown_person,
    ),
    _rule(
        rf"^(?:{_OF_PICTURE}|this|it)\s+(?:{BE}|appears?\s+to\s+be"
        rf"|seems?\s+to\s+be)\s+(?:{THE}\s+)?{_QUALIFIED}{_MEDIUM}"
        rf"(?:\s+{_OF_ART})?,?\s+(?:that\s+|which\s+)?{_SHOWS}\s+{_GO_ON}"
    ),
    _rule(rf"^{_SUBJECT}{_QUALIFIED}{_MEDIUM}(?:\s+{_OF_ART})?,?\s+(?:that\s+|which\s+)?{_SHOWS}\s+{_GO_ON}"),
    _rule(
        rf"^in\s+{_OF_PICTURE},?\s+(?:we\s+(?:can\s+)?see\s+|you\s+can\s+see\s+|there\s+is\s+|there\s+are\s+"
        r"|one\s+can\s+see\s+)?"
    ),
    _rule(rf"^(?:{_MADE}\s+)?in\s+{_STYLE_PHRASE}\s*,\s*"),
    _rule(rf"^(?:with|using|featuring)\s+{_STYLE_PHRASE}\s*,\s*"),
    _rule(rf"^{_DRAWN}\s+{_IN_MEDIUM}\s*,\s*"),
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
        rf"\s+(?P<be>{BE})\s+(?:{_MADE}\s+)?in\s+{_STYLE_PHRASE}\s*,?\s+(?:with|featuring|having)\s+",
        lambda match: " " + _has(match),
    ),
    _rule(
        rf"(?<=\w)\s+(?P<be>{BE})\s+{_DRAWN}\s+with\s+(?=[\w-])(?!{_TECHNIQUE})",
        lambda match: " " + _has(match),
    ),
    _rule(rf"\s+(?P<be>{BE})\s+{ADJECTIVES}\s*,?\s+with\s+", lambda match: " " + _has(match)),
    # drawn in a style, at the end
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:(?:that|which|who)\s+)?(?:{BE}\s+)?{_MADE}\s+(?:in|with|using|as)\s+{_STYLE_PHRASE}"
    ),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:(?:that|which|who)\s+)?(?:{BE}\s+)?(?:drawn|rendered|illustrated|painted|sketched"
        r"|executed|animated)\s+in\s+(?:an?|the)\s+"
        rf"{_WORDS}(?:styles?|manner|aesthetic)(?:,?\s+{_OF_ART})?{_CLAUSE_END}"
    ),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:(?:that|which|who)\s+)?(?:{BE}\s+)?(?:drawn|rendered|depicted|illustrated|painted"
        r"|done|created|executed|presented|animated)\s+"
        rf"{_IN_MEDIUM}(?:\s+and\s+[\w-]+(?:\s+\w+)?)?{_CLAUSE_END}"
    ),
    _rule(rf"\s*,?\s+(?:and\s+)?(?:in|with|giving\s+(?:it|her|him|them)|has|having|using)\s+{_STYLE_PHRASE}"),
    _rule(r"\s*,?\s+in\s+the\s+(?:art\s+)?style\s+of\s+[^.,;!?]*"),
    _rule(
        rf"\s*,?\s+(?:and\s+)?(?:with|using|featuring|through|by)\s+(?:the\s+use\s+of\s+"
        rf"|an?\s+)?{_TECHNIQUE}(?:\s*(?:,|,?\s+and|,?\s+or)\s+(?:{_TECHNIQUE}"
        rf"|(?:[\w-]+\s+)?(?:colou?rs|lines|outlines|shading)))*(?:\s+(?:that|which)\b[^.,;]*)?{_ENDING}"
    ),
    _rule(rf"\s*,?\s+(?:and\s+)?with\s+(?:[\w-]+\s+){{1,2}}?(?:out)?(?:lines|colou?rs)\s+and\s+{_TECHNIQUE}{_ENDING}"),
    _rule(rf"\s*(?:,|,?\s+and)\s+{_TECHNIQUE}{_CLAUSE_END}"),
    _rule(rf"\s*,?\s+(?:(?:that|which)\s+(?:is|are)\s+)?(?:which\s+is\s+|as\s+is\s+)?{_OF_ART}(?:\s+(?:style|art))?"),
    # attributes
    _rule(
        rf"\s+(?P<be>{BE}|looks?|appears?|seems?)\s+{ADJECTIVES}\s+and\s+(?={_PLAIN}\s*[.,;!?])",
        lambda match: f" {match['be']} ",
    ),
    _rule(rf"(?:,\s*|\s+)and\s+{ADJECTIVES}{_ENDING}"),
    _rule(rf"\s*,?\s+(?:and\s+)?(?:{BE}|looks?|appears?|seems?)\s+{ADJECTIVES}{_ENDING}"),
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
        rf"|of)\s+{_OF_PICTURE}"
        r"(?=\s*[.,;!?]|\s*$)",
        lambda match: _kept_verb(match),
    ),
    _rule(rf"\s+(?:in|within|throughout|across|of)\s+{_OF_PICTURE}(?![\w-])"),
    _rule(
        rf"^{_OF_PICTURE}\s+(?=(?:{BE}\s+)?(?:cropped|framed|zoomed|close-?up|seen|taken|shot|from\s+(?:above|below"
        r"|behind|the)))",
        "The view ",
    ),
    _rule(rf"(?<![\w-]){_OF_PICTURE}(?!['’\w-])", lambda match: "The scene" if match.start() == 0 else "the scene"),
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
