"""MAC addresses on a switch: each is one port's.

One that follows from an IPv4 address is as unique as that address, and costs nothing. Any other, from
``--mac-address`` or an IPv6 address, is claimed by a row whose id follows from the switch and the MAC
address: the database refuses a second. CreateEndpoint adds `claims` to its transaction; DeleteEndpoint, and a
CreateEndpoint that is undone, add `drops`.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from ovn_docker import addressing
from ovn_docker.addressing import IPNetwork
from ovn_docker.errors import ConflictError, RequestError
from ovn_docker.overlay.gateways import Routers
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import leases, switches
from ovn_docker.ovn.leases import CLAIM, Lease
from ovn_docker.ovn.switches import Mark, SwitchPort
from ovn_docker.ovsdb.operations import Operation


class Macs:
    """Which endpoint may have a MAC address."""

    def __init__(self, database: Northbound) -> None:
        self._northbound = database
        self._routers = Routers(database.client)

    async def check(self, port: SwitchPort) -> None:
        """Refuse a MAC address that is reserved or a router's, on a switch that is one network's own.

        Only routers are asked, being few and watched: to ask all ports would cost more with each container.
        """
        if follows_from_address(port):
            return
        switch = switches.switch_id(port.network_id)
        [found] = await self._northbound.transact([switches.ls_get(switch)])
        for row in found["rows"]:
            check_reserved(port, switches.read_switch(port.network_id, row).pools)
        if not self._routers.have(port.mac):
            return
        for row in await self._routers.on(switch):
            if str(row["mac"]).lower() == port.mac:
                raise taken(port, port.network_id, f"{port.mac}: router port {row['name']} holds it")

    async def claimed(self, port: SwitchPort, key: str) -> bool:
        """Whether the endpoint has claimed its MAC address; fails if another endpoint has."""
        [found] = await self._northbound.transact([leases.lease_get(key, port.mac)])
        holders = [leases.read_lease(row) for row in found["rows"]]
        for holder in holders:
            if holder.endpoint_id != port.endpoint_id:
                raise taken(port, key, f"{port.mac}: {holder.holder()}")
        return bool(holders)


def follows_from_address(port: SwitchPort) -> bool:
    """Whether the MAC address is the one that follows from the endpoint's IPv4 address."""
    addresses = [ip_address(word) for word in port.addresses.split()[1:2]]
    return port.mac == addressing.mac_for(port.endpoint_id, addresses) and any(
        address.version == 4  # noqa: PLR2004
        for address in addresses
    )


def check_reserved(port: SwitchPort, pools: Iterable[IPNetwork]) -> None:
    """Refuse a MAC address that follows from another address of these pools."""
    octets = bytes.fromhex(port.mac.replace(":", ""))
    address = IPv4Address(octets[2:])
    reserved = port.mac == addressing.mac_for("", [address]) and any(address in pool for pool in pools)
    if reserved and not follows_from_address(port):
        raise RequestError(
            f"endpoint {port.endpoint_id} cannot have the MAC address {port.mac}: it is reserved for address"
            f" {address} of its network; choose another, or also pass --ip {address}"
        )


def claims(port: SwitchPort, key: str, mark: Mark) -> list[Operation]:
    """Claim a port's MAC address, if it needs that, on the switch that `key` names."""
    if follows_from_address(port):
        return []
    return [leases.lease_add(key, port.mac, Lease(CLAIM, mark.host, port.endpoint_id), mark)]


def drops(port: SwitchPort, key: str, host: str) -> list[Operation]:
    """Release what `claims` claimed."""
    return [] if follows_from_address(port) else [leases.claim_del(key, port.mac, host, port.endpoint_id)]


def taken(port: SwitchPort, switch: str, by: str) -> ConflictError:
    """The error for an endpoint whose address another has."""
    return ConflictError(
        f"endpoint {port.endpoint_id} cannot have an address that is taken on logical switch {switch}: {by}"
    )
