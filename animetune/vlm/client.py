"""A server of models, asked by the client of OpenAI: one request at a time, sent again until it is answered.

The client's own retries are off: ours know of other requests (`pacing`), and count what they send. A response is read
up to MOST_BYTES within a total time, so that neither a flood nor a trickle holds us up. Redirects are not followed,
since they would take key and picture elsewhere. Keys are in no message: all that a server says passes `_scrub`.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from animetune.errors import SetupError
from animetune.vlm.config import ClientConfig, ModelConfig
from animetune.vlm.errand import Errand
from animetune.vlm.pacing import Failure, Pace, backoff, retry_after
from animetune.vlm.replies import FAILED, REFUSED, BadReplyError, Reply, UnansweredError, read_reply
from animetune.vlm.requests import PictureRef, Request
from animetune.vlm.usage import Usage

if TYPE_CHECKING:
    import openai

MOST_BYTES = 64 * 1024
"""Of a response; an answer has one or two thousand."""
LOGPROBS_TIMES = 8
"""A response that lists likelihoods, too, may be so many times as long."""
CONNECTIONS = 8
"""Of one pool: for every request a pool looks at each of its connections, with system calls."""
BUSY_ATTEMPTS = 3
"""A request that meets a busy server (429) is sent so many times as often."""
_SAID = 200
"""Characters of what a server says that are passed on."""
_STOP = {
    401: "the server does not accept the key: see whether the environment variable {key} holds the right one",
    402: "the account has no credit left",
    403: "the key may not use this model: see the rights of the key in {key}",
    404: "there is no such model or path: see `model`, and whether `base_url` ends as the server wants, mostly in /v1",
    405: "this path takes no requests: see whether `base_url` ends as the server wants it, mostly in /v1",
}
"""Status -> remedy, of those that no other request would be spared."""
_TRANSIENT = (408, 409, 425, 429)

Encode = Callable[[PictureRef], Awaitable[bytes]]
"""Opens a picture and encodes it as it is sent. Raises PictureError."""


class Server:
    """The backend of one model behind a base URL."""

    def __init__(self, model: ModelConfig, cfg: ClientConfig, encode: Encode, usage: Usage):
        import openai

        assert model.base_url is not None
        self._name = re.sub(r"//[^/]*@", "//", model.base_url)  # without a name and a password
        self._key = _key(model, usage.errand)
        self._model, self._cfg, self._encode, self._usage = model, cfg, encode, usage
        self._errand = usage.errand
        self._most_bytes = MOST_BYTES * (LOGPROBS_TIMES if model.extra_body.get("logprobs") else 1)
        self._pace = Pace(cfg, self._name, self._errand)
        httpx = self._httpx = _httpx()
        trusted = httpx.create_ssl_context()  # once: it reads a hundred certificates
        self._free: list[openai.AsyncOpenAI] = []
        self._clients = []
        for begin in range(0, cfg.concurrency, CONNECTIONS):
            connections = min(CONNECTIONS, cfg.concurrency - begin)
            http = openai.DefaultAsyncHttpxClient(
                timeout=httpx.Timeout(cfg.read, connect=cfg.connect, pool=None),
                limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
                headers={"Accept-Encoding": "identity"},
                event_hooks={"response": [self._cap]},
                follow_redirects=False,
                verify=trusted,
            )
            client = openai.AsyncOpenAI(
                base_url=model.base_url, api_key=self._key or "none", max_retries=0, http_client=http
            )
            self._clients.append(client)
            self._free += [client] * connections

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()

    async def complete(self, request: Request, *, is_last: bool = True) -> Reply:
        """The reply, or that there is none (FAILED, REFUSED).

        FAILED is only said of a request when another, sent after it first failed, was answered: else it is perhaps the
        server's fault. Where none was, raises UnansweredError, or, if it `is_last`, asks until the server lives or
        is given up. SetupError when it makes no sense to ask anything; RequestLimitError.
        """
        encoded = None if request.picture is None else await self._encode(request.picture)
        body = request.body(encoded)
        digest = request.digest
        failures = busy = 0
        first_failure = float("inf")
        while True:
            while (rest := self._pace.rest) > 0:
                await self._usage.sleep(rest)
            outcome = await self._send(body)
            if isinstance(outcome, Reply):
                return outcome
            first_failure = min(first_failure, time.monotonic())
            self._usage.failed(outcome.what.partition(":")[0])
            if self._pace.failed(outcome) and not await self._is_alive():
                self._pace.pause(outcome)
            failures, busy = failures + (not outcome.is_busy), busy + outcome.is_busy
            if failures >= self._cfg.attempts or busy >= BUSY_ATTEMPTS * self._cfg.attempts:
                if self._pace.newest_success > first_failure or (is_last and await self._is_alive()):
                    return Reply(outcome.what, finish="", code=FAILED)
                if not is_last:
                    raise UnansweredError(outcome.what)
                failures = busy = 0
            await self._usage.sleep(backoff(digest, failures + busy, self._cfg))

    async def _is_alive(self) -> bool:
        """Whether the model answers the smallest of questions, without a picture. Its answer is not kept."""
        said = {"role": "user", "content": "Say yes."}
        outcome = await self._send({"model": self._model.model, "messages": [said], "max_tokens": 1})
        return isinstance(outcome, Reply)

    async def _send(self, body: dict[str, Any]) -> Reply | Failure:
        """Once."""
        import openai

        self._usage.sending()
        sent = time.monotonic()
        status: openai.APIStatusError | None = None
        try:
            async with asyncio.timeout(self._cfg.connect + self._cfg.read):
                raw = await self._post(body)
            reply = read_reply(raw)
        except openai.APIStatusError as error:
            status = error
        except (openai.APITimeoutError, TimeoutError) as error:
            is_unreached = isinstance(error.__cause__, self._httpx.ConnectTimeout)
            return Failure(
                f"timeout: no {'connection' if is_unreached else 'whole answer'} came in time",
                is_unreached=is_unreached,
            )
        except openai.APIConnectionError as error:
            return self._unconnected(error)
        except _TooLargeError as error:
            return Failure(f"too large: {error}")
        except BadReplyError as error:
            return Failure(f"bad reply: {self._scrub(str(error))}")
        if status is not None:  # judged here, since what the server says, the key perhaps, would be context of errors
            return self._judge(status)
        self._pace.succeeded(sent)
        self._usage.answered(reply)
        return reply

    async def _post(self, body: dict[str, Any]) -> bytes:
        client = self._free.pop()  # there is one for each worker of the pool that asks
        try:
            response = await client.post("/chat/completions", cast_to=self._httpx.Response, body=body)
        finally:
            self._free.append(client)
        return response.content

    def _judge(self, error: openai.APIStatusError) -> Reply | Failure:
        """What an error's status means: for the request, or for all. SetupError where no request would be answered."""
        status = error.status_code
        said = self._scrub(str(error.message))
        if status in _STOP:
            remedy = _STOP[status].format(key=self._model.api_key_env or "named by api_key_env, which is not set,")
            raise SetupError(f"{self._errand.name}: {self._name} answers with status {status} ({said}): {remedy}")
        if 300 <= status < 400:
            raise SetupError(
                f"{self._errand.name}: {self._name} redirects to another place (status {status}): give its "
                "final URL as base_url"
            )
        if status in _TRANSIENT or status >= 500:
            wait = retry_after(error.response.headers.get("retry-after"), datetime.datetime.now(datetime.UTC))
            return Failure(f"status {status}: {said}", wait, is_busy=status == 429)
        self._usage.refused()
        self._pace.refused(f"status {status}: {said}")
        return Reply(f"status {status}: {said}", finish="", code=REFUSED)

    def _unconnected(self, error: openai.APIConnectionError) -> Failure:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, _TooLargeError):
                return Failure(f"too large: {cause}")
            last, cause = cause, cause.__cause__
        is_unreached = isinstance(error.__cause__, self._httpx.ConnectError)
        return Failure(f"connection: {self._scrub(f'{type(last).__name__} {last}'.strip())}", is_unreached=is_unreached)

    async def _cap(self, response: Any) -> None:
        """Let the body of a response be read up to so many bytes, as it came: nothing that unfolds to more."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _TooLargeError("the response is compressed, which was not asked for")
        response.stream = _capped(response.stream, self._httpx.AsyncByteStream, self._most_bytes)

    def _scrub(self, said: str) -> str:
        """What a server says, on one line, short, and without what nobody else may read."""
        if self._key is not None:
            said = said.replace(self._key, "***")
        said = re.sub(r"Bearer\s+\S+|\bsk-[\w-]{6,}|//[^/\s@]+@", "***", said)
        said = re.sub(r"\s+|[^\x20-\x7e\xa0-\U0010ffff]", " ", said)
        return said if len(said) <= _SAID else f"{said[:_SAID]} ..."


class _TooLargeError(Exception):
    """More bytes than any answer has."""


def _httpx() -> Any:
    """The HTTP library that the installed client is built on: httpx for openai 2, httpx2 for openai 3."""
    import openai

    modules = (base.__module__.partition(".")[0] for base in openai.DefaultAsyncHttpxClient.__mro__)
    return importlib.import_module(next(name for name in modules if name.startswith("httpx")))


def _capped(stream: Any, base: type, most: int) -> Any:
    """The stream of a body up to `most` bytes; `base` is the library's class of streams."""

    class Capped(base):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            seen = 0
            async for chunk in stream:
                seen += len(chunk)
                if seen > most:
                    raise _TooLargeError(f"more than {most} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Capped()


def _key(model: ModelConfig, errand: Errand) -> str | None:
    """The key of the environment. SetupError when it is not there."""
    if model.api_key_env is None:
        return None
    key = os.environ.get(model.api_key_env, "").strip()
    if not key:
        raise SetupError(
            f"{errand.name}: {model.model}: the environment variable {model.api_key_env} (api_key_env) is not set: "
            f"export {model.api_key_env}=... and run the same command again"
        )
    return key
