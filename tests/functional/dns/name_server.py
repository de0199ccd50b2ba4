"""A name server on loopback, which stands for those outside."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

Reply = Callable[[bytes], Iterable[bytes]]
"""What a server sends back for a query; nothing to stay silent."""


class NameServer(asyncio.DatagramProtocol):
    """Answers as it is told, and keeps what it was asked, with the port of who asked."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.asked: list[bytes] = []
        self.ports: list[int] = []

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.ports.append(addr[1])
        for answer in self._reply(data):
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def name_server(reply: Reply, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(reply), (address, port))
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)


def port_of(server: NameServer) -> int:
    port: int = server.transport.get_extra_info("sockname")[1]
    return port
