"""What the health check finds, and when a finding is confirmed. Pure.

A finding is a discrepancy between what Docker has and what stands for it in a database or the kernel. It is
confirmed, reported and repaired when it was seen twice: between two looks Docker has finished what it was
about to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ovn_docker.docker.models import DockerState, Endpoint

SECOND_LOOK = 1.0
"""Seconds for which a thing must be missing before that is reported or repaired."""

GRACE = 10.0
"""Seconds for which a thing must be stale before it is removed: a verb's deadline, so that no verb lasts from
before the first look until after the second (libnetwork/server.py, DEADLINE)."""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds from a failed start of a container to the next attempt; doubled each time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One discrepancy.

    Attributes:
        kind: a key of `KINDS`.
        subject: the id of what it is about; kind and subject say whether two findings are the same.
        text: one line for people: what is wrong with which object; not compared, for it may contain a number.
        evidence: what the repair needs to know.
        cause: what led to it, in somebody else's words, which may differ each time.
    """

    kind: str
    subject: str
    text: str = field(compare=False)
    evidence: Any = field(default=None, compare=False, repr=False)
    cause: str = field(default="", compare=False)

    @property
    def line(self) -> str:
        """Text and cause, for people."""
        return f"{self.text}: {self.cause}" if self.cause else self.text

    @property
    def removes(self) -> bool:
        """Whether its repair removes something."""
        return KINDS[self.kind].removes

    @property
    def repair(self) -> str:
        """What its repair would do, for people, or "" where only a person can repair it."""
        return KINDS[self.kind].repair


class Bars(Enum):
    """What must not be done while a finding exists."""

    NOTHING = "nothing"
    REMOVALS = "removals"
    REPAIRS = "repairs"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        repair: what its repair would do, as in "it would remove the link", or "" without one.
        removes: whether that removes something.
        starts: whether that starts a container: it may take long, and what prevents it may end unseen.
        together: whether all of a pass are repaired in one transaction: each alone would cost as much as all.
        bars: what is not done while it exists. REPAIRS where it is in doubt who this host is, for then all
            that carries its mark may be another's; REMOVALS where it is in doubt what Docker has, or where
            the host is not set up, so that nothing is known to be unused.
        patient: whether it is looked for again in the next regular pass only: it says that a server is busy.
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
    "network-missing": Kind("create the network again, as Docker has it"),
    "network-stale": Kind("remove the network, unless others have ports on it", removes=True),
    "switch-stale": Kind("remove the switch, unless it has ports", removes=True),
    "endpoint-missing": Kind("create the port again"),
    "endpoint-changed": Kind("set the port's addresses to those that Docker says"),
    "endpoint-stale": Kind("remove the port and release what it claimed", removes=True),
    "names-changed": Kind("write them to the port", together=True),
    "interface-missing": Kind("plug the interface in again"),
    "interface-stale": Kind("remove the interface and its link", removes=True),
    "interface-dead": Kind(""),
    "interface-lost": Kind(""),
    "interface-alive": Kind("", bars=Bars.REMOVALS),
    "interface-vlan": Kind("put the interface on the port's VLAN"),
    "guard-missing": Kind("install the rules again"),
    "rules-missing": Kind("load the rules again"),
    "gateway-missing": Kind("make it again"),
    "gateway-stale": Kind("remove the link", removes=True),
    "egress-closed": Kind(""),
    "dns-name-missing": Kind("publish them again"),
    "dns-name-stale": Kind("remove them", removes=True),
    "dns-bypassed": Kind(""),
    "dns-down": Kind(""),
    "link-stale": Kind("remove the link", removes=True),
    "container-down": Kind("start the container", starts=True),
    "sharer-down": Kind("start the container", starts=True),
    "lookup-missing": Kind("install the flows again"),
    "lookup-surplus": Kind("remove the flows"),
    "lookup-off": Kind(""),
    "vtep-down": Kind(""),
    "address-taken": Kind(""),
    "lease-missing": Kind("lease the address again, if nobody else has it"),
    "lease-stale": Kind("release the lease", removes=True),
    "pool-missing": Kind("register the network in its pool again"),
    "pool-stale": Kind("remove this host's reference to the pool", removes=True),
    "reserved-stale": Kind("remove this host's reference to the reserved address", removes=True),
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
    "trunk-missing": Kind("create the trunk"),
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
    """Leave out those whose repair another one of them bars; they are judged anew once that is gone."""
    found = list(findings)
    barred = {KINDS[finding.kind].bars for finding in found}
    if Bars.REPAIRS in barred:
        return [finding for finding in found if not finding.repair]
    if Bars.REMOVALS in barred:
        return [finding for finding in found if not finding.removes]
    return found


@dataclass(frozen=True, slots=True)
class Failure:
    """A repair that failed: why, when the next attempt is due, and the seconds between the two."""

    reason: str
    due: float
    pause: float


class Sightings:
    """Since when each finding has been seen without a break, and when what failed is tried again.

    `now` is always in seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._since: dict[Finding, float] = {}
        self._confirmed: set[Finding] = set()
        self._failures: dict[Finding, Failure] = {}

    def confirmed(self, found: Iterable[Finding], now: float) -> list[Finding]:
        """Those that have existed for long enough; `found` is one reading, which began at `now`."""
        findings = list(found)
        self._since = {finding: self._since.get(finding, now) for finding in findings}
        confirmed = [finding for finding in findings if now - self._since[finding] >= _delay(finding)]
        self._confirmed = set(confirmed)
        self._failures = {
            finding: failure for finding, failure in self._failures.items() if finding in self._since
        }
        return confirmed

    def failed(self, finding: Finding, reason: str, now: float) -> None:
        """Note that its repair failed; a start is tried again soon, and then less and less often."""
        if KINDS[finding.kind].starts:
            before = self._failures.get(finding)
            pause = min(before.pause * 2, LONGEST_PAUSE) if before else FIRST_PAUSE
            self._failures[finding] = Failure(reason, now + pause, pause)

    def waiting(self, finding: Finding, now: float) -> str:
        """Why its last repair failed, while it is too soon for another; "" when one is due."""
        failure = self._failures.get(finding)
        return failure.reason if failure and now < failure.due else ""

    def hurry(self) -> None:
        """Have what failed tried again at once, for something has come back."""
        self._failures.clear()

    def next_look(self, now: float) -> float | None:
        """Seconds until another look may confirm something, or None when nothing waits for one.

        A confirmed finding whose repair failed waits for the next regular pass, unless the repair is a start.
        """
        waits = [failure.due - now for failure in self._failures.values()]
        waits += [
            self._since[finding] + _delay(finding) - now
            for finding in self._since.keys() - self._confirmed
            if not KINDS[finding.kind].patient
        ]
        return max(min(waits), SECOND_LOOK) if waits else None

    def forget(self, finding: Finding) -> None:
        """Note that it was repaired, so that it has to be seen twice again."""
        self._since.pop(finding, None)
        self._confirmed.discard(finding)
        self._failures.pop(finding, None)


def _delay(finding: Finding) -> float:
    return GRACE if finding.removes else SECOND_LOOK


# --- What things are called in a finding: by Docker's names, or by a short id where there is none -----------


SHORT = 12
"""Characters of an id, as Docker shows it."""


def short(identifier: str) -> str:
    """An id as ``docker ps`` shows it, which Docker's commands take."""
    return identifier[:SHORT]


def endpoint_name(docker: DockerState, endpoint: Endpoint) -> str:
    """``container web on network front``, or ``endpoint 0123456789ab on network front``."""
    network = docker.networks.get(endpoint.network_id)
    name = network.name if network else short(endpoint.network_id)
    return f"{container_name(docker, endpoint)} on network {name}"


def container_name(docker: DockerState, endpoint: Endpoint) -> str:
    """``container web``, or ``endpoint 0123456789ab`` where it has none."""
    container = docker.containers.get(endpoint.container_id)
    if container is not None:
        return f"container {container.name}"
    if endpoint.container_id:
        return f"container {short(endpoint.container_id)}"
    return f"endpoint {short(endpoint.endpoint_id)}"
