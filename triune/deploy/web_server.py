"""A loopback web server for a folder, from the standard library: enough to look at the page on this machine.

Knows: file types that `http.server` has no name for. Does not know what the page does. For the public, copy the folder
to any static host.
"""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from triune.errors import TriuneError

HOST = "127.0.0.1"


class Handler(SimpleHTTPRequestHandler):
    """Serves files, quietly. Modules and WebAssembly need their exact types; nothing is kept in a cache."""

    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
        ".gz": "application/gzip",
        ".json": "application/json",
    }

    def end_headers(self) -> None:
        """Fresh files at every visit; an isolated page has finer clocks."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A bound server (`.server_port` is its port; 0 asked for: a free one); call `serve_forever`."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(Handler, directory=str(folder)))
    except OSError as error:
        raise TriuneError(
            f"port {port} cannot be used ({error.strerror}); name another, or --serve 0 for any"
        ) from None
    except OverflowError:
        raise TriuneError(f"a port is a number from 0 to 65535, got {port}") from None
