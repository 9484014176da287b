"""Licences: what bases ask of the models made from them, and what a chosen licence may be."""

import logging

import pytest

from animetune import licences
from animetune.errors import ConfigError
from animetune.licences import (
    KNOWN_BASES,
    LICENCES,
    allowed_licences,
    check_licence,
    find_licence,
    front_matter,
    licence_doubts,
    licence_of_base,
    licence_problems,
)

SDXL = {"SDXL base 1.0": "openrail++"}
ANIMAGINE_3 = {"cagliostrolab/animagine-xl-3.0": "faipl-1.0-sd"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openrail++", "openrail++"),
        ("CreativeML Open RAIL++-M License", "openrail++"),
        ("CreativeML Open RAIL++-M", "openrail++"),
        ("CreativeML Open RAIL++-M License dated July 26, 2023", "openrail++"),
        ("creativeml-openrail-m", "creativeml-openrail-m"),
        ("CreativeML Open RAIL-M", "creativeml-openrail-m"),
        ("faipl-1.0-sd", "faipl-1.0-sd"),
        ("fair-ai-public-license-1.0-sd", "faipl-1.0-sd"),
        ("Fair AI Public License 1.0-SD", "faipl-1.0-sd"),
        ("Apache 2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("The MIT License", "mit"),
    ],
)
def test_a_licence_is_found_however_it_is_written(text, expected):
    assert find_licence(text).id == expected


@pytest.mark.parametrize("text", ["", None, "other", "my own", "license", "openrail+++", "m"])
def test_what_is_not_known_is_not_guessed(text):
    assert find_licence(text) is None


@pytest.mark.parametrize("chosen", ["openrail++", "creativeml-openrail-m", "faipl-1.0-sd"])
def test_use_limits_of_sdxl_are_passed_on_by(chosen):
    assert licence_problems(chosen, SDXL) == []


@pytest.mark.parametrize("chosen", ["mit", "apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "agpl-3.0"])
def test_use_limits_of_sdxl_are_not_passed_on_by(chosen):
    [problem] = licence_problems(chosen, SDXL)
    assert "SDXL base 1.0 is under openrail++" in problem
    assert chosen in problem
    assert problem.endswith("choose openrail++")


def test_share_alike_binds_what_is_made_from_it():
    assert licence_problems("faipl-1.0-sd", ANIMAGINE_3) == []
    [problem] = licence_problems("openrail++", ANIMAGINE_3)
    assert "share-alike" in problem
    assert problem.endswith("choose faipl-1.0-sd")


def test_a_merge_inherits_from_all():
    assert licence_problems("faipl-1.0-sd", SDXL | ANIMAGINE_3) == []
    [problem] = licence_problems("openrail++", SDXL | ANIMAGINE_3)
    assert "animagine-xl-3.0" in problem
    assert len(licence_problems("mit", SDXL | ANIMAGINE_3)) == 2
    assert allowed_licences(SDXL | ANIMAGINE_3) == ["faipl-1.0-sd"]


def test_bases_that_suit_nothing_together_are_said_to():
    [problem] = licence_problems("faipl-1.0-sd", ANIMAGINE_3 | {"nc": "cc-by-nc-sa-4.0"})
    assert "nc is under cc-by-nc-sa-4.0" in problem
    assert "no known licence suits all of these" in problem


def test_no_commerce_is_inherited():
    [problem] = licence_problems("mit", {"a": "cc-by-nc-4.0"})
    assert "commercial" in problem
    assert licence_problems("cc-by-nc-sa-4.0", {"a": "cc-by-nc-4.0"}) == []


def test_no_derivatives_means_no_licence_at_all():
    for chosen in (*LICENCES, "my own"):
        [problem] = licence_problems(chosen, {"a": "cc-by-nd-4.0"})
        assert "start from another base" in problem


def test_no_licence_is_chosen_silently():
    [problem] = licence_problems(" ", ANIMAGINE_3)
    assert "no licence was chosen" in problem
    assert "faipl-1.0-sd" in problem


def test_unknown_licences_are_doubts_and_no_problems():
    assert licence_problems("openrail++", {"mystery": "my own"}) == []
    assert licence_problems("my own", SDXL) == []
    assert licence_doubts("openrail++", SDXL) == []
    [unknown_base] = licence_doubts("openrail++", {"mystery": "my own"})
    assert "mystery" in unknown_base
    assert "'my own'" in unknown_base
    [silent_base] = licence_doubts("openrail++", {"mystery": ""})
    assert "none stated" in silent_base
    [unknown_choice] = licence_doubts("my own", SDXL)
    assert "SDXL base 1.0" in unknown_choice


def test_terms_that_a_page_adds_to_its_licence_are_a_doubt():
    for name in ("Laxhar/noobai-XL-1.1", "Laxhar/noobai-XL-Vpred-1.0"):
        assert licence_of_base(name) == "faipl-1.0-sd"
        (doubt,) = licence_doubts("faipl-1.0-sd", {name: "faipl-1.0-sd"})
        assert "forbids commercial use" in doubt


def test_check_raises_for_problems_and_logs_doubts(caplog):
    with pytest.raises(ConfigError, match=r"about\.license: mit: SDXL base 1\.0 is under openrail\+\+"):
        check_licence("mit", SDXL)
    with caplog.at_level(logging.WARNING, logger=licences.__name__):
        check_licence("openrail++", {"mystery": ""}, setting="license")
    assert "license: mystery" in caplog.text


def test_front_matter_is_what_the_hub_reads():
    assert front_matter("CreativeML Open RAIL++-M") == {"license": "openrail++"}
    assert front_matter("faipl-1.0-sd") == {
        "license": "other",
        "license_name": "faipl-1.0-sd",
        "license_link": "https://freedevproject.org/faipl-1.0-sd/",
    }
    assert front_matter("My Own 1", link="https://example.org/l") == {
        "license": "other",
        "license_name": "my-own-1",
        "license_link": "https://example.org/l",
    }
    with pytest.raises(ConfigError, match="give a link"):
        front_matter("My Own 1")


def test_known_bases_have_known_licences():
    assert set(KNOWN_BASES.values()) <= set(LICENCES)
    assert all(name == name.lower() for name in KNOWN_BASES)
    assert licence_of_base("stabilityai/stable-diffusion-xl-base-1.0") == "openrail++"
    assert licence_of_base("cagliostrolab/Animagine-XL-3.1") == "faipl-1.0-sd"
    assert licence_of_base("who/knows") is None
