"""Run on its own: answers over TCP and UDP what it is sent, with a name before it. Or sends, and times it.

echo.py serve NAME PORT
echo.py ask ADDRESS PORT TEXT
echo.py talk ADDRESS PORT SECONDS
"""

import socket
import sys
import threading
import time


def serve(name: str, port: int) -> None:
    """Serve until killed."""
    threading.Thread(target=_datagrams, args=(name, port), daemon=True).start()
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_lines, args=(name, connection), daemon=True).start()


def _datagrams(name: str, port: int) -> None:
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", port))
    while True:
        data, sender = both.recvfrom(1500)
        both.sendto(f"{name} {data.decode()}".encode(), sender)


def _lines(name: str, connection: socket.socket) -> None:
    with connection, connection.makefile("rw") as stream:
        for line in stream:
            stream.write(f"{name} {line}")
            stream.flush()


def ask(address: str, port: int, text: str) -> None:
    """Send a datagram and print what comes back within 2 s."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.sendto(text.encode(), (address, port))
        say(asker.recv(1500).decode())


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def talk(address: str, port: int, seconds: float) -> None:
    """Send numbered lines over one connection and see that each comes back; print how many."""
    with socket.create_connection((address, port), timeout=10) as peer, peer.makefile("rw") as stream:
        say("connected")
        end, number, longest = time.monotonic() + seconds, 0, 0.0
        while time.monotonic() < end:
            sent = time.monotonic()
            stream.write(f"{number} {'x' * 1000}\n")
            stream.flush()
            answer = stream.readline().split()
            assert answer[1] == str(number), answer
            longest = max(longest, time.monotonic() - sent)
            number += 1
            time.sleep(0.01)
    say(f"{answer[0]} {number} {longest:.2f}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "ask":
        ask(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        talk(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
