"""The step `models`: every tagger and scorer looks at every picture, which is decoded once for all that lack it.

Answers are kept raw (`raw_answers`), so that another threshold or weight asks nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from animetune.curate.answers import QUESTION, Inquiry, question_of
from animetune.curate.config.models import ModelsConfig
from animetune.curate.config.pictures import PicturesConfig
from animetune.curate.joint_answers import ask_together
from animetune.curate.parts import Part, part_name, write_part
from animetune.curate.recognize.raw_answers import GRADES, TAGS, WHOLE, column, raw_grades, raw_tags
from animetune.curate.steps import Outcome, Workplace, Written
from animetune.errors import ConfigError, DataError, PictureError
from animetune.fsio import canonical_json
from animetune.pictures import open_picture
from animetune.vision.aesthetics import OnnxScorerConfig, digests, load_scorer, score
from animetune.vision.session import check_runtime
from animetune.vision.taggers import TaggerConfig, load_tagger

ANSWERS_FORMAT = 1
"""Of the answers; another one has every picture looked at again."""
PICTURES_AT_A_TIME = 128


def writes(cfg: ModelsConfig) -> tuple[str, ...]:
    """The columns that the step adds."""
    tagged = [column(tagger.name, what) for tagger in cfg.taggers for what in TAGS]
    return (*tagged, *(column(scorer.name, "score") for scorer in cfg.scorers))


def check(cfg: ModelsConfig) -> None:
    """Raise SetupError for a missing extra or file, or another file than is asked for: before hours of decoding.

    ConfigError for a model that is there twice.
    """
    if cfg.taggers or any(isinstance(scorer, OnnxScorerConfig) for scorer in cfg.scorers):
        check_runtime()
    for tagger in cfg.taggers:
        tagger.tags.locate()
    known: dict[str, str] = {}
    for model in cfg.all:
        model.model.locate()
        if (other := known.setdefault(canonical_json(_settings(model)), model.name)) != model.name:
            raise ConfigError(f"models: {model.name}: is the same model as {other}; leave one of them out")


def settings(cfg: ModelsConfig) -> list[Any]:
    """What the answers and scores of every model depend on, beside the picture."""
    weights = {scorer.name: scorer.weights for scorer in cfg.scorers}
    return [[model.name, _settings(model), weights.get(model.name)] for model in cfg.all]


def look_with_models(cfg: ModelsConfig, pictures: PicturesConfig, at: Workplace, folder: Path) -> Written:
    """Add the columns of `writes` to all rows. Raises ChunkError with a model's or picture's name."""
    for index, (part, answers) in enumerate(ask_models(cfg, pictures, questions_of_models, at)):
        rows = part.read(["key"])
        for found in answers:
            rows = rows.join(found, on="key", how="left", maintain_order="left")
        write_part(rows, writes(cfg), folder / part_name(index))
    facts = {model.name: {"sha256": model.model.digest, "licence": model.model.licence} for model in cfg.all}
    nothing = Outcome(kept=pl.DataFrame())
    return Written(at.rows.kept, nothing.dropped, nothing.quarantined, {"models": facts}, at.rows.kept)


def ask_models(
    cfg: ModelsConfig, pictures: PicturesConfig, questions: Callable[[Part], pl.DataFrame], at: Workplace
) -> Iterator[tuple[Part, list[pl.DataFrame]]]:
    """Each part of the rows, with `key` and the columns of each model for the pictures that `questions` asks about.

    A question has `image`. Raises as `joint_answers.ask_together` does.
    """
    inquiries = [
        Inquiry(
            name="tagger" if isinstance(model, TaggerConfig) else "scorer",
            settings=_settings(model),
            answer=functools.partial(look_alone, cfg=cfg, pictures=pictures, number=number),
            columns=TAGS if isinstance(model, TaggerConfig) else GRADES,
            at_a_time=PICTURES_AT_A_TIME,
        )
        for number, model in enumerate(cfg.all)
    ]
    together = functools.partial(look_together, cfg=cfg, pictures=pictures)
    for part, answers in ask_together(inquiries, together, questions, at):
        yield part, [_columns(model, found) for model, found in zip(cfg.all, answers, strict=True)]


def questions_of_models(part: Part) -> pl.DataFrame:
    """key, question, image of all rows of a part."""
    rows = part.read(("key", "image", "pixel_digest"))
    numbers = [question_of(image, md5) for _, _, image, md5 in rows.iter_rows()]
    return rows.select("key", pl.Series(QUESTION, numbers, pl.UInt64()), "image")


def look_alone(questions: pl.DataFrame, cfg: ModelsConfig, pictures: PicturesConfig, number: int) -> pl.DataFrame:
    """In a worker process: the answers of one model."""
    return look_together(questions, [number], cfg, pictures)[0]


def look_together(
    questions: pl.DataFrame, numbers: Sequence[int], cfg: ModelsConfig, pictures: PicturesConfig
) -> list[pl.DataFrame]:
    """In a worker process: the answers of the models with these numbers; `batch` pictures are in memory at a time."""
    found: list[list[pl.DataFrame]] = [[] for _ in numbers]
    for start in range(0, questions.height, cfg.batch):
        some = questions.slice(start, cfg.batch)
        urls = some["image"].to_list()
        images = [_open(url, pictures) for url in urls]
        for answers, number in zip(found, numbers, strict=True):
            answers.append(_look(cfg, number, images, urls).select(some[QUESTION], pl.all()))
    return [pl.concat(answers) for answers in found]


def _look(cfg: ModelsConfig, number: int, images: list[Image.Image], urls: list[str]) -> pl.DataFrame:
    model = cfg.all[number]
    if isinstance(model, TaggerConfig):
        tagger = load_tagger(model, cfg.device, cfg.batch)
        found = _whole(tagger.probabilities(images), model.name, urls)
        return raw_tags(found, tagger.tags, model.floor)
    scorer = load_scorer(model, cfg.device, cfg.batch)
    found = _whole(scorer.probabilities(images), model.name, urls)
    return raw_grades(found, scorer.labels)


def _whole(found: np.ndarray, name: str, urls: list[str]) -> np.ndarray:
    broken = ~np.isfinite(found).all(axis=1)
    if broken.any():
        raise DataError(
            f"{name}: gives NaN for {urls[int(broken.argmax())]}; the model is broken, or its precision too low for "
            "this device: take another file of it"
        )
    return found


def _open(url: str, cfg: PicturesConfig) -> Image.Image:
    try:
        return open_picture(url, background=cfg.background, max_pixels=cfg.max_pixels).image
    except PictureError as error:
        raise DataError(f"{url}: {error}; it was in order when it was decoded: did it change or go?") from error


def _settings(model: Any) -> dict[str, Any]:
    if isinstance(model, TaggerConfig):
        own = {"model": model.model.digest, "tags": model.tags.digest, "floor": model.floor}
    else:
        own = {"kind": model.kind, **digests(model)}
    return {"format": ANSWERS_FORMAT, **own}


def _columns(model: Any, found: pl.DataFrame) -> pl.DataFrame:
    """`key` and the columns of a model, of its answers."""
    if isinstance(model, TaggerConfig):
        return found.select("key", *(pl.col(what).alias(column(model.name, what)) for what in TAGS))
    scores = [
        score(labels, [value / WHOLE for value in likely], model.weights)
        for labels, likely in found.select("labels", "likely").iter_rows()
    ]
    return found.select("key", pl.Series(column(model.name, "score"), scores, pl.Float32()))
