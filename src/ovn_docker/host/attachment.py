"""The attachment of endpoints to a bridge of this host: veth pair and OVS port, both or neither.

Knows the host's Open_vSwitch database and links, and nothing of Docker's messages or of Northbound.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ovn_docker import addressing
from ovn_docker.errors import ConflictError, ConstraintError, HostError
from ovn_docker.host import open_vswitch, veth
from ovn_docker.host.open_vswitch import Attached, Bridge, OvnSettings, Progress, Tunnel
from ovn_docker.host.ovn_settings import known_settings, settings_of
from ovn_docker.host.veth import Links, VethPair
from ovn_docker.ovsdb.client import Client

DEFAULT_UNDERLAY_MTU = 1500
"""Bytes; Ethernet's, for a tunnel endpoint whose interface is unknown or the loopback."""

INSTALL_TIMEOUT = 8.5
"""Seconds for ovs-vswitchd and ovn-controller to install an interface's flows.

After an outage OVN's own programs wait up to 8 s before they connect again (ovs lib/reconnect.c), and a verb
has 9 s (libnetwork/server.py), of which finding the cause takes a quarter of a second.
"""

LINK_TIMEOUT, LINK_PAUSE = 2.0, 0.02
"""Seconds to wait for the link of a container that has ended to vanish, and between two looks."""


@dataclass(frozen=True, slots=True)
class AttachSpec:
    """What to attach.

    Attributes:
        endpoint_id: names the veth pair and, as iface-id, the logical port.
        mac: of the container's end.
        mtu: of both ends in bytes, or None for what the tunnel leaves.
        external_ids: further keys for the Interface row; with `open_vswitch.VLAN` it is an access port.
        encrypted: whether tunnels are, for that MTU.
    """

    endpoint_id: str
    mac: str
    mtu: int | None
    external_ids: Mapping[str, str]
    encrypted: bool = False


class Attachments:
    """The endpoints that are plugged into a bridge of this host, by default the integration bridge.

    `ovs` watches `open_vswitch.WATCHES`.
    """

    def __init__(self, ovs: Client, links: Links, bridge: str = "") -> None:
        self._ovs = ovs
        self._links = links
        self._bridge = bridge

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return self._bridge or self.settings().bridge

    def settings(self) -> OvnSettings:
        """How this host takes part in OVN, as its database says now."""
        return settings_of(self._ovs)

    async def known_settings(self) -> OvnSettings:
        """How this host takes part in OVN, once its database has been read; UnreachableError in an outage."""
        if not self._ovs.replica.rows(open_vswitch.ROOT):
            await self._ovs.available()
        return await known_settings(self._ovs)

    def outage(self) -> str:
        """Why Open vSwitch cannot be reached, or ""."""
        return self._ovs.outage()

    def by_network(self) -> dict[str, dict[str, dict[str, str]]]:
        """What is attached here, for people: by network, then by link."""
        networks: dict[str, dict[str, dict[str, str]]] = {}
        for interface in self.attached():
            networks.setdefault(interface.network_id, {})[interface.name] = {
                "OVSPort": interface.name,
                "EndpointID": interface.endpoint_id,
                "MacAddress": interface.external_ids.get("attached-mac", ""),
                "SandboxID": interface.external_ids.get(open_vswitch.SANDBOX, ""),
                "Added": interface.external_ids.get(open_vswitch.CREATED, ""),
                "Error": interface.error,
            }
        return networks

    async def attach(self, spec: AttachSpec, cause: Callable[[], Awaitable[str]] | None = None) -> str:
        """Make the veth pair, plug it in and wait for its flows; return the name of the container's end.

        `cause` finds out why OVN's flows are missing, while the port still exists; None for a bridge that is
        not OVN's.

        Raises:
            HostError: the kernel, ovs-vswitchd or ovn-controller did not do its part; nothing is left behind.
            ConflictError: a name belongs to something else.
        """
        outside, inside = addressing.link_names(spec.endpoint_id)
        async with contextlib.AsyncExitStack() as undo:
            if not await self._labelled(spec, undo):
                await self._make(spec, undo)
            await self._installed(spec.endpoint_id, outside, cause)
            undo.pop_all()
            return inside

    async def plug_in(self, spec: AttachSpec) -> None:
        """Do the first part of `attach` in advance: make the veth pair and plug it in.

        Does nothing if anything of the endpoint exists, or while Open vSwitch cannot be reached. Raises as
        `attach`.
        """
        if self.leftover(spec.endpoint_id) or self.outage():
            return
        async with contextlib.AsyncExitStack() as undo:
            await self._make(spec, undo)
            undo.pop_all()

    async def _make(self, spec: AttachSpec, undo: contextlib.AsyncExitStack) -> None:
        """Make the veth pair and plug it in; what was begun is added to `undo`."""
        pair = await self._pair(spec)
        if veth.exists(pair.outside):
            veth.check_free(pair)  # first, so that a cancellation here undoes nothing
        undo.push_async_callback(self.detach, spec.endpoint_id)
        try:
            await self._links.create(pair)
        except ConflictError:
            undo.pop_all()  # what exists serves a container, or is not ours
            raise
        await self._plug(spec.endpoint_id, pair.outside, _labels(spec))

    async def _labelled(self, spec: AttachSpec, undo: contextlib.AsyncExitStack) -> bool:
        """Write the ids of an endpoint that is plugged in but in no container yet; False for any other.

        The VLAN of an access port is stored in two places, so such a port is left as it is.
        """
        interface = open_vswitch.attached(self._ovs.replica, spec.endpoint_id)
        free = veth.is_free(*addressing.link_names(spec.endpoint_id))
        if interface is None or interface.vlan is not None or not free:
            return False
        undo.push_async_callback(self.detach, spec.endpoint_id)
        [labelled] = await self._ovs.request([open_vswitch.set_ids(spec.endpoint_id, _labels(spec))])
        return bool(labelled["count"])

    async def detach(self, endpoint_id: str) -> None:
        """Unplug the endpoint and remove its links; what is gone already is success."""
        outside, _ = addressing.link_names(endpoint_id)
        unplug = [open_vswitch.del_port(endpoint_id)]  # even if the caller is cancelled meanwhile
        await asyncio.gather(self._ovs.request(unplug, unplug), self._links.delete(outside))

    async def plug_again(
        self, network_id: str, endpoint_id: str, mac: str, addresses: Sequence[str], vlan: int | None = None
    ) -> None:
        """Plug in the link of an endpoint that has lost its interface, or restore the interface's ids."""
        outside, _ = addressing.link_names(endpoint_id)
        external_ids = {
            "attached-mac": mac,
            open_vswitch.NETWORK: network_id,
            open_vswitch.ADDRESSES: " ".join(addresses),
        } | ({} if vlan is None else {open_vswitch.VLAN: str(vlan)})
        ids = {open_vswitch.IFACE_ID: endpoint_id} | external_ids
        [labelled] = await self._ovs.transact([open_vswitch.set_ids(endpoint_id, ids)])
        if not labelled["count"]:
            await self._plug(endpoint_id, outside, external_ids)

    async def set_vlan(self, endpoint_id: str, vlan: int) -> None:
        """Move an endpoint's access port, if it is plugged in, to a VLAN."""
        if open_vswitch.attached(self._ovs.replica, endpoint_id) is not None:
            await self._ovs.transact(open_vswitch.set_vlan(endpoint_id, vlan))

    async def links(self) -> frozenset[str]:
        """The names of all links in this network namespace that this driver made."""
        return await self._links.own_names()

    async def remove_link(self, name: str) -> None:
        """Remove a link that belongs to no endpoint, and its other end."""
        await self._links.delete(name)

    async def unguarded(self) -> bool:
        """Whether this host's kernel would handle what containers send, bypassing Open vSwitch."""
        if open_vswitch.datapath(self._ovs.replica, self.bridge) != open_vswitch.NETDEV:
            return False
        return not await self._links.guarded()

    async def guard(self) -> None:
        """Keep the kernel from that; HostError if it refuses."""
        await self._links.guard()

    async def bridges(self) -> tuple[Bridge, ...]:
        """All bridges of this host, with the ports on them."""
        return open_vswitch.read_bridges(await self._ovs.request(open_vswitch.bridges_get()))

    def interface(self, endpoint_id: str) -> Attached | None:
        """An endpoint's interface, or None where it is not plugged in."""
        return open_vswitch.attached(self._ovs.replica, endpoint_id)

    def attached(self) -> list[Attached]:
        """Every interface that a driver of this project plugged in."""
        return open_vswitch.all_attached(self._ovs.replica)

    async def superseded(self, network_id: str, endpoint_id: str, addresses: Iterable[str]) -> list[str]:
        """Other endpoints that are plugged in with one of these addresses and whose containers are gone.

        That includes one that was plugged in for a Join that did not come. Docker gives an address of a
        network to one endpoint at a time. After it was killed it has forgotten its endpoints, and sends no
        Leave for them (moby daemon/libnetwork/sandbox_store.go sandboxCleanup). A link vanishes with its
        container, or a moment later.
        """
        wanted = set(addresses)
        rivals = [
            interface
            for interface in self.attached()
            if interface.network_id == network_id
            and interface.endpoint_id != endpoint_id
            and wanted & interface.addresses
        ]
        deadline = asyncio.get_running_loop().time() + LINK_TIMEOUT
        while any(self._in_use(interface) for interface in rivals):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(LINK_PAUSE)
        return [interface.endpoint_id for interface in rivals if not self._in_use(interface)]

    def _in_use(self, interface: Attached) -> bool:
        return veth.exists(interface.name) and not self.waiting(interface.endpoint_id)

    def leftover(self, endpoint_id: str) -> bool:
        """Whether anything of the endpoint is on this host."""
        return self.plugged(endpoint_id) or self.linked(endpoint_id)

    def plugged(self, endpoint_id: str) -> bool:
        """Whether the endpoint has an interface in Open vSwitch."""
        return open_vswitch.attached(self._ovs.replica, endpoint_id) is not None

    def linked(self, endpoint_id: str) -> bool:
        """Whether the endpoint has a link on this host, which vanishes with its container."""
        outside, _ = addressing.link_names(endpoint_id)
        return veth.exists(outside)

    def waiting(self, endpoint_id: str) -> bool:
        """Whether the endpoint is plugged in for a Join that has not come."""
        interface = open_vswitch.attached(self._ovs.replica, endpoint_id)
        if interface is None or not interface.waiting:
            return False
        return veth.is_free(*addressing.link_names(endpoint_id))

    async def _pair(self, spec: AttachSpec) -> VethPair:
        settings = self.settings()
        datapath = open_vswitch.datapath(self._ovs.replica, self.bridge)
        if datapath is None:
            raise HostError(self._no_bridge())
        outside, inside = addressing.link_names(spec.endpoint_id)
        return VethPair(
            outside=outside,
            inside=inside,
            mac=spec.mac,
            mtu=spec.mtu or await self.tunnel_mtu(encrypted=spec.encrypted),
            checksums=datapath != open_vswitch.NETDEV or settings.tso,
            heard=datapath == open_vswitch.NETDEV,
        )

    async def tunnel_mtu(self, *, encrypted: bool) -> int:
        """The smallest MTU that a tunnel endpoint leaves, by the MTU of the interface that has its
        address.
        """
        settings = self.settings()
        encapsulations = list(settings.encapsulations)
        mtus = []
        for address in settings.encap_ips:
            link = await self._links.holding(address)
            underlay = None if link is None or veth.is_loopback(link) else veth.mtu_of(link)
            outer = 6 if ":" in address else 4
            underlay_mtu = underlay or DEFAULT_UNDERLAY_MTU
            mtus.append(addressing.mtu(underlay_mtu, encapsulations, outer, encrypted=encrypted))
        if mtus:
            return min(mtus)
        return addressing.mtu(DEFAULT_UNDERLAY_MTU, encapsulations, 4, encrypted=encrypted)

    async def _plug(self, endpoint_id: str, outside: str, external_ids: Mapping[str, str]) -> None:
        ids = {open_vswitch.IFACE_ID: endpoint_id} | dict(external_ids)
        operations = open_vswitch.add_port(self.bridge, endpoint_id, outside, ids)
        try:
            results = await self._ovs.request(operations)
        except ConstraintError as error:
            if open_vswitch.attached(self._ovs.replica, endpoint_id) is None:
                raise ConflictError(
                    f"Open vSwitch has a port {outside} that is not endpoint {endpoint_id}'s:"
                    f" remove it with 'ovs-vsctl del-port {outside}'"
                ) from error
            return
        if not results[-1]["count"]:
            raise HostError(self._no_bridge())

    async def progress(self, endpoint_id: str) -> Progress:
        """How far OVN has got with an endpoint that is plugged in."""
        results = await self._ovs.request(open_vswitch.progress_get(self.bridge))
        return open_vswitch.read_progress(results, endpoint_id)

    async def tunnels(self) -> tuple[Tunnel, ...]:
        """The tunnels to all other hosts."""
        return open_vswitch.read_tunnels(await self._ovs.request(open_vswitch.tunnels_get()))

    async def _installed(
        self, endpoint_id: str, outside: str, cause: Callable[[], Awaitable[str]] | None
    ) -> None:
        """Wait until the switch forwards packets through the port.

        ovn-controller(8): external_ids:ovn-installed is set when all of the interface's flows are installed.
        """

        def verdict() -> str | None:
            interface = open_vswitch.attached(self._ovs.replica, endpoint_id)
            if interface is None:
                return None
            return "" if interface.installed else interface.error or None

        try:
            async with asyncio.timeout(INSTALL_TIMEOUT):
                error = await self._ovs.replica.until(verdict)
        except TimeoutError:
            interface = open_vswitch.attached(self._ovs.replica, endpoint_id)
            if cause is None or interface is None or interface.ofport is None:
                raise HostError(
                    f"Open vSwitch did not configure {outside} of endpoint {endpoint_id} within"
                    f" {INSTALL_TIMEOUT:g} s: check that ovs-vswitchd is running"
                ) from None
            raise HostError(
                f"OVN did not install the flows of endpoint {endpoint_id} within {INSTALL_TIMEOUT:g} s:"
                f" {await cause()}"
            ) from None
        if error:
            raise HostError(f"Open vSwitch could not use {outside} of endpoint {endpoint_id}: {error}")

    def _no_bridge(self) -> str:
        if self._bridge:
            return (
                f"this host has no bridge {self.bridge}: put the machine's interface on one, as"
                " docs/how-to/underlay.md shows in section 2"
            )
        return f"this host has no bridge {self.bridge}: ovn-controller makes it, see whether it runs"


def _labels(spec: AttachSpec) -> dict[str, str]:
    return {"attached-mac": spec.mac} | dict(spec.external_ids)
