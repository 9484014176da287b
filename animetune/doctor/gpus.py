"""GPUs: the driver, what PyTorch sees of them, how they reach each other, whether 8-bit optimizers run."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from animetune.doctor.findings import Finding, note, ok, problem
from animetune.progress import bytes_text

SMI_SECONDS = 20.0
"""A driver that hangs answers never."""
BITSANDBYTES_SECONDS = 180.0
LEAST_DRIVERS = {13: 580, 12: 525, 11: 450}
"""Major version of CUDA -> the first driver that runs it, by NVIDIA's table of minor-version compatibility."""
BF16_SINCE = (8, 0)
"""Compute capability: Ampere."""
LEAST_FREE = 0.9
"""Share of a GPU's memory below which something else is using it."""
_QUERY = ("name", "memory.total", "memory.used", "driver_version", "ecc.errors.uncorrected.volatile.total")
_STEP = """
import sys, torch, bitsandbytes
if torch.cuda.is_available():
    weight = torch.nn.Parameter(torch.ones(8192, device="cuda"))
    weight.grad = torch.ones_like(weight)
    bitsandbytes.optim.AdamW8bit([weight], lr=0.1).step()
    assert float(weight[0]) < 1
sys.stdout.write(bitsandbytes.__version__)
"""


@dataclass(frozen=True)
class SmiGpu:
    """A line of nvidia-smi."""

    name: str
    total: int
    """Bytes."""
    used: int
    """Bytes."""
    driver: str
    errors: int
    """Uncorrected errors of its memory since the machine started; 0 where it does not count them."""


@dataclass(frozen=True)
class Device:
    """A GPU as PyTorch sees it."""

    name: str
    memory: int
    """Bytes."""
    capability: tuple[int, int]


def ask_smi() -> list[SmiGpu] | Finding:
    """What nvidia-smi says; a finding where there is none or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return note("nvidia-smi", "is not there: no NVIDIA driver, or a container without it")
    command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return problem("nvidia-smi", f"does not answer in {SMI_SECONDS:g} s: the driver hangs", "reboot the machine")
    except OSError as error:
        return problem("nvidia-smi", f"cannot be run: {error}", "install the driver again")
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        return problem(
            "nvidia-smi",
            f"fails: {said[0] if said else f'exit code {done.returncode}'}",
            "install the driver again, or reboot if it was updated while loaded",
        )
    return parse_smi(done.stdout)


def parse_smi(text: str) -> list[SmiGpu]:
    """The GPUs of nvidia-smi's CSV, without head and units. ValueError when it is none."""
    found = []
    for row in csv.reader(io.StringIO(text), skipinitialspace=True):
        if not row:
            continue
        if len(row) != len(_QUERY):
            raise ValueError(f"nvidia-smi: {','.join(row)!r} has {len(row)} fields, not {len(_QUERY)}")
        name, total, used, driver, errors = (cell.strip() for cell in row)
        mib = [int(cell) << 20 if cell.isdigit() else 0 for cell in (total, used)]
        found.append(SmiGpu(name, mib[0], mib[1], driver, int(errors) if errors.isdigit() else 0))
    return found


def smi_findings(gpus: Sequence[SmiGpu], cuda: str | None) -> Iterator[Finding]:
    """The driver against the CUDA that PyTorch was built for, and the state of each GPU."""
    if gpus:
        yield driver_finding(gpus[0].driver, cuda)
    for place, gpu in enumerate(gpus):
        if gpu.errors:
            yield problem(
                f"GPU {place}",
                f"{gpu.name}: {gpu.errors} uncorrected errors in its memory",
                "reboot; if they come back, have the card replaced",
            )
        if gpu.total and gpu.used > (1 - LEAST_FREE) * gpu.total:
            yield note(
                f"GPU {place}",
                f"{gpu.name}: {bytes_text(gpu.used)} of {bytes_text(gpu.total)} are in use by others",
                "nvidia-smi lists who uses it",
            )


def driver_finding(driver: str, cuda: str | None) -> Finding:
    """Of a driver's version, as 550.54.15, and the CUDA of PyTorch's build, as 12.4; None is a build for CPUs."""
    if cuda is None:
        return problem(
            "driver",
            f"{driver}, but this PyTorch is built for CPUs alone",
            "install PyTorch for CUDA: pytorch.org/get-started",
        )
    least = LEAST_DRIVERS.get(int(cuda.split(".")[0]))
    if least is not None and int(driver.split(".")[0]) < least:
        return problem(
            "driver",
            f"{driver} does not run CUDA {cuda}, for which PyTorch is built: that needs {least} or newer",
            f"update the driver, or install a PyTorch for an older CUDA than {cuda.split('.')[0]}",
        )
    return ok("driver", f"{driver}, PyTorch for CUDA {cuda}")


def look_at_gpus() -> Iterator[Finding]:
    """Driver, devices, their links and NCCL."""
    import torch

    said = ask_smi()
    seen = [] if isinstance(said, Finding) else said
    devices, complaint = torch_devices()
    yield ok(
        "PyTorch", f"{torch.__version__}, built for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPU'}"
    )
    if isinstance(said, Finding):
        yield said
    yield from smi_findings(seen, torch.version.cuda)
    yield from device_findings(devices, len(seen), complaint, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if len(devices) > 1:
        pairs = [(a, b) for a in range(len(devices)) for b in range(len(devices)) if a != b]
        yield peer_finding([pair for pair in pairs if not torch.cuda.can_device_access_peer(*pair)], len(pairs))
    if devices and torch.distributed.is_nccl_available():
        yield ok("NCCL", ".".join(map(str, torch.cuda.nccl.version())))
    elif devices:
        yield problem("NCCL", "is not in this PyTorch: several GPUs cannot train together", "install PyTorch for CUDA")


def torch_devices() -> tuple[list[Device], str]:
    """The GPUs that PyTorch sees, and what it complains of if it sees none."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = []
        if torch.cuda.is_available():
            for place in range(torch.cuda.device_count()):
                facts = torch.cuda.get_device_properties(place)
                found.append(Device(facts.name, facts.total_memory, (facts.major, facts.minor)))
    return found, str(caught[0].message).splitlines()[0] if caught and not found else ""


def device_findings(
    devices: Sequence[Device], on_machine: int, complaint: str, visible: str | None
) -> Iterator[Finding]:
    """What PyTorch sees, against the `on_machine` GPUs that nvidia-smi lists; `visible`: CUDA_VISIBLE_DEVICES."""
    shown = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r})"
    if not devices and on_machine:
        yield problem(
            "GPUs",
            f"{on_machine} on this machine, but PyTorch sees none{shown}{f': {complaint}' if complaint else ''}",
            "unset CUDA_VISIBLE_DEVICES, or install a PyTorch that fits the driver",
        )
    elif not devices:
        yield note("GPUs", f"none{shown}: SDXL is not trained here in any reasonable time; the demo is, in minutes")
    elif len(devices) < on_machine:
        yield note("GPUs", f"PyTorch sees {len(devices)} of {on_machine}{shown}")
    if len({device.name for device in devices}) > 1:
        yield note("GPUs", "are of several kinds: each step waits for the slowest")
    for place, device in enumerate(devices):
        major, minor = device.capability
        text = f"{device.name}, {bytes_text(device.memory)}, compute capability {major}.{minor}"
        if device.capability < BF16_SINCE:
            yield problem(
                f"GPU {place}",
                f"{text}: no bfloat16 in its tensor cores",
                "train on Ampere or newer, or with model.dtype: float32, slowly",
            )
        else:
            yield ok(f"GPU {place}", text)


def peer_finding(apart: Sequence[tuple[int, int]], pairs: int) -> Finding:
    """Of the pairs of GPUs that do not reach each other's memory, among `pairs`."""
    if not apart:
        return ok("links", "every GPU reaches the others' memory (NVLink or PCIe)")
    return note(
        "links",
        f"{len(apart)} of {pairs} pairs of GPUs do not reach each other's memory: gradients pass through the CPU's",
        "accumulate more micro-batches a step (data.global_batch); `nvidia-smi topo -m` shows the links",
    )


def look_at_bitsandbytes() -> Iterator[Finding]:
    """Import it, and do a step where there is a GPU, in a process of its own: it prints, and may crash."""
    environment = {**os.environ, "BITSANDBYTES_NOWELCOME": "1"}
    try:
        done = subprocess.run(  # noqa: S603 (our own text)
            [sys.executable, "-c", _STEP],
            capture_output=True,
            text=True,
            timeout=BITSANDBYTES_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        yield note("bitsandbytes", f"did not come up in {BITSANDBYTES_SECONDS:g} s", "avoid optimizer.name: adamw8bit")
        return
    yield bitsandbytes_finding(done.returncode, done.stdout, done.stderr)


def bitsandbytes_finding(code: int, output: str, errors: str) -> Finding:
    """Of the process that used it."""
    if code == 0:
        return ok("bitsandbytes", f"{output.strip().splitlines()[-1]}, usable")
    last = errors.strip().splitlines()[-1] if errors.strip() else f"exit code {code}"
    return note(
        "bitsandbytes",
        f"is not usable: {last}",
        "only optimizer.name: adamw8bit needs it; install a version for this CUDA, or take adafactor",
    )
