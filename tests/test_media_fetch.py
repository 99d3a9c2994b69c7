"""Downloads: which addresses are never connected to, limits in bytes and seconds, and what each failure is called."""

import gzip
import http.server
import ipaddress
import os
import socket
import threading
import time
from typing import ClassVar

import pytest

from curate import media
from curate.errors import ConfigError, MediaError, Transient
from curate.media import _address, _fetch

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
        time.sleep(3)

    def do_drip(self, rest):
        self.send(Content_Length="1000")
        self.drip(b"x" * 1000)

    def do_dripped_header(self, rest):
        self.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 1000)

    def drip(self, data):
        for n in range(len(data)):
            try:
                self.wfile.write(data[n : n + 1])
                self.wfile.flush()
            except OSError:
                break
            time.sleep(0.05)
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


def reason(call, *args, **options):
    with pytest.raises(MediaError) as caught:
        call(*args, **options)
    return caught.value.reason


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


BLOCKED = """
file:///etc/passwd
ftp://example.com/a.jpg
data:image/png;base64,AAAA
gopher://example.com/
javascript:alert(1)
//example.com/a.jpg
a.jpg
http:///a.jpg
http://
http://127.0.0.1/
http://127.0.0.1:22/
http://127.1/
http://127.0.1/
http://0x7f.1/
http://0x7f000001/
http://0177.0.0.1/
http://2130706433/
http://017700000001/
http://127.0.0.1./
http://0/
http://0.0.0.0/
http://localhost/
http://localhost./
http://LOCALHOST/
http://[::1]/
http://[::]/
http://[::ffff:127.0.0.1]/
http://[::ffff:7f00:1]/
http://[::127.0.0.1]/
http://[64:ff9b::7f00:1]/
http://[2002:7f00:1::]/
http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/
http://[fe80::1]/
http://[fe80::1%25eth0]/
http://[fc00::1]/
http://[fd00:ec2::254]/latest/meta-data/
http://[ff02::1]/
http://10.0.0.1/
http://172.16.5.4/
http://192.168.1.1/
http://169.254.169.254/latest/meta-data/
http://100.64.0.1/
http://100.100.100.200/latest/meta-data/
http://168.63.129.16/machine
http://192.0.0.192/
http://198.18.0.1/
http://224.0.0.1/
http://240.0.0.1/
http://255.255.255.255/
http://user@example.com/
http://user:pass@example.com/
http://example.com@127.0.0.1/
http://127.0.0.1\\@example.com/
http://example.com%2f@127.0.0.1/
http://127.0.0.1%23.example.com/
http://exa mple.com/
http://example.com:99999/
http://example.com:0x50/
http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/
http://\uff11\uff12\uff17.0.0.1/
http://[v1.fe80::a]/
http://[::1/
https://127.0.0.1/
https://[::1]/
""".strip().split("\n")


@pytest.mark.parametrize("url", BLOCKED)
def test_blocked_urls_open_no_socket(url, connected):
    assert reason(media.fetch, url) in {"blocked_url", "blocked_address"}
    assert connected == []


def test_a_control_character_in_the_url_is_refused(connected):
    for url in ("http://example.com/\r\nHost: x", "http://exam\nple.com/", "http://127.0.0.1\t/", "http://a\x00b/"):
        assert reason(media.fetch, url) == "blocked_url"
    assert connected == []


PRIVATE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0"]


def resolver(monkeypatch, *answers):
    """Makes the resolver give one list of addresses after the other; counts the lookups."""
    lookups = []

    def getaddrinfo(host, port, *args, **options):
        found = answers[min(len(lookups), len(answers) - 1)]
        lookups.append(host)
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (families[ipaddress.ip_address(a.partition("%")[0]).version], socket.SOCK_STREAM, 6, "", (a, port)) for a in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return lookups


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [[], ["93.184.216.34"]])
def test_names_of_private_addresses_are_refused(address, beside, connected, monkeypatch):
    resolver(monkeypatch, [*beside, address])
    assert reason(media.fetch, "http://images.example.com/a.jpg") == "blocked_address"
    assert connected == []


def test_the_checked_address_is_the_one_connected_to(connected, monkeypatch):
    """A name that answers with a public address first and a private one later (DNS rebinding) reaches only the first."""
    lookups = []
    public, private = [(2, 1, 6, "", ("93.184.216.34", 80))], [(2, 1, 6, "", ("127.0.0.1", 80))]

    def getaddrinfo(host, port, *args, **options):
        lookups.append(host)
        if host == "93.184.216.34":
            return public
        return public if lookups.count("images.example.com") == 1 else private

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Transient):
        media.fetch("http://images.example.com/a.jpg")
    assert connected == ["93.184.216.34"] and lookups.count("images.example.com") == 1


def test_an_unknown_host_fails_and_a_resolver_without_an_answer_is_tried_again(monkeypatch):
    def getaddrinfo(code):
        def call(*args, **options):
            raise socket.gaierror(code, "no")

        return call

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo(socket.EAI_NONAME))
    assert reason(media.fetch, "http://images.example.com/") == "unknown_host"
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo(socket.EAI_AGAIN))
    with pytest.raises(Transient):
        media.fetch("http://images.example.com/")


def test_a_host_is_allowed_by_name_or_with_its_port(server, connected):
    port = server.server_port
    for allowed in (["127.0.0.1"], [f"127.0.0.1:{port}"]):
        assert media.fetch(f"http://127.0.0.1:{port}/ok", allow_hosts=allowed) == BODY
    assert media.fetch(f"http://LocalHost:{port}/ok", allow_hosts=["localhost"]) == BODY
    connected.clear()
    assert reason(media.fetch, f"http://127.0.0.1:{port}/ok", allow_hosts=["127.0.0.1:1", "localhost"]) == "blocked_address"
    assert reason(media.fetch, f"http://localhost:{port}/ok", allow_hosts=["127.0.0.1"]) == "blocked_address"
    assert connected == []


@pytest.mark.parametrize(
    "onward",
    [
        u
        for u in BLOCKED
        if "://" in u
        and u.isascii()
        and " " not in u
        and "[::1/" not in u
        and u.split("://")[1].strip("/")[:3] not in ("", "a.j")
    ],
)
def test_redirects_to_blocked_addresses_are_not_followed(get, server, onward, connected):
    if "127.0.0.1" in onward and "@" not in onward and "%" not in onward and "\\" not in onward and "[" not in onward:
        onward = onward.replace("127.0.0.1", "127.0.0.2")  # 127.0.0.1 itself is allowed here.
    media_reason = reason(get, "to/" + onward.replace("/", "SLASH"))
    assert media_reason in {"blocked_url", "blocked_address"}
    assert set(connected) <= {"127.0.0.1"}


def test_five_redirects_are_followed_and_six_are_not(get):
    assert get("hops/5") == BODY
    assert reason(get, "hops/6") == "too_many_redirects"
    assert reason(get, "nowhere") == "http_302"


def test_headers_go_to_the_first_origin_only_and_credentials_nowhere(get, server):
    Handler.seen.clear()
    get("hops/1", headers={"X-Tenant": "a"})
    assert [headers.get("x-tenant") for _, headers in Handler.seen] == ["a", "a"]
    Handler.seen.clear()
    onward = f"http:SLASHSLASHlocalhost:{server.server_port}SLASHok"
    url = f"http://127.0.0.1:{server.server_port}/to/{onward}"
    assert media.fetch(url, allow_hosts=["127.0.0.1", "localhost"], headers={"X-Tenant": "a"}) == BODY
    assert [headers.get("x-tenant") for _, headers in Handler.seen] == ["a", None]
    assert not any("authorization" in headers or "cookie" in headers for _, headers in Handler.seen)
    for name in ("Authorization", "cookie", "Proxy-Authorization"):
        with pytest.raises(ConfigError):
            get("ok", headers={name: "secret"})


@pytest.mark.parametrize("path", ["ok", "gzip", "chunked"])
def test_bodies_arrive_whole(get, path):
    assert get(path) == BODY


def test_connections_are_kept(get, connected):
    get("ok")
    connected.clear()
    for _ in range(5):
        get("ok")
    assert connected == []


@pytest.mark.parametrize("path", ["ok", "gzip", "bomb", "endless", "modest", "boast"])
def test_the_size_limit_holds_whatever_the_headers_say(get, path):
    assert reason(get, path, max_bytes=50_000) == "too_many_bytes"


def test_a_body_of_just_the_limit_is_fine(get):
    assert get("ok", max_bytes=len(BODY)) == BODY
    assert reason(get, "ok", max_bytes=len(BODY) - 1) == "too_many_bytes"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_refusals_name_their_status(get, status):
    assert reason(get, f"status/{status}") == f"http_{status}"


@pytest.mark.parametrize("path", ["status/408", "status/425", "status/429", "status/500", "status/503", "short", "drop"])
def test_what_may_pass_is_transient(get, path):
    with pytest.raises(Transient) as caught:
        get(path)
    assert caught.value.retry_after is None


def test_retry_after_is_read_as_seconds_or_date(get):
    from email.utils import formatdate

    for value, expected in (("7", 7), ("0", 0), (formatdate(time.time() + 60, usegmt=True).replace(" ", "_"), 60)):
        with pytest.raises(Transient) as caught:
            get(f"later/{value}")
        assert caught.value.retry_after == pytest.approx(expected, abs=2)
    with pytest.raises(Transient) as caught:
        get("later/soon")
    assert caught.value.retry_after is None


@pytest.mark.parametrize("path", ["hang", "drip", "dripped_header"])
def test_the_time_limit_is_for_everything_together(get, path):
    start = time.monotonic()
    with pytest.raises(Transient, match=r"within 0\.4 s"):
        get(path, timeout_s=0.4)
    assert time.monotonic() - start < 2


def test_a_refused_connection_is_transient():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Transient):
        media.fetch(f"http://127.0.0.1:{port}/", allow_hosts=["127.0.0.1"])


def test_a_server_that_speaks_no_tls_is_named(server):
    with pytest.raises((MediaError, Transient)) as caught:
        media.fetch(f"https://127.0.0.1:{server.server_port}/ok", allow_hosts=["127.0.0.1"])
    assert getattr(caught.value, "reason", "tls") == "tls"


def test_signatures_stay_out_of_messages(get):
    for path in ("status/403?sig=SECRET", "later/1?sig=SECRET"):
        with pytest.raises((MediaError, Transient, ValueError)) as caught:
            get(path)
        assert "SECRET" not in str(caught.value)


def test_pages_instead_of_images_fail_at_decode():
    for body in (b"<html>please sign in</html>", b"<?xml version='1.0'?><Error/>"):
        assert reason(media.decode, body) == "not_an_image"


def test_many_threads_share_the_pool(get):
    results = []
    threads = [threading.Thread(target=lambda: results.append(get("ok") == BODY)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 24


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked")
def test_a_forked_process_makes_connections_of_its_own(get):
    get("ok")
    before = _fetch._this_process()
    child = os.fork()
    if child == 0:
        try:
            fine = get("ok") == BODY and _fetch._this_process() is not before
        except BaseException:
            fine = False
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert get("ok") == BODY and _fetch._this_process() is before


def test_public_addresses_pass():
    for address in ("93.184.216.34", "8.8.8.8", "2606:4700::6810:85e5", "64:ff9b::808:808", "::ffff:8.8.8.8"):
        _address.check_address(ipaddress.ip_address(address), "host")


@pytest.fixture
def tls(tmp_path):
    """An https server with a certificate nobody signed; `names` are the server names that clients asked for."""
    import datetime
    import ssl

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "images.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("images.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context, names = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(pem)
    context.sni_callback = lambda _socket, asked, _context: names.append(asked)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.names, server.certificate = names, pem
    yield server
    server.shutdown()
    server.server_close()


def local_dns(monkeypatch):
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **options):
        return real("127.0.0.1" if host == "images.example.com" else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_certificate_nobody_signed_is_refused_and_the_name_is_asked_for_though_the_address_is_pinned(tls, monkeypatch):
    local_dns(monkeypatch)
    url = f"https://images.example.com:{tls.server_port}/ok"
    assert reason(media.fetch, url, allow_hosts=["images.example.com"]) == "tls"
    assert tls.names == ["images.example.com"]


def test_a_trusted_certificate_is_checked_against_the_name(tls, monkeypatch):
    local_dns(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    monkeypatch.setattr(_fetch, "_process", None)
    url = f"https://images.example.com:{tls.server_port}/ok"
    assert media.fetch(url, allow_hosts=["images.example.com"]) == BODY
    assert reason(media.fetch, f"https://localhost:{tls.server_port}/ok", allow_hosts=["localhost"]) == "tls"
