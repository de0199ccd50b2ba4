"""Which driver a command looks at, and what that one was told: the overlay's, or the underlay's."""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace

from ovn_docker import settings as config
from ovn_docker import settings as underlay_flags
from ovn_docker.cli.login import read_machine
from ovn_docker.daemon import underlay_components
from ovn_docker.daemon.components import Parts, assemble
from ovn_docker.errors import ConfigError

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
    add_bridge_argument(group)
    underlay_flags.add_child_ports_argument(group)


def add_bridge_argument(group: "argparse._ArgumentGroup | argparse.ArgumentParser") -> None:
    """Add the flag that names the bridge."""
    group.add_argument(
        "--bridge",
        metavar="BRIDGE",
        default=underlay_flags.BRIDGE,
        help="the Open vSwitch bridge that the machine's interface is on (default %(default)s)",
    )


def assembler(arguments: argparse.Namespace) -> Callable[[], Parts]:
    """What makes the parts of the driver that is looked at; who is to be asked for a password is asked now.

    Raises:
        ConfigError: a flag or the login cannot be used.
    """
    if not arguments.underlay:
        if getattr(arguments, "probe", False):
            raise ConfigError("--probe is for the underlay: give --underlay too")
        settings = config.read_inspection(arguments)
        return lambda: assemble(settings, dict)
    settings, bridge = _read_underlay(arguments)
    machine = replace(read_machine(os.environ, bridge), child_ports=arguments.child_ports)
    return lambda: underlay_components.assemble(machine, settings, dict)


def _read_underlay(arguments: argparse.Namespace) -> tuple[config.Config, str]:
    for flag in OVERLAY_ONLY:
        if getattr(arguments, flag):
            raise ConfigError(
                f"--{flag.replace('_', '-')} is a flag of the overlay driver: leave it out with --underlay"
            )
    parser = argparse.ArgumentParser()
    underlay_flags.add_underlay_arguments(parser)
    return underlay_flags.read_underlay(parser.parse_args([], namespace=arguments))
