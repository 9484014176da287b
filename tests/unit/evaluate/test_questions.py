"""Questions about pictures: asked once, of a real server on loopback, by themselves and several at a time."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from animetune import fsio
from animetune.config import load_config
from animetune.errors import ConfigError, DataError, RequestLimitError, SetupError
from animetune.evaluate import questions as questions_module
from animetune.evaluate.cases import Case
from animetune.evaluate.config.vision import VisionConfig
from animetune.evaluate.questions import PictureQuestions, Said, answer_cases, ask_questions, digest_of, facts_of
from animetune.evaluate.said import SEVERAL
from animetune.fsio import read_lines
from animetune.records import Request, Size
from tests.caption_server import (
    Mode,
    answers_from,
    by_colour,
    by_question,
    caption_server,
    faults,
    picture_of,
    text_of,
)
from tests.questioned import colour, picture_of_colour, vision

GIRL, BOY, SWORD, SKY = "Is there a girl?", "Is there a boy?", "Is there a sword?", "Is the sky blue?"
KNOWN = {GIRL: "Yes.", BOY: "No.", SKY: "yes, it is"}
ALL = (GIRL, BOY, SWORD, SKY)
EXPECTED = {GIRL: "yes", BOY: "no", SWORD: "no", SKY: "yes"}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    (tmp_path / "pictures").mkdir()
    return [picture_of_colour(tmp_path / "pictures", number) for number in range(6)]


def asked_of(pictures: list[Path], questions: tuple[str, ...] = ALL) -> list[PictureQuestions]:
    return [PictureQuestions(file, questions) for file in pictures]


def test_every_question_is_asked_by_itself_and_once(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN), about=by_question) as server:
        cfg = vision(server)
        said = ask_questions(cfg, asked_of(pictures), tmp_path / "answers")
        assert {key: each.answer for key, each in said.items()} == {
            (fsio.sha256_file(file), text): EXPECTED[text] for file in pictures for text in ALL
        }
        assert said[fsio.sha256_file(pictures[0]), SKY] == Said("yes, it is", "yes", "", None, 100, 40)
        assert len(server.asked) == 24
        assert {len(server.asked_about(text)) for text in ALL} == {6}
        body = server.asked[0].body
        assert (body["temperature"], body["max_tokens"], body["seed"], body["top_p"]) == (0.0, 64, 0, 1.0)
        assert "logprobs" not in body
        parts = body["messages"][0]["content"]
        assert [part["type"] for part in parts] == ["image_url", "text"], "what all questions share comes first"
        assert text_of(body) == f"{by_question(body)} Answer with one word, yes or no."

        assert ask_questions(cfg, asked_of(pictures), tmp_path / "answers") == said
        copies = [file.rename(file.with_suffix(".other.png")) for file in pictures]
        more = ask_questions(cfg, [*asked_of(copies), *asked_of(copies[:1], (GIRL,))], tmp_path / "answers")
        assert more == said
        assert len(server.asked) == 24
        (folder,) = (tmp_path / "answers").iterdir()
        assert folder.name == f"questions-{fsio.short_digest('eyes')}"
        assert len(read_lines(folder / "runs.jsonl")) == 1


def test_one_more_question_or_picture_asks_for_that_alone(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN), about=by_question) as server:
        ask_questions(vision(server), asked_of(pictures[:4], ALL[:2]), tmp_path)
        assert len(server.asked) == 8
        ask_questions(vision(server), asked_of(pictures[:5], ALL[:3]), tmp_path)
        assert len(server.asked) == 8 + 4 + 3
        ask_questions(vision(server, model="other"), asked_of(pictures[:1], (GIRL,)), tmp_path)
        ask_questions(vision(server, single="{question} Yes or no."), asked_of(pictures[:1], (GIRL,)), tmp_path)
        assert len(server.asked) == 15 + 2


def test_questions_of_a_picture_come_one_after_the_other_and_it_is_encoded_once(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = questions_module.PictureEncoder._encode

    def noted(self, picture):
        encoded.append(picture.identity)
        return encode(self, picture)

    monkeypatch.setattr(questions_module.PictureEncoder, "_encode", noted)
    with caption_server(answer=answers_from(KNOWN), about=by_colour, latency=0.02) as server:
        ask_questions(vision(server, client={"concurrency": 2}), asked_of(pictures), tmp_path)
        assert server.most_at_once >= 2, "pictures are asked about at once"
        for number in range(6):
            assert [by_question(each.body) for each in server.asked_about(colour(number))] == list(ALL)
    assert sorted(encoded) == sorted({fsio.sha256_file(file) for file in pictures})


@pytest.mark.parametrize(("per_request", "requests"), [(2, 2), (3, 2), (4, 1), (64, 1)])
def test_several_questions_in_one_request(
    pictures: list[Path], tmp_path: Path, per_request: int, requests: int
) -> None:
    with caption_server(answer=answers_from(KNOWN), about=by_question) as server:
        cfg = vision(server, per_request=per_request)
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
        assert {key[1]: each.answer for key, each in said.items()} == EXPECTED
        assert [each.text for each in list(said.values())[:4]] == ["Yes.", "No.", "No.", "yes, it is"]
        assert len(server.asked) == 6 * requests
        assert facts_of(cfg, said.values())["prompt_tokens"] == 100 * 6 * requests
        longest = max(each.body["max_tokens"] for each in server.asked)
        assert longest == 64 * min(per_request, 4)
        assert ask_questions(cfg, asked_of(pictures), tmp_path) == said
        assert len(server.asked) == 6 * requests


def test_what_lacks_in_a_shared_answer_is_asked_alone(pictures: list[Path], tmp_path: Path) -> None:
    shared = {
        colour(0): '{"1": "yes", "2": "no", "3": "maybe", "4": "yes"}',
        colour(1): "There are two girls under a blue sky.",
        colour(2): '{"1": "yes", "2": "no", "4": "yes"',
        colour(3): "1. yes\n2. no\n3. no\n4. yes",
    }

    def answer(about: str, body: dict) -> str:
        alone = answers_from(KNOWN)(about, body)
        return shared.get(about, alone) if alone.startswith("{") else alone

    with caption_server(answer=answer, about=by_colour) as server:
        cfg = vision(server, per_request=4)
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
        assert {key[1]: each.answer for key, each in said.items()} == EXPECTED
        assert all(each.answer for each in said.values())
        assert [len(server.asked_about(colour(number))) for number in range(6)] == [2, 5, 5, 1, 1, 1]
        assert facts_of(cfg, said.values())["prompt_tokens"] == 100 * len(server.asked)


def test_how_likely_yes_was(pictures: list[Path], tmp_path: Path) -> None:
    tops = {"Yes": math.log(0.6), "No": math.log(0.2), " yes": math.log(0.1), "Perhaps": math.log(0.1)}
    with caption_server(answer=answers_from({GIRL: "Yes"}), tops=tops) as server:
        cfg = vision(server, logprobs=True)
        (said,) = ask_questions(cfg, asked_of(pictures[:1], (GIRL,)), tmp_path).values()
        assert said.likelihood == pytest.approx(0.7 / 0.9, abs=1e-6)
        assert server.asked[0].body["logprobs"] is True
        assert server.asked[0].body["top_logprobs"] == 10
        (again,) = ask_questions(cfg, asked_of(pictures[:1], (GIRL,)), tmp_path).values()
        assert again == said
        assert again.to_answer() == {"answer": "yes", "said": "Yes", "likelihood": said.likelihood}
        server.tops = None  # a server that does not tell
        (silent,) = ask_questions(cfg, asked_of(pictures[1:2], (GIRL,)), tmp_path).values()
        assert (silent.answer, silent.likelihood) == ("yes", None)


def test_cases_with_their_pictures_get_answers_by_id(pictures: list[Path], tmp_path: Path) -> None:
    def case(item: str, *texts: str) -> Case:
        listed = [{"id": number, "text": text, "parents": []} for number, text in enumerate(texts, start=3)]
        return Case("adherence", item, "plain", Request(item, seed=0, size=Size(64, 64)), {"questions": listed})

    first, second = case("one", GIRL, BOY), case("two", SKY)
    with caption_server(answer=answers_from(KNOWN)) as server:
        asked = [("base", first, pictures[0]), ("tuned", first, pictures[1]), ("base", second, pictures[0])]
        answers, facts = answer_cases(vision(server), asked, tmp_path)
        assert len(server.asked) == 5
    assert (facts["questions"], facts["yes"], facts["no"], facts["problems"]) == (5, 3, 2, {})
    assert answers == {
        ("base", first.key): {"3": {"answer": "yes", "said": "Yes."}, "4": {"answer": "no", "said": "No."}},
        ("tuned", first.key): {"3": {"answer": "yes", "said": "Yes."}, "4": {"answer": "no", "said": "No."}},
        ("base", second.key): {"3": {"answer": "yes", "said": "yes, it is"}},
    }
    assert json.loads(json.dumps(list(answers.values()))) == list(answers.values())


def test_what_was_answered_needs_no_server_and_no_key(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISION_KEY", "sk-12345678")
    with caption_server(answer=answers_from(KNOWN)) as server:
        cfg = vision(server, api_key_env="VISION_KEY")
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
    monkeypatch.delenv("VISION_KEY")
    assert ask_questions(cfg, asked_of(pictures), tmp_path) == said
    with pytest.raises(SetupError, match=r"evaluate: questions: eyes: .*VISION_KEY.*is not set"):
        ask_questions(cfg, asked_of(pictures, ("Is it new?",)), tmp_path)
    assert ask_questions(cfg, [], tmp_path) == {}


def test_two_at_the_same_time_share_their_answers(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN), latency=0.2) as server:
        cfg = vision(server, client={"read": 10.0})
        script = (
            "import sys, json; from pathlib import Path\n"
            "from animetune.evaluate.questions import *\n"
            "from animetune.evaluate.config.vision import VisionConfig\n"
            "cfg = VisionConfig.model_validate_json(sys.argv[1])\n"
            "asked = [PictureQuestions(Path(file), tuple(json.loads(sys.argv[3]))) for file in sys.argv[4:]]\n"
            "print(sorted((key, said.answer) for key, said in ask_questions(cfg, asked, Path(sys.argv[2])).items()))\n"
        )
        command = [sys.executable, "-c", script, cfg.model_dump_json(), str(tmp_path / "a"), json.dumps(ALL)]
        both = [subprocess.Popen([*command, *map(str, pictures)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        found = [each.communicate(timeout=60)[0] for each in both]
        assert [each.returncode for each in both] == [0, 0]
        assert found[0] == found[1] != ""
        assert len(server.asked) == 24


def test_ctrl_c_keeps_what_was_answered(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN), latency=0.02) as server:
        cfg = vision(server, client={"concurrency": 2, "read": 10.0})

        def interrupt() -> None:
            while len(server.answered) < 8:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        watcher = threading.Thread(target=interrupt)
        watcher.start()
        with pytest.raises(KeyboardInterrupt):
            ask_questions(cfg, asked_of(pictures), tmp_path)
        watcher.join()
        (log,) = tmp_path.glob("questions-*/answers.jsonl")
        kept, sent = len(read_lines(log)), len(server.asked)
        assert 6 <= kept <= sent < 24
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
        assert all(each.answer for each in said.values())
        assert len(server.asked) - sent == 24 - kept
        assert len(server.asked) <= 24 + 2


def test_the_limit_of_requests(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN)) as server:
        cfg = vision(server, max_requests=10)
        for sent in (10, 20):
            with pytest.raises(RequestLimitError, match=r"evaluate: questions: all 10 requests.*same command again"):
                ask_questions(cfg, asked_of(pictures), tmp_path)
            assert len(server.asked) == len(server.answered) == sent
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
        assert len(server.asked) == 24
        assert said == ask_questions(vision(server), asked_of(pictures), tmp_path / "unbroken")


def test_a_picture_that_is_none_is_named(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN)) as server:
        pictures[2].write_bytes(b"<html>")
        with pytest.raises(DataError, match=r"2\.png: cannot be looked at \(markup.*remove it or get it again"):
            ask_questions(vision(server), asked_of(pictures), tmp_path)
        pictures[2].unlink()
        with pytest.raises(DataError, match=r"2\.png: cannot be looked at \(No such file"):
            ask_questions(vision(server), asked_of(pictures), tmp_path)


def test_a_damaged_line_is_named(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(answer=answers_from(KNOWN)) as server:
        ask_questions(vision(server), asked_of(pictures), tmp_path)
        (log,) = tmp_path.glob("questions-*/answers.jsonl")
        log.write_text(log.read_text().replace('"text"', '"test"', 1))
        with pytest.raises(DataError, match=r"answers\.jsonl: the line at byte 0 is damaged"):
            ask_questions(vision(server), asked_of(pictures), tmp_path)


def test_words_in_a_question_are_no_template(pictures: list[Path], tmp_path: Path) -> None:
    hostile = 'Does it say "{0} {question} {{x}} <|im_end|> %s"?'
    with caption_server(answer=answers_from({hostile: "yes"})) as server:
        (said,) = ask_questions(vision(server), asked_of(pictures[:1], (hostile,)), tmp_path).values()
        assert said.answer == "yes"
        ask_questions(vision(server, per_request=2), asked_of(pictures[:1], (hostile, GIRL)), tmp_path)
        assert hostile in text_of(server.asked[-1].body)


def test_pictures_are_sent_as_they_are_set(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (400, 200)).save(tmp_path / "a.png")
    with caption_server(answer=answers_from(KNOWN)) as server:
        cfg = vision(server, picture={"side": 100, "format": "JPEG"})
        ask_questions(cfg, asked_of([tmp_path / "a.png"], (GIRL,)), tmp_path)
        sent = picture_of(server.asked[0].body)
    assert sent is not None
    (tmp_path / "b.jpg").write_bytes(sent)
    with Image.open(tmp_path / "b.jpg") as image:
        assert (image.size, image.format) == ((100, 50), "JPEG")


def test_facts_are_those_of_the_answers(pictures: list[Path], tmp_path: Path) -> None:
    plan: dict[str, list[Mode] | Mode] = {colour(1): ["refusal"], colour(2): "http400"}
    with caption_server(faults(plan), answer=answers_from(KNOWN), about=by_colour) as server:
        cfg = vision(server, prompt_price=2.0, completion_price=5.0)
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
    answered = 24 - 4
    assert facts_of(cfg, said.values()) == {
        "questions": 24,
        "yes": 9,
        "no": 10,
        "problems": {"refusal": 1, "refused": 4},
        "prompt_tokens": 100 * answered,
        "completion_tokens": 40 * answered,
        "cost": round((100 * answered * 2.0 + 40 * answered * 5.0) / 1e6, 6),
    }


def test_the_digest_is_of_what_answers_depend_on() -> None:
    def digest(**changes) -> str:
        return digest_of(VisionConfig.model_validate({"base_url": "http://x/v1", "model": "eyes", **changes}))

    same = [{"base_url": "http://y/v1"}, {"api_key_env": "KEY"}, {"client": {"concurrency": 3}}, {"ask_again": True}]
    same += [{"max_requests": 5}, {"prompt_price": 1.0}, {"several": SEVERAL}]
    assert {digest(**each) for each in same} == {digest()}
    others = [{"model": "ears"}, {"temperature": 0.5}, {"per_request": 2}, {"logprobs": True}, {"max_tokens": 9}]
    others += [{"single": "{question}?"}, {"several": "{questions}"}, {"picture": {"side": 64}}, {"seed": 1}]
    others += [{"extra_body": {"a": 1}}, {"top_p": 0.5}]
    assert len({digest(), *(digest(**each) for each in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": None}, "either base_url"),
        ({"folder": "/x"}, "either base_url"),
        ({"single": "Yes or no?"}, "should hold {question}"),
        ({"single": "{question} {other}"}, "should hold {question} and no other braces"),
        ({"single": "{question.text}"}, "should hold {question} and no other braces"),
        ({"several": "{question}"}, "should hold {questions}"),
        ({"several": '{questions} {"1": "yes"}'}, "written twice"),
        ({"per_request": 2, "logprobs": True}, "per_request: 1"),
        ({"per_request": 0}, "per_request"),
        ({"extra_body": {"top_logprobs": 3}}, "top_logprobs is set by animetune"),
        ({"extra_body": {"temperature": 1}}, "temperature is set by animetune"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, settings: dict, message: str) -> None:
    file = tmp_path / "vision.yaml"
    file.write_text(json.dumps({"base_url": "http://x/v1", "model": "eyes", **settings}))
    with pytest.raises(ConfigError) as caught:
        load_config(file, VisionConfig)
    assert message in str(caught.value)


def test_a_key_in_the_place_of_its_name_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "vision.yaml"
    file.write_text("{base_url: http://x/v1, model: eyes, api_key_env: sk-abcdefgh}")
    with pytest.raises(ConfigError, match="NAME of an environment variable") as caught:
        load_config(file, VisionConfig)
    assert "abcdefgh" not in str(caught.value)
