"""Which hosts and network addresses an item's URL may lead to. Pure: no name is resolved and nothing is connected here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, TypeAlias

import httpx

from candor.errors import MediaForbidden

Address: TypeAlias = IPv4Address | IPv6Address
Standing: TypeAlias = Literal["public", "private", "forbidden"]

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
# 127.1, 2130706433, 0x7f.1: what the C library takes for an address and a reader does not
_NUMERIC = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")


def _networks(*networks: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network) for network in networks)


# Where an inside object store may be, if its host is named in `media.private_hosts`.
_PRIVATE = _networks("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")

# Where no item is, whatever the host: a cloud's metadata services, then the IANA special-purpose blocks. Written out because
# `ipaddress.is_global` differs between patch releases of Python.
_FORBIDDEN = _networks(
    "100.100.100.200/32",  # Alibaba Cloud's metadata
    "168.63.129.16/32",  # Azure's, in the midst of public addresses
    "fd00:ec2::/32",  # AWS's services on an instance
    "0.0.0.0/8",
    "169.254.0.0/16",  # link-local, the usual metadata address
    "192.0.0.0/24",  # Oracle Cloud's metadata too
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",  # Teredo, ORCHID and other protocol assignments
    "2001:db8::/32",
    "3fff::/20",
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def standing(address: Address) -> Standing:
    """Say whether an address is public, private (loopback included), or one that no item's URL may have."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return standing(address.ipv4_mapped)
        through = _translated(address)
        if through is not None:  # translated on the way: it must not come out inside
            return "public" if standing(through) == "public" else "forbidden"
    if any(address in network for network in _FORBIDDEN):
        return "forbidden"
    if any(address in network for network in _PRIVATE):
        return "private"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return "forbidden"
    return "public"


def _translated(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a NAT64 or 6to4 address leads to."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


def literal(host: str) -> Address | None:
    """Return the address that a host is, if it is one in its usual form."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def normal_host(url: httpx.URL) -> str:
    """Return the URL's host as it is compared and resolved: ASCII, lower case, no trailing dot; addresses in their usual form.

    Raises:
        MediaForbidden: it has none, or one that a resolver may read otherwise than we do.
    """
    host = url.raw_host.decode("ascii").lower()
    address = literal(host)
    if address is not None:
        return str(address)
    host = host.removesuffix(".")
    if not _NAME.fullmatch(host) or _NUMERIC.fullmatch(host) or len(host) > 253:
        raise MediaForbidden(f"the URL's host {host!r} is neither a name nor an address in its usual form")
    return host


class Hosts:
    """A list of hosts from the configuration. `*.example.org` matches every name below example.org, but not example.org."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._below: list[str] = []
        for pattern in patterns:
            name = normal_host(httpx.URL(scheme="http", host=pattern.removeprefix("*.")))
            if pattern.startswith("*."):
                self._below.append("." + name)
            else:
                self._exact.add(name)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def __contains__(self, host: str) -> bool:
        return host in self._exact or any(host.endswith(suffix) for suffix in self._below)
