"""Facts of balancing are shown as far as they are there, in whatever shape they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from animetune.report.table_noted import Factor, Weighed, factors, homonyms, weighed

EPOCH = {
    "samples": {"before": 10.0, "after": 8.0},
    "effective_pictures": {"before": 10.0, "after": 7.5, "literal": 3.0},
    "content_bucket": {
        "samples": {"animal": {"before": 1.0, "after": 2.0}},
        "entropy": {"before": 1.0, "after": 2.0},
    },
    "per_picture_by_tags": {"before": [1, 1], "after": [2, 2]},
    "factors": [
        {"name": "tag_groups", "result": "repeats", "smallest": 0.5, "mean": 1, "largest": 2.0, "samples": 8.0}
    ],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["before", "after", "literal", "factors", "a"]), inner)
    ),
    max_leaves=12,
)


def test_figures_stand_side_by_side():
    assert weighed({"epoch": EPOCH, "tag_epoch": {"general": {"gini": {"before": 0.5, "after": 0.4}}}}) == [
        Weighed("content bucket: entropy", 1.0, 2.0, None),
        Weighed("effective pictures", 10.0, 7.5, 3.0),
        Weighed("samples", 10.0, 8.0, None),
        Weighed("tags: general: gini", 0.5, 0.4, None),
    ]


def test_factors_are_in_their_order():
    assert factors({"epoch": EPOCH}) == [Factor("tag_groups", "repeats", 0.5, 1.0, 2.0, 8.0)]
    assert factors({"epoch": {"factors": [{"name": "odd"}, 3]}}) == [Factor("odd", "", None, None, None, None)]
    assert factors({}) == []


def test_homonyms_are_a_number_or_a_list():
    assert [homonyms({"homonyms": value}) for value in (3, [1, 2], {"a": 1}, "odd")] == [3, 2, 1, 0]
    assert homonyms({}) == 0


@given(JSON, JSON)
def test_no_facts_are_too_strange(epoch, tags):
    for row in weighed({"epoch": epoch, "tag_epoch": tags}):
        assert isinstance(row.before, float)
    factors({"epoch": epoch})
    homonyms({"homonyms": epoch})
