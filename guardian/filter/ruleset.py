"""What the kernel is told: the nft table of a plan, and the one xtables rule for kernels without nft's `queue`. Pure.

docs/flow-filter.md draws the chains. A change renders the whole table anew; it is loaded in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from guardian.filter import marks

TABLE = "guardian"
XTABLES_CHAIN = "GUARDIAN"

TAG_PRIORITY = -145  # after conntrack (-200) and mangle (-150): a new flow has its entry
REDIRECT_PRIORITY = -101  # just before the firewall's own dstnat
HEAD_PRIORITY, QUEUE_PRIORITY, VERDICT_PRIORITY = -160, -150, -140  # -150 is where xtables' mangle table stands
OFFLOAD_PRIORITY = 250  # after every other program's forward chain: what one of them drops never gets so far

SILENT_REPLIES = 16  # packets a server may send before the client's empty ACKs are looked at: it speaks first
MAX_REPLIES = 400  # packets a server may send into a flow that nobody has decided
BUSY_RATE, BUSY_BURST = 2000, 4000  # undecided packets a second of one device; more is a flood
WATCHED_RATE, WATCHED_BURST = 10_000, 20_000  # the same of watched flows: an upload over plain HTTP comes this way
OFFLOAD_AFTER = 32  # packets of a flow, both ways: short ones are over before the fast path pays

_QUEUE_MATCH = f"-m mark --mark {marks.QUEUE:#x}/{marks.QUEUE:#x}"
_STATE = f"ct mark & {marks.STATE_MASK:#x}"
_KEEP_REST = ~marks.FLOW_MASK & 0xFFFFFFFF


class Listener(NamedTuple):
    """Where redirected DNS goes: `address` is "" for the gateway's address on the interface that was asked."""

    address: str
    port: int


class Plan(NamedTuple):
    """All that the rules depend on. Slots are 1..0xff."""

    lan: tuple[str, ...]  # interface names
    queue: int
    fails_open: bool  # without a listener on the queue packets pass
    macs: tuple[tuple[str, int], ...] = ()  # aa:bb:cc:dd:ee:ff -> slot
    networks: tuple[tuple[str, int], ...] = ()  # address or prefix -> slot, for devices without MAC
    stopped: tuple[int, ...] = ()  # slots that have no internet now
    redirected: tuple[int, ...] = ()  # slots whose DNS goes to the gateway, whatever server they ask
    dns4: Listener | None = None
    dns6: Listener | None = None
    offload: tuple[str, ...] = ()  # interfaces, all of them there, between which judged flows take the fast path


def render_table(plan: Plan, with_queue: bool) -> str:
    """Return the nft script that replaces the table; without `queue` the rule of `render_xtables` stands in."""
    lines = [
        f"table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        *_sets(plan),
        *_tag(plan),
        *_redirect(plan),
        *_head(plan),
        *(_queue(plan) if with_queue else ()),
        *_verdict(),
        *(_offload(plan) if plan.offload else ()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def render_removal() -> str:
    """Return the nft script that removes the table, whether it is there or not."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"


def render_xtables(plan: Plan) -> str:
    """Return the iptables-restore text (the same for IPv4 and IPv6) that queues what the nft table asks for.

    The chain is replaced when it exists; the jump to it is added, so remove it first.
    """
    bypass = " --queue-bypass" if plan.fails_open else ""
    return (
        f"*mangle\n:{XTABLES_CHAIN} - [0:0]\n"
        f"-A {XTABLES_CHAIN} -j NFQUEUE --queue-num {plan.queue}{bypass}\n"
        f"-A FORWARD {_QUEUE_MATCH} -j {XTABLES_CHAIN}\nCOMMIT\n"
    )


def render_xtables_removal() -> str:
    """Return the iptables-restore text that removes what `render_xtables` made; it fails where that is missing."""
    return f"*mangle\n-D FORWARD {_QUEUE_MATCH} -j {XTABLES_CHAIN}\n-F {XTABLES_CHAIN}\n-X {XTABLES_CHAIN}\nCOMMIT\n"


def _chain(name: str, *rules: str) -> Iterator[str]:
    yield f"  chain {name} {{"
    for rule in rules:
        yield f"    {rule}"
    yield "  }"


def _hook(kind: str, hook: str, priority: int) -> str:
    return f"type {kind} hook {hook} priority {priority}; policy accept;"


def _slots(slots: Iterable[int]) -> str:
    elements = ", ".join(f"{marks.mark_of_slot(slot):#010x}" for slot in sorted(set(slots)))
    return f" elements = {{ {elements} }};" if elements else ""


def _names(interfaces: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"{name}"' for name in interfaces) + " }"


def _sets(plan: Plan) -> Iterator[str]:
    yield f"  set stopped {{ type mark;{_slots(plan.stopped)} }}"
    yield f"  set redirected {{ type mark;{_slots(plan.redirected)} }}"
    for name in ("busy", "busy_watched"):
        yield f"  set {name} {{ type ether_addr; size 1024; flags dynamic,timeout; timeout 10s; }}"


def _tag(plan: Plan) -> Iterator[str]:
    """Once per flow: who opened it. The MAC counts first; then the address, for devices without one."""
    used = sorted({slot for _, slot in (*plan.macs, *plan.networks)} | {marks.UNKNOWN_SLOT})
    keep = ~marks.SLOT_MASK & 0xFFFFFFFF
    for slot in used:
        yield from _chain(_slot_chain(slot), f"ct mark set ct mark & {keep:#010x} | {marks.mark_of_slot(slot):#010x}")
    yield from _chain("forged", f"ct mark set ct mark & {_KEEP_REST:#010x} | {marks.REFUSED:#x} drop")
    by_mac = ", ".join(f"{mac} : goto {_slot_chain(slot)}" for mac, slot in _read_macs(plan.macs).items())
    networks = [(_read_network(text), slot) for text, slot in plan.networks]
    longest_first = sorted(networks, key=lambda entry: entry[0].prefixlen, reverse=True)
    yield from _chain(
        "tag",
        _hook("filter", "prerouting", TAG_PRIORITY),
        f"ct direction original ct mark & {marks.SLOT_MASK:#010x} != 0 return",
        f"iifname != {_names(plan.lan)} return",
        # Who answers himself in the server's name would have connection tracking believe lies about the server's data.
        f"ct direction reply {_STATE} != {marks.ALLOWED} fib saddr . iif oif missing goto forged",
        "fib daddr type unicast fib saddr . iif oif missing drop",  # who calls himself in a server's name
        f"ct mark & {marks.SLOT_MASK:#010x} != 0 return",
        f"ct direction reply ct mark set ct mark | {marks.ALLOWED:#x}",  # somebody outside opened it
        *([f"ether saddr vmap {{ {by_mac} }}"] if by_mac else []),
        *(f"{_family(network)} saddr {_print(network)} goto {_slot_chain(slot)}" for network, slot in longest_first),
        f"goto {_slot_chain(marks.UNKNOWN_SLOT)}",
    )


def _slot_chain(slot: int) -> str:
    return f"slot_{slot:02x}"


def _read_macs(macs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The slot of each MAC, in nft's spelling; the first device that claims one has it. Raises ValueError."""
    slots: dict[str, int] = {}
    for text, slot in macs:
        slots.setdefault(bytes.fromhex(text.replace(":", "")).hex(":"), slot)
    return slots


def _read_network(text: str) -> IPv4Network | IPv6Network:
    """The network of an address or prefix. What people wrote is never printed as it stands: a scope is any text."""
    return ip_network(text.partition("%")[0], strict=False)


def _family(network: IPv4Network | IPv6Network) -> str:
    return "ip" if network.version == 4 else "ip6"


def _print(network: IPv4Network | IPv6Network) -> str:
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def _redirect(plan: Plan) -> Iterator[str]:
    mine = f"iifname {_names(plan.lan)} ct mark & {marks.SLOT_MASK:#010x} == @redirected"
    rules = [
        f"{mine} meta nfproto {protocol} meta l4proto {{ tcp, udp }} th dport 53 fib daddr type != local "
        f"ct mark set ct mark | {marks.REDIRECTED:#x} {_target(listener)}"
        for protocol, listener in (("ipv4", plan.dns4), ("ipv6", plan.dns6))
        if listener is not None
    ]
    yield from _chain("redirect_dns", _hook("nat", "prerouting", REDIRECT_PRIORITY), *rules)


def _target(listener: Listener) -> str:
    if not listener.address:
        return f"redirect to :{listener.port}"
    if ":" in listener.address:
        return f"dnat ip6 to [{listener.address}]:{listener.port}"
    return f"dnat ip to {listener.address}:{listener.port}"


def _asking() -> Iterator[str]:
    """Chains for what is undecided or watched: which packets ask for the queue."""
    limits = (("ask", "busy", BUSY_RATE, BUSY_BURST), ("ask_watched", "busy_watched", WATCHED_RATE, WATCHED_BURST))
    for name, busy, rate, burst in limits:
        yield from _chain(
            name,
            f"update @{busy} {{ ether saddr limit rate over {rate}/second burst {burst} packets }} drop",
            f"meta mark set meta mark | {marks.QUEUE:#x}",
        )
    yield from _chain(
        "undecided_tcp",
        "tcp flags & rst == rst return",
        f"ct reply packets <= {SILENT_REPLIES} jump pass_empty",
        "goto ask",
    )
    # `accept` ends the chain that asked, not the hook: later chains and the firewall still see the packet.
    yield from _chain("pass_empty", "tcp flags & (fin | syn | rst | ack) != ack return", *_empty_segments())
    yield from _chain(
        "watched_udp",
        "ct reply packets 0 goto ask",
        "udp dport 443 @th,64,8 & 0x80 == 0x80 goto ask_watched",  # QUIC: all long headers
        "@th,64,8 & 0xc0 == 0xc0 goto ask_watched",  # elsewhere without those that look like RTP
    )
    yield from _chain("watched_tcp", "tcp flags & rst == rst return", "jump pass_empty", "goto ask_watched")


def _judged(lan: str) -> Iterator[str]:
    """Chains for flows with a verdict, and for what servers send."""
    forget = f"ct mark set ct mark & {_KEEP_REST:#010x}"
    yield from _chain(
        "refused",
        f"iifname {lan} tcp flags & (syn | ack) == syn {forget} goto ask",  # the ports are used again
        # A flow that ran until now: the server's next segment becomes the reset that its client believes.
        f"ct direction reply meta l4proto tcp ct mark & {marks.ALWAYS:#x} == 0 ct mark set ct mark | {marks.ALWAYS:#x} "
        "tcp flags set rst | ack accept",
        "ct direction reply meta l4proto tcp reject with tcp reset",
        "ct direction reply drop",
        f"ct mark & {marks.ALWAYS:#x} != 0 drop",
        "meta l4proto tcp reject with tcp reset",
        "reject with icmpx port-unreachable",
    )
    yield from _chain(
        "replies",
        f"{_STATE} == {marks.UNDECIDED} meta l4proto tcp ct reply packets > {MAX_REPLIES} drop",
        f"tcp flags & (fin | syn | rst | ack) == (syn | ack) meta mark set meta mark | {marks.QUEUE:#x}",
    )
    # Connection tracking takes a SYN in an old connection for nothing new; the server may have forgotten that one.
    yield from _chain("allowed", f"iifname {lan} tcp flags & (syn | ack) == syn {forget} goto undecided_tcp")


def _head(plan: Plan) -> Iterator[str]:
    """What was judged goes on in the kernel; the rest of what the home's devices send asks for the queue."""
    lan = _names(plan.lan)
    yield from _asking()
    yield from _judged(lan)
    cut = f"ct mark & {marks.ALWAYS | marks.ALLOWED:#x} == {marks.ALLOWED:#x}"  # ALLOWED and WATCHED, no helpline
    not_stopped = f"ct mark & {marks.SLOT_MASK:#010x} != @stopped " if plan.stopped else ""
    yield from _chain(
        "head",
        _hook("filter", "forward", HEAD_PRIORITY),
        f"{_STATE} == {marks.ALLOWED} {not_stopped}tcp flags & syn == 0 return",  # nearly all packets
        f"iifname {lan} oifname {lan} return",  # from device to device: nothing leaves the home
        f"iifname {lan} ct state invalid drop",
        "ct state invalid,untracked return",
        f"ct mark & {marks.SLOT_MASK:#010x} == 0 return",
        f"ct mark & {marks.SLOT_MASK:#010x} == @stopped {cut} drop",
        f"{_STATE} == {marks.ALLOWED} goto allowed",
        f"{_STATE} == {marks.REFUSED} goto refused",
        "ct direction reply goto replies",
        "meta l4proto { 1, 58 } ct state related return",  # ICMP and ICMPv6: their names need /etc/protocols
        f"{_STATE} == {marks.WATCHED} meta l4proto udp goto watched_udp",
        f"{_STATE} == {marks.WATCHED} meta l4proto tcp goto watched_tcp",
        "meta l4proto tcp goto undecided_tcp",
        "goto ask",
    )


def _empty_segments() -> Iterator[str]:
    """Segments without data, by the only lengths they can have: nft cannot subtract."""
    for words in (8, *range(5, 8), *range(9, 16)):  # with timestamps first: nearly all are
        yield f"ip hdrlength 5 ip length {20 + 4 * words} tcp doff {words} accept"
        yield f"ip6 nexthdr tcp ip6 length {4 * words} tcp doff {words} accept"


def _queue(plan: Plan) -> Iterator[str]:
    bypass = "flags bypass " if plan.fails_open else ""
    yield from _chain(
        "queue_undecided",
        _hook("filter", "forward", QUEUE_PRIORITY),
        f"meta mark & {marks.QUEUE:#x} != 0 queue {bypass}to {plan.queue}",
    )


def _verdict() -> Iterator[str]:
    """The engine's verdict comes as packet mark and is saved; its bits end here."""
    clean = f"meta mark set meta mark & {~marks.PACKET_MASK & 0xFFFFFFFF:#010x}"
    verdicts = (
        marks.ALLOWED,
        marks.REFUSED,
        marks.WATCHED,
        marks.ALLOWED | marks.ALWAYS,
        marks.ANSWERED,
        marks.WATCHED | marks.ALWAYS,
    )
    for verdict in verdicts:
        ending = {
            marks.REFUSED: ("meta l4proto tcp reject with tcp reset", "reject with icmpx port-unreachable"),
            marks.ANSWERED: ("drop",),
        }.get(verdict, ())
        save = f"ct mark set ct mark & {_KEEP_REST:#010x} | {verdict:#x}"
        yield from _chain(f"save_{verdict}", clean, save, *ending)
    saves = ", ".join(f"{verdict} : goto save_{verdict}" for verdict in verdicts)
    yield from _chain(
        "verdict",
        _hook("filter", "forward", VERDICT_PRIORITY),
        f"meta mark & {marks.PACKET_MASK:#x} == 0 return",
        f"meta mark & {marks.FLOW_MASK:#x} vmap {{ {saves} }}",
        clean,
    )


def _offload(plan: Plan) -> Iterator[str]:
    """Long flows that are judged and allowed leave the rules: the kernel's flowtable carries and counts them.

    It looks at no mark and no set. What must stop them is a new table: with the old one its flowtable goes, and every
    flow comes back to `head` with its next packet (docs/flow-filter.md).
    """
    yield f"  flowtable {TABLE} {{"
    yield "    hook ingress priority 0;"
    yield f"    devices = {_names(plan.offload)};"
    yield "    counter;"
    yield "  }"
    ports = f"iifname {_names(plan.offload)} oifname {_names(plan.offload)}"
    yield from _chain(
        "fast_path",
        _hook("filter", "forward", OFFLOAD_PRIORITY),
        f"{_STATE} == {marks.ALLOWED} ct mark & {marks.SLOT_MASK:#010x} != 0 ct packets > {OFFLOAD_AFTER} "
        f"ct state established {ports} meta l4proto {{ tcp, udp }} flow add @{TABLE}",
    )
