"""What is true of a VTEP in either mode."""

import functools
import subprocess
from contextlib import AbstractContextManager

import pytest

from ovn_docker_lab import Machine
from tests.integration.speaker import ECHO, PYTHON
from tests.integration.vtep_world import (
    PORT,
    VNIS,
    Service,
    World,
    captured,
    everything_answers,
    ofport,
    switch_of,
    traced,
)
from tests.polling import eventually

IP, ARP, IPV6 = "0800", "0806", "86dd"
FROM = "dl_src=02:00:00:00:00:01"
GROUP = "dl_dst=33:33:00:00:00:01,ipv6_dst=ff02::1"


class VtepContract:
    """A fixture `world` gives the place, `entry` the port where its packets enter a host's switch."""

    def entry(self, host: Machine) -> str:
        raise NotImplementedError

    def test_icmp_tcp_and_udp_reach_the_right_container_and_no_other(self, world: World) -> None:
        everything_answers(world)
        services = list(world.services.values())
        for name, site, own in world.networks():
            for service in own:
                with captured(services) as seen:
                    assert site.run("busybox", "ping", "-c3", "-i0.2", "-W1", service.address).returncode == 0
                    assert site.sends(service.address, PORT, "hello") == f"{service.name} hello"
                    assert site.fetches(service.address, 80) == service.name
                _only(seen, service, [other for other in services if other not in own], site.mac())
                assert name in service.name

    def test_ipv6_reaches_the_right_container_and_no_other(self, world: World) -> None:
        services = list(world.services.values())
        for _, site, own in world.networks():
            for service in own:
                eventually(functools.partial(site.pings, service.address6), 10, service.name)
                with captured(services) as seen:
                    assert site.sends(service.address6, PORT, "hello") == f"{service.name} hello"
                _only(seen, service, [other for other in services if other not in own], site.mac())

    def test_a_container_speaks_first(self, world: World) -> None:
        for service in world.services.values():
            service.container.run("ip neigh flush dev eth0", check=False)
            service.container.reaches("10.77.0.200")

    def test_the_switch_sends_each_kind_of_packet_where_it_belongs(self, world: World) -> None:
        host = world.lab.hosts[0]
        port, red, blue = self.entry(host), world.services["red", "h1"], world.services["blue", "h1"]
        assert red.address == blue.address
        for service, vni in ((red, VNIS["red"]), (blue, VNIS["blue"])):
            to = f"dl_dst={service.mac()}"
            for packet in (
                f"tcp,{to},nw_dst={service.address},tcp_dst=81",
                f"udp,{to},nw_dst={service.address},udp_dst=53",
                f"icmp,{to},nw_dst={service.address}",
                f"arp,dl_dst=ff:ff:ff:ff:ff:ff,arp_op=1,arp_tpa={service.address}",
                f"icmp6,{to},ipv6_dst={service.address6}",
                f"icmp6,{GROUP},icmpv6_type=135,icmpv6_code=0,nd_target={service.address6}",
            ):
                flow = f"in_port={port},tun_id={vni},{FROM},{packet}"
                assert traced(host, flow) == ofport(host, service), packet

    def test_the_switch_drops_what_belongs_nowhere(self, world: World) -> None:
        host = world.lab.hosts[0]
        port, red = self.entry(host), world.services["red", "h1"]
        far = world.services["red", "h2"]
        for vni, packet in (
            (VNIS["red"], "tcp,dl_dst=02:00:00:00:00:99,nw_dst=10.77.0.99"),
            (VNIS["red"], f"tcp,dl_dst={far.mac()},nw_dst={far.address}"),
            (5003, f"tcp,dl_dst={red.mac()},nw_dst={red.address}"),
            (5003, f"arp,dl_dst=ff:ff:ff:ff:ff:ff,arp_op=1,arp_tpa={red.address}"),
            (5003, f"icmp6,{GROUP},icmpv6_type=135,icmpv6_code=0,nd_target={red.address6}"),
            ((1 << 23) + VNIS["red"], f"tcp,dl_dst={red.mac()},nw_dst={red.address}"),
        ):
            assert traced(host, f"in_port={port},tun_id={vni},{FROM},{packet}") is None, (vni, packet)

    @pytest.mark.parametrize("verdict", ["drop", "stateful"])
    def test_an_acl_that_drops_a_port_drops_it_for_the_vtep_too(self, world: World, verdict: str) -> None:
        central, site, red = world.lab.central, world.sites["red"], world.services["red", "h1"]
        switch = switch_of(red)
        acls = [["acl-add", switch, "to-lport", "1001", "tcp.dst == 80", "drop"]]
        if verdict == "stateful":
            acls.append(["acl-add", switch, "to-lport", "1000", "ip", "allow-related"])
        try:
            for acl in acls:
                central.run(["ovn-nbctl", "--wait=hv", *acl])
            eventually(lambda: not site.fetches(red.address, 80), 5, "port 80 is closed")
            assert site.fetches(red.address, 81) == red.name
        finally:
            central.run(["ovn-nbctl", "--wait=hv", "acl-del", switch])
        eventually(lambda: site.fetches(red.address, 80) == red.name, 5, "port 80 is open again")

    def test_a_transfer_goes_on_while_ovn_controller_and_vswitchd_are_restarted(self, world: World) -> None:
        host, site, red = world.lab.hosts[0], world.sites["red"], world.services["red", "h1"]
        talk = site.enter([PYTHON, str(ECHO), "talk", red.address, str(PORT), "9"])
        with subprocess.Popen(
            world.speaker.machine.enter(talk), stdout=subprocess.PIPE, text=True
        ) as transfer:
            assert transfer.stdout is not None
            assert transfer.stdout.readline() == "connected\n"
            for daemon in ("ovn-controller", "ovs-vswitchd"):
                with self.recovers(world, host):
                    host.kill(daemon)
                    host.start_again(daemon)
            said, _ = transfer.communicate(timeout=40)
        name, lines, _ = said.split()
        assert name == red.name
        assert int(lines) > 100

    def recovers(self, world: World, host: Machine) -> AbstractContextManager[None]:
        """Wait after the block until the host's switch is as it was; fail if that takes too long."""
        raise NotImplementedError


def _only(
    seen: dict[Service, set[tuple[str, str, str]]], one: Service, others: list[Service], mac: str
) -> None:
    """See that a container, and no other of any network, was sent IP packets of a site."""
    addresses = {one.address, one.address6}
    reached = {
        service for service, frames in seen.items() if any(a == mac and c in addresses for a, _, c in frames)
    }
    assert reached == {one}
    for service in others:
        assert not [frame for frame in seen[service] if frame[0] == mac], service.name
