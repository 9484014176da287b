"""Sessions: a network as a function from one array to several, run by onnxruntime.

A batch always has the size that the model was opened for, filled up with zeros: kernels are chosen by shape, and sums
taken in another order differ in their last bits, so that an answer would depend on what it was asked together with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from animetune.assets import Asset
from animetune.errors import DataError, SetupError

Device = Literal["auto", "cpu", "cuda"]
"""`auto` is the first visible GPU where there is one."""

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_CUDA_OPTIONS = {"device_id": "0", "cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}
"""A search for the fastest convolution takes another one each time, and TF32 keeps 10 bits."""


_THREADS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")
"""Variables that say how many threads a process may have: the user's, and what executors give their workers."""


class Session(Protocol):
    """A network that is ready to run."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of the array that it reads; None for a length that is free."""

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """Its outputs, for an array of that shape."""


class OnnxSession:
    """A model of one input in onnxruntime."""

    def __init__(self, session: Any, name: str):
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise DataError(f"{name}: has {len(inputs)} inputs; a model that looks at pictures has one")
        self._session = session
        self._input = inputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        self.input_shape = tuple(side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape)
        self.output_names = tuple(output.name for output in session.get_outputs())

    @property
    def providers(self) -> list[str]:
        """Where it runs, by onnxruntime's names, the best first."""
        return list(self._session.get_providers())

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        """All outputs, in the model's order."""
        return list(self._session.run(None, {self._input: batch.astype(self._dtype, copy=False)}))


def open_session(asset: Asset, device: Device = "auto") -> OnnxSession:
    """Open an ONNX file. Raises SetupError for a missing file, extra or GPU, DataError for a file that is no model."""
    runtime = _onnxruntime()
    path = asset.locate()
    wanted = _providers(device, runtime.get_available_providers())
    options = runtime.SessionOptions()
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(path), sess_options=options, providers=wanted)
    except Exception as error:  # onnxruntime's own classes, which are not exported
        raise DataError(
            f"{asset.name}: onnxruntime cannot open it ({_said(error)}); get the file again, or correct the path"
        ) from error
    if device == "cuda" and _CUDA not in session.get_providers():
        raise SetupError(
            f"{asset.name}: device: cuda was asked for, but onnxruntime finds no GPU; see its CUDA version"
        )
    return OnnxSession(session, asset.name)


def check_runtime() -> None:
    """Raise SetupError where onnxruntime is not installed."""
    _onnxruntime()


def threads() -> int:
    """Threads that a session may use: OMP_NUM_THREADS, or this worker's share of the CPUs."""
    for name in _THREADS:
        if (value := os.environ.get(name, "")).isdigit() and int(value):
            return int(value)
    return os.cpu_count() or 1


def in_batches(
    session: Session, items: Sequence[Any], prepare: Callable[[Any], np.ndarray], size: int
) -> list[np.ndarray]:
    """The outputs for all items, each an array with as many rows; `prepare` makes the array of one.

    Batches are of `size`, the last one filled up with zeros. No outputs for no items.
    """
    found: list[list[np.ndarray]] = []
    for start in range(0, len(items), size):
        arrays = [prepare(item) for item in items[start : start + size]]
        batch = np.zeros((size, *arrays[0].shape), dtype=arrays[0].dtype)
        for index, array in enumerate(arrays):
            batch[index] = array
        found.append([np.asarray(output, dtype=np.float32)[: len(arrays)] for output in session.run(batch)])
    return [np.concatenate(outputs) for outputs in zip(*found, strict=True)]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SetupError("models that look at pictures need onnxruntime: pip install animetune[onnx]") from error
    return onnxruntime


def _providers(device: Device, available: Sequence[str]) -> list[Any]:
    if device == "cuda" and _CUDA not in available:
        raise SetupError(
            "device: cuda was asked for, but this onnxruntime knows only the CPU: "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu"
        )
    on_gpu = [(_CUDA, _CUDA_OPTIONS)] if device != "cpu" and _CUDA in available else []
    return [*on_gpu, _CPU]


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
