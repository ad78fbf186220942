"""The running console for tests: a real `guardian gateway` and a real `guardian web` on loopback, and callers of it.

with console(tmp_path) as served:
    assert served.get("/household").json()["revision"]      # as the parent Mama, signed in
    served.anonymous().get("/session")                      # nobody
    served.helper().get("/requests")                        # a second account
    served.token("read").get("/devices")                    # a program
    served.child().get("/child")                            # the browser of the child's tablet, 127.0.0.2
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from guardian.config import load_config
from guardian.store.accounts import is_claimed
from guardian.store.console import ConsoleStore
from guardian.web.claim import make_claim_code
from tests.gateway.product import CHILD, Running, assert_clean, environment, free_port

PARENT, PASSWORD = "Mama", "correct horse battery"
HELPER, HELPER_PASSWORD = "Bunica", "staple of the helper"
START_SECONDS = 20.0
_numbers = itertools.count(1)


class Browser:
    """One caller of the API with its own cookies; paths are below /api/v1 unless they begin with `!`."""

    def __init__(self, base: str, source: str = "127.0.0.1", headers: dict[str, str] | None = None) -> None:
        # One connection a request: tests have more browsers than a device may keep connections open.
        limits = httpx.Limits(max_keepalive_connections=0)
        transport = httpx.HTTPTransport(local_address=source, verify=False, limits=limits)
        self.http = httpx.Client(base_url=base, transport=transport, headers=headers, timeout=30)
        self.csrf = ""

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Send one request; a `str` body goes as YAML, anything else as JSON; changes carry the CSRF token."""
        headers = dict(more.pop("headers", {}))
        if method not in ("GET", "HEAD", "OPTIONS") and self.csrf:
            headers.setdefault("X-CSRF-Token", self.csrf)
        if isinstance(body, str):
            more["content"] = body.encode()
            headers.setdefault("Content-Type", "application/yaml")
        elif body is not None:
            more["json"] = body
        address = path[1:] if path.startswith("!") else f"/api/v1{path}"
        return self.http.request(method, address, headers=headers, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.request("POST", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.request("PUT", path, body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.request("PATCH", path, body, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        return self.request("DELETE", path, **more)

    def sign_in(self, name: str, password: str) -> httpx.Response:
        """Sign in, and keep the CSRF token."""
        answer = self.post("/session", {"name": name, "password": password})
        if answer.status_code == 201:
            self.csrf = answer.json()["csrf"]
        return answer


class Served(Running):
    """A gateway and a console with one folder. `parent` is signed in; `get`, `post` ... are the parent's."""

    parent: Browser

    def __init__(
        self, folder: Path, settings: dict[str, Any], household: dict[str, Any] | None = None, port: int = 0
    ) -> None:
        self.web_port = port or free_port()
        self.web: subprocess.Popen[bytes] | None = None
        self._browsers: list[Browser] = []
        mine = {"web": {"listen": [f"127.0.0.1:{self.web_port}"]} | settings.get("web", {})}
        super().__init__(folder, settings | mine, household)

    @property
    def base(self) -> str:
        scheme = "https" if self.settings["web"].get("tls", {}).get("enabled") else "http"
        return f"{scheme}://127.0.0.1:{self.web_port}"

    @property
    def store(self) -> ConsoleStore:
        return ConsoleStore(str(self.folder / "state" / "console.db"))

    def start_web(self) -> Served:
        """Start `guardian web` and wait until it answers."""
        with open(self.folder / "web.log", "ab") as log:
            command = [sys.executable, "-m", "guardian", "web", "--config", str(self.config)]
            self.web = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=environment()
            )
        deadline = time.monotonic() + START_SECONDS
        probe = self.anonymous()
        while True:
            try:
                assert probe.get("/start").status_code == 200, self.web_log()
            except httpx.TransportError as error:
                if self.web.poll() is not None or time.monotonic() > deadline:
                    self.stop_web()
                    raise AssertionError(f"the console does not run: {error}\n{self.web_log()}") from None
                time.sleep(0.02)
            else:
                return self

    def stop_web(self, seconds: float = 10.0) -> int:
        """End the console as a service manager does; return its exit code."""
        assert self.web is not None
        if self.web.poll() is None:
            self.web.send_signal(signal.SIGTERM)
        try:
            return self.web.wait(seconds)
        except subprocess.TimeoutExpired:
            self.web.kill()
            self.web.wait(10)
            raise AssertionError(f"the console does not end\n{self.web_log()}") from None

    def web_log(self) -> str:
        """What the console has logged so far."""
        path = self.folder / "web.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def claim_code(self) -> str:
        return make_claim_code(load_config(str(self.config)))

    def claim(self, name: str = PARENT, password: str = PASSWORD) -> Browser:
        """Make the first visit (with the household's own language and time zone) and return the parent's browser."""
        browser = self.anonymous()
        start = browser.get("/start").json()
        body = {"claim_code": self.claim_code(), "name": name, "password": password}
        answer = browser.post("/claim", body | {"language": start["language"], "timezone": start["timezone"]})
        assert answer.status_code == 201, answer.text
        browser.csrf = answer.json()["csrf"]
        return browser

    def anonymous(self, source: str = "127.0.0.1", headers: dict[str, str] | None = None) -> Browser:
        """A browser that nobody has signed in with, on the device at `source`."""
        browser = Browser(self.base, source, headers)
        self._browsers.append(browser)
        return browser

    def child(self) -> Browser:
        """The browser of the child's tablet."""
        return self.anonymous(CHILD)

    def signed_in(self, name: str = PARENT, password: str = PASSWORD, source: str = "127.0.0.1") -> Browser:
        """A new browser, signed in."""
        browser = self.anonymous(source)
        answer = browser.sign_in(name, password)
        assert answer.status_code == 201, answer.text
        return browser

    def helper(self) -> Browser:
        """A browser of the helper, whose account is made at the first use."""
        body = {"name": HELPER, "role": "helper", "password": HELPER_PASSWORD}
        assert self.parent.post("/accounts", body).status_code in (201, 409)
        return self.signed_in(HELPER, HELPER_PASSWORD)

    def token(self, *scopes: str) -> Browser:
        """A program with a new token."""
        made = self.parent.post("/tokens", {"name": f"App {next(_numbers)}", "scopes": list(scopes)})
        assert made.status_code == 201, made.text
        return self.anonymous(headers={"Authorization": f"Bearer {made.json()['secret']}"})

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.parent.get(path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.parent.post(path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.parent.put(path, body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.parent.patch(path, body, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        return self.parent.delete(path, **more)

    def close(self) -> None:
        """Close the browsers."""
        for browser in self._browsers:
            browser.http.close()


@contextlib.contextmanager
def console(
    folder: Path,
    household: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    *,
    claimed: bool = True,
    gateway: bool = True,
    port: int = 0,
) -> Iterator[Served]:
    """Start both, hand them out, end them; what they logged of bugs is a failure of the test.

    `household={}` is a box that nobody has set up. Without `claimed` the first visit is still to be made.
    """
    all_settings = {"upstreams": {"servers": ["127.0.0.1:1"]}} | (settings or {})
    if household == {}:
        all_settings["household"] = ""
    served = Served(folder, all_settings, household, port)
    try:
        if gateway:
            served.start()
        else:
            (folder / "state").mkdir(mode=0o750, exist_ok=True)
        served.start_web()
        if claimed and not is_claimed(served.store):
            served.parent = served.claim()
        yield served
    finally:
        served.close()
        codes = [served.stop_web() if served.web is not None else 0, served.stop() if served.process is not None else 0]
    assert codes == [0, 0], served.web_log() + served.log()
    assert_clean(served.web_log())
    assert_clean(served.log())
