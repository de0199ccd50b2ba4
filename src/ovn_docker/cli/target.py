"""The driver that a command looks at, overlay or underlay, and the databases as a command uses them."""

import argparse
import contextlib
import getpass
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from ovn_docker import settings
from ovn_docker.daemon import components
from ovn_docker.daemon.components import Components, VirtualMachine, assemble_overlay
from ovn_docker.errors import ConfigError
from ovn_docker.host import ovn_settings
from ovn_docker.ovn import southbound
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import TlsFiles
from ovn_docker.settings import Program, Settings
from ovn_docker.underlay.neutron import credentials
from ovn_docker.underlay.neutron.credentials import CLOUD


def read_machine(environment: Mapping[str, str], config: Settings) -> VirtualMachine:
    """This machine as the underlay driver is told of it; prompts for a password that is not given.

    Args:
        environment: as a sourced openrc file leaves it.
        config: of the underlay driver.

    Raises:
        ConfigError: a part of the login is missing or cannot be used, or the libraries are not installed.
    """
    if importlib.util.find_spec("keystoneauth1") is None:
        raise ConfigError(
            "keystoneauth1 is not installed: pip install --require-hashes -r requirements-underlay.lock"
        )
    vif = credentials.vif_id(environment)
    name = environment.get(CLOUD, "").strip()
    if name:
        login = credentials.from_cloud(name, credentials.read_cloud(name, environment))
    else:
        login = credentials.from_environment(environment)
    if login.lacks_password:
        if not sys.stdin.isatty():
            raise ConfigError(
                "no password is given and there is no terminal to ask for it: set OS_PASSWORD,"
                " or use an application credential"
            )
        login = login.with_password(getpass.getpass("OpenStack password: "))
    return VirtualMachine(login, vif, config.bridge, config.child_ports)


OVERLAY_ONLY = ("distributed", "ip_lookup", "default_address_pool")
DRIVER_FLAGS = "flags of the driver, where it was started with other values"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which driver it is and how that was started."""
    group = parser.add_argument_group("inside an OpenStack machine")
    group.add_argument(
        "--underlay",
        action="store_true",
        help="look at the underlay driver's networks; needs the same login as the driver",
    )
    settings.add_arguments(parser, Program.CHECK, DRIVER_FLAGS)


def assembler(arguments: argparse.Namespace) -> Callable[[], Components]:
    """What builds the components of the driver that is looked at; a password is prompted for now."""
    if not arguments.underlay:
        config = settings.read(arguments, Program.CHECK)
        return lambda: assemble_overlay(config, dict)
    for dest in OVERLAY_ONLY:
        if getattr(arguments, dest):
            raise ConfigError(
                f"--{dest.replace('_', '-')} is a flag of the overlay driver: leave it out with --underlay"
            )
    config = settings.read(arguments, Program.UNDERLAY)
    machine = read_machine(os.environ, config)
    return lambda: components.assemble_underlay(machine, config, dict)


REACH_TIMEOUT = 5.0
"""Seconds for a database to be reached."""


@dataclass(frozen=True, slots=True)
class Databases:
    """A client of this host's Open_vSwitch, and of OVN's databases where Open_vSwitch says they are."""

    ovs: Client
    northbound: Client
    southbound: Client


@contextlib.asynccontextmanager
async def following(ovsdb: str, tls: TlsFiles | None = None) -> AsyncIterator[Databases]:
    """Clients of the databases, connected to all that answer.

    Args:
        ovsdb: the value of --ovsdb.
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
