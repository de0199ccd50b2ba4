"""One host's driver as it is assembled, with all that it does regularly, and what dockerd asks of it."""

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.scale.plan import ScalePlan
from bench.scale.stand_ins import Docker, NoLinks, OpenVSwitch
from ovn_docker.daemon import serve
from ovn_docker.daemon.components import (
    ANSWERS,
    Host,
    OverlayComponents,
    assemble_overlay,
    cancel,
    running,
    start,
)
from ovn_docker.daemon.metrics import Metrics
from ovn_docker.daemon.supervision import Supervision
from ovn_docker.health.reconciler import Report
from ovn_docker.libnetwork import messages
from ovn_docker.ovn import hosts
from ovn_docker.ovn.switches import Mark
from ovn_docker.settings import Settings
from tests.flags import settings_of

LEASE, CREATE, DELETE, RELEASE = "RequestAddress", "CreateEndpoint", "DeleteEndpoint", "ReleaseAddress"
VERBS = (LEASE, CREATE, DELETE, RELEASE)
_GATEWAY = {messages.ADDRESS_TYPE: messages.GATEWAY_TYPE}
_SPACE = "ovn-docker"
_OPTIONS = {messages.GENERIC: {"egress": "docker"}}
"""These hosts have no network namespace for a gateway's link."""


@dataclass(frozen=True, slots=True)
class Network:
    """What dockerd keeps of a network."""

    network_id: str
    pool_id: str


def configuration(plan: ScalePlan) -> Settings:
    """A driver's, with the health check on, and listening nowhere; its state file is a host's own."""
    words = ["--unix-socket=/nowhere", "--docker-driver-scope=local", "--health-check-on"]
    words += [f"--health-check-interval={plan.interval}", f"--db-probe-interval={round(plan.probe * 1000)}"]
    return settings_of(*words)


class Driver:
    """One host, on which dockerd has whatever was made here.

    Attributes:
        name: its system-id.
        docker: its Docker.
        connected_at: when Northbound was connected last, by time.monotonic(); 0 while it never was.
        passes: of the health check, since `watch`.
        troubles: what these found or could not do.
    """

    def __init__(self, name: str, directory: Path, shared: Settings) -> None:
        """Describe it; nothing runs before `start`."""
        self.name = name
        self.docker = Docker()
        self.connected_at = 0.0
        self.passes = 0
        self.troubles: list[str] = []
        self._config = replace(shared, state_file=directory / f"{name}.json")
        self._ovs = OpenVSwitch(name)
        self._connection = asyncio.Event()
        self._supervision = Supervision()
        self._exit = contextlib.AsyncExitStack()
        self._parts: OverlayComponents | None = None
        self._metrics: Metrics | None = None

    @property
    def parts(self) -> OverlayComponents:
        """Of the driver, which was started."""
        assert self._parts is not None
        return self._parts

    async def start(self) -> None:
        """Begin all that a daemon does but for its health check; Northbound is where `point` says.

        Nobody answers name queries: all hosts of this machine would share the one port for them.
        """
        self._ovs = OpenVSwitch(self.name)
        self.connected_at = 0.0
        host = Host(ovs=self._ovs, links=NoLinks(), engine=self.docker)
        parts = self._parts = assemble_overlay(self._config, dict, host)
        self._metrics = serve.measured(parts)
        parts.northbound.when_connected(self._note_connection)
        await self._exit.enter_async_context(running(parts, self._supervision))
        work = {name: work for name, work in parts.daemon_work.items() if name != ANSWERS}
        self._exit.push_async_callback(cancel, *start(self._supervision, work))

    def point(self, northbound: str) -> None:
        """Say where Northbound is, as an administrator does in Open_vSwitch."""
        self._ovs.point(northbound)

    def watch(self) -> None:
        """Begin the health check at a random moment of its interval, as if hosts had started over a day."""
        self.passes = 0
        self._exit.push_async_callback(cancel, asyncio.create_task(self._watch()))

    async def _watch(self) -> None:
        await asyncio.sleep(random.uniform(0, self._config.health.interval))  # noqa: S311
        assert self._metrics is not None
        work = serve.watching(self._config, self.parts, self._metrics, self._note_pass)
        tasks = start(self._supervision, work)
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel(*tasks)

    async def stop(self) -> None:
        """End everything; `start` may follow."""
        await self._exit.aclose()
        self._parts = None

    async def connected_after(self, moment: float) -> None:
        """Return once Northbound was connected after a moment by time.monotonic()."""
        while self.connected_at <= moment:
            self._connection.clear()
            await self._connection.wait()

    async def admitted(self) -> None:
        """Wait until a verb would be served: Northbound is there, and has accepted the host's name."""
        await self.parts.northbound.ready()
        assert self.parts.presence is not None
        await self.parts.presence.admit()

    async def look(self) -> None:
        """Look for this host's row, as each minute."""
        assert self.parts.presence is not None
        await self.parts.presence.prove()

    def problems(self) -> list[str]:
        """What failed in the background."""
        return self._supervision.problems()

    def _note_connection(self) -> None:
        self.connected_at = time.monotonic()
        self._connection.set()

    def _note_pass(self, report: Report) -> None:
        self.passes += 1
        found = {finding.kind for finding in (*report.findings, *report.repaired)}
        failed = {f"{finding.kind}: {reason}" for finding, reason in report.failed}
        self.troubles += [*sorted(found | failed), *filter(None, [report.error])]

    async def finish_index(self) -> None:
        """Note that this host's index is whole, as its health check does within its first hour."""
        client = self.parts.northbound
        [found] = await client.transact([hosts.index_get(self.name)])
        created = hosts.read_index(found["rows"]).created
        await client.transact([hosts.index_finish(Mark(self.name, created), {})])

    # --- What dockerd asks --------------------------------------------------------------------------------

    async def network_create(self, subnet: str) -> Network:
        """``docker network create --ipam-driver openvswitch --subnet``."""
        request = messages.RequestPoolRequest(address_space=_SPACE, pool=subnet)
        pool = await self.parts.ipam.request_pool(request)
        gateway = await self._address(pool.pool_id, _GATEWAY)
        network = Network(secrets.token_hex(32), pool.pool_id)
        data = messages.IPAMData(address_space=_SPACE, pool=subnet, gateway=gateway)
        await self.parts.driver.create_network(
            messages.CreateNetworkRequest(
                network_id=network.network_id, options=_OPTIONS, ipv4_data=[data], ipv6_data=[]
            )
        )
        self.docker.add_network(network.network_id, subnet, gateway.partition("/")[0])
        return network

    async def run(self, network: Network) -> None:
        """``docker run -d``, up to the endpoint."""
        address = await self._address(network.pool_id)
        endpoint_id = secrets.token_hex(32)
        mac = await self._endpoint(network, endpoint_id, address)
        self.docker.add_endpoint(network.network_id, endpoint_id, mac, address)

    async def life(self, network: Network) -> dict[str, float]:
        """An endpoint is made and removed; milliseconds by verb."""
        clock = [time.perf_counter()]
        address = await self._address(network.pool_id)
        clock.append(time.perf_counter())
        endpoint_id = secrets.token_hex(32)
        await self._endpoint(network, endpoint_id, address)
        clock.append(time.perf_counter())
        gone = messages.EndpointRequest(network_id=network.network_id, endpoint_id=endpoint_id)
        await self.parts.driver.delete_endpoint(gone)
        clock.append(time.perf_counter())
        released = messages.AddressRequest(pool_id=network.pool_id, address=address.partition("/")[0])
        await self.parts.ipam.release_address(released)
        clock.append(time.perf_counter())
        took = (1000 * (after - before) for before, after in itertools.pairwise(clock))
        return dict(zip(VERBS, took, strict=True))

    async def _address(self, pool_id: str, options: dict[str, str] | None = None) -> str:
        request = messages.AddressRequest(pool_id=pool_id, address="", options=options)
        return (await self.parts.ipam.request_address(request)).address

    async def _endpoint(self, network: Network, endpoint_id: str, address: str) -> str:
        """Make an endpoint; returns its MAC address."""
        answer = await self.parts.driver.create_endpoint(
            messages.CreateEndpointRequest(
                network_id=network.network_id,
                endpoint_id=endpoint_id,
                interface=messages.EndpointInterface(address=address),
            )
        )
        return answer.interface.mac_address if answer.interface else ""
