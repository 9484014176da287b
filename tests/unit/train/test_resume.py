"""A run that was stopped anywhere, any number of times, ends in the very bytes of one that was not."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from animetune import checkpoint, fsio
from animetune.checkpoint import Checkpoint
from animetune.config import load_config
from animetune.errors import ConfigError, DataError, NonFiniteError, Preempted, ResumeError, SetupError
from animetune.models import load as models_load
from animetune.models import sources
from animetune.models.tiny import build_tiny
from animetune.train import dry_run, module
from animetune.train import run as train_run
from animetune.train.config import TrainConfig
from tests.unit.train.test_train_run import BATCH, MemoryLoader, use_loader

STEPS = 7
"""Of epochs of 4."""


@pytest.fixture(autouse=True)
def loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches a step."""
    use_loader(monkeypatch, MemoryLoader(2))


def config(folder: Path, *settings: str) -> TrainConfig:
    file = folder / "train.yaml"
    file.write_text(
        f"""
stage: train
run: {folder}/run
seed: 3
model: {{base: "random:tiny"}}
data: {{shards: none, labels: none, global_batch: {2 * BATCH}, micro_batch: {BATCH}}}
optimizer: {{name: adamw, unet_lr: 1e-3}}
schedule: {{name: cosine, warmup: 2}}
loop: {{steps: {STEPS}, devices: 1, accelerator: cpu}}
ema: {{decays: [0.9, 0.5]}}
checkpoints: {{every: 100 steps}}
"""
    )
    return load_config(file, TrainConfig, settings)


class Stop:
    """Sends SIGTERM in micro-batch `micro` of optimizer step `step` (0 is the first); the run must end as preempted."""

    def __init__(self, step: int, micro: int = 0):
        self.at = (step, micro)

    def __enter__(self) -> None:
        self.original = original = train_run.TrainModule.training_step

        def step_and_signal(module: Any, batch: Any, index: int) -> Any:
            if (module.step, index % module.trainer.accumulate_grad_batches) == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(module, batch, index)

        train_run.TrainModule.training_step = step_and_signal

    def __exit__(self, kind: Any, error: Any, _: Any) -> bool:
        train_run.TrainModule.training_step = self.original
        assert kind is Preempted, error
        assert f"stopped at step {self.at[0] + 1} by SIGTERM; the checkpoint is saved" in str(error)
        return True


def in_one_go(cfg: TrainConfig) -> dict[str, bytes]:
    """The files of the last checkpoint."""
    train_run.run(cfg)
    path = checkpoint.latest(Path(cfg.run))
    assert path is not None
    assert path.name == checkpoint.folder_name(STEPS)
    return {file.name: file.read_bytes() for file in path.iterdir()}


def with_stops(cfg: TrainConfig, *stops: tuple[int, int]) -> dict[str, bytes]:
    for stop in stops:
        with Stop(*stop):
            train_run.run(cfg)
    return in_one_go(cfg)


def compare(tmp_path: Path, settings: list[str], stops: tuple[tuple[int, int], ...]) -> None:
    straight = in_one_go(config(tmp_path, *settings, f"run={tmp_path}/straight"))
    stopped = with_stops(config(tmp_path, *settings, f"run={tmp_path}/stopped"), *stops)
    assert straight.keys() == stopped.keys()
    assert [name for name in straight if straight[name] != stopped[name]] == []
    assert any(name.startswith("optim-") for name in straight)
    assert any(name.startswith("ema-0.5-") for name in straight)


def test_stopped_inside_accumulation_twice_in_an_epoch_and_in_the_next(tmp_path: Path) -> None:
    """Adafactor on bf16 weights, rounded at random: what is no weight or counter must be a function of these."""
    settings = ["model.dtype=bfloat16", "optimizer={name: adafactor, unet_lr: 1e-3, rounding: stochastic}"]
    compare(tmp_path, settings, ((0, 1), (2, 0), (5, 1)))


OPTIMIZERS = {
    "adafactor": "{name: adafactor, unet_lr: 1e-3, rounding: ROUNDING}",
    "momentum": "{name: adafactor, unet_lr: 1e-3, beta1: 0.9, flatten_convolutions: true, rounding: ROUNDING}",
    "adamw": "{name: adamw, unet_lr: 1e-3, weight_decay: 0.1, rounding: ROUNDING}",
    "adamw8bit": "{name: adamw8bit, unet_lr: 1e-3, rounding: ROUNDING}",
    "lion": "{name: lion, unet_lr: 1e-4, rounding: ROUNDING}",
    "custom": "{name: custom, class: torch.optim.RAdam, unet_lr: 1e-3, rounding: ROUNDING}",
}
WEIGHTS = {
    "fp32": ("float32", "master"),
    "bf16 with masters": ("bfloat16", "master"),
    "bf16 rounded": ("bfloat16", "stochastic"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "weights"), list(itertools.product(OPTIMIZERS, WEIGHTS)))
def test_every_optimizer(tmp_path: Path, optimizer: str, weights: str) -> None:
    dtype, rounding = WEIGHTS[weights]
    settings = [f"model.dtype={dtype}", f"optimizer={OPTIMIZERS[optimizer].replace('ROUNDING', rounding)}"]
    compare(tmp_path, [*settings, "loop.dry_run=always"], ((1, 1), (3, 0)))


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["ema.every=2", "ema.device=cpu", "model.activation_checkpointing=full"])
def test_other_settings(tmp_path: Path, setting: str) -> None:
    compare(tmp_path, [setting], ((0, 0), (2, 1), (3, 1)))


@pytest.mark.slow
def test_optimizer_in_backward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_loader(monkeypatch, MemoryLoader(1))
    settings = [
        f"data.global_batch={BATCH}", "model.dtype=bfloat16", "loop.dry_run=always",
        "optimizer={name: adafactor, unet_lr: 1e-3, rounding: stochastic, in_backward: true, clip: null}",
    ]  # fmt: skip
    compare(tmp_path, settings, ((0, 0), (2, 0), (4, 0)))


# ---- the dry run


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """And takes place: see the ledger. The run is stopped, so that one dry run comes before state is restored."""
    settings = ["optimizer={name: adamw, unet_lr: 1e-3, weight_decay: 0.1}", "model.dtype=bfloat16"]
    without = in_one_go(config(tmp_path, *settings, f"run={tmp_path}/without"))
    cfg = config(tmp_path, *settings, f"run={tmp_path}/with", "loop.dry_run=always")
    state = torch.random.get_rng_state()
    assert with_stops(cfg, (3, 0)) == without
    assert torch.equal(torch.random.get_rng_state(), state)
    events = [line for line in fsio.read_lines(Path(cfg.run, "ledger.jsonl")) if line["event"] == "dry run"]
    assert events == [{"event": "dry run", "shapes": 1, "largest": "64x64 x 2"}] * 2


def test_a_dry_run_whose_gradients_are_not_finite_steps_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate of 0 times NaN is NaN, in weights and masters."""
    diffusion_loss = dry_run.diffusion_loss

    def poisoned(*args: Any, **kwargs: Any) -> Any:
        output = diffusion_loss(*args, **kwargs)
        return output._replace(loss=output.loss * torch.nan)

    def step(*_: Any, **__: Any) -> None:
        raise AssertionError("the optimizer was stepped")

    monkeypatch.setattr(dry_run, "diffusion_loss", poisoned)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(NonFiniteError, match="dry run, 64x64, 2 at once: gradients are NaN or infinite"):
        train_run.run(config(tmp_path, "loop.dry_run=always"))


def test_out_of_memory_says_at_what_and_what_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr("animetune.train.dry_run.diffusion_loss", too_much)
    with pytest.raises(SetupError, match=r"64x64, 2 at once: out of GPU memory \(CUDA out of memory\)") as caught:
        train_run.run(config(tmp_path, "loop.dry_run=always", "model.dtype=bfloat16"))
    for remedy in ("data.micro_batch (2)", "activation_checkpointing: full", "rounding: stochastic", "ema.device: cpu"):
        assert remedy in str(caught.value)
    monkeypatch.undo()
    use_loader(monkeypatch, MemoryLoader(2))
    monkeypatch.setattr("animetune.train.module.diffusion_loss", too_much)
    with pytest.raises(SetupError, match="64x64, 2 at once: out of GPU memory"):
        train_run.run(config(tmp_path, "loop.dry_run=never"))


# ---- where a session begins


def test_resume_reads_no_base_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(tmp_path)
    with Stop(1):
        train_run.run(cfg)
    read: list[str] = []
    load_network = models_load.load_network

    def recording(architecture: Any, component: str, tensors: Any, **kwargs: Any) -> Any:
        read.append(component)
        return load_network(architecture, component, tensors, **kwargs)

    def made(architecture: Any, component: str, **kwargs: Any) -> Any:
        assert component == "vae", f"the base's {component} was made, only to be replaced"
        return build_seeded(architecture, component, **kwargs)

    build_seeded = sources.build_seeded
    monkeypatch.setattr(sources, "build_seeded", made)
    monkeypatch.setattr(models_load, "load_network", recording)
    in_one_go(cfg)
    assert sorted(read) == ["text_encoder", "text_encoder_2", "unet", "vae"]


def test_resume_hashes_the_checkpoint_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(tmp_path)
    with Stop(1):
        train_run.run(cfg)
    monkeypatch.setattr(checkpoint, "_verified", {})  # as in a new process
    hashed: list[str] = []
    hash_file = fsio.sha256_file
    monkeypatch.setattr(fsio, "sha256_file", lambda path: hashed.append(Path(path).name) or hash_file(path))
    train_run.run(cfg)
    read = [name for name in hashed if name.endswith(".safetensors")]
    assert len(read) == len(set(read)) > 0


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_before_the_first_step_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[BaseException]
) -> None:
    """While the models are loaded, while the data are opened, and while the dry run computes."""
    cfg = config(tmp_path)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    for place, name in ((module, "load_models"), (train_run, "build_loader"), (dry_run, "run")):
        original = getattr(place, name)

        def signalled(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            os.kill(os.getpid(), number)
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, signalled)
            with pytest.raises(expected) as caught:
                train_run.run(cfg)
        if expected is Preempted:
            assert "outside of training" in str(caught.value)
        assert not (tmp_path / "run" / "checkpoints").exists()
        assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == handlers
    in_one_go(cfg)


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Any]:
    """Makes a run directory with a checkpoint that says to predict what one asks for."""

    def made(prediction: str, *, broken: bool = False) -> str:
        run = tmp_path / f"base-{prediction}-{broken}"
        run.mkdir()
        (run / "config.yaml").write_text(
            f"stage: train\nmodel: {{base: 'random:tiny'}}\ndiffusion: {{prediction: {prediction}}}\n"
        )
        weights = build_tiny(0).state_dict()
        if broken:
            weights["unet.conv_out.bias"][1] = torch.inf
        checkpoint.save(Checkpoint(step=1, model=weights), run / "checkpoints")
        return str(run)

    return made


def test_a_base_that_is_marked_otherwise_is_refused(tmp_path: Path, base: Any, caplog: Any) -> None:
    with pytest.raises(ConfigError, match=r"prediction: epsilon, but .* is marked as predicting v; set it to v"):
        train_run.run(config(tmp_path, f"model.base={base('v')}"))
    assert not caplog.records
    train_run.run(config(tmp_path, "diffusion.prediction=v", "loop.steps=1"))
    assert "random:tiny is not marked as predicting v" in caplog.text


def test_a_base_with_a_number_that_is_none_is_refused(tmp_path: Path, base: Any) -> None:
    with pytest.raises(DataError, match=r"unet\.conv_out\.bias holds NaN or infinity"):
        train_run.run(config(tmp_path, f"model.base={base('epsilon', broken=True)}"))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    with Stop(1):
        train_run.run(cfg)
    path = checkpoint.latest(Path(cfg.run))
    assert path is not None
    saved = checkpoint.load(path)
    saved.model = {name: tensor for name, tensor in saved.model.items() if name != "unet.conv_in.weight"}
    saved.step += 1
    checkpoint.save(saved, path.parent)
    with pytest.raises(DataError, match=r"its unet is not the expected network; tensors missing 1: conv_in\.weight"):
        train_run.run(cfg)


def test_averages_cannot_be_changed_on_the_way(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    with Stop(1):
        train_run.run(cfg)
    with pytest.raises(ResumeError, match=r"ema\.decays: \[0\.9, 0\.5\] in the checkpoint, \[0\.9\] now"):
        train_run.run(config(tmp_path, "ema.decays=[0.9]"))
