"""The commands of README.md and docs/, run one after another as they are written, made tiny by `--set` alone.

`tests/documented.py` has the list, and tests/unit/test_docs_commands.py sees to it that none is missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from animetune.cli import app
from animetune.config import shipped_configs
from animetune.errors import SetupError
from tests.documented import RUN, Run
from tests.recipe_posts import write_recipe_posts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docs")]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `configs/` and, where `configs/curate.yaml` looks for them, drawn posts and pictures."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "configs").symlink_to(shipped_configs(), target_is_directory=True)
    posts = write_recipe_posts(folder / "data") / "danbooru"
    for picture in posts.glob("*.png"):
        target = posts / "images" / f"{int(picture.stem) % 1000:04}" / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.rename(target)
    (folder / "prompts.txt").write_text("1girl, silver hair --n lowres --d 7\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.mark.parametrize("command", RUN, ids=lambda command: command.text)
def test_a_command_does_what_its_page_says(command: Run, place: Path) -> None:
    _, name, *rest = shlex.split(command.text)
    words = [name, *command.small, *rest]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    expected = {0, SetupError.exit_code} if name == "doctor" else {0}  # this machine may well lack something
    assert result.exit_code in expected, result.output
    assert (place / command.leaves).exists() or command.leaves in result.output, result.output
