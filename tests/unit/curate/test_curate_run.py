"""The whole stage on tiny data: what it publishes, what it skips, and that nothing changes its bytes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from animetune import tables
from animetune.config import load_config
from animetune.curate import pictures
from animetune.curate.config import CurateConfig
from animetune.curate.run import run
from animetune.curate.tag.tag_lists import Vocabulary
from animetune.errors import ChunkError, DataError, QuarantineLimitError, SetupError
from animetune.fsio import lock
from animetune.manifest import has_manifest, verify_files
from animetune.records import CONTENT_BUCKETS
from tests.bad_probes import divide_by_zero
from tests.builders import curate_config, danbooru_post, picture, write_lines, write_posts

BALANCE = [{"name": "tag_groups"}, {"name": "content_buckets"}]
BALANCE_ON = ["balance", "tag_views", "tag_epoch", "places", "split", "table"]
"""The step and those behind it."""


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def steps(folder: Path) -> dict[str, str]:
    """Step -> the name of its folder; every step only once."""
    names = sorted(path.name for path in (folder / "steps").iterdir())
    found = {name.split("-")[1]: name for name in names}
    assert len(found) == len(names)
    return found


def table(cfg: CurateConfig) -> pl.DataFrame:
    return tables.open_table(cfg.out).scan().collect()


@pytest.fixture(scope="module")
def posts(tmp_path_factory) -> Path:
    """36 posts with everything in order."""
    return write_posts(tmp_path_factory.mktemp("posts"), 36)


def fresh(posts: Path, tmp_path: Path, **settings) -> CurateConfig:
    return curate_config(posts, **{"out": tmp_path / "table", "balance": BALANCE, **settings})


def test_a_table(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path)
    manifest = run(cfg)
    rows = table(cfg)
    assert (manifest.seen, manifest.kept, manifest.dropped, manifest.quarantined) == (36, 36, {}, {})
    assert manifest.kind == "table"
    assert manifest == tables.open_table(cfg.out).manifest
    assert verify_files(cfg.out, manifest) == []
    assert rows["key"].to_list() == [f"tiny/{n}" for n in range(1, 37)]
    assert dict(rows.schema) == tables.schema()
    assert rows.select("focus_x", "focus_y").null_count().row(0) == (36, 36)

    counts = manifest.facts["counts"]
    assert counts["content_bucket"] == dict.fromkeys(sorted(CONTENT_BUCKETS), 4)
    assert counts["rating"] == dict.fromkeys("egqs", 9)
    assert sum(counts["quality"].values()) == 36
    assert manifest.facts["pictures"] == {
        "background": [255, 255, 255],
        "max_pixels": 64_000_000,
        "animated": "refuse",
        "decoded": True,
    }

    row = rows.row(0, named=True)
    assert row["captions_long"] == ["A picture with the number 1."]
    assert row["image"] == str(posts / "images" / "1.png")
    assert (row["width"], row["height"], row["image_format"], row["had_alpha"]) == (48, 64, "PNG", False)
    assert (row["tags_count"], row["tags_special"]) == (["1girl", "solo"], ["highres"])
    assert (row["year"], row["split"], row["loss_weight"]) == ("recent", "train", 1.0)
    assert row["image_bytes"] == (posts / "images" / "1.png").stat().st_size


def test_nothing_in_the_output_names_the_machine(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(posts)
    cfg = curate_config(Path(), out=tmp_path / "table")
    run(cfg)
    for name, data in files(cfg.out).items():
        assert str(tmp_path).encode() not in data, name
        assert str(posts).encode() not in data, name


def test_two_runs_and_two_workers_give_equal_bytes(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK_ROWS", 5)
    one = fresh(posts, tmp_path / "1")
    two = fresh(posts, tmp_path / "2", executor={"workers": 2})
    manifests = [run(one), run(two)]
    assert manifests[0].digest == manifests[1].digest
    assert files(one.out) == files(two.out)


def test_the_same_command_again_changes_nothing(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path)
    run(cfg)
    before = {path: path.stat().st_mtime_ns for path in (cfg.out / "steps").rglob("*")}
    digest = run(cfg).digest
    assert {path: path.stat().st_mtime_ns for path in (cfg.out / "steps").rglob("*")} == before
    assert digest == tables.open_table(cfg.out).digest


def test_killed_anywhere_it_goes_on_to_the_same_bytes(posts: Path, tmp_path: Path):
    """As a kill leaves it: some steps and chunks published, others not, temporary files about."""
    cfg = fresh(posts, tmp_path)
    run(cfg)
    whole = files(cfg.out)
    for kept in range(len(steps(cfg.out)) + 1):
        folder = tmp_path / f"killed-{kept}"
        shutil.copytree(cfg.out, folder)
        for name in ("manifest.json", "dropped.parquet", "quarantined.parquet"):
            (folder / name).unlink()
        for step in sorted((folder / "steps").iterdir())[kept:]:
            step.rename(folder / "steps" / f".tmp-0123-{step.name}")
        (folder / "chunks" / ".tmp-9" / "x").mkdir(parents=True)
        run(cfg.model_copy(update={"out": folder}))
        assert files(folder) == whole


@pytest.mark.parametrize(
    ("settings", "again"),
    [
        ({"seed": 1}, ["places", "split", "table"]),
        ({"split": {"val_share": 0.5}}, ["split", "table"]),
        ({"balance": BALANCE[:1]}, BALANCE_ON),
        ({"content": {"priority": ["no_human", "1girl_only"]}}, ["content", "weights", *BALANCE_ON]),
        ({"content": {"mixed": "drop"}}, ["content"]),  # there are none: the rows are the same
        (
            {"filters": [{"name": "quality", "keep": ["best", "medium"]}]},
            ["classes", "content", "weights", *BALANCE_ON],
        ),
        ({"filters": [{"name": "score", "min": 20}]}, "all but ingest"),
        ({"executor": {"workers": 1}, "quarantine_limit": 0.5}, []),
    ],
)
def test_a_changed_setting_runs_its_step_again_and_those_behind(posts: Path, tmp_path: Path, settings, again):
    cfg = fresh(posts, tmp_path)
    first = run(cfg)
    before = steps(cfg.out)
    changed = fresh(posts, tmp_path, **{**settings, "prune": True})
    second = run(changed)
    after = steps(changed.out)
    assert list(after) == list(before)
    expected = list(before)[1:] if again == "all but ingest" else again
    assert [name for name in after if after[name] != before[name]] == expected
    assert (first.files == second.files) == ("table" not in expected)


def test_old_steps_stay_unless_pruned(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path)
    digest = run(cfg).digest
    chain = len(steps(cfg.out))
    run(fresh(posts, tmp_path, seed=1))
    assert len(list((cfg.out / "steps").iterdir())) == chain + 3  # two of places, split and table
    assert run(cfg).digest == digest
    run(fresh(posts, tmp_path, prune=True))
    assert len(list((cfg.out / "steps").iterdir())) == chain
    assert list((cfg.out / "chunks").iterdir()) == []


def test_a_changed_vocabulary_runs_its_steps_again(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path)
    run(cfg)
    words = tmp_path / "words"
    words.mkdir()
    (words / "emotion-strong.txt").write_text("glasses\n")
    changed = fresh(posts, tmp_path, tags={"vocabulary": words}, prune=True)
    before = steps(cfg.out)
    manifest = run(changed)
    assert next(name for name, folder in steps(changed.out).items() if folder != before[name]) == "tags"
    assert manifest.facts["counts"]["content_bucket"]["1girl_only"] == 8
    assert "glasses" not in Vocabulary.load().lists["emotion-strong"]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """20 posts: 13 in order, and one of each thing that can go wrong."""
    folder = write_posts(tmp_path / "mixed", 20)
    images = folder / "images"
    lines: list = [json.loads(line) for line in (folder / "posts.jsonl").read_text().splitlines()]
    lines[1]["is_deleted"] = True
    lines[2]["general"] = lines[2]["tag_string_general"] = "1girl comic video"
    (images / "4.png").unlink()
    (images / "5.png").write_bytes((images / "5.png").read_bytes()[:-20])
    shutil.copyfile(images / "7.png", images / "6.png")
    picture(8, 30, 300).save(images / "8.png")  # the post states 48x64
    lines[8]["tag_string_general"] = "long_hair"  # nobody knows who
    write_lines(folder / "posts.jsonl", [*lines, b"{broken", {"id": 1}, {"id": -1}])
    return folder


MIXED = {
    "filters": [
        {"name": "deleted"},
        {"name": "exclude_tags", "tags": ["video"]},
        {"name": "aspect_ratio", "max": 4.0},
    ],
    "quarantine_limit": 0.5,
}


def test_every_post_has_one_outcome(mixed: Path):
    cfg = curate_config(mixed, **MIXED)
    manifest = run(cfg)
    assert manifest.seen == 23
    assert manifest.dropped == {"aspect_ratio": 1, "deleted": 1, "duplicate": 1, "exclude_tags": 1, "unassigned": 1}
    assert manifest.quarantined == {"bad_json": 1, "bad_record": 1, "dup_id": 1, "image_missing": 1, "truncated": 1}
    assert manifest.kept == table(cfg).height == 13

    dropped = pl.read_parquet(cfg.out / "dropped.parquet")
    assert dropped.rows() == [
        ("tiny/8", "aspect_ratio"),
        ("tiny/2", "deleted"),
        ("tiny/6", "duplicate"),
        ("tiny/3", "exclude_tags"),
        ("tiny/9", "unassigned"),
    ]
    quarantined = pl.read_parquet(cfg.out / "quarantined.parquet")
    assert quarantined.select("key", "code").rows() == [
        (None, "bad_json"),
        (None, "bad_record"),
        ("tiny/1", "dup_id"),
        ("tiny/4", "image_missing"),
        ("tiny/5", "truncated"),
    ]
    details = dict(quarantined.select("code", "detail").iter_rows())
    assert details["image_missing"] == str(mixed / "images" / "4.png")
    assert details["truncated"] == f"{mixed / 'images' / '5.png'}: PNG without its end"
    assert "posts.jsonl, byte " in details["bad_json"]
    assert manifest.facts["size_mismatches"] == 2  # of 8, and of 6, whose file is that of 7


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            ["{folder}/{id}.{ext}", "{id_mod1000:04}/{id}.png"],
            "path of source tiny is {folder}/{id}.{ext} or {id_mod1000:04}/{id}.png, and {folder}, {id_mod1000} would "
            "have to be a key of the post: no other names than id, id_mod_<n>, md5, md5_ab, md5_cd, ext, key, source",
        ),
        ([], "the source tiny names no `images`: give their root and path"),
    ],
)
def test_a_placeholder_that_posts_lack_is_named(tmp_path, images, words):
    write_posts(tmp_path, 3)
    cfg = curate_config(tmp_path)
    places = [{"root": str(tmp_path), "path": path} for path in images]
    source = {**cfg.sources[0].model_dump(mode="json"), "images": places}
    with pytest.raises(QuarantineLimitError, match=re.escape(words)):
        run(curate_config(tmp_path, sources=[source]))


def test_too_much_quarantine_stops_the_stage_and_says_why(mixed: Path):
    cfg = curate_config(mixed, **{**MIXED, "quarantine_limit": 0.15})
    with pytest.raises(QuarantineLimitError) as caught:
        run(cfg)
    words = str(caught.value)
    assert "5 of 23 posts cannot be used (21.7%; quarantine_limit is 15.0%)" in words
    assert "bad_json 1" in words
    assert str(cfg.out / "quarantined.parquet") in words
    assert pl.read_parquet(cfg.out / "quarantined.parquet").height == 5
    assert pl.read_parquet(cfg.out / "dropped.parquet").height == 3
    assert not has_manifest(cfg.out)
    with pytest.raises(DataError, match="is not finished"):
        tables.open_table(cfg.out)

    assert run(curate_config(mixed, **MIXED)).kept == 13  # a higher limit goes on from there
    with pytest.raises(QuarantineLimitError):
        run(cfg)
    assert not has_manifest(cfg.out)  # the table of other settings does not stay as if it were this one's


def test_the_limit_is_checked_before_any_picture_is_opened(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 3)
    write_lines(folder / "posts.jsonl", [b"{", b"{", {"id": 1}])
    with pytest.raises(QuarantineLimitError):
        run(curate_config(folder))
    assert list(steps(folder / "table")) == ["ingest"]


def test_a_missing_picture_is_looked_for_again(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK_ROWS", 5)
    folder = tmp_path / "posts"
    shutil.copytree(posts, folder)
    (folder / "images" / "7.png").rename(tmp_path / "7.png")
    cfg = curate_config(folder)
    assert run(cfg).quarantined == {"image_missing": 1}
    decoded = count_decoded(monkeypatch)
    assert run(cfg).quarantined == {"image_missing": 1}
    assert decoded == []

    (tmp_path / "7.png").rename(folder / "images" / "7.png")
    assert run(cfg.model_copy(update={"prune": True})).kept == 36
    assert len(decoded) == 1  # it only
    other = curate_config(folder, out=tmp_path / "other")
    run(other)
    assert files(cfg.out / "steps") == files(other.out / "steps")


def test_a_picture_is_decoded_once_whatever_filters_and_tables_see_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK_ROWS", 5)
    folder = write_posts(tmp_path / "posts", 36)
    decoded = count_decoded(monkeypatch)
    shared = {"answers": tmp_path / "answers"}
    run(curate_config(folder, **shared))
    assert len(decoded) == 36
    run(curate_config(folder, **shared, filters=[{"name": "min_side", "pixels": 48}]))
    stage2 = curate_config(folder, **shared, out=tmp_path / "stage2", filters=[{"name": "aspect_ratio", "max": 1.2}])
    run(stage2)
    assert len(decoded) == 36
    alone = curate_config(folder, out=tmp_path / "alone", filters=[{"name": "aspect_ratio", "max": 1.2}])
    run(alone)
    assert files(stage2.out / "steps") == files(alone.out / "steps")
    assert len(list((tmp_path / "answers").glob("pictures-*/part-*"))) == 1  # the pieces became one


def count_decoded(monkeypatch) -> list[str]:
    decoded: list[str] = []
    look_at_each = pictures.look_at_each

    def counted(questions, *arguments, **limits):
        found = list(look_at_each(questions, *arguments, **limits))
        there = (isinstance(each, dict) or each.code != "image_missing" for each in found)
        decoded.extend(question.candidates[0] for question, is_there in zip(questions, there, strict=True) if is_there)
        return found

    monkeypatch.setattr(pictures, "look_at_each", counted)
    return decoded


def test_several_places_are_tried_in_order(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 2)
    (folder / "more").mkdir()
    (folder / "images" / "2.png").rename(folder / "more" / "2.png")
    images = [{"root": str(folder / name), "path": "{id}.png"} for name in ("images", "more")]
    source = {"name": "tiny", "posts": [str(folder / "posts.jsonl")], "images": images}
    cfg = curate_config(folder, sources=[source])
    run(cfg)
    assert [Path(url).parent.name for url in table(cfg)["image"].to_list()] == ["images", "more"]


def with_masks(folder: Path, *places: str) -> CurateConfig:
    source = curate_config(folder).sources[0].model_dump()
    source["masks"] = [{"root": str(folder / place), "path": "{id}.png"} for place in places]
    return curate_config(folder, sources=[source])


def test_masks_are_found_where_there_are_any_and_looked_for_again(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK_ROWS", 5)
    folder = tmp_path / "posts"
    shutil.copytree(posts, folder)
    mask = folder / "images" / "1.png"  # whether it can be used is the business of `shard`
    (folder / "masks").mkdir()
    (folder / "more").mkdir()
    for name in ("masks/3.png", "more/3.png", "more/20.png"):
        shutil.copy(mask, folder / name)
    cfg = with_masks(folder, "masks", "more")
    assert run(cfg).facts["masks"] == 2
    found = table(cfg).filter(pl.col("mask").is_not_null())
    urls = [str(folder / "masks" / "3.png"), str(folder / "more" / "20.png")]
    assert found.select("id", "mask").rows() == [(3, urls[0]), (20, urls[1])]

    decoded = count_decoded(monkeypatch)
    run(cfg)
    assert decoded == []
    shutil.copy(mask, folder / "masks" / "36.png")
    assert run(cfg).facts["masks"] == 3
    assert decoded == []  # only masks are looked for
    plain = curate_config(folder, out=tmp_path / "plain")
    assert run(plain).facts["masks"] == 0
    assert table(plain)["mask"].null_count() == 36


def test_a_place_without_any_mask_is_an_error(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 3)
    with pytest.raises(DataError, match=r"sources: tiny: masks: no picture has one; looked for .*/nowhere/1\.png and"):
        run(with_masks(folder, "nowhere"))


def test_pictures_on_a_remote_filesystem(tmp_path: Path):
    import fsspec

    folder = write_posts(tmp_path / "posts", 2)
    for name in ("1.png", "2.png"):
        with fsspec.open(f"memory://curate-test/{name}", "wb") as stream:
            stream.write((folder / "images" / name).read_bytes())
    images = [{"root": "memory://curate-test/", "path": "{id}.png"}]
    source = {"name": "tiny", "posts": [str(folder / "posts.jsonl")], "images": images}
    cfg = curate_config(folder, sources=[source])
    assert run(cfg).kept == 2
    assert table(cfg)["image"].to_list() == ["memory://curate-test/1.png", "memory://curate-test/2.png"]


def test_a_flipped_byte_is_found_when_the_md5_is_checked(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 1)
    facts = run(curate_config(folder)).facts
    assert facts["md5_mismatches"] == 1  # the builder's md5 is made up
    cfg = curate_config(folder, out=tmp_path / "checked", pictures={"check_md5": True}, quarantine_limit=1)
    with pytest.raises(DataError, match="nothing is left of 1 posts; not usable: md5_mismatch 1"):
        run(cfg)
    assert pl.read_parquet(cfg.out / "quarantined.parquet")["code"].to_list() == ["md5_mismatch"]


def test_transparent_pixels_and_rotation_are_facts_of_the_row(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 2)
    Image.new("RGBA", (40, 20), (9, 9, 9, 100)).save(folder / "images" / "1.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(5, 40, 20).save(folder / "images" / "2.png", exif=exif)
    cfg = curate_config(folder)
    manifest = run(cfg)
    rows = table(cfg).select("width", "height", "had_alpha").rows()
    assert rows == [(40, 20, True), (20, 40, False)]
    assert manifest.facts["size_mismatches"] == 2


def test_families_stay_together(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 60)
    lines = [json.loads(line) for line in (folder / "posts.jsonl").read_text().splitlines()]
    for line in lines:
        line["parent_id"] = line["id"] - 1 if line["id"] % 3 else None  # families 3-4-5, 6-7-8 ...
    write_lines(folder / "posts.jsonl", lines)
    cfg = curate_config(folder, split={"val_share": 0.3})
    manifest = run(cfg)
    rows = table(cfg).with_columns(family=pl.col("id") // 3)
    sides = rows.group_by("family").agg(pl.col("split").n_unique())
    assert set(sides["split"]) == {1}
    assert set(rows["split"]) == {"train", "val"}
    assert manifest.facts["families"] == 21
    assert manifest.facts["val_families"] == rows.filter(pl.col("split") == "val")["family"].n_unique()


def test_small_sets_may_have_no_validation(posts: Path, tmp_path: Path):
    manifest = run(fresh(posts, tmp_path, split={"val_share": 0.0}))
    assert manifest.facts["val_families"] == 0
    assert manifest.facts["counts"]["split"] == {"train": 36}


def test_no_posts_are_an_error_that_names_where_they_were_looked_for(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 0)
    cfg = curate_config(folder, balance=BALANCE)
    with pytest.raises(DataError, match=re.escape(f"no post was read (tiny: {cfg.sources[0].posts[0]})")):
        run(cfg)
    assert not has_manifest(cfg.out)


def test_nothing_left_but_what_cannot_be_used_is_an_error(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 3)
    write_lines(folder / "posts.jsonl", [b"{", b"{"])
    with pytest.raises(DataError, match="nothing is left of 2 posts; not usable: bad_json 2"):
        run(curate_config(folder, quarantine_limit=1.0))


def test_when_no_picture_has_a_bucket_the_setting_is_named(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 2, general="smile")
    with pytest.raises(DataError, match=re.escape("dropped as unassigned: name a bucket for them in content.fallback")):
        run(curate_config(folder))


def test_missing_pictures_are_told_with_where_they_were_looked_for(tmp_path: Path):
    folder = write_posts(tmp_path / "posts", 3)
    cfg = curate_config(folder)
    images = [{"root": str(tmp_path / "nowhere"), "path": "{id}.{ext}"}]
    source = {**cfg.sources[0].model_dump(mode="json"), "images": images}
    where = f"there is no such file; `images` of source tiny is {tmp_path}/nowhere/{{id}}.{{ext}}. All are"
    with pytest.raises(QuarantineLimitError, match=re.escape(where)):
        run(curate_config(folder, sources=[source]))


def test_one_process_at_a_time(posts: Path, tmp_path: Path):
    cfg = fresh(posts, tmp_path)
    with lock(cfg.out), pytest.raises(SetupError, match="another animetune process"):
        run(cfg)


def test_a_crash_in_a_chunk_names_it_and_the_next_run_goes_on(posts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK_ROWS", 10)
    cfg = fresh(posts, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(pictures, "PROBE", divide_by_zero)
        with pytest.raises(ChunkError, match=r"chunk piece-.*: ZeroDivisionError"):
            run(cfg)
    assert run(cfg).kept == 36


def test_the_shipped_configurations_load_and_their_tags_exist(shared_data: Path):
    root = Path(__file__).resolve().parents[3] / "configs"
    lines = (shared_data / "tags" / "danbooru.csv").read_text().splitlines()
    known = {line.split(",")[0].strip('"') for line in lines}
    for name in ("curate.yaml", "curate-stage2.yaml"):
        cfg = load_config(root / name, CurateConfig)
        tags = {tag for item in cfg.filters if item.name == "exclude_tags" for tag in item.tags}
        assert tags
        assert tags - known == set(), name


def test_the_shipped_filters_on_a_post(tmp_path: Path):
    """The default recipe keeps an ordinary post and names what it drops."""
    folder = write_posts(tmp_path / "posts", 1)
    picture(1, 800, 600).save(folder / "images" / "1.png")
    picture(2, 800, 600).save(folder / "images" / "2.png")
    posts = [
        danbooru_post(1, image_width=800, image_height=600),
        danbooru_post(2, image_width=800, image_height=600, meta="ai-generated"),
        danbooru_post(3, is_banned=True, md5=...),
        danbooru_post(4, file_ext="mp4"),
        danbooru_post(5, image_width=300, image_height=300),
    ]
    write_lines(folder / "posts.jsonl", posts)
    shipped = load_config(Path(__file__).resolve().parents[3] / "configs" / "curate.yaml", CurateConfig)
    cfg = curate_config(folder).model_copy(update={"filters": shipped.filters})
    assert run(cfg).dropped == {"deleted": 1, "exclude_tags": 1, "extension": 1, "megapixels": 1}
