"""Draw many pictures into a folder: in parts, on several devices, going on where a killed run stopped.

    drawings --cut--> parts of one batch --executor--> .<out>.parts/<part>/<key>.png --publish--> out

A picture's key is the digest of all that decides what it shows (`Drawing` and the bytes of the weights). So whatever
lies among the parts is taken, whichever run drew it: after a kill, with another batch, with more prompts. Sums over
another batch round otherwise in the last bit, so parts are cut without regard to what is there: the same drawings in
the same batch have equal bytes, stopped or not, by any number of workers. The parts are gone once the folder is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from animetune import fsio, samples
from animetune.errors import ConfigError, SetupError
from animetune.executor import Chunk, Executor, ExecutorConfig, build_executor
from animetune.manifest import FileRecord, Manifest, check_place, has_manifest, read_manifest
from animetune.models.config import ModelConfig
from animetune.models.device import pick_device
from animetune.progress import track
from animetune.sample.drawing import Drawing
from animetune.sample.weights import Weights, WeightsReader
from animetune.sample.worker import PART_FORMAT, PART_KIND, Part, Piece, draw_part, forget
from animetune.samples import Entry
from animetune.samples.folder import file_name
from animetune.samples.sheets import Layout
from animetune.tokens import CHUNK_BODY, count_tokens


@dataclass(frozen=True)
class Where:
    """What draws, and how many at once; changes nothing in the pictures but single grey levels, by rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = 4
    """Pictures drawn at once."""
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    """`workers`: None takes one a GPU, and this process where there is one or none."""


class Drawn(NamedTuple):
    """A picture among the parts."""

    file: Path
    record: FileRecord


def draw_folder(
    out: Path,
    drawings: Sequence[Drawing],
    *,
    where: Where = Where(),
    layout: Layout | None = None,
    columns: int = 8,
    reader: WeightsReader | None = None,
) -> Manifest:
    """Draw every picture into the new folder `out`, or continue what was killed; returns its manifest.

    The folder has the pictures in the order of `drawings` (`samples.read`), images.jsonl, grid.png and index.html, as
    sheets with titles if there is a `layout`, which must hold as many. The pictures may be of several models, which are
    loaded one after the other, each once a worker. A folder that holds the same drawings is left as it is, whatever
    drew them. Who draws several folders
    from one model may share a `reader`, so that its weights are hashed once.

    Raises ConfigError when `out` is of another stage or a sampler does not fit a model, SetupError when `out` holds
    something else or the weights cannot be had, ChunkError when a worker failed.
    """
    check_place(out, samples.SAMPLES_KIND)
    if not drawings:
        raise ConfigError(f"{out}: there is nothing to draw")
    if layout is not None and layout.count != len(drawings):
        raise ValueError(f"a layout of {layout.count} pictures for {len(drawings)}")
    parts = out.with_name(f".{out.name}.parts")
    with fsio.claim(out):
        reader = reader or WeightsReader()
        weights = {model: reader.look(model) for model in dict.fromkeys(each.model for each in drawings)}
        _check_samplers(drawings, weights)
        pieces = [_piece(drawing, weights[drawing.model]) for drawing in drawings]
        request = _digest([[piece.key for piece in pieces], layout and dataclasses.asdict(layout), columns])
        if out.exists():
            manifest = _same_request(out, request)
        else:
            drawn = _draw_missing(pieces, parts, where)
            manifest = _publish(out, pieces, drawn, request=request, layout=layout, columns=columns)
        if parts.exists():
            fsio.remove(parts)
        return manifest


def cut(pieces: Sequence[Piece], batch: int) -> list[tuple[Piece, ...]]:
    """Parts of at most a batch, each of one model, one way of drawing, one size and about one length of prompt.

    Models follow one another in the order in which they first occur, so that each is loaded once.
    """
    groups: dict[ModelConfig, dict[Any, list[Piece]]] = {}
    for piece in {piece.key: piece for piece in pieces}.values():
        each = piece.drawing
        shape = (each.sampler, each.text, each.upscale, each.request.size, _length(each), each.request.init is None)
        groups.setdefault(each.model, {}).setdefault(shape, []).append(piece)
    return [
        tuple(group[start : start + batch])
        for shapes in groups.values()
        for group in shapes.values()
        for start in range(0, len(group), batch)
    ]


def _piece(drawing: Drawing, weights: Weights) -> Piece:
    settings = {**drawing.settings, "model": weights.name, "model_hash": weights.file_hash}
    request = drawing.request
    init = request.init and [request.init.name, request.init.strength]
    asked = [request.prompt, request.negative, request.seed, request.size.name, init]
    upscale = drawing.upscale and drawing.upscale.model_dump(mode="json")
    how = [drawing.sampler.model_dump(mode="json"), drawing.text.model_dump(mode="json"), upscale]
    entry = Entry(request, {name: value for name, value in settings.items() if value is not None})
    return Piece(_digest([asked, how, weights.digest, weights.name, weights.file_hash]), drawing, entry)


def _digest(value: Any) -> str:
    return hashlib.sha256(fsio.canonical_json(value).encode()).hexdigest()[:20]


def _length(drawing: Drawing) -> int:
    """Chunks of tokens, about; weights in brackets count along, which costs nothing but a smaller batch."""
    longest = max(count_tokens(drawing.request.prompt), count_tokens(drawing.request.negative), 1)
    return -(-longest // CHUNK_BODY)


def _check_samplers(drawings: Sequence[Drawing], weights: Mapping[ModelConfig, Weights]) -> None:
    for drawing in drawings:
        diffusion = weights[drawing.model].diffusion
        second = drawing.upscale.sampler if drawing.upscale else None
        for place, sampler in (("", drawing.sampler), ("upscale.", second)):
            if sampler is not None and (problem := sampler.misfit(diffusion)):
                raise ConfigError(f"{place}{problem} (model {weights[drawing.model].name})")


def _draw_missing(pieces: Sequence[Piece], parts: Path, where: Where) -> dict[str, Drawn]:
    """Draw what is not among the parts; returns all that is there then, by key."""
    fsio.sweep(parts)
    drawn = _find_drawn(parts)
    total = len({piece.key for piece in pieces})
    missing = [
        tuple(piece for piece in part if piece.key not in drawn) for part in cut(pieces, where.batch)
    ]  # cut before: a batch holds the same pictures after a kill
    chunks = [Chunk(_digest([piece.key for piece in part]), Part(part, where.device)) for part in missing if part]
    left = sum(map(len, missing))
    with track("sample", total, done=total - left) as progress:
        try:
            _executor(where, len(chunks)).run(
                draw_part, chunks, parts, published=lambda manifest: progress.advance(manifest.kept)
            )
        finally:
            forget()
    return _find_drawn(parts)


def _find_drawn(parts: Path) -> dict[str, Drawn]:
    """The pictures that lie among the parts, by key."""
    found: dict[str, Drawn] = {}
    for folder in sorted(parts.iterdir()) if parts.is_dir() else []:
        if not has_manifest(folder):
            continue
        for name, record in read_manifest(folder, kind=PART_KIND, format_version=PART_FORMAT).files.items():
            file = folder / name
            if not file.is_file() or file.stat().st_size != record.bytes:
                raise SetupError(f"{file}: was drawn, and is not whole any more; remove {parts} and run again")
            found[file.stem] = Drawn(file, record)
    return found


def _publish(
    out: Path,
    pieces: Sequence[Piece],
    drawn: Mapping[str, Drawn],
    *,
    request: str,
    layout: Layout | None,
    columns: int,
) -> Manifest:
    shared = dict(pieces[0].entry.settings)
    for piece in pieces:
        shared = {name: value for name, value in shared.items() if piece.entry.settings.get(name) == value}
    entries = [Entry(piece.entry.request, {**piece.entry.settings, "request": request}) for piece in pieces]
    records = {}
    with fsio.publish_dir(out) as temporary:
        for place, piece in enumerate(pieces):
            fsio.link(drawn[piece.key].file, temporary / file_name(place))
            records[file_name(place)] = drawn[piece.key].record
        facts = {**shared, "request": request}
        return samples.finish(temporary, entries, facts=facts, columns=columns, layout=layout, records=records)


def _same_request(out: Path, request: str) -> Manifest:
    if has_manifest(out):
        manifest = read_manifest(out, kind=samples.SAMPLES_KIND, format_version=samples.SAMPLES_FORMAT)
        if manifest.facts.get("request") == request:
            return manifest
    raise SetupError(f"out: {out}: holds pictures of another request; choose another folder or remove that one")


def _executor(where: Where, chunks: int) -> Executor:
    cfg = where.executor
    if cfg.kind == "local" and cfg.workers is None:
        gpus = torch.cuda.device_count() if pick_device(where.device).type == "cuda" else 0
        cfg = cfg.model_copy(update={"workers": gpus if gpus > 1 and chunks > 1 else 0})
    return build_executor(cfg)
