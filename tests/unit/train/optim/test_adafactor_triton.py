"""The Triton kernels without a GPU: interpreted against the torch implementation, and compiled for CUDA."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.train.optim import interpreted
from tests.unit.train.optim.interpreted import CASES, flat, rounded, train

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("triton") / "found.safetensors"
    command = [sys.executable, "-m", interpreted.__name__, str(out)]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run(command, cwd=Path(__file__).resolve().parents[4], env=environment, check=True)
    return load_file(out)


@pytest.mark.parametrize("case", [case for case in CASES if "bf16" not in case])
def test_kernels_do_what_the_torch_implementation_does(found: dict[str, torch.Tensor], case: str) -> None:
    expected = flat(*train(case, triton=False))
    assert {f"{case}/{key}" for key in expected} == {key for key in found if key.startswith(f"{case}/")}
    for key, value in expected.items():
        torch.testing.assert_close(
            found[f"{case}/{key}"], value, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: key + text
        )


def test_rounding_in_the_kernels(found: dict[str, torch.Tensor]) -> None:
    """State as it should be; weights beside those of the torch implementation, which draws other bits, and unbiased."""
    expected = flat(*train("bf16", triton=False))
    for key, value in expected.items():
        ours = found[f"bf16/{key}"]
        assert ours.dtype == value.dtype
        if key.endswith("/weight"):
            # At each of two steps a neighbour, of a weight that was up to 0.05 larger.
            spacing = torch.exp2(torch.floor(torch.log2(value.float().abs() + 0.05)) - 7)
            assert ((ours.float() - value.float()).abs() <= 4 * spacing).all()
        else:
            torch.testing.assert_close(ours, value, rtol=1e-5, atol=1e-6)
    # 4000 weights of 1 - 1e-3, between bf16's 1 and 1 - 2**-8: a standard error of 2.7e-5.
    for weights in (found["rounded 1"], found["rounded 2"], rounded(triton=False, seed=1)):
        assert weights.double().mean().item() == pytest.approx(1 - 1e-3, abs=1.2e-4)
    assert not torch.equal(found["rounded 1"], found["rounded 2"])


def test_kernels_keep_what_is_not_finite(found: dict[str, torch.Tensor]) -> None:
    for stored in found["not finite"]:
        assert stored[:3].isnan().all()
        assert stored[3:5].tolist() == [torch.inf, -torch.inf]


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_cuda(capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Triton's own compiler, which needs no GPU; rows that are aligned are read 16 bytes at a time."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from animetune.train.optim import adafactor_triton as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    tile = {"ROWS": kernels.ROWS, "COLUMNS": kernels.COLUMNS, "ALIGNED": True, "GRADIENT": tl.bfloat16}
    small = {"MATRICES": kernels.MATRICES, "ROWS": 3, "COLUMNS": 3, "FACTORED": True, "GRADIENT": tl.bfloat16}
    rounding = {"WEIGHT": tl.bfloat16, "ROUNDS": True, "PARTS": 64}
    constants = {
        kernels.row_statistics: tile,
        kernels.column_statistics: {"COLUMNS": kernels.COLUMNS},
        kernels.sum_of_squares: tile,
        kernels.apply_matrix: tile | rounding,
        kernels.small_statistics: small,
        kernels.apply_small: small | rounding,
    }
    types = {"table": "*i64", **dict.fromkeys(("parts", "squares", "means"), "*fp32")}
    types |= dict.fromkeys(("beta2", "eps", "lr", "decay", "threshold"), "fp32")
    for kernel, chosen in constants.items():
        names = kernel.arg_names
        signature = {name: "constexpr" if name in chosen else types.get(name, "i32") for name in names}
        aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in names if name in (*types, "columns")}
        aligned = {
            place: what for place, what in aligned.items() if signature[names[place[0]]] in ("*i64", "*fp32", "i32")
        }
        source = ASTSource(fn=kernel, signature=signature, constexprs=chosen, attrs=aligned)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert compiled.asm["cubin"]
        if "ALIGNED" in chosen:
            assert "ld.global.v4.b32" in compiled.asm["ptx"]
