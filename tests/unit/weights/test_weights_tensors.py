"""Casting for export."""

from __future__ import annotations

import pytest
import torch

from animetune.errors import DataError
from animetune.weights.tensors import Lost, cast


def test_numbers_that_do_not_fit_are_named() -> None:
    largest = torch.tensor([65504.0, -65504.0])
    assert torch.equal(cast(largest, torch.float16, "w", Lost()).float(), largest)
    with pytest.raises(
        DataError, match=r"unet\.w: 70000 does not fit torch\.float16 \(largest 65504\); export as bfloat16"
    ):
        cast(torch.tensor([1.0, -70000.0]), torch.float16, "unet.w", Lost())
    assert torch.isfinite(cast(torch.tensor([70000.0]), torch.bfloat16, "w", Lost())).all()
    for damaged in (torch.nan, torch.inf):
        with pytest.raises(DataError, match="w: holds NaN or infinity; the weights are damaged"):
            cast(torch.tensor([damaged]), torch.float32, "w", Lost())
