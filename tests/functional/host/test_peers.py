"""Other hosts are asked whether they are there: real ones, in a network namespace each."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from ovn_docker.host import peers
from ovn_docker.host.peers import PeerAnswer
from tests.functional.private_network import in_private_network, ip, other_network

pytestmark = pytest.mark.functional

HOST, ROUTED = "192.0.2.2", "203.0.113.1"

Ip = Callable[..., None]


@contextlib.contextmanager
def neighbour() -> Iterator[Ip]:
    """A host at the other end of a link, and a network behind it: ip(8) there."""
    with other_network() as pid:

        def in_namespace(*words: str) -> None:
            inside = ["nsenter", "--target", str(pid), "--net", *words]
            subprocess.run(inside, check=True, timeout=10)

        ip("link", "add", "here0", "type", "veth", "peer", "name", "there0")
        ip("link", "set", "there0", "netns", str(pid))
        ip("address", "add", "192.0.2.1/24", "dev", "here0")
        ip("address", "add", "2001:db8::1/64", "dev", "here0", "nodad")
        ip("link", "set", "here0", "up")
        ip("route", "add", "203.0.113.0/24", "via", HOST)
        in_namespace("ip", "link", "set", "lo", "up")
        in_namespace("ip", "address", "add", f"{HOST}/24", "dev", "there0")
        in_namespace("ip", "address", "add", "2001:db8::2/64", "dev", "there0", "nodad")
        in_namespace("ip", "link", "set", "there0", "up")
        in_namespace("ip", "link", "add", "behind0", "type", "veth", "peer", "name", "behind1")
        in_namespace("ip", "address", "add", f"{ROUTED}/24", "dev", "behind0")
        in_namespace("ip", "link", "set", "behind0", "up")
        in_namespace("ip", "link", "set", "behind1", "up")
        in_namespace("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1")
        yield in_namespace


@in_private_network
async def test_a_live_host_answers_at_once_and_a_dead_one_is_known_in_4_s() -> None:
    with neighbour():
        began = time.monotonic()
        here = dict.fromkeys([HOST, "2001:db8::2", ROUTED], PeerAnswer.HERE)
        assert await peers.ask(list(here)) == here
        assert time.monotonic() - began < peers.ANSWER_TIMEOUT
        away = dict.fromkeys(["192.0.2.9", "2001:db8::9", "203.0.113.9"], PeerAnswer.AWAY)
        began = time.monotonic()
        assert await peers.ask([*here, *away]) == here | away
        assert time.monotonic() - began < peers.ANSWER_TIMEOUT + 2  # a busy machine's
        assert await peers.failed(["192.0.2.9", HOST]) == {"192.0.2.9"}
    assert await peers.ask([]) == {}


@in_private_network
async def test_a_host_that_was_switched_off_a_moment_ago_is_known_to_be_away() -> None:
    """The kernel has its link address still, and would wait for 5 s before it asks anew."""
    with neighbour() as in_namespace:
        assert await peers.ask([HOST]) == {HOST: PeerAnswer.HERE}
        in_namespace("ip", "address", "delete", f"{HOST}/24", "dev", "there0")
        assert await peers.ask([HOST]) == {HOST: PeerAnswer.AWAY}


@in_private_network
async def test_a_silent_host_and_a_router_that_forbids_do_not_count_as_away() -> None:
    with neighbour() as in_namespace:
        in_namespace("ip", "route", "add", "prohibit", "203.0.113.77/32")
        in_namespace("ip", "route", "add", "unreachable", "203.0.113.78/32")
        asked = {"203.0.113.77": PeerAnswer.SILENT, "203.0.113.78": PeerAnswer.AWAY}
        assert await peers.ask(list(asked)) == asked
        in_namespace(
            "ip", "route", "add", "blackhole", "192.0.2.1/32"
        )  # no answer leaves, but to who asks for the link
        assert await peers.ask([HOST]) == {HOST: PeerAnswer.SILENT}


@in_private_network
async def test_an_address_without_a_route_does_not_count_as_away() -> None:
    assert await peers.ask(["198.51.100.7"]) == {"198.51.100.7": PeerAnswer.SILENT}
