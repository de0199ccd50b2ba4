"""Real sockets: who may bind where, and what is left behind."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.plugin_discovery import bind_unix

pytestmark = pytest.mark.functional


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    application = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    application.router.add_get("/", answer)
    listeners = Listeners(application, grace=1)
    yield listeners
    await listeners.stop()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_unix_socket_and_a_port_are_served_together(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "run" / "plugins" / "x.sock"
    await listeners.start(path, ("127.0.0.1", 0))
    assert listeners.tcp_address is not None
    assert listeners.tcp_address[0] == "127.0.0.1"
    assert (await ask(*await asyncio.open_unix_connection(str(path)))).endswith(b"here")
    assert (await ask(*await asyncio.open_connection(*listeners.tcp_address))).endswith(b"here")


async def test_a_unix_socket_alone_opens_no_port(listeners: Listeners, tmp_path: Path) -> None:
    await listeners.start(tmp_path / "x.sock", None)
    assert listeners.tcp_address is None


async def test_only_its_owner_may_connect_to_the_socket_and_a_stop_removes_it(
    listeners: Listeners, tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    await listeners.start(path, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await listeners.stop()
    assert not path.exists()


async def test_a_socket_that_listens_already_is_served_whoever_came_before(
    listeners: Listeners, tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    bound = bind_unix(path)
    bound.listen()
    early = await asyncio.open_unix_connection(str(path))
    await listeners.start(path, None, bound=bound)
    assert (await ask(*early)).endswith(b"here")
    await listeners.stop()
    assert not path.exists()


async def test_the_socket_of_a_dead_process_is_replaced(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    bind_unix(path).close()
    assert path.exists()
    await listeners.start(path, None)
    assert (await ask(*await asyncio.open_unix_connection(str(path)))).endswith(b"here")


async def test_the_socket_of_a_living_process_is_refused_and_stays(
    listeners: Listeners, tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    with bind_unix(path) as other:
        other.listen()
        with pytest.raises(ConfigError, match="another process serves it"):
            await listeners.start(path, None)
        assert path.exists()


async def test_a_socket_that_another_took_over_is_not_removed(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    await listeners.start(path, None)
    path.rename(tmp_path / "old.sock")
    with bind_unix(path):
        await listeners.stop()
        assert path.exists()


async def test_a_file_that_is_not_a_socket_is_refused_and_stays(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="the file there is not a socket"):
        await listeners.start(path, None)
    assert path.read_text() == "data"


async def test_a_path_that_is_too_long_is_one_clear_error(listeners: Listeners, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="AF_UNIX path too long"):
        await listeners.start(tmp_path / ("x" * 120), None)


async def test_a_port_in_use_is_one_clear_error_and_leaves_no_socket(
    listeners: Listeners, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"TCP 127.0.0.1 port {port}: in use"):
            await listeners.start(tmp_path / "x.sock", ("127.0.0.1", port))
    assert not (tmp_path / "x.sock").exists()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("192.0.2.1", 0), "not an address of this host"),
        (("localhost", 0), "not a valid IP address"),
        (("127.0.0.1", 70000), "not in 0 to 65535"),
    ],
)
async def test_an_address_that_cannot_be_bound_is_one_clear_error(
    listeners: Listeners, address: tuple[str, int], text: str
) -> None:
    with pytest.raises(ConfigError, match=text) as refusal:
        await listeners.start(None, address)
    assert "\n" not in str(refusal.value)


async def test_ipv6_is_served(listeners: Listeners) -> None:
    if not os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110 - no Path needed for a constant
        pytest.skip("this host has no IPv6")
    await listeners.start(None, ("::1", 0))
    assert listeners.tcp_address is not None
    assert (await ask(*await asyncio.open_connection(*listeners.tcp_address))).endswith(b"here")
