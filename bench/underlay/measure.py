"""Measure what the underlay driver adds to Neutron's own time.

Calls to it, one after another and at the same time; a relay is between it and Neutron.
"""

import contextlib
import platform
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.costs import MEMORY
from bench.drivers import resident_mb
from bench.figures import Figure, Results, Samples
from bench.plugin import Plugin, dial_unix, endpoint, join, network
from bench.run import Bench, Part, Run, progress, this_machine
from bench.tables import Page, Target, find
from bench.underlay.relay import Relay
from bench.underlay.shares import at_once, pauses, shares
from ovn_docker.underlay.neutron_ports import FIRST_POLL, LONGEST_POLL
from tests.underlay.clouds import Cloud, cloud
from tests.underlay.identity import NEUTRON_PORT
from tests.underlay.machines import VirtualMachine
from tests.underlay.proxy import PORT, REGION, register

WHOLE, NEUTRON, WAITING, DRIVER = "whole call", "with Neutron", "until ACTIVE", "the driver's own"
PROCESSOR = "on the processor"
"""Columns: where a call's time goes."""

VERBS, COUNTS, BURST, COSTS = "underlay", "underlay counts", "underlay burst", "underlay costs"
"""Sections."""

FIGURE, SINGLE = "as it is", "with one connection"
CONNECTIONS = "connections to Neutron"
REQUESTS = "requests to Neutron"

SETTLE = 0.1
"""Seconds between two calls; Docker makes a container meanwhile."""


ENDPOINTS, QUICK_ENDPOINTS, AT_ONCE = 100, 20, 8

PAGE = Page(
    sections={
        VERBS: "Calls to the underlay driver, and where their time goes (median / 99th percentile)",
        COUNTS: "Meanwhile (median)",
        BURST: "At the same time",
        COSTS: "The daemon itself",
    },
    columns=(WHOLE, NEUTRON, WAITING, DRIVER, PROCESSOR, SINGLE, FIGURE),
    with_p99=frozenset({VERBS}),
    targets=(
        Target("the driver's own time of CreateEndpoint, p50, ms", 10, find(VERBS, "CreateEndpoint", DRIVER)),
        Target("the driver's own time of Join, p50, ms", 10, find(VERBS, "Join", DRIVER)),
        Target(
            f"{CONNECTIONS} opened while one call follows another",
            0,
            find(COUNTS, f"{CONNECTIONS} opened meanwhile", FIGURE),
        ),
        Target("resident memory, MB", 100, find(COSTS, MEMORY, FIGURE)),
    ),
    marks=("<!-- bench underlay: begin -->", "<!-- bench underlay: end -->"),
)


@dataclass
class UnderlayTestbed:
    """The cloud, the driver under test and the relay.

    Attributes:
        machine: where the driver runs.
        relay: between it and Neutron.
        column: of its figures.
        network_id: that its endpoints are on.
        endpoints: that exist now.
        count: of those that were ever made.
    """

    machine: VirtualMachine
    relay: Relay
    column: str = FIGURE
    network_id: str = field(default_factory=lambda: secrets.token_hex(32))
    endpoints: list[str] = field(default_factory=list)
    count: int = 0

    def plugin(self) -> Plugin:
        """A connection to the driver, as Docker keeps one."""
        return Plugin(dial_unix(self.machine.host.paths.plugin_socket))

    def next_endpoint(self) -> tuple[str, str]:
        """A new endpoint id and an address with prefix length."""
        self.count += 1
        endpoint_id = secrets.token_hex(32)
        self.endpoints.append(endpoint_id)
        return endpoint_id, f"10.90.{self.count // 250}.{self.count % 250 + 2}/16"


@contextlib.contextmanager
def set_up(cloud: Cloud, column: str) -> Iterator[UnderlayTestbed]:
    """A driver on the first machine, whose requests to Neutron pass a relay; nothing is left of it."""
    machine, central = cloud.machines[0], str(cloud.lab.central.address)
    namespace = cloud.openstack.namespace
    register(cloud.openstack.admin(), f"http://{central}:{PORT}")
    listener = namespace.run(lambda: socket.create_server((central, PORT), backlog=64))
    relay = Relay(
        listener, lambda: namespace.run(lambda: socket.create_connection((central, NEUTRON_PORT), 30))
    )
    with relay.serve():
        single = (sys.executable, "-P", str(Path(__file__).with_name("one_connection.py")))
        machine.start_driver(
            environment=machine.environment(cloud.demo, OS_REGION_NAME=REGION),
            program=single if column == SINGLE else (),
        )
        made = UnderlayTestbed(machine, relay, column)
        try:
            made.plugin().call("CreateNetwork", network(made.network_id, "10.90.0.0/16"))
            yield made
            made.plugin().call("DeleteNetwork", {"NetworkID": made.network_id})
        finally:
            machine.stop_driver()


def processor_ms(pid: int) -> float:
    """Time that a process and all its threads had a processor, in ms (kernel, sched-stats.rst)."""
    return (
        sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6
    )


class Watch:
    """Times calls that follow each other over one connection."""

    def __init__(self, testbed: UnderlayTestbed) -> None:
        self._here = testbed
        self._plugin = testbed.plugin()
        self._samples, self._counts = Samples(VERBS), Samples(COUNTS)
        self._opened = testbed.relay.connections

    def call(self, verb: str, body: dict[str, Any]) -> None:
        """Make a call, and see whose time it takes."""
        time.sleep(SETTLE)
        self._here.relay.take()
        pid = self._here.machine.driver.pid
        used = processor_ms(pid)
        began = time.perf_counter()
        self._plugin.call(verb, body)
        ended = time.perf_counter()
        exchanges = self._here.relay.take()
        parts = shares(began, ended, exchanges, pauses(FIRST_POLL, LONGEST_POLL))
        self._counts.add(self._here.column, f"{REQUESTS} of a {verb}", len(exchanges))
        self._counts.add(self._here.column, f"of them at the same time, {verb}", at_once(exchanges))
        if self._here.column == SINGLE:
            self._samples.add(SINGLE, verb, (ended - began) * 1000)
            return
        self._samples.add(WHOLE, verb, (ended - began) * 1000)
        self._samples.add(PROCESSOR, verb, processor_ms(pid) - used)
        for column, value in ((NEUTRON, parts.neutron), (WAITING, parts.waiting), (DRIVER, parts.driver)):
            self._samples.add(column, verb, value)

    def figures(self) -> list[Figure]:
        """The figures of all calls; there are no more calls after that."""
        self._plugin.close()
        opened = self._here.relay.connections - self._opened
        self._counts.add(self._here.column, f"{CONNECTIONS} opened meanwhile", opened)
        return [*self._samples.figures(), *self._counts.figures(unit="")]


def measure_calls(testbed: UnderlayTestbed, number: int) -> list[Figure]:
    """Make endpoints, join them, and take all of it back, one call after another."""
    _live(Watch(testbed), testbed, 1)  # all connections are open then
    watch = Watch(testbed)
    _live(watch, testbed, number)
    return watch.figures()


def _live(watch: Watch, testbed: UnderlayTestbed, number: int) -> None:
    for _ in range(number):
        endpoint_id, address = testbed.next_endpoint()
        watch.call("CreateEndpoint", endpoint(testbed.network_id, endpoint_id, address))
        watch.call("Join", join(testbed.network_id, endpoint_id))
    for endpoint_id in testbed.endpoints:
        for verb in ("Leave", "DeleteEndpoint"):
            watch.call(verb, endpoint(testbed.network_id, endpoint_id))
    testbed.endpoints.clear()


def measure_burst(testbed: UnderlayTestbed, number: int) -> list[Figure]:
    """Make `number` endpoints at the same time; the time until the last is there."""
    samples = Samples(BURST)
    opened = testbed.relay.connections
    bodies = [endpoint(testbed.network_id, *testbed.next_endpoint()) for _ in range(number)]
    for verb, each_body in (
        ("CreateEndpoint", lambda body: body),
        ("Join", lambda body: join(testbed.network_id, body["EndpointID"])),
    ):
        threads = [
            threading.Thread(target=testbed.plugin().call, args=(verb, each_body(body))) for body in bodies
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        samples.add(testbed.column, f"{number} times {verb}", time.perf_counter() - began)
    plugin = testbed.plugin()
    for endpoint_id in testbed.endpoints:
        for verb in ("Leave", "DeleteEndpoint"):
            plugin.call(verb, endpoint(testbed.network_id, endpoint_id))
    testbed.endpoints.clear()
    counts = Samples(BURST)
    counts.add(testbed.column, f"{CONNECTIONS} opened meanwhile", testbed.relay.connections - opened)
    return [*samples.figures(unit="s"), *counts.figures(unit="")]


def measure_memory(testbed: UnderlayTestbed) -> list[Figure]:
    """Resident memory of the driver, in MB of 10^6 bytes."""
    samples = Samples(COSTS)
    samples.add(testbed.column, MEMORY, resident_mb(testbed.machine.driver.pid))
    return samples.figures(unit="MB")


def _measure(run: Run) -> Results:
    progress("a lab with Keystone and Neutron")
    versions = {"Python": platform.python_version(), "keystoneauth1": metadata.version("keystoneauth1")}
    with cloud(run.arguments.name) as made:
        results = run.results(this_machine(versions, datapath=made.lab.settings.datapath))
        return run.measure(_parts(made, QUICK_ENDPOINTS if run.arguments.quick else ENDPOINTS), results)


def _parts(made: Cloud, endpoints: int) -> Iterator[Part]:
    with set_up(made, FIGURE) as testbed:
        yield "one call after another", partial(measure_calls, testbed, endpoints)
        yield "calls at the same time", partial(measure_burst, testbed, AT_ONCE)
        yield "memory", partial(measure_memory, testbed)
    with set_up(made, SINGLE) as testbed:
        yield "with one connection: one call after another", partial(measure_calls, testbed, endpoints)
        yield "  calls at the same time", partial(measure_burst, testbed, AT_ONCE)


BENCH = Bench(
    name="underlay",
    summary="the underlay driver on a real Neutron",
    description="Measure the calls to ovn-docker-underlay-driver on a real Keystone and Neutron in a lab of"
    ' its own, and whose time they take. Needs root and what "scripts/test underlay" installs. '
    "About 4 minutes, --quick about 2.",
    page=PAGE,
    measure=_measure,
    quick="few samples, in about 2 minutes",
    lab="the lab",
)
