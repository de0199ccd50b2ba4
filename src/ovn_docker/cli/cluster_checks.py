"""What only a command looks at, for it grows with the number of hosts, or is the driver itself."""

import asyncio
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ovn_docker.cli.target import reach
from ovn_docker.daemon.components import Components, OverlayComponents
from ovn_docker.docker.models import names
from ovn_docker.errors import DatabaseError, OvnDockerError, UnreachableError
from ovn_docker.health.findings import SECOND_LOOK, Finding
from ovn_docker.health.host_checks import check_host, check_peers, check_tunnels, to_ask, usable
from ovn_docker.health.reader import RELAY, HostReader
from ovn_docker.host import ovn_settings, peers
from ovn_docker.host.peers import PeerAnswer
from ovn_docker.libnetwork.plugin_discovery import address_of, silence
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.ovn import southbound, switches
from ovn_docker.ovsdb.client import NOT_LEADER, Client

# --- Finds that the switch of one of this host's networks is there twice: hosts may be on different ones. ---


async def doubled_switches(shared: SharedNetworks) -> list[Finding]:
    """Each subnet and context of this host's networks that is on two switches (a scan of switches for each).

    Raises:
        OvnDockerError: Northbound cannot be read.
    """
    wanted = {(each.pools[0], each.context): each for each in shared.all() if each.context}
    questions = [switches.ls_meant_for(subnet, context) for subnet, context in wanted]
    results = await shared.database.transact(questions) if questions else []
    found = []
    for ((subnet, context), network), result in zip(wanted.items(), results, strict=True):
        others = sorted({str(row["name"]) for row in result["rows"]} - {network.switch})
        if others:
            text = (
                f"subnet {subnet} in context {context} is on logical switch {network.switch} here and on"
                f" {', '.join(others)} too, so containers do not reach each other on both: keep one, remove"
                " the networks that are on the other, and then that with 'ovn-nbctl ls-del'"
            )
            found.append(Finding("switch-twice", f"{subnet} {context}", text))
    return found


# --- What only a command asks OVN Southbound: whether an ovn-northd works on it, and what hosts are called. -
# An active ovn-northd has a lock there (ovn-northd(8), "Active-Standby for High Availability"). One that is
# paused or stands by does not have it. A thousand drivers that asked regularly would be a load.


ABSENT_FOR = 5.0
"""Seconds for which nobody has the lock before that is told: a restart of ovn-northd and the election of a
leader are over sooner."""


async def southbound_findings(ovs: Client, client: Client, absent_for: float = ABSENT_FOR) -> list[Finding]:
    """Southbound cannot be reached from here, or no ovn-northd works on it.

    Nothing is said of ovn-northd where the server cannot know: a relay and a follower of a cluster keep the
    locks of their own clients. ovn-controller is content with either.

    Args:
        ovs: this host's Open_vSwitch, read by now.
        client: of OVN Southbound.
        absent_for: seconds for which no ovn-northd is seen before that is told.
    """
    settings = ovn_settings.settings_of(ovs)
    if not settings.southbound:
        return []  # told as setting-missing
    try:
        await reach(client)
    except UnreachableError as error:
        return [] if NOT_LEADER in client.outage() else [_unreachable(str(error))]
    deadline = time.monotonic() + absent_for
    while client.model != RELAY and await _is_free(client):
        if time.monotonic() > deadline:
            return [_absent(settings.southbound)]
        await asyncio.sleep(SECOND_LOOK)
    return []


async def _is_free(client: Client) -> bool:
    """Whether no ovn-northd is active: its lock is ours for a moment, and given back at once."""
    try:
        async with client.lock(southbound.NORTHD_LOCK) as lock:
            return lock.held
    except DatabaseError:  # the server does not let us ask
        return False


def _unreachable(outage: str) -> Finding:
    text = f"{outage}: OVN tells this host nothing new, and whether ovn-northd runs is not known"
    if "systemctl" not in outage:  # that of a unix socket says already what to type
        text += (
            "; if external_ids:ovn-remote is right, type 'systemctl restart ovn-central' on the central host"
        )
    return Finding("southbound-down", "OVN Southbound", text)


def _absent(remotes: str) -> Finding:
    text = (
        f"no ovn-northd works on OVN Southbound ({remotes}), so no new port carries anything on any host:"
        " on the central host type 'systemctl restart ovn-northd', or without systemd"
        " '/usr/share/ovn/scripts/ovn-ctl start_northd', or, if it is paused,"
        " 'ovn-appctl -t ovn-northd resume' and then 'ovn-appctl -t ovn-northd status'"
    )
    return Finding("northd-down", "ovn-northd", text)


async def hostnames_of(client: Client, chassis: Collection[str]) -> Mapping[str, str]:
    """What hosts call themselves, by their names in OVN; nothing where that cannot be asked."""
    if not chassis or not client.connected:
        return {}
    try:
        results = await client.transact([southbound.hostname_get(each) for each in chassis])
    except DatabaseError:
        return {}
    return southbound.read_hostnames(row for result in results for row in result["rows"])


# --- What only a command asks: whether the hosts are there to which this one has tunnels. -------------------


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


async def look_at_peers(host: HostReader, client: Client) -> Peers:
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
    wrong = {each.chassis for each in asked if answers[each.remote] is PeerAnswer.AWAY or each.bfd == "down"}
    if any(each.bfd == "down" for each in asked):
        await asyncio.sleep(BFD_STARTS)
    hostnames = await hostnames_of(client, wrong - {""})
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


CAUSES_TIMEOUT = 3.0
"""Seconds for Open vSwitch to answer when the causes of an outage are looked for."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """What a command has found besides what a driver looks at.

    Attributes:
        findings: what is wrong.
        notes: what was left out, for people.
    """

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


async def look(parts: Components, driver_name: str) -> Beyond:
    """Look at the driver, this host's tunnels and the hosts behind them, OVN Southbound, and the switches.

    Raises:
        OvnDockerError: not everything could be read.
    """
    if not isinstance(parts, OverlayComponents):
        return Beyond()
    found, notes = await _driver(parts, driver_name), []
    async with ovn_settings.following(parts.ovs, ovn_settings.SOUTHBOUND, {}) as client:
        central = await southbound_findings(parts.ovs, client)
        seen = await look_at_peers(parts.host, client)
        found += seen.findings
        if seen.unasked:
            notes.append(f"{seen.unasked} other host(s) were not asked whether they are there")
    if not parts.presence.problem():
        central += await doubled_switches(parts.shared)
    return Beyond((*found, *central), tuple(notes))


async def causes(parts: Components) -> tuple[Finding, ...]:
    """What is wrong with this host, where OVN's databases cannot be reached: it may be why."""
    if parts.host is None or parts.ovs.outage():
        return ()
    try:
        async with asyncio.timeout(CAUSES_TIMEOUT):
            return tuple(check_host(await parts.host.read()))
    except (OvnDockerError, TimeoutError):
        return ()


async def _driver(parts: Components, name: str) -> list[Finding]:
    if ":" in name:  # a managed plugin, which dockerd starts and watches
        return []
    address = address_of(name)
    if not address:
        drivers = (await parts.engine.network_ids()).values()
        used = sum(names(each, name) for each in drivers)
        why = "it has neither a socket nor a plugin file" if used else ""
    else:
        why = await asyncio.to_thread(silence, address)
    if not why:
        return []
    text = (
        f"driver {name} does not answer Docker ({why}), so no container of its networks starts or stops well:"
        " 'systemctl restart ovn-docker-overlay-driver', or start it as you did before"
    )
    return [Finding("driver-down", name, text)]
