"""The step `captions`: captions by models for the pictures that balancing left with repeats above zero.

Answers are kept in `log`, and never asked for twice; the step itself is a function of the answers, whenever they were
given, so that a run that was killed ends with the same bytes as one that was not. What a run asked, and in vain, is in
`runs.jsonl` beside the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from animetune import fsio, tables
from animetune.curate.caption.facts import PictureFacts
from animetune.curate.caption.write import Captions, Wanted, Writer, load_templates, nested
from animetune.curate.config import CurateConfig
from animetune.curate.config.captions import CaptionsConfig, ModelConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.parts import ROW, part_name, write_part
from animetune.curate.steps import Step, Workplace, Written, added
from animetune.errors import RequestLimitError
from animetune.manifest import read_manifest
from animetune.vlm.asking import Asker
from animetune.vlm.backend import open_backend
from animetune.vlm.encode import PictureEncoder, decoding_in_threads
from animetune.vlm.errand import Errand
from animetune.vlm.log import AnswerLog
from animetune.vlm.pool import work_through
from animetune.vlm.replies import FAILED, REFUSED, UnansweredError
from animetune.vlm.usage import Usage

ERRAND = Errand("captions", "captions.ask_again=true", "`captions: null` does without")
CAPTIONS_FORMAT = 1
"""Of what is made of answers; another one makes the captions again, of the same answers."""
FACTS = ("tags_count", "tags_character", "tags_copyright", "tags_artist", "tags_general", "tags_special")
READS = (
    "key",
    "source",
    "image",
    "pixel_digest",
    "repeats",
    "captions_long",
    "captions_short",
    "rating",
    "content_bucket",
    *FACTS,
)
WRITES = ("captions_long", "captions_short", "caption_by", "caption_reason")
"""`caption_by`: model, own, fallback, none; null for pictures that are never seen. `caption_reason`: code why what was
asked for is not there, or not all of it."""


def captions_steps(cfg: CurateConfig) -> list[Step]:
    """The step, where it is configured."""
    if cfg.captions is None:
        return []
    templates = load_templates(cfg.captions)
    return [
        Step(
            "captions",
            functools.partial(write_captions, cfg.captions, cfg.pictures),
            settings={"format": CAPTIONS_FORMAT, **cfg.captions.answers_depend_on},
            inputs={
                f"{kind} {number:02d}": template.digest
                for kind, listed in templates.items()
                for number, template in enumerate(listed)
            },
            is_stale=functools.partial(may_be_answered_now, cfg.captions),
        )
    ]


def may_be_answered_now(cfg: CaptionsConfig, at: Workplace, folder: Path) -> bool:
    """Whether servers refused or failed to answer, and are to be asked again."""
    reasons = read_manifest(folder).facts["captions"].get("reasons", {})
    return cfg.ask_again and any(reasons.get(code) for code in (REFUSED, FAILED))


def write_captions(cfg: CaptionsConfig, pictures: PicturesConfig, at: Workplace, folder: Path) -> Written:
    """Write the parts with their captions.

    Raises SetupError when a server cannot be asked or answers nothing, or another process asks the same model;
    RequestLimitError when `max_requests` were sent. All answers that came are kept.
    """
    usage = Usage(cfg.max_requests, ERRAND)
    job = _Job(cfg, at, usage)
    dropped, facts = [], []
    with contextlib.ExitStack() as stack:
        stack.enter_context(decoding_in_threads())
        encoder = PictureEncoder(pictures)
        stack.callback(encoder.close)
        logs = _open_logs(cfg, at.answers, stack)
        stack.callback(_note_run, logs[cfg.long.model], usage)
        runner = stack.enter_context(asyncio.Runner())
        writer, askers = runner.run(_build(cfg, encoder, usage, logs))
        stack.callback(lambda: runner.run(_close(askers)))
        for index, part in enumerate(at.rows.parts):
            rows = part.read(READS)
            found = runner.run(job.caption(rows, writer))
            outcome = _outcome(rows, found)
            write_part(outcome.kept, WRITES, folder / part_name(index))
            dropped.append(outcome.dropped)
            facts.append(outcome.facts)
    quarantined = pl.DataFrame(schema=tables.QUARANTINED_SCHEMA)
    without = pl.concat(dropped)
    return Written(at.rows.kept - without.height, without, quarantined, {"captions": added(facts)}, at.rows.kept)


@dataclass
class _Job:
    """The pictures of all parts, and how far they are."""

    cfg: CaptionsConfig
    at: Workplace
    usage: Usage
    done: int = 0
    _late: list[int] = field(default_factory=list)

    async def caption(self, rows: pl.DataFrame, writer: Writer) -> dict[int, Captions]:
        """Place in `rows` -> what became of the picture, for those that are seen.

        A picture about which the server failed while it answered nothing else either is asked about once more at the
        end, so that a fault of the server is not held against the picture.
        """
        seen = (rows["repeats"] > 0).fill_null(False).to_numpy()
        found: dict[int, Captions] = {}
        self.done += int((~seen).sum())

        async def write(place: int, *, is_last: bool) -> None:
            try:
                found[place] = await writer.write(_wanted(rows, place), is_last=is_last)
            except UnansweredError:
                self._late.append(place)
                return
            self.done += 1
            self._show()

        ticking = asyncio.create_task(self._tick())
        try:
            places = (place for place in range(rows.height) if seen[place])
            await work_through(places, functools.partial(write, is_last=False), self.cfg.client.concurrency)
            late, self._late = sorted(self._late), []
            await work_through(late, functools.partial(write, is_last=True), self.cfg.client.concurrency)
        except RequestLimitError as error:
            raise RequestLimitError(f"{error} ({self.done:,} of {self.at.rows.kept:,} pictures are done)") from error
        finally:
            ticking.cancel()
        return found

    async def _tick(self) -> None:
        """Show what there is while nothing comes."""
        while True:
            await asyncio.sleep(1.0)
            self._show()

    def _show(self) -> None:
        self.at.progress(self.done, self.at.rows.kept, **self.usage.shown())


def _wanted(rows: pl.DataFrame, place: int) -> Wanted:
    row = rows.row(place, named=True)
    return Wanted(
        PictureFacts.of_row(row),
        row["image"],
        row["pixel_digest"],
        tuple(row["captions_long"] or ()),
        tuple(row["captions_short"] or ()),
    )


@dataclass(frozen=True)
class _Outcome:
    kept: pl.DataFrame
    dropped: pl.DataFrame
    facts: dict[str, Any]


def _outcome(rows: pl.DataFrame, found: dict[int, Captions]) -> _Outcome:
    """The rows with their captions, those dropped, and what is to be noted of them."""
    columns: dict[str, list[Any]] = {name: [] for name in WRITES}
    own = rows.select("captions_long", "captions_short").iter_rows()
    for place, (long, short) in enumerate(own):
        captions = found.get(place)
        values: Sequence[Any] = (long, short, None, None)
        if captions is not None:
            values = (list(captions.long), list(captions.short), captions.by, captions.reason)
        for name, value in zip(WRITES, values, strict=True):
            columns[name].append(value)
    texts = pl.List(pl.String())
    schema = dict(zip(WRITES, (texts, texts, pl.String(), pl.String()), strict=True))
    rows = rows.drop("captions_long", "captions_short").hstack(pl.DataFrame(columns, schema=schema))
    is_dropped = (rows["caption_by"] == "dropped").fill_null(False)
    reason = "caption_" + rows.filter(is_dropped)["caption_reason"]
    dropped = rows.filter(is_dropped).select("key", reason.alias("reason"))
    return _Outcome(rows.filter(~is_dropped).select(ROW, *WRITES), dropped, _facts(rows, found))


def _facts(rows: pl.DataFrame, found: dict[int, Captions]) -> dict[str, Any]:
    """What the captions are by, for all and for each source, and all that was counted on the way."""
    counts: Counter[str] = Counter()
    sources = rows["source"].to_list()
    by_source: dict[str, Counter[str]] = {}
    for place, captions in sorted(found.items()):
        counts.update(captions.counts)
        counts[f"by.{captions.by}"] += 1
        by_source.setdefault(sources[place], Counter())[captions.by] += 1
        if captions.reason is not None:
            counts[f"reasons.{captions.reason}"] += 1
    counts["never_seen"] = rows.height - len(found)
    facts = nested(counts)
    if by_source:  # names of sources may hold dots
        facts["sources"] = {source: dict(sorted(each.items())) for source, each in sorted(by_source.items())}
    return facts


def _open_logs(cfg: CaptionsConfig, answers: Path, stack: contextlib.ExitStack) -> dict[str, AnswerLog]:
    """Name of a model -> the log of its answers, locked."""
    logs: dict[str, AnswerLog] = {}
    for model in _models(cfg):
        if model.model not in logs:
            folder = answers / f"captions-{fsio.short_digest(model.model)}"
            stack.enter_context(fsio.lock(folder))
            logs[model.model] = stack.enter_context(AnswerLog(folder, ask_again=cfg.ask_again))
    return logs


async def _build(
    cfg: CaptionsConfig, encoder: PictureEncoder, usage: Usage, logs: dict[str, AnswerLog]
) -> tuple[Writer, list[Asker]]:
    askers = [
        Asker(open_backend(model, cfg.client, encoder, usage), logs[model.model], usage) for model in _models(cfg)
    ]
    return Writer(cfg, askers[0], askers[1] if len(askers) > 1 else None), askers


async def _close(askers: Sequence[Asker]) -> None:
    for asker in askers:
        await asker.close()


def _models(cfg: CaptionsConfig) -> Iterator[ModelConfig]:
    yield cfg.long
    if cfg.compress is not None:
        yield cfg.compress


def _note_run(log: AnswerLog, usage: Usage) -> None:
    if usage.requests:
        log.note_run(usage.to_record())
