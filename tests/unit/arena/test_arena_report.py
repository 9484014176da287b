"""The page of the ratings: whole, offline, and no place for what names and prompts say."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from xml.etree import ElementTree

import arena_votes as made_up
import pytest

from animetune.arena import report
from animetune.arena.charts import Dot, dot_chart
from animetune.arena.ratings import rate

HOSTILE = '<script>alert("x")</script>\u202egnp'


class Page(html.parser.HTMLParser):
    """What a browser would find: tags, links, ids and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = [], [], [], []
        self.feed(text)
        self.said = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named[name] for name in ("href", "src") if name in named]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def votes():
    drawn = made_up.simulate(400, seed=0, voters=6, modes=("fixed", "duel", "four"))
    again = [
        dataclasses.replace(vote, battle=f"again {vote.battle}", models=vote.models[::-1], ranks=vote.ranks[::-1],
                            repeat_of=vote.battle)
        for vote in drawn[:9]
    ]  # fmt: skip
    return drawn + again + [made_up.vote(ranks=None, battle="bad", voter="v0")]


def test_the_page_tells_everything(votes):
    ratings = rate(votes, bootstraps=100, groups={f"p{number}": f"kind {number % 2}" for number in range(40)})
    page = Page(report.render(ratings, title="My arena"))
    for section in ("ranking", "certainty", "matrix", "modes", "groups", "voters", "others", "method"):
        assert section in page.ids
        assert f"#{section}" in page.links
    for score in ratings.models:
        assert f"{score.score:,.0f}" in page.said
        assert f"{score.interval.low:,.0f} to {score.interval.high:,.0f}" in page.said
    assert "repeats answered alike 100.0 %" in page.said
    assert f"{ratings.overall.progress.separated} of 15 pairs are told apart" in page.said
    assert "fixed prompts, draws" in page.said
    assert "kind 1" in page.said
    assert "100 bootstraps of voters" in page.said
    assert "1 called all bad" in page.said
    assert "openskill mu" in page.said


def test_the_page_is_offline_and_names_no_voter(votes):
    renamed = [dataclasses.replace(vote, voter=f"secret-{vote.voter}") for vote in votes]
    text = report.render(rate(renamed, bootstraps=10))
    page = Page(text)
    assert not {"script", "link", "iframe", "form"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert "secret-" not in text
    assert "voter 6" in page.said


def test_hostile_names_are_text(tmp_path):
    votes = made_up.numbered([made_up.vote((HOSTILE, "b"), prompt=HOSTILE)] * 3 + [made_up.vote(("b", HOSTILE))])
    ratings = rate(votes, bootstraps=10, groups={HOSTILE: HOSTILE, "p": "other"})
    report.write(ratings, tmp_path / "ranking.html", title=HOSTILE)
    text = (tmp_path / "ranking.html").read_text(encoding="utf-8")
    assert "script" not in Page(text).tags
    assert "\u202e" not in text
    assert "<U+202E>gnp" in Page(text).said


@pytest.mark.parametrize("votes", [[], [made_up.vote()], [made_up.vote(ranks=None)]])
@pytest.mark.parametrize("models", [(), ("a", "b", "c")])
def test_hardly_any_votes_make_a_page(votes, models):
    text = report.render(rate(votes, models=models, bootstraps=10))
    assert "nan" not in Page(text).said.lower().split()
    assert "</html>" in text


def test_equal_votes_make_equal_pages(votes):
    pages = {report.render(rate(some, bootstraps=30), title="T") for some in (votes, list(reversed(votes)))}
    assert len(pages) == 1


def test_many_models_and_voters(votes):
    truth = {f"model-{number}-of-a-very-long-name-{number}": 0.1 * number for number in range(14)}
    page = Page(report.render(rate(made_up.simulate(600, seed=1, theta=truth, voters=60), bootstraps=20)))
    assert "31 more pairs are in ratings.json" in page.said
    assert "20 more have voted less" in page.said


@pytest.mark.parametrize(
    ("given", "told"), [(1, "1"), (99, "99"), (101, "110"), (1592, "1,600"), (18179, "19,000"), (100, "100")]
)
def test_estimates_have_two_digits(given, told):
    assert report.rounded(given) == told


def test_small_texts():
    assert report.points_text(-0.3) == "0"
    assert report.place_text((2, 2)) == "2"
    assert report.place_text((1, 3)) == "1 to 3"
    assert report.p_text(0.0004) == "< 0.001"
    assert report.p_text(None) == "–"


def test_dots_lie_within_the_chart():
    rows = {"first": [Dot(1200, 1100, 1300), Dot(900)], "second": [None, Dot(1000, 400, 1900)], "none": [None, None]}
    chart = dot_chart(rows, title="T", shown=lambda value: f"{value:.0f}", series=["x", "y"], middle=1000)
    root = ElementTree.fromstring(str(chart))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    circles = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in root.iter("circle")]
    assert len(circles) == 3
    assert all(0 < x < width and 0 < y < height for x, y in circles)
    texts = [each.text for each in root.iter("text")]
    assert {"first", "second", "1200", "x", "y"} <= set(texts)
    assert "none" not in texts
    assert dot_chart({"none": [None]}, title="T", shown=str) is None
    assert dot_chart({"one": [Dot(5)]}, title="T", shown=str) is not None


def test_lines_for_a_terminal():
    votes = made_up.numbered([made_up.vote(("a", "long-name"))] * 20 + [made_up.vote(ranks=None)])
    head, first, second, third, told, *notes = report.lines(rate(votes, models=["b"], bootstraps=50))
    assert head.split() == ["place", "model", "score", "95", "%", "votes", "all", "bad"]
    assert first.startswith("1 to 2  a          ")
    assert second.split()[:4] == ["2", "to", "3", "long-name"]
    assert third.split()[0] == "–"
    assert len({len(line) for line in (head, first, second, third)}) == 1
    assert told == "1 of 3 pairs are told apart at 95 %"
    assert notes
    told = report.lines(rate(made_up.simulate(40, seed=1), confidence=0.999, bootstraps=50))[7]
    expected = r"\d+ of 15 pairs are told apart at 99\.9 %; about [\d,]+ more votes would do for th.+"
    assert re.fullmatch(expected, told)
    assert "<U+202E>" in " ".join(report.lines(rate([made_up.vote((HOSTILE, "b"))], bootstraps=0)))
