"""Two networks with the same addresses on two hosts, and a VTEP with a site for each: for both modes."""

import contextlib
import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovn_docker_lab import Lab, Machine
from tests.integration.plugin import Plugin
from tests.integration.speaker import ECHO, PYTHON, Site, Speaker
from tests.integration.tenant import OURS, Container, Network, Tenant
from tests.polling import eventually

CAPTURE = Path(__file__).with_name("capture.py")
OVN_DOCKER = str(Path(sys.executable).with_name("ovn-docker"))
SUBNET, SUBNET6 = "10.77.0.0/24", "fd77::/64"
VNIS = {"red": 5001, "blue": 5002}
PORT = 7000

Frame = tuple[str, str, str]
"""Source MAC address, EtherType, destination IP address or ""."""


@dataclass(frozen=True, slots=True)
class Service:
    """A container that answers with its name."""

    name: str
    container: Container
    network: Network
    address: str
    address6: str
    pid: str

    def mac(self) -> str:
        """Its MAC address."""
        return str(self.container.endpoint(self.network)["MacAddress"])

    def enter(self, *command: str) -> list[str]:
        """The command line that runs a command of the host's in the container's network namespace."""
        return self.container.host.enter(["nsenter", f"--target={self.pid}", "--net", "--", *command])


@dataclass(frozen=True, slots=True)
class World:
    """What there is; a service is named by its network and its host."""

    lab: Lab
    speaker: Speaker
    sites: dict[str, Site]
    services: dict[tuple[str, str], Service]
    tenants: dict[str, Tenant]

    def networks(self) -> list[tuple[str, Site, list[Service]]]:
        """By network: its site, its containers."""
        return [
            (name, self.sites[name], [service for key, service in self.services.items() if key[0] == name])
            for name in VNIS
        ]


@contextlib.contextmanager
def furnished(lab: Lab, mode: str) -> Iterator[World]:
    """Furnish a lab of three hosts, whose drivers run, and take it down afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield _furnish(lab, mode, processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        lab.down()


def _furnish(lab: Lab, mode: str, processes: list[subprocess.Popen[bytes]]) -> World:
    hosts = lab.hosts[:2]
    speaker = Speaker(lab.hosts[2])
    services, tenants = {}, {host.name: Tenant(host) for host in hosts}
    for host in hosts:
        for name, vni in VNIS.items():
            made = network(tenants[host.name], name)
            if host is hosts[0]:
                vtep(host, "add", speaker.address, made, "--vni", str(vni), "--mode", mode)
            services[name, host.name] = service(tenants[host.name], made, f"{name}-{host.name}", processes)
    sites = {name: speaker.site(vni, ["10.77.0.200/24", "fd77::c8/64"], hosts) for name, vni in VNIS.items()}
    return World(lab, speaker, sites, services, tenants)


def network(tenant: Tenant, name: str, *more: str) -> Network:
    """A network of the subnet that all have, in a context of its own."""
    context = (*OURS, "--ipam-opt", f"context={name}", "-o", f"context={name}")
    one_subnet_often = ("-o", "egress=docker")  # a host cannot be the gateway of one subnet twice
    return tenant.network(SUBNET, *context, *one_subnet_often, "--ipv6", "--subnet", SUBNET6, *more)


def vtep(host: Machine, verb: str, remote: str, network: Network, *more: str) -> str:
    """Configure a VTEP; what the command says."""
    command = [OVN_DOCKER, "vtep", verb, "--remote-ip", remote, "--network", network.name, *more]
    return host.run(command).stdout


def configured(host: Machine) -> list[dict[str, Any]]:
    """What the command lists."""
    found: list[dict[str, Any]] = json.loads(host.run([OVN_DOCKER, "vtep", "list", "--json"]).stdout)
    return found


def service(tenant: Tenant, network: Network, name: str, processes: list[subprocess.Popen[bytes]]) -> Service:
    """A container with a web server at two ports and an echo."""
    web = f"echo {name} >/tmp/who; httpd -p 80 -h /tmp; httpd -p 81 -h /tmp; sleep 3600"
    container = tenant.container(network, command=web)
    pid = tenant.docker("inspect", "--format", "{{.State.Pid}}", container.name).stdout.strip()
    ends = container.endpoint(network)
    made = Service(name, container, network, str(ends["IPAddress"]), str(ends["GlobalIPv6Address"]), pid)
    processes.append(subprocess.Popen(made.enter(PYTHON, str(ECHO), "serve", name, str(PORT))))
    return made


def everything_answers(world: World) -> None:
    """See that every container answers the site of its network, and by its own name."""
    for name, site, services in world.networks():
        for service in services:
            eventually(functools.partial(site.pings, service.address), 10, f"{name}: {service.name}")
            assert site.fetches(service.address, 81) == service.name


@contextlib.contextmanager
def captured(services: Sequence[Service]) -> Iterator[dict[Service, set[Frame]]]:
    """Capture in containers; what arrived in each is known when the block has ended."""
    seen: dict[Service, set[Frame]] = {}
    with contextlib.ExitStack() as stack:
        taps = {
            service: stack.enter_context(
                subprocess.Popen(
                    service.enter(PYTHON, str(CAPTURE)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for service in services
        }
        for tap in taps.values():
            assert tap.stdout is not None
            assert tap.stdout.readline() == "ready\n"
        yield seen
        for service, tap in taps.items():
            report, _ = tap.communicate(timeout=20)
            seen[service] = {(source, kind, target) for source, kind, target in json.loads(report)}


def switch_of(service: Service) -> str:
    """The name of the switch of a service's network."""
    vni = VNIS[service.name.partition("-")[0]]
    [name] = [entry["Logical_Switch"] for entry in configured(service.container.host) if entry["vni"] == vni]
    return str(name)


def ofport(host: Machine, service: Service) -> str:
    """The port of a container."""
    endpoint = service.container.endpoint(service.network)["EndpointID"]
    return interface(host, f"external_ids:iface-id={endpoint}")


def interface(host: Machine, condition: str) -> str:
    """The OpenFlow port of the interface that meets a condition, or ""."""
    find = ["ovs-vsctl", "--bare", "--columns=ofport", "find", "Interface", condition]
    return host.run(find).stdout.strip()


def traced(host: Machine, flow: str) -> str | None:
    """The last port that a packet is output to, or None when it is dropped."""
    # A connection that conntrack does not know begins; what it says is answered for each recirculation.
    trace = host.run(
        ["ovs-appctl", "ofproto/trace", "br-int", flow, "--ct-next", "trk,new", "--ct-next", "trk,new"]
    )
    output = [line.strip() for line in trace.stdout.splitlines() if "output:" in line]
    return output[-1].partition("output:")[2] if output else None


def database(host: Machine) -> dict[str, Any]:
    """What NetworkDriver.Database answers."""
    driver = Plugin(host.paths.plugin_socket)
    eventually(driver.serves, 10, "the driver serves")
    found: dict[str, Any] = driver.call("NetworkDriver.Database").body
    return found
