"""Sends frames from a link of this host and hears what comes to it (packet(7)); needs CAP_NET_RAW."""

import asyncio
import socket
from collections.abc import Callable

from ovn_docker.errors import HostError

ETH_ALL, ETH_VLAN = 0x0003, 0x8100
LONGEST = 65536
REPEAT = 0.5
"""Seconds after which a frame that was not answered is sent again."""


async def ask(link: str, frame: bytes, answers: Callable[[bytes], bool], seconds: float) -> bool:
    """Send a frame from a link, again and again, until something that comes to the link answers it.

    Args:
        link: as the host sees it.
        frame: whole, with its 802.1Q tag.
        answers: whether a frame is the answer; its tag may have been taken off.
        seconds: to wait altogether.

    Returns:
        Whether there was an answer.

    Raises:
        HostError: the kernel refused.
    """
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL)) as packets:
            packets.bind((link, ETH_ALL))
            packets.setblocking(False)  # noqa: FBT003  (its name is not for keywords)
            return await _ask(packets, frame, answers, seconds)
    except OSError as error:
        raise HostError(f"frames cannot be sent from {link}: {error.strerror}") from error


async def _ask(
    packets: socket.socket, frame: bytes, answers: Callable[[bytes], bool], seconds: float
) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (left := deadline - loop.time()) > 0:
        await loop.sock_sendall(packets, frame)
        try:
            async with asyncio.timeout(min(REPEAT, left)):
                while not answers(await loop.sock_recv(packets, LONGEST)):
                    pass
        except TimeoutError:
            continue
        return True
    return False
