"""A run on disk becomes its page: counts, pictures cut as trained, prompts as trained, the metrics that count."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from animetune import fsio, samples
from animetune.config import to_yaml
from animetune.data.source import open_data
from animetune.errors import DataError
from animetune.prompts import compose
from animetune.records import Request, Size
from animetune.report.reading import choose_rows, latest_metrics, latest_validation, read_run
from animetune.report.run_page import write
from animetune.seeding import Purpose, rng_for
from animetune.shardset import open_labels
from animetune.train.config import TrainConfig
from tests.builders import TINY_SOURCES, tiny_shards

CONTENT = ["1girl_only", "1girl_only", "1girl_only", "animal", "object"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory, with its table, shards and labels, as the stages leave them."""
    folder = tmp_path_factory.mktemp("finished")
    shards, labels = tiny_shards(
        folder,
        TINY_SOURCES * 8,
        split=["train"] * 35 + ["val"] * 5,
        content_bucket=CONTENT * 8,
        repeats=[0.0 if row % 7 == 3 else 1.5 for row in range(40)],
    )
    run = folder / "runs" / "tiny"
    cfg = TrainConfig.model_validate(
        {
            "stage": "train",
            "run": str(run),
            "seed": 5,
            "model": {"base": "random:tiny"},
            "data": {"shards": str(shards), "labels": str(labels), "global_batch": 4, "micro_batch": 2},
            "prompts": {"order": ["caption", "general", "quality"], "shuffle": ["general"], "tag_dropout": 0.3},
            "optimizer": {"name": "adafactor", "unet_lr": 1e-5},
            "loop": {"steps": 100},
        }
    )
    fsio.atomic_write(run / "config.yaml", to_yaml(cfg))
    for step in (10, 20, 30, 20, 30):
        fsio.append_line(run / "metrics.jsonl", {"step": step, "loss": step / 100, "images": 4 * step})
    for step in (0, 20):
        publish_samples(run / "samples" / f"step-{step:08d}", value=step)
    return folder, cfg


def publish_samples(folder, *, value):
    requests = [Request(f"prompt {i}", seed=i, size=Size(16, 16), negative="") for i in range(2)]
    pictures = [(i, np.full((16, 16, 3), value + i, np.uint8)) for i in range(2)]
    samples.publish(folder, requests, pictures, settings={"steps": 1}, columns=2)


def test_page_of_a_run(finished, tmp_path):
    folder, _ = finished
    page = read_run(folder / "runs" / "tiny", table=folder / "table")
    assert page.title == "tiny"
    assert page.table.kept == 40
    assert [root.kept for root in page.shards] == [40]
    assert {count.content_bucket: count.rows for count in page.content} == {"1girl_only": 21, "animal": 7, "object": 7}
    assert sum(count.repeats for count in page.content) == pytest.approx(sum(page.repeats))
    assert sum(count for _, count in page.sizes) == 35 == len(page.repeats)
    assert [line["step"] for line in page.metrics] == [10, 20, 30]
    assert [row.step for row in page.progress] == [0, 20]
    assert [picture.prompt for picture in page.final] == ["prompt 0", "prompt 1"]
    assert "loop.steps=200" in page.commands[0].line
    html = write(page, tmp_path / "index.html").read_text()
    assert html.count("<img") == 24 + 2 * 2 + 2 + 2  # sheet, previews, final, and the final ones that open the page


def test_pictures_and_prompts_are_those_of_training(finished):
    folder, cfg = finished
    page = read_run(folder / "runs" / "tiny", table=folder / "table")
    sources = open_data(cfg.data)
    rows = choose_rows(sources, count=24, seed=cfg.seed)
    assert len(page.pictures) == len(rows) == 24
    index = sources[0].root.samples()
    for picture, row in zip(page.pictures, rows, strict=True):
        label = sources[0].label(row)
        prompt = compose(label, cfg.prompts, rng_for(cfg.seed, Purpose.CAPTION, 0, row, 0))
        assert picture.prompt == prompt
        assert picture.image.size == (index["width"][row].as_py(), index["height"][row].as_py())
        assert picture.note == label.content_bucket
    draws = [draw for sample in page.prompts for draw in sample.draws]
    assert len(page.prompts) == 6
    assert len(draws) == 12
    assert any(sample.draws[0] != sample.draws[1] for sample in page.prompts)


def test_prompts_are_those_that_the_loader_gives(finished):
    from animetune.data.loader import build_loader

    folder, cfg = finished
    shown = {sample.key: sample.draws for sample in read_run(folder / "runs" / "tiny").prompts}
    data = cfg.data.model_copy(update={"workers": 0})
    loader = build_loader(data, cfg.prompts, seed=cfg.seed)
    labels = open_labels(data.labels)
    compared = 0
    try:
        for epoch in range(2):
            for batch in loader:
                for row, copy, prompt in zip(batch.rows.tolist(), batch.copies.tolist(), batch.prompts, strict=True):
                    if copy == 0 and (key := labels.label(row).key) in shown:
                        assert shown[key][epoch] == prompt
                        compared += 1
    finally:
        loader.close()
    # repeats are 1.5, so every row comes at least once an epoch, but for the tail that is rounded off
    assert compared >= 10


def test_rows_come_in_turns_from_every_content_bucket_and_only_if_trained_on(finished):
    _, cfg = finished
    sources = open_data(cfg.data)
    rows = choose_rows(sources, count=9, seed=1)
    contents = [sources[0].label(row).content_bucket for row in rows]
    assert {name: contents.count(name) for name in contents} == {"1girl_only": 3, "animal": 3, "object": 3}
    assert all(sources[0].repeats[row] > 0 for row in rows)
    assert rows == sorted(rows)
    assert rows != choose_rows(sources, count=9, seed=2)
    everything = choose_rows(sources, count=1000, seed=1)
    assert len(everything) == np.count_nonzero(sources[0].repeats)


def test_a_final_folder_takes_the_place_of_the_last_preview(finished, tmp_path):
    folder, _ = finished
    publish_samples(tmp_path / "final", value=200)
    page = read_run(folder / "runs" / "tiny", final=tmp_path / "final")
    with Image.open(page.final[0].image) as image:
        assert image.getpixel((0, 0)) == (200, 200, 200)
    assert page.table is None
    assert page.pictures == []


def test_pictures_that_stayed_on_another_machine_are_left_out(finished, tmp_path):
    folder, _ = finished
    images = folder / "table-images"
    images.rename(tmp_path / "elsewhere")
    try:
        page = read_run(folder / "runs" / "tiny", table=folder / "table")
    finally:
        (tmp_path / "elsewhere").rename(images)
    assert page.pictures == []
    assert len(page.prompts) == 6


def test_of_a_step_done_twice_the_last_counts(tmp_path):
    for step, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.5)):
        fsio.append_line(tmp_path / "metrics.jsonl", {"step": step, "loss": loss})
    assert [(line["step"], line["loss"]) for line in latest_metrics(tmp_path)] == [(1, 0.9), (2, 0.5), (3, 0.7)]


def test_validation_is_read_by_step_and_weights(tmp_path):
    for step, weights, loss in ((0, "raw", 1.0), (500, "raw", 0.5), (500, "ema-0.9", 0.4), (500, "raw", 0.6)):
        fsio.append_line(tmp_path / "validation.jsonl", {"step": step, "weights": weights, "loss": loss})
    found = [(line["step"], line["weights"], line["loss"]) for line in latest_validation(tmp_path)]
    assert found == [(0, "raw", 1.0), (500, "raw", 0.6), (500, "ema-0.9", 0.4)]


def test_missing_shards_are_named(finished, tmp_path):
    _, cfg = finished
    moved = cfg.model_copy(update={"data": cfg.data.model_copy(update={"shards": str(tmp_path / "gone")})})
    fsio.atomic_write(tmp_path / "run" / "config.yaml", to_yaml(moved))
    with pytest.raises(DataError, match="gone"):
        read_run(tmp_path / "run")
