"""Which faults there are, and which come next; does no I/O."""

from dataclasses import dataclass
from random import Random

HOST_PARTS = ("dockerd", "driver", "ovn-controller", "ovs-vswitchd", "ovsdb-server")
CENTRAL_PARTS = ("northd", "nb", "sb")
CENTRAL = "central"

KILL, RESTART, CUT, REBOOT = "kill", "restart", "cut off", "reboot"

_COUNTS, _COUNT_WEIGHTS = (0, 1, 2, 3), (1, 4, 3, 2)
_LONGEST_DELAY = 2.0
_KINDS = {KILL: 8, RESTART: 3, CUT: 2, REBOOT: 2}
_HOLDS = (0.0, 0.5, 2.0, 5.0, 12.0)
_HOLD_WEIGHTS = (3, 3, 3, 2, 1)
_CUTS = (2.0, 6.0, 12.0, 30.0)
_CUT_WEIGHTS = (3, 3, 3, 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its end.

    Attributes:
        kind: KILL (-9) or RESTART of a part, CUT or REBOOT of a machine.
        machine: "h1", "h2", ... or "central".
        part: which daemon, or "".
        delay: seconds from the beginning of the round until it happens.
        hold: seconds until it is repaired: the part is started again, the machine plugged in or switched on.
    """

    kind: str
    machine: str
    part: str
    delay: float
    hold: float

    def __str__(self) -> str:
        return " ".join(word for word in (self.kind, self.part, self.machine) if word)

    @property
    def title(self) -> str:
        """The fault without a host's number, as it is counted."""
        machine = CENTRAL if self.machine == CENTRAL else "host"
        return f"{self.kind} {self.part or machine}"


class Faults:
    """Chooses faults; every part of every machine has its turn sooner or later."""

    def __init__(self, random: Random, hosts: int) -> None:
        self._random = random
        self._hosts = [f"h{number}" for number in range(1, hosts + 1)]

    def next(self) -> tuple[Fault, ...]:
        """The faults of one round: none, or up to three on different machines."""
        [count] = self._random.choices(_COUNTS, _COUNT_WEIGHTS)
        first = [self._fault() for _ in range(count)]
        return tuple({fault.machine: fault for fault in first}.values())

    def _fault(self) -> Fault:
        [kind] = self._random.choices(list(_KINDS), list(_KINDS.values()))
        machine = self._machine(kind)
        part = ""
        if kind in {KILL, RESTART}:
            part = self._random.choice(CENTRAL_PARTS if machine == CENTRAL else HOST_PARTS)
        # Nobody notices a cut that is shorter than what TCP sends again.
        times = (_CUTS, _CUT_WEIGHTS) if kind == CUT else (_HOLDS, _HOLD_WEIGHTS)
        [hold] = self._random.choices(*times)
        return Fault(kind, machine, part, round(self._random.uniform(0, _LONGEST_DELAY), 2), hold)

    def _machine(self, kind: str) -> str:
        # The central has three parts of eight, whatever the number of hosts.
        if kind != REBOOT and self._random.random() < 3 / 8:
            return CENTRAL
        return self._random.choice(self._hosts)
