"""`guardian run`: one command that starts all, keeps the gateway alive, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import httpx
import pytest

from guardian.cli.run import Supervisor, describe_end, prepare, reach, welcome
from guardian.config import Endpoint, load_config
from guardian.interfaces import fit_to_interfaces
from guardian.store.images import map_image
from guardian.store.settings import load_household
from tests.gateway.product import CHILD, Running, addresses, assert_clean, environment, free_port, wait_for

SETTINGS = {"upstreams": {"servers": ["127.0.0.1:1"]}, "lists": {"sources": "sources.yaml"}}


class Supervised(Running):
    """`guardian run` instead of `guardian gateway`; `output` is what a person saw."""

    def run_all(self, *words: str, command: tuple[str, ...] = ()) -> Supervised:
        (self.folder / "sources.yaml").write_text("sources: {}\n")
        program = command or (sys.executable, "-m", "guardian", "run", "--config", str(self.config))
        with open(self.folder / "log", "ab") as log, open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(
                [*program, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                cwd=self.folder,
                env=environment(),
            )
        wait_for(lambda: "Ctrl-C ends it" in self.output() or self.process.poll() is not None, 20)  # type: ignore[union-attr]
        assert self.process.poll() is None, self.log()
        return self

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def gateways(self) -> set[int]:
        """Those of the processes that answer, or will."""
        return self.processes(b"gateway")

    def processes(self, word: bytes = b"guardian") -> set[int]:
        """All processes that have this gateway's settings, and `word`, on their command line."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended
            if str(self.config).encode() in words and word in words:
                found.add(int(path.parent.name))
        return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path, SETTINGS | {"web": {"listen": [f"127.0.0.1:{free_port()}"]}})
    yield supervised
    if supervised.process is not None:
        supervised.stop()
    for pid in supervised.processes():
        os.kill(pid, signal.SIGKILL)


def test_the_first_start(home: Supervised) -> None:
    """The household is imported, the built-in lists are compiled, and what is printed works when it is typed."""
    home.run_all("--offline")
    household = load_household(str(home.folder / "state" / "settings.db"))
    assert household is not None and {profile.id for profile in household.profiles} == set(home.household["profiles"])
    image = map_image(home.folder / "state" / "lists" / "guardian.image")
    assert home.status()["lists"]["created"] == image.created
    digs = [line.partition("#")[0].split() for line in home.output().splitlines() if line.strip().startswith("dig ")]
    assert len(digs) >= 3
    for words in digs:
        source = words[words.index("-b") + 1] if "-b" in words else "127.0.0.1"
        assert words[1:4] == ["@127.0.0.1", "-p", str(home.port)]
        answer = home.ask(words[-1], source=source, timeout=8)
        if "guardian.test" in words[-1]:
            assert addresses(answer) == ["127.0.0.1"]
    assert f"curl http://127.0.0.1:{home.page_port}/" in home.output()
    explain = next(line for line in home.output().splitlines() if "guardian explain" in line)
    words = explain.partition("#")[0].split()[1:]
    assert home.run(*words).returncode == 0
    # What parents set since then is not replaced by the file at the next start.
    assert home.run("household", "pause", "--profile", "ana").returncode == 0
    assert home.stop() == 0
    assert home.processes() == set()
    home.run_all("--offline")
    assert home.run("household", "show").stdout.count("paused") == 1
    assert_clean(home.log())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_everything(home: Supervised, number: signal.Signals) -> None:
    home.run_all("--offline")
    assert len(home.processes()) == 3 and len(home.processes(b"web")) == 1
    assert home.process is not None
    home.process.send_signal(number)
    assert home.process.wait(10) == 0
    assert home.processes() == set() and not os.path.exists(home.socket)
    assert "event=stopped" in home.log()
    assert_clean(home.log())


def test_a_gateway_that_dies_is_started_again(home: Supervised) -> None:
    home.run_all("--offline")
    first = home.status()["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: is_up(home) and home.status()["pid"] != first)
    assert addresses(home.ask("category-adult.guardian.test", source=CHILD)) == ["127.0.0.1"]
    assert "the gateway was ended by SIGKILL (it hung, or memory ran out); starting it again in 0.5 s" in home.log()
    assert home.output().count("Ctrl-C ends it") == 1


def test_it_is_started_again_as_often_as_it_dies(home: Supervised) -> None:
    """A signal, or its own end; the pauses grow, but it never gives up."""
    home.run_all("--offline")
    seen = set()
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL):
        pid = home.status()["pid"]
        seen.add(pid)
        os.kill(pid, number)
        wait_for(lambda: is_up(home) and home.status()["pid"] not in seen, 30)
    ends = [line for line in home.log().splitlines() if "starting it again" in line]
    assert [line.rpartition(" in ")[2] for line in ends] == ["0.5 s", "1 s", "2 s", "4 s"]
    assert "ended with exit code 0;" in ends[1] and "was ended by SIGSEGV;" in ends[2]


def test_a_gateway_killed_before_it_was_up_is_started_again(home: Supervised) -> None:
    """Nobody told a reason, so the next try may come up: a kill is no wrong setting."""
    (home.folder / "sources.yaml").write_text("sources: {}\n")
    starting = threading.Thread(target=home.run_all, args=("--offline",))
    starting.start()
    first = wait_for(home.gateways)
    os.kill(first.pop(), signal.SIGKILL)
    starting.join(40)
    wait_for(lambda: is_up(home))
    assert "was ended by SIGKILL" in home.log()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with exit code 0"),
        (-signal.SIGKILL, "was ended by SIGKILL (it hung, or memory ran out)"),
        (-signal.SIGABRT, "was ended by SIGABRT"),
        (-40, "was ended by signal 40"),
    ],
)
def test_how_it_ended(code: int, text: str) -> None:
    assert describe_end(code) == text


def test_no_gateway_is_left_when_the_supervisor_is_killed(home: Supervised) -> None:
    home.run_all("--offline")
    assert home.process is not None
    home.process.kill()
    home.process.wait(10)
    wait_for(lambda: home.processes() == set())


def is_up(home: Supervised) -> bool:
    return home.run("status").returncode == 0


def test_the_console_is_beside_it(home: Supervised) -> None:
    """Its address and the claim code are printed, they work, and the code is not printed any more once it was used."""
    home.run_all("--offline")
    (address,) = [line.split()[-1] for line in home.output().splitlines() if "The parents' console:" in line]
    (code,) = [line.split()[-1] for line in home.output().splitlines() if "Claim code" in line]
    body = {"claim_code": code, "name": "Mama", "password": "correct horse", "language": "en", "timezone": "UTC"}
    assert httpx.post(f"{address}api/v1/claim", json=body, trust_env=False).status_code == 201
    assert code not in home.log()
    home.stop()
    (home.folder / "output").write_text("")
    home.run_all("--offline")
    assert "The parents' console:" in home.output() and "Claim code" not in home.output()


def test_a_console_that_dies_is_started_again(home: Supervised) -> None:
    """The gateway does not notice, and the other way round."""
    home.run_all("--offline")
    gateway, console = home.status()["pid"], home.processes(b"web")
    os.kill(next(iter(console)), signal.SIGKILL)
    wait_for(lambda: home.processes(b"web") - console, 20)
    assert "the console was ended by SIGKILL (it hung, or memory ran out); starting it again in 0.5 s" in home.log()
    assert home.status()["pid"] == gateway
    console = home.processes(b"web")
    os.kill(gateway, signal.SIGKILL)
    wait_for(lambda: is_up(home) and home.status()["pid"] != gateway)
    assert home.processes(b"web") == console


def test_a_console_that_cannot_listen_does_not_take_the_home_offline(home: Supervised) -> None:
    port = int(home.settings["web"]["listen"][0].rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        home.run_all("--offline")
        assert "The parents' console" not in home.output()
        assert f"cannot serve the console on 127.0.0.1:{port}" in home.log()
        assert addresses(home.ask("category-adult.guardian.test", source=CHILD)) == ["127.0.0.1"]
    wait_for(lambda: can_connect(port), 30)


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_without_a_console(home: Supervised) -> None:
    home.settings["web"] = {"listen": []}
    home.write()
    home.run_all("--offline")
    assert "The parents' console" not in home.output() and home.processes(b"web") == set()


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.168.1.1", "192.168.1.1"), ("fe80::1%eth0", "fe80::1%eth0")],
)
def test_where_something_that_listens_is_reached(host: str, reached: str) -> None:
    assert reach(Endpoint(host, 8080)) == (reached, 8080)


def test_hangup_reloads(home: Supervised) -> None:
    home.run_all("--offline")
    assert home.process is not None
    home.settings["block"]["other"] = "nxdomain"
    home.write()
    home.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "event=reloaded" in home.log())
    assert addresses(home.ask("category-adult.guardian.test", source=CHILD)) == []


def test_lists_are_fetched_some_seconds_after_the_start(home: Supervised) -> None:
    """In a process of its own; the gateway takes them over. Here the only list is a local one."""
    (home.folder / "national.txt").write_text("illegal.example\n")
    home.settings["lists"]["mandatory"] = [{"name": "national", "file": "national.txt"}]
    home.write()
    home.run_all()
    wait_for(lambda: home.ask("illegal.example", source="127.0.0.3", timeout=8).answer, 20, 0.5)
    assert home.stop() == 0 and home.processes() == set()


def set_feed(home: Supervised, **more: object) -> None:
    """Give the home a feed that nobody serves."""
    (home.folder / "root.json").write_text("{}")
    home.settings |= {"hotline": {"url": "http://127.0.0.1:1/", "root": "root.json"}, **more}
    home.write()


def test_with_a_console_the_feed_is_its_business(home: Supervised) -> None:
    """And offline nobody's."""
    set_feed(home)
    config = load_config(str(home.config))
    assert Supervisor(config, str(home.config), offline=False)._feed is None
    home.run_all("--offline")
    wait_for(lambda: home.processes(b"web"))
    assert home.processes(b"web") < home.processes(b"--offline"), "and the supervisor, which was told so"
    assert home.stop() == 0


def test_without_a_console_the_supervisor_looks_at_the_feed(home: Supervised) -> None:
    set_feed(home, web={"listen": []})
    (home.folder / "state").mkdir()
    supervisor = Supervisor(load_config(str(home.config)), str(home.config), offline=False)
    plan = supervisor._feed
    assert plan is not None and Supervisor(supervisor._config, "x", offline=True)._feed is None
    start = plan.due
    supervisor._keep_feed_fresh(plan, start - 1)
    assert supervisor._feed_sync is None, "not before it is due"
    supervisor._keep_feed_fresh(plan, start)
    process = supervisor._feed_sync
    assert process is not None and b"--feed" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    supervisor._keep_feed_fresh(plan, start + 1)
    assert supervisor._feed_sync is process, "one at a time"
    assert process.wait(30) == 1, "nobody serves it"
    supervisor._keep_feed_fresh(plan, start + 10)
    assert supervisor._feed_sync is None and start + 60 <= plan.due <= start + 10 + 120, "soon again"


def test_a_gateway_that_never_comes_up_ends_it_with_the_reason(home: Supervised) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", home.page_port))
        other.listen()
        (home.folder / "sources.yaml").write_text("sources: {}\n")
        done = home.run("run", "--offline")
    assert done.returncode == 1
    assert (
        f"cannot serve the block page on 127.0.0.1:{home.page_port}" in done.stderr and "Traceback" not in done.stderr
    )
    assert home.processes() == set()


def test_wrong_settings_start_nothing(home: Supervised) -> None:
    home.config.write_text("upstreams: {servers: []}\n")
    done = home.run("run")
    assert done.returncode == 2 and "guardian.yaml:1" in done.stderr and done.stdout == ""
    home.write()
    (home.folder / "home.yaml").write_text("profiles: {ana: {age: 99}}\n")
    done = home.run("run")
    assert done.returncode == 2 and "home.yaml:1" in done.stderr
    assert not (home.folder / "state" / "settings.db").exists()


def test_without_a_household(home: Supervised) -> None:
    del home.settings["household"]
    home.write()
    config = load_config(str(home.config))
    prepare(config)
    assert load_household(config.settings) is None
    text = welcome(config, str(home.config))
    assert "mandatory.guardian.test" in text and "explain" not in text and "SafeSearch" not in text


def test_the_scripts_start_it_from_any_folder(home: Supervised, tmp_path: Path) -> None:
    """`scripts/run --config X` with a relative X, and a checkout whose path has a space."""
    root = Path(__file__).parents[2]
    checkout, elsewhere = tmp_path / "my checkout", tmp_path / "elsewhere"
    (checkout / ".venv").mkdir(parents=True)
    elsewhere.mkdir()
    for name in ("scripts", "guardian", "blocklists", "examples", "pyproject.toml"):
        (checkout / name).symlink_to(root / name)
    (checkout / "scripts").unlink()
    (checkout / "scripts").mkdir()
    for script in (root / "scripts").iterdir():
        (checkout / "scripts" / script.name).write_bytes(script.read_bytes())
        (checkout / "scripts" / script.name).chmod(0o755)
    # A .venv that is ready: this test is about starting, not about installing.
    for name in ("bin", "lib", "pyvenv.cfg"):
        (checkout / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (checkout / ".venv" / ".installed-run").touch()
    command = ["bash", "-c", 'cd "$1" && exec "$2" --config ../guardian.yaml --offline', "-", str(elsewhere)]
    home.run_all(command=(*command, str(checkout / "scripts" / "run")))
    query = dns.message.make_query("category-adult.guardian.test", "A")
    assert addresses(dns.query.udp(query, "127.0.0.1", 5, home.port, CHILD)) == ["127.0.0.1"]
    assert home.stop() == 0


def test_the_welcome_before_the_interface_is_there(home: Supervised) -> None:
    """Where nothing listens yet there is nothing to try but the doctor."""
    home.settings["dns"] = {"listen": ["nowhere0:53"]}
    home.settings["web"] = {"listen": ["nowhere0:8080"]}
    home.write()
    config = fit_to_interfaces(load_config(str(home.config)))
    text = welcome(config, str(home.config), has_console=True)
    assert "answers DNS on no address yet" in text and "doctor" in text and "dig" not in text
