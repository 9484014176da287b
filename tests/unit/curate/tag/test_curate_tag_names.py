"""One way of writing tags."""

from __future__ import annotations

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.tag.tag_names import NamedTag, named_tag, normal_tag


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("Long  Hair ", "long_hair"),
        (r"saber \(fate\)", "saber_(fate)"),
        (">_<", ">_<"),
        ("\tA\u3000B\n", "a_b"),
        ("  ", ""),
    ],
)
def test_tags_as_people_write_them(written: str, tag: str):
    assert normal_tag(written) == tag


@given(st.text(max_size=20))
def test_what_is_normal_stays(text: str):
    once = normal_tag(text)
    assert "_".join(once.split()) == once
    assert "\\(" not in once or "\\\\(" in text  # of two backslashes one stays


def test_a_named_tag_is_one():
    assert named_tag(r"*_\(Cosplay\)") == "*_(cosplay)"
    for text in ("", " ", "*", "**"):
        with pytest.raises(ValueError, match="is not a tag"):
            named_tag(text)
    with pytest.raises(pydantic.ValidationError, match="'\\*' is not a tag"):
        pydantic.TypeAdapter(NamedTag).validate_python("*")
