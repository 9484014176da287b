"""The Lightning data module: a stock Trainer with stock checkpoints goes on with the very next sample."""

from __future__ import annotations

import pytest

from animetune.data.config import DataConfig
from animetune.errors import ResumeError
from animetune.prompts import PromptConfig
from tests.builders import tiny_shards

pytestmark = [
    pytest.mark.xdist_group("streaming"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    # Lightning advises workers for the validation loader, whose five pictures are read in no time.
    pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers"),
]

PROMPTS = PromptConfig(order=("general",), shuffle=("general",))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_shards(tmp_path_factory.mktemp("module"))


@pytest.fixture
def fit(tiny, tmp_path):
    """Trains with a stock Trainer; returns (what was seen, how often validation ran)."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint

    from animetune.data.datamodule import AnimeDataModule

    class Recorder(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.seen, self.validated = [], 0

        def training_step(self, batch, index):
            self.seen.append((batch.epoch, batch.step, batch.rows.tolist(), batch.copies.tolist(), batch.prompts))
            return self.layer(torch.ones(1, 1)).sum()

        def validation_step(self, batch, index):
            self.validated += 1

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def run(*, steps, accumulate, workers, resume=None, seed=5):
        data = {"shards": str(tiny[0]), "labels": str(tiny[1]), "micro_batch": 2, "chunks": 1, "workers": workers}
        module = AnimeDataModule(DataConfig(**data, global_batch=2 * accumulate), PROMPTS, seed=seed)
        assert module.accumulation(1) == accumulate
        recorder = Recorder()
        trainer = pl.Trainer(
            max_steps=steps,
            accumulate_grad_batches=accumulate,
            accelerator="cpu",
            logger=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[
                ModelCheckpoint(tmp_path, "step-{step}", every_n_train_steps=1, save_top_k=-1),
                ModelCheckpoint(tmp_path, "end-{epoch}", save_top_k=-1, save_on_train_epoch_end=True),
            ],
        )
        trainer.fit(recorder, datamodule=module, ckpt_path=resume)
        return recorder.seen, recorder.validated

    return run


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stock_trainer_goes_on_exactly(fit, tmp_path, accumulate):
    steps = 2 * (-(-35 // (2 * accumulate))) + 3  # two epochs and a bit
    whole, validated = fit(steps=steps, accumulate=accumulate, workers=0)
    assert validated == 2 * 4  # after each epoch; five pictures of four sizes
    per_epoch = sum(epoch == 0 for epoch, *_ in whole) // accumulate
    for after in (1, per_epoch // 2, per_epoch, per_epoch + 1, 2 * per_epoch):
        rest, _ = fit(
            steps=steps, accumulate=accumulate, workers=after % 3, resume=tmp_path / f"step-step={after}.ckpt"
        )
        assert rest == whole[after * accumulate :]
    rest, _ = fit(steps=steps, accumulate=accumulate, workers=2, resume=tmp_path / "end-epoch=0.ckpt")
    assert rest == whole[per_epoch * accumulate :]


def test_a_checkpoint_of_other_data_is_refused(fit, tmp_path):
    fit(steps=2, accumulate=1, workers=0)
    with pytest.raises(ResumeError, match=r"order: .*seed 5, .* then, .*seed 6"):
        fit(steps=4, accumulate=1, workers=0, resume=tmp_path / "step-step=2.ckpt", seed=6)
