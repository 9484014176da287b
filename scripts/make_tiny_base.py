"""Make the demo's base model, `animetune/demo/base/`: a tiny SDXL that knows colours and plain shapes, no characters.

    python scripts/make_tiny_base.py                 all of it, about 25 minutes on 2 cores
    python scripts/make_tiny_base.py --keep-vae      the UNet and text encoders only, about 8 minutes

1. The VAE learns drawings of another seed than the demo's. Its scaling factor is set so that latents have a standard
   deviation of 1, as SDXL's 0.13025 does.
2. UNet and both text encoders learn circles, squares, triangles, stars and stripes ("a red circle, aqua background")
   from nothing. What the demo then shows, characters by prompt, is learnt in the demo.

The result is a diffusers folder in float16. (The VAE that is shipped came from a trial of the same recipe with other
random draws; this script's own reached 24.5 dB.) It is a pure function of the seed on one machine; convolutions sum in
another order on another, so weights differ in their last bits there.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image, ImageDraw
from torch import Tensor

from animetune import fsio
from animetune.demo.colours import nearest
from animetune.demo.dataset import draw_scene
from animetune.demo.drawing import BACKGROUNDS, HAIR, OVERSAMPLING, RGB
from animetune.diffusion.config import DebiasedWeighting, DiffusionConfig, SamplerConfig
from animetune.diffusion.loss import diffusion_loss
from animetune.diffusion.sampler import sample
from animetune.models.load import load_vae
from animetune.models.sdxl import Sdxl
from animetune.models.sources import source_of
from animetune.models.tiny import build_tiny
from animetune.progress import track
from animetune.records import Batch, Size
from animetune.seeding import Purpose, rng_for
from animetune.tokens import tokenize
from animetune.weights.folder import write_folder

BASE = Path(__file__).resolve().parent.parent / "animetune" / "demo" / "base"
SIZES = (Size(128, 128), Size(96, 160), Size(160, 96))

VAE_STEPS, VAE_LR, VAE_PICTURES = 3000, 2e-3, 900
BASE_STEPS, BASE_LR, BASE_PICTURES, BASE_BATCH = 1600, 2e-3, 1500, 32
DRAWINGS_SEED, CHECK_SEED = 1, 2
"""Seeds of the drawings that the VAE learns, and is checked on; the demo's is 0."""


# --- the VAE ------------------------------------------------------------------------------------------------------


def drawings(count: int, *, seed: int) -> dict[Size, Tensor]:
    """uint8 (count, 3, h, w) of each size."""
    return {size: stack([draw_scene(i, size, seed=seed) for i in range(count)]) for size in SIZES}


def stack(pictures: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2).contiguous()


def train_vae(vae: AutoencoderKL, *, seed: int) -> None:
    """Reconstruction in L1, L2 and edges, from latents with noise on them so that the decoder forgives a denoiser.

    Three latent channels are led to the cell's mean colour, then let go: an autoencoder this small otherwise spends
    thousands of steps on brightness alone before it finds colour, and a denoiser learns colours sooner from latents in
    which they are plain to see.
    """
    pictures = drawings(VAE_PICTURES, seed=DRAWINGS_SEED)
    vae.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(vae.parameters(), VAE_LR, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, VAE_LR, total_steps=VAE_STEPS, pct_start=0.05)
    with track("vae", VAE_STEPS) as progress:
        for step in range(VAE_STEPS):
            rng = rng_for(seed, Purpose.VAE, step)
            # Crops first: more pictures a step for the same work. Whole pictures last, with the edges of real ones.
            crop = 64 if step < 0.75 * VAE_STEPS else None
            x = training_pixels(pictures[SIZES[rng.integers(len(SIZES))]], rng, batch=16 if crop else 8, crop=crop)
            mean = vae.encode(x).latent_dist.mean
            noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32))
            y = vae.decode(mean + 0.1 * noise).sample
            led = max(0.03, 1 - step / (VAE_STEPS / 3))
            loss = (
                F.l1_loss(y, x)
                + F.mse_loss(y, x)
                + 0.3 * sum(F.l1_loss(a, b) for a, b in zip(differences(y), differences(x), strict=True))
                + led * F.mse_loss(mean[:, :3], 1.5 * F.avg_pool2d(x, 8))
                + 1e-3 * mean.square().mean()
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            progress.advance(1, loss=loss.item())
    vae.eval().requires_grad_(False)


def training_pixels(pictures: Tensor, rng: np.random.Generator, *, batch: int, crop: int | None) -> Tensor:
    """float32 in [-1, 1]; half the batches are mirrored."""
    x = pictures[torch.from_numpy(rng.integers(len(pictures), size=batch))].float() / 127.5 - 1
    if crop:
        top, left = (8 * int(rng.integers((side - crop) // 8 + 1)) for side in x.shape[-2:])
        x = x[..., top : top + crop, left : left + crop]
    return x.flip(-1) if rng.random() < 0.5 else x


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def check_vae(models: Sdxl) -> tuple[float, float]:
    """PSNR in dB over unseen drawings, and the standard deviation of their unscaled latents."""
    errors, latents = [], []
    for pixels in drawings(32, seed=CHECK_SEED).values():
        mean = models.encode_pixels(pixels)
        latents.append(mean.flatten())
        errors.append((models.decode(models.scale(mean)).float() - pixels.float()).square().mean(dim=(1, 2, 3)))
    psnr = 10 * torch.log10(255**2 / torch.cat(errors)).mean()
    return psnr.item(), torch.cat(latents).std().item()


# --- UNet and text encoders ---------------------------------------------------------------------------------------

FIGURES = ("circle", "square", "triangle", "star", "stripes")
# Blonde is a word for hair; the base knows its colour as yellow.
COLOURS: dict[str, RGB] = {("yellow" if name == "blonde" else name): rgb for name, rgb in (HAIR | BACKGROUNDS).items()}
# Figures have the demo's hair colours, backgrounds its background colours: with all colours in both places a model of
# this size learns which word belongs to which place only after several times as many steps.
FRONTS = [name for name in COLOURS if name not in BACKGROUNDS]
BACKS = list(BACKGROUNDS)


def draw_figure(index: int, *, seed: int) -> tuple[Image.Image, str]:
    """A plain shape on a plain background, and its prompt."""
    rng = rng_for(seed, Purpose.DRAW, index)
    size = SIZES[index % len(SIZES)]
    figure = FIGURES[int(rng.integers(len(FIGURES)))]
    front, back = FRONTS[int(rng.integers(len(FRONTS)))], BACKS[int(rng.integers(len(BACKS)))]
    w, h = size.width * OVERSAMPLING, size.height * OVERSAMPLING
    image = Image.new("RGB", (w, h), COLOURS[back])
    canvas = ImageDraw.Draw(image)
    radius = min(w, h) * float(rng.uniform(0.22, 0.4))
    x, y = w * float(rng.uniform(0.4, 0.6)), h * float(rng.uniform(0.4, 0.6))
    if figure == "circle":
        canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=COLOURS[front])
    elif figure == "stripes":
        for k in range(-1, 6):
            canvas.rectangle([k * w / 4 + x / 4, 0, (k + 0.5) * w / 4 + x / 4, h], fill=COLOURS[front])
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[figure]
        turn = math.pi / 4 if figure == "square" else -math.pi / 2
        points = []
        for k in range(corners):
            r = radius * (0.45 if figure == "star" and k % 2 else 1.1)
            angle = turn + 2 * math.pi * k / corners
            points.append((x + r * math.cos(angle), y + r * math.sin(angle)))
        canvas.polygon(points, fill=COLOURS[front])
    article = "" if figure == "stripes" else "an " if front[0] in "ao" else "a "
    prompt = f"{article}{front} {figure}, {back} background"
    return image.resize(size, Image.Resampling.LANCZOS), prompt


def figure_batches(models: Sdxl, *, seed: int) -> Iterator[Batch]:
    """Endless batches of one size; one prompt in ten is empty."""
    figures = [draw_figure(index, seed=seed) for index in range(BASE_PICTURES)]
    by_size: dict[Size, list[int]] = {size: [] for size in SIZES}
    for index, (picture, _) in enumerate(figures):
        by_size[Size(*picture.size)].append(index)
    latents = {
        size: models.encode_pixels(stack([figures[index][0] for index in indices])) for size, indices in by_size.items()
    }
    empty = tokenize("", chunks=1)
    token_ids = [tokenize(prompt, chunks=1) for _, prompt in figures]
    for step in range(BASE_STEPS):
        rng = rng_for(seed, Purpose.PLAN, step)
        size = SIZES[int(rng.integers(len(SIZES)))]
        chosen = rng.integers(len(by_size[size]), size=BASE_BATCH)
        ids = [empty if rng.random() < 0.1 else token_ids[by_size[size][place]] for place in chosen]
        time_ids = torch.tensor([size.height, size.width, 0, 0, size.height, size.width], dtype=torch.float32)
        yield Batch(
            size=size,
            epoch=0,
            step=step,
            rows=torch.arange(BASE_BATCH) + step * BASE_BATCH,  # as keys of the noise: every sample its own
            copies=torch.zeros(BASE_BATCH, dtype=torch.int64),
            slots=torch.arange(BASE_BATCH),
            token_ids=torch.from_numpy(np.stack(ids)),
            time_ids=time_ids.expand(BASE_BATCH, 6),
            loss_weights=torch.ones(BASE_BATCH),
            share=1.0,
            global_batch=BASE_BATCH,
            prompts=[],
            latents=latents[size][torch.from_numpy(chosen)],
        )


def train_denoiser(models: Sdxl, *, seed: int) -> None:
    """UNet and both text encoders on figures, with AdamW and one cycle of the learning rate."""
    models.train()
    parameters = [parameter for parameter in models.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, BASE_LR, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, BASE_LR, total_steps=BASE_STEPS, pct_start=0.05)
    # The colour of a large area is decided at the noisiest steps, which debiased weighting counts the most.
    diffusion = DiffusionConfig(weighting=DebiasedWeighting())
    with track("base", BASE_STEPS) as progress:
        for batch in figure_batches(models, seed=seed):
            loss = diffusion_loss(models, batch, diffusion, seed=seed).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            progress.advance(1, loss=loss.item())
    models.eval()


def check_denoiser(models: Sdxl) -> tuple[float, float]:
    """Share of sampled circles and squares of the colour asked for, and of their backgrounds."""
    asked = [(front, back, i + j) for i, front in enumerate(FRONTS) for j, back in enumerate(BACKS)]
    prompts = [f"a {front} {FIGURES[i % 2]}, {back} background" for front, back, i in asked]
    pictures = draw_pictures(models, prompts)
    middles = nearest(pictures[:, :, 60:68, 60:68].float().mean(dim=(2, 3)).numpy(), COLOURS)
    corners = nearest(pictures[:, :, :10, :10].float().mean(dim=(2, 3)).numpy(), COLOURS)
    fronts_right = np.mean([found == front for found, (front, _, _) in zip(middles, asked, strict=True)])
    backs_right = np.mean([found == back for found, (_, back, _) in zip(corners, asked, strict=True)])
    return float(fronts_right), float(backs_right)


def draw_pictures(models: Sdxl, prompts: list[str]) -> Tensor:
    token_ids = torch.from_numpy(np.stack([tokenize(prompt, chunks=1) for prompt in prompts]))
    negative = torch.from_numpy(tokenize("", chunks=1)).expand_as(token_ids)
    return models.decode(
        sample(
            models,
            token_ids,
            negative_ids=negative,
            seeds=range(len(prompts)),
            size=SIZES[0],
            diffusion=DiffusionConfig(),
            sampler=SamplerConfig(name="euler", steps=20, cfg_scale=4.0),
        )
    )


# --- the whole ----------------------------------------------------------------------------------------------------


def make_base(out: Path, *, seed: int, keep_vae: bool) -> dict[str, float]:
    """Train, write `out` (replacing what is there) and return what was measured."""
    models = build_tiny(seed)
    vae = models.vae
    assert vae is not None
    if keep_vae:
        vae.load_state_dict(load_vae(str(out / "vae")).state_dict())
    else:
        train_vae(vae, seed=seed)
    vae.half().float()  # as it will be read back
    models.architecture.vae["scaling_factor"] = 1.0
    psnr, deviation = check_vae(models)
    models.architecture.vae["scaling_factor"] = round(1 / deviation, 5)
    print(f"VAE: PSNR {psnr:.1f} dB on unseen drawings, scaling factor {models.scaling_factor}", flush=True)
    train_denoiser(models, seed=seed)
    fronts, backs = check_denoiser(models)
    measured = {"psnr_db": round(psnr, 2), "figure_colours": round(fronts, 3), "background_colours": round(backs, 3)}
    if out.exists():
        fsio.remove(out)
    with fsio.publish_dir(out) as folder:
        half = torch.float16
        write_folder(folder, source_of(models), dtype=half, vae_dtype=half, variants=False, tokenizers=False)
        fsio.write_json(folder / "measured.json", measured | {"seed": seed})
    return measured


def main() -> None:
    """Parse the arguments and make the base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BASE, help="folder to write (default: the one in the package)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-vae", action="store_true", help="take the VAE of the folder as it is")
    args = parser.parse_args()
    started = time.monotonic()
    measured = make_base(args.out, seed=args.seed, keep_vae=args.keep_vae)
    print(*(f"{name} {value}" for name, value in measured.items()), f"{time.monotonic() - started:.0f} s", sep="  ")


if __name__ == "__main__":
    main()
