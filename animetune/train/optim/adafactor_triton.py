"""Adafactor's step as Triton kernels: all tensors of a shape in each launch, gradients read three times, weights once.

    large matrices    row_statistics, column_statistics, sum_of_squares, apply_matrix
    small ones        small_statistics (R, C and the sum of squares in one), apply_small

Tensors are reached by a table of their addresses, so nothing is stacked or copied. A program owns `ROWS` rows of one
tensor (or `MATRICES` of its small matrices): R is complete in it, parts of C and of the squares are written out and
added up in a fixed order by whoever needs them. So there are no atomics, equal inputs give equal bits, and a tensor's
result does not depend on which others step with it. A step of n shapes is at most 4 n launches.

Traffic with bf16 weights and gradients is 10 bytes a parameter and 1 more for the parts: 9 ms of an H100's memory for
SDXL's UNet. Stochastic rounding draws Philox numbers of (parameter and step, element) in the kernel.

`TRITON_INTERPRET=1` runs the kernels on CPU tensors, which is how they are tested where there is no GPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from animetune.seeding import Purpose, key_for, text_counter

if TYPE_CHECKING:
    from animetune.train.optim.adafactor import Batch

ROWS, COLUMNS = 32, 128
"""Tile of a large matrix: 4096 elements, 32 for each of 128 threads."""
MATRICES = 512
"""Small matrices of a program."""
FEWEST_PARTS = 16
"""Parts that a program adds up at once, at least; the next power of two holds all."""


def suits(parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> bool:
    """Whether the kernels can step this tensor: the recipes' settings, on weights as dense as they usually are."""
    if group["beta1"] is not None or group["scale_parameter"] or parameter.numel() == 0:
        return False
    types = (torch.float32, torch.bfloat16)
    if parameter.dtype not in types or gradient.dtype not in types:
        return False
    if parameter.dim() == 4 and not group["flatten_convolutions"]:
        return math.prod(parameter.shape[2:]) <= 64  # any strides
    large = parameter.dim() == 2 or group["flatten_convolutions"]
    small = parameter.dim() < 2 or math.prod(parameter.shape[-2:]) <= 64
    return parameter.is_contiguous() and gradient.is_contiguous() and (large or small)


def step_batch(batch: Batch, group: dict[str, Any], *, seed: int | None) -> None:
    """One step of tensors that are equal in shape, strides, types and number of steps."""
    beta2 = 1.0 - math.pow(batch.states[0]["step"], group["decay_rate"])
    rates = {"lr": group["lr"], "decay": group["lr"] * group["weight_decay"], "threshold": group["clip_threshold"]}
    statistics = {"beta2": beta2, "eps": group["eps"][0]}
    rounds = seed is not None and batch.parameters[0].dtype == torch.bfloat16
    table = _table(batch, seed if rounds else None)
    if batch.is_small:
        _step_small(batch, table, statistics, rates, rounds=rounds)
    else:
        _step_large(batch, table, statistics, rates, rounds=rounds)


def _step_large(batch: Batch, table: Tensor, statistics: Any, rates: Any, *, rounds: bool) -> None:
    tensors, (_, rows, columns, _) = len(batch.parameters), batch.geometry
    blocks = triton.cdiv(rows, ROWS)
    parts = table.new_empty((tensors, blocks, columns), dtype=torch.float32)
    squares = table.new_empty((tensors, blocks), dtype=torch.float32)
    means = table.new_empty(tensors, dtype=torch.float32)
    of_gradient, of_weight = _type(batch.gradients[0]), _type(batch.parameters[0])
    size = {"rows": rows, "columns": columns}
    tile = {"ROWS": ROWS, "COLUMNS": COLUMNS, "ALIGNED": _aligned(batch, columns)}
    grid = (blocks, tensors)
    row_statistics[grid](table, parts, **size, **statistics, GRADIENT=of_gradient, **tile)
    column_statistics[(triton.cdiv(columns, COLUMNS), tensors)](
        table, parts, blocks=blocks, **size, **statistics, COLUMNS=COLUMNS
    )
    sum_of_squares[grid](table, squares, means, **size, GRADIENT=of_gradient, **tile)
    apply_matrix[grid](
        table,
        squares,
        means,
        blocks=blocks,
        **size,
        **rates,
        GRADIENT=of_gradient,
        WEIGHT=of_weight,
        ROUNDS=rounds,
        PARTS=_parts(blocks),
        **tile,
    )


def _step_small(batch: Batch, table: Tensor, statistics: Any, rates: Any, *, rounds: bool) -> None:
    tensors, (matrices, rows, columns, factored) = len(batch.parameters), batch.geometry
    blocks = triton.cdiv(matrices, MATRICES)
    squares = table.new_empty((tensors, blocks), dtype=torch.float32)
    shape = {"MATRICES": MATRICES, "ROWS": rows, "COLUMNS": columns, "FACTORED": factored}
    gradient = _places(batch.gradients[0], rows * columns)
    weight = _places(batch.parameters[0], rows * columns)
    of_gradient, of_weight = _type(batch.gradients[0]), _type(batch.parameters[0])
    grid = (blocks, tensors)
    small_statistics[grid](table, squares, matrices, *gradient, **statistics, GRADIENT=of_gradient, **shape)
    apply_small[grid](
        table,
        squares,
        matrices,
        *gradient,
        *weight,
        blocks=blocks,
        **rates,
        GRADIENT=of_gradient,
        WEIGHT=of_weight,
        ROUNDS=rounds,
        PARTS=_parts(blocks),
        **shape,
    )


def _table(batch: Batch, seed: int | None) -> Tensor:
    """int64 (5, tensors) on the device: addresses of weights, gradients, R and C, and keys of the random bits."""
    step = batch.states[0]["step"]
    factored = batch.geometry.factored
    columns = [state["exp_avg_sq_col" if factored else "exp_avg_sq"].data_ptr() for state in batch.states]
    rows = [state["exp_avg_sq_row"].data_ptr() for state in batch.states] if factored else columns
    keys = [0] * len(columns)
    if seed is not None:
        keys = [key_for(seed, Purpose.ROUNDING, text_counter(name), step) % 2**63 for name in batch.names]
    weights = [parameter.data_ptr() for parameter in batch.parameters]
    gradients = [gradient.data_ptr() for gradient in batch.gradients]
    table = torch.tensor([weights, gradients, rows, columns, keys], dtype=torch.int64)
    device = batch.parameters[0].device
    return table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table


def _aligned(batch: Batch, columns: int) -> bool:
    """Whether every row begins at a multiple of 16 bytes, so that loads can be of 16 bytes."""
    tensors = (*batch.parameters, *batch.gradients)
    return columns % 8 == 0 and all(tensor.data_ptr() % 16 == 0 for tensor in tensors)


def _places(tensor: Tensor, elements: int) -> tuple[int, int, int, int, int]:
    """Where the element (m, r, c) of small matrices is: m // inner, m % inner, r and c times four strides."""
    if tensor.dim() == 4:
        return (tensor.shape[1], *tensor.stride())  # type: ignore[return-value]
    return (1, elements, 0, tensor.shape[-1] if tensor.dim() > 2 else 0, 1)


def _parts(blocks: int) -> int:
    return max(FEWEST_PARTS, triton.next_power_of_2(blocks))


def _type(tensor: Tensor) -> Any:
    return tl.bfloat16 if tensor.dtype == torch.bfloat16 else tl.float32


@triton.jit
def _address(table, which: tl.constexpr, of: tl.constexpr, ALIGNED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Pointer to a tensor of this program's column of the table."""
    pointer = tl.load(table + which * tl.num_programs(1) + tl.program_id(1)).to(tl.pointer_type(of))
    if ALIGNED:
        pointer = tl.multiple_of(pointer, 16)
    return pointer


@triton.jit
def _store_rounded(pointers, value, bits, mask, WEIGHT: tl.constexpr, ROUNDS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Store float32 as the weight's type; with ROUNDS the lower 16 of `bits` decide between its neighbours."""
    if ROUNDS:
        raw = value.to(tl.int32, bitcast=True) + (bits & 0xFFFF).to(tl.int32)
        # As bits, a NaN may be carried over to -0, or cut to infinity.
        value = tl.where(value == value, (raw & -65536).to(tl.float32, bitcast=True), float("nan"))
    tl.store(pointers, value.to(WEIGHT), mask=mask)


@triton.jit
def row_statistics(  # type: ignore[no-untyped-def]
    table,
    parts,
    rows,
    columns,
    beta2,
    eps,
    GRADIENT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """R of ROWS rows; into `parts` (tensors, blocks, columns) the sums of their squares over the rows."""
    gradient = _address(table, 1, GRADIENT, ALIGNED)
    row_average = _address(table, 2, tl.float32, False)
    part = parts + (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * columns
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS,), tl.float32)
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        value = tl.load(gradient + row[:, None] * columns + column[None, :], mask=inside, other=0.0).to(tl.float32)
        square = value * value
        total += tl.sum(square, 1)
        tl.store(part + column, tl.sum(square, 0), mask=column < columns)
    average = tl.load(row_average + row, mask=row < rows, other=0.0)
    average = beta2 * average + (1 - beta2) * (total / columns + eps)
    tl.store(row_average + row, average, mask=row < rows)


@triton.jit
def column_statistics(  # type: ignore[no-untyped-def]
    table, parts, blocks, rows, columns, beta2, eps, COLUMNS: tl.constexpr
):
    """C of COLUMNS columns, from `parts` of all rows."""
    column_average = _address(table, 3, tl.float32, False)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    part = parts + tl.program_id(1) * blocks * columns
    total = tl.zeros((COLUMNS,), tl.float32)
    for block in range(blocks):
        total += tl.load(part + block * columns + column, mask=column < columns, other=0.0)
    average = tl.load(column_average + column, mask=column < columns, other=0.0)
    average = beta2 * average + (1 - beta2) * (total / rows + eps)
    tl.store(column_average + column, average, mask=column < columns)


@triton.jit
def sum_of_squares(  # type: ignore[no-untyped-def]
    table,
    squares,
    means,
    rows,
    columns,
    GRADIENT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Sum of G^2 / (R C) over ROWS rows, into `squares` (tensors, blocks); mean(C), which is mean(R), into `means`."""
    gradient = _address(table, 1, GRADIENT, ALIGNED)
    row_average = _address(table, 2, tl.float32, False)
    column_average = _address(table, 3, tl.float32, False)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS,), tl.float32)
    mean = tl.zeros((COLUMNS,), tl.float32)
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        value = tl.load(gradient + row[:, None] * columns + column[None, :], mask=inside, other=0.0).to(tl.float32)
        average = tl.load(column_average + column, mask=column < columns, other=1.0)
        total += tl.sum(value * value / average[None, :], 1)
        mean += tl.where(column < columns, average, 0.0)
    average = tl.load(row_average + row, mask=row < rows, other=1.0)
    tl.store(squares + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), tl.sum(total / average, 0))
    if tl.program_id(0) == 0:
        tl.store(means + tl.program_id(1), tl.sum(mean, 0) / columns)


@triton.jit
def apply_matrix(  # type: ignore[no-untyped-def]
    table,
    squares,
    means,
    blocks,
    rows,
    columns,
    lr,
    decay,
    threshold,
    GRADIENT: tl.constexpr,
    WEIGHT: tl.constexpr,
    ROUNDS: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """W of ROWS rows."""
    weight = _address(table, 0, WEIGHT, ALIGNED)
    gradient = _address(table, 1, GRADIENT, ALIGNED)
    row_average = _address(table, 2, tl.float32, False)
    column_average = _address(table, 3, tl.float32, False)
    key = tl.load(table + 4 * tl.num_programs(1) + tl.program_id(1))

    mean = tl.load(means + tl.program_id(1))
    block = tl.arange(0, PARTS)
    square = tl.sum(tl.load(squares + tl.program_id(1) * blocks + block, mask=block < blocks, other=0.0), 0)
    # In two divisions: rows * columns may exceed 31 bits.
    rms = tl.sqrt(mean * (square / rows / columns))
    factor = lr / tl.maximum(rms / threshold, 1.0)

    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    by_row = factor * tl.sqrt(mean / tl.load(row_average + row, mask=row < rows, other=1.0))
    quads = tl.cdiv(columns, 4)
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        place = row[:, None] * columns + column[None, :]
        value = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        by_column = 1.0 / tl.sqrt(tl.load(column_average + column, mask=column < columns, other=1.0))
        old = tl.load(weight + place, mask=inside, other=0.0).to(tl.float32)
        new = old - decay * old - value * by_row[:, None] * by_column[None, :]
        if ROUNDS:  # four neighbours share a draw
            quad = row[:, None] * quads + first // 4 + tl.arange(0, COLUMNS // 4)[None, :]
            a, b, c, d = tl.randint4x(key, quad)
            bits = tl.reshape(tl.join(tl.join(a, b), tl.join(c, d)), (ROWS, COLUMNS))
        else:
            bits = place
        _store_rounded(weight + place, new, bits, inside, WEIGHT, ROUNDS)


@triton.jit
def small_statistics(  # type: ignore[no-untyped-def]
    table,
    squares,
    matrices,
    inner,
    stride_0,
    stride_1,
    stride_2,
    stride_3,
    beta2,
    eps,
    GRADIENT: tl.constexpr,
    MATRICES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FACTORED: tl.constexpr,
):
    """R, C and the sum of U^2 of MATRICES matrices; R and C are planes in memory, (rows or columns, matrices)."""
    gradient = _address(table, 1, GRADIENT, False)
    row_average = _address(table, 2, tl.float32, False)
    column_average = _address(table, 3, tl.float32, False)
    matrix = tl.program_id(0) * MATRICES + tl.arange(0, MATRICES)
    inside = matrix < matrices
    begin = gradient + (matrix // inner) * stride_0 + (matrix % inner) * stride_1
    for c in range(COLUMNS):
        total = tl.zeros((MATRICES,), tl.float32)
        for r in range(ROWS):
            value = tl.load(begin + r * stride_2 + c * stride_3, mask=inside, other=0.0).to(tl.float32)
            total += value * value
        average = tl.load(column_average + c * matrices + matrix, mask=inside, other=1.0)
        average = beta2 * average + (1 - beta2) * (total / ROWS + eps)
        tl.store(column_average + c * matrices + matrix, average, mask=inside)
    mean = tl.zeros((MATRICES,), tl.float32)
    if FACTORED:
        for r in range(ROWS):
            total = tl.zeros((MATRICES,), tl.float32)
            for c in range(COLUMNS):
                value = tl.load(begin + r * stride_2 + c * stride_3, mask=inside, other=0.0).to(tl.float32)
                total += value * value
            average = tl.load(row_average + r * matrices + matrix, mask=inside, other=1.0)
            average = beta2 * average + (1 - beta2) * (total / COLUMNS + eps)
            tl.store(row_average + r * matrices + matrix, average, mask=inside)
            mean += average / ROWS
    tl.debug_barrier()  # what was stored is read again
    square = tl.zeros((MATRICES,), tl.float32)
    for r in range(ROWS):
        by_row = tl.full((MATRICES,), 1.0, tl.float32)
        if FACTORED:
            by_row = mean / tl.load(row_average + r * matrices + matrix, mask=inside, other=1.0)
        for c in range(COLUMNS):
            value = tl.load(begin + r * stride_2 + c * stride_3, mask=inside, other=0.0).to(tl.float32)
            average = tl.load(column_average + c * matrices + matrix, mask=inside, other=1.0)
            square += tl.where(inside, value * value / average * by_row, 0.0)
    tl.store(squares + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), tl.sum(square, 0))


@triton.jit
def apply_small(  # type: ignore[no-untyped-def]
    table,
    squares,
    matrices,
    inner,
    stride_0,
    stride_1,
    stride_2,
    stride_3,
    weight_inner,
    weight_stride_0,
    weight_stride_1,
    weight_stride_2,
    weight_stride_3,
    blocks,
    lr,
    decay,
    threshold,
    GRADIENT: tl.constexpr,
    WEIGHT: tl.constexpr,
    ROUNDS: tl.constexpr,
    PARTS: tl.constexpr,
    MATRICES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FACTORED: tl.constexpr,
):
    """W of MATRICES matrices."""
    weight = _address(table, 0, WEIGHT, False)
    gradient = _address(table, 1, GRADIENT, False)
    row_average = _address(table, 2, tl.float32, False)
    column_average = _address(table, 3, tl.float32, False)
    key = tl.load(table + 4 * tl.num_programs(1) + tl.program_id(1))

    block = tl.arange(0, PARTS)
    square = tl.sum(tl.load(squares + tl.program_id(1) * blocks + block, mask=block < blocks, other=0.0), 0)
    rms = tl.sqrt(square / matrices / (ROWS * COLUMNS))
    factor = lr / tl.maximum(rms / threshold, 1.0)

    matrix = tl.program_id(0) * MATRICES + tl.arange(0, MATRICES)
    inside = matrix < matrices
    mean = tl.zeros((MATRICES,), tl.float32)
    if FACTORED:
        for r in range(ROWS):
            mean += tl.load(row_average + r * matrices + matrix, mask=inside, other=1.0) / ROWS
    from_gradient = gradient + (matrix // inner) * stride_0 + (matrix % inner) * stride_1
    from_weight = weight + (matrix // weight_inner) * weight_stride_0 + (matrix % weight_inner) * weight_stride_1
    for r in range(ROWS):
        by_row = tl.full((MATRICES,), 1.0, tl.float32)
        if FACTORED:
            by_row = tl.sqrt(mean / tl.load(row_average + r * matrices + matrix, mask=inside, other=1.0))
        for c in range(COLUMNS):
            value = tl.load(from_gradient + r * stride_2 + c * stride_3, mask=inside, other=0.0).to(tl.float32)
            average = tl.load(column_average + c * matrices + matrix, mask=inside, other=1.0)
            place = from_weight + r * weight_stride_2 + c * weight_stride_3
            old = tl.load(place, mask=inside, other=0.0).to(tl.float32)
            new = old - decay * old - factor * value * by_row / tl.sqrt(average)
            bits = tl.randint(key, (matrix * ROWS + r) * COLUMNS + c) if ROUNDS else matrix
            _store_rounded(place, new, bits, inside, WEIGHT, ROUNDS)
