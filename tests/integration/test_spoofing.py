"""What a container says in another's name is not heard, and what it says in its own is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from ovn_docker_lab import Lab
from tests.integration import frames, records
from tests.integration.frames import Party, heard, honest, lies, party
from tests.integration.tenant import OURS, Container, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROUTERS = ("accept_ra", "accept_redirects")
"""Settings of a link that decide whether routers are believed."""
LINK_SETTINGS_WITH_THE_NETWORK = 28
"""The Docker from which on such settings are refused with --sysctl."""
DUAL = ("--ipv6", "--subnet", "fd00:5::/64")


@dataclass(frozen=True, slots=True)
class Scene:
    """A container that lies, one in whose name, and who should not believe it."""

    liar: Party
    other: Party
    near: Party
    far: Party

    @property
    def victims(self) -> dict[str, Party]:
        """On the liar's host and on another."""
        return {"near": self.near, "far": self.far}


def scene(lab: Lab, users: Sequence[Tenant], subnet: str, *options: str) -> Scene:
    """Three containers on the first host, one on the second, on one switch."""
    networks = [user.network(subnet, *OURS, *options) for user in users[:2]]
    parties = [_party(users[number], networks[number]) for number in (0, 0, 0, 1)]
    frames.ports_known(lab.central)
    return Scene(*parties)


def _party(user: Tenant, network: Network) -> Party:
    box = user.container(network, "--cap-add=NET_RAW")
    found = box.endpoint(network)
    return party(box, filter(None, (found["IPAddress"], found["GlobalIPv6Address"])))


@pytest.mark.parametrize(("subnet", "options"), [("10.60.0.0/24", ()), ("10.61.0.0/24", DUAL)])
def test_a_container_is_not_heard_under_another_s_mac_or_ip_address(
    users: Sequence[Tenant], lab: Lab, subnet: str, options: tuple[str, ...]
) -> None:
    stage = scene(lab, users, subnet, *options)
    for victim in stage.victims.values():
        truth = honest(stage.liar, victim)
        assert heard(stage.liar, victim, truth, truth["IPv4"]) == truth.keys()
        assert heard(stage.liar, victim, lies(stage.liar, stage.other, victim), truth["IPv4"]) == set()


def test_where_port_security_was_waived_every_lie_is_heard_and_only_there(
    users: Sequence[Tenant], lab: Lab
) -> None:
    stage = scene(lab, users, "10.62.0.0/24", *DUAL, "-o", "port_security=false")
    ports = records.rows(lab.central, records.PORT)
    assert [records.values(port, "port_security") for port in ports] == [[]] * 4
    for victim in stage.victims.values():
        lied = lies(stage.liar, stage.other, victim)
        assert heard(stage.liar, victim, lied, honest(stage.liar, victim)["IPv4"]) == lied.keys()


def test_a_container_claiming_to_be_a_router_is_mostly_not_believed(
    users: Sequence[Tenant],
) -> None:
    network = users[0].network("10.65.0.0/24", *OURS, *DUAL)
    liar = _party(users[0], network)
    wary, credulous = _wary(users[0], network), users[0].container(network)
    said = frames.router_advertisement(liar.mac, "2001:db8:bad::")
    with liar.socket() as mouth:

        def believed(box: Container) -> bool:
            mouth.send(frames.ethernet(frames.ALL_NODES, liar.mac, frames.IPV6, said))
            return "default via fe80::" in box.run("ip -6 route").stdout

        eventually(lambda: believed(credulous), 20, "the router is believed")
        assert not any(believed(wary) for _ in range(5))


def _wary(user: Tenant, network: Network) -> Container:
    """A container that believes no router, as docs/reference/network-options.md says for each Docker."""
    version = user.docker("version", "--format", "{{.Server.Version}}").stdout
    if int(version.split(".")[0]) < LINK_SETTINGS_WITH_THE_NETWORK:
        settings = [f"--sysctl=net.ipv6.conf.eth0.{name}=0" for name in ROUTERS]
        return user.container(network, *settings)
    settings = [f"net.ipv6.conf.IFNAME.{name}=0" for name in ROUTERS]
    option = f'"driver-opt=com.docker.network.endpoint.sysctls={",".join(settings)}"'
    return user.container(replace(network, name=f"name={network.name},{option}"))


def test_networks_of_two_contexts_with_one_subnet_hear_nothing_of_each_other(
    users: Sequence[Tenant], lab: Lab
) -> None:
    scenes = {}
    for context in ("red", "blue"):
        options = ("-o", f"context={context}", "--ipam-opt", f"context={context}")
        scenes[context] = scene(lab, users, "10.63.0.0/24", *options, "-o", "port_security=false")
    red, blue = scenes["red"], scenes["blue"]
    assert (red.far.mac, red.far.ipv4) == (blue.far.mac, blue.far.ipv4)
    for name, stranger in blue.victims.items():
        own = red.victims[name]
        sent = lies(red.liar, red.other, own) | honest(red.liar, own)
        assert heard(red.liar, own, sent, honest(red.liar, own)["IPv4"]) == sent.keys()
        with stranger.socket() as ear:
            ear.settimeout(0.5)
            assert heard(red.liar, own, sent, honest(red.liar, own)["IPv4"]) == sent.keys()
            assert frames.noted(ear, sent) == set()


def test_a_mac_address_that_another_container_has_is_refused_with_its_name(
    users: Sequence[Tenant], lab: Lab
) -> None:
    networks = [user.network("10.64.0.0/24", *OURS) for user in users[:2]]
    first = users[0].container(networks[0], "--mac-address=02:11:22:33:44:55")
    holder = first.endpoint(networks[0])["EndpointID"]
    for user, network in zip(users, networks, strict=False):
        refused = user.once(network, "true", "--mac-address=02:11:22:33:44:55")
        assert refused.returncode != 0
        assert f"02:11:22:33:44:55: endpoint {holder} on host h1 has it" in refused.stderr
    users[0].remove(first)
    assert users[1].once(networks[1], "true", "--mac-address=02:11:22:33:44:55").returncode == 0
    assert records.leases(lab.central) == []
