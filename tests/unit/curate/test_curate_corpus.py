"""The step `pictures` on a corpus of files: one outcome for each, within bounds, whatever decoders do."""

from __future__ import annotations

import re
import time
from pathlib import Path

import polars as pl
import pytest

from animetune.curate import looking, pictures
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from animetune.curate.steps import Published
from animetune.manifest import Manifest, read_manifest
from tests.bad_probes import misbehave
from tests.builders import curate_config, danbooru_post, picture, write_lines
from tests.corpus import CASES, FIRST_FRAMES, Case, Good, encoded

NAMES = sorted(CASES)
SOUND = encoded("PNG", picture(1, 64, 48))


def write_corpus(folder: Path, cases: dict[str, Case]) -> Path:
    """A post for each case, with ids in order of the names from 1 on; all files are called <id>.png."""
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(sorted(cases), 1):
        (folder / "images" / f"{number}.png").write_bytes(cases[name].build())
    (folder / "images" / "1000.png").write_bytes(SOUND)
    numbers = [*range(1, len(cases) + 1), 1000]
    write_lines(folder / "posts.jsonl", [danbooru_post(number) for number in numbers])
    write_lines(folder / "captions.jsonl", [])
    return folder


def config(folder: Path, **changes) -> CurateConfig:
    """Nothing is dropped as a duplicate or for its size, so that each row tells what was found in it."""
    images = [{"root": str(folder / "images"), "path": "{id}.png"}]
    source = {"name": "tiny", "posts": [str(folder / "posts.jsonl")], "images": images}
    return curate_config(folder, sources=[source], quarantine_limit=1, dedup={"by": []}, **changes)


def pictures_step(cfg: CurateConfig) -> Published:
    folder = next((cfg.out / "steps").glob("*-pictures-*"))
    return Published(folder, read_manifest(folder))


def outcomes(cfg: CurateConfig) -> dict[str, Good | str]:
    """Name -> what became of it; exactly one outcome for each."""
    step = pictures_step(cfg)
    found = pl.concat(pl.read_parquet(path) for path in (cfg.out / "answers").glob("pictures-*/part-*/rows.parquet"))
    good = found.filter(pl.col("code").is_null()).select(
        "image", "width", "height", "image_format", "pixel_mode", "had_alpha", "colour_profile", "rotated"
    )
    result: dict[str, Good | str] = {}
    for image, *facts in good.iter_rows():
        result[image] = Good(*facts)
    for key, code, _ in step.quarantined().iter_rows():
        image = str(Path(good["image"][0]).with_name(f"{key.removeprefix('tiny/')}.png"))
        assert image not in result
        result[image] = code
    return {NAMES[int(Path(image).stem) - 1]: each for image, each in result.items() if Path(image).stem != "1000"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[CurateConfig, Manifest, float]:
    """The corpus curated, and the seconds that it took."""
    cfg = config(write_corpus(tmp_path_factory.mktemp("corpus") / "posts", CASES))
    start = time.monotonic()
    manifest = run(cfg)
    return cfg, manifest, time.monotonic() - start


def test_every_file_has_the_outcome_a_careful_person_expects(corpus):
    cfg, manifest, _ = corpus
    assert len(CASES) >= 100
    assert outcomes(cfg) == {name: case.expected for name, case in CASES.items()}
    step = pictures_step(cfg).manifest
    assert (step.seen, step.kept + sum(step.quarantined.values())) == (len(CASES) + 1, len(CASES) + 1)
    assert manifest.quarantined == step.quarantined


def test_time_and_memory_are_bounded(corpus):
    *_, seconds = corpus
    assert seconds < 60
    child = looking._isolated(pictures.PROBE, 60.0, 2 << 30)
    status = Path(f"/proc/{child.pid}/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])
    assert peak < 400_000


def test_the_step_counts_what_it_found(corpus):
    facts = pictures_step(corpus[0]).manifest.facts
    good = [case.expected for case in CASES.values() if isinstance(case.expected, Good)]
    good.append(Good(64, 48, "PNG"))

    def counts(name: str) -> dict[str, int]:
        values = [getattr(each, name) for each in good]
        return {value: values.count(value) for value in sorted(set(values))}

    assert facts["picture_formats"] == counts("format")
    assert facts["pixel_modes"] == counts("mode")
    assert facts["colour_profiles"] == counts("profile")
    assert facts["rotated"] == counts("rotated")[True]
    assert facts["with_alpha"] == counts("alpha")[True]


def test_animations_by_their_first_frame(tmp_path: Path):
    cases = {name: case for name, case in CASES.items() if case.expected == "animated"}
    assert set(cases) == set(FIRST_FRAMES)
    cfg = config(write_corpus(tmp_path / "posts", cases), pictures={"animated": "first_frame"})
    manifest = run(cfg)
    assert manifest.quarantined == {}
    assert manifest.facts["pictures"]["animated"] == "first_frame"
    step = pictures_step(cfg)
    frame = pl.concat(pl.read_parquet(part) for part in step.parts)
    assert frame.height == len(cases) + 1


def bad_sources(folder: Path, kinds: list[str]) -> list[dict]:
    """A source of one picture for each kind of failure (`bad_probes`)."""
    (folder / "images").mkdir(parents=True)
    sources = []
    for kind in kinds:
        posts = folder / f"{kind}.jsonl"
        write_lines(posts, [danbooru_post(1)])
        (folder / "images" / f"{kind}-1.png").write_bytes(SOUND)
        images = [{"root": str(folder / "images"), "path": f"{kind}-{{id}}.png"}]
        sources.append({"name": kind, "posts": [str(posts)], "images": images})
    return sources


EXPECTED = {"crash": "decoder_crash", "hang": "timeout", "hog": "out_of_memory"}


def test_a_decoder_that_dies_costs_its_own_row(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "PROBE", misbehave)
    monkeypatch.setattr(pictures, "CHUNK_ROWS", 2)
    folder = tmp_path / "posts"
    sources = bad_sources(folder, [*EXPECTED, "once", "sound"])
    settings = {"sources": sources, "quarantine_limit": 1, "dedup": {"by": []}, "executor": {"workers": 2}}
    cfg = curate_config(folder, pictures={"seconds": 1.0, "memory": 256 << 20}, **settings)
    assert run(cfg).kept == 2
    quarantined = pictures_step(cfg).quarantined()
    assert dict(quarantined.select("key", "code").rows()) == {f"{kind}/1": code for kind, code in EXPECTED.items()}


def test_other_limits_ask_only_what_broke_the_first_ones(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "PROBE", misbehave)
    folder = tmp_path / "posts"
    sources = bad_sources(folder, ["crash", "sound"])

    def config_of(out: str, seconds: float) -> CurateConfig:
        shared = {"sources": sources, "quarantine_limit": 1, "dedup": {"by": []}, "answers": tmp_path / "answers"}
        return curate_config(folder, out=tmp_path / out, pictures={"seconds": seconds}, **shared)

    assert run(config_of("first", 20)).quarantined == {"decoder_crash": 1}
    asked: list[str] = []
    look_at_each = pictures.look_at_each

    def counted(questions, *arguments, **limits):
        asked.extend(Path(question.candidates[0]).name for question in questions)
        return look_at_each(questions, *arguments, **limits)

    monkeypatch.setattr(pictures, "look_at_each", counted)
    assert run(config_of("again", 20)).quarantined == {"decoder_crash": 1}
    assert asked == []
    monkeypatch.setattr(pictures, "PROBE", pictures.look_at)
    assert run(config_of("longer", 30)).quarantined == {}
    assert asked == ["crash-1.png"]
    asked.clear()
    assert run(config_of("longer-again", 30)).quarantined == {}
    assert run(config_of("back", 20)).quarantined == {"decoder_crash": 1}
    assert asked == []
