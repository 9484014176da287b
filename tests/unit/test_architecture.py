"""Rules that hold for the whole source, checked on its syntax trees and by importing it in a fresh process.

Each rule is a function that yields what breaks it, and each is tried on a sample that must be found, so that no rule
passes because it looks at nothing.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "animetune"
SOURCES = sorted(PACKAGE.rglob("*.py"))

Finding = tuple[int, str]
Rule = Callable[[ast.Module], Iterator[Finding]]


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of attributes, with the names that imports gave left as they are; `` for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else f".{node.attr}"
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def leftmost(node: ast.AST) -> str:
    """The name that a path expression begins with: `folder` of `Path(folder) / "a" / name`."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.BinOp():
                node = node.left
            case ast.Attribute():
                node = node.value
            case ast.Call(args=[first, *_], func=ast.Name(id="Path" | "str")):
                node = first
            case ast.Call():
                node = node.func
            case _:
                return ""
    return node.id


HANDED_OUT = ("folder", "temporary")
"""What code calls the path that `fsio.publish_dir` or `fsio.atomic_file` gave it; inside it anything may be written."""


def writes(tree: ast.Module) -> Iterator[Finding]:
    """Everything is written by fsio, or where it says: what is written otherwise is there by halves after a kill."""
    to_second = {"os.rename", "os.replace", "os.link", "os.symlink", "torch.save", "json.dump"} | {
        f"shutil.{name}" for name in ("move", "copy", "copy2", "copyfile", "copytree")
    }
    to_first = {f"np.{name}" for name in ("save", "savez", "savez_compressed", "savetxt")}
    methods = ("write_text", "write_bytes", "symlink_to", "hardlink_to")
    openers = {"open", "io.open", "gzip.open", "tarfile.open", "zipfile.ZipFile"}
    for call, name in calls(tree):
        target: ast.AST | None = None
        if name in to_second:
            target = call.args[1]
        elif name in to_first:
            target = call.args[0]
        elif name == "sqlite3.connect" or name.rpartition(".")[2] in methods:
            target = call.func
        elif name in openers:
            target = call.args[0] if is_for_writing(call, 1) else None
        elif name.endswith(".open") and leftmost(call.func) not in ("Image", "fsspec", "os"):
            target = call.func if is_for_writing(call, 0) else None
        if target is not None and leftmost(target) not in HANDED_OUT:
            yield call.lineno, f"{name}(...): write with animetune.fsio"


def is_for_writing(call: ast.Call, position: int) -> bool:
    """Whether the mode that a file is opened with is one for writing, or not to be seen."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    return bool(given) and (not isinstance(given[0], ast.Constant) or bool(set(str(given[0].value)) & set("wax+")))


def unpickles(tree: ast.Module) -> Iterator[Finding]:
    """A pickle runs what its author wants; weights are safetensors."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            for name in [module, *(alias.name for alias in node.names)]:
                if name.partition(".")[0] in (
                    "pickle",
                    "cPickle",
                    "dill",
                    "cloudpickle",
                    "joblib",
                    "shelve",
                    "marshal",
                ):
                    yield node.lineno, f"import {name}"
    for call, name in calls(tree):
        keywords = {keyword.arg for keyword in call.keywords}
        if name in ("eval", "exec") and call.args and isinstance(call.args[0], ast.Constant):
            continue  # what it runs stands in the source
        if name in ("torch.load", "eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.safe_load"):
            yield call.lineno, f"{name}(...)"
        elif keywords & {"allow_pickle", "trust_remote_code"}:
            yield call.lineno, f"{name}(... {sorted(map(str, keywords))})"


def draws_globally(tree: ast.Module) -> Iterator[Finding]:
    """Every draw has a key (animetune.seeding); a global generator makes it depend on what was drawn before."""
    forked = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("fork_rng" in ast.dump(item) for item in node.items)
        for inner in ast.walk(node)
    }
    torch_draws = {
        "rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson", "rand_like",
        "randn_like", "randint_like",
    }  # fmt: skip
    seeds = {"manual_seed", "manual_seed_all", "seed_everything"}
    in_place = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "log_normal_", "geometric_"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("random", "numpy.random", "secrets"):
            yield node.lineno, f"from {node.module} import ..."
        elif isinstance(node, ast.Import) and any(alias.name in ("random", "secrets") for alias in node.names):
            yield node.lineno, "import random"
    for call, name in calls(tree):
        head, _, last = name.rpartition(".")
        if ast.unparse(call.func).startswith("torch.Generator("):
            continue  # one of its own, whose seed is a key
        if head in ("np.random", "numpy.random"):
            yield call.lineno, f"{name}(...): use animetune.seeding.rng_for"
        elif call not in forked and not any(keyword.arg == "generator" for keyword in call.keywords):
            is_draw = last in seeds or last in in_place or (head == "torch" and last in torch_draws)
            if is_draw:
                yield call.lineno, f"{name}(...): use animetune.seeding.rng_for; to initialise, torch.random.fork_rng"


def prints(tree: ast.Module) -> Iterator[Finding]:
    """Only the command line speaks; the library returns or raises."""
    for call, name in calls(tree):
        if name in ("print", "sys.stdout.write"):
            yield call.lineno, f"{name}(...)"


def swallows(tree: ast.Module) -> Iterator[Finding]:
    """No error is lost: a handler names what it expects."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "except: without a type"


EXEMPT: dict[Rule, set[str]] = {
    writes: {
        "fsio.py",
        "tensorfile.py",  # a file format, written at the path that it is given
        "arena/schema.py",  # SQLite keeps its own promise of all or nothing, by its log
    },
    draws_globally: {"seeding.py"},
    prints: {"cli.py", "__main__.py"},
}
"""The modules that a rule leads to."""

MUST_BE_FOUND: dict[Rule, str] = {
    writes: """
open(p, 'w')
open(p, mode='ab')
open(p, m)
Path(p).open('x')
p.open(mode='r+')
(a / b).write_text('')
Path(a, b).write_bytes(b'')
os.replace(folder, b)
shutil.move(a, b)
np.save(p, x)
torch.save(x, p)
json.dump(x, f)
zipfile.ZipFile(p, 'w')
sqlite3.connect(p)
""",
    unpickles: """
import pickle
from pickle import load
torch.load(p)
np.load(p, allow_pickle=True)
yaml.safe_load(t)
f(p, trust_remote_code=True)
eval(x)
""",
    draws_globally: """
import random
from random import shuffle
np.random.rand(3)
np.random.default_rng(0)
torch.manual_seed(1)
torch.randn(3)
torch.randn_like(x)
x.normal_()
nn.init.normal_(x)
torch.cuda.manual_seed_all(1)
pl.seed_everything(1)
""",
    prints: """
print(1)
sys.stdout.write('')
""",
    swallows: """
try: f()
except: pass
""",
}
"""Every line is broken by its rule, but for the `try` that belongs to an `except`."""

MUST_PASS: dict[Rule, str] = {
    writes: """
open(p)
gzip.open(w)
open(p, 'rb')
p.open()
p.open('rb')
Image.open(w)
fsio.atomic_write(p, 'a')
open(folder / 'a', 'wb')
(temporary / 'a' / b).write_text('')
os.replace(a, folder / b)
""",
    unpickles: """
np.load(p)
safetensors.torch.load_file(p)
model.eval()
exec("")
""",
    draws_globally: """
def f(rng: np.random.Generator): return rng.random()
with torch.random.fork_rng():
    torch.manual_seed(1)
    torch.randn(3).normal_()
torch.randn(3, generator=g)
rng.normal(size=3)
""",
    prints: """
console.print(1)
""",
    swallows: """
try: f()
except ValueError: pass
""",
}


@pytest.mark.parametrize("rule", MUST_BE_FOUND, ids=lambda rule: rule.__name__)
def test_rules_find_what_they_are_for(rule: Rule) -> None:
    lines = MUST_BE_FOUND[rule].splitlines()
    expected = {number for number, line in enumerate(lines, start=1) if line and not line.startswith("try")}
    assert {line for line, _ in rule(ast.parse(MUST_BE_FOUND[rule]))} == expected
    assert list(rule(ast.parse(MUST_PASS[rule]))) == []


@pytest.mark.parametrize("rule", MUST_BE_FOUND, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Rule) -> None:
    assert len(SOURCES) > 10
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in SOURCES
        if path.relative_to(PACKAGE).as_posix() not in EXEMPT.get(rule, ())
        for line, what in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_files_are_named_for_what_they_hold() -> None:
    vague = {"utils", "util", "common", "helpers", "misc", "core", "base", "tools"}
    assert [path.relative_to(ROOT).as_posix() for path in SOURCES if path.stem in vague] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        path for path in SOURCES if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert [path.relative_to(ROOT).as_posix() for path in silent] == []


def test_imports_go_down_only() -> None:
    """The layers of pyproject.toml."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout


HEAVY = ("torch", "diffusers", "transformers", "streaming", "pytorch_lightning", "polars", "bitsandbytes")
ALLOWED = {"animetune.checkpoint": {"torch"}, "animetune.tensorfile": {"torch"}, "animetune.tables": {"polars"}}
"""The nouns that are made of them; those of torch are not imported here, for it takes its time."""
CHECK = """
import importlib, json, sys
imported = {}
for name in sys.argv[1:]:
    before = set(sys.modules)
    importlib.import_module(name)
    imported[name] = sorted(set(sys.modules) - before)
print(json.dumps(imported))
"""
LIGHT = [f"animetune.{path.stem}" for path in sorted(PACKAGE.glob("*.py")) if not path.stem.startswith("__")]


def test_nouns_and_the_command_line_stay_light() -> None:
    """Torch costs 3 seconds, streaming 8: `--help`, curation and spawned workers pay only for what they use."""
    names = ["animetune", *(name for name in LIGHT if name not in ALLOWED), "animetune.tables"]
    done = subprocess.run([sys.executable, "-c", CHECK, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = json.loads(done.stdout)
    assert set(imported) == set(names)
    heavy = {name: set(modules) & set(HEAVY) - ALLOWED.get(name, set()) for name, modules in imported.items()}
    assert {name: modules for name, modules in heavy.items() if modules} == {}
