"""From tunnels, and what became of a byte to each of the hosts behind them, to findings. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ovn_docker.health.findings import Finding
from ovn_docker.health.host_checks import listed
from ovn_docker.host.open_vswitch import Tunnel
from ovn_docker.host.peers import Answer

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
    tunnels: Iterable[Tunnel], answers: Mapping[str, Answer], hostnames: Mapping[str, str]
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
        if answer is Answer.AWAY:
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
