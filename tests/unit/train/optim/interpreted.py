"""Steps of the Triton kernels on CPU tensors, by Triton's interpreter, which must be chosen before Triton is imported.

Usage: TRITON_INTERPRET=1 python -m tests.unit.train.optim.interpreted OUT
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from animetune.train.optim.adafactor import Adafactor

STEPS = 2
SHAPES = [(40, 24), (), (6, 4, 3, 3), (5, 7, 1, 1), (7, 5, 4), (70, 200), (40, 24), (6, 4, 3, 3), (600,)]
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay and clipping": {"weight_decay": 0.1, "clip_threshold": 0.3},
    "flattened": {"flatten_convolutions": True},
    "channels last": {},
    "bf16": {"seed": 3},
}


def train(case: str, *, triton: bool) -> tuple[list[nn.Parameter], Adafactor]:
    """Parameters and optimizer after `STEPS`."""
    dtype = torch.bfloat16 if "bf16" in case else torch.float32
    layout = torch.channels_last if case == "channels last" else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    parameters = []
    for shape in SHAPES:
        value = torch.randn(shape, generator=generator).to(dtype)
        parameters.append(nn.Parameter(value.contiguous(memory_format=layout) if value.dim() == 4 else value))
    optimizer = Adafactor(parameters, 1e-2, triton=triton, **CASES[case])
    for step in range(STEPS):
        for parameter in parameters:
            parameter.grad = (torch.randn(parameter.shape, generator=generator) * (0.1 + step)).to(dtype)
        optimizer.step()
    return parameters, optimizer


def flat(parameters: list[nn.Parameter], optimizer: Adafactor) -> dict[str, torch.Tensor]:
    """Weights and state by the parameter's number."""
    found = {f"{index}/weight": parameter.detach() for index, parameter in enumerate(parameters)}
    for index, parameter in enumerate(parameters):
        state = optimizer.state[parameter].items()
        found |= {f"{index}/{key}": value for key, value in state if isinstance(value, torch.Tensor)}
    return found


def rounded(*, triton: bool, seed: int) -> torch.Tensor:
    """4000 bf16 weights of 1 after one step of 1e-3 with equal gradients."""
    weight = nn.Parameter(torch.full((40, 100), 1.0, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    Adafactor([weight], 1e-3, triton=triton, seed=seed).step()
    return weight.detach()


def not_finite() -> torch.Tensor:
    """What the kernels store for three NaNs, both infinities and three zeros, with 0, 1 and 65535 drawn; (3, 8)."""
    from tests.unit.train.optim.store_kernel import store

    nan = torch.tensor([0x7FFFFFFF, -1, 0x7F800001], dtype=torch.int32).view(torch.float32)
    values = torch.cat([nan, torch.tensor([torch.inf, -torch.inf, 0.0, 0.0, 0.0])])
    return torch.stack([store(values, torch.full((8,), drawn, dtype=torch.int32)) for drawn in (0, 1, 65535)])


if __name__ == "__main__":
    results = {f"{case}/{key}": each for case in CASES for key, each in flat(*train(case, triton=True)).items()}
    results |= {f"rounded {seed}": rounded(triton=True, seed=seed) for seed in (1, 2)}
    results["not finite"] = not_finite()
    save_file({key: value.contiguous() for key, value in results.items()}, sys.argv[1])
