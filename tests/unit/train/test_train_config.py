"""Training configurations whose settings do not go together are refused when they are read, by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.config import load_config
from animetune.errors import ConfigError
from animetune.train.config import TrainConfig

CONFIG = """\
stage: train
run: run
model: {base: "random:tiny"}
data: {shards: none, labels: none, global_batch: 2, micro_batch: 2}
optimizer: {name: adamw, unet_lr: 1e-3}
loop: {steps: 1}
"""


def load(tmp_path: Path, added: str) -> TrainConfig:
    file = tmp_path / "train.yaml"
    file.write_text(CONFIG + added)
    return load_config(file, TrainConfig)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("preview: {width: 1001}", r"train\.yaml:7:\d+: preview\.width: .*multiple of 8"),
        ("preview: {height: 0}", r"train\.yaml:7:\d+: preview\.height: .*64"),
        ("preview: {every: 5}", r"train\.yaml:7:\d+: preview\.every: 5 steps, but no prompts: give prompts, or"),
        (
            "preview: {every: 5, prompts: [a], sampler: {shift: 3}}",
            r"train\.yaml:7:\d+: preview\.sampler\.shift: 3: only a flow has one; this model predicts epsilon",
        ),
        (
            "preview: {every: 5, prompts: [a], sampler: {spacing: leading}}\ndiffusion: {prediction: flow}",
            r"train\.yaml:7:\d+: preview\.sampler\.spacing: leading: a flow needs trailing",
        ),
        (
            "diffusion: {prediction: v, zero_terminal_snr: true}\n"
            "preview: {every: 5, prompts: [a], sampler: {spacing: leading}}",
            r"train\.yaml:8:\d+: preview\.sampler\.spacing: leading: zero_terminal_snr needs trailing",
        ),
    ],
)
def test_previews_that_could_not_be_drawn(tmp_path: Path, added: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, added)


def test_previews_that_can_be_drawn(tmp_path: Path) -> None:
    """Sides of an odd number of latent cells too; and a sampler that is not used may be anything."""
    assert load(tmp_path, "preview: {every: 5, prompts: [a], width: 1000, height: 1000}").preview.width == 1000
    load(tmp_path, "preview: {sampler: {shift: 3, spacing: leading}}")
    load(tmp_path, "preview: {every: 5, prompts: [a], sampler: {shift: 3}}\ndiffusion: {prediction: flow}")
