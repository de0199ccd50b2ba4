"""The driver's flags and their defaults, read into one value. Pure.

Flags are the guide's and the daemon flags of Open vSwitch's programs; what is a property of the host and not
of this process (ovn-nb, ovn-bridge, …) is read from Open_vSwitch instead (host/open_vswitch.py).
"""

import argparse
import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ovn_docker import address_pools, logs
from ovn_docker.address_pools import DefaultPool
from ovn_docker.errors import ConfigError, RequestError

# ------------------------------------------------------------------------------------------------------------
# The flags of TLS: on the TCP port, the driver's own files and those for Docker; and to the databases. Pure.
# Owns which of them go together. What is in the files is libnetwork/certificates.py's and
# ovsdb/remotes.py's.


OWN: Mapping[str, str] = {
    "--tls-cert": "the driver's certificate, and the CAs between it and the root",
    "--tls-key": "its private key, without a passphrase",
    "--tls-client-ca": "the CAs whose clients are let in",
}
DOCKERS: Mapping[str, str] = {
    "--plugin-file-ca": "by which Docker is to verify the driver's certificate",
    "--plugin-file-cert": "that Docker is to show, signed by a CA of --tls-client-ca",
    "--plugin-file-key": "of Docker's certificate",
}
DATABASES: Mapping[str, tuple[str, str]] = {
    "--private-key": ("-p", "of the driver's certificate"),
    "--certificate": ("-c", "that the driver shows to OVSDB servers"),
    "--ca-cert": ("-C", "whose certificates OVSDB servers must have"),
}
"""As ovs-vsctl(8) and ovn-nbctl(8) have them, "Public Key Infrastructure Options"."""


def add_database_arguments(group: "argparse._ActionsContainer") -> None:
    """Add the flags of TLS to the databases, which the commands have too."""
    for flag, (short, meaning) in DATABASES.items():
        group.add_argument(short, flag, metavar="FILE", type=Path, help=f"for ssl: remotes: {meaning}")


def read_databases(arguments: argparse.Namespace) -> tuple[Path, Path, Path] | None:
    """Private key, certificate and CA certificate for the databases, or None for those of Open_vSwitch.

    Raises:
        ConfigError: one of the three is missing, or no absolute path.
    """
    return _files(arguments, DATABASES)


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    own = parser.add_argument_group("TLS on the TCP port (PEM files; all three or none)")
    for flag, meaning in OWN.items():
        own.add_argument(flag, metavar="FILE", type=Path, help=meaning)
    docker = parser.add_argument_group(
        "TLS for Docker, named in the plugin file (PEM files; all three or none)"
    )
    for flag, meaning in DOCKERS.items():
        docker.add_argument(flag, metavar="FILE", type=Path, help=meaning)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of the TCP port; paths of PEM files.

    Attributes:
        certificate: the driver's certificate, with the CAs between it and the root.
        key: its private key.
        client_ca: the CAs whose clients are let in.
        docker: CA, certificate and private key for the plugin file, as dockerd sees them; None where Docker
            comes by the unix socket.
    """

    certificate: Path
    key: Path
    client_ca: Path
    docker: tuple[Path, Path, Path] | None


def read_tls(arguments: argparse.Namespace, *, tcp: bool, unix: bool) -> Tls | None:
    """The files of TLS, or None where they are not asked for.

    Args:
        arguments: parsed flags.
        tcp: whether a TCP port is listened on.
        unix: whether a unix socket is, by which Docker comes then.

    Raises:
        ConfigError: they make no sense together, or are no absolute paths.
    """
    own, docker = _files(arguments, OWN), _files(arguments, DOCKERS)
    if own is None:
        if docker is not None:
            raise ConfigError("--plugin-file-ca is of no use without TLS: give --tls-cert too")
        return None
    if not tcp:
        raise ConfigError("--tls-cert is for the TCP port: give --bind-ip or --bind-port too")
    if not unix and docker is None:
        raise ConfigError(
            "--tls-cert without --unix-socket: Docker comes by TLS then, so give it --plugin-file-ca,"
            " --plugin-file-cert and --plugin-file-key"
        )
    if unix and docker is not None:
        raise ConfigError("--plugin-file-ca is of no use with --unix-socket, by which Docker comes then")
    return Tls(*own, docker)


def _files(arguments: argparse.Namespace, flags: Iterable[str]) -> tuple[Path, Path, Path] | None:
    """The files of three flags that go together."""
    given = {flag: getattr(arguments, flag.removeprefix("--").replace("-", "_")) for flag in flags}
    missing = [flag for flag, path in given.items() if path is None]
    if all(path is None for path in given.values()):
        return None
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{', '.join(given)} go together: {' and '.join(missing)} {verb} missing")
    first, second, third = (_absolute_file(path, flag) for flag, path in given.items())
    return first, second, third


def _absolute_file(path: Path, flag: str) -> Path:
    if path.is_absolute():
        return path
    raise ConfigError(f"{flag} {path} is not an absolute path")


# --- The flags of every daemon of Open vSwitch: how it detaches, and what it logs where. Pure. --------------


def add_daemon_arguments(parser: argparse.ArgumentParser, program: str) -> None:
    """The flags of ovs-vswitchd(8), "Daemon Options" and "Logging Options"."""
    run = default_run_directory()
    daemon = parser.add_argument_group("daemon")
    daemon.add_argument("--detach", action="store_true", help="run in the background, once it answers")
    daemon.add_argument(
        "--pidfile",
        metavar="FILE",
        nargs="?",
        const=str(run / f"{program}.pid"),
        help="write the process id to this file (without FILE: %(const)s)",
    )
    daemon.add_argument(
        "--overwrite-pidfile", action="store_true", help="start even if the pidfile's process runs"
    )
    daemon.add_argument("--no-chdir", action="store_true", help="stay in this directory with --detach")
    daemon.add_argument("--monitor", action="store_true", help="no effect")
    log = parser.add_argument_group("logging")
    log.add_argument(
        "--log-file",
        metavar="FILE",
        nargs="?",
        const=f"/var/log/openvswitch/{program}.log",
        help="log to this file (without FILE: %(const)s)",
    )
    log.add_argument(
        "-v",
        "--verbose",
        metavar="SPEC",
        nargs="?",
        const="",
        action="append",
        default=[],
        help="set log levels, as MODULE:PLACE:LEVEL in any part (without SPEC: everything)",
    )


def default_run_directory() -> Path:
    """Where Open vSwitch's sockets and pidfiles are: ``OVS_RUNDIR`` or as packaged."""
    return Path(os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """The daemon options of a command line.

    Attributes:
        detach: leave the terminal; the launcher returns when the daemon is ready.
        pidfile: where to write the daemon's process id, or None.
        overwrite_pidfile: take the pidfile even from a process that lives.
        chdir: go to / once detached, so that no file system is kept from being unmounted.
        monitor: whether the flag without an effect was given.
    """

    detach: bool = False
    pidfile: Path | None = None
    overwrite_pidfile: bool = False
    chdir: bool = True
    monitor: bool = False


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
class HealthCheckSettings:
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
class Settings:
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
    tls: Tls | None
    scope: str
    distributed: bool
    context: str
    default_pools: tuple[DefaultPool, ...]
    ip_lookup: bool
    state_file: Path
    dead_host_after: int
    driver_name: str
    plugin_directory: Path
    health: HealthCheckSettings
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
    add_daemon_arguments(parser, PROGRAM)


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
    add_tls_arguments(parser)
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


def read_inspection(arguments: argparse.Namespace) -> Settings:
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
    add_database_arguments(driver)


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


def read(arguments: argparse.Namespace, *, managed: bool = False) -> Settings:
    """The configuration that parsed flags mean.

    Args:
        arguments: as parsed.
        managed: whether the driver may be a managed plugin, whose name may have slashes.

    Raises:
        ConfigError: a flag's value cannot be used; the text names the flag.
    """
    if not (_MANAGED_NAME if managed else _LEGACY_NAME).fullmatch(arguments.driver_name):
        raise ConfigError(f"--driver-name '{arguments.driver_name}' is not a valid name of a Docker plugin")
    return Settings(
        bind=_bind(arguments),
        unix_socket=_absolute(arguments.unix_socket, "--unix-socket"),
        tls=read_tls(arguments, tcp=_bind(arguments) is not None, unix=arguments.unix_socket is not None),
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
        database_tls=read_databases(arguments),
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


def _health(arguments: argparse.Namespace) -> HealthCheckSettings:
    interval, version = arguments.health_check_interval, arguments.docker_api_version
    if not SHORTEST_INTERVAL <= interval < float("inf"):
        raise ConfigError(f"--health-check-interval {interval:g}: give {SHORTEST_INTERVAL:g} s or more")
    if version is not None and not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", version):
        raise ConfigError(f"--docker-api-version '{version}' is not a valid API version: write it as 1.45")
    return HealthCheckSettings(arguments.health_check_on, interval, arguments.docker_socket, version)


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


# --- The underlay driver's flags and their defaults. Pure. --------------------------------------------------


UNDERLAY_PROGRAM = "ovn-docker-underlay-driver"
BRIDGE = "breth0"
TRUNK, PROFILE = "trunk", "profile"
"""How a container's port is put under the machine's."""


def add_underlay_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the underlay driver's flags; those of the overlay's that it lacks are as if not given."""
    driver = add_listen_arguments(parser)
    driver.add_argument(
        "--bridge",
        metavar="BRIDGE",
        default=BRIDGE,
        help="the Open vSwitch bridge that the machine's interface is on (default %(default)s)",
    )
    add_child_ports_argument(driver)
    add_state_argument(driver, "Neutron network", "NAME-underlay.json")
    add_host_arguments(driver)
    add_health_arguments(parser)
    add_daemon_arguments(parser, UNDERLAY_PROGRAM)
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


def read_underlay(arguments: argparse.Namespace) -> tuple[Settings, str]:
    """The configuration that the underlay driver's flags mean, and its bridge.

    Raises:
        ConfigError: as `read`.
    """
    settings = read(arguments)
    if arguments.state_file is None:  # both drivers may have run on a machine under one name
        settings = replace(settings, state_file=STATE_DIRECTORY / f"{settings.driver_name}-underlay.json")
    return settings, check_bridge(arguments.bridge)


def check_bridge(name: str) -> str:
    """The name of a bridge, if it is one.

    Raises:
        ConfigError: it is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name):
        raise ConfigError(f"--bridge '{name}' is not a valid name of a bridge")
    return name


# --- Settings of Docker's managed plugin, and the driver's flags that they stand for. Pure. -----------------
# Owns what a setting of ``docker plugin set`` is called and what its value may be. What Docker is told of
# them is in packaging/plugin/config.json, which a test compares with this.


PLUGIN_NAME = "ovn"
"""What the plugin is called unless its user says otherwise: Docker puts ``:latest`` behind it."""

FIXED: Mapping[str, tuple[str, str]] = {
    "--unix-socket": (
        "/run/docker/plugins/ovn.sock",
        "Docker's directory (moby plugin/v2/plugin_linux.go) and the socket of config.json",
    ),
    "--plugin-dir": ("/run", "Docker finds a managed plugin by its name, so nobody reads a plugin file"),
    "--docker-socket": ("unix:///run/docker.sock", "where the mount `docker` puts it: set `docker.source`"),
}
"""Flags that are the plugin's own affair: their values, and why."""

LEFT_OUT: Mapping[str, str] = {
    "--plugin-file-ca": "Docker comes by the unix socket",
    "--plugin-file-cert": "Docker comes by the unix socket",
    "--plugin-file-key": "Docker comes by the unix socket",
    "--detach": "dockerd starts the process and waits for its socket",
    "--no-chdir": "it goes with `--detach`",
    "--pidfile": "dockerd knows the process",
    "--overwrite-pidfile": "it goes with `--pidfile`",
    "--monitor": "dockerd starts the process again when it ends",
    "--log-file": "dockerd's log has the plugin's lines",
    "--help": "`docker plugin inspect` shows the settings",
}
"""Flags that mean nothing there, and why."""

TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: of the environment variable, ``HEALTH_CHECK_ON``.
        flag: what it stands for, ``--health-check-on``.
        meaning: the flag's help.
        default: what it is until it is set, or "" for the flag's own default.
        switch: whether the flag has no value; the setting is true or false then.
        repeated: whether the flag may be given several times; the setting has spaces between its values then.
    """

    name: str
    flag: str
    meaning: str
    default: str
    switch: bool
    repeated: bool

    def arguments(self, value: str) -> list[str]:
        """The setting as arguments of the driver.

        Args:
            value: as set; one without a visible character is as if not set.

        Raises:
            ConfigError: it is neither true nor false and has to be.
        """
        value = value.strip() or self.default
        if not value:
            return []
        if self.repeated:
            return [f"{self.flag}={each}" for each in value.split()]
        if not self.switch:
            return [f"{self.flag}={value}"]
        if value.lower() not in TRUE | FALSE:
            raise ConfigError(f"setting {self.name} is '{value}': set it to true or false")
        return [self.flag] if value.lower() in TRUE else []


def plugin_settings() -> Iterator[Setting]:
    """All settings, in the order of the driver's help."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    formatter = parser._get_formatter()  # noqa: SLF001  (it fills in the defaults that a help text names)
    for action in parser._actions:  # noqa: SLF001  (argparse lists them nowhere else)
        flag = next(each for each in action.option_strings if each.startswith("--"))
        if flag in FIXED or flag in LEFT_OUT:
            continue
        yield Setting(
            name=flag.removeprefix("--").replace("-", "_").upper(),
            flag=flag,
            meaning=formatter._expand_help(action),  # noqa: SLF001
            default=PLUGIN_NAME if flag == "--driver-name" else "",
            switch=action.nargs == 0,
            repeated=isinstance(action, argparse._AppendAction),  # noqa: SLF001
        )


def plugin_arguments(environment: Mapping[str, str]) -> list[str]:
    """The driver's arguments that an environment means.

    Args:
        environment: of the plugin's process, as Docker makes it of the settings.

    Raises:
        ConfigError: a setting cannot be used; the text names it.
    """
    given = [f"{flag}={value}" for flag, (value, _why) in FIXED.items()]
    for each in plugin_settings():
        given += each.arguments(environment.get(each.name, ""))
    return given
