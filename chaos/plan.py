"""What is done to a lab, all of it from one seed; does no I/O and knows no outcome.

The same seed gives the same plan whatever happens to its commands, so the plan is made for a model of the lab
in which each command works. Where the lab differs, commands fail, which does no harm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from chaos.faults import Fault, Faults

DRIVER = "openvswitch"
IMAGE = "busybox"
MOST_CONTAINERS = 8
MOST_NETWORKS = 4
SERVER = ("httpd", "-f", "-h", "/etc")
"""What a container runs: it answers on TCP port 80."""

WEIGHTS = {
    "network create": 6,
    "network rm": 4,
    "run": 10,
    "create": 2,
    "start": 8,
    "stop": 2,
    "kill": 2,
    "restart": 4,
    "rm": 3,
    "connect": 6,
    "disconnect": 1,
}
BLIND = 0.1
"""How many of the commands heed nothing that was done before."""

LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A network that a host may have, with the options that make it."""

    name: str
    subnet: str
    options: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """The first three bytes of its addresses."""
        return self.subnet.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of Docker on a host.

    Attributes:
        host: number of the host, from 1.
        verb: one of WEIGHTS.
        words: what follows `docker`.
        pause: seconds before it.
    """

    host: int
    verb: str
    words: tuple[str, ...]
    pause: float


@dataclass(frozen=True, slots=True)
class Round:
    """What goes on at the same time: each host's commands, a few at a time, and the faults.

    Attributes:
        number: from 1.
        commands: for each host, h1's first.
        faults: on different machines.
    """

    number: int
    commands: tuple[tuple[Command, ...], ...]
    faults: tuple[Fault, ...]


def slots(host: int) -> tuple[Slot, ...]:
    """The networks that a host may have: two of its own and three shared by all hosts, some internal."""
    leased = ("--ipam-driver", DRIVER)
    return (
        Slot("own", f"10.{100 + host}.1.0/24"),
        Slot("inside", f"10.{100 + host}.2.0/24", ("--internal",)),
        Slot("shared", "10.90.1.0/24", leased),
        Slot("second", "10.90.2.0/24", leased),
        Slot("hidden", "10.90.3.0/24", (*leased, "--internal")),
    )


@dataclass(slots=True)
class _Box:
    """A container of the model."""

    running: bool
    networks: set[str] = field(default_factory=set)


class _Host:
    """A host of the model, and the choice of what is done on it next."""

    def __init__(self, number: int, random: Random) -> None:
        self._number = number
        self._random = random
        self._slots = {slot.name: slot for slot in slots(number)}
        self._networks: set[str] = set()
        self._boxes: dict[str, _Box] = {}

    def next(self) -> Command:
        """Choose a command and believe that it works."""
        if self._random.random() < BLIND:
            verb = self._random.choice(list(WEIGHTS))
        else:
            verbs = [verb for verb in WEIGHTS if self._makes_sense(verb)]
            [verb] = self._random.choices(verbs, [WEIGHTS[verb] for verb in verbs])
        words = self._words(verb)
        return Command(self._number, verb, words, round(self._random.uniform(0, LONGEST_PAUSE), 2))

    def _makes_sense(self, verb: str) -> bool:
        running = [box for box in self._boxes.values() if box.running]
        return {
            "network create": len(self._networks) < MOST_NETWORKS,
            "network rm": bool(self._unused()),
            "run": bool(self._networks) and len(self._boxes) < MOST_CONTAINERS,
            "create": bool(self._networks) and len(self._boxes) < MOST_CONTAINERS,
            "start": bool(self._boxes),  # one that the model believes to run may have failed to
            "stop": bool(running),
            "kill": bool(running),
            "restart": bool(self._boxes),
            "rm": len(self._boxes) > 1,
            "connect": bool(self._boxes) and len(self._networks) > 1,
            "disconnect": any(box.networks for box in self._boxes.values()),
        }[verb]

    def _words(self, verb: str) -> tuple[str, ...]:
        if verb.startswith("network"):
            return self._network_words(verb)
        if verb in {"run", "create"}:
            return self._make(verb)
        if verb in {"connect", "disconnect"}:
            return self._plug(verb)
        return self._steer(verb)

    # Networks

    def _unused(self) -> list[str]:
        used = {name for box in self._boxes.values() for name in box.networks}
        return sorted(self._networks - used)

    def _network_words(self, verb: str) -> tuple[str, ...]:
        if verb == "network rm":
            name = self._pick(self._unused() or list(self._slots))
            self._networks.discard(name)
            return ("network", "rm", name)
        # Now and then one that is there, should its first making have failed.
        again = self._random.random() < BLIND or len(self._networks) >= MOST_NETWORKS
        name = self._pick([name for name in self._slots if (name in self._networks) == again] or self._slots)
        slot = self._slots[name]
        self._networks.add(name)
        return ("network", "create", "--driver", DRIVER, *slot.options, "--subnet", slot.subnet, name)

    # Containers

    def _make(self, verb: str) -> tuple[str, ...]:
        free = [name for name in _box_names() if name not in self._boxes] or _box_names()
        name, network = self._pick(free), self._pick(sorted(self._networks) or list(self._slots))
        options = ["--network", network, "--stop-signal=KILL", "--name", name]
        options += ["--restart=always"] if self._random.random() < 0.5 else []  # noqa: PLR2004 - half of them
        if self._random.random() < BLIND:
            options += ["--ip", self._own_address(network, name)]
        self._boxes[name] = _Box(verb == "run", {network})
        return (verb, *(("--detach",) if verb == "run" else ()), *options, IMAGE, *SERVER)

    def _own_address(self, network: str, box: str) -> str:
        """An address that no other container of any host asks for."""
        return f"{self._slots[network].prefix}.{100 + 10 * self._number + int(box[1:])}"

    def _plug(self, verb: str) -> tuple[str, ...]:
        boxes = [name for name, box in self._boxes.items() if box.networks or verb == "connect"]
        name = self._pick(boxes or _box_names())
        box = self._boxes.get(name, _Box(running=False))
        if verb == "connect":
            network = self._pick(sorted(self._networks - box.networks) or list(self._slots))
            box.networks.add(network)
            return ("network", "connect", network, name)
        network = self._pick(sorted(box.networks) or list(self._slots))
        box.networks.discard(network)
        force = ("--force",) if self._random.random() < BLIND else ()
        return ("network", "disconnect", *force, network, name)

    def _steer(self, verb: str) -> tuple[str, ...]:
        known = sorted(name for name, box in self._boxes.items() if self._fits(verb, box))
        name = self._pick(known or sorted(self._boxes) or _box_names())
        if verb == "rm":
            self._boxes.pop(name, None)
            return ("rm", "--force", name)
        if name in self._boxes:
            self._boxes[name].running = verb in {"start", "restart"}
        return (verb, *(("--time=1",) if verb in {"stop", "restart"} else ()), name)

    @staticmethod
    def _fits(verb: str, box: _Box) -> bool:
        return box.running or verb in {"rm", "restart", "start"}

    def _pick(self, names: Sequence[str] | dict[str, Slot]) -> str:
        return self._random.choice(list(names))


def _box_names() -> list[str]:
    return [f"c{number}" for number in range(1, MOST_CONTAINERS + 1)]


def rounds(seed: int, hosts: int) -> Iterator[Round]:
    """All that is done, without end; the same seed gives the same."""
    random = Random(seed)
    models = [_Host(number, random) for number in range(1, hosts + 1)]
    faults = Faults(random, hosts)
    number = 0
    while True:
        number += 1
        commands = tuple(tuple(model.next() for _ in range(random.randint(3, 7))) for model in models)
        # First there has to be something that a fault can harm.
        yield Round(number, commands, faults.next() if number > 1 else ())
