"""Captions of one picture: asked for, judged, asked for again with the fault named, and at last made of its tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from animetune.curate.caption.describe import describe
from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.judge import judge
from animetune.curate.caption.outcomes import Form
from animetune.curate.caption.retries import another_request
from animetune.curate.caption.shorten import shorten
from animetune.curate.caption.templates import Template
from animetune.curate.config.captions import CaptionsConfig, ModelConfig
from animetune.errors import PictureError
from animetune.tokens import count_tokens
from animetune.vlm.asking import Asker
from animetune.vlm.replies import UNREADABLE
from animetune.vlm.requests import PictureRef, first_request

SEEDS_APART = 1000
"""Between the seeds of two captions by one template; those of rewrites lie between."""

By = Literal["model", "own", "fallback", "none", "dropped"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture that needs captions."""

    facts: PictureFacts
    url: str
    pixel_digest: str | None
    long: tuple[str, ...] = ()
    """Long captions that its post brought along."""
    short: tuple[str, ...] = ()


@dataclass(slots=True)
class Captions:
    """What became of a picture, and what it took. A function of the answers alone, whenever they were given."""

    long: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    by: By = "model"
    reason: str | None = None
    """Code, why some or all that was asked for is not there."""
    counts: Counter[str] = field(default_factory=Counter)
    """`long.answers`, `long.prompt_tokens`, `rejected.refusal` ...: names with dots, to be added up."""


@dataclass(frozen=True, slots=True)
class _Found:
    long: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    reason: str | None = None


class Writer:
    """Writes captions by the models of a configuration."""

    def __init__(self, cfg: CaptionsConfig, long: Asker, short: Asker | None):
        self._cfg = cfg
        self._long, self._short = long, short
        self._templates = load_templates(cfg)

    async def write(self, wanted: Wanted, *, is_last: bool = True) -> Captions:
        """The captions of a picture, or why there are none. Raises as `Asker.ask` does, but for PictureError."""
        captions = Captions()
        if self._cfg.existing == "keep" and (wanted.long or wanted.short):
            captions.by, captions.long, captions.short = "own", wanted.long, wanted.short
            if not wanted.short:
                captions.short = await self._short_of(wanted.long, wanted, captions, is_last=is_last)
            return captions
        found = await self._ask_all(wanted, captions, is_last=is_last)
        captions.reason = next((each.reason for each in found if each.reason), None)
        for each in found:
            captions.long += each.long
            captions.short += each.short or await self._short_of(each.long, wanted, captions, is_last=is_last)
        if not captions.long:
            self._without_answer(wanted, captions)
        elif self._cfg.existing == "add":
            captions.long, captions.short = wanted.long + captions.long, wanted.short + captions.short
        captions.long, captions.short = _distinct(captions.long), _distinct(captions.short)
        return captions

    async def _ask_all(self, wanted: Wanted, captions: Captions, *, is_last: bool) -> list[_Found]:
        """The long captions, with the short ones that come in the same answers."""
        model = self._cfg.long
        picture = PictureRef.of(wanted.url, wanted.pixel_digest, self._cfg.picture)
        form: Form = "long" if self._cfg.form == "text" else self._cfg.form
        found = []
        for template in self._templates["long"]:
            text = template.render(wanted.facts)
            for number in range(model.per_template):
                seed = model.seed + SEEDS_APART * number
                question = _Question("long", text, seed, form, picture)
                found.append(await self._ask(question, wanted.facts, captions, is_last=is_last))
        return found

    async def _short_of(
        self, long: Sequence[str], wanted: Wanted, captions: Captions, *, is_last: bool
    ) -> tuple[str, ...]:
        """Short captions made of long ones."""
        if self._cfg.short_by == "none":
            return ()
        if self._cfg.short_by != "model":
            return tuple(self._shortened(text) for text in long)
        assert self._cfg.compress is not None
        model, made = self._cfg.compress, []
        for text in long:
            for template in self._templates["short"]:
                for number in range(model.per_template):
                    asked = template.render(wanted.facts, caption=text)
                    question = _Question("short", asked, model.seed + SEEDS_APART * number, "compress", None)
                    found = await self._ask(question, wanted.facts, captions, is_last=is_last)
                    captions.counts["short.by_rules"] += not found.short
                    made += [self._shortened(each) for each in found.short or (text,)]
        return tuple(made)

    async def _ask(self, question: _Question, facts: PictureFacts, captions: Captions, *, is_last: bool) -> _Found:
        """Ask until an answer passes, or it was tried often enough; the best that came, and what stands in its way."""
        cfg = self._cfg
        is_long = question.kind == "long"
        model, asker = (cfg.long, self._long) if is_long else (_model(cfg), _asker(self._short))
        request = first = first_request(model, question.text, question.seed, question.picture)
        best, reason = _Found(), None
        for again in range(1, cfg.rewrites + 2):
            try:
                reply = await asker.ask(request, is_last=is_last)
            except PictureError:
                return _Found(best.long, best.short, UNREADABLE)
            _count(captions.counts, question.kind, reply.prompt_tokens, reply.completion_tokens)
            if reply.code is not None:
                return _Found(best.long, best.short, reply.code)
            judged = judge(reply, question.form, facts, cfg.style, cfg.checks)
            if not judged.faults:
                captions.counts["style_removed"] += judged.style_removed
                return _Found(judged.long, tuple(self._shortened(text) for text in judged.short))
            if len(judged.long) > len(best.long):
                best = _Found(judged.long)
            captions.counts.update(f"rejected.{code}" for code in {fault.code for fault in judged.faults})
            reason = judged.faults[0].code
            request = another_request(first, reply.text, judged.faults, again)
        return _Found(best.long, best.short, reason)

    def _shortened(self, text: str) -> str:
        most = self._cfg.short.max_tokens
        return text if count_tokens(text) <= most else shorten(text, most)

    def _without_answer(self, wanted: Wanted, captions: Captions) -> None:
        """What becomes of a picture without a caption by the model."""
        captions.short = ()
        if wanted.long and (self._cfg.existing == "add" or self._cfg.on_refused == "keep"):
            captions.by, captions.long, captions.short = "own", wanted.long, wanted.short
        elif self._cfg.on_refused == "keep":
            captions.by, captions.short = "own" if wanted.short else "none", wanted.short
        elif self._cfg.on_refused == "drop":
            captions.by = "dropped"
        else:
            captions.by, captions.long = "fallback", (describe(wanted.facts),)
            if self._cfg.short_by != "none":
                captions.short = (self._shortened(captions.long[0]),)


@dataclass(frozen=True, slots=True)
class _Question:
    kind: Literal["long", "short"]
    text: str
    seed: int
    form: Form
    picture: PictureRef | None


def load_templates(cfg: CaptionsConfig) -> dict[str, list[Template]]:
    """`long` and `short` -> the templates that models are asked with."""
    form = "long" if cfg.form == "text" else cfg.form
    found = {"long": [Template.load(name) for name in cfg.long.templates or (form,)], "short": []}
    if cfg.short_by == "model":
        found["short"] = [Template.load(name) for name in _model(cfg).templates or ("compress",)]
    return found


def nested(counts: Counter[str]) -> dict[str, Any]:
    """Counts with dots in their names as mappings of mappings, sorted; without zeros."""
    found: dict[str, Any] = {}
    for name, count in sorted(counts.items()):
        *path, last = name.split(".")
        place = found
        for each in path:
            place = place.setdefault(each, {})
        if count:
            place[last] = count
    return {name: value for name, value in found.items() if value}


def _count(counts: Counter[str], kind: str, prompt: int, completion: int) -> None:
    counts[f"{kind}.answers"] += 1
    counts[f"{kind}.prompt_tokens"] += prompt
    counts[f"{kind}.completion_tokens"] += completion


def _distinct(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _model(cfg: CaptionsConfig) -> ModelConfig:
    assert cfg.compress is not None
    return cfg.compress


def _asker(asker: Asker | None) -> Asker:
    assert asker is not None
    return asker
