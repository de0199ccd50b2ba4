"""The table of all flags, and the Settings that they are read into. Pure.

argparse, the managed plugin's settings and the tables of docs/reference are made from it. What is a property
of the host and not of a process (ovn-nb, ovn-bridge, …) is read from Open_vSwitch (host/open_vswitch.py).
"""

import argparse
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ovn_docker import address_pools, logs
from ovn_docker.address_pools import DefaultPool
from ovn_docker.errors import ConfigError, RequestError


class Program(StrEnum):
    """What takes flags of the table."""

    OVERLAY = "ovn-docker-overlay-driver"
    UNDERLAY = "ovn-docker-underlay-driver"
    PLUGIN = "the managed plugin"
    CHECK = "ovn-docker check"
    VTEP = "ovn-docker vtep"
    GC = "ovn-docker gc"


_OVERLAY = (Program.OVERLAY, Program.PLUGIN)
_DRIVERS = (*_OVERLAY, Program.UNDERLAY)
_SHARING = (*_OVERLAY, Program.CHECK, Program.VTEP)
_UNDERLAY = (Program.UNDERLAY, Program.CHECK)
_INSPECTED = (*_SHARING, Program.UNDERLAY)
_DATABASES = (*_INSPECTED, Program.GC)

BIND_IP, BIND_PORT = "0.0.0.0", 5000  # noqa: S104  (the guide: all interfaces, port 5000)
STATE_DIRECTORY = Path("/var/lib/ovn-docker")
SCOPE_FLAG, SCOPES = "--docker-driver-scope", ("local", "global")
TRUNK, PROFILE = "trunk", "profile"
"""How a container's port is put under the machine's."""
MAXIMUM_PORT = 65535
SHORTEST_DEAD_HOST_AFTER = 60
HEALTH_CHECK_INTERVAL = 180.0
"""Seconds; the guide's sample of NetworkDriver.Database."""
SHORTEST_INTERVAL = 1.0
SHORTEST_PROBE_INTERVAL = 1000
"""Milliseconds, as in the column inactivity_probe and in ovn-remote-probe-interval (ovn-controller(8))."""
_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_LEGACY_NAME = re.compile(_NAME)
_MANAGED_NAME = re.compile(f"(?:{_NAME}(?::[0-9]{{1,5}})?/)?(?:{_NAME}/){{0,8}}{_NAME}")
"""A managed plugin's without its tag, ``ovn`` or ``example.org:5000/team/ovn``."""


# --- The table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        usage: its names, the long one last, and its value: ``-c --certificate FILE``, ``--pidfile [FILE]``
            where that is optional, ``--child-ports trunk|profile``; one without is a switch.
        programs: which take it.
        help: for ``--help``, the plugin's config.json and the reference.
        default: as typed; ``{run}`` in it is Open vSwitch's run directory. None where no value has a meaning.
        shown: what people read as the default, where that is not `default`.
        without: the value of ``[FILE]`` left out, with ``{run}`` and ``{program}``.
        repeated: whether it may be given several times; the plugin's setting has spaces between its values.
        excluded: why the managed plugin has no such setting.
        fixed: its value in the managed plugin where it is not a setting.
        plugin_default: the default of the plugin's setting, where that is not the flag's.
    """

    usage: str
    programs: tuple[Program, ...]
    help: str
    default: str | None = None
    type: Callable[[str], Any] = str
    shown: str = ""
    without: str = ""
    repeated: bool = False
    excluded: str = ""
    fixed: str = ""
    plugin_default: str = ""

    @property
    def names(self) -> list[str]:
        return [word for word in self.usage.split() if word.startswith("-")]

    @property
    def value(self) -> str:
        """``FILE``; "" for a switch."""
        return self.usage.split()[-1] if " " in self.usage else ""

    @property
    def dest(self) -> str:
        """``health_check_on``, its attribute of argparse's namespace."""
        return _dest(self.names[-1])

    def default_text(self, program: str) -> str | None:
        """The default as typed."""
        if self.plugin_default and program == Program.PLUGIN:
            return self.plugin_default
        return None if self.default is None else expand(self.default, program)

    def fallback(self, program: str) -> Any:  # noqa: ANN401  (of the type that `type` makes)
        """What it is where nobody gives it."""
        if not self.value:
            return False
        text = self.default_text(program)
        return None if text is None else self.type(text)

    def description(self, program: str) -> str:
        """The help with the default, or with what a value left out means."""
        if self.without:
            return f"{self.help} (without {self.value[1:-1]}: {expand(self.without, program)})"
        default = self.shown or self.default_text(program)
        return f"{self.help} (default: {default})" if default else self.help

    def add(self, parser: "argparse._ActionsContainer", program: str) -> None:
        """Add it to a parser."""
        options: dict[str, Any] = {"help": self.description(program).replace("%", "%%")}
        if not self.value:
            parser.add_argument(*self.names, action="store_true", **options)
            return
        options |= {"type": self.type, "default": self.fallback(program)}
        if self.repeated:
            options["action"] = "append"
        if "|" in self.value:
            options["choices"] = self.value.split("|")
        elif self.value.startswith("["):
            options |= {"metavar": self.value[1:-1], "nargs": "?", "const": expand(self.without, program)}
        else:
            options["metavar"] = self.value
        parser.add_argument(*self.names, **options)

    def plugin_arguments(self, value: str) -> list[str]:
        """The plugin's setting as arguments of the driver; a blank one is as if not set."""
        name, value = self.names[-1], value.strip()
        if self.repeated:
            return [f"{name}={part}" for part in value.split()]
        if self.value:
            return [f"{name}={value}"] if value else []
        if value.lower() not in TRUE | FALSE:
            raise ConfigError(f"setting {self.dest.upper()} is '{value}': set it to true or false")
        return [name] if value.lower() in TRUE else []


def _dest(name: str) -> str:
    """The attribute that argparse makes of a flag's long name."""
    return name.removeprefix("--").replace("-", "_")


TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off", ""})


def expand(text: str, program: str) -> str:
    """A text of the table with the run directory and the program filled in."""
    run = os.environ.get("OVS_RUNDIR", "/var/run/openvswitch")  # as packaged
    return text.replace("{run}", run).replace("{program}", program)


_SET_SSL = "the file set by 'ovs-vsctl set-ssl'"
_BY_SOCKET = "Docker connects to the unix socket"

# fmt: off
TABLE: Mapping[str, tuple[Flag, ...]] = {
    "listening to Docker": (
        Flag("--bind-ip IP", _DRIVERS, "listen for TCP on this IPv4 or IPv6 address", shown=BIND_IP),
        Flag("--bind-port PORT", _DRIVERS, "listen on this TCP port", type=int, shown=str(BIND_PORT)),
        Flag("--unix-socket PATH", _DRIVERS,
             "listen on this unix socket, and on TCP only if --bind-ip or --bind-port is given too",
             excluded="Docker's directory (moby plugin/v2/plugin_linux.go) and the socket of config.json",
             type=Path, fixed="/run/docker/plugins/ovn.sock"),
        Flag("--plugin-dir DIR", _DRIVERS, "directory of the plugin file, by which Docker finds the driver",
             "/etc/docker/plugins", type=Path,
             excluded="Docker finds a managed plugin by its name and reads no plugin file", fixed="/run"),
    ),
    "TLS on the TCP port (PEM files; all three or none)": (
        Flag("--tls-cert FILE", _DRIVERS,
             "the driver's certificate, followed by any intermediate CA certificates", type=Path),
        Flag("--tls-key FILE", _DRIVERS, "private key of --tls-cert, without a passphrase", type=Path),
        Flag("--tls-client-ca FILE", _DRIVERS, "CAs whose client certificates are accepted", type=Path),
    ),
    "TLS for Docker, named in the plugin file (PEM files; all three or none)": (
        Flag("--plugin-file-ca FILE", _DRIVERS, "CA with which Docker verifies the driver's certificate",
             type=Path, excluded=_BY_SOCKET),
        Flag("--plugin-file-cert FILE", _DRIVERS,
             "certificate that Docker presents, signed by a CA of --tls-client-ca",
             type=Path, excluded=_BY_SOCKET),
        Flag("--plugin-file-key FILE", _DRIVERS, "private key of --plugin-file-cert",
             type=Path, excluded=_BY_SOCKET),
    ),
    "networks": (
        Flag(f"{SCOPE_FLAG} {'|'.join(SCOPES)}", _DRIVERS,
             "scope of the driver's networks, as reported to Docker", "global"),
        Flag("--distributed", _SHARING,
             "put every network on the existing logical switch of its subnet and routing context"),
        Flag("--routing-context NAME", _SHARING, "routing context of networks that name none",
             address_pools.DEFAULT_CONTEXT),
        Flag("--default-address-pool base=CIDR,size=N", _SHARING,
             "pool for the subnets of networks that name none; can be repeated, and replaces the defaults",
             shown=" and ".join(address_pools.DEFAULT_POOLS), repeated=True),
        Flag("--state-file FILE", _SHARING, "file that records which shared switch each network is on",
             type=Path, shown=f"{STATE_DIRECTORY}/NAME.json"),
        Flag("--state-file FILE", (Program.UNDERLAY,),
             "file that records which Neutron network each network is on", type=Path,
             shown=f"{STATE_DIRECTORY}/NAME-underlay.json"),
        Flag("--driver-name NAME", _INSPECTED, "the driver's name, as in 'docker network create -d NAME'",
             "openvswitch", plugin_default="ovn"),
        Flag("--ovsdb REMOTE", tuple(Program), "this host's Open_vSwitch database", "unix:{run}/db.sock"),
        Flag("--db-probe-interval MILLISECONDS", _INSPECTED,
             "probe a database server after this much silence; 0 = never", "5000", type=int),
        # As in ovs-vsctl(8) and ovn-nbctl(8), "Public Key Infrastructure Options".
        Flag("-p --private-key FILE", _DATABASES,
             "for ssl: remotes: private key of --certificate, without a passphrase",
             type=Path, shown=_SET_SSL),
        Flag("-c --certificate FILE", _DATABASES, "for ssl: remotes: certificate to present to OVSDB servers",
             type=Path, shown=_SET_SSL),
        Flag("-C --ca-cert FILE", _DATABASES,
             "for ssl: remotes: CA that must have signed the servers' certificates",
             type=Path, shown=_SET_SSL),
        Flag("--ip-lookup", _SHARING,
             "deliver VXLAN traffic from non-OVN VTEPs to containers by destination IP address"),
        Flag("--bridge BRIDGE", _UNDERLAY,
             "the Open vSwitch bridge of the machine's interface", "breth0"),
        Flag(f"--child-ports {TRUNK}|{PROFILE}", _UNDERLAY,
             "attach containers' ports to the machine's as subports of a trunk, or by binding:profile",
             TRUNK),
    ),
    "health check": (
        Flag("--health-check-on", _DRIVERS,
             "compare Docker, this host and OVN periodically, and repair the differences"),
        Flag("--health-check-interval SECONDS", _DRIVERS, "seconds between two comparisons",
             f"{HEALTH_CHECK_INTERVAL:g}", type=float),
        Flag("--docker-socket SOCKET", _INSPECTED, "address of this host's Docker API",
             "unix:///var/run/docker.sock", fixed="unix:///run/docker.sock",
             excluded="where the mount 'docker' puts it: set 'docker.source'"),
        Flag("--docker-api-version VERSION", _INSPECTED, "version of the Docker API to use, such as 1.45",
             shown="the newest that both sides support"),
        Flag("--dead-host-after SECONDS", _OVERLAY,
             "remove leftovers of hosts absent from OVN for this many seconds, 60 or more; 0 = never",
             "0", type=int),
    ),
    "daemon": (  # as in ovs-vswitchd(8), "Daemon Options"
        Flag("--detach", _DRIVERS, "run in the background; the command returns once the driver answers",
             excluded="dockerd starts the process and waits for its socket"),
        Flag("--pidfile [FILE]", _DRIVERS, "write the process id to this file, and lock it",
             without="{run}/{program}.pid", excluded="dockerd knows the process"),
        Flag("--overwrite-pidfile", _DRIVERS, "start even if the process in the pidfile is running",
             excluded="it needs --pidfile"),
        Flag("--no-chdir", _DRIVERS, "with --detach, stay in the working directory instead of /",
             excluded="it needs --detach"),
        Flag("--monitor", _DRIVERS, "no effect: systemd or dockerd restarts the driver",
             excluded="dockerd restarts the process when it ends"),
    ),
    "logging": (  # as in ovs-vswitchd(8), "Logging Options"
        Flag("--log-file [FILE]", _DRIVERS, "log to this file too, and reopen it after a rotation",
             without="/var/log/openvswitch/{program}.log", excluded="dockerd's log has the plugin's lines"),
        Flag("-v --verbose [SPEC]", _DRIVERS,
             "set a log level as MODULE:PLACE:LEVEL, any part optional; without SPEC, log everything",
             shown="info everywhere", repeated=True),
    ),
}
# fmt: on
"""The flags by the headings that they have in ``--help``."""

FLAGS = tuple(flag for group in TABLE.values() for flag in group)


def add_arguments(parser: argparse.ArgumentParser, program: Program, title: str = "") -> None:
    """Add the flags of a program, under one title or under their own headings."""
    common = parser.add_argument_group(title) if title else None
    for heading, flags in TABLE.items():
        taken = [flag for flag in flags if program in flag.programs]
        if taken:
            group = common or parser.add_argument_group(heading)
            for flag in taken:
                flag.add(group, program)


def plugin_settings() -> Iterator[Flag]:
    """The flags that are settings of the managed plugin."""
    return (flag for flag in FLAGS if Program.PLUGIN in flag.programs and not flag.excluded)


def plugin_arguments(environment: Mapping[str, str]) -> list[str]:
    """The driver's arguments that the plugin's settings mean.

    Args:
        environment: of the plugin's process, as Docker makes it of the settings.

    Raises:
        ConfigError: a setting cannot be used; the text names it.
    """
    given = [f"{flag.names[-1]}={flag.fixed}" for flag in FLAGS if flag.fixed]
    for flag in plugin_settings():
        given += flag.plugin_arguments(environment.get(flag.dest.upper(), ""))
    return given


# --- What the flags mean ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of the TCP port, as PEM files.

    Attributes:
        certificate: the driver's, with the CAs between it and the root.
        key: its private key.
        client_ca: the CAs whose clients are accepted.
        docker: CA, certificate and private key for the plugin file, as dockerd sees them; None where Docker
            connects to the unix socket.
    """

    certificate: Path
    key: Path
    client_ca: Path
    docker: tuple[Path, Path, Path] | None


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """How the process detaches.

    Attributes:
        detach: leave the terminal; the launcher returns when the daemon is ready.
        pidfile: where to write the daemon's process id, or None.
        overwrite_pidfile: take the pidfile even from a running process.
        chdir: go to / once detached, so that no file system is kept from being unmounted.
        monitor: whether the flag without an effect was given.
    """

    detach: bool = False
    pidfile: Path | None = None
    overwrite_pidfile: bool = False
    chdir: bool = True
    monitor: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheckSettings:
    """How this host's Docker is compared with the host and OVN.

    Attributes:
        on: whether the driver does it periodically.
        interval: seconds from one pass to the next.
        docker_socket: where Docker's API is, as ``unix:///PATH``.
        docker_api_version: ``1.45``, or None for the newest that both sides support.
    """

    on: bool
    interval: float
    docker_socket: str
    docker_api_version: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """How one driver runs.

    Attributes:
        bind: IP address and TCP port to listen on, or None for no TCP.
        unix_socket: path to listen on, or None for no unix socket.
        scope: ``local`` or ``global``, where Docker allocates networks; "" where a command was not given it.
        distributed: whether every network is on the switch of its subnet and context.
        context: the routing context of a network that names none.
        ip_lookup: whether VXLAN traffic of VTEPs outside OVN is delivered by destination address.
        dead_host_after: seconds of absence from OVN after which a host's leftovers go, or 0 for never.
        ovsdb: the host's Open_vSwitch database, as ``unix:/PATH`` or ``tcp:ADDRESS:PORT``.
        database_tls: private key, certificate and CA certificate for ``ssl:`` remotes, or None for those that
            Open_vSwitch names.
        probe_interval: seconds of silence after which a database server is probed, or 0 for never.
        bridge: of Open vSwitch, with the machine's interface; the underlay driver's only, as the next.
        child_ports: ``trunk`` or ``profile``.
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
    bridge: str
    child_ports: str
    daemon: DaemonOptions
    levels: logs.Levels
    log_file: Path | None


def read(arguments: argparse.Namespace, program: Program) -> Settings:
    """The settings that parsed flags mean; a flag that the program does not take has its default.

    Raises:
        ConfigError: a flag's value cannot be used; the text names the flag.
    """
    given = argparse.Namespace(**{flag.dest: flag.fallback(program) for flag in FLAGS} | vars(arguments))
    pattern = _LEGACY_NAME if program in {Program.OVERLAY, Program.UNDERLAY} else _MANAGED_NAME
    if not pattern.fullmatch(given.driver_name):
        raise ConfigError(f"--driver-name '{given.driver_name}' is not a valid name of a Docker plugin")
    bind = _bind(given)
    pools = given.default_address_pool or address_pools.DEFAULT_POOLS
    return Settings(
        bind=bind,
        unix_socket=None if given.unix_socket is None else _absolute(given.unix_socket, "--unix-socket"),
        tls=_tls(given, tcp=bind is not None),
        scope=given.docker_driver_scope,
        distributed=given.distributed,
        context=_context(given.routing_context),
        default_pools=tuple(address_pools.parse_default_pool(text) for text in pools),
        ip_lookup=given.ip_lookup,
        state_file=(given.state_file or _state_file(given.driver_name, program)).absolute(),
        dead_host_after=_dead_host_after(given.dead_host_after),
        driver_name=given.driver_name,
        plugin_directory=given.plugin_dir.absolute(),  # --detach changes the directory
        health=_health(given),
        ovsdb=given.ovsdb,
        database_tls=read_database_tls(given),
        probe_interval=_probe_interval(given.db_probe_interval),
        bridge=check_bridge(given.bridge),
        child_ports=given.child_ports,
        daemon=DaemonOptions(
            detach=given.detach,
            pidfile=Path(given.pidfile).absolute() if given.pidfile else None,
            overwrite_pidfile=given.overwrite_pidfile,
            chdir=not given.no_chdir,
            monitor=given.monitor,
        ),
        levels=logs.parse(given.verbose or ()),
        log_file=Path(given.log_file).absolute() if given.log_file else None,
    )


def read_database_tls(given: argparse.Namespace) -> tuple[Path, Path, Path] | None:
    """Private key, certificate and CA certificate for the databases, or None for those of Open_vSwitch.

    Raises:
        ConfigError: not all three are given, or one is not an absolute path.
    """
    return _files(given, "--private-key", "--certificate", "--ca-cert")


def check_bridge(name: str) -> str:
    """The name of a bridge, if it is valid.

    Raises:
        ConfigError: it is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name):
        raise ConfigError(f"--bridge '{name}' is not a valid name of a bridge")
    return name


def _bind(given: argparse.Namespace) -> tuple[str, int] | None:
    if given.unix_socket and given.bind_ip is None and given.bind_port is None:
        return None
    address = given.bind_ip if given.bind_ip is not None else BIND_IP
    port = given.bind_port if given.bind_port is not None else BIND_PORT
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise ConfigError(f"--bind-ip: {error}") from error
    if not 0 < port <= MAXIMUM_PORT:
        raise ConfigError(f"--bind-port {port} is not a valid TCP port: give one of 1 to {MAXIMUM_PORT}")
    return address, port


def _absolute(path: Path, flag: str) -> Path:
    if path.is_absolute():
        return path
    raise ConfigError(f"{flag} {path} is not an absolute path")


def _tls(given: argparse.Namespace, *, tcp: bool) -> Tls | None:
    server = _files(given, "--tls-cert", "--tls-key", "--tls-client-ca")
    docker = _files(given, "--plugin-file-ca", "--plugin-file-cert", "--plugin-file-key")
    unix = given.unix_socket is not None
    if server is None:
        if docker is not None:
            raise ConfigError("--plugin-file-ca has no effect without TLS: give --tls-cert too")
        return None
    if not tcp:
        raise ConfigError("--tls-cert is for the TCP port: give --bind-ip or --bind-port too")
    if not unix and docker is None:
        raise ConfigError(
            "--tls-cert without --unix-socket: Docker has to connect with TLS, so give it --plugin-file-ca,"
            " --plugin-file-cert and --plugin-file-key"
        )
    if unix and docker is not None:
        raise ConfigError("--plugin-file-ca has no effect with --unix-socket, to which Docker connects")
    return Tls(*server, docker)


def _files(given: argparse.Namespace, *flags: str) -> tuple[Path, Path, Path] | None:
    """The files of three flags that go together."""
    paths = {flag: getattr(given, _dest(flag)) for flag in flags}
    missing = [flag for flag, path in paths.items() if path is None]
    if len(missing) == len(paths):
        return None
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{', '.join(paths)} go together: {' and '.join(missing)} {verb} missing")
    first, second, third = (_absolute(path, flag) for flag, path in paths.items())
    return first, second, third


def _context(name: str) -> str:
    try:
        return address_pools.check_context(name)
    except RequestError as error:
        raise ConfigError(f"--routing-context: {error}") from error


def _state_file(driver_name: str, program: Program) -> Path:
    """Both drivers may have run on a machine under one name."""
    suffix = "-underlay" if program is Program.UNDERLAY else ""
    return STATE_DIRECTORY / f"{driver_name.replace('/', '_')}{suffix}.json"


def _dead_host_after(seconds: int) -> int:
    if seconds != 0 and seconds < SHORTEST_DEAD_HOST_AFTER:
        raise ConfigError(
            f"--dead-host-after {seconds} is too short for a host that is restarted: give"
            f" {SHORTEST_DEAD_HOST_AFTER} seconds or more, or 0 for never"
        )
    return seconds


def _health(given: argparse.Namespace) -> HealthCheckSettings:
    interval, version = given.health_check_interval, given.docker_api_version
    if not SHORTEST_INTERVAL <= interval < float("inf"):
        raise ConfigError(f"--health-check-interval {interval:g}: give {SHORTEST_INTERVAL:g} s or more")
    if version is not None and not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", version):
        raise ConfigError(f"--docker-api-version '{version}' is not a valid API version: write it as 1.45")
    return HealthCheckSettings(given.health_check_on, interval, given.docker_socket, version)


def _probe_interval(milliseconds: int) -> float:
    """In seconds; as everywhere in Open vSwitch, less than a second is taken for a second."""
    if milliseconds < 0:
        raise ConfigError(f"--db-probe-interval {milliseconds}: give milliseconds, or 0 for no probe")
    return max(milliseconds, SHORTEST_PROBE_INTERVAL) / 1000 if milliseconds else 0.0
