"""What is asked of every request before the arena sees it: the ASGI layer around the application.

    DNS rebinding     Host is an address, `localhost` or a name of `hosts:`, with the port of the server
    forged requests   a POST carries the Origin of the page itself and JSON; another site embeds nothing of ours
    floods            bodies of MAX_BODY bytes, targets of MAX_TARGET bytes, clients that take SECONDS for a request
    scripts           a Content-Security-Policy under which only the arena's own files run

The application sees a body that has arrived as a whole.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 8 * 1024
"""Bytes of a request's body; the largest that the arena's pages send has some hundred."""
MAX_TARGET = 2048
"""Bytes of a request's path and query."""
MAX_HEADERS = 16 * 1024
"""Bytes of a request's line and headers."""
SECONDS = 15.0
"""For a request to arrive, from its first byte or the opening of the connection to the last byte of its body."""
SECONDS_TO_TAKE = 90.0
"""For an answer to be taken by the client."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer."""


class Refusal(NamedTuple):
    """Why a request goes no further."""

    status: int
    what: str


def refusal(scope: Scope, hosts: Iterable[str]) -> Refusal | None:
    """What is wrong with a request, by its line and headers; None where nothing is.

    `hosts` are names by which the arena may be called besides `localhost` and addresses.
    """
    if scope["method"] not in ("GET", "HEAD", "POST"):
        return Refusal(405, "only GET, HEAD and POST")
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > MAX_TARGET:
        return Refusal(414, "the address is too long")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
        return Refusal(431, f"headers have at most {MAX_HEADERS} bytes")
    named = _values(scope, b"host")
    if len(named) != 1 or not is_known_host(named[0], hosts, port=_port(scope)):
        return Refusal(421, "this server does not go by that name; `hosts:` of its configuration lists names")
    if _values(scope, b"sec-fetch-site")[:1] == ["cross-site"] and _values(scope, b"sec-fetch-mode") != ["navigate"]:
        return Refusal(403, "asked by the page of another site")
    if scope["method"] != "POST":
        return None
    origins = _values(scope, b"origin")
    if len(origins) != 1 or not _is_own_origin(origins[0], named[0]):
        return Refusal(403, "a POST comes from the arena's own page, with its Origin")
    if [value.partition(";")[0].strip().lower() for value in _values(scope, b"content-type")] != ["application/json"]:
        return Refusal(415, "a POST carries application/json")
    length = _values(scope, b"content-length")
    if length and (not length[0].isdecimal() or len(length[0]) > 9 or int(length[0]) > MAX_BODY):
        return Refusal(413, f"a body has at most {MAX_BODY} bytes")
    return None


def is_known_host(value: str, hosts: Iterable[str], *, port: int | None) -> bool:
    """Whether a Host header may name this server.

    A rebound name is a name: addresses are taken as they are, with the server's own port. Names that were configured
    may stand behind a proxy, and are taken with any port.
    """
    try:
        split = urlsplit(f"//{value}")
        name, given = split.hostname or "", split.port
    except ValueError:
        return False
    if split.netloc != value or "@" in value or not name:
        return False
    if name in {host.lower() for host in hosts}:
        return True
    return (name == "localhost" or is_address(name)) and (port is None or (given or 80) == port)


def is_address(name: str) -> bool:
    """Whether it is an IP address, not a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """The application, behind the checks of this module."""

    def __init__(self, app: App, hosts: Iterable[str] = ()):
        self._app = app
        self._hosts = tuple(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = _with_headers(send)
        found = refusal(scope, self._hosts)
        if found is None and scope["method"] == "POST":
            body = await _read(receive)
            if body is None:
                return
            found = Refusal(413, f"a body has at most {MAX_BODY} bytes") if len(body) > MAX_BODY else None
            receive = _given(body, receive)
        if found is not None:
            await _refuse(answer, found)
            return
        await self._app(scope, receive, answer)


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP, which for its part waits for ever for the rest of a request, and for an answer to be taken."""

    def __init__(self, config: Config, *args: Any, **options: Any):
        super().__init__(config, *args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._awaited = ""

    def connection_made(self, transport: Any) -> None:
        """The first request has to come soon."""
        super().connection_made(transport)
        self._await("request", SECONDS)

    def data_received(self, data: bytes) -> None:
        """A request that has begun has to arrive as a whole, and its answer has to be taken."""
        super().data_received(data)
        state = str(self.conn.their_state)
        if state == "SEND_BODY" or (state == "IDLE" and self.conn.trailing_data[0]):
            self._await("request", SECONDS)
        elif not self.transport.is_closing():
            self._await("answer", SECONDS_TO_TAKE)

    def on_response_complete(self) -> None:
        """What was answered is all written, but perhaps not taken; and the next request may have come with it."""
        super().on_response_complete()
        if not self.transport.get_write_buffer_size():
            self._forget()
        if not self.cycle.response_complete:
            self._await("answer", SECONDS_TO_TAKE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._forget()
        super().connection_lost(exc)

    def _await(self, what: str, seconds: float) -> None:
        """Give the client so long; what is waited for already gets no more time by arriving in drops."""
        if what != self._awaited:
            self._forget()
            self._awaited = what
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline, self._awaited = None, ""


def _port(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for header, value in scope["headers"] if header == name]


def _is_own_origin(origin: str, host: str) -> bool:
    try:
        split = urlsplit(origin)
    except ValueError:
        return False
    return split.scheme in ("http", "https") and split.netloc == host and origin == f"{split.scheme}://{split.netloc}"


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message.get("headers", ())}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in own]
            if b"cache-control" not in own:
                more.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return answer


async def _read(receive: Receive) -> bytes | None:
    """The body, or as much as shows that it is too long; None when the client is gone."""
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body"):
            break
    return b"".join(parts)


def _given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body at once, and after it what else comes."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again


async def _refuse(send: Send, found: Refusal) -> None:
    body = f"{found.what}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
