"""Distribution: how far all pictures of a model together lie from real ones (KID, CMMD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from animetune import fsio
from animetune.errors import ConfigError
from animetune.evaluate.cases import Asked, Case, expand
from animetune.evaluate.config import DistributionConfig, EvaluateConfig
from animetune.evaluate.distribution.distances import DISTANCES, Distances, facts, subsets_of, tables
from animetune.evaluate.distribution.nearest import Nearest
from animetune.evaluate.distribution.vectors import SCORER, Vectors
from animetune.evaluate.probes.shape import Looked, Needs, Reference, Score, Shown, worst
from animetune.evaluate.prompt_files import Prompt, evenly, read_prompts
from animetune.evaluate.real_pictures import RealPicture, read_real

TITLE = "Distribution"
ABOUT = (
    "All pictures of a model against real ones, by vectors of the configured features. KID and CMMD are near 0 where "
    "the two cannot be told apart, and have no other scale: compare models on one page, and with the real pictures' "
    "own halves. Both measure what the features see, whatever the prompts were."
)
FEW = 1000
"""Pictures of either side below which the reader is warned."""


def cases(probe: DistributionConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt behind the prefix; or every caption of the real pictures as it stands."""
    if probe.prompts is not None:
        prompts = read_prompts(probe, Prompt, None)
        return expand((Asked(each.key, "plain", cfg.prefix + each.prompt) for each in prompts), probe, cfg)
    captions = list(dict.fromkeys(each.caption for each in _real(probe) if each.caption))
    if not captions:
        raise ConfigError(
            f"probes (distribution): {probe.reference}: no picture has a caption, so there is nothing to ask; give "
            "`prompts`, or put 1.txt with its caption beside 1.png"
        )
    asked = evenly(captions, probe.limit)
    return expand((Asked(fsio.short_digest(each), "plain", each) for each in asked), probe, cfg)


def needs(probe: DistributionConfig) -> Needs:
    """Features."""
    return Needs((SCORER,))


def references(probe: DistributionConfig, cfg: EvaluateConfig) -> Sequence[Reference]:
    """The real pictures. Raises as `read_real`."""
    return [Reference(each.name, each.file) for each in _real(probe)]


def score(probe: DistributionConfig, looked: Looked) -> Score:
    """KID and CMMD, what the real pictures' own halves would have, and how near the nearest real picture is."""
    vectors = Vectors.of(looked)
    if vectors is None:
        return Score()
    distances = {each.name: Distances(each, vectors) for each in DISTANCES}
    subsets = subsets_of(vectors, subsets=probe.subsets, size=probe.subset_size)
    nearest = Nearest.of(vectors)
    return Score(
        [each.measure() for each in distances.values()],
        tables=[*tables(distances, subsets, vectors), nearest.table()],
        histograms=[nearest.histogram()],
        worst_title="Pictures farthest from every real one",
        worst=_worst(looked, nearest.of_pictures),
        facts={
            "references": len(vectors.real),
            "dimensions": int(vectors.real.shape[1]),
            "subsets": {
                model: {
                    "kid": float(f"{each.mean:.6g}"),
                    "deviation": float(f"{each.deviation:.6g}"),
                    "subsets": each.subsets,
                    "size": each.size,
                }
                for model, each in subsets.items()
            },
            **facts(distances),
            "nearest": nearest.facts(),
        },
        notes=_notes(looked, vectors),
    )


def _real(probe: DistributionConfig) -> list[RealPicture]:
    return evenly(read_real(probe.reference, "reference"), probe.reference_limit)


def _worst(looked: Looked, nearest: Mapping[str, Mapping[str, tuple[str, float]]]) -> dict[str, list[Shown]]:
    severity = {
        model: {
            key: (1 - cosine, f"cosine {cosine:.3f} to the nearest real picture") for key, (_, cosine) in of.items()
        }
        for model, of in nearest.items()
    }
    return {
        model: [replace(each, beside=nearest[model][each.key][0]) for each in shown]
        for model, shown in worst(looked.cases, looked.answers, severity).items()
    }


def _notes(looked: Looked, found: Vectors) -> list[str]:
    notes = []
    counts = {**{model: len(x.keys) for model, x in found.drawn.items()}, "real": len(found.real)}
    few = [f"{name} {count:,}" for name, count in counts.items() if count < FEW]
    if few:
        notes.append(
            f"Few pictures ({', '.join(few)}): below about {FEW:,} a side, believe the intervals before the numbers."
        )
    if any(len(set(x.prompts)) < len(x.prompts) for x in found.drawn.values()):
        notes.append(
            "There are several pictures of a prompt. They resemble each other, which raises KID and CMMD; the table "
            "has both without pairs of one prompt."
        )
    without = [model for model in looked.answers if model not in found.drawn]
    if without:
        notes.append(f"Fewer than two pictures, so not compared: {', '.join(without)}.")
    return notes
