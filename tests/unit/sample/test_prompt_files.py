"""Files of prompts: every form says the same, and every mistake is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.errors import ConfigError
from animetune.sample.prompt_files import Wanted, read_prompts

FORMS = {
    "a.txt": (
        "# all of them\n\n1girl, smile --n lowres, bad --w 832 --h 1216 --d 7 --s 20 --l 5.5 --ss DPM++ 2M Karras\n"
        "a cat\n"
    ),
    "a.jsonl": (
        '{"prompt": "1girl, smile", "negative": "lowres, bad", "width": 832, "height": 1216, "seed": 7, "steps": 20, '
        '"cfg_scale": 5.5, "sampler": "DPM++ 2M Karras"}\n"a cat"\n'
    ),
    "a.csv": (
        "prompt,negative,width,height,seed,steps,cfg_scale,sampler\n"
        '"1girl, smile","lowres, bad",832,1216,7,20,5.5,DPM++ 2M Karras\na cat,,,,,,,\n'
    ),
    "a.yaml": (
        "- {prompt: '1girl, smile', negative: 'lowres, bad', width: 832, height: 1216, seed: 7, steps: 20, "
        "cfg_scale: 5.5,\n   sampler: DPM++ 2M Karras}\n- a cat\n"
    ),
}  # fmt: skip


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(name: str, tmp_path: Path) -> None:
    first, second = read_prompts(write(tmp_path, name, FORMS[name]))
    own = first.own
    assert (own.prompt, own.negative, own.width, own.height, own.seed) == ("1girl, smile", "lowres, bad", 832, 1216, 7)
    assert {key: str(value) for key, value in first.settings.items() if value} == {
        "steps": "20", "cfg_scale": "5.5", "sampler": "dpmpp_2m", "sigmas": "karras"
    }  # fmt: skip
    assert second == Wanted(type(own)(prompt="a cat"), {}, second.place)
    assert second.place.startswith(f"{tmp_path / name}:")


@pytest.mark.parametrize(
    ("name", "text", "mistakes"),
    [
        ("a.txt", "a --w 832\nb --q 1\nc --s 0\nd --d 1 --d 2\n", [":1: ", ":2: --q", ":3: steps: '0'", ":4: --d"]),
        (
            "a.jsonl",
            '{"promt": "a"}\n{"prompt": 3}\n{\n[]\n',
            [":1: prompt: is missing", ":2: ", ":3: is not JSON", ":4: "],
        ),
        ("a.jsonl", '{"prompt": "a", "step": 3}', [":1: step: is no setting of a prompt - did you mean 'steps'?"]),
        ("a.jsonl", '{"prompt": "\\ud800"}', [":1: prompt: "]),
        ("a.jsonl", '{"prompt": "a", "init": "no.png"}', [":1: init: "]),
        ("a.jsonl", '{"prompt": "a", "strength": 0.5}', [":1: strength: is for a picture"]),
        ("a.csv", "text,seed\na,1\n", [":1: the first line names the columns"]),
        ("a.csv", "prompt,seed\na,1,2\n\"b\nc\",x\n", [":2: has 3 cells", ":3: seed: 'x'"]),
        ("a.yaml", "- a\n- {prompt: b, width: 100, height: 64}\n- [c]\n", [":2:3: width: 100", ":3:3: should be"]),
    ],
)  # fmt: skip
def test_mistakes_are_all_named_with_their_lines(name: str, text: str, mistakes: list[str], tmp_path: Path) -> None:
    file = write(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        read_prompts(file)
    assert len(caught.value.problems) == len(mistakes)
    for problem, begins in zip(sorted(caught.value.problems), mistakes, strict=True):
        assert problem.startswith(f"{file}{begins}"), problem


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_prompts(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="should be one of"):
        read_prompts(write(tmp_path, "a.docx", ""))
    with pytest.raises(ConfigError, match="holds no prompt"):
        read_prompts(write(tmp_path, "a.txt", "# nothing\n"))
    (tmp_path / "latin.txt").write_bytes(b"a\n\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.txt:2: is not UTF-8"):
        read_prompts(tmp_path / "latin.txt")
    with pytest.raises(ConfigError, match="is no readable PNG"):
        read_prompts(write(tmp_path, "a.png", "no"))


def test_a_dash_is_no_flag(tmp_path: Path) -> None:
    (only,) = read_prompts(write(tmp_path, "a.txt", "a girl -- smiling --s 3 \n"))
    assert only.own.prompt == "a girl -- smiling"
    assert only.own.steps == 3


def test_cells_of_csv_keep_every_line_separator_but_the_line_end(tmp_path: Path) -> None:
    found = read_prompts(write(tmp_path, "a.csv", 'prompt,seed\n"a\u2028b\nc",3\nd\x85e,4\n'))
    assert [(each.own.prompt, each.own.seed, each.place[-1]) for each in found] == [
        ("a\u2028b\nc", 3, "2"), ("d\x85e", 4, "4")
    ]  # fmt: skip
