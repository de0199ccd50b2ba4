"""What Docker would say of what it asked a host's driver for, and the passes of a health check over it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from ovn_docker.address_pools import first_gateway
from ovn_docker.docker.models import DockerState, Endpoint, PoolConfig
from ovn_docker.docker.models import Network as Seen
from ovn_docker.health.checks import check
from ovn_docker.health.findings import Finding
from ovn_docker.health.reader import completed
from ovn_docker.health.snapshot import Snapshot
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE
from ovn_docker.ovsdb.operations import mapping, members
from tests.functional.overlay.shared_host import Container, Host, Network
from tests.functional.servers import OvsdbServer

DRIVER = "openvswitch"


@dataclass
class Docker:
    """The Docker of one host: networks with their options, and containers."""

    host: Host
    networks: list[tuple[Network, dict[str, str]]] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)

    async def create(self, *subnets: str, leased: bool, **options: str) -> Network:
        """``docker network create``, with our IPAM or Docker's."""
        if leased:
            network = await self.host.network_create(*subnets, options=options)
        else:
            gateway = str(first_gateway(ip_network(subnets[0])))
            network = await self.host.plain_network_create(*subnets, gateway=gateway, options=options)
        self.networks.append((network, options))
        return network

    async def run(self, network: Network, *addresses: str) -> Container:
        """``docker run``; the addresses are what Docker's own IPAM has chosen."""
        if network.pool_ids:
            container = await self.host.run(network)
        else:
            container = Container(self.host, network, _endpoint_id(addresses), list(addresses))
            await self.host.endpoint(network, container.endpoint_id, *addresses)
        self.containers.append(container)
        return container

    async def rm(self, container: Container) -> None:
        """``docker rm -f``."""
        self.containers.remove(container)
        await container.rm()

    async def network_rm(self, network: Network) -> None:
        """``docker network rm``."""
        self.networks = [each for each in self.networks if each[0] is not network]
        await self.host.network_rm(network)

    def state(self) -> DockerState:
        """What it would say; no endpoint is in a sandbox, for here are no links."""
        seen = [self._seen(network, options) for network, options in self.networks]
        return DockerState({each.network_id: each for each in seen}, {})

    def _seen(self, network: Network, options: Mapping[str, str]) -> Seen:
        leased = any(each.address_space == ADDRESS_SPACE for each in network.data)
        mine = [each for each in self.containers if each.network is network]
        endpoints = [Endpoint(network.network_id, e.endpoint_id, "", tuple(e.addresses), "") for e in mine]
        return Seen(
            network_id=network.network_id,
            name=network.network_id[:6],
            driver=DRIVER,
            ipam_driver=DRIVER if leased else "default",
            ipam_options={},
            pools=tuple(PoolConfig(each.pool, "", {}) for each in network.data),
            internal=False,
            ipv6=any(":" in each.pool for each in network.data),
            options=options,
            endpoints={each.endpoint_id: each for each in endpoints},
        )


def _endpoint_id(addresses: Sequence[str]) -> str:
    return "".join(f"{ord(each):02x}" for each in "".join(addresses)).ljust(64, "0")[:64]


async def findings(host: Host, state: DockerState) -> list[Finding]:
    """What a reading finds."""
    ours = [each.network_id for each in state.networks.values() if each.is_of(DRIVER)]
    held = await host.inventory.held(ours)
    snapshot = Snapshot(DRIVER, state, held, (), frozenset(), host.inventory.pool_key)
    return check(await completed(snapshot, host.inventory))


async def repaired(host: Host, state: DockerState, passes: int = 5) -> list[str]:
    """Look and repair until nothing is found; the kinds of what was repaired."""
    kinds: list[str] = []
    for _ in range(passes):
        found = await findings(host, state)
        if not found:
            return kinds
        for each in found:
            assert await host.repairs.repair([each]) == [""], each
            kinds.append(each.kind)
    raise AssertionError(f"found still after {passes} passes: {await findings(host, state)}")


def picture(northbound: OvsdbServer) -> dict[str, list[Any]]:
    """All that the driver holds in Northbound, without moments and chance."""
    rows = northbound.rows("DHCP_Options", "cidr", "options", "external_ids")
    rows = [each for each in rows if mapping(each["external_ids"])["ovn-docker"] not in {"host", "hosts"}]
    ports = northbound.ports("_uuid", "name", "addresses", "port_security")
    names = {each["_uuid"][1]: each["name"] for each in ports}
    return {
        "switches": sorted(
            (
                each["name"],
                sorted(names[str(port)] for port in members(each["ports"]) if str(port) in names),
                _pools_of(each),
            )
            for each in northbound.rows("Logical_Switch", "name", "ports", "external_ids")
        ),
        "ports": sorted((each["name"], each["addresses"], each["port_security"]) for each in ports),
        "addresses": sorted(_address(each) for each in rows),
    }


def _pools_of(switch: Mapping[str, Any]) -> list[str]:
    ids = mapping(switch["external_ids"])
    if ids["ovn-docker-network"] != switch["name"]:
        return []  # a shared switch says the pools of the network that it was made for
    return sorted(key for key in ids if key.startswith("ovn-docker-pool:"))


def _address(row: Mapping[str, Any]) -> tuple[str, ...]:
    ids = mapping(row["external_ids"])
    told = [ids.get(f"ovn-docker-{key}", "") for key in ("pool", "host", "endpoint")]
    return (ids["ovn-docker"], row["cidr"], *told, *sorted(set(_hosts(row))))


def _hosts(row: Mapping[str, Any]) -> Iterable[str]:
    return mapping(row["options"]).values()


async def refused(host: Host, finding: Finding) -> str:
    """Why a finding cannot be repaired."""
    [why] = await host.repairs.repair([finding])
    assert why
    assert "\n" not in why
    return why
