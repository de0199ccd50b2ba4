"""Values that no Docker sends. Pure: all randomness comes from the generator argument."""

import random
from typing import Any

TEXTS = (
    *("", " ", "\x00", "a\x00b", "\n", "a\r\nX-Injected: b", "\x1b[31mred\x07", "\x7f", "\x85", "\u2028"),
    *("\ud800", "a\udfff", "\ufeff", "\u202eevil", "e\u0301" * 50, "\U0001f4a9"),
    *("\uff45\uff54\uff48\uff10", "İ", "ß"),
    *[".", "..", "../..", "../../../../etc/passwd", "/", "//", "/dev/null", "/proc/self/mem", "a/../b", "~"],
    *("..%2f..%2f", "%00", "%s%n%d", "{0.__class__}", "${jndi:x}", "$(id)", "`id`", "; id", "| id", "&& id"),
    *("-", "--help", "-rf", "'", '"', "\\", "' OR '1'='1", "<script>alert(1)</script>", "&amp;", "]]>"),
    *("0", "-1", "1e309", "NaN", "true", "null", "9" * 5000, "0x10", "1_000", "\u0661\u0662\u0663", "²"),
    *[
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/24/24",
        "10.0.0.1",
        "010.0.0.1/24",
        "255.255.255.255/32",
    ],
    *["127.0.0.1/8", "224.0.0.1/4", "fe80::1%eth0/64", "fe80::1%/../x", "::ffff:10.0.0.1/96"],
    *("10.0.0.0/255.255.255.0", "10.0.0.0/0.0.0.255", "\uff12.0.0.1/24"),
    *["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01", "02:42:0a:00:00", "02-42-0a-00-00-02"],
    *["dynamic", "router", "unknown", "lo", "br-int"],
    *("||", "|||", "default|10.0.0.0/24|10.0.0.0/24|", "default|0.0.0.0/0|0.0.0.0/0|x", "a|b|c|d|e"),
    *("A" * 128, "A" * 129, "x" * 4096, "é" * 3000, "a" * 70_000),
)

DOCKER = "com.docker.network"
KEYS = (
    *(f"{DOCKER}.generic", f"{DOCKER}.internal", f"{DOCKER}.enable_ipv6", f"{DOCKER}.driver.mtu"),
    *(f"{DOCKER}.portmap", f"{DOCKER}.endpoint.exposedports"),
    *["RequestAddressType", "context", "create", "switch", "port_security", "__class__", "constructor"],
)

NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e308)
SIMPLE: tuple[Any, ...] = (None, True, False, *NUMBERS, "", [], {})


def text(numbers: random.Random) -> str:
    """A text of an unlucky kind."""
    if numbers.random() < 0.8:
        return numbers.choice(TEXTS)
    points = (numbers.choice((0x20, 0x80, 0x2100, 0xFFFF, 0x10FFFF)) for _ in range(numbers.randint(1, 40)))
    return "".join(chr(numbers.randint(0, most)) for most in points)


def anything(numbers: random.Random, depth: int = 3) -> Any:  # noqa: ANN401  (JSON is anything)
    """A value of any kind that JSON has."""
    choice = numbers.random()
    if depth == 0 or choice < 0.4:
        return numbers.choice(SIMPLE)
    if choice < 0.7:
        return text(numbers)
    if choice < 0.83:
        return [anything(numbers, depth - 1) for _ in range(numbers.randint(0, 4))]
    if choice < 0.99:
        return {_key(numbers): anything(numbers, depth - 1) for _ in range(numbers.randint(0, 4))}
    return nested(numbers.randint(10, 900))


def _key(numbers: random.Random) -> str:
    return numbers.choice(KEYS) if numbers.random() < 0.6 else text(numbers)


def nested(depth: int) -> Any:  # noqa: ANN401
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def garbled(numbers: random.Random, body: bytes) -> bytes:
    """A body of which the JSON itself is odd or broken; never one that says something else."""
    at = numbers.randrange(len(body) + 1)
    pieces = (
        b"",
        b" \n\t" * 100 + body + b"\r\n",
        body[:at],
        body[:at] + numbers.randbytes(3) + body[at:],
        body + b"}",
        body + body,
        b"\xef\xbb\xbf" + body,
        body.decode("utf-8", "replace").encode("utf-16"),
        body.replace(b'"', b"'"),
        body.replace(b'{"', b'{"Other":1,"Other":[],"', 1),
        body.replace(b":", b":NaN,", 1),
        body.replace(b'":', b'\xff\xfe":', 1),
        b"[" + body + b"]",
        b"[" * numbers.choice((100, 5000, 100_000)),
        b'{"Options":' * numbers.choice((100, 5000, 50_000)),
        body[:-1] + b',"Options":{"a":"' + b"y" * numbers.choice((65_536, 400_000, 1 << 20)) + b'"}}',
        body[:-1] + b',"Options":{' + b",".join(b'"%d":%d' % (n, n) for n in range(5000)) + b"}}",
    )
    # The large ones are as likely as a tenth of the others, for they are slow and grow nothing but traffic.
    large = numbers.random() < 0.05
    return numbers.choice(pieces[13:] if large else pieces[:13])
