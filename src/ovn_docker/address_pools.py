"""Address pools: their PoolIDs, which of their addresses can be leased, and which to try next. Pure."""

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import ConfigError, RequestError

DEFAULT_CONTEXT = "default"
SEPARATOR = "|"
GLOBAL = "global"
LARGEST_POOL = 8
"""Prefix length; a larger pool would contain the default pools and the loopback addresses."""
_CONTEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def check_context(name: str) -> str:
    """A routing context's name, unless it is invalid: a RequestError."""
    if not _CONTEXT.fullmatch(name):
        raise RequestError(
            f"context {name!r} is not a valid name: use 1 to 63 letters, digits, dots, dashes and underscores"
        )
    return name


@lru_cache(maxsize=1024)
def switch_name(context: str, subnet: IPNetwork) -> str:
    """The name of the logical switch of a subnet in a context, the same on every host.

    The guide, "Streching logical switch": the SHA-256 of ``<context>-<subnet>`` in hex.
    """
    return hashlib.sha256(f"{context}-{subnet}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Pool:
    """A user's reservation of the addresses of a subnet in a context.

    Attributes:
        context: leases of one context never conflict with those of another.
        range: what is leased unless another address is requested (``--ip-range``), or the subnet.
        token: distinguishes pools with the same addresses.
        is_global: whether it is in the global address space: a swarm's, or a host's network of global scope.
    """

    context: str
    subnet: IPNetwork
    range: IPNetwork
    token: str
    is_global: bool = False

    @property
    def key(self) -> str:
        """The key of its leases: the name of the subnet's switch."""
        return switch_name(self.context, self.subnet)

    def __str__(self) -> str:
        """The PoolID that Docker keeps and sends back; it holds all that is needed to read it."""
        space = (GLOBAL,) if self.is_global else ()
        return SEPARATOR.join((self.context, str(self.subnet), str(self.range), self.token, *space))

    def has(self, address: IPAddress) -> bool:
        """Whether a container can have the address."""
        return address in self.subnet and not _is_reserved(self.subnet, address)

    def size(self) -> int:
        """The number of addresses in its range that containers can have."""
        first, last = self.bounds()
        return max(0, last - first + 1)

    def bounds(self) -> tuple[int, int]:
        """The first and the last of these addresses, as integers."""
        first, last = int(self.range.network_address), int(self.range.broadcast_address)
        if _is_reserved(self.subnet, self.range.network_address):
            first += 1
        if _is_reserved(self.subnet, self.range.broadcast_address):
            last -= 1
        return first, last

    def address(self, number: int) -> IPAddress:
        """An integer as an address of this pool's IP version."""
        return type(self.subnet.network_address)(number)

    def window(self, after: int | None, size: int) -> list[int]:
        """The next addresses to try, at most `size`, in order after `after`, wrapping around at the end.

        Args:
            after: the address leased last, or None to begin at the first.
            size: how many at most; no address comes twice.
        """
        first, last = self.bounds()
        count = last - first + 1
        if count <= 0:
            return []
        start = first if after is None or not first <= after < last else after + 1
        return [first + (start - first + step) % count for step in range(min(size, count))]

    def beyond(self, after: int | None, steps: int) -> int | None:
        """The address `steps` after `after`, wrapping around; None, with which `window` begins, stays."""
        first, last = self.bounds()
        if after is None or last < first:
            return after
        return first + (after - first + steps) % (last - first + 1)


def parse_pool(text: str) -> Pool:
    """Read a PoolID; one of another IPAM driver is a RequestError."""
    try:
        whole = text.removesuffix(SEPARATOR + GLOBAL)
        context, subnet, span, token = whole.split(SEPARATOR)
        pool = Pool(
            check_context(context),
            ipaddress.ip_network(subnet),
            ipaddress.ip_network(span),
            token,
            is_global=whole != text,
        )
    except (RequestError, ValueError) as error:
        raise RequestError(f"PoolID {text!r} was not given by this driver: {error}") from error
    if not _contains(pool.subnet, pool.range):
        raise RequestError(f"PoolID {text!r} was not given by this driver: its range lies outside its pool")
    return pool


def new_pool(context: str, subnet: str, span: str, token: str, *, is_global: bool = False) -> Pool:
    """The pool that a user requests; `span` is ``--ip-range``, or "" for the whole subnet."""
    whole = addressing.network(subnet, "pool")
    if whole.is_multicast or whole.is_loopback or whole.prefixlen < LARGEST_POOL:
        raise RequestError(
            f"pool {whole} cannot hold containers: give a unicast network of /{LARGEST_POOL} or smaller"
        )
    part = addressing.network(span, "range") if span else whole
    if not _contains(whole, part):
        raise RequestError(f"range {part} lies outside its pool {whole}")
    return Pool(check_context(context), whole, part, token, is_global)


def _contains(whole: IPNetwork, part: IPNetwork) -> bool:
    return part.version == whole.version and part.subnet_of(whole)  # type: ignore[arg-type]


def _is_reserved(subnet: IPNetwork, address: IPAddress) -> bool:
    """The network's own address and the broadcast address.

    RFC 3021: a /31 has neither. RFC 4291 section 2.6.1: IPv6 has no broadcast, and its first is the
    routers' anycast address; section 2.6.1 of RFC 6164 frees a /127.
    """
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return False
    if address == subnet.network_address:
        return True
    return subnet.version == 4 and address == subnet.broadcast_address  # noqa: PLR2004


def first_gateway(subnet: IPNetwork) -> IPAddress:
    """The default gateway of a pool: the first address, as dockerd's IPAM chooses."""
    first = subnet.network_address
    return first + 1 if _is_reserved(subnet, first) else first


@dataclass(frozen=True, slots=True)
class DefaultPool:
    """A pool for networks without a subnet: ``base`` cut into networks of prefix length ``size``."""

    base: IPNetwork
    size: int

    def __str__(self) -> str:
        """As written on a command line."""
        return f"base={self.base},size={self.size}"

    def first_free(self, used: Iterable[IPNetwork]) -> IPNetwork | None:
        """The first of its subnets that overlaps none of `used`, which are sorted by address."""
        step = 1 << (self.base.max_prefixlen - self.size)
        start = int(self.base.network_address)
        for network in used:
            first, last = int(network.network_address), int(network.broadcast_address)
            if first >= start + step:
                break
            if last >= start:
                start += -(-(last + 1 - start) // step) * step  # to the next subnet after it
        if start > int(self.base.broadcast_address):
            return None
        return type(self.base)((start, self.size))


DEFAULT_POOLS = ("base=10.200.0.0/14,size=24", "base=fd6f:766e:6400::/48,size=64")


def parse_default_pool(text: str) -> DefaultPool:
    """Read ``base=10.200.0.0/14,size=24``, as dockerd's ``--default-address-pool`` spells it.

    Source: moby opts/address_pools.go; keys are in either case.
    """
    flag = f"--default-address-pool '{text}'"
    fields = {key.lower(): value for key, _, value in (part.partition("=") for part in text.split(","))}
    if fields.keys() != {"base", "size"}:
        raise ConfigError(f"{flag}: write base=CIDR,size=PREFIXLENGTH, and nothing else")
    try:
        base, size = ipaddress.ip_network(fields["base"]), int(fields["size"])
    except ValueError as error:
        raise ConfigError(f"{flag}: write base=CIDR,size=PREFIXLENGTH ({error})") from error
    if base.is_multicast or base.is_loopback:
        raise ConfigError(f"{flag}: {base} cannot hold containers: give a unicast network")
    if not max(base.prefixlen, LARGEST_POOL) <= size <= base.max_prefixlen - 2:
        raise ConfigError(
            f"{flag}: {base} cannot be cut into networks of /{size}: give a size from"
            f" {max(base.prefixlen, LARGEST_POOL)} to {base.max_prefixlen - 2}"
        )
    return DefaultPool(base, size)


def free_subnet(
    defaults: Iterable[DefaultPool], taken: Iterable[IPNetwork], version: int
) -> IPNetwork | None:
    """The first subnet of the default pools that overlaps none of `taken`."""
    same_version = (network for network in taken if network.version == version)
    used = sorted(same_version, key=lambda network: int(network.network_address))
    for pool in defaults:
        if pool.base.version == version and (subnet := pool.first_free(used)) is not None:
            return subnet
    return None


def overlapping(subnet: IPNetwork, others: Iterable[IPNetwork]) -> IPNetwork | None:
    """The first of the other subnets that overlaps this one without being equal to it."""
    same_version = (other for other in others if other.version == subnet.version and other != subnet)
    return next((other for other in same_version if other.overlaps(subnet)), None)


def excluded(text: str) -> list[tuple[int, int]]:
    """The spans of ``other_config:exclude_ips`` (ovn-nb(5)): ``10.0.0.5 10.0.0.8..10.0.0.20``.

    Words that are not addresses are skipped: it is an administrator's text for OVN.
    """
    spans = []
    for word in text.split():
        first, _, last = word.partition("..")
        try:
            spans.append((int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last or first))))
        except ValueError:
            continue
    return spans
