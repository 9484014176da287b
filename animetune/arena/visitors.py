"""Who sends a request: cookies in and out, what they open, and how often each visitor may ask."""

from __future__ import annotations

import fastapi

from animetune.arena.security import Access, Rate, Rates, Right, Voters
from animetune.errors import AnimetuneError

ASKING = Rate(per_second=10, burst=60)
"""Of one voter, over battles, votes and their pictures: some times what the fastest voter needs."""
ARRIVING = Rate(per_second=0.5, burst=40)
"""New voters from one address, behind which there may be a whole laboratory."""
SIGNING_IN = Rate(per_second=0.1, burst=5)
"""Tokens and invitations tried from one address."""
YEAR = 365 * 24 * 3600


class NotInvited(AnimetuneError):
    """The visitor lacks the invitation or the token that this takes."""


class TooOften(AnimetuneError):
    """The visitor asks more often than anybody needs to; `seconds` later it may go on."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        super().__init__("that was too often; wait a moment")


class Visitors:
    """The visitors of one arena. Threads may share it."""

    def __init__(self, voters: Voters, access: Access):
        self._voters = voters
        self._access = access
        self._asking, self._arriving, self._signing_in = Rates(ASKING), Rates(ARRIVING), Rates(SIGNING_IN)

    @property
    def invitation(self) -> str | None:
        """Path of the link that lets people vote; None where everybody may."""
        return None if self._access.is_open else f"/?invite={self._access.invitation}"

    def may(self, right: Right, request: fastapi.Request) -> bool:
        """Whether the visitor has the right."""
        return self._access.may(right, request.cookies.get(self._access.cookie))

    def require(self, right: Right, request: fastapi.Request) -> None:
        """NotInvited unless the visitor has the right."""
        if not self.may(right, request):
            raise NotInvited("this takes the link that voters were given" if right == "vote" else "for moderators")

    def voter(self, request: fastapi.Request, response: fastapi.Response) -> str:
        """The visitor's voter id, a new one if there is none yet; TooOften."""
        voter = self._voters.read(request.cookies.get(self._voters.cookie))
        if voter is None:
            _limit(self._arriving, _address(request))
            voter = self._voters.new()
            _set_cookie(request, response, self._voters.cookie, self._voters.signed(voter))
        _limit(self._asking, voter)
        return voter

    def known(self, request: fastapi.Request) -> str:
        """The visitor's voter id; NotInvited for a stranger, TooOften."""
        voter = self._voters.read(request.cookies.get(self._voters.cookie))
        if voter is None:
            raise NotInvited("this belongs to a voter; open the voting page first")
        _limit(self._asking, voter)
        return voter

    def accept(self, invitation: str, request: fastapi.Request, response: fastapi.Response) -> None:
        """Take an invitation for the right to vote; NotInvited for a wrong one, of whoever has not got the right."""
        if self.may("vote", request):
            return
        if not self._access.is_invitation(invitation):
            _limit(self._signing_in, _address(request))
            raise NotInvited("this invitation is for another arena")
        _set_cookie(request, response, self._access.cookie, self._access.granted("vote"))

    def sign_in(self, token: str, request: fastapi.Request, response: fastapi.Response) -> None:
        """Take the token for the right to moderate; NotInvited for a wrong one."""
        _limit(self._signing_in, _address(request))
        if not self._access.is_token(token):
            raise NotInvited("this is not the token")
        _set_cookie(request, response, self._access.cookie, self._access.granted("moderate"))


def _limit(rates: Rates, key: str) -> None:
    seconds = rates.wait(key)
    if seconds:
        raise TooOften(seconds)


def _address(request: fastapi.Request) -> str:
    return request.client.host if request.client else ""


def _set_cookie(request: fastapi.Request, response: fastapi.Response, name: str, value: str) -> None:
    is_https = request.headers.get("origin", "").startswith("https:")  # a proxy's; every POST has an Origin
    response.set_cookie(name, value, max_age=YEAR, httponly=True, samesite="strict", secure=is_https)
