"""The file of a person's key: PKCS #8, encrypted with a password by scrypt and AES-256 (RFC 8018, RFC 7914).

`cryptography` reads this form and writes only the one with 2,048 rounds of PBKDF2, which a stolen file would not
withstand: so the outer 163 bytes are put together here. `openssl pkey` reads the files as well.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from guardian.errors import DeskError

LEAST_PASSWORD = 12  # characters
MOST_PASSWORD = 200
_N, _R, _P = 1 << 14, 8, 5  # 16 MB and a quarter of a second; openssl refuses more than 32 MB
_MEMORY = 64 << 20
_SCRYPT = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11, RFC 7914 section 7
_PBES2 = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13, RFC 8018 appendix A.4
_AES_256_CBC = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04
_BEGIN, _END = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", b"\n-----END ENCRYPTED PRIVATE KEY-----\n"


def check_password(password: str, name: str) -> None:
    """Raise DeskError when a password is too weak for the key of `name`."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise DeskError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters: take four words or more")
    if len(set(password)) < 5 or name.lower() in password.lower():
        raise DeskError("this password is guessed at once (few different letters, or your name): take four words")


def encrypt_key(key: Ed25519PrivateKey, password: str) -> bytes:
    """Return the PEM file of a key. Any password is taken; `check_password` tells the good ones."""
    salt, start = secrets.token_bytes(16), secrets.token_bytes(16)
    secret = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=32)
    padder = padding.PKCS7(128).padder()
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(start)).encryptor()
    hidden = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    derivation = _der(_SEQUENCE, _SCRYPT, _der(_SEQUENCE, _der(_OCTETS, salt), _number(_N), _number(_R), _number(_P)))
    scheme = _der(_SEQUENCE, derivation, _der(_SEQUENCE, _AES_256_CBC, _der(_OCTETS, start)))
    whole = base64.b64encode(_der(_SEQUENCE, _der(_SEQUENCE, _PBES2, scheme), _der(_OCTETS, hidden)))
    return _BEGIN + b"\n".join(whole[at : at + 64] for at in range(0, len(whole), 64)) + _END


def decrypt_key(pem: bytes, password: str, file: str) -> Ed25519PrivateKey:
    """Return the key of a PEM file. Raises DeskError, which names `file`, for a wrong password or another file."""
    if not pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"):
        raise DeskError(f"{file}: this is no encrypted key (a PEM file, PKCS #8); an open one is not used")
    try:
        key = load_pem_private_key(pem, password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DeskError(f"{file}: the password is wrong, or the file is damaged") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DeskError(f"{file}: this is not an Ed25519 key")
    return key


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    return bytes((tag, 0x81 if size < 256 else 0x82)) + size.to_bytes(1 if size < 256 else 2, "big") + body


def _number(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))
