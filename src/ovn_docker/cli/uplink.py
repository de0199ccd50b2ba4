"""``ovn-docker uplink``: puts the machine's interface on the underlay driver's bridge, and takes it off."""

import argparse
import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

from ovn_docker import logs, settings
from ovn_docker.cli.target import add_bridge_argument, following, reach
from ovn_docker.host import veth
from ovn_docker.host.addresses import INET, Addresses, LinkState
from ovn_docker.host.open_vswitch import NETDEV, SYSTEM
from ovn_docker.host.uplinks import Networkd, Uplinks

ADD_EPILOG = """\
The machine is out of reach for a moment: connections outlive it. What fails is taken back, and it is safe to
repeat. Rules of a firewall that name the interface have to name the bridge.
Exit status: 0 when it is done or was, 1 after an error, 2 when the flags cannot be read.
"""
DEL_EPILOG = """\
The machine is out of reach for a moment. No container's interface may be on the bridge.
Exit status: 0 when it is done or was, 1 after an error, 2 when the flags cannot be read.
"""

Work = Callable[[Uplinks, argparse.Namespace], Awaitable[None]]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    text = "put the interface of an OpenStack machine on the underlay driver's bridge"
    uplink = commands.add_parser("uplink", help=text, description=text[0].upper() + text[1:] + ".")
    verbs = uplink.add_subparsers(metavar="COMMAND", required=True)
    for name, work, summary, epilog in (
        (
            "add",
            _add,
            "make the bridge, put an interface on it, move its addresses and routes",
            ADD_EPILOG,
        ),
        ("del", _del, "move addresses and routes back to the interface, and remove the bridge", DEL_EPILOG),
    ):
        parser = verbs.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == "add":
            _add_flags(parser)
        add_bridge_argument(parser)
        parser.add_argument(
            "--ovsdb",
            metavar="REMOTE",
            default=settings.default_ovsdb(),
            help="this host's Open_vSwitch database (default %(default)s)",
        )
        parser.set_defaults(run=lambda arguments, work=work: asyncio.run(_run(arguments, work)))


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("link", metavar="INTERFACE", help="the one that is a port in Neutron, as eth0")
    parser.add_argument(
        "--persist", action="store_true", help="let systemd-networkd keep it so at the next boot"
    )
    parser.add_argument(
        "--datapath-type",
        choices=(SYSTEM, NETDEV),
        default=SYSTEM,
        help="of a bridge that is made: the kernel's, or Open vSwitch's in userspace (default %(default)s)",
    )


async def _run(arguments: argparse.Namespace, work: Work) -> int:
    settings.check_bridge(arguments.bridge)
    addresses = Addresses()
    try:
        async with following(arguments.ovsdb) as databases:
            await reach(databases.ovs)
            with _undisturbed():
                await work(Uplinks(databases.ovs, addresses, begins=_warn), arguments)
    finally:
        addresses.close()
    return 0


async def _add(uplinks: Uplinks, arguments: argparse.Namespace) -> None:
    link, bridge = arguments.link, arguments.bridge
    files = Networkd()
    async with contextlib.AsyncExitStack() as undo:
        if arguments.persist and veth.exists(link) and not files.kept(bridge):
            files.keep(socket.if_nametoindex(link), link, bridge, veth.mtu_of(link) or 0)
            undo.callback(files.forget, link, bridge)
        moved = await uplinks.add(link, bridge, arguments.datapath_type)
        undo.pop_all()
    if not moved:
        _say(f"{link} is on bridge {bridge}, and there is nothing to move")
    else:
        _say(f"{link} is on bridge {bridge}, which has {_told(moved)}")
    _advise(moved, link, bridge, kept=files.kept(bridge))


def _advise(moved: LinkState, link: str, bridge: str, *, kept: bool) -> None:
    """Say what is left to do."""
    if kept:
        _say("systemd-networkd takes it up at the next boot, or now by 'networkctl reload'")
        return
    for each in moved.addresses:
        if each.leased and each.family == INET:
            _say(
                f"address {each} is a lease that ends in {each.valid} s: end the DHCP client of {link}, and"
                f" start one for {bridge}"
            )
    _say("this lasts until the next boot: see --persist")


async def _del(uplinks: Uplinks, arguments: argparse.Namespace) -> None:
    bridge, files = arguments.bridge, Networkd()
    link, moved = await uplinks.remove(bridge)
    if not link:
        _say(f"there is no bridge {bridge}")
        return
    kept = files.kept(bridge)
    files.forget(link, bridge)
    _say(f"{link} is on no bridge, and has {_told(moved)}")
    if kept:
        _say("systemd-networkd takes it up at the next boot, or now by 'networkctl reload'")


def _warn() -> None:
    _say("this machine is out of reach for a moment")


def _told(state: LinkState) -> str:
    addresses = ", ".join(map(str, state.addresses)) or "no addresses"
    return f"{addresses} and {len(state.routes)} route(s)"


def _say(text: str) -> None:
    print(logs.escape(text), flush=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A terminal that the machine's absence closes does not end this half-way."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
