"""Private OVSDB servers in a directory: one alone, or three members of a RAFT cluster on loopback."""

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from bench.ovsdb import Database
from ovn_docker.errors import HostError
from ovn_docker.ovsdb.operations import optional, select
from ovn_docker_lab.processes import Process, alive, send, spawn, wait_until
from ovn_docker_lab.requirements import environment, find_program

NORTHBOUND, SOUTHBOUND = "OVN_Northbound", "OVN_Southbound"
_SCHEMAS = {
    NORTHBOUND: Path("/usr/share/ovn/ovn-nb.ovsschema"),
    SOUTHBOUND: Path("/usr/share/ovn/ovn-sb.ovsschema"),
    "Open_vSwitch": Path("/usr/share/openvswitch/vswitch.ovsschema"),
}
MEMBERS = 3
PROBE = 5.0
"""Seconds of silence after which ovsdb-server probes a client by default (ovsdb-server(1))."""
TIMEOUT = 30.0
LONG = 120.0
"""Seconds for what reads or writes all rows of a large database."""


class Server:
    """One ovsdb-server process with one database file, on a Unix socket."""

    def __init__(
        self, directory: Path, database: str, *, port: int | None = None, probe: float = PROBE
    ) -> None:
        """Its file is made by `create` or by ovsdb-tool(1) join-cluster.

        Args:
            directory: for its files; a new one.
            database: by name.
            port: TCP port of loopback that it listens on too, and is named by; None for the socket alone.
            probe: seconds of silence after which it probes clients over TCP.
        """
        directory.mkdir(parents=True)
        self.port = port
        self.probe = probe
        self.database = database
        self.file = directory / "db"
        self.socket = directory / "sock"
        self.log = directory / "log"
        self._process: Process | None = None

    @property
    def remote(self) -> str:
        return f"unix:{self.socket}" if self.port is None else f"tcp:127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process, which was started."""
        assert self._process is not None
        return self._process.pid

    def create(self) -> None:
        """Make the file of a database that stands alone."""
        tool("create", str(self.file), str(_SCHEMAS[self.database]))

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        program = find_program("ovsdb-server") or "ovsdb-server"
        remotes = [f"punix:{self.socket}"]
        if self.port is not None:
            remotes.append(f"ptcp:{self.port}:127.0.0.1")
        command = [program, "-vconsole:warn", f"--unixctl={self.socket}.ctl", "--no-chdir"]
        if self.probe == PROBE:
            command += [*(f"--remote={remote}" for remote in remotes), str(self.file)]
        else:
            command.append(f"--config-file={self._settings(remotes)}")
        self._process = spawn(command, self.log, environment())
        if not wait_until(self._accepts, TIMEOUT):
            raise HostError(f"ovsdb-server does not start, see {self.log}")

    def _settings(self, remotes: Sequence[str]) -> Path:
        """The file that says more of a remote than a command line can (ovsdb(7), since Open vSwitch 3.3)."""
        probe = {"inactivity-probe": round(self.probe * 1000)}
        settings = {remote: probe if remote.startswith("ptcp:") else {} for remote in remotes}
        file = self.socket.with_suffix(".json")
        file.write_text(json.dumps({"remotes": settings, "databases": {str(self.file): {}}}))
        return file

    def stop(self) -> None:
        """End it and wait until it has."""
        stop(self._process)

    def kill(self) -> None:
        """End it without warning, and wait until it is gone; `start` starts it again."""
        assert self._process is not None
        send(self._process, SIGKILL)
        if not wait_until(lambda: not alive(self._process), TIMEOUT):  # type: ignore[arg-type]
            raise HostError(f"ovsdb-server {self.pid} does not end")

    def usable(self) -> bool:
        """Whether it takes transactions: a member of a cluster must be its leader.

        Source: ovsdb-server(5), table Database of _Server.
        """
        row = self._state()
        return bool(row["leader"] and row["connected"])

    def applied(self) -> int | None:
        """How much of a cluster's log it has applied, None while it has no cluster."""
        row = self._state()
        return optional(row["index"]) if row["connected"] else None

    def _state(self) -> Mapping[str, Any]:
        columns = ["leader", "connected", "index"]
        with contextlib.closing(Database(self.socket, "_Server")) as database:
            [found] = database.transact([select("Database", [("name", "==", self.database)], columns)])
        return dict(found["rows"][0]) if found["rows"] else dict.fromkeys(columns, False)

    def connect(self) -> Database:
        return Database(self.socket, self.database)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


class Servers:
    """Servers of one Northbound."""

    def __init__(self, members: Sequence[Server]) -> None:
        self.members = tuple(members)
        try:
            for member in self.members:
                member.start()
            wait_until(lambda: self._leader() is not None, TIMEOUT)
            self.connect().close()
        except BaseException:
            self.stop()
            raise

    @property
    def remote(self) -> str:
        """All of them, as ``external_ids:ovn-nb`` names them."""
        return ",".join(member.remote for member in self.members)

    def connect(self) -> Database:
        """A connection to the leader."""
        return self.leader().connect()

    def leader(self) -> Server:
        """The member that takes transactions."""
        found = self._leader()
        if found is None:
            raise HostError("the servers of Northbound have no leader")
        return found

    def _leader(self) -> Server | None:
        return next((member for member in self.members if member.usable()), None)

    def settle(self) -> None:
        """Wait until all members have the same."""
        if not wait_until(self._agree, LONG):
            raise HostError("the members of Northbound's cluster do not agree")

    def _agree(self) -> bool:
        applied = {member.applied() for member in self.members}
        return len(applied) == 1 and None not in applied

    def stop(self) -> None:
        for member in self.members:
            member.stop()


def standalone(
    directory: Path, source: Path | None = None, *, tcp: bool = False, probe: float = PROBE
) -> Servers:
    """A Northbound of one server.

    Args:
        directory: for its files; a new one.
        source: the file of another that it begins with a copy of.
        tcp: whether clients reach it over TCP on loopback too.
        probe: as of `Server`.
    """
    server = Server(directory / "nb", NORTHBOUND, port=_ports(1, tcp=tcp)[0], probe=probe)
    if source is None:
        server.create()
    else:
        shutil.copyfile(source, server.file)
    return Servers([server])


def cluster(
    directory: Path, source: Path | None = None, *, tcp: bool = False, probe: float = PROBE
) -> Servers:
    """A Northbound of three servers, which speak with each other over TCP on loopback (ovsdb(7)).

    Args:
        directory: for their files; a new one.
        source: the file of a database that stands alone, whose rows it begins with.
        tcp: whether clients reach it over TCP too.
        probe: as of `Server`.
    """
    ports = _ports(MEMBERS, tcp=tcp)
    members = [
        Server(directory / f"nb{number}", NORTHBOUND, port=port, probe=probe)
        for number, port in enumerate(ports)
    ]
    first, *others = members
    own, *remotes = [f"tcp:127.0.0.1:{port}" for port in _free_ports(MEMBERS)]
    tool("create-cluster", str(first.file), str(source or _SCHEMAS[NORTHBOUND]), own, limit=LONG)
    for member, address in zip(others, remotes, strict=True):
        tool("join-cluster", str(member.file), NORTHBOUND, address, own)
    return Servers(members)


def tool(*arguments: str, limit: float = TIMEOUT) -> None:
    """Run ovsdb-tool(1) for at most `limit` seconds."""
    command = [find_program("ovsdb-tool") or "ovsdb-tool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode != 0:
        raise HostError(f"'ovsdb-tool {' '.join(arguments)}' failed: {done.stderr.strip()}")


def stop(process: Process | None) -> None:
    """End a process, at the latest by SIGKILL, and wait until it is gone."""
    if process is None:
        return
    for number in (SIGTERM, SIGKILL):
        send(process, number)
        if wait_until(lambda: not alive(process), TIMEOUT / 3):
            return


def _ports(count: int, *, tcp: bool) -> Sequence[int | None]:
    return _free_ports(count) if tcp else [None] * count


def _free_ports(count: int) -> list[int]:
    """Free TCP ports of loopback."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()
