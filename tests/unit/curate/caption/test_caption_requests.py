"""Requests and their digests, replies, waits: the parts of the engine that need no server."""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.config import load_config
from animetune.curate.caption.outcomes import Problem
from animetune.curate.caption.retries import another_request
from animetune.curate.config.captions import CaptionsConfig, ModelConfig
from animetune.errors import ConfigError, SetupError
from animetune.vlm.config import ClientConfig, SentPictureConfig
from animetune.vlm.encode import encode
from animetune.vlm.pacing import Failure, Pace, backoff, retry_after
from animetune.vlm.replies import BadReplyError, Reply, read_reply
from animetune.vlm.requests import PictureRef, first_request
from tests.builders import picture
from tests.caption_server import completion

MODEL = ModelConfig(base_url="http://localhost:8000/v1", model="eyes", extra_body={"repetition_penalty": 1.1})
PICTURE = PictureRef.of("/data/1.png", "a" * 32, SentPictureConfig())


def request(**changes):
    asked = {"model": MODEL, "text": "Describe.", "seed": 3, "picture": PICTURE, **changes}
    return first_request(**asked)


def with_model(**changes):
    return request(model=ModelConfig(**{**MODEL.model_dump(exclude={"base_url"}), "base_url": "http://x", **changes}))


def test_the_body_is_that_of_the_protocol_constant_text_first():
    body = request().body(b"jpeg bytes")
    assert body == {
        "model": "eyes",
        "temperature": 0.6,
        "top_p": 0.9,
        "max_tokens": 512,
        "seed": 3,
        "repetition_penalty": 1.1,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Describe."},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(b'jpeg bytes').decode()}"},
                    },
                ],
            }
        ],
    }
    assert request(picture=None).body(None)["messages"] == [{"role": "user", "content": "Describe."}]


def test_all_that_an_answer_depends_on_is_in_the_digest():
    others = [
        request(text="Describe it."),
        request(seed=4),
        request(picture=None),
        request(picture=PictureRef.of("/data/1.png", "b" * 32, SentPictureConfig())),
        request(picture=PictureRef.of("/data/1.png#xywh=0,0,8,8", "a" * 32, SentPictureConfig())),
        request(picture=PictureRef.of("/data/1.png", "a" * 32, SentPictureConfig(side=512))),
        request(picture=PictureRef.of("/data/1.png", None, SentPictureConfig())),
        with_model(model="other"),
        with_model(temperature=0.5),
        with_model(top_p=0.5),
        with_model(max_tokens=100),
        with_model(extra_body={}),
        another_request(request(), "No.", [Problem("refusal", "no")], 1),
    ]
    digests = [each.digest for each in (request(), *others)]
    assert len(set(digests)) == len(digests)
    assert all(len(each) == 32 for each in digests)


def test_what_no_answer_depends_on_is_not():
    same = [
        request(),
        request(picture=PictureRef.of("s3://bucket/elsewhere.png", "a" * 32, SentPictureConfig())),
        with_model(base_url="https://other:1/v1", api_key_env="KEY", prompt_price=1.0, completion_price=2.0),
    ]
    assert {each.digest for each in same} == {request().digest}


def test_another_answer_is_asked_for_with_the_fault_named_and_a_new_seed():
    first = request()
    again = another_request(first, "A boy " * 1000, [Problem("gender", "boy")], 2)
    assert again.seed == first.seed + 2
    assert again.messages[0] == first.messages[0]
    assert [each["role"] for each in again.messages] == ["user", "assistant", "user"]
    assert len(again.messages[1]["content"]) == 1000
    assert "sex that the tags state" in again.messages[2]["content"]
    empty = another_request(first, " ", [Problem("empty", "")], 1)
    assert [each["role"] for each in empty.messages] == ["user", "user"]


def test_an_answer_is_read():
    reply = read_reply(json.dumps(completion("A girl.", prompt=7, tokens=3)).encode())
    assert reply == Reply("A girl.", "stop", 7, 3)
    assert read_reply(json.dumps(completion(None, finish="length")).encode()) == Reply("", "length", 100, 40)
    assert read_reply(b'{"choices":[{"message":{"content":"\\ud800x"}}],"usage":{"prompt_tokens":"7"}}').text == "?x"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_comes_is_an_answer_or_none(value):
    for body in (json.dumps(value).encode(), json.dumps({"choices": value}).encode()):
        try:
            reply = read_reply(body)
        except BadReplyError:
            continue
        assert isinstance(reply.text, str)
        assert reply.prompt_tokens >= 0


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'{"choices":[]}', b'{"error":{}}'])
def test_junk_is_no_answer(body: bytes):
    with pytest.raises(BadReplyError):
        read_reply(body)


def test_waits_grow_are_drawn_by_request_and_end_at_the_longest():
    cfg = ClientConfig(backoff=1.0, longest_wait=10.0)
    waits = {failures: [backoff(f"{n}", failures, cfg) for n in range(400)] for failures in (1, 2, 3, 20)}
    for failures, most in ((1, 1.0), (2, 2.0), (3, 4.0), (20, 10.0)):
        assert 0 <= min(waits[failures]) < 0.05 * most
        assert 0.95 * most < max(waits[failures]) <= most
        assert sum(waits[failures]) / 400 == pytest.approx(most / 2, rel=0.1)
    assert backoff("x", 2, cfg) == backoff("x", 2, cfg)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30.0),
        ("Wed, 99 Oct 2015 07:28:30 GMT", None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(header: str | None, seconds: float | None):
    now = datetime.datetime(2015, 10, 21, 7, 28, 0, tzinfo=datetime.UTC)
    assert retry_after(header, now) == seconds


def test_the_breaker_counts_failures_in_a_row_and_pauses_before_it_gives_up():
    pace = Pace(ClientConfig(concurrency=2, breaker_failures=3, breaker_pause=50, breaker_pauses=1), "the server")
    failure = Failure("status 500: oh")
    assert [pace.failed(failure) for _ in range(2)] == [False, False]
    pace.succeeded(0.0)
    assert [pace.failed(failure) for _ in range(3)] == [False, False, True]
    assert pace.rest < 0
    pace.pause(failure)
    assert 49 < pace.rest <= 50
    with pytest.raises(SetupError, match=r"the server does not answer: 3 requests.*status 500: oh"):
        pace.pause(failure)


def test_retry_after_holds_back_everyone_but_not_for_ever():
    pace = Pace(ClientConfig(longest_wait=60), "the server")
    pace.failed(Failure("busy", retry_after=5.0, is_busy=True))
    assert 4 < pace.rest <= 5
    pace.failed(Failure("busy", retry_after=1e9, is_busy=True))
    assert 599 < pace.rest <= 600


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
def test_pictures_are_sent_no_larger_than_asked(form):
    import io

    from PIL import Image

    for size, side, sent in (((300, 200), 100, (100, 67)), ((300, 200), 1000, (300, 200)), ((2000, 3), 100, (100, 1))):
        data = encode(picture(1, *size), SentPictureConfig(side=side, format=form))
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == (form, sent)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"long": {"model": "m"}}, "either base_url"),
        ({"long": {"model": "m", "base_url": "http://x", "folder": "/x"}}, "either base_url"),
        ({"long": {"model": "m", "base_url": "localhost:80"}}, "begin with http"),
        ({"long": {"model": "m", "base_url": "http://x", "extra_body": {"seed": 1}}}, "seed is set by animetune"),
        ({"long": {"model": "m", "base_url": "http://x", "api_key_env": "sk-12"}}, "api_key_env"),
        ({"long": {"model": "m", "base_url": "http://x/v1/chat/completions"}}, "should end before /chat/completions"),
        ({"short": {"by": "answer"}}, "form: both"),
        ({"short": {"by": "model"}}, "name it in compress"),
        ({"short": {"by": "rules"}, "compress": {"model": "m", "base_url": "http://x"}}, "is not asked"),
    ],
)
def test_settings_that_make_no_sense(settings, match: str):
    with pytest.raises(ValueError, match=match):
        CaptionsConfig.model_validate({"long": {"model": "m", "base_url": "http://x"}, **settings})


def test_a_key_in_place_of_a_name_is_not_repeated(tmp_path: Path):
    file = tmp_path / "captions.yaml"
    file.write_text("long: {model: m, base_url: http://x, api_key_env: sk-abcdefgh}")
    with pytest.raises(ConfigError, match="should be the NAME of an environment variable") as caught:
        load_config(file, CaptionsConfig)
    assert "abcdefgh" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "by"),
    [
        ({}, "rules"),
        ({"form": "both"}, "answer"),
        ({"compress": {"model": "m", "base_url": "http://x"}}, "model"),
        ({"form": "both", "short": {"by": "none"}}, "none"),
    ],
)
def test_where_short_captions_come_from(settings, by: str):
    cfg = CaptionsConfig.model_validate({"long": {"model": "m", "base_url": "http://x"}, **settings})
    assert cfg.short_by == by
