"""The frame that asks, and which frames answer it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_docker.underlay import probe

MAC, VLAN, XID = "fa:16:3e:00:00:01", 77, 0x01020304


def reply(
    xid: int = XID, ports: tuple[int, int] = (67, 68), operation: int = 2, *, tagged: bool = False
) -> bytes:
    """A server's answer, built by hand."""
    bootp = struct.pack("!4BI", operation, 1, 6, 0, xid) + bytes(228)
    udp = struct.pack("!4H", *ports, 8 + len(bootp), 0) + bootp
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\1" * 4, b"\2" * 4) + udp
    return bytes(12) + (b"\x81\x00\x00\x4d" if tagged else b"") + b"\x08\x00" + packet


def test_a_request_is_a_tagged_broadcast_of_the_client() -> None:
    frame = probe.discover(MAC, VLAN, XID)
    assert frame[:12] == b"\xff" * 6 + bytes.fromhex("fa163e000001")
    assert struct.unpack("!3H", frame[12:18]) == (0x8100, VLAN, 0x0800)
    packet = frame[18:]
    assert struct.unpack("!H", packet[2:4])[0] == len(packet)
    assert sum(struct.unpack("!10H", packet[:20])) % 0xFFFF == 0  # RFC 1071: a right checksum sums to -0
    assert struct.unpack("!2H", packet[20:24]) == (68, 67)
    bootp = packet[28:]
    assert bootp[:4] == bytes((1, 1, 6, 0))
    assert bootp[236:244] == bytes((99, 130, 83, 99, 53, 1, 1, 255))


@given(st.integers(300, 9000))
def test_a_request_is_as_large_as_asked(size: int) -> None:
    assert len(probe.discover(MAC, VLAN, XID, size)) == 18 + size


@pytest.mark.parametrize("tagged", [False, True])
def test_its_answer_is_known_with_its_tag_and_without(*, tagged: bool) -> None:
    assert probe.answers(reply(tagged=tagged), XID)


@pytest.mark.parametrize(
    "frame",
    [
        reply(xid=5),
        reply(ports=(68, 67)),
        reply(operation=1),
        probe.discover(MAC, VLAN, XID),
        b"",
        reply()[:60],
    ],
    ids=["another's", "the other way", "a request", "our own", "nothing", "a piece"],
)
def test_what_is_no_answer_is_none(frame: bytes) -> None:
    assert not probe.answers(frame, XID)


@given(st.binary(max_size=400))
def test_no_frame_makes_it_fail(frame: bytes) -> None:
    probe.answers(frame, XID)
    probe.answers(reply()[:14] + frame, XID)
