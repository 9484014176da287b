"""What stands in the text of an answer, how likely its tokens were, and what messages call the errand."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune import fsio
from animetune.errors import RequestLimitError, SetupError
from animetune.vlm.config import ClientConfig, ModelConfig, SentPictureConfig
from animetune.vlm.encode import HeldPictures
from animetune.vlm.errand import Errand
from animetune.vlm.pacing import Failure, Pace
from animetune.vlm.replies import TOPS, Reply, read_reply
from animetune.vlm.requests import PictureRef
from animetune.vlm.texts import is_open, is_thinking, json_objects, without_thoughts
from animetune.vlm.usage import Usage, cost
from tests.caption_server import completion


def with_logprobs(content: Any) -> bytes:
    body = completion("Yes")
    body["choices"][0]["logprobs"] = content
    return json.dumps(body).encode()


def test_likelihoods_of_the_first_tokens_are_kept() -> None:
    token = {"token": "Yes", "logprob": -0.1, "bytes": [89], "top_logprobs": [{"token": "Yes", "logprob": -0.1}]}
    reply = read_reply(with_logprobs({"content": [token] * 40, "refusal": None}))
    assert reply.tops == (("Yes", {"Yes": -0.1}),) * TOPS
    line = fsio.canonical_json(reply.to_record("0" * 32))
    assert Reply.of_record(json.loads(line)) == reply


def test_a_reply_without_likelihoods_is_kept_as_ever() -> None:
    assert Reply("a", "stop", 1, 2).to_record("0" * 32) == {
        "digest": "0" * 32,
        "text": "a",
        "finish": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 2,
    }


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "x",
        {"content": None},
        {"content": [None, {"token": "Yes"}, {"token": 1, "top_logprobs": []}]},
        {"tokens": ["Yes"], "top_logprobs": [{"Yes": -0.1}]},  # of completions of the old kind
    ],
)
def test_likelihoods_in_another_form_are_none(content: Any) -> None:
    assert read_reply(with_logprobs(content)).tops == ()


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["token", "logprob", "top_logprobs"]),
            st.none() | st.text(max_size=3) | st.floats() | st.lists(st.dictionaries(st.text(max_size=2), st.floats())),
        ),
        max_size=4,
    )
)
def test_whatever_is_kept_of_likelihoods_can_be_written(content: list[Any]) -> None:
    odd = [
        {"token": "a\ud800", "top_logprobs": [{"token": "\ud800", "logprob": math.nan}, {"token": "b", "logprob": 0}]}
    ]
    body = completion("Yes")
    body["choices"][0]["logprobs"] = {"content": odd + content}
    reply = read_reply(json.dumps(body).encode())
    assert reply.tops[0] == ("a?", {"b": 0.0})
    assert Reply.of_record(json.loads(fsio.canonical_json(reply.to_record("0" * 32)))) == reply


def test_thoughts_are_no_part_of_an_answer() -> None:
    assert without_thoughts("\ufeff <think>No ...</think> Yes.") == "Yes."
    assert without_thoughts("as if begun before</think>Yes.") == "Yes."
    assert is_thinking(without_thoughts("<thinking>for ever"))
    assert not is_thinking("Yes. <think>")


def test_objects_in_a_text() -> None:
    text = 'Here: {"a": {"b": 1}} and {"c": "{x}",} and {broken'
    assert list(json_objects(text)) == [{"a": {"b": 1}}, {"a": {"b": 1}}, {"c": "{x}"}]
    assert is_open('{"a": "}')
    assert not is_open('{"a": "}"} more')


def test_messages_name_the_errand() -> None:
    errand = Errand("evaluate: questions", "vision.ask_again=true", "leave them out")
    pace = Pace(ClientConfig(breaker_failures=1, concurrency=1, breaker_pauses=0), "http://x", errand)
    with pytest.raises(SetupError, match=r"^evaluate: questions: http://x refused .* with vision\.ask_again=true$"):
        pace.refused("no")
    with pytest.raises(SetupError, match=r"^evaluate: questions: nobody listens .* again; leave them out$"):
        pace.pause(Failure("gone", is_unreached=True))
    with pytest.raises(SetupError, match=r"same command again$"):
        Pace(ClientConfig(), "http://x").pause(Failure("gone", is_unreached=True))
    with pytest.raises(RequestLimitError, match=r"^evaluate: questions: all 0 requests"):
        Usage(0, errand).sending()


def test_a_held_picture_is_encoded_once_until_it_is_dropped() -> None:
    encoded = []

    async def encode(picture: PictureRef) -> bytes:
        encoded.append(picture.identity)
        return picture.identity.encode()

    async def run() -> list[bytes]:
        held = HeldPictures(encode)
        first, second = (PictureRef("x.png", name, SentPictureConfig()) for name in "ab")
        found = [await held(each) for each in (first, first, second, first)]
        held.drop("a")
        held.drop("never held")
        return [*found, await held(first), await held(second)]

    assert asyncio.run(run()) == [b"a", b"a", b"b", b"a", b"a", b"b"]
    assert encoded == ["a", "b", "a"]


def test_what_tokens_cost() -> None:
    plain = {"base_url": "http://x", "model": "m"}
    assert cost(ModelConfig.model_validate(plain), 1000, 1000) is None
    priced = ModelConfig.model_validate({**plain, "prompt_price": 2.0})
    assert cost(priced, 500_000, 7) == 1.0
