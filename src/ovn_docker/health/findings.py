"""What the health check finds, and when a finding may be acted on. Pure.

A finding is a discrepancy between what Docker has and what stands for it in a database or the kernel. It is
acted on when it was seen twice: between two looks Docker has finished what it was about to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ovn_docker.docker.models import DockerState, Endpoint

SECOND_LOOK = 1.0
"""Seconds after which a thing that was missing is looked for again."""

GRACE = 10.0
"""Seconds for which a thing must be stale before it is removed: a verb's deadline, so that none is under way
from before the first look to behind the second (libnetwork/server.py, DEADLINE)."""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds from a start of a container that failed to the next; doubled each time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One discrepancy.

    Attributes:
        kind: a name of `KINDS`.
        subject: the id of what it is about; with the kind it says whether two findings are the same.
        text: one line for people: what is wrong with which object; never compared, for it may count.
        evidence: what the repair needs to know; never compared.
        cause: what led to it, as somebody else says it; never compared, for it may read otherwise each time.
    """

    kind: str
    subject: str
    text: str = field(compare=False)
    evidence: Any = field(default=None, compare=False, repr=False)
    cause: str = field(default="", compare=False)

    @property
    def line(self) -> str:
        """All that is to be said of it."""
        return f"{self.text}: {self.cause}" if self.cause else self.text

    @property
    def removes(self) -> bool:
        """Whether its repair takes something away."""
        return KINDS[self.kind].removes

    @property
    def repair(self) -> str:
        """What its repair would do, for people, or "" where only a person can do something."""
        return KINDS[self.kind].repair


class Bars(Enum):
    """What must not be done while a finding stands."""

    NOTHING = "nothing"
    REMOVALS = "removals"
    REPAIRS = "repairs"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        repair: what its repair would do, as in "it would remove the link", or "" without one.
        removes: whether that takes something away.
        starts: whether that starts a container: it may take long, and what prevents it may end unseen.
        together: whether those of a pass are repaired in one act: each alone would cost as much as all.
        bars: what is not done while it stands. REPAIRS where it is in doubt who this host is, for then all
            that carries its mark may be another's; REMOVALS where it is in doubt what Docker has, or where
            the host is not set up, so that nothing is known to be of no use.
        patient: whether it is looked for again in the next regular pass only: it says that somebody is busy.
    """

    repair: str
    removes: bool = False
    starts: bool = False
    together: bool = False
    bars: Bars = Bars.NOTHING
    patient: bool = False


KINDS: Mapping[str, Kind] = {
    "name-taken": Kind("", bars=Bars.REPAIRS),
    "driver-down": Kind(""),
    "vswitchd-down": Kind(""),
    "controller-down": Kind(""),
    "setting-missing": Kind(""),
    "encap-foreign": Kind(""),
    "datapath-lacks": Kind(""),
    "tunnel-down": Kind(""),
    "peer-down": Kind(""),
    "tunnel-blocked": Kind(""),
    "southbound-down": Kind(""),
    "northd-down": Kind(""),
    "switch-twice": Kind(""),
    "network-missing": Kind("make the network again, as Docker has it"),
    "network-stale": Kind("remove the network, unless a port of others is on it", removes=True),
    "switch-stale": Kind("remove the switch, unless a port is on it", removes=True),
    "endpoint-missing": Kind("make the port again"),
    "endpoint-changed": Kind("give the port the addresses that Docker says"),
    "endpoint-stale": Kind("remove the port and what it claimed", removes=True),
    "names-changed": Kind("write them to the port", together=True),
    "interface-missing": Kind("plug it in again"),
    "interface-stale": Kind("remove the interface and its link", removes=True),
    "interface-dead": Kind(""),
    "interface-lost": Kind(""),
    "interface-alive": Kind("", bars=Bars.REMOVALS),
    "interface-vlan": Kind("put the interface on the port's VLAN"),
    "guard-missing": Kind("make the rules again"),
    "link-stale": Kind("remove the link", removes=True),
    "container-down": Kind("start the container", starts=True),
    "sharer-down": Kind("start the container", starts=True),
    "lookup-missing": Kind("install the flows again"),
    "lookup-surplus": Kind("remove the flows"),
    "lookup-off": Kind(""),
    "vtep-down": Kind(""),
    "address-taken": Kind(""),
    "lease-missing": Kind("lease the address again, if nobody else has it"),
    "lease-stale": Kind("give the lease up", removes=True),
    "pool-missing": Kind("enter the network into its pool again"),
    "pool-stale": Kind("strike this host out of the pool", removes=True),
    "reserved-stale": Kind("strike this host out of the reserved address", removes=True),
    "plugin-disabled": Kind(""),
    "plugin-legacy": Kind(""),
    "plugin-missing": Kind(""),
    "scope-global": Kind(""),
    "central-slow": Kind("", patient=True),
    "northd-behind": Kind("", patient=True),
    "central-relay": Kind(""),
    "cloud-lacks": Kind("", bars=Bars.REMOVALS),
    "vif-missing": Kind("", bars=Bars.REPAIRS),
    "vif-foreign": Kind("", bars=Bars.REPAIRS),
    "vif-disabled": Kind("", bars=Bars.REMOVALS),
    "vif-down": Kind(""),
    "vif-elsewhere": Kind("", bars=Bars.REPAIRS),
    "trunk-missing": Kind("make the trunk"),
    "trunk-down": Kind("", bars=Bars.REMOVALS),
    "bridge-missing": Kind("", bars=Bars.REMOVALS),
    "bridge-secure": Kind("", bars=Bars.REMOVALS),
    "bridge-mac": Kind(""),
    "uplink-missing": Kind("", bars=Bars.REMOVALS),
    "uplink-dead": Kind("", bars=Bars.REMOVALS),
    "uplink-vlan": Kind("", bars=Bars.REMOVALS),
    "mtu-small": Kind(""),
    "mtu-large": Kind(""),
    "network-mtu": Kind(""),
}


def allowed(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out those whose repair another one of them bars: seen again without it, they are judged anew."""
    found = list(findings)
    barred = {KINDS[each.kind].bars for each in found}
    if Bars.REPAIRS in barred:
        return [each for each in found if not each.repair]
    if Bars.REMOVALS in barred:
        return [each for each in found if not each.removes]
    return found


@dataclass(frozen=True, slots=True)
class Failure:
    """A repair that failed: why, when the next try is due, and the seconds between the two."""

    why: str
    due: float
    pause: float


class Sightings:
    """Since when each finding has been seen without a break, and when what failed is tried again."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        self._since: dict[Finding, float] = {}
        self._confirmed: set[Finding] = set()
        self._failures: dict[Finding, Failure] = {}

    def confirmed(self, found: Iterable[Finding], now: float) -> list[Finding]:
        """Those that are there for long enough to be told and acted on; what is not found now has ended.

        Args:
            found: all that was found in one reading.
            now: seconds by a clock that never goes back, when the reading began.
        """
        findings = list(found)
        self._since = {each: self._since.get(each, now) for each in findings}
        confirmed = [each for each in findings if now - self._since[each] >= _patience(each)]
        self._confirmed = set(confirmed)
        self._failures = {each: why for each, why in self._failures.items() if each in self._since}
        return confirmed

    def failed(self, finding: Finding, why: str, now: float) -> None:
        """Note that its repair failed; a start is tried again soon, and ever later."""
        if KINDS[finding.kind].starts:
            before = self._failures.get(finding)
            pause = min(before.pause * 2, LONGEST_PAUSE) if before else FIRST_PAUSE
            self._failures[finding] = Failure(why, now + pause, pause)

    def waiting(self, finding: Finding, now: float) -> str:
        """Why its last repair failed, while it is too soon for another; "" when one is due."""
        failure = self._failures.get(finding)
        return failure.why if failure and now < failure.due else ""

    def hurry(self) -> None:
        """Note that something has come back, so that what failed is tried again at once."""
        self._failures.clear()

    def next_look(self, now: float) -> float | None:
        """Seconds until another look may confirm something, or None when nothing waits for one.

        A confirmed finding whose repair failed waits for the next regular pass, unless the repair is a start.
        """
        unconfirmed = self._since.keys() - self._confirmed
        open_still = [each for each in unconfirmed if not KINDS[each.kind].patient]
        waits = [self._since[each] + _patience(each) - now for each in open_still]
        waits += [each.due - now for each in self._failures.values()]
        return max(min(waits), SECOND_LOOK) if waits else None

    def forget(self, finding: Finding) -> None:
        """Note that it was acted on, so that it has to be seen twice again."""
        self._since.pop(finding, None)
        self._confirmed.discard(finding)
        self._failures.pop(finding, None)


def _patience(finding: Finding) -> float:
    return GRACE if finding.removes else SECOND_LOOK


# --- What things are called in a finding: by Docker's names, and by a short id where there is none. Pure. ---


SHORT = 12
"""Characters of an id, as Docker shows it."""


def short(identifier: str) -> str:
    """An id as ``docker ps`` shows it, which Docker's commands take."""
    return identifier[:SHORT]


def endpoint_name(docker: DockerState, endpoint: Endpoint) -> str:
    """An endpoint that Docker has: its container, or itself without one, and its network."""
    network = docker.networks.get(endpoint.network_id)
    on = network.name if network else short(endpoint.network_id)
    return f"{container_name(docker, endpoint)} on network {on}"


def container_name(docker: DockerState, endpoint: Endpoint) -> str:
    """The container of an endpoint."""
    container = docker.containers.get(endpoint.container_id)
    if container is not None:
        return f"container {container.name}"
    if endpoint.container_id:
        return f"container {short(endpoint.container_id)}"
    return f"endpoint {short(endpoint.endpoint_id)}"
