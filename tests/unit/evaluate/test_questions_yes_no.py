"""Yes or no out of what models say: found where it is said, and nothing guessed where it is not."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.evaluate.yes_no import PROBLEMS, likelihood, read, read_several

YES = [
    "yes", "Yes", "YES.", " Yes!\n", "**Yes**", "`yes`", '"Yes"', "(yes)", "[Yes]", "yes, there is a girl",
    "Yes there is.",
    "Yes. The picture has no sword, but a girl.", "yes - two of them", "Answer: yes", "answer = yes",
    "Final answer: **Yes**",
    "The answer is yes.", "The answer to this question is yes", "A: yes", "1. yes", "- Yes", "Yeah.", "true", "True.",
    "Correct.", '{"answer": "yes"}', '{"answer": true, "reason": "there is no sword"}',
    '```json\n{"answer": "Yes"}\n```',
    '{"Is there a girl?": "yes"}', "Sure! Yes.", "I think yes.", "Definitely yes", "Yes<|im_end|>", "yes</s>",
    "<think>No sword ... no.</think>Yes", "The girl stands left of the boy.\n\nYes.", "はい",
    "はい、そうです。", "Yes。", "yes",
    "答え: はい", "是的,有一个女孩。", "是。", "对", "答案是:是的", "예.", "네, 있습니다.", "Yes or no? Answer: yes",
]  # fmt: skip
NO = [
    "no", "No", "NO.", "**No.**", "No, there is not.", "No there is not", "No - nobody", "no\nThe sky is empty.",
    "Answer: no",
    "Answer: **No**", "The answer is: no", "Nope.", "false", "Incorrect.", '{"answer": "no"}', '{"answer": false}',
    '{"result": "No"}', "Clearly, no.", "<think>yes? yes.</think>\nNo.", "There are two girls.\nNo",
    "いいえ", "いいえ、違います。",
    "不是。", "没有", "否", "아니요.", "No, I can't see a sword.", "答えはいいえ", "No…",
    '{"answer": "no", "why": "yes"',
]  # fmt: skip
NEITHER = {
    "": "empty",
    "  \n": "empty",
    "**": "empty",
    "I'm sorry, but I can't assist with that request.": "refusal",
    "I cannot help with this.": "refusal",
    "No, I can't assist with that.": "refusal",
    "I can't see the picture.": "refusal",
    "No image was provided.": "refusal",
    "This is against the content policy.": "refusal",
    "Yes and no.": "unclear",
    "yes/no": "unclear",
    "Yes or no": "unclear",
    "Maybe.": "unclear",
    "It is unclear.": "unclear",
    "There is a girl.": "unclear",
    "No people are visible.": "unclear",
    "No. 5 is on the shirt.": "unclear",
    "No one.": "unclear",
    "Nobody": "unclear",
    "Yesterday it rained.": "unclear",
    "North of the house": "unclear",
    "Yes. After another look, the answer is no.": "unclear",
    "是一个女孩": "unclear",
    '{"answer": "maybe"}': "unclear",
    '{"answer": null}': "unclear",
    '{"first": "yes", "second": "no"}': "unclear",
    "true blue": "unclear",
    "<think>Yes, I see a girl and": "cut_off",
}


@pytest.mark.parametrize("text", YES)
def test_yes(text: str) -> None:
    found = read(text)
    assert (found.answer, found.problem, found.text) == ("yes", "", text)


@pytest.mark.parametrize("text", NO)
def test_no(text: str) -> None:
    found = read(text)
    assert (found.answer, found.problem, found.text) == ("no", "", text)


@pytest.mark.parametrize("text", NEITHER)
def test_neither(text: str) -> None:
    found = read(text)
    assert (found.answer, found.problem, found.text) == (None, NEITHER[text], text)


def test_why_a_text_ends_counts() -> None:
    assert read("Yes, because the girl", "length").answer == "yes"
    assert read("The girl on the left", "length").problem == "cut_off"
    assert read("", "length").problem == "empty"
    assert read("yes", "content_filter").problem == "refusal"


SEVERAL = [
    '{"1": "yes", "2": "no", "3": "yes"}',
    '```json\n{"1": "Yes.", "2": "No.", "3": "Yes."}\n```',
    'Here you are: {"1": true, "2": false, "3": true}',
    '{"answers": {"1": "yes", "2": "no", "3": "yes"}}',
    '{"answers": ["yes", "no", "yes"]}',
    '["yes", "no", "yes"]',
    '[{"id": 1, "answer": "yes"}, {"id": 2, "answer": "no"}, {"id": 3, "answer": "yes"}]',
    '[{"question": "1", "answer": "yes"}, {"question": "2", "answer": "no"}, {"question": "3", "answer": "yes"}]',
    '{"answers": [{"id": 3, "answer": "yes"}, {"id": 1, "answer": "yes"}, {"id": 2, "answer": "no"}]}',
    '{"q1": "yes", "Question 2": "no", "3.": "yes"}',
    '{"1": {"answer": "yes", "reason": "a girl"}, "2": {"answer": "no"}, "3": {"answer": "yes"}}',
    '{"1": "yes", "2": "no", "3": "yes",}',
    "1. yes\n2. no\n3. yes",
    "1) Yes, a girl.\n2) No, none.\n3) Yes.",
    "**1:** yes\n**2:** no\n**3:** yes",
    '<think>{"1": "no"}</think>{"1": "yes", "2": "no", "3": "yes"}',
    '{"1": "yes", "2": "no", "3": "yes", "4": "no", "0": "no"}',
]


@pytest.mark.parametrize("text", SEVERAL)
def test_several_answers_in_one_text(text: str) -> None:
    assert [each.answer for each in read_several(text, "stop", 3)] == ["yes", "no", "yes"]


def test_what_lacks_among_several_has_a_reason() -> None:
    def of(text: str, finish: str = "stop") -> list[tuple[str | None, str]]:
        return [(each.answer, each.problem) for each in read_several(text, finish, 3)]

    assert of('{"1": "yes", "3": "maybe"}') == [("yes", ""), (None, "unclear"), (None, "unclear")]
    assert of('{"1": "yes", "2": "n', "length") == [(None, "cut_off")] * 3
    assert of("I'm sorry, but I can't assist with that request.") == [(None, "refusal")] * 3
    assert of("") == [(None, "empty")] * 3
    assert of("yes") == [(None, "unclear")] * 3  # of which of them?
    assert of('["yes", "no"]') == [(None, "unclear")] * 3
    assert of("1. yes\n1. no\n2. no\n3. yes") == [(None, "unclear"), ("no", ""), ("yes", "")]
    assert of('{"1": "yes", "2": "no", "3": "yes"}', "content_filter") == [(None, "refusal")] * 3


@given(st.text(max_size=80), st.sampled_from(["stop", "length", "content_filter"]), st.integers(1, 5))
def test_no_text_breaks_it(text: str, finish: str, count: int) -> None:
    for found in (read(text, finish), *read_several(text, finish, count)):
        assert (found.answer is None) == (found.problem in PROBLEMS)
    assert len(read_several(text, finish, count)) == count


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["yes", "no", "maybe"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["1", "2", "answer", "answers", "id", "no", "q"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(_JSON)
def test_no_json_breaks_it(value: object) -> None:
    for found in (read(json.dumps(value)), *read_several(json.dumps(value), "stop", 2)):
        assert found.answer in ("yes", "no", None)


@given(st.lists(st.booleans(), min_size=2, max_size=64))
def test_all_answers_of_a_long_list_are_those_that_were_given(answers: list[bool]) -> None:
    text = json.dumps({str(number): "yes" if each else "no" for number, each in enumerate(answers, start=1)})
    assert [each.answer == "yes" for each in read_several(text, "stop", len(answers))] == answers


def test_likelihood_is_that_of_yes_against_no_at_the_token_that_says_it() -> None:
    tops = {"Yes": math.log(0.6), " yes": math.log(0.15), "No": math.log(0.2), "The": math.log(0.05)}
    assert likelihood([("Yes", tops)]) == pytest.approx(0.75 / 0.95, abs=1e-6)
    assert (
        likelihood(
            [("The", tops), (" answer", {"answer": 0.0}), ("ĠNo", {"ĠNo": math.log(0.75), "yes": math.log(0.25)})]
        )
        == 0.25
    )
    assert likelihood([("The", tops)]) is None
    assert likelihood([]) is None
    assert likelihood([("yes", {"yes": 0.0})]) == 1.0
    assert likelihood([("yes", {})]) is None
