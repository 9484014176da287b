"""Masks from the table to the loss: each follows its picture through resizing, cropping and mirroring, in both stores.

The oracle is a picture that is its own mask: what is bright in the pixels of a sample is what counts in its loss.
"""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from animetune import shardset
from animetune.data.config import DataConfig
from animetune.data.loader import build_loader
from animetune.data.maker import SampleMaker, Treatment, collate
from animetune.diffusion.config import DiffusionConfig
from animetune.diffusion.loss import diffusion_loss
from animetune.errors import DataError
from animetune.prompts import PromptConfig
from animetune.records import Batch
from animetune.seeding import Purpose, rng_for
from animetune.shards import run
from animetune.shards.verify import verify
from tests.builders import shard_config, stored_samples, tiny_shards, tiny_table

pytestmark = [
    pytest.mark.xdist_group("streaming"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]

LATENTS = {"name": "latents", "vae": "random:tiny", "flip": True}
SQUARE = {"area": 64 * 64, "step": 64, "min_side": 64, "max_side": 64}
"""One size: what is not square is cut."""


def blobs(seed: int, width: int, height: int) -> Image.Image:
    """Grey, mode L: three rectangles of different levels on black, anywhere."""
    rng = rng_for(seed, Purpose.DRAW, width, height)
    levels = np.zeros((height, width), np.uint8)
    for level in (80, 160, 255):
        top, left = int(rng.integers(height // 2)), int(rng.integers(width // 2))
        levels[top : top + height // 3, left : left + width // 3] = level
    return Image.fromarray(levels)


def masked_shards(folder, sources, *, without=(), **settings):
    """A root of pictures that are their own masks, but for the rows in `without`, and its labels."""
    (folder / "pictures").mkdir(parents=True)
    urls = [str(folder / "pictures" / f"{row}.png") for row in range(len(sources))]
    for row, source in enumerate(sources):
        blobs(row, *source).save(urls[row])
    masks = [None if row in without else url for row, url in enumerate(urls)]
    return tiny_shards(folder, sources, image=urls, mask=masks, **settings)


def open_maker(folders, **treatment) -> tuple[SampleMaker, list[dict]]:
    root = shardset.open_root(folders[0])
    settings = {"prompts": PromptConfig(), "seed": 3, "chunks": 1} | treatment
    return SampleMaker(root, shardset.open_labels(folders[1], root), 0, Treatment(**settings)), [*stored_samples(root)]


def cells_of(pixels: np.ndarray) -> np.ndarray:
    """The mean brightness of every 8 x 8 pixels of a grey picture (h, w, 3), 0 to 1."""
    height, width, _ = pixels.shape
    return np.array(
        [[pixels[y : y + 8, x : x + 8].mean() / 255 for x in range(0, width, 8)] for y in range(0, height, 8)]
    )


# Geometry.


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("random_crop", [False, True])
def test_pixels_and_their_mask_are_cut_alike(tmp_path, random_crop, flip):
    settings = {"sizes": SQUARE, "crop": {"at": "focus", "margin": 0.4}}
    focus = {"focus_x": [0.83, None, None], "focus_y": [None, 0.31, None]}
    folders = masked_shards(tmp_path, [(100, 64), (64, 91), (64, 64)], settings=settings, **focus)
    maker, stored = open_maker(folders, random_crop=random_crop, flip=flip)
    places = set()
    for row, sample in enumerate(stored):
        for copy in range(20):
            made = maker.make(sample, epoch=0, row=row, copy=copy)
            assert (made.mask.dtype, made.mask.shape) == (np.float32, (1, 8, 8))
            np.testing.assert_allclose(made.mask[0], cells_of(made.pixels), rtol=0, atol=1e-6)
            assert made.mask.min() == 0 < made.mask.max()
            places.add(tuple(made.time_ids[2:4].astype(int) % 8))
    assert not random_crop or len(places) > 8  # crops begin anywhere in a cell


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_latents_and_their_mask_are_cut_alike(tmp_path, flip):
    sources = [(100, 64), (64, 91), (64, 64)]
    settings = {"settings": {"sizes": SQUARE}, "focus_x": [0.83, None, None], "focus_y": [None, 0.31, None]}
    maker, stored = open_maker(masked_shards(tmp_path, sources, store=LATENTS, **settings), flip=flip)
    for row, sample in enumerate(stored):
        number = int(sample["key"].removeprefix("tiny/"))
        top, left = sample["crop"].tolist()
        cut = np.asarray(blobs(number, *sources[number]))[top : top + 64, left : left + 64, None]
        made = maker.make(sample, epoch=0, row=row, copy=0)
        assert (made.mask.dtype, made.mask.shape) == (np.float32, (1, 8, 8))
        np.testing.assert_allclose(made.mask[0], cells_of(cut[:, ::-1] if flip else cut), rtol=0, atol=0.501 / 255)


@pytest.mark.parametrize("store", [{"name": "pixels", "format": "png"}, LATENTS], ids=lambda store: store["name"])
@pytest.mark.parametrize("scale", [1, 0.5, 2])
def test_a_mask_of_another_resolution_covers_the_same(tmp_path, store, scale):
    """A picture that is halved, with a mask of its own, of half and of double its sides."""
    sources = [(200, 128)]
    folders = masked_shards(tmp_path / "own", sources, store=store, settings={"sizes": SQUARE})
    maker, stored = open_maker(folders)
    expected = maker.make(stored[0], epoch=0, row=0, copy=0).mask
    coarse = blobs(0, 200, 128).resize((100, 64), Image.Resampling.BOX)
    sides = (int(200 * scale), int(128 * scale))
    coarse.resize(sides, Image.Resampling.NEAREST).save(tmp_path / "mask.png")
    table = tiny_table(tmp_path / "table", sources, mask=[str(tmp_path / "mask.png")])
    run.run(shard_config(table, tmp_path / "shards", store=store, sizes=SQUARE))
    (sample,) = stored_samples(shardset.open_root(tmp_path / "shards"))
    other = maker.make(sample, epoch=0, row=0, copy=0).mask
    np.testing.assert_allclose(other, expected, rtol=0, atol=1.1 / 255)
    assert 0 < expected.mean() < 1


def test_a_damaged_mask_raises(tmp_path):
    for store in ({"name": "pixels", "format": "png"}, LATENTS):
        maker, stored = open_maker(masked_shards(tmp_path / store["name"], [(64, 64)], store=store))
        for broken in (b"no mask", stored[0]["mask"][:50]):
            with pytest.raises(DataError, match="the data of tiny/0 is damaged"):
                maker.make(stored[0] | {"mask": broken}, epoch=0, row=0, copy=0)


# Shards.


@pytest.mark.parametrize("store", [{"name": "pixels", "format": "png"}, LATENTS], ids=lambda store: store["name"])
def test_shards_hold_masks_only_where_a_table_has_any(tmp_path, store):
    sources = [(64, 64)] * 12
    several = {"store": store, "settings": {"shard_bytes": 5000}}
    folders = masked_shards(tmp_path / "some", sources, without=range(1, 12), **several)
    root = shardset.open_root(folders[0])
    assert root.has_masks
    by_key = {sample["key"]: sample for sample in stored_samples(root)}
    assert [key for key, sample in by_key.items() if sample["mask"]] == ["tiny/0"]
    assert len(root.index(root.groups[0])) > 1  # also shards in which no picture has one
    assert verify(root.folder) == []

    folders = masked_shards(tmp_path / "none", sources, without=range(12), **several)
    root = shardset.open_root(folders[0])
    assert not root.has_masks
    assert "masks" not in root.manifest.facts
    for sample in stored_samples(root):
        assert {name: value for name, value in by_key[sample["key"]].items() if name != "mask"}.keys() == sample.keys()
        for name in ("image", "latent", "latent_flip"):
            assert sample.get(name) == by_key[sample["key"]].get(name)


def test_two_runs_store_equal_masks(tmp_path):
    table = tiny_table(tmp_path / "table", [(90, 70)] * 3, mask=[str(tmp_path / "mask.png"), None, None])
    blobs(0, 90, 70).save(tmp_path / "mask.png")
    one, other = (run.run(shard_config(table, tmp_path / name, store=LATENTS)) for name in ("one", "other"))
    assert one == other


def test_a_mask_that_cannot_be_used_takes_its_picture_out(tmp_path):
    good = blobs(0, 90, 60)
    masks = {"cut": None, "text": b"no picture", "turned": good.rotate(90, expand=True), "gone": None}
    masks |= {"near": good.resize((89, 60)), "half": good.resize((45, 30)), "off": good.resize((93, 60))}
    for name, mask in masks.items():
        if isinstance(mask, Image.Image):
            mask.save(tmp_path / f"{name}.png")
        elif mask is not None:
            (tmp_path / f"{name}.png").write_bytes(mask)
    stream = io.BytesIO()
    good.save(stream, "PNG")
    (tmp_path / "cut.png").write_bytes(stream.getvalue()[:-20])
    urls = [str(tmp_path / f"{name}.png") for name in masks]
    table = tiny_table(tmp_path / "table", [(90, 60)] * len(masks), mask=urls)
    manifest = run.run(shard_config(table, tmp_path / "shards", quarantine_limit=0.8))
    assert manifest.quarantined == {"bad_mask": 3, "mask_ratio": 2}
    refused = pl.read_parquet(tmp_path / "shards" / "quarantined.parquet").sort("key")
    assert refused.select("key", "code").rows() == [
        ("tiny/0", "bad_mask"), ("tiny/1", "bad_mask"), ("tiny/2", "mask_ratio"), ("tiny/3", "bad_mask"),
        ("tiny/6", "mask_ratio"),
    ]  # fmt: skip
    details = refused["detail"].to_list()
    assert [detail.split(":")[0] for detail in details[:2] + details[3:4]] == [
        "truncated",
        "unknown_format",
        "image_missing",
    ]
    assert details[2] == f"60x90 for a picture of 90x60 ({tmp_path / 'turned.png'})"
    kept = [sample["key"] for sample in stored_samples(shardset.open_root(tmp_path / "shards"))]
    assert sorted(kept) == ["tiny/4", "tiny/5"]


# Batches and the loss.


def test_a_sample_without_a_mask_counts_as_a_whole(tmp_path):
    maker, stored = open_maker(masked_shards(tmp_path, [(64, 64)] * 3, without=(0, 2), store=LATENTS))
    made = [maker.make(sample, epoch=0, row=row, copy=0) for row, sample in enumerate(stored)]

    def collated(samples) -> Batch:
        return collate(samples, epoch=0, step=0, first_slot=0, step_samples=len(samples), step_batches=1)

    masks = collated(made).masks
    assert (masks.dtype, masks.shape) == (torch.float32, (3, 1, 8, 8))
    for sample, mask in zip(stored, masks, strict=True):
        assert bool((mask == 1).all()) == (sample["key"] != "tiny/1")
    assert collated([sample for sample in made if sample.mask is None]).masks is None


class Cells:
    """Predicts one number for each cell, a leaf whose gradient shows what the loss asks of it."""

    def __init__(self, batch: Batch):
        size = batch.size
        self.output = torch.zeros(len(batch.rows), 4, size.height // 8, size.width // 8, requires_grad=True)

    def encode_text(self, token_ids):
        return token_ids

    def drop_pooled(self, text, dropped):
        return text

    def predict(self, x_t, timesteps, text, time_ids):
        return self.output

    def scale(self, latents):
        return latents

    def encode_pixels(self, pixels):
        return torch.nn.functional.avg_pool2d(pixels.float(), 8)[:, :1].repeat(1, 4, 1, 1)


@pytest.mark.parametrize("store", [{"name": "pixels", "format": "png"}, LATENTS], ids=lambda store: store["name"])
def test_what_a_mask_hides_has_no_gradient(tmp_path, store):
    """From masks in a table, through the real stages and the real loader."""
    folders = masked_shards(tmp_path, [(64, 64)] * 6, without=(5,), store=store)
    cfg = DataConfig(
        shards=str(folders[0]), labels=str(folders[1]), global_batch=6, micro_batch=6, workers=0, chunks=1, flip=0.5
    )
    loader = build_loader(cfg, PromptConfig(), seed=0)
    try:
        (batch,) = loader
        keys = loader.keys_of(batch.rows.tolist())
    finally:
        loader.close()
    models = Cells(batch)
    diffusion_loss(models, batch, DiffusionConfig(), seed=0).loss.backward()
    touched = models.output.grad != 0
    assert torch.equal(touched, (batch.masks > 0).expand_as(touched))
    whole = torch.tensor([key == "tiny/5" for key in keys])
    assert touched[whole].all()
    shares = touched[~whole].float().mean(dim=(1, 2, 3))
    assert ((shares > 0.05) & (shares < 0.95)).all()


def test_a_root_without_masks_has_batches_without(tmp_path):
    folders = tiny_shards(tmp_path, [(64, 64)] * 4)
    cfg = DataConfig(shards=str(folders[0]), labels=str(folders[1]), global_batch=4, micro_batch=4, workers=0, chunks=1)
    loader = build_loader(cfg, PromptConfig(), seed=0)
    try:
        assert [batch.masks for batch in loader] == [None]
    finally:
        loader.close()
