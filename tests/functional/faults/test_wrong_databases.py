"""ovn-nb is wrong: one clear line says how, the rest goes on, and the right one needs no restart."""

import asyncio
import contextlib
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import MakeServer
from tests.functional.faults.hosts import configure, set_northbound
from tests.functional.faults.killing import DriverProcess, driver_process
from tests.functional.faults.story import Failure, call
from tests.functional.servers import SCHEMAS, OvsdbServer, until

pytestmark = [pytest.mark.functional, pytest.mark.timeout(90)]

IDS = {"NetworkID": "b5082ded" * 8, "EndpointID": "a0b1c2d3" * 8}
NETWORK = {"NetworkID": IDS["NetworkID"], "IPv4Data": [{"Pool": "10.0.0.0/24"}]}


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """Something that listens and is no OVSDB server."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"tcp:127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.asynccontextmanager
async def wrongly_set(
    value: str, make_server: MakeServer, directory: Path, name: str = "h1"
) -> AsyncIterator[tuple[DriverProcess, OvsdbServer]]:
    """A driver on a host of that name, with that ovn-nb, and the host's database."""
    open_vswitch = make_server("Open_vSwitch")
    configure(open_vswitch, value, name)
    with driver_process(directory, str(open_vswitch.remote), "-vconsole:warn") as driver:
        yield driver, open_vswitch


async def says_in_one_line(driver: DriverProcess, text: str) -> None:
    """See that Docker's user and the log are told, and the log only once."""
    with pytest.raises(Failure) as failure:
        await call(driver.socket, "NetworkDriver.CreateNetwork", NETWORK)
    assert text in str(failure.value)
    assert "\n" not in str(failure.value)
    await until(lambda: logged(driver, text), "the log says so")
    assert len(logged(driver, text)) == 1
    assert "Traceback" not in driver.log.read_text()


def logged(driver: DriverProcess, text: str) -> list[str]:
    """The lines of the log that say so, but those of the verbs that failed of it."""
    return [line for line in driver.lines() if text in line and "|server|" not in line]


async def goes_on_with_what_it_can(driver: DriverProcess) -> None:
    """See that dockerd finds the driver, and that what needs only Open vSwitch is done."""
    assert "NetworkDriver" in (await call(driver.socket, "Plugin.Activate", {}))["Implements"]
    await call(driver.socket, "NetworkDriver.GetCapabilities", {})
    await call(driver.socket, "NetworkDriver.Leave", IDS)


WRONG = {
    "10.0.0.1:6641": (
        "external_ids:ovn-nb of Open_vSwitch cannot be used: '10.0.0.1:6641' is not a valid OVSDB remote"
    ),
    "tcp:127.0.0.1:1": "OVN Northbound cannot be reached at tcp:127.0.0.1:1: Connection refused",
    "unix:/nonexistent": "OVN Northbound cannot be reached at unix:/nonexistent: No such file",
    "WEB SERVER": "OVN Northbound cannot be reached at tcp:127.0.0.1:",
    "SOUTHBOUND": "the server has no database OVN_Northbound",
}


async def test_a_wrong_ovn_nb_is_one_clear_line_and_needs_no_restart(
    make_server: MakeServer, northbound: OvsdbServer, short_path: Path
) -> None:
    async def one(value: str, text: str, directory: Path) -> None:
        directory.mkdir()
        name = directory.name
        async with wrongly_set(value, make_server, directory, name) as (driver, open_vswitch):
            pid = driver.pid
            await says_in_one_line(driver, text)
            await goes_on_with_what_it_can(driver)
            set_northbound(open_vswitch, str(northbound.remote), name)
            await call(driver.socket, "NetworkDriver.CreateNetwork", NETWORK)
            assert driver.pid == pid

    southbound = str(make_server("OVN_Southbound").remote)
    with web_server() as web:
        values = {"WEB SERVER": web, "SOUTHBOUND": southbound}
        cases = [(values.get(value, value), text) for value, text in WRONG.items()]
        await asyncio.gather(
            *(one(*case, short_path / f"d{number}") for number, case in enumerate(cases))
        )  # each takes as long as one verb may


# --- Schemas that lack a column -----------------------------------------------------------------------------


def without(server: OvsdbServer, table: str, column: str) -> None:
    """Serve a database whose schema is older: it lacks a column."""
    server.kill()
    schema = json.loads(SCHEMAS[server.database].read_text())
    del schema["tables"][table]["columns"][column]
    schema.pop("cksum", None)
    old = server.directory / "old.ovsschema"
    old.write_text(json.dumps(schema))
    server.file.unlink()
    server.create(old)
    server.start()


async def test_a_northbound_that_lacks_a_column_is_named_and_the_rest_goes_on(
    make_server: MakeServer, northbound: OvsdbServer, short_path: Path
) -> None:
    without(northbound, "Logical_Switch_Port", "port_security")
    async with wrongly_set(str(northbound.remote), make_server, short_path) as (driver, _):
        pid = driver.pid
        await call(driver.socket, "NetworkDriver.CreateNetwork", NETWORK)
        with pytest.raises(Failure) as failure:
            await call(
                driver.socket,
                "NetworkDriver.CreateEndpoint",
                IDS | {"Interface": {"Address": "10.0.0.2/24"}},
            )
        assert "port_security" in str(failure.value)
        assert "Logical_Switch_Port" in str(failure.value)
        await goes_on_with_what_it_can(driver)
        await call(driver.socket, "NetworkDriver.DeleteEndpoint", IDS)
        await call(driver.socket, "NetworkDriver.DeleteNetwork", NETWORK)
        assert driver.pid == pid
    assert northbound.rows("Logical_Switch", "name") == []


async def test_an_open_vswitch_that_lacks_a_watched_column_is_named(
    make_server: MakeServer, northbound: OvsdbServer, short_path: Path
) -> None:
    open_vswitch = make_server("Open_vSwitch")
    without(open_vswitch, "Interface", "error")
    configure(open_vswitch, str(northbound.remote))
    with driver_process(short_path, str(open_vswitch.remote), "-vconsole:warn") as driver:
        await says_in_one_line(driver, "the database refused: syntax error: error is not a valid column name")
        assert "NetworkDriver" in (await call(driver.socket, "Plugin.Activate", {}))["Implements"]
        without_error, pid = "Open vSwitch cannot be reached", driver.pid
        assert without_error in driver.log.read_text()
        await asyncio.to_thread(renew, open_vswitch, str(northbound.remote))
        await call(driver.socket, "NetworkDriver.CreateNetwork", NETWORK)
        assert driver.pid == pid


def renew(server: OvsdbServer, northbound: str) -> None:
    """Serve a database of the schema that is installed."""
    server.kill()
    server.file.unlink()
    server.create()
    server.start()
    configure(server, northbound)
