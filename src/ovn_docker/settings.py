"""The driver's flags and their defaults, read into one value. Pure.

Flags are the guide's and the daemon flags of Open vSwitch's programs; what is a property of the host and not
of this process (ovn-nb, ovn-bridge, …) is read from Open_vSwitch instead (host/open_vswitch.py).
"""

import argparse
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from ovn_docker import address_pools, daemon_flags, logs, tls_flags
from ovn_docker.address_pools import DefaultPool
from ovn_docker.daemon.process import DaemonOptions
from ovn_docker.daemon_flags import default_run_directory
from ovn_docker.errors import ConfigError, RequestError

BIND_IP, BIND_PORT = "0.0.0.0", 5000  # noqa: S104  (the guide: all interfaces, port 5000)
PLUGIN_DIRECTORY = Path("/etc/docker/plugins")
STATE_DIRECTORY = Path("/var/lib/ovn-docker")
DRIVER_NAME = "openvswitch"
SCOPE_FLAG, SCOPES = "--docker-driver-scope", ("local", "global")
PROGRAM = "ovn-docker-overlay-driver"
MAXIMUM_PORT = 65535
SHORTEST_DEAD_HOST_AFTER = 60
HEALTH_CHECK_INTERVAL = 180.0
"""Seconds; the guide's sample of NetworkDriver.Database."""
SHORTEST_INTERVAL = 1.0
PROBE_INTERVAL, SHORTEST_PROBE_INTERVAL = 5000, 1000
"""Milliseconds, as in the column inactivity_probe and in ovn-remote-probe-interval (ovn-controller(8))."""
DOCKER_SOCKET = "unix:///var/run/docker.sock"
_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_LEGACY_NAME = re.compile(_NAME)
_MANAGED_NAME = re.compile(f"(?:{_NAME}(?::[0-9]{{1,5}})?/)?(?:{_NAME}/){{0,8}}{_NAME}")
"""A managed plugin's without its tag, ``ovn`` or ``example.org:5000/team/ovn``."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How this host's Docker is compared with what stands for it.

    Attributes:
        on: whether the driver does it by itself.
        interval: seconds from one pass to the next.
        docker_socket: where Docker's API is, as ``unix:///PATH``.
        docker_api_version: ``1.45``, or None for the newest that both sides know.
    """

    on: bool
    interval: float
    docker_socket: str
    docker_api_version: str | None


@dataclass(frozen=True, slots=True)
class Config:
    """What one driver process was told.

    Attributes:
        bind: IP address and TCP port to listen on, or None for no TCP.
        unix_socket: path to listen on, or None for no unix socket.
        tls: how the TCP port is encrypted, or None for plain TCP.
        scope: ``local`` or ``global``, where Docker allocates networks; "" where a command was not told.
        distributed: whether every network is on the switch of its subnet and context.
        context: the routing context of a network that names none.
        default_pools: where subnets come from that nobody named.
        ip_lookup: whether VXLAN packets of VTEPs that know no OVN are led to containers by address.
        state_file: where it is kept which shared switch a network is on.
        dead_host_after: seconds after which a host that is gone from OVN is given up, or 0 for never.
        driver_name: what ``docker network create -d`` calls the driver.
        plugin_directory: where Docker looks for the plugin file.
        health: whether and how the health check runs.
        ovsdb: the host's Open_vSwitch database, as ``unix:/PATH`` or ``tcp:ADDRESS:PORT``.
        database_tls: private key, certificate and CA certificate for ``ssl:`` remotes, or None for those that
            Open_vSwitch names.
        probe_interval: seconds of silence after which a database server is probed, or 0 for never.
        daemon: how the process detaches and is watched.
        levels: what is logged where.
        log_file: where to log to, or None.
    """

    bind: tuple[str, int] | None
    unix_socket: Path | None
    tls: tls_flags.Tls | None
    scope: str
    distributed: bool
    context: str
    default_pools: tuple[DefaultPool, ...]
    ip_lookup: bool
    state_file: Path
    dead_host_after: int
    driver_name: str
    plugin_directory: Path
    health: HealthCheck
    ovsdb: str
    database_tls: tuple[Path, Path, Path] | None
    probe_interval: float
    daemon: DaemonOptions
    levels: logs.Levels
    log_file: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the overlay driver's flags."""
    driver = add_listen_arguments(parser)
    _add_sharing_arguments(driver)
    add_host_arguments(driver)
    _add_lookup_argument(driver)
    health = add_health_arguments(parser)
    _add_dead_host_argument(health)
    daemon_flags.add_arguments(parser, PROGRAM)


def add_listen_arguments(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add the flags of both drivers that say how Docker reaches them; returns the networks' group."""
    listen = parser.add_argument_group("listening to Docker")
    listen.add_argument("--bind-ip", metavar="IP", help=f"listen for TCP on this address (default {BIND_IP})")
    listen.add_argument(
        "--bind-port", metavar="PORT", type=int, help=f"listen on this TCP port (default {BIND_PORT})"
    )
    listen.add_argument(
        "--unix-socket",
        metavar="PATH",
        type=Path,
        help="listen on this unix socket, and on TCP only if --bind-ip or --bind-port is given too",
    )
    listen.add_argument(
        "--plugin-dir",
        metavar="DIR",
        type=Path,
        default=PLUGIN_DIRECTORY,
        help="where Docker looks for the plugin file (default %(default)s)",
    )
    tls_flags.add_arguments(parser)
    driver = parser.add_argument_group("networks")
    driver.add_argument(
        SCOPE_FLAG,
        choices=SCOPES,
        default="global",
        help="where Docker allocates networks (default %(default)s)",
    )
    return driver


def add_inspection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of the driver's flags that say what a command looks at; `read_inspection` reads them."""
    group = parser.add_argument_group("what the driver was told, where that is not the default")
    _add_sharing_arguments(group)
    add_host_arguments(group)
    _add_lookup_argument(group)
    _add_docker_arguments(group)


def read_inspection(arguments: argparse.Namespace) -> Config:
    """The configuration of a driver that was told so much, and nothing else.

    Raises:
        ConfigError: as `read`.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read(parser.parse_args([], namespace=arguments), managed=True)


def add_host_arguments(driver: "argparse._ArgumentGroup") -> None:
    """Add the flags of both drivers that say what they are on this host."""
    driver.add_argument(
        "--driver-name",
        metavar="NAME",
        default=DRIVER_NAME,
        help="the name for 'docker network create -d' (default %(default)s)",
    )
    driver.add_argument(
        "--ovsdb",
        metavar="REMOTE",
        default=default_ovsdb(),
        help="the host's Open_vSwitch database (default %(default)s)",
    )
    driver.add_argument(
        "--db-probe-interval",
        metavar="MILLISECONDS",
        type=int,
        default=PROBE_INTERVAL,
        help="silence of a database server after which it is probed, 0 for never (default %(default)s)",
    )
    tls_flags.add_database_arguments(driver)


def _add_lookup_argument(driver: "argparse._ArgumentGroup") -> None:
    driver.add_argument(
        "--ip-lookup",
        action="store_true",
        help="lead VXLAN packets of VTEPs that know no OVN to containers by address; see 'ovn-docker vtep'",
    )


def add_health_arguments(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add the flags of both drivers on the health check; returns their group."""
    health = parser.add_argument_group("health check")
    health.add_argument(
        "--health-check-on",
        action="store_true",
        help="compare Docker, this host and OVN again and again, and repair what differs",
    )
    health.add_argument(
        "--health-check-interval",
        metavar="SECONDS",
        type=float,
        default=HEALTH_CHECK_INTERVAL,
        help="seconds from one comparison to the next (default %(default)g)",
    )
    _add_docker_arguments(health)
    return health


def _add_docker_arguments(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--docker-socket",
        metavar="SOCKET",
        default=DOCKER_SOCKET,
        help="where this host's Docker answers (default %(default)s)",
    )
    group.add_argument(
        "--docker-api-version",
        metavar="VERSION",
        help="of Docker's API (default: the newest that both sides know)",
    )


def _add_sharing_arguments(driver: "argparse._ArgumentGroup") -> None:
    driver.add_argument(
        "--distributed",
        action="store_true",
        help="put every network on the logical switch of its subnet and context, which an administrator made",
    )
    driver.add_argument(
        "--routing-context",
        metavar="NAME",
        default=address_pools.DEFAULT_CONTEXT,
        help="the context of networks that name none (default %(default)s)",
    )
    driver.add_argument(
        "--default-address-pool",
        metavar="base=CIDR,size=N",
        action="append",
        help="where subnets come from that nobody named; may be repeated"
        f" (default {' and '.join(address_pools.DEFAULT_POOLS)})",
    )
    add_state_argument(driver, "shared switch", "NAME.json")


def add_state_argument(driver: "argparse._ArgumentGroup", what: str, name: str) -> None:
    """Add the flag that names the state file, whose default name is `name`; it keeps which `what` is used."""
    driver.add_argument(
        "--state-file",
        metavar="FILE",
        type=Path,
        help=f"where to keep which {what} a network is on (default {STATE_DIRECTORY}/{name})",
    )


def _add_dead_host_argument(health: "argparse._ArgumentGroup") -> None:
    health.add_argument(
        "--dead-host-after",
        metavar="SECONDS",
        type=int,
        default=0,
        help="give up what is left of a host that has been gone from OVN for so long (default: 0, never)",
    )


def default_ovsdb() -> str:
    """Where ovsdb-server listens on a host as packaged."""
    return f"unix:{default_run_directory() / 'db.sock'}"


def read(arguments: argparse.Namespace, *, managed: bool = False) -> Config:
    """The configuration that parsed flags mean.

    Args:
        arguments: as parsed.
        managed: whether the driver may be a managed plugin, whose name may have slashes.

    Raises:
        ConfigError: a flag's value cannot be used; the text names the flag.
    """
    if not (_MANAGED_NAME if managed else _LEGACY_NAME).fullmatch(arguments.driver_name):
        raise ConfigError(f"--driver-name '{arguments.driver_name}' is not a valid name of a Docker plugin")
    return Config(
        bind=_bind(arguments),
        unix_socket=_absolute(arguments.unix_socket, "--unix-socket"),
        tls=tls_flags.read(
            arguments, tcp=_bind(arguments) is not None, unix=arguments.unix_socket is not None
        ),
        scope=arguments.docker_driver_scope,
        distributed=arguments.distributed,
        context=_context(arguments.routing_context),
        default_pools=tuple(
            address_pools.parse_default_pool(text)
            for text in arguments.default_address_pool or address_pools.DEFAULT_POOLS
        ),
        ip_lookup=arguments.ip_lookup,
        state_file=(arguments.state_file or _state_file(arguments.driver_name)).absolute(),
        dead_host_after=_dead_host_after(arguments.dead_host_after),
        driver_name=arguments.driver_name,
        plugin_directory=arguments.plugin_dir.absolute(),  # --detach changes the directory
        health=_health(arguments),
        ovsdb=arguments.ovsdb,
        database_tls=tls_flags.read_databases(arguments),
        probe_interval=_probe_interval(arguments.db_probe_interval),
        daemon=DaemonOptions(
            detach=arguments.detach,
            pidfile=Path(arguments.pidfile).absolute() if arguments.pidfile else None,
            overwrite_pidfile=arguments.overwrite_pidfile,
            chdir=not arguments.no_chdir,
            monitor=arguments.monitor,
        ),
        levels=logs.parse(arguments.verbose),
        log_file=Path(arguments.log_file).absolute() if arguments.log_file else None,
    )


def _state_file(driver_name: str) -> Path:
    return STATE_DIRECTORY / f"{driver_name.replace('/', '_')}.json"


def _dead_host_after(seconds: int) -> int:
    if seconds != 0 and seconds < SHORTEST_DEAD_HOST_AFTER:
        raise ConfigError(
            f"--dead-host-after {seconds} is too short for a host that is restarted: give"
            f" {SHORTEST_DEAD_HOST_AFTER} seconds or more, or 0 for never"
        )
    return seconds


def _probe_interval(milliseconds: int) -> float:
    """In seconds; as everywhere in Open vSwitch, one that is shorter than a second is taken for a second."""
    if milliseconds < 0:
        raise ConfigError(f"--db-probe-interval {milliseconds}: give milliseconds, or 0 for no probe")
    return max(milliseconds, SHORTEST_PROBE_INTERVAL) / 1000 if milliseconds else 0.0


def _health(arguments: argparse.Namespace) -> HealthCheck:
    interval, version = arguments.health_check_interval, arguments.docker_api_version
    if not SHORTEST_INTERVAL <= interval < float("inf"):
        raise ConfigError(f"--health-check-interval {interval:g}: give {SHORTEST_INTERVAL:g} s or more")
    if version is not None and not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", version):
        raise ConfigError(f"--docker-api-version '{version}' is not a valid API version: write it as 1.45")
    return HealthCheck(arguments.health_check_on, interval, arguments.docker_socket, version)


def _context(name: str) -> str:
    try:
        return address_pools.check_context(name)
    except RequestError as error:
        raise ConfigError(f"--routing-context: {error}") from error


def _bind(arguments: argparse.Namespace) -> tuple[str, int] | None:
    if arguments.unix_socket and arguments.bind_ip is None and arguments.bind_port is None:
        return None
    address = arguments.bind_ip if arguments.bind_ip is not None else BIND_IP
    port = arguments.bind_port if arguments.bind_port is not None else BIND_PORT
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise ConfigError(f"--bind-ip: {error}") from error
    if not 0 < port <= MAXIMUM_PORT:
        raise ConfigError(f"--bind-port {port} is not a valid TCP port: give one of 1 to {MAXIMUM_PORT}")
    return address, port


def _absolute(path: Path | None, flag: str) -> Path | None:
    if path is None or path.is_absolute():
        return path
    raise ConfigError(f"{flag} {path} is not an absolute path")
