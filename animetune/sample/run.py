"""The `sample` stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from animetune import fsio, samples
from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.draw import draw
from animetune.errors import ConfigError, SetupError
from animetune.manifest import Manifest, check_place, has_manifest, read_manifest
from animetune.models.device import pick_device
from animetune.models.load import load_models
from animetune.models.sources import open_source
from animetune.progress import track
from animetune.records import Request, Size
from animetune.sample.config import SampleConfig


def run(cfg: SampleConfig) -> Manifest:
    """Draw every prompt with every seed into `cfg.out`; a folder that holds the same request is left as it is.

    Raises SetupError when `cfg.out` holds something else, ConfigError when that is the output of another stage.
    """
    out = Path(cfg.out)
    check_place(out, samples.SAMPLES_KIND)
    requests = build_requests(cfg)
    with fsio.claim(out):
        request = request_digest(cfg)
        if out.exists():
            return _same_request(out, request)
        device = pick_device(cfg.device)
        models = load_models(cfg.model).eval().to(device)
        if models.vae is None:
            raise ConfigError("model.vae: drawing needs a VAE, and this base has none; name one")
        settings: dict[str, str | int | float] = {
            "sampler": cfg.sampler.name,
            "steps": cfg.sampler.steps,
            "cfg_scale": cfg.sampler.cfg_scale,
            "request": request,
        }
        diffusion = DiffusionConfig(**models.parameterization._asdict())
        pictures = draw(models, requests, diffusion=diffusion, sampler=cfg.sampler, device=device, batch_size=cfg.batch)
        return samples.publish(out, requests, _shown(pictures, len(requests)), settings=settings, columns=cfg.columns)


def build_requests(cfg: SampleConfig) -> list[Request]:
    """Every prompt with every seed, seeds innermost."""
    prompts = list(cfg.prompts)
    if cfg.prompts_file is not None:
        if not cfg.prompts_file.is_file():
            raise ConfigError(f"prompts_file: {cfg.prompts_file}: does not exist")
        lines = cfg.prompts_file.read_text(encoding="utf-8").splitlines()
        prompts += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    size = Size(cfg.width, cfg.height)
    return [Request(prompt, seed=seed, size=size, negative=cfg.negative) for prompt in prompts for seed in cfg.seeds]


def request_digest(cfg: SampleConfig) -> str:
    """Identity of the pictures: what is drawn, how, and the bytes of every file that the weights come from.

    Not in it: where they go, on what device and how many at once they are drawn.
    """
    drawing = cfg.model_dump(mode="json", include={"model", "sampler"})
    requests = [[each.prompt, each.negative, each.seed, each.size.name] for each in build_requests(cfg)]
    files = sorted({file for files in open_source(cfg.model).files.values() for file in files})
    hashes = [fsio.sha256_file(file) for file in files]
    return fsio.short_digest(fsio.canonical_json([drawing, requests, hashes]))


def _same_request(out: Path, request: str) -> Manifest:
    if has_manifest(out):
        manifest = read_manifest(out, kind=samples.SAMPLES_KIND, format_version=samples.SAMPLES_FORMAT)
        if manifest.facts.get("request") == request:
            return manifest
    raise SetupError(f"out: {out}: holds pictures of another request; choose another folder or remove that one")


def _shown(pictures: Iterator[tuple[int, np.ndarray]], total: int) -> Iterator[tuple[int, np.ndarray]]:
    with track("sample", total) as progress:
        for item in pictures:
            yield item
            progress.advance(1)
