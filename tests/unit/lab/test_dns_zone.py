"""What the DNS server of a lab's machine outside answers."""

import struct
from ipaddress import IPv4Address

import pytest

from ovn_docker_lab.dns_zone import answer

SERVER = IPv4Address("198.18.0.2")
A, PTR, AAAA = 1, 12, 28
NXDOMAIN, FORMERR = 3, 1


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def ask(name: str, kind: int) -> tuple[int, list[bytes]]:
    """The code of the reply and the data of its records."""
    asked = query(name, kind)
    reply, _ = answer(asked, SERVER)
    assert reply is not None
    identity, flags, questions, count, _, _ = struct.unpack_from("!6H", reply)
    assert (identity, questions, flags & 0x8180) == (0x1234, 1, 0x8180)
    assert reply[12 : len(asked)] == asked[12:]
    position, data = len(asked), []
    for _ in range(count):
        pointer, found, _, _, length = struct.unpack_from("!3HIH", reply, position)
        assert (pointer, found) == (0xC00C, kind)
        data.append(reply[position + 12 : position + 12 + length])
        position += 12 + length
    assert position == len(reply)
    return flags & 15, data


@pytest.mark.parametrize("name", ["example.test", "EXAMPLE.test", "intranet"])
def test_a_name_has_an_address_of_each_family(name: str) -> None:
    assert ask(name, A) == (0, [bytes([203, 0, 113, 1])])
    code, [address] = ask(name, AAAA)
    assert (code, len(address)) == (0, 16)


def test_a_name_without_such_a_record_exists_all_the_same() -> None:
    assert ask("four.test", AAAA) == (0, [])


@pytest.mark.parametrize("kind", [A, AAAA, PTR])
def test_other_names_do_not_exist(kind: int) -> None:
    assert ask("db", kind) == (NXDOMAIN, [])


def test_the_server_s_name_is_at_the_address_that_was_asked() -> None:
    assert ask("server", A) == (0, [SERVER.packed])


def test_an_address_has_a_name() -> None:
    assert ask("1.113.0.203.in-addr.arpa", PTR) == (0, [b"\x07example\x04test\0"])
    assert ask("9.113.0.203.in-addr.arpa", PTR) == (NXDOMAIN, [])


def test_what_is_no_query_has_no_answer_or_an_error() -> None:
    assert answer(b"short", SERVER)[0] is None
    assert answer(struct.pack("!6H", 1, 0x8000, 0, 0, 0, 0), SERVER)[0] is None
    for nonsense in (b"", b"\x3f", b"\x01\xff\0\0\1\0\1"):
        reply, _ = answer(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + nonsense, SERVER)
        assert reply is not None
        assert struct.unpack_from("!6H", reply)[1] & 15 == FORMERR
