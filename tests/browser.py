"""A real Chromium without a window, driven over its own protocol (CDP): pages, keys, the mouse, fingers, pictures."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import websocket

_T = TypeVar("_T")

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
"""The browser of this machine, if it has one."""
SECONDS = 20.0
PHONE, DESKTOP = (390, 844), (1280, 800)

_CODES = {
    " ": ("Space", 32, " "),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "?": ("Slash", 191, "?"),
}


class Page:
    """One tab."""

    def __init__(self, url: str):
        self._socket = websocket.create_connection(url, timeout=SECONDS, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        """What the console and the policy of the page have said, and exceptions."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; what happens meanwhile is noted."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def shape(self, size: tuple[int, int], *, touch: bool = False, scheme: str = "light", motion: bool = True) -> None:
        """The window's size and what the user's system says of itself."""
        width, height = size
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch, maxTouchPoints=5 if touch else 1)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "no-preference" if motion else "reduce"},
        ]
        if touch:
            features += [{"name": "hover", "value": "none"}, {"name": "pointer", "value": "coarse"}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go there, and wait until the document is read."""
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = SECONDS) -> Any:
        """The value of an expression, once it is true."""
        return until(lambda: self._tried(script), seconds, script)

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key, down and up."""
        code, number, text = _CODES.get(
            key, (f"Key{key.upper()}" if key.isalpha() else f"Digit{key}", ord(key.upper()[0]), key)
        )
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """The mouse, in the middle of an element."""
        x, y = self.middle(selector)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, held down from one place to another."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for x, y in _between(start, end):
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def tap(self, selector: str) -> None:
        """A finger, on the middle of an element."""
        x, y = self.middle(selector)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A finger, from one place to another."""
        self.fingers([[start], *([place] for place in _between(start, end))])

    def fingers(self, moments: list[list[tuple[float, float]]]) -> None:
        """Several fingers: where each is, moment after moment."""
        for number, places in enumerate(moments):
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
            self.send("Input.dispatchTouchEvent", type="touchStart" if number == 0 else "touchMove", touchPoints=points)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, selector: str) -> tuple[float, float]:
        """Of an element, scrolled into view, in pixels of the window."""
        script = (
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
            "const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        x, y = self.run(script)
        return x, y

    def save_picture(self, path: Path) -> None:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def offline(self, is_off: bool) -> None:
        """Cut the page off from every server, or let it back."""
        self.send(
            "Network.emulateNetworkConditions", offline=is_off, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def to_front(self) -> None:
        """Make it the tab that is seen; others wait with what nobody would see."""
        self.send("Page.bringToFront")

    def close(self) -> None:
        """Leave the tab."""
        self._socket.close()

    def _tried(self, script: str) -> Any:
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return None if "exceptionDetails" in done else done["result"].get("value")

    def _note(self, message: Mapping[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] in ("error", "warning"):
            self.complaints.append(message["params"]["entry"]["text"])
        elif message.get("method") == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(message["params"]["args"]))


class Browser:
    """A running browser with a profile of its own."""

    def __init__(self, address: str):
        self._address = address

    @contextlib.contextmanager
    def page(self) -> Iterator[Page]:
        """A new tab, with cookies of its own no less than the browser's."""
        request = urllib.request.Request(f"http://{self._address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            found = json.load(answer)
        page = Page(found["webSocketDebuggerUrl"])
        try:
            yield page
        finally:
            page.send("Network.clearBrowserCookies")
            page.close()
            with urllib.request.urlopen(f"http://{self._address}/json/close/{found['id']}", timeout=SECONDS):
                pass


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Chromium, its profile in `folder`; ended with all of its processes."""
    assert CHROMIUM is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio"]
    log = folder / "chromium.log"
    with log.open("wb") as said:
        started = subprocess.Popen(
            [CHROMIUM, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=said, stderr=said, start_new_session=True, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
    try:
        pattern = re.compile(r"ws://(127\.0\.0\.1:\d+)/")
        found = until(lambda: pattern.search(log.read_text(errors="replace")), SECONDS, "Chromium listens")
        yield Browser(found[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(timeout=10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait(timeout=10)


def until(ask: Callable[[], _T], seconds: float, what: str) -> _T:
    """What `ask` gives, once that is true; AssertionError when it takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, f"after {seconds} s it is still not so: {what}"
        time.sleep(0.03)
    return found


def _between(start: tuple[float, float], end: tuple[float, float], steps: int = 6) -> list[tuple[float, float]]:
    return [
        (start[0] + (end[0] - start[0]) * step / steps, start[1] + (end[1] - start[1]) * step / steps)
        for step in range(1, steps + 1)
    ]
