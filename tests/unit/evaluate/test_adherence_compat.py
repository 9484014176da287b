"""DPG-Bench's own rules: against a second writing of them, word for word, and cases worked out by hand."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.evaluate.adherence.compat import CompatQuestion, crop_score, read_as_published, totals
from animetune.evaluate.adherence.rows import COLUMNS, parse_rows


def second_writing(
    text: str, said: Mapping[str, Sequence[Mapping[int, str]]]
) -> tuple[float, dict[str, float], dict[str, float], list[str]]:
    """What the published script comes to, written from a description of it: total, L1, L2, failed.

    `said` are the pictures in the order of the folder: item -> for each crop, question -> the text of the answer.
    """
    data: dict[str, Any] = {}
    last_item = ""
    for place, line in enumerate(csv.DictReader(io.StringIO(text))):
        if place == 0:
            continue  # "the first row of data is passed over"
        item, number = line["item_id"], int(line["proposition_id"])
        if item != last_item:
            data[item] = {"tuple": {}, "parents": {}}
        data[item]["tuple"][number] = line["tuple"]
        data[item]["parents"][number] = [int(each.strip()) for each in line["dependency"].split(",")]
        last_item = item
    picture_scores: list[float] = []
    by_category: dict[str, list[float]] = {}
    failed = []
    for item, crops in said.items():
        try:
            asked = data[item]
            scores: dict[int, float] = {}
            per_crop = []
            for answers in crops:
                for number in asked["tuple"]:
                    scores[number] = float(answers[number] == "yes")
                untouched = dict(scores)
                for number, parents in asked["parents"].items():
                    gone = False
                    for parent in parents:
                        if parent == 0:
                            continue
                        if scores[parent] == 0:
                            gone = True
                            break
                    if gone:
                        scores[number] = 0
                per_crop.append(sum(scores.values()) / len(scores))
            picture_scores.append(sum(per_crop) / len(per_crop))
        except KeyError:
            failed.append(item)
            continue
        for number, of_tuple in asked["tuple"].items():
            by_category.setdefault(of_tuple.split("(")[0].strip(), []).append(untouched[number])
    first_level: dict[str, list[float]] = {}
    for category, values in by_category.items():
        first_level.setdefault(category.split("-")[0].strip(), []).extend(values)
    score = float(np.mean(picture_scores) * 100) if picture_scores else math.nan
    means = [{name: float(np.mean(each) * 100) for name, each in level.items()} for level in (first_level, by_category)]
    return score, means[0], means[1], failed


def ours(text: str, said: Mapping[str, Sequence[Mapping[int, str]]]) -> tuple[float, dict, dict, list[str]]:
    items = read_as_published(parse_rows(text, "q.csv"))
    pictures = [
        (item, items[item][1], [{number: answer == "yes" for number, answer in crop.items()} for crop in crops])
        for item, crops in said.items()
        if item in items
    ]
    found = totals(pictures)
    absent = [item for item in said if item not in items]
    return found.total, found.broad, found.detailed, absent + found.failed


def table(items: Mapping[str, Sequence[tuple[int, str, str]]]) -> str:
    """Item -> (id, dependency, tuple) as a file."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item, rows in items.items():
        for number, parents, proposition in rows:
            writer.writerow([item, "a prompt", "", number, parents, "b", "d", proposition, f"{item} {number}?"])
    return out.getvalue()


CATEGORIES = (
    "entity - whole (x)",
    "attribute - color (x, red)",
    "attribute - shape (x, round)",
    "relation (x, y)",
    "other",
)


@st.composite
def benches(draw: st.DrawFn) -> tuple[str, dict[str, list[dict[int, str]]]]:
    items, said = {}, {}
    crops = draw(st.integers(1, 4))
    for name in ["first", *(f"p{place}" for place in range(draw(st.integers(0, 6))))]:
        size = draw(st.integers(1, 7))
        numbers = draw(st.permutations(range(1, size + 1)))
        items[name] = [
            (
                number,
                ",".join(map(str, draw(st.lists(st.integers(0, size), min_size=1, max_size=3)))),
                draw(st.sampled_from(CATEGORIES)),
            )
            for number in numbers
        ]
        answers = st.fixed_dictionaries({number: st.sampled_from(["yes", "no", "Yes"]) for number in numbers})
        said[name] = [draw(answers) for _ in range(crops)]
    return table(items), said


@settings(max_examples=100, deadline=None)
@given(benches())
def test_equal_bit_by_bit_to_a_second_writing(bench: tuple[str, dict[str, list[dict[int, str]]]]) -> None:
    """Circles, parents behind their children, parents that are missing, the first row: all as published."""
    text, said = bench
    (total, broad, detailed, failed), expected = ours(text, said), second_writing(text, said)
    assert np.float64(total).tobytes() == np.float64(expected[0]).tobytes() or (
        math.isnan(total) and math.isnan(expected[0])
    )
    assert (broad, detailed) == (expected[1], expected[2])
    assert sorted(failed) == sorted(expected[3])


def test_many_pictures_are_averaged_as_numpy_does() -> None:
    """1,065 prompts, as DPG-Bench has, with thirds and sevenths: the order of additions shows in the last bits."""
    rng = np.random.default_rng(0)
    items = {"first": [(1, "0", "entity - whole (x)")]}
    said = {}
    for place in range(1065):
        size = int(rng.integers(1, 14))
        items[f"p{place}"] = [(n, str(rng.integers(0, n)), CATEGORIES[n % 5]) for n in range(1, size + 1)]
        said[f"p{place}"] = [{n: ("no", "yes")[int(rng.random() < 0.8)] for n in range(1, size + 1)} for _ in range(4)]
    text = table(items)
    found, expected = ours(text, said), second_writing(text, said)
    assert (found[0].hex(), found[1], found[2], found[3]) == (expected[0].hex(), expected[1], expected[2], [])


def test_the_first_row_is_dropped_and_takes_its_prompt_with_it() -> None:
    text = table({"a": [(1, "0", "entity (x)"), (2, "1", "entity (y)")], "b": [(1, "0", "entity (x)")]})
    found = ours(text, {"a": [{1: "yes", 2: "yes"}], "b": [{1: "yes"}]})
    assert found == (100.0, {"entity": 100.0}, {"entity": 100.0}, ["a"])
    lonely = table({"a": [(1, "0", "entity (x)"), (2, "0", "entity (y)")]})
    assert ours(lonely, {"a": [{1: "yes", 2: "no"}]})[0] == 0.0, "only the second question is left"


def question(number: int, *parents: int, proposition: str = "entity - whole (x)") -> CompatQuestion:
    return CompatQuestion(number, f"{number}?", parents, proposition)


def test_by_hand() -> None:
    chain = [question(1), question(2, 1), question(3, 2)]
    assert crop_score(chain, {1: False, 2: True, 3: True}) == 0.0, "in this order zeros are handed down"
    backwards = [question(3, 2), question(2, 1), question(1)]
    assert crop_score(backwards, {1: False, 2: True, 3: True}) == 1 / 3, "3 is judged before its parent is zeroed"
    circle = [question(1, 2), question(2, 1)]
    assert crop_score(circle, {1: True, 2: True}) == 1.0
    assert crop_score(circle, {1: True, 2: False}) == 0.0
    orphan = [question(1), question(2, 1, 9)]
    assert crop_score(orphan, {1: True, 2: True}) is None
    assert crop_score(orphan, {1: False, 2: True}) == 0.0, "the missing parent is never looked for"


def test_categories_are_of_the_last_crop_before_zeroing() -> None:
    asked = (question(1), question(2, 1, proposition="attribute - color (x, red)"))
    found = totals([("a", asked, [{1: True, 2: True}, {1: False, 2: True}])])
    assert found.total == 50.0
    assert found.broad == {"entity": 0.0, "attribute": 100.0}
    assert found.detailed == {"attribute - color": 100.0, "entity - whole": 0.0}


def test_rows_of_a_prompt_that_come_again_replace_the_first() -> None:
    rows = parse_rows(
        table({"x": [(1, "0", "e (x)")], "a": [(1, "0", "e (x)")]})
        + table({"b": [(1, "0", "e (x)")], "a": [(5, "0", "e (x)")]}).split("\r\n", 1)[1],
        "q.csv",
    )
    assert {item: [each.id for each in asked] for item, (_, asked) in read_as_published(rows).items()} == {
        "a": [5],
        "b": [1],
    }


def test_nothing_scored_is_no_number() -> None:
    found = totals([])
    assert math.isnan(found.total)
    assert (found.scored, found.failed) == (0, [])
