"""The arena's server: voting from the first visit to the export, and that nothing before a vote tells models apart."""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from PIL import Image

from animetune.arena import visitors
from animetune.arena.security import Rate
from tests.arena_site import MODELS, PROMPTS, TOKEN, Site, arena_config, draw, paint_models, serving

MODE = {
    mode: {mode_: {"share": int(mode_ == mode)} for mode_ in ("fixed", "duel", "four")}
    for mode in ("fixed", "duel", "four")
}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return paint_models(tmp_path_factory.mktemp("painted"))


@pytest.fixture
def site(tmp_path: Path, painted: dict[str, dict[str, str]]) -> Iterator[Site]:
    with serving(arena_config(tmp_path, painted, repeats=0, fastest_ms=0)) as served:
        yield served


def battle(voter: httpx.Client, **wanted: Any) -> dict[str, Any]:
    answer = voter.post("/api/battle", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()["battle"]


def vote(voter: httpx.Client, shown: dict[str, Any], ranks: list[int] | None = None, **more: Any) -> httpx.Response:
    default = [0] + [1] * (len(shown["slots"]) - 1)
    return voter.post(
        "/api/vote", json={"token": shown["token"], "ranks": default if ranks is None else ranks, "ms": 1500, **more}
    )


def test_from_the_first_visit_to_the_vote(site: Site) -> None:
    with site.visitor() as voter:
        page = voter.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        arena = voter.post("/api/arena", json={}).json()
        assert arena["progress"] == {"yours": 0, "total": 0, "goal": 600, "reached": False}
        shown = battle(voter)
        assert shown["prompt"] in PROMPTS
        assert (shown["width"], shown["height"]) == (64, 96)
        for slot in shown["slots"]:
            picture = voter.get(slot["url"])
            assert picture.headers["content-type"] == "image/png"
            assert picture.headers["cache-control"] == "no-store"
            assert Image.open(io.BytesIO(picture.content)).size == (64, 96)
        told = vote(voter, shown).json()
        assert told["progress"]["yours"] == told["progress"]["total"] == 1
        kept = list(site.store.votes())
        assert [list(each.models) for each in kept] == [told["models"]]
        assert kept[0].ranks is not None
        assert kept[0].ranks[0] == 0


def test_what_is_shown_is_what_was_drawn(site: Site) -> None:
    """To the pixel, and in the order that the vote has."""
    with site.voter() as voter:
        for _ in range(6):
            shown = battle(voter)
            pictures = [Image.open(io.BytesIO(voter.get(slot["url"]).content)) for slot in shown["slots"]]
            models = vote(voter, shown).json()["models"]
            for model, picture in zip(models, pictures, strict=True):
                expected = draw(MODELS.index(model), PROMPTS.index(shown["prompt"]), (64, 96))
                assert picture.mode == "RGB"
                assert picture.tobytes() == expected.tobytes()


def chunks(png: bytes) -> list[bytes]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append(png[at + 4 : at + 8])
        at += 12 + length
    assert at == len(png)
    return found


def test_no_byte_before_the_vote_tells_models_apart(site: Site) -> None:
    """Every header and body of every answer, and the chunks of every picture, whatever format its file had."""
    heard: list[bytes] = []

    def hear(answer: httpx.Response) -> None:
        answer.read()
        heard.append(repr(answer.headers.raw).encode() + answer.content)

    with site.visitor() as voter:
        voter.event_hooks = {"response": [hear]}
        for path in ("/", "/static/arena.js", "/static/pictures.js", "/moderate", "/api/ratings", "/api/export.csv"):
            voter.get(path)
        voter.post("/api/arena", json={})
        kinds, headers, encoders = set(), set(), set()
        for _ in range(4):  # more would be too often
            have: list[str] = []
            for _ in range(2):
                shown = battle(voter, have=have)
                have.append(shown["token"])
                for slot in shown["slots"]:
                    picture = voter.get(slot["url"])
                    kinds.add(tuple(sorted(set(chunks(picture.content)))))
                    headers.add(tuple(name for name, _ in picture.headers.items()))
                    encoders.add(picture.content[8:33] + picture.content[41:43])  # IHDR, and the two bytes of zlib
            vote(voter, {"token": have[0], "slots": shown["slots"]}, ranks=[9])  # refused, and tells nothing
    everything = b"\n".join(heard)
    assert kinds == {(b"IDAT", b"IEND", b"IHDR")}
    assert len(headers) == 1
    assert len(encoders) == 1
    for word in (*MODELS, "drawn by", "images.jsonl", ".webp", str(site.cfg.out), "pictures/"):
        assert word.encode() not in everything, word
    for picture in site.gallery.pictures.values():
        assert str(picture.id).encode() not in everything
        assert picture.sha256.encode() not in everything
        assert str(picture.file.parent).encode() not in everything


def test_names_are_told_after_the_vote_only_where_they_are_to_be(tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted, reveal=False)) as site, site.voter() as voter:
        answer = vote(voter, battle(voter))
        assert answer.json()["models"] is None
        assert not any(model in answer.text for model in MODELS)


@pytest.mark.parametrize(
    ("mode", "ranks", "status"),
    [
        *(("fixed", ranks, 200) for ranks in ([0, 0], [1, 0])),
        *(("duel", ranks, 200) for ranks in ([0, 1], [1, 0])),
        *(("four", ranks, 200) for ranks in ([3, 2, 0, 1], [1, 0, 1, 1])),
        *(("duel", ranks, 422) for ranks in ([0, 0], [0, 1, 2], [], [-1, 0], [0, True], [0, "1"], [0, 1.5], "01")),
        ("four", [0, 1], 422),
    ],
)
def test_votes_are_those_that_the_mode_has(
    tmp_path: Path, painted: dict[str, Any], mode: str, ranks: Any, status: int
) -> None:
    with serving(arena_config(tmp_path, painted, modes=MODE[mode])) as site, site.voter() as voter:
        shown = battle(voter)
        assert (shown["mode"], shown["draw"]) == (mode, mode == "fixed")
        answer = vote(voter, shown, ranks)
        assert answer.status_code == status, answer.text
        assert len(list(site.store.votes())) == (status == 200)
        if status != 200:
            assert isinstance(answer.json()["detail"], str)
            assert vote(voter, shown).status_code == 200  # the battle is still there


def test_all_bad_is_a_vote_without_preference(site: Site) -> None:
    with site.voter() as voter:
        shown = battle(voter)
        assert voter.post("/api/vote", json={"token": shown["token"], "ranks": None, "ms": 900}).status_code == 200
        assert [each.ranks for each in site.store.votes()] == [None]
        missing = voter.post("/api/vote", json={"token": battle(voter)["token"], "ms": 900})
        assert missing.status_code == 422  # all bad is said, not left out


@pytest.mark.parametrize("ms", [-1, 10**12, 1.5, "5", None, True])
def test_times_are_whole_milliseconds(site: Site, ms: Any) -> None:
    with site.voter() as voter:
        assert vote(voter, battle(voter), ms=ms).status_code == 422
    assert not list(site.store.votes())


def test_a_battle_has_one_vote_however_many_come_at_once(site: Site) -> None:
    with site.voter() as voter:
        shown = battle(voter)
        codes: list[int] = []
        threads = [threading.Thread(target=lambda: codes.append(vote(voter, shown).status_code)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(codes) == [200] + [409] * 11
    assert len(list(site.store.votes())) == 1


def test_a_battle_is_its_voters_alone(site: Site) -> None:
    with site.voter() as voter, site.voter() as other, site.visitor() as stranger:
        shown = battle(voter)
        assert vote(other, shown).status_code == 403
        assert other.get(shown["slots"][0]["url"]).status_code == 403
        assert stranger.get(shown["slots"][0]["url"]).status_code == 401
        assert vote(voter, {**shown, "token": "x" * 24}).status_code == 404
        for url in (
            f"/i/{shown['token']}/{len(shown['slots'])}",
            f"/i/{shown['token']}/-1",
            f"/i/{shown['token']}/٠",
            "/i/x/0",
        ):
            assert voter.get(url).status_code == 404
        assert vote(voter, shown).status_code == 200


def test_a_forged_cookie_is_somebody_new(site: Site) -> None:
    with site.voter() as voter, site.visitor() as forger:
        shown = battle(voter)
        (name, value), *_ = voter.cookies.items()
        forger.cookies.set(name, value[:-1] + ("0" if value[-1] != "0" else "1"))
        assert forger.get(shown["slots"][0]["url"]).status_code == 401
        assert vote(forger, shown).status_code == 403


def test_a_page_that_is_opened_again_goes_on_where_it_was(site: Site) -> None:
    with site.voter() as voter:
        first = battle(voter)
        second = battle(voter, have=[first["token"]])
        assert second["token"] != first["token"]
        assert battle(voter) == first
        vote(voter, first)
        assert battle(voter) == second
    assert site.store.counts().battles == 2


def test_pictures_that_go_meanwhile_are_said_to_be_gone(tmp_path: Path) -> None:
    models = paint_models(tmp_path, MODELS[:2], PROMPTS[:1], seeds=(1,))
    with serving(arena_config(tmp_path, models)) as site, site.voter() as voter:
        shown = battle(voter)
        for picture in site.gallery.pictures.values():
            picture.file.unlink()
        assert {voter.get(slot["url"]).status_code for slot in shown["slots"]} == {410}
        answer = vote(voter, shown)
        assert answer.status_code == 410
        assert "ask for the next" in answer.json()["detail"]
        assert battle(voter) is None
        with site.moderator() as moderator:
            assert "not shown until the next start" in moderator.get("/moderate").text


def test_a_picture_that_is_none_is_shown_no_more(tmp_path: Path) -> None:
    models = paint_models(tmp_path, MODELS[:2], PROMPTS[:1], seeds=(1,))
    broken = next((tmp_path / "pictures" / MODELS[0]).glob("*.png"))
    broken.write_bytes(broken.read_bytes()[:-200])
    with serving(arena_config(tmp_path, models)) as site, site.voter() as voter:
        shown = battle(voter)
        assert sorted(voter.get(slot["url"]).status_code for slot in shown["slots"]) == [200, 410]
        assert battle(voter) is None


def test_the_goal_is_reached(tmp_path: Path, painted: dict[str, Any]) -> None:
    with (
        serving(arena_config(tmp_path, painted, goal={"votes": 2})) as site,
        site.voter() as voter,
        site.voter() as other,
    ):
        assert [vote(each, battle(each)).json()["progress"] for each in (voter, other)] == [
            {"yours": 1, "total": 1, "goal": 2, "reached": False},
            {"yours": 1, "total": 2, "goal": 2, "reached": True},
        ]
        assert vote(voter, battle(voter)).status_code == 200  # more are welcome


def test_voting_by_invitation(tmp_path: Path, painted: dict[str, Any]) -> None:
    with serving(arena_config(tmp_path, painted), is_open=False) as site, site.visitor() as visitor:
        assert visitor.get("/").status_code == 200  # the page alone says nothing
        assert "Arena of" not in visitor.get("/").text
        for path in ("/api/arena", "/api/battle"):
            assert visitor.post(path, json={}).status_code == 401
        assert visitor.post("/api/vote", json={"token": "x", "ranks": None, "ms": 1}).status_code == 401
        assert visitor.post("/api/arena", json={"invite": "wrong"}).status_code == 401
        assert visitor.post("/api/arena", json={"invite": site.access.invitation}).status_code == 200
        assert vote(visitor, battle(visitor)).status_code == 200
        assert visitor.get("/api/ratings").status_code == 401
        assert visitor.post("/api/voters", json={"voter": "x", "excluded": True}).status_code == 401
        assert b"token" in visitor.get("/moderate").content
        assert MODELS[0] not in visitor.get("/moderate").text


def test_moderators_see_exclude_and_take_away(site: Site) -> None:
    with site.voter() as voter, site.voter() as other, site.moderator() as moderator:
        for each, times in ((voter, 3), (other, 2)):
            for _ in range(times):
                vote(each, battle(each))
        page = moderator.get("/moderate").text
        assert all(model in page for model in MODELS)
        ratings = moderator.get("/api/ratings").json()
        assert ratings["counted"]["votes"] == 5
        busiest = max(ratings["voters"], key=lambda each: each["votes"])
        assert len(moderator.get("/api/export.csv").text.splitlines()) == 6
        done = moderator.post("/api/voters", json={"voter": busiest["voter"], "excluded": True})
        assert done.json() == {"excluded": True}
        assert moderator.get("/api/ratings").json()["counted"]["votes"] == 2
        table = pl.read_parquet(io.BytesIO(moderator.get("/api/export.parquet").content))
        assert table.height == 2
        assert busiest["voter"] not in table["voter"].to_list()
        lines = [json.loads(line) for line in moderator.get("/api/export.jsonl").text.splitlines()]
        assert all(Path(line["chosen"]).is_file() for line in lines)
        assert len(list(site.store.votes(with_excluded=True))) == 5  # none is gone
        moderator.post("/api/voters", json={"voter": busiest["voter"], "excluded": False})
        assert moderator.get("/api/ratings").json()["counted"]["votes"] == 5
        assert moderator.post("/api/voters", json={"voter": "nobody", "excluded": True}).status_code == 404
        ids = {each.voter for each in site.store.votes()}
        told = page + moderator.get("/api/export.csv").text + json.dumps(ratings) + json.dumps(lines)
        assert not any(voter_id in told for voter_id in ids)


def test_the_token_is_not_guessed(site: Site) -> None:
    with site.visitor() as visitor:
        codes = [visitor.post("/api/moderate", json={"token": f"guess {number}"}).status_code for number in range(8)]
        assert codes[:5] == [401] * 5
        assert set(codes[5:]) == {429}
        late = visitor.post("/api/moderate", json={"token": TOKEN})
        assert late.status_code == 429
        assert int(late.headers["retry-after"]) > 0


def test_nobody_asks_without_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, painted: dict[str, Any]) -> None:
    monkeypatch.setattr(visitors, "ASKING", Rate(per_second=0.001, burst=6))
    monkeypatch.setattr(visitors, "ARRIVING", Rate(per_second=0.001, burst=3))
    with serving(arena_config(tmp_path, painted)) as limited:
        with limited.voter() as voter:  # one request
            codes = [voter.post("/api/battle", json={}).status_code for _ in range(8)]
            assert codes == [200] * 5 + [429] * 3
        with limited.voter() as other:  # another voter is not held up
            assert other.post("/api/battle", json={}).status_code == 200
        with limited.visitor() as flood:
            codes = [
                httpx.post(f"{limited.url}/api/arena", json={}, headers=flood.headers).status_code for _ in range(4)
            ]
            assert codes == [200, 429, 429, 429]


def test_static_files_are_asked_for_again_and_not_sent_again(site: Site) -> None:
    with site.visitor() as visitor:
        first = visitor.get("/static/arena.css")
        again = visitor.get("/static/arena.css", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


def test_a_failure_inside_tells_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"secret of {site.cfg.out}")

    monkeypatch.setattr(site.store, "new_battle", fail)
    with site.voter() as voter:
        answer = voter.post("/api/battle", json={})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "content-security-policy" in answer.headers
    monkeypatch.undo()
    with site.voter() as voter:
        assert battle(voter) is not None
