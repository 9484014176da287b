"""README.md, docs/ and the comments of configs, containers and batch scripts: what they tell a reader to type exists.

tests/slow/test_docs_run.py runs the commands.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from animetune import cli
from animetune.config import json_schema, load_config, stage_of
from animetune.recipe.config import RecipeConfig, load_recipe
from tests.documented import ELSEWHERE, PAGES, ROOT, RUN, Command, commands

APP = typer.main.get_command(cli.app)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PLACE = re.compile(r"^(?:docs|tests|scripts|configs|docker|animetune)/[\w./*-]+$")
MADE = ("runs", "my", "configs/my")
"""Where outputs and copies go: such places need not exist."""
STAND_INS = {"CONFIG": "configs/stage1.yaml", "FOLDER_OR_URL...": "runs/shards"}


def named(command: Command) -> str:
    return f"{command.page}: {command.text}"


def parsed(command: Command) -> tuple[str, dict[str, Any]]:
    """The command's name and what click makes of its arguments."""
    words = [STAND_INS.get(word, word) for word in command.words]
    group, name = APP, words.pop(0)
    if name == "config":
        group, name = group.commands[name], words.pop(0)
    found = group.commands[name]
    if not command.is_whole:
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
        return name, {}
    return name, found.make_context(name, words).params


def in_repository(place: Path) -> Path:
    """The file that a page means: copies of `animetune init dashanime` are those of the recipe."""
    parts = place.as_posix().removeprefix("configs/my/").removeprefix("my/")
    return ROOT / ("configs/recipes/dashanime/" + parts if parts != place.as_posix() else parts)


@pytest.mark.parametrize("command", commands(), ids=named)
def test_a_command_can_be_typed(command: Command) -> None:
    """Its name, options and types, its files, and its settings."""
    name, values = parsed(command)
    for value in values.values():
        files = [value] if isinstance(value, Path) else []
        for file in files:
            assert file.suffix != ".yaml" or in_repository(file).is_file(), file
    config = values.get("config") or values.get("recipe") or values.get("place")
    if name == "init" or not isinstance(config, Path) or config.suffix != ".yaml":
        return
    file, overrides = in_repository(config), list(values.get("overrides", ()))
    stage = stage_of(file)
    assert name in ("run", "plan", "doctor", "report", "preview", "exposure", "show", "check", stage)
    if stage == "recipe":
        recipe = load_recipe(file, overrides)
        assert {values.get("first"), values.get("last")} <= {None, *(step.name for step in recipe.steps)}
    else:
        load_config(file, model_of(stage), overrides)


def model_of(stage: str) -> Any:
    return RecipeConfig if stage == "recipe" else cli._model(stage)


def test_every_command_is_run_by_a_test() -> None:
    whole = {command.text for command in commands() if command.is_whole}
    listed = [each.text for each in RUN]
    assert sorted(whole - set(listed) - set(ELSEWHERE)) == [], "give it a line in tests/documented.py"
    assert sorted((set(listed) | set(ELSEWHERE)) - whole) == [], "no page has it any more"


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_run_elsewhere_names_a_test(text: str) -> None:
    file, name = ELSEWHERE[text].split("::")
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.is_file() or (anchor and anchor not in anchors(file)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
    places = {word for span in spans for word in span.split() if PLACE.match(word) and not word.startswith(MADE)}
    assert [place for place in sorted(places) if not any(ROOT.glob(place.rstrip("/")))] == []


def test_every_page_is_in_the_index() -> None:
    folder = ROOT / "docs"
    linked = set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
    pages = {page.relative_to(folder).as_posix() for page in folder.rglob("*.md")}
    assert sorted(pages - linked - {"README.md"}) == []


WHOLE = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if re.search(r"^stage: ", block, re.MULTILINE)
]


@pytest.mark.parametrize(("page", "block"), WHOLE, ids=lambda value: getattr(value, "name", ""))
def test_whole_configurations_load(page: Path, block: str, tmp_path: Path) -> None:
    file = tmp_path / "page.yaml"
    file.write_text(block, encoding="utf-8")
    stage = stage_of(file)
    if stage == "recipe":  # its steps are files of their own
        said = load_config(file, RecipeConfig)
        assert {Path(step).stem for step in said.steps} <= {
            path.stem for path in (ROOT / "configs" / "recipes" / said.name).glob("*.yaml")
        }
    else:
        load_config(file, model_of(stage))


PARTS = [
    (page, part)
    for page in PAGES
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for part in re.split(r"^(?=# [\w-]+\.yaml$)", block, flags=re.MULTILINE)
    if part and not re.search(r"^stage: |^# label$", part, re.MULTILINE)
]


@functools.cache
def schemas() -> list[dict[str, Any]]:
    """The JSON schema of every stage and of recipes."""
    return [json_schema(model_of(stage)) for stage in cli.CONFIGS]


@functools.cache
def groups() -> list[set[str]]:
    """The names of settings that stand together: of every stage, and of every group within."""
    models = [model for schema in schemas() for model in (schema, *schema.get("$defs", {}).values())]
    return [set(model.get("properties", ())) for model in models]


@pytest.mark.parametrize(("page", "part"), PARTS, ids=lambda value: getattr(value, "name", ""))
def test_settings_belong_together(page: Path, part: str) -> None:
    """The first keys of a block are those of one stage or of one group."""
    keys = set(re.findall(r"^(\w+):", part, re.MULTILINE))
    assert any(keys <= group for group in groups()), keys


def members(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """What a node allows: itself, or what it refers to, or the members of its union; of a list, its items."""
    if "$ref" in node:
        return members(schema, schema["$defs"][node["$ref"].split("/")[-1]])
    options = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]
    options += [node["items"]] if isinstance(node.get("items"), dict) else []
    return [node, *(member for option in options for member in members(schema, option))]


def has(schema: dict[str, Any], keys: Sequence[str]) -> bool:
    """Whether a stage has the setting; names of a map are free, places in a list may be left out."""
    nodes = members(schema, schema)
    for key in keys:
        inside = [node["properties"][key] for node in nodes if key in node.get("properties", ())]
        inside += [node["additionalProperties"] for node in nodes if isinstance(node.get("additionalProperties"), dict)]
        inside += [node for node in nodes if key.isdigit()]
        nodes = [member for node in inside for member in members(schema, node)]
    return bool(nodes)


SETTING = re.compile(r"^([a-z_0-9]+(?:\.\w+)+)(?:: .*|=.*)?$")
FILES = re.compile(r"\.(?:csv|html|json|jsonl|md|parquet|png|py|safetensors|txt|webp|yaml)$")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page: Path) -> None:
    """`group.name` in backticks, where a stage has that group."""
    if page.name == "from-other-trainers.md":  # half of it are names of others; it has a test of its own
        return
    tops = {name for schema in schemas() for name in schema["properties"]}
    spans = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
    found = {match[1] for span in spans if (match := SETTING.match(span)) and not FILES.search(match[1])}
    named = {name for name in found if name.split(".")[0] in tops} - {"vae.decoder"}  # a part of the network
    assert sorted(name for name in named if not any(has(schema, name.split(".")) for schema in schemas())) == []


MESSAGES = re.findall(
    r"^\|[^|]*\|([^|]*)\|[^|]*\|$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
)
OTHERS = {"--fp16-vae", "--no-half-vae", "v_pred", "ztsnr", "model.weights: raw"}
"""Words of other programs, and settings."""


def test_messages_are_as_the_code_writes_them() -> None:
    texts = []
    for file in (ROOT / "animetune").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values))
    written = "\n".join(texts)
    quoted = {span for cell in MESSAGES for span in re.findall(r"`([^`]+)`", cell)} - OTHERS
    parts = {part.strip(" ,;:().") for span in quoted for part in span.split("...")} - {""}
    assert len(parts) > 40
    assert sorted(part for part in parts if part not in written) == []
