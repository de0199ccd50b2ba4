"""What may pass a host, tried with real packets: the way out, isolation, sealed networks, Docker."""

import functools
import socket
import struct
from pathlib import Path

import pytest

from ovn_docker.host.ruleset import Published
from tests.functional.host.routed_host import (
    FAMILIES,
    NEEDS_NFT,
    Peer,
    answering,
    ask,
    firewall,
    forward_policy,
    routed_host,
    run,
    until,
)
from tests.functional.private_network import in_private_network, ip

pytestmark = [pytest.mark.functional, NEEDS_NFT]


def docker_publishes(peer: Peer, port: int) -> None:
    """As Docker's bridge driver does, on an address of any family."""
    for program, address, end in (
        ("iptables", peer.address[0], f"{peer.address[0]}:80"),
        ("ip6tables", peer.address[1], f"[{peer.address[1]}]:80"),
    ):
        local = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", "DNAT", "--to-destination", end]
        run(program, "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", str(port), *local)
        to_it = ["-d", address, "!", "-i", peer.link, "-o", peer.link, "-p", "tcp", "--dport", "80"]
        run(program, "-A", "FORWARD", *to_it, "-j", "ACCEPT")
        back = ["-o", peer.link, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"]
        run(program, "-A", "FORWARD", *back)
        run(program, "-A", "FORWARD", "-i", peer.link, "!", "-o", peer.link, "-j", "ACCEPT")


@in_private_network
async def test_containers_leave_by_the_address_of_their_host() -> None:
    with routed_host("one", "outside") as peers:
        async with firewall() as made:
            assert made.problem() == made.ipv6_problem() == ""
            outside = peers["outside"]
            for family in FAMILIES:
                saw = f"saw {outside.gateway[family]}"
                assert ask(peers["one"], outside.address[family]) == saw
                assert ask(peers["one"], outside.address[family], udp=b"?") == saw


@in_private_network
async def test_nobody_reaches_a_container_that_publishes_nothing() -> None:
    with routed_host("one", "two", "outside", "docker") as peers:
        container = peers["one"]
        for family in FAMILIES:
            assert ask(peers["outside"], container.address[family]).startswith("saw"), "or it proves nothing"
        async with firewall():
            for family in FAMILIES:
                for name in ("two", "outside", "docker"):
                    assert ask(peers[name], container.address[family]) == "silence"
                assert ask(container, peers["two"].address[family]) == "silence"
                # The host itself does, as with a bridge of Docker's.
                assert ask(None, container.address[family]) == f"saw {container.gateway[family]}"


@in_private_network
async def test_a_container_reaches_its_host_as_on_a_bridge() -> None:
    with routed_host("one", "outside") as peers, answering(None, 8000):
        async with firewall():
            for family in FAMILIES:
                saw = f"saw {peers['one'].address[family]}"
                assert ask(peers["one"], peers["one"].gateway[family], 8000) == saw
                assert ask(peers["one"], peers["outside"].gateway[family], 8000) == saw


@in_private_network
async def test_a_container_cannot_become_a_router_of_its_host() -> None:
    with routed_host("one", "sealed", "outside") as peers:
        async with firewall():
            for peer in peers.values():
                Path("/proc/sys/net/ipv6/conf", peer.link, "accept_ra").write_text("2")
                advertise_itself(peer)
            await until(lambda: "proto ra" in run("ip", "-6", "route", "show", "default"))
            routes = run("ip", "-6", "route", "show", "default").splitlines()
            assert {route.split()[4] for route in routes} == {peers["outside"].link}


def advertise_itself(peer: Peer) -> None:
    """Say to all on its link that it is a router (RFC 4861 section 4.2); the kernel sees to the checksum."""
    advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    with peer.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        raw.sendto(advertisement, ("ff02::1", 0))


@in_private_network
async def test_a_sealed_network_is_told_at_once_that_there_is_no_way_out() -> None:
    with routed_host("sealed", "one", "outside", "docker") as peers, answering(None, 8000):
        sealed = peers["sealed"]
        async with firewall() as made:
            await made.publish([Published(6, "", 8080, peers["one"].address[0], 80)], [])
            for family in FAMILIES:
                for name in ("one", "outside", "docker"):
                    assert ask(sealed, peers[name].address[family]) == "refused"
                    assert ask(sealed, peers[name].address[family], udp=b"?") == "refused"
                    assert ask(sealed, peers[name].gateway[family], 8000) == "refused"
                    assert ask(peers[name], sealed.address[family]) == "silence"
                assert ask(sealed, sealed.gateway[family], 8000) == "refused"
                assert ask(sealed, sealed.gateway[family], 8000, udp=b"?") == "refused"
            assert ask(sealed, peers["outside"].gateway[0], 8080) == "refused", "a published port"


@in_private_network
async def test_the_host_reaches_its_containers_on_a_sealed_network() -> None:
    with routed_host("sealed") as peers:
        async with firewall():
            for family in FAMILIES:
                saw = f"saw {peers['sealed'].gateway[family]}"
                assert ask(None, peers["sealed"].address[family]) == saw
                assert ask(None, peers["sealed"].address[family], udp=b"?") == saw


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
@in_private_network
async def test_docker_s_policy_of_forward_neither_opens_nor_closes_anything(policy: str) -> None:
    with routed_host("one", "outside", "docker", "gwbridge", "custom") as peers:
        forward_policy(policy)
        docker_publishes(peers["docker"], 8088)
        async with firewall() as made:
            assert made.problem() == ""
            await made.publish([Published(6, "", 8080, peers["one"].address[0], 80)], [])
            outside = peers["outside"]
            for family in FAMILIES:
                assert ask(peers["one"], outside.address[family]) == f"saw {outside.gateway[family]}"
                for name in ("docker", "gwbridge", "custom"):
                    assert ask(peers["one"], peers[name].address[family]) == "silence"
                    assert ask(peers[name], peers["one"].address[family]) == "silence"
                saw = f"saw {peers['docker'].gateway[family]}"
                assert ask(peers["one"], outside.gateway[family], 8088) == saw
            for name in ("outside", "docker"):
                assert ask(peers[name], outside.gateway[0], 8080) == f"saw {peers[name].address[0]}"


@in_private_network
async def test_a_bridge_of_the_administrator_s_is_a_way_out() -> None:
    with routed_host("one", "lan") as peers:
        forward_policy("DROP")
        async with firewall():
            assert ask(peers["one"], peers["lan"].address[0]) == f"saw {peers['lan'].gateway[0]}"


def _says(peer: Peer, address: str, says: str) -> bool:
    return ask(peer, address).startswith(says)


@in_private_network
async def test_a_bridge_that_docker_makes_later_is_closed_at_once() -> None:
    with routed_host("one", "lan") as peers:
        async with firewall():
            address, name = peers["lan"].address[0], peers["lan"].link
            for later, says in (("br-fedcba987654", "silence"), ("br-ex", "saw"), ("docker0", "silence")):
                ip("link", "set", "dev", name, "name", later)
                name = later
                await until(functools.partial(_says, peers["one"], address, says))
            ip("link", "delete", "dev", name)
            await until(
                lambda: "docker0" not in run("nft", "list", "set", "inet", "ovn-docker", "docker_bridges")
            )
