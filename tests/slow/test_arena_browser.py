"""People vote in a real Chromium: keys, mouse and fingers, what they see, and what happens when something fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser as browsing
from tests.arena_site import MODELS, TOKEN, Site, arena_config, paint_models, serving, wait_for
from tests.browser import CHROMIUM, DESKTOP, PHONE, Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

READY = "document.body.dataset.state === 'ready'"
MODES = ("fixed", "duel", "four")
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</span><svg onload=document.title='owned'>",
    "javascript:document.title='owned'",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing.browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return paint_models(tmp_path_factory.mktemp("painted"), size=(416, 608))


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.page() as opened:
        opened.shape(DESKTOP)
        yield opened
        assert not [said for said in opened.complaints if "Security Policy" in said or "exception" in said.lower()]


def mode(name: str) -> dict[str, Any]:
    return {each: {"share": int(each == name)} for each in MODES}


def open_arena(page: Page, site: Site) -> None:
    page.open(f"{site.url}/")
    settle(page)


def settle(page: Page) -> None:
    """The pictures are there, and for long enough that a key is no slip."""
    page.wait(READY)
    time.sleep(0.35)


def ranks(site: Site, count: int) -> list[tuple[int, ...] | None]:
    """Of all votes, once there are so many."""
    wait_for(lambda: site.store.counts().votes >= count)
    kept = [vote.ranks for vote in site.store.votes()]
    assert len(kept) == count
    return kept


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [("fixed", "ArrowLeft", (0, 1)), ("fixed", "ArrowRight", (1, 0)), ("fixed", "1", (0, 1)), ("fixed", "2", (1, 0)),
     ("fixed", " ", (0, 0)), ("fixed", "0", (0, 0)), ("fixed", "b", None), ("duel", "2", (1, 0)),
     ("four", "3", (1, 1, 0, 1)), ("four", "b", None)],
)  # fmt: skip
def test_keys(page: Page, tmp_path: Path, painted: dict[str, Any], name: str, key: str, expected: Any) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode(name))) as site:
        open_arena(page, site)
        page.press(key)
        assert ranks(site, 1) == [expected]


def test_keys_that_a_mode_lacks_do_nothing(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("duel"), reveal=False)) as site:
        open_arena(page, site)
        for key in ("0", " ", "3", "4", "r", "x", "Enter"):
            page.press(key)
        assert page.run(READY)
        page.press("1")
        assert ranks(site, 1) == [(0, 1)]


def test_all_four_ranked(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("four"))) as site:
        open_arena(page, site)
        page.press("r")
        labels = "[...document.querySelectorAll('.mark')].map(each => each.textContent)"
        for key in ("3", "1", "1", "4"):  # the first choice of 1 is taken back
            page.press(key)
        assert page.run(labels) == ["1", "2", "1st", "2nd"]
        page.press("1")
        assert ranks(site, 1) == [(2, 3, 0, 1)]
        settle(page)
        assert page.run(labels) == ["1", "2", "3", "4"]


def test_the_mouse(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site:
        open_arena(page, site)
        page.click("figure:nth-child(2) .picture")
        assert ranks(site, 1) == [(1, 0)]
        settle(page)
        page.press(" ")  # a click leaves no focus behind that Space would press
        assert ranks(site, 2)[1] == (0, 0)
        settle(page)
        page.click("#verdicts button[aria-label='All are bad']")
        assert ranks(site, 3)[2] is None


def test_the_keyboard_alone_reaches_everything(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site:
        open_arena(page, site)
        reached = []
        for _ in range(9):
            page.press("Tab")
            reached.append(page.run("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))
        assert {"Look closer", "Help", "prompt", "Choose picture 1", "Choose picture 2", "Draw", "All are bad"} <= set(
            reached
        )
        page.run("document.querySelector('figure:nth-child(2) .picture').focus()")
        page.press("Enter")
        assert ranks(site, 1) == [(1, 0)]


def test_fingers(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    """A tap chooses; a swipe shows one at a time and back; a pinch looks closer; none of them votes by mistake."""
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site:
        page.shape(PHONE, touch=True)
        open_arena(page, site)
        x, y = page.middle("figure:nth-child(1) .picture")
        page.swipe((x + 60, y), (x - 60, y + 5))
        assert page.run("document.querySelectorAll('figure[data-shown]').length") == 1
        assert page.run("getComputedStyle(document.querySelector('figure:nth-child(2)')).display") == "none"
        x, y = page.middle("figure:nth-child(1) .picture")
        page.swipe((x + 60, y), (x - 60, y))
        assert page.run("document.querySelector('figure:nth-child(2)').hasAttribute('data-shown')")
        x, y = page.middle("figure:nth-child(2) .picture")
        page.swipe((x + 60, y), (x - 60, y))
        assert page.run("document.querySelectorAll('figure[data-shown]').length") == 0
        x, y = page.middle("figure:nth-child(1) .picture")
        page.fingers([[(x - 20, y), (x + 20, y)], [(x - 45, y), (x + 45, y)], [(x - 80, y), (x + 80, y)]])
        assert zoom(page)[0]["scale"] > 2
        assert site.store.counts().votes == 0
        page.tap("#zoom")
        assert zoom(page)[0]["scale"] == 1
        page.tap("figure:nth-child(2) .picture")
        assert ranks(site, 1) == [(1, 0)]


def zoom(page: Page) -> list[dict[str, float]]:
    """Scale and place, in parts of its frame, of every picture."""
    return page.run(
        "[...document.querySelectorAll('.picture img')].map(image => {"
        " const frame = image.parentElement.getBoundingClientRect(), box = image.getBoundingClientRect();"
        " return {scale: box.width / frame.width, x: (box.x - frame.x) / frame.width,"
        " y: (box.y - frame.y) / frame.height}; })"
    )


def test_pictures_are_looked_at_closer_at_the_same_place(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("four"))) as site:
        open_arena(page, site)
        page.press("z")
        before = zoom(page)
        assert all(each["scale"] == pytest.approx(2.5, abs=0.01) for each in before)
        x, y = page.middle("figure:nth-child(2) .picture")
        page.drag((x, y), (x - 60, y - 80))
        after = zoom(page)
        assert after[0]["x"] < before[0]["x"]
        assert all(each == pytest.approx(after[0], abs=0.01) for each in after)
        page.drag((x, y), (x + 5000, y + 5000))  # no further than the edge
        assert all((each["x"], each["y"]) == pytest.approx((0, 0), abs=0.01) for each in zoom(page))
        assert site.store.counts().votes == 0
        page.press("Escape")
        assert all(each["scale"] == pytest.approx(1) for each in zoom(page))


@pytest.mark.parametrize("size", [PHONE, DESKTOP, (844, 390), (320, 568), (2560, 1300)])
@pytest.mark.parametrize("name", ["fixed", "four"])
def test_pictures_are_whole_and_as_large_as_fits(
    page: Page, tmp_path: Path, painted: dict[str, Any], size: tuple[int, int], name: str
) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode(name))) as site:
        page.shape(size, touch=size[0] < 900)
        open_arena(page, site)
        boxes = page.run(
            "[...document.querySelectorAll('.picture, #verdicts button')].map(each => {"
            " const box = each.getBoundingClientRect();"
            " return [each.className, box.left, box.top, box.right, box.bottom]; })"
        )
        for _, left, top, right, bottom in boxes:
            assert 0 <= left < right <= size[0] + 0.5
            assert 0 <= top < bottom <= size[1] + 0.5
        buttons = [box for box in boxes if box[0] != "picture"]
        assert all(right - left >= 44 and bottom - top >= 40 for _, left, top, right, bottom in buttons)  # for fingers
        first = next(box for box in boxes if box[0] == "picture")
        assert (first[3] - first[1]) / (first[4] - first[2]) == pytest.approx(416 / 608, rel=0.03)
        assert page.run("document.documentElement.scrollWidth") <= size[0]
        stage = page.run("(box => [box.width, box.height])(document.querySelector('#stage').getBoundingClientRect())")
        shown = [box for box in boxes if box[0] == "picture"]
        wide = max(box[3] for box in shown) - min(box[1] for box in shown)
        high = max(box[4] for box in shown) - min(box[2] for box in shown)
        assert wide > stage[0] * 0.9 or high > stage[1] * 0.8


def test_nothing_moves_while_people_vote(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    """What a browser counts as shifts of the layout, over several votes with names told."""
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"))) as site:
        open_arena(page, site)
        page.run(
            "window.shifts = []; new PerformanceObserver(list => list.getEntries().forEach(entry => "
            "window.shifts.push(entry.value))).observe({type: 'layout-shift', buffered: false}); true"
        )
        parts = "[...document.querySelectorAll('.picture, footer, #prompt')]"
        frame = f"JSON.stringify({parts}.map(each => each.getBoundingClientRect()))"
        before = page.run(frame)
        for number in range(4):
            page.press("1")
            page.wait("document.body.dataset.state === 'revealed'")
            assert page.run(frame) == before
            page.press("Enter")
            settle(page)
            assert page.run(frame) == before
            assert site.store.counts().votes == number + 1
        assert sum(page.run("window.shifts")) < 0.01


def test_the_next_pair_is_there_at_once(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    """Key pressed to pictures swapped, the vote's way to the server and back included."""
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site:
        open_arena(page, site)
        times = []
        for number in range(8):
            time.sleep(0.4)  # somebody looks, and the next pair comes meanwhile
            page.run(
                "window.took = new Promise(done => { const began = performance.now();"
                " new MutationObserver((_, observer) => {"
                " observer.disconnect(); requestAnimationFrame(() => done(performance.now() - began)); })"
                ".observe(document.querySelector('.picture'), {childList: true});"
                " dispatchEvent(new KeyboardEvent('keydown', {key: '1'})); }); true"
            )
            times.append(page.run("window.took"))
            ranks(site, number + 1)
        assert sorted(times)[len(times) // 2] < 100, times


def test_names_are_told_after_the_vote_and_not_before(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"))) as site:
        open_arena(page, site)
        assert not any(model in page.run("document.documentElement.outerHTML") for model in MODELS)
        page.press("2")
        page.wait("document.body.dataset.state === 'revealed'")
        (vote,) = site.store.votes()
        assert page.run("[...document.querySelectorAll('.name')].map(each => each.textContent)") == list(vote.models)
        assert all(model in page.run("document.querySelector('#status').textContent") for model in vote.models)
        settle(page)  # by itself
        assert not any(model in page.run("document.querySelector('main').outerHTML") for model in MODELS)


def test_a_vote_that_does_not_arrive_is_kept_and_sent_again(
    page: Page, tmp_path: Path, painted: dict[str, Any]
) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site:
        open_arena(page, site)
        page.offline(True)
        page.press("2")
        page.wait("document.body.dataset.state === 'error'")
        assert "has not arrived" in page.run("document.querySelector('#message').textContent")
        page.press("1")  # nothing to vote on
        assert site.store.counts().votes == 0
        page.offline(False)
        wait_for(lambda: site.store.counts().votes or page.run("document.querySelector('#message-action')?.click()"))
        assert ranks(site, 1) == [(1, 0)]
        settle(page)


def test_a_server_that_comes_back(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    """Started anew at the same address: voters are who they were, and go on with the pair before them."""
    cfg = arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)
    with serving(cfg) as site:
        open_arena(page, site)
        port = site.port
    page.press("1")
    page.wait("document.body.dataset.state === 'error'")
    with serving(cfg.model_copy(update={"port": port})) as again:
        page.click("#message-action")
        assert ranks(again, 1) == [(0, 1)]
        settle(page)
        page.press("2")
        assert ranks(again, 2)[1] == (1, 0)
        assert len({vote.voter for vote in again.store.votes()}) == 1


def test_two_tabs_do_not_count_a_pair_twice(
    chromium: Browser, page: Page, tmp_path: Path, painted: dict[str, Any]
) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site, chromium.page() as other:
        for each in (page, other):
            each.to_front()
            open_arena(each, site)
        shown = "document.querySelector('.picture img').src"
        before = other.run(shown)
        assert page.run(shown) == before
        page.to_front()
        page.press("1")
        ranks(site, 1)
        other.to_front()
        other.press("1")  # the same pair: refused, and the next is shown
        other.wait(f"{READY} && {shown} !== {json.dumps(before)}")
        assert site.store.counts().votes == 1
        settle(other)
        other.press("1")
        ranks(site, 2)


def test_a_page_that_is_loaded_again_shows_the_same_pair(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted)) as site:
        open_arena(page, site)
        urls = "[...document.querySelectorAll('.picture img')].map(each => each.src)"
        before = page.run(urls)
        open_arena(page, site)
        assert page.run(urls) == before


def test_nothing_left_and_the_goal(page: Page, tmp_path: Path) -> None:
    models = paint_models(tmp_path, MODELS[:2], seeds=(1,))
    with serving(arena_config(tmp_path, models, goal={"votes": 1}, modes=mode("duel"))) as site:
        open_arena(page, site)
        page.press("1")
        page.wait("document.body.dataset.state === 'done'")
        assert "Thank you" in page.run("document.querySelector('#message').textContent")
        page.press("Enter")  # the button has the focus
        settle(page)
        for picture in site.gallery.pictures.values():
            picture.file.unlink()
        page.press("1")  # refused; the pair that was loaded before is shown, and is gone as well
        settle(page)
        page.press("1")
        page.wait("document.body.dataset.state === 'empty'")
        assert "Nothing left" in page.run("document.querySelector('#message').textContent")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_prompts_and_texts_are_read_not_run(page: Page, tmp_path: Path, hostile: str) -> None:
    models = paint_models(tmp_path, MODELS[:2], [f"1girl {hostile}"], seeds=(1,))
    with serving(arena_config(tmp_path, models, title=hostile, intro=hostile)) as site:
        open_arena(page, site)
        tags = "[...document.querySelectorAll('*')].map(each => each.localName).join()"
        assert page.run("document.querySelector('#prompt-text').textContent") == f"1girl {hostile}"
        assert page.run("document.querySelector('#title').textContent") == hostile
        assert page.run("document.querySelector('#prompt-text').children.length") == 0
        assert page.run("document.title") == hostile
        assert page.run("document.querySelectorAll('script').length") == 1
        page.press("?")
        assert page.run("document.querySelector('#intro').textContent") == hostile
        assert "iframe" not in page.run(tags)


def test_help_keeps_votes_away(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), intro="Look at hands.")) as site:
        open_arena(page, site)
        page.press("?")
        assert page.run("document.querySelector('#help').open")
        assert "Look at hands." in page.run("document.querySelector('#help').innerText")
        assert "A vote is final" in page.run("document.querySelector('#help').innerText")
        page.press("1")
        page.press("b")
        page.press("Escape")
        assert not page.run("document.querySelector('#help').open")
        assert site.store.counts().votes == 0
        page.press("1")
        assert ranks(site, 1) == [(0, 1)]


def test_a_key_held_down_or_pressed_twice_votes_once(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False)) as site:
        open_arena(page, site)
        for _ in range(6):
            page.run("dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true}))")
        assert site.store.counts().votes == 0
        page.run(
            "for (let times = 0; times < 5; times++) dispatchEvent(new KeyboardEvent('keydown', {key: '1'})); true"
        )
        time.sleep(0.2)
        assert len(ranks(site, 1)) == 1


def test_reduced_motion_is_kept(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted)) as site:
        page.shape(DESKTOP, motion=False)
        open_arena(page, site)
        assert page.run("document.getAnimations().length") == 0
        assert page.run("getComputedStyle(document.querySelector('.picture img')).animationName") == "none"


def test_the_page_says_itself_to_those_who_do_not_see_it(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"))) as site:
        open_arena(page, site)
        page.send("Accessibility.enable")
        nodes = page.send("Accessibility.getFullAXTree")["nodes"]
        named = {
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
        }
        buttons = ("Choose picture 1", "Draw", "All are bad", "Help", "Picture 2 is better")
        assert {("main", ""), ("heading", site.cfg.title), *(("button", name) for name in buttons)} <= named
        assert not [name for role, name in named if role == "button" and not name]


def test_an_invitation_is_taken_and_leaves_the_address(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted), is_open=False) as site:
        page.open(f"{site.url}/")
        page.wait("document.body.dataset.state === 'locked'")
        page.open(f"{site.url}/?invite={site.access.invitation}")
        settle(page)
        assert page.run("location.href") == f"{site.url}/"
        open_arena(page, site)  # the cookie is enough


def give(page: Page, token: str) -> None:
    page.run(f"document.querySelector('#token').value = {json.dumps(token)}; true")
    page.run("document.querySelector('#form').requestSubmit()")


def test_moderators_exclude_a_voter_and_take_them_back(page: Page, tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, fastest_ms=0)) as site:
        for voter in ("a" * 32, "b" * 32):
            for _ in range(5):
                battle = site.store.new_battle(voter)
                site.store.vote(battle.token, voter, [0, *[1] * (len(battle.pictures) - 1)], 900)
        page.open(f"{site.url}/moderate")
        assert page.run("document.querySelector('#ratings')") is None
        give(page, "wrong token")
        page.wait("document.querySelector('#said').textContent.includes('not the token')")
        give(page, TOKEN)
        page.wait("document.querySelector('#ratings') && document.readyState === 'complete'")  # its script has run
        page.click("#voters button[data-excluded=false]")
        page.wait("document.querySelector('tr.excluded') && document.readyState === 'complete'")
        assert len(site.store.excluded()) == 1
        page.click("#voters button[data-excluded=true]")
        page.wait("document.querySelector('#voters') && document.querySelector('tr.excluded') === null")
        assert not site.store.excluded()


def test_the_link_of_moderators_works_where_the_page_is_open_already(
    page: Page, tmp_path: Path, painted: dict[str, Any]
) -> None:
    with serving(arena_config(tmp_path, painted)) as site:
        for start in ("about:blank", f"{site.url}/moderate"):
            page.send("Network.clearBrowserCookies")
            page.open(start)
            page.open(f"{site.url}/moderate#token={TOKEN}")
            page.wait("document.querySelector('#ratings') !== null")
            assert page.run("location.hash") == ""  # nor in the history


def test_several_voters_at_once(tmp_path: Path, painted: dict[str, Any], chromium: Browser) -> None:
    """A page and a script beside it: every vote once."""
    with serving(arena_config(tmp_path, painted, modes=mode("fixed"), reveal=False, fastest_ms=0)) as site:

        def script() -> None:
            with site.voter() as voter:
                for _ in range(15):
                    battle = voter.post("/api/battle", json={}).json()["battle"]
                    voter.post(
                        "/api/vote", json={"token": battle["token"], "ranks": [0, 1], "ms": 800}
                    ).raise_for_status()

        beside = threading.Thread(target=script)
        beside.start()
        with chromium.page() as page:
            open_arena(page, site)
            for _ in range(5):
                settle(page)
                page.press("1")
                time.sleep(0.1)
            beside.join()
            settle(page)
        kept = list(site.store.votes())
        assert len(kept) == 20
        assert len({vote.battle for vote in kept}) == 20
        assert len({vote.voter for vote in kept}) == 2
