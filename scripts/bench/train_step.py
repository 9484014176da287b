"""The training step of SDXL's UNet beside that of the diffusers example, on one GPU.

python scripts/bench/train_step.py                    the arms: 9 minutes of an H100
python scripts/bench/train_step.py ablations          one change at a time: another 9 minutes
python scripts/bench/train_step.py NAME ...           arms by name

    A0   the step of diffusers' examples/text_to_image/train_text_to_image_sdxl.py as it is published: fp32 weights,
         autocast to bf16, AdamW, clipping, and its waits for the GPU; typed anew from its description, not copied
    A1   the same with the best that its flags offer: TF32, 8-bit AdamW, torch.compile of the whole UNet
    A2   ours with the same numbers in memory: bf16 compute with fp32 masters, AdamW
    A3   A2 with compiled blocks
    A4   ours at its best: bf16 weights rounded stochastically, our Adafactor, compiled blocks, nothing recomputed

Equal work: each arm is built on the meta device first and its FLOPs are counted; an arm with fewer is an error. All
start from the same random weights, see the same eight batches, and must report the same losses for ten steps.
Latents and text states are random numbers in pinned memory, copied to the GPU in every step; text encoders and VAE take
no part. Random weights say nothing about convergence, and may draw a few per cent less power than trained ones.

QUICK=1 rehearses all arms with a tiny UNet on the CPU: blocks are traced, not compiled, and no figure means anything.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import side_by_side as bench
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from animetune.buckets import ANIMAGINE_SIZES
from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.loss import diffusion_loss, draw_times
from animetune.diffusion.noise import sample_noise
from animetune.diffusion.schedule import noise_schedule
from animetune.models.config import ModelConfig
from animetune.models.load import prepare
from animetune.models.rehearsal import meta_models
from animetune.models.sdxl import Architecture, Sdxl, build_network, sdxl_configs
from animetune.models.text import TextStates
from animetune.models.tiny import tiny_configs
from animetune.records import Batch, Size
from animetune.seeding import SampleKeys
from animetune.tokens import CHUNK
from animetune.train.optim import build_optimizer
from animetune.train.optim.clip import clip_gradients
from animetune.train.optim.config import AdafactorConfig, AdamW8bitConfig, AdamWConfig, AnyOptimizerConfig, ClipConfig
from animetune.train.optim.in_backward import InBackward

ARCHITECTURE: Architecture = tiny_configs() if bench.QUICK else sdxl_configs()
SIZE = Size(64, 64) if bench.QUICK else Size(1024, 1024)
BATCHES = 8
COMPARED = 3 if bench.QUICK else 10
REPEATS, STEPS = (1, 1) if bench.QUICK else (3, 10)
SEED = 0
RATE = 1e-5
DATASHEET = 989e12
"""FLOPs a second of an H100's tensor cores, dense bf16."""


@dataclass(frozen=True)
class Arm:
    """What is timed. Each arm is a process of its own, so that it inherits no allocator state or compiled code."""

    ours: bool
    batch: int = 8
    activation_checkpointing: str = "none"
    optimizer: str = "adamw"
    rounding: str = "master"
    in_backward: bool = False
    compile: bool = False
    channels_last: bool = False
    attention: str = "auto"
    nine_sizes: bool = False
    """Whether the batches take turns in Animagine's nine sizes."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cpu" if bench.QUICK else "cuda")

    def sizes(self) -> Sequence[Size]:
        """Of its batches, one after the other."""
        if not self.nine_sizes:
            return [SIZE]
        return (
            [Size(width // 16, height // 16) for width, height in ANIMAGINE_SIZES] if bench.QUICK else ANIMAGINE_SIZES
        )


BEST = Arm(ours=True, optimizer="adafactor", rounding="stochastic", compile=True)
ARMS = {
    "A0 script as published, recomputing": Arm(ours=False, activation_checkpointing="full"),
    "A2 ours, like for like, recomputing": Arm(ours=True, activation_checkpointing="full"),
    "A3 A2 compiled, recomputing": Arm(ours=True, activation_checkpointing="full", compile=True),
    "A0 script as published": Arm(ours=False, batch=4),
    "A1 script, best flags": Arm(ours=False, batch=4, optimizer="adamw8bit", compile=True),
    "A2 ours, like for like": Arm(ours=True, batch=4),
    "A3 A2 compiled": Arm(ours=True, batch=4, compile=True),
    "A4 ours, best, batch 4": dataclasses.replace(BEST, batch=4),
    "A4 ours, best": BEST,
    "A4 ours, best, batch 1": dataclasses.replace(BEST, batch=1),
}
ABLATIONS = {
    "best": BEST,
    "eager": dataclasses.replace(BEST, compile=False),
    "eager, channels last": dataclasses.replace(BEST, compile=False, channels_last=True),
    "channels last": dataclasses.replace(BEST, channels_last=True),
    "flash": dataclasses.replace(BEST, attention="flash"),
    "cudnn": dataclasses.replace(BEST, attention="cudnn"),
    "efficient": dataclasses.replace(BEST, attention="efficient"),
    "selective": dataclasses.replace(BEST, activation_checkpointing="selective"),
    "full": dataclasses.replace(BEST, activation_checkpointing="full"),
    "8-bit AdamW": dataclasses.replace(BEST, optimizer="adamw8bit"),
    "in backward": dataclasses.replace(BEST, in_backward=True),
    "nine sizes": dataclasses.replace(BEST, nine_sizes=True),
    "batch 1, eager": dataclasses.replace(BEST, batch=1, compile=False),
    "batch 1, least memory": dataclasses.replace(BEST, batch=1, in_backward=True, activation_checkpointing="full"),
}


# ---- the two contenders: both make `loss(sample, draws)` and `step(sample, draws)`


@dataclass
class Sample:
    """One batch as both contenders get it, in pinned memory when there is a GPU."""

    batch: Batch
    text: TextStates

    def to(self, device: torch.device) -> Sample:
        """A copy on the device."""
        hidden, pooled = (each.to(device, non_blocking=True) for each in self.text[:2])
        return Sample(self.batch.to(device), TextStates(hidden, pooled))


class Script:
    """The step of the diffusers example."""

    def __init__(self, arm: Arm, device: torch.device):
        self.arm = arm
        # Where FLOPs are counted there is no autocast.
        self.unet = build_unet(device, torch.bfloat16 if device.type == "meta" else torch.float32)
        self.unet.train()
        if arm.activation_checkpointing != "none":
            self.unet.enable_gradient_checkpointing()
        self.forward: Callable[..., Any] = self.unet
        if device.type == "meta":
            return
        if arm.compile:  # what accelerate does for `dynamo_backend: inductor`
            self.forward = torch.compile(self.unet)
        parameters = list(self.unet.parameters())
        settings: dict[str, Any] = {"lr": RATE, "betas": (0.9, 0.999), "weight_decay": 1e-2, "eps": 1e-8}
        if arm.optimizer == "adamw8bit":
            torch.backends.cuda.matmul.allow_tf32 = True  # its flag --allow_tf32
            import bitsandbytes

            self.optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **settings)
        else:
            self.optimizer = torch.optim.AdamW(parameters, **settings)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)

    def loss(self, sample: Sample, draws: tuple[Tensor, Tensor] | None) -> Tensor:
        """Mean squared error of the noise; `draws` replaces its own noise and timesteps."""
        batch, device = sample.batch, sample.text.hidden.device
        assert batch.latents is not None
        latents = batch.latents * ARCHITECTURE.vae["scaling_factor"]
        noise = torch.randn_like(latents) if draws is None else draws[0].to(device)
        drawn = torch.randint(0, 1000, (len(latents),), device=device) if draws is None else draws[1].to(device)
        levels = noise_schedule(zero_terminal_snr=False)
        alpha, sigma = (table.to(device)[drawn][:, None, None, None] for table in (levels.alpha, levels.sigma))
        noisy = (alpha * latents + sigma * noise).to(torch.bfloat16)
        # One small tensor from the host for each picture.
        rows = [torch.tensor([ids], device=device, dtype=torch.bfloat16) for ids in self.sizes_of(sample)]
        added = {"time_ids": torch.cat(rows), "text_embeds": sample.text.pooled}
        with contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, torch.bfloat16):
            prediction = self.forward(noisy, drawn, sample.text.hidden, added_cond_kwargs=added, return_dict=False)[0]
        return F.mse_loss(prediction.float(), noise.float())

    def step(self, sample: Sample, draws: tuple[Tensor, Tensor] | None) -> float:
        """One optimizer step, with the two waits for the loss."""
        loss = self.loss(sample, draws)
        mean = loss.detach().repeat(len(sample.batch.rows)).mean().item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        loss.detach().item()
        return mean

    @staticmethod
    def sizes_of(sample: Sample) -> list[list[int]]:
        """The six numbers of the micro-conditioning; all pictures are whole."""
        width, height = sample.batch.size
        return [[height, width, 0, 0, height, width]] * len(sample.batch.rows)


class Ours:
    """Our step, as the LightningModule takes it."""

    def __init__(self, arm: Arm, device: torch.device):
        self.arm = arm
        cfg = ModelConfig(
            base="random:sdxl",
            dtype="bfloat16",
            train_text_encoder=False,
            train_text_encoder_2=False,
            activation_checkpointing=arm.activation_checkpointing,
            compile="blocks" if arm.compile else "none",
            channels_last=arm.channels_last,
            attention=arm.attention,
        )
        self.models = meta_models(ARCHITECTURE, cfg)  # nothing of it is used but the UNet
        if device.type != "meta":
            self.models.unet = build_unet(device, torch.bfloat16).train()
            prepare(self.models, cfg)
        self.unet = self.models.unet
        self.given = GivenText(self.models)
        if device.type == "meta":
            return
        clip = None if arm.in_backward else ClipConfig(at=1.0)
        self.config = optimizer_config(arm, clip)
        self.optimizer = build_optimizer(self.models, self.config)
        self.stepping = InBackward(self.optimizer, clip=clip) if arm.in_backward else None

    def loss(self, sample: Sample, draws: tuple[Tensor, Tensor] | None) -> Tensor:
        """The loss; noise and timesteps are functions of the batch, the same in every arm."""
        self.given.text = sample.text
        return diffusion_loss(self.given, sample.batch, DiffusionConfig(), seed=SEED).loss

    def step(self, sample: Sample, draws: tuple[Tensor, Tensor] | None) -> Tensor:
        """One optimizer step; the norm is waited for, as in training, the loss is not."""
        loss = self.loss(sample, draws)
        loss.backward()
        if not self.stepping:
            clip_gradients(self.unet.parameters(), self.config.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


class GivenText:
    """The models with the text encoded already."""

    def __init__(self, models: Sdxl):
        self.text: TextStates
        self.predict, self.scale, self.encode_pixels = models.predict, models.scale, models.encode_pixels
        self.drop_pooled = models.drop_pooled

    def encode_text(self, token_ids: Tensor) -> TextStates:
        """What was given."""
        return self.text


def optimizer_config(arm: Arm, clip: ClipConfig | None) -> AnyOptimizerConfig:
    settings: dict[str, Any] = {"unet_lr": RATE, "weight_decay": 1e-2, "clip": clip}
    settings |= {"rounding": arm.rounding, "in_backward": arm.in_backward}
    match arm.optimizer:
        case "adamw":
            return AdamWConfig(name="adamw", **settings)
        case "adamw8bit":
            return AdamW8bitConfig(name="adamw8bit", **settings)
    return AdafactorConfig(name="adafactor", **settings)


def build_unet(device: torch.device, dtype: torch.dtype) -> Any:
    """The UNet with diffusers' initial weights, the same in every arm: drawn in fp32 on the device."""
    with torch.random.fork_rng(), device:
        torch.manual_seed(SEED)
        unet: torch.nn.Module = build_network(ARCHITECTURE, "unet")
    return torch.nn.Module.to(unet, dtype)


def samples_of(arm: Arm) -> list[Sample]:
    """The batches, in pinned memory when there is a GPU."""
    sizes = arm.sizes()
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator)
        return drawn.pin_memory() if arm.device.type == "cuda" else drawn

    samples = []
    for step in range(max(BATCHES, len(sizes))):
        size = sizes[step % len(sizes)]
        ids = torch.tensor([[size.height, size.width, 0, 0, size.height, size.width]] * arm.batch)
        batch = Batch(
            size=size,
            epoch=0,
            step=step,
            rows=torch.arange(arm.batch) + step * arm.batch,
            copies=torch.zeros(arm.batch, dtype=torch.int64),
            slots=torch.arange(arm.batch),
            token_ids=torch.zeros(arm.batch, 2, CHUNK, dtype=torch.int64),
            time_ids=ids.float(),
            loss_weights=torch.ones(arm.batch),
            share=1.0,
            global_batch=arm.batch,
            prompts=[""] * arm.batch,
            latents=normal(arm.batch, 4, size.height // 8, size.width // 8) / ARCHITECTURE.vae["scaling_factor"],
        )
        hidden = normal(arm.batch, CHUNK, ARCHITECTURE.unet["cross_attention_dim"]).to(torch.bfloat16)
        pooled = normal(arm.batch, ARCHITECTURE.text_encoder_2["projection_dim"]).to(torch.bfloat16)
        samples.append(Sample(batch, TextStates(hidden, pooled)))
    return samples


def draws_of(sample: Sample) -> tuple[Tensor, Tensor]:
    """Our noise and timesteps, for the script's compared steps."""
    batch = sample.batch
    assert batch.latents is not None
    keys = SampleKeys(SEED, batch.epoch, batch.rows.tolist(), batch.copies.tolist())
    return sample_noise(keys, tuple(batch.latents.shape[1:])), draw_times(batch, DiffusionConfig(), keys).long()


# ---- one arm in its process


def count_flops(arm: Arm) -> int:
    """Of one step on the first batch, recomputation included; counted without memory."""
    meta = torch.device("meta")
    contender = Ours(arm, meta) if arm.ours else Script(arm, meta)
    sample = samples_of(arm)[0]
    with FlopCounterMode(display=False) as counter:
        contender.loss(sample.to(meta), draws_of(sample)).backward()
    return counter.get_total_flops()


def run_arm(**settings: Any) -> dict[str, Any]:
    """Time, memory and losses of one arm."""
    arm = Arm(**settings)
    found: dict[str, Any] = {"flops": count_flops(arm)}
    contender = Ours(arm, arm.device) if arm.ours else Script(arm, arm.device)
    found["weights"] = weights_sum(contender.unet)
    samples = samples_of(arm)

    begun = time.perf_counter()
    losses = []
    for step in range(COMPARED):
        sample = samples[step % len(samples)]
        losses.append(float(contender.step(sample.to(arm.device), draws_of(sample))))
        if step == 0:
            found["first_step"] = time.perf_counter() - begun
    for sample in samples[COMPARED:]:  # sizes that were not seen yet
        contender.step(sample.to(arm.device), draws_of(sample))
    found |= {"losses": losses, "changed": weights_sum(contender.unet) != found["weights"]}
    found["recompiled"] = -graphs_compiled()

    if arm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(REPEATS):
        wait(arm.device)
        begun = time.perf_counter()
        for step in range(STEPS):
            contender.step(samples[step % len(samples)].to(arm.device), None)
        wait(arm.device)
        times.append((time.perf_counter() - begun) / STEPS)
    found |= {"seconds": times, "recompiled": found["recompiled"] + graphs_compiled()}
    if arm.device.type == "cuda":
        found |= {"peak": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    found["optimizer_seconds"] = None if arm.in_backward else optimizer_seconds(contender, samples[0])
    found |= profiled(contender, samples[0])
    return found


def optimizer_seconds(contender: Script | Ours, sample: Sample) -> float:
    """Of the optimizer alone, on the gradients of a batch."""
    device = contender.arm.device
    contender.loss(sample.to(device), draws_of(sample)).backward()
    gradients = [parameter.grad for parameter in contender.unet.parameters()]
    assert all(each is not None and bool(each.isfinite().all()) and bool(each.any()) for each in gradients)
    times = []
    for _ in range(REPEATS):
        wait(device)
        begun = time.perf_counter()
        contender.optimizer.step()
        wait(device)
        times.append(time.perf_counter() - begun)
    contender.optimizer.zero_grad()
    return sorted(times)[len(times) // 2]


def profiled(contender: Script | Ours, sample: Sample) -> dict[str, int]:
    """Kernels that one step launches, and how often it waits for the GPU."""
    if contender.arm.device.type != "cuda":
        return {}
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        contender.step(sample.to(contender.arm.device), None)
        torch.cuda.synchronize()
    names = [event.name for event in watched.events()]
    launches = sum(name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for name in names)
    waits = sum(name in ("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize") for name in names)
    return {"launches": launches, "waits": waits - 1}


def graphs_compiled() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def weights_sum(unet: torch.nn.Module) -> float:
    """Of all weights in fp64; equal for equal weights, whatever type they are rounded to, up to that rounding."""
    return sum(float(parameter.detach().double().abs().sum()) for parameter in unet.parameters())


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def run_ceilings() -> dict[str, Any]:
    """What the machine reaches on a bf16 matrix product of random numbers and on a copy."""
    device, side, elements = (torch.device("cpu"), 256, 2**20) if bench.QUICK else (torch.device("cuda"), 8192, 2**30)
    left, right = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    source = torch.zeros(elements, device=device)
    target = torch.empty_like(source)
    product = best_of(lambda: torch.mm(left, right), device)
    copy = best_of(lambda: target.copy_(source), device)
    return {"flops": 2 * side**3 / product, "bytes": 2 * source.nbytes / copy, "state": gpu_state()}


def best_of(work: Callable[[], Any], device: torch.device) -> float:
    times = []
    for _ in range(12):
        wait(device)
        begun = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - begun)
    return min(times)


def gpu_state() -> str:
    """Name, driver, clock and power, as the driver says."""
    query = "name,driver_version,clocks.sm,power.draw"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return "no GPU"


CONTENDERS = {"arm": run_arm, "ceilings": run_ceilings}


# ---- all arms, in rounds


def measure(arms: dict[str, Arm], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Each arm once a round; a line of CSV as soon as one is there. An arm that fails is left out and named."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for turn in range(rounds):
        for name, arm in arms.items():
            if turn and not found[name]:
                continue  # it failed before
            try:
                found[name].append(bench.fresh(CONTENDERS, "arm", **dataclasses.asdict(arm)))
            except SystemExit as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            write_row(name, arm, found[name][-1])
    return {name: rounds_of for name, rounds_of in found.items() if rounds_of}


def write_row(name: str, arm: Arm, found: dict[str, Any]) -> None:
    """Into `results/<date>-train_step.csv`; in a rehearsal nowhere."""
    row = {"arm": name, **dataclasses.asdict(arm), **found, "state": gpu_state()}
    if bench.QUICK:
        return
    path = bench.RESULTS / f"{datetime.date.today().isoformat()}-train_step.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(COLUMNS), restval="", extrasaction="ignore")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


COLUMNS = (
    "arm", *(field.name for field in dataclasses.fields(Arm)), "flops", "seconds", "optimizer_seconds", "first_step",
    "recompiled", "launches", "waits", "peak", "reserved", "weights", "losses", "state",
)  # fmt: skip


def table_rows(
    arms: dict[str, Arm], found: dict[str, list[dict[str, Any]]], ceiling: float
) -> Iterator[dict[str, str]]:
    """One row an arm; images a second also as ratios, to A0 of the same batch and recomputation, and to A1."""
    speed = {name: arms[name].batch / middle_time(rounds) for name, rounds in found.items()}
    best_script = max((speed[name] for name in found if name.startswith("A1")), default=None)
    published = {shape_of(arms[name]): speed[name] for name in found if name.startswith("A0")}
    for name, rounds in found.items():
        arm, first = arms[name], rounds[0]
        times = [seconds for each in rounds for seconds in each["seconds"]]
        work, shape = image_flops(arm.nine_sizes) * speed[name], shape_of(arm)
        optimizer = first["optimizer_seconds"]
        yield {
            "arm": name,
            "batch": str(arm.batch),
            "ms a step": f"{1e3 * middle_time(rounds):.1f} ({1e3 * min(times):.1f} to {1e3 * max(times):.1f})",
            "images/s": f"{speed[name]:.2f}",
            "/ A0, like for like": f"{speed[name] / published[shape]:.2f}" if shape in published else "-",
            "/ A1": f"{speed[name] / best_script:.2f}" if best_script else "-",
            "TFLOP an image": f"{first['flops'] / arm.batch / 1e12:.3f}",
            "MFU": f"{work / DATASHEET:.1%}",
            "of a matmul": f"{work / ceiling:.1%}",
            "optimizer ms": "-" if optimizer is None else f"{1e3 * optimizer:.1f}",
            "peak GB": f"{first['peak'] / 1e9:.1f}" if "peak" in first else "-",
            "launches": str(first.get("launches", "-")),
            "waits": str(first.get("waits", "-")),
            "first step s": f"{first['first_step']:.0f}",
            "recompiled": str(first["recompiled"]),
        }


def middle_time(rounds: list[dict[str, Any]]) -> float:
    times = sorted(seconds for each in rounds for seconds in each["seconds"])
    return times[len(times) // 2]


def shape_of(arm: Arm) -> tuple[int, str, bool]:
    return arm.batch, arm.activation_checkpointing, arm.nine_sizes


@functools.cache
def image_flops(nine_sizes: bool) -> float:
    """The model's FLOPs of an image, recomputation not counted, averaged over the sizes."""
    arm, meta = Arm(ours=True, batch=1, nine_sizes=nine_sizes), torch.device("meta")
    contender = Ours(arm, meta)
    with FlopCounterMode(display=False) as counter:
        for sample in samples_of(arm)[: len(arm.sizes())]:
            contender.loss(sample.to(meta), None).backward()
    return counter.get_total_flops() / len(arm.sizes())


def check_equal_work(arms: dict[str, Arm], found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What is wrong with the comparison: FLOPs, weights or losses that differ; empty if nothing."""
    wrong = []
    for name, rounds in found.items():
        arm, first = arms[name], rounds[0]
        least = image_flops(nine_sizes=False) * arm.batch  # the first batch is of this size in every arm
        if first["flops"] < 0.999 * least:
            wrong.append(f"{name}: {first['flops'] / 1e12:.3f} TFLOP a step, fewer than {least / 1e12:.3f}")
        if not first["changed"]:
            wrong.append(f"{name}: its steps changed no weight")
        alike = [other for other in found if arms[other].sizes() == arm.sizes() and arms[other].batch == arm.batch]
        reference = found[alike[0]][0]
        if abs(first["weights"] / reference["weights"] - 1) > 1e-3:
            wrong.append(f"{name}: began with other weights than {alike[0]}")
        gaps = [abs(a / b - 1) for a, b in zip(first["losses"], reference["losses"], strict=True)]
        if max(gaps) > 2e-2:
            wrong.append(f"{name}: a loss is {max(gaps):.1%} away from that of {alike[0]}")
    return wrong


def chosen(names: Sequence[str]) -> dict[str, Arm]:
    """The arms that the command line names."""
    if not names:
        return ARMS
    if list(names) == ["ablations"]:
        return ABLATIONS
    every = ARMS | ABLATIONS
    unknown = [name for name in names if name not in every]
    if unknown:
        sys.exit(f"no such arm: {', '.join(unknown)}; there are: {', '.join(every)}")
    return {name: every[name] for name in names}


def main() -> None:
    if not bench.QUICK and not torch.cuda.is_available():
        sys.exit("train_step.py: torch sees no GPU, and figures of a CPU mean nothing; QUICK=1 rehearses it")
    if bench.QUICK:  # traces what would be compiled; a compiler would take minutes
        torch.compile = functools.partial(torch.compile, backend="eager")
    arms = chosen(sys.argv[1:])
    ceilings = bench.fresh(CONTENDERS, "ceilings")
    found = measure(arms, rounds=1 if bench.QUICK else 2)
    notes = [
        f"ceilings: {ceilings['flops'] / 1e12:.0f} TFLOP/s in a matrix product of 8192^3, "
        f"{ceilings['bytes'] / 1e12:.2f} TB/s in a copy; {ceilings['state']}",
        "random weights, latents and text: no statement about convergence",
        f"`MFU`: of {DATASHEET / 1e12:.0f} TFLOP/s, without what is recomputed; `of a matmul`: of the ceiling",
        *([f"NOT LIKE FOR LIKE: {each}" for each in check_equal_work(arms, found)] or ["equal FLOPs, weights, losses"]),
        *([f"failed: {', '.join(sorted(set(arms) - set(found)))}"] if set(arms) - set(found) else []),
    ]
    if bench.QUICK:
        notes.insert(0, "a rehearsal on the CPU with a tiny UNet: no figure means anything")
    rows = list(table_rows(arms, found, ceilings["flops"]))
    bench.report("train_step", f"The training step of SDXL's UNet, {SIZE.name}", rows, notes=notes)


if __name__ == "__main__":
    bench.child(CONTENDERS)
    main()
