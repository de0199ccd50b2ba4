"""What the DNS server of the machine outside knows, and its answers (RFC 1035); does no I/O."""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from ovn_docker_lab.plan import OUTSIDE, WORLD, underlay_address, underlay_address6

Address = IPv4Address | IPv6Address

SERVER_NAMES = ("server.test", "server")
"""Names of the very server that is asked, at the address that it is asked at."""

NAMES: Mapping[str, Sequence[Address]] = {
    "example.test": WORLD,
    "four.test": WORLD[:1],
    "intranet": WORLD,
    "router.test": (underlay_address(OUTSIDE).ip, underlay_address6(OUTSIDE).ip),
}
"""Addresses by name. `intranet` is one label, as a container's name is."""

_A, _PTR, _AAAA = 1, 12, 28
_TYPES = {_A: "A", _PTR: "PTR", _AAAA: "AAAA"}
_TTL = 60
_NXDOMAIN, _FORMERR = 3, 1
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0100, 0x0080
_POINTER_TO_QUESTION = 0xC00C
_HEADER = struct.Struct("!6H")


def answer(query: bytes, server: Address) -> tuple[bytes | None, str]:
    """The reply to a query, and the question in words: type and name.

    Args:
        query: one message, as it came over UDP.
        server: the address that it was sent to.

    Returns:
        None in place of the reply if `query` is no query.
    """
    if len(query) < _HEADER.size:
        return None, "nothing"
    identity, flags, *_ = _HEADER.unpack_from(query)
    if flags & _RESPONSE:
        return None, "a response"
    try:
        name, end = _name(query)
        kind, _ = struct.unpack_from("!2H", query, end)
    except (IndexError, UnicodeDecodeError, struct.error):
        return _message(identity, flags, _FORMERR, b"", ()), "nonsense"
    data = _records(name, kind, server)
    code = _NXDOMAIN if data is None else 0
    question = query[_HEADER.size : end + 4]
    return _message(identity, flags, code, question, data or ()), f"{_TYPES.get(kind, kind)} {name}"


def _name(query: bytes) -> tuple[str, int]:
    """The name in the question in lower case, and where it ends."""
    labels, position = [], _HEADER.size
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode("ascii").lower())
        position += 1 + length
    return ".".join(labels), position + 1


def _records(name: str, kind: int, server: Address) -> Sequence[tuple[int, bytes]] | None:
    """Type and data of the records that answer a question; None for a name that does not exist."""
    known = {**NAMES, **dict.fromkeys(SERVER_NAMES, (server,))}
    if addresses := known.get(name):
        kinds = ((_A if isinstance(address, IPv4Address) else _AAAA, address.packed) for address in addresses)
        return [(found, data) for found, data in kinds if found == kind]
    pointed = next(
        (host for host, each in NAMES.items() if name in (address.reverse_pointer for address in each)), None
    )
    if pointed is not None:
        return [(_PTR, _encoded(pointed))] if kind == _PTR else []
    return None


def _encoded(name: str) -> bytes:
    labels = (label.encode() for label in name.split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _message(
    identity: int, flags: int, code: int, question: bytes, records: Sequence[tuple[int, bytes]]
) -> bytes:
    reply = _RESPONSE | (flags & _RECURSION_DESIRED) | _RECURSION_AVAILABLE | code
    header = _HEADER.pack(identity, reply, 1 if question else 0, len(records), 0, 0)
    return header + question + b"".join(_record(kind, data) for kind, data in records)


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("!3HIH", _POINTER_TO_QUESTION, kind, 1, _TTL, len(data)) + data
