"""From an answer to captions that may be used, or to all that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from animetune.curate.caption.checks import problems
from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.outcomes import Form, Problem, Rejected
from animetune.curate.caption.parse import parse
from animetune.curate.caption.style import remove_style, style_references
from animetune.curate.config.caption_text import ChecksConfig, StyleConfig
from animetune.vlm.replies import Reply


@dataclass(frozen=True, slots=True)
class Judged:
    """What an answer is worth."""

    long: tuple[str, ...] = ()
    """Long captions that pass, without style."""
    short: tuple[str, ...] = ()
    """Short ones."""
    faults: tuple[Problem, ...] = ()
    """What is wrong with the others, or with the whole answer."""
    style_removed: int = 0
    """References to style that were taken out of those that pass."""


def judge(reply: Reply, form: Form, facts: PictureFacts, style: StyleConfig, checks: ChecksConfig) -> Judged:
    """Parse an answer, take style out of its captions, see that none is left, and check them against the tags."""
    if reply.finish == "length":
        return Judged(faults=(Problem("cut_off", "the answer is as long as max_tokens allows"),))
    if reply.finish == "content_filter":
        return Judged(faults=(Problem("refusal", "stopped by the server's content filter"),))
    try:
        draft = parse(reply.text, form)
    except Rejected as rejected:
        return Judged(faults=(Problem(rejected.code, rejected.detail),))
    faults: list[Problem] = []
    removed = 0
    good: dict[str, list[str]] = {"long": [], "short": []}
    for kind, texts in (("long", draft.long), ("short", draft.short)):
        for text in texts:
            cleaned, taken_out = remove_style(text, style) if style.remove else (text, 0)
            wrong = _faults(cleaned, facts, style, checks)
            faults += wrong
            if not wrong:
                good[kind].append(cleaned)
                removed += taken_out
    if not (draft.long or draft.short):
        faults.append(Problem("empty", ""))
    return Judged(tuple(good["long"]), tuple(good["short"]), tuple(faults), removed)


def _faults(text: str, facts: PictureFacts, style: StyleConfig, checks: ChecksConfig) -> Sequence[Problem]:
    found = problems(text, facts, checks)
    if style.remove and checks.style and all(problem.code != "style" for problem in found):
        left = style_references(text, style)
        return [*found, *(Problem("style", words) for words in left[:1])]
    return found
