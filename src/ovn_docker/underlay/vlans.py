"""The VLAN of each endpoint's port under the virtual machine's port: by a trunk, or by ``binding:profile``.

Source: Networking API v2.0, "Trunks".
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol

from ovn_docker.errors import ConflictError, NeutronError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import FIRST_VLAN, LAST_VLAN, NeutronPort, Trunk

DUPLICATE, IN_USE, NOT_THERE = "DuplicateSubPort", "TrunkPortInUse", "SubPortNotFound"
"""Neutron's names for: the VLAN is taken, the port is under a trunk, it is not."""

ATTEMPTS = 8
"""How often another VLAN is tried after another driver has taken the one that was chosen."""

Waiting = tuple[str, "asyncio.Future[int]"]
Change = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]


class TrunkPorts:
    """Ports under the trunk of the virtual machine's port (`host`), which is created when first needed.

    Neutron is the lock: it refuses a VLAN that is taken on a trunk, and another is tried. Concurrent changes
    of one trunk make Neutron repeat its own transactions for up to half a minute, so changes wait for each
    other here, and those that have come in meanwhile are sent as one request.
    """

    def __init__(self, neutron: Neutron, host: str) -> None:
        self._neutron = neutron
        self._host = host
        self._trunk = ""
        self._adding: list[Waiting] = []
        self._removing: list[Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:  # noqa: ARG002  (all are one request)
        trunk = await self._known() or await self.find()
        return {} if trunk is None else trunk.vlans

    async def prepare(self) -> None:
        await self.read()

    async def read(self) -> Trunk:
        """The trunk as it is now, created if there is none.

        Raises:
            NeutronError: it cannot be created, or the port is not one that this project may use.
            ConflictError: there are child ports without a trunk.
        """
        trunk = await self._known() or await self.find() or await self._make()
        self._trunk = trunk.id
        return trunk

    async def _known(self) -> Trunk | None:
        """The trunk that was used last, or None if there was none or it is gone."""
        if not self._trunk:
            return None
        found = await self._neutron.find(f"trunks/{self._trunk}")
        return None if found is None else resources.read_trunk(found["trunk"])

    async def find(self) -> Trunk | None:
        """The trunk, or None, also in a cloud without the trunk extension."""
        found = await self._neutron.find("trunks", {"port_id": self._host})
        return None if found is None else next(map(resources.read_trunk, found["trunks"]), None)

    async def _make(self) -> Trunk:
        """Create the trunk, unless there are claims of VLANs (`ProfilePorts`), before or after."""
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
        for port in (await self._neutron.get("ports", query))["ports"]:
            if resources.claimed(port["device_id"], self._host) is not None:
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
            trunk = await self.find()  # another driver under this port may have created it
            if trunk is None:
                raise NeutronError(
                    f"port {self._host} (OS_VIF_ID) cannot have a trunk: {error}", error.status, error.kind
                ) from error
            return trunk
        return resources.read_trunk(made["trunk"])

    async def add(self, port: NeutronPort) -> int:
        return await self._enqueue(self._adding, port.id)

    async def remove(self, port_id: str) -> None:
        await self._enqueue(self._removing, port_id)

    async def before_delete(self, port_id: str) -> None:
        """Take a port from under the trunk: Neutron would refuse to delete it."""
        await self.remove(port_id)

    async def _enqueue(self, queue: list[Waiting], port_id: str) -> int:
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
        """Make one change for all; if it is refused, one for each."""
        if not waiting:
            return
        try:
            vlans = await change([port_id for port_id, _ in waiting])
        except NeutronError as error:
            if len(waiting) > 1:
                for one in waiting:
                    await self._together([one], change)
            else:
                _fail(waiting, error)
        except Exception as error:  # noqa: BLE001  (it goes to the caller, and others wait behind it)
            _fail(waiting, error)
        else:
            for port_id, future in waiting:
                if not future.done():
                    future.set_result(vlans.get(port_id, 0))

    async def _add(self, port_ids: Sequence[str]) -> Mapping[str, int]:
        for _ in range(ATTEMPTS):
            trunk = await self.read()
            new = choose_vlans([port for port in port_ids if port not in trunk.vlans], trunk.vlans.values())
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
        present = [port for port in port_ids if trunk is not None and port in trunk.vlans]
        if trunk is not None and present:
            body = {"sub_ports": [{"port_id": port} for port in present]}
            try:
                await self._neutron.put(f"trunks/{trunk.id}/remove_subports", body)
            except NeutronError as error:
                if error.kind != NOT_THERE or len(present) > 1:
                    raise
        return {}


def choose_vlans(port_ids: Sequence[str], taken: Iterable[int]) -> dict[str, int]:
    """A free VLAN for each port, at random, so that one just released is unlikely to be reused at once."""
    free = sorted(set(range(FIRST_VLAN, LAST_VLAN + 1)) - set(taken))
    if len(free) < len(port_ids):
        raise RequestError("no VLAN is free on this machine's trunk: it has 4094 ports")
    return dict(zip(port_ids, random.sample(free, len(port_ids)), strict=True))


def _wanted(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Those whose caller has not been cancelled."""
    return [(port_id, future) for port_id, future in waiting if not future.done()]


def _fail(waiting: Sequence[Waiting], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)


class ProfilePorts:
    """Ports under the virtual machine's port (`host`) by ``binding:profile``, which few accounts may write.

    Neutron guards no VLAN there, so each is claimed first. A claim is the port's device_id. It is written,
    then all claims are read, and the VLAN is used only if no other port claims it. Of two drivers that claim
    one VLAN, at least one reads after the other has written, and takes another. A trunk's VLANs are not
    claims; therefore a machine's port has either a trunk or these.

    A port is ACTIVE only when it is bound to a hypervisor, the machine's. When the machine moves to another,
    the health check binds its ports there. A port that Neutron hears to be up before it has bound it stays
    DOWN, though packets pass (neutron/plugins/ml2/plugin.py, "is not bound").
    Source: networking-ovn "Containers"; Networking API v2.0, "Ports"; neutron/conf/policies/port.py.
    """

    def __init__(self, neutron: Neutron, host: str) -> None:
        self._neutron = neutron
        self._host = host

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:
        """The VLAN of an endpoint's port, or of all that are bound to the machine's hypervisor."""
        if endpoint_id:
            first, later = resources.queries(endpoint_id)
            ports = await self._own(**first) or await self._own(**later)
        else:
            own, hypervisor = await asyncio.gather(self._own(), self._hypervisor())
            ports = [port for port in own if port.hypervisor == hypervisor]
        return {port.id: port.vlan for port in ports if port.parent == self._host and port.vlan is not None}

    async def prepare(self) -> None:
        """Do nothing: there is no trunk."""

    async def _hypervisor(self) -> str:
        found = await self._neutron.get(f"ports/{self._host}", {"fields": resources.HYPERVISOR})
        return str(found["port"].get(resources.HYPERVISOR) or "")

    async def _own(self, **query: str) -> list[NeutronPort]:
        found = await self._neutron.get("ports", {"description": resources.mark(self._host), **query})
        return [resources.read_port(port) for port in found["ports"]]

    async def add(self, port: NeutronPort) -> int:
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
        raise ConflictError(f"port {port.id} got no VLAN: other drivers claimed each one at the same time")

    async def _claim(self, port: NeutronPort, vlan: int) -> None:
        body = resources.changed_port(device_id=resources.claim(self._host, vlan))
        await self._neutron.put(f"ports/{port.id}", body)

    async def _others(self, port: NeutronPort) -> set[int]:
        """The VLANs that other ports claim or have."""
        ports, trunk = await asyncio.gather(self._own(), self._trunk())
        if trunk:
            raise ConflictError(
                f"port {self._host} (OS_VIF_ID) has trunk {trunk}, whose VLANs would be used twice: start the"
                " driver with --child-ports trunk, or remove the trunk"
            )
        others = [other for other in ports if other.id != port.id]
        vlans = (resources.claimed(other.device, self._host) or other.vlan for other in others)
        return {vlan for vlan in vlans if vlan is not None}

    async def _trunk(self) -> str:
        """The id of the trunk of the machine's port, or ""; not every cloud has trunks."""
        found = await self._neutron.find("trunks", {"port_id": self._host, "fields": "id"})
        return "" if found is None else next((str(trunk["id"]) for trunk in found["trunks"]), "")

    async def _bind(self, port: NeutronPort, vlan: int, hypervisor: str) -> None:
        body = resources.changed_port(**resources.child(self._host, vlan, hypervisor))
        try:
            await self._neutron.put(f"ports/{port.id}", body)
        except NeutronError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            raise NeutronError(
                f"this account may not write binding:profile, as --child-ports profile needs: {error}",
                error.status,
                error.kind,
            ) from error

    async def remove(self, port_id: str) -> None:
        try:
            await self._neutron.put(f"ports/{port_id}", resources.changed_port(**resources.no_child()))
        except NeutronError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def before_delete(self, port_id: str) -> None:
        """Do nothing: a port may be deleted as it is, and has its VLAN until then."""


class ChildPorts(Protocol):
    """The ports under the virtual machine's port, each with its own VLAN: `TrunkPorts` or `ProfilePorts`."""

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:
        """VLANs by port id: of at least the endpoint's port, or of all ports."""

    async def prepare(self) -> None:
        """Create the trunk, where one is used and there is none; raises as `add`."""

    async def add(self, port: NeutronPort) -> int:
        """Put a port under the machine's and return its VLAN; one that is under it already keeps its VLAN.

        Raises:
            NeutronError: Neutron refused.
            ConflictError: the machine's port has children of the other kind.
            RequestError: no VLAN is free.
        """

    async def remove(self, port_id: str) -> None:
        """Take a port from under the machine's, if it is under it."""

    async def before_delete(self, port_id: str) -> None:
        """Do what has to be done before Neutron deletes a port."""
