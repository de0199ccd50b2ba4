"""The parts that need ovn-northd, a Southbound and ovn-controllers."""

import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

from bench.drivers import resident_mb
from bench.figures import Figure
from bench.run import Part
from bench.scale import page
from bench.scale.central import Central
from bench.scale.chassis import Chassis
from bench.scale.clock import processor_seconds
from bench.scale.page import figure
from bench.scale.plan import host_name
from bench.scale.testbed import ScaleTestbed
from ovn_docker.ovn import switches
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort

_NETWORK, _ENDPOINT, _SUBNET = "b" * 64, "e" * 64, "172.21.0.0/24"

_WRITE, _CATCH_UP = 480.0, 180.0
"""Seconds for ovn-northd to write all of Southbound, and what a chassis that joins changes."""


def southbound_parts(testbed: ScaleTestbed) -> Iterator[Part]:
    """Name and function of each part."""
    with ExitStack() as undo:
        servers = undo.enter_context(testbed.filled_standalone())
        central = Central(testbed.directory / "central", testbed.clock, servers.members[0])
        undo.callback(central.stop)
        yield "ovn-northd and Southbound", partial(_northd, central)
        yield "  a network and a port", partial(_changes, central)
        names = [host_name(number) for number in range(min(testbed.plan.chassis, testbed.plan.hosts))]
        chassis = Chassis(testbed.directory / "chassis", names, central.southbound)
        undo.callback(chassis.stop)
        yield f"  {len(names)} ovn-controllers bind ports", partial(_bind, testbed, central, chassis)
        yield "  memory", partial(_memory, central, chassis)


def _northd(central: Central) -> list[Figure]:
    took = central.catch_up(_WRITE)
    return [
        figure(page.NORTHD, page.NORTHD_START, [took], "s"),
        figure(page.NORTHD, page.NORTHD_COST, [processor_seconds(central.pid)], "s"),
    ]


def _changes(central: Central) -> list[Figure]:
    """What ovn-northd has to do for a network and for an endpoint, as the driver writes them."""
    subnet, mark = ipaddress.ip_network(_SUBNET), Mark("bench", "2026-01-01T00:00:00Z")
    switch = switches.switch_id(_NETWORK)
    port = SwitchPort(_NETWORK, _ENDPOINT, "02:42:ac:15:00:02 172.21.0.2")
    changes = {
        page.NETWORK_MADE: switches.ls_add(Switch(_NETWORK, (subnet,), (subnet[1],)), mark),
        page.PORT_MADE: switches.lsp_add(port, switch, (), mark),
        page.PORT_GONE: [switches.lsp_del(_NETWORK, _ENDPOINT, switch)],
        page.NETWORK_GONE: switches.ls_del(switch),
    }
    figures = []
    for item, operations in changes.items():
        before = processor_seconds(central.pid)
        central.transact(operations)
        central.catch_up(_CATCH_UP)
        spent = 1000 * (processor_seconds(central.pid) - before)
        figures.append(figure(page.NORTHD, item, [spent], "ms"))
    return figures


def _bind(testbed: ScaleTestbed, central: Central, chassis: Chassis) -> list[Figure]:
    """Plug ports in, of one network after the other: the first on its chassis, then one more."""
    chassis.join(testbed.clock)
    central.catch_up(_CATCH_UP)
    first, known = [], []
    with closing(chassis.watch()) as watch:
        for number in range(len(chassis.names)):
            answers = testbed.crowd.ask("endpoints", host=number)
            networks = [ids for answer in answers for ids in answer["networks"].values()]
            for one, *others in networks[: testbed.plan.bound]:
                first.append(chassis.bind(watch, number, one))
                known += [chassis.bind(watch, number, other) for other in others[:1]]
    return [
        figure(page.SIZES, page.CHASSIS, [len(chassis.names)], "number"),
        figure(page.BINDING, page.FIRST, first, "ms"),
        *([figure(page.BINDING, page.KNOWN, known, "ms")] if known else []),
    ]


def _memory(central: Central, chassis: Chassis) -> list[Figure]:
    return [
        figure(page.MEMORY, page.SOUTHBOUND_MB, [resident_mb(central.southbound.pid)], "MB"),
        figure(page.MEMORY, page.NORTHD_MB, [resident_mb(central.pid)], "MB"),
        figure(page.MEMORY, page.CONTROLLER_MB, chassis.controllers_mb(), "MB"),
        figure(page.MEMORY, page.SWITCH_MB, [chassis.switch_mb()], "MB"),
    ]
