"""Long captions made short without a model: the clauses that are worth most, each whole.

    A girl with long blue hair stands in a field, holding a bow, while birds fly over the hills behind her.
    |---------------- head ------------------| |- tail ----| |------------------ tail -------------------|

Heads of sentences stand by themselves; a tail needs its head. The first head tells who is there and always stays. The
others are taken by worth: people, hair and eyes, clothes, pose and expression, background, and the rest.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from animetune.curate.caption.sentences import begins_upper, capitalised, closed, sentences, tidy
from animetune.tokens import count_tokens

_TAIL = re.compile(
    r"(?:,\s+(?=(?:(?:and|both|all|each|who\s+is|who\s+are)\s+)?(?!(?:evening|morning|matching|flowing|striking"
    r"|charming|glowing|shining|interesting"
    r"|sparkling|surrounding|string|spring|ring|king|wing|nothing|something|everything|being)\b)[a-z]+ing\b)"
    r"|,\s+(?=(?:with|while|as|which|suggesting|dressed|adorned|accompanied|surrounded|set|under|against|behind"
    r"|beside|near)\b)"
    r"|;\s+|\s+(?=while\s))",
    re.IGNORECASE,
)
_TOPICS = tuple(
    (worth, re.compile(pattern, re.IGNORECASE))
    for worth, pattern in (
        (
            6,
            r"\b(?:girls?|boys?|wom[ae]n|m[ae]n|people|persons?|characters?|figures?|child(?:ren)?|named|two|three"
            r"|four|five|couple|group)\b",
        ),
        (5, r"\b(?:hair(?:ed)?|eyes?|eyed|blonde|brunette|twintails|ponytail|braids?|bangs)\b"),
        (
            4,
            r"\b(?:wear(?:s|ing)?|wore|dress(?:ed)?|outfit|shirt|skirt|uniform|jacket|coat|kimono|hat|gloves|boots"
            r"|swimsuit|bikini|armou?r|clothes|clothing"
            r"|hoodie|sweater|suit|cape|cloak|thighhighs|stockings|pants|shorts|apron|scarf|ribbon|bow)\b",
        ),
        (
            3,
            r"\b(?:stand|sit|ly|lie|kneel|crouch|run|walk|hold|look|smil|smile|jump|danc|point|rais|hugg?|leap|fl"
            r"|lean|play|eat|drink|read|sleep|reach|carr|grin|cry|blush"
            r"|laugh|gaz|star|wav)(?:s|es|ies|y|ing|ning|ting)?\b|\b(?:pose|expression|gaze|hands?|arms?|smile)\b",
        ),
        (
            2,
            r"\b(?:background|behind|sky|room|forest|field|city|street|beach|sea|ocean|night|sunset|window|indoors"
            r"|outdoors|trees?|mountains?|wall|scene|light|garden|water)\b",
        ),
    )
)
_PLACES = re.compile(
    r",\s+|\s+(?=(?:with|and|in|on|at|under|against|while|behind|near|beside|wearing|holding|who|which)\s)"
)
_DANGLING = re.compile(
    r"(?:\s+(?:an?|the|and|or|but|with|of|in|on|at|to|for|from|by|as|is|are|has|have|her|his|their|its|which|while"
    r"|who|that|wearing|holding|very|her|two"
    r"|under|against|behind|near|beside|into|over))+$",
    re.IGNORECASE,
)


class _Clause(NamedTuple):
    text: str
    joint: str
    """What stands between it and the clause before; empty for a head."""
    sentence: int
    worth: int


def shorten(text: str, max_tokens: int = 75) -> str:
    """At most `max_tokens` CLIP tokens (without BOS and EOS) of a caption: well-formed sentences in their order.

    A text that fits is returned as it is. Where not even the first clause fits, it is cut at the last phrase that does,
    then at the last word; empty where no word does.
    """
    if count_tokens(text) <= max_tokens:
        return text
    clauses = [clause for place, sentence in enumerate(sentences(text)) for clause in _clauses(sentence, place)]
    chosen = [0]
    if not clauses or count_tokens(_joined(clauses, chosen)) > max_tokens:
        return _cut(clauses[0].text if clauses else text, max_tokens)
    heads = {0}
    order = sorted(range(1, len(clauses)), key=lambda place: -clauses[place].worth)
    for place in [*order, *order]:  # a second time for tails whose heads came later
        clause = clauses[place]
        if place in chosen or (clause.joint and clause.sentence not in heads):
            continue
        tried = sorted((*chosen, place))
        if count_tokens(_joined(clauses, tried)) <= max_tokens:
            chosen = tried
            if not clause.joint:
                heads.add(clause.sentence)
    return _joined(clauses, chosen)


def _clauses(sentence: str, place: int) -> list[_Clause]:
    """The head and the tails of a sentence; a piece in brackets or quotes is never taken apart."""
    body = sentence.rstrip()
    found, start, joint = [], 0, ""
    for match in _TAIL.finditer(body):
        if _is_inside(body, match.start()):
            continue
        found.append(_Clause(body[start : match.start()].strip(), joint, place, _worth(body[start : match.start()])))
        start, joint = match.end(), match.group() if match.group().strip() else " "
    found.append(_Clause(body[start:].strip(), joint, place, _worth(body[start:])))
    return [clause for clause in found if clause.text]


def _worth(text: str) -> int:
    return next((worth for worth, pattern in _TOPICS if pattern.search(text)), 1)


def _is_inside(text: str, place: int) -> bool:
    before = text[:place]
    return before.count('"') % 2 == 1 or before.count("(") > before.count(")") or before.count("“") > before.count("”")


def _joined(clauses: list[_Clause], chosen: list[int]) -> str:
    built: list[str] = []
    for place in chosen:
        clause = clauses[place]
        if clause.joint and built:
            built[-1] = f"{built[-1].rstrip('.!?,; ')}{clause.joint}{clause.text}"
        else:
            built.append(clause.text)
    return " ".join(closed(sentence) for sentence in built)


def _cut(text: str, max_tokens: int) -> str:
    """The longest beginning of a clause that ends at a phrase, or at a word, and fits."""
    text = text.rstrip(".!?")
    ends = [match.start() for match in _PLACES.finditer(text) if not _is_inside(text, match.start())]
    for end in [*reversed(ends), *(match.start() for match in reversed(list(re.finditer(r"\s+", text))))]:
        piece = closed(_DANGLING.sub("", tidy(text[:end])))
        if any(map(str.isalnum, piece)) and " " in piece and count_tokens(piece) <= max_tokens:
            return capitalised(piece) if begins_upper(text) else piece
    first = closed(tidy(text.split(" ")[0]))
    return first if any(map(str.isalnum, first)) and count_tokens(first) <= max_tokens else ""
