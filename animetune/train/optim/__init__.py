"""Optimizers over the trained parameters, in one group a part of the model with its own learning rate."""

from animetune.train.optim.build import build_optimizer
from animetune.train.optim.config import OptimizerConfig

__all__ = ["OptimizerConfig", "build_optimizer"]
