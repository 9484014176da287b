"""What is wrong with a caption by itself: each check gives the words that show it, or None."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from animetune.curate.caption.sentences import sentences, word_set

_MARKUP = re.compile(
    r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>|<!--|<\|[\w ]+\|>|\[/?INST\]|<</?SYS>>|```|\*\*\S|__\S+?__|^\s{0,3}#{1,6}\s"
    r"|^\s*[-*•]\s+\S"
    r"|^\s*\d{1,2}[.)]\s+\S|\]\(https?:|https?://|[{}]\s*[\"“]|[\"”]\s*[}\]]|\"\s*:\s*[\"\[{]|\\n|\\u[0-9a-f]{4}|\\\""
    r"|&(?:[a-z]{2,8}|#\d{2,5});"
    r"|\|\s*-{3,}\s*\||\{[{%#]|[%#}]\}|^\s*(?:assistant|user|system|human)\s*:|^\s*[{\[]|[}\]]\s*$|^[-*_]{3,}\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_ECHO = re.compile(
    r"\b(?:describe\s+only\s+what|do\s+not\s+mention|never\s+mention|known\s+(?:tags|facts)"
    r"|known\s+of\s+this\s+picture|may\s+be\s+incomplete"
    r"|(?:the|these|given|provided|listed|following)\s+tags\b|according\s+to\s+the\s+(?:tags|instructions"
    r"|description)|(?:as|per)\s+(?:the\s+)?instruct\w+"
    r"|as\s+(?:was\s+)?requested|(?:at\s+most|under|within)\s+\d+\s+(?:words|tokens)|\bjson\b|word\s+(?:count|limit)"
    r"|write\s+plain\s+english|answer\s+with\s+"
    r"(?:one|the)|tagged\s+(?:as|with)|tags?\s*:\s|this\s+caption|the\s+caption\b|the\s+prompt\b)",
    re.IGNORECASE,
)
_INJECTION = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+|the\s+|your\s+)*(?:previous|above|prior|earlier|preceding"
    r"|other)?\s*(?:instructions?|prompts?|rules|messages?)\b"
    r"|\bsystem\s+prompt\b|\bnew\s+instructions?\b|\b(?:output|print|repeat|say|reply\s+with"
    r"|respond\s+with)\s+(?:exactly|only|the\s+following|verbatim)\b"
    r"|\bjailbreak|\bdeveloper\s+mode\b|\bDAN\s+mode\b|\bpwned\b|\bhacked\s+by\b|\bapi[_ ]key\b"
    r"|\byou\s+are\s+now\s+(?:an?|in)\b|\bdrop\s+table\b|\brm\s+-rf\b"
    r"|\bimport\s+os\b|__\w+__|\balert\(|\beval\(",
    re.IGNORECASE,
)
_CHATTER = re.compile(
    r"^(?:sure|certainly|of\s+course|okay|absolutely|great\s+question|alright|understood)\b[,!.:]|\bhere(?:['’]s"
    r"|\s+is|\s+are)\s+(?:an?|the|my|your)\s+(?:[\w-]+\s+){0,3}"
    r"(?:caption|description|summary|version|paragraph)|\blet\s+me\s+(?:know|describe)|\bi\s+hope\s+(?:this|that|it)"
    r"|\bfeel\s+free\b|\bwould\s+you\s+like\b"
    r"|\b(?:i|we|you)\s+can\s+see\b|\bi\s+(?:see|notice|think|believe|would|will|am|have|cannot|can)\b|\bi['’](?:m|d"
    r"|ll|ve)\b|\bif\s+you\s+(?:need|want|would|have)\b"
    r"|^note\s*:|\bplease\s+note\b|\bthe\s+user\b|\byour\s+(?:image|picture|request|question|prompt)\b"
    r"|\bit\s+is\s+(?:important|worth)\s+(?:to\s+note|noting)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“][^\"”\n]{0,200}[\"”]")
_WORDS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CHARACTERS = re.compile(r"(\S)\1{9,}|(\S{2,6})\2{5,}")
_UNFINISHED = re.compile(
    r"(?:\b(?:an?|the|and|or|with|of|is|are|has|his|their|its|which|while|wearing|holding)|[,;:(–—-])\s*[.!?…]*$",
    re.IGNORECASE,
)
_ENGLISH = word_set(
    "a an the and with of in on is are her his she he they has have wearing at to from by as their it its while one "
    "two holding "
    "behind over for who that there against standing sitting looking around between under near into both"
)
_FOREIGN = word_set(
    "une un le la les des et avec dans sur qui est ses sa porte el los las una con en que su sus y de del por der die "
    "das und mit ein eine einen ist im auf "
    "il lo gli che della è um uma com e o os da do na no het een van met op i w z na jest się ma och med på som är en "
    "ett av dan dengan yang di"
)


def control_characters(text: str) -> str | None:
    """The name of a character that no caption has: control, format, private, unassigned, U+FFFD."""
    for char in text:
        if char in "\n " or char.isalnum():
            continue
        if char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Cn"):
            return f"U+{ord(char):04X}"
    return None


def markup(text: str) -> str | None:
    """HTML, Markdown, remains of JSON or templates, special tokens of models."""
    match = _MARKUP.search(text)
    return match.group().strip() if match else None


def prompt_echo(text: str) -> str | None:
    """Our instruction, repeated or mentioned."""
    match = _ECHO.search(_unquoted(text))
    return match.group() if match else None


def injection(text: str) -> str | None:
    """Words that want to be obeyed; in quotes they are lettering that is seen."""
    match = _INJECTION.search(_unquoted(text))
    return match.group() if match else None


def chatter(text: str) -> str | None:
    """Words to the reader, or of the model about itself."""
    match = _CHATTER.search(_unquoted(text))
    return match.group().strip() if match else None


def loop(text: str) -> str | None:
    """A repetition that nobody writes: a sentence twice, a phrase three times in a row, a phrase all over the text."""
    if match := _CHARACTERS.search(text):
        return match.group()[:60]
    words = [word.lower() for word in _WORDS.findall(text)]
    said = Counter(" ".join(_WORDS.findall(sentence.lower())) for sentence in sentences(text))
    for sentence, times in said.items():
        if times > 1 and sentence.count(" ") >= 3:
            return sentence[:80]
    for length in range(1, 9):
        needed = 4 if length == 1 else 3
        if phrase := _run(words, length, needed):
            return phrase
    fives = Counter(zip(*(words[shift:] for shift in range(5)), strict=False))
    for five, times in fives.most_common(1):
        if times >= 4 and times * 20 >= len(words):
            return " ".join(five)
    return None


def wrong_language(text: str, other_scripts: float) -> str | None:
    """Why the text is not English: a larger share of its letters is not Latin, or its small words are foreign."""
    bare = _unquoted(text)
    letters = [char for char in bare if char.isalpha()]
    if not letters:
        return None
    foreign = [char for char in letters if ord(char) > 0x24F and "LATIN" not in unicodedata.name(char, "")]
    if len(foreign) > other_scripts * len(letters):
        return f"{100 * len(foreign) // len(letters)} % of its letters are not Latin"
    words = [word.lower() for word in _WORDS.findall(bare)]
    if len(words) < 8:
        return None
    english, other = sum(word in _ENGLISH for word in words), sum(word in _FOREIGN for word in words)
    if english * 12 < len(words) or (other > english and other * 6 > len(words)):
        return f"{english} of {len(words)} words are small English words"
    return None


def cut_off(text: str) -> str | None:
    """The end of a text that ends no sentence."""
    text = text.rstrip()
    bare = text.rstrip("\"'”’)]*")
    if bare[-1:] not in (".", "!", "?") or bare.endswith("..") or _UNFINISHED.search(text) or text.count('"') % 2:
        return text[-40:]
    return None


def tag_list(text: str) -> str | None:
    """A list of tags: underscores in words, or many short pieces between commas and hardly a small word."""
    underscored = re.findall(r"\b[a-z0-9]+_[a-z0-9_()]+", text)
    if len(underscored) >= 2:
        return ", ".join(underscored[:3])
    pieces = [piece for piece in re.split(r"[,\n]", text) if piece.strip()]
    words = _WORDS.findall(text.lower())
    if (
        len(pieces) >= 6
        and len(words) <= 2.7 * len(pieces)
        and sum(word in _ENGLISH for word in words) * 7 <= len(words)
    ):
        return text[:60]
    return None


def count_words(text: str) -> int:
    """Words of the text."""
    return len(text.split())


def _run(words: list[str], length: int, needed: int) -> str | None:
    """A phrase of `length` words that stands `needed` times in a row."""
    same = 0
    for place in range(length, len(words)):
        same = same + 1 if words[place] == words[place - length] else 0
        if same >= length * (needed - 1):
            return " ".join(words[place - length + 1 : place + 1])
    return None


def _unquoted(text: str) -> str:
    return _QUOTED.sub(" ", text)
