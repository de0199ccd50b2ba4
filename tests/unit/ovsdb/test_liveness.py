"""When a peer is probed, and when it counts as gone."""

import math

import pytest

from ovn_docker.ovsdb.connection import LONGEST_MESSAGE, PROBE_INTERVAL, Liveness


def probed() -> Liveness:
    """A peer that was asked at the first moment."""
    peer = Liveness(0)
    assert peer.due == PROBE_INTERVAL
    assert not peer.probe(PROBE_INTERVAL - 1)
    assert peer.probe(PROBE_INTERVAL)
    return peer


def test_a_peer_that_replies_is_probed_each_interval() -> None:
    peer = probed()
    peer.heard(7)
    peer.replied(7)
    assert peer.due == 7 + PROBE_INTERVAL
    assert not peer.probe(11)
    assert peer.probe(12)


def test_a_silent_peer_is_gone_an_interval_after_its_probe() -> None:
    peer = probed()
    assert peer.due == 2 * PROBE_INTERVAL
    assert not peer.probe(2 * PROBE_INTERVAL - 1)
    with pytest.raises(OSError, match="does not answer its probe"):
        peer.probe(2 * PROBE_INTERVAL)


def test_a_peer_is_waited_for_as_long_as_bytes_come_but_not_for_ever() -> None:
    peer = probed()
    end = PROBE_INTERVAL + LONGEST_MESSAGE
    for second in range(6, int(end)):
        peer.heard(second)
        assert second < peer.due <= end
        assert not peer.probe(second)
    peer.heard(end)
    with pytest.raises(OSError, match="has sent data for 30 s without answering"):
        peer.probe(end)


def test_a_peer_with_an_interval_of_its_own_is_waited_for_that_long() -> None:
    peer = Liveness(0, 60)
    assert peer.due == 60
    assert peer.probe(60)
    assert peer.due == 120
    assert not peer.probe(119)
    with pytest.raises(OSError, match="does not answer its probe"):
        peer.probe(120)


def test_a_peer_without_an_interval_is_never_probed() -> None:
    peer = Liveness(0, 0)
    assert peer.due == math.inf
    assert not peer.probe(10**9)


def test_bytes_before_the_probe_do_not_delay_it() -> None:
    peer = Liveness(0)
    peer.heard(PROBE_INTERVAL - 1)
    assert peer.probe(PROBE_INTERVAL)
