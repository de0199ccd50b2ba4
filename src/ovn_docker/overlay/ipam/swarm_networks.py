"""The end of a swarm's network in its pools: when the swarm frees it, or an operator does for it."""

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from ovn_docker.errors import RequirementError
from ovn_docker.ovn import leases, swarms, switches
from ovn_docker.ovsdb.operations import Operation


class Database(Protocol):
    """Northbound."""

    async def transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Do these; see `ovn_docker.ovsdb.client.Client.transact`."""


async def uses(database: Database, network_id: str) -> list[str]:
    """The pools and reserved addresses that a swarm's network stands in."""
    [found] = await database.transact([swarms.network_uses(network_id)])
    return sorted(row["cidr"] for row in found["rows"])


async def free(database: Database, network_id: str) -> None:
    """Strike a swarm's network out of its pools, and remove its own switch if no port is on it.

    With the last user of a pool go its reserved addresses and the swarm's leases that no host uses.
    """
    [found] = await database.transact([swarms.network_uses(network_id)])
    for row in found["rows"]:
        leave = leases.leave(switches.read_uuid(row), [network_id])
        _, went = await database.transact(leave, leave)
        if went["count"] and "/" in row["cidr"]:
            await forget(database, switches.read_marks(row)[leases.POOL])
    delete = [switches.ls_del(switches.switch_id(network_id))]
    await database.transact(delete, delete)


async def forget(database: Database, key: str) -> None:
    """Remove what a pool that went had reserved, unless another host made the pool again."""
    with contextlib.suppress(RequirementError):
        await database.transact(leases.reserved_del(key))
