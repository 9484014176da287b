"""The arena's server: what is asked for under which address, by whom, and how every refusal reads.

    GET  /                      the voting page            POST /api/arena    who am I, and how far are we
    GET  /i/<token>/<slot>      a picture of a battle      POST /api/battle   the next battle, or one left open
    GET  /static/<name>         files of the pages         POST /api/vote     a vote
    GET  /moderate              results, for moderators    POST /api/moderate a token for a cookie
    GET  /api/export.*          files, for moderators      POST /api/voters   exclude a voter, or take one back

Before a vote nothing leaves that tells models apart: battles go out as prompt, size and addresses of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import fastapi
import pydantic
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from animetune.arena import pages
from animetune.arena.battles import (
    AlreadyVoted,
    BadVote,
    Battle,
    DiskFull,
    NothingToShow,
    Stale,
    UnknownBattle,
    WrongVoter,
)
from animetune.arena.config import ArenaConfig
from animetune.arena.gallery import Gallery
from animetune.arena.guard import Guard, is_address
from animetune.arena.results import Results
from animetune.arena.security import Access, Voters
from animetune.arena.shown import MEDIA_TYPE, ShownPictures
from animetune.arena.store import Store
from animetune.arena.visitors import NotInvited, TooOften, Visitors
from animetune.errors import AnimetuneError

STATUS: dict[type[AnimetuneError], int] = {
    NotInvited: 401,
    WrongVoter: 403,
    UnknownBattle: 404,
    AlreadyVoted: 409,
    Stale: 410,
    BadVote: 422,
    TooOften: 429,
    DiskFull: 507,
    AnimetuneError: 503,
}
"""Error -> HTTP status; the first that fits."""

Token = Annotated[str, pydantic.Field(max_length=64)]


class _Asked(pydantic.BaseModel):
    """A body: exactly what is named, of exactly these types."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Visit(_Asked):
    """Somebody opens the page."""

    invite: Token | None = None


class Next(_Asked):
    """A battle is wanted, but none of these, which the page has."""

    have: Annotated[list[Token], pydantic.Field(max_length=8)] = []


class Ballot(_Asked):
    """A vote."""

    token: Token
    ranks: Annotated[list[Annotated[int, pydantic.Field(ge=0, le=3)]], pydantic.Field(max_length=4)] | None
    ms: int


class SignIn(_Asked):
    """A moderator's token."""

    token: Annotated[str, pydantic.Field(max_length=512)]


class Exclusion(_Asked):
    """A voter, by the name that the page has."""

    voter: Token
    excluded: bool


def make_app(cfg: ArenaConfig, store: Store, gallery: Gallery, *, voters: Voters, access: Access) -> Guard:
    """The application, with the checks of `Guard` around it."""
    app = fastapi.FastAPI(title="animetune arena", docs_url=None, redoc_url=None, openapi_url=None)
    visitors = Visitors(voters, access)
    shown = ShownPictures(gallery)
    results = Results(cfg, store, voters.salt)
    _add_refusals(app)
    _add_pages(app, visitors, results)
    _add_voting(app, cfg, store, shown, visitors)
    _add_moderation(app, visitors, results)
    return Guard(app, hosts=cfg.hosts if is_address(cfg.host.strip("[]")) else (*cfg.hosts, cfg.host))


def _add_voting(app: fastapi.FastAPI, cfg: ArenaConfig, store: Store, shown: ShownPictures, visitors: Visitors) -> None:
    def progress(voter: str, total: int) -> dict[str, Any]:
        goal = cfg.goal.votes
        return {"yours": store.votes_of(voter), "total": total, "goal": goal, "reached": total >= goal}

    @app.post("/api/arena")
    def arena(visit: Visit, request: fastapi.Request, response: Response) -> dict[str, Any]:
        if visit.invite is not None:
            visitors.accept(visit.invite, request, response)
        else:
            visitors.require("vote", request)
        voter = visitors.voter(request, response)
        told = progress(voter, store.counts().votes)
        return {"title": cfg.title, "intro": cfg.intro, "reveal": cfg.reveal, "progress": told}

    @app.post("/api/battle")
    def battle(wanted: Next, request: fastapi.Request, response: Response) -> dict[str, Any]:
        visitors.require("vote", request)
        voter = visitors.voter(request, response)
        left = (each for each in store.open_battles(voter) if each.token not in wanted.have)
        try:
            found = next(left, None) or store.new_battle(voter)
        except NothingToShow:
            return {"battle": None}
        return {"battle": _told(found)}

    @app.post("/api/vote")
    def vote(ballot: Ballot, request: fastapi.Request, response: Response) -> dict[str, Any]:
        visitors.require("vote", request)
        voter = visitors.voter(request, response)
        kept = store.vote(ballot.token, voter, ballot.ranks, ballot.ms)
        models = list(kept.vote.models) if cfg.reveal else None
        return {"models": models, "progress": progress(voter, kept.number)}

    @app.get("/i/{token}/{slot}")
    def picture(token: str, slot: str, request: fastapi.Request) -> Response:
        visitors.require("vote", request)
        found = store.battle(token, visitors.known(request))
        if not (slot.isascii() and slot.isdecimal() and len(slot) == 1 and int(slot) < len(found.pictures)):
            raise UnknownBattle("the battle has no such picture")
        return Response(shown.png(found.pictures[int(slot)]), media_type=MEDIA_TYPE)


def _add_moderation(app: fastapi.FastAPI, visitors: Visitors, results: Results) -> None:
    @app.post("/api/moderate")
    def sign_in(given: SignIn, request: fastapi.Request, response: Response) -> dict[str, bool]:
        visitors.sign_in(given.token, request, response)
        return {"open": True}

    @app.post("/api/voters")
    def exclude(asked: Exclusion, request: fastapi.Request) -> dict[str, bool]:
        visitors.require("moderate", request)
        if not results.exclude(asked.voter, excluded=asked.excluded):
            raise UnknownBattle("there is no such voter")
        return {"excluded": asked.excluded}

    @app.get("/api/{name}")
    def file(name: str, request: fastapi.Request) -> Response:
        visitors.require("moderate", request)
        if name not in results.files:
            raise UnknownBattle("there is no such file")
        found = results.files[name]
        return Response(found.make(), media_type=found.media_type)


def _add_pages(app: fastapi.FastAPI, visitors: Visitors, results: Results) -> None:
    @app.get("/")
    def voting() -> Response:
        return _page(pages.assets()[pages.VOTING])

    @app.get("/moderate")
    def moderate(request: fastapi.Request) -> Response:
        if not visitors.may("moderate", request):
            return _page(pages.assets()[pages.SIGN_IN])
        html = pages.render_moderation(results.page(visitors.invitation))
        return Response(html.encode("utf-8", errors="replace"), media_type="text/html; charset=utf-8")

    @app.get("/static/{name}")
    def static(name: str, request: fastapi.Request) -> Response:
        asset = pages.assets().get(name)
        if asset is None:
            raise UnknownBattle("there is no such file")
        headers = {"etag": asset.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return Response(asset.data, media_type=asset.media_type, headers=headers)


def _add_refusals(app: fastapi.FastAPI) -> None:
    @app.exception_handler(AnimetuneError)
    def refused(request: fastapi.Request, error: AnimetuneError) -> Response:
        status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
        headers = {"retry-after": str(math.ceil(error.seconds))} if isinstance(error, TooOften) else None
        return JSONResponse({"detail": str(error)}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    def malformed(request: fastapi.Request, error: RequestValidationError) -> Response:
        return JSONResponse({"detail": "; ".join(_problems(error))}, status_code=422)


def _problems(error: RequestValidationError) -> Iterator[str]:
    """What is wrong with a body, without a word of what it held."""
    for problem in error.errors()[:5]:
        yield f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}"


def _told(battle: Battle) -> dict[str, Any]:
    """A battle as its voter gets it before the vote."""
    return {
        "token": battle.token,
        "mode": battle.mode,
        "draw": battle.mode == "fixed",
        "prompt": battle.prompt,
        "width": battle.size.width,
        "height": battle.size.height,
        "slots": [{"url": f"/i/{battle.token}/{slot}"} for slot in range(len(battle.pictures))],
    }


def _page(asset: pages.Asset) -> Response:
    return Response(asset.data, media_type=asset.media_type)
