"""One repair for each kind of finding.

Wherever Docker has a verb for it, the repair is that verb, called as Docker would have called it, with all
that holds for a request of Docker's. Nothing is decided here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ovn_docker import addressing
from ovn_docker.address_pools import first_gateway
from ovn_docker.addressing import IPNetwork
from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import Endpoint, Network, PoolConfig, Stopped
from ovn_docker.errors import HostError, OvnDockerError
from ovn_docker.health.findings import KINDS, Finding
from ovn_docker.health.snapshot import EndpointIds, Inventory
from ovn_docker.host.attachment import Attachments
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.api import NetworkDriver

Repair = Callable[[Any], Awaitable[object]]


class Repairs:
    """Repairs what was found."""

    def __init__(
        self,
        driver: NetworkDriver,
        inventory: Inventory,
        attachments: Attachments,
        address_space: str,
        others: Mapping[str, Repair],
    ) -> None:
        """Take our IPAM's address space, and the driver's own repairs, which override those here."""
        self._driver = driver
        self._inventory = inventory
        self._attachments = attachments
        self._address_space = address_space
        self._by_kind: Mapping[str, Repair] = {
            "network-missing": self._make_network,
            "network-stale": self._remove_network,
            "switch-stale": inventory.remove_switch,
            "endpoint-missing": self._make_endpoint,
            "endpoint-changed": inventory.readdress,
            "endpoint-stale": self._remove_endpoint,
            "interface-missing": self._plug,
            "interface-stale": attachments.detach,
            "guard-missing": lambda _: attachments.guard(),
            "link-stale": attachments.remove_link,
            "lease-missing": lambda evidence: inventory.lease(*evidence),
            "lease-stale": inventory.release,
            "pool-missing": lambda evidence: inventory.enter_pool(*evidence),
            "pool-stale": inventory.leave_pool,
            "reserved-stale": inventory.leave_pool,
            **others,
        }

    async def repair(self, findings: Sequence[Finding]) -> list[str]:
        """Repair findings of one kind; for each the reason why it could not be repaired, or ""."""
        kind, reasons = findings[0].kind, []
        if KINDS[kind].together:
            return await self._rename(findings)
        for finding in findings:
            try:
                await self._by_kind[kind](finding.evidence)
                reasons.append("")
            except OvnDockerError as error:
                reasons.append(str(error))
        return reasons

    async def _rename(self, changed: Sequence[Finding]) -> list[str]:
        names: dict[EndpointIds, Mapping[str, str]] = {}
        for endpoint, wanted in (finding.evidence for finding in changed):
            names[endpoint.network_id, endpoint.endpoint_id] = wanted
        try:
            failed = await self._inventory.rename(names)
        except OvnDockerError as error:
            return [str(error)] * len(changed)
        return [failed.get(ids, "") for ids in names]

    async def _make_network(self, network: Network) -> None:
        if await self._inventory.restore(network.network_id):
            return
        await self._driver.create_network(
            messages.CreateNetworkRequest(
                network_id=network.network_id,
                options={
                    messages.GENERIC: dict(network.options),
                    messages.INTERNAL: network.internal,
                    messages.ENABLE_IPV6: network.ipv6,
                },
                ipv4_data=self._pools(network, 4),
                ipv6_data=self._pools(network, 6),
            )
        )

    def _pools(self, network: Network, version: int) -> list[messages.IPAMData]:
        leased = network.has_foreign_ipam
        pools = [(pool, addressing.network(pool.subnet, "pool")) for pool in network.pools if pool.subnet]
        return [
            messages.IPAMData(
                address_space=self._address_space if leased else "",
                pool=pool.subnet,
                gateway=_gateway(pool, subnet, chosen_by_docker=not leased),
                aux_addresses=dict(pool.aux_addresses),
            )
            for pool, subnet in pools
            if subnet.version == version
        ]

    async def _remove_network(self, network_id: str) -> None:
        await self._driver.delete_network(messages.NetworkRequest(network_id=network_id))

    async def _make_endpoint(self, endpoint: Endpoint) -> None:
        await self._driver.create_endpoint(endpoint_request(endpoint))

    async def _remove_endpoint(self, ids: tuple[str, str]) -> None:
        network_id, endpoint_id = ids
        await self._driver.delete_endpoint(
            messages.EndpointRequest(network_id=network_id, endpoint_id=endpoint_id)
        )

    async def _plug(self, endpoint: Endpoint) -> None:
        await self._attachments.plug_again(
            endpoint.network_id, endpoint.endpoint_id, endpoint.mac, endpoint.addresses
        )


def endpoint_request(endpoint: Endpoint) -> messages.CreateEndpointRequest:
    """What Docker would request if it had to create an endpoint of its once more."""
    ipv4 = [text for text in endpoint.interfaces if ":" not in text]
    ipv6 = [text for text in endpoint.interfaces if ":" in text]
    interface = messages.EndpointInterface(
        address="".join(ipv4[:1]), address_ipv6="".join(ipv6[:1]), mac_address=endpoint.mac
    )
    return messages.CreateEndpointRequest(
        network_id=endpoint.network_id, endpoint_id=endpoint.endpoint_id, interface=interface
    )


def starting(engine: Engine) -> dict[str, Repair]:
    """The repairs that start a container, unless it has changed: its user may have stopped it since."""

    async def start(seen: Stopped) -> None:
        if await engine.ended(seen.container_id) != seen:
            raise HostError("it has changed meanwhile")
        await engine.start(seen.container_id)

    return {name: start for name, kind in KINDS.items() if kind.starts}


def _gateway(pool: PoolConfig, subnet: IPNetwork, *, chosen_by_docker: bool) -> str:
    """The gateway of a pool with its prefix length, as Docker writes it, or "".

    NetworkInspect leaves out a gateway that nobody named; Docker's own IPAM chooses the first address then.
    """
    gateway = pool.gateway or (str(first_gateway(subnet)) if chosen_by_docker else "")
    return f"{gateway}/{subnet.prefixlen}" if gateway else ""
