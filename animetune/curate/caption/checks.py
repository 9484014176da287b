"""What is wrong with a caption, by itself and against the tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from animetune.curate.caption import colour_checks, people_checks, text_checks
from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.outcomes import CODES, Problem
from animetune.curate.caption.style import style_references
from animetune.curate.config.caption_text import ChecksConfig, StyleConfig
from animetune.tokens import count_tokens
from animetune.vlm.refusals import refusal

__all__ = ["CODES", "Problem", "problems"]


def problems(
    text: str, facts: PictureFacts, cfg: ChecksConfig | None = None, style: StyleConfig | None = None
) -> list[Problem]:
    """All that is wrong with a caption, the gravest first; empty for a good one. `detail` quotes the words.

    References to style are looked for where `style` says which ones count.
    """
    cfg = cfg or ChecksConfig()
    if not any(map(str.isalpha, text)):
        return [Problem("empty", text.strip()[:40])]
    found = [Problem(code, detail) for code, detail in _of_text(text, cfg)]
    if cfg.style and style is not None and (left := style_references(text, style)):
        found.append(Problem("style", ", ".join(dict.fromkeys(left))))
    checks: tuple[tuple[str, bool, Callable[[str, PictureFacts], str | None]], ...] = (
        ("people", cfg.people, people_checks.people),
        ("gender", cfg.people, people_checks.gender),
        ("hair", cfg.hair, colour_checks.hair),
        ("eyes", cfg.eyes, colour_checks.eyes),
        ("clothes", cfg.clothes, colour_checks.clothes),
    )
    found += [Problem(code, said) for code, on, check in checks if on and (said := check(text, facts))]
    return found


def _of_text(text: str, cfg: ChecksConfig) -> Iterator[tuple[str, str]]:
    if cfg.refusal and (said := refusal(text)):
        yield "refusal", said
    if cfg.text:
        for code, check in _TEXT:
            if said := check(text):
                yield code, said
    if cfg.loop and (said := text_checks.loop(text)):
        yield "loop", said
    is_list = cfg.text and text_checks.tag_list(text)
    if is_list:
        yield "tag_list", is_list
    if cfg.language and not is_list and (said := text_checks.wrong_language(text, cfg.other_scripts)):
        yield "wrong_language", said
    if cfg.ending and (said := text_checks.cut_off(text)):
        yield "cut_off", said
    words = text_checks.count_words(text)
    if words < cfg.min_words:
        yield "too_short", f"{words} words, at least {cfg.min_words}"
    elif words > cfg.max_words:
        yield "too_long", f"{words} words, at most {cfg.max_words}"
    elif (tokens := count_tokens(text)) > cfg.max_tokens:
        yield "too_long", f"{tokens} CLIP tokens, at most {cfg.max_tokens}"


_TEXT: tuple[tuple[str, Callable[[str], str | None]], ...] = (
    ("control_characters", text_checks.control_characters),
    ("markup", text_checks.markup),
    ("injection", text_checks.injection),
    ("prompt_echo", text_checks.prompt_echo),
    ("chatter", text_checks.chatter),
)
