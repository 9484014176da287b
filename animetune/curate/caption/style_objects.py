"""Pictures in the picture: what a caption may name although it is a word of style.

`A girl drawing a picture`, `a cartoon print on her shirt`, `3D glasses`, `an animated conversation`, a sign that reads
"ANIME": such words are masked before style is looked for, by a character in them that no caption has.
"""

from __future__ import annotations

import re

from animetune.curate.caption.style_phrases import MOODS

MASK = "\ue000"
"""Stands behind the first letter of a masked word."""

_MEDIA = (
    r"(?:illustrations?|drawings?|paintings?|sketch(?:es)?|artworks?|art|photos?|photographs?|pictures?|images?|mangas?"
    r"|comics?|cartoons?|anime|portraits?|watercolou?rs?|screenshots?|animations?|renderings?|doujinshi|prints?)"
)
_STYLED = (
    r"(?:anime|manga|cartoon(?:ish|y)?|comics?|chibi|stylized|stylised|animated|illustrated|watercolou?r|pixel[- ]art"
    r"|realistic|lifelike|hand[- ](?:drawn|painted)|3d|2d|art|artwork|picture|photo|photograph|image|sketch|painting"
    r"|drawing|illustration|animation|digital|render(?:ed|ing)?)"
)
_NO_NOUN = (
    r"(?!(?:in|of|with|on|at|from|and|by|for|as|to|while|who|that|is|are|has|viewer|camera|creating|making"
    r"|resulting)\b)"
)
_NOBODY = r"(?!(?:girl|boy|woman|man|lady|person|child|figure)s?\b)"
_GAP = rf"(?:{_NO_NOUN}[\w'-]+,?\s+){{0,4}}?"
_HANDLING = (
    r"(?:(?:hold|carry|draw|paint|sketch|read|watch|view|examin|tak|present|admir|study|hugg?|creat|mak|finish|sign"
    r"|ripp?"
    r"|tear|color|colour|fram|show|photograph|display|hang|clutch|pinn?|collect|giv|post)(?:ing|s|es|ies)?"
    r"|carries|studies|held|drew|draw|looks?\s+(?:at|through)|looking\s+(?:at|through)|gazing\s+at|staring\s+at"
    r"|point(?:s|ing)?\s+(?:at|to)|surrounded\s+by|working\s+on|works\s+on|posing\s+for|poses\s+for|decorated\s+with"
    r"|covered\s+(?:in|with)|filled\s+with|adorned\s+with|stack\s+of|pile\s+of|shelf\s+of|shelves\s+of"
    r"|collection\s+of|copy\s+of|volumes?\s+of|beside|next\s+to|behind|near|under|above|below|in\s+front\s+of)"
)
_WORN = (
    r"(?:t-?shirts?|shirts?|hoodies?|sweaters?|jackets?|coats?|dress(?:es)?|skirts?|aprons?|bags?|backpacks?|caps?"
    r"|hats?"
    r"|mugs?|cups?|phones?|screens?|monitors?|tablets?|laptops?|televisions?|tvs?|walls?|pages?|covers?|paper|canvas"
    r"|easels?|desks?|tables?|shel(?:f|ves)|floor|hands?|arms?|lap|blankets?|pillows?|towels?|cushions?|signs?|posters?"
    r"|billboards?|cards?|books?|boxes|box|packag(?:e|ing)|bottles?|cans?|skateboards?|umbrellas?|flags?|banners?"
    r"|stickers?|badges?|fridge|doors?|windows?|boards?|notebooks?|magazines?|vans?|trucks?|cars?|socks?|shoes?"
    r"|clipboards?|scrolls?|clothes|clothing|outfit|chest|sleeves?|back|front|it|them)"
)
_THINGS = (
    r"(?:books?|frame|albums?|print|posters?|figurines?|merchandise|magazines?|volumes?|tablets?|pads?|board|supplies"
    r"|galler(?:y|ies)|museums?|studios?|class(?:es|room)?|clubs?|students?|teachers?|set|paints?|brush|palettes?"
    r"|stickers?"
    r"|keychains?|charm|badges?|mugs?|cup|t-?shirts?|shirts?|stores?|shops?|conventions?|exhibitions?|exhibits?|shelf"
    r"|shelves|glasses|printers?|puzzle|cubes?|dvds?|logos?|emblems?|decals?|patch|mascots?|plush(?:ies|es)?|dolls?|pin"
    r"|graphic|magnets?|cameras?|clocks?|watch|display|billboards?|devices?|thermometers?|pianos?|keyboards?|scale"
    r"|statues?"
    r"|sculptures?|replicas?|mask|tattoos?|murals?|design|designs|motifs?|pencils?|pens?|markers?|cards?|cutouts?|bags?"
    r"|projectors?|projection|holograms?|broadcasts?|storybooks?|gifs?|costumes?|booths?|props?|room|pattern|bookmarks?"
    r"|calendars?|canvas|easel|hearts?|stars?)"
)
_CLOTH = (
    r"(?:t-?shirts?|shirts?|hoodies?|sweaters?|jackets?|dress(?:es)?|skirts?|aprons?|bags?|backpacks?|caps?|hats?|mugs?"
    r"|cups?|phones?|screens?|covers?|pillows?|blankets?|socks?|shoes?|sleeves?|chest|clothes|clothing|outfit|it|them)"
)
_LIVELY = (
    r"(?:conversations?|discussions?|chats?|gestures?|debates?|talks?|arguments?|movements?|expressions?|manner|way"
    r"|faces?"
    r"|smiles?|crowds?|dances?|storytelling|reactions?|poses?|exchanges?)"
)
_DRESS = (
    r"(?:dress|dressed|gown|outfit|hair|hairstyle|clothing|clothes|uniform|kimono|robe|armou?r|costume|jacket|coat"
    r"|building|house|castle|architecture|room|furniture|garden|decor(?:ated|ation)?|tied|styled|braided|worn)"
)

_OBJECTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # a girl drawing a picture, holding an old framed photograph, posing for a photo
        rf"\b(?!creating\s+an?\s+{MOODS}\b){_HANDLING}\s+"
        rf"(?:(?:an?|the|his|her|their|its|some|several|two|three|many)\s+)?{_GAP}(?P<word>{_MEDIA})\b"
        r"(?!['’]s)(?!\s+(?:style|styled|aesthetic|of\s+the\s+(?:image|picture)))(?!-)",
        # pictures of her family, a drawing that hangs on the wall, the image on her phone
        rf"\b(?P<word>{_MEDIA})\s+(?:(?:is|are|that|which|printed|painted|drawn|hanging|hung|displayed|pinned|shown"
        r"|visible)"
        rf"\s+){{0,3}}(?:on|in|over|across|onto|inside|above)\s+(?:(?:an?|the|his|her|their|its|one|both)\s+)?"
        rf"(?:{_NO_NOUN}[\w'-]+\s+){{0,2}}?{_WORN}\b",
        rf"\b(?P<word>{_MEDIA})\s+(?:of\s+(?:[\w'-]+\s+){{1,6}}?)?(?:(?:is|are)\s+)?"
        r"(?:hangs?|hung|(?<=\sis\s)hanging|(?<=\sare\s)hanging|mounted|pinned|framed|propped|taped|displayed|lies"
        r"|lie|rests?)"
        r"\s+(?:on|above|behind|in|over|from|beside|against|to|near|next)\b",
        r"\bframed\s+(?P<word>" + _MEDIA + r")\b",
        # a manga volume, an art gallery, 3D glasses, a stylized skull logo, a digital clock
        rf"\b(?P<word>{_STYLED})(?:[- ](?:style"
        rf"|themed))?\s+(?:{_NO_NOUN}{_NOBODY}[\w'-]+\s+)?{_THINGS}\b(?!\s+(?:styled?|art|aesthetic|illustration"
        r"|panel|look|feel|vibe)|-)",
        # a shirt with an anime girl on it, cartoon cats printed on her pillow
        rf"\b(?:with|of|featuring|bearing|has|have|shows)\s+(?:an?\s+|the\s+|some\s+)?(?P<word>{_STYLED})\s+"
        rf"(?:(?!\w+ing\b){_NO_NOUN}[\w'-]+\s+){{0,2}}?(?:(?:printed|painted|drawn|embroidered)\s+)?on\s+"
        rf"(?:(?:the|an?)\s+front\s+of\s+)?(?:(?:his|her|their|its|the|an?)\s+)?(?:[\w'-]+\s+)?{_CLOTH}\b",
        rf"\b(?P<word>{_STYLED})\s+(?:[\w'-]+\s+)?(?:printed|embroidered|tattooed)\s+on\b",
        rf"\b(?P<word>animated)\s+(?:and\s+\w+\s+)?{_LIVELY}\b",
        rf"\b{_DRESS}\s+(?:[\w'-]+\s+){{0,2}}?in\s+(?:an?|the)\s+(?:(?!art\b|anime|manga|cartoon)[\w'-]+\s+){{0,2}}?"
        r"(?P<word>style)\b",
        r"\b(?:an?|the|her|his|their)\s+(?P<word>"
        + _MEDIA
        + r")\s+(?:he|she|they)\s+(?:is|are|has|have|drew|painted)\b",
        # lettering
        r"(?P<word>[\"“][^\"”]{1,200}[\"”])",
    )
)
_WORDS = re.compile(r"\b\w")
_MAYBE = re.compile(rf"\b(?:{_MEDIA}|{_STYLED}|style)\b|[\"“]", re.IGNORECASE)
"""Most sentences have none of these, and the expressions above cost ten times as much."""


def mask(text: str, keep: re.Pattern[str] | None = None) -> str:
    """The text with its pictures in the picture masked, and what `keep` matches."""
    objects = _OBJECTS if _MAYBE.search(text) else ()
    spans = [match.span("word") for pattern in objects for match in pattern.finditer(text)]
    if keep is not None:
        spans += [match.span() for match in keep.finditer(text)]
    if not spans:
        return text
    starts = {start + letter.end() for start, end in spans for letter in _WORDS.finditer(text[start:end])}
    pieces: list[str] = []
    last = 0
    for place in sorted(starts):
        if text[place : place + 1] != MASK:
            pieces += (text[last:place], MASK)
            last = place
    return "".join((*pieces, text[last:]))


def unmask(text: str) -> str:
    """The text as it was."""
    return text.replace(MASK, "")
