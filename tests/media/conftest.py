"""A web server on loopback that does everything wrong, and downloads from it."""

import gzip
import http.server
import ipaddress
import socket
import threading
import time
from typing import ClassVar

import pytest

from curate import media

BODY = bytes(range(256)) * 400


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; `seen` keeps (path, headers) of every request."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar = []

    def log_message(self, *args):
        pass

    def send(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        Handler.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        route, _, rest = self.path[1:].partition("/")
        getattr(self, f"do_{route}")(rest)

    def do_ok(self, rest):
        self.send(body=BODY)

    def do_status(self, rest):
        self.send(int(rest), b"no")

    def do_later(self, rest):
        self.send(429, b"", Retry_After=rest.replace("_", " "))

    def do_hops(self, rest):
        if int(rest):
            self.send(302, Location=f"/hops/{int(rest) - 1}")
        else:
            self.send(body=BODY)

    def do_to(self, rest):
        self.send(302, Location=rest.replace("SLASH", "/"))

    def do_nowhere(self, rest):
        self.send(302)

    def do_gzip(self, rest):
        self.send(body=gzip.compress(BODY), Content_Encoding="gzip")

    def do_bomb(self, rest):
        self.send(body=gzip.compress(bytes(200 * 2**20), 9), Content_Encoding="gzip")

    def do_chunked(self, rest):
        self.send(Transfer_Encoding="chunked")
        for start in range(0, len(BODY), 10_000):
            piece = BODY[start : start + 10_000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def do_endless(self, rest):
        self.send(Transfer_Encoding="chunked")
        for _ in range(10_000):
            self.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    def do_short(self, rest):
        self.send(body=BODY[:1000], Content_Length=str(len(BODY)))
        self.close_connection = True

    def do_boast(self, rest):
        self.send(body=b"small", Content_Length=str(10**12))
        self.close_connection = True

    def do_modest(self, rest):
        # Says nothing of its length, and goes on.
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(bytes(10 * 2**20))
        self.close_connection = True

    def do_drop(self, rest):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_hang(self, rest):
        time.sleep(30)

    def do_drip(self, rest):
        self.send(Content_Length="1000")
        self.drip(b"x" * 1000)

    def do_dripped_header(self, rest):
        self.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 1000)

    def do_dripped_headers(self, rest):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(b"X: y\r\n" * 200, every=0.3, size=6)

    def do_dripped_to_the_end(self, rest):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        self.drip(b"x" * 1000, every=0.3)

    def drip(self, data, *, size=1, every=0.05):
        for n in range(0, len(data), size):
            try:
                self.wfile.write(data[n : n + size])
                self.wfile.flush()
            except OSError:
                break
            time.sleep(every)
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # Clients here hang up on purpose.


@pytest.fixture(scope="module")
def server():
    one = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def get(server):
    def call(path, **options):
        return media.fetch(f"http://127.0.0.1:{server.server_port}/{path}", allow_hosts=["127.0.0.1"], **options)

    return call


@pytest.fixture
def connected(monkeypatch):
    """Every address a socket is connected to; those that are not loopback are refused instead of tried."""
    tried = []
    real = socket.socket.connect

    def connect(self, address):
        tried.append(address[0])
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError(111, "refused by the test")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried
