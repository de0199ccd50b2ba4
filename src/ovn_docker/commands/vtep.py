"""``ovn-docker vtep``: which VTEPs are led to which network, configured in Northbound for all hosts."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from uuid import UUID

from ovn_docker import config, logs
from ovn_docker.addressing import IPAddress
from ovn_docker.assembly import OverlayParts, assemble, running
from ovn_docker.drivers.vteps import Configured
from ovn_docker.errors import NotFoundError, OvnDockerError, RequestError, UnreachableError
from ovn_docker.schema import northbound

ANSWER_TIMEOUT = 10.0
"""Seconds for Northbound and Docker to answer."""

DONE, REFUSED = 0, 1

Work = Callable[[OverlayParts, argparse.Namespace], Awaitable[None]]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    text = "lead VXLAN tunnel endpoints that know no OVN to networks of hosts with --ip-lookup"
    vtep = commands.add_parser("vtep", help=text, description=text[0].upper() + text[1:] + ".")
    verbs = vtep.add_subparsers(metavar="COMMAND", required=True)
    for name, work, summary in (
        ("add", _add, "configure a VTEP for a network, or change its VNI"),
        ("list", _list, "list the VTEPs of all networks"),
        ("del", _del, "take a VTEP away from a network"),
    ):
        parser = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == "list":
            parser.add_argument("--json", action="store_true", help="print JSON, for a program")
        else:
            _add_names(parser, vni=name == "add")
        config.add_inspection_arguments(parser)
        parser.set_defaults(run=lambda arguments, work=work: _run(arguments, work))


def _add_names(parser: argparse.ArgumentParser, *, vni: bool) -> None:
    parser.add_argument("--remote-ip", metavar="IP", required=True, help="the VTEP's tunnel endpoint")
    if vni:
        parser.add_argument(
            "--vni",
            metavar="N",
            type=int,
            required=True,
            help="what the VTEP calls the network, 1 to 16777215",
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
    parts = assemble(config.read_inspection(arguments), dict)
    async with running(parts):
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await work(parts, arguments)
        except TimeoutError:
            why = parts.ovs.outage() or parts.northbound.outage() or "OVN Northbound does not answer"
            raise UnreachableError(f"{why}; nothing was done") from None


async def _add(parts: OverlayParts, arguments: argparse.Namespace) -> None:
    remote = _address(arguments.remote_ip)
    switch = await _switch(parts, arguments.network)
    await parts.vteps.add(remote, arguments.vni, switch)
    print(f"VTEP {remote} reaches {arguments.network} as VNI {arguments.vni} on hosts with --ip-lookup")


async def _del(parts: OverlayParts, arguments: argparse.Namespace) -> None:
    remote = _address(arguments.remote_ip)
    there = await parts.vteps.remove(remote, await _switch(parts, arguments.network))
    print(f"VTEP {remote} {'is taken away from' if there else 'was not configured for'} {arguments.network}")


async def _list(parts: OverlayParts, arguments: argparse.Namespace) -> None:
    found = sorted(await parts.vteps.all(), key=lambda each: (str(each.vtep.remote), each.vtep.vni))
    if arguments.json:
        print(json.dumps([_as_json(each) for each in found], indent=2))
        return
    for each in found:
        print(f"{each.vtep.remote}  VNI {each.vtep.vni}  {each.switch_name}")


def _as_json(each: Configured) -> dict[str, object]:
    vtep = each.vtep
    return {
        "remote_ip": str(vtep.remote),
        "vni": vtep.vni,
        "Logical_Switch": each.switch_name,
        "mode": "lookup",
    }


def _address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as error:
        raise RequestError(f"--remote-ip: {error}") from error


async def _switch(parts: OverlayParts, name: str) -> UUID:
    """The row of a network's switch: by the switch's name, else by what Docker calls the network.

    Raises:
        NotFoundError: neither OVN nor Docker knows the name.
    """
    row = await parts.vteps.switch_named(name)
    if row is not None:
        return row
    with contextlib.suppress(UnreachableError):
        for network in (await parts.engine.read()).networks.values():
            if name in (network.name, network.network_id):
                shared = parts.shared.get(network.network_id)
                return UUID(shared.row) if shared else northbound.switch_id(network.network_id)
    raise NotFoundError(f"neither OVN nor this host's Docker has a network {name}: name it as either does")
