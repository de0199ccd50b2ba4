"""The rules of the host's kernel for the way out, published ports and name queries. Pure.

One nft table, `inet ovn-docker`, as text for nft(8), and one chain of iptables for what other tables drop. A
gateway port's name says what may pass: `og-*` leads out, `oi-*` belongs to a sealed network and never does.
The chain `guard` of the same table is host/guard.py's: nothing here touches it.
"""

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TABLE = "ovn-docker"

RESPONDER_PORT = 5375
"""The UDP port of the driver's DNS responder; registered for nothing, nor used by mDNS (5353) or LLMNR."""

OPEN, SEALED = "og-*", "oi-*"
"""Gateway ports of networks with a way out, and of those without one, as nft writes a prefix."""

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


NUMBERS = {name: number for number, name in PROTOCOLS.items()}

FIREWALLD = "firewalld"
"""The name of firewalld's table (firewalld src/firewall/core/nftables.py, TABLE_NAME)."""


@dataclass(frozen=True, slots=True)
class ForeignChain:
    """A chain of somebody else, through which forwarded packets pass."""

    family: str
    table: str
    name: str

    def mentions_us(self, listing: str) -> bool:
        """Whether there is a rule for our links, in what `nft list table` says of its table."""
        return f'"{OPEN}"' in listing

    def problem(self) -> str:
        """That it drops what containers send, and what to type."""
        if self.table == FIREWALLD:
            return (
                "firewalld drops what containers send: type"
                " 'firewall-cmd --permanent --zone=trusted --add-interface=og-+' and 'firewall-cmd --reload'"
            )
        place = f"{self.family} {self.table} {self.name}"
        return (
            f"nft's chain {place} drops what containers send: type"
            f""" 'nft insert rule {place} iifname "{OPEN}" accept' and"""
            f""" 'nft insert rule {place} oifname "{OPEN}" accept', and add both to the file that loads it"""
        )


# --- The table, as text for nft(8). -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleChain:
    """A chain of the table.

    Attributes:
        hook: type, hook and priority of a base chain, in nft's words; "" for one that others jump to.
        rules: in nft's words.
    """

    hook: str
    rules: tuple[str, ...]


HEADER = 8 + 12
"""Bytes from the start of a UDP header to the name that a DNS query asks for (RFC 1035 section 4.1)."""

IN_ADDR, IP6 = b"\x07in-addr\x04arpa\x00", b"\x03ip6\x04arpa\x00"
"""The last labels of reverse names (RFC 1035 section 3.5, RFC 3596 section 2.5), as a query has them."""

LONGEST_LABEL = 63

ZONE = 65053
"""The conntrack zone of what goes to the responder and back; OVN numbers its own from 1 on.

A client may ask for another name from the same port within 30 s, and conntrack alone would send that the
same way: with one zone for both, a busy container's short names would go to servers that do not know them.
"""

A_QUERY = "@th,80,1 0 @th,96,16 1"
"""DNS's header says: a query, with one question."""


def _bytes_at(offset: int, value: bytes) -> str:
    """A match of bytes at an offset from the start of the UDP header."""
    return f"@th,{8 * offset},{8 * len(value)} {int.from_bytes(value):#x}"


def _for_responder() -> Iterator[str]:
    """Rules that send queries for names of one label, and for names of addresses, to the responder.

    One rule for each length of the label: nft cannot compute an offset. A reverse name of IPv4 has four
    labels of one to three digits before its last ones; that of IPv6 has 32 labels of one.
    """
    for length in range(1, LONGEST_LABEL + 1):
        first, end = _bytes_at(HEADER, bytes([length])), _bytes_at(HEADER + 1 + length, b"\0")
        yield f"{first} {end} goto for_responder"
    for labels in range(4 * 2, 4 * 4 + 1):
        yield f"{_bytes_at(HEADER + labels, IN_ADDR)} goto for_responder"
    yield f"{_bytes_at(HEADER + 32 * 2, IP6)} goto for_responder"


def _publish(*, family: str, number: int) -> tuple[str, ...]:
    return (
        f"dnat {family} to {family} daddr . meta l4proto . th dport map @one{number}",
        f"dnat {family} to meta l4proto . th dport map @any{number}",
    )


ESTABLISHED = "ct state established,related accept"
PUBLISHED = "ct status dnat accept"
PORTS = "meta l4proto { tcp, udp, sctp } fib daddr type local jump published"
ASKING = (OPEN, SEALED, "docker_gwbridge")
"""Links from which containers ask for names; those that publish ports ask from docker_gwbridge."""

ROUTERS = "icmpv6 type { nd-router-advert, nd-redirect }"

ANSWERS = (
    f"udp sport {RESPONDER_PORT}",
    # That no responder is there: behind ICMP's header are the query's IP header and its UDP ports.
    f"icmp type destination-unreachable @th,{8 * (8 + 20 + 2)},16 {RESPONDER_PORT}",
    f"icmpv6 type destination-unreachable @th,{8 * (8 + 40 + 2)},16 {RESPONDER_PORT}",
)
"""What comes back from the responder's port."""

CHAINS: Mapping[str, RuleChain] = {
    "received": RuleChain(
        "type filter hook prerouting priority raw",
        (
            # route_localnet, which a port published on 127.0.0.1 needs, lets them in: CVE-2020-8558.
            f'iifname "{OPEN}" ip daddr 127.0.0.0/8 drop',
            # A container must not become a router of the host's (RFC 4861 sections 6.2 and 8).
            *(f'iifname "{link}" {ROUTERS} drop' for link in (OPEN, SEALED)),
        ),
    ),
    "for_responder": RuleChain("", (f"ct zone set {ZONE}",)),
    "queries": RuleChain("", tuple(_for_responder())),
    "published": RuleChain("", (*_publish(family="ip", number=4), *_publish(family="ip6", number=6))),
    "arriving": RuleChain(
        "type nat hook prerouting priority dstnat",
        (
            f"ct zone {ZONE} meta l4proto udp redirect to :{RESPONDER_PORT}",
            PORTS,
        ),
    ),
    "answered": RuleChain(
        "type filter hook output priority raw",
        tuple(f'oifname "{link}" {answer} ct zone set {ZONE}' for link in ASKING for answer in ANSWERS),
    ),
    # nft 1.0.6, Debian 12's, has no name for this priority here.
    "from_host": RuleChain("type nat hook output priority -100", (PORTS,)),
    "leaving": RuleChain(
        "type nat hook postrouting priority srcnat",
        (
            f'iifname "{OPEN}" oifname "{OPEN}" ct status dnat masquerade',
            f'iifname "{OPEN}" oifname != "{OPEN}" masquerade',
            f'oifname "{OPEN}" ip saddr 127.0.0.0/8 masquerade',
        ),
    ),
    # The kernel sends few ICMP errors a second to one address, but any number of resets.
    "refused": RuleChain("", ("meta l4proto tcp reject with tcp reset", "reject")),
    "to_bridge": RuleChain("", (PUBLISHED, ESTABLISHED, "drop")),
    "forwarding": RuleChain(
        "type filter hook forward priority filter",
        (
            f'iifname "{SEALED}" counter goto refused',
            f'oifname "{SEALED}" counter drop',
            f'iifname "{OPEN}" oifname @docker_bridges jump to_bridge',
            f'oifname "{OPEN}" {PUBLISHED}',
            f'iifname "{OPEN}" oifname "{OPEN}" counter drop',
            f'oifname "{OPEN}" {ESTABLISHED}',
            f'oifname "{OPEN}" counter drop',
        ),
    ),
    "to_responder": RuleChain(
        "",
        (
            # Not what is sent to the port itself: a sealed network must not ask for names of the world.
            *(f'iifname "{link}" {PUBLISHED}' for link in ASKING),
            'iifname "lo" accept',
            "counter drop",
        ),
    ),
    "to_host": RuleChain(
        "type filter hook input priority filter",
        (
            f"udp dport {RESPONDER_PORT} jump to_responder",
            f'iifname "{SEALED}" {ESTABLISHED}',
            f'iifname "{SEALED}" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept',
            f'iifname "{SEALED}" counter goto refused',
        ),
    ),
}

QUERIES = (
    # A container that another network leads out sends all its queries here, so they must not end here.
    f'iifname "{SEALED}" udp dport 53 {A_QUERY} goto for_responder',
    *(f'iifname "{link}" udp dport 53 {A_QUERY} jump queries' for link in ASKING if link != SEALED),
)
"""Further rules of the chain `received`, only where a responder runs: else short names would be nobody's."""

MAPS: Mapping[str, str] = {
    "any4": "inet_proto . inet_service : ipv4_addr . inet_service",
    "one4": "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
    "any6": "inet_proto . inet_service : ipv6_addr . inet_service",
    "one6": "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
}

BRIDGES = "docker_bridges"


def load(published: Iterable[Published], bridges: Iterable[str], *, responder: bool) -> str:
    """Commands after which the table has all our chains, these published ports and Docker's bridges.

    `responder` says whether one answers queries on this host.
    They are one transaction, so no packet meets a table that is half made. The guard's chain stays as it is.
    """
    chains = [f"chain inet {TABLE} {name}" for name in CHAINS]
    sets = [f"add map inet {TABLE} {name} {{ type {kind}; }}" for name, kind in MAPS.items()]
    contents = [f"map inet {TABLE} {name}" for name in MAPS] + [f"set inet {TABLE} {BRIDGES}"]
    return _lines(
        f"add table inet {TABLE}",
        *sets,
        f"add set inet {TABLE} {BRIDGES} {{ type ifname; }}",
        *(f"flush {each}" for each in contents),
        # A delete fails without a chain, and while another one refers to it.
        *(f"add {chain}" for chain in chains),
        *(f"flush {chain}" for chain in chains),
        *(f"delete {chain}" for chain in chains),
        *(_add_chain(name, chain) for name, chain in CHAINS.items()),
        *(f"add rule inet {TABLE} {name} {rule}" for name, chain in CHAINS.items() for rule in chain.rules),
        *(f"add rule inet {TABLE} received {rule}" for rule in (QUERIES if responder else ())),
        *_elements("add", published),
        *(f'add element inet {TABLE} {BRIDGES} {{ "{name}" }}' for name in sorted(set(bridges))),
    )


def change(added: Iterable[Published], removed: Iterable[Published]) -> str:
    """Commands that publish and withdraw ports; they fail if one of `removed` is not there."""
    return _lines(*_elements("delete", removed), *_elements("add", added))


def unload() -> str:
    """Commands that remove everything of ours, whether it exists or not, the guard's chains too."""
    tables = [f"{family} {TABLE}" for family in ("inet", "arp")]
    return _lines(*(f"{verb} table {table}" for table in tables for verb in ("add", "delete")))


# --- What nft tells, as JSON (libnftables-json(5)). --------------------------------------------------------


def published_in(document: str) -> frozenset[Published]:
    """The ports that a table publishes, from ``nft -j list table``."""
    found = set()
    for each in _objects(document, "map"):
        for element in each.get("elem", ()) if each["name"] in MAPS else ():
            (*host_ip, protocol, host_port), (ip, port) = (side["concat"] for side in element)
            number = NUMBERS.get(protocol, protocol)
            found.add(Published(number, host_ip[0] if host_ip else "", host_port, ip, port))
    return frozenset(found)


def missing_in(document: str) -> tuple[str, ...]:
    """What a table lacks, for people, from ``nft -j list table``."""
    chains = {each["name"] for each in _objects(document, "chain")}
    rules = Counter(each["chain"] for each in _objects(document, "rule"))
    sets = {each["name"] for kind in ("map", "set") for each in _objects(document, kind)}
    lost = [f"chain {name}" for name in CHAINS if name not in chains]
    lost += [f"a rule of chain {name}" for name, chain in CHAINS.items() if rules[name] < len(chain.rules)]
    lost += [f"map {name}" for name in (*MAPS, BRIDGES) if name not in sets]
    return tuple(f"{what} of nft's table inet {TABLE}" for what in lost)


def exists_in(document: str) -> bool:
    """Whether our table has chains of any kind, from ``nft -j list chains``."""
    return any((each["family"], each["table"]) == ("inet", TABLE) for each in _objects(document, "chain"))


def dropping_in(document: str, *, iptables: bool) -> tuple[ForeignChain, ...]:
    """Chains that may drop what containers send, from ``nft -j list chains``.

    One that drops whatever it has no rule for, or firewalld's, which has such a rule as its last one. With
    `iptables` those of iptables are left out: iptables_chain.py is about them.
    """
    return tuple(
        ForeignChain(each["family"], each["table"], each["name"])
        for each in _objects(document, "chain")
        if each.get("hook") == "forward"
        and each["family"] in {"inet", "ip", "ip6"}
        and (each.get("policy") == "drop" or each["table"] == FIREWALLD)
        and each["table"] != TABLE
        and not (iptables and (each["table"], each["name"]) == ("filter", "FORWARD"))
    )


def _objects(document: str, kind: str) -> Iterator[Any]:
    for each in json.loads(document)["nftables"]:
        if kind in each:
            yield each[kind]


def _add_chain(name: str, chain: RuleChain) -> str:
    hook = f" {{ {chain.hook}; policy accept; }}" if chain.hook else ""
    return f"add chain inet {TABLE} {name}{hook}"


def _elements(command: str, ports: Iterable[Published]) -> Iterator[str]:
    by_map: dict[str, list[str]] = {}
    for port in ports:
        by_map.setdefault(port.map, []).append(port.element if command == "add" else port.key)
    for name, elements in sorted(by_map.items()):
        yield f"{command} element inet {TABLE} {name} {{ {', '.join(sorted(elements))} }}"


def _lines(*commands: str) -> str:
    return "".join(f"{command}\n" for command in commands)
