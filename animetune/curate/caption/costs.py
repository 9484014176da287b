"""What the captions of a table cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from animetune.curate.config.captions import CaptionsConfig
from animetune.vlm.usage import cost


def costs(cfg: CaptionsConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`cost` of the answers that a table stands on, whenever they were paid for, where prices are given.

    `facts` are those of the step: tokens of the `long` and the `short` captions.
    """
    found: dict[str, float] = {}
    for kind, model in (("long", cfg.long), ("short", cfg.compress)):
        tokens = facts.get(kind, {})
        if model is not None:
            paid = cost(model, tokens.get("prompt_tokens", 0), tokens.get("completion_tokens", 0))
            found |= {} if paid is None else {kind: paid}
    return {"cost": found | {"total": round(sum(found.values()), 6)}} if found else {}
