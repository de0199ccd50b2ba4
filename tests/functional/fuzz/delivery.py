"""How a call is put on the wire, in ways that dockerd does not. Pure."""

import random

from tests.functional.fuzz.ledger import Call

HOSTILE_HEADERS = (
    *(b"Origin: http://evil.example", b"Sec-Fetch-Site: cross-site", b"Host: evil.example", b"Host: \xff"),
    *(b"Content-Type: text/plain", b"Content-Type: \xff/\x01", b"Content-Type: application/json; x=\xe9"),
    *(b"Content-Length: 7", b"Content-Length: -1", b"Content-Length: 1e3", b"Content-Length: " + b"9" * 400),
    *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked", b"Content-Encoding: br"),
    *(b"Expect: 100-continue", b"Expect: 200-ok", b"Connection: close", b"Connection: Upgrade, x"),
    *(b"Upgrade: websocket", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"X-Forwarded-For: 127.0.0.1"),
    *(b"Cookie: " + b"a=b; " * 700, b"X-Long: " + b"x" * 5000, b": no name", b"No colon", b"Bad Name: x"),
    *(b"X-Null: \x00", b"X-Escape: \x1b[2J", b"X-Bare: a\rb", b"X-Fold: a\r\n b", b"\tX: y"),
    b"X-\xc3\xa9: y",
    *(b"X-HTTP-Method-Override: DELETE", b"Range: bytes=0-", b"If-None-Match: *", b"Accept: \xff"),
    *(b"Accept-Encoding: gzip, br, zstd", b"Authorization: Basic \x80", b"TE: trailers", b"Trailer: Host"),
    b"\r\n".join(b"X-%d: y" % number for number in range(100)),
)
METHODS = b"GET HEAD PUT DELETE OPTIONS TRACE CONNECT PATCH post P\x00ST".split(b" ")
PATHS = (
    *b"/../%s /./%s //%s /%s/ /%s/../%s /%%2e%%2e/%s /%s%%00 /%s%%0a /%s?a=b /%s#x".split(b" "),
    *b"http://evil.example/%s %s /%s;x * /x\xff%s /%s.json /metrics/%s /healthz/../%s".split(b" "),
    *(b"/" + b"a/" * 3000 + b"%s", b"/%s" + b"%%20" * 500, b"\\%s"),
)
VERSIONS = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/x.y", b"", b"RTSP/1.0")
FIRST_LINE = b"POST /%s HTTP/1.1"
HOST = b"Host: localhost"


def whole(call: Call) -> bytes:
    """A call as dockerd sends it."""
    return _join(FIRST_LINE % call.verb.encode(), [HOST, b"Content-Length: %d" % len(call.body)], call.body)


def abused(numbers: random.Random, call: Call) -> bytes:
    """A call whose head has something odd in it; it is whole, if it is understood at all."""
    line, headers, body = FIRST_LINE, [HOST], call.body
    if numbers.random() < 0.3:
        body = _chunks(numbers, body)
        headers.append(b"Transfer-Encoding: chunked")
    else:
        headers.append(b"Content-Length: %d" % len(body))
    match numbers.randrange(6):
        case 0:
            line = numbers.choice(METHODS) + b" /%s HTTP/1.1"
        case 1:
            line = b"POST " + numbers.choice(PATHS) + b" HTTP/1.1"
        case 2:
            line = b"POST /%s " + numbers.choice(VERSIONS)
        case _:
            headers += numbers.sample(HOSTILE_HEADERS, numbers.randint(1, 3))
    numbers.shuffle(headers)
    verb = call.verb.encode()
    return _join(line % ((verb,) * (line.count(b"%s"))), headers, body)


def cut(numbers: random.Random, call: Call) -> bytes:
    """A call that ends before its last byte."""
    raw = whole(call)
    return raw[: numbers.randrange(1, len(raw))]


def _chunks(numbers: random.Random, body: bytes) -> bytes:
    sent = bytearray()
    while body:
        size = numbers.randint(1, max(1, len(body) // 2))
        extension = b";x=y" if numbers.random() < 0.1 else b""
        sent += b"%X%s\r\n%s\r\n" % (size, extension, body[:size])
        body = body[size:]
    trailer = b"X-Trailer: y\r\n" if numbers.random() < 0.1 else b""
    return bytes(sent) + b"0\r\n" + trailer + b"\r\n"


def _join(line: bytes, headers: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([line, *headers, b"", body])
