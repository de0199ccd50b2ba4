"""Private OVSDB servers, each in a directory of its own, and what tests do to them: kill, cut, count."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.jsonrpc import Decoder, Message
from ovn_docker.ovsdb.remotes import Remote, TlsFiles
from ovn_docker.ovsdb.replica import Watch
from tests.polling import eventually

SCHEMAS = {
    "OVN_Northbound": Path("/usr/share/ovn/ovn-nb.ovsschema"),
    "OVN_Southbound": Path("/usr/share/ovn/ovn-sb.ovsschema"),
    "Open_vSwitch": Path("/usr/share/openvswitch/vswitch.ovsschema"),
}
LIMIT = 10.0
"""Seconds for a server to do what it was told."""


def run(*command: str | Path) -> str:
    """Run one of Open vSwitch's tools; its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class OvsdbServer:
    """One ovsdb-server process with one database, on a unix socket and wherever else it is told."""

    def __init__(self, directory: Path, database: str, options: Sequence[str | Path] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.database = database
        self.file = directory / "db"
        self.socket = directory / "db.sock"
        self.log = directory / "log"
        self._options = list(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def remote(self) -> Remote:
        return Remote("unix", str(self.socket))

    def create(self, schema: Path | None = None) -> None:
        """Make the database, of the schema that is installed or of another one."""
        run("ovsdb-tool", "create", self.file, schema or SCHEMAS[self.database])

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.socket.unlink(missing_ok=True)
        command = [
            "ovsdb-server",
            "-vconsole:off",
            f"--remote=punix:{self.socket}",
            f"--unixctl={self.directory / 'ctl'}",
            f"--log-file={self.log}",
            "--no-chdir",
            *self._options,
            self.file,
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=self.directory)
        eventually(self._accepts, LIMIT, f"{self.socket} accepts connections")

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone; a second time does nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT)
            self._process = None

    def tcp_port(self) -> int:
        """The port that the kernel chose for ``ptcp:0:…`` or ``pssl:0:…``."""
        pattern = re.compile(r"listening on port (\d+)")
        return int(eventually(lambda: pattern.findall(self.log.read_text()), LIMIT, "it listens on TCP")[-1])

    def transact(self, *operations: dict[str, Any]) -> list[Any]:
        """One transaction through ovsdb-client, past the code under test."""
        text = json.dumps([self.database, *operations])
        answer = json.loads(run("ovsdb-client", "transact", str(self.remote), text))
        assert isinstance(answer, list)
        assert not [each for each in answer if each and "error" in each], answer
        return answer

    def rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        """All rows of a table."""
        [answer] = self.transact({"op": "select", "table": table, "where": [], "columns": list(columns)})
        rows = answer["rows"]
        assert isinstance(rows, list)
        return rows

    def ports(self, *columns: str) -> list[dict[str, Any]]:
        """All rows of Logical_Switch_Port but the gateway ports of switches."""
        where = [["type", "!=", "localport"]]
        query = {"op": "select", "table": "Logical_Switch_Port", "where": where, "columns": list(columns)}
        [answer] = self.transact(query)
        return list(answer["rows"])

    def appctl(self, *words: str) -> str:
        return run("ovs-appctl", "-t", self.directory / "ctl", *words)


class Cluster:
    """Three members of one RAFT cluster."""

    def __init__(self, directory: Path, database: str) -> None:
        self.members = [OvsdbServer(directory / str(number), database) for number in range(3)]
        addresses = [f"unix:{member.directory}/raft" for member in self.members]
        first, *others = self.members
        run("ovsdb-tool", "create-cluster", first.file, SCHEMAS[database], addresses[0])
        for number, other in enumerate(others, 1):
            run("ovsdb-tool", "join-cluster", other.file, database, addresses[number], addresses[0])
        self.database = database

    @property
    def remotes(self) -> tuple[Remote, ...]:
        return tuple(member.remote for member in self.members)

    def start(self) -> None:
        for member in self.members:
            member.start()
        eventually(self._joined, LIMIT, "all members are in the cluster")

    def _joined(self) -> bool:
        status = [member.appctl("cluster/status", self.database) for member in self.members]
        return all("Status: cluster member" in text for text in status) and self.leader() is not None

    def leader(self) -> OvsdbServer | None:
        alive = [member for member in self.members if member._process is not None]
        roles = [(member, member.appctl("cluster/status", self.database)) for member in alive]
        return next((member for member, status in roles if "Role: leader" in status), None)

    def kill(self) -> None:
        for member in self.members:
            member.kill()


class Proxy:
    """Stands between a client and a server's unix socket: counts, and breaks what it is told to.

    Attributes:
        transactions: the operations of every "transact" that went through.
        lose_replies: how many replies to come are swallowed, and their connections cut.
        before: called with the operations of each transaction before the server gets it.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.remote = Remote("unix", str(path))
        self._path = path
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self.transactions: list[list[dict[str, Any]]] = []
        self.lose_replies = 0
        self.before: Callable[[list[dict[str, Any]]], None] = lambda _: None
        self._swallow: set[Any] = set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_unix_server(self._accept, str(self._path))
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._between(reader, writer)
        finally:  # also of a server that does not run
            writer.close()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(str(self._target))
        ways = [
            asyncio.ensure_future(self._pass(reader, server_writer, self._watch_request)),
            asyncio.ensure_future(self._pass(server_reader, writer, self._watch_reply)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.close()
            server_writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[Message], bool]
    ) -> None:
        """Hand on what is read, until the end or until `look` says no."""
        decoder = Decoder()
        while data := await reader.read(65536):
            for message in decoder.feed(data):
                if not look(message):
                    return
            writer.write(data)
            await writer.drain()

    def _watch_request(self, message: Message) -> bool:
        if message.get("method") == "transact":
            self.before(message["params"][1:])
            self.transactions.append(message["params"][1:])
            if self.lose_replies:
                self.lose_replies -= 1
                self._swallow.add(message["id"])
        return True

    def _watch_reply(self, message: Message) -> bool:
        lost = "result" in message and message.get("id") in self._swallow
        if lost:
            self._swallow.discard(message["id"])
        return not lost


@contextlib.asynccontextmanager
async def connected(
    remotes: Sequence[Remote],
    database: str,
    watches: dict[str, Watch] | None = None,
    tls: TlsFiles | None = None,
) -> AsyncIterator[Client]:
    """A client that is running; it need not be connected yet."""
    client = Client(f"test database {database}", database, watches or {})
    client.redirect(tuple(remotes), tls)
    async with running(client):
        yield client


@contextlib.asynccontextmanager
async def running(client: Client) -> AsyncIterator[None]:
    """Keep a client running; it must end without an error, whatever happened meanwhile."""
    work = asyncio.create_task(client.run())
    try:
        yield
    finally:
        ended_early = work.done()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        assert not ended_early, "the client stopped running by itself"


async def until(condition: Callable[[], object], what: str, seconds: float = LIMIT) -> None:
    """Wait in an event loop until a condition holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"after {seconds:g} s still not: {what}"
        await asyncio.sleep(0.005)


def open_files() -> int:
    """How many file descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))
