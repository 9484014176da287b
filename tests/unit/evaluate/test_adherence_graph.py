"""Files of questions: read as they come, each mistake named by file and line."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.errors import ConfigError
from animetune.evaluate.adherence.asked import asked_items, read_prompts
from animetune.evaluate.adherence.graph import build_items, ordered
from animetune.evaluate.adherence.rows import COLUMNS, MOST_NAMED, parse_rows, read_rows
from animetune.evaluate.config import AdherenceConfig

HEADER = ",".join(COLUMNS)


def row(item: str = "a", number: int | str = 1, parents: str = "0", question: str = "", text: str = "a red cat") -> str:
    asked = question or f"Question {number}?"
    return f'{item},"{text}",,{number},"{parents}",entity,whole,entity - whole (cat),{asked}'


def table(*rows: str, end: str = "\n") -> str:
    return end.join([HEADER, *rows]) + end


def problems(text: str, **options: bool) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        build_items(parse_rows(text, "q.csv"), "q.csv", **options)  # type: ignore[arg-type]
    return raised.value.problems


def test_a_file_as_dpg_bench_has_it() -> None:
    text = table(
        'x1,"A cat, and a ""hat"".",,1,0,entity,whole,entity - whole (cat),Is there a cat?',
        'x1,"A cat, and a ""hat"".",,2,0,entity,whole,entity - whole (hat),Is there a hat?',
        'x1,"A cat, and a ""hat"".",,3,"1, 2",relation,spatial,"relation - spatial (hat, on)",Is the hat on the cat?',
        "7,A dog.,,1,0,entity,whole,entity - whole (dog),Is there a dog?",
    )
    (first, second), left_out = build_items(parse_rows(text, "q.csv"), "q.csv")
    assert left_out == []
    assert (first.id, first.prompt, second.id) == ("x1", 'A cat, and a "hat".', "7")
    assert [(question.id, question.parents) for question in first.questions] == [(1, ()), (2, ()), (3, (1, 2))]
    last = first.questions[2]
    assert (last.category, last.subcategory, last.subject) == ("relation", "spatial", "hat")
    assert last.text == "Is the hat on the cat?"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_marks_and_line_ends_make_no_difference(tmp_path: Path, end: str, mark: bytes) -> None:
    file = tmp_path / "q.csv"
    file.write_bytes(mark + table(row(number=1), "", row(number=2, parents="1"), end=end).encode())
    assert [(each.line, each.id, each.parents) for each in read_rows(file)] == [(2, 1, ()), (4, 2, (1,))]


def test_columns_may_stand_in_any_order_with_others_between() -> None:
    names = ["note", *reversed(COLUMNS)]
    fields = dict(
        zip(COLUMNS, ["a", "a cat", "", "1", "0", "entity", "whole", "entity - whole (cat)", "A?"], strict=True)
    )
    text = ",".join(names) + "\n" + ",".join({**fields, "note": "mine"}[name] for name in names) + "\n"
    (found,) = parse_rows(text, "q.csv")
    assert (found.item, found.id, found.question) == ("a", 1, "A?")


def test_lines_are_counted_through_prompts_of_several_lines() -> None:
    text = table(row(text="a\nred\ncat"), row(number="two"))
    with pytest.raises(ConfigError, match=r"^q.csv:5: proposition_id: 'two' should be a whole number from 1$"):
        parse_rows(text, "q.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "q.csv: is empty; it should begin with the columns item_id"),
        (HEADER + "\n", "q.csv: holds no question"),
        ("item,text\n", "q.csv:1: lacks the columns item_id, keywords,"),
        (HEADER.replace(",tuple", "") + "\n", "q.csv:1: lacks the column tuple; the first line should be item_id,"),
        (HEADER + ",item_id\n", "q.csv:1: has the column item_id twice"),
        (table("a,b"), "q.csv:2: has 2 fields where the header has 9"),
        (table(row(number=0)), "q.csv:2: proposition_id: '0' should be a whole number from 1"),
        (table(row(number="1.0")), "q.csv:2: proposition_id: '1.0'"),
        (table(row(parents="")), "q.csv:2: dependency: '' should be numbers of questions"),
        (table(row(parents="1;2")), "q.csv:2: dependency: '1;2'"),
        (table(row(parents="-1")), "q.csv:2: dependency: '-1'"),
        (table(row(item="")), "q.csv:2: item_id: is empty"),
        (table(row(item="../a")), r"q.csv:2: item_id: '../a' names no file"),
        (table(row(item=".hidden")), "q.csv:2: item_id: '.hidden' names no file"),
        (table('a,"a cat,,1,0,entity,whole,x,Q?'), "q.csv:2: is not CSV"),
        (table(row(), row() + "\0"), "q.csv:3: holds a zero byte"),
    ],
)
def test_what_is_no_file_of_questions(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_rows(text, "q.csv")
    assert raised.value.problems[0].startswith(message)


def test_bytes_that_are_not_utf8_and_files_that_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_bytes(table(row(), row(number=2)).encode() + b"caf\xe9\n")
    with pytest.raises(ConfigError, match=r"q.csv:4: is not UTF-8; save the file as UTF-8"):
        read_rows(file)
    file.write_text(table(row()), encoding="utf-16")
    with pytest.raises(ConfigError, match=r"q.csv:1: is not UTF-8"):
        read_rows(file)
    with pytest.raises(ConfigError, match=r"questions: .*absent.csv: there is no such file"):
        read_rows(tmp_path / "absent.csv")


def test_every_mistake_of_a_graph_is_named_at_once() -> None:
    text = table(
        row("missing", 1),
        row("missing", 2, "1,9"),
        row("circle", 1, "3"),
        row("circle", 2, "1"),
        row("circle", 3, "2"),
        row("self", 1, "1"),
        row("twice", 1),
        row("twice", 1),
        row("good", 1),
        row("other-text", 1),
        row("other-text", 2, text="a blue cat"),
        row("no-text", 1, text=""),
        row("good", 2),
    )
    assert problems(text) == [
        "q.csv:3: missing: question 2 depends on 9, which is not there",
        "q.csv:4: circle: questions depend on each other in a circle: 1 on 3 on 2 on 1",
        "q.csv:7: self: questions depend on each other in a circle: 1 on 1",
        "q.csv:9: twice: question 1 is there already, in line 8",
        "q.csv:12: other-text: text: is not that of line 11, though it is the same prompt",
        "q.csv:13: no-text: text: is empty; give `prompts`, the folder of <item_id>.txt, or write the prompt here",
        "q.csv:14: good: has rows in line 10 already; put the rows of a prompt together",
    ]
    items, mistakes = build_items(parse_rows(text, "q.csv"), "q.csv", leave_out=True)
    assert [item.id for item in items] == ["good"]
    assert len(mistakes) == 7
    assert problems(table(row("self", 1, "1")), leave_out=True), "nothing would be left"


def test_many_mistakes_are_counted_not_listed() -> None:
    found = problems(table(*(row(f"i{number}", 1, "9") for number in range(MOST_NAMED + 7))))
    assert len(found) == MOST_NAMED + 1
    assert found[-1] == "... and 7 more"


ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).map(str.strip).filter(bool)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_whatever_stands_in_a_field_is_read_back(texts: list[tuple[str, str]], end: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow(COLUMNS)
    for number, (text, question) in enumerate(texts, start=1):
        writer.writerow(["a", text, "", number, 0, "entity", "whole", "entity (x)", question])
    found = parse_rows(out.getvalue(), "q.csv")
    assert [(each.text, each.question) for each in found] == texts


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_parents_stand_before_their_children(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    names = data.draw(st.permutations(range(1, size + 1)))
    rank = {name: place for place, name in enumerate(data.draw(st.permutations(names)))}
    parents = {
        name: data.draw(st.lists(st.sampled_from([other for other in names if rank[other] < rank[name]] or [0])))
        for name in names
    }
    parents = {name: [each for each in found if each] for name, found in parents.items()}
    order = ordered(parents)
    assert sorted(order) == sorted(names)
    assert all(order.index(parent) < order.index(name) for name, found in parents.items() for parent in found)
    if all(names.index(parent) < names.index(name) for name, found in parents.items() for parent in found):
        assert order == list(names), "an order that is fit already stays"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.data())
def test_a_circle_is_found_and_told(size: int, data: st.DataObject) -> None:
    ring = {name: [name % size + 1] for name in range(1, size + 1)}
    tail = {name: [name - 1] for name in range(size + 1, size + 1 + data.draw(st.integers(0, 4)))}
    with pytest.raises(ValueError) as raised:
        ordered({**tail, **ring})
    circle = raised.value.args[0]
    assert circle[0] == circle[-1]
    assert set(circle) == set(ring)
    assert all(after in ring[before] for before, after in pairwise(circle))


def test_a_chain_may_be_long() -> None:
    assert ordered({name: [name + 1] if name < 5000 else [] for name in range(1, 5001)}) == list(range(5000, 0, -1))


def test_prompts_come_from_a_folder(tmp_path: Path) -> None:
    questions = tmp_path / "q.csv"
    questions.write_text(table(row("7", 1), row("7", 2, "1"), row("b", 1)), encoding="utf-8")
    folder = tmp_path / "prompts"
    cfg = AdherenceConfig(name="adherence", set="dpg", questions=questions, prompts=folder)
    with pytest.raises(ConfigError, match=r"prompts: .*prompts: there is no such folder"):
        asked_items(cfg)
    folder.mkdir()
    (folder / "7.txt").write_bytes("\ufeffA café,\r\nfull of cats.\n".encode())
    with pytest.raises(ConfigError, match=r"lacks 1 of 2 prompts: b.txt"):
        asked_items(cfg)
    (folder / "b.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"b.txt: is empty"):
        asked_items(cfg)
    (folder / "b.txt").write_text("A dog.", encoding="utf-8")
    assert [each.prompt for each in asked_items(cfg)] == ["A café,\r\nfull of cats.", "A dog."]
    assert read_prompts(folder, read_rows(questions))["b"] == "A dog."
    alone = cfg.model_copy(update={"prompts": None})
    assert [each.prompt for each in asked_items(alone)] == ["a red cat", "a red cat"]


def test_other_questions_have_other_keys(tmp_path: Path) -> None:
    keys = set()
    for number, rows in enumerate(
        ([row(number=1)], [row(number=1, question="Another?")], [row(number=1), row(number=2, parents="1")])
    ):
        file = tmp_path / f"{number}.csv"
        file.write_text(table(*rows), encoding="utf-8")
        (found,) = asked_items(AdherenceConfig(name="adherence", set="dpg", questions=file))
        assert found.key.startswith("a-")
        keys.add(found.key)
    assert len(keys) == 3


def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    for wrong, message in (
        ({"set": "dpg"}, "questions: is missing"),
        ({"questions": tmp_path / "q.csv"}, "comes with its prompts and questions"),
        ({"prompts": tmp_path}, "comes with its prompts and questions"),
        ({"replace": True}, "replace"),
    ):
        with pytest.raises(ValueError, match=message):
            AdherenceConfig.model_validate({"name": "adherence", **wrong})
