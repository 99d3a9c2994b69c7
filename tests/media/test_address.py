"""Which addresses a download never connects to, however they are written or reached."""

import ipaddress
import socket

import pytest

from curate import media
from curate.errors import Transient
from curate.media import _address
from tests.media.conftest import BODY
from tests.media.reasons import reason

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


def test_public_addresses_pass():
    for address in ("93.184.216.34", "8.8.8.8", "2606:4700::6810:85e5", "64:ff9b::808:808", "::ffff:8.8.8.8"):
        _address.check_address(ipaddress.ip_address(address), "host")
