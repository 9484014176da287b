"""Cards of a small run: read from its folders, honest about what is missing, published once, code that runs."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from animetune import fsio, samples
from animetune.card.config import CardConfig
from animetune.card.run import run
from animetune.config import load_config, to_yaml
from animetune.curate.config import CurateConfig
from animetune.errors import ConfigError, DataError, SetupError
from animetune.manifest import Manifest, read_manifest, record_files, verify_files, write_manifest
from animetune.records import Request, Size
from animetune.train.config import TrainConfig
from tests.builders import TINY_SOURCES, tiny_shards

BASE = "stabilityai/stable-diffusion-xl-base-1.0"


def train_config(folder, name, base, **changes):
    settings = {
        "stage": "train",
        "run": str(folder / name),
        "model": {"base": base, "train_text_encoder": False, "train_text_encoder_2": False},
        "data": {
            "shards": str(folder / "shards"),
            "labels": str(folder / "labels"),
            "global_batch": 4,
            "micro_batch": 2,
        },
        "prompts": {"preset": "animagine-3.1"},
        "optimizer": {"name": "adamw", "unet_lr": 2.5e-6},
        "loop": {"steps": 20},
    }
    return TrainConfig.model_validate({**settings, **changes})


def write_run(cfg, *, images=(40, 80)):
    """A finished run as training leaves it: 1 image a second, on two ranks."""
    folder = Path(cfg.run)
    fsio.atomic_write(folder / "config.yaml", to_yaml(cfg))
    fsio.write_json(folder / "env.json", {"gpus": ["Some GPU", "Some GPU"]})
    for place, count in enumerate(images, start=1):
        line = {
            "step": 10 * place,
            "epoch": place,
            "images": count,
            "images_per_second": 1 / 90,
            "rank_seconds": [1, 1],
        }
        fsio.append_line(folder / "metrics.jsonl", line)
    facts = {"step": 10 * len(images), "images": images[-1], "checkpoint": "step-00000020"}
    write_manifest(folder, Manifest(kind="run", format_version=1, facts=facts))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two runs, one from the other, with shards, labels and table; all their paths are relative."""
    folder = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make(Path("work"))
    return folder / "work"


@pytest.fixture
def made(original, tmp_path, monkeypatch):
    """A copy of them that a test may spoil."""
    shutil.copytree(original, tmp_path / "work")
    monkeypatch.chdir(tmp_path)
    return Path("work")


def make(folder):
    tiny_shards(
        folder,
        TINY_SOURCES * 8,
        split=["train"] * 35 + ["val"] * 5,
        rating=["g", "s", "q", "e"] * 10,
        quality=["best", "worst"] * 20,
        year="newest",
        tags_copyright=[["some_series"]] * 40,
    )
    curate = {
        "stage": "curate",
        "out": str(folder / "table"),
        "sources": [{"name": "tiny", "posts": ["posts.jsonl"]}],
        "classes": {"preset": "animagine-3.1"},
    }
    fsio.atomic_write(folder / "table" / "config.yaml", to_yaml(CurateConfig.model_validate(curate)))
    write_run(train_config(folder, "first", BASE))
    write_run(train_config(folder, "second", str(folder / "first")))


def config(folder, **changes):
    about = {"title": "A title", "license": "openrail++", "description": "What it is.", **changes.pop("about", {})}
    settings = {
        "stage": "card",
        "out": str(folder / "card"),
        "runs": [str(folder / "second")],
        "about": about,
        **changes,
    }
    return CardConfig.model_validate(settings)


def card(cfg):
    run(cfg)
    return (cfg.out / "README.md").read_text(encoding="utf-8")


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_a_card_follows_the_lineage_by_itself(made):
    text = card(config(made))
    assert front(text)["base_model"] == [BASE]
    assert front(text)["license"] == "openrail++"
    assert "|  | first | second |" in text
    assert "| UNet learning rate | 2.5e-6 | 2.5e-6 |" in text
    assert "| Batch | 4 = 2 x 1 x 2 | 4 = 2 x 1 x 2 |" in text
    assert "| Time | 2.0 hours | 2.0 hours |" in text
    assert "| Time of all devices | 4.0 hours | 4.0 hours |" in text
    assert "2 x Some GPU" in text
    assert "| `best quality` | > 85 % and ≤ 95 % | 18 |" in text
    assert "| `masterpiece` | > 95 % | 0 |" in text
    assert "| `explicit, nsfw` | explicit | 8 |" in text
    assert "Pictures rated questionable or explicit were in its training (17 of first, 17 of second)" in text
    assert re.search(r"^(someone \d+), some series, ", text, re.MULTILINE)
    for folder in ("shards", "labels", "table"):
        assert read_manifest(made / folder).digest in text


def test_it_is_published_once_and_never_replaced(made):
    first = card(config(made))
    stamp = (made / "card" / "README.md").stat().st_mtime_ns
    assert verify_files(made / "card", read_manifest(made / "card", kind="card")) == []
    assert card(config(made)) == first
    assert (made / "card" / "README.md").stat().st_mtime_ns == stamp
    with pytest.raises(SetupError, match="holds another card"):
        run(config(made, about={"title": "Another"}))
    assert (made / "card" / "README.md").read_text(encoding="utf-8") == first
    with pytest.raises(ConfigError, match="is a label-set"):
        run(config(made, out=str(made / "labels")))
    assert card(config(made, out=str(made / "other"))) == first


def test_what_is_gone_is_said_to_be_missing_and_never_made_up(made):
    fsio.remove(made / "table" / "config.yaml")
    text = card(config(made))
    assert "does not say how it was curated" in text.replace("\\", "")
    assert "What decided them is not known here." in text
    assert "> 85 %" not in text
    fsio.remove(made / "labels")
    text = card(config(made, out=str(made / "later")))
    assert "could not be read" in text
    assert "No example can be shown" in text
    assert "| second | not known | not known | 80 |" in text


def test_a_table_that_was_made_again_is_noticed(made):
    manifest = read_manifest(made / "table")
    write_manifest(made / "table", manifest.model_copy(update={"facts": {**manifest.facts, "changed": 1}}))
    text = card(config(made))
    assert "has been made again since" in text
    assert "> 85 %" not in text


def test_a_table_that_lies_elsewhere_is_named(made):
    (made / "far" / "away").mkdir(parents=True)
    (made / "table").rename(made / "far" / "away" / "table")
    assert "is not beside them" in card(config(made))
    text = card(config(made, tables=[str(made / "far" / "away" / "table")], out=str(made / "told")))
    assert "| `best quality` | > 85 % and ≤ 95 % | 18 |" in text


def test_a_licence_that_the_base_forbids_is_refused(made):
    with pytest.raises(ConfigError, match=r"mit: stabilityai/.* is under openrail\+\+.*choose openrail\+\+"):
        run(config(made, about={"license": "mit"}))
    assert not (made / "card").exists()
    write_run(train_config(made, "third", "cagliostrolab/animagine-xl-3.0"))
    with pytest.raises(ConfigError, match=r"share-alike.*choose faipl-1\.0-sd"):
        run(config(made, runs=[str(made / "third")]))
    text = card(config(made, runs=[str(made / "third")], about={"license": "faipl-1.0-sd"}))
    assert front(text)["license"] == "other"
    assert front(text)["license_name"] == "faipl-1.0-sd"


def test_a_base_of_unknown_licence_is_not_settled(made, caplog):
    write_run(train_config(made, "third", "somebody/some-model"))
    text = card(config(made, runs=[str(made / "third")]))
    assert "Not settled" in text
    assert "somebody/some-model" in caplog.text
    told = config(made, runs=[str(made / "third")], bases={"somebody/some-model": "mit"}, out=str(made / "told"))
    assert "Not settled" not in card(told)


def test_what_is_no_run_is_named(made):
    with pytest.raises(DataError, match="shards: is no training run"):
        run(config(made, runs=[str(made / "shards")]))
    with pytest.raises(DataError, match="holds no finished weights but a label-set"):
        run(config(made, export=str(made / "labels")))


def test_a_recipe_that_asks_for_something_else_is_shown_beside_the_run(made):
    asked = [train_config(made, "second", str(made / "first"), loop={"epochs": 10}), train_config(made, "never", BASE)]
    for place, cfg in enumerate(asked):
        fsio.atomic_write(made / "recipe" / f"{place}.yaml", to_yaml(cfg))
    text = card(config(made, configs=[str(made / "recipe")]))
    assert "**second** was run otherwise than the recipe asks: length 20 steps instead of 10 epochs" in text
    assert "**never** of the recipe was not run for this model." in text
    same = made / "same.yaml"
    fsio.atomic_write(same, to_yaml(load_config(made / "second" / "config.yaml", TrainConfig)))
    text = card(config(made, configs=[str(same)], hardware={"gpus": 2}, out=str(made / "same")))
    assert "What the recipe asks for" not in text


def publish_export(folder, prediction, **scheduler):
    with fsio.publish_dir(folder) as temporary:
        (temporary / "diffusers" / "unet").mkdir(parents=True)
        (temporary / "diffusers" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"12345")
        (temporary / "model.safetensors").write_bytes(b"1234567")
        fsio.write_json(temporary / "diffusers" / "model_index.json", {})
        fsio.write_json(temporary / "diffusers" / "text_encoder" / "config.json", {"torch_dtype": "bfloat16"})
        settings = {"prediction_type": prediction, **scheduler}
        fsio.write_json(temporary / "diffusers" / "scheduler" / "scheduler_config.json", settings)
        write_manifest(temporary, Manifest(kind="export", format_version=2, files=record_files(temporary)))
    return str(folder)


@pytest.mark.parametrize(
    ("prediction", "said", "scheduler"),
    [
        ("epsilon", "predicts the noise", True),
        ("v_prediction", "It predicts v with zero terminal SNR", True),
        ("flow_prediction", "rectified flow", False),
    ],
)
def test_usage_suits_what_the_weights_predict(made, prediction, said, scheduler):
    export = publish_export(
        made / "export", prediction, rebalance=0, rescale_betas_zero_snr=prediction == "v_prediction"
    )
    text = card(config(made, export=export, about={"hub_id": "me/my-model"}, inference={"prompt": 'say "hi" \\(x\\)'}))
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    ast.parse(program)
    assert '"me/my-model"' in program
    assert "torch.bfloat16" in program
    assert ("EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)" in program) == scheduler
    assigns = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Assign)]
    assigned = {ast.unparse(node.targets[0]): node.value for node in assigns}
    assert ast.literal_eval(assigned["prompt"]) == 'say "hi" \\(x\\)'
    assert said in text
    record = read_manifest(Path(export)).files["model.safetensors"]
    assert f"| `model.safetensors` | 7 bytes | `{record.sha256}` |" in text


@pytest.mark.parametrize(("sampler", "package"), [("lms", "scipy"), ("dpmpp_sde", "torchsde"), ("unipc", None)])
def test_what_a_scheduler_of_diffusers_needs_and_lacks_is_said(made, sampler, package):
    export = publish_export(made / "export", "v_prediction", rescale_betas_zero_snr=True)
    text = card(config(made, export=export, inference={"sampler": sampler}))
    install = next(line for line in text.splitlines() if line.startswith("pip install"))
    assert install.endswith(package or "safetensors")
    assert ("knows no zero terminal SNR" in text) == (package is not None)
    assert "reads the first 75 tokens of a prompt" in text


def test_pictures_and_examples_come_from_the_samples(made):
    requests = [Request(f"prompt <{place}>", seed=place, size=Size(16, 16), negative="bad") for place in range(5)]
    pictures = [(place, np.full((16, 16, 3), 40 * place, np.uint8)) for place in range(5)]
    samples.publish(made / "samples", requests, pictures, settings={"steps": 1}, columns=2)
    text = card(config(made, samples=str(made / "samples"), pictures=3))
    widget = front(text)["widget"]
    assert [each["text"] for each in widget] == ["prompt <0>", "prompt <2>", "prompt <4>"]
    assert all((made / "card" / each["output"]["url"]).is_file() for each in widget)
    assert "<0>" not in text.split("---\n")[2]


def test_numbers_of_an_evaluation_are_shown(made):
    estimate = {"value": 0.125, "n": 40, "interval": [0.05, 0.25]}
    unscored = {"models": {"tuned": {"value": None, "n": 0, "interval": None}}}
    groups = {"walls": {"models": {"tuned": estimate}}, "trees": unscored}
    measure = {"title": "People", "unit": "share", "groups": groups}
    fsio.write_json(made / "evaluation" / "results.json", {"probes": [{"measures": {"leak": measure}}]})
    text = card(config(made, evaluation=str(made / "evaluation")))
    assert "| People | walls | 12.5 % (5.0 % to 25.0 %), n = 40 |" in text
    assert json.dumps(estimate) not in text
    assert "trees" not in text
    with pytest.raises(DataError, match="results of the evaluation cannot be read"):
        run(config(made, evaluation=str(made / "labels"), out=str(made / "x")))
