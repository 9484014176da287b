"""Presets of prompts: each file is valid and documented, settings go on top, and nothing of the name is left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from animetune import config, prompts
from animetune.config import StrictModel, identity, load_config
from animetune.curate.classify.presets import PRESETS as CLASS_PRESETS
from animetune.curate.config.classes import ClassesConfig
from animetune.errors import ConfigError
from animetune.prompts import PromptConfig
from animetune.prompts.presets import PRESETS, settings_of

FOLDER = Path(prompts.__file__).parent / "presets"
DOCS = (Path(__file__).resolve().parents[3] / "docs" / "prompts.md").read_text(encoding="utf-8")


class Prompts(StrictModel):
    """A configuration that has only prompts."""

    prompts: config.Identity[PromptConfig] = PromptConfig()


def load(folder: Path, text: str, name: str = "stage.yaml", overrides: tuple[str, ...] = ()) -> PromptConfig:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return load_config(file, Prompts, overrides).prompts


def test_every_file_is_a_preset_and_every_preset_a_file() -> None:
    assert {file.stem for file in FOLDER.glob("*.yaml")} == {*PRESETS}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset(name: str) -> None:
    """It says where it is from, is valid, and has a place for added tags."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "\n#\n# Stated" in text or "\n#\n# The " in text
    cfg = PromptConfig(preset=name)
    assert cfg.preset is None
    assert "extra" in cfg.order
    assert PromptConfig(preset=name, add=["a"]).add == ("a",)
    given = settings_of(name)
    assert "preset" not in given
    assert given.keys() <= PromptConfig.model_fields.keys()


def test_the_page_lists_every_preset_with_its_order() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| (`[^`]+`|the same) \|", DOCS, re.MULTILINE))
    assert rows.keys() == {*PRESETS}
    order = ""
    for name in PRESETS:
        order = order if rows[name] == "the same" else rows[name].strip("`")
        assert order == " ".join(settings_of(name)["order"]).replace("|||", ";"), name


@pytest.mark.parametrize("name", CLASS_PRESETS)
def test_every_class_of_a_recipe_has_its_words(name: str) -> None:
    """The presets of curation's classes and those of prompts are two tables of one vocabulary."""
    classes = ClassesConfig(preset=name).names("quality")
    of_recipe = [preset for preset in PRESETS if preset == name or preset.startswith(f"{name}-")]
    assert of_recipe
    for preset in of_recipe:
        cfg = PromptConfig(preset=preset)
        if "quality" in cfg.order:
            assert {*classes} <= cfg.words["quality"].keys(), preset


def test_what_is_given_goes_on_top() -> None:
    plain = PromptConfig(preset="aidxl")
    cfg = PromptConfig(preset="aidxl", order=["count", "quality"], words={"quality": {"best": "lovely"}, "year": {}})
    assert cfg.order == ("count", "quality")
    assert cfg.words["quality"] == {**plain.words["quality"], "best": "lovely"}
    assert cfg.words["year"] == {}
    assert cfg.artist_prefix == "by "  # of aidxl-0.1, on which aidxl builds
    assert plain.naming is not None
    assert PromptConfig(preset="aidxl", naming=None).naming is None
    assert PromptConfig(preset="aidxl", naming=None, artist_prefix="").artist_prefix == ""


def test_a_preset_is_not_changed_by_those_who_use_it() -> None:
    before = PromptConfig(preset="illustrious-2.0")
    PromptConfig(preset="illustrious-2.0", words={"quality": {"best": "x"}}, registers={"concepts": {"a": "b"}})
    assert PromptConfig(preset="illustrious-2.0") == before
    assert before.registers is not None
    assert before.registers.concepts == {}


def test_include_and_set_change_the_preset(tmp_path: Path) -> None:
    load(tmp_path, "prompts: {preset: animagine-3.1, prompt_dropout: 0.1}\n", "base.yaml")
    cfg = load(tmp_path, "include: base.yaml\nprompts: {preset: aidxl}\n")
    assert cfg == PromptConfig(preset="aidxl", prompt_dropout=0.1)
    cfg = load(tmp_path, "include: base.yaml\n", overrides=("prompts.preset=novelai", "prompts.prefix=x"))
    assert cfg == PromptConfig(preset="novelai", prompt_dropout=0.1, prefix="x")
    assert load(tmp_path, "include: base.yaml\nprompts: {preset: null}\n") == PromptConfig(prompt_dropout=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_the_resolved_configuration_needs_no_preset(name: str, tmp_path: Path) -> None:
    """`config show` prints the settings, so that a later preset of that name changes no run that goes on."""
    first = Prompts(prompts=PromptConfig(preset=name, prompt_dropout=0.25))
    text = config.to_yaml(first)
    assert yaml.safe_load(text)["prompts"]["preset"] is None
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(text, encoding="utf-8")
    assert load_config(resolved, Prompts) == first
    spelled_out = Prompts(prompts=PromptConfig.model_validate({**settings_of(name), "prompt_dropout": 0.25}))
    assert identity(spelled_out) == identity(first)
    assert config.digest(spelled_out) == config.digest(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{preset: aidlx}", r"2:12: prompts.preset: should be 'dashanime-1', .*, not 'aidlx', did you mean 'aidxl'\?"),
        ("{preset: 3}", "2:12: prompts.preset: should be 'dashanime-1'"),
        ("{preset: [aidxl]}", "prompts.preset"),
        ("{preset: aidxl, drop: [year]}", "prompts: drop lists year, but no order has it"),
        ("{preset: aidxl, words: {quality: {best: 3}}}", "prompts.words.quality.best: should be text"),
        ("{preset: aidxl, order: [count], add: [a]}", "prompts: add has tags, but no order has the part `extra`"),
        ("{order: [count], add_by_source: {a: [b]}}", "prompts: add_by_source has tags, but no order has the part"),
        ("{preset: aidxl, add: ['']}", "prompts.add.0"),
        ("{presets: aidxl}", "prompts.presets: is not a setting here, did you mean 'prompts.preset'"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, f"prompts:\n  {text}\n")
    assert len(caught.value.problems) == 1
