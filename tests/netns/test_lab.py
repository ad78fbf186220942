"""The lab itself: every server is in reach of every device, over IPv4 and IPv6, and tells truly what it accepted."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dns.message
import pytest

from tests.gateway.product import ROOT, environment, wait_for
from tests.netns.lab import plan
from tests.netns.lab.console import ADDRESS
from tests.netns.lab.datagrams import wireguard_initiation
from tests.netns.lab.device import Device
from tests.netns.lab.home import Lab, World, household
from tests.netns.lab.network import Network, list_namespaces, remove_namespace
from tests.netns.lab.tour import STEPS, Step
from tests.netns.namespaces import inside

OPEN, BLOCKED = plan.SITES["www.open.example"], plan.SITES["blocked.example"]


@pytest.fixture(scope="module")
def lab(world: World, tmp_path_factory: pytest.TempPathFactory) -> object:
    """These tests are about the lab: Guardian answers DNS, and lets every flow pass."""
    with world.protected(tmp_path_factory.mktemp("router"), filter=False) as lab:
        yield lab


@pytest.fixture(params=plan.DEVICES)
def device(lab: Lab, seen: None, request: pytest.FixtureRequest) -> Device:
    found: Device = getattr(lab, request.param)
    return found


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def at(host: int, family: int) -> str:
    return plan.wan4(host) if family == 4 else plan.wan6(host)


def client_of(device: Device, family: int) -> str:
    """As whom a server sees a device: IPv4 is masqueraded, IPv6 is not."""
    return plan.wan4(1) if family == 4 else device.six


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_web(lab: Lab, device: Device, family: int, scheme: str) -> None:
    fetched = device.fetch(f"{scheme}://{OPEN.name}/", family=family)
    assert (fetched.status, fetched.body, fetched.error) == (200, "hello from www.open.example\n", "")
    assert fetched.address == at(OPEN.host, family)
    (request,) = lab.seen(scheme)
    assert (request.server, request.client) == (fetched.address, client_of(device, family))
    assert (request.name, request.port, request.detail) == (OPEN.name, 443 if scheme == "https" else 80, "GET /")
    hellos = [hello.name for hello in lab.seen("tls-hello")]
    assert hellos == ([OPEN.name] if scheme == "https" else [])


def test_a_hard_coded_address(lab: Lab, device: Device, family: int) -> None:
    address = at(BLOCKED.host, family)
    fetched = device.fetch(f"https://{BLOCKED.name}/", resolve={BLOCKED.name: address})
    assert fetched.ok and fetched.address == address
    assert [hello.server for hello in lab.seen("tls-hello", BLOCKED.name)] == [address]
    assert not lab.seen("dns")


def test_two_sites_share_an_address(lab: Lab, device: Device) -> None:
    address = plan.SITES["shared.open.example"].four
    for name in ("shared.open.example", "shared.blocked.example"):
        assert device.fetch(f"https://{name}/", resolve={name: address}).body == f"hello from {name}\n"
    assert {hello.server for hello in lab.seen("tls-hello")} == {address}


@pytest.mark.parametrize("version", [1, 2])
def test_http3(lab: Lab, device: Device, family: int, version: int) -> None:
    site = plan.SITES["quic.open.example"]
    fetched = device.fetch_h3(site.name, at(site.host, family), version=version)
    assert (fetched.status, fetched.body, fetched.error) == (200, "hello from quic.open.example\n", "")
    for protocol in ("quic-hello", "h3"):
        (told,) = lab.seen(protocol, site.name)
        assert (told.server, told.client) == (at(site.host, family), client_of(device, family))


def test_http3_big_and_long(lab: Lab) -> None:
    site = plan.SITES["quic.open.example"]
    assert len(lab.tablet.fetch_h3(site.name, site.six, path="/big/300000").body) == 300_000
    with lab.tablet.download_h3(site.name, site.four) as download:
        download.wait_for_more(30_000)
        download.wait_for_more(30_000)


def test_a_refused_datagram_is_told_at_once(lab: Lab) -> None:
    """As a browser notices it: port 444 is closed, and the server's kernel says so."""
    fetched = lab.tablet.fetch_h3("www.open.example", OPEN.four, port=444, timeout=15)
    assert fetched.error == "refused" and fetched.seconds < 14


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_other_dns_servers(lab: Lab, device: Device, family: int, transport: str) -> None:
    for server in (at(plan.FOREIGN, family), plan.FAMOUS[family == 6]):
        assert device.dig("whoami.example", "TXT", transport, server=server) == [f'"{server}"']
        assert device.dig("blocked.example", "A", transport, server=server) == [BLOCKED.four]
    assert {told.protocol for told in lab.seen()} == {"dns" if transport == "+notcp" else "dns-tcp"}
    assert {told.client for told in lab.seen()} == {client_of(device, family)}


def test_the_routers_dns(lab: Lab, device: Device) -> None:
    assert device.dig("www.open.example", "AAAA") == [OPEN.six]
    assert device.dig("alias.open.example")[-1] == OPEN.four
    assert device.dig("deep.below.any.example") == [OPEN.four]
    assert device.dig("missing.example") == []
    whoami = {f'"{plan.wan4(plan.UPSTREAM)}"', f'"{plan.wan6(plan.UPSTREAM)}"'}
    assert set(device.dig("whoami.example", "TXT")) < whoami
    told = device.dig("ech.open.example", "HTTPS")
    assert ("ech=" in told[0]) == (device is lab.phone)  # stripped for filtered profiles


def test_blocked_by_name(lab: Lab, device: Device) -> None:
    fetched = device.fetch("http://blocked.example/")
    if device is lab.phone:
        assert fetched.body == "hello from blocked.example\n"
    else:
        assert fetched.status == 403 and fetched.address in (plan.home4("router"), plan.home6("router"))
        assert not lab.seen("http")


_RESOLVE = """
import sys, ssl, dns.message, dns.query
method, address, ca = sys.argv[1:]
query = dns.message.make_query("blocked.example", "A")
if method == "dot":
    context = ssl.create_default_context(cafile=ca)
    answer = dns.query.tls(query, address, 5, ssl_context=context, server_hostname="dns.google")
else:
    more = dict(bootstrap_address=address, verify=ca, http_version=dns.query.HTTPVersion.HTTP_3)
    answer = dns.query.https(query, "https://dns.google/dns-query", 5, **more)
print(answer.answer[0][0])
"""


@pytest.mark.parametrize("method", ["dot", "doh3"])
def test_dns_over_tls_and_http3(lab: Lab, device: Device, family: int, method: str) -> None:
    for address in (at(plan.FOREIGN, family), plan.FAMOUS[family == 6]):
        done = device.run_python(_RESOLVE, method, address, str(lab.world.ca))
        assert done.stdout.strip() == BLOCKED.four, done.stderr
        assert lab.seen(method[:3], "blocked.example", address)
        assert lab.seen("quic-hello" if method == "doh3" else "tls-hello", "dns.google", address)


def test_dns_over_https(lab: Lab, device: Device, family: int) -> None:
    """As a browser with its own resolver: curl asks it for the site's address."""
    for address in (at(plan.FOREIGN, family), plan.FAMOUS[family == 6]):
        words = ("--doh-url", "https://dns.google/dns-query")
        fetched = device.fetch("https://blocked.example/", *words, resolve={"dns.google": address})
        assert (fetched.body, fetched.error) == ("hello from blocked.example\n", "")
        assert lab.seen("doh", "blocked.example", address)
        query = base64.urlsafe_b64encode(dns.message.make_query("get.any.example", "A").to_wire()).decode()
        url = f"https://dns.google/dns-query?dns={query.rstrip('=')}"
        assert device.fetch(url, "-o", "/dev/null", resolve={"dns.google": address}).ok
        assert lab.seen("doh", "get.any.example", address)


def test_proxies(lab: Lab, device: Device, family: int) -> None:
    proxy = at(plan.SITES["proxy.open.example"].host, family)
    host = f"[{proxy}]" if family == 6 else proxy
    ways = {
        "socks": (f"socks5h://{host}:{plan.SOCKS}", "https://blocked.example/"),
        "connect": (f"http://{host}:{plan.PROXY}", "https://blocked.example/"),
        "http": (f"http://{host}:{plan.PROXY}", "http://blocked.example/"),
    }
    for protocol, (way, url) in ways.items():
        fetched = device.fetch(url, "--noproxy", "", "--proxy", way)
        assert (fetched.body, fetched.error) == ("hello from blocked.example\n", ""), protocol
        (told,) = lab.seen(protocol, "blocked.example", proxy)
        assert told.client == client_of(device, family)


_SPEAK = """
import socket, sys
address, port, first = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "first"
with socket.create_connection((address, port), 5) as connection:
    if not first:
        print(connection.recv(100))
        connection.sendall(b"SSH-2.0-child\\r\\n")
    connection.sendall(b"something\\n")
    print(connection.recv(100))
"""


def test_protocols_that_are_no_web(lab: Lab, device: Device, family: int) -> None:
    address = at(plan.SITES["shell.open.example"].host, family)
    done = device.run_python(_SPEAK, address, str(plan.ECHO), "first")
    assert done.stdout == "b'something\\n'\n", done.stderr
    done = device.run_python(_SPEAK, address, str(plan.SSH), "second")
    assert done.stdout == "b'SSH-2.0-lab\\r\\n'\nb'something\\n'\n", done.stderr
    assert [(told.protocol, told.detail, told.server) for told in lab.seen()] == [
        ("echo", "something\n", address),
        ("ssh", "SSH-2.0-child", address),
    ]


_EXCHANGE = """
import socket, sys
address, port, data = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.connect((address, port))
    client.settimeout(5)
    client.send(data)
    print(client.recv(2048).hex())
"""


def test_datagrams(lab: Lab, device: Device, family: int) -> None:
    game, vpn = (at(plan.SITES[name].host, family) for name in ("game.open.example", "vpn.open.example"))
    assert device.run_python(_EXCHANGE, game, str(plan.GAME), "00ff").stdout == "00ff\n"
    initiation = wireguard_initiation()
    done = device.run_python(_EXCHANGE, vpn, str(plan.WIREGUARD), initiation.hex())
    response = bytes.fromhex(done.stdout)
    assert (len(response), response[:4], response[8:12]) == (92, b"\x02\x00\x00\x00", initiation[4:8])
    assert [(told.protocol, told.server, told.detail) for told in lab.seen()] == [
        ("game", game, "2"),
        ("wireguard", vpn, "148"),
    ]
    assert {told.client for told in lab.seen()} == {client_of(device, family)}


def test_ping(lab: Lab, device: Device, family: int) -> None:
    assert device.ping(at(OPEN.host, family))
    assert device.ping(plan.home6("router") if family == 6 else plan.home4("router"))
    assert not device.ping(at(222, family), timeout=0.3)  # nobody has it


def test_big_answers_and_uploads(lab: Lab, family: int) -> None:
    url = f"https://{OPEN.name}/"
    fetched = lab.tablet.fetch(url + "big/2000000", "-o", "/dev/null", "-w", "%{size_download}", family=family)
    assert fetched.ok
    posted = lab.tablet.fetch(url, "--data", "x" * 5000, family=family)
    assert posted.body == f"{OPEN.name} got 5000 bytes\n"
    two = lab.tablet.fetch(url, url + "?again", family=family)
    assert two.body.count("hello from") == 2
    assert len({told.client_port for told in lab.seen("https", OPEN.name)[-2:]}) == 1  # one connection


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_long_downloads(lab: Lab, family: int, scheme: str) -> None:
    with lab.tablet.download(f"{scheme}://video.open.example/stream", family=family) as download:
        download.wait_for_more(20_000)
        middle = time.monotonic()
        download.wait_for_more(20_000)
        assert download.received(until=middle) >= 20_000 and download.received(since=middle) >= 20_000
        assert not download.ended
    assert download.ended


def test_a_stop_is_seen_in_a_download_and_a_game(lab: Lab, family: int) -> None:
    """By a rule of this test, which stands for a pause."""
    game = at(plan.SITES["game.open.example"].host, family)
    url = "https://video.open.example/stream"
    with lab.tablet.play(game) as play, lab.tablet.download(url, family=family) as download:
        download.wait_for_more()
        play.wait_for_more(2_000)
        rules = "table inet stop { chain everything { type filter hook forward priority -150; policy drop; }; }"
        try:
            stopped = time.monotonic()
            assert lab.on("router", "nft", "-f", "-", stdin=rules).returncode == 0
            assert abs(download.wait_for_silence() - stopped) < 10
            play.wait_for_silence()
            assert not download.ended
        finally:
            lab.on("router", "nft", "delete table inet stop")
        download.wait_for_more()
        play.wait_for_more(2_000)


def read_invalid(lab: Lab) -> list[str]:
    """What the router's connection tracking called invalid since it began; floods of other tests count too."""
    return [word for word in lab.on("router", "conntrack", "-S").stdout.split() if word.startswith("invalid")]


def test_packets_look_as_from_a_wire(lab: Lab) -> None:
    """On the router no packet is bigger than the line's MTU, and every checksum is true."""
    router = lab.network.name("router")
    rules = "table inet look { chain big { type filter hook forward priority -150; meta length > 1500 counter; }; }"
    assert lab.on("router", "nft", "-f", "-", stdin=rules).returncode == 0
    try:
        inside(router, lambda: Path("/proc/sys/net/netfilter/nf_conntrack_checksum").write_text("1"))
        before = read_invalid(lab)
        assert lab.tablet.fetch(f"https://{OPEN.name}/big/3000000", "-o", "/dev/null").ok
        assert "packets 0 bytes 0" in lab.on("router", "nft", "list table inet look").stdout
        assert read_invalid(lab) == before
    finally:
        lab.on("router", "nft", "delete table inet look")


def test_the_strangers_mac_is_nobodys(lab: Lab) -> None:
    assert lab.stranger.dig("www.open.example")
    wait_for(lambda: plan.MACS["stranger"] in lab.guardian.log())


def test_another_household_and_a_pause_by_command(lab: Lab) -> None:
    assert lab.tablet.dig("www.open.example") == [OPEN.four]
    lab.set_household(household(ana={"block": ["open.example"]}))
    assert lab.tablet.dig("www.open.example") != [OPEN.four]
    lab.set_household(household())
    assert lab.tablet.dig("www.open.example") == [OPEN.four]
    done = lab.command("household", "pause", "--device", "tablet")
    assert done.returncode == 0, done.stderr
    assert lab.tablet.dig("www.open.example") != [OPEN.four]
    assert lab.phone.dig("www.open.example") == [OPEN.four]
    assert lab.command("household", "resume", "--device", "tablet").returncode == 0
    assert lab.tablet.dig("www.open.example") == [OPEN.four]


# Coming and going

_DIE = """
import os, sys
from pathlib import Path
from tests.netns.lab.home import open_world
with open_world(Path(sys.argv[1])) as world:
    print(world.network.prefix, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_lab_leaves_is_removed(world: World, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DIE, str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment(), timeout=60, check=False)
    prefix = done.stdout.strip()
    left = {name for name in list_namespaces() if name.startswith(prefix)}
    assert left == {f"{prefix}-{role}" for role in plan.ROLES}
    network = Network()
    try:
        names = list_namespaces()
        assert not left & set(names)
        assert {world.network.name(role) for role in plan.ROLES} <= set(names)  # a running one is left alone
        assert {network.name(role) for role in plan.ROLES} <= set(names)
    finally:
        network.close()
    assert not [name for name in list_namespaces() if name.startswith(f"{network.prefix}-")]


def test_offloading_as_the_kernel_has_it(world: World) -> None:
    """For measurements; else every cable is as plain as a wire."""
    network = Network(offload=True, gro=True)
    try:
        for made, offload, gro in ((network, "on", "on"), (world.network, "off", "off")):
            look = ["ip", "netns", "exec", made.name("router"), "ethtool", "-k", "tablet0"]
            told = subprocess.run(look, capture_output=True, text=True, check=True, timeout=20).stdout
            assert f"tx-tcp-segmentation: {offload}" in told
            assert f"tx-checksumming: {offload}" in told
            assert f"generic-receive-offload: {gro}" in told
    finally:
        network.close()


def test_closing_ends_what_runs_inside(world: World) -> None:
    network = Network()
    command = ["ip", "netns", "exec", network.name("tablet"), "sleep", "600"]
    process = subprocess.Popen(command)
    wait_for(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
    network.close()
    assert process.wait(10) == -9
    assert not Path("/etc/netns", network.name("tablet")).exists()


def test_only_names_of_labs_are_removed() -> None:
    for name in ("router", "lab-router", "lab-1-kitchen", "../etc"):
        with pytest.raises(AssertionError):
            remove_namespace(name)


# The demo


@pytest.mark.parametrize("step", [step for step in STEPS if not step.command], ids=lambda step: step.title)
def test_without_the_filter_a_step_of_the_tour_finds_it_missing(lab: Lab, seen: None, step: Step) -> None:
    """So that no step is content with whatever happens; each works when nobody stands in the way."""
    outcome = step.act(lab)
    assert outcome.ok == (not step.needs_filter), outcome.happened


def start_demo(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.netns.lab.demo", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), cwd=ROOT
    )


def test_the_tour(world: World) -> None:
    with start_demo("--check") as demo:
        told, _ = demo.communicate(timeout=300)  # a minute of it is the pause between two looks at the feed
    assert "Traceback" not in told and "MISMATCH" not in told, told
    assert all(step.title in told for step in STEPS)
    assert demo.returncode == 0, told
    assert not [name for name in list_namespaces() if name.startswith(f"lab-{demo.pid}-")]


def test_the_demo_as_a_box_out_of_the_carton(world: World) -> None:
    """Nobody has claimed it, and the code that it tells is the right one, whoever plays with a browser meanwhile."""
    with start_demo("--first-visit") as demo:
        assert demo.stdout is not None
        told = "".join(iter(demo.stdout.readline, "Ctrl-C removes everything.\n"))
        (code,) = re.findall(r"The code of the box: ([0-9A-Z]{5}-[0-9A-Z]{5})\n", told)
        phone = ["ip", "netns", "exec", f"lab-{demo.pid}-phone", "curl", "-s", f"{ADDRESS}/api/v1"]
        start = subprocess.run([*phone[:-1], f"{phone[-1]}/start"], capture_output=True, text=True, check=True)
        assert json.loads(start.stdout)["claimed"] is False
        body = {"claim_code": code, "name": "Tata", "password": "some words", "language": "ro", "timezone": "UTC"}
        words = [*phone[:-1], f"{phone[-1]}/claim", "--json", json.dumps(body)]
        assert json.loads(subprocess.run(words, capture_output=True, check=True).stdout)["account"]["name"] == "Tata"
        demo.send_signal(signal.SIGINT)
        told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0 and told.endswith("removed\n"), told


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_removes_everything_when_it_is_ended(world: World, end: signal.Signals) -> None:
    with start_demo() as demo:
        assert demo.stdout is not None
        while not demo.stdout.readline().startswith(" 1. "):  # in the middle of the tour
            assert demo.poll() is None
        assert [name for name in list_namespaces() if name.startswith(f"lab-{demo.pid}-")]
        demo.send_signal(end)
        told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0 and told.endswith("removed\n"), told
    assert not [name for name in list_namespaces() if name.startswith(f"lab-{demo.pid}-")]


def test_the_demo_says_that_it_needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    script = (ROOT / "scripts" / "demo").read_text()
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=60, cwd="/")
    assert done.returncode == 1 and "needs root" in done.stderr
