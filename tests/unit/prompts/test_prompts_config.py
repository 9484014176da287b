"""Mistakes in `prompts:`, each with its place and its remedy, and lists of tags in files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from animetune import config
from animetune.config import StrictModel, load_config
from animetune.errors import ConfigError
from animetune.prompts import CaptionMix, PromptConfig
from animetune.records import Label
from tests.unit.prompts.draws import draw


class Prompts(StrictModel):
    """A configuration that has only prompts."""

    prompts: PromptConfig = PromptConfig()


def load(folder: Path, text: str) -> PromptConfig:
    file = folder / "stage.yaml"
    file.write_text(f"prompts:\n  {text}\n", encoding="utf-8")
    return load_config(file, Prompts).prompts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("order: [count, count]", "order names a part twice"),
        ("other_orders: [{probability: 0.5, order: [year, year]}]", "other_orders.0 names a part twice"),
        ("shuffle: [caption]", "shuffle lists caption, but only these can be: count"),
        ("shuffle: ['|||']", "shuffle lists |||"),
        ("drop: [prefix]", "drop lists prefix"),
        ("captions: {long: 0}", "captions gives every kind the weight 0, but order has"),
        (
            "{order: [count], captions: {long: 0}, other_orders: [{probability: 1, order: [caption]}]}",
            "but other_orders.0 has",
        ),
        ("tag_dropout: 1.5", "less than or equal to 1"),
        (
            "other_orders: [{probability: 0.7, order: [year]}, {probability: 0.5, order: [count]}]",
            "other_orders: the probabilities sum to 1.2; at most 1",
        ),
        (
            "dropout_levels: [{probability: 0.7, share: 0.3}, {probability: 0.4, at_most: 4}]",
            "dropout_levels: the probabilities sum to 1.1; at most 1",
        ),
        ("dropout_levels: [{probability: 0.3}]", "prompts.dropout_levels.0: keeps every tag; give share"),
        ("dropout_levels: [{probability: 0.3, at_least: 4, at_most: 3}]", "at_most 3 is below at_least 4"),
        (
            "{order: [general, year], dropout_levels: [{probability: 0.3, at_most: 3}]}",
            "dropout_levels have no tags to work on; list parts in drop",
        ),
        (
            "{order: [general, caption], drop: [], dropout_levels: [{probability: 0.3, at_most: 3}]}",
            "dropout_levels have no tags to work on",
        ),
        ("{order: [count], drop: [general], tag_dropout: 0.1}", "drop lists general, but no order has it"),
        ("protect: {tags: [a], probability: 0.5}", "protect has nothing to protect from; set tag_dropout"),
        (
            "{order: [count], tag_dropout: 0.1, protect: {tags: [a], probability: 0.5}}",
            "protect has no tags to work on",
        ),
        ("{tag_dropout: 0.1, protect: {tags: [], probability: 0.5}}", "prompts.protect.tags: lists no name"),
        ("registers: {length: 4}", "gives neither concepts nor a probability of random strings"),
        ("registers: {concepts: {a: ''}}", "prompts.registers.concepts.a"),
        ("paraphrase: {probability: 0.1, variants: {}}", "prompts.paraphrase.variants"),
        ("paraphrase: {probability: 0.1, variants: {1girl: []}}", "prompts.paraphrase.variants.1girl"),
        ("naming: {probability: 0.1, templates: ['a {who}']}", "should have {character}, may have {who} and {series}"),
        ("naming: {probability: 0.1, templates: ['{character} {sex}']}", "'{character} {sex}' should have"),
        ("naming: {probability: 0.1, templates: ['{character']}", "is no template"),
        ("keep_tags: names.txt", "prompts.keep_tags: names.txt: the file of tags cannot be read (No such file"),
        ("no_dropout: 3", "prompts.no_dropout"),
        ("tag_drop: 0.1", "did you mean 'prompts.tag_dropout'"),
    ],
)
def test_mistakes_are_said_with_place_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert re.match(rf"{tmp_path}/stage.yaml:[12]:\d+: prompts", str(caught.value))
    assert len(caught.value.problems) == 1


def test_probabilities_may_sum_to_exactly_1() -> None:
    shares = (0.33, 0.56, 0.11)
    assert sum(shares) > 1  # in floats
    cfg = PromptConfig(other_orders=[{"probability": share, "order": ["count"]} for share in shares])
    assert cfg.weighted_orders[0] == (0.0, cfg.order)


@pytest.mark.parametrize("probability", [0, 1])
def test_the_default_template_and_table_are_valid(probability: int) -> None:
    cfg = PromptConfig(naming={"probability": probability}, paraphrase={"probability": probability})
    assert cfg.naming.probability == cfg.paraphrase.probability == probability


LABEL = Label(key="demo/1", tags_general=("smile", "hat", "#tag"))
NAMES = "# who stays\n#\nsmile\n\n  #tag  \n"


def test_a_list_of_tags_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(NAMES, encoding="utf-8-sig")
    cfg = load(tmp_path, f"{{order: [general], drop: [general], tag_dropout: 1, keep_tags: {file}}}")
    assert cfg.kept == {"smile", "#tag"}
    assert draw(LABEL, cfg) == "smile, #tag"
    protected = load(
        tmp_path, f"{{order: [general], drop: [general], tag_dropout: 1, protect: {{tags: {file}, probability: 1}}}}"
    )
    assert draw(LABEL, protected) == "smile, #tag"


def test_the_resolved_configuration_pins_the_file(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(NAMES, encoding="utf-8")
    first = Prompts(prompts=load(tmp_path, f"no_dropout: {file}"))
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(config.to_yaml(first), encoding="utf-8")
    assert f"{file}@sha256:" in resolved.read_text(encoding="utf-8")
    assert "smile" not in resolved.read_text(encoding="utf-8")
    assert load_config(resolved, Prompts) == first

    file.write_text("hat\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prompts.no_dropout: .*names.txt: has changed since"):
        load_config(resolved, Prompts)
    second = Prompts(prompts=load(tmp_path, f"no_dropout: {file}"))
    assert config.digest(second) != config.digest(first)
    assert second.prompts.never_dropped == {"hat"}
    file.unlink()
    with pytest.raises(ConfigError, match=r"names.txt: the file of tags cannot be read"):
        load_config(resolved, Prompts)


@pytest.mark.parametrize(("content", "message"), [(b"# nothing\n\n", "lists no tag"), (b"\xff\xfe", "is not UTF-8")])
def test_a_file_that_lists_nothing_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"keep_tags: {tmp_path / 'names.txt'}")


def test_a_copy_with_other_settings_follows_them() -> None:
    cfg = PromptConfig(order=("general",), drop=("general",), tag_dropout=1, keep_tags=frozenset({"smile"}))
    assert draw(LABEL, cfg) == "smile"
    assert draw(LABEL, cfg.model_copy(update={"keep_tags": frozenset({"hat"})})) == "hat"


def test_every_rule_survives_yaml() -> None:
    """What `config show` prints is read back to the same."""
    cfg = PromptConfig(
        order=("count", "|||", "general"),
        other_orders=({"probability": 0.1, "order": ("caption",)},),
        captions=CaptionMix(long=1, short=1),
        style_words=("anime-style",),
        naming={"probability": 0.1},
        paraphrase={"probability": 0.1},
        drop=("general",),
        dropout_levels=({"probability": 0.3, "share": 0.3, "at_least": 10},),
        keep_tags=frozenset({"b", "a"}),
        protect={"tags": ["c"], "probability": 0.5},
        registers={"concepts": {"a": "b"}, "random": 0.1},
    )
    text = config.to_yaml(Prompts(prompts=cfg))
    assert Prompts.model_validate(yaml.safe_load(text)).prompts == cfg
