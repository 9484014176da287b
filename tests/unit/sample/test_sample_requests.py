"""What a configuration asks for: order, sizes, seeds, templates, and the axes of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animetune.errors import ConfigError
from animetune.records import Size
from animetune.sample.config import SampleConfig
from animetune.sample.drawing import is_whole, with_settings
from animetune.sample.requests import build, read_init
from animetune.samples.parameters import parameters_text
from animetune.samples.sheets import Axis


def config(**settings: Any) -> SampleConfig:
    given = {"stage": "sample", "model": {"base": "builtin:tiny"}, "out": "x", "prompts": ["a", "b"], **settings}
    return SampleConfig.model_validate(given)


def test_prompts_sizes_seeds_in_this_order() -> None:
    asked = build(config(seeds=[1, 2], sizes=["64x64", "64x128"], negative="n", template="{prompt}, best"))
    found = [(each.request.prompt, each.request.size.name, each.request.seed) for each in asked.drawings]
    assert found == [(f"{p}, best", s, n) for p in "ab" for s in ("64x64", "64x128") for n in (1, 2)]
    assert {each.request.negative for each in asked.drawings} == {"n"}
    assert asked.layout is None


def test_a_prompt_with_settings_of_its_own() -> None:
    own = {
        "prompt": "c",
        "negative": "m",
        "seed": 9,
        "width": 72,
        "height": 80,
        "steps": 3,
        "sampler": "DPM++ 2M Karras",
    }
    first, *_, last = build(config(prompts=["a", own], seeds=[1, 2], width=64, height=64, negative="n")).drawings
    assert (first.request.negative, first.request.size.name, first.sampler.steps) == ("n", "64x64", 28)
    request = last.request
    assert (request.prompt, request.negative, request.seed, request.size.name) == ("c", "m", 9, "72x80")
    assert (last.sampler.name, last.sampler.sigmas, last.sampler.steps) == ("dpmpp_2m", "karras", 3)


def test_an_empty_prompt_leaves_no_comma() -> None:
    assert build(config(prompts=[""], template="{prompt}, best")).drawings[0].request.prompt == "best"


@pytest.mark.parametrize(
    ("axis", "values", "found"),
    [
        ("sampler.steps", [3, 9], lambda each: each.sampler.steps),
        ("sampler.name", ["euler", "heun"], lambda each: each.sampler.name),
        ("seed", [5, 6], lambda each: each.request.seed),
        ("size", ["64x64", "72x64"], lambda each: each.request.size.name),
        ("negative", ["x", ""], lambda each: each.request.negative),
        ("model.weights", ["ema", "raw"], lambda each: each.model.weights),
        ("model", ["random:tiny", "builtin:tiny"], lambda each: each.model.base),
        ("upscale.factor", [None, 2.0], lambda each: each.upscale and each.upscale.factor),
        ("text.syntax", ["plain", "weighted"], lambda each: each.text.syntax),
    ],
)
def test_an_axis_changes_one_thing(axis: str, values: list[Any], found: Any) -> None:
    asked = build(config(prompts=["a"], grid={"x": {"key": axis, "values": values}}))
    assert [found(each) for each in asked.drawings] == values


def test_search_and_replace() -> None:
    grid = {"x": {"key": "replace", "values": ["red", "blue"]}}
    asked = build(config(prompts=["a red cat"], grid=grid))
    assert [each.request.prompt for each in asked.drawings] == ["a red cat", "a blue cat"]
    with pytest.raises(ConfigError, match="'red', the first value, is in none of the prompts"):
        build(config(prompts=["a green cat"], grid=grid))


def test_the_order_of_pictures_is_that_of_the_layout() -> None:
    grid = {
        "x": {"key": "sampler.steps", "values": [1, 2, 3]},
        "y": {"key": "prompt", "values": ["c", "d"]},
        "z": {"key": "size", "values": ["64x64", "64x128"], "titles": ["small", "large"]},
    }
    asked = build(config(prompts=[], seeds=[7, 8], grid=grid))
    assert asked.layout is not None
    assert asked.layout.axes == (
        Axis("seed", ("7", "8")),
        Axis("size", ("small", "large")),
        Axis("prompt", ("c", "d")),
        Axis("sampler.steps", ("1", "2", "3")),
    )
    assert asked.layout.count == len(asked.drawings) == 24
    place = ((1 * 2 + 0) * 2 + 1) * 3 + 2
    each = asked.drawings[place]
    assert (each.request.seed, each.request.size.name, each.request.prompt, each.sampler.steps) == (8, "64x64", "d", 3)


def test_prompts_with_seeds_of_their_own_are_one_axis() -> None:
    grid = {"x": {"key": "sampler.steps", "values": [1, 2]}}
    asked = build(config(prompts=["a", {"prompt": "b", "seed": 5}], seeds=[0, 1], grid=grid))
    assert asked.layout is not None
    assert asked.layout.axes[0] == Axis("prompt", ("a, seed 0", "a, seed 1", "b, seed 5"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"grid": {"x": {"key": "sampler.step", "values": [1]}}}, "did you mean 'sampler.steps'"),
        ({"grid": {"x": {"key": "sampler.steps", "values": [3, 0]}}}, "grid.x.values.1: steps: 0"),
        ({"grid": {"x": {"key": "size", "values": ["64x65"]}}}, "64x65"),
        ({"grid": {"x": {"key": "seed", "values": ["a"]}}}, "no seed"),
        ({"grid": {"x": {"key": "seed", "values": [1, 1]}}}, "twice"),
        ({"grid": {"x": {"key": "seed", "values": [1]}, "y": {"key": "seed", "values": [2]}}}, "on two axes"),
        ({"grid": {"x": {"key": "prompt", "values": ["a"]}}}, "leave prompts and prompts_file out"),
        ({"grid": {"x": {"key": "seed", "values": [1, 2], "titles": ["a"]}}}, "titles"),
        ({"grid": {"x": {"key": "seed", "values": list(range(30))},
                   "y": {"key": "sampler.steps", "values": list(range(1, 30))}}}, "870 pictures"),
        ({"prompts": []}, "no prompts"),
        ({"template": "best"}, "template"),
        ({"prompts": [{"prompt": "a", "width": 64}]}, "give both"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        config(**settings)


def test_settings_and_back() -> None:
    """What images.jsonl says of a picture makes the same drawing again."""
    sampler = {"name": "dpmpp_2m", "sigmas": "karras", "steps": 9, "cfg_rescale": 0.5, "original_size": [64, 128]}
    text = {"syntax": "weighted", "emphasis": "a1111"}
    upscale = {"factor": 2.0, "space": "pixel", "method": "lanczos", "sampler": {"name": "euler", "steps": 4}}
    drawing = build(config(sampler=sampler, text=text, upscale=upscale)).drawings[0]
    plain = build(config()).drawings[0]
    assert plain != drawing
    assert with_settings(plain, drawing.settings) == drawing
    assert is_whole(drawing.settings)


def test_a_picture_to_start_from_is_cut_to_the_size(tmp_path: Any) -> None:
    image = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 20))
    image.save(tmp_path / "a.png")
    asked = build(config(prompts=[{"prompt": "a", "init": tmp_path / "a.png", "strength": 0.4}], width=64, height=64))
    init = asked.drawings[0].request.init
    assert init is not None
    assert init.strength == 0.4
    assert init.name.startswith("a.png@")
    pixels = read_init(tmp_path / "a.png", asked.drawings[0].request.size)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels[32, 60].tolist() == [255, 0, 0]
    assert np.array_equal(init.read(), pixels)


def test_sizes_that_cannot_be_drawn_are_named_with_their_place() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"sizes\.1: 100x100: .*multiple of 8"):
        config(sizes=["64x64", "100x100"])


def grid_of(**axes: tuple[str, list[Any]]) -> dict[str, Any]:
    return {name: {"key": key, "values": values} for name, (key, values) in axes.items()}


@pytest.mark.parametrize("other", ["x", "z"])
def test_no_second_pass_stays_none_whatever_else_is_compared(other: str) -> None:
    grid = grid_of(y=("upscale.factor", [None, 2.0]), **{other: ("upscale.strength", [0.3, 0.6])})
    if other == "z":
        grid["x"] = {"key": "seed", "values": [0]}
    passes = [each.upscale for each in build(config(prompts=["a"], grid=grid)).drawings]
    found = [each and (each.factor, each.strength) for each in passes]
    assert sorted(found, key=str) == [(2.0, 0.3), (2.0, 0.6), None, None]


def test_words_are_replaced_in_prompts_of_an_axis() -> None:
    grid = grid_of(x=("prompt", ["a red cat", "a red dog"]), y=("replace", ["red", "blue"]))
    found = [each.request.prompt for each in build(config(prompts=[], grid=grid)).drawings]
    assert found == ["a red cat", "a red dog", "a blue cat", "a blue dog"]


def test_axes_that_need_one_another_are_turned_in_their_order() -> None:
    grid = grid_of(x=("sampler.name", ["euler_ancestral", "ddim"]), y=("sampler.eta", [0.0, 0.5]))
    found = build(config(prompts=["a"], sampler={"name": "dpmpp_2m"}, grid=grid)).drawings
    assert [(each.sampler.name, each.sampler.eta) for each in found] == [
        ("euler_ancestral", 0.0), ("ddim", 0.0), ("euler_ancestral", 0.5), ("ddim", 0.5)
    ]  # fmt: skip
    grid = grid_of(x=("sampler.name", ["euler_ancestral", "euler"]), y=("sampler.eta", [0.5]))
    with pytest.raises(ConfigError, match=r"grid: sampler.eta: eta: 0.5: euler has none.*\(prompt 'a'\)"):
        build(config(prompts=["a"], grid=grid))


def test_an_axis_of_samplers_takes_the_names_of_a1111() -> None:
    grid = grid_of(x=("sampler.name", ["Euler a", "DPM++ 2M Karras"]))
    asked = build(config(prompts=["a"], sampler={"spacing": "leading"}, grid=grid))
    assert [(each.sampler.name, each.sampler.sigmas) for each in asked.drawings] == [
        ("euler_ancestral", "normal"), ("dpmpp_2m", "karras")
    ]  # fmt: skip
    assert asked.layout is not None
    assert asked.layout.axes[-1].values == ("Euler a", "DPM++ 2M Karras")


def test_a_picture_to_start_from_is_read_before_anything_is_drawn(tmp_path: Any) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ConfigError, match=r"prompts.0: init: .*a.png: is no picture to start from"):
        build(config(prompts=[{"prompt": "a", "init": tmp_path / "a.png"}]))


def test_a_picture_to_start_from_is_shown_in_srgb_even_of_16_bits(tmp_path: Any) -> None:
    Image.fromarray(np.full((64, 64), 0x8080, np.uint16)).save(tmp_path / "a.png")
    assert read_init(tmp_path / "a.png", Size(64, 64)).reshape(-1, 3).tolist()[0] == [128, 128, 128]


def saved(file: Any, text: str) -> Any:
    info = PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(file, pnginfo=info)
    return file


@pytest.mark.parametrize(
    ("sampler", "upscale"),
    [
        ({"name": "ddim", "eta": 0.5, "crop": [0, 8]}, None),
        ({"target_size": [64, 128]}, {"sampler": {"name": "euler", "original_size": [64, 128], "crop": [8, 0]}}),
    ],
)
def test_a_png_says_all_that_decides_the_picture(tmp_path: Any, sampler: Any, upscale: Any) -> None:
    """Without a negative prompt, too, where the configuration that it is drawn again with has one."""
    drawing = build(config(prompts=["a"], sampler=sampler, upscale=upscale)).drawings[0]
    file = saved(tmp_path / "a.png", parameters_text(drawing.request, drawing.settings))
    again = build(config(prompts=[], prompts_file=file, negative="n", template="{prompt}, b", upscale={"factor": 4.0}))
    assert again.drawings == [drawing]


def test_what_a_picture_of_others_does_not_say_is_the_configurations(tmp_path: Any) -> None:
    text = "a (hat:1.2)\nSteps: 9, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x768"
    settings = {"prompts_file": saved(tmp_path / "a.png", text), "text": {"syntax": "weighted"}, "negative": "n"}
    (drawing,) = build(config(prompts=[], sampler={"cfg_rescale": 0.5}, **settings)).drawings
    assert (drawing.request.prompt, drawing.request.negative) == ("a (hat:1.2)", "")
    assert drawing.text.syntax == "weighted"
    assert (drawing.sampler.steps, drawing.sampler.sigmas, drawing.sampler.cfg_rescale) == (9, "karras", 0.5)


def test_a_picture_of_others_that_began_with_a_picture_is_refused(tmp_path: Any) -> None:
    text = "a\nSteps: 9, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Denoising strength: 0.5"
    with pytest.raises(ConfigError, match="was drawn from a picture that is not in the file"):
        build(config(prompts=[], prompts_file=saved(tmp_path / "a.png", text)))
