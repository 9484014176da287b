"""Who asks, and how often: signed voter ids, the invitation and the moderator's token, limits of rate.

A voter is a random number in a cookie that the server has signed, so that nobody makes up voters faster than `Rates`
hands them out, and nobody votes as another. One secret, the token, opens the moderator's page; the invitation that
voters get is derived from it and opens nothing else, since who sees the results no longer votes blindly.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from animetune import fsio
from animetune.errors import SetupError

KEY_FILE = "voters.key"
"""In the folder of an arena: what voters' cookies are signed with. Without it voters come back as others."""
KEY_BYTES = 32
MIN_TOKEN = 12
"""Characters of a token that is given."""
MAX_CLIENTS = 10_000
"""Clients whose rate is remembered; who asked least recently is forgotten first."""

Right = Literal["vote", "moderate"]

_ID = re.compile(r"[0-9a-f]{32}")


class Voters:
    """Voter ids and their cookies, which only the holder of `key` makes."""

    def __init__(self, key: bytes):
        self._key = key
        self.cookie = f"arena_voter_{_mac(key, 'cookie')[:8]}"
        """Name of the cookie: cookies do not know ports, and two arenas on one host are not to share theirs."""

    @property
    def salt(self) -> str:
        """What voters are hashed with in what others get to see."""
        return _mac(self._key, "salt")

    def new(self) -> str:
        """A voter id, 32 hex digits."""
        return os.urandom(16).hex()

    def signed(self, voter: str) -> str:
        """The cookie's value."""
        return f"{voter}.{_mac(self._key, voter)}"

    def read(self, value: str | None) -> str | None:
        """The id in a cookie's value; None if there is none, or it was signed by somebody else."""
        voter, _, signature = (value or "").partition(".")
        if not _ID.fullmatch(voter) or not _same(signature, _mac(self._key, voter)):
            return None
        return voter


def read_voters(folder: Path) -> Voters:
    """The voters of an arena; the key is made the first time, readable by its owner alone."""
    file = folder / KEY_FILE
    try:
        key = file.read_bytes()
    except FileNotFoundError:
        with fsio.turn(folder):
            if not file.exists():
                with fsio.atomic_file(file) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_bytes(os.urandom(KEY_BYTES))
            key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise SetupError(f"{file}: has {len(key)} bytes, not {KEY_BYTES}; delete it, and voters come back as new ones")
    return Voters(key)


class Access:
    """What opens which page. Without a token everybody who reaches the server may vote."""

    def __init__(self, token: str, *, is_open: bool):
        self.token = token
        """The moderator's."""
        self._token = token.encode()
        self.is_open = is_open
        """Whether voting takes no invitation."""
        self.invitation = _mac(self._token, "vote")[:24]
        """What voters are given, in the link to the page."""
        self.cookie = f"arena_access_{_mac(self._token, 'cookie')[:8]}"

    def granted(self, right: Right) -> str:
        """The cookie's value of who may do it."""
        return f"{right}.{_mac(self._token, f'cookie {right}')}"

    def may(self, right: Right, cookie: str | None) -> bool:
        """Whether the cookie lets its holder vote or moderate; a moderator may do both."""
        if right == "vote" and self.is_open:
            return True
        rights: tuple[Right, ...] = ("vote", "moderate") if right == "vote" else ("moderate",)
        return any(_same(cookie or "", self.granted(one)) for one in rights)

    def is_token(self, given: str) -> bool:
        """Whether it is the moderator's token."""
        return _same(given, self.token)

    def is_invitation(self, given: str) -> bool:
        """Whether it is what voters are given."""
        return _same(given, self.invitation)


def given_token(name: str | None) -> str | None:
    """The token in the environment variable `name`; SetupError where it is not set, or soon guessed."""
    if name is None:
        return None
    token = os.environ.get(name, "").strip()
    if not token:
        raise SetupError(f"token_env: the environment variable {name} is not set; give it a long random text")
    if len(token) < MIN_TOKEN:
        raise SetupError(f"token_env: the text in {name} has {len(token)} characters; {MIN_TOKEN} at least")
    return token


class Rate(NamedTuple):
    """`burst` at once, and `per_second` from there on."""

    per_second: float
    burst: int


class Rates:
    """Token buckets, one a key; safe to share among threads."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic):
        self._rate = rate
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str) -> float:
        """Seconds until the key may do it; 0 where it may now, which is counted."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(key, (float(self._rate.burst), now))
            left = min(self._rate.burst, left + (now - at) * self._rate.per_second)
            waits = max(0.0, (1 - left) / self._rate.per_second)
            self._left[key] = (left if waits else left - 1, now)
            while len(self._left) > MAX_CLIENTS:
                self._left.popitem(last=False)
            return waits


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", errors="replace"), other.encode("utf-8", errors="replace"))
