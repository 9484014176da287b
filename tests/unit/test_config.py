"""Configuration files: every mistake is named with its place, and nothing else than what was written is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune import config, problems
from animetune.config import Identity, StrictModel, load_config, stage_of
from animetune.errors import ConfigError, SetupError


class Adafactor(StrictModel):
    name: Literal["adafactor"] = "adafactor"
    unet_lr: Annotated[float, pydantic.Field(gt=0)] = 1e-5
    decay: float | Literal["auto"] = "auto"


class AdamW(StrictModel):
    name: Literal["adamw"]
    unet_lr: Annotated[float, pydantic.Field(gt=0)] = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


class Source(StrictModel):
    shards: str
    """Folder of shards."""
    weight: float = 1.0


class Loop(StrictModel):
    steps: int | None = None
    epochs: float | None = None
    fast: bool = False

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> Loop:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give either steps or epochs")
        return self


class Train(StrictModel):
    stage: Literal["train"]
    seed: Identity[int] = 0
    out: Path
    optimizer: Identity[Annotated[Adafactor | AdamW, pydantic.Field(discriminator="name")]] = Adafactor()
    sources: tuple[Source, ...] = ()
    loop: Loop = Loop()
    words: dict[str, float] = pydantic.Field(default={})
    keep: frozenset[str] = frozenset()


GOOD = "stage: train\nout: runs/x\n"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str | bytes) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def problems_of(text: str | bytes, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(write("a.yaml", text), Train, overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert caught.value.exit_code == 2
    return caught.value.problems


def load(text: str, *overrides: str) -> Train:
    return load_config(write("a.yaml", text), Train, overrides)


def test_a_good_file_and_its_defaults() -> None:
    cfg = load(GOOD + "optimizer: {name: adamw, betas: [0.8, 1e-1]}\nsources:\n  - shards: s3://a\nloop: {fast: yes}\n")
    assert cfg.optimizer == AdamW(name="adamw", betas=(0.8, 0.1))
    assert cfg.sources == (Source(shards="s3://a"),)
    assert cfg.loop.fast is True
    assert cfg.out == Path("runs/x")
    with pytest.raises(pydantic.ValidationError):
        cfg.seed = 3  # type: ignore[misc]


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = """\
stage: train
seed: 1.5
seeds: 1
optimizer:
  name: adamw
  betas: [0.9, x]
  weight_deca: 3
  unet_lr: -1e-5
sources:
  - shard: a
  - {shards: 010, weight: no}
loop: {steps: 3, epochs: 1}
words: {a: b}
weight_decay: 3
loop:
  fast: maybe
"""
    assert problems_of(text) == [
        "a.yaml:1:1: out: is missing",
        "a.yaml:2:7: seed: should be a whole number, not 1.5",
        "a.yaml:3:1: seeds: is not a setting here, did you mean 'seed'?",
        "a.yaml:6:16: optimizer.betas.1: should be a number, not 'x'",
        "a.yaml:7:3: optimizer.weight_deca: is not a setting here, did you mean 'optimizer.weight_decay'?",
        "a.yaml:8:12: optimizer.unet_lr: should be greater than 0, not -1e-05",
        "a.yaml:10:5: sources.0.shard: is not a setting here, did you mean 'sources.0.shards'?",
        "a.yaml:10:5: sources.0.shards: is missing",
        "a.yaml:11:14: sources.1.shards: should be text, not 10; put it in quotes",
        "a.yaml:11:27: sources.1.weight: should be a number, not 'no'",
        "a.yaml:13:12: words.a: should be a number, not 'b'",
        "a.yaml:14:1: weight_decay: is not a setting here, did you mean 'optimizer.weight_decay'?",
        "a.yaml:15:1: loop: is given twice, first in line 12; keep one",
        "a.yaml:16:9: loop.fast: should be true or false, not 'maybe'",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "optimizer: {name: adamv}",
            "3:19: optimizer.name: should be 'adafactor' or 'adamw', not 'adamv', did you mean 'adamw'?",
        ),
        ("optimizer: {name: sgd}", "3:19: optimizer.name: should be 'adafactor' or 'adamw', not 'sgd'"),
        ("optimizer: {unet_lr: 1}", "3:1: optimizer.name: is missing; it should be 'adafactor' or 'adamw'"),
        ("optimizer: adamw", "3:12: optimizer: should be a map of settings, not 'adamw'"),
        (
            "optimizer: {name: adafactor, betas: [1, 2]}",
            "3:30: optimizer.betas: is not a setting here; it belongs to adamw",
        ),
        (
            "optimizer: {name: adafactor, decay: fast}",
            "3:37: optimizer.decay: should be a number or 'auto', not 'fast'",
        ),
        ("loop:\n  steps: 3\n  epochs: 1", "3:1: loop: give either steps or epochs"),
        ("loop: 3", "3:7: loop: should be a map of settings, not 3"),
        ("sources: {shards: a}", "3:1: sources: should be a list, not a map"),
        ("sources: [a]", "3:11: sources.0: should be a map of settings, not 'a'"),
        ("words: {a: null}", "3:12: words.a: should be a number, not null"),
        ("seed: [1]", "3:1: seed: should be a whole number, not a list"),
        ("optimizer: {name: adamw, betas: [0.9]}", "3:26: optimizer.betas.1: is missing"),
        ("loop: {include: b.yaml}", "3:8: loop.include: is not a setting here"),
    ],
)
def test_one_problem(text: str, problem: str) -> None:
    assert problems_of(GOOD + text) == [f"a.yaml:{problem}"]


def test_a_map_key_that_looks_like_a_union_tag_is_no_tag() -> None:
    text = GOOD + "optimizer: {name: adamw, adamw: 5, weight_decay: x}"
    assert problems_of(text) == [
        "a.yaml:3:26: optimizer.adamw: is not a setting here",
        "a.yaml:3:50: optimizer.weight_decay: should be a number, not 'x'",
    ]


def test_the_wrong_command_is_the_only_problem_reported() -> None:
    assert problems_of("stage: curate\nimages: []\nout: 3\n") == [
        "a.yaml:1:8: stage: this file is for `animetune curate`, but `stage: train` is needed here"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "a.yaml: is empty; the first line names the command, as in `stage: train`"),
        ("# nothing\n\n", "a.yaml: is empty; the first line names the command, as in `stage: train`"),
        ("- stage: train\n", "a.yaml:1:1: should hold settings as `key: value`, not a list"),
        ("train\n", "a.yaml:1:1: should hold settings as `key: value`, not 'train'"),
        (b"stage: train\nout: \xff\n", "a.yaml:2:6: is not UTF-8 text; save the file as UTF-8"),
        ("stage: train\n".encode("utf-16"), "a.yaml:1:1: is not UTF-8 text; save the file as UTF-8"),
        (b"#" * 1_000_001, "a.yaml: has 1,000,001 bytes; a configuration has at most 1,000,000"),
        (
            "stage: [train\n",
            "a.yaml:2:1: is not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'",
        ),
        ("a: *b\n", "a.yaml:1:4: *b: anchors and aliases are not allowed; write the value again, or use `include:`"),
    ],
)
def test_files_that_cannot_be_read(content: str | bytes, problem: str) -> None:
    assert problems_of(content) == [problem]
    with pytest.raises(ConfigError) as caught:
        stage_of("a.yaml")
    assert caught.value.problems == [problem]


def test_files_that_are_not_there() -> None:
    write("configs/stage1.yaml", GOOD)
    Path("folder").mkdir()
    for name, problem in {
        "configs/stage.yaml": "configs/stage.yaml: there is no such file, did you mean 'configs/stage1.yaml'?",
        "nowhere/x.yaml": "nowhere/x.yaml: there is no such file",
        "folder": "folder: cannot be read: Is a directory",
        "configs/stage1.yaml/x": "configs/stage1.yaml/x: cannot be read: Not a directory",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_config(name, Train)
        assert caught.value.problems == [problem]


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert load_config(write("a.yaml", b"\xef\xbb\xbf" + GOOD.encode()), Train).out == Path("runs/x")


class TestInclude:
    def test_precedence(self) -> None:
        write("base/one.yaml", "seed: 1\nwords: {a: 1, b: 1, c: 1, d: 1}\nsources: [{shards: one}, {shards: two}]\n")
        write("base/two.yaml", "seed: 2\nwords: {b: 2, c: 2, d: 2}\n")
        cfg = load(
            f"include: [base/one.yaml, base/two.yaml]\n{GOOD}words: {{c: 3, d: 3}}\nsources: [{{shards: three}}]\n",
            "words.d=4",
        )
        assert cfg.seed == 2
        assert cfg.words == {"a": 1, "b": 2, "c": 3, "d": 4}
        assert cfg.sources == (Source(shards="three"),)

    def test_is_relative_to_the_including_file(self) -> None:
        write("shared/deep.yaml", "seed: 7\n")
        write("shared/base.yaml", "include: deep.yaml\nout: base\n")
        write("here/a.yaml", "include: ../shared/base.yaml\nstage: train\n")
        cfg = load_config("here/a.yaml", Train)
        assert (cfg.seed, cfg.out) == (7, Path("base"))
        assert stage_of("here/a.yaml") == "train"

    def test_a_file_may_be_included_twice_but_not_in_a_circle(self) -> None:
        write("one.yaml", "include: base.yaml\n")
        write("two.yaml", "include: base.yaml\n")
        write("base.yaml", "seed: 3\n")
        assert load("include: [one.yaml, two.yaml]\n" + GOOD).seed == 3
        write("base.yaml", "seed: 3\ninclude: [two.yaml]\n")
        assert problems_of("include: one.yaml\n" + GOOD) == [
            "two.yaml:1:10: include: goes round in a circle: a.yaml -> one.yaml -> base.yaml -> two.yaml -> base.yaml"
        ]
        assert problems_of("include: a.yaml\n" + GOOD) == [
            "a.yaml:1:10: include: goes round in a circle: a.yaml -> a.yaml"
        ]

    def test_problems_are_placed_in_the_file_that_has_them(self) -> None:
        write("base/one.yaml", "sed: 1\nseed: x\nwords: {a: x}\noptimizer:\n  name: adamw\n")
        assert problems_of(
            "include: base/one.yaml\nstage: train\nseed: 1\nwords: {b: y}\noptimizer: {unet_lr: 0}\n"
        ) == [
            "a.yaml:1:1: out: is missing",
            "a.yaml:4:12: words.b: should be a number, not 'y'",
            "a.yaml:5:22: optimizer.unet_lr: should be greater than 0, not 0",
            "base/one.yaml:1:1: sed: is not a setting here, did you mean 'seed'?",
            "base/one.yaml:3:12: words.a: should be a number, not 'x'",
        ]

    def test_everything_that_cannot_be_included_is_named(self) -> None:
        write("empty.yaml", "")
        write("base.yaml", "seed: 1\n")
        write("bad.yaml", "a: [\n")
        assert problems_of("include: [empty.yaml, bsae.yaml, bad.yaml, 3, [x]]\n" + GOOD) == [
            "a.yaml:1:23: include: bsae.yaml: there is no such file, did you mean 'base.yaml'?",
            "a.yaml:1:44: include: should be a path or a list of paths, not 3",
            "a.yaml:1:47: include: should be a path or a list of paths, not a list",
            "bad.yaml:2:1: is not YAML: while parsing a flow node, expected the node content, but found '<stream end>'",
            "empty.yaml: is empty; the first line names the command, as in `stage: train`",
        ]
        assert problems_of("include: {a: b}\n" + GOOD) == [
            "a.yaml:1:10: include: should be a path or a list of paths, not a map"
        ]


class TestSet:
    def test_values_are_yaml(self) -> None:
        cfg = load(
            GOOD,
            "seed=0x10",
            "optimizer={name: adamw, betas: [0.1, 2e-1]}",
            "optimizer.unet_lr=1e-6",
            "sources=[{shards: a=b=c}, {shards: 'null'}]",
            "sources.1.weight=2",
            "words.no=1",
            "out=",
            "out= runs/y",
        )
        assert cfg == Train(
            stage="train",
            seed=16,
            out=Path("runs/y"),
            optimizer=AdamW(name="adamw", betas=(0.1, 0.2), unet_lr=1e-6),
            sources=(Source(shards="a=b=c"), Source(shards="null", weight=2)),
            words={"no": 1},
        )

    def test_the_last_one_wins_and_null_makes_room(self) -> None:
        assert load(GOOD + "loop: null\n", "loop.steps=1", "loop.steps=2").loop == Loop(steps=2)

    @pytest.mark.parametrize(
        ("override", "problem"),
        [
            ("seeds=1", "seeds: is not a setting here, did you mean 'seed'?"),
            ("optimizer.unet_rl=1", "optimizer.unet_rl: is not a setting here, did you mean 'optimizer.unet_lr'?"),
            ("optimiser.unet_lr=1", "optimiser: is not a setting here, did you mean 'optimizer'?"),
            ("seed=abc", "seed: should be a whole number, not 'abc'"),
            ("seed.x=1", "seed: is 1 and holds no 'x'"),
            ("sources.2.shards=a", "sources: is a list of 2 (counted from 0) and holds no '2'"),
            ("sources.first=a", "sources: is a list of 2 (counted from 0) and holds no 'first'"),
            ("sources.0.weight=x", "sources.0.weight: should be a number, not 'x'"),
            ("seed", "should be key=value, as in `--set data.workers=4`"),
            ("=3", "should be key=value, as in `--set data.workers=4`"),
            ("a..b=3", "should be key=value, as in `--set data.workers=4`"),
            ("seed=[1", "is not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
            ("words={a: 1, a: 2}", "a: is given twice; keep one"),
            ("seed=*x", "*x: anchors and aliases are not allowed; write the value again, or use `include:`"),
            ("seed=" + "y" * 90, f"seed: should be a whole number, not '{'y' * 56}..."),
        ],
    )
    def test_problems_name_the_override(self, override: str, problem: str) -> None:
        text = GOOD + "seed: 1\noptimizer: {name: adamw}\nsources: [{shards: a}, {shards: b}]\n"
        shown = override if len(override) <= 60 else f"{override[:57]}..."
        assert problems_of(text, override) == [f"--set {shown}: {problem}"]

    def test_are_reported_with_the_problems_of_the_file(self) -> None:
        assert problems_of(GOOD + "seed: x\nlop: 1\n", "a", "seed=1", "loop.fast=x") == [
            "--set a: should be key=value, as in `--set data.workers=4`",
            "--set loop.fast=x: loop.fast: should be true or false, not 'x'",
            "a.yaml:4:1: lop: is not a setting here, did you mean 'loop'?",
        ]

    @given(
        st.dictionaries(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), st.floats(-1e9, 1e9)),
        st.integers(-(10**20), 10**20),
        st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029\ufeff", exclude_categories=["C"])),
    )
    def test_any_value_arrives_as_it_was_written(self, words: dict[str, float], seed: int, shards: str) -> None:
        overrides = [f"words.{key}={value!r}" for key, value in words.items()]
        quoted = "'" + shards.replace("'", "''") + "'"
        cfg = load(GOOD, f"seed={seed}", f"sources=[{{shards: {quoted}}}]", *overrides)
        assert (cfg.seed, cfg.words, cfg.sources) == (seed, words, (Source(shards=shards),))


class TestForeignNames:
    def test_hints_are_never_accepted_as_values(self) -> None:
        assert problems_of(GOOD + "learning_rate: 1e-5\nresolution: 1024\n") == [
            "a.yaml:3:1: learning_rate: is not a setting here, did you mean 'optimizer.unet_lr'?",
            "a.yaml:4:1: resolution: is not a setting here; sizes are fixed in the shards, by the `shard` stage",
        ]

    def test_a_key_of_another_stage_is_said_to_be_one(self) -> None:
        assert problems_of(GOOD + "pretrained_model_name_or_path: x\n") == [
            "a.yaml:3:1: pretrained_model_name_or_path: is not a setting here; "
            "in a training configuration it is 'model.base'"
        ]

    def test_every_hint_names_a_setting_that_exists(self) -> None:
        from animetune.train.config import TrainConfig

        known = {".".join(path) for path, _ in problems._fields(TrainConfig)}
        named = {hint for hint in problems.FOREIGN_NAMES.values() if " " not in hint}
        assert named - known == set()
        assert not known & set(problems.FOREIGN_NAMES)


class TestStage:
    def test_of_a_file(self) -> None:
        assert stage_of(write("a.yaml", "stage: curate\nwhatever: 1\n")) == "curate"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("out: 3\n", "a.yaml:1:1: stage: is missing; the first line names the command, as in `stage: train`"),
            ("stage: 3\n", "a.yaml:1:8: stage: should be the name of a command, not 3"),
            ("stage:\n", "a.yaml:1:7: stage: should be the name of a command, not null"),
        ],
    )
    def test_without_one(self, text: str, problem: str) -> None:
        with pytest.raises(ConfigError) as caught:
            stage_of(write("a.yaml", text))
        assert caught.value.problems == [problem]


RICH = """\
stage: train
out: runs/x
optimizer: {name: adamw, betas: [0.8, 0.9]}
sources: [{shards: '1e-5'}, {shards: 'no', weight: 2}]
words: {'no': 1, '16:9': 2.5e-7}
keep: [b, c, a, d, e, f, g]
"""


def test_to_yaml_is_read_back_to_an_equal_model() -> None:
    cfg = load(RICH)
    text = config.to_yaml(cfg)
    assert load(text) == cfg
    assert config.to_yaml(load(text)) == text
    assert text.startswith("stage: train\nseed: 0\nout: runs/x\noptimizer:\n  name: adamw\n")


def test_digest_depends_on_every_value_and_on_nothing_else() -> None:
    cfg = load(RICH)
    assert config.digest(cfg) == "f2619117fcfa8beb7b41d89af3740cfa435b8752667d77cb674be50626e65d42"
    assert config.digest(load(RICH + "seed: 0\nloop: {fast: false}\n")) == config.digest(cfg)
    assert config.digest(load(RICH, "sources.1.weight=3")) != config.digest(cfg)


def test_digest_is_equal_in_another_process() -> None:
    """A set's order changes with Python's hash seed, and pydantic dumps it as it comes."""
    program = (
        "from animetune.config import StrictModel, digest, to_yaml\n"
        "class C(StrictModel):\n    keep: frozenset[str]\n"
        "c = C(keep=list('abcdefghij'))\nprint(digest(c), to_yaml(c))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_identity_is_what_was_marked() -> None:
    class Inner(StrictModel):
        kept: Identity[int] = pydantic.Field(default=1, gt=0)
        free: int = 2

    class Outer(StrictModel):
        inner: Inner = Inner()
        inners: tuple[Inner, ...] = (Inner(), Inner(kept=5))
        group: Identity[Loop] = Loop()
        path: Identity[Path | None] = Path("a/b")
        words: Identity[dict[str, int]] = pydantic.Field(default={"x": 1})
        free: int = 3

    assert config.identity(Outer()) == {
        "inner.kept": 1,
        "inners.0.kept": 1,
        "inners.1.kept": 5,
        "group.steps": None,
        "group.epochs": None,
        "group.fast": False,
        "path": "a/b",
        "words": {"x": 1},
    }
    assert config.identity(load(GOOD)) == {
        "seed": 0,
        "optimizer.name": "adafactor",
        "optimizer.unet_lr": 1e-5,
        "optimizer.decay": "auto",
    }
    with pytest.raises(pydantic.ValidationError):
        Inner(kept=0)


def test_json_schema_describes_the_file() -> None:
    schema = config.json_schema(Train)
    assert json.loads(json.dumps(schema)) == schema
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {*Train.model_fields, "include"}
    assert schema["$defs"]["Source"]["properties"]["shards"]["description"] == "Folder of shards."


def test_shipped_configs_are_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "animetune"
    package.mkdir()
    monkeypatch.setattr(config, "__file__", str(package / "config.py"))
    with pytest.raises(SetupError, match="install animetune again"):
        config.shipped_configs()
    (tmp_path / "configs").mkdir()
    assert config.shipped_configs() == tmp_path / "configs"
    (package / "configs").mkdir()
    assert config.shipped_configs() == package / "configs"


def test_settings_of_any_type_are_found_again() -> None:
    """The path of a problem leads through lists, maps, optional groups and unions that have no discriminator."""

    class Left(StrictModel):
        left: int

    class Holder(StrictModel):
        stage: Literal["train"]
        maybe: Source | None = None
        table: dict[str, list[Source]] = pydantic.Field(default={})
        either: Left | list[int] | None = None
        numbers: dict[int, Any] = pydantic.Field(default={})

    text = """\
stage: train
maybe: {shards: a, wieght: 1}
table:
  x:
    - {shards: a}
    - weight: z
      shards: b
either: [1, x]
numbers: {x: 1}
"""
    write("a.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config("a.yaml", Holder)
    assert caught.value.problems == [
        "a.yaml:2:20: maybe.wieght: is not a setting here, did you mean 'maybe.weight'?",
        "a.yaml:6:15: table.x.1.weight: should be a number, not 'z'",
        "a.yaml:8:1: either: should be a map of settings, not a list",
        "a.yaml:8:13: either.1: should be a whole number, not 'x'",
        "a.yaml:9:14: numbers.x: should be a whole number, not 'x'",
    ]


class Places(StrictModel):
    sources: Annotated[tuple[Source, ...], pydantic.Field(min_length=1)]
    words: dict[str, float] = pydantic.Field(default={})

    @pydantic.model_validator(mode="after")
    def _light(self) -> Places:
        for number, source in enumerate(self.sources):
            if source.weight > 9:
                raise ValueError(f"sources.{number}: weight: is above 9")
            if source.weight > 8:
                raise ValueError(f"source {number}: is above 8")
            if source.weight > 7:
                raise ValueError(f"words.a: is above {source.weight:g}")
        return self


def place_problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(write("a.yaml", text), Places)
    return caught.value.problems


def test_a_list_whose_items_have_mistakes_is_not_called_too_short() -> None:
    assert place_problems("sources:\n  - {shards: a, wieght: 1}\n") == [
        "a.yaml:2:17: sources.0.wieght: is not a setting here, did you mean 'sources.0.weight'?"
    ]
    assert place_problems("sources: []\n") == ["a.yaml:1:1: sources: should have at least 1, not 0"]


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        (10, "a.yaml:3:5: sources.1: weight: is above 9"),
        (9, "a.yaml:1:1: source 1: is above 8"),  # names no setting
        (8, "a.yaml:1:1: words.a: is above 8"),  # names one that the file does not have
    ],
)
def test_what_a_validator_of_the_whole_names_first_is_the_place(weight: int, problem: str) -> None:
    assert place_problems(f"sources:\n  - {{shards: a}}\n  - {{shards: b, weight: {weight}}}\n") == [problem]
