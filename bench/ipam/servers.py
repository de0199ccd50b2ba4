"""Private OVSDB servers in a directory: one alone, or three members of a RAFT cluster on loopback."""

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM

from bench.ovsdb import Database
from ovn_docker.errors import HostError
from ovn_docker.lab.processes import Process, alive, send, spawn, wait_until
from ovn_docker.lab.requirements import environment, find_program
from ovn_docker.ovsdb.operations import select

NORTHBOUND = "OVN_Northbound"
_SCHEMAS = {
    NORTHBOUND: Path("/usr/share/ovn/ovn-nb.ovsschema"),
    "Open_vSwitch": Path("/usr/share/openvswitch/vswitch.ovsschema"),
}
MEMBERS = 3
TIMEOUT = 30.0


class Server:
    """One ovsdb-server process with one database file, on a Unix socket."""

    def __init__(self, directory: Path, database: str) -> None:
        """Describe it; the file is made by `create` or by ovsdb-tool(1) join-cluster."""
        directory.mkdir(parents=True)
        self.database = database
        self.file = directory / "db"
        self.socket = directory / "sock"
        self.log = directory / "log"
        self._process: Process | None = None

    @property
    def remote(self) -> str:
        """As clients name it."""
        return f"unix:{self.socket}"

    def create(self) -> None:
        """Make the file of a database that stands alone."""
        tool("create", str(self.file), str(_SCHEMAS[self.database]))

    def start(self) -> None:
        """Start it and wait until it takes connections.

        Raises:
            HostError: it does not.
        """
        program = find_program("ovsdb-server") or "ovsdb-server"
        places = [f"--remote=p{self.remote}", f"--unixctl={self.socket}.ctl"]
        command = [program, "-vconsole:warn", *places, "--no-chdir", str(self.file)]
        self._process = spawn(command, self.log, environment())
        if not wait_until(self._accepts, TIMEOUT):
            raise HostError(f"ovsdb-server does not start, see {self.log}")

    def stop(self) -> None:
        """End it and wait until it has."""
        stop(self._process)

    def usable(self) -> bool:
        """Whether it takes transactions: a member of a cluster must be its leader.

        Source: ovsdb-server(5), table Database of _Server.
        """
        database = Database(self.socket, "_Server")
        try:
            asked = select("Database", [("name", "==", self.database)], ["leader", "connected"])
            [found] = database.transact([asked])
        finally:
            database.close()
        return any(row["leader"] and row["connected"] for row in found["rows"])

    def connect(self) -> Database:
        """A connection to its database."""
        return Database(self.socket, self.database)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


class Servers:
    """Servers of one Northbound."""

    def __init__(self, members: Sequence[Server]) -> None:
        """Start them.

        Raises:
            HostError: they do not start; none runs then.
        """
        self.members = tuple(members)
        try:
            for each in self.members:
                each.start()
            wait_until(lambda: self._leader() is not None, TIMEOUT)
            self.connect().close()
        except BaseException:
            self.stop()
            raise

    @property
    def remote(self) -> str:
        """All of them, as ``external_ids:ovn-nb`` names them."""
        return ",".join(each.remote for each in self.members)

    def connect(self) -> Database:
        """A connection to the leader.

        Raises:
            HostError: there is none.
        """
        leader = self._leader()
        if leader is None:
            raise HostError("the servers of Northbound have no leader")
        return leader.connect()

    def _leader(self) -> Server | None:
        return next((each for each in self.members if each.usable()), None)

    def stop(self) -> None:
        """End all."""
        for each in self.members:
            each.stop()


def standalone(directory: Path) -> Servers:
    """A Northbound of one server."""
    server = Server(directory / "nb", NORTHBOUND)
    server.create()
    return Servers([server])


def cluster(directory: Path) -> Servers:
    """A Northbound of three servers, which speak with each other over TCP on loopback (ovsdb(7))."""
    members = [Server(directory / f"nb{number}", NORTHBOUND) for number in range(MEMBERS)]
    first, *others = members
    ours, *theirs = [f"tcp:127.0.0.1:{port}" for port in _free_ports(MEMBERS)]
    tool("create-cluster", str(first.file), str(_SCHEMAS[NORTHBOUND]), ours)
    for member, address in zip(others, theirs, strict=True):
        tool("join-cluster", str(member.file), NORTHBOUND, address, ours)
    return Servers(members)


def tool(*arguments: str) -> None:
    """Run ovsdb-tool(1).

    Raises:
        HostError: it failed.
    """
    command = [find_program("ovsdb-tool") or "ovsdb-tool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
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


def _free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
