"""What a shard holds: crops at a focus point, margins, picture formats, posteriors of the VAE."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from animetune import shardset
from animetune.buckets import fit, stored_region
from animetune.errors import DataError
from animetune.records import Size
from animetune.shards import run, write
from animetune.shards.config import PixelStore
from animetune.tables import open_table
from tests.builders import picture, shard_config, stored_samples, tiny_table

pytestmark = pytest.mark.xdist_group("streaming")

LATENTS = {"name": "latents", "vae": "random:tiny", "batch": 2}


def root_of(tmp_path, sources, *, columns=None, **settings):
    """A shard root of these pictures, and what was stored by key."""
    run.run(shard_config(tiny_table(tmp_path / "table", sources, **(columns or {})), tmp_path / "shards", **settings))
    root = shardset.open_root(tmp_path / "shards")
    return root, {sample["key"]: sample for sample in stored_samples(root)}


def pixels_of(sample):
    return np.asarray(Image.open(io.BytesIO(sample["image"])).convert("RGB"))


def latent_of(data, dtype="float16"):
    import torch

    return torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype)).reshape(4, 8, 8).float()


# Crops.

FOCUS = {"focus_x": [0.2, None, 1.0], "focus_y": [None, 0.0, 0.5]}
SOURCES = [(200, 130), (80, 110), (120, 60)]


@pytest.mark.parametrize("margin", [0.0, 0.25])
@pytest.mark.parametrize("at", ["centre", "focus"])
def test_the_crop_follows_its_rule_and_the_margin_is_stored_with_it(tmp_path, at, margin):
    root, samples = root_of(tmp_path, SOURCES, columns=FOCUS, crop={"at": at, "margin": margin})
    assert root.manifest.facts["crop"] == {"at": at, "margin": margin}
    for row, source in enumerate(SOURCES):
        sample = samples[f"tiny/{row}"]
        target = Size(*sample["target"].tolist()[::-1])
        focus = (FOCUS["focus_x"][row], FOCUS["focus_y"][row]) if at == "focus" else (None, None)
        geometry = fit(Size(*source), target, focus=focus)
        region = stored_region(geometry, margin)
        assert sample["crop"].tolist() == [geometry.top, geometry.left]
        assert sample["origin"].tolist() == [region.top, region.left]
        resized = np.asarray(picture(row, *source).resize(geometry.resized, Image.Resampling.LANCZOS))
        stored = pixels_of(sample)
        assert stored.shape == (region.size.height, region.size.width, 3)
        assert np.array_equal(stored, resized[region.top :, region.left :][: region.size.height, : region.size.width])
        if margin == 0:
            assert stored.shape == (*sample["target"].tolist(), 3)
    if at == "focus":  # the crop went as far to the right as the picture reaches
        assert samples["tiny/2"]["crop"][1] == samples["tiny/2"]["resized"][1] - samples["tiny/2"]["target"][1] > 0


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan")])
def test_a_focus_outside_the_picture_is_refused(tmp_path, value):
    with pytest.raises(DataError, match=r"focus_y of tiny/1 is .* \(1 such rows\)"):
        root_of(tmp_path, [(64, 64)] * 2, columns={"focus_y": [0.5, value]})


# Pixels.


@pytest.mark.parametrize("store", [{"format": "png"}, {"format": "webp", "lossless": True}])
def test_lossless_formats_lose_nothing(tmp_path, store):
    _, samples = root_of(tmp_path, [(64, 64)], store={"name": "pixels", **store})
    assert np.array_equal(pixels_of(samples["tiny/0"]), np.asarray(picture(0, 64, 64)))


@pytest.mark.parametrize(
    "store", [{"format": "jpeg"}, {"format": "webp"}, {"format": "png"}], ids=lambda s: s["format"]
)
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_pixels_of_a_picture_gets_into_a_shard(tmp_path, store, source):
    """Cameras and editors write names and places into pictures; also where no resize makes a new one of it."""
    table = tiny_table(tmp_path / "table", [(64, 64)])
    (row,) = open_table(table).scan().collect().iter_rows(named=True)
    exif = Image.Exif()
    exif[0x010E] = "SECRET"
    options = {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    options |= {"xmp": b"<x>SECRET</x>"} if source != "PNG" else {}
    options |= {"comment": "SECRET"} if source == "JPEG" else {}
    if source == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Comment", "SECRET")
    picture(0, 64, 64).save(row["image"], source, **options)
    assert b"SECRET" in Path(row["image"]).read_bytes()
    run.run(shard_config(table, tmp_path / "shards", store={"name": "pixels", **store}))
    (sample,) = stored_samples(shardset.open_root(tmp_path / "shards"))
    stored = Image.open(io.BytesIO(sample["image"]))
    assert b"SECRET" not in bytes(sample["image"])
    assert not stored.info.keys() & {"exif", "icc_profile", "xmp", "comment", "Comment"}


def test_a_lower_quality_takes_fewer_bytes(tmp_path):
    sizes = {}
    for quality in (60, 95):
        store = {"name": "pixels", "format": "webp", "quality": quality}
        _, samples = root_of(tmp_path / str(quality), [(90, 61)], store=store)
        sizes[quality] = len(samples["tiny/0"]["image"])
    assert sizes[60] < sizes[95]


def test_estimates_follow_the_store():
    def estimate(**store):
        return write.bytes_per_sample(Size(1024, 1024), PixelStore(name="pixels", **store))

    by_bytes = [
        estimate(format="webp"),
        estimate(format="jpeg"),
        estimate(format="webp", lossless=True),
        estimate(format="png"),
    ]
    assert by_bytes == sorted(by_bytes)
    assert write.bytes_per_sample(Size(64, 64), PixelStore(name="pixels"), margin=0.5) == int(64 * 64 * 1.5 * 0.45)


# Latents.


def test_posteriors_are_kept_with_their_deviation(tmp_path):
    import torch

    from animetune.models.load import load_vae
    from animetune.models.vae import encode_posterior

    store = LATENTS | {"std": True, "flip": True, "batch": 1, "dtype": "bfloat16"}
    root, samples = root_of(tmp_path, [(64, 64)] * 2, store=store)
    assert {name for name in samples["tiny/0"] if name.startswith("latent")} == {
        "latent", "latent_std", "latent_flip", "latent_flip_std"
    }  # fmt: skip
    assert root.latents["std"] is root.latents["flip"] is True
    assert write.bytes_per_sample(Size(64, 64), shard_config(tmp_path, tmp_path, store=store).store) == 4 * 4 * 64 * 2
    vae = load_vae("random:tiny")
    for key, sample in samples.items():
        image = np.asarray(picture(int(key.removeprefix("tiny/")), 64, 64))
        for name, view in (("latent", image), ("latent_flip", image[:, ::-1])):
            pixels = torch.from_numpy(view.transpose(2, 0, 1).copy())[None]
            posterior = vae.encode(pixels.float() / 127.5 - 1).latent_dist
            with torch.no_grad():
                mean, std = encode_posterior(vae, pixels)
            assert torch.equal(std, posterior.std)
            assert (std > 0).all()
            assert torch.equal(latent_of(sample[name], "bfloat16"), mean[0].bfloat16().float())
            assert torch.equal(latent_of(sample[f"{name}_std"], "bfloat16"), std[0].bfloat16().float())


def test_the_vae_may_compute_in_bfloat16_and_stays_the_same_vae(tmp_path):
    exact, samples = root_of(tmp_path / "exact", [(64, 64)], store=LATENTS)
    near, near_samples = root_of(tmp_path / "near", [(64, 64)], store=LATENTS | {"compute": "bfloat16"})
    assert near.latents["compute"] == "bfloat16"
    assert near.latents["vae"] == exact.latents["vae"]
    one, other = (latent_of(each["tiny/0"]["latent"]) for each in (samples, near_samples))
    error = float((one - other).abs().max() / one.abs().max())
    assert 0 < error < 0.05


def test_a_deviation_that_is_not_finite_is_quarantined(tmp_path, monkeypatch):
    from animetune.models import vae

    real = vae.encode_posterior

    def broken(model, pixels):
        mean, std = real(model, pixels)
        std[pixels.float().mean(dim=(1, 2, 3)) > 250] = float("nan")
        return mean, std

    monkeypatch.setattr(vae, "encode_posterior", broken)
    table = tiny_table(tmp_path / "table", [(64, 64)] * 3)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "table-images" / "1.png")
    cfg = shard_config(table, tmp_path / "shards", store=LATENTS | {"std": True}, quarantine_limit=0.5)
    assert run.run(cfg).quarantined == {"nonfinite_latent": 1}
    without = cfg.model_copy(update={"out": tmp_path / "without", "store": cfg.store.model_copy(update={"std": False})})
    assert run.run(without).quarantined == {}


# Payloads.


def test_a_part_is_sent_to_a_worker_without_the_rows_of_others(tmp_path):
    cfg = shard_config(tiny_table(tmp_path / "table", [(64, 64)] * 40), tmp_path, shard_bytes=15_000)
    rows = run.read_rows(open_table(cfg.table))
    ((_, parts),) = run.cut(rows, run.choose_sizes(rows, cfg), cfg)
    assert len(parts) > 10
    for part in parts:
        sent = pickle.dumps(part)
        own = part.rows["image"].to_list()
        assert [url for url in rows["image"] if url.encode() in sent] == sorted(own, key=rows["image"].to_list().index)
        assert pickle.loads(sent).rows.equals(part.rows)
