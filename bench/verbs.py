"""Each call of Docker's driver API alone, made directly to the drivers' sockets."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.figures import INCUMBENT, OURS, OURS_TCP, Figure, Samples
from bench.fill import fill_switch
from bench.ovsdb import INSTALLED, OFPORT, PLUGGED
from bench.plugin import Plugin, endpoint, join, network
from bench.testbed import ContestTestbed, Site

JOIN_INSTALLED = "Join until ovn-installed"


@dataclass(slots=True)
class Caller:
    """A client of one driver over one connection.

    Attributes:
        title: the contestant.
        plugin: the connection.
        samples: lifecycles to measure.
        network_id: the network of its endpoints.
        subnet: of that network.
        count: endpoints made so far.
    """

    title: str
    plugin: Plugin
    samples: int
    network_id: str = ""
    subnet: str = ""
    count: int = 0

    def next_endpoint(self) -> tuple[str, str]:
        """A new endpoint id and a free address with prefix length."""
        self.count += 1
        base = self.subnet.rpartition(".")[0].rpartition(".")[0]
        return secrets.token_hex(32), f"{base}.{self.count // 250}.{self.count % 250 + 2}/16"


def callers(testbed: ContestTestbed, ours: int, incumbent: int) -> list[Caller]:
    """Our driver over both kinds of socket, and the incumbent, with as many lifecycles each."""
    found = [
        Caller(OURS, Plugin(testbed.ours.dial), ours),
        Caller(OURS_TCP, Plugin(testbed.ours.dial_tcp), ours),
    ]
    if testbed.incumbent:
        found.append(Caller(INCUMBENT, Plugin(testbed.incumbent.dial), incumbent))
    return found


def measure(testbed: Site, clients: Sequence[Caller]) -> list[Figure]:
    """Time every verb; contestants take turns, each once OVN has processed what the last one did."""
    samples, stages = Samples("verbs", testbed.ports), Samples("join", testbed.ports)

    def begin(caller: Caller, number: int) -> None:
        measure_networks(caller, samples, max(caller.samples // 4, 2), number)
        _make_network(caller, number)

    able = [
        caller
        for number, caller in enumerate(clients)
        if testbed.attempt(_calls_of(caller), partial(begin, caller, number))
    ]
    testbed.settle()
    for turn in range(max(caller.samples for caller in clients)):
        for caller in [caller for caller in able if turn < caller.samples]:
            if not testbed.attempt(_calls_of(caller), partial(_lifecycle, testbed, caller, samples, stages)):
                able.remove(caller)
            testbed.settle()
    for caller in clients:
        testbed.attempt(_calls_of(caller), partial(_remove_network, caller))
    return [*samples.figures(), *stages.figures()]


def _calls_of(caller: Caller) -> str:
    return f"calls to {caller.title}"


def measure_networks(caller: Caller, samples: Samples, count: int, number: int) -> None:
    """Time CreateNetwork and DeleteNetwork."""
    for turn in range(count + 1):
        network_id = secrets.token_hex(32)
        request = network(network_id, f"10.{30 + number}.{turn % 250}.0/24")
        created = caller.plugin.call("CreateNetwork", request)
        deleted = caller.plugin.call("DeleteNetwork", {"NetworkID": network_id})
        if turn:  # the first is for warming up
            samples.add(caller.title, "CreateNetwork", created)
            samples.add(caller.title, "DeleteNetwork", deleted)


def _lifecycle(testbed: Site, caller: Caller, samples: Samples, stages: Samples) -> None:
    endpoint_id, address = caller.next_endpoint()
    ids = endpoint(caller.network_id, endpoint_id)

    def call(verb: str, body: dict[str, object]) -> None:
        samples.add(caller.title, verb, caller.plugin.call(verb, body))

    began = time.perf_counter()
    call("CreateEndpoint", endpoint(caller.network_id, endpoint_id, address))
    try:
        made = time.perf_counter()
        call("EndpointOperInfo", ids)
        asked = time.perf_counter()
        call("Join", join(caller.network_id, endpoint_id))
        answered = time.perf_counter()
        seen = testbed.watch.moments(endpoint_id)
        samples.add(caller.title, JOIN_INSTALLED, (max(seen[INSTALLED], answered) - asked) * 1000)
        moments = {"CreateEndpoint answered": made, "Join asked for": asked}
        moments |= {stage: seen[stage] for stage in (PLUGGED, OFPORT, INSTALLED)}
        moments["Join answered"] = answered
        for moment, at in moments.items():
            stages.add(caller.title, moment, (at - began) * 1000)
        call("Leave", ids)
    finally:
        call("DeleteEndpoint", ids)


def measure_northbound(
    testbed: ContestTestbed, clients: Sequence[Caller], one_switch: int = 0
) -> list[Figure]:
    """Time the verbs that need no northd, while it is paused.

    `one_switch` is the number of other ports in the switch of the endpoints.
    """
    section = "one switch" if one_switch else "northbound"
    samples = Samples(section, one_switch or testbed.ports)
    for number, caller in enumerate(clients):
        what = f"{_calls_of(caller)} with {one_switch or testbed.ports:,} ports"
        work = partial(_measure_northbound_of, testbed, caller, samples, (number, one_switch))
        testbed.attempt(what, work)
    return samples.figures()


def _measure_northbound_of(
    testbed: ContestTestbed, caller: Caller, samples: Samples, number_and_ports: tuple[int, int]
) -> None:
    number, one_switch = number_and_ports
    if not one_switch:
        measure_networks(caller, samples, max(caller.samples // 4, 2), number)
    _make_network(caller, number)
    try:
        if one_switch:
            fill_switch(testbed.northbound, caller.network_id, one_switch)
        for _ in range(caller.samples + 1):
            endpoint_id, address = caller.next_endpoint()
            ids = endpoint(caller.network_id, endpoint_id)
            create = endpoint(caller.network_id, endpoint_id, address)
            for verb, body in (
                ("CreateEndpoint", create),
                ("EndpointOperInfo", ids),
                ("DeleteEndpoint", ids),
            ):
                took = caller.plugin.call(verb, body)
                if caller.count > 1:  # the first is for warming up
                    samples.add(caller.title, verb, took)
    finally:
        if one_switch:
            testbed.remove_switch(caller.network_id)
        else:
            _remove_network(caller)


def _make_network(caller: Caller, number: int) -> None:
    caller.network_id, caller.subnet = secrets.token_hex(32), f"10.{20 + number}.0.0/16"
    caller.plugin.call("CreateNetwork", network(caller.network_id, caller.subnet))


def _remove_network(caller: Caller) -> None:
    if caller.network_id:
        caller.plugin.call("DeleteNetwork", {"NetworkID": caller.network_id})
