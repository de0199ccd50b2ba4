"""The trunk of the virtual machine's port: which VLAN each endpoint's port has.

Neutron is the lock: it refuses a VLAN that is taken on a trunk, whoever took it, and another is tried.
Several changes of one trunk at a time make Neutron repeat its own transactions for up to half a minute, so
they wait for each other here, and all that have come meanwhile are one request.

Source: Networking API v2.0, "Trunks".
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ovn_docker.errors import ConflictError, NeutronError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import FIRST_VLAN, LAST_VLAN, NeutronPort, Trunk

DUPLICATE, IN_USE, NOT_THERE = "DuplicateSubPort", "TrunkPortInUse", "SubPortNotFound"
"""Neutron's names for: the VLAN is taken, the port is under a trunk, it is not."""

ATTEMPTS = 8
"""How often another VLAN is tried when somebody else was faster."""

Waiting = tuple[str, "asyncio.Future[int]"]
Change = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]


class TrunkPorts:
    """The ports under one virtual machine's port."""

    def __init__(self, neutron: Neutron, host: str) -> None:
        """Use the trunk of this port; it is made when it is needed first."""
        self._neutron = neutron
        self._host = host
        self._trunk = ""
        self._adding: list[Waiting] = []
        self._removing: list[Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:  # noqa: ARG002  (all are one request)
        """The VLAN of each port under the trunk, by the port's id."""
        trunk = await self._known() or await self.find()
        return {} if trunk is None else trunk.vlans

    async def prepare(self) -> None:
        """Make the trunk unless it is there; raises as `read`."""
        await self.read()

    async def read(self) -> Trunk:
        """The trunk as it is now.

        Raises:
            NeutronError: it cannot be made, or the port is not one that this project may use.
        """
        trunk = await self._known() or await self.find() or await self._make()
        self._trunk = trunk.id
        return trunk

    async def _known(self) -> Trunk | None:
        """The trunk that was used last, or None when there is none or it is gone."""
        if not self._trunk:
            return None
        try:
            found = await self._neutron.get(f"trunks/{self._trunk}")
        except NeutronError as error:
            if error.status != 404:  # noqa: PLR2004
                raise
            return None
        return resources.read_trunk(found["trunk"])

    async def find(self) -> Trunk | None:
        """The trunk, or None while there is none, or in a cloud that has no trunks."""
        try:
            found = await self._neutron.get("trunks", {"port_id": self._host})
        except NeutronError as error:
            if error.status != 404:  # noqa: PLR2004
                raise
            return None
        return next(map(resources.read_trunk, found["trunks"]), None)

    async def _make(self) -> Trunk:
        """Make the trunk, unless others have their VLANs without one (vlans.py)."""
        await self._check_claims()
        trunk = await self._post()
        try:
            await self._check_claims()
        except ConflictError:
            await self._neutron.delete(f"trunks/{trunk.id}")
            raise
        return trunk

    async def _check_claims(self) -> None:
        query = {"description": resources.mark(self._host), "fields": "device_id"}
        for each in (await self._neutron.get("ports", query))["ports"]:
            if resources.claimed(each["device_id"], self._host) is not None:
                raise ConflictError(
                    f"port {self._host} (OS_VIF_ID) has child ports by binding:profile, whose VLANs a"
                    " trunk would use twice: start the driver with --child-ports profile, or remove those"
                    " containers"
                )

    async def _post(self) -> Trunk:
        body = {
            "port_id": self._host,
            "name": f"docker-{self._host}",
            "description": resources.mark(self._host),
        }
        try:
            made = await self._neutron.post("trunks", {"trunk": body})
        except NeutronError as error:
            trunk = await self.find()  # another driver on this port was faster
            if trunk is None:
                raise NeutronError(
                    f"port {self._host} (OS_VIF_ID) cannot have a trunk: {error}", error.status, error.kind
                ) from error
            return trunk
        return resources.read_trunk(made["trunk"])

    async def add(self, port: NeutronPort) -> int:
        """Put a port under the trunk and return its VLAN; one that is there keeps its own.

        Raises:
            NeutronError: Neutron refused.
            ConflictError: there are child ports without a trunk.
            RequestError: no VLAN is free.
        """
        return await self._ask(self._adding, port.id)

    async def remove(self, port_id: str) -> None:
        """Take a port from under the trunk; one that is not there is success.

        Raises:
            NeutronError: Neutron refused.
        """
        await self._ask(self._removing, port_id)

    async def let_go(self, port_id: str) -> None:
        """Take a port from under the trunk before it is removed, which Neutron would refuse."""
        await self.remove(port_id)

    async def _ask(self, queue: list[Waiting], port_id: str) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        queue.append((port_id, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._adding or self._removing:
            removing, self._removing = _wanted(self._removing), []
            await self._together(removing, self._remove)
            adding, self._adding = _wanted(self._adding), []
            await self._together(adding, self._add)

    async def _together(self, waiting: Sequence[Waiting], change: Change) -> None:
        """Make one change for all; what is refused for all is tried for each."""
        if not waiting:
            return
        try:
            vlans = await change([port_id for port_id, _ in waiting])
        except NeutronError as error:
            if len(waiting) > 1:
                for each in waiting:
                    await self._together([each], change)
            else:
                _fail(waiting, error)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is for who waits, and others wait behind them)
            _fail(waiting, error)
        else:
            for port_id, future in waiting:
                if not future.done():
                    future.set_result(vlans.get(port_id, 0))

    async def _add(self, port_ids: Sequence[str]) -> Mapping[str, int]:
        for _ in range(ATTEMPTS):
            trunk = await self.read()
            new = choose_vlans([each for each in port_ids if each not in trunk.vlans], trunk.vlans.values())
            if not new:
                return trunk.vlans
            try:
                await self._neutron.put(f"trunks/{trunk.id}/add_subports", resources.subports(new))
            except NeutronError as error:
                if error.kind != DUPLICATE and (error.kind != IN_USE or len(port_ids) > 1):
                    raise
                last = error
            else:
                return {**trunk.vlans, **new}
        raise last

    async def _remove(self, port_ids: Sequence[str]) -> Mapping[str, int]:
        trunk = await self.find()
        there = [each for each in port_ids if trunk is not None and each in trunk.vlans]
        if trunk is not None and there:
            body = {"sub_ports": [{"port_id": each} for each in there]}
            try:
                await self._neutron.put(f"trunks/{trunk.id}/remove_subports", body)
            except NeutronError as error:
                if error.kind != NOT_THERE or len(there) > 1:
                    raise
        return {}


def choose_vlans(port_ids: Sequence[str], taken: Iterable[int]) -> dict[str, int]:
    """A free VLAN for each port, by chance: so one that was just given back is hardly met again at once.

    Raises:
        RequestError: there are not so many.
    """
    free = sorted(set(range(FIRST_VLAN, LAST_VLAN + 1)) - set(taken))
    if len(free) < len(port_ids):
        raise RequestError("no VLAN is free on this machine's trunk: it has 4094 ports")
    return dict(zip(port_ids, random.sample(free, len(port_ids)), strict=True))


def _wanted(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Those whose caller has not given up."""
    return [each for each in waiting if not each[1].done()]


def _fail(waiting: Sequence[Waiting], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)


# ------------------------------------------------------------------------------------------------------------
# Ports under the virtual machine's port by ``binding:profile``, for an account that may write it: no trunk.
# Neutron guards no VLAN there, so each is claimed first. A claim is the port's device_id; it is written, then
# all claims are looked at, and only who sees the VLAN claimed by nobody else uses it. Of two that claim one,
# at least one looks after the other has written, and takes another: so no two use one. A trunk's VLANs are no
# claims; therefore a machine's port has either a trunk or these. A port is ACTIVE only when it is bound to a
# hypervisor: the machine's. When the machine moves to another, the health check binds its ports there. One
# that Neutron hears to be up before it has bound it stays DOWN there, though packets pass
# (neutron/plugins/ml2/plugin.py, "is not bound"). Source: networking-ovn "Containers"; Networking API v2.0,
# "Ports"; neutron/conf/policies/port.py.


FORBIDDEN, NOT_FOUND = 403, 404


class ProfilePorts:
    """The ports under one virtual machine's port."""

    def __init__(self, neutron: Neutron, host: str) -> None:
        """Put ports under this one."""
        self._neutron = neutron
        self._host = host

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:
        """The VLAN of each port that is under the machine's, by the port's id.

        Args:
            endpoint_id: whose port is asked for, or "" for all that are on the machine's hypervisor.
        """
        if endpoint_id:
            first, later = resources.queries(endpoint_id)
            ports = await self._own(**first) or await self._own(**later)
        else:
            every, hypervisor = await asyncio.gather(self._own(), self._hypervisor())
            ports = [each for each in every if each.hypervisor == hypervisor]
        return {each.id: each.vlan for each in ports if each.parent == self._host and each.vlan is not None}

    async def prepare(self) -> None:
        """Nothing: there is no trunk."""

    async def _hypervisor(self) -> str:
        """That the machine is on."""
        found = await self._neutron.get(f"ports/{self._host}", {"fields": resources.HYPERVISOR})
        return str(found["port"].get(resources.HYPERVISOR) or "")

    async def _own(self, **query: str) -> list[NeutronPort]:
        found = await self._neutron.get("ports", {"description": resources.mark(self._host), **query})
        return [resources.read_port(each) for each in found["ports"]]

    async def add(self, port: NeutronPort) -> int:
        """Put a port under the machine's and return its VLAN; one that is there keeps its own.

        Raises:
            NeutronError: this account may not, or Neutron refused for another reason.
            ConflictError: the machine's port has a trunk.
            RequestError: no VLAN is free.
        """
        hypervisor = await self._hypervisor()
        if port.parent == self._host and port.vlan is not None:
            if port.hypervisor != hypervisor:
                await self._bind(port, port.vlan, hypervisor)
            return port.vlan
        vlan = resources.claimed(port.device, self._host)
        if vlan is None:
            vlan = choose_vlans([port.id], [])[port.id]
            await self._claim(port, vlan)
        for _ in range(ATTEMPTS):
            others = await self._others(port)
            if vlan not in others:
                await self._bind(port, vlan, hypervisor)
                return vlan
            vlan = choose_vlans([port.id], others)[port.id]
            await self._claim(port, vlan)
        raise ConflictError(f"no VLAN could be had for port {port.id}: others took each one at the same time")

    async def _claim(self, port: NeutronPort, vlan: int) -> None:
        body = resources.changed_port(device_id=resources.claim(self._host, vlan))
        await self._neutron.put(f"ports/{port.id}", body)

    async def _others(self, port: NeutronPort) -> set[int]:
        """The VLANs that other ports claim or have."""
        ports, trunk = await asyncio.gather(self._claimants(), self._trunk())
        if trunk:
            raise ConflictError(
                f"port {self._host} (OS_VIF_ID) has trunk {trunk}, whose VLANs would be used twice: start the"
                " driver with --child-ports trunk, or remove the trunk"
            )
        others = [each for each in ports if each.id != port.id]
        vlans = (resources.claimed(each.device, self._host) or each.vlan for each in others)
        return {each for each in vlans if each is not None}

    async def _claimants(self) -> list[NeutronPort]:
        """All of our ports."""
        found = await self._neutron.get("ports", {"description": resources.mark(self._host)})
        return [resources.read_port(each) for each in found["ports"]]

    async def _trunk(self) -> str:
        """The id of the trunk of the machine's port, or ""; not every cloud has trunks."""
        try:
            found = await self._neutron.get("trunks", {"port_id": self._host, "fields": "id"})
        except NeutronError as error:
            if error.status != NOT_FOUND:
                raise
            return ""
        return next((str(each["id"]) for each in found["trunks"]), "")

    async def _bind(self, port: NeutronPort, vlan: int, hypervisor: str) -> None:
        body = resources.changed_port(**resources.child(self._host, vlan, hypervisor))
        try:
            await self._neutron.put(f"ports/{port.id}", body)
        except NeutronError as error:
            if error.status != FORBIDDEN:
                raise
            raise NeutronError(
                f"this account may not write binding:profile, as --child-ports profile needs: {error}",
                error.status,
                error.kind,
            ) from error

    async def remove(self, port_id: str) -> None:
        """Take a port from under the machine's; one that is not there is success.

        Raises:
            NeutronError: Neutron refused.
        """
        try:
            await self._neutron.put(f"ports/{port_id}", resources.changed_port(**resources.no_child()))
        except NeutronError as error:
            if error.status != NOT_FOUND:
                raise

    async def let_go(self, port_id: str) -> None:
        """Nothing: a port may be removed as it is, and has its VLAN until then."""


# --- How endpoints' ports are under the virtual machine's: what a trunk and binding:profile have in common. -


class ChildPorts(Protocol):
    """The ports under one virtual machine's port, each with a VLAN that no other of them has."""

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:
        """The VLAN of each port, by the port's id.

        Args:
            endpoint_id: whose port is asked for, or "" for all; there may be more in the answer.
        """

    async def prepare(self) -> None:
        """See to it that ports can be put under the machine's: make the trunk where one is used.

        Raises:
            NeutronError: Neutron refused.
            ConflictError: the machine's port has children of the other kind.
        """

    async def add(self, port: NeutronPort) -> int:
        """Put a port under the machine's and return its VLAN; one that is there keeps its own.

        Raises:
            NeutronError: Neutron refused.
            ConflictError: the machine's port has children of the other kind.
            RequestError: no VLAN is free.
        """

    async def remove(self, port_id: str) -> None:
        """Take a port from under the machine's; one that is not there is success.

        Raises:
            NeutronError: Neutron refused.
        """

    async def let_go(self, port_id: str) -> None:
        """See to it that Neutron does not refuse to remove a port.

        Raises:
            NeutronError: Neutron refused.
        """
