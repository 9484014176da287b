"""Sessions of onnxruntime: what is missing is named, batches have one size."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from animetune.assets import Asset
from animetune.errors import DataError, SetupError
from animetune.vision import session
from tests.onnx_models import save_colour_model


class Doubles:
    """A session that keeps the shapes that it was given."""

    input_shape = (None, 2)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self.shapes.append(batch.shape)
        return [batch * 2, batch.sum(axis=1)]


def test_batches_have_one_size():
    doubles = Doubles()
    found = session.in_batches(doubles, range(5), lambda n: np.array([n, 1.0], dtype=np.float32), 3)
    assert doubles.shapes == [(3, 2), (3, 2)]
    assert found[0].tolist() == [[0, 2], [2, 2], [4, 2], [6, 2], [8, 2]]
    assert found[1].tolist() == [1, 2, 3, 4, 5]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    real = builtins.__import__

    def without(name: str, *args, **kwargs):
        if name == "onnxruntime":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SetupError, match=r"pip install animetune\[onnx\]"):
        session.open_session(Asset(path=tmp_path / "m.onnx"), "cpu")
    with pytest.raises(SetupError, match=r"pip install animetune\[onnx\]"):
        session.check_runtime()


def test_cuda_that_onnxruntime_does_not_know(tmp_path: Path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime knows GPUs")
    path = save_colour_model(tmp_path / "m.onnx", np.eye(3), [0, 0, 0])
    with pytest.raises(SetupError, match="pip uninstall onnxruntime && pip install onnxruntime-gpu"):
        session.open_session(Asset(path=path), "cuda")
    assert session.open_session(Asset(path=path), "auto").providers == ["CPUExecutionProvider"]


def test_a_file_that_is_no_model(tmp_path: Path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"m\.onnx: onnxruntime cannot open it"):
        session.open_session(Asset(path=path), "cpu")


def test_shape_of_the_input(tmp_path: Path):
    path = save_colour_model(tmp_path / "m.onnx", np.eye(3), [0, 0, 0], shape=("batch", 8, 8, 3))
    assert session.open_session(Asset(path=path), "cpu").input_shape == (None, 8, 8, 3)


def test_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("POLARS_MAX_THREADS", "5")
    assert session.threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert session.threads() == 5
    monkeypatch.delenv("POLARS_MAX_THREADS")
    assert session.threads() >= 1
