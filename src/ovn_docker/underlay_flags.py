"""The underlay driver's flags and their defaults. Pure."""

import argparse
import re
from dataclasses import replace

from ovn_docker import address_pools, daemon_flags
from ovn_docker import settings as config
from ovn_docker.errors import ConfigError
from ovn_docker.settings import Config

PROGRAM = "ovn-docker-underlay-driver"
BRIDGE = "breth0"
TRUNK, PROFILE = "trunk", "profile"
"""How a container's port is put under the machine's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the underlay driver's flags; those of the overlay's that it lacks are as if not given."""
    driver = config.add_listen_arguments(parser)
    driver.add_argument(
        "--bridge",
        metavar="BRIDGE",
        default=BRIDGE,
        help="the Open vSwitch bridge that the machine's interface is on (default %(default)s)",
    )
    add_child_ports_argument(driver)
    config.add_state_argument(driver, "Neutron network", "NAME-underlay.json")
    config.add_host_arguments(driver)
    config.add_health_arguments(parser)
    daemon_flags.add_arguments(parser, PROGRAM)
    parser.set_defaults(
        distributed=False,
        routing_context=address_pools.DEFAULT_CONTEXT,
        default_address_pool=None,
        dead_host_after=0,
        ip_lookup=False,
    )


def add_child_ports_argument(group: "argparse._ArgumentGroup") -> None:
    """Add the flag that says how ports are under the machine's."""
    group.add_argument(
        "--child-ports",
        choices=(TRUNK, PROFILE),
        default=TRUNK,
        help="put containers' ports under the machine's as subports of a trunk, or by binding:profile, which"
        " only an account with the role 'service' may (default %(default)s)",
    )


def read(arguments: argparse.Namespace) -> tuple[Config, str]:
    """The configuration that the underlay driver's flags mean, and its bridge.

    Raises:
        ConfigError: as `read`.
    """
    settings = config.read(arguments)
    if arguments.state_file is None:  # both drivers may have run on a machine under one name
        settings = replace(
            settings, state_file=config.STATE_DIRECTORY / f"{settings.driver_name}-underlay.json"
        )
    return settings, check_bridge(arguments.bridge)


def check_bridge(name: str) -> str:
    """The name of a bridge, if it is one.

    Raises:
        ConfigError: it is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name):
        raise ConfigError(f"--bridge '{name}' is not a valid name of a bridge")
    return name
