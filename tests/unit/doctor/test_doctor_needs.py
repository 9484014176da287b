"""What a stage or a recipe needs: with real files, a real server on loopback, and the command itself."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from animetune.cli import app
from animetune.doctor import room
from animetune.doctor.findings import ok, problem
from animetune.doctor.gpus import Device
from animetune.doctor.inputs import in_time
from animetune.doctor.needs import server_finding
from animetune.doctor.room import gpu_memory_findings
from animetune.doctor.run import config_groups, examine
from animetune.errors import ConfigError
from animetune.recipe.plan_disk import Taken
from tests.builders import TINY_SOURCES, tiny_shards

TRAIN = """\
stage: train
run: {folder}/run
model: {{base: "{base}"}}
data: {{shards: {shards}, labels: {labels}, global_batch: 4, micro_batch: 2}}
optimizer: {{name: {optimizer}, unet_lr: 1e-5}}
loop: {{epochs: 1, devices: {devices}, accelerator: cpu}}
"""


@contextmanager
def models_server(names, *, status=200):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()
            self.send_response(status if self.path == "/v1/models" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_and_its_model():
    with models_server(["qwen", "llava"]) as url:
        assert server_finding("curate", url, "qwen", "").state == "ok"
        other = server_finding("curate", url, "gemma", "")
        assert other.state == "problem"
        assert "serves qwen, llava, not gemma" in other.text
    gone = server_finding("curate", url, "qwen", "")
    assert gone.state == "problem"
    assert "no server answers" in gone.text


@pytest.mark.parametrize(("status", "state"), [(401, "problem"), (404, "note"), (500, "note")])
def test_a_server_that_refuses(status, state):
    with models_server(["qwen"], status=status) as url:
        assert server_finding("curate", url, "qwen", "key").state == state


@pytest.fixture
def train(tmp_path):
    def write(base="random:tiny", optimizer="adafactor", devices=1, made=True):
        shards, labels = tiny_shards(tmp_path / "made", TINY_SOURCES) if made else (tmp_path / "s", tmp_path / "l")
        file = tmp_path / "train.yaml"
        values = {"folder": tmp_path, "base": base, "shards": shards, "labels": labels}
        file.write_text(TRAIN.format(optimizer=optimizer, devices=devices, **values))
        return file

    return write


def problems(config, *overrides):
    """Their texts, but for those of disks, which depend on the machine."""
    groups = config_groups(config, overrides)
    found = [each for group in groups for each in group.findings if each.state == "problem"]
    return [each.text for each in found if each.what != "disk"]


def test_a_stage_that_has_all(train):
    assert problems(train()) == []


def test_what_a_training_lacks_is_named(train, tmp_path):
    found = problems(train(base=str(tmp_path / "nowhere/base.safetensors"), devices=3, made=False))
    assert any("model.base" in text and "is not there" in text for text in found)
    assert any("data.shards" in text and "is not there" in text for text in found)
    assert any("data.labels" in text for text in found)
    assert any("do not divide over 3 devices" in text for text in found)
    assert len(found) == 4


def test_a_base_of_the_hub_that_may_not_be_asked(train, monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = problems(train(base="owner/name"))
    assert len(found) == 1
    assert "owner/name: is not in the hub's cache, and the hub may not be asked" in found[0]


CURATE = """\
stage: curate
out: {folder}/table
sources: [{{name: a, posts: [{folder}/posts.jsonl], images: [{{root: {folder}}}]}}]
models:
  taggers:
    - name: t
      model: {{path: {folder}/t.onnx, sha256: "{sha}"}}
      tags: {{path: {folder}/tags.csv}}
captions:
  long: {{base_url: "{url}", model: qwen, api_key_env: A_KEY_FOR_TESTS}}
"""


def test_a_curation_with_models_and_a_server(tmp_path, monkeypatch):
    (tmp_path / "posts.jsonl").write_text("{}\n")
    (tmp_path / "t.onnx").write_bytes(b"weights")
    (tmp_path / "tags.csv").write_text("name\n")
    right = hashlib.sha256(b"weights").hexdigest()
    file = tmp_path / "curate.yaml"
    with models_server(["qwen"]) as url:
        file.write_text(CURATE.format(folder=tmp_path, url=url, sha=right))
        monkeypatch.delenv("A_KEY_FOR_TESTS", raising=False)
        assert [text for text in problems(file) if "A_KEY_FOR_TESTS is not set" in text]
        monkeypatch.setenv("A_KEY_FOR_TESTS", "secret")
        assert problems(file) == []
        file.write_text(CURATE.format(folder=tmp_path, url=url, sha="0" * 64))
        assert [text for text in problems(file) if "is another file" in text]
        (tmp_path / "posts.jsonl").unlink()
        assert [text for text in problems(file) if "sources.0.posts.0" in text]


EVALUATE = """\
stage: evaluate
out: {folder}/evaluation
models: {{base: {{base: "builtin:tiny"}}}}
probes: [{{name: adherence}}]
vision: {{base_url: "{url}", model: qwen, api_key_env: A_KEY_FOR_TESTS}}
"""


def test_the_server_of_an_evaluation(tmp_path, monkeypatch):
    file = tmp_path / "evaluate.yaml"
    with models_server(["qwen"]) as url:
        file.write_text(EVALUATE.format(folder=tmp_path, url=url))
        monkeypatch.delenv("A_KEY_FOR_TESTS", raising=False)
        assert [text for text in problems(file) if "A_KEY_FOR_TESTS is not set" in text]
        monkeypatch.setenv("A_KEY_FOR_TESTS", "secret")
        assert not [text for text in problems(file) if url in text]
        file.write_text(file.read_text().replace("model: qwen", "model: gemma"))
        assert [text for text in problems(file) if "serves qwen, not gemma" in text]
    assert [text for text in problems(file) if "no server answers" in text and "secret" not in text]


def test_mistakes_in_the_configuration_are_findings(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("stage: train\nrnu: x\n")
    found = problems(file)
    assert any("rnu" in text for text in found)
    assert len(found) > 1
    file.write_text("stage: trian\n")
    assert any("trian" in text for text in problems(file))
    assert problems(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="none is named"):
        examine(None, ["a=b"])


class _Memory:
    def __init__(self, each):
        self.each = each

    def needed(self, batch):
        return batch * self.each

    def largest(self, memory):
        return memory // self.each


def test_the_smallest_gpu_decides_whether_a_micro_batch_fits(train):
    from types import SimpleNamespace

    from animetune.config import load_config
    from animetune.data.source import SizeClass
    from animetune.records import Size
    from animetune.train.config import TrainConfig

    cfg = load_config(train(), TrainConfig, ["loop.accelerator=gpu", "data.micro_batch=4"])
    facts = SimpleNamespace(
        cfg=cfg,
        step=SimpleNamespace(name="t"),
        largest=SizeClass("1024", Size(1024, 1024)),
        costs=SimpleNamespace(memory=_Memory(10 * 10**9)),
    )
    large, small = Device("a", 80 * 10**9, (9, 0)), Device("b", 25 * 10**9, (9, 0))
    assert [each.state for each in gpu_memory_findings(facts, [large])] == ["ok"]
    found = list(gpu_memory_findings(facts, [large, small]))
    assert found[0].state == "problem"
    assert "lower data.micro_batch to 2 or less" in found[0].remedy
    assert not list(gpu_memory_findings(facts, []))


def test_what_takes_too_long_is_left():
    release = threading.Event()
    with pytest.raises(TimeoutError, match="no answer"):
        in_time(lambda: release.wait(30), 0.05)
    release.set()
    with pytest.raises(KeyError):
        in_time(lambda: {}["a"], 5)
    assert in_time(lambda: 3, 5) == 3


def test_the_command_ends_with_3_where_there_is_a_problem(train, monkeypatch):
    from animetune.doctor import run

    monkeypatch.setattr(run, "machine_groups", list)
    config = train(made=False)
    done = CliRunner().invoke(app, ["doctor", str(config)])
    assert done.exit_code == 3
    assert "problem  train" in done.output
    assert "Traceback" not in done.output
    fine = CliRunner().invoke(app, ["doctor", str(train())])
    assert fine.exit_code == 0, fine.output
    assert fine.output.strip().splitlines()[-1].startswith("0 problems")


def test_only_folders_that_are_written_to_have_to_take_files(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    asked = []

    def look(what, path, *, needed):
        asked.append(path)
        return [ok(what, str(path)) if path != tmp_path else problem(what, f"{path}: cannot be written to", "-")]

    monkeypatch.setattr(room, "look_at_place", look)
    taken = [Taken(name, "output", 1e6, str(tmp_path / name / "out")) for name in ("a", "b")]
    findings = list(room.disk_findings(taken))
    assert asked == [tmp_path / "a", tmp_path / "b"]
    assert [each.state for each in findings] == ["ok"]


def test_the_models_of_an_evaluation_are_told_with_their_licences(tmp_path):
    (tmp_path / "model_feat.onnx").write_bytes(b"weights")
    stated = hashlib.sha256(b"weights").hexdigest()
    file = tmp_path / "evaluate.yaml"
    file.write_text(
        f"""\
stage: evaluate
out: {tmp_path}/evaluation
models: {{base: {{base: "builtin:tiny"}}}}
probes: [{{name: black_white}}]
ccip:
  feature: {{path: {tmp_path}/model_feat.onnx, sha256: "{stated}", licence: OpenRAIL}}
  metric: {{path: {tmp_path}/model_metrics.onnx}}
  threshold: 0.2
"""
    )
    said = [found for group in config_groups(file, ()) for found in group.findings if found.what == "evaluate"]
    assert any(each.state == "ok" and each.text.endswith("as stated (licence OpenRAIL)") for each in said)
    (absent,) = (each for each in said if each.state == "problem")
    assert "ccip.metric" in absent.text
    assert "there is no such file" in absent.text
