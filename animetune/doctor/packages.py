"""Python and what is installed for it, against what animetune asks for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from animetune import __version__
from animetune.doctor.findings import Finding, note, ok, problem

PACKAGE = "animetune"
EXTRAS = {
    "onnx": "taggers, scorers and detectors in ONNX",
    "ray": "several machines for curate and shard",
    "s3": "shards and labels on S3",
    "wandb": "metrics on Weights & Biases",
}
"""Extra -> what it is for."""
ONNX_WHEELS = ("onnxruntime", "onnxruntime-gpu")

Versions = Callable[[str], str | None]
"""Name of a distribution -> its version, None where it is not installed."""


def installed_version(name: str) -> str | None:
    """Of a distribution in this environment."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def look_at_python() -> Iterator[Finding]:
    """The interpreter, and animetune itself."""
    yield ok("animetune", f"{__version__}, {platform.system()} {platform.release()}, {platform.machine()}")
    wanted = importlib.metadata.metadata(PACKAGE).get("Requires-Python") or ""
    yield python_finding(platform.python_version(), wanted)
    if sys.prefix == sys.base_prefix and "CONDA_PREFIX" not in os.environ:
        yield note("environment", "Python runs outside of a virtual environment: other programs share its packages")


def python_finding(version: str, wanted: str) -> Finding:
    """Of a version of Python, by a specifier as `>=3.11,<3.14`."""
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(wanted).contains(version, prereleases=True):
        return ok("python", version)
    return problem("python", f"{version}, but animetune needs {wanted}", "make an environment with a Python of these")


def look_at_packages() -> Iterator[Finding]:
    """All that animetune requires, as its own metadata says."""
    requirements = importlib.metadata.requires(PACKAGE) or []
    yield from package_findings(requirements, installed_version)
    yield from extra_findings(requirements, installed_version)
    yield from onnx_findings(installed_version)


def package_findings(requirements: Sequence[str], versions: Versions) -> Iterator[Finding]:
    """One line if all fit; else one for each that does not."""
    from packaging.requirements import Requirement

    fitting: list[str] = []
    for text in sorted(requirements):
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = versions(requirement.name)
        if version is None:
            yield problem(requirement.name, "is not installed", f"pip install '{_plain(requirement)}'")
        elif not requirement.specifier.contains(version, prereleases=True):
            yield problem(
                requirement.name,
                f"{version}, but animetune needs {requirement.specifier}",
                f"pip install '{_plain(requirement)}'",
            )
        else:
            fitting.append(requirement.name)
    if fitting:
        yield ok("packages", f"{len(fitting)} as required")


def extra_findings(requirements: Sequence[str], versions: Versions) -> Iterator[Finding]:
    """Which extras are there, and what the others would be for."""
    from packaging.requirements import Requirement

    parsed = [Requirement(text) for text in requirements]
    for extra, purpose in EXTRAS.items():
        wanted = [each for each in parsed if each.marker and each.marker.evaluate({"extra": extra})]
        own = [each for each in wanted if each.marker and not each.marker.evaluate({"extra": ""})]
        found = {each.name: _version_of(each.name, versions) for each in own}
        unfit = [
            f"{each.name} {version}, not {each.specifier}"
            for each in own
            if (version := found[each.name]) and not each.specifier.contains(version, prereleases=True)
        ]
        if unfit:
            yield problem(f"extra {extra}", "; ".join(unfit), f"pip install 'animetune[{extra}]'")
        elif own and all(found.values()):
            yield ok(f"extra {extra}", ", ".join(f"{name} {version}" for name, version in found.items()))
        else:
            yield note(f"extra {extra}", f"not installed; for {purpose}", f"pip install 'animetune[{extra}]'")


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


def _plain(requirement: object) -> str:
    return str(requirement).partition(";")[0].strip()
