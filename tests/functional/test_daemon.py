"""The driver as it is installed: a process, its sockets and plugin file, and the outages it lives through."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ovn_docker.daemon import serve as daemon
from ovn_docker.daemon.components import Components, assemble_overlay
from ovn_docker.daemon.process import Ready
from ovn_docker.ovsdb.operations import to_map
from ovn_docker.settings import DaemonOptions
from tests.exposition import Sample, read, value
from tests.flags import settings_of
from tests.functional.servers import OvsdbServer
from tests.guide import DATABASE_KEYS
from tests.polling import eventually

pytestmark = pytest.mark.functional

PROGRAM = Path(sys.executable).with_name("ovn-docker-overlay-driver")
NET = {"NetworkID": "b5082ded" * 8}
NETWORK = NET | {"IPv4Data": [{"Pool": "10.0.0.0/24"}], "Options": {}}


class Listening(Ready):
    """Says when a driver in this process listens."""

    def __init__(self, event: asyncio.Event) -> None:
        super().__init__(DaemonOptions(), None)
        self._event = event

    def __call__(self) -> None:
        self._event.set()


class Daemon:
    """One driver process and how Docker reaches it."""

    def __init__(
        self, directory: Path, *flags: str, ovsdb: str = "unix:/nonexistent", umask: int = -1
    ) -> None:
        self.socket = directory / "driver.sock"
        self.plugins = directory / "plugins"
        self.spec = self.plugins / "openvswitch.spec"
        common = ["--plugin-dir", str(self.plugins), "--ovsdb", ovsdb]
        self.process = subprocess.Popen(
            [str(PROGRAM), *common, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
            umask=umask,
        )

    def answers(self) -> "Daemon":
        """Wait until Docker would find it."""
        eventually(self._announced, 10, f"{self.spec} is written")
        return self

    def _announced(self) -> bool:
        assert self.process.poll() is None, self.output()
        return self.spec.exists()

    def output(self) -> str:
        return self.process.communicate(timeout=10)[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    async def call(self, verb: str, body: Any = None, method: str = "POST") -> tuple[int, dict[str, Any]]:  # noqa: ANN401
        """Ask as dockerd does; the HTTP status and the reply."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as session,
            session.request(method, f"http://plugin/{verb}", json=body or {}) as response,
        ):
            reply = json.loads(await response.read())
            assert isinstance(reply, dict)
            return response.status, reply

    async def database(self) -> dict[str, Any]:
        return (await self.call("NetworkDriver.Database", method="GET"))[1]

    async def metrics(self) -> list[Sample]:
        """What Prometheus reads."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as session,
            session.get("http://plugin/metrics") as response,
        ):
            return read(await response.read())

    async def connected(self) -> dict[str, float]:
        """Each database and whether it is connected, as Prometheus reads it."""
        samples = await self.metrics()
        series = "ovn_docker_database_connected"
        return {labels["database"]: value for name, labels, value in samples if name == series}

    async def outage(self, text: str) -> None:
        """Wait until the driver says of itself what cannot be reached ("" for nothing)."""
        shown: str | None = None
        async with asyncio.timeout(10):
            while shown is None or not (text in shown if text else shown == ""):
                shown = (await self.database())["outage"]
                await asyncio.sleep(0.02)

    def tcp_listeners(self) -> set[str]:
        """Sockets of the process that listen on TCP, as ``ADDRESS:PORT`` in the kernel's hex."""
        own = set()
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # one that was closed meanwhile
                own.add(str(descriptor.readlink()))
        lines = Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()[1:]
        lines += Path(f"/proc/{self.process.pid}/net/tcp6").read_text().splitlines()[1:]
        fields = [line.split() for line in lines]
        return {field[1] for field in fields if field[3] == "0A" and f"socket:[{field[9]}]" in own}


class Daemons:
    """Starts daemons, and ends those that a test leaves."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Daemon] = []

    def __call__(
        self, *flags: str, ovsdb: str = "unix:/nonexistent", name: str = "", umask: int = -1
    ) -> Daemon:
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        daemon = Daemon(directory, *flags, ovsdb=ovsdb, umask=umask)
        self._started.append(daemon)
        return daemon

    def on_socket(self, ovsdb: str = "unix:/nonexistent", name: str = "") -> Daemon:
        """A daemon on a unix socket, which answers."""
        socket_path = self._directory / name / "driver.sock"
        return self("--unix-socket", str(socket_path), ovsdb=ovsdb, name=name).answers()

    def end(self) -> None:
        for started in self._started:
            started.end()


@pytest.fixture
def daemons(short_path: Path) -> Iterator[Daemons]:
    started = Daemons(short_path)
    yield started
    started.end()


def configure(open_vswitch: OvsdbServer, **ids: str) -> None:
    """Set external_ids as the guide does with ``ovs-vsctl set Open_vSwitch .``."""
    row = {"external_ids": to_map({"system-id": "chassis-1"} | ids)}
    open_vswitch.transact(
        {"op": "delete", "table": "Open_vSwitch", "where": []},
        {"op": "insert", "table": "Open_vSwitch", "row": row},
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_docker_can_load_the_plugin_while_everything_is_down(daemons: Daemons) -> None:
    daemon = daemons.on_socket()
    assert await daemon.call("Plugin.Activate") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
    status, capabilities = await daemon.call("NetworkDriver.GetCapabilities")
    assert (status, capabilities["Scope"], capabilities["ConnectivityScope"]) == (200, "global", "global")
    database = await daemon.database()
    assert set(database) >= DATABASE_KEYS
    assert database["networks"] == {}
    assert "Open vSwitch cannot be reached at unix:/nonexistent" in database["outage"]


async def test_a_monitor_sees_each_database_come_and_go(
    daemons: Daemons, northbound: OvsdbServer, open_vswitch: OvsdbServer
) -> None:
    configure(open_vswitch, **{"ovn-nb": str(northbound.remote)})
    daemon = daemons.on_socket(str(open_vswitch.remote))
    await daemon.outage("")
    assert await daemon.call("healthz", method="GET") == (200, {"status": "ok", "problems": []})
    assert await daemon.connected() == {"Open_vSwitch": 1, "OVN_Northbound": 1}
    northbound.kill()
    await daemon.outage("OVN Northbound cannot be reached")
    status, health = await daemon.call("healthz", method="GET")
    assert (status, health["status"]) == (503, "failing")
    [problem] = health["problems"]
    assert f"OVN Northbound cannot be reached at {northbound.remote}" in problem
    assert await daemon.connected() == {"Open_vSwitch": 1, "OVN_Northbound": 0}
    northbound.start()
    await daemon.outage("")
    shown = await daemon.metrics()
    assert value(shown, "ovn_docker_database_reconnects_total", database="OVN_Northbound") == 1
    assert (value(shown, "ovn_docker_nb_round_trip_seconds_count") or 0) > 0


async def test_the_plugin_file_lives_as_long_as_the_socket(daemons: Daemons) -> None:
    daemon = daemons.on_socket()
    assert daemon.spec.read_text() == f"unix://{daemon.socket}\n"
    assert daemon.tcp_listeners() == set()
    assert daemon.stop() == 0
    assert not daemon.spec.exists()
    assert not daemon.socket.exists()


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
async def test_nobody_else_may_change_or_read_what_it_writes_whatever_the_umask(
    daemons: Daemons, northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path, umask: int
) -> None:
    configure(open_vswitch, **{"ovn-nb": str(northbound.remote)})
    made = short_path / "made"
    flags = [f"--pidfile={made}/run/d.pid", f"--log-file={short_path}/d.log", f"--state-file={made}/lib/s"]
    flags.append(f"--unix-socket={short_path}/driver.sock")
    daemon = daemons(*flags, ovsdb=str(open_vswitch.remote), umask=umask).answers()
    shared = NETWORK | {"Options": {"com.docker.network.generic": {"create": "true"}}}
    assert await daemon.call("NetworkDriver.CreateNetwork", shared) == (200, {})
    written = [short_path / "d.log", daemon.socket, daemon.spec, made / "run" / "d.pid", made / "lib" / "s"]
    for path in (*written, daemon.plugins, made, made / "run", made / "lib"):
        mode = path.stat().st_mode & 0o777
        assert mode & 0o027 == 0, (path, oct(mode))
    assert {path.stat().st_mode & 0o777 for path in written} <= {0o600, 0o640}


async def test_tcp_is_served_where_it_is_asked_for(daemons: Daemons) -> None:
    port = free_port()
    daemon = daemons("--bind-ip", "127.0.0.1", "--bind-port", str(port)).answers()
    assert daemon.spec.read_text() == f"tcp://127.0.0.1:{port}\n"
    assert daemon.tcp_listeners() == {f"0100007F:{port:04X}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/NetworkDriver.Database") as response,
    ):
        shown = json.loads(await response.read())
    assert (shown["bind_ip"], shown["bind_port"]) == ("127.0.0.1", port)


SLOW = [b"", b"POST /NetworkDriver.Jo", b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: localhost\r\nA: "]
SLOW.append(b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")


@pytest.mark.timeout(120)
async def test_a_thousand_slow_clients_do_not_keep_dockerd_waiting(daemons: Daemons) -> None:
    port = free_port()
    daemons("--bind-ip", "127.0.0.1", "--bind-port", str(port)).answers()
    kept = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
    clients: list[asyncio.StreamWriter] = []

    async def longest(times: int) -> float:
        """Seconds of dockerd's slowest of some calls."""
        slowest = 0.0
        for _ in range(times):
            started = time.monotonic()
            async with asyncio.timeout(10), kept.post("/Plugin.Activate") as reply:
                assert reply.status == 200
            slowest = max(slowest, time.monotonic() - started)
        return slowest

    with many_files():
        try:
            assert await longest(1) < 2
            for number in range(1200):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                clients.append(writer)
                writer.write(SLOW[number % len(SLOW)])
            assert await longest(10) < 2
            for writer in clients:
                writer.write(b"x")  # they are not idle, only slow
            assert await longest(10) < 2
        finally:
            await kept.close()
            for writer in clients:
                writer.transport.abort()


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Let this process have as many descriptors as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_socket_that_a_crash_left_is_taken_over(daemons: Daemons) -> None:
    first = daemons.on_socket()
    first.process.kill()
    first.process.wait(10)
    assert first.socket.exists()
    first.spec.unlink()
    second = daemons.on_socket()
    assert (await second.call("Plugin.Activate"))[0] == 200


async def test_a_second_driver_on_the_same_socket_gives_way(daemons: Daemons) -> None:
    first = daemons.on_socket()
    second = daemons("--unix-socket", str(first.socket))
    [line] = [line for line in second.output().splitlines() if line.startswith("ovn-docker-overlay-driver: ")]
    assert f"unix socket {first.socket}: another process serves it" in line
    assert second.process.returncode == 1
    assert first.spec.exists()
    assert (await first.call("Plugin.Activate"))[0] == 200


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
async def test_a_second_driver_of_the_same_name_gives_way_while_the_first_is_alive(
    daemons: Daemons, short_path: Path, *, tcp: bool
) -> None:
    port = free_port()
    first = (
        daemons("--bind-ip", "127.0.0.1", "--bind-port", str(port)).answers() if tcp else daemons.on_socket()
    )
    written = first.spec.read_text()
    elsewhere = ("--unix-socket", str(short_path / "second.sock"))
    second = daemons(*elsewhere)
    line = second.output().splitlines()[-1]
    where = f"tcp://127.0.0.1:{port}" if tcp else f"unix://{first.socket} (pid {first.process.pid})"
    assert line == (
        f"ovn-docker-overlay-driver: plugin file {first.spec}: it leads to {where}, which is alive; stop that"
        " one or give another --driver-name"
    )
    assert second.process.returncode == 1
    assert first.spec.read_text() == written
    first.process.kill()
    first.process.wait(10)
    third = daemons(*elsewhere)
    eventually(lambda: third.spec.read_text() == f"unix://{elsewhere[1]}\n", 10, "the file is replaced")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--ovsdb", "nonsense"], "--ovsdb: 'nonsense' is not a valid OVSDB remote"),
        (["--ovsdb", ""], "--ovsdb"),
        (["--bind-ip", "203.0.113.7"], "not an address of this host"),
        (["--bind-port", "0"], "--bind-port 0"),
        (["--plugin-dir", "/dev/null/x"], "plugin file /dev/null/x/openvswitch.spec"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_a_status(
    daemons: Daemons, flags: list[str], text: str
) -> None:
    daemon = daemons("--bind-ip", "127.0.0.1", "--bind-port", str(free_port()), *flags)
    output = daemon.output()
    assert daemon.process.returncode == 1
    assert "Traceback" not in output
    assert text in output.splitlines()[-1]


def test_detached_it_answers_when_its_launcher_returns(daemons: Daemons, short_path: Path) -> None:
    pidfile, log = short_path / "driver.pid", short_path / "driver.log"
    flags = ["--detach", f"--pidfile={pidfile}", f"--log-file={log}", "--bind-ip", "127.0.0.1"]
    launcher = daemons(*flags, "--bind-port", str(free_port()), "--plugin-dir", "plugins")
    launcher.output()  # comes to its end, for the daemon has let go of it
    assert launcher.process.returncode == 0
    assert launcher.spec.exists()
    pid = int(pidfile.read_text())
    assert f"serves driver {launcher.spec.stem}" in log.read_text()
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 10, f"process {pid} ends")
    assert not pidfile.exists()
    assert not launcher.spec.exists()


def test_a_command_whose_reader_has_gone_ends_without_a_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    story = "import sys; from ovn_docker.cli import main; sys.exit(main._printed(lambda: print('x') or 0))"
    command = [sys.executable, "-c", story]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=20, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


async def test_an_outage_fails_each_verb_in_time_by_name_and_ends_by_itself(
    daemons: Daemons, northbound: OvsdbServer, open_vswitch: OvsdbServer
) -> None:
    configure(open_vswitch, **{"ovn-nb": str(northbound.remote)})
    northbound.kill()
    without_ovs = daemons.on_socket(name="a")
    without_nb = daemons.on_socket(str(open_vswitch.remote), name="b")
    started = asyncio.get_running_loop().time()
    answers = await asyncio.gather(
        without_ovs.call("NetworkDriver.CreateNetwork", NETWORK),
        without_nb.call("NetworkDriver.CreateNetwork", NETWORK),
        without_nb.call("NetworkDriver.DeleteEndpoint", NET | {"EndpointID": "e"}),
    )
    assert asyncio.get_running_loop().time() - started < 10
    assert [status for status, _ in answers] == [500, 500, 500]
    texts = [reply["Err"] for _, reply in answers]
    assert "Open vSwitch cannot be reached at unix:/nonexistent" in texts[0]
    assert all(f"OVN Northbound cannot be reached at {northbound.remote}" in text for text in texts[1:])
    northbound.start()
    await without_nb.outage("")
    assert await without_nb.call("NetworkDriver.CreateNetwork", NETWORK) == (200, {})
    assert [row["name"] for row in northbound.rows("Logical_Switch", "name")] == [NET["NetworkID"]]


async def test_ovn_nb_is_followed_wherever_it_points(
    daemons: Daemons, northbound: OvsdbServer, open_vswitch: OvsdbServer
) -> None:
    daemon = daemons.on_socket(str(open_vswitch.remote))
    await daemon.outage("OVN Northbound cannot be reached")
    for remote, outage in [
        ("", "external_ids:ovn-nb is not set in Open_vSwitch"),
        ("10.0.0.1:6641", "external_ids:ovn-nb of Open_vSwitch cannot be used: '10.0.0.1:6641'"),
        ("tcp:10.0.0.1..:6641", "external_ids:ovn-nb of Open_vSwitch cannot be used"),
        ("ssl:127.0.0.1:1", "set them with 'ovs-vsctl set-ssl'"),
        (f"tcp:127.0.0.1:1,{northbound.remote}", ""),
    ]:
        configure(open_vswitch, **({"ovn-nb": remote} if remote else {}))
        await daemon.outage(outage)
    assert await daemon.call("NetworkDriver.CreateNetwork", NETWORK) == (200, {})
    open_vswitch.kill()
    await daemon.outage("Open vSwitch cannot be reached")
    open_vswitch.start()
    await daemon.outage("")
    assert await daemon.call("NetworkDriver.DeleteNetwork", NET) == (200, {})


async def test_a_stop_does_not_wait_for_databases_that_are_away(daemons: Daemons) -> None:
    daemon = daemons.on_socket()
    started = asyncio.get_running_loop().time()
    assert await asyncio.to_thread(daemon.stop) == 0
    assert asyncio.get_running_loop().time() - started < 2


async def test_a_killed_server_is_met_again_under_load(
    daemons: Daemons, northbound: OvsdbServer, open_vswitch: OvsdbServer
) -> None:
    configure(open_vswitch, **{"ovn-nb": str(northbound.remote)})
    daemon = daemons.on_socket(str(open_vswitch.remote))
    await daemon.outage("")
    await daemon.call("NetworkDriver.CreateNetwork", NETWORK)

    async def add(number: int) -> tuple[int, dict[str, Any]]:
        interface = {"Address": f"10.0.0.{number}/24"}
        body = NET | {"EndpointID": f"e{number}", "Interface": interface}
        return await daemon.call("NetworkDriver.CreateEndpoint", body)

    first = await asyncio.gather(*map(add, range(2, 20)))
    adding = [asyncio.create_task(add(number)) for number in range(20, 60)]
    northbound.kill()
    northbound.start()
    second = await asyncio.gather(*adding)
    assert {status for status, _ in first + second} == {200}
    names = {row["name"] for row in northbound.ports("name")}
    assert names == {f"e{number}" for number in range(2, 60)}
    assert await asyncio.to_thread(daemon.stop) == 0


async def test_a_part_that_fails_is_told_of_and_the_daemon_goes_on(short_path: Path) -> None:
    async def fails() -> None:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [KeyError("ports")])

    def assemble_with_it(*handed: Any) -> Components:  # noqa: ANN401
        return replace(assemble_overlay(*handed), daemon_work={"a part": fails})

    flags = ["--unix-socket", str(short_path / "driver.sock"), "--plugin-dir", str(short_path)]
    settings = settings_of(*flags, "--ovsdb", "unix:/nonexistent")
    listening = asyncio.Event()
    serving = asyncio.create_task(daemon.serve(settings, Listening(listening), assemble_with_it))
    await asyncio.wait_for(listening.wait(), 10)
    connector = aiohttp.UnixConnector(str(short_path / "driver.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://plugin/healthz") as response,
    ):
        assert response.status == 503
        problems = json.loads(await response.read())["problems"]
    assert any("a part failed and is restarted: KeyError: 'ports'" in problem for problem in problems), (
        problems
    )
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 10)


@pytest.mark.parametrize("by", ["flags", "Open_vSwitch"])
async def test_the_tls_files_of_the_databases_are_shown_by_path(
    daemons: Daemons, open_vswitch: OvsdbServer, short_path: Path, by: str
) -> None:
    files = {
        "private_key": "/nowhere/key.pem",
        "certificate": "/nowhere/cert.pem",
        "ca_cert": "/nowhere/ca.pem",
    }
    configure(open_vswitch, **{"ovn-nb": "ssl:127.0.0.1:1"})
    flags = [f"--{flag.replace('_', '-')}={path}" for flag, path in files.items()] if by == "flags" else []
    if not flags:
        open_vswitch.transact(
            {"op": "insert", "table": "SSL", "uuid-name": "s", "row": files},
            {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"ssl": ["named-uuid", "s"]}},
        )
    socket_path = str(short_path / "driver.sock")
    daemon = daemons("--unix-socket", socket_path, *flags, ovsdb=str(open_vswitch.remote)).answers()
    await daemon.outage("TLS: private key '/nowhere/key.pem' cannot be read: No such file or directory")
    shown = await daemon.database()
    assert [shown[f"tls_{name}"] for name in ("private_key", "key_cert", "ca_cert")] == list(files.values())
    configure(open_vswitch, **{"ovn-nb": "tcp:127.0.0.1:1"})
    await daemon.outage("tcp:127.0.0.1:1")
    assert (await daemon.database())["tls_private_key"] is None
