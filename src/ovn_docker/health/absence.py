"""For how long hosts have been missing from OVN, and which are dead for it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Absences:
    """Since when each host has been missing that is: host to seconds of a clock that never goes back."""

    since: Mapping[str, float] = field(default_factory=dict)

    def after(self, hosts: Iterable[str], chassis: Iterable[str], own: str, now: float) -> "Absences":
        """What is known after one more look.

        Args:
            hosts: those that Northbound knows.
            chassis: those that Southbound knows. Without `own` among them it is not to be believed: it was
                made anew, or this host's ovn-controller is away. Then all begins again.
            own: this host, which is never missing.
            now: seconds of that clock.
        """
        present = frozenset(chassis)
        if own not in present:
            return Absences()
        missing = (host for host in hosts if host not in present)
        return Absences({host: self.since.get(host, now) for host in missing})

    def dead(self, now: float, limit: float) -> list[str]:
        """The hosts that have been missing for `limit` seconds, the longest missing first."""
        dead = (host for host, since in self.since.items() if now - since >= limit)
        return sorted(dead, key=lambda host: (self.since[host], host))
