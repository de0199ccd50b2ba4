"""A container reaches the host that it runs on through OVN or not at all."""

import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker import addressing
from ovn_docker_lab import Lab, Machine
from tests.integration import frames
from tests.integration.frames import ARP, EVERYBODY, IPV4, IPV6, Party, ethernet
from tests.integration.tenant import OURS, Tenant

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HOST_IPV6, PEER_IPV6 = "2001:db8:5::1", "2001:db8:5::7"
QUIET = 1.0
"""Seconds after which nothing comes any more."""


@pytest.fixture
def host(lab: Lab) -> Iterator[Machine]:
    """The first, with an IPv6 address besides its own."""
    one = lab.hosts[0]
    one.run(["ip", "address", "add", f"{HOST_IPV6}/64", "dev", "lo", "nodad"])
    yield one
    one.run(["ip", "address", "del", f"{HOST_IPV6}/64", "dev", "lo"])


def test_a_container_of_an_internal_network_does_not_reach_its_host_past_ovn(
    tenant: Tenant, host: Machine, lab: Lab
) -> None:
    network = tenant.network("10.66.0.0/24", *OURS, "--internal")
    box = tenant.container(network, "--cap-add=NET_RAW")
    endpoint = box.endpoint(network)
    sender = frames.party(box, [endpoint["IPAddress"]])
    outside, _ = addressing.link_names(endpoint["EndpointID"])
    mac = host.run(["cat", f"/sys/class/net/{outside}/address"]).stdout.strip()
    sources = {"own": sender.ipv4, "another host's": str(lab.hosts[1].address)}
    sent = {
        f"IPv4 to {to} from {whose} address": ethernet(
            to, sender.mac, IPV4, frames.ipv4(source, str(host.address), f"IPv4 to {to} from {whose} address")
        )
        for to in (mac, EVERYBODY)
        for whose, source in sources.items()
    } | {
        f"IPv6 to {to}": ethernet(to, sender.mac, IPV6, frames.ipv6(PEER_IPV6, HOST_IPV6, f"IPv6 to {to}"))
        for to in (mac, frames.ALL_NODES)
    }
    on_host = Party(mac, "", "", Path(f"/proc/{host.pid('driver')}/ns/net"))
    with contextlib.ExitStack() as stack:
        mouth = stack.enter_context(sender.socket())
        tap = stack.enter_context(on_host.socket(outside))
        ears = [stack.enter_context(on_host.server(family)) for family in (socket.AF_INET, socket.AF_INET6)]
        for frame in sent.values():
            mouth.send(frame)
        missing = set(sent.values())
        tap.settimeout(10)
        while missing:
            missing -= {tap.recv(4096)}
        heard = set()
        while ready := select.select(ears, [], [], QUIET)[0]:
            heard |= {ear.recv(4096).decode() for ear in ready}
        assert heard == set()
        asked = frames.arp_request((sender.mac, sender.ipv4), str(host.address))
        mouth.send(ethernet(mac, sender.mac, ARP, asked))
        mouth.send(ethernet(EVERYBODY, sender.mac, ARP, asked))
        while select.select([mouth], [], [], QUIET)[0]:
            frame = mouth.recv(4096)
            assert frame[6:12] != bytes.fromhex(mac.replace(":", ""))  # nobody else has that one
