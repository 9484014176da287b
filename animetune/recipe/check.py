"""What `animetune config check` and `config show` say of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from animetune.config import to_yaml
from animetune.recipe.chain import chain_problems
from animetune.recipe.config import load_recipe


def problems_of(path: Path) -> list[str]:
    """Everything that is wrong with how the steps of a recipe fit together. Raises ConfigError as `load_recipe`."""
    recipe = load_recipe(path)
    return chain_problems(recipe, range(len(recipe.steps)))


def shown(path: Path, overrides: Sequence[str]) -> str:
    """The resolved recipe and the resolved configuration of each of its steps, a YAML document each."""
    recipe = load_recipe(path, overrides)
    parts = [f"# {recipe.path}\n{to_yaml(recipe.cfg)}"]
    parts += [f"# step {step.name}: {step.path}\n{to_yaml(step.cfg)}" for step in recipe.steps]
    return "---\n".join(parts)
