"""This host's ends of gateway ports: internal ports of the integration bridge, with their addresses.

Open_vSwitch keeps the port over a reboot. Its addresses and its state are the kernel's, and have to be set
again.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.addressing import IPInterface, IPNetwork
from ovn_docker.errors import ConstraintError, HostError
from ovn_docker.host import open_vswitch, veth
from ovn_docker.host.open_vswitch import GatewayLink
from ovn_docker.host.veth import NO_LINK_LOCAL, Links
from ovn_docker.ovsdb.client import Client

OPEN, SEALED = "og-", "oi-"
"""How the names of links begin by which packets leave a network, and of those by which none does; the rules
of ruleset.py go by them."""

DIGITS = 12
"""Of the gateway port's row id in the name of a link: `addressing.LINK_NAME` less the beginning."""

CREATE_TIMEOUT = 4.0
"""Seconds for ovs-vswitchd to make a link, which takes 30 ms."""

IFF_UP = 0x1
"""linux/if.h."""

IPV6 = 6

NO_DAD = 0x02
"""IFA_F_NODAD: nobody else of the network can have the gateway's address (linux/if_addr.h)."""

MAIN_TABLE, UNICAST = 254, 1
"""RT_TABLE_MAIN and RTN_UNICAST (linux/rtnetlink.h)."""


def link_name(port: UUID, *, sealed: bool) -> str:
    """The name of the link of a gateway port, by the port's row id in Northbound."""
    return (SEALED if sealed else OPEN) + port.hex[:DIGITS]


def interfaces(link: GatewayLink) -> tuple[IPInterface, ...]:
    """The addresses that a link is to have.

    With IPv6 the link-local one is among them: the kernel asks with it for the MAC address of a container
    that it forwards to, and asks nobody without one (linux net/ipv6/ndisc.c, ndisc_solicit).
    """
    found = tuple(map(ipaddress.ip_interface, link.addresses))
    if any(interface.version == IPV6 for interface in found):
        found += (addressing.link_local(link.mac),)
    return found


class GatewayLinks:
    """The gateway ports of this host; `ovs` watches `open_vswitch.WATCHES`."""

    def __init__(self, ovs: Client, links: Links) -> None:
        self._ovs = ovs
        self._links = links

    def all(self) -> list[GatewayLink]:
        """Those that are in Open_vSwitch."""
        return open_vswitch.gateway_links(self._ovs.replica)

    def of(self, switch: str) -> GatewayLink | None:
        """That of a switch, by its row id."""
        return next((link for link in self.all() if link.switch == switch), None)

    async def find(self, switch: str) -> GatewayLink | None:
        """That of a switch, also when this process has just started and has yet to read Open_vSwitch."""
        await self._ovs.available()
        return self.of(switch)

    async def until_one(self, driver: str) -> None:
        """Wait until Open_vSwitch has one that this driver made."""
        await self._ovs.replica.until(lambda: any(link.driver == driver for link in self.all()) or None)

    def is_up(self, switch: str) -> bool:
        """Whether the link of a switch exists and is up; 20 µs."""
        link = self.of(switch)
        if link is None:
            return False
        try:
            flags = int(Path(veth.SYSFS, link.name, "flags").read_text(), 16)
        except (OSError, ValueError):
            return False
        return bool(flags & IFF_UP)

    async def ensure(self, bridge: str, link: GatewayLink) -> None:
        """Make the port and set up its link, as far as that is not done.

        Raises:
            HostError: ovs-vswitchd or the kernel did not do its part.
        """
        known = self.of(link.switch)
        if known is not None and (known.name, known.addresses) != (link.name, link.addresses):
            await self.remove(link.switch)
            known = None
        if known is None:
            await self._add(bridge, link)
        await self._made(link)
        await self.set_up(link)

    async def _add(self, bridge: str, link: GatewayLink) -> None:
        try:
            results = await self._ovs.request(open_vswitch.add_gateway_link(bridge, link))
        except ConstraintError as error:
            if self.of(link.switch) is None:
                raise HostError(
                    f"Open vSwitch has a port {link.name} that is not this driver's: remove it with"
                    f" 'ovs-vsctl del-port {link.name}'"
                ) from error
            return
        if not results[-1]["count"]:
            raise HostError(f"Open vSwitch has no bridge {bridge}: see whether ovn-controller runs")

    async def _made(self, link: GatewayLink) -> None:
        def verdict() -> str | None:
            made, error = open_vswitch.gateway_progress(self._ovs.replica, link.switch)
            return "" if made else error or None

        try:
            async with asyncio.timeout(CREATE_TIMEOUT):
                error = await self._ovs.replica.until(verdict)
        except TimeoutError:
            error = f"nothing within {CREATE_TIMEOUT:.0f} s: see whether it runs"
        if error:
            raise HostError(f"ovs-vswitchd did not make link {link.name}: {error}")

    async def set_up(self, link: GatewayLink) -> None:
        """Give a link that exists its addresses, and set it up; HostError if the kernel refuses."""
        addresses = interfaces(link)
        try:
            await self._links.over_netlink(lambda netlink: _set_up(netlink, link.name, addresses))
        except (OSError, _errors()) as error:
            raise HostError(f"gateway link {link.name} could not be set up: {error}") from error

    async def complete(self, link: GatewayLink) -> bool:
        """Whether a link is up and has its addresses."""
        if not self.is_up(link.switch):
            return False
        held = await self._links.over_netlink(lambda netlink: _addresses(netlink, link.name))
        return set(map(str, interfaces(link))) <= held

    async def remove(self, switch: str) -> None:
        """Remove the port of a switch; one that is gone is success."""
        delete = [open_vswitch.del_gateway_link(switch)]
        await self._ovs.request(delete, delete)

    async def overlap(self, pools: Sequence[IPNetwork], but: str) -> str:
        """Which address or route of this host lies in one of these pools, or covers it, for people; or "".

        Those of the link `but` do not count, and a default route does not either.
        """
        return await self._links.over_netlink(lambda netlink: _overlap(netlink, pools, but))


def _errors() -> type[Exception]:
    """pyroute2's own errors."""
    return veth.load_pyroute2().NetlinkError  # type: ignore[no-any-return]


def _index(name: str) -> int:
    return socket.if_nametoindex(name)


def _set_up(netlink: Any, name: str, addresses: Iterable[IPInterface]) -> None:  # noqa: ANN401
    index = _index(name)
    netlink.link("set", index=index, IFLA_AF_SPEC=NO_LINK_LOCAL)
    held = _addresses(netlink, name)
    for interface in addresses:
        if str(interface) not in held:
            flags = {"flags": NO_DAD} if interface.version == IPV6 else {}
            netlink.addr(
                "add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen, **flags
            )
    netlink.link("set", index=index, state="up")


def _addresses(netlink: Any, name: str) -> set[str]:  # noqa: ANN401
    try:
        index = _index(name)
    except OSError:
        return set()
    found = (message for message in netlink.get_addr(index=index) if message["index"] == index)
    return {f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}" for message in found}


def _overlap(netlink: Any, pools: Sequence[IPNetwork], but: str) -> str:  # noqa: ANN401
    for what, network, link in (*_held(netlink), *_routes(netlink)):
        if link != but and any(pool.version == network.version and pool.overlaps(network) for pool in pools):
            return f"{what} {network} is on link {link}" if link else f"{what} {network}"
    return ""


def _held(netlink: Any) -> Iterator[tuple[str, IPNetwork, str]]:  # noqa: ANN401
    for message in netlink.get_addr():
        address = ipaddress.ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        if not address.is_link_local:
            yield "address", ipaddress.ip_network(address), _name(message["index"])


def _routes(netlink: Any) -> Iterator[tuple[str, IPNetwork, str]]:  # noqa: ANN401
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in netlink.get_routes(family=family, table=MAIN_TABLE):
            destination = message.get_attr("RTA_DST")
            if destination is None or message["type"] != UNICAST:
                continue  # the default route, or an unreachable one
            network = ipaddress.ip_network(f"{destination}/{message['dst_len']}")
            if not network.is_link_local and network.prefixlen:
                yield "route", network, _name(message.get_attr("RTA_OIF"))


def _name(index: int | None) -> str:
    try:
        return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""
