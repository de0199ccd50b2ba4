"""Run on its own in a network namespace: tells what arrived there, once its input ends.

A line "ready", then a line of JSON: [source MAC address, EtherType, destination IPv4 or IPv6 address] of each
kind of frame that came in, whatever its destination.
"""

import ipaddress
import json
import select
import socket
import sys

EVERYTHING = 3
"""ETH_P_ALL (packet(7))."""


def describe(frame: bytes) -> tuple[str, str, str]:
    """What is told of a frame."""
    kind = frame[12:14].hex()
    at, size = {"0800": (30, 4), "86dd": (38, 16)}.get(kind, (0, 0))
    target = str(ipaddress.ip_address(frame[at : at + size])) if size else ""
    return frame[6:12].hex(":"), kind, target


def main() -> None:
    """Listen until the input ends."""
    seen = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING)) as tap:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        ended = False
        while not ended:
            readable, _, _ = select.select([tap, sys.stdin], [], [])
            ended = sys.stdin in readable
            while select.select([tap], [], [], 0)[0]:
                frame, address = tap.recvfrom(2048)
                if address[2] != socket.PACKET_OUTGOING:
                    seen.add(describe(frame))
    sys.stdout.write(json.dumps(sorted(seen)) + "\n")


if __name__ == "__main__":
    main()
