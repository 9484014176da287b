"""Every way in which a server fails, met by questions: each ends with its answer or its reason, nothing that was
answered is asked twice, and no secret gets anywhere."""

from __future__ import annotations

import contextlib
import time
import traceback
from pathlib import Path

import pytest

from animetune import fsio
from animetune.errors import AnimetuneError, SetupError
from animetune.evaluate.questions import PictureQuestions, Said, ask_questions
from animetune.fsio import read_lines
from animetune.vlm.config import ClientConfig
from tests.caption_server import MODES, REJECTED, TRANSIENT, Mode, answers_from, by_colour, caption_server, faults
from tests.questioned import colour, picture_of_colour, vision
from tests.unit.curate.caption.test_caption_faults import REFUSED, STOPPING, chain_of

GIRL, BOY, SKY = "Is there a girl?", "Is there a boy?", "Is the sky blue?"
GOOD = answers_from({GIRL: "Yes.", BOY: "No.", SKY: "Yes."})
PROBLEMS = {
    "refusal": "refusal",
    "empty": "empty",
    "null_content": "empty",
    "length": "cut_off",
    "filtered": "refusal",
    "loop": "unclear",
}
"""Mode -> the problem of an answer of that kind."""
FOR_EVER: tuple[Mode, ...] = ("http500", "cut_json", "dropped", "http400", "http413")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [picture_of_colour(folder, number) for number in range(36)]


def asked_of(pictures: list[Path], *questions: str) -> list[PictureQuestions]:
    return [PictureQuestions(file, questions or (GIRL,)) for file in pictures]


def by_number(pictures: list[Path], said: dict[tuple[str, str], Said], question: str = GIRL) -> list[Said]:
    return [said[fsio.sha256_file(file), question] for file in pictures]


def test_every_mode_has_its_test() -> None:
    assert set(MODES) == {"ok", *TRANSIENT, *REJECTED, *REFUSED, *STOPPING}
    assert set(PROBLEMS) == set(REJECTED)
    assert len({colour(number) for number in range(36)}) == 36


def test_all_faults_in_one_run(pictures: list[Path], tmp_path: Path) -> None:
    """Each transient fault once and some for ever, each answer that is none, each refusal of a request."""
    modes: list[Mode] = [*TRANSIENT, *REJECTED, *FOR_EVER]
    plan: dict[str, list[Mode] | Mode] = {
        colour(number): mode if mode in FOR_EVER[1:] or number >= len(TRANSIENT) else [mode]
        for number, mode in enumerate(modes)
    }
    for number in (modes.index("cut_json"), modes.index("dropped")):
        plan[colour(number)] = [modes[number]]
    with caption_server(faults(plan), answer=GOOD, about=by_colour) as server:
        said = ask_questions(vision(server), asked_of(pictures), tmp_path)
        first = len(server.asked)
        assert server.asked_again() == []
        for number in range(len(TRANSIENT)):
            asked = server.asked_about(colour(number))
            assert [each.mode for each in asked] == [modes[number], "ok"]
            assert len({each.digest for each in asked}) == 1
        for number in range(len(TRANSIENT), len(TRANSIENT) + len(REJECTED)):
            assert len(server.asked_about(colour(number))) == 1, "an answer is an answer, even of no use"
        assert ask_questions(vision(server), asked_of(pictures), tmp_path) == said
        assert len(server.asked) == first

    found = by_number(pictures, said)
    for number, mode in enumerate(modes):
        if number < len(TRANSIENT):
            assert (found[number].answer, found[number].problem) == ("yes", ""), mode
        elif mode in REJECTED:
            assert (found[number].answer, found[number].problem) == (None, PROBLEMS[mode]), mode
        else:
            expected = "refused" if mode in REFUSED else "failed"
            assert (found[number].answer, found[number].problem, found[number].text) == (None, expected, ""), mode
    assert {each.answer for each in found[len(modes) :]} == {"yes"}
    assert found[modes.index("refusal")].text == "I'm sorry, but I can't assist with that request."
    (run,) = read_lines(next(tmp_path.glob("questions-*")) / "runs.jsonl")
    assert run["requests"] == first
    assert run["failures"]["timeout"] == 2  # one never answers, one trickles


def test_all_faults_of_requests_with_several_questions(pictures: list[Path], tmp_path: Path) -> None:
    """What a shared answer does not give is asked alone, and what fails is sent again; all end answered."""
    modes: list[Mode] = [*TRANSIENT, *REJECTED]
    plan: dict[str, list[Mode] | Mode] = {colour(number): [mode] for number, mode in enumerate(modes)}
    with caption_server(faults(plan), answer=GOOD, about=by_colour) as server:
        cfg = vision(server, per_request=3)
        said = ask_questions(cfg, asked_of(pictures, GIRL, BOY, SKY), tmp_path)
        assert server.asked_again() == []
        for number, mode in enumerate(modes):
            sent = [each.mode for each in server.asked_about(colour(number))]
            assert sent == [mode, "ok"] if mode in TRANSIENT else [mode, "ok", "ok", "ok"]
        assert all(len(server.asked_about(colour(number))) == 1 for number in range(len(modes), 36))
        before = len(server.asked)
        assert ask_questions(cfg, asked_of(pictures, GIRL, BOY, SKY), tmp_path) == said
        assert len(server.asked) == before
    for question, answer in ((GIRL, "yes"), (BOY, "no"), (SKY, "yes")):
        assert {each.answer for each in by_number(pictures, said, question)} == {answer}


@pytest.mark.parametrize("mode", STOPPING)
def test_what_no_other_request_would_be_spared_stops_at_once_and_says_what_to_do(
    pictures: list[Path], tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISION_KEY", "sk-very-secret-1234")
    with caption_server(lambda *_: mode, answer=GOOD) as server:
        cfg = vision(server, api_key_env="VISION_KEY")
        with pytest.raises(SetupError) as caught:
            ask_questions(cfg, asked_of(pictures), tmp_path)
        assert len(server.asked) <= 8
        assert server.asked[0].headers["authorization"] == "Bearer sk-very-secret-1234"
    said = str(caught.value)
    assert said.startswith(f"evaluate: questions: {server.base_url}")
    remedy = {"http401": "VISION_KEY", "http402": "credit", "http403": "VISION_KEY", "http404": "/v1"}
    assert remedy.get(mode, "base_url") in said
    assert "very-secret" not in said


def test_a_wrong_key_is_told_apart_from_a_right_one(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caption_server(answer=GOOD, key="sk-the-right-one") as server:
        cfg = vision(server, api_key_env="VISION_KEY")
        monkeypatch.setenv("VISION_KEY", "sk-the-wrong-one")
        with pytest.raises(SetupError, match=r"does not accept the key.*VISION_KEY") as caught:
            ask_questions(cfg, asked_of(pictures), tmp_path)
        assert "wrong-one" not in str(caught.value)
        monkeypatch.setenv("VISION_KEY", " sk-the-right-one\n")
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
    assert {each.answer for each in said.values()} == {"yes"}


def test_a_password_in_the_address_is_not_told(pictures: list[Path], tmp_path: Path) -> None:
    for mode in ("http404", "redirect"):
        with caption_server(lambda *_, mode=mode: mode, answer=GOOD) as server:
            url = server.base_url.replace("//", "//somebody:hunter22@")
            with pytest.raises(SetupError, match=f"questions: {server.base_url} ") as caught:
                ask_questions(vision(server, base_url=url), asked_of(pictures), tmp_path / mode)
            assert server.asked[0].headers["authorization"] != ""
        assert not [each for each in chain_of(caught.value) if "hunter22" in str(each)]
    with pytest.raises(SetupError, match=f"nobody listens at {server.base_url}") as caught:
        ask_questions(vision(server, base_url=url), asked_of(pictures), tmp_path / "gone")
    assert "hunter22" not in "".join(traceback.format_exception(caught.value))


def test_a_dead_server_stops_the_evaluation_and_the_same_command_goes_on(pictures: list[Path], tmp_path: Path) -> None:
    plan = {"down": False}

    def script(about: str, before: int, body: dict) -> Mode:
        plan["down"] = plan["down"] or len(server.asked) == 12
        return "http503_after" if plan["down"] else "ok"

    with caption_server(script, answer=GOOD) as server:
        cfg = vision(server, client={"attempts": 2, "concurrency": 4})
        with pytest.raises(SetupError, match=r"8\d requests in a row failed.*1 pauses.*503.*same command again"):
            ask_questions(cfg, asked_of(pictures), tmp_path)
        assert len(server.answered) == 12
        server.script = lambda *_: "ok"
        before = len(server.asked)
        said = ask_questions(cfg, asked_of(pictures), tmp_path)
        assert len(server.asked) - before == 36 - 12
    assert {each.answer for each in said.values()} == {"yes"}, "nothing is held against the pictures"


def test_nobody_listens(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server() as server:
        pass
    cfg = vision(server, client=ClientConfig(concurrency=4).model_dump())
    began = time.monotonic()
    with pytest.raises(SetupError, match=r"nobody listens at http://127.*leave out the probes that ask questions"):
        ask_questions(cfg, asked_of(pictures), tmp_path)
    assert time.monotonic() - began < 10


def test_a_server_that_refuses_everything(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(lambda *_: "http400", answer=GOOD) as server:
        cfg = vision(server, client={"breaker_failures": 10})
        with pytest.raises(SetupError, match=r"refused 10 requests in a row.*vision\.ask_again=true"):
            ask_questions(cfg, asked_of(pictures), tmp_path)
        server.script = lambda *_: "ok"
        said = ask_questions(vision(server, ask_again=True), asked_of(pictures), tmp_path)
    assert {each.answer for each in said.values()} == {"yes"}


def test_a_picture_that_is_refused_is_not_asked_about_for_ever(pictures: list[Path], tmp_path: Path) -> None:
    """A server's filter dislikes a picture: with forty questions about it, it is not taken to refuse all of them."""
    many = tuple(f"Is there number {number}?" for number in range(40))
    with caption_server(faults({colour(1): "http400"}), answer=GOOD, about=by_colour) as server:
        cfg = vision(server, client={"concurrency": 1, "breaker_failures": 20})
        said = ask_questions(cfg, asked_of(pictures[:3], *many), tmp_path)
        assert [len(server.asked_about(colour(number))) for number in range(3)] == [40, 3, 40]
        asked = len(server.asked)
        assert ask_questions(cfg, asked_of(pictures[:3], *many), tmp_path) == said
        assert len(server.asked) == asked
    refused = fsio.sha256_file(pictures[1])
    assert {(each.answer, each.problem) for (digest, _), each in said.items() if digest == refused} == {
        (None, "refused")
    }
    assert {each.answer for (digest, _), each in said.items() if digest != refused} == {"no"}


def test_ask_again_heals_what_failed(pictures: list[Path], tmp_path: Path) -> None:
    plan: dict[str, list[Mode] | Mode] = {colour(1): "http500", colour(2): "http400"}
    with caption_server(faults(plan), answer=GOOD, about=by_colour) as server:
        said = ask_questions(vision(server), asked_of(pictures), tmp_path)
        assert [each.problem for each in by_number(pictures, said)][:4] == ["", "failed", "refused", ""]
        plan.clear()
        asked = len(server.asked)
        assert ask_questions(vision(server), asked_of(pictures), tmp_path) == said
        assert len(server.asked) == asked
        healed = ask_questions(vision(server, ask_again=True), asked_of(pictures), tmp_path)
        assert {each.answer for each in healed.values()} == {"yes"}
        assert len(server.asked) == asked + 2
        assert ask_questions(vision(server), asked_of(pictures), tmp_path) == healed
        assert len(server.asked) == asked + 2


def test_retry_after_is_waited_for_by_all(pictures: list[Path], tmp_path: Path) -> None:
    with caption_server(lambda *_: "http429_after" if len(server.asked) == 0 else "ok", answer=GOOD) as server:
        ask_questions(vision(server, client={"concurrency": 2, "longest_wait": 1.0}), asked_of(pictures), tmp_path)
    times = [each.at - server.asked[0].at for each in server.asked]
    assert sum(at < 0.95 for at in times) <= 2 + 2
    assert len(times) == 37


def test_secrets_are_nowhere(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that says the key aloud, in errors and answers to bad requests."""
    secret = "sk-abcdefgh-12345678"
    monkeypatch.setenv("VISION_KEY", secret)
    monkeypatch.setenv("ANIMETUNE_PROGRESS", "1")
    plan: dict[str, list[Mode] | Mode] = {colour(number): mode for number, mode in enumerate(TRANSIENT)}
    plan |= {colour(30): "http400"}
    with caption_server(faults(plan), answer=GOOD, about=by_colour) as server:
        client = {"attempts": 2, "connect": 0.2, "read": 0.4}
        cfg = vision(server, api_key_env="VISION_KEY", client=client)
        with contextlib.suppress(AnimetuneError):
            ask_questions(cfg, asked_of(pictures), tmp_path / "first")
        assert server.asked[0].headers["authorization"] == f"Bearer {secret}"
        server.script = lambda *_: "http401"
        with pytest.raises(SetupError) as caught:
            ask_questions(cfg, asked_of(pictures), tmp_path / "second")
    printed = capfd.readouterr()
    assert "evaluate: questions" in printed.err
    everything = [printed.out, printed.err, *traceback.format_exception(caught.value), repr(cfg), cfg.model_dump_json()]
    everything += [repr(each) for each in chain_of(caught.value)]
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size]
    assert len(files) >= 2
    everything += [file.read_bytes().decode("latin-1") for file in files]
    for text in everything:
        assert "abcdefgh" not in text
