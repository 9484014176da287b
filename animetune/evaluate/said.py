"""What a vision model says to the questions about one picture: the requests, and how answers are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from animetune import fsio
from animetune.evaluate import yes_no
from animetune.evaluate.config.vision import VisionConfig
from animetune.evaluate.yes_no import Found, YesNo
from animetune.vlm.replies import FAILED, REFUSED, Reply
from animetune.vlm.requests import PICTURE, PictureRef, Request
from animetune.vlm.usage import cost

REFUSALS = 3
"""Requests about a picture that the server refuses, after which no other question about it is asked."""
TOP_LOGPROBS = 10
"""Candidates of each token whose likelihood is asked for; several are spellings of yes and no."""
SEVERAL = (
    "Answer each question about the picture with yes or no.\n{questions}\n"
    'Write one JSON object and nothing else, the number of each question with its answer: {{"1": "yes", "2": "no"}}'
)
PROBLEMS: Mapping[str, str] = {
    **yes_no.PROBLEMS,
    REFUSED: "the server refuses requests about this picture",
    FAILED: "the server failed to answer, however often it was asked",
}
"""Code -> why a question has no answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of one question about one picture."""

    text: str
    """As the model said it; empty where it said nothing."""
    answer: YesNo | None
    problem: str = ""
    """Key of PROBLEMS where there is no answer."""
    likelihood: float | None = None
    """P(yes) / (P(yes) + P(no)), where the server told."""
    prompt_tokens: int = 0
    """Of all requests for this answer; those of a request with several questions count for the first."""
    completion_tokens: int = 0

    def to_answer(self) -> dict[str, Any]:
        """JSON value: `answer` (yes, no, null), `said`, and `problem` and `likelihood` where there are any."""
        kept: dict[str, Any] = {"answer": self.answer, "said": self.text}
        if self.problem:
            kept["problem"] = self.problem
        if self.likelihood is not None:
            kept["likelihood"] = self.likelihood
        return kept


Ask = Callable[[Request], Awaitable[Reply]]


def facts_of(cfg: VisionConfig, said: Iterable[Said]) -> dict[str, Any]:
    """Counts for a manifest: answers by what they are, problems, tokens, and the cost where prices are given.

    Of the answers that an evaluation stands on, whichever run paid for them.
    """
    listed = list(said)
    prompt, completion = sum(each.prompt_tokens for each in listed), sum(each.completion_tokens for each in listed)
    problems = Counter(each.problem for each in listed if each.problem)
    paid = cost(cfg, prompt, completion)
    return {
        "questions": len(listed),
        "yes": sum(each.answer == "yes" for each in listed),
        "no": sum(each.answer == "no" for each in listed),
        "problems": dict(sorted(problems.items())),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        **({} if paid is None else {"cost": paid}),
    }


def digest_of(cfg: VisionConfig) -> str:
    """Of all settings that answers depend on: not of where the model is, by which key, or what it costs."""
    apart = {"base_url", "folder", "api_key_env", "prompt_price", "completion_price", "device", "batch"}
    plain = cfg.model_dump(mode="json", exclude=apart | {"client", "max_requests", "ask_again"})
    return fsio.short_digest(fsio.canonical_json(plain | {"several": cfg.several or SEVERAL, "refusals": REFUSALS}))


def asked_model(cfg: VisionConfig, answers: int = 1) -> VisionConfig:
    """The model as a request for so many answers has it."""
    extra = {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if cfg.logprobs else {}
    return cfg.model_copy(update={"max_tokens": cfg.max_tokens * answers, "extra_body": {**cfg.extra_body, **extra}})


async def said_about(cfg: VisionConfig, questions: Sequence[str], picture: PictureRef, ask: Ask) -> dict[str, Said]:
    """Question -> what was said of one picture. Questions that share a request and get no answer in it are asked alone.

    After REFUSALS requests that the server refuses, all others count as refused. Raises as `ask`.
    """
    found: dict[str, Said] = {}
    refused = 0
    for begin in range(0, len(questions), cfg.per_request):
        group = questions[begin : begin + cfg.per_request]
        left, spent = group, Said("", None)
        if len(group) > 1 and refused < REFUSALS:
            reply = await ask(_request(cfg, _several(cfg, group), len(group), picture))
            refused += reply.code == REFUSED
            spent = _with_tokens(spent, reply)
            read = [] if reply.code else yes_no.read_several(reply.text, reply.finish, len(group))
            answered = {text: _said(each) for text, each in zip(group, read, strict=False) if each.answer is not None}
            found.update(answered)
            left = [text for text in group if text not in answered]
        for text in left:
            if refused >= REFUSALS:
                found[text] = Said("", None, REFUSED)
                continue
            reply = await ask(_request(cfg, cfg.single.format(question=text), 1, picture))
            refused += reply.code == REFUSED
            found[text] = _with_tokens(_of_reply(reply), reply)
        first = found[group[0]]
        found[group[0]] = replace(
            first,
            prompt_tokens=first.prompt_tokens + spent.prompt_tokens,
            completion_tokens=first.completion_tokens + spent.completion_tokens,
        )
    return found


def _of_reply(reply: Reply) -> Said:
    """Of the reply to a single question."""
    if reply.code is not None:
        return Said("", None, reply.code)
    read = yes_no.read(reply.text, reply.finish)
    return replace(_said(read), likelihood=yes_no.likelihood(reply.tops))


def _said(found: Found) -> Said:
    return Said(found.text, found.answer, found.problem)


def _with_tokens(said: Said, reply: Reply) -> Said:
    return replace(said, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)


def _several(cfg: VisionConfig, group: Sequence[str]) -> str:
    numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(group, start=1))
    return (cfg.several or SEVERAL).format(questions=numbered)


def _request(cfg: VisionConfig, text: str, answers: int, picture: PictureRef) -> Request:
    """One request, with room for so many answers; the picture first."""
    content = [{"type": PICTURE}, {"type": "text", "text": text}]
    return Request(asked_model(cfg, answers), ({"role": "user", "content": content},), cfg.seed, picture)
