"""A web site on loopback that serves one picture, redirects inside, and never ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    picture = b""

    def do_GET(self) -> None:
        if self.path == "/picture":
            self._answer(200, self.picture)
        elif self.path == "/inside":
            self.send_response(302)
            self.send_header("Location", "http://localhost:1/secret")
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self._drip()
        else:
            self._answer(404, b"no such picture")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        until = time.monotonic() + 20
        try:
            while time.monotonic() < until:
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass  # the fetcher hung up, as it should

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def hostile_site(picture: bytes) -> Iterator[str]:
    """Serve until the block ends; gives the base address."""
    handler = type("Handler", (_Handler,), {"picture": picture})
    site = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site.daemon_threads = True
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{site.server_port}"
    finally:
        site.shutdown()
        site.server_close()
        thread.join(5)
