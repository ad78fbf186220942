"""What the disks are made with; no emulation here."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from tests.vm.disks import write_cpio

FILES = st.lists(
    st.tuples(st.text("abc/._-", min_size=1, max_size=20), st.sampled_from([0o644, 0o755]), st.binary(max_size=40)),
    max_size=6,
)


def read_cpio(data: bytes) -> list[tuple[str, int, bytes]]:
    """Read the form "newc" as the kernel does (init/initramfs.c). Raises AssertionError."""
    found: list[tuple[str, int, bytes]] = []
    position = 0
    while True:
        assert position % 4 == 0 and data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * index : position + 14 + 8 * index], 16) for index in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[position + 110 : position + 110 + name_size]
        assert name.endswith(b"\0")
        start = (position + 110 + name_size + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert start == len(data)
            return found
        found.append((name[:-1].decode(), fields[1], data[start : start + size]))
        position = (start + size + 3) & ~3


@given(FILES)
def test_an_archive_is_read_as_it_was_written(files: list[tuple[str, int, bytes]]) -> None:
    regular = [(name, stat.S_IFREG | mode, content) for name, mode, content in files]
    assert read_cpio(b"".join(write_cpio(regular))) == regular
