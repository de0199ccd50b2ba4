"""Whose a host's name in OVN is, for a second machine may have it: a copy, or one with a pasted name. Pure.

A driver removes what is in OVN Northbound under its name, so it has to prove that the name is its host's. The
host's row says which machine uses the name; a lock says whether that machine is connected.
"""

from dataclasses import dataclass
from enum import Enum

from ovn_docker.ovn.hosts import NOBODY, HostIdentity

SETTLE, REGAIN = 30.0, 10.0
"""Seconds for an interrupted connection of this machine to end at the server; and for the driver that has the
name to come back, after the server or the driver was away."""

ENOUGH = 2
"""A machine is the same if two of three are: the number in its state file, its hostname, its tunnel address.
One that was installed anew has lost the first, one that was moved or renamed another. A copy with a hostname
and an address of its own has only the first."""


class Standing(Enum):
    """What a driver may do under its host's name."""

    OWN = "own"
    UNSETTLED = "unsettled"
    """Nothing is to be repaired or removed yet."""
    TAKEN = "taken"
    """Another machine's: nothing at all is to be changed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known.

    Attributes:
        row: who uses the name, according to the host's row; None without a row.
        own: this machine.
        local: whether the driver that wrote the row runs on this host.
        held: whether this driver has the name lock.
        refused_for: seconds since the lock was first refused, or None if it was granted at once.
        held_for: seconds since it was granted.
    """

    row: HostIdentity | None
    own: HostIdentity
    local: bool
    held: bool
    refused_for: float | None = None
    held_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from the evidence.

    Attributes:
        take: whether the row is to be written.
        other: the other machine that uses the name.
        connected: whether that one is connected to OVN Northbound.
    """

    standing: Standing
    take: bool = False
    other: HostIdentity = NOBODY
    connected: bool = False

    @property
    def hopeless(self) -> bool:
        """Whether only a command can make the name ours, so that we must not keep its lock from the other."""
        return self.standing is Standing.TAKEN and not self.take


def judge(evidence: Evidence) -> Verdict:
    """Decide whose the name is."""
    row, own = evidence.row, evidence.own
    if row is not None and evidence.local:
        return Verdict(Standing.OWN, take=row.session == own.session and row != own)
    other = row or NOBODY
    if other != NOBODY and own.agreements(other) < ENOUGH:
        return Verdict(Standing.TAKEN, other=other, connected=not evidence.held)
    if evidence.held:
        settled = evidence.refused_for is None or evidence.held_for >= REGAIN
        return Verdict(Standing.OWN, take=True) if settled else Verdict(Standing.UNSETTLED, other=other)
    if other == NOBODY or (_alike(own, other) and (evidence.refused_for or 0.0) < SETTLE):
        return Verdict(Standing.UNSETTLED, other=other, connected=True)
    return Verdict(Standing.TAKEN, take=True, other=other, connected=True)


def _alike(one: HostIdentity, other: HostIdentity) -> bool:
    return (one.machine, one.hostname, one.encap_ip) == (other.machine, other.hostname, other.encap_ip)


def unsettled(name: str) -> str:
    """Why nothing was compared, for people."""
    return (
        f"whether the name {name} is this host's is not known yet: an earlier connection of its driver to OVN"
        " Northbound has not ended, or a copy of this machine is connected; nothing was compared"
    )


def taken(name: str, verdict: Verdict) -> str:
    """Who has this host's name, and what to type, for people."""
    rename = (
        "give this host a name of its own with 'ovs-vsctl set Open_vSwitch ."
        " external_ids:system-id=NEW-NAME', the same in /etc/openvswitch/system-id.conf, and restart"
        " ovn-controller"
    )
    if verdict.connected:
        return (
            f"{verdict.other} has the name {name} (external_ids:system-id) in OVN too, and its driver is"
            f" connected: {rename}"
        )
    return (
        f"{verdict.other} has the name {name} (external_ids:system-id) in OVN, and its driver is away: if it"
        f" will not come back, run 'ovn-docker repair --take-over' here, otherwise {rename}"
    )
