"""What Docker runs, beside what stands of it in Northbound, in each Open vSwitch and in each kernel."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ovn_docker import addressing
from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.records import LEASE, PORT, marks
from tests.integration.tenant import DRIVER
from tests.polling import eventually

Addresses = Mapping[str, str]
"""Of endpoints by their id, "" where Docker's own IPAM chose it."""


def endpoints(host: Machine) -> dict[str, str]:
    """The endpoints of the containers that a host runs on networks of the driver."""
    ids = host.docker("network", "ls", "--quiet", "--filter", f"driver={DRIVER}").stdout.split()
    networks = json.loads(host.docker("network", "inspect", *ids).stdout) if ids else []
    return {
        endpoint["EndpointID"]: leased(network, endpoint)
        for network in networks
        for endpoint in network["Containers"].values()
    }


def leased(network: Mapping[str, Any], endpoint: Mapping[str, str]) -> str:
    """The address of an endpoint, if the driver leased it."""
    return endpoint["IPv4Address"].partition("/")[0] if network["IPAM"]["Driver"] == DRIVER else ""


def differences(lab: Lab) -> list[str]:
    """Each thing that is too much or missing, in a few words."""
    by_host = {host.name: endpoints(host) for host in lab.hosts}
    everywhere = {key: value for addresses in by_host.values() for key, value in addresses.items()}
    found = list(_northbound(lab.central, everywhere))
    for host in lab.hosts:
        found += _host(host, by_host[host.name])
    return found


def _northbound(central: Machine, expected: Addresses) -> Iterator[str]:
    own = [row for row in records.rows(central, PORT) if "ovn-docker-network" in marks(row)]
    yield from _compare("logical switch ports", {str(row["name"]) for row in own}, set(expected))
    leases = {
        str(row["cidr"]) for row in records.rows(central, LEASE) if marks(row).get("ovn-docker") == "lease"
    }
    yield from _compare("leases", leases, set(expected.values()) - {""})


def _host(host: Machine, expected: Addresses) -> Iterator[str]:
    plugged = {marks(row)["iface-id"] for row in records.interfaces(host)}
    yield from _compare(f"interfaces on {host.name}", plugged, set(expected))
    links = {addressing.link_names(endpoint)[0] for endpoint in expected}
    yield from _compare(f"links on {host.name}", set(records.links(host)), links)


def _compare(what: str, are: set[str], should: set[str]) -> Iterator[str]:
    if are - should:
        yield f"{what} of nobody: {', '.join(sorted(are - should))}"
    if should - are:
        yield f"{what} missing: {', '.join(sorted(should - are))}"


def balances(lab: Lab, limit: float = 10) -> None:
    """Wait until nothing is too much and nothing is missing, anywhere."""
    last: list[str] = []

    def is_even() -> bool:
        last[:] = differences(lab)
        return not last

    try:
        eventually(is_even, limit, "all stands as Docker has it")
    except AssertionError as error:
        raise AssertionError(f"{error}: {'; '.join(last)}") from None
