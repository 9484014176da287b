"""The card of each recipe, made from a tiny run of its own files, holds the facts that its original states.

The facts stand in tests/golden/cards. Those that are `generated` come from configurations and manifests: they are
looked for in a card without its texts. Those that are `stated` (numbers of pictures, hardware) are in the texts of the
recipe's card.yaml, since they are the original's.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from animetune.card.config import CardConfig
from animetune.card.run import run
from animetune.config import load_config, shipped_configs
from animetune.licences import KNOWN_BASES, licence_problems
from animetune.manifest import read_manifest, verify_files
from tests.slow.recipe_runs import run_recipe

pytestmark = pytest.mark.slow

TINY = ["export=null", "samples=null", "evaluation=null"]
NO_TEXTS = ["about.original=''", "about.limitations=[]", "about.thanks=[]", "about.description=none", "inference={}"]

FACTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).resolve().parents[1] / "golden" / "cards").glob("*.yaml"))
}
"""Recipe -> `generated` and `stated` facts."""


@pytest.fixture(scope="module", params=sorted(FACTS))
def recipe(request, tmp_path_factory):
    """A recipe that was run, and where; the texts of its card with and without what people wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("recipe"))
        stages = run_recipe(request.param)
        path = shipped_configs() / "recipes" / request.param / "card.yaml"
        full = load_config(path, CardConfig, TINY)
        bare = load_config(path, CardConfig, [*TINY, *NO_TEXTS, "out=bare"])
        assert {str(each) for each in full.runs} <= {stage.run for stage in stages}
        texts = []
        for cfg in (full, bare):
            run(cfg)
            assert verify_files(cfg.out, read_manifest(cfg.out, kind="card")) == []
            texts.append(flowing((cfg.out / "README.md").read_text(encoding="utf-8")))
        again = load_config(path, CardConfig, [*TINY, "out=again"])
        run(again)
        assert (again.out / "README.md").read_bytes() == (full.out / "README.md").read_bytes()
        yield request.param, *texts


def flowing(text: str) -> str:
    """The text with line ends and runs of spaces as one space."""
    return re.sub(r"\s+", " ", text)


def test_a_card_says_by_itself_what_configurations_and_manifests_know(recipe):
    name, _, bare = recipe
    assert [fact for fact in FACTS[name]["generated"] if flowing(fact) not in bare] == []


def test_a_card_says_what_its_original_states(recipe):
    name, full, _ = recipe
    assert [fact for fact in FACTS[name]["stated"] if flowing(fact) not in full] == []
    assert "What the original states" in full


def test_a_card_is_honest_about_a_small_run(recipe):
    _, _, bare = recipe
    assert "was run otherwise than the recipe asks" in bare
    assert "length 2 steps instead of" in re.sub(r", stopped below a rate of 5e-7", "", bare)
    assert "| Done | 2 steps, 4 images" in bare
    assert "Nothing was measured for this card." in bare
    assert "CPU process" in bare
    assert "Knowledge cut-off: 2024-11-30" in bare


@pytest.mark.parametrize("name", sorted(FACTS))
def test_the_licence_is_one_that_the_recipes_base_allows(name):
    cfg = load_config(shipped_configs() / "recipes" / name / "card.yaml", CardConfig)
    base = {
        "animagine-3.1": "cagliostrolab/animagine-xl-3.0-base",
        "animagine-2.0": "stabilityai/stable-diffusion-xl-base-1.0",
    }.get(name, "stabilityai/stable-diffusion-xl-base-1.0")
    assert licence_problems(cfg.about.license, {base: KNOWN_BASES[base]}) == []
    assert Path(cfg.runs[-1]).parts[0] == "runs"
