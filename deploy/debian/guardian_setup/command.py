"""Make this machine the home's filter: a DNS server, the router, or an access point. `undo` takes it back.

  sudo guardian-setup                        asks
  sudo guardian-setup dns-only               another router stands at the door; it tells devices to ask this machine
  sudo guardian-setup gateway                all goes through this machine: --lan and --wan are its two sides
  sudo guardian-setup access-point           the same, with a wireless network of its own: --ssid, --country
  sudo guardian-setup undo                   everything as before; what parents set stays

It looks first, says what it will do, and changes nothing when something is in the way. This machine's own names
(/etc/resolv.conf) stay as they are.
"""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from guardian.cli import Parser
from guardian.config import LANGUAGES
from guardian.errors import ConfigError, GuardianError
from guardian_setup import machine, modes
from guardian_setup.apply import apply, undo
from guardian_setup.modes import Mode, Plan, Radio
from guardian_setup.obstacles import find_obstacles

OK, FAILED, USAGE = 0, 1, 2

_QUESTION = """\
What is this machine in your home?
  1  dns-only       your router stays; you tell it to send names here (the quickest)
  2  gateway        everything goes through this machine: one cable from the router, one to your home
  3  access-point   like 2, and this machine makes the wireless network
"""
_BY_NUMBER = {"1": Mode.DNS_ONLY, "2": Mode.GATEWAY, "3": Mode.ACCESS_POINT}


def main(argv: Sequence[str] | None = None) -> int:
    """Run guardian-setup; return 0 when all is done, 1 when something is in the way, 2 for wrong words."""
    try:
        args = _parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as leave:
        return USAGE if leave.code else OK
    try:
        return _run(args)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
    except GuardianError as error:
        print(f"guardian-setup: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nnothing was changed", file=sys.stderr)
    return FAILED


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="guardian-setup",
        description=(__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("mode", nargs="?", choices=[*(mode.value for mode in Mode), "undo"], help="what to be")
    parser.add_argument("--lan", metavar="INTERFACE", default="", help="the home's side (see `ip link`)")
    parser.add_argument(
        "--wan", metavar="INTERFACE", default="", help="the way out (default: that of the default route)"
    )
    parser.add_argument("--address", metavar="ADDRESS/PREFIX", default="", help="a router's address at home")
    parser.add_argument(
        "--upstream", metavar="SERVER", action="append", default=[], help="who is asked for names (repeatable)"
    )
    parser.add_argument("--language", choices=LANGUAGES, default="ro", help="of pages and messages (default: ro)")
    parser.add_argument("--ssid", metavar="NAME", default="", help="access point: the network's name")
    parser.add_argument(
        "--country", metavar="CC", default="MD", help="access point: whose radio rules hold (default: MD)"
    )
    parser.add_argument("--channel", type=int, choices=range(1, 14), default=6, metavar="1-13", help="access point")
    parser.add_argument(
        "--password-file", metavar="FILE", help="access point: the network's password (else it is asked)"
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise GuardianError("this changes the machine: run it as root (sudo guardian-setup ...)")
    if args.mode == "undo":
        undo()
        print("Guardian is off, and this machine as it was. What parents set is kept in /var/lib/guardian.")
        return OK
    plan = decide(args, Mode(args.mode) if args.mode else _ask_mode(args.yes))
    plan, obstacles, notes = find_obstacles(plan)
    if obstacles:
        for obstacle in obstacles:
            print(f"in the way: {obstacle.message}\n        do: {obstacle.advice}", file=sys.stderr)
        print("nothing was changed", file=sys.stderr)
        return FAILED
    print(describe(plan))
    for note in notes:
        print(f"note: {note}")
    if not args.yes and not _confirm():
        print("nothing was changed")
        return FAILED
    code = apply(plan)
    print(tell_next(plan, code))
    return OK


def decide(args: argparse.Namespace, mode: Mode) -> Plan:
    """Return the plan that the words of the command line and this machine's interfaces make. Raises GuardianError."""
    interfaces = {interface.name: interface for interface in machine.read_interfaces()}
    way_out = machine.find_way_out()
    upstreams = tuple(args.upstream) or modes.UPSTREAMS
    if mode is Mode.DNS_ONLY:
        lan = args.lan or way_out
        if not lan:
            raise GuardianError("this machine has no way out (`ip route` shows no default): connect it to your router")
        addresses = _known(interfaces, lan).addresses
        if args.address or args.wan:
            raise GuardianError("--address and --wan are a router's: here the other router gives the address")
        if not addresses:
            raise GuardianError(f"{lan} has no IPv4 address: see `ip address`")
        return Plan(mode, lan, "", str(addresses[0]), args.language, upstreams)
    wan = args.wan or way_out
    if not wan:
        raise GuardianError("this machine has no way out (`ip route` shows no default): name it with --wan")
    _known(interfaces, wan)
    lan = args.lan or _guess_lan(interfaces, wan, mode)
    if _known(interfaces, lan).name == wan:
        raise GuardianError(f"'{lan}' cannot be both sides: a router needs two interfaces")
    others = [address.network for name, it in interfaces.items() if name != lan for address in it.addresses]
    try:
        address = _read_address(args.address) if args.address else modes.choose_address(others)
    except LookupError as error:
        raise GuardianError(str(error)) from None
    radio = _read_radio(args) if mode is Mode.ACCESS_POINT else None
    return Plan(mode, lan, wan, address, args.language, upstreams, radio=radio)


def _known(interfaces: dict[str, machine.Interface], name: str) -> machine.Interface:
    if name not in interfaces:
        raise GuardianError(f"there is no interface '{name}' here; there are: {', '.join(interfaces) or 'none'}")
    return interfaces[name]


def _guess_lan(interfaces: dict[str, machine.Interface], wan: str, mode: Mode) -> str:
    others = [it for it in interfaces.values() if it.name != wan]
    if mode is Mode.ACCESS_POINT:
        others = [it for it in others if it.is_wireless] or others
    if len(others) == 1:
        return others[0].name
    if not others:
        raise GuardianError(f"there is only '{wan}': a router needs a second interface (a USB network adapter)")
    raise GuardianError(f"which is the home's side? --lan with one of: {', '.join(it.name for it in others)}")


def _read_address(text: str) -> str:
    try:
        interface = ipaddress.IPv4Interface(text)
    except ValueError:
        raise GuardianError(f"--address {text}: write it with its prefix, like 192.168.77.1/24") from None
    if interface.network.prefixlen > 29:
        raise GuardianError(f"--address {text}: write it with the prefix of the home's network, like 192.168.77.1/24")
    if not interface.is_private or interface.ip in (
        interface.network.network_address,
        interface.network.broadcast_address,
    ):
        raise GuardianError(f"--address {text}: this is no private address of a machine (192.168..., 10...)")
    return str(interface)


def _read_radio(args: argparse.Namespace) -> Radio:
    name = args.ssid
    if not name:
        if args.yes:
            raise GuardianError("an access point needs --ssid: the network's name")
        name = input("the network's name: ").strip()
    if args.password_file:
        try:
            with open(args.password_file, encoding="utf-8") as file:
                passphrase = file.readline().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise GuardianError(f"{args.password_file}: {error}") from None
    elif args.yes:
        raise GuardianError("an access point needs --password-file: the network's password")
    else:
        passphrase = getpass.getpass("the network's password: ")
    radio = Radio(name, passphrase, args.country, args.channel)
    if problems := modes.check_radio(radio):
        raise GuardianError("; ".join(problems))
    return radio


def _ask_mode(is_silent: bool) -> Mode:
    if is_silent:
        _refuse("say what this machine shall be: dns-only, gateway or access-point")
    print(_QUESTION)
    while True:
        answer = input("1, 2 or 3: ").strip()
        if answer in _BY_NUMBER:
            return _BY_NUMBER[answer]


def _refuse(message: str) -> NoReturn:
    raise GuardianError(message)


def _confirm() -> bool:
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes", "d", "da", "д", "да")


def describe(plan: Plan) -> str:
    """Return what a plan will do, in words."""
    lines = [f"This machine becomes the home's filter: {plan.mode.value}."]
    if plan.mode.is_router:
        lines += [
            f"  out          {plan.wan}",
            f"  home         {plan.lan}, {plan.address}; devices get their addresses from here",
            "  connections  judged, not only names",
        ]
    if plan.radio:
        lines.append(f"  wireless     {plan.radio.name} (channel {plan.radio.channel}, {plan.radio.country})")
    lines += [
        f"  names        on {plan.host} port {modes.DNS_PORT}, asked of {', '.join(plan.upstreams)}",
        f"  console      http://{plan.host}:{modes.CONSOLE_PORT}/",
    ]
    return "\n".join(lines)


def tell_next(plan: Plan, code: str) -> str:
    """Return what a parent does next. `code` is the claim code, "" when the console has its parents."""
    lines = ["", "It works."]
    if plan.mode is Mode.DNS_ONLY:
        lines += [
            f"1. In your router's settings for the home (DHCP, LAN), set the DNS server to {plan.host}, no second one.",
            f"   Let it give this machine the address {plan.host} for ever (reservation, static lease).",
            "2. Reconnect your devices (wireless off and on).",
        ]
    else:
        lines += [f"1. Connect your home to {plan.lan}{f' ({plan.radio.name})' if plan.radio else ''}."]
        lines += ["2. Switch off the other router's wireless network: who stays there is not filtered."]
    lines.append(f"3. On your phone: http://{plan.host}:{modes.CONSOLE_PORT}/" + (f"   code {code}" if code else ""))
    return "\n".join(lines)
