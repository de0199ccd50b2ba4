"""The trunk of the virtual machine's port: which VLAN each endpoint's port has.

Neutron is the lock: it refuses a VLAN that is taken on a trunk, whoever took it, and another is tried.
Several changes of one trunk at a time make Neutron repeat its own transactions for up to half a minute, so
they wait for each other here, and all that have come meanwhile are one request.

Source: Networking API v2.0, "Trunks".
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from ovn_docker.errors import ConflictError, NeutronError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import FIRST_VLAN, LAST_VLAN, Port, Trunk

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
        """Make the trunk, unless others have their VLANs without one (profile.py)."""
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

    async def add(self, port: Port) -> int:
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
