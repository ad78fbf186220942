"""The hotline's side of `bench/push.py`: a real desk, its web server, and a real Mosquitto, all on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import trustme

from guardian.desk.hints import send_hint
from guardian.desk.settings import load_settings
from guardian.feed import Hint

TOPIC = "guardian/feed"
PEOPLE = {
    "ana": "copper lamp seven rivers",
    "ion": "yellow chair nine doors",
    "maria": "green window four boats",
}
OTHER_TOPIC = "guardian/none"  # which nobody hears
ROUTER, ROUTER_PASSWORD = "home", "anybody may read it"
DESK, DESK_PASSWORD = "desk", "only the desk may write it"
START_SECONDS = 15.0
TICKS = os.sysconf("SC_CLK_TCK")


class Site:
    """A desk with people and a list, the files it publishes, and the broker of its hints. `start` and `stop` once."""

    def __init__(self, folder: Path, host: str, web_port: int, broker_port: int, log2_n: int) -> None:
        self.folder = folder
        self.host, self.web_port, self.broker_port = host, web_port, broker_port
        self.desk = folder / "desk"
        self._log2_n = log2_n
        self._web: subprocess.Popen[bytes] | None = None
        self.broker: subprocess.Popen[bytes] | None = None
        self._next = 1  # number of the next made-up name
        self._oldest = 1  # id of the oldest entry that is still listed

    @property
    def url(self) -> str:
        """The feed's address."""
        return f"http://{self.host}:{self.web_port}/default/"

    @property
    def root(self) -> Path:
        """The root of trust that routers come with."""
        return self.desk / "public" / "default" / "metadata" / "1.root.json"

    @property
    def published(self) -> float:
        """When the newest timestamp.json was put in its place; epoch seconds."""
        return self._timestamp.stat().st_mtime_ns / 1e9

    @property
    def _timestamp(self) -> Path:
        return self.desk / "public" / "default" / "metadata" / "timestamp.json"

    def start(self) -> None:
        """Found the desk, serve its files, start the broker."""
        self.folder.mkdir(parents=True)
        for name, password in PEOPLE.items():
            self._write_secret(self.folder / f"{name}.password", password)
        passwords = [word for name in PEOPLE for word in ("--password-file", f"{name}={self.folder}/{name}.password")]
        self._run("init", str(self.desk), "--trial", "--name", "Bench", "--log2-n", str(self._log2_n), *passwords)
        self._make_broker()
        serve = ("hotline", "--desk", str(self.desk), "serve", "--listen", f"{self.host}:{self.web_port}", "--quiet")
        self._web = subprocess.Popen([sys.executable, "-m", "guardian", *serve], stdout=subprocess.DEVNULL)
        self.start_broker()

    def stop(self) -> None:
        """End what runs."""
        self.stop_broker()
        if self._web is not None:
            self._web.terminate()
            self._web.wait(10)

    # The desk

    @property
    def next_name(self) -> str:
        """The name that the next publication lists first."""
        return f"listed-{self._next}.example"

    def publish(self, come: int, go: int, urgent: bool = True) -> list[str]:
        """Two people list `come` new names and take the `go` oldest entries off; return the new names."""
        names = [f"listed-{self._next + number}.example" for number in range(come)]
        self._next += come
        facts = ("--legal-basis", "law_order", "--authority", "Police", "--order-ref", "Law 1", "--why", "bench")
        self._approve(self._run("add", "--list", "csam-md", "--domain", "-", *facts, *_as("ana"), lines=names))
        if go:
            ids = [str(self._oldest + number) for number in range(go)]
            self._oldest += go
            self._approve(self._run("remove", *ids, "--why", "bench", *_as("ana")))
        hurry = ("--urgent",) if urgent else ()
        said = self._run("publish", *_as("ana"), *hurry)
        if "consent of other people is needed" in said:
            self._run("bulk-consent", "--reason", "the first entries of the bench", *_as("maria"), *hurry)
        said = self._run("sign", "--yes", *_as("ion"), *hurry)
        if "Released" not in said:
            raise SystemExit(f"the desk did not release:\n{said}")
        return names

    def refresh(self) -> None:
        """Sign anew that nothing newer exists: the version goes up, and no list changes."""
        self._run("refresh")

    @property
    def version(self) -> int:
        """The version of the newest timestamp.json."""
        made = json.loads(self._timestamp.read_text())
        return int(made["signed"]["version"])

    def send_hint(self, topic: str = TOPIC) -> None:
        """Send the hint of the newest version again, not an urgent one."""
        send_hint(self.desk, replace(load_settings(self.desk).push, topic=topic), Hint(version=self.version))

    def _approve(self, said: str) -> None:
        found = re.search(r"proposal (\d+):", said)
        if found is None:
            raise SystemExit(f"the desk did not take a proposal:\n{said}")
        self._run("approve", found[1], *_as("ion"))

    def _run(self, command: str, *words: str, lines: Sequence[str] = ()) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "guardian", "hotline", "--desk", str(self.desk), command, *words],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        if done.returncode:
            raise SystemExit(f"guardian hotline {command}: {done.stdout}\n{done.stderr}")
        return done.stdout

    # The broker

    def start_broker(self, longest_keep_alive: int = 65535) -> None:
        """Start Mosquitto; it asks clients for a packet at least every `longest_keep_alive` seconds."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        if program is None:
            raise SystemExit("the bench needs Mosquitto: apt-get install mosquitto")
        settings = (self.folder / "mosquitto.conf").read_text()
        path = self.folder / "mosquitto-now.conf"
        path.write_text(f"{settings}max_keepalive {longest_keep_alive}\n")
        self.broker = subprocess.Popen([program, "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not _is_listening(self.host, self.broker_port):
            if self.broker.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"Mosquitto does not start:\n{(self.folder / 'mosquitto.log').read_text()}")
            time.sleep(0.05)

    def stop_broker(self) -> None:
        """End Mosquitto."""
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(10)
            self.broker = None

    def broker_use(self) -> tuple[float, float]:
        """Return what Mosquitto has used: seconds of processor time, and MB of memory now."""
        assert self.broker is not None
        return use_of(self.broker.pid)

    def push_settings(self) -> dict[str, Any]:
        """Return `hotline.push` of a router."""
        return {
            "broker": f"mqtts://{self.host}:{self.broker_port}",
            "topic": TOPIC,
            "user": ROUTER,
            "password": str(self.folder / "router.password"),
            "ca": str(self.folder / "ca.pem"),
        }

    def _make_broker(self) -> None:
        folder = self.folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate = authority.issue_cert(self.host)
        certificate.cert_chain_pems[0].write_to_path(str(folder / "broker.pem"))
        certificate.private_key_pem.write_to_path(str(folder / "broker.key"))
        (folder / "passwords").write_text(f"{ROUTER}:{ROUTER_PASSWORD}\n{DESK}:{DESK_PASSWORD}\n")
        subprocess.run(["mosquitto_passwd", "-U", folder / "passwords"], check=True)
        (folder / "rights").write_text(
            f"user {ROUTER}\ntopic read {TOPIC}\nuser {DESK}\ntopic readwrite {TOPIC}\ntopic readwrite {OTHER_TOPIC}\n"
        )
        lines = [
            f"listener {self.broker_port} {self.host}",
            "allow_anonymous false",
            f"password_file {folder}/passwords",
            f"acl_file {folder}/rights",
            f"log_dest file {folder}/mosquitto.log",
            "persistence false",
            "sys_interval 0",
            f"certfile {folder}/broker.pem",
            f"keyfile {folder}/broker.key",
            f"cafile {folder}/ca.pem",
            *(["user root"] if os.getuid() == 0 else []),
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self._write_secret(folder / "router.password", ROUTER_PASSWORD)
        self._write_secret(self.desk / "online" / "push-password", DESK_PASSWORD)
        shutil.copy(folder / "ca.pem", self.desk / "ca.pem")
        push = {
            "broker": f"mqtts://{self.host}:{self.broker_port}",
            "topic": TOPIC,
            "user": DESK,
            "password": "online/push-password",
            "ca": "ca.pem",
        }
        with open(self.desk / "desk.yaml", "a") as file:
            file.write(f"push: {json.dumps(push)}\n")

    @staticmethod
    def _write_secret(path: Path, text: str) -> None:
        path.write_text(text + "\n")
        path.chmod(0o600)


def _as(name: str) -> tuple[str, ...]:
    return ("--as", name, "--password-file", f"{name}.password")


def _is_listening(host: str, port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def use_of(pid: int) -> tuple[float, float]:
    """Return the seconds of processor time and the MB of memory (10^6) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = re.search(r"^Rss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert memory is not None
    return (int(fields[11]) + int(fields[12])) / TICKS, int(memory[1]) * 1024 / 1e6
