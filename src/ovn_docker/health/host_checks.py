"""From a look at the host to findings: its daemons, its settings, its datapath, its tunnels. Pure.

All of them are to be repaired by hand: what is wrong is not the driver's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import HostSetup
from ovn_docker.host.open_vswitch import Tunnel, lacking
from ovn_docker.host.peers import PeerAnswer

CONTROLLERS = 2
"""How many connections to its bridge ovn-controller has at least. A watch of ours for --ip-lookup has one."""

MOST_NAMED = 3
"""How many hosts a text names."""

MOST = 50
"""How many hosts are asked: each costs a file descriptor, and the kernel an entry in its neighbour table."""

Choose = Callable[[Sequence[Tunnel], int], list[Tunnel]]
"""Chooses that many of them, as `random.sample` does."""


def check_host(setup: HostSetup | None) -> Iterator[Finding]:
    """What keeps OVN from serving this host."""
    if setup is None:
        return
    daemons = list(_check_daemons(setup))
    yield from daemons
    yield from _check_settings(setup)
    if all(finding.kind != "vswitchd-down" for finding in daemons):  # it has the bridges and their addresses
        yield from _check_addresses(setup)
    if names := lacking(setup.capabilities):
        text = (
            f"the datapath of bridge {setup.settings.bridge} lacks {', '.join(names)}, so Open vSwitch"
            " refuses flows of OVN: use a kernel with connection tracking, zones and NAT, or the userspace"
            " datapath with 'ovs-vsctl set Open_vSwitch ."
            " external_ids:ovn-bridge-datapath-type=netdev'"
        )
        yield Finding("datapath-lacks", setup.settings.bridge, text)


def _check_daemons(setup: HostSetup) -> Iterator[Finding]:
    running, bridge = setup.daemons.running, setup.settings.bridge
    if not running:
        return  # Open vSwitch is in another network namespace, or the kernel does not list sockets
    if "ovs-vswitchd" not in running:
        text = (
            "ovs-vswitchd is not running on this host, so new ports pass no packets:"
            " 'systemctl restart openvswitch-switch'"
        )
        yield Finding("vswitchd-down", "ovs-vswitchd", text)
    elif "ovn-controller" not in running and setup.daemons.controlled.get(bridge, 0) < CONTROLLERS:
        text = (
            "ovn-controller is not running on this host, so OVN installs no flows here: 'systemctl restart"
            " ovn-controller', or without systemd '/usr/share/ovn/scripts/ovn-ctl start_controller'"
        )
        yield Finding("controller-down", "ovn-controller", text)


def _check_settings(setup: HostSetup) -> Iterator[Finding]:
    for key, example, value in (
        ("ovn-remote", "tcp:CENTRAL:6642", setup.settings.southbound),
        ("ovn-encap-ip", "ADDRESS-OF-THIS-HOST", setup.settings.encap_ips),
    ):
        if not value:
            text = (
                f"external_ids:{key} is not set in Open_vSwitch, so ovn-controller does not join OVN:"
                f" 'ovs-vsctl set Open_vSwitch . external_ids:{key}={example}'"
            )
            yield Finding("setting-missing", key, text)


def _check_addresses(setup: HostSetup) -> Iterator[Finding]:
    for address, link in setup.addresses.items():
        if link is None:
            text = (
                f"no interface of this host has the tunnel address {address}, so packets of other hosts do"
                " not arrive: assign it to one, or 'ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-ip="
                "ADDRESS-OF-THIS-HOST'"
            )
            yield Finding("encap-foreign", address, text)


def check_tunnels(tunnels: Iterable[Tunnel]) -> Iterator[Finding]:
    """Tunnels that are down for one reason are one finding."""
    remotes: dict[str, list[str]] = {}
    for tunnel in tunnels:
        if tunnel.error:
            reason = f"Open vSwitch says {tunnel.error}: see 'ovs-vsctl show'"
        elif not tunnel.egress:
            reason = "this host has no route to it: see 'ip route get ADDRESS'"
        elif not tunnel.carrier:
            reason = f"interface {tunnel.egress} has no carrier: see 'ip link show {tunnel.egress}'"
        else:
            continue
        remotes.setdefault(reason, []).append(tunnel.remote)
    for reason, addresses in sorted(remotes.items()):
        text = f"no packet reaches the tunnel address {listed(addresses)}: {reason}"
        yield Finding("tunnel-down", reason.partition(":")[0], text)


def listed(hosts: Collection[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(hosts) - MOST_NAMED} more" if len(hosts) > MOST_NAMED else ""
    return ", ".join(sorted(hosts)[:MOST_NAMED]) + more


# --- The hosts behind the tunnels, each of which was sent a byte --------------------------------------------


def usable(tunnels: Iterable[Tunnel]) -> list[Tunnel]:
    """One tunnel for each address, without those that `check_tunnels` reports."""
    working = (tunnel for tunnel in tunnels if tunnel.egress and tunnel.carrier and not tunnel.error)
    return list({tunnel.remote: tunnel for tunnel in working}.values())


def to_ask(tunnels: Sequence[Tunnel], lost: Collection[str], choose: Choose) -> list[Tunnel]:
    """The tunnels whose hosts are asked: those that seem to be away first, then some of the others.

    Args:
        tunnels: those that are `usable`.
        lost: addresses that nobody has, according to the kernel.
        choose: which of the others.
    """
    first = [tunnel for tunnel in tunnels if tunnel.bfd == "down" or tunnel.remote in lost][:MOST]
    others = [tunnel for tunnel in tunnels if tunnel not in first]
    return first + choose(others, min(len(others), MOST - len(first)))


def check_peers(
    tunnels: Iterable[Tunnel], answers: Mapping[str, PeerAnswer], hostnames: Mapping[str, str]
) -> Iterator[Finding]:
    """Hosts that are away are one finding, and tunnels that do not work to hosts that are there another.

    The subject names them all, the text only the first of them.

    Args:
        tunnels: as they are after all were asked.
        answers: by tunnel address.
        hostnames: by the hosts' names in OVN.
    """
    away, blocked = [], []
    for tunnel in tunnels:
        answer = answers.get(tunnel.remote)
        if answer is PeerAnswer.AWAY:
            away.append(_name(tunnel, hostnames))
        elif answer is not None and tunnel.bfd == "down":
            blocked.append(_name(tunnel, hostnames))
    if away:
        subject, its = ("1 host does", "its") if len(away) == 1 else (f"{len(away)} hosts do", "their")
        text = (
            f"{subject} not answer at {its} tunnel address: {listed(away)}, so containers there and here"
            " cannot reach each other: check that it is on, and 'ip neigh show ADDRESS'; if it will not come"
            " back, remove it with 'ovn-docker gc --host NAME', then 'ovn-sbctl chassis-del NAME'"
        )
        yield Finding("peer-down", ", ".join(sorted(away)), text)
    if blocked:
        text = (
            f"the tunnel to {listed(blocked)} is down, as BFD says, though the host behind it may answer:"
            " check that ovs-vswitchd runs there and that firewalls pass UDP port 6081 (Geneve)"
        )
        yield Finding("tunnel-blocked", ", ".join(sorted(blocked)), text)


def _name(tunnel: Tunnel, hostnames: Mapping[str, str]) -> str:
    """The name that commands take, and the other names by which a person may know the host."""
    if not tunnel.chassis:
        return tunnel.remote
    hostname = hostnames.get(tunnel.chassis, "")
    known = [hostname] if hostname and hostname != tunnel.chassis else []
    return f"{tunnel.chassis} ({', '.join([*known, tunnel.remote])})"
