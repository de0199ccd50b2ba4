"""``ovn-docker vtep``: which VTEPs are attached to which network, configured in Northbound for all hosts."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from uuid import UUID

from ovn_docker import logs, settings
from ovn_docker.addressing import IPAddress
from ovn_docker.cli.target import DRIVER_FLAGS
from ovn_docker.daemon.components import OverlayComponents, assemble_overlay, running
from ovn_docker.errors import NotFoundError, OvnDockerError, RequestError, UnreachableError
from ovn_docker.host import ovn_settings
from ovn_docker.overlay.vtep.vtep_config import AUTO, Vteps
from ovn_docker.overlay.vtep.vtep_ports import VtepPorts
from ovn_docker.ovn import switches
from ovn_docker.ovn.vteps import MODES, RECORDED, VTEP_PORT, mode_of
from ovn_docker.settings import Program

ANSWER_TIMEOUT = 20.0
"""Seconds for Northbound, Docker and, for OVN's own ports, Southbound and ovn-northd to answer."""

DONE, REFUSED = 0, 1


Work = Callable[[OverlayComponents, Vteps, argparse.Namespace], Awaitable[None]]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    text = "connect networks with VXLAN tunnel endpoints (VTEPs) outside OVN"
    vtep = commands.add_parser("vtep", help=text, description=text[0].upper() + text[1:] + ".")
    verbs = vtep.add_subparsers(metavar="COMMAND", required=True)
    for name, work, summary in (
        ("add", _add, "configure a VTEP for a network, or change its VNI or mode"),
        ("list", _list, "list the VTEPs of all networks"),
        ("del", _del, "remove a VTEP from a network"),
    ):
        parser = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == "list":
            parser.add_argument("--json", action="store_true", help="print JSON, for a program")
        else:
            _add_names(parser, vni=name == "add")
            parser.add_argument(
                "--southbound",
                metavar="REMOTE",
                help="a remote of OVN Southbound that lets this host write (default: this host's ovn-remote);"
                " needed for mode vtep only",
            )
        settings.add_arguments(parser, Program.VTEP, DRIVER_FLAGS)
        parser.set_defaults(run=lambda arguments, work=work: _run(arguments, work))


def _add_names(parser: argparse.ArgumentParser, *, vni: bool) -> None:
    parser.add_argument("--remote-ip", metavar="IP", required=True, help="the VTEP's tunnel endpoint")
    if vni:
        parser.add_argument(
            "--vni",
            metavar="N",
            type=int,
            required=True,
            help="the network's VNI at the VTEP, 1 to 16777215",
        )
        parser.add_argument(
            "--mode",
            choices=(AUTO, *MODES),
            default=AUTO,
            type=mode_of,
            help="vtep: a port of type vtep in OVN; lookup: flows on hosts with --ip-lookup; auto: the"
            " present mode, else vtep where OVN is set up for it and lets this host write Southbound"
            " (default: auto)",
        )
    parser.add_argument(
        "--network",
        metavar="NAME",
        required=True,
        help="a network of this host's Docker, or a logical switch",
    )


def _run(arguments: argparse.Namespace, work: Work) -> int:
    try:
        asyncio.run(_connected(arguments, work))
    except OvnDockerError as error:
        print(f"ovn-docker: {logs.escape(str(error))}", file=sys.stderr)
        return REFUSED
    return DONE


async def _connected(arguments: argparse.Namespace, work: Work) -> None:
    logs.configure(logs.parse(["console:err"]), None, console=True, syslog=False)
    parts = assemble_overlay(settings.read(arguments, Program.VTEP), dict)
    remote = getattr(arguments, "southbound", None)
    remotes = () if remote is None else ovn_settings.remotes_of("--southbound", remote)
    following = ovn_settings.following(parts.ovs, ovn_settings.SOUTHBOUND, {}, remotes)
    async with running(parts), following as southbound:
        database = parts.shared.database
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await work(parts, Vteps(database, VtepPorts(database, southbound)), arguments)
        except TimeoutError:
            reason = parts.ovs.outage() or parts.northbound.outage() or "OVN Northbound does not answer"
            raise UnreachableError(f"{reason}; nothing was done") from None


async def _add(parts: OverlayComponents, vteps: Vteps, arguments: argparse.Namespace) -> None:
    remote = _address(arguments.remote_ip)
    switch = await _switch(parts, vteps, arguments.network)
    done = await vteps.add(remote, arguments.vni, switch, arguments.mode)
    how = "through a port of type vtep" if done.mode == VTEP_PORT else "on hosts with --ip-lookup"
    print(f"VTEP {remote} reaches {arguments.network} as VNI {arguments.vni} {how}")
    for note in (*([f"mode lookup, because {done.reason}"] if done.reason else []), *done.notes):
        print(logs.escape(note))


async def _del(parts: OverlayComponents, vteps: Vteps, arguments: argparse.Namespace) -> None:
    remote = _address(arguments.remote_ip)
    removed = await vteps.remove(remote, await _switch(parts, vteps, arguments.network))
    print(f"VTEP {remote} {'is removed from' if removed else 'was not configured for'} {arguments.network}")


async def _list(_parts: OverlayComponents, vteps: Vteps, arguments: argparse.Namespace) -> None:
    found = sorted(await vteps.all(), key=lambda row: (str(row.vtep.remote), row.vtep.vni))
    if arguments.json:
        shown = [
            {
                "remote_ip": str(row.vtep.remote),
                "vni": row.vtep.vni,
                "Logical_Switch": row.switch_name,
                "mode": RECORDED[row.mode],
            }
            for row in found
        ]
        print(json.dumps(shown, indent=2))
        return
    for row in found:
        print(logs.escape(f"{row.vtep.remote}  VNI {row.vtep.vni}  {row.mode}  {row.switch_name}"))


def _address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as error:
        raise RequestError(f"--remote-ip: {error}") from error


async def _switch(parts: OverlayComponents, vteps: Vteps, name: str) -> UUID:
    """The row of a network's switch: by the switch's name, else by what Docker calls the network.

    Raises:
        NotFoundError: neither OVN nor Docker knows the name.
    """
    row = await vteps.switch_named(name)
    if row is not None:
        return row
    with contextlib.suppress(UnreachableError):
        for network in (await parts.engine.read()).networks.values():
            if name in {network.name, network.network_id}:
                shared = parts.shared.get(network.network_id)
                return shared.row_id if shared else switches.switch_id(network.network_id)
    raise NotFoundError(f"neither OVN nor this host's Docker has a network {name}: give its name in either")
