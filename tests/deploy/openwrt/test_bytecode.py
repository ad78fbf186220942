"""Guardian as a router has it: bytecode only, OpenWrt's split of Python, no virtual environment; and it works."""

from __future__ import annotations

import json
import marshal
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rcode
import httpx
import pytest

from guardian.catalogue import MANDATORY_TEST, make_test_name
from tests.deploy.openwrt.buildroot import ROOT, SITE_PACKAGES, Buildroot
from tests.deploy.openwrt.python_split import PACKAGES, package_of
from tests.deploy.openwrt.router_root import RouterRoot, ended, read_status, wait_until, why_not
from tests.gateway.product import Upstream, free_port
from tests.hotline.conftest import Exchange, WebServer
from tests.hotline.feed_maker import FeedMaker, FeedServer

GUARDIAN = "/usr/bin/guardian"
SETTINGS = """
config guardian 'main'
	option state '/etc/guardian'
	option language 'en'

config dns 'dns'
	list listen '127.0.0.1:{dns}'

config upstreams 'upstreams'
	list servers '127.0.0.1:{upstream}'

config block 'block'
	list page '127.0.0.1:{page}'

config local 'local'
	list addresses '127.0.0.1'

config history 'history'
	option path '/tmp/guardian/history.db'
	option snapshot '/etc/guardian/history.db'

config control 'control'
	option socket '/var/run/guardian/control.sock'

config web 'web'
	list listen '127.0.0.1:{web}'

config filter 'filter'
	option enabled '0'

config hotline 'hotline'
	option url '{feed}'
	option root '/etc/guardian/root.json'
"""


def python_packages(built: Buildroot) -> list[str]:
    return [word[1:] for word in built.read_fields("guardian")["DEPENDS"].split() if word.startswith("+python3-")]


class Router:
    """A root with a running gateway and console, an upstream and a feed beside it."""

    def __init__(self, folder: Path, built: Buildroot) -> None:
        self.root = RouterRoot(folder / "root", [built.files("guardian")], python_packages(built))
        self.upstream = Upstream("open.example A 192.0.2.1\nlisted-1.example A 192.0.2.2")
        self.maker = FeedMaker(folder / "feed", now=time.time())
        self.maker.real_keys = True
        self.maker.publish_all(["listed-1.example"])
        self.feed = FeedServer(folder / "feed")
        self.dns, self.page, self.web = free_port(), free_port(), free_port()
        shutil.copy(folder / "feed" / "metadata" / "1.root.json", self.root.folder / "etc/guardian/root.json")
        settings = SETTINGS.format(
            dns=self.dns, upstream=self.upstream.port, page=self.page, web=self.web, feed=self.feed.url
        )
        (self.root.folder / "etc/config/guardian").write_text(settings.lstrip())

    def guardian(self, *words: str) -> Any:
        return self.root.run(GUARDIAN, *words, "--config", "/etc/config/guardian")

    def start(self) -> None:
        for name, more in (("gateway", ()), ("web", ("--offline",))):
            self.root.start(GUARDIAN, name, *more, "--config", "/etc/config/guardian")
        wait_until(lambda: bool(read_status(self.root, "--config", "/etc/config/guardian")), self.root)
        wait_until(self._has_console, self.root)

    def _has_console(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.web}/api/v1/start").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, name: str) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, "A", use_edns=0), "127.0.0.1", 5, self.dns)

    def close(self) -> None:
        self.upstream.close()
        self.feed.close()


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory, built: Buildroot) -> Iterator[Router]:
    if reason := why_not():
        pytest.skip(reason)
    made = Router(tmp_path_factory.mktemp("router"), built)
    try:
        with ended(made.root):
            yield made
    finally:
        made.close()


def is_listed(answer: dns.message.Message) -> bool:
    return any(option.otype == dns.edns.EDE and option.code == 16 for option in answer.options)  # Censored


def test_there_are_no_sources_but_those_that_read_themselves(router: Router) -> None:
    bundle = "usr/lib/guardian/bundled/anyio"
    assert router.root.sources == [
        f"{bundle}/__init__.py",
        f"{bundle}/abc/__init__.py",
        f"{SITE_PACKAGES}/sitecustomize.py",  # the test's own
    ]


def test_it_says_its_version_and_checks_its_settings(router: Router) -> None:
    version = router.root.run(GUARDIAN, "--version")
    assert (version.stdout, version.stderr) == ("guardian 0.1.0\n", "")
    checked = router.guardian("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    helped = router.root.run(GUARDIAN, "gateway", "--help")
    assert "Start the DNS gateway alone" in helped.stdout, "the texts of the commands are in the bytecode"


def test_the_desk_is_not_on_routers(router: Router) -> None:
    asked = router.root.run(GUARDIAN, "hotline", "publish")
    assert asked.returncode == 1
    assert asked.stderr == "guardian: 'guardian hotline' is not part of this installation\n"


def test_gateway_console_and_feed_work(router: Router) -> None:
    synced = router.guardian("sync", "--feed")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    router.start()
    assert is_listed(router.ask("listed-1.example"))
    assert [rrset[0].to_text() for rrset in router.ask("open.example").answer] == ["192.0.2.1"]
    assert is_listed(router.ask(make_test_name(MANDATORY_TEST)))

    # What a newer feed says, the running gateway takes over.
    router.maker.next(["listed-1.example", "open.example"])
    synced = router.guardian("sync", "--feed")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert is_listed(router.ask("open.example"))

    base = f"http://127.0.0.1:{router.web}"
    with httpx.Client(base_url=base, headers={"accept-encoding": "gzip"}) as browser:
        page = browser.get("/")
        assert page.status_code == 200 and "<script" in page.text
        for address in {word for word in page.text.split('"') if word.startswith("/assets/")}:
            assert browser.get(address).status_code == 200, address
        code = router.guardian("web", "--claim-code").stdout.strip()
        start = browser.get("/api/v1/start").json()
        body = {"claim_code": code, "name": "Mama", "password": "correct horse battery"}
        claimed = browser.post("/api/v1/claim", json=body | {"language": "ro", "timezone": start["timezone"]})
        assert claimed.status_code == 201, claimed.text
        browser.headers["x-csrf-token"] = claimed.json()["csrf"]
        made = browser.post("/api/v1/profiles", json={"name": "Ana", "age_band": "10-12"})
        assert made.status_code == 201, made.text
        assert "Ana" in [one["name"] for one in browser.get("/api/v1/household").json()["profiles"]]
        assert browser.get("/api/v1/status").json()["running"]
    blocked = httpx.get(f"http://127.0.0.1:{router.page}/", headers={"Host": "listed-1.example"})
    assert blocked.status_code == 451 and "<html" in blocked.text
    document = router.root.run(GUARDIAN, "web", "--openapi")
    assert json.loads(document.stdout)["openapi"].startswith("3.1")


def test_lists_are_compiled(router: Router) -> None:
    synced = router.guardian("sync", "--offline")
    assert "the gateway has taken it over" in synced.stdout, "no list was fetched, but the starter data is compiled"
    assert is_listed(router.ask(make_test_name(MANDATORY_TEST)))


def test_every_command_that_a_router_has_runs(router: Router) -> None:
    for words in (
        ("status",), ("usage",), ("alerts",), ("account", "list"), ("household", "export"),
        ("explain", "--profile", "ana", "www.example.com"), ("status", "--json"), ("status", "--health"),
    ):  # fmt: skip
        done = router.guardian(*words)
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, (words, done.stderr)
        assert "No module named" not in done.stderr, (words, done.stderr)
    doctor = router.guardian("doctor")
    assert doctor.stdout and "Traceback" not in doctor.stderr, doctor.stderr


def test_they_end_cleanly_and_loaded_nothing_but_what_the_package_depends_on(router: Router, built: Buildroot) -> None:
    assert router.root.stop() == [0, 0], router.root.log()
    assert "Traceback" not in router.root.log(), router.root.log()
    loaded = router.root.loaded()
    assert {"guardian.gateway.process", "guardian.web.process", "tuf.ngclient", "starlette.routing"} <= loaded
    assert not {"cryptography", "urllib3", "requests", "click", "apprise"} & {name.split(".")[0] for name in loaded}
    there = {*python_packages(built), "python3-light"}
    missing = {name for name in loaded if package_of(name) not in there}
    assert not missing, f"DEPENDS of guardian/Makefile lacks {sorted({package_of(name) for name in missing})}"


def test_no_dependency_is_needless(router: Router, built: Buildroot) -> None:
    """What was loaded until now, by all the tests above: a package of Python that nothing came from is too much."""
    used = {package_of(name) for name in router.root.loaded()}
    needless = {name for name in python_packages(built) if name in PACKAGES} - used
    assert not needless


def test_tracebacks_name_files_as_they_lie_on_the_router(built: Buildroot) -> None:
    packages = built.files("guardian") / SITE_PACKAGES
    for name in ("guardian/__init__", "guardian/gateway/process"):
        with open(packages / f"{name}.pyc", "rb") as file:
            file.seek(16)
            assert marshal.load(file).co_filename == f"/{SITE_PACKAGES}/{name}.py"


def test_the_bytecode_is_the_same_in_every_build(built: Buildroot, tmp_path: Path) -> None:
    (sources,) = (built.top / "build_dir").glob("guardian-*")
    made = []
    for name in ("first", "second"):
        root = tmp_path / name / "usr"
        for part in ("tree", "bundled"):
            shutil.copytree(sources / part, root / part)
        command = [sys.executable, ROOT / "scripts" / "bundle-openwrt", "--bytecode", root]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": name.replace("first", "7").replace("second", "9")})
        made.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*.pyc")})
    assert len(made[0]) > 300 and made[0] == made[1]


def test_it_is_the_python_of_the_tests(built: Buildroot) -> None:
    """The stand-in's bytecode is for the Python that runs it; a router's Python has its own."""
    assert (built.files("guardian") / f"usr/lib/python3.{sys.version_info.minor}").is_dir()
    assert (ROOT / "deploy" / "openwrt").is_dir()


def test_messages_are_sent_with_the_package_for_them(built: Buildroot, tmp_path: Path) -> None:
    """`guardian-notify` on the same root: the courier finds Apprise there, and Apprise its services."""
    if reason := why_not():
        pytest.skip(reason)
    more = [word[1:] for word in built.read_fields("guardian-notify")["DEPENDS"].split() if "python3-" in word]
    packages = [built.files("guardian"), built.files("guardian-notify")]
    root = RouterRoot(tmp_path / "root", packages, [*python_packages(built), *more])
    server = WebServer()
    received: list[Exchange] = []

    def take(exchange: Exchange) -> None:
        received.append(exchange)
        exchange.answer(b"{}", Content_Type="application/json")

    server.pages["/alerts"] = take
    address = f"json://127.0.0.1:{server.url.rpartition(':')[2]}/alerts"
    order = {"task": "deliver", "letters": [{"id": "1", "address": address, "title": "Guardian", "body": "O alertă"}]}
    try:
        done = root.run("/usr/bin/python3", "-m", "guardian.web.courier", stdin=json.dumps(order))
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"id": "1", "error": ""}], done.stderr
    assert len(received) == 1
    used = {package_of(name) for name in root.loaded()}
    assert {name for name in more if name in PACKAGES} <= used, "a dependency that nothing came from"
