"""TLS as bytes in, bytes out (RFC 7858, RFC 8310 strict profile): the certificate must show the configured host.

asyncio's own TLS waits up to 30 seconds for the peer's goodbye and hides the connection until the handshake is over;
with memory BIOs we close when we want.

While nobody has set this box's clock, every certificate would be "not yet valid", and without names the clock is never
set. So then dates are looked at by us: a certificate that ended before the last moment that we know is refused, and its
beginning is not asked for. Name, chain and signatures are checked as always.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from guardian.clock import is_confirmed, tell_time
from guardian.errors import ConfigError, Problem

_CHUNK = 65536
_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL 1.1.0 and later (x509_vfy.h)


def make_context(ca_file: str, protocol: str) -> ssl.SSLContext:
    """Return a client context: TLS 1.2 or later, host name checked, ALPN `protocol`.

    `ca_file` is a PEM file of the only CAs to trust, "" the system's. Raises ConfigError.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else "no PEM certificates"
        raise ConfigError((Problem(ca_file, f"the CA file of an upstream cannot be used: {reason}"),)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    return context


def look_at_dates(context: ssl.SSLContext, wanted: bool) -> None:
    """Have connections that begin from now on look at the dates of certificates, or not."""
    flags = context.verify_flags & ~_NO_CHECK_TIME
    context.verify_flags = flags if wanted else flags | _NO_CHECK_TIME


def refuse_ended(certificate: dict[str, Any] | None) -> None:
    """Raise SSLCertVerificationError for a certificate that ended before the last moment that this box knows."""
    ends = str((certificate or {}).get("notAfter", ""))
    if not ends or ssl.cert_time_to_seconds(ends) < tell_time():
        error = ssl.SSLCertVerificationError("certificate has expired")
        error.verify_message = "certificate has expired"
        raise error


def explain_failure(error: ssl.SSLError) -> str:
    """Return in a few words why TLS failed, for logs and status."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return f"TLS: {(error.reason or 'failed').lower().replace('_', ' ')}"


class TlsLayer:
    """One TLS connection between the socket's bytes and the plain ones. Methods raise ssl.SSLError."""

    def __init__(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._checks_dates = is_confirmed()
        look_at_dates(context, self._checks_dates)
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host.partition("%")[0], session=session
        )
        self.established = False
        self.ended = False  # the peer said goodbye

    @property
    def protocol(self) -> str | None:
        """What ALPN agreed on."""
        return self._object.selected_alpn_protocol()

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a later connection may resume from."""
        session = self._object.session
        return session if session is not None and session.has_ticket else None

    def start(self) -> None:
        """Make the ClientHello ready to send."""
        self._shake()

    def receive(self, data: bytes) -> bytes:
        """Return the plain bytes within `data` from the socket; there may be something to send afterwards."""
        self._incoming.write(data)
        if not self.established:
            self._shake()
        if not self.established:
            return b""
        parts = []
        while True:
            try:
                part = self._object.read(_CHUNK)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                self.ended = True
                break
            parts.append(part)
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Make plain bytes ready to send."""
        self._object.write(data)

    def say_goodbye(self) -> None:
        """Make the close_notify ready to send."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            return  # it wants the peer's goodbye; ours is ready, and that is all that is owed

    def take(self) -> bytes:
        """Return what is to be sent to the socket."""
        return self._outgoing.read()

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        if not self._checks_dates:
            refuse_ended(self._object.getpeercert())
        self.established = True
