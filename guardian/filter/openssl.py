"""AES-128 from the libcrypto that Python's own `_hashlib` has mapped already: no package and no memory of its own.

Called through ctypes, and through `PyDLL`: a call takes a microsecond, so giving up the interpreter's lock for it would
only let another thread take its five milliseconds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import logging
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_void_p
from typing import Final

log = logging.getLogger(__name__)

KEY_BYTES: Final = 16
BLOCK_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_SONAMES = ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so")
_CTRL_SET_TAG: Final = 0x11  # EVP_CTRL_AEAD_SET_TAG
_ROOM: Final = 2048  # bytes for a plaintext; grows when a packet is larger
_SIGNATURES: dict[str, tuple[object, ...]] = {
    "EVP_CIPHER_CTX_new": (c_void_p,),
    "EVP_aes_128_ecb": (c_void_p,),
    "EVP_aes_128_gcm": (c_void_p,),
    "EVP_CIPHER_CTX_set_padding": (c_int, c_void_p, c_int),
    "EVP_CIPHER_CTX_ctrl": (c_int, c_void_p, c_int, c_int, c_char_p),
    "EVP_EncryptInit_ex": (c_int, c_void_p, c_void_p, c_void_p, c_char_p, c_char_p),
    "EVP_EncryptUpdate": (c_int, c_void_p, c_void_p, c_void_p, c_char_p, c_int),
    "EVP_DecryptInit_ex": (c_int, c_void_p, c_void_p, c_void_p, c_char_p, c_char_p),
    "EVP_DecryptUpdate": (c_int, c_void_p, c_void_p, c_void_p, c_char_p, c_int),
    "EVP_DecryptFinal_ex": (c_int, c_void_p, c_void_p, c_void_p),
    "ERR_clear_error": (None,),
}


class OpenSslCipher:
    """AES-128 with two contexts that are used again and again. For one thread, and as long as the process lives."""

    __slots__ = (
        "_block", "_clear_errors", "_decrypt_final", "_decrypt_init", "_decrypt_update", "_encrypt_init",
        "_encrypt_update", "_length", "_length_at", "_room", "_room_at", "_sealed", "_set",
    )  # fmt: skip

    def __init__(self, library: ctypes.PyDLL) -> None:
        """Raises AttributeError when the library is not a libcrypto, OSError when it refuses AES-128."""
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._encrypt_init, self._encrypt_update = library.EVP_EncryptInit_ex, library.EVP_EncryptUpdate
        self._decrypt_init, self._decrypt_update = library.EVP_DecryptInit_ex, library.EVP_DecryptUpdate
        self._decrypt_final, self._set = library.EVP_DecryptFinal_ex, library.EVP_CIPHER_CTX_ctrl
        self._clear_errors = library.ERR_clear_error
        self._block, self._sealed = library.EVP_CIPHER_CTX_new(), library.EVP_CIPHER_CTX_new()
        if not (
            self._block
            and self._sealed
            and self._encrypt_init(self._block, library.EVP_aes_128_ecb(), None, None, None)
            and library.EVP_CIPHER_CTX_set_padding(self._block, 0)
            and self._decrypt_init(self._sealed, library.EVP_aes_128_gcm(), None, None, None)
        ):
            raise OSError("libcrypto refuses AES-128")
        self._length = c_int()
        self._length_at = ctypes.addressof(self._length)
        self._make_room(_ROOM)

    def _make_room(self, size: int) -> None:
        self._room = ctypes.create_string_buffer(size + BLOCK_BYTES)
        self._room_at = ctypes.addressof(self._room)

    def encrypt_block(self, key: bytes, block: bytes) -> bytes:
        """Return one block of 16 bytes, encrypted (ECB). Raises ValueError when key or block are not 16 bytes."""
        if len(key) != KEY_BYTES or len(block) != BLOCK_BYTES:
            raise ValueError("key and block have 16 bytes")
        context = self._block
        if not (
            self._encrypt_init(context, None, None, key, None)
            and self._encrypt_update(context, self._room_at, self._length_at, block, BLOCK_BYTES)
            and self._length.value == BLOCK_BYTES
        ):
            raise OSError("libcrypto: AES-128-ECB failed")
        return ctypes.string_at(self._room_at, BLOCK_BYTES)

    def open_sealed(self, key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> bytes | None:
        """Return the plaintext of `sealed`, which ends with its tag (GCM), or None when the tag is wrong.

        Raises ValueError when the key has not 16 bytes or the nonce not 12.
        """
        if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
            raise ValueError("a key has 16 bytes, a nonce 12")
        size = len(sealed) - TAG_BYTES
        if size < 0:
            return None
        if size > len(self._room) - BLOCK_BYTES:
            self._make_room(size)
        context, room, length = self._sealed, self._room_at, self._length_at
        if not (
            self._decrypt_init(context, None, None, key, nonce)
            and (not associated or self._decrypt_update(context, None, length, associated, len(associated)))
            and (not size or self._decrypt_update(context, room, length, sealed, size))
            and self._set(context, _CTRL_SET_TAG, TAG_BYTES, sealed[size:])
        ):
            raise OSError("libcrypto: AES-128-GCM failed")
        if self._decrypt_final(context, room + size, length) != 1:
            self._clear_errors()  # the queue of errors is the thread's: `ssl` would find ours there
            return None
        return ctypes.string_at(room, size)


def _find_names() -> Iterator[str]:
    """The libraries to try. Looking a symbol up in an extension module also finds what that is linked to."""
    spec = importlib.util.find_spec("_hashlib")
    if spec is not None and spec.origin is not None and spec.origin.startswith("/"):
        yield spec.origin
    yield from _SONAMES
    if found := ctypes.util.find_library("crypto"):  # runs a compiler on some systems: last
        yield found


def load_cipher() -> OpenSslCipher | None:
    """Return AES-128 of the system's libcrypto, or None (logged) when there is none: then QUIC cannot be read."""
    for name in _find_names():
        try:
            return OpenSslCipher(ctypes.PyDLL(name))
        except (OSError, AttributeError) as error:
            log.debug("event=libcrypto_skipped library=%s reason=%s", name, error)
    log.warning('event=libcrypto_missing effect="QUIC cannot be read" hint="install OpenSSL\'s libcrypto (libssl3)"')
    return None
