"""The licence of a model, and what it owes to those that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from animetune.card.config import CardConfig
from animetune.card.lineage import Run, place_name
from animetune.card.markdown import bullets, code, escape
from animetune.card.published import Published
from animetune.licences import find_licence, licence_doubts, licence_of_base

OWN = ("builtin:", "random:")
"""Begin the names of weights that animetune makes or brings along, which nobody's terms bind."""


def base_licences(
    runs: Sequence[Run], configured: Mapping[str, str], weights: Published | None = None
) -> dict[str, str]:
    """Base -> its licence as it is configured, known or stated by its files; empty where nothing is said.

    Of exports and merges, that `weights` are or runs started from, whatever no run among `runs` made is a base.
    """
    found: dict[str, str] = {}
    settings = [run.settings for run in runs]
    for run in runs:
        base = run.cfg.model.base
        if run.base_run is None and run.origin is None and not base.startswith(OWN):
            found[base] = configured.get(base) or licence_of_base(base) or _stated(base) or ""
    merged = [weights] if weights is not None and weights.kind == "merge" else []
    for origin in [*(run.origin for run in runs if run.origin is not None), *merged]:
        foreign = origin.foreign(settings)
        for model in foreign:
            known = configured.get(model.name) or licence_of_base(model.name) or model.licence
            found[model.name] = known or _stated(str(origin.folder)) or ""
    return found


def _stated(base: str) -> str | None:
    """What local weights say of their licence; nothing is downloaded."""
    if not Path(base).exists():
        return None
    from animetune.models.config import ModelConfig
    from animetune.models.sources import open_origin

    return open_origin(ModelConfig(base=base)).licence


def licence_section(cfg: CardConfig, bases_: Mapping[str, str]) -> str:
    """The licence with a link, what it asks of others, and the chain that it comes from."""
    chosen = find_licence(cfg.about.license)
    title = chosen.title if chosen is not None else cfg.about.license
    link = cfg.about.license_link or (chosen.link if chosen is not None else None)
    shown = f"[{escape(title)}]({link})" if link else escape(title)
    lines = [f"{escape(cfg.about.title)} is published under the {shown}."]
    if chosen is not None and chosen.terms:
        lines.append(f"Models made from it {chosen.terms}.")
    named = {place_name(base): text for base, text in bases_.items()}
    for base, text in named.items():
        known = find_licence(text)
        if known is None:
            stated = f"the licence {code(text)}" if text else "a licence that is not known here"
            lines.append(f"It was made from {code(base)}, which is under {stated}.")
        else:
            lines.append(
                f"It was made from {code(base)}, which is under the [{escape(known.title)}]({known.link}): models made "
                f"from that {known.terms}."
            )
    doubts = [f"Not settled: {escape(doubt)}." for doubt in licence_doubts(cfg.about.license, named)]
    return bullets([*lines, *doubts])
