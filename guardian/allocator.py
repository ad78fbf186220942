"""The C library's memory: large blocks go back to the system at once. A slow hash takes 16 MB for a moment."""

from __future__ import annotations

import ctypes

LARGE_BLOCK = 256 * 1024  # bytes
ARENAS = 1  # glibc's default is eight a core, each with memory of its own, for threads that seldom meet
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def return_large_blocks() -> None:
    """Make the C library give large blocks back when they are free.

    glibc stops doing so after the first such block, unless it is told a fixed size; musl always does.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        library.mallopt(_M_ARENA_MAX, ARENAS)
