"""Hosts that do not answer are one finding, by the names that people know them by."""

from dataclasses import replace

from ovn_docker.health.host_checks import MOST, check_peers, to_ask, usable
from ovn_docker.host.open_vswitch import Tunnel
from ovn_docker.host.peers import PeerAnswer

FINE = Tunnel("192.0.2.2", "", "eth0", carrier=True, chassis="h2")


def tunnels(count: int) -> list[Tunnel]:
    return [replace(FINE, remote=f"192.0.2.{number}", chassis=f"h{number}") for number in range(2, 2 + count)]


def first(among: object, count: int) -> list[Tunnel]:
    assert isinstance(among, list)
    return among[:count]


def test_hosts_that_are_away_are_one_finding_that_names_them() -> None:
    away = {tunnel.remote: PeerAnswer.AWAY for tunnel in tunnels(5)}
    [finding] = check_peers(tunnels(6), away | {"192.0.2.7": PeerAnswer.HERE}, {"h2": "box", "h3": "h3"})
    assert finding.kind == "peer-down"
    named = "h2 (box, 192.0.2.2), h3 (192.0.2.3), h4 (192.0.2.4) and 2 more"
    assert finding.text.startswith(
        f"5 hosts do not answer at their tunnel address: {named}, so containers there"
    )
    assert "'ovn-docker gc --host NAME', then 'ovn-sbctl chassis-del NAME'" in finding.text
    assert finding.subject == f"{named.partition(' and ')[0]}, h5 (192.0.2.5), h6 (192.0.2.6)"


def test_one_host_is_told_in_the_singular_and_without_a_name_by_its_address() -> None:
    [finding] = check_peers([replace(FINE, chassis="")], {FINE.remote: PeerAnswer.AWAY}, {})
    assert finding.text.startswith(
        "1 host does not answer at its tunnel address: 192.0.2.2, so containers there"
    )


def test_a_host_that_says_nothing_or_was_not_asked_is_no_finding() -> None:
    answers = {"192.0.2.2": PeerAnswer.HERE, "192.0.2.3": PeerAnswer.SILENT}
    assert list(check_peers(tunnels(3), answers, {})) == []


def test_a_tunnel_that_bfd_says_is_down_to_a_host_that_is_there_is_told() -> None:
    down = [replace(tunnel, bfd="down") for tunnel in tunnels(2)]
    [finding] = check_peers(down, {tunnel.remote: PeerAnswer.HERE for tunnel in down}, {})
    assert finding.kind == "tunnel-blocked"
    assert finding.text.startswith("the tunnel to h2 (192.0.2.2), h3 (192.0.2.3) is down, as BFD says")
    assert list(check_peers(down, {}, {})) == []  # nobody was asked
    up = [replace(tunnel, bfd="up") for tunnel in down]
    assert list(check_peers(up, {tunnel.remote: PeerAnswer.HERE for tunnel in up}, {})) == []


def test_only_what_nothing_here_prevents_is_asked_and_each_address_once() -> None:
    bad = [replace(FINE, egress=""), replace(FINE, carrier=False), replace(FINE, error="no")]
    assert usable(bad) == []
    assert usable([FINE, replace(FINE, chassis="twice")]) == [replace(FINE, chassis="twice")]


def test_of_many_hosts_some_are_asked_those_that_seem_away_first() -> None:
    many = tunnels(MOST + 20)
    many[-1] = replace(many[-1], bfd="down")
    chosen = to_ask(many, {many[-2].remote}, first)
    assert len(chosen) == MOST
    assert chosen[:2] == many[-2:]
    assert chosen[2:] == many[: MOST - 2]
    assert len(to_ask(many, {tunnel.remote for tunnel in many}, first)) == MOST
    assert to_ask(many[:3], (), first) == many[:3]
