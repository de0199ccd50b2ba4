"""``ovn-docker gc``: lists the hosts in OVN Northbound, and removes what a dead host left there.

Frees a network, too, whose swarm was dissolved, so that no manager does.
"""

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ovn_docker import logs, settings
from ovn_docker.cli.target import REACH_TIMEOUT, Databases, following
from ovn_docker.errors import ConflictError, LockError, NotFoundError, UnreachableError
from ovn_docker.health import host_cleanup, host_liveness
from ovn_docker.health.host_cleanup import AT_ONCE, HostCleanup, Leftovers, remains
from ovn_docker.health.host_liveness import SignOfLife
from ovn_docker.host.ovn_settings import known_settings
from ovn_docker.overlay.ipam import ipam_driver
from ovn_docker.ovn import hosts, southbound
from ovn_docker.ovn.hosts import LastSeen
from ovn_docker.ovsdb.operations import in_batches
from ovn_docker.ovsdb.remotes import TlsFiles
from ovn_docker.settings import Program

_EPILOG = """\
Without --host and --swarm-network, lists the hosts in OVN Northbound, and whether each is still in OVN.
Exit status: 0 when it is done or there is nothing to do, 1 after an error, 2 for a wrong flag.
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """One host of the list.

    Attributes:
        host: its ``system-id``.
        chassis: whether OVN Southbound has it; None when that cannot be asked.
        driver: whether its driver is connected to OVN Northbound.
        remains: what Northbound holds of it.
        seen: when its driver was last connected, where it is not now.
    """

    host: str
    chassis: bool | None
    driver: bool
    remains: Leftovers
    seen: LastSeen


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `gc` to a parser."""
    summary = "remove what a host that will not come back left in OVN"
    parser = subparsers.add_parser(
        "gc",
        help=summary,
        description=summary,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=lambda arguments: asyncio.run(_run(arguments)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument(
        "--host", metavar="NAME", type=_name, help="remove this host, named by its system-id"
    )
    subject.add_argument(
        "--swarm-network",
        metavar="ID",
        help="free this network, whose swarm no longer exists and cannot remove it",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="go through all tables, also for what a host's index does not name",
    )
    parser.add_argument(
        "--force", action="store_true", help="even if the host seems to be alive, or cannot be asked"
    )
    settings.add_arguments(parser, Program.GC, "databases")


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: 'ovn-docker gc' lists the hosts")
    return text


async def _run(arguments: argparse.Namespace) -> int:
    logs.configure(logs.parse(["console:err"]), None, console=True, syslog=False)
    files = settings.read_database_tls(arguments)
    tls = TlsFiles(*map(str, files)) if files else None
    async with following(arguments.ovsdb, tls) as databases:
        await databases.ovs.reached(REACH_TIMEOUT)
        await databases.northbound.reached(REACH_TIMEOUT)
        if arguments.swarm_network is not None:
            return await _free(databases, arguments)
        if arguments.host is None:
            listed = await _list(databases, deep=arguments.deep)
            print(_as_json(listed) if arguments.json else _as_table(listed))
            return 0
        leftovers = await _remove(databases, arguments)
        chassis = await _chassis(databases)
        if not leftovers:
            await _check_name(databases, arguments.host, chassis or {})
    host, dry_run = arguments.host, arguments.dry_run
    has_chassis = None if chassis is None else host in chassis
    if arguments.json:
        print(json.dumps({"host": host, "dry_run": dry_run, "chassis": has_chassis, **asdict(leftovers)}))
        return 0
    if leftovers:
        print(logs.escape(f"host {host} {'would be' if dry_run else 'is'} removed: {leftovers}"))
    else:
        print(logs.escape(f"OVN Northbound has nothing of host {host}"))
    if has_chassis and not dry_run:
        command = logs.escape(f"ovn-sbctl chassis-del {host}")
        print(f"its chassis is still in OVN Southbound: '{command}' removes the tunnels to it")
    return 0


async def _free(databases: Databases, arguments: argparse.Namespace) -> int:
    network_id = arguments.swarm_network
    used = await ipam_driver.uses(databases.northbound, network_id)
    if not arguments.dry_run:
        await ipam_driver.free(databases.northbound, network_id)
    if arguments.json:
        print(json.dumps({"network": network_id, "dry_run": arguments.dry_run, "pools": used}))
    elif not used:
        print(logs.escape(f"no pool in OVN Northbound is held by a swarm's network {network_id}"))
    else:
        done = "would be" if arguments.dry_run else "is"
        print(logs.escape(f"network {network_id} {done} removed from {', '.join(used)}"))
    return 0


async def _list(databases: Databases, *, deep: bool) -> list[Listed]:
    """All hosts that are registered."""
    chassis = await _chassis(databases)
    names = await host_cleanup.listed(databases.northbound, deep=deep)
    found = []
    for batch in in_batches(await host_cleanup.registered(databases.northbound, names), AT_ONCE):
        drivers = await asyncio.gather(*(host_liveness.look(databases.northbound, host) for host in batch))
        for host, driver in zip(batch, drivers, strict=True):
            has_chassis = None if chassis is None else host in chassis
            leftovers = await remains(databases.northbound, host, deep=deep)
            seen = LastSeen() if driver.connected else driver.seen
            found.append(Listed(host, has_chassis, driver.connected, leftovers, seen))
    return found


async def _chassis(databases: Databases) -> Mapping[str, str] | None:
    """The hosts in Southbound, or None when it cannot be reached."""
    try:
        await databases.southbound.reached(REACH_TIMEOUT)
    except UnreachableError:
        return None
    return southbound.read_chassis(databases.southbound.replica)


async def _remove(databases: Databases, arguments: argparse.Namespace) -> Leftovers:
    """Remove what a host left, or see what it is.

    Raises:
        ConflictError: it is this host, or seems to be alive, or came back.
        UnreachableError: Southbound cannot be asked.
    """
    host, force, dry_run, deep = arguments.host, arguments.force, arguments.dry_run, arguments.deep
    if (await known_settings(databases.ovs)).system_id == host:
        raise ConflictError(f"host {host} is this host: its leftovers are removed with 'ovn-docker repair'")
    if not force:
        await _check_dead(databases, host)
    if dry_run:
        return await remains(databases.northbound, host, deep=deep)
    presence = hosts.presence_lock(host)
    async with databases.northbound.lock(presence, steal=force) as lock:
        if lock.requested and not await host_liveness.is_free(lock):
            raise _connected(host)
        try:
            return await HostCleanup(databases.northbound, host, [presence], deep=deep).run()
        except LockError:
            raise ConflictError(
                f"host {host} came back while it was being removed: its health check restores what is missing"
            ) from None


async def _check_dead(databases: Databases, host: str) -> None:
    """Refuse to remove a host that may be alive.

    A chassis alone proves nothing: that of a host that died is still there. No lock is held while the host is
    asked for a sign of life, or others would take this command for its driver.

    Raises:
        ConflictError: the host is alive, or that cannot be found out.
        UnreachableError: Southbound cannot be asked.
    """
    driver = await host_liveness.look(databases.northbound, host)
    if driver.connected:
        raise _connected(host)
    chassis = await _chassis(databases)
    if chassis is None:
        raise UnreachableError(
            f"cannot tell whether host {host} is still in OVN: {databases.southbound.outage()}; give --force"
            " if it will not come back"
        )
    if host not in chassis:
        return
    sign = await host_liveness.ask(databases.northbound, databases.southbound, host)
    if sign is SignOfLife.GIVEN:
        away = host_liveness.away(host, driver.seen)
        raise ConflictError(
            f"{away}, but its ovn-controller answers, so containers may be running there: start the driver,"
            " stop the host, or give --force"
        )
    if sign is SignOfLife.NOBODY:
        raise ConflictError(
            f"cannot tell whether host {host} is dead, because no ovn-controller of any host answers: check"
            " that ovn-northd runs, or give --force if the host will not come back"
        )


async def _check_name(databases: Databases, host: str, chassis: Mapping[str, str]) -> None:
    """Refuse a name of which OVN has nothing, if another host may be meant.

    Without such a host the name is accepted: the host may have been removed before.

    Raises:
        NotFoundError: it is another host's host name, or its ``system-id`` in another case.
    """
    registered = dict.fromkeys(await host_cleanup.listed(databases.northbound), "")
    known, name = {**registered, **chassis}, host.casefold()
    alike = sorted(
        system_id
        for system_id, hostname in known.items()
        if name in {system_id.casefold(), hostname.casefold()}
    )
    if alike and host not in known:
        raise NotFoundError(
            f"host {host} is not in OVN, but {' or '.join(alike)} is: --host takes a system-id"
        )


def _connected(host: str) -> ConflictError:
    return ConflictError(
        f"the driver of host {host} is connected to OVN Northbound: stop it there, or give --force"
    )


def _as_json(listed: Iterable[Listed]) -> str:
    return json.dumps(
        [
            {
                "host": entry.host,
                "chassis": entry.chassis,
                "driver": entry.driver,
                "away_since": entry.seen.moment or None,
                "stopped": entry.seen.stopped,
                **asdict(entry.remains),
            }
            for entry in listed
        ]
    )


def _as_table(listed: Iterable[Listed]) -> str:
    chassis = {True: "present", False: "absent", None: "unknown"}
    rows = [("HOST", "CHASSIS", "DRIVER", "PORTS", "LEASES", "AWAY SINCE")]
    rows += [
        (
            logs.escape(entry.host),
            chassis[entry.chassis],
            "connected" if entry.driver else "away",
            str(entry.remains.ports),
            str(entry.remains.leases),
            str(entry.seen) or "-",
        )
        for entry in listed
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
