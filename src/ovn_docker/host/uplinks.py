"""Puts an interface of this host on a bridge, with its addresses on the bridge, and takes it off again.

What fails is taken back in the reverse order; what a kill left half-way is completed by a repeat. The host is
out of reach from the moment when Open vSwitch has the interface until its addresses are on the bridge.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ovn_docker.errors import ConflictError, HostError, NotFoundError, OvnDockerError
from ovn_docker.host import addresses, open_vswitch, veth
from ovn_docker.host.addresses import Addresses, LinkState
from ovn_docker.host.open_vswitch import NETDEV, SYSTEM, Bridge
from ovn_docker.ovsdb.client import Client

LOG = logging.getLogger(__name__)

TIMEOUT, PAUSE = 10.0, 0.01
"""Seconds for ovs-vswitchd to do its part, and between two looks at a link."""


class Uplinks:
    """Interfaces of this host that are on bridges, or are to be."""

    def __init__(
        self,
        ovs: Client,
        links: Addresses,
        patience: float = TIMEOUT,
        begins: Callable[[], object] = lambda: None,
    ) -> None:
        """Work on these.

        Args:
            ovs: watches `open_vswitch.WATCHES`.
            links: of this host.
            patience: seconds for ovs-vswitchd to do its part.
            begins: called when all is seen to be such that it can be done, before the first change.
        """
        self._ovs = ovs
        self._links = links
        self._patience = patience
        self._begins = begins

    async def add(self, link: str, bridge: str, datapath: str = SYSTEM) -> LinkState:
        """Put an interface on a bridge, which is made unless it is there.

        Args:
            link: the interface.
            bridge: the bridge's name.
            datapath: of a bridge that is made.

        Returns:
            What was carried to the bridge; nothing where it had been.

        Raises:
            NotFoundError: there is no such interface.
            ConflictError: the interface, the bridge or a route is not such that it could be done.
            HostError: the kernel or ovs-vswitchd did not do its part; all is as before.
        """
        there = {each.name: each for each in await self._bridges()}
        _check_link(link, bridge, there)
        state = await self._links.read(link)
        found = there.get(bridge)
        on_it = found is not None and any(each.name == link for each in found.ports)
        if on_it and not state:
            return state
        self._begins()
        mac, mtu = veth.macs()[link], veth.mtu_of(link) or 0
        async with contextlib.AsyncExitStack() as undo:
            if not on_it:
                undo.push_async_callback(self._unplug, link, bridge, made=found is None)
                if found is None:
                    await self._ovs.request(open_vswitch.add_bridge(bridge, link, mac, mtu, datapath))
                else:
                    await self._ovs.request(open_vswitch.add_uplink(found, link, mac, mtu))
            await self._in_use(bridge, link)
            if (datapath if found is None else found.datapath) == NETDEV:
                veth.disable_checksums(bridge)
            addresses.copy_advertised(link, bridge)
            undo.push_async_callback(self._carry_back, state, link, bridge)
            undo.callback(addresses.disable_ipv6, link, disabled=False)
            await self._links.carry(state, bridge, link, mtu)
            addresses.disable_ipv6(link, disabled=True)
            undo.pop_all()
        return state

    async def remove(self, bridge: str) -> tuple[str, LinkState]:
        """Give an interface that is on a bridge its addresses again, and remove the bridge.

        Returns:
            The interface and what was carried to it; "" where there is no such bridge.

        Raises:
            ConflictError: something else is on the bridge.
            HostError: the kernel or ovs-vswitchd did not do its part.
        """
        found = next((each for each in await self._bridges() if each.name == bridge), None)
        if found is None:
            return "", LinkState((), ())
        link = _only_uplink(found)
        state = await self._links.read(bridge)
        self._begins()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self._carry_back, state, bridge, link)
            undo.callback(addresses.disable_ipv6, link, disabled=True)
            addresses.disable_ipv6(link, disabled=False)
            await self._links.carry(state, link, bridge)
            await self._ovs.request(open_vswitch.del_bridge(found.row))
            undo.pop_all()
        await self._gone(bridge, link)
        return link, state

    async def _bridges(self) -> tuple[Bridge, ...]:
        return open_vswitch.bridges(await self._ovs.request(open_vswitch.read_all()))

    async def _carry_back(self, state: LinkState, to: str, off: str) -> None:
        try:
            await self._links.carry_back(state, to, off)
        except OvnDockerError as error:
            LOG.warning("not all is back on %s: %s", to, error)

    async def _unplug(self, link: str, bridge: str, *, made: bool) -> None:
        """Take the interface off again; what brought this about is told by whoever asked."""
        operations = (
            open_vswitch.del_bridge(open_vswitch.row_of(bridge))
            if made
            else open_vswitch.del_uplink(bridge, link)
        )
        try:
            await self._ovs.request(operations, operations)
        except OvnDockerError as error:
            LOG.warning("interface %s stays on bridge %s: %s", link, bridge, error)

    async def _in_use(self, bridge: str, link: str) -> None:
        """Wait until ovs-vswitchd has made the bridge and taken up the interface."""

        def verdict() -> str | None:
            rows = self._ovs.replica.rows(open_vswitch.INTERFACE).values()
            found = {str(row.get("name")): open_vswitch.read_attached(row) for row in rows}
            both = [found[name] for name in (bridge, link) if name in found]
            if error := next((each.error for each in both if each.error), ""):
                return error
            return "" if len(both) == 2 and all(each.ofport or each.name == bridge for each in both) else None  # noqa: PLR2004

        try:
            async with asyncio.timeout(self._patience):
                error = await self._ovs.replica.until(verdict)
        except TimeoutError:
            raise HostError(self._not_done(f"did not take up {link}")) from None
        if error:
            raise HostError(f"Open vSwitch could not use interface {link}: {error}")
        await self._until(lambda: veth.exists(bridge), f"did not make {bridge}")

    async def _gone(self, bridge: str, link: str) -> None:
        await self._until(lambda: not veth.exists(bridge), f"did not let go of {link}")

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience
        while not true():
            if asyncio.get_running_loop().time() > deadline:
                raise HostError(self._not_done(what))
            await asyncio.sleep(PAUSE)

    def _not_done(self, what: str) -> str:
        return f"Open vSwitch {what} within {self._patience:g} s: see whether it runs, and its log"


def _check_link(link: str, bridge: str, there: dict[str, Bridge]) -> None:
    """See whether the interface may be put on the bridge."""
    if not veth.exists(link):
        raise NotFoundError(f"this machine has no interface {link}")
    if veth.is_loopback(link) or link in there or link == bridge:
        raise ConflictError(f"interface {link} cannot be put on a bridge: name the one to the outside")
    if bridge not in there and veth.exists(bridge):
        raise ConflictError(f"there is an interface {bridge} that is not a bridge of Open vSwitch")
    for each in there.values():
        if each.name != bridge and any(port.name == link for port in each.ports):
            raise ConflictError(
                f"interface {link} is on bridge {each.name} of Open vSwitch: name that one with --bridge, or"
                f" take it off with 'ovs-vsctl del-port {link}'"
            )
    master = veth.master_of(link)
    if master and not any(port.name == link for each in there.values() for port in each.ports):
        raise ConflictError(f"interface {link} belongs to {master}: put {master} on the bridge")


def _only_uplink(bridge: Bridge) -> str:
    ours = [each.name for each in bridge.ports if each.ours]
    if ours:
        raise ConflictError(
            f"{len(ours)} interface(s) of containers are on bridge {bridge.name}: stop the containers first"
        )
    if len(bridge.others) != 1:
        names = ", ".join(sorted(each.name for each in bridge.others)) or "none"
        raise ConflictError(
            f"bridge {bridge.name} is to have one interface beside its own, it has {names}: take the others"
            " off with 'ovs-vsctl del-port', or remove the bridge with 'ovs-vsctl del-br'"
        )
    return bridge.others[0].name


# --- Lets systemd-networkd keep at the next boot that an interface's addresses are on a bridge. -------------
# Most images of clouds use it, those with netplan too: netplan writes its files (systemd.network(5)). What it
# was told of the interface is told of the bridge in a file that sorts before, and the interface is left
# alone. Open vSwitch itself keeps the bridge.


RUN, ETC = Path("/run/systemd/netif/links"), Path("/etc/systemd/network")
PREFIX = "05-ovn-docker-"
"""Of our files: the first file that matches a link holds, of all directories (systemd.network(5))."""

ALONE = "[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
"""Of an interface that is on a bridge."""

MADE = "# Made by 'ovn-docker uplink add'; 'ovn-docker uplink del' removes it."


def files(texts: Sequence[str], uplink: str, bridge: str, mtu: int) -> Mapping[str, str]:
    """The files that are to be, by name. Pure.

    Args:
        texts: of the file that holds for the interface, and of its drop-ins.
        uplink: the interface.
        bridge: the bridge.
        mtu: of the interface in bytes.
    """
    told = "\n".join(_without_match(each).strip() for each in texts)
    alone = f"[Link]\nMTUBytes={mtu}\nRequiredForOnline=no\n\n{ALONE}"
    return {
        _name(bridge): f"{MADE}\n[Match]\nName={bridge}\n\n{told}\n",
        _name(uplink): f"{MADE}\n[Match]\nName={uplink}\n\n{alone}",
    }


def _name(link: str) -> str:
    return f"{PREFIX}{link}.network"


def _without_match(text: str) -> str:
    """A file without its [Match] section."""
    return re.sub(r"^\[Match\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|$))*", "", text, flags=re.MULTILINE)


class Networkd:
    """The files of systemd-networkd."""

    def __init__(self, run: Path = RUN, etc: Path = ETC) -> None:
        """Read what holds in `run`, and write to `etc`."""
        self._run = run
        self._etc = etc

    def keep(self, index: int, uplink: str, bridge: str, mtu: int) -> None:
        """Write the files, whatever they were.

        Args:
            index: of the interface, by which systemd-networkd knows it.
            uplink: its name.
            bridge: the bridge.
            mtu: of the interface in bytes.

        Raises:
            HostError: systemd-networkd was told nothing of the interface, or a file cannot be written.
        """
        if self.kept(bridge):
            return
        for name, text in files(self._texts(index, uplink), uplink, bridge, mtu).items():
            try:
                self._etc.mkdir(parents=True, exist_ok=True)
                (self._etc / name).write_text(text, encoding="utf-8")
            except OSError as error:
                self.forget(uplink, bridge)
                raise HostError(f"{self._etc / name} cannot be written: {error.strerror}") from error

    def kept(self, bridge: str) -> bool:
        """Whether there is a file of ours for a bridge."""
        return (self._etc / _name(bridge)).exists()

    def forget(self, uplink: str, bridge: str) -> None:
        """Remove the files; what is gone is success.

        Raises:
            HostError: one cannot be removed.
        """
        for file in (self._etc / _name(bridge), self._etc / _name(uplink)):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise HostError(f"{file} cannot be removed: {error.strerror}") from error

    def _texts(self, index: int, uplink: str) -> list[str]:
        """What systemd-networkd was told of a link (sd-network: NETWORK_FILE and its drop-ins)."""
        known: dict[str, str] = {}
        with contextlib.suppress(OSError):
            lines = (self._run / str(index)).read_text(encoding="utf-8").splitlines()
            known = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
        file = known.get("NETWORK_FILE", "")
        if not file:
            raise HostError(
                f"systemd-networkd does not manage {uplink}, so --persist cannot be used: keep the addresses"
                " on the bridge as your distribution does it"
            )
        names = [file, *known.get("NETWORK_FILE_DROPINS", "").split(":")]
        try:
            return [Path(each).read_text(encoding="utf-8") for each in names if each]
        except OSError as error:
            raise HostError(f"{error.filename} cannot be read: {error.strerror}") from error
