"""Characters: whether a known character looks like itself, by CCIP (the measure of Illustrious XL, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from animetune import fsio
from animetune.curate.read.formats.names import is_picture
from animetune.errors import ConfigError, SetupError
from animetune.evaluate.cases import Asked, Case, expand
from animetune.evaluate.characters.numbers import (
    confusions,
    floor_json,
    floor_table,
    histogram,
    matrix,
    measure,
    sayings,
)
from animetune.evaluate.characters.sets import CharacterSets, Seen
from animetune.evaluate.config import CharactersConfig, EvaluateConfig
from animetune.evaluate.probes.shape import Grid, Looked, Needs, Reference, Score, Shown, worst
from animetune.evaluate.prompt_files import Prompt, Text, read_prompts
from animetune.progress import first_of
from animetune.vision.ccip import threshold_of

TITLE = "Characters"
ABOUT = (
    "Prompts that name a character, compared with real pictures of it by CCIP: 0 is the same, and beyond the threshold "
    "of CCIP's authors it is another character. A picture's difference is its mean over all references of its own "
    "character; averages count every character alike, however many pictures it has. The references among themselves "
    "say what could be reached."
)
MOST_IN_MATRIX = 30
GRID_ROWS, GRID_COLUMNS = 8, 4
FEW_REFERENCES = 5


class CharacterPrompt(Prompt):
    """A prompt for a picture of one character."""

    line_field: ClassVar[str | None] = None

    character: Text
    """Name of its folder of references."""


def cases(probe: CharactersConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt. Raises ConfigError for a character without references."""
    prompts = read_prompts(probe, CharacterPrompt, None)
    known = {folder.name for folder in _folders(probe.references)}
    unknown = sorted({each.character for each in prompts} - known)
    if unknown:
        raise ConfigError(
            f"{probe.prompts}: no pictures of {first_of(unknown)} in {probe.references}; add a folder of that name, or "
            f"remove the prompts. It has {first_of(sorted(known))}"
        )
    threshold = None if cfg.ccip is None else threshold_of(cfg.ccip)
    return expand(
        (
            Asked(each.key, "plain", cfg.prefix + each.prompt, {"character": each.character, "threshold": threshold})
            for each in prompts
        ),
        probe,
        cfg,
    )


def needs(probe: CharactersConfig) -> Needs:
    """CCIP."""
    return Needs(("ccip",))


def references(probe: CharactersConfig, cfg: EvaluateConfig) -> Sequence[Reference]:
    """All pictures, by character. Raises SetupError for a folder that is not there, ConfigError for characters without
    pictures and for a picture that is there twice."""
    found: list[Reference] = []
    first: dict[str, Reference] = {}
    problems = []
    for folder in _folders(probe.references):
        files = sorted(path for path in folder.iterdir() if path.is_file() and is_picture(path.name))
        if not files:
            problems.append(f"references: {folder}: has no pictures; add some, or remove the folder")
        for file in files:
            made = Reference(f"{folder.name}/{file.name}", file, {"character": folder.name})
            seen = first.setdefault(fsio.sha256_file(file), made)
            if seen is not made:
                problems.append(f"references: {file}: is {seen.file} once more; remove one of them")
            found.append(made)
    if problems:
        raise ConfigError(problems)
    return found


def score(probe: CharactersConfig, looked: Looked) -> Score:
    """Difference to the own references, how many count as the same and are nearest to them, and what is nearer."""
    by_character = _by_character(looked.cases)
    grids = _grids(by_character)
    sets = CharacterSets.of(looked)
    if sets is None:
        return Score(grids=grids)
    seen = {model: sets.look(looked.cases, answers) for model, answers in looked.answers.items()}
    threshold = float(looked.cases[0].facts["threshold"])
    has_others = len(sets.names) > 1
    floor = sets.among_themselves()
    return Score(
        [
            measure(said, by_character, seen, looked.baseline)
            for said in sayings(threshold)
            if has_others or not said.needs_others
        ],
        [matrix(by_character, sets, seen)] if has_others and len(sets.names) <= MOST_IN_MATRIX else [],
        [floor_table(floor, threshold, has_others)] if floor else [],
        [histogram(seen, floor, threshold)],
        grids,
        "Pictures least like their character",
        _worst(looked, seen),
        {
            "threshold": threshold,
            "references": floor_json(floor, threshold, sets),
            "confusions": {model: confusions(looked.cases, pictures) for model, pictures in seen.items()},
        },
        _notes(by_character, sets),
    )


def _folders(references: Path) -> list[Path]:
    if not references.is_dir():
        raise SetupError(f"references: {references}: there is no such folder")
    found = sorted(path for path in references.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise ConfigError(f"references: {references}: has no folders; it should have one for each character")
    return found


def _by_character(cases: Sequence[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.facts["character"], []).append(case)
    return found


def _worst(looked: Looked, seen: Mapping[str, Mapping[str, Seen]]) -> dict[str, list[Shown]]:
    severity: dict[str, dict[str, tuple[float, str]]] = {}
    for model, pictures in seen.items():
        severity[model] = {}
        for case in looked.cases:
            if case.key in pictures:
                each = pictures[case.key]
                note = f"{each.own:.3f} from {case.facts['character']}"
                if not each.is_nearest:
                    note += f", {each.nearest_difference:.3f} from {each.nearest}"
                severity[model][case.key] = each.own, note
    found = worst(looked.cases, looked.answers, severity)
    return {
        model: [replace(each, beside=seen[model][each.key].most_like) for each in shown]
        for model, shown in found.items()
    }


def _grids(by_character: Mapping[str, Sequence[Case]]) -> list[Grid]:
    """The first characters with their first pictures."""
    rows = {character: cases[:GRID_COLUMNS] for character, cases in list(by_character.items())[:GRID_ROWS]}
    columns = min((len(cases) for cases in rows.values()), default=0)
    if not columns:
        return []
    keys = [[case.key for case in cases[:columns]] for cases in rows.values()]
    return [Grid("characters", "Characters", list(rows), [str(place + 1) for place in range(columns)], keys)]


def _notes(by_character: Mapping[str, Sequence[Case]], sets: CharacterSets) -> list[str]:
    few = [name for name in by_character if sets.counts.get(name, 0) < FEW_REFERENCES]
    unasked = [name for name in sets.names if name not in by_character]
    notes = []
    if few:
        notes.append(f"Fewer than {FEW_REFERENCES} references: {first_of(few)}. Their numbers rest on few pictures.")
    if unasked:
        notes.append(f"Compared with, but not asked for: {first_of(unasked)}.")
    if len(sets.names) == 1:
        notes.append("With references of one character alone, nothing says whether others would be as near.")
    return notes
