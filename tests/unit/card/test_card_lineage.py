"""Where a card's weights come from: through exports and merges, by digests; what is no run's; no machine's places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from animetune import fsio
from animetune.card.published import settings_digest
from animetune.card.run import run
from animetune.config import load_config
from animetune.errors import ConfigError, DataError
from animetune.manifest import Manifest, read_manifest, record_files, write_manifest
from animetune.train.config import TrainConfig
from tests.builders import TINY_SOURCES, tiny_shards
from tests.unit.card.test_card_run import BASE, card, config, front, made, original, train_config, write_run

__all__ = ["made", "original"]  # fixtures


def weights(folder: Path, kind: str, facts: dict, *files: str) -> str:
    """Finished weights with a manifest, whose files nobody reads."""
    with fsio.publish_dir(folder) as temporary:
        for file in files or ("model.safetensors",):
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            (temporary / file).write_bytes(b"1234567")
        write_manifest(temporary, Manifest(kind=kind, format_version=1, facts=facts, files=record_files(temporary)))
    return str(folder)


def facts_of(folder: Path) -> dict[str, str]:
    """What a checkpoint, and all that is made of it, says of its run."""
    return {"config_sha256": settings_digest(load_config(folder / "config.yaml", TrainConfig)), "step": "20"}


def merge_of(made: Path, name: str = "merged", **changes) -> str:
    method = {"name": "weighted_sum", "weights": {"a": 0.75, "b": 0.25}, "parts": {}}
    trained = {"a": facts_of(made / "second"), "b": facts_of(made / "other")}
    facts = {"method": method, "models": ["a", "b"], "vae": "a", "loras": [], "trained": trained, **changes}
    return weights(made / name, "merge", facts)


@pytest.fixture
def other(made: Path) -> Path:
    write_run(train_config(made, "other", BASE, seed=7))
    return made


def test_the_way_back_goes_on_through_a_merge(other: Path) -> None:
    write_run(train_config(other, "last", merge_of(other)))
    text = card(config(other, runs=[str(other / "last")]))
    assert re.search(r"^\|  \| first \| second \| other \| last \|$", text, re.MULTILINE)
    assert "**Stages of training**: 4" in text
    assert front(text)["base_model"] == [BASE]
    assert f"**Fine-tuned from**: `{BASE}`" in text


def test_and_through_the_file_of_an_export(made: Path) -> None:
    export = weights(made / "export", "export", facts_of(made / "second"))
    write_run(train_config(made, "last", f"{export}/model.safetensors"))
    text = card(config(made, runs=[str(made / "last")]))
    assert "|  | first | second | last |" in text
    assert front(text)["base_model"] == [BASE]


def test_what_no_run_made_of_a_merge_is_a_base_whose_licence_binds(other: Path) -> None:
    trained = {"a": facts_of(other / "second")}
    hub = {"b": "cagliostrolab/animagine-xl-3.1"}
    export = merge_of(other, trained=trained, hub=hub, licences={"b": "faipl-1.0-sd"})
    with pytest.raises(ConfigError, match=r"animagine-xl-3\.1 is under faipl-1\.0-sd.*share-alike"):
        run(config(other, export=export))
    text = card(config(other, export=export, about={"license": "faipl-1.0-sd"}))
    assert front(text)["base_model"] == [BASE, hub["b"]]
    assert "**Merged**: 0.75 x a + 0.25 x b" in text


def test_weights_of_another_run_are_refused(other: Path) -> None:
    export = weights(other / "export", "export", facts_of(other / "other"))
    with pytest.raises(DataError, match="was made from a run that is neither first, second nor"):
        run(config(other, export=export))
    merged = merge_of(other)
    with pytest.raises(DataError, match=r"was made from a run \(b\)"):
        run(config(other, export=merged))
    assert card(config(other, export=merged, runs=[str(other / "other"), str(other / "second")]))


def test_a_folder_is_no_model_of_the_hub_and_no_place_is_told(made: Path) -> None:
    weights(made / "start", "export", {}, "model.safetensors")
    write_run(train_config(made, "third", f"{made}/start"))
    text = card(config(made, runs=[str(made / "third")], out=str(made / "relative"), bases={"start": "openrail++"}))
    assert "base_model" not in front(text)
    cfg = train_config(made, "third", str((made / "start").resolve()))
    write_run(cfg.model_copy(update={"data": cfg.data.model_copy(update={"labels": str((made / "gone").resolve())})}))
    text = card(config(made, runs=[str(made / "third")], bases={"start": "openrail++"}))
    assert "base_model" not in front(text)
    assert "**Fine-tuned from**: `start`" in text
    assert "labels gone could not be read" in text
    assert str(made.resolve()) not in text


def test_code_of_a_single_file_alone_loads_that(made: Path) -> None:
    text = card(config(made, export=weights(made / "export", "export", {}, "mine.safetensors")))
    assert 'StableDiffusionXLPipeline.from_single_file(\n    "mine.safetensors",' in text
    text = card(config(made, out=str(made / "without")))
    assert "The finished weights were not given to this card." in text
    assert "No single file was published" not in text


def test_the_newest_picture_is_that_of_all_stages(made: Path) -> None:
    tiny_shards(made / "newer", TINY_SOURCES)
    table = made / "newer" / "table"
    manifest = read_manifest(table)
    write_manifest(table, manifest.model_copy(update={"facts": {**manifest.facts, "knowledge_cutoff": "2024-05-06"}}))
    labels = read_manifest(made / "newer" / "labels")
    inputs = {**labels.inputs, "table": read_manifest(table).digest}
    write_manifest(made / "newer" / "labels", labels.model_copy(update={"inputs": inputs}))
    data = {"shards": f"{made}/newer/shards", "labels": f"{made}/newer/labels", "global_batch": 4, "micro_batch": 2}
    write_run(train_config(made, "early", BASE, data=data))
    write_run(train_config(made, "late", str(made / "early")))
    text = card(config(made, runs=[str(made / "late")]))
    assert "nothing newer than its last picture (2024-05-06" in text
    assert "(17 of late)" in text
