"""`make demo`, whole: the pictures of the trained model have the colours that their prompts name."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.demo.run import run


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_learns_hair_and_background_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path / "demo")
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {value:.3g}" for name, value in result.items()))
    assert result["pictures"] >= 64
    assert result["hair_colour"] >= 0.90
    assert result["background_colour"] >= 0.90
    page = (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")
    assert "animetune demo" in page
    assert (tmp_path / "demo" / "export" / "animetune-demo.safetensors").is_file()
