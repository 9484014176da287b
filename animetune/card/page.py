"""`README.md`: YAML that the hub reads, then the sections, each from its own module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animetune import licences, yamltree
from animetune.card.config import CardConfig
from animetune.card.data import data_section, knowledge_cutoff
from animetune.card.labels import counted, example
from animetune.card.licensing import licence_section
from animetune.card.lineage import Run, bases, place_name
from animetune.card.markdown import bullets, code, escape, number, table
from animetune.card.prompting import prompt_section, special_section
from animetune.card.recipe import Asked
from animetune.card.results import evaluation_section
from animetune.card.sizes import sizes_section, trained_sizes
from animetune.card.training import stage_names, training_section
from animetune.card.usage import Weights, example_prompt, files_section, recommended_section, usage_section
from animetune.figures import visible
from animetune.tokens import CHUNK_BODY

COLUMNS = 4
"""Pictures side by side."""


@dataclass(frozen=True)
class Shown:
    """A picture of the card."""

    file: str
    """Path in the card's folder."""
    prompt: str
    negative: str


@dataclass(frozen=True)
class Facts:
    """All that a card is made from."""

    cfg: CardConfig
    runs: Sequence[Run]
    """The last one is the one that is described."""
    asked: Asked
    weights: Weights
    bases: Mapping[str, str]
    """Base -> its licence; empty where it is not known."""
    pictures: Sequence[Shown]
    digests: Mapping[str, str]
    """What it was made from -> digest."""


def write_card(facts: Facts) -> str:
    """The text of README.md."""
    cfg, last = facts.cfg, facts.runs[-1]
    names = stage_names([*(str(run.folder) for run in facts.runs), *(stage.run for stage in facts.asked.train)])
    trained = example(last)
    prompt = example_prompt(cfg.inference, trained[1] if trained is not None else None)
    sections = {
        "Files": files_section(facts.weights),
        "How to use": usage_section(cfg, facts.weights, prompt, chunks=last.cfg.data.chunks),
        "Prompts": prompt_section(last),
        "Special words": special_section(last),
        "Recommended settings": recommended_section(cfg.inference, facts.weights),
        "Sizes": sizes_section(last, facts.asked),
        "Training data": data_section(facts.runs, names, cutoff=cfg.knowledge_cutoff),
        "Training": training_section(facts.runs, facts.asked.train, names, gpus=cfg.hardware.gpus),
        "Evaluation": evaluation_section(cfg.evaluation),
        "Limitations": bullets([*cfg.about.limitations, *known_limits(facts.runs, cfg)]),
        "What the original states": original_section(cfg),
        "Licence": licence_section(cfg, facts.bases),
        "Thanks": bullets(cfg.about.thanks),
        "What this card was made from": digests_section(facts.digests),
    }
    parts = [
        f"---\n{yamltree.to_text(front_matter(facts))}---",
        f"# {cfg.about.title}",
        cfg.about.description.strip(),
        gallery(facts.pictures),
        details(facts),
        *(f"## {title}\n\n{text}" for title, text in sections.items() if text),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: Facts) -> dict[str, Any]:
    """What the hub reads: licence, base, library, tags, examples."""
    about = facts.cfg.about
    on_hub = [base for base in facts.bases if licences.licence_of_base(base) is not None or _is_hub_id(base)]
    matter: dict[str, Any] = {
        **licences.front_matter(about.license, name=about.license_name, link=about.license_link),
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "language": list(about.languages),
        "tags": list(about.tags),
    }
    if on_hub:
        matter["base_model"] = on_hub
    if about.datasets:
        matter["datasets"] = list(about.datasets)
    if facts.pictures:
        matter["widget"] = [
            {
                "text": visible(picture.prompt),
                **({"parameters": {"negative_prompt": visible(picture.negative)}} if picture.negative else {}),
                "output": {"url": picture.file},
            }
            for picture in facts.pictures
        ]
    return matter


def gallery(pictures: Sequence[Shown]) -> str:
    """The pictures in rows."""
    images = [f"![{escape(visible(each.prompt, 120))}]({each.file})" for each in pictures]
    rows = [images[first : first + COLUMNS] for first in range(0, len(images), COLUMNS)]
    width = min(COLUMNS, len(images))
    return table([" "] * width, [row + [""] * (width - len(row)) for row in rows])


def details(facts: Facts) -> str:
    """Who, what, from what, under which terms."""
    about = facts.cfg.about
    kinds = {"epsilon": "predicts the noise", "v": "predicts v", "flow": "a rectified flow"}
    zero = ", zero terminal SNR" if facts.weights.zero_terminal_snr else ""
    lines = [f"**By**: {about.author}"] if about.author else []
    if facts.weights.published is not None and facts.weights.published.rule:
        lines.append(f"**Merged**: {escape(facts.weights.published.rule)}")
    lines += [
        f"**Model**: Stable Diffusion XL, text to image; {kinds[facts.weights.prediction]}{zero}",
        f"**Fine-tuned from**: {', '.join(code(place_name(base)) for base in bases(facts.runs))}",
        f"**Stages of training**: {len(facts.runs)}",
        f"**Licence**: {about.license}",
        *(f"[{escape(text)}]({url})" for text, url in about.links.items()),
    ]
    return bullets(lines)


def known_limits(runs: Sequence[Run], cfg: CardConfig) -> Iterator[str]:
    """What follows from how it was trained; `runs` as of `Facts`."""
    run = runs[-1]
    prompts = run.cfg.prompts
    used = {part for _, order in prompts.weighted_orders for part in order}
    if "caption" not in used:
        yield "Prompts of the last stage were tags alone: what is written in sentences may be understood less well."
    elif not used & {"count", "general"} and not prompts.captions.tags:
        yield "Prompts of the last stage were sentences: lists of tags may be understood less well."
    yield f"Prompts were cut at {run.cfg.data.chunks * CHUNK_BODY} tokens in training."
    cutoff = knowledge_cutoff(runs, cfg.knowledge_cutoff)
    if "not known" not in cutoff:
        yield f"It was shown nothing newer than its last picture ({cutoff}); what it knows of later is its base's."
    names = stage_names([str(each.folder) for each in runs])
    unsafe = {names[str(each.folder)]: _unsafe(each) for each in runs}
    if any(unsafe.values()):
        told = ", ".join(f"{number(count)} of {escape(name)}" for name, count in unsafe.items() if count)
        yield (
            f"Pictures rated questionable or explicit were in its training ({told}): it may draw such things, also "
            "without being asked."
        )
    sizes = sorted(trained_sizes(run), key=lambda size: size.area)
    if sizes:
        span = f"{sizes[0].name} to {sizes[-1].name} pixels"
        yield f"It was trained at {span}; in much larger pictures subjects may come twice."


def _unsafe(run: Run) -> int:
    ratings = counted(run.data, "rating")
    return ratings.get("q", 0) + ratings.get("e", 0)


def original_section(cfg: CardConfig) -> str:
    """The configured text, behind what it is."""
    if not cfg.about.original.strip():
        return ""
    return (
        "This model follows a published recipe. What its authors say of their own model, and what was not measured "
        f"here:\n\n{cfg.about.original.strip()}"
    )


def digests_section(digests: Mapping[str, str]) -> str:
    """Everything that was read."""
    return table(["what", "digest"], [[escape(name), code(digest)] for name, digest in digests.items()])


def _is_hub_id(base: str) -> bool:
    """Whether a base can only be one of the hub: owner/name, of which nothing lies here."""
    is_place = base.startswith((".", "/", "~", "runs/")) or base.endswith(".safetensors") or Path(base).exists()
    return base.count("/") == 1 and not is_place
