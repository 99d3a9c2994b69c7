"""Which addresses a download may reach: the public ones, and the hosts the user allowed by name.

The rule is applied to the address that is then connected to, so a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from curate.errors import MediaError, Transient

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Public by number, but answered inside a cloud (the host agents of Azure and Oracle), or never a host's.
_ALSO_BLOCKED = [ipaddress.ip_network(net) for net in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be tried.  host: lower case, without brackets.  allowed: named by the user, so any address will do."""

    url: str
    scheme: str
    host: str
    port: int
    allowed: bool

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def shown(self) -> str:
        """The URL without its query, which may hold a signature: fit for messages."""
        return f"{self.scheme}://{urlsplit(self.url).netloc}{urlsplit(self.url).path}"


def target(url: str, *, allow_hosts: Collection[str] = ()) -> Target:
    """Takes a URL apart, strictly.  Raises MediaError: blocked_url, blocked_address (a literal address of a private network).

    Only http and https; no user name or password in it; no character that two parsers could read in two ways.
    """
    if any(ord(c) <= 32 or c in "\\\x7f" for c in url):
        raise MediaError("blocked_url", "a URL with a space, control character or backslash")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as err:
        raise MediaError("blocked_url", str(err)) from err
    if parts.scheme not in ("http", "https"):
        raise MediaError("blocked_url", f"{parts.scheme or 'no'} scheme; only http and https are fetched")
    if "@" in parts.netloc:
        raise MediaError("blocked_url", "a user name or password in the URL")
    host = _ascii(host)
    port = port if port is not None else {"http": 80, "https": 443}[parts.scheme]
    bracketed = f"[{host}]" if ":" in host else host
    clean = parts._replace(netloc=bracketed if parts.port is None else f"{bracketed}:{port}", fragment="").geturl()
    names = {name.lower().strip("[]") for name in allow_hosts} | {name.lower() for name in allow_hosts}
    found = Target(clean, parts.scheme, host, port, host in names or f"{bracketed}:{port}" in names)
    literal = _literal(host)
    if literal is not None and not found.allowed:
        check_address(literal, found.host)
    return found


def _ascii(host: str) -> str:
    """`host` in the one spelling that is resolved: lower case, IDNA, no final dot."""
    name = host.rstrip(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii").rstrip(".").lower()
        except UnicodeError as err:
            raise MediaError("blocked_url", f"host {host!r} has no ASCII form") from err
    plain = name.replace(":", "") if ":" in name else name
    if not name or len(name) > 253 or not all(c.isalnum() or c in "-._" for c in plain):
        raise MediaError("blocked_url", f"host {host!r} is not a name or address")
    return name


def _literal(host: str) -> Address | None:
    """The address that a host is written as, in any spelling the system's resolver would take: 127.1, 0x7f.1, 2130706433."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def check_address(address: Address, host: str) -> None:
    """Raises MediaError("blocked_address") unless `address` is on the public internet.  host: for the message."""
    if any(_is_blocked(one) for one in _reached(address)):
        allow = f"--allow-host {host} permits it"
        raise MediaError("blocked_address", f"{host} is {address}, which is not a public address ({allow})")


def _is_blocked(address: Address) -> bool:
    return (
        not address.is_global
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_link_local
        or (address.version == 6 and address.is_site_local)
        or any(address in network for network in _ALSO_BLOCKED)
    )


def _reached(address: Address) -> Sequence[Address]:
    """The addresses that a packet to `address` may end at: itself, or the IPv4 ones that it is routed on to."""
    if address.version == 4:
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    tunnels = [address.sixtofour, *(address.teredo or ())]
    return [address, *(one for one in tunnels if one is not None)]


def resolve(host: str, port: int, *, allowed: bool) -> list[str]:
    """The addresses of `host`, looked up once; all of them public, or `allowed`.

    Raises MediaError: blocked_address (if any is), unknown_host; Transient when the resolver has no answer now.
    """
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as err:
        if err.errno == socket.EAI_AGAIN:
            raise Transient(f"the name {host} cannot be looked up now") from err
        raise MediaError("unknown_host", host) from err
    except (UnicodeError, OSError) as err:
        raise MediaError("unknown_host", host) from err
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not allowed:
        for address in found:
            check_address(ipaddress.ip_address(address.partition("%")[0]), host)
    return found
