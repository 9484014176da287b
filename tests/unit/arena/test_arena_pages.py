"""The pages: nothing in them that the policy forbids, and nothing in prompts, names or notes that becomes markup."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.arena import pages
from animetune.arena.moderation import Moderation, moderation
from animetune.arena.ratings import rate
from animetune.arena.votes import Vote
from tests.arena_site import arena_config, paint_models, serving

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!-- --><style>*{display:none}</style>",
    "&lt;b&gt; &#x3c;script&#x3e;",
    "\u202e\u2066evil\x00\x1b[31m",
    "<iframe srcdoc='<script>1</script>'>",
    "]]><math><mtext></form><form><mglyph><style></math><img src onerror=1>",
    "a" * 3000,
    "\ud800",
)


class Parsed(HTMLParser):
    """Every element with its attributes' names, and all of the text."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def votes(models: Sequence[str], prompt: str = "a tree", count: int = 12) -> list[Vote]:
    return [
        Vote(
            battle=str(number),
            mode="duel",
            voter=f"{number % 3:032x}",
            prompt=prompt,
            seed=1,
            models=(models[number % 2], models[(number + 1) % 2]),
            ranks=(0, 1) if number % 4 else None,
            milliseconds=1000 * (number + 1),
            at=f"2026-11-21T10:00:{number:02}.000000+00:00",
            repeat_of=None,
            flags=("fast",) if number % 5 == 0 else (),
        )
        for number in range(count)
    ]


def page(tmp_path: Path, *, title: str = "Arena", models: Sequence[str] = ("a", "b"), note: str = "n") -> Moderation:
    cfg = arena_config(tmp_path, {name: {"pictures": "x"} for name in ("a", "b")}, title="t")
    given = votes(models)
    rated = rate(given, bootstraps=20, models=models)
    return moderation(
        cfg.model_copy(update={"title": title}), given, rated, {f"{1:032x}"}, name=lambda voter: voter[-4:],
        notes=[note], invitation="/?invite=abc",
    )  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(tmp_path: Path, text: str) -> None:
    plain = Parsed(pages.render_moderation(page(tmp_path)))
    hostile = Parsed(pages.render_moderation(page(tmp_path, title=text, models=(text, "b"), note=text)))
    assert sorted(hostile.elements) == sorted(plain.elements)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_no_text_becomes_markup(tmp_path_factory: pytest.TempPathFactory, title: str, model: str, note: str) -> None:
    folder = tmp_path_factory.mktemp("page")
    plain = Parsed(pages.render_moderation(page(folder)))
    written = Parsed(pages.render_moderation(page(folder, title=title, models=(f"{model}!", "b"), note=note)))
    assert sorted(written.elements) == sorted(plain.elements)


def test_the_page_says_what_the_votes_say(tmp_path: Path) -> None:
    text = " ".join(Parsed(pages.render_moderation(page(tmp_path, title="A title", note="look here"))).text.split())
    for part in ("A title", "look here", "8 of 600", "flagged, as too fast", "Take back", "12 votes were cast"):
        assert part in text


@pytest.mark.parametrize(
    ("needed", "hopeless", "said"),
    [
        (1038, 0, "yet; about 1,100 more votes in all would do."),
        (1038, 1, "would do for those with a number. 1 is too alike, or has too few votes to say"),
        (None, 2, "yet. 2 are too alike, or have too few votes to say"),
    ],
)
def test_what_is_still_open(tmp_path: Path, needed: int | None, hopeless: int, said: str) -> None:
    found = dataclasses.replace(page(tmp_path), votes_needed=needed, hopeless=hopeless)
    assert said in " ".join(Parsed(pages.render_moderation(found)).text.split())


def test_counts_are_of_voters_who_are_not_excluded(tmp_path: Path) -> None:
    found = page(tmp_path)
    assert (found.votes, found.all_votes, found.voters) == (8, 12, 2)
    assert found.by_mode == [("two, one chosen", 8)]
    assert [row.is_excluded for row in found.voter_rows].count(True) == 1
    assert sum(row.votes for row in found.voter_rows) == 12
    assert found.percent == round(100 * 8 / 600)
    for row in found.ratings:
        assert 0 <= row.bar.low <= row.bar.at <= row.bar.low + row.bar.width <= 100


def test_the_confidence_of_the_configuration_is_the_pages(tmp_path: Path) -> None:
    cfg = arena_config(tmp_path, paint_models(tmp_path), goal={"confidence": 0.8})
    with serving(cfg) as site, site.moderator() as moderator:
        text = " ".join(Parsed(moderator.get("/moderate").text).text.split())
        assert "not tell apart at 80 % yet" in text
        assert moderator.get("/api/ratings").json()["confidence"] == 0.8


def test_a_page_without_votes(tmp_path: Path) -> None:
    cfg = arena_config(tmp_path, {name: {"pictures": "x"} for name in ("a", "b")})
    html = pages.render_moderation(moderation(cfg, [], rate([], models=("a", "b")), (), name=str))
    text = " ".join(Parsed(html).text.split())
    assert "Nobody has voted yet" in text
    assert "No vote prefers anything yet" in text
    assert "Invite" not in text


def documents(tmp_path: Path) -> dict[str, str]:
    static = {name: asset.data.decode() for name, asset in pages.assets().items() if name.endswith(".html")}
    return {**static, "moderate": pages.render_moderation(page(tmp_path))}


def test_pages_keep_the_policy(tmp_path: Path) -> None:
    """No script, style or handler within a page; every file by a name that is served."""
    found = documents(tmp_path)
    assert len(found) == 3
    for html in found.values():
        parsed = Parsed(html)
        for tag, name, value in parsed.attributes:
            assert name != "style"
            assert not name.startswith("on")
            assert not (name in ("href", "src") and re.match(r"https?:|//|javascript:", value)), value
            if name in ("href", "src") and value.startswith("/static/"):
                assert value.removeprefix("/static/") in pages.assets(), value
            assert tag != "style"
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", html)


def test_scripts_write_text_never_markup() -> None:
    scripts = {name: asset.data.decode() for name, asset in pages.assets().items() if name.endswith(".js")}
    assert set(scripts) == {"arena.js", "moderate.js", "pictures.js", "server.js", "sign-in.js"}
    for name, script in scripts.items():
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in script, (name, word)
        for target in re.findall(r'from "\./([\w-]+\.js)"', script):
            assert target in scripts


def test_styles_ask_nothing_of_elsewhere() -> None:
    for name, asset in pages.assets().items():
        if name.endswith(".css"):
            assert not re.search(rb"url\(|@import|expression\(", asset.data), name


def test_pages_name_their_controls(tmp_path: Path) -> None:
    """Every button says what it does to who does not see it, every picture of an icon is hidden from them."""
    for html in documents(tmp_path).values():
        parsed = Parsed(html)
        for tag, names in parsed.elements:
            if tag == "svg":
                assert "aria-hidden" in names
            if tag == "progress":
                assert "aria-label" in names
        assert '<html lang="en">' in html
        assert 'name="viewport"' in html
        assert "user-scalable" not in html


def test_files_say_their_kind() -> None:
    kinds = {name.rpartition(".")[2]: asset.media_type for name, asset in pages.assets().items()}
    assert kinds == {
        "html": "text/html; charset=utf-8",
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
    }
