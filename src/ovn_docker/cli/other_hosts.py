"""What only a command asks: whether the hosts are there to which this one has tunnels."""

import asyncio
import random
import time
from dataclasses import dataclass

from ovn_docker.cli import southbound_state
from ovn_docker.health.findings import SECOND_LOOK, Finding
from ovn_docker.health.host_checks import check_tunnels
from ovn_docker.health.host_reader import HostReader
from ovn_docker.health.peer_checks import check_peers, to_ask, usable
from ovn_docker.host import peers
from ovn_docker.host.peers import Answer
from ovn_docker.ovsdb.client import Client

STATUS_AGE = 7.0
"""Seconds: ovs-vswitchd writes the status of interfaces each 5 s (other_config:stats-update-interval)."""

BFD_STARTS = 3.0
"""Seconds for which a new tunnel's session of BFD may be down: until it is up, it sends once a second
(RFC 5880 section 6.8.3)."""


@dataclass(frozen=True, slots=True)
class Peers:
    """What was found.

    Attributes:
        findings: what is wrong with tunnels, and with the hosts behind them.
        unasked: how many hosts were not asked, because there are too many.
    """

    findings: tuple[Finding, ...]
    unasked: int


async def look(host: HostReader, client: Client) -> Peers:
    """Look at the tunnels to all other hosts, and ask the hosts behind them.

    Args:
        host: this one.
        client: of OVN Southbound, connected or not.

    Raises:
        OvnDockerError: Open vSwitch's database cannot be read.
    """
    down = await _down(host)
    tunnels = usable(await host.tunnels())
    lost = await peers.failed({each.remote for each in tunnels})
    asked = to_ask(tunnels, lost, random.sample)
    answers = await peers.ask([each.remote for each in asked])
    wrong = {each.chassis for each in asked if answers[each.remote] is Answer.AWAY or each.bfd == "down"}
    if any(each.bfd == "down" for each in asked):
        await asyncio.sleep(BFD_STARTS)
    hostnames = await southbound_state.hostnames(client, wrong - {""})
    found = check_peers(usable(await host.tunnels()), answers, hostnames)
    return Peers((*down, *found), len(tunnels) - len(asked))


async def _down(host: HostReader) -> list[Finding]:
    """Those that stay down for as long as Open vSwitch takes to say how a tunnel fares, a new one's too."""
    down = list(check_tunnels(await host.tunnels()))
    deadline = time.monotonic() + STATUS_AGE
    while down and time.monotonic() < deadline:
        await asyncio.sleep(SECOND_LOOK)
        down = [each for each in check_tunnels(await host.tunnels()) if each in down]
    return down
