"""Pictures with nothing but tags beside them, many at once: just as one by one."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.curate.config.sources import SourceConfig
from animetune.curate.read.chunks import parsed
from animetune.curate.read.formats import beside_columns
from animetune.curate.read.formats.readers import Raw
from animetune.curate.read.inputs import InputFile
from animetune.curate.read.runs import ROW_SCHEMA, row_frame

TEXTS = st.one_of(
    st.lists(st.sampled_from(["1girl", "long hair", "artist:someone", "smile", "smile", ":3", "a\\(b\\)", "x" * 300,
                              "éclair", "tag\u200b", "series:a, b", ""]), max_size=6).map(", ".join),
    st.sampled_from(["A girl stands in the rain.", "1girl\nA girl sits under a tree.", "\ufeff1girl", "|||"]),
    st.text(max_size=30),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(TEXTS, max_size=2), min_size=1, max_size=8),
    st.sampled_from(["auto", "tags", "caption"]),
    st.sampled_from([[], [{"root": "other", "path": "{basename}"}], [{"root": "o", "path": "{file_stem}.webp"}]]),
    st.sampled_from(["", "sets/a/"]),
)
def test_as_one_by_one(texts: list[list[str]], kind: str, images: list[dict], prefix: str) -> None:
    source = SourceConfig.model_validate({"name": "s", "posts": ["."], "text": kind, "images": images})
    file = InputFile("posts", source, Path("."), 0, "", "folder", prefix)
    found = [
        Raw(number, "", {}, f"a b/{number}.v2.PNG" if number % 2 else f"{number}.jpg", texts=tuple(each))
        for number, each in enumerate(texts)
    ]
    plain = beside_columns.plain_rows(found, file)
    one_by_one = [{**parsed(found[offset], file)[1], "offset": offset} for offset in plain["offset"]]
    assert plain.select(list(ROW_SCHEMA)).equals(row_frame(one_by_one))


def test_tags_alone_are_decided_together_and_the_rest_is_left() -> None:
    source = SourceConfig.model_validate({"name": "s", "posts": ["."]})
    file = InputFile("posts", source, Path("."), 0, "", "folder")
    found = [
        Raw(0, "", {}, "0.png", texts=("1girl, long hair",)),
        Raw(1, "", {}, "1.png"),
        Raw(2, "", {}, "2.png", texts=("A girl stands in the rain.",)),
        Raw(3, "", {"rating": "g"}, "3.png", texts=("1girl",)),
        Raw(4, "", {}, "../4.png", texts=("1girl",)),
        Raw(5, "", {}, "5.png", texts=("1girl, 1girl",)),
    ]
    plain = beside_columns.plain_rows(found, file)
    assert plain["offset"].to_list() == [0, 1]
    assert plain["tags_general"].to_list() == ["1girl long_hair", ""]
    assert plain["image_candidates"].to_list() == [["./0.png"], ["./1.png"]]
