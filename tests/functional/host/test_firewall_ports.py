"""Published ports and redirected name queries, tried with real packets."""

import ipaddress
from pathlib import Path

import pytest

from ovn_docker.host.ruleset import RESPONDER_PORT, Published
from tests.functional.host.routed_host import (
    FAMILIES,
    NEEDS_NFT,
    answering,
    ask,
    firewall,
    forward_policy,
    routed_host,
    run,
)
from tests.functional.private_network import in_private_network

pytestmark = [pytest.mark.functional, NEEDS_NFT]

TCP, UDP = 6, 17


def query(name: str, *, questions: int = 1, answer: bool = False) -> bytes:
    """A DNS query for the addresses of a name (RFC 1035 section 4.1)."""
    header = (7).to_bytes(2) + (b"\x81\x80" if answer else b"\x01\x00") + questions.to_bytes(2) + bytes(6)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return header + labels + b"\0" + b"\0\x01\0\x01"


def reverse_names() -> list[str]:
    """Of IPv4, with each number of digits, and of IPv6."""
    numbers = ["1.1.1.1", "1.1.1.22", "1.1.22.22", "1.22.22.22", "22.22.22.22"]
    numbers += ["22.22.22.198", "22.22.198.198", "22.198.198.198", "255.255.255.255", "198.1.1.1"]
    return [ipaddress.ip_address(address).reverse_pointer for address in (*numbers, "fd00:77::8")]


@in_private_network
async def test_queries_for_one_label_come_to_the_responder() -> None:
    with routed_host("one", "outside") as peers, answering(None, RESPONDER_PORT, "responder "):
        one, outside = peers["one"], peers["outside"]
        async with firewall():
            with answering(outside, 53, "outside "):
                for length in range(1, 64):
                    for family in FAMILIES:
                        said = ask(one, outside.address[family], 53, udp=query("a" * length))
                        assert said == f"responder {one.address[family]}", length
                        said = ask(one, outside.address[family], 53, udp=query("a" * length + ".b"))
                        assert said == f"outside {outside.gateway[family]}", length


@in_private_network
async def test_queries_for_names_of_addresses_come_to_the_responder() -> None:
    with routed_host("one", "outside") as peers, answering(None, RESPONDER_PORT, "responder "):
        async with firewall():
            for name in reverse_names():
                for family in FAMILIES:
                    said = ask(peers["one"], peers["outside"].address[family], 53, udp=query(name))
                    assert said == f"responder {peers['one'].address[family]}", name


@in_private_network
async def test_a_port_that_is_used_again_does_not_lead_a_query_astray() -> None:
    with routed_host("one", "outside") as peers, answering(None, RESPONDER_PORT, "responder "):
        one, outside = peers["one"], peers["outside"]
        async with firewall():
            with answering(outside, 53, "outside "):
                for _ in range(2):
                    for family in FAMILIES:
                        server = outside.address[family]
                        said = ask(one, server, 53, udp=query("db"), source=40053)
                        assert said == f"responder {one.address[family]}"
                        said = ask(one, server, 53, udp=query("db.example"), source=40053)
                        assert said == f"outside {outside.gateway[family]}"


@pytest.mark.parametrize(
    "payload",
    [
        query(""),
        query("db", answer=True),
        query("db", questions=2),
        query("8.8.in-addr.arpa.example"),
        query("8.8.8.in-addr.arpa.x"),
        b"?",
    ],
)
@in_private_network
async def test_all_else_goes_where_the_container_sends_it(payload: bytes) -> None:
    with routed_host("one", "outside") as peers, answering(None, RESPONDER_PORT, "responder "):
        async with firewall():
            with answering(peers["outside"], 53, "outside "):
                said = ask(peers["one"], peers["outside"].address[0], 53, udp=payload)
                assert said == f"outside {peers['outside'].gateway[0]}"


@in_private_network
async def test_without_a_responder_a_query_is_refused_at_once() -> None:
    with routed_host("one", "sealed", "outside") as peers:
        async with firewall():
            for name in ("one", "sealed"):
                for family in FAMILIES:
                    server = peers["outside"].address[family]
                    assert ask(peers[name], server, 53, udp=query("db")) == "refused"


@in_private_network
async def test_the_responder_hears_sealed_networks_and_publishers_too() -> None:
    with routed_host("sealed", "gwbridge", "outside") as peers, answering(None, RESPONDER_PORT, "responder "):
        run("iptables", "-P", "INPUT", "DROP")
        async with firewall():
            for name in ("sealed", "gwbridge"):
                for asked in (peers["outside"].address[0], peers[name].gateway[0]):
                    said = ask(peers[name], asked, 53, udp=query("db"))
                    assert said == f"responder {peers[name].address[0]}"


@in_private_network
async def test_nobody_else_can_ask_the_responder() -> None:
    with routed_host("sealed", "one", "outside") as peers, answering(None, RESPONDER_PORT, "responder "):
        async with firewall():
            for peer in peers.values():
                for family in FAMILIES:
                    said = ask(peer, peer.gateway[family], RESPONDER_PORT, udp=query("evil.example"))
                    assert said == "silence"


@in_private_network
async def test_any_query_of_a_sealed_network_is_the_responder_s_to_refuse() -> None:
    """Its container may be on another network too, which has a way out and shares the resolver's servers."""
    with routed_host("sealed") as peers, answering(None, RESPONDER_PORT, "responder "):
        async with firewall():
            sealed = peers["sealed"]
            said = ask(sealed, sealed.gateway[0], 53, udp=query("evil.example"))
            assert said.startswith("responder ")
            assert ask(sealed, sealed.gateway[0], 53, udp=b"no query") == "refused"


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
@in_private_network
async def test_a_port_published_on_any_address_is_reached_from_everywhere(policy: str) -> None:
    with routed_host("one", "two", "outside", "docker") as peers:
        forward_policy(policy)
        one, outside = peers["one"], peers["outside"]
        async with firewall() as made:
            for family in FAMILIES:
                for protocol in (TCP, UDP):
                    await made.publish([Published(protocol, "", 8080, one.address[family], 80)], [])
                udp, host = {TCP: b"", UDP: b"?"}, outside.gateway[family]
                for datagram in udp.values():

                    def saw(name: str, address: str = host, datagram: bytes = datagram) -> str:
                        return ask(peers.get(name), address, 8080, udp=datagram)

                    assert saw("outside") == f"saw {outside.address[family]}", "the source is kept"
                    assert saw("docker") == f"saw {peers['docker'].address[family]}"
                    assert saw("host") == f"saw {host}"
                    assert saw("two") == f"saw {one.gateway[family]}"
                    assert saw("one") == f"saw {one.gateway[family]}", "hairpin"
                    assert saw("one", one.gateway[family]) == f"saw {one.gateway[family]}"
            for datagram in (b"", b"?"):
                assert ask(None, "127.0.0.1", 8080, udp=datagram) == f"saw {one.gateway[0]}"


@in_private_network
async def test_a_port_published_on_one_address_is_reached_there_only() -> None:
    with routed_host("one", "outside", "lan") as peers:
        one, outside = peers["one"], peers["outside"]
        async with firewall() as made:
            for family in FAMILIES:
                await made.publish([Published(TCP, outside.gateway[family], 81, one.address[family], 80)], [])
                assert ask(outside, outside.gateway[family], 81) == f"saw {outside.address[family]}"
                assert ask(peers["lan"], peers["lan"].gateway[family], 81) == "refused"


@in_private_network
async def test_a_port_published_on_the_loopback_is_the_host_s_alone() -> None:
    with routed_host("one", "outside", "two") as peers:
        one, outside = peers["one"], peers["outside"]
        async with firewall() as made:
            await made.publish([Published(TCP, "127.0.0.1", 8081, one.address[0], 80)], [])
            assert ask(None, "127.0.0.1", 8081) == f"saw {one.gateway[0]}"
            for name in ("outside", "two", "one"):
                assert ask(peers[name], outside.gateway[0], 8081) == "refused"


@in_private_network
async def test_a_container_cannot_reach_the_loopback_of_its_host() -> None:
    """Neither where a port is published on it, which takes route_localnet (CVE-2020-8558)."""
    with routed_host("one") as peers, answering(None, 9000):
        one = peers["one"]
        async with firewall() as made:
            await made.publish([Published(TCP, "127.0.0.1", 8081, one.address[0], 80)], [])
            assert Path("/proc/sys/net/ipv4/conf", one.link, "route_localnet").read_text() == "1\n"
            one.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
            one.run("ip", "rule", "add", "pref", "5", "lookup", "local")
            one.run("ip", "rule", "add", "pref", "1", "to", "127.0.0.0/8", "lookup", "7")
            one.run("ip", "rule", "delete", "pref", "0")
            one.run("ip", "route", "add", "127.0.0.0/8", "via", one.gateway[0], "dev", "eth0", "table", "7")
            for port in (9000, 8081):
                assert ask(one, "127.0.0.1", port) == "silence"
            run("nft", "flush", "chain", "inet", "ovn-docker", "received")
            assert ask(one, "127.0.0.1", 9000).startswith("saw"), "or it proves nothing"


@in_private_network
async def test_publishing_and_withdrawing_may_be_repeated() -> None:
    with routed_host("one", "two") as peers:
        first, second = (Published(TCP, "", 8080, peers[name].address[0], 80) for name in ("one", "two"))
        async with firewall() as made:
            for _ in range(2):
                await made.publish([first], [])
                assert await made.published() == {first}
            await made.publish([second], [first])
            assert await made.published() == {second}
            await made.publish([first], [])  # it moves, whoever had it
            assert await made.published() == {first}
            for _ in range(2):
                await made.publish([], [first, second])
                assert await made.published() == frozenset()


@in_private_network
async def test_all_kinds_of_published_ports_are_read_back_as_they_were() -> None:
    ports = {
        Published(protocol, host_ip, port, ip, 80)
        for protocol, port in ((TCP, 1), (UDP, 53), (132, 65535))
        for host_ip, ip in (
            ("", "10.77.0.8"),
            ("127.0.0.1", "10.77.0.8"),
            ("", "fd00:77::8"),
            ("2001:db8::1", "fd00:77::8"),
        )
    }
    async with firewall() as made:
        await made.publish(ports, [])
        assert await made.published() == ports
    async with firewall() as made:
        assert await made.published() == ports, "a restart of the driver"
        await made.publish([], ports)
        assert await made.published() == frozenset()
