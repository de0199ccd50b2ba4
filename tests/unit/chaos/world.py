"""A lab in which everything is as Docker has it, made by hand."""

from dataclasses import replace

from chaos.oracle import switch_of
from chaos.records import Central, Endpoint, Hold, Host, Interface, Network, Port, Switch

SHARED_SUBNET = "10.90.1.0/24"
OWN = Network("a" * 64, "own", "10.101.1.0/24", leased=False)
SHARED = {
    host: Network(letter * 64, "shared", SHARED_SUBNET, leased=True)
    for host, letter in (("h1", "b"), ("h2", "c"))
}
SWITCH = switch_of(SHARED["h1"])

ENDPOINTS = {
    "h1": (
        Endpoint("1" * 64, "c1", OWN.id, "02:42:0a:65:01:02", "10.101.1.2"),
        Endpoint("2" * 64, "c1", SHARED["h1"].id, "02:42:0a:5a:01:02", "10.90.1.2"),
    ),
    "h2": (Endpoint("3" * 64, "c2", SHARED["h2"].id, "02:42:0a:5a:01:03", "10.90.1.3"),),
}


def interface(endpoint: Endpoint) -> Interface:
    return Interface(
        endpoint.id[:15],
        endpoint.id,
        endpoint.network_id,
        endpoint.mac,
        error="",
        ofport=7,
        installed=True,
        bridged=True,
    )


def host(name: str) -> Host:
    networks = (OWN, SHARED["h1"]) if name == "h1" else (SHARED["h2"],)
    return Host(
        name,
        {network.id: network for network in networks},
        ENDPOINTS[name],
        1,
        tuple(interface(endpoint) for endpoint in ENDPOINTS[name]),
        tuple(endpoint.id[:15] for endpoint in ENDPOINTS[name]),
        tuple(f"row of {switch_of(network)}" for network in networks),
        (SHARED[name].id,),
    )


def port(name: str, endpoint: Endpoint) -> Port:
    address = f"{endpoint.mac} {endpoint.address}"
    marks = {"ovn-docker-host": name, "ovn-docker-network": endpoint.network_id}
    switch = OWN.id if endpoint.network_id == OWN.id else SWITCH
    return Port(endpoint.id, switch, address, address, marks, name)


def switch(name: str) -> Switch:
    return Switch(f"row of {name}", name, {}, 1)


def hold(kind: str, cidr: str, *users: str, **ids: str) -> Hold:
    marks = {f"ovn-docker-{key}": value for key, value in ids.items()}
    return Hold(kind, cidr, {"ovn-docker": kind, "ovn-docker-pool": SWITCH, **marks}, users)


def central() -> Central:
    return Central(
        (switch(OWN.id), switch(SWITCH)),
        tuple(port(name, endpoint) for name, endpoints in ENDPOINTS.items() for endpoint in endpoints),
        (
            hold("pool", SHARED_SUBNET, "h1", "h2"),
            hold("reserved", "10.90.1.1", "h1", "h2"),
            hold("lease", "10.90.1.2", host="h1", endpoint="2" * 64),
            hold("lease", "10.90.1.3", host="h2", endpoint="3" * 64),
            hold("host", "", host="h1"),
            hold("host", "", host="h2"),
        ),
    )


def hosts() -> list[Host]:
    return [host("h1"), host("h2")]


def changed(name: str, **values: object) -> list[Host]:
    """The hosts, of which one is different."""
    return [replace(host, **values) if host.name == name else host for host in hosts()]  # type: ignore[arg-type]
