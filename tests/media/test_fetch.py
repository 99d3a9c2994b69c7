"""Downloads: limits in bytes and seconds, redirects, connections, and what each failure is called."""

import os
import socket
import threading
import time

import pytest

from curate import media
from curate.errors import ConfigError, MediaError, Transient
from curate.media import _fetch
from tests.media.conftest import BODY, Handler, Server
from tests.media.reasons import reason


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


@pytest.mark.parametrize("path", ["hang", "drip", "dripped_header", "dripped_headers", "dripped_to_the_end"])
def test_the_time_limit_is_for_everything_together(get, path):
    start = time.monotonic()
    with pytest.raises(Transient, match=r"within 0\.4 s"):
        get(path, timeout_s=0.4)
    assert time.monotonic() - start < 10


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
