from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import MediaForbidden
from serving.media_addresses import Hosts, normal_host, standing

INSIDE = [  # written anew here, so that a block lost from the module is missed
    IPv4Network(network)
    for network in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
    ]
]
NOT_GLOBAL = [
    IPv6Network(network)
    for network in [
        "::/96",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "2001::/32",
        "2001:db8::/32",
        "100::/64",
        "64:ff9b:1::/48",
        "fd00:ec2::/32",
    ]
]


def addresses_in(networks: list[IPv4Network]) -> st.SearchStrategy[IPv4Address]:
    return st.sampled_from(networks).flatmap(lambda network: st.ip_addresses(network=network)).map(lambda a: IPv4Address(int(a)))


inside = addresses_in(INSIDE)
anywhere = st.ip_addresses(v=4).map(lambda address: IPv4Address(int(address)))


def mapped(address: IPv4Address) -> IPv6Address:
    return IPv6Address((0xFFFF << 32) | int(address))


def nat64(address: IPv4Address) -> IPv6Address:
    return IPv6Address((0x64FF9B << 96) | int(address))


def six_to_four(address: IPv4Address, rest: int) -> IPv6Address:
    return IPv6Address((0x2002 << 112) | (int(address) << 80) | rest)


@given(inside)
def test_no_inside_ipv4_address_is_public(address: IPv4Address) -> None:
    assert standing(address) != "public"


@given(inside, st.integers(0, 2**80 - 1))
def test_no_ipv6_form_of_an_inside_address_is_public(address: IPv4Address, rest: int) -> None:
    assert standing(mapped(address)) == standing(address)
    assert standing(nat64(address)) == "forbidden"
    assert standing(six_to_four(address, rest)) == "forbidden"


@given(anywhere, st.integers(0, 2**80 - 1))
def test_public_exactly_where_no_inside_block_holds_it(address: IPv4Address, rest: int) -> None:
    public = not any(address in network for network in [*INSIDE, IPv4Network("192.88.99.0/24")])
    assert (standing(address) == "public") == public
    for form in (mapped(address), nat64(address), six_to_four(address, rest)):
        assert (standing(form) == "public") == public


@given(st.sampled_from(NOT_GLOBAL).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_special_ipv6_address_is_public(address: IPv6Address) -> None:
    assert standing(address) != "public"


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_global_unicast_or_leads_to_public_ipv4(address: IPv6Address) -> None:
    if standing(address) == "public":
        assert address in IPv6Network("2000::/3") or address in IPv6Network("64:ff9b::/96") or address.ipv4_mapped is not None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("64:ff9b::8.8.8.8", "public"),
        ("127.0.0.1", "private"),
        ("::1", "private"),
        ("::ffff:10.0.0.1", "private"),
        ("100.64.0.1", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.0", "public"),
        ("fd12::1", "private"),
        ("169.254.169.254", "forbidden"),
        ("fd00:ec2::254", "forbidden"),
        ("100.100.100.200", "forbidden"),
        ("168.63.129.16", "forbidden"),
        ("0.0.0.1", "forbidden"),
        ("::", "forbidden"),
        ("::7f00:1", "forbidden"),
        ("fe80::1%eth0", "forbidden"),
        ("255.255.255.255", "forbidden"),
        ("ff02::1", "forbidden"),
    ],
)
def test_standing(address: str, expected: str) -> None:
    assert standing(ip_address(address)) == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.ORG./a", "example.org"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://minio_1:9000/", "minio_1"),
    ],
)
def test_hosts_have_one_form(url: str, host: str) -> None:
    assert normal_host(httpx.URL(url)) == host


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0x7f000001/",
        "http:///a",
        "http://a..b/",
        "http://127%2e0.0.1/",
        "http://017700000001/",
        "http://localhost../",
        "http://" + "a" * 64 + "/",
        "http://127.0.0.1./",
    ],
)
def test_hosts_that_a_resolver_may_read_otherwise_are_refused(url: str) -> None:
    with pytest.raises(MediaForbidden):
        normal_host(httpx.URL(url))


def test_lists_of_hosts() -> None:
    hosts = Hosts(["Minio.internal.", "*.example.org", "10.0.0.5", "fd12::0:5"])
    assert all(host in hosts for host in ("minio.internal", "a.example.org", "a.b.example.org", "10.0.0.5", "fd12::5"))
    assert not any(host in hosts for host in ("example.org", "badexample.org", "a.minio.internal", "10.0.0.6"))
    assert not Hosts([])
