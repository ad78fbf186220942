"""The console's own certificate: self-signed, made once by the `openssl` program, made anew before it ends."""

from __future__ import annotations

import ipaddress
import logging
import os
import shutil
import ssl
import subprocess

from guardian.config import Config
from guardian.errors import GuardianError
from guardian.interfaces import list_addresses
from guardian.names import format_name
from guardian.store.folders import make_folder
from guardian.store.images import replace_file, sync_folder

log = logging.getLogger(__name__)

DAYS = 820  # phones take no certificate that lives longer than 825
RENEW_SECONDS = 60 * 86400
OPENSSL_SECONDS = 60.0


def certificate_files(config: Config) -> tuple[str, str]:
    """Return the files of the certificate and its key: those of the settings, else our own. Raises GuardianError."""
    tls = config.web.tls
    if tls.certificate:
        return tls.certificate, tls.key
    folder = f"{config.state}/web"
    certificate, key, told = f"{folder}/certificate.pem", f"{folder}/key.pem", f"{folder}/names"
    names = subject_names(config)
    if not _is_good(certificate, key, told, names):
        try:
            make_folder(folder, 0o700)
            sync_folder(folder)  # phones have learned to trust what is in it
            _make(certificate, key, names)
            replace_file(told, [names.encode()], lambda aside: None)
        except OSError as error:
            raise GuardianError(f"{folder}: the certificate cannot be kept: {error.strerror}") from None
        log.info("event=certificate-made file=%s", certificate)
    return certificate, key


def subject_names(config: Config) -> str:
    """Return the names and addresses that the certificate holds for, as openssl writes them."""
    own = format_name(config.local.name).lower().removesuffix(".")
    names = [f"DNS:{name}" for name in dict.fromkeys((own, own.partition(".")[0], "localhost", *config.web.hosts))]
    addresses = [ipaddress.ip_address(endpoint.host.partition("%")[0]) for endpoint in config.web.listen]
    if any(address.is_unspecified for address in addresses):
        addresses += [ipaddress.ip_address(packed) for packed in list_addresses()]
    addresses += [ipaddress.ip_address(address.partition("%")[0]) for address in config.local.addresses]
    kept = [address for address in addresses if not address.is_unspecified]
    return ",".join(names + [f"IP:{address}" for address in dict.fromkeys(kept)])


def _is_good(certificate: str, key: str, told: str, names: str) -> bool:
    try:
        with open(told, encoding="utf-8", errors="replace") as file:
            if file.read() != names:
                return False
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except FileNotFoundError:
        return False
    except ssl.SSLError as error:
        log.warning("event=certificate-damaged file=%s error=%r action=new", certificate, str(error))
        return False
    except OSError as error:
        raise GuardianError(f"{told}: {error.strerror}") from None
    return _openssl("x509", "-in", certificate, "-noout", "-checkend", str(RENEW_SECONDS)).returncode == 0


def _make(certificate: str, key: str, names: str) -> None:
    before = os.umask(0o077)  # the key is nobody else's
    try:
        done = _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256",
            "-days", str(DAYS), "-subj", "/CN=Guardian", "-keyout", f"{key}.new", "-out", f"{certificate}.new",
            "-addext", f"subjectAltName={names}", "-addext", "extendedKeyUsage=serverAuth",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
    finally:
        os.umask(before)
    if done.returncode:
        raise GuardianError(f"openssl made no certificate: {done.stderr.strip()[-300:]}")
    for path in (key, certificate):  # over a power cut each is whole; two that do not belong together are made anew
        with open(f"{path}.new", "rb") as file:
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
    sync_folder(certificate)


def _openssl(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("openssl")
    if program is None:
        raise GuardianError(
            "web.tls needs the program 'openssl' to make a certificate: install it, or give 'certificate' and 'key'"
        )
    try:
        return subprocess.run(  # noqa: S603 - our own words
            [program, *words],
            capture_output=True,
            text=True,
            timeout=OPENSSL_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuardianError(f"openssl does not work: {error}") from None
