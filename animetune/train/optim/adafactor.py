"""Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), for many tensors at once.

For a gradient G of rows x columns at step t, with beta2_t = 1 - t ** decay_rate:

    R <- beta2_t R + (1 - beta2_t) mean over columns of (G^2 + eps1)        C likewise, mean over rows
    U  = G / sqrt(R C / mean(R))                                            U /= max(1, RMS(U) / clip_threshold)
    W <- W - lr * weight_decay * W - lr * U

Vectors keep the moving average of G^2 itself. As in transformers, of tensors with more than two dimensions the last two
are factored; `flatten_convolutions` makes a matrix of (first, all others) of them instead, whose state is smaller.

The work is bound by memory: three passes that only read what they must (statistics, RMS, step), in tiles that stay in
the processor's cache, with no temporary as large as a tensor. Small tensors of equal shape are stacked. On CUDA, Triton
kernels make the same passes over all tensors of a shape in one launch each (`adafactor_triton`).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from animetune.train.optim.closure import computed_by
from animetune.train.optim.rounding import random_bits, round_stochastically
from animetune.train.optim.sharded import first_row, is_sharded, local, part_of, shard_group, sharded_like

TILE = {"cpu": 2**19, "cuda": 2**26}
"""Elements that are worked on at a time: 2 MB of fp32 stay in the cache of a core; a GPU wants few launches."""
STACKED = {"cpu": 2**15, "cuda": 2**26}
"""Elements up to which a tensor is stacked with others. On the CPU, torch adds up so few in one order, alone or in a
stack, so that which tensors step together changes no bit."""
SMALL = 64
"""Elements up to which a matrix (3 x 3 of a convolution) is worked on across matrices rather than along its rows."""

HAS_TRITON = importlib.util.find_spec("triton") is not None

Sums = Iterator[Tensor]
"""Yields sums over this rank's rows, into which those over all rows are to be written before it goes on."""


class Geometry(NamedTuple):
    """A tensor as `matrices` matrices of `rows` x `columns`, each factored by itself; a vector's are 1 x 1."""

    matrices: int
    rows: int
    columns: int
    factored: bool

    @classmethod
    def of(cls, shape: Sequence[int], *, flatten: bool) -> Geometry:
        """Geometry of a tensor of this shape."""
        if len(shape) < 2:
            return cls(math.prod(shape), 1, 1, factored=False)
        if flatten or len(shape) == 2:
            return cls(1, shape[0], math.prod(shape[1:]), factored=True)
        return cls(math.prod(shape[:-2]), shape[-2], shape[-1], factored=True)


class Batch(NamedTuple):
    """Tensors of one group, equal in shape, type and number of steps; `local` where ranks hold parts."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    states: list[dict[str, Any]]
    names: list[str]
    geometry: Geometry
    """Of what this rank holds."""
    whole: Geometry
    """Of the whole tensor."""
    start: int
    """Where in the whole tensor, in elements, this rank's part begins."""
    elements: int
    """Elements of the whole tensor."""
    in_kernels: bool
    """Whether Triton's kernels step it."""

    @property
    def is_small(self) -> bool:
        """Whether its matrices have few elements each, on all ranks alike."""
        matrices, rows, columns, factored = self.whole
        return not factored or (matrices > 1 and rows * columns <= SMALL)


class Adafactor(torch.optim.Optimizer):
    """Adafactor at a given learning rate: no relative step, no warm-up of its own.

    Weights may be fp32 or bf16, gradients any type; arithmetic and state are fp32. bf16 weights are rounded
    stochastically with `seed`, which is right on average, and to nearest without one, which loses small updates.
    State of a parameter: `step`; `exp_avg_sq_row` and `exp_avg_sq_col`, or `exp_avg_sq` of a vector; `exp_avg` with
    `beta1`. Shapes are those of transformers' Adafactor, but for flattened convolutions.

    FSDP2's sharded parameters keep sharded state. The ranks add up column sums and squared updates of all parameters
    in two collectives a step.
    """

    takes_any_gradient = True

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = False,
        flatten_convolutions: bool = False,
        seed: int | None = None,
        triton: bool | None = None,
    ):
        """Args are those of the paper; `eps[1]` is the least scale for `scale_parameter`.

        `seed` rounds bf16 weights stochastically. `triton`: None takes its kernels for CUDA tensors if it is installed.
        """
        defaults = {
            "lr": lr,
            "eps": eps,
            "clip_threshold": clip_threshold,
            "decay_rate": decay_rate,
            "beta1": beta1,
            "weight_decay": weight_decay,
            "scale_parameter": scale_parameter,
            "flatten_convolutions": flatten_convolutions,
        }
        super().__init__(params, defaults)
        self._seed = seed
        self._triton = triton

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the parameters that have gradients."""
        loss = computed_by(closure)
        for group in self.param_groups:
            names = group.get("param_names") or [str(index) for index in range(len(group["params"]))]
            named = zip(names, group["params"], strict=True)
            stepped = [(name, parameter) for name, parameter in named if parameter.grad is not None]
            whole = [each for each in stepped if not is_sharded(each[1])]
            _finish(self._update(batch, group) for batch in self._batches(whole, group))
            sharded = [each for each in stepped if is_sharded(each[1])]
            if sharded:
                updates = [self._update(batch, group) for batch in self._batches(sharded, group)]
                _finish_together(updates, shard_group(sharded[0][1]))
        return loss

    def fresh_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """The state before the first step, float32 zeros."""
        shape = tuple(parameter.shape)
        whole = Geometry.of(shape, flatten=group["flatten_convolutions"])
        state: dict[str, Any] = {"step": 0}
        if not whole.factored:
            state["exp_avg_sq"] = _zeros(parameter, shape, by_rows=True)
        elif group["flatten_convolutions"] and len(shape) > 2:
            state["exp_avg_sq_row"] = _zeros(parameter, shape[:1], by_rows=True)
            state["exp_avg_sq_col"] = _zeros(parameter, (whole.columns,), by_rows=False)
        else:
            zeros = _plane_zeros if len(shape) > 2 else _zeros
            state["exp_avg_sq_row"] = zeros(parameter, shape[:-1], by_rows=True)
            state["exp_avg_sq_col"] = zeros(parameter, shape[:-2] + shape[-1:], by_rows=len(shape) > 2)
        if group["beta1"] is not None:
            state["exp_avg"] = _zeros(parameter, shape, by_rows=True)
        return state

    def restored_state(self, parameter: Tensor, saved: Mapping[str, Any]) -> dict[str, Any]:
        """State from whole tensors, dealt out where the parameter is sharded; what is not ours stays as it is."""
        (group,) = (group for group in self.param_groups if any(each is parameter for each in group["params"]))
        state = self.fresh_state(group, parameter)
        for key, value in state.items():
            if isinstance(value, Tensor):
                local(value).copy_(part_of(saved[key], value))
        return {**saved, **state, "step": saved["step"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but the state stays float32 where the weights are not."""
        super().load_state_dict(state_dict)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, state in state_dict["state"].items():
            self.state[parameters[index]] = self.restored_state(parameters[index], state)

    def _batches(self, named: Sequence[tuple[str, Tensor]], group: dict[str, Any]) -> Iterator[Batch]:
        """Tensors that take the same step together: alone if they are large, else in stacks of a tile."""
        alike: dict[Any, list[tuple[str, Tensor]]] = {}
        for name, parameter in named:
            if not self.state[parameter]:
                self.state[parameter] = self.fresh_state(group, parameter)
            assert parameter.grad is not None
            gradient = parameter.grad
            kind = (parameter.shape, parameter.dtype, gradient.dtype, parameter.device, self.state[parameter]["step"])
            alike.setdefault((*kind, parameter.stride(), gradient.stride()), []).append((name, parameter))
        for members in alike.values():
            in_kernels = self._uses_triton(members[0][1], group)
            limit = len(members) if in_kernels else _most_stacked(members[0][1])
            for index in range(0, len(members), limit):
                yield self._batch(members[index : index + limit], group, in_kernels=in_kernels)

    def _batch(self, members: Sequence[tuple[str, Tensor]], group: dict[str, Any], *, in_kernels: bool) -> Batch:
        first = members[0][1]
        flatten = group["flatten_convolutions"]
        states = []
        for _, parameter in members:
            state = self.state[parameter]
            state["step"] += 1
            states.append({key: local(each) if isinstance(each, Tensor) else each for key, each in state.items()})
        row_size = math.prod(first.shape[1:])
        return Batch(
            parameters=[local(parameter) for _, parameter in members],
            gradients=[local(parameter.grad) for _, parameter in members if parameter.grad is not None],
            states=states,
            names=[name for name, _ in members],
            geometry=Geometry.of(local(first).shape, flatten=flatten),
            whole=Geometry.of(first.shape, flatten=flatten),
            start=first_row(first) * row_size if is_sharded(first) else 0,
            elements=first.numel(),
            in_kernels=in_kernels,
        )

    def _uses_triton(self, parameter: Tensor, group: dict[str, Any]) -> bool:
        if is_sharded(parameter) or not (self._triton or (self._triton is None and parameter.is_cuda and HAS_TRITON)):
            return False
        from animetune.train.optim import adafactor_triton

        assert parameter.grad is not None
        return adafactor_triton.suits(parameter, parameter.grad, group)

    def _update(self, batch: Batch, group: dict[str, Any]) -> Sums:
        """One step of a batch."""
        if batch.in_kernels:
            from animetune.train.optim import adafactor_triton

            adafactor_triton.step_batch(batch, group, seed=self._seed)
            return
        beta2 = 1.0 - math.pow(batch.states[0]["step"], group["decay_rate"])
        kind = _Planes if batch.is_small else _Rows
        direction = kind(batch, beta2=beta2, eps=group["eps"][0])
        yield from direction.statistics()
        squares = direction.sum_of_squares()
        yield squares
        lr = torch.full_like(squares, group["lr"])
        if group["scale_parameter"]:
            scale = torch.stack([parameter.float().square().sum() for parameter in batch.parameters])
            yield scale
            lr *= (scale / batch.elements).sqrt_().clamp_(min=group["eps"][1])
        rms = squares.div_(batch.elements).sqrt_()
        factor = lr / (rms / group["clip_threshold"]).clamp_(min=1.0)
        self._apply(batch, group, direction, lr[:, None, None], factor[:, None, None])

    def _apply(self, batch: Batch, group: dict[str, Any], direction: _Direction, lr: Tensor, factor: Tensor) -> None:
        """weights -= factor * U, tile by tile; `lr` and `factor` are one number a tensor, (tensors, 1, 1)."""
        stored = [state["exp_avg"] for state in batch.states] if group["beta1"] is not None else []
        weights = _stacked(batch.parameters, direction.form)
        momenta = _stacked(stored, direction.form) if stored else None
        bits = self._bits(batch, direction.form) if weights.dtype == torch.bfloat16 and self._seed is not None else None
        for tile in direction.tiles:
            part = weights[:, tile]
            weight = part if part.dtype == torch.float32 else part.float()
            if group["weight_decay"]:
                weight.addcmul_(weight, lr * group["weight_decay"], value=-1)
            if momenta is None:
                direction.subtract(tile, factor, weight)
            else:
                weight.sub_(momenta[:, tile].lerp_(direction.of(tile, factor), 1 - group["beta1"]))
            if bits is not None:
                round_stochastically(weight, bits[:, tile])
            if weight is not part:
                part.copy_(weight)
        _unstack(weights, batch.parameters)
        if momenta is not None:
            _unstack(momenta, stored)

    def _bits(self, batch: Batch, form: tuple[int, int]) -> Tensor:
        """Random bits for the weights of a batch."""
        assert self._seed is not None
        step, first = batch.states[0]["step"], batch.parameters[0]
        drawn = [random_bits(self._seed, name, step, batch.elements, first.device) for name in batch.names]
        return _stacked([each[batch.start : batch.start + first.numel()] for each in drawn], form)


class _Rows:
    """U of large matrices, by tiles of rows."""

    def __init__(self, batch: Batch, *, beta2: float, eps: float):
        matrices, rows, columns, _ = batch.geometry
        self.form = (matrices * rows, columns)
        self._batch = batch
        self._beta2 = beta2
        self._eps = eps
        self._gradients = _stacked(batch.gradients, self.form)
        alone = len(batch.parameters) == 1 and matrices == 1
        self.tiles = _tiles(rows, columns, self._gradients.device) if alone else [slice(0, matrices * rows)]

    def statistics(self) -> Sums:
        """Update R and C."""
        tensors, (matrices, rows, columns, _) = len(self._batch.parameters), self._batch.geometry
        row_sum = self._gradients.new_empty((tensors, matrices * rows), dtype=torch.float32)
        column_sum = self._gradients.new_zeros((tensors, matrices, columns), dtype=torch.float32)
        for tile in self.tiles:
            square = _squared(self._gradients[:, tile])
            row_sum[:, tile] = square.sum(-1)
            column_sum += square.view(tensors, matrices, -1, columns).sum(2)
        if matrices == 1:
            yield column_sum
        row = self._averaged("exp_avg_sq_row", row_sum / columns)
        column = self._averaged("exp_avg_sq_col", column_sum / self._batch.whole.rows)
        mean = column.mean(-1, keepdim=True)  # that of R as well, of which this rank may hold a part only
        self._row = (row.view(tensors, matrices, rows) / mean).rsqrt_().view(tensors, matrices * rows, 1)
        self._column = column.rsqrt()
        if matrices > 1:
            self._column = self._column.repeat_interleave(rows, dim=1)

    def sum_of_squares(self) -> Tensor:
        """Of all elements of U of each tensor, (tensors,)."""
        total = self._gradients.new_zeros(len(self._gradients), dtype=torch.float32)
        for tile in self.tiles:
            norms = torch.linalg.vector_norm(self._gradients[:, tile] * self._column, dim=-1, keepdim=True)
            total += norms.mul_(self._row[:, tile]).square_().sum((1, 2))
        return total

    def of(self, tile: slice, factor: Tensor) -> Tensor:
        """factor (tensors, 1, 1) * U as a new tensor (tensors, rows, columns)."""
        return (self._gradients[:, tile] * self._column).mul_(self._row[:, tile] * factor)

    def subtract(self, tile: slice, factor: Tensor, weight: Tensor) -> None:
        """weight -= factor * U."""
        weight.addcmul_(self._gradients[:, tile] * self._column, self._row[:, tile] * factor, value=-1)

    def _averaged(self, key: str, mean: Tensor) -> Tensor:
        stored = [state[key] for state in self._batch.states]
        average = _stacked(stored, tuple(mean.shape[1:]))
        average.mul_(self._beta2).add_(mean + self._eps, alpha=1 - self._beta2)
        _unstack(average, stored)
        return average


class _Planes:
    """U of matrices with few elements, and of vectors: one plane an element, over all matrices of a tensor.

    Sums over three neighbours in memory are ten times slower than sums of three planes. Statistics are planes in
    memory already, whatever their shape says (`_plane_zeros`).
    """

    def __init__(self, batch: Batch, *, beta2: float, eps: float):
        matrices, rows, columns, factored = batch.geometry
        self.form = (matrices, rows * columns)
        self._shape = (len(batch.parameters), rows, columns, -1)
        self._beta2 = beta2
        self._eps = eps
        self._gradients = _stacked(batch.gradients, self.form)
        key = "exp_avg_sq_col" if factored else "exp_avg_sq"
        self._stored_columns = [_as_planes(state[key], columns) for state in batch.states]
        self._stored_rows = [_as_planes(state["exp_avg_sq_row"], rows) for state in batch.states] if factored else []
        self._columns = _stacked(self._stored_columns, (columns, matrices))
        self._rows = _stacked(self._stored_rows, (rows, matrices)) if factored else None
        alone = len(batch.parameters) == 1
        self.tiles = _tiles(matrices, rows * columns, self._gradients.device) if alone else [slice(0, matrices)]

    def statistics(self) -> Sums:
        """Update R and C, and add up the squares of U while a tile is at hand."""
        self._squares = self._gradients.new_zeros(len(self._gradients), dtype=torch.float32)
        for tile in self.tiles:
            planes = self._planes(tile)
            square = planes.square()
            self._average(self._columns[:, :, tile], square.mean(1))
            if self._rows is not None:
                self._average(self._rows[:, :, tile], square.mean(2))
            self._squares += self._scaled(planes, tile).square_().sum((1, 2, 3))
        _unstack(self._columns, self._stored_columns)
        if self._rows is not None:
            _unstack(self._rows, self._stored_rows)
        yield from ()

    def sum_of_squares(self) -> Tensor:
        """Of all elements of U of each tensor, (tensors,)."""
        return self._squares

    def of(self, tile: slice, factor: Tensor) -> Tensor:
        """factor (tensors, 1, 1) * U as a new tensor (tensors, matrices, elements), planes in memory."""
        return self._scaled(self._planes(tile), tile, factor).flatten(1, 2).transpose(1, 2)

    def subtract(self, tile: slice, factor: Tensor, weight: Tensor) -> None:
        """weight -= factor * U."""
        weight.sub_(self.of(tile, factor))

    def _planes(self, tile: slice) -> Tensor:
        """The gradients as a new float32 tensor (tensors, rows, columns, matrices)."""
        part = self._gradients[:, tile].transpose(1, 2)
        planes = torch.empty(part.shape, dtype=torch.float32, device=part.device).copy_(part)
        return planes.view(self._shape)

    def _average(self, average: Tensor, mean: Tensor) -> None:
        average.mul_(self._beta2).add_(mean.add_(self._eps), alpha=1 - self._beta2)

    def _scaled(self, planes: Tensor, tile: slice, factor: Tensor | None = None) -> Tensor:
        columns = self._columns[:, :, tile].rsqrt()
        planes.mul_((columns if factor is None else columns.mul_(factor))[:, None])
        if self._rows is not None and self._rows.shape[1] > 1:
            rows = self._rows[:, :, tile]
            planes.mul_((rows / rows.mean(1, keepdim=True)).rsqrt_()[:, :, None])
        return planes


_Direction = _Rows | _Planes


def _finish(updates: Iterable[Sums]) -> None:
    """Run updates one after another; one rank holds everything, so sums are complete."""
    for update in updates:
        for _ in update:
            pass


def _finish_together(updates: Sequence[Sums], group: Any) -> None:
    """Run updates side by side, with one all-reduce for all that they yield in a round."""
    running = list(updates)
    while running:
        yielded = [(update, sums) for update in running if (sums := next(update, None)) is not None]
        running = [update for update, _ in yielded]
        if not running:
            return
        flat = torch.cat([sums.flatten() for _, sums in yielded])
        torch.distributed.all_reduce(flat, group=group)
        for (_, sums), summed in zip(yielded, flat.split([sums.numel() for _, sums in yielded]), strict=True):
            sums.copy_(summed.view(sums.shape))


def _stacked(tensors: Sequence[Tensor], form: tuple[int, ...]) -> Tensor:
    """(tensors, *form): on the memory of a tensor that is alone and contiguous, else a copy (see `_unstack`)."""
    if len(tensors) == 1 and tensors[0].is_contiguous():
        return tensors[0].view(1, *form)
    return torch.stack([tensor.reshape(form) for tensor in tensors])


def _unstack(stacked: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy back what `_stacked` copied."""
    if len(tensors) > 1 or not tensors[0].is_contiguous():
        for tensor, part in zip(tensors, stacked.unbind(), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _as_planes(statistic: Tensor, planes: int) -> Tensor:
    """(planes, ...) of a statistic (..., planes), or of a vector's."""
    return statistic.movedim(-1, 0) if planes > 1 else statistic.reshape(1, -1)


def _squared(part: Tensor) -> Tensor:
    return part.square() if part.dtype == torch.float32 else part.float().square_()


def _most_stacked(tensor: Tensor) -> int:
    """How many tensors like this one make a stack."""
    device = tensor.device.type if tensor.device.type in TILE else "cuda"
    elements = max(1, tensor.numel())
    return 1 if elements > STACKED[device] else max(1, TILE[device] // elements)


def _tile(device: torch.device) -> int:
    return TILE.get(device.type, TILE["cuda"])


def _tiles(length: int, width: int, device: torch.device) -> list[slice]:
    step = max(1, _tile(device) // max(1, width))
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


def _zeros(parameter: Tensor, shape: tuple[int, ...], *, by_rows: bool) -> Tensor:
    """float32, sharded by rows as the parameter is, or whole on every rank."""
    if not is_sharded(parameter):
        return torch.zeros(shape, device=parameter.device)
    rows = local(parameter).shape[0] if by_rows else shape[0]
    part = torch.zeros((rows, *shape[1:]), device=parameter.device)
    return sharded_like(part, parameter, shape, by_rows=by_rows)


def _plane_zeros(parameter: Tensor, shape: tuple[int, ...], *, by_rows: bool) -> Tensor:
    """The same with the last dimension outermost in memory, but for shards."""
    if is_sharded(parameter):
        return _zeros(parameter, shape, by_rows=by_rows)
    return torch.zeros((shape[-1], *shape[:-1]), device=parameter.device).movedim(0, -1)
