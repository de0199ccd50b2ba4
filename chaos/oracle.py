"""Compare what OVN, Open vSwitch and the kernel have with what Docker has; does no I/O.

Docker is the truth: what it has and the others lack is lost, what the others have and Docker lacks is stale.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TypeVar

from chaos.records import Central, Endpoint, Hold, Host, Interface, Network, Port

LOST, STALE, WRONG = "lost", "stale", "wrong"
_CONTEXT = "default"
_LINK_NAME = 15

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One thing that is not as Docker has it.

    Attributes:
        verdict: LOST, STALE or WRONG.
        what: of which kind it is, "logical port".
        name: which one.
        where: host, or "central".
        detail: more of it, for people.
    """

    verdict: str
    what: str
    name: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.what} {self.name} at {self.where}" + (
            f": {self.detail}" if self.detail else ""
        )


def compare(hosts: Sequence[Host], central: Central) -> list[Difference]:
    """All differences; hosts and central are of the same moment, in which nothing was being made."""
    found = [
        *_check_switches(hosts, central),
        *_check_ports(hosts, central),
        *_check_leases(hosts, central),
        *_check_pools(hosts, central),
        *_check_presence(hosts, central),
        *_check_twice(central),
    ]
    for host in hosts:
        found += [*_check_interfaces(host), *_check_links(host), *_check_state_file(host)]
        found += _check_gateways(host, central)
    return sorted(found)


def switch_of(network: Network) -> str:
    """Name of the switch that a network is on (docs/reference/network-options.md)."""
    if not network.leased:
        return network.id
    return hashlib.sha256(f"{_CONTEXT}-{network.subnet}".encode()).hexdigest()


def _missing_and_stale(
    what: str, where: str, wanted: Mapping[_Key, str], found: Iterable[_Key], allowed: Iterable[_Key] = ()
) -> Iterator[Difference]:
    """The wanted keys that are missing, with their owners, and those neither wanted nor allowed."""
    present = set(found)
    for key in wanted.keys() - present:
        yield Difference(LOST, what, _text(key), where, wanted[key])
    for key in present - wanted.keys() - set(allowed):
        yield Difference(STALE, what, _text(key), where)


def _text(key: Hashable) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _networks(hosts: Sequence[Host]) -> Iterator[tuple[Host, Network]]:
    return ((host, network) for host in hosts for network in host.networks.values())


def _endpoints(hosts: Sequence[Host]) -> Iterator[tuple[Host, Network, Endpoint]]:
    for host in hosts:
        for endpoint in host.endpoints:
            yield host, host.networks[endpoint.network_id], endpoint


def _owner(host: Host, network: Network, endpoint: Endpoint) -> str:
    return f"{endpoint.container} on {host.name}, network {network.name}, {endpoint.address}"


# OVN


def _check_switches(hosts: Sequence[Host], central: Central) -> Iterator[Difference]:
    wanted = {
        switch_of(network): f"network {network.name} of {host.name}"
        for host, network in _networks(hosts)
        if not network.leased
    }
    # A shared switch may go while nobody is on it; whoever needs it next makes it again.
    allowed = {switch_of(network) for _, network in _networks(hosts)}
    for host, network, endpoint in _endpoints(hosts):
        wanted[switch_of(network)] = _owner(host, network, endpoint)
    yield from _missing_and_stale(
        "logical switch", "central", wanted, [switch.name for switch in central.switches], allowed
    )
    for switch in central.switches:
        if switch.name in allowed:
            yield from _wrong(
                "logical switch", switch.name, "central", {"gateway ports": (switch.gateways, 1)}
            )


def _check_ports(hosts: Sequence[Host], central: Central) -> Iterator[Difference]:
    ports = {port.name: port for port in central.ports}
    wanted = {endpoint.id: (host, network, endpoint) for host, network, endpoint in _endpoints(hosts)}
    owners = {key: _owner(*owner) for key, owner in wanted.items()}
    for found in _missing_and_stale("logical port", "central", owners, ports):
        yield found if found.verdict == LOST else _explained(found, ports[found.name])
    for key in wanted.keys() & ports.keys():
        host, network, endpoint = wanted[key]
        yield from _wrong("logical port", key, "central", _port_values(ports[key], host, network, endpoint))


def _explained(found: Difference, port: Port) -> Difference:
    whose = port.ids.get("ovn-docker-host", "nobody")
    detail = f"{port.addresses} of {whose}, made {port.ids.get('ovn-docker-created', '')}"
    return Difference(found.verdict, found.what, found.name, found.where, detail)


def _port_values(
    port: Port, host: Host, network: Network, endpoint: Endpoint
) -> Mapping[str, tuple[object, object]]:
    address = f"{endpoint.mac} {endpoint.address}"
    return {
        "switch": (port.switch, switch_of(network)),
        "addresses": (port.addresses, address),
        "port_security": (port.security, address),
        "host": (port.ids.get("ovn-docker-host"), host.name),
        "network": (port.ids.get("ovn-docker-network"), network.id),
        "chassis": (port.chassis, host.name),
    }


def _wrong(
    what: str, name: str, where: str, values: Mapping[str, tuple[object, object]]
) -> Iterator[Difference]:
    for key, (is_now, should_be) in values.items():
        if is_now != should_be:
            yield Difference(WRONG, what, name, where, f"{key} is {is_now!r}, not {should_be!r}")


def _check_leases(hosts: Sequence[Host], central: Central) -> Iterator[Difference]:
    leases = {(hold.pool, hold.cidr): hold for hold in central.holds if hold.kind == "lease"}
    wanted = {
        (switch_of(network), endpoint.address): (host, network, endpoint)
        for host, network, endpoint in _endpoints(hosts)
        if network.leased
    }
    owners = {key: _owner(*owner) for key, owner in wanted.items()}
    for found in _missing_and_stale("lease", "central", owners, leases):
        yield found if found.verdict == LOST else _whose(found, leases)
    for key in wanted.keys() & leases.keys():
        host, _, endpoint = wanted[key]
        ids = leases[key].ids
        values: dict[str, tuple[object, object]] = {
            "host": (ids.get("ovn-docker-host"), host.name),
            "endpoint": (ids.get("ovn-docker-endpoint"), endpoint.id),
        }
        yield from _wrong("lease", _text(key), "central", values)
    for hold in central.holds:
        if hold.kind not in {"lease", "pool", "reserved", "host", "hosts"}:
            yield Difference(STALE, hold.kind, hold.cidr, "central", str(dict(hold.ids)))


def _whose(found: Difference, leases: Mapping[tuple[str, str], Hold]) -> Difference:
    pool, _, address = found.name.partition(" ")
    ids = leases[pool, address].ids
    detail = (
        f"of {ids.get('ovn-docker-host')}, endpoint {ids.get('ovn-docker-endpoint') or 'none'}, "
        f"made {ids.get('ovn-docker-created', '')}"
    )
    return Difference(found.verdict, found.what, found.name, found.where, detail)


def _check_pools(hosts: Sequence[Host], central: Central) -> Iterator[Difference]:
    leased = [(host, network) for host, network in _networks(hosts) if network.leased]
    users: dict[str, list[str]] = {}
    for host, network in leased:
        users.setdefault(switch_of(network), []).append(host.name)
    subnets = {switch_of(network): network.subnet for _, network in leased}
    for kind, wanted in (("pool", subnets), ("reserved", {key: _first(net) for key, net in subnets.items()})):
        present = {(hold.pool, hold.cidr): hold for hold in central.holds if hold.kind == kind}
        names = {(key, cidr): f"used by {', '.join(users[key])}" for key, cidr in wanted.items()}
        yield from _missing_and_stale(kind, "central", names, present)
        for key in names.keys() & present.keys():
            values: dict[str, tuple[object, object]] = {
                "users": (present[key].users, tuple(sorted(users[key[0]])))
            }
            yield from _wrong(kind, _text(key), "central", values)


def _first(subnet: str) -> str:
    """The address that is kept for a gateway where none is named."""
    return str(ip_network(subnet)[1])


def _check_presence(hosts: Sequence[Host], central: Central) -> Iterator[Difference]:
    """The rows by which drivers say that their host is there."""
    present = Counter(hold.ids.get("ovn-docker-host", "") for hold in central.holds if hold.kind == "host")
    # A driver that was never asked for anything has not connected yet.
    wanted = {host.name: f"it has {len(host.networks)} networks" for host in hosts if host.networks}
    yield from _missing_and_stale(
        "row of the host", "central", wanted, present, [host.name for host in hosts]
    )
    for name, count in present.items():
        if count > 1:
            yield Difference(WRONG, "row of the host", name, "central", f"there {count} times")


def _check_twice(central: Central) -> Iterator[Difference]:
    """Addresses that two ports of a switch have, and rows that are there twice."""
    addresses = Counter(
        (port.switch, address) for port in central.ports for address in port.addresses.split()[1:]
    )
    names = Counter(switch.name for switch in central.switches)
    holds = Counter((hold.pool, hold.cidr) for hold in central.holds if hold.kind not in {"host", "hosts"})
    for what, counted in (("address", addresses), ("logical switch", names), ("pool or lease", holds)):
        for key, count in counted.items():
            if count > 1:
                yield Difference(WRONG, what, _text(key), "central", f"there {count} times")


# Hosts


def _check_interfaces(host: Host) -> Iterator[Difference]:
    present = {interface.name: interface for interface in host.interfaces}
    wanted = {endpoint.id[:_LINK_NAME]: endpoint for endpoint in host.endpoints}
    owners = {name: _owner_of(host, endpoint) for name, endpoint in wanted.items()}
    for found in _missing_and_stale("interface", host.name, owners, present):
        error = "" if found.verdict == LOST else present[found.name].error
        yield Difference(found.verdict, found.what, found.name, found.where, error or found.detail)
    for name in wanted.keys() & present.keys():
        yield from _wrong("interface", name, host.name, _interface_values(present[name], wanted[name]))


def _owner_of(host: Host, endpoint: Endpoint) -> str:
    return _owner(host, host.networks[endpoint.network_id], endpoint)


def _interface_values(interface: Interface, endpoint: Endpoint) -> Mapping[str, tuple[object, object]]:
    return {
        "iface-id": (interface.iface_id, endpoint.id),
        "network": (interface.network_id, endpoint.network_id),
        "attached-mac": (interface.mac, endpoint.mac),
        "error": (interface.error, ""),
        "has an OpenFlow port": (interface.ofport > 0, True),
        "flows are installed": (interface.installed, True),
        "is on the bridge": (interface.bridged, True),
    }


def _check_links(host: Host) -> Iterator[Difference]:
    wanted = {endpoint.id[:_LINK_NAME]: _owner_of(host, endpoint) for endpoint in host.endpoints}
    return _missing_and_stale("link", host.name, wanted, host.links)


def _check_gateways(host: Host, central: Central) -> Iterator[Difference]:
    """This host is the gateway of its networks, as far as their switches exist, and of no other network."""
    ids = {switch.name: switch.uuid for switch in central.switches}
    names = [(network, switch_of(network)) for network in host.networks.values()]
    wanted = {ids[name]: f"network {network.name}" for network, name in names if name in ids}
    gone = [switch for switch in host.gateways if switch not in ids.values()]
    allowed = gone if any(name not in ids for _, name in names) else []
    return _missing_and_stale("gateway link", host.name, wanted, host.gateways, allowed)


def _check_state_file(host: Host) -> Iterator[Difference]:
    wanted = {network.id: f"network {network.name}" for network in host.networks.values() if network.leased}
    return _missing_and_stale("line of the state file", host.name, wanted, host.remembered)
