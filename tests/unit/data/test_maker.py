"""Samples from what shards hold: random crops, focus crops, draws from the posterior."""

from __future__ import annotations

import numpy as np
import pytest

from animetune import shardset
from animetune.data.maker import SampleMaker, Treatment, decode_latent
from animetune.errors import DataError
from animetune.prompts import PromptConfig
from animetune.records import Size
from animetune.seeding import Purpose, rng_for
from tests.builders import tiny_shards

SEED = 3


def open_maker(folders, **treatment) -> tuple[SampleMaker, list[dict]]:
    """The maker of a root, and what its shards hold, by row."""
    from streaming.base.format import reader_from_json

    root = shardset.open_root(folders[0])
    stored = [
        sample
        for group in root.groups
        for shard in root.index(group)
        for sample in reader_from_json(str(root.folder / group.folder), None, shard)
    ]
    settings = {"prompts": PromptConfig(), "seed": SEED, "chunks": 1} | treatment
    return SampleMaker(root, shardset.open_labels(folders[1], root), 0, Treatment(**settings)), stored


@pytest.fixture(scope="module")
def with_margin(tmp_path_factory):
    """Wide and tall pictures, cropped at a focus point, with room around."""
    folder = tmp_path_factory.mktemp("margin")
    settings = {"crop": {"at": "focus", "margin": 0.25}}
    sources = ((130, 70), (70, 130), (64, 64), (100, 70))
    return tiny_shards(
        folder, sources, settings=settings, focus_x=[0.9, None, None, 0.0], focus_y=[None, 0.1, 0.5, 0.5]
    )


def test_the_stored_crop_is_where_the_shard_says(with_margin):
    maker, stored = open_maker(with_margin)
    moved = 0
    for row, sample in enumerate(stored):
        made = maker.make(sample, epoch=0, row=row, copy=0)
        assert made.pixels.shape == (made.size.height, made.size.width, 3)
        assert made.time_ids[2:4].tolist() == sample["crop"].tolist()
        moved += int((sample["origin"] != sample["crop"]).any())
    assert moved


def test_random_crops_take_every_place_and_say_which(with_margin):
    """The pixels of a crop are those of the stored picture at the place that the conditioning names."""
    from animetune.data.maker import _decode

    maker, stored = open_maker(with_margin, random_crop=True)
    for row, sample in enumerate(stored):
        picture, (top, left) = _decode(sample["image"]), sample["origin"].tolist()
        seen = set()
        for copy in range(300):
            made = maker.make(sample, epoch=1, row=row, copy=copy)
            at = made.time_ids[2:4].astype(int).tolist()
            y, x = at[0] - top, at[1] - left
            assert np.array_equal(made.pixels, picture[y : y + made.size.height, x : x + made.size.width])
            seen.add((y, x))
        places = (picture.shape[0] - made.size.height + 1) * (picture.shape[1] - made.size.width + 1)
        assert len(seen) == places
    again = maker.make(sample, epoch=1, row=row, copy=299)
    assert np.array_equal(again.pixels, made.pixels)


def test_a_mirrored_random_crop_mirrors_its_place(with_margin):
    plain, stored = open_maker(with_margin, random_crop=True)
    mirrored, _ = open_maker(with_margin, random_crop=True, flip=1.0)
    for row, sample in enumerate(stored):
        one, other = (maker.make(sample, epoch=0, row=row, copy=5) for maker in (plain, mirrored))
        assert np.array_equal(one.pixels[:, ::-1], other.pixels)
        resized, width = int(sample["resized"][1]), one.size.width
        assert other.time_ids[3] == resized - width - one.time_ids[3]


def test_a_picture_that_is_too_small_for_its_target_is_damaged(with_margin):
    maker, stored = open_maker(with_margin)
    cut = stored[0] | {"origin": stored[0]["crop"] + 1}
    with pytest.raises(DataError, match=r"the data of tiny/\d is damaged: its shape is .*, without room for"):
        maker.make(cut, epoch=0, row=0, copy=0)
    for broken in (b"", b"no picture", stored[0]["image"][:100]):
        with pytest.raises(DataError, match=r"the data of tiny/\d is damaged"):
            maker.make(stored[0] | {"image": broken}, epoch=0, row=0, copy=0)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_latents_are_drawn_from_the_posterior(tmp_path, flip):
    store = {"name": "latents", "vae": "random:tiny", "dtype": "float16", "flip": True, "std": True}
    folders = tiny_shards(tmp_path, [(64, 64)] * 2, store=store)
    mean_maker, stored = open_maker(folders, flip=flip)
    drawing, _ = open_maker(folders, flip=flip, sample_latents=True)
    name = "latent_flip" if flip else "latent"
    mean = decode_latent(stored[0][name], Size(64, 64), "float16")
    deviation = decode_latent(stored[0][f"{name}_std"], Size(64, 64), "float16")
    assert np.array_equal(mean_maker.make(stored[0], epoch=0, row=0, copy=0).latent, mean)
    assert (deviation > 0).all()
    draws = np.stack([drawing.make(stored[0], epoch=0, row=0, copy=copy).latent for copy in range(2000)])
    scores = (draws - mean) / deviation
    assert abs(scores.mean()) < 0.01
    assert abs(scores.std() - 1) < 0.01
    noise = rng_for(SEED, Purpose.VAE, 0, 0, 7).standard_normal(mean.shape, np.float32)
    assert np.array_equal(draws[7], mean + deviation * noise)


def test_bfloat16_is_the_upper_half_of_a_float32():
    values = np.array([1.0, -2.5, 3.140625, 65536.0] * 64, np.float32)
    stored = (values.view("<u4") >> 16).astype("<u2").tobytes()
    decoded = decode_latent(stored, Size(64, 64), "bfloat16")
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded.ravel(), values)
    with pytest.raises(ValueError, match="reshape"):
        decode_latent(stored[:-2], Size(64, 64), "bfloat16")


def test_prompts_are_split_as_configured(tmp_path):
    """A chunk that ends at a comma is not the same as one that ends after 75 tokens."""
    from animetune.tokens import tokenize

    tags = [[f"a_tag_of_{n}_words" for n in range(40)]]
    folders = tiny_shards(tmp_path, [(64, 64)], tags_general=tags)
    rows = {}
    for split in ("anywhere", "commas"):
        maker, stored = open_maker(folders, chunks=2, split=split, prompts=PromptConfig(order=("general",)))
        made = maker.make(stored[0], epoch=0, row=0, copy=0)
        rows[split] = made.token_ids
        assert np.array_equal(made.token_ids, tokenize(made.prompt, chunks=2, split=split))
    assert not np.array_equal(rows["anywhere"], rows["commas"])
