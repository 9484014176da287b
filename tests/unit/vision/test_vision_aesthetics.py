"""Aesthetic scorers: ONNX against its formula, a random ViT against transformers' own pipeline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pydantic
import pytest
from PIL import Image

from animetune.errors import DataError, SetupError
from animetune.vision.aesthetics import (
    OnnxScorer,
    OnnxScorerConfig,
    TransformersScorerConfig,
    digests,
    load_scorer,
    score,
    stretched,
)
from tests.onnx_models import save_colour_model

LABELS = ("worst", "normal", "best")


def onnx_scorer(folder: Path, **settings) -> OnnxScorerConfig:
    slopes = np.zeros((3, 3))
    slopes[0, 2] = 2  # more red is better
    path = save_colour_model(folder / "model.onnx", slopes, [0, 1, 0], shape=("b", 3, 8, 8), last="Softmax")
    own = {"name": "tiny", "model": {"path": path}, "labels": LABELS}
    return OnnxScorerConfig.model_validate({**own, **settings})


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of aesthetic-shadow, with a random ViT."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        id2label={0: "hq", 1: "lq"}, label2id={"hq": 0, "lq": 1},
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = ViTForImageClassification(config)
        torch.nn.init.normal_(model.classifier.weight, std=0.3)
    model.save_pretrained(folder, safe_serialization=True)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def pictures(count: int) -> list[Image.Image]:
    draws = np.random.default_rng(0)
    return [Image.fromarray(draws.integers(n * 40, n * 40 + 90, (40 + n, 30, 3), dtype=np.uint8)) for n in range(count)]


def test_input_is_rgb_from_minus_one_to_one():
    found = stretched(Image.new("RGB", (7, 5), (0, 51, 255)), (4, 2))
    assert found.shape == (3, 2, 4)
    assert found.dtype == np.float32
    assert found[:, 0, 0] == pytest.approx([-1, -0.6, 1])


def test_the_grades_of_anime_aesthetic_count_by_name():
    """Its meta.json may begin with the best: by place, the worst pictures would be those of the highest score."""
    likely = {"masterpiece": 0.5, "best": 0.25, "great": 0.125, "good": 0, "normal": 0.0625, "low": 0, "worst": 0.0625}
    expected = 6 * 0.5 + 5 * 0.25 + 4 * 0.125 + 2 * 0.0625
    for labels in (list(likely), list(likely)[::-1]):
        assert score(labels, [likely[label] for label in labels], None) == expected
    assert score(["bad", "fair", "good"], [0.5, 0.25, 0.25], None) == 0.75  # other labels by their order
    assert score(["hq", "lq"], [0.75, 0.25], {"hq": 1.0}) == 0.75


def test_a_model_that_leaves_its_size_open_sees_384_pixels():
    seen = []

    class Session:
        input_shape = (None, 3, None, None)

        def run(self, batch):
            seen.append(batch.shape)
            return [np.full((len(batch), 3), 1 / 3)]

    OnnxScorer(Session(), LABELS, batch=1).probabilities(pictures(1))
    assert seen == [(1, 3, 384, 384)]


def test_onnx_probabilities_are_the_formula(tmp_path: Path):
    scorer = load_scorer(onnx_scorer(tmp_path), "cpu", 2)
    found = scorer.probabilities([Image.new("RGB", (9, 4), (red, 0, 0)) for red in (0, 255, 153)])
    for row, red in zip(found, (-1, 1, 0.2), strict=True):
        logits = np.array([0, 1, 2 * red])
        assert row == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-6)


def test_labels_of_a_meta_file(tmp_path: Path):
    (tmp_path / "meta.json").write_text(json.dumps({"labels": LABELS, "name": "x"}))
    cfg = onnx_scorer(tmp_path, labels=(), meta={"path": tmp_path / "meta.json"})
    assert load_scorer(cfg, "cpu", 1).labels == LABELS
    (tmp_path / "meta.json").write_text("[]")
    with pytest.raises(DataError, match=r"meta.json: has no `labels`; it should be the meta.json of other"):
        load_scorer(cfg.model_copy(update={"name": "other"}), "cpu", 1)


def test_labels_that_are_not_the_models(tmp_path: Path):
    scorer = load_scorer(onnx_scorer(tmp_path, labels=("lq", "hq")), "cpu", 1)
    with pytest.raises(DataError, match=r"gives \(3,\) values for a picture, and 2 labels are named: lq, hq"):
        scorer.probabilities(pictures(1))


def test_labels_are_asked_for(tmp_path: Path):
    with pytest.raises(pydantic.ValidationError, match="give `labels`, or `meta`"):
        onnx_scorer(tmp_path, labels=())


def test_scores():
    assert score(LABELS, [0.2, 0.3, 0.5], None) == pytest.approx(0 * 0.2 + 1 * 0.3 + 2 * 0.5)
    assert score(("hq", "lq"), [0.7, 0.3], {"hq": 1.0}) == pytest.approx(0.7)


def test_transformers_as_its_own_pipeline(vit: Path):
    from transformers import AutoImageProcessor, ViTForImageClassification, pipeline

    oracle = pipeline(
        "image-classification",
        model=ViTForImageClassification.from_pretrained(vit),
        image_processor=AutoImageProcessor.from_pretrained(vit, use_fast=False),
        device="cpu",
    )
    images = pictures(5)
    scorer = load_scorer(scorer_of(vit), "cpu", 3)
    found = scorer.probabilities(images)
    assert scorer.labels == ("hq", "lq")
    assert np.ptp(found[:, 0]) > 0.01, "all pictures score alike: nothing would be compared"
    for row, answers in zip(found, oracle(images), strict=True):
        by_label = {answer["label"]: answer["score"] for answer in answers}
        assert row == pytest.approx([by_label["hq"], by_label["lq"]], abs=1e-6)


def test_what_it_is_asked_together_with_changes_nothing(vit: Path):
    scorer, images = load_scorer(scorer_of(vit), "cpu", 3), pictures(5)
    assert scorer.probabilities(images[3:]).tobytes() == scorer.probabilities(images)[3:].tobytes()


def test_answers_depend_on_the_files_beside(vit: Path, tmp_path: Path):
    for file in vit.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = digests(scorer_of(tmp_path))
    assert before == digests(scorer_of(vit))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert digests(scorer_of(tmp_path)) != before


def test_a_folder_that_lacks_something(vit: Path, tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes((vit / "model.safetensors").read_bytes())
    with pytest.raises(SetupError, match=r"with config.json and preprocessor_config.json beside it"):
        load_scorer(scorer_of(tmp_path), "cpu", 1)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    pickled = scorer_of(tmp_path).model_copy(update={"model": scorer_of(tmp_path, "pytorch_model.bin").model})
    with pytest.raises(SetupError, match=r"should be a model.safetensors"):
        load_scorer(pickled, "cpu", 1)


def scorer_of(folder: Path, file: str = "model.safetensors") -> TransformersScorerConfig:
    path = folder / file
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return TransformersScorerConfig(kind="transformers", name="shadow", model={"path": path, "sha256": sha256})
