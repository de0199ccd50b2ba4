"""Who has to reach whom, and what a container's own words mean."""

from chaos.judge import LOST
from chaos.reach import peers, verdict
from tests.unit.chaos import world

SAID = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
10: eth1    inet 172.18.0.2/16 brd 172.18.255.255 scope global eth1\\       valid_lft forever
12: eth0    inet 10.90.1.2/24 brd 10.90.1.255 scope global eth0\\       valid_lft forever
"""
OTHERS = {"10.90.1.3": "c2 on h2"}


def test_containers_of_a_shared_network_reach_each_other_over_hosts() -> None:
    assert peers(world.hosts()) == {
        ("h1", "c1"): {"10.90.1.3": "c2 on h2"},
        ("h2", "c2"): {"10.90.1.2": "c1 on h1"},
    }


def test_a_container_that_reaches_all_others_says_only_its_addresses() -> None:
    assert verdict(SAID, "c1", "h1", ["10.90.1.2"], OTHERS) == []


def test_a_ping_and_a_connection_without_answer_are_lost() -> None:
    said = f"ping 10.90.1.3\ntcp 10.90.1.3\n{SAID}"
    found = verdict(said, "c1", "h1", ["10.90.1.2"], OTHERS)
    assert [(each.verdict, each.what, each.where) for each in found] == [
        (LOST, "ping", "h1"),
        (LOST, "tcp", "h1"),
    ]
    assert "c1 does not reach c2 on h2" in str(found[0])


def test_an_address_that_the_container_does_not_have_is_lost() -> None:
    [found] = verdict(SAID, "c1", "h1", ["10.90.1.2", "10.101.1.2"], OTHERS)
    assert (found.what, found.name) == ("address", "10.101.1.2")
