"""Does every running container reach every other one of its networks, by ping and by TCP?"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from chaos.oracle import LOST, Difference, switch_of
from chaos.records import Endpoint, Host
from ovn_docker.errors import HostError
from ovn_docker_lab import Machine

_AT_ONCE = 3
"""Containers that ask at the same time; each asks all its peers at once."""

_TIMEOUT = 90.0
_SCRIPT = """\
try() {{
    for n in 1 2 3; do
        "$@" >/dev/null 2>&1 && return
    done
    return 1
}}
for a in {addresses}; do
    (
        try ping -c 1 -W 2 $a || echo ping $a
        try timeout 3 wget -q -O - http://$a/passwd || echo tcp $a
    ) &
done
wait
ip -o -4 addr
"""

Task = tuple[Machine, str, Sequence[str], Mapping[str, str]]


def unreached(machines: Mapping[str, Machine], hosts: Sequence[Host]) -> tuple[int, list[Difference]]:
    """Let each container ask all others of its networks: how many pairs there are, and what is lost."""
    plan = list(_tasks(machines, hosts))
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        found = [difference for differences in pool.map(_ask, plan) for difference in differences]
    return sum(len(peers) for _, _, _, peers in plan), sorted(found)


def peers(hosts: Sequence[Host]) -> dict[tuple[str, str], dict[str, str]]:
    """Whom each container has to reach: (host, container) to the addresses and what is behind them."""
    members: dict[str, list[tuple[Host, Endpoint]]] = {}
    for host in hosts:
        for endpoint in host.endpoints:
            switch = switch_of(host.networks[endpoint.network_id])
            members.setdefault(switch, []).append((host, endpoint))
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for group in members.values():
        for host, endpoint in group:
            others = {
                other.address: f"{other.container} on {host_of_other.name}"
                for host_of_other, other in group
                if other.id != endpoint.id
            }
            wanted.setdefault((host.name, endpoint.container), {}).update(others)
    return wanted


def _tasks(machines: Mapping[str, Machine], hosts: Sequence[Host]) -> Iterator[Task]:
    own: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        for endpoint in host.endpoints:
            own.setdefault((host.name, endpoint.container), []).append(endpoint.address)
    for (host_name, container), others in peers(hosts).items():
        yield machines[host_name], container, own[host_name, container], others


def _ask(task: Task) -> list[Difference]:
    machine, container, own, others = task
    script = _SCRIPT.format(addresses=" ".join(others))
    try:
        output = machine.docker("exec", container, "sh", "-c", script, timeout=_TIMEOUT).stdout
    except HostError as error:
        return [Difference(LOST, "container", container, machine.name, str(error))]
    return verdict(output, container, machine.name, own, others)


def verdict(
    output: str, container: str, host: str, own: Sequence[str], others: Mapping[str, str]
) -> list[Difference]:
    """Read what the script printed in a container that should have `own` and reach `others`."""
    words = [line.split() for line in output.splitlines()]
    failed = [line for line in words if line and line[0] in {"ping", "tcp"}]
    found = [
        Difference(LOST, way, address, host, f"{container} does not reach {others.get(address, '')}")
        for way, address in failed
    ]
    present = {line[3].partition("/")[0] for line in words if len(line) > 3 and line[2] == "inet"}  # noqa: PLR2004
    return found + [
        Difference(LOST, "address", address, host, f"{container} does not have it")
        for address in own
        if address not in present
    ]
