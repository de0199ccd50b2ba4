"""Requests that are odd or broken as HTTP. Pure."""

import random

TARGET = b"POST /NetworkDriver.Leave HTTP/1.1\r\nHost: localhost\r\n"
ODD = [
    TARGET + b'Content-Length: 35\r\n\r\n{"NetworkID":"n","EndpointID":"e"} ',
    TARGET + b"Expect: nonsense\r\nContent-Length: 2\r\n\r\n{}",
    TARGET + b"Expect: \xff\r\nContent-Length: 2\r\n\r\n{}",
    TARGET + b"Content-Type: \xff\r\nContent-Length: 2\r\n\r\n{}",
    TARGET + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    TARGET + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    TARGET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nx",
    b"GET http://localhost/%ff%00 HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"POST /\xff HTTP/1.1\r\nHost: \xff\r\n\r\n",
]


def mutilated(numbers: random.Random) -> bytes:
    """A request with some bytes changed, taken out or put in."""
    request = bytearray(numbers.choice(ODD))
    for _ in range(numbers.randint(0, 5)):
        at = numbers.randrange(len(request))
        piece = numbers.randbytes(numbers.randint(0, 4))
        request[at : at + numbers.randint(0, 6)] = piece
    return bytes(request)
