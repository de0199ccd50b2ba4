"""An endpoint's attachment to a bridge of this host: veth pair and OVS port as one act.

Knows the host's Open_vSwitch database and links, and nothing of Docker's messages or of Northbound. What it
makes in two steps it also unmakes when the second fails.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ovn_docker import addressing
from ovn_docker.errors import ConflictError, ConstraintError, HostError
from ovn_docker.host import open_vswitch, veth
from ovn_docker.host.open_vswitch import Attached, Bridge, OvnSettings, Progress, Tunnel
from ovn_docker.host.ovn_settings import settings_of
from ovn_docker.host.veth import Links, VethPair
from ovn_docker.ovsdb.client import Client

DEFAULT_UNDERLAY_MTU = 1500
"""Bytes; Ethernet's, for a tunnel endpoint whose interface cannot be told or is the loopback."""

INSTALL_TIMEOUT = 8.5
"""Seconds for ovs-vswitchd and ovn-controller to install an interface's flows.

After an outage OVN's own programs wait up to 8 s before they connect again (ovs lib/reconnect.c), and a verb
has 9 s (libnetwork/server.py), of which telling why takes a quarter of a second.
"""

LINK_TIMEOUT, LINK_PAUSE = 2.0, 0.02
"""Seconds to wait for the link of a container that has ended, and between two looks."""


@dataclass(frozen=True, slots=True)
class AttachSpec:
    """What to attach.

    Attributes:
        endpoint_id: names the veth pair and, as iface-id, the logical port.
        mac: of the container's end.
        mtu: of both ends in bytes, or None for what the tunnel leaves.
        external_ids: further keys for the Interface row; with `open_vswitch.VLAN` it is an access port.
        encrypted: whether tunnels are.
    """

    endpoint_id: str
    mac: str
    mtu: int | None
    external_ids: Mapping[str, str]
    encrypted: bool = False


class Attachments:
    """The endpoints that are plugged into this host."""

    def __init__(self, ovs: Client, links: Links, bridge: str = "") -> None:
        """Use a client that watches `open_vswitch.WATCHES`; by default plug into the integration bridge."""
        self._ovs = ovs
        self._links = links
        self._bridge = bridge

    @property
    def bridge(self) -> str:
        """The bridge that endpoints are plugged into."""
        return self._bridge or self.settings().bridge

    def settings(self) -> OvnSettings:
        """How this host takes part in OVN, as its database says now."""
        return settings_of(self._ovs)

    async def known_settings(self) -> OvnSettings:
        """Likewise, once the database has been read for the first time.

        Raises:
            UnreachableError: it cannot be, and has not been for long.
        """
        if not self._ovs.replica.rows(open_vswitch.ROOT):
            await self._ovs.available()
        return await self._ovs.replica.until(
            lambda: self.settings() if self._ovs.replica.rows(open_vswitch.ROOT) else None
        )

    def outage(self) -> str:
        """Why Open vSwitch cannot be reached, or ""."""
        return self._ovs.outage()

    def by_network(self) -> dict[str, dict[str, dict[str, str]]]:
        """What is attached here: by network, then by link, for people."""
        networks: dict[str, dict[str, dict[str, str]]] = {}
        for each in self.attached():
            networks.setdefault(each.network_id, {})[each.name] = {
                "OVSPort": each.name,
                "EndpointID": each.endpoint_id,
                "MacAddress": each.external_ids.get("attached-mac", ""),
                "SandboxID": each.external_ids.get(open_vswitch.SANDBOX, ""),
                "Added": each.external_ids.get(open_vswitch.CREATED, ""),
                "Error": each.error,
            }
        return networks

    async def attach(self, wish: AttachSpec, cause: Callable[[], Awaitable[str]] | None = None) -> str:
        """Make the veth pair and plug it in; return the name of the container's end once its flows are in.

        Args:
            wish: what to attach.
            cause: asked why OVN's flows do not come, while the port is there still; None for a bridge that
                is not OVN's.

        Raises:
            HostError: the kernel, ovs-vswitchd or ovn-controller did not do its part; nothing is left.
            ConflictError: a name is taken by somebody else.
        """
        outside, inside = addressing.link_names(wish.endpoint_id)
        async with contextlib.AsyncExitStack() as undo:
            if not await self._labelled(wish, undo):
                await self._make(wish, undo)
            await self._installed(wish.endpoint_id, outside, cause)
            undo.pop_all()
            return inside

    async def plug_in(self, wish: AttachSpec) -> None:
        """Do what `attach` begins with, for it to find: make the veth pair and plug it in.

        Nothing is done where anything of the endpoint is there, or while Open vSwitch is away.

        Raises:
            HostError: the kernel or Open vSwitch did not do its part; nothing is left.
            ConflictError: a name is taken by somebody else.
        """
        if self.leftover(wish.endpoint_id) or self.outage():
            return
        async with contextlib.AsyncExitStack() as undo:
            await self._make(wish, undo)
            undo.pop_all()

    async def _make(self, wish: AttachSpec, undo: contextlib.AsyncExitStack) -> None:
        """Make the veth pair and plug it in; `undo` is told of what is begun."""
        pair = await self._pair(wish)
        if veth.exists(pair.outside):
            veth.check_free(pair)  # before anything is undone, which a caller who gives up asks for
        undo.push_async_callback(self.detach, wish.endpoint_id)
        try:
            await self._links.create(pair)
        except ConflictError:
            undo.pop_all()  # what is there serves a container, or is not ours
            raise
        await self._plug(wish.endpoint_id, pair.outside, _labels(wish))

    async def _labelled(self, wish: AttachSpec, undo: contextlib.AsyncExitStack) -> bool:
        """Write the ids of an endpoint that is plugged in and that no container has yet; False for another.

        The VLAN of an access port stands in two places, so such a port is left as it is.
        """
        interface = open_vswitch.attached(self._ovs.replica, wish.endpoint_id)
        free = veth.is_free(*addressing.link_names(wish.endpoint_id))
        if interface is None or interface.vlan is not None or not free:
            return False
        undo.push_async_callback(self.detach, wish.endpoint_id)
        [labelled] = await self._ovs.request([open_vswitch.set_ids(wish.endpoint_id, _labels(wish))])
        return bool(labelled["count"])

    async def detach(self, endpoint_id: str) -> None:
        """Unplug the endpoint and remove its links; what is gone already is success.

        Raises:
            HostError: the kernel refused.
        """
        outside, _ = addressing.link_names(endpoint_id)
        unplug = [open_vswitch.del_port(endpoint_id)]  # also when the caller has given up by then
        await asyncio.gather(self._ovs.request(unplug, unplug), self._links.delete(outside))

    async def plug_again(
        self, network_id: str, endpoint_id: str, mac: str, addresses: Sequence[str], vlan: int | None = None
    ) -> None:
        """Plug in the link of an endpoint that has lost its interface, or give the interface its ids again.

        Raises:
            HostError: there is no integration bridge.
            ConflictError: the link's name is taken in Open vSwitch.
        """
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
        """See to it that an endpoint's access port, if it is plugged in, is one of this VLAN."""
        if open_vswitch.attached(self._ovs.replica, endpoint_id) is not None:
            await self._ovs.transact(open_vswitch.set_vlan(endpoint_id, vlan))

    async def links(self) -> frozenset[str]:
        """The names of all links that this driver made and that are in this network namespace."""
        return await self._links.ours()

    async def remove_link(self, name: str) -> None:
        """Remove a link that belongs to nothing; its other end goes with it."""
        await self._links.delete(name)

    async def unguarded(self) -> bool:
        """Whether this host's kernel would serve what containers send past Open vSwitch."""
        if open_vswitch.datapath(self._ovs.replica, self.bridge) != open_vswitch.NETDEV:
            return False
        return not await self._links.guarded()

    async def guard(self) -> None:
        """See to it that it does not.

        Raises:
            HostError: the kernel refused.
        """
        await self._links.guard()

    async def bridges(self) -> tuple[Bridge, ...]:
        """All bridges of this host, with the ports on them.

        Raises:
            UnreachableError: Open vSwitch's database cannot be read.
        """
        return open_vswitch.read_bridges(await self._ovs.request(open_vswitch.bridges_get()))

    def attached(self) -> list[Attached]:
        """Every interface that carries our mark."""
        return open_vswitch.all_attached(self._ovs.replica)

    async def superseded(self, network_id: str, endpoint_id: str, addresses: Iterable[str]) -> list[str]:
        """Other endpoints that are plugged in with one of these addresses and whose containers are gone.

        So is one that was plugged in for a Join that did not come.

        Docker gives an address of a network to one endpoint at a time. When it was killed it has forgotten
        the endpoints that it had, and asks for no Leave of theirs (moby daemon/libnetwork/sandbox_store.go
        sandboxCleanup). A link goes with its container, or a moment later.
        """
        wanted = set(addresses)
        others = [
            each
            for each in self.attached()
            if each.network_id == network_id and each.endpoint_id != endpoint_id and wanted & each.addresses
        ]
        deadline = asyncio.get_running_loop().time() + LINK_TIMEOUT
        while any(self._in_use(each) for each in others):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(LINK_PAUSE)
        return [each.endpoint_id for each in others if not self._in_use(each)]

    def _in_use(self, interface: Attached) -> bool:
        return veth.exists(interface.name) and not self.waiting(interface.endpoint_id)

    def leftover(self, endpoint_id: str) -> bool:
        """Whether anything of the endpoint is still on this host."""
        return self.plugged(endpoint_id) or self.linked(endpoint_id)

    def plugged(self, endpoint_id: str) -> bool:
        """Whether the endpoint has an interface in Open vSwitch."""
        return open_vswitch.attached(self._ovs.replica, endpoint_id) is not None

    def linked(self, endpoint_id: str) -> bool:
        """Whether the endpoint has a link on this host, which goes with its container."""
        outside, _ = addressing.link_names(endpoint_id)
        return veth.exists(outside)

    def waiting(self, endpoint_id: str) -> bool:
        """Whether the endpoint is plugged in for a Join that has not come."""
        interface = open_vswitch.attached(self._ovs.replica, endpoint_id)
        if interface is None or not interface.waiting:
            return False
        return veth.is_free(*addressing.link_names(endpoint_id))

    async def _pair(self, wish: AttachSpec) -> VethPair:
        settings = self.settings()
        datapath = open_vswitch.datapath(self._ovs.replica, self.bridge)
        if datapath is None:
            raise HostError(self._no_bridge())
        outside, inside = addressing.link_names(wish.endpoint_id)
        return VethPair(
            outside=outside,
            inside=inside,
            mac=wish.mac,
            mtu=wish.mtu or await self._tunnel_mtu(settings, encrypted=wish.encrypted),
            checksums=datapath != open_vswitch.NETDEV or settings.tso,
            heard=datapath == open_vswitch.NETDEV,
        )

    async def _tunnel_mtu(self, settings: OvnSettings, *, encrypted: bool) -> int:
        """The smallest of what the tunnel endpoints leave, each by the MTU of the interface that holds it."""
        encapsulations = list(settings.encapsulations)
        leaves = []
        for address in settings.encap_ips:
            link = await self._links.holding(address)
            underlay = None if link is None or veth.is_loopback(link) else veth.mtu_of(link)
            bytes_below, outer = underlay or DEFAULT_UNDERLAY_MTU, 6 if ":" in address else 4
            leaves.append(addressing.mtu(bytes_below, encapsulations, outer, encrypted=encrypted))
        if leaves:
            return min(leaves)
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
        """How far OVN has got with an endpoint that is plugged in.

        Raises:
            UnreachableError: Open vSwitch's database cannot be read.
        """
        results = await self._ovs.request(open_vswitch.progress_get(self.bridge))
        return open_vswitch.read_progress(results, endpoint_id)

    async def tunnels(self) -> tuple[Tunnel, ...]:
        """The tunnels to all other hosts.

        Raises:
            UnreachableError: Open vSwitch's database cannot be read.
        """
        return open_vswitch.read_tunnels(await self._ovs.request(open_vswitch.tunnels_get()))

    async def _installed(
        self, endpoint_id: str, outside: str, cause: Callable[[], Awaitable[str]] | None
    ) -> None:
        """Wait until a packet through the port would get through the switch.

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
                    f"Open vSwitch did not take up {outside} of endpoint {endpoint_id} within"
                    f" {INSTALL_TIMEOUT:g} s: see whether ovs-vswitchd runs"
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
                f"this host has no bridge {self.bridge}: make it with 'ovs-vsctl add-br {self.bridge}"
                f" -- add-port {self.bridge} INTERFACE', and move the interface's addresses to it"
            )
        return f"this host has no bridge {self.bridge}: ovn-controller makes it, see whether it runs"


def _labels(wish: AttachSpec) -> dict[str, str]:
    return {"attached-mac": wish.mac} | dict(wish.external_ids)
