"""When a server is asked again: waits that grow, Retry-After, and a breaker that gives a failing server a rest."""

from __future__ import annotations

import datetime
import email.utils
import time
from dataclasses import dataclass

from animetune.errors import SetupError
from animetune.seeding import Purpose, rng_for, text_counter
from animetune.vlm.config import ClientConfig
from animetune.vlm.errand import Errand

UNREACHED = 3
"""Attempts in a row without a connection, before there ever was one, after which it is not waited for."""


def backoff(digest: str, failures: int, cfg: ClientConfig) -> float:
    """Seconds to wait after so many failures of a request: full jitter, uniform in [0, min(longest, first * 2^n)].

    Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). Drawn by request and count, so that
    requests that failed together are not sent together again.
    """
    most = min(cfg.longest_wait, cfg.backoff * 2.0 ** min(failures - 1, 30))
    return float(rng_for(0, Purpose.DRAW, text_counter(digest), failures).uniform(0.0, most))


def retry_after(header: str | None, now: datetime.datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date); None for none, or nonsense."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(header)
        except (ValueError, TypeError):
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp() - now.timestamp()
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that was not answered."""

    what: str
    """In words, without secrets."""
    retry_after: float | None = None
    is_busy: bool = False
    """The server has no time (429), which says nothing of the request."""
    is_unreached: bool = False
    """There was no connection: nobody listens, the name is unknown, or a network is between."""


class Pace:
    """Shared by all who ask one server: nobody asks while it wants to rest, and nobody for ever."""

    def __init__(self, cfg: ClientConfig, server: str, errand: Errand | None = None):
        self._cfg = cfg
        self._server = server
        self._errand = errand or Errand()
        self._not_before = 0.0
        self._in_row = 0
        self._pauses = 0
        self._refused_in_row = 0
        self._limit = max(cfg.breaker_failures, cfg.concurrency)
        self.newest_success = float("-inf")
        """When the newest request was sent that was answered; time.monotonic()."""

    @property
    def rest(self) -> float:
        """Seconds until the server may be asked; not above zero when it may."""
        return self._not_before - time.monotonic()

    def succeeded(self, sent: float) -> None:
        """An answer came to a request that was sent at that time."""
        self._in_row = self._pauses = self._refused_in_row = 0
        self.newest_success = max(self.newest_success, sent)

    def refused(self, what: str) -> None:
        """The server would not take a request. SetupError when it takes none at all."""
        self._in_row = 0
        self._refused_in_row += 1
        if self._refused_in_row >= self._limit:
            raise SetupError(
                f"{self._errand.name}: {self._server} refused {self._refused_in_row} requests in a row, the last with: "
                f"{what}; if the settings are to blame, correct them and run the same command with "
                f"{self._errand.ask_again}"
            )

    def failed(self, failure: Failure) -> bool:
        """Nothing came. Returns whether that makes too many in a row: then `pause`, unless the server lives."""
        self._in_row += 1
        if failure.retry_after is not None:
            self._rest(min(failure.retry_after, 10 * self._cfg.longest_wait))
        return self._in_row % (UNREACHED if self._was_never_there(failure) else self._limit) == 0

    def _was_never_there(self, failure: Failure) -> bool:
        return failure.is_unreached and self.newest_success == float("-inf")

    def pause(self, failure: Failure) -> None:
        """Give the server a rest; SetupError after too many, and at once when nobody ever listened."""
        if self._was_never_there(failure):
            raise SetupError(
                f"{self._errand.name}: nobody listens at {self._server}: it does not answer ({failure.what}). Start a "
                "server of models there (such as `vllm serve MODEL`), wait until it has loaded, or correct base_url, "
                f"and run the same command again{self._errand.without and f'; {self._errand.without}'}"
            )
        if self._pauses >= self._cfg.breaker_pauses:
            raise SetupError(
                f"{self._errand.name}: {self._server} does not answer: {self._in_row} requests in a row failed, and "
                f"{self._pauses} pauses of {self._cfg.breaker_pause:g} s did not help; the last one: {failure.what}. "
                "See whether the server runs, and run the same command again: it resumes with what is missing"
            )
        self._pauses += 1
        self._rest(self._cfg.breaker_pause)

    def _rest(self, seconds: float) -> None:
        self._not_before = max(self._not_before, time.monotonic() + seconds)
