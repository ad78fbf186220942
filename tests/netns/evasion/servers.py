"""Servers that the lab lacks: `python -m tests.netns.evasion.servers FOLDER`, in the namespace of its internet.

One that knows HTTP/1.1 with chunks and pipelining, HTTP/2 without TLS (prior knowledge and upgrade) and HTTP/3 on an
odd port (hypercorn), and one that, as many small servers, leaves the body of a GET request unread.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.netns.lab import plan
from tests.netns.lab.seen import SeenWriter
from tests.netns.lab.web import Web, listen
from tests.netns.lab.zone import Zone

FULL, CARELESS, QUIC_ODD = 8080, 8083, 8443
QUICK = 9443  # TLS, with TCP Fast Open: the kernel was told to before this port was opened
HOST = plan.SITES["www.open.example"].host


def main() -> None:
    folder = Path(sys.argv[1])
    note = SeenWriter(folder / "seen")
    serve_carelessly(note)
    listen(QUICK, Web(note, Zone(), folder).talk_tls)
    threading.Thread(target=lambda: asyncio.run(serve_fully(note, folder)), daemon=True).start()
    ready = threading.Event()
    threading.Thread(target=wait_until_open, args=(ready,), daemon=True).start()
    assert ready.wait(20)
    print("ready", flush=True)
    sys.stdin.read()


def wait_until_open(ready: threading.Event) -> None:
    while True:
        try:
            socket.create_connection((plan.wan4(HOST), FULL), 1).close()
        except OSError:
            continue
        ready.set()
        return


async def serve_fully(note: SeenWriter, folder: Path) -> None:
    config = Config()
    config.bind, config.insecure_bind = [], [f"[::]:{FULL}"]
    config.quic_bind = [f"{plan.wan4(HOST)}:{QUIC_ODD}", f"[{plan.wan6(HOST)}]:{QUIC_ODD}"]
    config.certfile = config.keyfile = str(folder / "server.pem")
    config.loglevel = "ERROR"
    config.keep_alive_timeout = 60

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        name = dict(scope["headers"]).get(b"host", b"").decode("latin-1").partition(":")[0]
        note(f"full-{scope['http_version']}", name, ("::", FULL), scope["client"], scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": f"hello from {name}\n".encode()})

    await serve(application, config, shutdown_trigger=asyncio.Event().wait)


def serve_carelessly(note: SeenWriter) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.headers.get("Host", "").partition(":")[0]
            note("careless", name, ("::", CARELESS), self.client_address, self.path)
            body = f"hello from {name}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6
        daemon_threads = True

    threading.Thread(target=Server(("::", CARELESS), Handler).serve_forever, daemon=True).start()


if __name__ == "__main__":
    main()
