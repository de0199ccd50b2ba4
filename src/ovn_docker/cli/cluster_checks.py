"""What only the commands check: the driver itself, and what grows with the number of hosts."""

import asyncio
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ovn_docker.cli.target import REACH_TIMEOUT
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

ANSWER_TIMEOUT = 3.0
"""Seconds for this host to be read."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """The findings, and for people what was left out."""

    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


async def look(parts: Components, driver_name: str) -> ClusterReport:
    """Check the driver, this host's tunnels and the hosts behind them, OVN Southbound, and the switches.

    Raises:
        OvnDockerError: not everything could be read.
    """
    if not isinstance(parts, OverlayComponents):
        return ClusterReport()
    found, notes = await _driver(parts, driver_name), []
    async with ovn_settings.following(parts.ovs, ovn_settings.SOUTHBOUND, {}) as client:
        central = await southbound_findings(parts.ovs, client)
        peer_findings, unasked = await _peer_findings(parts.host, client)
        found += peer_findings
        if unasked:
            notes.append(f"{unasked} other host(s) were not asked whether they are alive")
    if not parts.presence.problem():
        central += await doubled_switches(parts.shared)
    return ClusterReport((*found, *central), tuple(notes))


async def causes(parts: Components) -> tuple[Finding, ...]:
    """What is wrong with this host, where OVN's databases cannot be reached: it may be why."""
    if parts.host is None or parts.ovs.outage():
        return ()
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return tuple(check_host(await parts.host.read()))
    except (OvnDockerError, TimeoutError):
        return ()


# --- Whether a network of this host has its switch twice, with some hosts on each ---------------------------


async def doubled_switches(shared: SharedNetworks) -> list[Finding]:
    """Each subnet and context of this host's networks that is on two switches (a scan of switches for each).

    Raises:
        OvnDockerError: Northbound cannot be read.
    """
    wanted = {(network.pools[0], network.context): network for network in shared.all() if network.context}
    questions = [switches.ls_meant_for(subnet, context) for subnet, context in wanted]
    results = await shared.database.transact(questions) if questions else []
    found = []
    for ((subnet, context), network), result in zip(wanted.items(), results, strict=True):
        others = sorted({str(row["name"]) for row in result["rows"]} - {network.switch})
        if others:
            text = (
                f"subnet {subnet} in context {context} is on logical switch {network.switch} here and on"
                f" {', '.join(others)} too, so containers on one do not reach those on another: keep one,"
                " remove the networks on the others, and then the others with 'ovn-nbctl ls-del'"
            )
            found.append(Finding("switch-twice", f"{subnet} {context}", text))
    return found


# --- Whether OVN Southbound answers, and whether an ovn-northd is active on it ------------------------------
# An active ovn-northd has a lock there (ovn-northd(8), "Active-Standby for High Availability"). One that is
# paused or stands by does not have it. A thousand drivers that asked regularly would be a load.


ABSENT_FOR = 5.0
"""Seconds for which nobody has the lock before that is a finding: a restart of ovn-northd and the election of
a leader are over sooner."""


async def southbound_findings(ovs: Client, client: Client, absent_for: float = ABSENT_FOR) -> list[Finding]:
    """Whether Southbound cannot be reached from here, or no ovn-northd is active on it.

    Of ovn-northd nothing is reported where the server cannot know: a relay and a follower of a cluster keep
    the locks of their own clients only. ovn-controller works with either.

    Args:
        ovs: this host's Open_vSwitch, which has been read.
        client: of OVN Southbound.
        absent_for: seconds without an active ovn-northd before that is a finding.
    """
    settings = ovn_settings.settings_of(ovs)
    if not settings.southbound:
        return []  # this is finding setting-missing
    try:
        await client.reached(REACH_TIMEOUT)
    except UnreachableError as error:
        return [] if NOT_LEADER in client.outage() else [_unreachable(str(error))]
    deadline = time.monotonic() + absent_for
    while client.model != RELAY and await _is_free(client):
        if time.monotonic() > deadline:
            return [_absent(settings.southbound)]
        await asyncio.sleep(SECOND_LOOK)
    return []


async def _is_free(client: Client) -> bool:
    """Whether no ovn-northd is active: then its lock can be taken, and is released at once."""
    try:
        async with client.lock(southbound.NORTHD_LOCK) as lock:
            return lock.held
    except DatabaseError:  # the server does not allow it
        return False


def _unreachable(outage: str) -> Finding:
    text = f"{outage}: this host gets no news from OVN, and whether ovn-northd runs is unknown"
    if "systemctl" not in outage:  # the text for a unix socket names the command already
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


# --- Whether the hosts answer to which this one has tunnels -------------------------------------------------


STATUS_AGE = 7.0
"""Seconds: ovs-vswitchd writes the status of interfaces each 5 s (other_config:stats-update-interval)."""

BFD_STARTS = 3.0
"""Seconds for which a new tunnel's session of BFD may be down: until it is up, it sends once a second
(RFC 5880 section 6.8.3)."""


async def _peer_findings(host: HostReader, southbound_client: Client) -> tuple[list[Finding], int]:
    """What is wrong with the tunnels and the hosts behind them, and how many hosts were too many to ask.

    Raises:
        OvnDockerError: Open vSwitch's database cannot be read.
    """
    down = await _down(host)
    tunnels = usable(await host.tunnels())
    lost = await peers.failed({tunnel.remote for tunnel in tunnels})
    chosen = to_ask(tunnels, lost, random.sample)
    answers = await peers.ask([tunnel.remote for tunnel in chosen])
    wrong = {
        tunnel.chassis
        for tunnel in chosen
        if answers[tunnel.remote] is PeerAnswer.AWAY or tunnel.bfd == "down"
    }
    if any(tunnel.bfd == "down" for tunnel in chosen):
        await asyncio.sleep(BFD_STARTS)
    hostnames = await _hostnames(southbound_client, wrong - {""})
    found = check_peers(usable(await host.tunnels()), answers, hostnames)
    return [*down, *found], len(tunnels) - len(chosen)


async def _hostnames(client: Client, chassis: Collection[str]) -> Mapping[str, str]:
    """The host names of chassis; nothing where Southbound cannot be asked."""
    if not chassis or not client.connected:
        return {}
    try:
        results = await client.transact([southbound.hostname_get(name) for name in chassis])
    except DatabaseError:
        return {}
    return southbound.read_hostnames(row for result in results for row in result["rows"])


async def _down(host: HostReader) -> list[Finding]:
    """The tunnels that stay down for longer than Open vSwitch takes to report the state of a new one."""
    down = list(check_tunnels(await host.tunnels()))
    deadline = time.monotonic() + STATUS_AGE
    while down and time.monotonic() < deadline:
        await asyncio.sleep(SECOND_LOOK)
        down = [finding for finding in check_tunnels(await host.tunnels()) if finding in down]
    return down


# --- Whether the driver answers Docker ----------------------------------------------------------------------


async def _driver(parts: Components, name: str) -> list[Finding]:
    if ":" in name:  # a managed plugin, which dockerd starts and watches
        return []
    address = address_of(name)
    if not address:
        drivers = (await parts.engine.network_ids()).values()
        is_used = any(names(driver, name) for driver in drivers)
        reason = "it has neither a socket nor a plugin file" if is_used else ""
    else:
        reason = await asyncio.to_thread(silence, address)
    if not reason:
        return []
    text = (
        f"driver {name} does not answer Docker ({reason}), so no container of its networks starts or stops"
        " properly: run 'systemctl restart ovn-docker-overlay-driver', or start it as you did before"
    )
    return [Finding("driver-down", name, text)]
