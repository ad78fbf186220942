"""The console's own certificate: made once with Debian's openssl, kept, renewed, and good for browsers."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from guardian.config import Config, parse_config
from guardian.errors import GuardianError
from guardian.web.certificate import certificate_files, subject_names
from tests.gateway.product import require


@pytest.fixture
def config(tmp_path: Path) -> Config:
    require("openssl")
    (tmp_path / "state").mkdir()
    text = (
        "upstreams: {servers: [192.0.2.1]}\nstate: state\n"
        "web: {listen: ['127.0.0.1:8443', '[::1]:8443'], hosts: [router.lan], tls: {enabled: yes}}\n"
        "local: {addresses: [192.168.1.1, 'fd00::1']}\n"
    )
    return parse_config(text, str(tmp_path / "guardian.yaml"))


def load(path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def test_what_it_says(config: Config) -> None:
    certificate, key = certificate_files(config)
    made = load(certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["guardian.home.arpa", "guardian", "localhost", "router.lan"]
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "192.168.1.1", "fd00::1"}
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == "secp256r1"
    assert made.not_valid_after_utc - made.not_valid_before_utc <= datetime.timedelta(days=825)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert stat.S_IMODE(Path(key).stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def test_it_is_made_once(config: Config) -> None:
    certificate, key = certificate_files(config)
    before = Path(certificate).read_bytes(), Path(key).read_bytes()
    assert certificate_files(config) == (certificate, key)
    assert (Path(certificate).read_bytes(), Path(key).read_bytes()) == before


def test_other_names_make_another(config: Config) -> None:
    certificate, _ = certificate_files(config)
    before = load(certificate).serial_number
    moved = replace(config, web=replace(config.web, hosts=("other.lan",)))
    certificate_files(moved)
    assert load(certificate).serial_number != before


def test_one_that_ends_soon_or_is_broken_is_made_anew(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = certificate_files(config)
    before = load(certificate).serial_number
    monkeypatch.setattr("guardian.web.certificate.RENEW_SECONDS", 900 * 86400)
    certificate_files(config)
    assert load(certificate).serial_number != before
    monkeypatch.undo()
    Path(certificate).write_text("broken")
    certificate_files(config)
    assert load(certificate).serial_number


def test_everywhere_means_all_addresses_of_this_machine(config: Config) -> None:
    everywhere = parse_config(
        "upstreams: {servers: [192.0.2.1]}\nstate: /nowhere\nweb: {listen: ['0.0.0.0:8443', '[fe80::1%lo]:8444']}\n",
        "/nowhere/guardian.yaml",
    )
    names = subject_names(everywhere).split(",")
    found = [ipaddress.ip_address(name.removeprefix("IP:")) for name in names if name.startswith("IP:")]
    assert not any(address.is_unspecified for address in found) and ipaddress.ip_address("fe80::1") in found


def test_files_of_the_settings_are_used_as_they_are(config: Config) -> None:
    tls = replace(config.web.tls, certificate="/some/cert.pem", key="/some/key.pem")
    assert certificate_files(replace(config, web=replace(config.web, tls=tls))) == ("/some/cert.pem", "/some/key.pem")


def test_without_openssl(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GuardianError, match="needs the program 'openssl'"):
        certificate_files(config)


def test_an_openssl_that_fails(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "openssl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no such curve' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(GuardianError, match="no such curve"):
        certificate_files(config)
