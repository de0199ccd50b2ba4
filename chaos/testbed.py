"""The lab of a chaos run: the drivers' flags, faults and their repair, and the wait until all is right."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from chaos.connectivity import unreached
from chaos.faults import CUT, KILL, REBOOT, RESTART, Fault
from chaos.oracle import LOST, Difference, compare
from chaos.reading import read
from ovn_docker.errors import HostError, OvnDockerError
from ovn_docker_lab import Lab, Machine

Report = Callable[[str], None]

LOCAL = "--docker-driver-scope=local"
"""Several hosts make the same network, each for itself."""

LIVE_RESTORE = "--live-restore"
"""With it containers outlive their dockerd, as on every second host here."""

HEALTH = ("--health-check-on", "--health-check-interval=10")
SETTLE = 90.0
"""Seconds until nothing may be wrong any more: OVN's daemons wait up to 8 s between two attempts to connect,
and the health check acts on what it has seen twice, 10 s apart."""

_PAUSE = 2.0


class ChaosTestbed:
    """A lab, up for as long as this context lasts.

    Attributes:
        lab: the lab.
        machines: all of them by name.
        stop: is set when the run ends early.
    """

    def __init__(
        self, name: str, hosts: int, report: Report, *, keep: bool = False, health_check: bool = True
    ) -> None:
        """Make the lab and start the drivers as the run needs them."""
        self.stop = threading.Event()
        self._keep = keep
        self.lab = Lab.up(name, hosts, report=report)
        self.machines = {machine.name: machine for machine in (self.lab.central, *self.lab.hosts)}
        try:
            flags = (LOCAL, *(HEALTH if health_check else ()))
            for host in self.lab.hosts:
                host.stop("driver")
                host.start_driver(flags)
            for host in self.lab.hosts[1::2]:
                host.stop("dockerd")
                host.start("dockerd", [LIVE_RESTORE])
        except BaseException:
            self.lab.down()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        if not self._keep or error is not None:
            self.lab.down()

    def pause(self, seconds: float) -> None:
        """Let time pass, unless the run ends."""
        self.stop.wait(seconds)

    # Faults

    def break_and_repair(self, fault: Fault) -> float:
        """Cause a fault, hold it and repair it; returns how many seconds the repair took."""
        machine = self.machines[fault.machine]
        self._break(machine, fault)
        self.pause(fault.hold)
        started = time.monotonic()
        self._repair(machine, fault)
        return time.monotonic() - started

    @staticmethod
    def _break(machine: Machine, fault: Fault) -> None:
        if fault.kind == KILL:
            machine.kill(fault.part)
        elif fault.kind == RESTART:
            machine.stop(fault.part)
        elif fault.kind == CUT:
            machine.cut_off()
        elif fault.kind == REBOOT:
            machine.power_off()

    @staticmethod
    def _repair(machine: Machine, fault: Fault) -> None:
        if fault.kind == CUT:
            machine.reconnect()
        elif fault.kind == REBOOT:
            machine.power_on()
        else:
            machine.start_again(fault.part)

    def repair_all(self) -> list[Difference]:
        """Start and plug in whatever is not; returns what cannot be."""
        found = []
        for machine in self.machines.values():
            try:
                machine.repair()
            except OvnDockerError as error:
                found.append(Difference(LOST, "daemon", "", machine.name, str(error)))
        return found

    # Check

    def check(self, differs: Callable[[Difference], None]) -> tuple[dict[str, int], list[Difference]]:
        """Wait until everything is as Docker has it, at most SETTLE seconds.

        Args:
            differs: called with each difference when it is first seen.

        Returns:
            How much was compared, and what is still different.
        """
        deadline = time.monotonic() + SETTLE
        known: set[Difference] = set()
        while True:
            late = time.monotonic() > deadline
            seen, found = self._compare_now()
            for difference in found:
                if difference not in known:
                    differs(difference)
            known.update(found)
            if not found or late or self.stop.is_set():
                return seen, found
            self.pause(_PAUSE)

    def _compare_now(self) -> tuple[dict[str, int], list[Difference]]:
        try:
            hosts, central = read(self.lab)
        except HostError as error:
            return {}, [Difference(LOST, "answer", "", self.lab.name, str(error))]
        seen = {
            "containers run": sum(host.running for host in hosts),
            "endpoints": sum(len(host.endpoints) for host in hosts),
            "networks": sum(len(host.networks) for host in hosts),
        }
        if found := compare(hosts, central):
            return seen, found
        pairs, found = unreached(self.machines, hosts)
        return {**seen, "pairs ping and talk TCP": pairs}, found
