"""The rules of the host's kernel for the way out, published ports and name queries. Pure.

One nft table, `inet ovn-docker`, as text for nft(8), and one chain of iptables for what other tables drop. A
gateway port's name says what may pass: `og-*` leads out, `oi-*` belongs to a sealed network and never does.
The chain `guard` of the same table is host/guard.py's: nothing here touches it.
"""

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TABLE = "ovn-docker"

RESPONDER_PORT = 5375
"""The UDP port of the driver's DNS responder; registered for nothing, nor used by mDNS (5353) or LLMNR."""

OPEN, SEALED = "og-*", "oi-*"
"""Gateway ports of networks with a way out over this host, and of networks without one, as nft writes them."""

DOCKER_BRIDGE = re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}")
"""The links of Docker's bridge networks whose name nobody chose
(moby daemon/libnetwork/drivers/bridge/bridge_linux.go, getBridgeName)."""

PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
"""Those whose ports can be published, by number (IANA) and as nft names them."""


@dataclass(frozen=True, slots=True)
class Published:
    """A port of this host that leads to a container's.

    Attributes:
        protocol: 6, 17 or 132.
        host_ip: the address of the host, or "" for each one; "0.0.0.0" and "::" mean each one too.
        host_port: 1 to 65535.
        ip: the container's address; its family is that of the rule.
        port: the container's, 1 to 65535.
    """

    protocol: int
    host_ip: str
    host_port: int
    ip: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether the host's own programs reach it at 127.0.0.1."""
        return ":" not in self.ip and (self._any or ipaddress.ip_address(self.host_ip).is_loopback)

    @property
    def _any(self) -> bool:
        return not self.host_ip or ipaddress.ip_address(self.host_ip).is_unspecified

    @property
    def map(self) -> str:
        """The map of the table that has it."""
        return ("any" if self._any else "one") + ("6" if ":" in self.ip else "4")

    @property
    def key(self) -> str:
        """Its key in that map, in nft's words."""
        address = [] if self._any else [str(ipaddress.ip_address(self.host_ip))]
        return " . ".join([*address, PROTOCOLS[self.protocol], str(self.host_port)])

    @property
    def element(self) -> str:
        """Key and value."""
        return f"{self.key} : {self.ip} . {self.port}"
