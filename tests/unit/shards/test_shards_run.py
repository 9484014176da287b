"""The shard stage: geometry, order, outcomes, determinism, refusals; latents with the tiny VAE."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xxhash
from PIL import Image

from animetune import shardset
from animetune.buckets import SizesConfig, cover_scale, enumerate_sizes, fit, nearest
from animetune.errors import ChunkError, ConfigError, DataError, QuarantineLimitError, SetupError
from animetune.manifest import read_manifest, write_manifest
from animetune.records import Size
from animetune.shards import run, write
from animetune.shards.verify import verify
from tests.builders import TINY_SIZES, TINY_SOURCES, picture, stored_samples, tiny_shards, tiny_table
from tests.builders import shard_config as config

# Importing streaming takes seconds: once is enough.
pytestmark = pytest.mark.xdist_group("streaming")

SIZES = enumerate_sizes(SizesConfig(**TINY_SIZES))


def assign(source: Size) -> Size:
    return SIZES[nearest(np.array([source]), np.array(SIZES))[0]]


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    shards, _ = tiny_shards(folder)
    return folder / "table", shards


def test_samples_hold_the_cropped_pictures_and_their_geometry(tiny):
    _, shards = tiny
    sources = {f"tiny/{row}": Size(*source) for row, source in enumerate(TINY_SOURCES * 8)}
    samples = list(stored_samples(shardset.open_root(shards)))
    assert len(samples) == 40
    for sample in samples:
        row = int(sample["key"].removeprefix("tiny/"))
        source = sources[sample["key"]]
        geometry = fit(source, assign(source))
        assert sample["source"].tolist() == [source.height, source.width]
        assert sample["resized"].tolist() == [geometry.resized.height, geometry.resized.width]
        assert sample["crop"].tolist() == [geometry.top, geometry.left]
        assert sample["target"].tolist() == [geometry.target.height, geometry.target.width]
        whole = picture(row, *source).resize(geometry.resized, Image.Resampling.LANCZOS)
        box = (
            geometry.left,
            geometry.top,
            geometry.left + geometry.target.width,
            geometry.top + geometry.target.height,
        )
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample["image"]))), np.asarray(whole.crop(box)))


def test_rows_are_split_by_split_size_by_size_and_by_hash_of_the_key(tiny):
    _, shards = tiny
    root = shardset.open_root(shards)
    rows = root.samples().to_pylist()
    assert [row["row"] for row in rows] == list(range(40))
    assert [row["key"] for row in rows] == [sample["key"] for sample in stored_samples(root)]
    order = [(row["split"], row["width"], row["height"], xxhash.xxh64_intdigest(row["key"])) for row in rows]
    assert order == sorted(order)  # `train` happens to sort before `val`
    assert {row["tier"] for row in rows} == {"64"}
    assert sum(group.samples for group in root.groups) == 40
    assert root.rows_of("train") == range(35)
    assert root.rows_of("val") == range(35, 40)
    for row in rows:
        folder = f"{row['split']}/64/{row['width']}x{row['height']}"
        assert row["part"].startswith(f"{folder}/part-")
        assert row["key"] in json.loads((shards / row["part"] / "manifest.json").read_text())["facts"]["keys"]


def test_parts_are_about_as_large_as_asked(tiny):
    _, shards = tiny
    root = shardset.open_root(shards)
    per_part = 40_000 // write.bytes_per_sample(Size(64, 64), config(Path(), Path()).store)
    group = next(group for group in root.groups if group.size == (64, 64))
    kept = [shard["samples"] for shard in root.index(group)]
    assert len(kept) == group.parts == 3
    assert max(kept) <= per_part
    assert max(kept) - min(kept) <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_bytes_do_not_depend_on_workers_or_interruptions(tiny, tmp_path, monkeypatch, workers):
    table, shards = tiny
    cfg = config(table, tmp_path / "again", executor={"workers": workers})
    if workers == 0:
        real, calls = write.write_part, []

        def fails_at_third(part, folder, **settings):
            calls.append(part)
            if len(calls) == 3:
                (folder / "half a shard").write_text("")
                raise OSError("the disk went away")
            return real(part, folder, **settings)

        monkeypatch.setattr(run, "write_part", fails_at_third)
        with pytest.raises(ChunkError, match="part-00000: OSError: the disk went away"):
            run.run(cfg)
        with pytest.raises(DataError, match="is not finished"):
            shardset.open_root(cfg.out)
        (cfg.out / ".tmp-left-by-a-kill").mkdir()
    run.run(cfg)
    assert hashes(cfg.out) == hashes(shards)


def test_a_finished_root_is_left_as_it_is(tiny, monkeypatch):
    table, shards = tiny
    before = {path: path.stat().st_mtime_ns for path in shards.rglob("*.*") if path.name != ".lock"}
    monkeypatch.setattr(run, "write_part", None)
    again = run.run(config(table, shards, quarantine_limit=0.5, executor={"workers": 2}))
    assert again == shardset.open_root(shards).manifest
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_other_settings_or_another_table_need_another_folder(tiny, tmp_path):
    table, shards = tiny
    with pytest.raises(ConfigError, match=r"(?s)begun with other settings.*shard_bytes: 40000 there, 50000 now"):
        run.run(config(table, shards, shard_bytes=50_000))
    with pytest.raises(ConfigError, match=r"must agree:\n  store\.format: png there, webp now\nset them back"):
        run.run(config(table, shards, store={"name": "pixels", "format": "webp"}))
    with pytest.raises(ConfigError, match=r"agree:\n  sizes\.area: 4096 there, 5184 now\nset"):
        run.run(config(table, shards, sizes=TINY_SIZES | {"area": 72 * 72}))
    other = tiny_table(tmp_path / "table", [(64, 64)])
    with pytest.raises(ConfigError, match=r"(?s)begun with other settings.*table: "):
        run.run(config(other, shards))
    assert verify(shards) == []


def test_a_damaged_root_is_repaired_to_the_byte_and_keeps_its_labels(tmp_path):
    """As docs/data.md says: without the damaged part's folder, damaged files and the manifest, only these are made."""
    shards, labels = tiny_shards(tmp_path)
    before = hashes(shards)
    shard, other = sorted(shards.rglob("*.mds"))[1:3]
    untouched = other.stat().st_mtime_ns
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    index = shard.parent.parent / "index.json"
    index.unlink()
    assert verify(shards)[:2] == [f"{index}: is missing", f"{shard}: its bytes have changed (SHA-256 differs)"]
    with pytest.raises(DataError, match=r"index\.json: is missing; .*remove the folder of its part and the root's"):
        shardset.open_root(shards).check("train")
    shutil.rmtree(shard.parent)
    (shards / "manifest.json").unlink()
    run.run(config(tmp_path / "table", shards))
    assert hashes(shards) == before
    assert other.stat().st_mtime_ns == untouched
    assert verify(shards) == []
    assert len(shardset.open_labels(labels, shardset.open_root(shards))) == 40


def test_a_missing_gpu_is_told_before_anything_is_bound_to_it(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = tiny_table(tmp_path / "table", [(64, 64)])
    with pytest.raises(SetupError, match=r"^store\.device: cuda was asked for, but torch sees no GPU"):
        run.run(config(table, tmp_path / "shards", store=LATENTS | {"device": "cuda"}))
    manifest = run.run(config(table, tmp_path / "shards", store=LATENTS | {"device": "cpu"}))
    assert run.run(config(table, tmp_path / "shards", store=LATENTS | {"device": "auto"})) == manifest


@pytest.mark.parametrize("out", ["file://{folder}/shards", "{folder}/shards"])
def test_a_file_url_is_the_path(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    table = tiny_table(tmp_path / "table", [(64, 64)])
    run.run(config(table, out.format(folder=tmp_path)))
    assert shardset.open_root(tmp_path / "shards").groups
    assert not (tmp_path / "file:").exists()


def test_every_row_has_one_outcome(tmp_path):
    sources = [(70, 70), (64, 64), (30, 30), (64, 64), (64, 64), (64, 64), (90, 60)]
    table = tiny_table(tmp_path / "table", sources)
    images = tmp_path / "table-images"
    (images / "1.png").write_bytes((images / "1.png").read_bytes()[:-30])
    (images / "3.png").unlink()
    picture(4, 70, 70).save(images / "4.png")  # replaced since curation
    manifest = run.run(config(table, tmp_path / "shards", quarantine_limit=0.6))
    assert (manifest.seen, manifest.kept) == (7, 3)
    assert manifest.dropped == {"too_small": 1}
    assert manifest.quarantined == {"image_missing": 1, "size_changed": 1, "truncated": 1}
    root = shardset.open_root(tmp_path / "shards")
    assert pl.read_parquet(root.folder / "dropped.parquet").rows() == [("tiny/2", "too_small")]
    refused = pl.read_parquet(root.folder / "quarantined.parquet")
    assert refused["key"].to_list() == ["tiny/1", "tiny/3", "tiny/4"]
    assert refused["detail"][2] == "64x64 when curated, 70x70 now"
    assert sorted(root.samples("key")["key"].to_pylist()) == ["tiny/0", "tiny/5", "tiny/6"]
    assert verify(root.folder) == []
    # The picture of 30x30 would be enlarged 64/30 times.
    assert cover_scale(Size(30, 30), Size(64, 64)) > 1.25


def test_too_many_refused_pictures_stop_the_stage_and_a_higher_limit_continues(tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64)] * 4)
    (tmp_path / "table-images" / "2.png").write_bytes(b"no picture")
    with pytest.raises(QuarantineLimitError, match=r"1 of 4 pictures .*unknown_format 1.* first is tiny/2") as refused:
        run.run(config(table, tmp_path / "shards"))
    assert str(refused.value).endswith("remove their parts and run again: train/64/64x64/part-00000")
    with pytest.raises(DataError, match="is not finished"):
        shardset.open_root(tmp_path / "shards")
    assert run.run(config(table, tmp_path / "shards", quarantine_limit=0.3)).kept == 3


def test_a_group_whose_pictures_are_all_refused_is_no_group(tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64), (90, 60)])
    (tmp_path / "table-images" / "1.png").unlink()
    run.run(config(table, tmp_path / "shards", quarantine_limit=1.0))
    root = shardset.open_root(tmp_path / "shards")
    assert [group.folder for group in root.groups] == ["train/64/64x64"]
    assert verify(root.folder) == []


@pytest.mark.parametrize(("store", "magic"), [("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_pictures_are_stored_in_the_chosen_format(tmp_path, store, magic):
    table = tiny_table(tmp_path / "table", [(64, 64)])
    run.run(config(table, tmp_path / "shards", store={"name": "pixels", "format": store, "quality": 95}))
    (sample,) = stored_samples(shardset.open_root(tmp_path / "shards"))
    assert sample["image"].startswith(magic)
    decoded = np.asarray(Image.open(io.BytesIO(sample["image"])).convert("RGB")).astype(int)
    assert np.abs(decoded - np.asarray(picture(0, 64, 64))).mean() < 3


def test_transparent_pictures_get_the_background_of_curation(tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64)])
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(tmp_path / "table-images" / "0.png")
    image = Image.open(tmp_path / "table-images" / "0.png").copy()
    image.putpixel((0, 0), (1, 2, 3, 255))
    image.save(tmp_path / "table-images" / "0.png")
    manifest = read_manifest(table)
    manifest.facts["pictures"]["background"] = [200, 100, 50]
    write_manifest(table, manifest)
    run.run(config(table, tmp_path / "shards"))
    (sample,) = stored_samples(shardset.open_root(tmp_path / "shards"))
    pixels = np.asarray(Image.open(io.BytesIO(sample["image"])))
    assert pixels[5, 5].tolist() == [200, 100, 50]
    assert pixels[0, 0].tolist() == [1, 2, 3]


# Latents.

LATENTS = {"name": "latents", "vae": "random:tiny", "flip": True, "batch": 2}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_latents_are_the_unscaled_posterior_means(tmp_path, dtype):
    import torch

    from animetune.models.load import load_vae, vae_digest
    from animetune.models.vae import encode_pixels

    table = tiny_table(tmp_path / "table", [(64, 64)] * 3)
    run.run(config(table, tmp_path / "shards", store=LATENTS | {"dtype": dtype, "batch": 1}))
    root = shardset.open_root(tmp_path / "shards")
    vae = load_vae("random:tiny")
    stored = []
    for sample in stored_samples(root):
        image = np.asarray(picture(int(sample["key"].removeprefix("tiny/")), 64, 64))
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        for name, encoded in (("latent", pixels), ("latent_flip", pixels.flip(-1))):
            latent = torch.frombuffer(bytearray(sample[name]), dtype=getattr(torch, dtype)).reshape(4, 8, 8)
            assert torch.equal(latent, encode_pixels(vae, encoded)[0].to(latent.dtype))
            if name == "latent":
                stored.append(latent.double())
    facts = root.latents
    assert facts["vae"] == vae_digest(vae)
    assert facts["scaling_factor"] == vae.config["scaling_factor"]
    assert (facts["dtype"], facts["flip"]) == (dtype, True)
    every = torch.stack(stored).transpose(0, 1).flatten(1)
    assert facts["channel_mean"] == pytest.approx(every.mean(dim=1).tolist(), abs=1e-9)
    assert facts["channel_std"] == pytest.approx(every.std(dim=1, correction=0).tolist(), abs=1e-9)


def test_a_latent_that_is_not_finite_is_quarantined(tmp_path, monkeypatch):
    import torch

    from animetune.models import vae

    real = vae.encode_posterior

    def broken(model, pixels):
        latents, std = real(model, pixels)
        latents[pixels.float().mean(dim=(1, 2, 3)) > 250] = 1e6  # beyond float16
        return latents, std

    monkeypatch.setattr(vae, "encode_posterior", broken)
    table = tiny_table(tmp_path / "table", [(64, 64)] * 4)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "table-images" / "2.png")
    manifest = run.run(config(table, tmp_path / "shards", store=LATENTS, quarantine_limit=0.5))
    assert manifest.quarantined == {"nonfinite_latent": 1}
    assert manifest.kept == 3
    assert pl.read_parquet(tmp_path / "shards" / "quarantined.parquet")["key"].to_list() == ["tiny/2"]
    assert torch.get_num_threads() >= 1


@pytest.mark.slow
def test_latents_do_not_depend_on_workers(tmp_path):
    table = tiny_table(tmp_path / "table", [(64, 64), (90, 60)] * 5)
    run.run(config(table, tmp_path / "alone", store=LATENTS))
    run.run(config(table, tmp_path / "workers", store=LATENTS, executor={"workers": 2}))
    assert hashes(tmp_path / "alone") == hashes(tmp_path / "workers")
