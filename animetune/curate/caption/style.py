"""References to style, medium and picture taken out of captions, by rule.

DashAnime XL found that captions of which some name the style, and others do not, teach a model to draw in a style of
its own choice, and had its captions compressed by a language model that leaves style out. This does the same to any
caption; `style_references` is written apart from it and tells what is left.
"""

from __future__ import annotations

import functools
import re

from animetune.curate.caption import style_objects
from animetune.curate.caption.sentences import begins_upper, capitalised, closed, sentences, tidy
from animetune.curate.caption.style_rules import LEADS, REWRITES, TRIGGER, WHOLE, attribute
from animetune.curate.caption.style_verifier import style_references
from animetune.curate.config.caption_text import StyleConfig

__all__ = ["remove_style", "style_references"]

_DEFAULT = StyleConfig()
_MOST_ROUNDS = 6
_DANGLING = re.compile(
    r"\b(?:an?|the|is|are|was|in|of|and|or|with|as|by|to|from|has|have|into|using|that|which|who|like)\s*[.,;:!?]?$"
    r"|\b(?:an?|the|is|are|with|has|have|of|in)\s*[,;:]|\b(?:an?|the)\s+(?:of|and|or|with|in|by|is|are|has)\b"
    r"|\b(?:with|of|in|has|have)\s+(?:and|or|of|in|is|are)\b|^(?:is|are|of|and|or|has|have|was)\b",
    re.IGNORECASE,
)
_DEFINITE = re.compile(r"(?:the|his|her|their|its|this)\b", re.IGNORECASE)
_FINITE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|can|will|wears?|holds?|stands?|sits?|looks?|shows?|appears?|seems?|lies"
    r"|smiles?|suggests?"
    r"|features?|conveys?|contains?|includes?|adds?|gives?|creates?|focus(?:es)?|takes?|makes?|hangs?|flies|runs?"
    r"|walks?|falls?"
    r"|flows?|covers?|fills?|rests?|leans?|points?|reach(?:es)?|carr(?:y|ies)|surrounds?|extends?|frames?|consists?"
    r"|remains?"
    r"|glows?|shines?|depicts?|do|does|dances?|sleeps?|fights?|laughs?|waves?|leaps?|plays?|reads?|cries"
    r"|crash(?:es)?)\b",
    re.IGNORECASE,
)
"""Words that make a verb of a sentence, most of those that captions have."""
_LOST = re.compile(r"\b(?:is|are|was|were|has|have)\b", re.IGNORECASE)
_TORN = re.compile(rf"^([^,]{{1,60}}), (?={_FINITE.pattern})", re.IGNORECASE)
_NEW_SUBJECT = re.compile(r"(?:The (?:scene|view)|She|He|They|An?)\b")


def remove_style(text: str, cfg: StyleConfig = _DEFAULT) -> tuple[str, int]:
    """The text without references to style, and how many were removed.

    Sentences about style go whole, phrases are cut out and the grammar around them mended; a sentence that rules cannot
    mend goes, too. Empty where the text speaks of nothing else. Text without such words is returned as it is.
    """
    extra, keep, trigger = _of(cfg)
    if not trigger.search(text):
        return text, 0
    kept, removed = [], 0
    for sentence in sentences(text):
        cleaned, count = _cleaned(sentence, extra, keep, cfg) if trigger.search(sentence) else (sentence, 0)
        removed += count
        if cleaned:
            kept.append(cleaned)
    return (" ".join(kept), removed) if removed else (text, 0)


def _cleaned(
    sentence: str, extra: re.Pattern[str] | None, keep: re.Pattern[str] | None, cfg: StyleConfig
) -> tuple[str, int]:
    """A sentence without style, or nothing; and how much was removed."""
    result, removed = sentence, 0
    for _ in range(_MOST_ROUNDS):
        masked = style_objects.mask(result, keep)
        changed, count = LEADS.pattern.subn("", masked)
        if not count and any(pattern.search(masked) for pattern in WHOLE):
            return "", removed + 1
        for pattern, replacement in REWRITES:
            changed, hits = pattern.subn(replacement, changed)
            count += hits
        if extra is not None:
            changed, hits = extra.subn(attribute, changed)
            count += hits
        if not count:
            break
        removed += count
        result = tidy(style_objects.unmask(changed))
        if not any(map(str.isalpha, result)):
            return "", removed
    if removed and (_DANGLING.search(result.rstrip(".!? ")) and not _DANGLING.search(sentence.rstrip(".!? "))):
        return "", removed
    if removed and _DEFINITE.match(result) and not _FINITE.search(result) and _LOST.search(sentence):
        return "", removed  # `The hair is drawn in ink.` -> `The hair.`
    if style_references(result, cfg):
        return "", removed + 1
    if not removed:
        return sentence, 0
    if not _TORN.match(sentence):
        result = _TORN.sub(r"\1 ", result)
    if begins_upper(sentence):
        result = capitalised(result)
    elif _NEW_SUBJECT.match(result):
        result = result[0].lower() + result[1:]
    return closed(result), removed


@functools.lru_cache(maxsize=8)
def _of(cfg: StyleConfig) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None, re.Pattern[str]]:
    """Patterns of the extra words, of the words to keep, and of what can be a reference at all."""
    if not cfg.extra:
        return None, _any_of(cfg.keep), TRIGGER
    words = "|".join(map(re.escape, sorted(cfg.extra, key=len, reverse=True)))
    extra = rf"(?:(?<!\w)(?P<article>an?)\s+)?(?<![\w-])(?:{words})(?![\w-])(?:\s*,\s*|\s+and\s+|\s+|(?=[.,;!?]|$))"
    return (
        re.compile(extra, re.IGNORECASE),
        _any_of(cfg.keep),
        re.compile(f"{TRIGGER.pattern}|{words}", re.IGNORECASE),
    )


def _any_of(words: tuple[str, ...]) -> re.Pattern[str] | None:
    if not words:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)
