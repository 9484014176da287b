"""The exception tree is as its docstring draws it."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from animetune import errors
from animetune.errors import AnimetuneError, ConfigError

CLASSES = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, AnimetuneError)]


def test_the_docstring_draws_every_error_and_its_exit_code() -> None:
    drawn = dict(re.findall(r"(\w+Error|Preempted) +exit (\d+)", errors.__doc__ or ""))
    inherited = re.findall(r"│.*── (\w+Error)", errors.__doc__ or "")
    assert {item.__name__ for item in CLASSES} == {*drawn, *inherited}
    for item in CLASSES:
        if item.__name__ in drawn:
            assert item.exit_code == int(drawn[item.__name__])
        else:
            assert item.__base__ is errors.DataError


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_cross_processes(kind: type[AnimetuneError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("a/b: what; remedy")))
    assert type(copy) is kind
    assert str(copy) == "a/b: what; remedy"


def test_a_config_error_keeps_its_problems_apart() -> None:
    error = ConfigError(["a.yaml:1:1: x", "a.yaml:2:1: y"])
    assert error.problems == ["a.yaml:1:1: x", "a.yaml:2:1: y"]
    assert str(error) == "a.yaml:1:1: x\na.yaml:2:1: y"
    assert ConfigError("one").problems == ["one"]
