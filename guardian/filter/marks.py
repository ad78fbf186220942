"""The bits of conntrack and packet marks, and the verdicts that they carry.

A conntrack mark holds the state of a flow and the slot of the device that opened it. Other programs own the bits
between: every rule masks. A packet mark is ours only between our own chains of the forward hook, and is cleared there.
"""

from __future__ import annotations

from typing import Final

# Conntrack mark
STATE_MASK: Final = 0x3
UNDECIDED: Final = 0
ALLOWED: Final = 1  # the kernel carries it
REFUSED: Final = 2
WATCHED: Final = 3  # QUIC: only packets with a long header come to user space
ALWAYS: Final = 0x4  # with ALLOWED or WATCHED: a helpline, no stop cuts it; with REFUSED: no reset, it was answered
FLOW_MASK: Final = STATE_MASK | ALWAYS
REDIRECTED: Final = 0x8  # a DNS query to a foreign server that the gateway answers
SLOT_SHIFT: Final = 24
SLOT_MASK: Final = 0xFF << SLOT_SHIFT
OWN_MASK: Final = SLOT_MASK | FLOW_MASK | REDIRECTED
UNKNOWN_SLOT: Final = 0xFF  # a device that nobody has named
MAX_SLOTS: Final = 0xFE  # 1..0xFE are for devices of the household

# Packet mark: FLOW_MASK is the verdict to save
QUEUE: Final = 0x8  # please queue
PACKET_MASK: Final = FLOW_MASK | QUEUE

# Verdicts of the engine: a packet mark to accept the packet with, or DROP
PASS: Final = 0  # let this packet through; the flow stays undecided
DROP: Final = -1
ANSWERED: Final = REFUSED | ALWAYS  # refused, and the client has got an answer: no reset


def mark_of_slot(slot: int) -> int:
    """Return the conntrack mark bits of a device's slot."""
    return slot << SLOT_SHIFT
