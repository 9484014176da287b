"""The page of the ratings: the ranking first, then how sure it is, and what lies behind it. Offline, without script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from animetune import figures
from animetune.arena.charts import COLOURS, Dot, dot_chart
from animetune.arena.ratings.shapes import MIDDLE, Ratings, Score, Share, View, VoterReport
from animetune.intervals import Interval
from animetune.svg import Svg

TEMPLATES = Path(__file__).parent / "templates"
MOST_VOTERS = 40
"""Voters of the table; the busiest."""
MODE_NAMES = {"fixed": "fixed prompts, draws", "duel": "free duels", "four": "best of four"}


class Cell(NamedTuple):
    """A field of the matrix of wins."""

    percent: float | None
    """Of comparisons won by the row."""
    n: int


class Part(NamedTuple):
    """Scores by mode or by group of prompts."""

    anchor: str
    title: str
    about: str
    views: Mapping[str, View]
    charts: Sequence[Svg]
    rows: Sequence[tuple[str, Sequence[Score]]]
    """Model -> its score in each view."""


def write(ratings: Ratings, path: Path, *, title: str = "Arena") -> None:
    """Write the page."""
    figures.write_page(path, render(ratings, title=title))


def lines(ratings: Ratings) -> list[str]:
    """The ranking for a terminal, and what should be known about it."""
    table = [["place", "model", "score", "95 %", "votes", "all bad"]]
    for score in ratings.models:
        place, points = (place_text(score.places), points_text(score.score)) if score.votes else ("–", "–")
        name = figures.visible(score.model, 80)
        bad = share_text(ratings.bad[score.model])
        table.append([place, name, points, ends_text(score.interval) or "–", f"{score.votes:,}", bad])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    told = []
    for row in table:
        left = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
        right = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
        told.append("  ".join([*left, *right]))
    found = ratings.overall.progress
    others = "those that are not too alike" if found.hopeless else "the others"
    needed = f"; about {rounded(found.votes_needed)} more votes would do for {others}" if found.votes_needed else ""
    confidence = percent_text(ratings.confidence)
    told.append(f"{found.separated} of {len(found.pairs)} pairs are told apart at {confidence}{needed}")
    return [*told, *ratings.notes, *ratings.overall.notes]


def render(ratings: Ratings, *, title: str = "Arena") -> str:
    """The page as HTML."""
    environment = figures.page_environment(TEMPLATES)
    environment.filters.update(
        points=points_text,
        ends=ends_text,
        share=share_text,
        share_ends=share_ends_text,
        p=p_text,
        rounded=rounded,
        percent=percent_text,
        place=place_text,
    )
    found = [
        _part("modes", "By mode", "The same models, voted on in different ways.", ratings.modes, ratings, MODE_NAMES),
        _part("groups", "By kind of prompt", "Scores of the votes on each group alone.", ratings.groups, ratings, {}),
    ]  # fmt: skip
    parts = [part for part in found if part is not None]
    sections = [
        ("ranking", "Ranking"), ("certainty", "How sure"), ("matrix", "Who beat whom"),
        *((part.anchor, part.title) for part in parts),
        ("voters", "Voters"), ("others", "Other ratings"), ("method", "Method"),
    ]  # fmt: skip
    voters = sorted(ratings.voters, key=lambda each: (-each.votes, each.voter))
    return environment.get_template("ranking.html.j2").render(
        title=figures.visible(title, 200),
        sections=sections,
        ratings=ratings,
        overall=ratings.overall,
        progress=ratings.overall.progress,
        next_needed=min((pair.votes_needed for pair in ratings.overall.progress.pairs if pair.votes_needed), default=0),
        chart=_score_chart(ratings.overall, "Scores and their 95 % intervals"),
        bad_chart=_bad_chart(ratings.bad),
        cells=_cells(ratings),
        parts=parts,
        voters=[(f"voter {number}", each) for number, each in enumerate(voters[:MOST_VOTERS], start=1)],
        more_voters=max(0, len(voters) - MOST_VOTERS),
        standing=_standing(ratings),
        facts=_facts(ratings, voters),
    )


def points_text(value: float) -> str:
    """`1,034`, and never a negative zero."""
    return f"{round(value):,}"


def ends_text(interval: Interval | None) -> str:
    """`981 to 1,034`."""
    return "" if interval is None else " to ".join(map(points_text, interval))


def percent_text(confidence: float) -> str:
    """`95 %` or `99.9 %`."""
    return f"{100 * confidence:.4g} %"


def share_text(found: Share) -> str:
    """`12.5 %`."""
    return "–" if found.value is None else f"{100 * found.value:.1f} %"


def share_ends_text(found: Share) -> str:
    """`8.1 to 18.0 %; 12 of 96`."""
    if found.interval is None:
        return "none"
    return f"{100 * found.interval.low:.0f} to {100 * found.interval.high:.0f} %; {found.count:g} of {found.n:,}"


def p_text(p: float | None) -> str:
    """Three digits after the point."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def rounded(count: int) -> str:
    """An estimate of votes, of two digits: `1,800`."""
    size = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // size) * size:,}"


def place_text(places: tuple[int, int]) -> str:
    """`1` or `1 to 3`."""
    return str(places[0]) if places[0] == places[1] else f"{places[0]} to {places[1]}"


def _facts(ratings: Ratings, voters: Sequence[VoterReport]) -> list[tuple[str, str]]:
    found = ratings.overall.progress
    return [
        ("votes that count", f"{ratings.counted['rated']:,}"),
        ("voters", f"{len(voters):,}"),
        ("models", f"{len(ratings.models):,}"),
        ("pairs told apart", f"{found.separated} of {len(found.pairs)}"),
        ("repeats answered alike", share_text(ratings.consistency)),
    ]


def _standing(ratings: Ratings) -> str:
    """The first sentence: what is known by now."""
    scores = [score for score in ratings.models if score.votes]
    if not scores:
        return "Nothing has been voted on yet."
    first = [score.model for score in scores if score.places[0] == 1]
    if len(first) == 1:
        return f"{first[0]} is the best of {len(scores)}, at {percent_text(ratings.confidence)} over all pairs."
    return f"{scores[0].model} leads, but {len(first)} of {len(scores)} may still be the best."


def _dot(score: Score | None) -> Dot | None:
    if score is None or not score.votes:
        return None
    return Dot(score.score, *(score.interval or (None, None)))


def _score_chart(view: View, title: str) -> Svg | None:
    rows = {score.model: [_dot(score)] for score in view.scores}
    return dot_chart(rows, title=title, shown=points_text, middle=MIDDLE)


def _bad_chart(bad: Mapping[str, Share]) -> Svg | None:
    rows = {
        model: [None if found.value is None else Dot(found.value, *(found.interval or (None, None)))]
        for model, found in bad.items()
    }
    high = max((dot.high or dot.value for (dot,) in rows.values() if dot is not None), default=0.0)
    return dot_chart(
        rows,
        title="Battles in which all pictures were called bad",
        shown=lambda value: f"{100 * value:.0f} %",
        limits=(0.0, max(0.05, high)),
    )


def _cells(ratings: Ratings) -> list[list[Cell]]:
    matrix = ratings.matrix
    return [
        [Cell(100 * won / n if n else None, n) for won, n in zip(wins, counts, strict=True)]
        for wins, counts in zip(matrix.wins, matrix.n, strict=True)
    ]


def _part(
    anchor: str, title: str, about: str, views: Mapping[str, View], ratings: Ratings, names: Mapping[str, str]
) -> Part | None:
    """None where the votes are all of one part: its scores stand above."""
    if len(views) < 2:
        return None
    titles = {name: names.get(name, name) for name in views}
    by_view = {name: {score.model: score for score in view.scores} for name, view in views.items()}
    models = [score.model for score in ratings.models]
    charts = []
    order = list(views)
    for start in range(0, len(order), COLOURS):
        some = order[start : start + COLOURS]
        rows = {model: [_dot(by_view[name].get(model)) for name in some] for model in models}
        chart = dot_chart(
            rows,
            title=title,
            shown=points_text,
            series=[titles[name] for name in some],
            middle=MIDDLE,
        )
        charts += [] if chart is None else [chart]
    table = [(model, [by_view[name][model] for name in order]) for model in models]
    return Part(anchor, title, about, {titles[name]: view for name, view in views.items()}, charts, table)
