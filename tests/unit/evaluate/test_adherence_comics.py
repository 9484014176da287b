"""The prompts and questions about comics that come with the probe: what every one of them must be."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from animetune.evaluate.adherence.graph import Item, Question, build_items, shipped_rows
from animetune.evaluate.probes.adherence import AXES
from animetune.tokens import count_tokens

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "make_comics_questions.py"
CAST = ("suzu", "tovik", "maren", "garrick", "pip", "daichiro", "lio", "rosalind", "kuro", "bolt", "elowen", "rook")
LITTLE = re.compile(
    r"(a|about|all|an|and|any|are|as|at|be|both|by|can|do|does|each|else|every|exactly|for|from|has|have|he|her|hers|him|"
    r"his|if|in|inside|into|is|it|its|like|looks?|many|more|most|no|not|of|on|one|or|other|out|over|picture|seem|she|"
    r"shows?|that|the|their|them|there|they|this|through|to|two|up|was|were|what|when|which|who|whole|whose|with|without|"
    r"place|scene|several)"
)
SAME = {
    "women": "woman", "swordswomen": "woman", "grandmother": "woman", "ballerina": "woman", "bride": "woman",
    "policewoman": "woman", "archer": "woman", "men": "man", "father": "man", "violinist": "man", "boys": "boy",
    "twin": "boy", "girls": "girl", "schoolgirl": "girl", "family": "people", "kids": "child", "children": "child",
    "smaller": "small", "lying": "lie", "lies": "lie", "eats": "eat", "her": "woman", "ballet": "ballerina",
}  # fmt: skip


@pytest.fixture(scope="module")
def items() -> list[Item]:
    found, left_out = build_items(shipped_rows(), "comics.csv")
    assert left_out == []
    return found


def all_questions(items: list[Item]) -> list[tuple[Item, Question]]:
    return [(item, question) for item in items for question in item.questions]


def words(text: str) -> set[str]:
    """Words that say something, cut to what their forms share, most times."""
    found = re.findall(r"[a-z]+", text.lower())
    plain = {word for word in found if not LITTLE.fullmatch(word)} | {SAME[word] for word in found if word in SAME}
    return {word[:4] for word in plain}


def test_it_is_large_and_covers_every_axis(items: list[Item]) -> None:
    asked = all_questions(items)
    assert len(items) >= 120
    assert len(asked) >= 1000
    counts = Counter(question.category for _, question in asked)
    assert set(counts) == set(AXES)
    assert min(counts.values()) >= 20, counts
    prompts_with = Counter(axis for item in items for axis in {question.category for question in item.questions})
    assert min(prompts_with.values()) >= 12, prompts_with
    assert all(len(item.questions) >= 5 for item in items)


def test_the_shipped_file_is_what_its_sources_give() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_asked_twice(items: list[Item]) -> None:
    assert [name for name, n in Counter(item.id for item in items).items() if n > 1] == []
    assert [text for text, n in Counter(item.prompt for item in items).items() if n > 1] == []
    for item in items:
        assert [t for t, n in Counter(question.text.lower() for question in item.questions).items() if n > 1] == []


def test_parents_come_first_in_the_file_and_ids_count_up() -> None:
    by_item: dict[str, list[int]] = {}
    for row in shipped_rows():
        before = by_item.setdefault(row.item, [])
        assert row.id == len(before) + 1, row
        assert set(row.parents) <= set(before), row
        before.append(row.id)


def test_prompts_read_like_prompts(items: list[Item]) -> None:
    for item in items:
        text = item.prompt
        assert re.fullmatch(r"[A-Z][^{}|@=^!\n]*\.", text), text
        assert "  " not in text
        assert " ," not in text
        assert count_tokens(text) <= 75, (count_tokens(text), text)
        assert not re.search(r"\b(anime|illustration|manga style|drawn|masterpiece|quality)\b", text), text
        assert not re.search(r"\ba [aeio][a-z]", re.sub(r"\ba (one|uni)", "", text.lower())), text
        assert not re.search(r"\ban [bcdfgjklmnpqrstvwxyz][a-z]", text.lower()), text


def test_questions_are_questions_to_be_answered_from_the_picture(items: list[Item]) -> None:
    names = re.compile(rf"\b({'|'.join(CAST)})\b", re.IGNORECASE)
    for item, question in all_questions(items):
        text = question.text
        assert re.match(r"(Is|Are|Does|Do|Can|Has) [a-z'-]+ ", text), text
        assert text.endswith("?"), text
        assert text.count("?") == 1, text
        assert 3 <= len(text.split()) <= 18, text
        assert not names.search(text), f"a name is not to be seen: {text}"
        assert not re.search(r"\b(not|never|no|isn't|aren't)\b", text), f"yes should mean that it is there: {text}"
        assert not re.match(r"Is there (two|three|four|many|some|\w+s in)\b", text), text
        assert not re.match(r"Are there (a|an|one) ", text), text
        assert not re.search(r"\ba [aeio][a-z]", re.sub(r"\ba (one|uni)", "", text)), text
        assert not re.search(r"\ban [bcdfgjklmnpqrstvwxyz][a-z]", text), text
        assert question.proposition.startswith(f"{question.category} - {question.subcategory} ("), question.proposition
        assert words(text) & words(item.prompt), (text, item.prompt)


def test_who_and_what_a_question_speaks_of_was_asked_for_before(items: list[Item]) -> None:
    """`Is the boy's cap blue?` needs the boy, so some question above it asks for him."""
    person = re.compile(r"\b(the|both) (?:of the )?(?:\w+ )?(girl|boy|woman|man|women|men)s?\b", re.IGNORECASE)
    for item, question in all_questions(items):
        above, todo = [], list(question.parents)
        by_id = {each.id: each for each in item.questions}
        while todo:
            each = by_id[todo.pop()]
            above.append(each.text)
            todo += each.parents
        for _, noun in person.findall(question.text):
            single = {"women": "woman", "men": "man"}.get(noun.lower(), noun.lower())
            forms = {single, {"woman": "women", "man": "men"}.get(single, single + "s")}
            asked_for = [text for text in above if forms & set(re.findall(r"[a-z]+", text.lower()))]
            assert asked_for, (item.id, question.text, above)


def test_counts_are_of_something_that_was_asked_for(items: list[Item]) -> None:
    counts = [question for _, question in all_questions(items) if question.category == "count"]
    exact = [question for question in counts if question.subcategory != "presence"]
    assert len(exact) >= 35
    assert [question.text for question in exact if not question.parents] == []
    number = r"exactly (one|two|three|four|five|six|seven|eight)|only|alone|without|two|three|taller|as big|fat|one"
    assert [question.text for question in exact if not re.search(rf"\b({number})\b", question.text)] == []
    said = re.compile(r"\bexactly (two|three|four|five|six|seven)\b")
    in_other_words = {"reading-aloud": "twin", "mirror-twins": "Twin", "character-sheet": "the front, from the side"}
    for item, question in all_questions(items):
        if match := said.search(question.text):
            assert in_other_words.get(item.id, match[1]) in item.prompt.lower() or (
                in_other_words.get(item.id, "?") in item.prompt
            ), (item.id, question.text)


def test_gender_is_asked_by_name(items: list[Item]) -> None:
    for item, question in all_questions(items):
        if question.category == "gender":
            assert re.search(r"\b(girl|boy|woman|policewoman|man|female|male)s?\b", question.text), (item.id, question)


def test_the_cast_keeps_its_traits_and_words(items: list[Item]) -> None:
    """Five prompts each that introduce a character in the same words and ask for the same traits."""
    for name in CAST:
        mine = [item for item in items if item.id.startswith(f"{name}-")]
        assert len(mine) == 5
        traits = [
            tuple(question.text for question in item.questions if question.category == "character_consistency")
            for item in mine
        ]
        assert len(set(traits)) == 1
        assert 5 <= len(traits[0]) <= 7
        assert {question.subject for item in mine for question in item.questions if "consis" in question.category} == {
            name
        }
        common = mine[0].prompt
        while not all(item.prompt.startswith(common) for item in mine):
            common = common[:-1]
        assert common.startswith(f"{name.capitalize()}, ")
        assert all(words(text) & words(common) for text in traits[0]), name
