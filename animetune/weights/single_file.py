"""The single file in the layout of Stability AI's own (LDM), with ModelSpec 1.0.1 metadata.

Beside the networks it holds CLIP-G's logit scale and, for a UNet that predicts v, the empty tensors `v_pred` and (with
zero terminal SNR) `ztsnr`, by which ComfyUI and A1111 choose the sampling. Epsilon models hold neither.

For a rectified flow there is no such tensor: ComfyUI looks for none, and published flows of SDXL (bigASP 2.5,
nyaflow-xl) are drawn with a node that says so. None is invented here: the metadata says `flow`, and the usage hint what
has to be set by hand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from animetune.models import keys
from animetune.models.lazy import LazyTensor, State, held
from animetune.models.networks import network_links
from animetune.models.sdxl import COMPONENTS
from animetune.models.source import Source
from animetune.tensorfile import Entry, write_safetensors
from animetune.weights.tensors import Lost, cast_entry


def write_single_file(
    path: Path, entries: Sequence[Entry], *, metadata: Mapping[str, str], done: Callable[[], None] = lambda: None
) -> None:
    """Write `single_file_entries` to `path`, which fsio handed out; `done` is called after each.

    Raises DataError naming a tensor that does not fit its dtype.
    """
    write_safetensors(path, entries, metadata=metadata, hash_key="modelspec.hash_sha256", done=done)


def single_file_entries(source: Source, *, dtype: torch.dtype, vae_dtype: torch.dtype, lost: Lost) -> list[Entry]:
    """Every tensor of the single file, not yet loaded; DataError as of `Source.state`."""
    entries = [cast_entry(keys.LOGIT_SCALE_KEY, held(torch.tensor(source.logit_scale)), dtype, lost)]
    entries += [cast_entry(name, held(torch.zeros(0)), torch.float32, lost) for name in markers(source)]
    for component in COMPONENTS:
        state = source.state(component)
        kind = vae_dtype if component == "vae" else dtype
        links = network_links(source.architecture, component)
        entries += [cast_entry(link.ldm, linked(link, state), kind, lost) for link in links]
    return entries


def markers(source: Source) -> tuple[str, ...]:
    """The empty tensors that say what the UNet predicts."""
    if source.parameterization.prediction != "v":
        return ()
    return (keys.V_PREDICTION_KEY, keys.ZERO_TERMINAL_SNR_KEY)[: 1 + source.parameterization.zero_terminal_snr]


def linked(link: keys.Link, state: State) -> LazyTensor:
    """A tensor of the single file, made of ours."""
    ours = [state[name] for name in link.names]
    dtype = _widest({each.dtype for each in ours})
    shape = link.ldm_shape([each.shape for each in ours])
    return LazyTensor(shape, dtype, lambda: link.to_ldm([each.load().to(dtype) for each in ours]))


def _widest(dtypes: set[torch.dtype]) -> torch.dtype:
    """The type that keeps the numbers of all; PyTorch promotes no float8."""
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return functools.reduce(torch.promote_types, (torch.float16 if each.itemsize == 1 else each for each in dtypes))
