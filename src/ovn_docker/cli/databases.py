"""The databases as a command uses them: connected as long as it runs, or an error that says which is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ovn_docker.errors import ConfigError, UnreachableError
from ovn_docker.host import open_vswitch, ovn_settings
from ovn_docker.ovn import southbound
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import parse_remotes
from ovn_docker.ovsdb.tls_files import TlsFiles

REACH_TIMEOUT = 5.0
"""Seconds for a database to be reached."""


@dataclass(frozen=True, slots=True)
class Databases:
    """A client of each: of this host's Open_vSwitch, and of OVN's two where that says they are."""

    ovs: Client
    northbound: Client
    southbound: Client


@contextlib.asynccontextmanager
async def following(ovsdb: str, tls: TlsFiles | None = None) -> AsyncIterator[Databases]:
    """Stay connected to all that answer.

    Args:
        ovsdb: where this host's Open_vSwitch database listens, in OVSDB's spelling.
        tls: files for ``ssl:`` remotes, or None for those that Open_vSwitch names.

    Raises:
        ConfigError: that is no remote.
    """
    try:
        remotes = parse_remotes(ovsdb)
    except ConfigError as error:
        raise ConfigError(f"--ovsdb: {error}") from error
    ovs = Client("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
    nb = Client("OVN Northbound", "OVN_Northbound", {})
    sb = Client("OVN Southbound", "OVN_Southbound", southbound.WATCHES)
    for client in (ovs, nb, sb):
        client.own_tls = tls
        client.service = ovn_settings.SWITCH_SERVICE if client is ovs else ovn_settings.CENTRAL_SERVICE
    ovs.redirect(remotes, why="--ovsdb names no remote")
    work = [
        *(each.run() for each in (ovs, nb, sb)),
        ovn_settings.follow_settings(ovs, nb, ovn_settings.NORTHBOUND),
        ovn_settings.follow_settings(ovs, sb, ovn_settings.SOUTHBOUND),
    ]
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield Databases(ovs, nb, sb)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def reach(client: Client) -> None:
    """Wait until a database answers.

    Raises:
        UnreachableError: it does not in time.
    """
    try:
        async with asyncio.timeout(REACH_TIMEOUT):
            await client.ready()
    except TimeoutError:
        raise UnreachableError(client.outage() or f"{client.title} does not answer") from None
