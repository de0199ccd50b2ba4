"""From a look at the host to findings: its daemons, its settings, its datapath, its tunnels. Pure.

None of them has a repair but by hand: what is wrong is not the driver's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import HostSetup
from ovn_docker.host.open_vswitch import Tunnel, lacking
from ovn_docker.host.peers import PeerAnswer

CONTROLLERS = 2
"""So many connections to its bridge ovn-controller has at least. A watch of ours for --ip-lookup has one."""

MOST_NAMED = 3
"""How many hosts are named in a text."""


def check_host(setup: HostSetup | None) -> Iterator[Finding]:
    """What keeps OVN from serving this host."""
    if setup is None:
        return
    daemons = list(_check_daemons(setup))
    yield from daemons
    yield from _check_settings(setup)
    if "vswitchd-down" not in {each.kind for each in daemons}:  # its bridges, and their addresses, go with it
        yield from _check_addresses(setup)
    if names := lacking(setup.capabilities):
        text = (
            f"the datapath of bridge {setup.settings.bridge} lacks {', '.join(names)}, so Open vSwitch"
            " refuses flows of OVN's: use a kernel with connection tracking, its zones and NAT, or the"
            " userspace datapath with 'ovs-vsctl set Open_vSwitch ."
            " external_ids:ovn-bridge-datapath-type=netdev'"
        )
        yield Finding("datapath-lacks", setup.settings.bridge, text)


def _check_daemons(setup: HostSetup) -> Iterator[Finding]:
    running, bridge = setup.daemons.running, setup.settings.bridge
    if not running:
        return  # Open vSwitch is in another network namespace, or the kernel does not tell
    if "ovs-vswitchd" not in running:
        text = (
            "ovs-vswitchd does not run on this host, so no new port carries anything:"
            " 'systemctl restart openvswitch-switch'"
        )
        yield Finding("vswitchd-down", "ovs-vswitchd", text)
    elif "ovn-controller" not in running and setup.daemons.controlled.get(bridge, 0) < CONTROLLERS:
        text = (
            "ovn-controller does not run on this host, so OVN installs no flow here: 'systemctl restart"
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
                f"no interface of this host has the tunnel address {address}, so other hosts' packets do not"
                " come here: give it to one, or 'ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-ip="
                "ADDRESS-OF-THIS-HOST'"
            )
            yield Finding("encap-foreign", address, text)


def check_tunnels(tunnels: Iterable[Tunnel]) -> Iterator[Finding]:
    """Tunnels that are down for one reason are one finding."""
    reasons: dict[str, list[str]] = {}
    for each in tunnels:
        if each.error:
            reasons.setdefault(f"Open vSwitch says {each.error}: see 'ovs-vsctl show'", []).append(
                each.remote
            )
        elif not each.egress:
            reasons.setdefault("this host has no route to it: see 'ip route get ADDRESS'", []).append(
                each.remote
            )
        elif not each.carrier:
            why = f"interface {each.egress} has no carrier: see 'ip link show {each.egress}'"
            reasons.setdefault(why, []).append(each.remote)
    for why, remotes in sorted(reasons.items()):
        text = f"no packet reaches the tunnel address {listed(remotes)}: {why}"
        yield Finding("tunnel-down", why.partition(":")[0], text)


def listed(hosts: Collection[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(hosts) - MOST_NAMED} more" if len(hosts) > MOST_NAMED else ""
    return ", ".join(sorted(hosts)[:MOST_NAMED]) + more


# --- From tunnels, and what became of a byte to each of the hosts behind them, to findings. Pure. -----------


MOST = 50
"""How many hosts are asked: each costs a file descriptor, and the kernel an entry in its neighbour table."""

Choose = Callable[[Sequence[Tunnel], int], list[Tunnel]]
"""Takes so many of them, as `random.sample` does."""


def usable(tunnels: Iterable[Tunnel]) -> list[Tunnel]:
    """Those that nothing on this host prevents, one for each address; of the others `check_tunnels` tells."""
    return list(
        {each.remote: each for each in tunnels if each.egress and each.carrier and not each.error}.values()
    )


def to_ask(tunnels: Sequence[Tunnel], lost: Collection[str], choose: Choose) -> list[Tunnel]:
    """Whose hosts are asked: what seems to be away first, and of the others some.

    Args:
        tunnels: those that are `usable`.
        lost: addresses of which the kernel says that nobody has them.
        choose: which of the others.
    """
    first = [each for each in tunnels if each.bfd == "down" or each.remote in lost][:MOST]
    others = [each for each in tunnels if each not in first]
    return first + choose(others, min(len(others), MOST - len(first)))


def check_peers(
    tunnels: Iterable[Tunnel], answers: Mapping[str, PeerAnswer], hostnames: Mapping[str, str]
) -> Iterator[Finding]:
    """Hosts that are away are one finding, and tunnels that do not work to hosts that are there another.

    The subject names them all, the text only the first of them.

    Args:
        tunnels: as they are after all were asked.
        answers: by tunnel address.
        hostnames: what hosts call themselves, by their names in OVN.
    """
    away, blocked = [], []
    for each in tunnels:
        answer = answers.get(each.remote)
        if answer is PeerAnswer.AWAY:
            away.append(_name(each, hostnames))
        elif answer is not None and each.bfd == "down":
            blocked.append(_name(each, hostnames))
    if away:
        text = (
            f"{_count(away)} not answer at {_its(away)} tunnel address: {listed(away)}, so nothing passes"
            " between containers there and here: see whether it is on, and 'ip neigh show ADDRESS'; one that"
            " stays away goes with 'ovn-docker gc --host NAME', then 'ovn-sbctl chassis-del NAME'"
        )
        yield Finding("peer-down", ", ".join(sorted(away)), text)
    if blocked:
        text = (
            f"the tunnel to {listed(blocked)} carries nothing, as BFD says, though the host behind it may"
            " answer: see whether ovs-vswitchd runs there, and firewalls let UDP port 6081 (Geneve) pass"
        )
        yield Finding("tunnel-blocked", ", ".join(sorted(blocked)), text)


def _name(tunnel: Tunnel, hostnames: Mapping[str, str]) -> str:
    """The name that commands take, and what else a person may know the host by."""
    if not tunnel.chassis:
        return tunnel.remote
    hostname = hostnames.get(tunnel.chassis, "")
    known = [hostname] if hostname and hostname != tunnel.chassis else []
    return f"{tunnel.chassis} ({', '.join([*known, tunnel.remote])})"


def _count(hosts: Sequence[str]) -> str:
    return "1 host does" if len(hosts) == 1 else f"{len(hosts)} hosts do"


def _its(hosts: Sequence[str]) -> str:
    return "its" if len(hosts) == 1 else "their"
