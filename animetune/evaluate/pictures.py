"""The pictures of a model: drawn for this evaluation, or found in a folder of what was drawn elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from animetune import fsio, samples
from animetune.errors import DataError, SetupError
from animetune.evaluate.config import EvaluateConfig, EvaluatedModel
from animetune.manifest import read_manifest
from animetune.progress import first_of
from animetune.records import Request, Size
from animetune.sample.drawing import Drawing
from animetune.sample.parts import Where, draw_folder
from animetune.sample.weights import WeightsReader
from animetune.samples.found import FoundPicture, find_pictures

NAMED = 3
"""Missing pictures that a message names."""


@dataclass(frozen=True)
class Pictures:
    """What answers the requests."""

    root: Path
    files: Mapping[Request, Path]
    digests: Mapping[Request, str]
    """SHA-256 of the files' bytes."""
    notes: Sequence[str] = ()
    """What the reader should know of them."""


class MissingPictures(DataError):
    """A folder lacks pictures of some of the requests; `requests` are all of them."""

    def __init__(self, message: str, requests: Sequence[Request]):
        self.requests = requests
        super().__init__(message)


def draw(
    name: str, model: EvaluatedModel, requests: Sequence[Request], cfg: EvaluateConfig, reader: WeightsReader
) -> Pictures:
    """Draw every request into `<out>/pictures/<name>`, or go on with it; raises as `draw_folder`."""
    folder = cfg.out / "pictures" / name
    drawings = [Drawing(request, model.model, cfg.sampler, cfg.text) for request in requests]
    where = Where(device=cfg.device, batch=cfg.batch, executor=cfg.executor)
    draw_folder(folder, drawings, where=where, reader=reader)
    records = read_manifest(folder, kind=samples.SAMPLES_KIND).files
    drawn = samples.read(folder)
    return Pictures(
        folder,
        {each.request: each.file for each in drawn},
        {each.request: records[each.file.name].sha256 for each in drawn},
    )


def find(name: str, model: EvaluatedModel, requests: Sequence[Request]) -> Pictures:
    """Those of the folder `model.pictures` that answer the requests: prompt (but for spaces), seed and size are equal.

    Raises SetupError for a folder that is not there, DataError for one that cannot be read and for two pictures of one
    request, MissingPictures for requests without one unless `allow_missing` is set.
    """
    folder = model.pictures
    assert folder is not None
    if not folder.is_dir():
        raise SetupError(f"models.{name}.pictures: {folder}: there is no such folder")
    by_key: dict[tuple[str, int, Size], FoundPicture] = {}
    for found in find_pictures(folder):
        first = by_key.setdefault(_key(found.request), found)
        if first is not found and _key(found.request) in {_key(request) for request in requests}:
            raise DataError(
                f"models.{name}.pictures: {first.file} and {found.file} answer the same prompt, seed and size; remove "
                "one of them"
            )
    matched = {request: by_key[_key(request)] for request in requests if _key(request) in by_key}
    absent = [request for request in requests if request not in matched]
    if absent and (not matched or not model.allow_missing):
        raise MissingPictures(_missing(name, folder, absent, len(requests)), requests)
    notes = []
    if absent:
        notes.append(f"{name}: {len(absent)} of {len(requests)} pictures are missing, and are in no number.")
    others = sum(f.knows_negative and f.request.negative != request.negative for request, f in matched.items())
    if others:
        notes.append(f"{name}: {others} pictures were drawn with another negative prompt.")
    files = {request: found.file for request, found in matched.items()}
    return Pictures(folder, files, {request: digest_of(file) for request, file in files.items()}, notes)


def digest_of(file: Path) -> str:
    """SHA-256 of its bytes. Raises DataError for a file that cannot be read."""
    try:
        return fsio.sha256_file(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); restore it, or change its rights") from error


def _missing(name: str, folder: Path, absent: Sequence[Request], total: int) -> str:
    shown = first_of([f"{each.prompt!r} seed {each.seed} {each.size.name}" for each in absent], NAMED)
    return (
        f"models.{name}.pictures: {folder}: has no picture for {len(absent)} of {total} requests: {shown}. Draw them "
        "(requests.jsonl in `out` lists all, with seeds and sizes), or set allow_missing: true"
    )


def _key(request: Request) -> tuple[str, int, Size]:
    return " ".join(request.prompt.split()), request.seed, request.size
