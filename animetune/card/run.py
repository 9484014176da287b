"""The `card` stage: read what is behind the weights, and publish the model card.

out/
    README.md             for the hub: YAML, then the card
    images/               some of the samples, as WebP
    manifest.json         what it was made from
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from animetune import fsio, samples
from animetune.card.config import CardConfig
from animetune.card.licensing import base_licences
from animetune.card.lineage import Run, read_runs
from animetune.card.page import Facts, Shown, write_card
from animetune.card.published import WEIGHTS_KINDS, Published, published
from animetune.card.recipe import Asked, read_asked
from animetune.card.results import RESULTS_NAME, read_results
from animetune.card.training import stage_names
from animetune.card.usage import read_weights
from animetune.config import digest
from animetune.errors import DataError
from animetune.licences import check_licence, front_matter
from animetune.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_place,
    read_manifest,
    record_files,
    same_output,
    write_manifest,
)

CARD_FORMAT = 1
CARD_KIND = "card"
README = "README.md"
_REMEDY = (
    ": its text, or what it was made from, has changed; remove it (that is {manifest} and what lies beside it), or "
    "choose another folder"
)
PICTURE_SIDE = 1024
"""Longest side of the card's pictures, in pixels."""


def run(cfg: CardConfig) -> Manifest:
    """Write the card to `cfg.out`; a folder that holds the very same card is left as it is.

    Raises ConfigError for a licence that a base forbids, or when `out` is the output of another stage; DataError when
    what the configuration names is not there or does not belong together; SetupError when `out` holds another card.
    """
    check_place(cfg.out, CARD_KIND)
    front_matter(cfg.about.license, name=cfg.about.license_name, link=cfg.about.license_link)
    runs = read_runs(cfg.runs, cfg.tables)
    weights = None if cfg.export is None else _weights(cfg.export)
    made = published(cfg.export, weights) if cfg.export is not None and weights is not None else None
    if made is not None:
        _check_runs(made, runs)
    bases = base_licences(runs, cfg.bases, made)
    check_licence(cfg.about.license, bases)
    asked = read_asked(cfg.configs)
    digests = _digests(cfg, runs, weights)
    manifest = Manifest(
        kind=CARD_KIND,
        format_version=CARD_FORMAT,
        config_digest=digest(cfg.model_copy(update={"out": Path()})),
        inputs=digests | _asked_digests(asked),
    )
    with fsio.claim(cfg.out):
        if cfg.out.exists():
            return same_output(cfg.out, manifest, remedy=_REMEDY.format(manifest=cfg.out / MANIFEST_NAME))
        with fsio.publish_dir(cfg.out) as folder:
            facts = Facts(
                cfg=cfg,
                runs=runs,
                asked=asked,
                weights=read_weights(made, weights, runs[-1].cfg.diffusion),
                bases=bases,
                pictures=_pictures(cfg, folder),
                digests=digests,
            )
            fsio.atomic_write(folder / README, write_card(facts))
            write_manifest(folder, manifest.model_copy(update={"files": record_files(folder)}))
        return read_manifest(cfg.out, kind=CARD_KIND, format_version=CARD_FORMAT)


def _weights(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.kind not in WEIGHTS_KINDS:
        raise DataError(
            f"export: {folder}: holds no finished weights but a {manifest.kind}; name the folder of `animetune export` "
            "or `animetune merge`"
        )
    return manifest


def _check_runs(made: Published, runs: Sequence[Run]) -> None:
    """Raise DataError when the weights say that a run which is not described made them."""
    strange = [model.name for model in made.foreign(run.settings for run in runs) if model.settings]
    if strange:
        of_which = f" ({', '.join(strange)})" if made.kind == "merge" else ""
        raise DataError(
            f"runs: {made.folder} was made from a run{of_which} that is neither {', '.join(run.name for run in runs)} "
            "nor one that these started from; name it in runs, or the weights that these runs made in export"
        )


def _digests(cfg: CardConfig, runs: Sequence[Run], weights: Manifest | None) -> dict[str, str]:
    """What was read -> its digest."""
    found = {f"{weights.kind} of the weights": weights.digest} if weights is not None else {}
    names = stage_names([str(run.folder) for run in runs])
    for run in runs:
        name = names[str(run.folder)]
        found[f"configuration of {name}"] = run.digest
        found[f"journal of {name}"] = _journal_digest(run)
        for place, data in enumerate(run.data):
            which = f" {place + 1}" if len(run.data) > 1 else ""
            if data.root is not None:
                found[f"shards{which} of {name}"] = data.root.digest
            if data.labels is not None:
                found[f"labels{which} of {name}"] = data.labels.digest
            if data.table is not None:
                found[f"table{which} of {name}"] = data.table.manifest.digest
    if cfg.samples is not None:
        found["samples"] = read_manifest(cfg.samples, kind=samples.SAMPLES_KIND).digest
    if cfg.evaluation is not None:
        read_results(cfg.evaluation)
        found["evaluation"] = fsio.sha256_file(cfg.evaluation / RESULTS_NAME)
    return found


def _journal_digest(run: Run) -> str:
    """Of what the run says that it did: its manifest where it is finished."""
    import hashlib

    done = run.done
    said = [done.steps, done.images, done.epochs, done.hours, done.ranks, list(done.devices), done.is_finished]
    return hashlib.sha256(fsio.canonical_json(said).encode()).hexdigest()


def _asked_digests(asked: Asked) -> dict[str, str]:
    configs = (*asked.train, *asked.shard, *asked.curate)
    return {f"recipe {place}": digest(cfg) for place, cfg in enumerate(configs)}


def _pictures(cfg: CardConfig, folder: Path) -> list[Shown]:
    """Write some of the samples into the card's folder, evenly chosen."""
    if cfg.samples is None or not cfg.pictures:
        return []
    from PIL import Image

    drawn = samples.read(cfg.samples)
    step = max(1, -(-len(drawn) // cfg.pictures))
    (folder / "images").mkdir()
    shown = []
    for place, each in enumerate(drawn[::step]):
        file = f"images/{place:02d}.webp"
        with Image.open(each.file) as opened:
            picture = opened.convert("RGB")
            picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
            picture.save(folder / file, "WEBP", quality=90, method=4)
        shown.append(Shown(file, each.request.prompt, each.request.negative))
    return shown
