"""Which driver a command looks at, and what that one was told: the overlay's, or the underlay's."""

import argparse
import asyncio
import contextlib
import getpass
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from ovn_docker import settings as config
from ovn_docker import settings as underlay_flags
from ovn_docker.daemon import components
from ovn_docker.daemon.components import Components, VirtualMachine, assemble_overlay
from ovn_docker.errors import ConfigError, UnreachableError
from ovn_docker.host import ovn_settings
from ovn_docker.ovn import southbound
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import TlsFiles
from ovn_docker.underlay.neutron import credentials
from ovn_docker.underlay.neutron.credentials import CLOUD, Credentials

# --- The login that the underlay driver is started with: environment, clouds.yaml, a question. --------------


def read_machine(environment: Mapping[str, str], bridge: str) -> VirtualMachine:
    """This machine's part in a cloud.

    Args:
        environment: as a sourced openrc file leaves it.
        bridge: that the machine's interface is on.

    Raises:
        ConfigError: something is missing or cannot be used, or the libraries are not installed.
    """
    if importlib.util.find_spec("keystoneauth1") is None:
        raise ConfigError(
            "keystoneauth1 is not installed: pip install --require-hashes -r requirements-underlay.lock"
        )
    vif = credentials.vif_id(environment)
    name = environment.get(CLOUD, "").strip()
    login = _from_cloud(name, environment) if name else credentials.from_environment(environment)
    return VirtualMachine(_complete(login), vif, bridge)


def _from_cloud(name: str, environment: Mapping[str, str]) -> Credentials:
    from ovn_docker.underlay.neutron import credentials  # noqa: PLC0415  (needs YAML, which an openrc file does not)

    return credentials.from_cloud(name, credentials.read_cloud(name, environment))


def _complete(login: Credentials) -> Credentials:
    """The login with a password, which is asked for on a terminal only."""
    if not login.lacks_password:
        return login
    if not sys.stdin.isatty():
        raise ConfigError(
            "no password is given and there is no terminal to ask for it: set OS_PASSWORD,"
            " or use an application credential"
        )
    return login.with_password(getpass.getpass("OpenStack password: "))


OVERLAY_ONLY = ("distributed", "ip_lookup", "default_address_pool")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say so."""
    config.add_inspection_arguments(parser)
    group = parser.add_argument_group("inside an OpenStack machine")
    group.add_argument(
        "--underlay",
        action="store_true",
        help="look at what the underlay driver serves; the login is read as the driver reads it",
    )
    group.add_argument(
        "--bridge",
        metavar="BRIDGE",
        default=underlay_flags.BRIDGE,
        help="the Open vSwitch bridge that the machine's interface is on (default %(default)s)",
    )
    underlay_flags.add_child_ports_argument(group)


def assembler(arguments: argparse.Namespace) -> Callable[[], Components]:
    """What makes the parts of the driver that is looked at; who is to be asked for a password is asked now.

    Raises:
        ConfigError: a flag or the login cannot be used.
    """
    if not arguments.underlay:
        settings = config.read_inspection(arguments)
        return lambda: assemble_overlay(settings, dict)
    settings, bridge = _read_underlay(arguments)
    machine = replace(read_machine(os.environ, bridge), child_ports=arguments.child_ports)
    return lambda: components.assemble_underlay(machine, settings, dict)


def _read_underlay(arguments: argparse.Namespace) -> tuple[config.Settings, str]:
    for flag in OVERLAY_ONLY:
        if getattr(arguments, flag):
            raise ConfigError(
                f"--{flag.replace('_', '-')} is a flag of the overlay driver: leave it out with --underlay"
            )
    parser = argparse.ArgumentParser()
    underlay_flags.add_underlay_arguments(parser)
    return underlay_flags.read_underlay(parser.parse_args([], namespace=arguments))


# ------------------------------------------------------------------------------------------------------------
# The databases as a command uses them: connected as long as it runs, or an error that says which is not.


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
        ConfigError: `ovsdb` is not a valid remote.
    """
    ovs = ovn_settings.open_vswitch_client(ovsdb, tls)
    async with (
        ovn_settings.connected(ovs),
        ovn_settings.following(ovs, ovn_settings.NORTHBOUND, {}) as northbound,
        ovn_settings.following(ovs, ovn_settings.SOUTHBOUND, southbound.WATCHES) as sb,
    ):
        yield Databases(ovs, northbound, sb)


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
