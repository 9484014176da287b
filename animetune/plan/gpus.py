"""The kinds of GPU that plans compare: what they hold, what they can do at best, and what training gets of it.

Peaks of dense matrix products in bfloat16 are those of `train.utilization`, by NVIDIA's data sheets. Memory is the
total that `nvidia-smi` shows, a little less than the card's name says. `share` is what a plan assumes of the peak
while it has no measurement. Nobody has published a careful table of SDXL's full fine-tuning, so it rests on few
figures of others, of the model's FLOPs over the dense peak:

    H100     19 %      bigASP 2.5: 300 pictures a second on 32, SDXL at about 1 MP, text encoders frozen
             27-31 %   NVIDIA's MLPerf 4.0 entry: Stable Diffusion 2 at 512x512, everything tuned
    A100     28 %      MosaicML: Stable Diffusion 2 at 512x512, latents and text cached
             23 %      Animagine XL 3.1, if 15 days on two are meant
    RTX 4090 7-12 %    OneTrainer on Windows; SimpleTuner with offloading to the CPU
             31 %      a blog's "2 it/s", OneTrainer with checkpointing
    A6000    18 %      diffengine, if an epoch was 833 pictures

Of the others nothing was found: they are taken to be like their nearest relative.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class GpuKind:
    """A kind of GPU."""

    name: str
    """As on the command line."""
    title: str
    """For tables."""
    cuda_name: str
    """As CUDA names it."""
    memory: int
    """Bytes."""
    fp32_tflops: float
    """Peak teraFLOP/s outside of tensor cores, by the data sheet."""
    share: float
    """Assumed part of the peak, 0 to 1."""

    @property
    def bf16_tflops(self) -> float:
        """Peak teraFLOP/s of dense matrix products in bfloat16."""
        import torch  # seconds, which whoever only reads a recipe does not pay

        from animetune.train.utilization import peak_tflops

        peak = peak_tflops(self.cuda_name, torch.bfloat16)
        assert peak is not None
        return peak

    def tflops(self, dtype: str) -> float:
        """Peak for networks that are held in `dtype`; float32 is computed without tensor cores (no TF32)."""
        return self.fp32_tflops if dtype == "float32" else self.bf16_tflops


_KINDS = (
    GpuKind("rtx3090", "RTX 3090 24 GB", "NVIDIA GeForce RTX 3090", 24576 * MIB, 35.6, 0.25),
    GpuKind("rtx4090", "RTX 4090 24 GB", "NVIDIA GeForce RTX 4090", 24564 * MIB, 82.6, 0.2),
    GpuKind("rtx5090", "RTX 5090 32 GB", "NVIDIA GeForce RTX 5090", 32607 * MIB, 104.8, 0.2),
    GpuKind("a100-40", "A100 40 GB", "NVIDIA A100-SXM4-40GB", 40960 * MIB, 19.5, 0.25),
    GpuKind("l40s", "L40S 48 GB", "NVIDIA L40S", 46068 * MIB, 91.6, 0.2),
    GpuKind("a6000", "RTX A6000 48 GB", "NVIDIA RTX A6000", 49140 * MIB, 38.7, 0.18),
    GpuKind("rtx6000-ada", "RTX 6000 Ada 48 GB", "NVIDIA RTX 6000 Ada Generation", 49140 * MIB, 91.1, 0.2),
    GpuKind("a100-80", "A100 80 GB", "NVIDIA A100-SXM4-80GB", 81920 * MIB, 19.5, 0.25),
    GpuKind("h100", "H100 80 GB", "NVIDIA H100 80GB HBM3", 81559 * MIB, 67.0, 0.2),
    GpuKind("h200", "H200 141 GB", "NVIDIA H200", 143771 * MIB, 67.0, 0.2),
)
GPU_KINDS = {kind.name: kind for kind in _KINDS}
"""Name -> kind, from little memory to much."""
DEFAULT_GPU = "h100"


def gpu_kind(name: str) -> GpuKind:
    """The kind of this name; ValueError when there is none."""
    if name not in GPU_KINDS:
        raise ValueError(f"{name} is no kind of GPU that plan knows; there are {', '.join(GPU_KINDS)}")
    return GPU_KINDS[name]


def kind_of_device(device_name: str) -> GpuKind | None:
    """The kind that CUDA's name of a device is of, as `NVIDIA H100 80GB HBM3`; None for another."""
    return next((kind for kind in reversed(_KINDS) if _model(kind.cuda_name) == _model(device_name)), None)


def _model(device_name: str) -> str:
    """The name without its maker and series; two sizes of one GPU stay apart."""
    return device_name.removeprefix("NVIDIA ").removeprefix("GeForce ")
