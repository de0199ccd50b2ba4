"""Containers of two hosts that ping each other without a pause, and how many packets were lost meanwhile."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ovn_docker_lab import Machine
from tests.integration.faults.parts import caught_up
from tests.integration.tenant import ONE_PING, OURS, Container, Network, Tenant, in_parallel
from tests.polling import eventually

INTERVAL = 0.05
"""Seconds between two packets of a ping."""

BACK = 60.0
"""Seconds; ovn-northd and ovn-controller wait up to 8 s between two attempts to connect."""

_LOG = "/tmp/ping"  # noqa: S108  (in a container)


class Ping:
    """A ping that runs in a container until it is ended."""

    def __init__(self, box: Container, address: str) -> None:
        self._box = box
        box.start(f"exec ping -i {INTERVAL} {address} >{_LOG}")
        eventually(lambda: len(self._answered()) >= 3, 10, f"{box.name} has answers from {address}")
        self._first = self._answered()[-1]

    def _answered(self) -> list[int]:
        said = self._box.run(f"cat {_LOG}", check=False).stdout
        return [int(number) for number in re.findall(r" seq=(\d+) ", said)]

    def goes_on(self, limit: float = BACK) -> None:
        """Wait for answers to packets that are sent from now on."""
        last = self._answered()[-1]
        eventually(lambda: self._answered()[-1] >= last + 3, limit, f"{self._box.name} has answers")

    def lost(self) -> int:
        """How many packets had no answer since the first few, up to the last that had one."""
        answered = {number for number in self._answered() if number >= self._first}
        return len(set(range(self._first, max(answered))) - answered)


@dataclass(frozen=True, slots=True)
class Talk:
    """A network of two hosts, a container on each, and their pings of each other.

    Attributes:
        central: where Northbound is.
        users: of the hosts.
        networks: the network as each host knows it.
        boxes: a container on each host.
        pings: each of the other's container.
    """

    central: Machine
    users: Sequence[Tenant]
    networks: Sequence[Network]
    boxes: Sequence[Container]
    pings: Sequence[Ping]

    def goes_on(self, limit: float = BACK) -> None:
        """Wait until both are answered."""
        for ping in self.pings:
            ping.goes_on(limit)

    def lost(self) -> int:
        """The packets of both that had no answer."""
        return sum(ping.lost() for ping in self.pings)

    def new_containers_reach_the_old(self, limit: float = BACK) -> None:
        """Start a container on each host that pings the other host's, until that works."""
        pairs = zip(self.users, self.networks, self.addresses()[::-1], strict=True)
        in_parallel(*(partial(_new_reaches, *pair, limit) for pair in pairs))

    def addresses(self) -> list[str]:
        """Of the containers, in the order of the hosts."""
        return [box.address(network) for box, network in zip(self.boxes, self.networks, strict=True)]


def begin(central: Machine, users: Sequence[Tenant], subnet: str, *options: str) -> Talk:
    """Let containers of two hosts talk.

    Args:
        central: where Northbound is.
        users: of the two hosts.
        subnet: of their network.
        options: further ones of `docker run`.
    """
    networks = in_parallel(*(partial(user.network, subnet, *OURS) for user in users))
    pairs = zip(users, networks, strict=True)
    boxes = in_parallel(*(partial(user.container, network, *options) for user, network in pairs))
    addresses = [box.address(network) for box, network in zip(boxes, networks, strict=True)]
    caught_up(central)
    boxes[0].reaches(addresses[1])
    pings = [Ping(box, address) for box, address in zip(boxes, addresses[::-1], strict=True)]
    return Talk(central, users, networks, boxes, pings)


def _new_reaches(user: Tenant, network: Network, address: str, limit: float) -> None:
    """A second ping, for a userspace datapath loses a packet now and then whenever it gets a port."""
    command = f"{ONE_PING} {address} || {ONE_PING} {address}"
    what = f"a new container on {user.host.name} reaches {address}"
    eventually(lambda: user.once(network, command).returncode == 0, limit, what)
