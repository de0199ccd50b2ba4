"""Command lines of the daemons of a lab and where each shows that it is up; does no I/O."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.errors import NotFoundError
from ovn_docker_lab.plan import (
    CENTRAL,
    OUTSIDE,
    WORLD,
    LabSettings,
    MachinePaths,
    northbound_remote,
    southbound_remote,
    underlay_address,
    underlay_address6,
)

OVS_SOCKET = "/run/openvswitch/db.sock"
NB_SOCKET = "/run/ovn/ovnnb_db.sock"
SB_SOCKET = "/run/ovn/ovnsb_db.sock"
BOOT_ORDER = ("ovsdb-server", "ovs-vswitchd", "ovn-controller", "driver", "dockerd")
"""Daemons of a host in the order of its boot: the driver is up before Docker asks for it."""

SERVICES = "services"
"""What runs on the machine outside: a web server, an echo over UDP and a DNS server."""

UNDERLAY_LINK = "eth0"
UNDERLAY_BRIDGE = "br-phy"

TLS_FILES = ("private_key", "certificate", "ca_cert")
"""Columns of the databases' tables SSL."""

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
NB_SCHEMA = Path("/usr/share/ovn/ovn-nb.ovsschema")
SB_SCHEMA = Path("/usr/share/ovn/ovn-sb.ovsschema")


@dataclass(frozen=True, slots=True)
class Database:
    """A database file that ovsdb-server serves and the schema that it is made with."""

    file: Path
    schema: Path


@dataclass(frozen=True, slots=True)
class Daemon:
    """One daemon of a machine.

    Attributes:
        name: what a lab calls it.
        command: its command line, in the foreground, with paths as seen inside the machine.
        socket: Unix socket that it answers on once it is up, as seen from outside; "{pid}" is its process id.
        database: what must exist before it starts.
    """

    name: str
    command: tuple[str, ...]
    socket: str
    database: Database | None = None


def host_daemons(paths: MachinePaths, driver: str) -> Mapping[str, Daemon]:
    """Daemons of a host by name, in the order of their start; `driver` is the path of its program."""
    daemons = (
        _ovsdb_server(
            paths,
            "ovsdb-server",
            Database(paths.directory / "conf.db", OVS_SCHEMA),
            (
                f"--remote=punix:{OVS_SOCKET}",
                "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
                "--pidfile",
            ),
        ),
        _ovs_daemon(paths, "ovs-vswitchd", "openvswitch", (f"unix:{OVS_SOCKET}",)),
        _ovs_daemon(paths, "ovn-controller", "ovn", (f"unix:{OVS_SOCKET}",)),
        _dockerd(paths),
        _driver(paths, driver),
    )
    return {daemon.name: daemon for daemon in daemons}


def central_daemons(paths: MachinePaths) -> Mapping[str, Daemon]:
    """Daemons of the central by name, in the order of their start."""
    northd = _ovs_daemon(
        paths, "ovn-northd", "ovn", (f"--ovnnb-db=unix:{NB_SOCKET}", f"--ovnsb-db=unix:{SB_SOCKET}")
    )
    daemons = (
        _central_database(paths, "nb", NB_SCHEMA, "db:OVN_Northbound,NB_Global,connections"),
        _central_database(paths, "sb", SB_SCHEMA, "db:OVN_Southbound,SB_Global,connections"),
        Daemon("northd", northd.command, northd.socket),
    )
    return {daemon.name: daemon for daemon in daemons}


def outside_daemons(paths: MachinePaths) -> Mapping[str, Daemon]:
    """The daemons of the machine outside by name."""
    addresses = (underlay_address(OUTSIDE).ip, underlay_address6(OUTSIDE).ip, *WORLD)
    program = (sys.executable, "-m", "ovn_docker_lab.outside_services", str(paths.outside_socket))
    command = (*program, *(str(address) for address in addresses))
    return {SERVICES: Daemon(SERVICES, command, str(paths.outside_socket))}


def daemon_named(daemons: Mapping[str, Daemon], name: str, machine: str) -> Daemon:
    """One daemon of a machine, or NotFoundError."""
    try:
        return daemons[name]
    except KeyError:
        raise NotFoundError(f"{machine} has no daemon {name!r}: it has {', '.join(daemons)}") from None


def _ovs_daemon(paths: MachinePaths, program: str, rundir: str, arguments: tuple[str, ...]) -> Daemon:
    command = (program, *arguments, "--pidfile", *_log_flags(paths, program))
    return Daemon(program, command, f"{paths.run}/{rundir}/{program}.{{pid}}.ctl")


def _log_flags(paths: MachinePaths, daemon: str) -> tuple[str, ...]:
    return (f"--log-file={paths.log(daemon)}", "-vconsole:off")


def _ovsdb_server(paths: MachinePaths, name: str, database: Database, arguments: tuple[str, ...]) -> Daemon:
    command = ("ovsdb-server", str(database.file), *arguments, *_log_flags(paths, name))
    outside = arguments[0].removeprefix("--remote=punix:/run/")
    return Daemon(name, command, f"{paths.run}/{outside}", database)


def _central_database(paths: MachinePaths, name: str, schema: Path, remotes: str) -> Daemon:
    inside = f"/run/ovn/ovn{name}_db"
    table = remotes.removeprefix("db:").partition(",")[0]
    return _ovsdb_server(
        paths,
        name,
        Database(paths.directory / f"ovn{name}_db.db", schema),
        (
            f"--remote=punix:{inside}.sock",
            f"--remote={remotes}",
            # As ovn-ctl has it: what set-ssl writes is used for pssl.
            *(f"--{file.replace('_', '-')}=db:{table},SSL,{file}" for file in TLS_FILES),
            f"--pidfile={inside}.pid",
            f"--unixctl={inside}.ctl",
        ),
    )


def _dockerd(paths: MachinePaths) -> Daemon:
    # The cgroup parent is what distinguishes the lab's containers from others.
    command = (
        "dockerd",
        f"--data-root={paths.docker_data}",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        "--host=unix:///run/docker.sock",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent={paths.cgroup}",
    )
    return Daemon("dockerd", command, str(paths.docker_socket))


def _driver(paths: MachinePaths, program: str) -> Daemon:
    command = (
        program,
        "--unix-socket=/run/docker/plugins/openvswitch.sock",
        "--docker-driver-scope=local",  # Docker before 24 makes global networks in a swarm only
        f"--log-file={paths.log('driver')}",
        "-vconsole:off",
        "--pidfile=/run/ovn-docker-overlay-driver.pid",
    )
    return Daemon("driver", command, str(paths.plugin_socket))


def external_ids(machine: str, settings: LabSettings) -> tuple[str, ...]:
    """Settings of a host in Open_vSwitch, as arguments of `ovs-vsctl set Open_vSwitch .`.

    Source: Open vSwitch documentation, howto/docker.rst, "One time setup"; ovn-controller(8) for
    ovn-bridge-datapath-type, which must be there before ovn-controller makes br-int.
    """
    ids = {
        "system-id": machine,
        "hostname": machine,
        "ovn-remote": southbound_remote(),
        "ovn-nb": northbound_remote(),
        "ovn-encap-ip": str(underlay_address(machine).ip),
        "ovn-encap-type": "geneve",
    }
    if settings.datapath == "netdev":
        ids["ovn-bridge-datapath-type"] = "netdev"
    # Quoted, as a colon would end a value (ovs-vsctl(8), "Database Values").
    return tuple(f'external_ids:{key}="{value}"' for key, value in ids.items())


def underlay_bridge(settings: LabSettings) -> tuple[str, ...]:
    """Arguments of ovs-vsctl that put the underlay NIC on a bridge, nothing with the kernel's datapath.

    The userspace datapath routes a tunnel only by an address on one of its own bridges (Open vSwitch
    documentation, howto/userspace-tunneling.rst).
    """
    if settings.datapath != "netdev":
        return ()
    return (
        *("--", "--may-exist", "add-br", UNDERLAY_BRIDGE),
        *("--", "set", "bridge", UNDERLAY_BRIDGE, "datapath_type=netdev", "fail_mode=standalone"),
        *("--", "--may-exist", "add-port", UNDERLAY_BRIDGE, UNDERLAY_LINK),
    )


def underlay_device(machine: str, settings: LabSettings) -> str:
    """The link that carries the machine's underlay address."""
    if machine == CENTRAL:
        return "underlay"
    return UNDERLAY_BRIDGE if settings.datapath == "netdev" and machine != OUTSIDE else UNDERLAY_LINK
