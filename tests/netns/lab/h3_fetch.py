"""An HTTP/3 client as a program, for a device: Debian's curl has none.

    python -m tests.netns.lab.h3_fetch --name www.open.example --address 198.51.100.80 --ca ca.pem

The body goes to standard output as it comes; the last line of standard error is JSON: `status`, `error`, `version`.
It uses a connected socket, so that a refusal by ICMP is noticed at once, as browsers do.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from typing import Any

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicProtocolVersion

VERSIONS = {1: QuicProtocolVersion.VERSION_1, 2: QuicProtocolVersion.VERSION_2}


class Exchange:
    """One request over one connection."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=args.name)
        configuration.supported_versions = [VERSIONS[args.version]]
        configuration.original_version = VERSIONS[args.version]
        configuration.load_verify_locations(args.ca)
        self.quic = QuicConnection(configuration=configuration)
        self.http = H3Connection(self.quic)
        self.status = 0
        self.error = ""
        self.ended = False

    def run(self) -> None:
        """Send the request, write what comes, until it ends or time is up."""
        family = socket.AF_INET6 if ":" in self.args.address else socket.AF_INET
        deadline = time.monotonic() + self.args.timeout
        with socket.socket(family, socket.SOCK_DGRAM) as connection:
            try:
                connection.connect((self.args.address, self.args.port))
                self._start()
                while not self.ended:
                    self._turn(connection, deadline)
            except ConnectionRefusedError:
                self.error = "refused"
            except OSError as error:  # administratively prohibited, unreachable
                self.error = f"refused: {error.strerror}"

    def _start(self) -> None:
        now = time.monotonic()
        self.quic.connect((self.args.address, self.args.port), now)
        stream = self.quic.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": self.args.name, ":path": self.args.path}
        headers = [(key.encode(), value.encode()) for key, value in fields.items()]
        self.http.send_headers(stream, headers, end_stream=True)

    def _turn(self, connection: socket.socket, deadline: float) -> None:
        now = time.monotonic()
        for datagram, _ in self.quic.datagrams_to_send(now):
            connection.send(datagram)
        if now > deadline:
            self.ended, self.error = True, "timeout"
            return
        timer = self.quic.get_timer()
        wait = min(deadline, timer if timer is not None else deadline) - now
        connection.settimeout(max(0.001, wait + 0.001))
        try:
            data = connection.recv(65536)
        except TimeoutError:
            if timer is not None and time.monotonic() >= timer:
                self.quic.handle_timer(time.monotonic())
        else:
            self.quic.receive_datagram(data, (self.args.address, self.args.port), time.monotonic())
        while (event := self.quic.next_event()) is not None:
            self._on_event(event)

    def _on_event(self, event: Any) -> None:
        if isinstance(event, ConnectionTerminated):
            self.ended = True
            self.error = self.error or event.reason_phrase or f"closed with {event.error_code:#x}"
            return
        for told in self.http.handle_event(event):
            if isinstance(told, HeadersReceived):
                self.status = int(dict(told.headers)[b":status"])
            if isinstance(told, DataReceived):
                sys.stdout.buffer.write(told.data)
                sys.stdout.buffer.flush()
            self.ended |= isinstance(told, HeadersReceived | DataReceived) and told.stream_ended


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True, help="server name of the ClientHello and :authority")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--path", default="/")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--version", type=int, default=1, choices=(1, 2), help="of QUIC")
    exchange = Exchange(parser.parse_args())
    exchange.run()
    print(json.dumps({"status": exchange.status, "error": exchange.error}), file=sys.stderr)


if __name__ == "__main__":
    main()
