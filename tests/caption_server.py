"""A real HTTP server on loopback that speaks POST /v1/chat/completions, and fails in the ways that real ones do.

    with caption_server(script) as server:
        ... server.base_url, server.asked ...

`script` is asked for every request what shall happen to it (`Mode`), by what the request is about; a fault plan such as
`faults({"7": ["http500", "cut_json"]})` gives the requests about one picture their faults in turn, and `ok` after them.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import hashlib
import io
import json
import re
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, get_args

Mode = Literal[
    "ok",
    "http429",  # without a word on when
    "http429_after",  # Retry-After in seconds
    "http429_date",  # Retry-After as an HTTP date
    "http500",
    "http503_after",
    "timeout",  # reads the request and never answers
    "drip",  # a body that comes a byte at a time, and never to an end
    "cut_json",  # Content-Length fits, the JSON does not end
    "cut_body",  # fewer bytes than Content-Length promises
    "wrong_schema",
    "junk",
    "huge",  # a megabyte
    "huge_error",  # a megabyte, with status 500
    "gzip_bomb",  # 10 MB in 10 KB
    "dropped",  # the connection is reset
    "refusal",
    "empty",
    "null_content",
    "length",  # cut by max_tokens
    "filtered",  # finish_reason content_filter
    "loop",
    "html",  # a proxy's error page with status 200
    "redirect",
    "http400",
    "http401",
    "http402",
    "http403",
    "http404",
    "http413",
]
MODES: tuple[Mode, ...] = get_args(Mode)
TRANSIENT: tuple[Mode, ...] = (
    "http429",
    "http429_after",
    "http429_date",
    "http500",
    "http503_after",
    "timeout",
    "drip",
    "cut_json",
    "cut_body",
    "wrong_schema",
    "junk",
    "huge",
    "huge_error",
    "gzip_bomb",
    "dropped",
    "html",
)
"""After which the same request is sent again."""
REJECTED: tuple[Mode, ...] = ("refusal", "empty", "null_content", "length", "filtered", "loop")
"""Whole answers that are no caption: another one is asked for."""


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    digest: str
    """SHA-256 of the body."""
    about: str
    """What the picture is, as `about` told; empty for a request without one."""
    body: dict[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""
    mode: Mode
    at: float
    """time.monotonic()"""


Script = Callable[[str, int, dict[str, Any]], Mode]
"""Of what a request is about, how many such came before, and its body, to what happens."""
Answer = Callable[[str, dict[str, Any]], str]
"""Of what a request is about and its body, to the text of a good answer."""


def always_ok(about: str, before: int, body: dict[str, Any]) -> Mode:
    """No faults."""
    return "ok"


def faults(plan: Mapping[str, Sequence[Mode] | Mode]) -> Script:
    """About -> the faults of the requests about it, in turn and then `ok`; a single mode is that of all of them."""

    def script(about: str, before: int, body: dict[str, Any]) -> Mode:
        modes = plan.get(about, ())
        if isinstance(modes, str):
            return modes
        return modes[before] if before < len(modes) else "ok"

    return script


def picture_of(body: dict[str, Any]) -> bytes | None:
    """The encoded picture of a request, or None."""
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for part in message["content"]:
                if part["type"] == "image_url":
                    header, _, data = part["image_url"]["url"].partition(",")
                    assert header in ("data:image/jpeg;base64", "data:image/png;base64", "data:image/webp;base64")
                    return base64.b64decode(data, validate=True)
    return None


def text_of(body: dict[str, Any]) -> str:
    """All text of a request."""
    pieces = []
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        pieces += [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(pieces)


def by_digest(body: dict[str, Any]) -> str:
    """SHA-256 of the picture, 12 hex digits; empty without one."""
    picture = picture_of(body)
    return "" if picture is None else hashlib.sha256(picture).hexdigest()[:12]


def by_colour(body: dict[str, Any]) -> str:
    """`r,g,b` of the picture's middle pixel in steps of 16, which survives JPEG; empty without one."""
    from PIL import Image

    picture = picture_of(body)
    if picture is None:
        return ""
    with Image.open(io.BytesIO(picture)) as image:
        pixel = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return ",".join(str(round(value / 16)) for value in pixel)


def plain_answer(about: str, body: dict[str, Any]) -> str:
    """A caption that depends on the picture and the seed alone."""
    seed = body.get("seed", 0)
    number = int(hashlib.sha256(about.encode()).hexdigest()[:4], 16)
    return (
        f"A person stands in a quiet garden beside the pond of house number {number}, looking up at a pale sky "
        f"while the wind moves the leaves behind them. A gate with the number {seed} is half open."
    )


_QUESTION = re.compile(r"(?:^|\n)(?:\d+\.\s*)?([^\n?]+\?)")


def questions_of(body: dict[str, Any]) -> list[str]:
    """What a request asks: all up to a question mark, a line each, without their numbers."""
    return _QUESTION.findall(text_of(body))


def by_question(body: dict[str, Any]) -> str:
    """The question of a request; those of one with several with ` + ` between; empty for one without."""
    return " + ".join(questions_of(body))


def answers_from(answers: Mapping[str, str]) -> Answer:
    """The answer of a vision model that knows `answers` to questions, and says no to all others.

    To several questions as a JSON object of their numbers.
    """

    def answer(about: str, body: dict[str, Any]) -> str:
        said = [answers.get(question, "No.") for question in questions_of(body)]
        if len(said) == 1:
            return said[0]
        return json.dumps({str(number): each for number, each in enumerate(said, start=1)})

    return answer


@dataclass
class CaptionServer:
    """What a test sees of the server."""

    script: Script = always_ok
    answer: Answer = plain_answer
    about: Callable[[dict[str, Any]], str] = by_digest
    latency: float = 0.0
    """Seconds before every answer."""
    journal: Path | None = None
    """File that gets the digest of every body, so that what other processes asked outlives them."""
    tops: Mapping[str, float] | None = None
    """Token -> log probability, said of the first token of answers to requests for `logprobs`."""
    key: str | None = None
    """When set, requests without it get 401."""
    asked: list[Asked] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    """Digests of bodies whose answer (of any mode that is one) went out whole."""
    base_url: str = ""
    most_at_once: int = 0
    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def note(self, raw: bytes, headers: Mapping[str, str]) -> Asked:
        """Take down a request, and decide what becomes of it."""
        body = json.loads(raw)
        about = self.about(body)
        digest = hashlib.sha256(raw).hexdigest()
        with self._lock:
            mode = self.script(about, self._counts[about], body)
            if self.key is not None and headers.get("Authorization") != f"Bearer {self.key}":
                mode = "http401"
            self._counts[about] += 1
            lower = {name.lower(): value for name, value in headers.items()}
            asked = Asked(digest, about, body, lower, mode, time.monotonic())
            self.asked.append(asked)
            if self.journal is not None:
                with open(self.journal, "a") as stream:
                    stream.write(f"{digest} {about}\n")
        return asked

    def asked_about(self, about: str) -> list[Asked]:
        """The requests about one picture."""
        return [each for each in self.asked if each.about == about]

    def asked_again(self) -> list[str]:
        """Digests of bodies, but for probes whether the server lives, that were sent again although an answer to them
        had gone out whole."""
        probes = {each.digest for each in self.asked if each.body["max_tokens"] == 1}
        return sorted(digest for digest in set(self.answered) - probes if self.answered.count(digest) > 1)


def completion(text: str | None, *, finish: str = "stop", prompt: int = 100, tokens: int = 40) -> dict[str, Any]:
    """The body of a good answer."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens},
    }


def _token(text: str, tops: Mapping[str, float]) -> dict[str, Any]:
    """The first token of an answer, as the protocol tells its likelihood."""
    listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in tops.items()]
    return {"token": text, "logprob": tops.get(text, -9.0), "bytes": None, "top_logprobs": listed}


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": None}}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        state = self.server.state
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            self._send(404, _error(f"no such path: {self.path}"))
            return
        with state._lock:
            state._at_once += 1
            state.most_at_once = max(state.most_at_once, state._at_once)
        try:
            asked = state.note(raw, self.headers)
            if state.latency:
                time.sleep(state.latency)
            self._answer(asked)
        finally:
            with state._lock:
                state._at_once -= 1

    def _answer(self, asked: Asked) -> None:
        state = self.server.state
        text = state.answer(asked.about, asked.body)
        good = json.dumps(completion(text)).encode()
        match asked.mode:
            case "ok":
                body = completion(text)
                if state.tops is not None and asked.body.get("logprobs"):
                    body["choices"][0]["logprobs"] = {"content": [_token(text, state.tops)]}
                self._whole(asked, body)
            case "http429":
                self._send(429, _error("slow down"))
            case "http429_after":
                self._send(429, _error("slow down"), {"Retry-After": "1"})
            case "http429_date":
                # whole seconds: a little more than one ahead, so that it is not over when it is read
                when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
                self._send(429, _error("slow down"), {"Retry-After": email.utils.format_datetime(when, usegmt=True)})
            case "http500":
                self._send(500, _error("CUDA out of memory"))
            case "http503_after":
                self._send(503, _error("loading"), {"Retry-After": "0"})
            case "timeout":
                state.closing.wait(60)
                self.close_connection = True
            case "drip":
                self._head(200, len(good) * 100)
                with contextlib.suppress(OSError):
                    while not state.closing.wait(0.02):
                        self.wfile.write(b" ")
                self.close_connection = True
            case "cut_json":
                self._send(200, good[: len(good) // 2])
            case "cut_body":
                self._head(200, len(good))
                self.wfile.write(good[: len(good) // 2])
                self.close_connection = True
            case "wrong_schema":
                self._send(200, json.dumps({"choices": [{"text": "a completion of the old kind"}]}).encode())
            case "junk":
                self._send(200, bytes(range(256)) * 4)
            case "huge" | "huge_error":
                self._send(
                    500 if asked.mode == "huge_error" else 200, json.dumps(completion("long " * 200_000)).encode()
                )
            case "gzip_bomb":
                import gzip

                self._send(200, gzip.compress(b" " * 10_000_000), {"Content-Encoding": "gzip"})
            case "dropped":
                # SO_LINGER of zero seconds: close() resets the connection
                import socket

                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
            case "refusal":
                self._whole(asked, completion("I'm sorry, but I can't assist with that request."))
            case "empty":
                self._whole(asked, completion("  \n"))
            case "null_content":
                self._whole(asked, completion(None))
            case "length":
                self._whole(asked, completion(text[: len(text) // 2], finish="length"))
            case "filtered":
                self._whole(asked, completion("", finish="content_filter"))
            case "loop":
                self._whole(
                    asked, completion("A person stands in the garden. " + "and the sky and the sea, " * 40 + "the end.")
                )
            case "html":
                self._send(200, b"<html><body>502 Bad Gateway</body></html>", {"Content-Type": "text/html"})
            case "redirect":
                self._send(307, b"", {"Location": "http://127.0.0.1:1/v1/chat/completions"})
            case "http400":
                self._send(400, _error("the picture was flagged by the content filter"))
                state.answered.append(asked.digest)
            case "http401":
                self._send(401, _error(f"Incorrect API key provided: {self.headers.get('Authorization')}"))
            case "http402":
                self._send(402, _error("insufficient credits"))
            case "http403":
                self._send(403, _error("this key may not use that model"))
            case "http404":
                self._send(404, _error("the model does not exist"))
            case "http413":
                self._send(413, _error("too large"))
                state.answered.append(asked.digest)

    def _whole(self, asked: Asked, body: dict[str, Any]) -> None:
        self._send(200, json.dumps(body).encode())
        self.server.state.answered.append(asked.digest)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, len(body), headers)
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            given = {"Content-Type": "application/json", "Content-Length": str(length), **(headers or {})}
            for name, value in given.items():
                self.send_header(name, value)
            self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    state: CaptionServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever asked was killed, or has waited long enough


@contextlib.contextmanager
def caption_server(script: Script = always_ok, **settings: Any) -> Iterator[CaptionServer]:
    """Serve on a free port of loopback while the block runs; `settings` are the fields of `CaptionServer`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    state = CaptionServer(script=script, **settings)
    server.state = state
    state.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
