"""A network interface whose other end is a file: what the kernel sends is read there, what is written it receives."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000

NEEDS_TUN = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip") or not Path("/dev/net/tun").exists(),
    reason="needs root, `ip` and /dev/net/tun",
)


def open_tun(address: str, *networks: str) -> int:
    """Return the file of an interface with this address in the namespace of this thread; `networks` lead there."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"tun0", IFF_TUN | IFF_NO_PI))
    for command in (
        f"ip address add {address} dev tun0" + " nodad" * (":" in address),
        "ip link set tun0 up",
        *(f"ip route add {network} dev tun0" for network in networks),
    ):
        subprocess.run(command.split(), check=True, timeout=20)
    return tun
