"""Files of keys: what a thief needs, what other programs read, and what damaged files come to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from guardian.desk.key_file import check_password, decrypt_key, encrypt_key
from guardian.errors import DeskError

PASSWORD = "four plain words here"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = encrypt_key(KEY, PASSWORD)


def test_a_key_comes_back_and_other_programs_read_it(tmp_path: Path) -> None:
    assert decrypt_key(PEM, PASSWORD, "x").private_bytes_raw() == KEY.private_bytes_raw()
    (tmp_path / "key").write_bytes(PEM)
    (tmp_path / "password").write_text(PASSWORD)
    done = subprocess.run(
        ["openssl", "pkey", "-in", str(tmp_path / "key"), "-passin", f"file:{tmp_path}/password", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    shown = subprocess.run(
        ["openssl", "asn1parse", "-in", str(tmp_path / "key")], capture_output=True, text=True, check=True
    ).stdout
    assert "scrypt" in shown and ":4000" in shown and "aes-256-cbc" in shown  # N = 0x4000


def test_the_same_key_is_never_written_the_same_way_twice() -> None:
    assert encrypt_key(KEY, PASSWORD) != PEM
    assert KEY.private_bytes_raw() not in PEM


def test_a_wrong_password_is_refused() -> None:
    for password in ("", PASSWORD + " ", PASSWORD.upper()):
        with pytest.raises(DeskError, match=r"keys/ana\.pem: the password is wrong, or the file is damaged"):
            decrypt_key(PEM, password, "keys/ana.pem")


def test_a_damaged_file_is_refused_or_another_key() -> None:
    """CBC has no checksum: changed bytes of the key are another key, which `unlock` compares with the desk's."""
    others = 0
    for at in range(40, len(PEM) - 40, 23):
        other = b"A" if PEM[at : at + 1] != b"A" else b"B"
        damaged = PEM[:at] + other + PEM[at + 1 :]
        try:
            found = decrypt_key(damaged, PASSWORD, "x")
        except DeskError:
            continue
        others += found.private_bytes_raw() != KEY.private_bytes_raw()
    assert others < 4
    for cut in (0, 10, 50, 200, len(PEM) - 45):
        with pytest.raises(DeskError):
            decrypt_key(PEM[:cut], PASSWORD, "x")


def test_open_keys_and_keys_of_other_kinds_are_refused() -> None:
    with pytest.raises(DeskError, match="no encrypted key"):
        decrypt_key(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PASSWORD, "x")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode()))
    assert load_pem_private_key(pem, PASSWORD.encode())
    with pytest.raises(DeskError, match="not an Ed25519 key"):
        decrypt_key(pem, PASSWORD, "x")


@pytest.mark.parametrize("password", ["", "short", "a" * 30, "ana likes cats", "abab" * 5, "x" * 201])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(DeskError, match="password"):
        check_password(password, "ana")


def test_good_passwords_are_taken() -> None:
    check_password(PASSWORD, "ana")
    check_password("мышь сыр дом луна", "ana")
