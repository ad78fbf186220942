"""docs/openwrt.md, typed: every command of its `sh` blocks but the building, on a router with the real gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.deploy.openwrt.home import ROUTER, WEB, Home, home
from tests.gateway.product import ROOT, wait_for

TEXT = (ROOT / "docs" / "openwrt.md").read_text()
PARTS = {
    part.partition("\n")[0]: part for part in re.split(r"(?m)^##+ ", TEXT.partition("## Building the packages")[0])
}
UHTTPD = "config uhttpd 'main'\n\tlist listen_http '0.0.0.0:80'\n\tlist listen_http '[::]:80'\n"


def commands(title: str, number: int = 0) -> list[str]:
    """The lines of a part's block."""
    return re.findall(r"```sh\n(.*?)```", PARTS[title], re.DOTALL)[number].splitlines()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home(tmp_path_factory.mktemp("document")) as made:
        box = made.box
        box.put("etc/config/uhttpd", UHTTPD)
        for name in ("uhttpd", "firewall"):
            box.put(f"etc/init.d/{name}", '#!/bin/sh\necho "$0 $1" >>/tmp/typed\n', 0o755)
        box.put("stub/logread", "#!/bin/sh\ncat /tmp/syslog\n", 0o755)
        made.init("start")
        made.wait_for_mode("mode behind")
        made.tablet.join()
        made.laptop.join()
        yield made


def type_in(family: Home, lines: list[str], *, fails: bool = False) -> str:
    printed = ""
    for line in lines:
        done = family.box.run("sh", "-c", line, check=not fails)
        family.obey()
        printed += done.stdout
    return printed


def is_filtered(family: Home) -> bool:
    return family.tablet.ask("blocked.example") == "NXDOMAIN" and family.laptop.ask("blocked.example") == [WEB]


def test_first_visit(family: Home) -> None:
    assert re.fullmatch(r"[0-9A-Za-z-]{6,}\n", type_in(family, commands("First visit")))


def test_how_it_is(family: Home) -> None:
    status, doctor = commands("How it is")
    told = type_in(family, [status])
    assert "dnsmasq asks Guardian (mode behind)" in told and "upstream" in told
    assert "dnsmasq asks Guardian (mode behind)" in PARTS["How it is"]
    assert type_in(family, [doctor], fails=True)
    type_in(family, commands("How it is", 1))
    type_in(family, commands("Settings"))
    assert is_filtered(family)


def test_the_lines_of_the_table_are_those_of_the_script(family: Home) -> None:
    script = family.box.read("usr/lib/guardian/dnsmasq-mode").replace("$FRONT_PORT", "54")
    for line in re.findall(r"^\| `([^`]+)` \| (?:names|Guardian) ", PARTS["How it is"], re.MULTILINE):
        assert line.partition("...")[0] in script, line


def test_to_the_front_and_back(family: Home) -> None:
    title = "Two ways of living with dnsmasq"
    type_in(family, commands(title))
    wait_for(lambda: "mode front" in family.mode() and is_filtered(family), 40, 0.5)
    address = family.tablet.join().address
    assert family.tablet.join().dns == ROUTER
    wait_for(lambda: family.tablet.ask("tablet.lan") == [address], 20, 0.5)
    type_in(family, commands(title, 1))
    wait_for(lambda: "mode behind" in family.mode() and is_filtered(family), 40, 0.5)
    assert family.tablet.ask("tablet.lan") == [address]
    assert family.box.uci("get", "guardian.@forward[0].domain") == ""


def test_closed(family: Home) -> None:
    type_in(family, commands("While Guardian is down"))
    assert family.box.uci("get", "guardian.filter.on_failure") == "closed"


def test_the_page(family: Home) -> None:
    type_in(family, commands("The block page"))
    assert family.box.uci("get", "uhttpd.main.listen_http") == "0.0.0.0:8081 [::]:8081"
    wait_for(lambda: family.tablet.ask("blocked.example") == [ROUTER], 30, 0.5)


def test_offloading(family: Home) -> None:
    type_in(family, commands("Flow offloading"))
    assert family.box.uci("get", "firewall.@defaults[0].flow_offloading") == "0"


def test_stop_and_switch_off(family: Home) -> None:
    type_in(family, commands("Stop, switch off, remove"))
    assert "by its own settings" in family.mode() and family.tablet.ask("blocked.example") == [WEB]
    type_in(family, commands("Stop, switch off, remove", 1))
    assert family.running == {} and family.tablet.ask("blocked.example") == [WEB]
