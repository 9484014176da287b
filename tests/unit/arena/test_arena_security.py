"""What the arena asks of requests: the rules alone, and over raw sockets on a real server."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.arena import guard
from animetune.arena.security import KEY_FILE, Access, Rate, Rates, Voters, given_token, read_voters
from animetune.errors import SetupError
from tests.arena_site import Site, arena_config, paint_models, raw, serving, wait_for


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("arena")
    with serving(arena_config(folder, paint_models(folder), hosts=["arena.example.org"])) as served:
        yield served


def get(site: Site, path: str, *headers: str, host: str | None = None) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{site.port}'}", *headers, "Connection: close"]
    return raw(site.port, ("\r\n".join(lines) + "\r\n\r\n").encode())


def post(site: Site, body: bytes, *headers: str, origin: str | None = "own") -> bytes:
    own = f"http://127.0.0.1:{site.port}"
    lines = ["POST /api/arena HTTP/1.1", f"Host: 127.0.0.1:{site.port}", "Connection: close"]
    lines += [] if origin is None else [f"Origin: {own if origin == 'own' else origin}"]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    return raw(site.port, "\r\n".join([*lines, *headers, "", ""]).encode() + body)


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer.split(b" ", 2)[1])


def test_a_plain_request_passes(site: Site) -> None:
    assert status(get(site, "/")) == 200
    assert status(post(site, b"{}")) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "127.0.0.1:1", "localhost", "127.0.0.1",
     "user@127.0.0.1:{port}", "127.0.0.1:{port}@evil.example", "", "[::1", "127.0.0.1:port", "xn--127-0-0-1:{port}"],
)  # fmt: skip
def test_dns_rebinding_is_refused(site: Site, host: str) -> None:
    answer = get(site, "/", host=host.format(port=site.port) or " ")
    assert status(answer) in (400, 421)
    assert b"arena.js" not in answer


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "10.1.2.3:{port}"])
def test_addresses_and_localhost_are_known(site: Site, host: str) -> None:
    assert status(get(site, "/", host=host.format(port=site.port))) == 200


def test_configured_names_are_known_with_the_port_of_their_proxy(site: Site) -> None:
    for host in ("arena.example.org", "arena.example.org:443", "ARENA.example.org"):
        assert status(get(site, "/", host=host)) == 200


def test_two_hosts_and_none_are_refused(site: Site) -> None:
    assert status(get(site, "/", "Host: evil.example")) in (400, 421)
    assert status(raw(site.port, b"GET / HTTP/1.1\r\n\r\n")) == 400
    assert status(raw(site.port, b"GET / HTTP/1.0\r\n\r\n")) == 421


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "file://", "http://127.0.0.1"]
)
def test_a_post_from_elsewhere_is_refused(site: Site, origin: str | None) -> None:
    answer = post(site, b"{}", origin=origin)
    assert status(answer) == 403
    assert b"set-cookie" not in answer.lower()


def test_an_origin_with_a_path_is_none_of_ours(site: Site) -> None:
    assert status(post(site, b"{}", origin=f"http://127.0.0.1:{site.port}/x")) == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""]
)
def test_forms_are_refused(site: Site, kind: str) -> None:
    assert status(post(site, b"{}", f"Content-Type: {kind}")) == 415


def test_another_site_can_neither_embed_nor_ask(site: Site) -> None:
    for path in ("/i/abc/0", "/static/arena.js", "/api/ratings", "/"):
        assert status(get(site, path, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")) == 403
    assert status(get(site, "/", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")) == 200


@pytest.mark.parametrize(
    "path",
    ["/static/../config.py", "/static/%2e%2e/config.py", "/static/..%2f..%2fconfig.py", "/static//etc/passwd",
     "/static/%2fetc%2fpasswd", "/static/moderate.html.j2", "/static/arena.js%00.png", "/static/..\\config.py",
     "/i/../arena.sqlite3", "/i/x/..%2f..%2farena.sqlite3", "/arena.sqlite3", "/voters.key", "/api/../voters.key",
     "/docs", "/openapi.json", "/redoc", "//evil.example/", "/static/"],
)  # fmt: skip
def test_nothing_else_of_the_disk_has_an_address(site: Site, path: str) -> None:
    answer = get(site, path)
    assert status(answer) in (401, 404)
    assert b"import annotations" not in answer
    assert b"SQLite" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(site: Site, method: str) -> None:
    target = "/" if method != "CONNECT" else f"127.0.0.1:{site.port}"
    request = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nConnection: close\r\n\r\n"
    assert status(raw(site.port, request.encode())) in (400, 405)


def test_bodies_are_limited_whatever_they_say_of_their_length(site: Site) -> None:
    large = b" " * (guard.MAX_BODY + 1)
    assert status(post(site, large)) == 413
    assert status(post(site, b"", "Content-Length: 99999999999999")) == 413
    assert status(post(site, b"{}", "Content-Length: -1")) in (400, 413)
    chunks = b"".join(b"400\r\n" + b" " * 1024 + b"\r\n" for _ in range(40)) + b"0\r\n\r\n"
    assert status(post(site, chunks, "Transfer-Encoding: chunked")) == 413
    assert status(post(site, b"{}" + b" " * (guard.MAX_BODY - 2))) == 200


def test_long_addresses_and_headers_are_refused(site: Site) -> None:
    assert status(get(site, "/?" + "a" * guard.MAX_TARGET)) == 414
    assert status(get(site, "/", "X-Long: " + "a" * 2 * guard.MAX_HEADERS)) in (400, 431)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"token": 1}', b"\xff\xfe", b"[" * 4000, b'{"invite": "' + b"x" * 200 + b'"}']
)
def test_malformed_bodies_are_said_to_be(site: Site, body: bytes) -> None:
    answer = post(site, body)
    assert status(answer) in (400, 422)
    assert b"Traceback" not in answer


def test_every_answer_has_the_policy_and_is_not_kept(site: Site) -> None:
    for answer in (get(site, "/"), get(site, "/nothing"), get(site, "/", host="evil.example"), post(site, b"{}"),
                   get(site, "/static/arena.css"), post(site, b"x"), post(site, b"{}", origin=None)):  # fmt: skip
        head = answer.split(b"\r\n\r\n")[0].decode().lower()
        assert "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';" in head
        assert "unsafe" not in head
        assert "x-content-type-options: nosniff" in head
        assert "referrer-policy: no-referrer" in head
        assert "cross-origin-resource-policy: same-origin" in head
        assert "cache-control: no-" in head
        assert "server:" not in head
    assert b"cache-control: no-store" in get(site, "/").lower()


def test_cookies_are_for_the_server_alone(site: Site) -> None:
    head = post(site, b"{}").split(b"\r\n\r\n")[0].decode().lower()
    cookie = next(line for line in head.split("\r\n") if line.startswith("set-cookie: arena_voter_"))
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie


def test_slow_clients_are_sent_off_and_others_served_meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.6)
    starts = [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127",
        f"POST /api/vote HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nOrigin: http://127.0.0.1:{site.port}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode(),
    ]
    slow = [socket.create_connection(("127.0.0.1", site.port), timeout=10) for _ in range(8) for _ in starts]
    began = time.monotonic()
    try:
        for number, connection in enumerate(slow):
            connection.sendall(starts[number % len(starts)])
        assert status(get(site, "/")) == 200
        for connection in slow:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1000) == b""
        assert time.monotonic() - began < 5
    finally:
        for connection in slow:
            connection.close()


def test_a_dripping_request_ends_as_well(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte in time, the whole never: the limit is on the request, not on the silence."""
    monkeypatch.setattr(guard, "SECONDS", 0.6)
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        began = time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 6:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert 0.5 < time.monotonic() - began < 4


def test_who_asks_and_does_not_listen_is_sent_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """More answers than any buffer between the two holds; the connection ends, and its memory with it."""
    monkeypatch.setattr(guard, "SECONDS_TO_TAKE", 0.6)
    request = f"GET /static/arena.js HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", site.port))
        wait_for(lambda: site.server.server_state.connections)
        before = len(site.server.server_state.connections)
        connection.sendall(request * 2000)
        wait_for(lambda: len(site.server.server_state.connections) < before, seconds=8)
    assert status(get(site, "/")) == 200


def test_an_answer_that_is_worked_on_is_not_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        for _ in range(3):  # one connection, kept: each request has its own time
            connection.sendall(f"GET /static/arena.css HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)
            while len(connection.recv(65536)) == 65536:
                pass


def test_cookies_of_voters_are_signed() -> None:
    voters, others = Voters(b"a" * 32), Voters(b"b" * 32)
    voter = voters.new()
    cookie = voters.signed(voter)
    assert voters.read(cookie) == voter
    assert others.read(cookie) is None
    assert voters.cookie != others.cookie
    assert voters.new() != voter
    flipped = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    for forged in (None, "", ".", voter, f"{voter}.", flipped, others.signed(voter), f"{'0' * 32}.{cookie[33:]}"):
        assert voters.read(forged) is None


@given(st.text(max_size=80))
def test_no_other_text_is_a_cookie(text: str) -> None:
    voters, access = Voters(b"a" * 32), Access("a long enough secret", is_open=False)
    assert voters.read(text) is None
    assert not access.may("vote", text)
    assert not access.is_token(text)


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(read_voters(tmp_path).cookie)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(SetupError, match="delete it"):
        read_voters(tmp_path)


def test_an_invitation_opens_the_vote_and_nothing_else() -> None:
    access = Access("a long enough secret", is_open=False)
    assert access.is_invitation(access.invitation)
    assert not access.is_token(access.invitation)
    assert access.is_token("a long enough secret")
    assert not access.may("vote", None)
    assert access.may("vote", access.granted("vote"))
    assert not access.may("moderate", access.granted("vote"))
    assert access.may("vote", access.granted("moderate"))
    assert access.may("moderate", access.granted("moderate"))
    assert Access("another long secret", is_open=False).invitation != access.invitation
    everybody = Access("a long enough secret", is_open=True)
    assert everybody.may("vote", None)
    assert not everybody.may("moderate", None)
    assert "secret" not in access.invitation + access.granted("moderate") + access.cookie


def test_a_token_has_to_be_set_and_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_token(None) is None
    monkeypatch.delenv("ARENA_TOKEN", raising=False)
    with pytest.raises(SetupError, match="ARENA_TOKEN is not set"):
        given_token("ARENA_TOKEN")
    monkeypatch.setenv("ARENA_TOKEN", "short")
    with pytest.raises(SetupError, match="12 at least") as caught:
        given_token("ARENA_TOKEN")
    assert "'short'" not in str(caught.value)
    monkeypatch.setenv("ARENA_TOKEN", " long enough, that is\n")
    assert given_token("ARENA_TOKEN") == "long enough, that is"


def test_rates_fill_up_again() -> None:
    now = [0.0]
    rates = Rates(Rate(per_second=2, burst=3), clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 0]
    assert rates.wait("a") == pytest.approx(0.5)
    assert rates.wait("a") == pytest.approx(0.5)  # to ask too often does not cost more
    assert rates.wait("b") == 0
    now[0] += 0.5
    assert rates.wait("a") == 0
    assert rates.wait("a") > 0
    now[0] += 1000
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 0]
    assert rates.wait("a") > 0


def test_rates_forget_the_oldest_and_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("animetune.arena.security.MAX_CLIENTS", 5)
    rates = Rates(Rate(per_second=0.001, burst=1), clock=lambda: 0.0)
    for number in range(50):
        assert rates.wait(str(number)) == 0
    assert len(rates._left) == 5
    assert rates.wait("49") > 0
    assert rates.wait("0") == 0


@given(st.text(max_size=60))
def test_no_host_makes_the_check_fail(value: str) -> None:
    assert guard.is_known_host(value, ("a.example",), port=80) in (True, False)


def test_the_environment_is_not_told(site: Site) -> None:
    """No path of this machine in anything a stranger can get."""
    answers = b"".join(get(site, path) for path in ("/", "/moderate", "/nothing", "/static/arena.js", "/i/a/0"))
    assert os.fsencode(str(site.cfg.out)) not in answers
    assert os.fsencode(os.getcwd()) not in answers
