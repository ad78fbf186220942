"""AES-128 through ctypes: the same as the `cryptography` package, and nothing that an attacker sends upsets it."""

from __future__ import annotations

import ctypes
import logging
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from guardian.filter import openssl
from guardian.filter.openssl import OpenSslCipher, load_cipher

keys = st.binary(min_size=16, max_size=16)
nonces = st.binary(min_size=12, max_size=12)
loaded = load_cipher()
if loaded is None:
    pytest.skip("no libcrypto on this machine", allow_module_level=True)
cipher: OpenSslCipher = loaded


@given(keys, keys)
def test_a_block_is_what_cryptography_makes_of_it(key: bytes, block: bytes) -> None:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    assert cipher.encrypt_block(key, block) == encryptor.update(block) + encryptor.finalize()


@given(keys, nonces, st.binary(max_size=200), st.binary(max_size=4000))
def test_what_cryptography_sealed_opens(key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> None:
    assert cipher.open_sealed(key, nonce, associated, AESGCM(key).encrypt(nonce, plaintext, associated)) == plaintext


@given(keys, nonces, st.binary(max_size=40), st.binary(max_size=60), st.data())
def test_one_changed_bit_is_seen_and_the_next_packet_opens(
    key: bytes, nonce: bytes, associated: bytes, plaintext: bytes, data: st.DataObject
) -> None:
    sealed = AESGCM(key).encrypt(nonce, plaintext, associated)
    parts = [bytearray(part) for part in (key, nonce, associated, sealed)]
    part = data.draw(st.sampled_from([part for part in parts if part]))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert cipher.open_sealed(*map(bytes, parts)) is None
    assert cipher.open_sealed(key, nonce, associated, sealed) == plaintext


@given(keys, nonces, st.binary(max_size=100), st.binary(max_size=100))
def test_any_bytes_open_to_nothing(key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> None:
    assert cipher.open_sealed(key, nonce, associated, sealed) is None


def test_a_large_packet_makes_room_for_itself() -> None:
    fresh = load_cipher()
    assert fresh is not None
    key, nonce = bytes(16), bytes(12)
    for size in (2047, 2048, 2049, 65_507, 0, 1, 1 << 20):
        plaintext = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert fresh.open_sealed(key, nonce, b"", AESGCM(key).encrypt(nonce, plaintext, b"")) == plaintext


def test_less_than_a_tag_is_no_packet() -> None:
    for size in range(16):
        assert cipher.open_sealed(bytes(16), bytes(12), b"", bytes(size)) is None


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_keys_blocks_and_nonces_of_the_wrong_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        cipher.encrypt_block(bytes(size), bytes(16))
    with pytest.raises(ValueError, match="16 bytes"):
        cipher.encrypt_block(bytes(16), bytes(size))
    with pytest.raises(ValueError, match="16 bytes"):
        cipher.open_sealed(bytes(size), bytes(12), b"", bytes(40))
    with pytest.raises(ValueError, match="nonce 12"):
        cipher.open_sealed(bytes(16), bytes(size), b"", bytes(40))


def test_a_wrong_tag_leaves_no_error_behind_for_ssl() -> None:
    library = ctypes.PyDLL(next(openssl._find_names()))
    library.ERR_peek_error.restype = ctypes.c_ulong
    assert cipher.open_sealed(bytes(16), bytes(12), b"", bytes(40)) is None
    assert library.ERR_peek_error() == 0


def test_the_libcrypto_of_hashlib_is_used_and_no_other_mapped() -> None:
    script = (
        "import hashlib\n"
        "from guardian.filter.openssl import load_cipher\n"
        "assert load_cipher()\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(*{word for word in maps if 'libcrypto' in word})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) <= 1, "a second libcrypto costs its memory again"


def test_no_libcrypto_is_told_and_survived(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(openssl, "_find_names", lambda: iter(("/nowhere/libcrypto.so.3", "libc.so.6")))
    with caplog.at_level(logging.WARNING):
        assert load_cipher() is None
    assert "event=libcrypto_missing" in caplog.text


def test_a_library_that_refuses_aes_is_told_and_survived() -> None:
    class Function:
        def __call__(self, *arguments: object) -> int:
            return 0

    class Refusing:
        def __getattr__(self, name: str) -> Function:
            return Function()

    with pytest.raises(OSError, match="refuses AES-128"):
        OpenSslCipher(Refusing())  # type: ignore[arg-type]


def test_the_names_to_try_end_with_what_the_system_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so.99")
    names = list(openssl._find_names())
    assert names[-4:] == ["libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so", "libcrypto.so.99"]
