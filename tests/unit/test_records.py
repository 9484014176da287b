"""The records that travel between stages."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animetune import records
from animetune.records import Batch, Label, Size


def test_columns_are_named_once_and_typed() -> None:
    for columns in (records.TABLE_COLUMNS, records.LABEL_COLUMNS):
        names = [column.name for column in columns]
        assert len(set(names)) == len(names)
        assert {column.dtype for column in columns} <= {"str", "i64", "i32", "f32", "bool", "datetime", "list[str]"}
        assert all(column.meaning for column in columns)
    assert records.TABLE_COLUMNS[0].name == records.LABEL_COLUMNS[0].name == "key"


def test_a_label_is_made_of_columns_of_the_label_set() -> None:
    columns = {column.name: column.dtype for column in records.LABEL_COLUMNS}
    for field in dataclasses.fields(Label):
        assert columns[field.name] == ("list[str]" if field.default == () else "str")
    assert set(columns) - {field.name for field in dataclasses.fields(Label)} == {"repeats", "loss_weight"}


def test_content_buckets_are_nine() -> None:
    assert len(set(records.CONTENT_BUCKETS)) == 9
    assert "bucket" not in {column.name for column in records.TABLE_COLUMNS}


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_size_is_its_name(width: int, height: int) -> None:
    size = Size(width, height)
    assert size.name == f"{width}x{height}"
    assert Size.parse(size.name) == size
    assert size.area == width * height


@pytest.mark.parametrize("name", ["", "x", "64", "64x", "x64", "64x64x64", "64 by 64", "1024X1024"])
def test_what_is_no_size(name: str) -> None:
    with pytest.raises(ValueError):
        Size.parse(name)


def batch() -> Batch:
    return Batch(
        size=Size(64, 32),
        epoch=1,
        step=2,
        rows=torch.arange(3),
        copies=torch.zeros(3, dtype=torch.int64),
        slots=torch.arange(3),
        token_ids=torch.ones(3, 2, 77, dtype=torch.int64),
        time_ids=torch.ones(3, 6),
        loss_weights=torch.ones(3),
        share=1.0,
        global_batch=3,
        prompts=["a", "b", "c"],
        latents=torch.ones(3, 4, 4, 8),
    )


def test_a_batch_moves_but_for_the_keys_of_its_draws() -> None:
    one = batch()
    two = one.to("meta")
    tensors = {f.name for f in dataclasses.fields(Batch) if isinstance(getattr(one, f.name), torch.Tensor)}
    keys = {"rows", "copies", "slots"}
    assert tensors == keys | {"token_ids", "time_ids", "loss_weights", "latents"}
    for field in dataclasses.fields(Batch):
        before, after = getattr(one, field.name), getattr(two, field.name)
        if field.name in tensors - keys:
            assert (before.device.type, after.device.type) == ("cpu", "meta")
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        else:
            assert after is before
    doubled = one.map_tensors(lambda tensor: tensor * 2)
    assert torch.equal(doubled.rows, torch.tensor([0, 2, 4]))
    assert torch.equal(one.rows, torch.arange(3))
