"""Regions of pictures: what a URL names, regions of regions, and how a mask of another scale is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from animetune.errors import PictureError
from animetune.picture_urls import PictureUrl, Region, parse, split_region, with_region
from animetune.pictures import Picture, cut_mask, open_picture, read_image
from tests.builders import picture


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("a.png", PictureUrl("a.png")),
        ("a#1.png", PictureUrl("a#1.png")),
        ("a#xywh=1,2,3.png", PictureUrl("a#xywh=1,2,3.png")),
        ("a.png#xywh=percent:1,2,3,4", PictureUrl("a.png#xywh=percent:1,2,3,4")),
        ("a.png#xywh=-1,2,3,4", PictureUrl("a.png#xywh=-1,2,3,4")),
        ("a#xywh=9,9,9,9.png#xywh=1,2,3,4", PictureUrl("a#xywh=9,9,9,9.png", region=Region(1, 2, 3, 4))),
        ("s3://b/t.tar!x/a.png@512+99", PictureUrl("s3://b/t.tar", 512, 99)),
        ("t.tar!a#b.png@512+99#xywh=0,0,7,8", PictureUrl("t.tar", 512, 99, Region(0, 0, 7, 8))),
        ("a\nb.png#xywh=0,0,7,8", PictureUrl("a\nb.png", region=Region(0, 0, 7, 8))),
    ],
)
def test_only_a_trailing_fragment_of_four_numbers_is_a_region(url, parts):
    assert parse(url) == parts


regions = st.builds(Region, st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))


@given(st.text(min_size=1), regions, st.data())
def test_a_region_of_a_region_is_counted_from_the_picture(name, outer, data):
    left = data.draw(st.integers(0, outer.width - 1))
    top = data.draw(st.integers(0, outer.height - 1))
    inner = Region(
        left, top, data.draw(st.integers(1, outer.width - left)), data.draw(st.integers(1, outer.height - top))
    )
    whole, _ = split_region(name)
    url = with_region(with_region(whole, outer), inner)
    assert split_region(url) == (whole, Region(outer.left + left, outer.top + top, inner.width, inner.height))


def test_a_region_beyond_the_one_it_is_cut_from_is_refused():
    with pytest.raises(ValueError, match="is no region of it"):
        with_region("a.png#xywh=5,5,4,4", Region(1, 0, 4, 4))
    with pytest.raises(ValueError, match="is no region of it"):
        with_region("a.png", Region(1, 0, 0, 4))


def test_what_is_opened_is_the_region_of_the_upright_picture(tmp_path):
    source = picture(3, 40, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    source.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a#b.png", exif=exif)
    url = f"{tmp_path}/a#b.png#xywh=7,3,20,10"
    opened = open_picture(url)
    assert np.array_equal(np.asarray(opened.image), np.asarray(source)[3:13, 7:27])
    assert (opened.region, opened.whole) == (Region(7, 3, 20, 10), (40, 30))
    assert read_image(url) == (tmp_path / "a#b.png").read_bytes()
    whole = open_picture(f"{tmp_path}/a#b.png")
    assert whole.image.size == (40, 30)
    assert whole.region is None


@pytest.mark.parametrize("region", ["21,0,20,10", "0,21,20,10", "0,0,0,5", "0,0,41,30"])
def test_a_region_outside_the_picture_has_a_code_of_its_own(tmp_path, region):
    picture(1, 40, 30).save(tmp_path / "a.png")
    with pytest.raises(PictureError) as caught:
        open_picture(f"{tmp_path}/a.png#xywh={region}")
    assert caught.value.code == "bad_region"


def region_of(whole, region):
    return Picture(Image.new("RGB", region[2:]), "PNG", had_alpha=False, profile="none", region=region, whole=whole)


def test_a_mask_is_cut_with_its_region_whatever_its_scale():
    levels = np.zeros((40, 60), np.uint8)
    levels[10:20, 30:50] = 255
    same = cut_mask(Image.fromarray(levels), region_of((60, 40), Region(25, 5, 20, 12)))
    assert np.array_equal(np.asarray(same), levels[5:17, 25:45])
    for scale in (2, 3):
        larger = Image.fromarray(levels.repeat(scale, 0).repeat(scale, 1))
        cut = cut_mask(larger, region_of((60, 40), Region(25, 5, 20, 12)))
        assert np.array_equal(np.asarray(cut), levels[5:17, 25:45])
    smaller = Image.fromarray(levels[::10, ::10].copy())  # a pixel for ten each way: the edges lie on its grid
    cut = np.asarray(cut_mask(smaller, region_of((60, 40), Region(25, 5, 20, 12))))
    assert cut.shape == (12, 20)
    assert np.array_equal(
        cut[[0, 4, 6, 11]][:, [0, 4, 6, 19]] > 127, levels[5:17, 25:45][[0, 4, 6, 11]][:, [0, 4, 6, 19]] > 127
    )


def test_a_mask_of_a_whole_picture_stays_as_it_is():
    mask = Image.new("L", (3, 5), 7)
    assert cut_mask(mask, Picture(Image.new("RGB", (6, 10)), "PNG", had_alpha=False, profile="none")) is mask
