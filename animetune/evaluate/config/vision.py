"""The vision model that questions about pictures are put to, and how it is asked."""

from __future__ import annotations

from typing import Annotated

import pydantic

from animetune.vlm.config import ClientConfig, Count, ModelConfig, SentPictureConfig


class VisionConfig(ModelConfig):
    """A vision model behind a server of OpenAI's protocol, or in a local folder, that answers with yes or no."""

    temperature: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    """Of sampling; 0 takes the likeliest answer, so that two checkpoints are judged alike."""
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    """Of sampling."""
    max_tokens: Count = 64
    """Longest answer to one question; a request with several questions may have as many times as many. A model that
    thinks aloud needs some hundred."""
    seed: int = 0
    """Seed of all answers. Servers that know no seeds ignore it."""
    single: str = "{question} Answer with one word, yes or no."
    """How one question is put; `{question}` is its text."""
    several: str | None = None
    """How several are put in one request; `{questions}` is a numbered list, and braces are written twice. It has to ask
    for JSON, the number of each question with its answer. Null takes words that come with animetune."""
    per_request: Annotated[int, pydantic.Field(ge=1, le=64)] = 1
    """Questions of one picture in one request. 1 asks each by itself, as DPG-Bench does: an answer then depends on
    nothing but its question. More cost less, and what the model says of one may sway it on the next."""
    logprobs: bool = False
    """Also keep how likely yes was against no (VQAScore), where the server tells (`logprobs`, `top_logprobs`). Goes
    with `per_request: 1`."""
    picture: SentPictureConfig = SentPictureConfig()
    """How pictures are sent."""
    client: ClientConfig = ClientConfig()
    """How servers are asked."""
    max_requests: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Stop when so many requests were sent; the same command goes on from there."""
    ask_again: bool = False
    """Ask again what servers refused or failed to answer in earlier runs."""

    @pydantic.field_validator("single", "several")
    @classmethod
    def _has_its_place(cls, template: str | None, info: pydantic.ValidationInfo) -> str | None:
        if template is None:
            return None
        place = "question" if info.field_name == "single" else "questions"
        try:
            is_there = template.format(**{place: "\0"}) != template.format(**{place: "\1"})
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"should hold {{{place}}} and no other braces, but for such as are written twice ({error!r})"
            ) from error
        if not is_there:
            raise ValueError(f"should hold {{{place}}}, where the text of the {place} goes")
        return template

    @pydantic.model_validator(mode="after")
    def _logprobs_of_single_answers(self) -> VisionConfig:
        if self.logprobs and self.per_request > 1:
            raise ValueError("logprobs: need per_request: 1; of several answers in one nobody knows which is which")
        if strange := [name for name in self.extra_body if name in ("logprobs", "top_logprobs")]:
            raise ValueError(f"extra_body: {strange[0]} is set by animetune; use the setting logprobs")
        return self
