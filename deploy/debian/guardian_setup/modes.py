"""What a mode is made of: the files it writes and the services it starts. Pure: facts and wishes in, texts out."""

from __future__ import annotations

import enum
import ipaddress
import json
from typing import Final, NamedTuple

FOLDER: Final = "/etc/guardian"
SETTINGS: Final = f"{FOLDER}/guardian.yaml"
CONTROL: Final = "/run/guardian/control.sock"
LEASES: Final = "/var/lib/guardian-dhcp/leases"
LAN, NAT = f"{FOLDER}/lan.conf", f"{FOLDER}/nat.nft"
DHCP, WIFI = f"{FOLDER}/dhcp.conf", f"{FOLDER}/hostapd.conf"
DROP_IN: Final = "/etc/systemd/system/guardian-gateway.service.d/filter.conf"
NETWORK_MANAGER: Final = "/etc/NetworkManager/conf.d/90-guardian.conf"
NETWORKD: Final = "/etc/systemd/network/05-guardian.network"

CORE = ("guardian-gateway.service", "guardian-web.service", "guardian-sync.timer")
ROUTER = ("guardian-lan.service", "guardian-dhcp.service")
RADIO = ("guardian-wifi.service",)
UNITS: Final = (*ROUTER[:1], *RADIO, *ROUTER[1:], *CORE)  # in the order of their start
# All but the settings, which a machine without a mode has as well.
EXTRA_FILES: Final = (LAN, NAT, DHCP, WIFI, DROP_IN, NETWORK_MANAGER, NETWORKD)

# dns.quad9.net: encrypted, without a protocol of who asks; its certificate shows that it is it.
UPSTREAMS: Final = ("tls://dns.quad9.net@9.9.9.9,149.112.112.112",)
CANDIDATES: Final = ("192.168.77.1/24", "10.77.7.1/24", "172.29.77.1/24")
CONSOLE_PORT, PAGE_PORT, DNS_PORT = 8080, 80, 53
LARGEST_POOL, FREE = 200, 20  # addresses
LEAST_PASSPHRASE, LONGEST_PASSPHRASE, LONGEST_NETWORK_NAME = 8, 63, 32  # IEEE 802.11

MARK: Final = "# Written by guardian-setup"


class Mode(enum.Enum):
    """What this machine is in the home."""

    DNS_ONLY = "dns-only"  # another router stands at the door and tells devices to ask here
    GATEWAY = "gateway"  # all goes through this machine: cable in, cable out
    ACCESS_POINT = "access-point"  # the same, and the home's side is a wireless network of this machine

    @property
    def is_router(self) -> bool:
        """Tell whether the home's connections go through this machine."""
        return self is not Mode.DNS_ONLY


class Radio(NamedTuple):
    """The wireless network of an access point. `country`: ISO 3166, whose rules the radio keeps."""

    name: str
    passphrase: str
    country: str
    channel: int = 6


class Plan(NamedTuple):
    """A whole mode, decided. `lan` is the interface of the home's side, `wan` the way out ("" for DNS only)."""

    mode: Mode
    lan: str
    wan: str
    address: str  # of this machine at home, with its prefix: 192.168.77.1/24
    language: str = "ro"
    upstreams: tuple[str, ...] = UPSTREAMS
    has_page: bool = True  # no: another program has port 80, and blocked names get no address
    radio: Radio | None = None

    @property
    def host(self) -> str:
        """This machine's address at home, without its prefix."""
        return self.address.partition("/")[0]


class File(NamedTuple):
    """A file to write."""

    text: str
    mode: int = 0o644


def list_files(plan: Plan) -> dict[str, File]:
    """Return the files of a plan by their paths."""
    files = {SETTINGS: File(render_settings(plan), 0o640)}
    if plan.mode.is_router:
        files[LAN] = File(f"{MARK}\nLAN={plan.lan}\nWAN={plan.wan}\nADDRESS={plan.address}\n")
        files[NAT] = File(render_nat(plan))
        files[DHCP] = File(render_dhcp(plan))
        files[NETWORK_MANAGER] = File(f"{MARK}\n[keyfile]\nunmanaged-devices=interface-name:{plan.lan}\n")
        files[NETWORKD] = File(f"{MARK}\n[Match]\nName={plan.lan}\n\n[Link]\nUnmanaged=yes\n")
    if plan.radio:
        files[WIFI] = File(render_radio(plan.lan, plan.radio), 0o600)
    return files


def list_units(mode: Mode) -> tuple[str, ...]:
    """Return the services of a mode in the order of their start."""
    wanted = {*CORE, *(ROUTER if mode.is_router else ()), *(RADIO if mode is Mode.ACCESS_POINT else ())}
    return tuple(unit for unit in UNITS if unit in wanted)


def render_settings(plan: Plan) -> str:
    """Return guardian.yaml."""
    lines = [
        f"{MARK} {plan.mode.value}. Change what you like: `sudo guardian check` finds mistakes,",
        "# `sudo systemctl restart guardian-gateway guardian-web` puts it in force.",
        "# All keys: /usr/share/doc/guardian/configuration.md",
        "",
        "state: /var/lib/guardian",
        f"language: {plan.language}",
        "",
        "dns:",
        f"  listen: [{_list_endpoints(plan, DNS_PORT)}]",
        "",
        "upstreams:",
        f"  servers: [{', '.join(map(json.dumps, plan.upstreams))}]",
        "",
        *(["local:", f"  leases: [{LEASES}]", ""] if plan.mode.is_router else []),
        "block:",
    ]
    if plan.has_page:
        lines.append(f"  page: [{_list_endpoints(plan, PAGE_PORT)}]")
    else:
        lines += [
            "  # Another program has port 80, so there is no page: what is blocked has no address.",
            "  mandatory: nxdomain",
            "  other: nxdomain",
        ]
    lines += [
        "",
        "web:",
        f"  listen: [{_list_endpoints(plan, CONSOLE_PORT)}]",
        "",
        "history:",
        "  path: /run/guardian/history.db # in memory: it spares the card",
        "  snapshot: /var/lib/guardian/history.db # a copy every hour and at the end",
        "  size_mb: 16",
        "",
        "control:",
        f"  socket: {CONTROL}",
        "  group: guardian",
    ]
    if plan.mode.is_router:
        lines += ["", "filter:", "  enabled: yes", f'  lan: ["{plan.lan}"]', f'  wan: ["{plan.wan}"]']
    return "\n".join(lines) + "\n"


def _list_endpoints(plan: Plan, port: int) -> str:
    """All addresses of the home's side, also when they change."""
    return f'"{plan.lan}:{port}"'


def render_nat(plan: Plan) -> str:
    """Return the rules of a router, for nft. They stand beside Guardian's own table and any other firewall."""
    return f"""\
{MARK}; guardian-lan.service loads it, and takes it away when it stops.
add table ip guardian_nat
delete table ip guardian_nat
table ip guardian_nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{plan.wan}" masquerade
    }}
}}
add table inet guardian_lan
delete table inet guardian_lan
table inet guardian_lan {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{plan.wan}" oifname "{plan.lan}" ct state established,related accept
        iifname "{plan.wan}" oifname "{plan.lan}" drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        # What listens for the home is not for the other side.
        iifname "{plan.wan}" ip daddr {plan.host} drop
    }}
}}
"""


def render_dhcp(plan: Plan) -> str:
    """Return dnsmasq's settings: DHCP on the home's side, no DNS."""
    first, last, mask = choose_pool(plan.address)
    return "\n".join(
        [
            f"{MARK}: DHCP only, DNS is Guardian's.",
            "port=0",
            f"interface={plan.lan}",
            "except-interface=lo",
            "bind-dynamic",
            "dhcp-authoritative",
            f"dhcp-range={first},{last},{mask},12h",
            f"dhcp-option=option:router,{plan.host}",
            f"dhcp-option=option:dns-server,{plan.host}",
            f"dhcp-leasefile={LEASES}",
            "user=",
            "group=",
            "",
        ]
    )


def choose_pool(address: str) -> tuple[str, str, str]:
    """Return the first and last address that devices get, and the netmask: the larger side of this machine's own."""
    mine = ipaddress.IPv4Interface(address)
    lowest, highest = mine.network[1], mine.network[-2]
    below = (lowest, mine.ip - 1)
    above = (mine.ip + 1, highest)
    first, last = max(below, above, key=lambda side: int(side[1]) - int(side[0]))
    if int(last) - int(first) > LARGEST_POOL + FREE:  # some stay free for what has a fixed address
        first += FREE
    return str(first), str(min(last, first + LARGEST_POOL - 1)), str(mine.network.netmask)


def render_radio(interface: str, radio: Radio) -> str:
    """Return hostapd's settings: WPA2, which every tablet knows; the radio of a Pi has no WPA3 for access points."""
    return "\n".join(
        [
            MARK,
            f"interface={interface}",
            "driver=nl80211",
            f"country_code={radio.country}",
            "ieee80211d=1",
            f'ssid2="{radio.name}"',
            "utf8_ssid=1",
            "hw_mode=g",
            f"channel={radio.channel}",
            "ieee80211n=1",
            "wmm_enabled=1",
            "auth_algs=1",
            "wpa=2",
            "wpa_key_mgmt=WPA-PSK",
            "rsn_pairwise=CCMP",
            f"wpa_passphrase={radio.passphrase}",
            "",
        ]
    )


def check_radio(radio: Radio) -> list[str]:
    """Return what is wrong with a wireless network's settings."""
    problems = []
    encoded = radio.name.encode()
    if not 1 <= len(encoded) <= LONGEST_NETWORK_NAME or not radio.name.isprintable() or '"' in radio.name:
        problems.append(f"the network's name takes 1 to {LONGEST_NETWORK_NAME} bytes of text without '\"'")
    is_plain = radio.passphrase.isascii() and radio.passphrase.isprintable()
    if not LEAST_PASSPHRASE <= len(radio.passphrase) <= LONGEST_PASSPHRASE or not is_plain:
        problems.append(
            f"the password takes {LEAST_PASSPHRASE} to {LONGEST_PASSPHRASE} letters, digits and signs of English"
        )
    if len(radio.country) != 2 or not radio.country.isascii() or not radio.country.isupper():
        problems.append("the country is two capital letters, like MD: the radio keeps its rules")
    return problems


def choose_address(taken: list[ipaddress.IPv4Network]) -> str:
    """Return an address with its prefix for the home's side that is in none of the networks that this machine knows."""
    for candidate in CANDIDATES:
        network = ipaddress.IPv4Interface(candidate).network
        if not any(network.overlaps(other) for other in taken):
            return candidate
    raise LookupError("all private networks that guardian-setup knows are taken: give --address")
