"""What close-ups are tagged with: what they show, who is in them, and never what only the whole picture has."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from animetune import tables
from animetune.curate.closeups.tagging import TagRules, tag
from animetune.curate.config.closeups import CloseupsConfig
from animetune.curate.config.tags import TagsConfig
from animetune.curate.run import run
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.curate.tag.tag_tables import TagTables
from animetune.curate.tag.tags import sort_tags
from animetune.errors import ConfigError
from tests.builders import curate_config, write_posts
from tests.detector_models import save_detector

LISTS = ("count", "special", "general", "character", "copyright", "artist", "meta")


def closeup(general, *, label="face", cfg=None, tags=None, size=(600, 700), tables=None, **lists):
    """The lists of a close-up of a picture whose post has these tags; the picture is 2000x2000."""
    vocabulary = Vocabulary.load()
    rules = TagRules(TagsConfig.model_validate(tags or {}), vocabulary, tables or TagTables())
    row = {f"tags_{kind}": [lists.get(kind, "").split()] for kind in ("character", "copyright", "artist", "meta")}
    raw = pl.DataFrame(
        {"width": [2000], "height": [2000], "tags_general": [general.split()], **row},
        schema_overrides={f"tags_{kind}": pl.List(pl.String()) for kind in ("general", *lists)}
        | {name: pl.List(pl.String()) for name in row},
    )
    picture = sort_tags(raw, rules.cfg, vocabulary, rules.tables).kept
    rows = picture.with_columns(label=pl.lit(label), width=size[0], height=size[1])
    made = tag(rows, CloseupsConfig.model_validate({"saliency": True, **(cfg or {})}), rules).row(0, named=True)
    return {kind: made[f"tags_{kind}"] for kind in LISTS}


def test_a_face_has_hair_eyes_and_expression_and_no_shoes():
    made = closeup(
        "1girl solo long_hair blue_eyes smile high_heels full_body standing outdoors monochrome dress",
        character="hatsune_miku",
        copyright="vocaloid",
        artist="somebody",
        meta="absurdres highres",
    )
    assert made == {
        "count": ["1girl", "solo"],
        "special": ["monochrome"],
        "general": ["long_hair", "blue_eyes", "smile", "close-up", "portrait"],
        "character": ["hatsune_miku"],
        "copyright": ["vocaloid"],
        "artist": ["somebody"],
        "meta": [],
    }


def test_size_tags_are_those_of_the_close_up():
    assert closeup("1girl smile", meta="absurdres", size=(400, 400))["special"] == ["lowres"]
    assert closeup("1girl smile", meta="highres", size=(1700, 900))["special"] == ["highres"]


def test_out_of_several_persons_nobody_knows_whose_hair_it_is():
    made = closeup(
        "2girls multiple_girls long_hair short_hair smile monochrome", character="a b", cfg={"several_people": "count"}
    )
    assert (made["count"], made["character"], made["special"]) == (["1girl"], [], ["monochrome"])
    assert made["general"] == ["close-up", "portrait"]
    made = closeup("1girl 1boy long_hair", cfg={"several_people": "count"})
    assert made["count"] == []


def test_labels_of_ones_own():
    cfg = {"labels": {"hand": {"shows": ["pose", "style", "people"], "add": ["Close-Up", "hand focus"]}}}
    made = closeup("1girl smile holding_cup standing sketch", label="hand", cfg=cfg, character="hatsune_miku")
    assert made["general"][-2:] == ["close-up", "hand_focus"]
    assert "standing" in made["general"]
    assert "smile" not in made["general"]
    assert (made["character"], made["special"], made["count"]) == ([], ["sketch"], ["1girl"])


def test_what_was_renamed_is_not_renamed_twice_and_additions_are():
    tags = {"rename": {"long_hair": "short_hair", "short_hair": "medium_hair", "portrait": "bust"}}
    made = closeup("1girl long_hair", tags=tags)
    assert made["general"] == ["short_hair", "close-up", "bust"]


def test_additions_take_the_order_and_the_aliases_of_the_configuration():
    tables = TagTables(aliases={"close-up": "closeup_(shot)"})
    made = closeup("1girl smile long_hair", tags={"order": ["composition", "hair"]}, tables=tables)
    assert set(made["general"]) == {"portrait", "long_hair", "smile", "closeup_(shot)"}
    assert made["general"][:2] == ["portrait", "long_hair"]


def test_what_said_less_in_the_picture_is_left_out_here_too():
    made = closeup("1girl solo long_hair very_long_hair", tags={"overlap": "drop"})
    assert made["general"] == ["very_long_hair", "close-up", "portrait"]


def test_a_class_that_there_is_not(tmp_path):
    folder = write_posts(tmp_path, 1)
    cfg = {"saliency": True, "labels": {"face": {"shows": ["hair", "hairs"]}}}
    with pytest.raises(ConfigError, match=r"closeups: labels: face: shows: hairs is no semantic class; there are"):
        run(curate_config(folder, closeups=cfg))


def test_boxes_of_a_detector_become_close_ups(tmp_path: Path):
    """The network says (8, 16, 40, 48) of its square of 64, as likely as the picture is red."""
    pytest.importorskip("onnxruntime")
    folder = write_posts(tmp_path, 4, general="1girl solo smile long_hair dress")
    Image.new("RGB", (128, 128), (255, 0, 0)).save(folder / "images" / "1.png")  # twice the square
    Image.new("RGB", (128, 64), (255, 0, 0)).save(folder / "images" / "2.png")  # twice, and 16 grey lines above it
    Image.new("RGB", (128, 128), (51, 0, 0)).save(folder / "images" / "3.png")  # a score of 0.2
    Image.new("RGB", (128, 128), (0, 0, 0)).save(folder / "images" / "4.png")
    detector = save_detector(tmp_path / "faces.onnx", [(8, 16, 40, 48, 1), (9, 16, 41, 48, 0)], ["hand", "face"])
    settings = {"detectors": [{**detector, "threshold": 0.3}], "margin": 0, "min_side": 32, "max_share": 1}
    cfg = curate_config(folder, out=tmp_path / "table", closeups=settings)
    manifest = run(cfg)
    rows = tables.open_table(cfg.out).scan().collect().filter(pl.col("parent").is_not_null())
    found = rows.select("key", pl.col("image").str.split("#xywh=").list.last(), "tags_general").rows()
    assert found[0] == ("tiny/1#1", "16,32,64,64", ["smile", "long_hair", "close-up", "portrait"])
    assert found[1][:2] == ("tiny/2#1", "16,0,64,64")
    assert len(found) == 2
    assert manifest.facts["closeups"]["refused"]["overlapping"] == 2  # the hand, two pixels beside
    # Another threshold asks nothing: the network may be gone.
    lower = {**settings, "detectors": [{**detector, "threshold": 0.15}]}
    before = sorted(path.name for path in (cfg.out / "answers").glob("detections-*/*"))
    run(curate_config(folder, out=tmp_path / "table", closeups=lower))
    rows = tables.open_table(cfg.out).scan().collect()
    assert [key for key in rows["key"] if "#" in key] == ["tiny/1#1", "tiny/2#1", "tiny/3#1"]
    assert sorted(path.name for path in (cfg.out / "answers").glob("detections-*/*")) == before


def test_several_characters_are_several_people_where_no_tag_counts_them():
    both = {"character": "hatsune_miku megurine_luka", "cfg": {"several_people": "count"}}
    assert closeup("long_hair monochrome", **both)["character"] == []
    assert closeup("1girl long_hair", **both)["character"] == ["hatsune_miku", "megurine_luka"]  # two names of one
    assert closeup("long_hair", character="hatsune_miku")["character"] == ["hatsune_miku"]
