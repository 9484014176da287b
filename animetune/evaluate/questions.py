"""Questions about pictures, put to a vision model and answered with yes or no: the scorer `questions`.

    <folder>/questions-<model>/answers.jsonl      every answer as it came; nothing that was answered is asked again
                               runs.jsonl         what each run asked of the server

An answer belongs to a model, a picture (SHA-256 of its file) and a question, as they were sent: evaluations that share
a folder share answers, also at the same time, when one waits for the other. What a model says is data: it is kept, and
read by `yes_no`. A kill costs those requests that were under way.

The questions of one picture are asked one after the other, with the picture at the front: a server that caches prefixes
looks at it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from animetune import fsio
from animetune.errors import DataError, PictureError, RequestLimitError
from animetune.evaluate.cases import Case
from animetune.evaluate.config.vision import VisionConfig
from animetune.evaluate.quarters import named, region_of
from animetune.evaluate.said import PROBLEMS, Said, asked_model, digest_of, facts_of, said_about
from animetune.picture_urls import with_region
from animetune.progress import Progress, track
from animetune.vlm.asking import Asker
from animetune.vlm.backend import open_backend
from animetune.vlm.client import Encode
from animetune.vlm.encode import HeldPictures, PictureEncoder, PlainDecoding, decoding_in_threads
from animetune.vlm.errand import Errand
from animetune.vlm.log import AnswerLog
from animetune.vlm.pool import work_through
from animetune.vlm.replies import Reply, UnansweredError
from animetune.vlm.requests import PictureRef, Request
from animetune.vlm.usage import Usage

__all__ = ["PROBLEMS", "PictureQuestions", "Said", "answer_cases", "ask_questions", "digest_of", "facts_of"]

ERRAND = Errand("evaluate: questions", "vision.ask_again=true", "leave out the probes that ask questions to do without")


@dataclass(frozen=True, slots=True)
class PictureQuestions:
    """A picture, and what is asked about it."""

    file: Path
    questions: tuple[str, ...]
    quarter: str = ""
    """Of a grid, what is asked about, as `quarters` names it; empty for the whole picture."""


class CaseAnswers(NamedTuple):
    """What was said of the pictures of cases."""

    by_case: dict[tuple[str, str], dict[str, Any]]
    """(model, key of the case) -> id of a question -> its answer, as of `Said.to_answer`."""
    facts: dict[str, Any]
    """As of `facts_of`."""


@dataclass(frozen=True, slots=True)
class _Picture:
    digest: str
    """Of its file, and the quarter."""
    file: Path
    quarter: str
    questions: tuple[str, ...]


def ask_questions(cfg: VisionConfig, asked: Sequence[PictureQuestions], folder: Path) -> dict[tuple[str, str], Said]:
    """(SHA-256 of the picture's file, question) -> what was said; what `folder` holds is not asked again. A quarter
    stands behind its digest, as `<SHA-256>#1,0`.

    A function of the answers alone, whenever and in whatever order they came. Raises SetupError when a server or model
    cannot be asked at all, RequestLimitError when `max_requests` were sent, DataError for a picture that cannot be
    read; all answers that came are kept.
    """
    return _ask(cfg, _merged(asked, _digests(each.file for each in asked)), folder)


def _ask(cfg: VisionConfig, pictures: Sequence[_Picture], folder: Path) -> dict[tuple[str, str], Said]:
    log_folder = folder / f"questions-{fsio.short_digest(cfg.model)}"
    job = _Job(cfg, Usage(cfg.max_requests, ERRAND))
    with contextlib.ExitStack() as stack:
        stack.enter_context(fsio.turn(log_folder, functools.partial(track, f"{ERRAND.name}: wait for {log_folder}")))
        log = stack.enter_context(AnswerLog(log_folder, ask_again=cfg.ask_again))
        missing = [picture for picture in pictures if not job.take_known(picture, log)]
        total = sum(len(picture.questions) for picture in pictures)
        job.progress = stack.enter_context(track(ERRAND.name, total, done=len(job.found)))
        if missing:
            stack.enter_context(decoding_in_threads())
            encoder = PictureEncoder(PlainDecoding())
            stack.callback(encoder.close)
            stack.callback(_note_run, log, job.usage)
            runner = stack.enter_context(asyncio.Runner())
            runner.run(job.ask_all(missing, log, encoder))
    return {
        (picture.digest, text): job.found[picture.digest, text] for picture in pictures for text in picture.questions
    }


def answer_cases(cfg: VisionConfig, cases: Iterable[tuple[str, Case, Path]], folder: Path) -> CaseAnswers:
    """The answers to the questions of cases about their pictures.

    `case.facts["questions"]` lists what is asked: `{"id": 1, "text": "Is there a girl?"}`, with `"quarter": "1,0"`
    where only that one of a grid is looked at; ids become text, as JSON has them. Raises as `ask_questions`.
    """
    listed = list(cases)
    asked = [
        PictureQuestions(file, tuple(text for _, text in texts), quarter)
        for _, case, file in listed
        for quarter, texts in _by_quarter(case).items()
    ]
    digests = _digests(file for _, _, file in listed)
    said = _ask(cfg, _merged(asked, digests), folder)
    by_case = {
        (model, case.key): {
            number: said[named(digests[file], quarter), text].to_answer()
            for quarter, texts in _by_quarter(case).items()
            for number, text in texts
        }
        for model, case, file in listed
    }
    return CaseAnswers(by_case, facts_of(cfg, said.values()))


class _Unknown(Exception):
    """A request that was not answered yet."""


class _Job:
    """The questions of all pictures, and how far they are."""

    def __init__(self, cfg: VisionConfig, usage: Usage):
        self.usage = usage
        self.found: dict[tuple[str, str], Said] = {}
        self.progress: Progress | None = None
        self._cfg = cfg
        self._late: list[_Picture] = []

    def take_known(self, picture: _Picture, log: AnswerLog) -> bool:
        """Whether all about a picture was answered before; then it is in `found`."""

        async def look(request: Request) -> Reply:
            reply = log.get(request.digest)
            if reply is None:
                raise _Unknown
            return reply

        looking = said_about(self._cfg, picture.questions, self._reference(picture), look)
        try:
            looking.send(None)
        except StopIteration as done:
            self._keep(picture, done.value)
            return True
        except _Unknown:
            return False
        raise AssertionError("a look into the log waits for nothing")

    async def ask_all(self, pictures: Sequence[_Picture], log: AnswerLog, encode: Encode) -> None:
        """Ask about pictures; those about which the server failed while it answered nothing else either once more at
        the end, so that a fault of the server is not held against them."""
        held = HeldPictures(encode)
        asker = Asker(open_backend(asked_model(self._cfg), self._cfg.client, held, self.usage), log, self.usage)

        async def work(picture: _Picture, *, is_last: bool) -> None:
            try:
                ask = functools.partial(asker.ask, is_last=is_last)
                self._keep(picture, await said_about(self._cfg, picture.questions, self._reference(picture), ask))
            except UnansweredError:
                self._late.append(picture)
            except PictureError as error:
                raise DataError(f"{picture.file}: cannot be looked at ({error}); remove it or get it again") from error
            finally:
                held.drop(picture.digest)

        ticking = asyncio.create_task(self._tick())
        try:
            await work_through(pictures, functools.partial(work, is_last=False), self._cfg.client.concurrency)
            late, self._late = self._late, []
            await work_through(late, functools.partial(work, is_last=True), self._cfg.client.concurrency)
        except RequestLimitError as error:
            raise RequestLimitError(f"{error} ({len(self.found):,} questions are answered)") from error
        finally:
            ticking.cancel()
            await asker.close()

    def _reference(self, picture: _Picture) -> PictureRef:
        url = str(picture.file)
        if picture.quarter:
            url = with_region(url, region_of(picture.file, picture.quarter))
        return PictureRef(url, picture.digest, self._cfg.picture)

    def _keep(self, picture: _Picture, said: Mapping[str, Said]) -> None:
        self.found.update({(picture.digest, text): each for text, each in said.items()})
        self._show(len(said))

    async def _tick(self) -> None:
        """Show what there is while nothing comes."""
        while True:
            await asyncio.sleep(1.0)
            self._show(0)

    def _show(self, more: int) -> None:
        if self.progress is not None:
            self.progress.advance(more, **self.usage.shown())


def _merged(asked: Sequence[PictureQuestions], digests: Mapping[Path, str]) -> list[_Picture]:
    """Every picture once, by its bytes, with all that is asked about it, in the order in which it first is."""
    files: dict[str, tuple[Path, str]] = {}
    questions: dict[str, dict[str, None]] = {}
    for each in asked:
        digest = named(digests[each.file], each.quarter)
        files.setdefault(digest, (each.file, each.quarter))
        questions.setdefault(digest, {}).update(dict.fromkeys(each.questions))
    return [_Picture(digest, file, quarter, tuple(questions[digest])) for digest, (file, quarter) in files.items()]


def _digests(files: Iterable[Path]) -> dict[Path, str]:
    """File -> SHA-256 of its bytes."""
    found: dict[Path, str] = {}
    for file in dict.fromkeys(files):
        try:
            found[file] = fsio.sha256_file(file)
        except OSError as error:
            raise DataError(f"{file}: cannot be looked at ({error.strerror}); remove it or get it again") from error
    return found


def _by_quarter(case: Case) -> dict[str, list[tuple[str, str]]]:
    """Quarter, empty for the whole picture -> (id, text) of what is asked about it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for question in case.facts["questions"]:
        found.setdefault(question.get("quarter", ""), []).append((str(question["id"]), question["text"]))
    return found


def _note_run(log: AnswerLog, usage: Usage) -> None:
    if usage.requests:
        log.note_run(usage.to_record())
