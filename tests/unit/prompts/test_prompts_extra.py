"""Tags that are added to all samples, or to those of a source."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from animetune.prompts import PromptConfig, compose
from animetune.records import Label
from animetune.seeding import Purpose, rng_for
from tests.unit.prompts.draws import assert_share, count_prompts, draw, tag_counts

LABEL = Label(
    key="scans/1", tags_count=("1girl",), tags_general=("smile", "flat_color", "hat"), captions_long=("A girl.",)
)


def test_they_stand_where_the_order_has_them_and_there_alone() -> None:
    cfg = PromptConfig(order=("count", "general", "extra"), add=("flat_color", "old_scan"))
    assert draw(LABEL, cfg) == "1girl, smile, hat, flat color, old scan"
    first = cfg.model_copy(update={"order": ("extra", "general")})
    assert draw(LABEL, first) == "flat color, old scan, smile, hat"


def test_sources_have_their_own_behind_those_of_all() -> None:
    cfg = PromptConfig(order=("extra", "count"), add=("a",), add_by_source={"scans": ("b", "a", "b"), "other": ("c",)})
    assert draw(LABEL, cfg) == "a, b, 1girl"
    assert draw(dataclasses.replace(LABEL, key="other/1#2"), cfg) == "a, c, 1girl"
    assert draw(dataclasses.replace(LABEL, key="scans2/1"), cfg) == "a, 1girl"


def test_an_order_without_them_leaves_the_samples_own() -> None:
    cfg = PromptConfig(
        order=("general", "extra"), add=("flat_color",), other_orders=({"probability": 1, "order": ("general",)},)
    )
    assert draw(LABEL, cfg) == "smile, flat color, hat"


def test_dropout_spares_them_unless_it_names_them() -> None:
    settings = {"order": ("general", "extra"), "shuffle": ("general", "extra"), "tag_dropout": 0.5, "add": ("x",)}
    assert tag_counts(count_prompts(LABEL, PromptConfig(**settings), 2_000))["x"] == 2_000
    dropped = tag_counts(count_prompts(LABEL, PromptConfig(**settings, drop=("general", "extra")), 20_000))
    assert_share(dropped["x"], 0.5, of=20_000)
    assert_share(dropped["smile"], 0.5, of=20_000)


def test_a_level_counts_them_if_they_can_be_dropped() -> None:
    settings = {"order": ("general", "extra"), "dropout_levels": [{"probability": 1, "at_most": 2}], "add": ("x", "y")}
    spared = count_prompts(LABEL, PromptConfig(**settings, drop=("general",)), 500)
    assert all(prompt.endswith(", x, y") and prompt.count(",") == 3 for prompt in spared)
    counted = count_prompts(LABEL, PromptConfig(**settings, drop=("general", "extra")), 500)
    assert {prompt.count(",") for prompt in counted} == {1}
    assert not all(prompt.endswith("x, y") for prompt in counted)


def test_tokens_that_are_never_dropped_may_be_added() -> None:
    cfg = PromptConfig(
        order=("general", "extra"),
        other_orders=({"probability": 1, "order": ("caption",)},),
        add=("guro", "x"),
        no_dropout=frozenset({"guro", "hat"}),
    )
    assert draw(LABEL, cfg) == "A girl. hat, guro"
    assert draw(LABEL, cfg.model_copy(update={"prompt_dropout": 1.0})) == "hat, guro"
    own = dataclasses.replace(LABEL, tags_special=("guro",))
    assert draw(own, cfg) == "A girl. hat, guro"  # once


TAGS = st.lists(st.sampled_from(["a", "b", "c", "d_d", "e_f"]), unique=True, max_size=4).map(tuple)


@given(own=TAGS, added=TAGS, by_source=TAGS, seed=st.integers(0, 99))
def test_each_tag_is_written_once(own: tuple[str, ...], added: tuple[str, ...], by_source: tuple, seed: int) -> None:
    cfg = PromptConfig(
        order=("general", "extra"), shuffle=("general", "extra"), add=added, add_by_source={"scans": by_source}
    )
    label = Label(key="scans/1", tags_general=own)
    prompt = compose(label, cfg, rng_for(seed, Purpose.CAPTION))
    expected = {tag if tag == "d_d" else tag.replace("_", " ") for tag in (*own, *added, *by_source)}
    assert sorted(filter(None, prompt.split(", "))) == sorted(expected)
