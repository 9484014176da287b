"""Refusals of models, polite and partial ones too; not people in the picture who refuse something."""

from __future__ import annotations

import re

_I = r"(?:i|we)"
_CANNOT = (
    rf"(?:{_I}\s+(?:can(?:['’]t|\s?not)|could\s?n['’]?o?t|won['’]t|will\s+not|am\s+not\s+(?:able|allowed|permitted"
    r"|comfortable|going)"
    rf"|am\s+unable|must\s+(?:decline|refuse)|have\s+to\s+(?:decline|refuse)|decline|refuse|would\s+(?:rather"
    r"|prefer)\s+not|do\s+not\s+feel"
    rf"\s+comfortable|don['’]t\s+feel\s+comfortable|shouldn['’]t|should\s+not)"
    rf"|{_I}['’](?:m|re)\s+(?:not\s+(?:able|allowed|permitted|comfortable|going)|unable|sorry|afraid\s+(?:i|that\s+i))"
    rf"|{_I}['’]d\s+(?:rather|prefer)\s+not|{_I}['’]ll\s+have\s+to\s+(?:decline|pass))"
)
_TASK = (
    r"(?:describ|assist|help|provid|fulfil|comply|complete|continu|creat|generat|caption|process|analy[sz]|view|see"
    r"|identif|engag|discuss|write|produc|respond|do\s+that)\w*"
)
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{_CANNOT}\b",
        rf"\b{_I}\s+apologi[sz]e\b|\bmy\s+apologies\b|\bapologies,?\s+but\b",
        rf"^(?:i['’]m\s+|i\s+am\s+)?(?:so\s+|very\s+)?sorry\b[^.]{{0,40}}\b(?:but|{_I}|can)\b",
        rf"\bunfortunately,?\s+{_I}\b",
        r"\bas\s+an?\s+(?:ai|language\s+model|artificial|assistant|helpful)\b|\b(?:i\s+am|i['’]m)\s+(?:an\s+ai"
        r"|a\s+language\s+model|just\s+an?\s+ai)\b",
        r"\b(?:against|violat\w+|due\s+to|under|because\s+of)\s+(?:my|our|the)\s+(?:content\s+|safety\s+|usage\s+"
        r"|community\s+)?(?:guidelines|polic(?:y|ies)|programming)\b",
        r"\bcontent\s+polic(?:y|ies)\b|\bsafety\s+guidelines\b|\bterms\s+of\s+service\b",
        rf"\b(?:unable|not\s+able|not\s+possible|not\s+appropriate"
        rf"|inappropriate)\s+(?:for\s+me\s+)?to\s+{_TASK}\s+(?:this|the|that|an?y?|such|with|your|it|details"
        r"|content)\b",
        rf"(?:^|[.!?]\s+)(?:cannot|can['’]t|won['’]t|will\s+not|unable\s+to)\s+{_TASK}\b",
        r"\b(?:this|the)\s+(?:request|content|image|picture|prompt)\b[^.]{0,60}\b(?:cannot|can['’]t|can\s+not"
        r"|will\s+not)\s+be\s+(?:described|fulfilled|processed|completed|captioned|analy[sz]ed)\b",
        r"\b(?:description|caption|response|content|request)\s+(?:has\s+been|was|is)\s+(?:withheld|blocked|filtered"
        r"|refused|declined|redacted)\b",
        r"\b(?:no|any)\s+(?:image|picture|photo)\s+(?:was|is|has\s+been|were)?\s*(?:provided|attached|uploaded|given"
        r"|shared|visible\s+to\s+me|included)\b",
        r"\bi\s+(?:do\s+not|don['’]t|did\s+not|didn['’]t)\s+(?:see|have|receive)\s+(?:an?y?|the|access)\b",
        r"\bplease\s+(?:provide|upload|share|attach|send|try|rephrase)\b",
        r"\b(?:image|picture)\s+(?:contains|depicts|includes|appears\s+to\s+(?:contain"
        r"|depict))\s+(?:\w+\s+){0,3}?(?:inappropriate|explicit|nsfw|sexual(?:ly)?)\b[^.]{0,60}"
        r"\b(?:content|material|imagery)\b[^.]{0,80}\b(?:not|cannot|can['’]t|unable|declin|refrain)\w*",
        r"\b(?:respectfully|politely)\s+(?:decline|refuse)\b|\bi\s+(?:will|would|must)\s+refrain\b"
        r"|\bmust\s+refrain\s+from\b",
        r"\bnot\s+(?:something\s+)?(?:i|that\s+i)\s+(?:can|am\s+able)\b|\b(?:beyond|outside)\s+(?:of\s+)?(?:my"
        r"|what\s+i)\b",
        r"^\s*(?:\[|\()?(?:refused|redacted|content\s+(?:removed|blocked|filtered|warning)|request\s+denied|n/?a)\b",
    )
)
_QUOTED = re.compile(r"[\"“][^\"”\n]{0,200}[\"”]")


def refusal(text: str) -> str | None:
    """The words with which a model refuses; None where it does not. What is quoted is in the picture."""
    bare = _QUOTED.sub(" ", text)
    for pattern in _PATTERNS:
        if match := pattern.search(bare):
            return " ".join(match.group().split())
    return None
