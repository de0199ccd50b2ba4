"""Queries as containers send them, garbage too, and what we answer, as dnspython reads it."""

import ipaddress
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_docker.dns import messages
from ovn_docker.dns.messages import NXDOMAIN, REFUSED, SERVFAIL, Query

V4 = ipaddress.ip_address("10.77.0.5")
V6 = ipaddress.ip_address("fd00::5")
LABEL = st.from_regex(r"[a-z0-9_]([-a-z0-9_]{0,20}[a-z0-9_])?", fullmatch=True)


def stay(_: list[bytes]) -> None:
    """Leave the order of records alone."""


def asked(name: str = "web", kind: str = "A", **options: Any) -> Query:  # noqa: ANN401
    query = messages.parse(dns.message.make_query(name, kind, **options).to_wire())
    assert query
    return query


def read(query: Query, answer: bytes) -> dns.message.Message:
    """What a client makes of an answer, if it takes it at all."""
    message = dns.message.from_wire(answer)
    assert dns.message.from_wire(query.wire).is_response(message)
    assert not message.flags & dns.flags.TC
    return message


def texts(message: dns.message.Message) -> list[str]:
    return [record.to_text() for rrset in message.answer for record in rrset]


def test_a_query_is_read() -> None:
    query = asked("WeB", "AAAA")
    assert (query.name, query.labels, query.kind, query.edns) == ("web", 1, 28, None)
    assert asked("a.b.", "MX").labels == 2
    assert (asked(".", "NS").name, asked(".", "NS").labels) == ("", 0)


@pytest.mark.parametrize(
    ("position", "octet"),
    [(2, 0x80), (2, 0x28), (2, 0x10), (5, 0), (5, 2), (len(b"0123456789ab\3web\0\0\1"), 3)],
)
def test_what_is_not_one_question_of_class_in_is_none(position: int, octet: int) -> None:
    wire = bytearray(dns.message.make_query("web", "A").to_wire())
    assert messages.parse(bytes(wire))
    wire[position if position < 12 else len(wire) - 1] = octet
    assert messages.parse(bytes(wire)) is None


@pytest.mark.parametrize("section", ["answer", "authority"])
def test_a_query_with_records_is_none(section: str) -> None:
    message = dns.message.make_query("web", "A", use_edns=0)
    getattr(message, section).append(dns.rrset.from_text("web.", 1, "IN", "A", "192.0.2.1"))
    assert messages.parse(message.to_wire()) is None


def test_a_query_with_more_than_edns_is_none() -> None:
    message = dns.message.make_query("web", "A", use_edns=0)
    assert messages.parse(message.to_wire())
    message.additional.append(dns.rrset.from_text("web.", 1, "IN", "A", "192.0.2.1"))
    assert messages.parse(message.to_wire()) is None


def test_a_question_that_points_into_the_header_is_none() -> None:
    assert messages.parse(b"\0\0\1\0\0\1\0\0\0\0\0\0\xc0\x00\0\1\0\1") is None


@given(st.binary(max_size=200))
def test_garbage_is_read_without_an_error(wire: bytes) -> None:
    messages.parse(wire)


@given(st.data())
def test_a_damaged_query_is_read_without_an_error(data: st.DataObject) -> None:
    option = dns.edns.ECSOption("192.0.2.0", 24)
    wire = bytearray(dns.message.make_query("a.web", "A", use_edns=0, options=[option]).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    query = messages.parse(bytes(wire))
    if query:
        assert messages.addresses(query, [V4], stay)
        messages.reverse_address(query)


@given(st.lists(LABEL, min_size=1, max_size=4), st.sampled_from(["A", "AAAA", "PTR", "TXT", "ANY"]))
def test_a_query_is_answered_as_it_was_asked(labels: list[str], kind: str) -> None:
    name = ".".join(labels)
    query = asked(name.upper(), kind)
    assert (query.name, query.labels, query.kind) == (name, len(labels), dns.rdatatype.from_text(kind))
    message = read(query, messages.addresses(query, [V4, V6], stay))
    assert message.question[0].name.to_text() == f"{name.upper()}."
    assert texts(message) == {"A": ["10.77.0.5"], "AAAA": ["fd00::5"], "ANY": ["10.77.0.5", "fd00::5"]}.get(
        kind, []
    )


@pytest.mark.parametrize("kind", ["HTTPS", "SVCB", "MX", "SRV", "AAAA"])
def test_a_known_name_has_no_records_of_another_type(kind: str) -> None:
    query = asked("web", kind)
    message = read(query, messages.addresses(query, [V4], stay))
    assert (message.rcode(), message.answer, message.authority) == (dns.rcode.NOERROR, [], [])


def test_flags_and_ttl() -> None:
    query = asked()
    message = read(query, messages.addresses(query, [V4], stay))
    assert dns.flags.to_text(message.flags) == "QR AA RD RA"
    assert message.answer[0].ttl == 5
    without = asked(flags=0)
    assert dns.flags.to_text(read(without, messages.addresses(without, [V4], stay)).flags) == "QR AA RA"


@pytest.mark.parametrize(("rcode", "ours"), [(NXDOMAIN, True), (SERVFAIL, False), (REFUSED, False)])
def test_failures(rcode: int, ours: bool) -> None:  # noqa: FBT001
    query = asked(use_edns=0)
    message = read(query, messages.failure(query, rcode))
    assert (message.rcode(), message.answer, message.authority) == (rcode, [], [])
    assert bool(message.flags & dns.flags.AA) is ours


def test_the_order_is_that_of_the_shuffle() -> None:
    query = asked()
    others = [V4, V4 + 1, V4 + 2]
    found = texts(read(query, messages.addresses(query, others, lambda records: records.reverse())))
    assert found == ["10.77.0.7", "10.77.0.6", "10.77.0.5"]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 512),
        ({"use_edns": 0, "payload": 100}, 512),
        ({"use_edns": 0, "payload": 700}, 700),
        ({"use_edns": 0, "payload": 4096}, 1232),
    ],
)
@pytest.mark.parametrize("kind", ["A", "AAAA", "PTR"])
def test_records_that_do_not_fit_are_left_out(options: dict[str, Any], size: int, kind: str) -> None:
    query = asked("web", kind, **options)
    if kind == "PTR":
        answer = messages.names(query, (f"name{number:02}.net." for number in range(99)))
    else:
        answer = messages.addresses(query, [ip + n for n in range(99) for ip in (V4, V6)], stay)
    assert size - 28 < len(answer) <= size
    assert len(texts(read(query, answer))) > 10


def test_edns_is_answered_with_edns() -> None:
    query = asked(use_edns=0, payload=4096, want_dnssec=True, options=[dns.edns.ECSOption("192.0.2.0", 24)])
    message = read(query, messages.addresses(query, [V4], stay))
    assert (message.edns, message.payload, message.options) == (0, 1232, ())
    assert message.ednsflags & dns.flags.DO
    assert texts(message) == ["10.77.0.5"]


def test_an_unknown_version_of_edns_is_refused() -> None:
    query = asked(use_edns=1)
    message = read(query, messages.addresses(query, [V4], stay))
    assert (message.rcode(), message.answer, message.edns) == (dns.rcode.BADVERS, [], 0)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_addresses_are_read_from_their_names(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    name = address.reverse_pointer
    assert messages.reverse_address(asked(name.upper(), "PTR")) == address


@pytest.mark.parametrize(
    "name",
    [
        "web",
        "in-addr.arpa",
        "0.77.10.in-addr.arpa",
        "1.5.0.77.10.in-addr.arpa",
        "256.0.77.10.in-addr.arpa",
        "05.0.77.10.in-addr.arpa",
        "1.ip6.arpa",
        "g." + "0." * 31 + "ip6.arpa",
        "00." + "0." * 31 + "ip6.arpa",
        "1.0.0.127.in-addr.example",
    ],
)
def test_other_names_stand_for_no_address(name: str) -> None:
    assert messages.reverse_address(asked(name, "PTR")) is None


def test_names_of_an_address() -> None:
    query = asked("5.0.77.10.in-addr.arpa", "PTR")
    message = read(query, messages.names(query, ["web", "web.net", "x" * 64, "a..b"]))
    assert texts(message) == ["web.", "web.net."]
    of_a = asked("5.0.77.10.in-addr.arpa", "A")
    assert texts(read(of_a, messages.names(of_a, ["web"]))) == []
