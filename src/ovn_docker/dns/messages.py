"""DNS queries as we read them, and our answers, as bytes (RFC 1035, RFC 6891). Pure.

dnspython reads what containers send. The answers are simple enough to be written here: the question as it was
asked, records whose name is a pointer to it, and OPT if the query had one. Nothing listens on TCP, so an
answer is never marked as truncated: records that do not fit are left out as a whole.
"""

import ipaddress
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rdataclass
import dns.rdatatype

from ovn_docker.addressing import IPAddress

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
"""Types of records (RFC 1035 section 3.2.2, RFC 3596, RFC 6891)."""

NOERROR, SERVFAIL, NXDOMAIN, REFUSED, BADVERS = 0, 2, 3, 5, 16
"""Codes of answers (RFC 1035 section 4.1.1); BADVERS is an extended one (RFC 6891 section 9)."""

TTL = 5
"""Seconds that a client may keep an answer."""

PAYLOAD, SMALLEST_PAYLOAD = 1232, 512
"""Bytes of the largest message that we take and send, which no path fragments: 1280 without the headers of
IPv6 and UDP; and of the largest one for a client without EDNS (RFC 1035 section 2.3.4)."""

HEADER = struct.Struct("!HHHHHH")
"""RFC 1035 section 4.1.1: id, flags, and the numbers of records in the four sections."""

RECORD = struct.Struct("!HHHIH")
"""A pointer to the name that was asked for, type, class, TTL and length of the data."""

OPTIONS = struct.Struct("!BHHIH")
"""OPT (RFC 6891 section 6.1.2): the root's name, type, payload, code, version and flags, no options."""

POINTER = 0xC000 | HEADER.size
"""To the question's name, which follows the header (RFC 1035 section 4.1.4)."""

QR, AA, RA, RD_CD = 0x8000, 0x0400, 0x0080, 0x0110
"""Flags. musl and glibc want RA: a server without it would not be asked again. RD and CD are copied."""

DNSSEC_OK = 0x8000
"""The flag of EDNS that an answer repeats (RFC 3225 section 3)."""

HEX_DIGITS = set("0123456789abcdef")

Shuffle = Callable[[list[bytes]], None]
"""Orders records in place, as `random.shuffle` does."""


@dataclass(frozen=True, slots=True)
class Query:
    """A standard query with one question of class IN.

    Attributes:
        name: in lower case, without the trailing dot; special octets escaped (RFC 1035 section 5.1).
        labels: of the name; 1 for ``web``.
        kind: the type of records asked for.
        wire: the whole message.
        question: its question section, as it was asked.
        size: of the largest answer that the client takes and we send, in bytes.
        edns: its version of EDNS; None without.
        dnssec_ok: whether the client takes DNSSEC's records, which we have none of.
    """

    name: str
    labels: int
    kind: int
    wire: bytes
    question: bytes
    size: int
    edns: int | None
    dnssec_ok: bool


def parse(wire: bytes) -> Query | None:
    """Read a query; None for all else, well-formed or not.

    Of other records it may have one, which is OPT's: what a container sends cannot cost us more than it.
    """
    if len(wire) < HEADER.size or wire[2] & 0xF8:  # an answer, or another opcode
        return None
    if wire[4:11] != b"\0\1\0\0\0\0\0" or wire[11] > 1:
        return None
    try:
        message = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    (question,) = message.question
    if question.rdclass != dns.rdataclass.IN:
        return None
    asked = _octets(question.name) + struct.pack("!HH", question.rdtype, question.rdclass)
    if wire[HEADER.size : HEADER.size + len(asked)] != asked:  # it points into the header
        return None
    with_edns = message.edns >= 0
    return Query(
        name="" if question.name == dns.name.root else question.name.to_text(omit_final_dot=True).lower(),
        labels=len(question.name) - 1,
        kind=int(question.rdtype),
        wire=wire,
        question=asked,
        size=max(SMALLEST_PAYLOAD, min(message.payload, PAYLOAD)) if with_edns else SMALLEST_PAYLOAD,
        edns=message.edns if with_edns else None,
        dnssec_ok=bool(message.ednsflags & DNSSEC_OK),
    )


def reverse_address(query: Query) -> IPAddress | None:
    """The address whose name is asked for, by ``5.0.77.10.in-addr.arpa`` (RFC 1035 section 3.5) or 32 hex
    digits under ``ip6.arpa`` (RFC 3596 section 2.5); None for any other name.
    """
    labels = query.name.split(".")
    digits = labels[-3::-1]
    if labels[-2:] == ["in-addr", "arpa"]:
        try:
            return ipaddress.IPv4Address(".".join(digits))
        except ValueError:
            return None
    if labels[-2:] != ["ip6", "arpa"] or len(digits) != 32 or not set(digits) <= HEX_DIGITS:  # noqa: PLR2004
        return None
    return ipaddress.IPv6Address(int("".join(digits), 16))


def addresses(query: Query, ips: Iterable[IPAddress], shuffle: Shuffle, ttl: int = TTL) -> bytes:
    """Those of the family that is asked for, both for ANY, in the order of `shuffle`.

    It has no record if there is none of that family, or another type is asked for: then the name exists all
    the same (RFC 2308 section 2.2).
    """
    records = []
    for ip in ips:
        kind = A if ip.version == 4 else AAAA  # noqa: PLR2004
        if query.kind in {kind, ANY}:
            records.append(_record(kind, ip.packed, ttl))
    shuffle(records)
    return _answer(query, NOERROR, records)


def names(query: Query, found: Iterable[str], ttl: int = TTL) -> bytes:
    """What an address is called; a name that DNS cannot carry is left out (RFC 1035 section 2.3.4)."""
    records = []
    for name in found if query.kind in {PTR, ANY} else ():
        try:
            records.append(_record(PTR, _octets(dns.name.from_text(name)), ttl))
        except (dns.exception.DNSException, ValueError):
            continue
    return _answer(query, NOERROR, records)


def failure(query: Query, rcode: int) -> bytes:
    """Without records, such as NXDOMAIN."""
    return _answer(query, rcode, ())


def _octets(name: dns.name.Name) -> bytes:
    """A name as it is sent, not compressed."""
    octets = name.to_wire()
    assert octets is not None  # as it is with a file to write to
    return octets


def _record(kind: int, data: bytes, ttl: int) -> bytes:
    return RECORD.pack(POINTER, kind, 1, ttl, len(data)) + data


def _answer(query: Query, rcode: int, records: Sequence[bytes]) -> bytes:
    if query.edns:  # we know version 0 only (RFC 6891 section 6.1.3)
        rcode, records = BADVERS, ()
    options = b""
    if query.edns is not None:
        more = (rcode >> 4) << 24 | (DNSSEC_OK if query.dnssec_ok else 0)
        options = OPTIONS.pack(0, OPT, PAYLOAD, more, 0)
    room = query.size - HEADER.size - len(query.question) - len(options)
    kept = []
    for record in records:
        if len(record) <= room:
            kept.append(record)
            room -= len(record)
    number, asked = struct.unpack_from("!HH", query.wire)
    flags = QR | RA | asked & RD_CD | rcode & 0xF
    if rcode in {NOERROR, NXDOMAIN}:
        flags |= AA
    header = HEADER.pack(number, flags, 1, len(kept), 0, 1 if options else 0)
    return b"".join((header, query.question, *kept, options))
