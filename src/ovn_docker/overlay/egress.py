"""The way out of containers: which gateway Join names, and this host's link for it.

OVN's part is the gateway port, which is made with the switch. This host's part is a link with the gateway's
addresses, from which the kernel routes (host/ruleset.py). Without one of them containers use docker_gwbridge.
"""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ovn_docker.addressing import IPNetwork
from ovn_docker.errors import HostError, NotFoundError, OvnDockerError
from ovn_docker.health.snapshot import EgressState
from ovn_docker.host.firewall import Firewall
from ovn_docker.host.gateway_links import IPV6, GatewayLinks, link_name
from ovn_docker.host.open_vswitch import GatewayLink
from ovn_docker.overlay.gateways import Gateways, choose
from ovn_docker.overlay.networks import SharedNetworks, no_network
from ovn_docker.ovn import gateway_ports, nb_global, switches
from ovn_docker.ovn.switches import Switch
from ovn_docker.ovsdb.operations import Operation, Row

LOG = logging.getLogger(__name__)

START_TIMEOUT = 3.0
"""Seconds for which the first request for a way out waits for the rules to be loaded, which takes 0.1 s."""

NO_PORT = "its logical switch has no gateway port: remove the network on all hosts and create it again"
"""Of a switch that was made for a network with `-o egress=docker`, or by an older version."""

FOREIGN = "its logical switch was made by others"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A network's gateway as Northbound has it.

    Attributes:
        switch: the row id of the network's switch.
        network: what this host's network asks for.
        mac: of the gateway port, or "" without one.
        ips: of the gateway port.
        expected: whether the switch was made with a gateway port.
        foreign: whether somebody else than a driver has made the switch.
    """

    switch: UUID
    network: Switch
    mac: str
    ips: tuple[str, ...]
    expected: bool
    foreign: bool = False

    @property
    def wanted(self) -> bool:
        """Whether this host is to have a link for it: not for a switch that somebody else has made."""
        return bool(self.network.gateway_addresses) and not self.foreign

    def link(self, driver: str, mtu: int | None = None) -> GatewayLink:
        """This host's link."""
        return GatewayLink(
            switch=str(self.switch),
            iface_id=gateway_ports.port_name(self.switch),
            name=link_name(gateway_ports.port_id(self.switch), sealed=self.network.sealed),
            driver=driver,
            mac=self.mac,
            addresses=tuple(self._with_prefix(ip) for ip in self.ips),
            mtu=mtu,
        )

    def _with_prefix(self, text: str) -> str:
        ip = ipaddress.ip_address(text)
        lengths = [pool.prefixlen for pool in self.network.pools if ip in pool]
        return f"{ip}/{lengths[0] if lengths else ip.max_prefixlen}"


def _made(network: Switch) -> Gateway:
    """The gateway of a network that has just been created, on a switch of its own."""
    row, gateways = switches.switch_id(network.network_id), network.gateway_addresses
    mac = gateway_ports.mac_of(row, gateways)
    return Gateway(row, network, mac, tuple(map(str, gateways)), expected=bool(gateways))


def _consequence(network: Switch) -> str:
    """What the containers of a network do where this host has no link for its gateway."""
    return "find no names of other hosts" if network.sealed else "use docker_gwbridge as the way out"


UNRELIABLE = "cannot rely on their gateway"


def _rival(routed: Mapping[int, str], ips: Sequence[str]) -> str:
    """Why the addresses of a router on the switch and of the gateway port do not go together, or ""."""
    both = [ip for ip in routed.values() if ip in ips]
    if not both:
        return ""
    give = "give the router another address, or create the network with -o egress=docker"
    return f"an OVN router has the address {both[0]} of the network's gateway port: {give}"


class Egress:
    """The ways out of this host's networks."""

    def __init__(
        self, shared: SharedNetworks, links: GatewayLinks, firewall: Firewall, routers: Gateways, driver: str
    ) -> None:
        """`driver` is the name of this driver, which its links carry."""
        self._northbound = shared.database
        self._shared = shared
        self._links = links
        self._firewall = firewall
        self._routers = routers
        self._driver = driver
        self._lock = asyncio.Lock()
        self._wanted, self._loaded = asyncio.Event(), asyncio.Event()
        self._runs = False
        self._ready: set[UUID] = set()
        self._logged: dict[tuple[str, str], str] = {}

    async def run(self) -> None:
        """Once this host has a network with a way out of its own, load the rules and set up its links.

        It keeps watch over the rules until cancelled. What fails is tried again by each pass.
        """
        self._runs = True
        try:
            await self._wanted_here()
            await self._firewall.start()
            self._loaded.set()
            for link in self._own_links():
                try:
                    await self._links.set_up(link)
                except HostError as error:
                    LOG.debug("%s", error)
            await asyncio.get_running_loop().create_future()
        finally:
            self._runs = False
            self._loaded.clear()
            await self._firewall.close()

    async def _wanted_here(self) -> None:
        """Wait for a link in Open_vSwitch, or for the first network that is to have one."""
        while not (self._wanted.is_set() or self._own_links()):
            wanted = asyncio.ensure_future(self._wanted.wait())
            linked = asyncio.ensure_future(self._links.until_one(self._driver))
            try:
                await asyncio.wait({wanted, linked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                wanted.cancel()
                linked.cancel()

    # --- The verbs ------------------------------------------------------------------------------------------

    async def opened(self, network_id: str, own: Switch | None) -> None:
        """Make the link of a network that was created; what fails is logged, and tried again by each pass.

        `own` is its switch, where that is the network's alone.
        """
        shared = self._shared.get(network_id)
        network = own if shared is None else shared.as_switch()
        if network is None or network.egress == switches.BY_DOCKER:
            return
        try:
            gateway = await self._read(network_id) if own is None else _made(own)
            reason = await self._open(gateway) if gateway.wanted else FOREIGN
        except OvnDockerError as error:
            reason = str(error)
        self._log(network_id, reason, _consequence(network))

    async def closed(self, network_id: str, switch: UUID) -> None:
        """Remove the link of a network that is being deleted, unless another of this host is on its switch.

        It is removed before what says that the network had one, so that a repeat finds it.
        """
        self._logged = {key: reason for key, reason in self._logged.items() if key[0] != network_id}
        others = (each for each in self._shared.all() if each.network_id != network_id)
        if await self._links.find(str(switch)) and all(each.row_id != switch for each in others):
            self._ready.discard(switch)
            await self._links.remove(str(switch))

    async def gateways(
        self,
        network: Switch,
        switch: UUID,
        ports: Sequence[Row],
        pools: Sequence[IPNetwork],
        *,
        publishes: bool,
    ) -> Mapping[int, str]:
        """By IP version, the gateway that a container of a network is to use now: a router, or this host.

        Where the host leads IPv4 out but not IPv6, there is none of IPv6.

        Args:
            network: what this host's network asks for, and who made its switch.
            switch: the row id of its switch.
            ports: the gateway port, as `gateway_ports.port_get` reads it.
            pools: those of the container's addresses.
            publishes: whether the container publishes ports, for which Docker needs docker_gwbridge.
        """
        if network.internal:
            return {}
        if routed := await self._routers.of(self._shared.get(network.network_id), switch, pools):
            _, ips = gateway_ports.read_port(ports)
            self._log(network.network_id, _rival(routed, ips), UNRELIABLE)
            return routed
        if network.sealed or publishes:
            return {}
        return await self._by_host(network, switch, ports, pools)

    async def hops(
        self, network: Switch, switch: UUID, ports: Sequence[Row], pools: Sequence[IPNetwork]
    ) -> Mapping[int, str]:
        """By IP version, where a container of a sealed network is to send its name queries: to this host.

        There is none on a network that is not sealed. The arguments are those of `gateways`.
        """
        return await self._by_host(network, switch, ports, pools) if network.sealed else {}

    async def _by_host(
        self, network: Switch, switch: UUID, ports: Sequence[Row], pools: Sequence[IPNetwork]
    ) -> Mapping[int, str]:
        if network.egress == switches.BY_DOCKER or not network.host:
            return {}
        mac, ips = gateway_ports.read_port(ports)
        gateway = Gateway(switch, network, mac, ips, expected=True)
        try:
            reason = await self._open(gateway)
        except OvnDockerError as error:
            reason = str(error)
        self._log(network.network_id, reason, _consequence(network))
        if reason:
            return {}
        found = choose(map(ipaddress.ip_interface, ips), pools)
        if IPV6 in found and not network.sealed:
            problem = self._firewall.ipv6_problem()
            self._log(network.network_id, problem, "have no way out over IPv6")
            if problem:
                del found[IPV6]
        return found

    def _log(self, network_id: str, reason: str, what: str) -> None:
        """Log a reason once for each network, and what its containers do."""
        if reason and self._logged.get((network_id, what)) != reason:
            LOG.warning("network %s: its containers %s: %s", network_id, what, reason)
        self._logged[network_id, what] = reason

    # --- This host's links ----------------------------------------------------------------------------------

    async def _read(self, network_id: str) -> Gateway:
        """A network's gateway; NotFoundError if its switch is gone."""
        [found] = await self._read_all([network_id])
        if found is None:
            raise NotFoundError(no_network(network_id))
        return found

    async def _read_all(self, network_ids: Iterable[str]) -> list[Gateway | None]:
        """The gateways of networks; None where a switch is gone."""
        rows = {network_id: self._row(network_id) for network_id in network_ids}
        queries: list[Operation] = []
        for row in rows.values():
            queries += [switches.ls_get(row), gateway_ports.port_get(row)]
        results = await self._northbound.transact(queries) if queries else []
        pairs = zip(results[::2], results[1::2], strict=True)
        return [self._gateway(*item, *pair) for item, pair in zip(rows.items(), pairs, strict=True)]

    def _gateway(
        self, network_id: str, row: UUID, found: Mapping[str, Any], ports: Mapping[str, Any]
    ) -> Gateway | None:
        if not found["rows"]:
            return None
        made = switches.read_switch(network_id, found["rows"][0])
        shared = self._shared.get(network_id)
        network = made if shared is None else shared.as_switch()
        mac, ips = gateway_ports.read_port(ports["rows"])
        expected = made.egress != switches.BY_DOCKER
        return Gateway(row, network, mac, ips, expected=expected, foreign=not made.host)

    def _row(self, network_id: str) -> UUID:
        shared = self._shared.get(network_id)
        return switches.switch_id(network_id) if shared is None else shared.row_id

    async def _open(self, gateway: Gateway) -> str:
        """Make the link unless it is there; why there can be none, or ""."""
        self._wanted.set()
        if self._runs:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_TIMEOUT):
                    await self._loaded.wait()
        if problem := self._firewall.problem():
            return problem
        if gateway.switch in self._ready and self._links.is_up(str(gateway.switch)):
            return ""
        async with self._lock:
            return await self._make(gateway)

    async def _make(self, gateway: Gateway) -> str:
        if reason := await self._obstacle(gateway):
            return reason
        attachments = self._northbound.attachments
        encrypted = nb_global.encrypted(self._northbound.client.replica)
        mtu = gateway.network.mtu or await attachments.tunnel_mtu(encrypted=encrypted)
        await self._links.ensure(attachments.bridge, gateway.link(self._driver, mtu))
        self._ready.add(gateway.switch)
        return ""

    async def _obstacle(self, gateway: Gateway) -> str:
        """Why this host can have no link for a gateway, or ""."""
        if problem := self._firewall.problem():
            return problem
        if not gateway.ips:
            return NO_PORT
        pools, name = gateway.network.pools, gateway.link(self._driver).name
        if found := await self._links.overlap(pools, name):
            return f"this host has its own {found}: give the network another subnet with --subnet"
        return ""

    def _own_links(self) -> list[GatewayLink]:
        return [link for link in self._links.all() if link.driver == self._driver]

    # --- The health check -----------------------------------------------------------------------------------

    async def inspect(self, network_ids: Iterable[str]) -> EgressState:
        """What is missing of the ways out of these networks, which are all of this driver's on this host."""
        missing: list[tuple[str, str]] = []
        closed: list[tuple[str, str, str]] = []
        known = list(network_ids)
        gateways = {
            network_id: gateway
            for network_id, gateway in zip(known, await self._read_all(known), strict=True)
            if gateway is not None and gateway.wanted
        }
        rules = await self._firewall.missing() if gateways else ()
        for network_id, gateway in gateways.items():
            if gateway.expected and not gateway.ips:
                missing.append((network_id, f"gateway port {gateway_ports.port_name(gateway.switch)} in OVN"))
            elif reason := await self._obstacle(gateway):
                closed.append((network_id, _consequence(gateway.network), reason))
            elif reason := await self._rivalled(network_id, gateway):
                closed.append((network_id, UNRELIABLE, reason))
            elif not await self._links.complete(gateway.link(self._driver)):
                missing.append((network_id, f"link {gateway.link(self._driver).name} of its gateway"))
        used = {str(self._row(network_id)) for network_id in known}
        stale = tuple((link.switch, link.name) for link in self._own_links() if link.switch not in used)
        return EgressState(rules=rules, missing=tuple(missing), closed=tuple(closed), stale=stale)

    async def _rivalled(self, network_id: str, gateway: Gateway) -> str:
        shared = self._shared.get(network_id)
        return _rival(await self._routers.of(shared, gateway.switch, gateway.network.pools), gateway.ips)

    async def restore(self, network_id: str) -> None:
        """Make again what a network's way out lacks."""
        gateway = await self._read(network_id)
        if gateway.expected and not gateway.ips:
            addresses = gateway.network.gateway_addresses
            await self._northbound.transact(gateway_ports.port_add(gateway.switch, addresses))
            gateway = await self._read(network_id)
        async with self._lock:
            if reason := await self._make(gateway):
                raise HostError(reason)

    async def restore_rules(self, _: object = None) -> None:
        """Load the rules again."""
        await self._firewall.restore()

    async def remove_link(self, switch: str) -> None:
        """Remove the link of a switch that no network of this host is on."""
        await self._links.remove(switch)
