"""Which hosts are registered in Northbound: by the list of hosts, and once by going through the table.

Going through DHCP_Options costs the server's only thread 0.6 us for each lease of any host. So it is done
when an operator asks for it, and once where the list is not whole: after an upgrade from a version that had
none, for hosts that have not been upgraded yet, or were dead by then, have not entered themselves.
"""

import contextlib
import logging
from collections.abc import Sequence

from ovn_docker.errors import ConstraintError
from ovn_docker.health.host_rows import AT_ONCE, Database
from ovn_docker.ovn import host_list, hosts
from ovn_docker.ovsdb.operations import in_batches

LOG = logging.getLogger(__name__)


async def listed(database: Database, *, deep: bool = False) -> Sequence[str]:
    """The names of all hosts, in order; of some the row may be gone, see `registered`.

    Args:
        database: Northbound.
        deep: whether to go through the table in any case; then nothing is written.

    Raises:
        DatabaseError: they cannot be read.
    """
    [found] = await database.transact([host_list.list_get()])
    known = host_list.read_list(found["rows"])
    if known.is_whole and not deep:
        return known.names
    [found] = await database.transact([hosts.host_list()])
    names = sorted(map(hosts.read_host, found["rows"]))
    if not deep:
        await _finish(database, names)
    return names


async def registered(database: Database, names: Sequence[str]) -> list[str]:
    """Those that have a row still, for a version without a list strikes nobody out; 50 us for each.

    Raises:
        DatabaseError: they cannot be read.
    """
    there: list[str] = []
    for batch in in_batches(names, AT_ONCE):
        results = await database.transact([hosts.host_get(name) for name in batch])
        there += [name for name, each in zip(batch, results, strict=True) if each["rows"]]
    return there


async def _finish(database: Database, names: Sequence[str]) -> None:
    """Note that these are all; a list that another process makes meanwhile is finished the next time."""
    [done] = await database.transact([host_list.list_finish(names)])
    if not done["count"]:
        with contextlib.suppress(ConstraintError):
            await database.transact([host_list.list_add(names, is_whole=True)])
    LOG.info("the list of hosts in OVN Northbound is whole: it names %d host(s)", len(names))
