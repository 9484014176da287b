"""Python and what is installed for it, against what animetune asks for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import animetune
from animetune.doctor.findings import Finding, note, ok, problem

PACKAGE = "animetune"
EXTRAS = {
    "onnx": ("onnxruntime", "taggers, scorers and detectors in ONNX"),
    "ray": ("ray", "several machines for curate and shard"),
    "s3": ("s3fs", "shards and labels on S3"),
    "wandb": ("wandb", "metrics on Weights & Biases"),
}
"""Extra -> its package, and what it is for."""
ONNX_WHEELS = ("onnxruntime", "onnxruntime-gpu")

Versions = Callable[[str], str | None]
"""Name of a distribution -> its version, None where it is not installed."""


def installed_version(name: str) -> str | None:
    """Of a distribution in this environment."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Wanted:
    """What animetune asks for."""

    python: str
    """Versions of Python, as `>=3.11,<3.14`."""
    packages: tuple[str, ...]
    """Requirements, as `torch>=2.10`."""
    extras: Mapping[str, tuple[str, ...]]
    """Extra -> requirements."""


def wanted_versions() -> Wanted:
    """By pyproject.toml where animetune is run from a checkout, whose metadata may be of an older state, else by it."""
    from packaging.requirements import Requirement

    checkout = Path(animetune.__file__).resolve().parents[1] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == PACKAGE:
            extras = {name: tuple(each) for name, each in project["optional-dependencies"].items()}
            return Wanted(project["requires-python"], tuple(project["dependencies"]), extras)
    listed = importlib.metadata.requires(PACKAGE) or []
    conditional = [(each, marker) for each in listed if (marker := Requirement(each).marker) is not None]
    plain = tuple(each for each in listed if Requirement(each).marker is None)
    found = {
        extra: tuple(each.partition(";")[0] for each, marker in conditional if marker.evaluate({"extra": extra}))
        for extra in EXTRAS
    }
    return Wanted(importlib.metadata.metadata(PACKAGE)["Requires-Python"] or "", plain, found)


def look_at_python() -> Iterator[Finding]:
    """The interpreter, and animetune itself."""
    yield ok("animetune", f"{animetune.__version__}, {platform.system()} {platform.release()}, {platform.machine()}")
    yield python_finding(platform.python_version(), wanted_versions().python)
    if sys.prefix == sys.base_prefix and "CONDA_PREFIX" not in os.environ:
        yield note("environment", "Python runs outside of a virtual environment: other programs share its packages")


def python_finding(version: str, wanted: str) -> Finding:
    """Of a version of Python, by a specifier as `>=3.11,<3.14`."""
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(wanted).contains(version, prereleases=True):
        return ok("python", version)
    return problem("python", f"{version}, but animetune needs {wanted}", "make an environment with a Python of these")


def look_at_packages() -> Iterator[Finding]:
    """All that animetune asks for."""
    wanted = wanted_versions()
    yield from package_findings(wanted.packages, installed_version)
    yield from extra_findings(wanted.extras, installed_version)
    yield from onnx_findings(installed_version)


def package_findings(requirements: Sequence[str], versions: Versions) -> Iterator[Finding]:
    """One line if all fit; else one for each that does not."""
    fitting = 0
    for text in sorted(requirements):
        name, fault = _fault(text, versions)
        if fault:
            yield problem(name, fault, f"pip install '{text}'")
        else:
            fitting += 1
    yield ok("packages", f"{fitting} of {len(requirements)} as required")


def extra_findings(extras: Mapping[str, Sequence[str]], versions: Versions) -> Iterator[Finding]:
    """Which extras are there, and what the others would be for."""
    for extra, (package, purpose) in EXTRAS.items():
        version, remedy = _version_of(package, versions), f"pip install 'animetune[{extra}]'"
        if version is None:
            yield note(f"extra {extra}", f"not installed; for {purpose}", remedy)
            continue
        faults = [
            f"{name} {fault}" for text in extras.get(extra, ()) for name, fault in [_fault(text, versions)] if fault
        ]
        if faults:
            yield problem(f"extra {extra}", "; ".join(faults), remedy)
        else:
            yield ok(f"extra {extra}", f"{package} {version}")


def _fault(requirement: str, versions: Versions) -> tuple[str, str]:
    """The name in a requirement, and what is wrong with what is installed; empty where it fits."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    version = _version_of(wanted.name, versions)
    if version is None:
        return wanted.name, "is not installed"
    fits = wanted.specifier.contains(version, prereleases=True)
    return wanted.name, "" if fits else f"{version}, but animetune needs {wanted.specifier}"


def onnx_findings(versions: Versions) -> Iterator[Finding]:
    """Two wheels of one module overwrite each other's files, and the GPU is silently not used."""
    both = {name: version for name in ONNX_WHEELS if (version := versions(name))}
    if len(both) > 1:
        named = " and ".join(f"{name} {version}" for name, version in both.items())
        yield problem(
            "onnxruntime",
            f"{named} are both installed: they overwrite each other's files, and the GPU may not be used",
            "pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu (onnxruntime without a GPU)",
        )


def offline_findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the model hub may be asked."""
    set_to = [
        f"{name}={environment[name]}" for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if name in environment
    ]
    if any(each.partition("=")[2].lower() in ("1", "true", "yes", "on") for each in set_to):
        yield note("model hub", f"{', '.join(set_to)}: only what is in its cache can be had")
    else:
        yield ok("model hub", "may be asked")


def _version_of(name: str, versions: Versions) -> str | None:
    return versions(name) or (versions("onnxruntime-gpu") if name == "onnxruntime" else None)
