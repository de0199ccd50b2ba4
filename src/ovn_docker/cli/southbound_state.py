"""What only a command asks OVN Southbound: whether an ovn-northd works on it, and what hosts are called.

An active ovn-northd has a lock there (ovn-northd(8), "Active-Standby for High Availability"). One that is
paused or stands by does not have it. A thousand drivers that asked regularly would be a load.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping

from ovn_docker.cli.databases import reach
from ovn_docker.errors import DatabaseError, UnreachableError
from ovn_docker.health.central_look import RELAY
from ovn_docker.health.findings import SECOND_LOOK, Finding
from ovn_docker.host import ovn_settings
from ovn_docker.ovn import southbound
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.opening import NOT_LEADER

ABSENT_FOR = 5.0
"""Seconds for which nobody has the lock before that is told: a restart of ovn-northd and the election of a
leader are over sooner."""


@contextlib.asynccontextmanager
async def following(ovs: Client) -> AsyncIterator[Client]:
    """A client of Southbound, wherever this host's Open_vSwitch says that it is, and with its TLS files."""
    client = Client("OVN Southbound", "OVN_Southbound", {})
    client.own_tls, client.probe_interval = ovs.own_tls, ovs.probe_interval
    client.service = ovn_settings.CENTRAL_SERVICE
    work = client.run(), ovn_settings.follow_settings(ovs, client, ovn_settings.SOUTHBOUND)
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def findings(ovs: Client, client: Client, absent_for: float = ABSENT_FOR) -> list[Finding]:
    """Southbound cannot be reached from here, or no ovn-northd works on it.

    Nothing is said of ovn-northd where the server cannot know: a relay and a follower of a cluster keep the
    locks of their own clients. ovn-controller is content with either.

    Args:
        ovs: this host's Open_vSwitch, read by now.
        client: of `following`.
        absent_for: seconds for which no ovn-northd is seen before that is told.
    """
    settings = ovn_settings.settings_of(ovs)
    if not settings.southbound:
        return []  # told as setting-missing
    try:
        await reach(client)
    except UnreachableError as error:
        return [] if NOT_LEADER in client.outage() else [_unreachable(str(error))]
    deadline = time.monotonic() + absent_for
    while client.model != RELAY and await _is_free(client):
        if time.monotonic() > deadline:
            return [_absent(settings.southbound)]
        await asyncio.sleep(SECOND_LOOK)
    return []


async def _is_free(client: Client) -> bool:
    """Whether no ovn-northd is active: its lock is ours for a moment, and given back at once."""
    try:
        async with client.lock(southbound.NORTHD_LOCK) as lock:
            return lock.held
    except DatabaseError:  # the server does not let us ask
        return False


def _unreachable(outage: str) -> Finding:
    text = f"{outage}: OVN tells this host nothing new, and whether ovn-northd runs is not known"
    if "systemctl" not in outage:  # that of a unix socket says already what to type
        text += (
            "; if external_ids:ovn-remote is right, type 'systemctl restart ovn-central' on the central host"
        )
    return Finding("southbound-down", "OVN Southbound", text)


def _absent(remotes: str) -> Finding:
    text = (
        f"no ovn-northd works on OVN Southbound ({remotes}), so no new port carries anything on any host:"
        " on the central host type 'systemctl restart ovn-northd', or without systemd"
        " '/usr/share/ovn/scripts/ovn-ctl start_northd', or, if it is paused,"
        " 'ovn-appctl -t ovn-northd resume' and then 'ovn-appctl -t ovn-northd status'"
    )
    return Finding("northd-down", "ovn-northd", text)


async def hostnames(client: Client, chassis: Collection[str]) -> Mapping[str, str]:
    """What hosts call themselves, by their names in OVN; nothing where that cannot be asked."""
    if not chassis or not client.connected:
        return {}
    try:
        results = await client.transact([southbound.hostname_get(each) for each in chassis])
    except DatabaseError:
        return {}
    return southbound.read_hostnames(row for result in results for row in result["rows"])
