"""Licences of weights: what each asks of the models made from it, and whether a chosen one gives that.

Weights inherit: fine-tuning, merging and extracting a LoRA all make a derived work, and the terms of every base go on.
Known are the licences that models of SDXL carry. What is not known is said to be unknown and left to the reader; this
is bookkeeping, no legal advice.

Sources: the licences' texts; the cards of the models for `KNOWN_BASES` (Animagine XL 2.0 and 3.1, NoobAI-XL,
Kohaku XL: the front matter of their pages on the hub).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from animetune.errors import ConfigError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Licence:
    """What is known of a licence, as far as it concerns models made from a model under it."""

    id: str
    """Short name: the hub's identifier, or for those that the hub lists as `other` their `license_name`."""
    title: str
    """Name in full."""
    link: str
    """Where its text is."""
    on_hub: bool = True
    """Whether the hub knows `id`; otherwise a card says `other` and gives name and link."""
    has_use_limits: bool = False
    """Whether it has the use limits of Stable Diffusion's licences (or ones as strong), binding on all who follow."""
    passes_use_limits_on: bool = False
    """Whether models made from it have to carry its use limits on."""
    heirs: frozenset[str] | None = None
    """Licences that models made from it may have; None: any that keeps its other terms."""
    is_noncommercial: bool = False
    """Whether it forbids commercial use, for models made from it too."""
    allows_derivatives: bool = True
    """Whether models made from it may be published at all."""
    terms: str = ""
    """What models made from it have to do, in words that follow `models made from it`."""


_RAIL = (
    "have to carry its use limits on as an enforceable term, pass on a copy of the licence, and say what was changed"
)
_ATTRIBUTION = "have to keep its notice and name its author"

LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        licence.id: licence
        for licence in (
            Licence(
                "openrail++", "CreativeML Open RAIL++-M License",
                "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
                has_use_limits=True, passes_use_limits_on=True, terms=_RAIL,
            ),
            Licence(
                "creativeml-openrail-m", "CreativeML Open RAIL-M License",
                "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
                has_use_limits=True, passes_use_limits_on=True, terms=_RAIL,
            ),
            Licence(
                "openrail", "OpenRAIL licence", "https://www.licenses.ai/",
                has_use_limits=True, passes_use_limits_on=True, terms=_RAIL,
            ),
            Licence(
                "faipl-1.0-sd", "Fair AI Public License 1.0-SD", "https://freedevproject.org/faipl-1.0-sd/",
                on_hub=False,
                has_use_limits=True, passes_use_limits_on=True, heirs=frozenset({"faipl-1.0-sd"}),
                terms="have to stand under this licence or one with similar terms, share what was changed and its "
                "source (also where the model is only used over a network), and carry its prohibited uses on",
            ),
            Licence("apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0",
                    terms="have to pass on a copy of the licence, keep its notices, and say what was changed"),
            Licence("mit", "MIT License", "https://opensource.org/license/mit", terms="have to keep its notice"),
            Licence("bsd-3-clause", "BSD 3-Clause License", "https://opensource.org/license/bsd-3-clause",
                    terms="have to keep its notice"),
            Licence("cc0-1.0", "Creative Commons Zero 1.0", "https://creativecommons.org/publicdomain/zero/1.0/",
                    terms="may have any terms"),
            Licence("unlicense", "The Unlicense", "https://unlicense.org/", terms="may have any terms"),
            Licence("cc-by-4.0", "Creative Commons Attribution 4.0", "https://creativecommons.org/licenses/by/4.0/",
                    terms=_ATTRIBUTION),
            Licence(
                "cc-by-sa-4.0", "Creative Commons Attribution-ShareAlike 4.0",
                "https://creativecommons.org/licenses/by-sa/4.0/",
                heirs=frozenset({"cc-by-sa-4.0", "gpl-3.0"}), terms=f"{_ATTRIBUTION}, and stand under the same licence",
            ),
            Licence(
                "cc-by-nc-4.0", "Creative Commons Attribution-NonCommercial 4.0",
                "https://creativecommons.org/licenses/by-nc/4.0/",
                is_noncommercial=True, terms=f"{_ATTRIBUTION}, and allow no commercial use",
            ),
            Licence(
                "cc-by-nc-sa-4.0", "Creative Commons Attribution-NonCommercial-ShareAlike 4.0",
                "https://creativecommons.org/licenses/by-nc-sa/4.0/",
                is_noncommercial=True, heirs=frozenset({"cc-by-nc-sa-4.0"}),
                terms=f"{_ATTRIBUTION}, allow no commercial use, and stand under the same licence",
            ),
            Licence(
                "cc-by-nd-4.0", "Creative Commons Attribution-NoDerivatives 4.0",
                "https://creativecommons.org/licenses/by-nd/4.0/",
                allows_derivatives=False, terms="must not be published",
            ),
            Licence(
                "cc-by-nc-nd-4.0", "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0",
                "https://creativecommons.org/licenses/by-nc-nd/4.0/",
                is_noncommercial=True, allows_derivatives=False, terms="must not be published",
            ),
            Licence(
                "gpl-3.0", "GNU General Public License 3.0", "https://www.gnu.org/licenses/gpl-3.0.html",
                heirs=frozenset({"gpl-3.0", "agpl-3.0"}), terms="have to stand under the same licence",
            ),
            Licence(
                "agpl-3.0", "GNU Affero General Public License 3.0", "https://www.gnu.org/licenses/agpl-3.0.html",
                heirs=frozenset({"agpl-3.0"}),
                terms="have to stand under the same licence, also where it is only used over a network",
            ),
        )
    }
)  # fmt: skip
"""Short name -> licence."""

KNOWN_BASES: Mapping[str, str] = MappingProxyType(
    {
        "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
        "stabilityai/stable-diffusion-xl-refiner-1.0": "openrail++",
        "linaqruf/animagine-xl": "openrail++",
        "linaqruf/animagine-xl-2.0": "openrail++",
        "cagliostrolab/animagine-xl-2.0": "openrail++",
        "cagliostrolab/animagine-xl-3.0-base": "faipl-1.0-sd",
        "cagliostrolab/animagine-xl-3.0": "faipl-1.0-sd",
        "cagliostrolab/animagine-xl-3.1": "faipl-1.0-sd",
        "asahina2k/animagine-xl-3.1-diffuser-variant-fp16": "faipl-1.0-sd",
        "cagliostrolab/animagine-xl-4.0": "openrail++",
        "cagliostrolab/animagine-xl-4.0-zero": "openrail++",
        "onomaairesearch/illustrious-xl-early-release-v0": "faipl-1.0-sd",
        "laxhar/noobai-xl-1.0": "faipl-1.0-sd",
        "laxhar/noobai-xl-1.1": "faipl-1.0-sd",
        "laxhar/noobai-xl-vpred-1.0": "faipl-1.0-sd",
        "kblueleaf/kohaku-xl-gamma": "faipl-1.0-sd",
        "kblueleaf/kohaku-xl-epsilon-rev2": "faipl-1.0-sd",
        "kblueleaf/kohaku-xl-zeta": "faipl-1.0-sd",
    }
)
"""Hub id in lower case -> licence of the weights; ask by `licence_of_base`."""

ADDED_TERMS: Mapping[str, str] = MappingProxyType(
    {"laxhar/noobai-xl": "forbids commercial use beside what its licence asks"}
)
"""Beginning of a hub id in lower case -> what the page of the model adds to its licence."""

_OTHER_NAMES = {
    "creativemlopenrail++m": "openrail++",
    "openrail++m": "openrail++",
    "openrailplusplus": "openrail++",
    "creativemlopenrailm": "creativeml-openrail-m",
    "openrailm": "creativeml-openrail-m",
    "fairaipublic10sd": "faipl-1.0-sd",
    "fairaipubliclicense10sd": "faipl-1.0-sd",
    "apache20": "apache-2.0",
    "apache2": "apache-2.0",
    "cc0": "cc0-1.0",
    "gplv3": "gpl-3.0",
    "agplv3": "agpl-3.0",
}
"""Other ways to write them, without what `_plain` takes away."""


def find_licence(text: str | None) -> Licence | None:
    """The licence that a text names, by its short name or in full, whatever the capitals; None when it is not known."""
    plain = _plain(text or "")
    known = next(
        (licence for licence in LICENCES.values() if plain in (_plain(licence.id), _plain(licence.title))), None
    )
    return known or LICENCES.get(_OTHER_NAMES.get(plain, ""))


def licence_of_base(name: str) -> str | None:
    """Licence of published weights by their hub id; None when it is not known."""
    return KNOWN_BASES.get(name.strip().lower())


def licence_problems(chosen: str, bases: Mapping[str, str]) -> list[str]:
    """Why weights made from `bases` (name -> licence) may not be published under `chosen`, one sentence a base.

    Each ends with what to choose. What is not known is no problem here but a doubt; see `licence_doubts`.
    """
    if not chosen.strip():
        return ["no licence was chosen; choose one that the bases allow: " + _advice(bases)]
    licence = find_licence(chosen)
    found = []
    for name, text in sorted(bases.items()):
        base = find_licence(text)
        if base is None:
            continue
        reason = _forbids(base, licence)
        if reason:
            found.append(f"{name} is under {base.id}, {reason}; {_remedy(base, bases)}")
    return found


def licence_doubts(chosen: str, bases: Mapping[str, str]) -> list[str]:
    """What cannot be judged about `chosen`: licences that are not known, terms beside them. One sentence each, for a
    warning."""
    doubts = [
        f"{name}: its page {added}; make sure that you give that, too"
        for name in sorted(bases)
        for base, added in ADDED_TERMS.items()
        if name.lower().startswith(base)
    ]
    doubts += [
        f"{name}: its licence {_quoted(text)} is not known here; read what it asks of models made from it"
        for name, text in sorted(bases.items())
        if find_licence(text) is None
    ]
    binding = [name for name, text in sorted(bases.items()) if (known := find_licence(text)) and _is_binding(known)]
    if chosen.strip() and find_licence(chosen) is None and binding:
        doubts.append(
            f"the licence {_quoted(chosen)} is not known here, and {', '.join(binding)} bind what is made from them; "
            f"check that it gives what they ask, or choose {_advice(bases)}"
        )
    return doubts


def check_licence(chosen: str, bases: Mapping[str, str], *, setting: str = "about.license") -> None:
    """Raise ConfigError when a base forbids `chosen`, which `setting` names; doubts are logged as warnings."""
    problems = licence_problems(chosen, bases)
    if problems:
        raise ConfigError([f"{setting}: {chosen or 'empty'}: {problem}" for problem in problems])
    for doubt in licence_doubts(chosen, bases):
        _log.warning("%s: %s", setting, doubt)


def allowed_licences(bases: Mapping[str, str]) -> list[str]:
    """The known licences that no known base forbids."""
    known = [licence for text in bases.values() if (licence := find_licence(text))]
    return [name for name, chosen in LICENCES.items() if not any(_forbids(base, chosen) for base in known)]


def front_matter(chosen: str, *, name: str | None = None, link: str | None = None) -> dict[str, str]:
    """`license`, and for one that the hub does not know `license_name` and `license_link`, as a card says it.

    `name` and `link` are for a licence that is not known here. Raises ConfigError when they are missing then.
    """
    licence = find_licence(chosen)
    if licence is not None and licence.on_hub:
        return {"license": licence.id}
    if licence is not None:
        return {"license": "other", "license_name": licence.id, "license_link": link or licence.link}
    if not link:
        raise ConfigError(
            f"license: {chosen} is not known to animetune; give a link to its text, or choose one of "
            f"{', '.join(LICENCES)}"
        )
    return {
        "license": "other",
        "license_name": name or re.sub(r"[^a-z0-9.+-]+", "-", chosen.lower()),
        "license_link": link,
    }


def _forbids(base: Licence, chosen: Licence | None) -> str | None:
    """Why a model made from one under `base` cannot be under `chosen` (None: not known); None when it can."""
    if not base.allows_derivatives:
        return "which allows no models made from it"
    if chosen is None:
        return None
    if base.heirs is not None and chosen.id not in base.heirs:
        return "which is share-alike: what is made from it has to be under it or one with similar terms"
    if base.passes_use_limits_on and not chosen.has_use_limits:
        return f"whose use limits have to be passed on, and {chosen.id} has none"
    if base.is_noncommercial and not chosen.is_noncommercial:
        return f"which forbids commercial use, and {chosen.id} allows it"
    return None


def _remedy(base: Licence, bases: Mapping[str, str]) -> str:
    return "start from another base" if not base.allows_derivatives else f"choose {_advice(bases)}"


def _advice(bases: Mapping[str, str]) -> str:
    """The licences to choose from, those of the bases first."""
    known = [licence.id for text in bases.values() if (licence := find_licence(text))]
    allowed = allowed_licences(bases)
    best = [name for name in dict.fromkeys(known) if name in allowed]
    if best:
        return " or ".join(best)
    return " or ".join(allowed[:3]) or "other bases: no known licence suits all of these"


def _is_binding(licence: Licence) -> bool:
    return licence.passes_use_limits_on or licence.heirs is not None or licence.is_noncommercial


def _plain(text: str) -> str:
    """Lower case, without punctuation (but +), `the`, `license`, `version` and dates."""
    words = re.sub(r"\bdated.*$|\b(the|licen[sc]e|version)\b", " ", text.lower())
    return re.sub(r"[^a-z0-9+]", "", words)


def _quoted(text: str) -> str:
    return f"{text.strip()!r}" if text.strip() else "(none stated)"
