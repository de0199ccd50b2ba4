"""The services of the machine outside: who is asking, over HTTP and UDP, and a small DNS server.

Run on its own: ``python -m ovn_docker_lab.outside_services SOCKET ADDRESS...``. Once all of them answer it
listens on the Unix socket SOCKET. Each request is a line on standard output.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address

from ovn_docker_lab.dns_zone import answer

HTTP_PORT = 80
ECHO_PORT = 7
DNS_PORT = 53

_LONGEST_REQUEST = 8192
_TIMEOUT = 10.0

Sender = tuple[str, int]
Answer = Callable[[bytes, Sender], bytes | None]


class _Datagrams(asyncio.DatagramProtocol):
    """Answers datagrams from the address that they were sent to."""

    def __init__(self, answer_to: Answer) -> None:
        self._answer_to = answer_to
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        sender = str(addr[0]), int(addr[1])
        reply = self._answer_to(data, sender)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


def _echo(data: bytes, sender: Sender) -> bytes:
    """The address of the sender, and what it sent."""
    _say(f"udp {sender[0]}")
    return f"{sender[0]} ".encode() + data


async def _web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request with the address that it came from, whatever the path."""
    address = str(writer.get_extra_info("peername")[0])
    try:
        async with asyncio.timeout(_TIMEOUT):
            request = await reader.readuntil(b"\r\n\r\n")
            _say(f"http {address} {request.split(b' ')[1].decode(errors='replace')}")
            body = f"{address}\n"
            head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
    except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return
    finally:
        writer.close()


async def _greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _serve(socket: str, addresses: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    for address in addresses:
        await asyncio.start_server(_web, address, HTTP_PORT, limit=_LONGEST_REQUEST)
        for port, answer_to in ((ECHO_PORT, _echo), (DNS_PORT, _dns(address))):
            await loop.create_datagram_endpoint(partial(_Datagrams, answer_to), local_addr=(address, port))
    await asyncio.start_unix_server(_greet, socket)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def _dns(address: str) -> Answer:
    def answer_to(query: bytes, sender: Sender) -> bytes | None:
        reply, question = answer(query, ip_address(address))
        _say(f"dns {sender[0]} {question}")
        return reply

    return answer_to


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2:]))
