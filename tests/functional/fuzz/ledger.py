"""What the driver has confirmed to have made and not to have removed. Pure."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from ovn_docker.libnetwork.messages import GENERIC
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One verb with its body."""

    verb: str
    body: bytes

    def understood(self) -> JSON | None:
        """The message in the body, or None where there is none."""
        try:
            message = json.loads(self.body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None

    def __str__(self) -> str:
        """The request as a failure shows it."""
        text = repr(self.body)
        return (
            f"POST /{self.verb} {text if len(text) < 2000 else f'{text[:2000]}... ({len(self.body)} bytes)'}"
        )


def call(verb: str, message: JSON) -> Call:
    """A call as Docker makes it."""
    return Call(verb, json.dumps(message).encode())


@dataclass
class Ledger:
    """Of one client, whose ids and subnets are its own.

    Attributes:
        networks: id, and subnet or "".
        shared: ids of the networks that may be on a switch with others.
        endpoints: network's id and endpoint's id.
        joined: endpoint's id, and that of the network it was joined on.
        allocated: ids of a swarm's networks that were not freed.
        pools: PoolIDs.
        addresses: PoolID and address.
        uncertain: ids of calls of which nobody heard the end, and of endpoints whose network went first.
    """

    networks: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    endpoints: dict[tuple[str, str], None] = field(default_factory=dict)
    joined: dict[str, str] = field(default_factory=dict)
    allocated: dict[str, None] = field(default_factory=dict)
    pools: dict[str, None] = field(default_factory=dict)
    addresses: dict[tuple[str, str], None] = field(default_factory=dict)
    uncertain: list[JSON] = field(default_factory=list)

    def accepted(self, verb: str, asked: JSON, reply: JSON) -> None:
        """Enter what a call made or removed."""
        service, _, name = verb.partition(".")
        if service == "IpamDriver":
            self._addresses(name, asked, reply)
        elif name.endswith("Network"):
            self._networks(name, asked)
        else:
            self._endpoints(name, str(asked.get("NetworkID")), str(asked.get("EndpointID")))

    def _addresses(self, name: str, asked: JSON, reply: JSON) -> None:
        pool = str(asked.get("PoolID"))
        match name:
            case "RequestPool":
                self.pools[reply["PoolID"]] = None
            case "ReleasePool":
                self.pools.pop(pool, None)
            case "RequestAddress":
                self.addresses[pool, reply["Address"].partition("/")[0]] = None
            case "ReleaseAddress":
                self.addresses.pop((pool, str(asked.get("Address"))), None)

    def _networks(self, name: str, asked: JSON) -> None:
        network = str(asked.get("NetworkID"))
        match name:
            case "AllocateNetwork":
                self.allocated[network] = None
            case "FreeNetwork":
                self.allocated.pop(network, None)
            case "CreateNetwork":
                self.networks[network] = _subnet(asked)
                if ADDRESS_SPACE in str(asked) or GENERIC in str(asked):
                    self.shared.add(network)
            case "DeleteNetwork":
                self.networks.pop(network, None)
                orphans = [pair for pair in self.endpoints if pair[0] == network]
                for pair in orphans:
                    del self.endpoints[pair]
                self.uncertain += [{"NetworkID": pair[0], "EndpointID": pair[1]} for pair in orphans]

    def _endpoints(self, name: str, network: str, endpoint: str) -> None:
        match name:
            case "CreateEndpoint":
                self.endpoints[network, endpoint] = None
            case "DeleteEndpoint":
                self.endpoints.pop((network, endpoint), None)
                self.joined.pop(endpoint, None)
            case "Join":
                self.joined[endpoint] = network
            case "Leave":
                self.joined.pop(endpoint, None)

    def unheard(self, asked: JSON | None) -> None:
        """Enter a call whose end nobody heard."""
        if asked is not None and isinstance(asked.get("NetworkID"), str):
            self.uncertain.append({key: asked[key] for key in ("NetworkID", "EndpointID") if key in asked})

    def removal(self, numbers: random.Random) -> Call | None:
        """A call that removes something, as dockerd would; None when there is nothing."""
        calls = self.removals()
        return numbers.choice(calls) if calls else None

    def removals(self) -> list[Call]:
        """All that can be removed now, for nothing else is in or on it."""
        ends = [
            call("NetworkDriver.Leave", {"NetworkID": network, "EndpointID": endpoint})
            for endpoint, network in self.joined.items()
        ]
        ends += [
            call("NetworkDriver.DeleteEndpoint", {"NetworkID": network, "EndpointID": endpoint})
            for network, endpoint in self.endpoints
            if endpoint not in self.joined
        ]
        ends += [
            call("IpamDriver.ReleaseAddress", {"PoolID": pool, "Address": address})
            for pool, address in self.addresses
        ]
        used = {network for network, _ in self.endpoints}
        ends += [
            call("NetworkDriver.DeleteNetwork", {"NetworkID": n}) for n in self.networks if n not in used
        ]
        ends += [call("NetworkDriver.FreeNetwork", {"NetworkID": network}) for network in self.allocated]
        held = {pool for pool, _ in self.addresses}
        ends += [call("IpamDriver.ReleasePool", {"PoolID": pool}) for pool in self.pools if pool not in held]
        return ends

    def deletable(self) -> list[str]:
        """Networks that Docker may delete now.

        One on a shared switch has to be without endpoints, as Docker sees to; another takes them along.
        """
        used = {network for network, _ in self.endpoints}
        return [network for network in self.networks if network not in self.shared & used]

    def size(self) -> int:
        """How many things there are."""
        return sum(
            len(things)
            for things in (
                self.networks,
                self.endpoints,
                self.joined,
                self.allocated,
                self.pools,
                self.addresses,
            )
        )


def _subnet(asked: JSON) -> str:
    data = asked.get("IPv4Data") or []
    return str(data[0].get("Pool", "")) if data else ""
