"""Stochastic rounding: fp32 to bf16, up or down with the probability that makes the mean right.

bf16 is the upper half of fp32. A random lower half is added to the number and the sum is cut off: the carry into the
upper half comes with probability (what bf16 leaves out) / 2^16, so the expected result is the fp32 number exactly.

Random bits are a function of (seed, parameter, step of the parameter). CPU and CUDA have other generators, so they draw
other bits: a run that moves from one to the other goes on, but not bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from animetune.seeding import Purpose, key_for, rng_for, text_counter
from animetune.train.optim.master import Create, Fp32Step, Groups
from animetune.train.optim.sharded import first_row, is_sharded, local

DROPPED = 16
"""Low bits of fp32 that bf16 does not have."""


def random_bits(seed: int, name: str, step: int, count: int, device: torch.device) -> Tensor:
    """`count` uniform integers of 0 to 65535, as uint16 (CPU, 0.9 ns each) or int32 (elsewhere).

    Equal on all ranks. A rank that holds part of the parameter draws for all of it and takes its part, so the number
    of ranks changes nothing.
    """
    key = (seed, Purpose.ROUNDING, text_counter(name), step)
    if device.type == "cpu":
        raw = rng_for(*key).bit_generator.random_raw(-(-count // 4))
        return torch.from_numpy(raw.view(np.uint16)[:count])
    generator = torch.Generator(device).manual_seed(key_for(*key) % 2**63)
    return torch.empty(count, dtype=torch.int32, device=device).random_(0, 1 << DROPPED, generator=generator)


def round_stochastically(value: Tensor, bits: Tensor) -> Tensor:
    """`value` (fp32, contiguous) rounded in place to numbers that bf16 has; casting it to bf16 is then exact.

    Infinities and NaN stay what they are.
    """
    raw = value.view(torch.int32)
    # 0 of the same sign, or NaN: as bits, a NaN may be carried over to -0, or cut to infinity. A mask takes three times
    # as long.
    nothing = value.clamp(-1, 1).mul_(0)
    raw.add_(bits.to(torch.int32)).bitwise_and_(-(1 << DROPPED))
    return value.add_(nothing)


class StochasticRounding(Fp32Step):
    """bf16 weights alone: cast to fp32 for the step, then rounded up or down at random so that the mean is right.

    Draws are a function of (seed, parameter, its step), so ranks that hold copies agree, and only the step is saved.
    """

    def __init__(self, groups: Groups, create: Create, *, seed: int, whole_steps: bool = False):
        super().__init__(groups, create, whole_steps=whole_steps)
        self._seed = seed
        self._steps = {id(parameter): 0 for group in self.param_groups for parameter in group["params"]}
        self._names = {
            id(parameter): name
            for group in self.param_groups
            for name, parameter in zip(group["param_names"], group["params"], strict=True)
        }

    def state_of(self, parameter: Tensor) -> dict[str, Any]:
        """With the number of steps that were rounded."""
        steps = self._steps[id(parameter)]
        return {**super().state_of(parameter), **({"rounded": steps} if steps else {})}

    def load_state_of(self, parameter: Tensor, state: dict[str, Any]) -> None:
        """With the number of steps that were rounded."""
        self._steps[id(parameter)] = state["rounded"]
        if rest := {key: value for key, value in state.items() if key != "rounded"}:
            super().load_state_of(parameter, rest)

    def forget_steps(self) -> None:
        """Draw as for the first step again."""
        self._steps = dict.fromkeys(self._steps, 0)

    def _copy(self, parameter: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(torch.empty(0, device=parameter.device))

    def _gradient(self, parameter: nn.Parameter) -> Tensor:
        return local(super()._gradient(parameter))

    def _lend(self, parameter: nn.Parameter, copy: Tensor) -> None:
        copy.data = local(parameter).float()

    def _take_back(self, parameter: nn.Parameter, copy: Tensor) -> None:
        self._steps[id(parameter)] += 1
        value = copy.detach()
        start = first_row(parameter) * parameter[0].numel() if is_sharded(parameter) else 0
        bits = random_bits(
            self._seed, self._names[id(parameter)], self._steps[id(parameter)], parameter.numel(), parameter.device
        )[start : start + value.numel()]
        local(parameter).copy_(round_stochastically(value, bits.view(value.shape)))
        copy.data = value.new_empty(0)
