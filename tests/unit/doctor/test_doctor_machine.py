"""Probes of the machine: with given facts, with a cgroup tree in a folder, with a program that plays nvidia-smi."""

from __future__ import annotations

import fcntl
import os
import resource
import sys

import pytest

from animetune.doctor import disks, gpus, limits, packages
from animetune.doctor.findings import Finding
from animetune.doctor.leftovers import OLD, leftover_findings, living_runs
from animetune.doctor.limits import Limits

SMI = "NVIDIA H100 80GB HBM3, 81559, 4, 550.54.15, 0\n"


def states(findings):
    return [(each.what, each.state) for each in findings]


# ---- packages


def versions(**installed):
    return lambda name: installed.get(name.replace("-", "_"))


def test_versions_against_ranges():
    found = list(
        packages.package_findings(["torch>=2.10", "pillow>=12.2", "numpy<2.2"], versions(torch="2.9", numpy="2.1"))
    )
    assert states(found) == [("pillow", "problem"), ("torch", "problem"), ("packages", "ok")]
    assert found[1].text == "2.9, but animetune needs >=2.10"
    assert found[1].remedy == "pip install 'torch>=2.10'"
    assert packages.python_finding("3.10.4", ">=3.11,<3.14").state == "problem"
    assert packages.python_finding("3.12.1", ">=3.11,<3.14").state == "ok"


def test_extras_and_two_wheels_of_onnxruntime():
    extras = {"onnx": ["onnxruntime>=1.20"], "ray": ["ray>=2.50"], "s3": ["s3fs>=2025.2"]}
    found = {each.what: each for each in packages.extra_findings(extras, versions(onnxruntime_gpu="1.22", ray="2.0"))}
    assert {name: each.state for name, each in found.items()} == {
        "extra onnx": "ok", "extra ray": "problem", "extra s3": "note", "extra wandb": "note",
    }  # fmt: skip
    assert not list(packages.onnx_findings(versions(onnxruntime="1.22")))
    both = list(packages.onnx_findings(versions(onnxruntime="1.22", onnxruntime_gpu="1.22")))
    assert states(both) == [("onnxruntime", "problem")]


def test_this_checkout_asks_for_what_its_pyproject_says():
    wanted = packages.wanted_versions()
    assert any(each.startswith("torch") for each in wanted.packages)
    assert wanted.extras["s3"]
    assert states(packages.look_at_python())[1] == ("python", "ok")


def test_offline_is_told():
    assert next(packages.offline_findings({})).state == "ok"
    assert next(packages.offline_findings({"HF_HUB_OFFLINE": "1"})).state == "note"


# ---- limits


def test_the_strictest_limits_of_version_2(tmp_path):
    inner = tmp_path / "pod/box"
    inner.mkdir(parents=True)
    (tmp_path / "pod/cpu.max").write_text("250000 100000\n")
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "pod/memory.max").write_text(f"{32 << 30}\n")
    (inner / "memory.max").write_text(f"{8 << 30}\n")
    (inner / "memory.current").write_text(f"{3 << 30}\n")
    (inner / "memory.stat").write_text(f"anon 1\ninactive_file {1 << 30}\n")
    assert limits.read_limits(tmp_path, "0::/pod/box\n") == Limits(2.5, 8 << 30, 2 << 30)


def test_the_limits_of_version_1(tmp_path):
    for name in ("cpu,cpuacct", "memory"):
        (tmp_path / name / "job").mkdir(parents=True)
    (tmp_path / "cpu,cpuacct/job/cpu.cfs_quota_us").write_text("400000")
    (tmp_path / "cpu,cpuacct/job/cpu.cfs_period_us").write_text("100000")
    (tmp_path / "memory/job/memory.limit_in_bytes").write_text(str(16 << 30))
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712")
    membership = "4:cpu,cpuacct:/job\n9:memory:/job\n"
    assert limits.read_limits(tmp_path, membership) == Limits(4.0, 16 << 30, None)
    assert limits.read_limits(tmp_path / "none", membership) == Limits(None, None, None)


def test_processors_and_memory():
    free = Limits(None, None, None)
    assert limits.processor_finding(64, 64, free).state == "ok"
    assert limits.processor_finding(64, 8, free).state == "note"
    quota = limits.processor_finding(64, 64, Limits(3.5, None, None))
    assert quota.state == "note"
    assert "executor.workers to 3" in quota.remedy
    meminfo = {"MemTotal": 512 << 30, "MemAvailable": 500 << 30}
    assert limits.memory_finding(meminfo, free).state == "ok"
    tight = limits.memory_finding(meminfo, Limits(None, 10 << 30, 4 << 30))
    assert tight.state == "note"
    assert "limit of the container" in tight.text
    assert "6.44 GB available" in tight.text


def test_open_files_shared_memory_text_and_clock():
    assert limits.open_files_finding(1024, 1 << 20).remedy == "ulimit -n 4096"
    assert "hard limit" in limits.open_files_finding(1024, 1024).remedy
    assert limits.open_files_finding(resource.RLIM_INFINITY, resource.RLIM_INFINITY).state == "ok"
    assert limits.shared_memory_finding(64 << 20, 64 << 20).state == "note"
    assert limits.shared_memory_finding(64 << 20, 64 << 20, 32 << 20).state == "ok"
    assert limits.shared_memory_finding(64 << 20, 64 << 20, 65 << 20).state == "problem"
    assert limits.text_finding("utf-8", "UTF-8", "C.UTF-8").state == "ok"
    assert limits.text_finding("ascii", "utf-8", "C").state == "problem"
    assert limits.clock_finding(0).state == "problem"


def test_the_real_probes_of_this_machine_answer():
    probes = (limits.look_at_processors, limits.look_at_memory, limits.look_at_files, limits.look_at_clock)
    assert all(list(probe()) for probe in probes)


# ---- GPUs


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Put a program on PATH that plays nvidia-smi."""

    def write(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!{sys.executable}\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return write


def test_what_nvidia_smi_says(smi):
    smi(f"import sys\nassert '--format=csv,noheader,nounits' in sys.argv\nsys.stdout.write({SMI * 2!r})")
    found = gpus.ask_smi()
    assert isinstance(found, list)
    assert [(each.name, each.total >> 20, each.driver) for each in found] == [
        ("NVIDIA H100 80GB HBM3", 81559, "550.54.15")
    ] * 2


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.stderr.write('Driver/library version mismatch'); sys.exit(18)", "Driver/library version"),
        ("import sys; sys.exit(9)", "exit code 9"),
        ("import time; time.sleep(60)", "does not answer"),
    ],
)
def test_an_nvidia_smi_that_fails_or_hangs(smi, monkeypatch, script, said):
    monkeypatch.setattr(gpus, "SMI_SECONDS", 1.0)
    smi(script)
    found = gpus.ask_smi()
    assert isinstance(found, Finding)
    assert found.state == "problem"
    assert said in found.text


def test_no_nvidia_smi_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = gpus.ask_smi()
    assert isinstance(found, Finding)
    assert found.state == "note"


def test_lines_that_nvidia_smi_leaves_empty():
    found = gpus.parse_smi("GRID A100, [N/A], [N/A], 535.1, [N/A]\n\n")
    assert (found[0].total, found[0].errors) == (0, 0)
    with pytest.raises(ValueError, match="fields"):
        gpus.parse_smi("No devices were found\n")


@pytest.mark.parametrize(
    ("driver", "cuda", "state"),
    [
        ("550.54.15", "12.4", "ok"), ("525.60.13", "12.9", "ok"), ("515.10", "12.1", "problem"),
        ("550.54.15", "13.2", "problem"), ("580.1", "13.2", "ok"), ("580.1", None, "problem"),
    ],
)  # fmt: skip
def test_the_driver_against_pytorchs_cuda(driver, cuda, state):
    assert gpus.driver_finding(driver, cuda).state == state


def test_gpus_in_use_or_with_errors():
    used = "A, 1000, 300, 550.1, 0\nB, 1000, 5, 550.1, 2\n"
    assert states(gpus.smi_findings(gpus.parse_smi(used), "12.4")) == [
        ("driver", "ok"), ("GPU 0", "note"), ("GPU 1", "problem"),
    ]  # fmt: skip


def test_what_pytorch_sees():
    h100 = gpus.Device("NVIDIA H100", 85 * 10**9, (9, 0))
    turing = gpus.Device("Tesla T4", 16 * 10**9, (7, 5))
    assert states(gpus.device_findings([h100], 1, "", None)) == [("GPU 0", "ok")]
    assert states(gpus.device_findings([], 2, "too old", "")) == [("GPUs", "problem")]
    assert states(gpus.device_findings([], 0, "", None)) == [("GPUs", "note")]
    mixed = states(gpus.device_findings([h100, turing], 3, "", "0,1"))
    assert mixed == [("GPUs", "note"), ("GPUs", "note"), ("GPU 0", "ok"), ("GPU 1", "problem")]
    assert gpus.peer_finding([], 2).state == "ok"
    assert "1 of 2 pairs" in gpus.peer_finding([(0, 1)], 2).text
    assert gpus.bitsandbytes_finding(0, "0.50\n", "").state == "ok"
    assert "libcuda" in gpus.bitsandbytes_finding(1, "", "trace\nOSError: libcuda").text


# ---- disks

MOUNTS = (
    "21 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n"
    "22 21 0:5 / /data rw - nfs4 server:/x rw\n"
    "23 22 0:6 / /data/my\\040runs rw - tmpfs tmpfs rw\n"
    "24 21 0:7 / /lock ro - fuse.sshfs me: ro\n"
)


def test_the_file_system_of_a_path(tmp_path):
    mounts = disks.parse_mounts(MOUNTS)
    from pathlib import Path

    kinds = {
        place: disks.mount_of(Path(place), mounts) for place in ("/x", "/data/a/b", "/data/my runs/a", "/database")
    }
    assert [mount and mount.kind for mount in kinds.values()] == ["ext4", "nfs4", "tmpfs", "ext4"]
    assert mounts[3].is_read_only
    assert disks.is_network("fuse.sshfs")
    assert not disks.is_network("ext4")


def test_room_and_kinds():
    assert disks.room_finding("runs", "/r", 1e12, "ext4").state == "ok"
    assert disks.room_finding("runs", "/r", 1e9, "ext4").state == "note"
    assert disks.room_finding("runs", "/r", 1e12, "nfs4").state == "note"
    assert disks.room_finding("runs", "/r", 1e12, "tmpfs").state == "note"
    assert disks.room_finding("runs", "/r", 1e9, "ext4", needed=2e9).state == "problem"
    assert disks.room_finding("runs", "/r", 1e9, "ext4", needed=5e8).state == "ok"


def test_a_tmpdir_with_a_long_name_or_no_room():
    assert disks.tmpdir_finding("/tmp", 1e11, "ext4").state == "ok"
    assert disks.tmpdir_finding("/tmp", 1e8, "ext4").state == "problem"
    assert disks.tmpdir_finding("/scratch/" + "x" * 50, 1e11, "ext4").state == "problem"
    assert disks.tmpdir_finding("/home/me/tmp", 1e11, "lustre").state == "note"


def test_places_are_really_written_to(tmp_path):
    assert next(each.state for each in disks.look_at_place("runs", tmp_path / "a/b", least=0)) in ("ok", "note")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    assert states(disks.look_at_place("runs", tmp_path / "file")) == [("runs", "problem")]
    assert states(disks.look_at_place("runs", disks.Path("/proc/1"))) == [("runs", "problem")]


# ---- leftovers


def test_files_of_dead_runs_are_told_and_those_of_living_ones_are_not(tmp_path):
    shared, temporary = tmp_path / "shm", tmp_path / "tmp"
    for folder in (shared, temporary):
        folder.mkdir()
    for name in ("123456789_locals", "123456789_barrier", "987654321_locals", "other"):
        (shared / name).write_text("x")
    later = os.stat(shared / "other").st_mtime + OLD + 60
    with (shared / "987654321_locals").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert "2 files of 1 dead runs" in next(leftover_findings(shared, temporary, now=later)).text
        assert states(leftover_findings(shared, temporary)) == [("leftovers", "ok")]  # they may be starting
    dead, living = temporary / "animetune-0123456789ab-4194305", temporary / f"animetune-0123456789ab-{os.getpid()}"
    for folder in (dead, living, temporary / "animetune-0123456789ab-job7", temporary / "someone-elses"):
        folder.mkdir()
    found = list(leftover_findings(tmp_path / "none", temporary, now=later))
    assert "2 folders of dead runs" in found[0].text
    assert str(dead) in found[0].remedy
    assert str(living) not in found[0].remedy
    assert states(leftover_findings(tmp_path / "none", temporary, living=1, now=later)) == [("leftovers", "ok")]


def test_living_runs_are_counted_by_their_command_lines(tmp_path):
    lines = {
        "11": "python\0-m\0animetune\0train",
        "12": "vim\0animetune.md",
        "13": "/venv/bin/animetune\0run",
        "self": "",
    }
    for name, line in lines.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cmdline").write_text(line)
    assert living_runs(tmp_path) == 2
