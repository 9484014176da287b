"""What happens around the optimizer step: metrics, checkpoints, previews, validation, signals.

Each callback does one thing and talks to the others through the module only. All act after an optimizer step, never
between two micro-batches of one.
"""

from animetune.train.callbacks.accumulation import AccumulationCallback
from animetune.train.callbacks.checkpoints import CheckpointCallback
from animetune.train.callbacks.heartbeat import HeartbeatCallback
from animetune.train.callbacks.metrics import MetricsCallback
from animetune.train.callbacks.previews import PreviewCallback
from animetune.train.callbacks.signals import StopOnSignal
from animetune.train.callbacks.validation import ValidationCallback

__all__ = [
    "AccumulationCallback",
    "CheckpointCallback",
    "HeartbeatCallback",
    "MetricsCallback",
    "PreviewCallback",
    "StopOnSignal",
    "ValidationCallback",
]
