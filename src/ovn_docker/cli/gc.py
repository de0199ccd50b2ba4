"""The command `ovn-docker gc`: which hosts are in OVN Northbound, and the end of one that stays away.

And the end of a network whose swarm was dissolved, so that nobody frees it.
"""

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ovn_docker import logs, settings
from ovn_docker.cli.target import Databases, following, reach
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
Without --host and --swarm-network, lists the hosts in OVN Northbound, and whether each is in OVN still.
Exit status: 0 when it is done or there is nothing to do, 1 after an error, 2 when the flags cannot be read.
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """One host of the list.

    Attributes:
        host: its ``system-id``.
        chassis: whether OVN Southbound knows it, or None when that cannot be asked.
        driver: whether a driver of it is connected to OVN Northbound.
        remains: what Northbound holds of it.
        seen: when a driver of it was connected last, where none is.
    """

    host: str
    chassis: bool | None
    driver: bool
    remains: Leftovers
    seen: LastSeen


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `gc` to a parser."""
    summary = "give up what a host that will not come back left in OVN"
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
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--host", metavar="NAME", type=_name, help="give up this host, named by its system-id")
    what.add_argument(
        "--swarm-network",
        metavar="ID",
        help="free this network, whose swarm no longer exists and cannot remove it",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="go through all tables, also for what a host's index does not name",
    )
    parser.add_argument(
        "--force", action="store_true", help="even if the host seems to be alive, or nobody can tell"
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
        await reach(databases.ovs)
        await reach(databases.northbound)
        if arguments.swarm_network is not None:
            return await _free(databases, arguments)
        if arguments.host is None:
            shown = await _list(databases, deep=arguments.deep)
            print(_as_json(shown) if arguments.json else _as_table(shown))
            return 0
        left = await _give_up(databases, arguments)
        chassis = await _chassis(databases)
        if not left:
            await _check_name(databases, arguments.host, chassis or {})
    there = None if chassis is None else arguments.host in chassis
    if arguments.json:
        what = {"host": arguments.host, "dry_run": arguments.dry_run, "chassis": there}
        print(json.dumps(what | asdict(left)))
        return 0
    print(logs.escape(_told(arguments.host, left, dry_run=arguments.dry_run)))
    if there and not arguments.dry_run:
        print(logs.escape(_chassis_left(arguments.host)))
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
        what = f"{'would be' if arguments.dry_run else 'is'} struck out of {', '.join(used)}"
        print(logs.escape(f"network {network_id} {what}"))
    return 0


async def _list(databases: Databases, *, deep: bool) -> list[Listed]:
    """All hosts that are registered, one after the other."""
    chassis = await _chassis(databases)
    names = await host_cleanup.listed(databases.northbound, deep=deep)
    found = []
    for batch in in_batches(await host_cleanup.registered(databases.northbound, names), AT_ONCE):
        drivers = await asyncio.gather(*(host_liveness.look(databases.northbound, host) for host in batch))
        for host, driver in zip(batch, drivers, strict=True):
            there = None if chassis is None else host in chassis
            left = await remains(databases.northbound, host, deep=deep)
            seen = LastSeen() if driver.connected else driver.seen
            found.append(Listed(host, there, driver.connected, left, seen))
    return found


async def _chassis(databases: Databases) -> Mapping[str, str] | None:
    """The hosts in Southbound, or None when it cannot be reached."""
    try:
        await reach(databases.southbound)
    except UnreachableError:
        return None
    return southbound.read_chassis(databases.southbound.replica)


async def _give_up(databases: Databases, arguments: argparse.Namespace) -> Leftovers:
    """Give up a host.

    Raises:
        ConflictError: it is this one, or seems to be alive, or came back.
        UnreachableError: Southbound cannot be asked.
    """
    host, force, dry_run, deep = arguments.host, arguments.force, arguments.dry_run, arguments.deep
    if (await known_settings(databases.ovs)).system_id == host:
        raise ConflictError(
            f"host {host} is this host: what it has left over itself is removed with 'ovn-docker repair'"
        )
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
                f"host {host} came back while it was given up: its health check makes again what was removed"
            ) from None


async def _check_dead(databases: Databases, host: str) -> None:
    """Refuse to give up a host that may live.

    A chassis alone says nothing: a host that died has it still. Nothing is held meanwhile: for as long as the
    host is asked for a sign of life, whoever looks for its driver would take this command for it.

    Raises:
        ConflictError: the host lives, or nobody can tell.
        UnreachableError: Southbound cannot be asked.
    """
    driver = await host_liveness.look(databases.northbound, host)
    if driver.connected:
        raise _connected(host)
    chassis = await _chassis(databases)
    if chassis is None:
        raise UnreachableError(
            f"whether host {host} is still in OVN cannot be told: {databases.southbound.outage()}; give"
            " --force if it will not come back"
        )
    if host not in chassis:
        return
    given = await host_liveness.ask(databases.northbound, databases.southbound, host)
    if given is SignOfLife.GIVEN:
        since = host_liveness.away(host, driver.seen)
        raise ConflictError(
            f"{since}, but its ovn-controller answers, so containers may be running there: start the driver,"
            " stop the host, or give --force"
        )
    if given is SignOfLife.NOBODY:
        raise ConflictError(
            f"whether host {host} is dead cannot be told, for no ovn-controller of any host answers: see"
            " that ovn-northd runs, or give --force if the host will not come back"
        )


async def _check_name(databases: Databases, host: str, chassis: Mapping[str, str]) -> None:
    """Refuse a name of which there is nothing, if it seems to mean another host.

    A host that was given up before cannot be told from one that never was.

    Raises:
        NotFoundError: it is another's host name, or its ``system-id`` in another case.
    """
    registered = dict.fromkeys(await host_cleanup.listed(databases.northbound), "")
    known, name = {**registered, **chassis}, host.casefold()
    alike = sorted(each for each, called in known.items() if name in {each.casefold(), called.casefold()})
    if alike and host not in known:
        raise NotFoundError(
            f"host {host} is not in OVN, and {' or '.join(alike)} may be meant: --host takes a system-id"
        )


def _connected(host: str) -> ConflictError:
    return ConflictError(
        f"the driver of host {host} is connected to OVN Northbound: stop it there, or give --force"
    )


def _chassis_left(host: str) -> str:
    return f"its chassis is still in OVN Southbound: 'ovn-sbctl chassis-del {host}' removes the tunnels to it"


def _told(host: str, left: Leftovers, *, dry_run: bool) -> str:
    if not left:
        return f"there is nothing of host {host} in OVN Northbound"
    return f"host {host} {'would be' if dry_run else 'is'} given up: {left}"


def _as_json(listed: Iterable[Listed]) -> str:
    return json.dumps(
        [
            {
                "host": each.host,
                "chassis": each.chassis,
                "driver": each.driver,
                "away_since": each.seen.moment or None,
                "stopped": each.seen.stopped,
                **asdict(each.remains),
            }
            for each in listed
        ]
    )


def _as_table(listed: Iterable[Listed]) -> str:
    chassis = {True: "present", False: "absent", None: "unknown"}
    rows = [("HOST", "CHASSIS", "DRIVER", "PORTS", "LEASES", "AWAY SINCE")]
    rows += [
        (
            logs.escape(each.host),
            chassis[each.chassis],
            "connected" if each.driver else "away",
            str(each.remains.ports),
            str(each.remains.leases),
            str(each.seen) or "-",
        )
        for each in listed
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
