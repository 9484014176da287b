"""The public API cannot grow or shrink by accident."""

from __future__ import annotations

import animetune


def test_public_names() -> None:
    assert animetune.__all__ == [
        "__version__",
        "AnimeDataModule",
        "AnimetuneError",
        "CurateConfig",
        "DataConfig",
        "DiffusionConfig",
        "ExportConfig",
        "LabelsConfig",
        "PromptConfig",
        "Request",
        "SampleConfig",
        "SamplerConfig",
        "ShardConfig",
        "Size",
        "TrainConfig",
        "build_loader",
        "build_optimizer",
        "build_val_loader",
        "compose",
        "diffusion_loss",
        "draw",
        "load_config",
        "load_models",
        "tokenize",
    ]


def test_every_public_name_is_there_and_documented() -> None:
    for name in animetune.__all__:
        value = getattr(animetune, name)
        assert name == "__version__" or value.__doc__
    assert set(animetune.__all__) == set(dir(animetune))
