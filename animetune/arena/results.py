"""What moderators ask for: ratings that are worked out when there are new votes, their page, and files to take away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from animetune import fsio
from animetune.arena import export
from animetune.arena.config import ArenaConfig
from animetune.arena.moderation import Moderation, moderation
from animetune.arena.ratings import Ratings, rate
from animetune.arena.store import Store
from animetune.arena.votes import Vote

LIVE_BOOTSTRAPS = 200
"""Resamples behind the intervals of the page and its export; `animetune arena --rank` draws more."""


class File(NamedTuple):
    """Something to take away."""

    media_type: str
    make: Callable[[], bytes]


class Results:
    """The results of one arena. Threads may share it."""

    def __init__(self, cfg: ArenaConfig, store: Store, salt: str, bootstraps: int = LIVE_BOOTSTRAPS):
        """`salt` is what voters are hashed with."""
        self._cfg = cfg
        self._store = store
        self._salt = salt
        self._bootstraps = bootstraps
        self._lock = threading.Lock()
        self._known: tuple[Any, Ratings] | None = None
        self.files: Mapping[str, File] = {
            "export.csv": File("text/csv; charset=utf-8", lambda: export.votes_csv(self.votes(), salt)),
            "export.parquet": File("application/vnd.apache.parquet", lambda: export.votes_parquet(self.votes(), salt)),
            "export.jsonl": File(
                "application/jsonl; charset=utf-8",
                lambda: export.preferences_jsonl(self.votes(), salt, shown=store.shown),
            ),
            "ratings": File("application/json", self._ratings_json),
        }
        """By the last part of their address."""

    def votes(self) -> list[Vote]:
        """Those that count: of voters who are not excluded."""
        return list(self._store.votes())

    def ratings(self) -> Ratings:
        """Of all votes there are; the last ones again, as long as nothing has changed."""
        with self._lock:
            state = (self._store.counts().votes, self._store.excluded())
            if self._known is None or self._known[0] != state:
                found = rate(
                    self.votes(),
                    bootstraps=self._bootstraps,
                    confidence=self._cfg.goal.confidence,
                    models=tuple(self._cfg.models),
                )
                self._known = (state, found)
            return self._known[1]

    def page(self, invitation: str | None) -> Moderation:
        """The moderator's page."""
        return moderation(
            self._cfg,
            list(self._store.votes(with_excluded=True)),
            self.ratings(),
            self._store.excluded(),
            name=self.name,
            notes=self._store.gallery.notes,
            invitation=invitation,
        )

    def name(self, voter: str) -> str:
        """What a voter is called here and in exports."""
        return export.voter_hash(voter, self._salt)

    def exclude(self, name: str, *, excluded: bool) -> bool:
        """Leave out the voter of a name, or take them in again; whether there is one."""
        voters = {vote.voter for vote in self._store.votes(with_excluded=True)}
        found = next((voter for voter in voters if self.name(voter) == name), None)
        if found is not None:
            self._store.exclude(found, "by a moderator", excluded=excluded)
        return found is not None

    def _ratings_json(self) -> bytes:
        return (fsio.canonical_json(export.ratings_json(self.ratings(), self._salt), indent=2) + "\n").encode()
