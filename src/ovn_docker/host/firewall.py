"""The only door to nft(8) and iptables(8): the rules of ruleset.py in this host's kernel."""

from collections.abc import Collection

from ovn_docker.host.ruleset import Published


class Firewall:
    """The host's rules for the way out and for published ports."""

    def __init__(self) -> None:
        self._published: frozenset[Published] = frozenset()
        self._problem = ""

    async def start(self) -> None:
        """Load the rules, keeping what is published, and watch over them; what fails is `problem`'s."""

    def close(self) -> None:
        """Stop watching; the rules stay, because containers run on."""

    def problem(self) -> str:
        """Why containers have no way out over this host, and what to type; "" if they have."""
        return self._problem

    def ipv6_problem(self) -> str:
        """Why they have none over IPv6 while they have one over IPv4; "" if they have."""
        return ""

    async def missing(self) -> tuple[str, ...]:
        """What of the rules is not in the kernel, for people."""
        return ()

    async def restore(self) -> None:
        """Load the rules again; HostError if the kernel refuses."""

    async def publish(self, added: Collection[Published], removed: Collection[Published]) -> None:
        """Publish and withdraw ports in one transaction; HostError if the kernel refuses."""
        self._published = (self._published - frozenset(removed)) | frozenset(added)

    async def published(self) -> frozenset[Published]:
        """What the kernel publishes for us."""
        return self._published

    async def remove(self) -> None:
        """Remove all rules; for uninstalling."""
