"""`animetune arena`: the server, from the configuration to its end; and what can be had of the votes without it."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from animetune.arena.config import ArenaConfig, is_loopback
from animetune.arena.gallery import Gallery, read_gallery
from animetune.arena.ledger import Ledger, open_votes
from animetune.arena.security import Access, given_token, read_voters
from animetune.arena.store import Store, open_store
from animetune.errors import SetupError

if TYPE_CHECKING:
    import uvicorn

    from animetune.arena.ratings import Ratings

Say = Callable[[str], None]

RANKING_NAME = "ranking.html"
"""In `out`: the page of `--rank`."""
INSTALL = "the arena needs the packages fastapi and uvicorn, and {} is not installed; pip install 'animetune[arena]'"
MAX_CONNECTIONS = 256
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 5
"""For answers that are under way when the server is to end."""


def serve(cfg: ArenaConfig, say: Say) -> int:
    """Serve the arena until a signal comes, and return its number: SIGINT or SIGTERM.

    Raises SetupError where a package is missing, the port is taken or the token is not set, and what `read_gallery` and
    `Store` raise.
    """
    require_packages()
    access = _access(cfg)
    gallery = read_gallery(cfg)
    with contextlib.closing(listen(cfg.host, cfg.port)) as listener, open_store(cfg, gallery) as store:
        for line in [*gallery.notes, *_welcome(cfg, gallery, store, access, listener)]:
            say(line)
        return _until_signal(make_server(cfg, store, gallery, access), listener)


def rank(cfg: ArenaConfig, say: Say) -> None:
    """Say the ratings, and write their page into the arena's folder. SetupError where nobody has voted."""
    from animetune.arena import report

    with open_votes(cfg) as ledger:
        ratings = _ratings(cfg, ledger)
    for line in report.lines(ratings):
        say(line)
    page = cfg.out / RANKING_NAME
    report.write(ratings, page, title=cfg.title)
    say(f"see {page}")


def export(cfg: ArenaConfig, folder: Path, say: Say) -> None:
    """Publish votes, preferences and ratings in `folder`; raises as `animetune.arena.export.export`."""
    from animetune.arena import export as exports

    with open_votes(cfg) as ledger:
        votes, ratings = list(ledger.votes()), _ratings(cfg, ledger)
        salt = read_voters(cfg.out).salt
        exports.export(votes, ratings, folder, salt=salt, title=cfg.title, shown=ledger.shown)
    say(f"{len(votes):,} votes: see {folder}")


def require_packages() -> None:
    """SetupError where a package of the extra `arena` is missing that the server cannot do without."""
    for name in ("fastapi", "uvicorn"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SetupError(INSTALL.format(name)) from error


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address, or at a free port for port 0; SetupError where that cannot be."""
    name = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise SetupError(f"host: {host} is no address that can be listened at ({error.strerror})") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise SetupError(_why_not(host, port, error)) from error
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port: {port} at {host} is taken by another program; stop that, or choose another: --set port=0"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port: {port} may not be listened at by this user; choose one above 1023, as --set port=8765"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host: {host} is no address of this machine; 127.0.0.1 is, 0.0.0.0 stands for all it has"
    return f"host: {host}, port: {port}: cannot be listened at ({error.strerror})"


def _access(cfg: ArenaConfig) -> Access:
    token = given_token(cfg.token_env)
    if token is None and not is_loopback(cfg.host):
        raise SetupError(f"host: {cfg.host} can be reached from other machines; name a secret in `token_env`")
    return Access(token or os.urandom(16).hex(), is_open=token is None)


def _welcome(
    cfg: ArenaConfig, gallery: Gallery, store: Store, access: Access, listener: socket.socket
) -> Iterator[str]:
    """Where to vote, and where to look at results."""
    site = f"http://{_site(cfg.host, listener.getsockname()[1])}"
    counts = store.counts()
    pictures = len(gallery.pictures)
    yield f"{cfg.title}: {len(gallery.models)} models, {pictures:,} pictures; votes so far: {counts.votes:,}"
    if access.is_open:
        yield f"vote:     {site}/"
        yield f"moderate: {site}/moderate#token={access.token}"
    else:
        yield f"vote:     {site}/?invite={access.invitation}"
        yield f"moderate: {site}/moderate, with the token in ${cfg.token_env}"
    yield "Ctrl-C ends it; every vote is kept"


def _site(host: str, port: int) -> str:
    name = host.strip("[]")
    if name in ("0.0.0.0", "::"):  # noqa: S104
        name = _own_address()  # the machine's name would be refused, unless `hosts` has it
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _own_address() -> str:
    """The address by which others reach this machine, or its own where it has no network."""
    for family, elsewhere in (
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET6, "2001:db8::1"),
    ):  # RFC 5737, 3849
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # finds the way there, and sends nothing
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def make_server(cfg: ArenaConfig, store: Store, gallery: Gallery, access: Access) -> uvicorn.Server:
    """The server, which `run(sockets=[listener])` starts and `should_exit` ends."""
    import uvicorn

    from animetune.arena.app import make_app
    from animetune.arena.guard import MAX_HEADERS, PatientProtocol

    return uvicorn.Server(
        uvicorn.Config(
            make_app(cfg, store, gallery, voters=read_voters(cfg.out), access=access),
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADERS,
        )
    )


def _until_signal(server: uvicorn.Server, listener: socket.socket) -> int:
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        server.force_exit = bool(received)
        server.should_exit = True
        received.append(number)

    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment] # its own dies of SIGTERM
    with _handling(end):
        server.run(sockets=[listener])
    return received[0] if received else signal.SIGTERM


@contextlib.contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _ratings(cfg: ArenaConfig, ledger: Ledger) -> Ratings:
    from animetune.arena.ratings import rate

    return rate(list(ledger.votes()), confidence=cfg.goal.confidence, models=tuple(cfg.models))
