"""Writes requests from the types of libnetwork/messages.py: right ones, and ones with hostile values in them.

Pure: the same seed and the same answers give the same requests. A field that is new in messages.py is filled
too, by its type; a verb that is new in api.py is asked for.
"""

import json
import random
import re
from typing import Any

import msgspec.inspect as types

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.api import verbs
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE, ADDRESS_SPACES
from tests.functional.fuzz import hostile
from tests.functional.fuzz.ledger import Call, Ledger
from tests.functional.libnetwork.front import StubDriver, StubIpam

LEADERS = {messages.SERIAL: "true"}
"""What a swarm's leader sends with an address."""

VERBS = {verb.name: verb.request_type for verb in verbs(StubDriver(), StubIpam())}
OFTEN = ("CreateNetwork", "CreateEndpoint", "Join", "RequestPool", "RequestAddress")
"""Verbs that make something."""

WEIGHTS = [4 if name.partition(".")[2] in OFTEN else 1 for name in VERBS]
ENOUGH = 30
"""With more things than this a client removes rather than makes."""

JSON = dict[str, Any]


class Author:
    """Writes the requests of one client, whose ids and subnets are no other's."""

    def __init__(self, numbers: random.Random, client: int, ledger: Ledger) -> None:
        self._numbers = numbers
        self._client = client
        self._ledger = ledger
        self._serial = 0

    def next(self) -> Call:
        """The next request; about every second one is right in all its parts."""
        tidy = 0.7 if self._ledger.size() > ENOUGH else 0.1
        if self._numbers.random() < tidy and (removal := self._ledger.removal(self._numbers)):
            return removal
        [verb] = self._numbers.choices(list(VERBS), WEIGHTS)
        return self._write(verb, self._numbers.choice((0.0, 0.0, 0.05, 0.3, 0.8)))

    def single_use(self) -> Call:
        """A right request that makes something, with ids that no other has."""
        verb = self._numbers.choice(("NetworkDriver.CreateNetwork", "NetworkDriver.CreateEndpoint"))
        fresh = {"NetworkID": self._id("n"), "EndpointID": self._id("e"), "AddressSpace": "LocalDefault"}
        return self._write(verb, 0.0, fresh)

    def _write(self, verb: str, wrong: float, fresh: JSON | None = None) -> Call:
        """A request of which each field is wrong with a probability."""
        request_type = VERBS[verb]
        if request_type is None:
            return Call(verb, self._numbers.choice((b"", b"{}", hostile.garbled(self._numbers, b'{"a": 1}'))))
        topic = self._topic(verb) | (fresh or {})
        info = types.type_info(request_type)
        assert isinstance(info, types.StructType)
        message = self._struct(info, wrong, topic)
        ascii_only = self._numbers.random() < 0.5
        body = json.dumps(message, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        if wrong and self._numbers.random() < 0.15:
            body = hostile.garbled(self._numbers, body)
        return Call(verb, body)

    def _struct(self, info: types.StructType, wrong: float, topic: JSON) -> JSON:
        message = {
            field.encode_name: self._own(field.type, self._wrong(field.type, wrong, topic))
            if self._numbers.random() < wrong
            else self._right(field.encode_name, field.type, wrong, topic)
            for field in info.fields
            if self._numbers.random() >= wrong / 8
        }
        if self._numbers.random() < wrong:
            message[hostile.text(self._numbers)] = hostile.anything(self._numbers)
        return message

    def _wrong(self, kind: types.Type, wrong: float, topic: JSON) -> Any:  # noqa: ANN401
        """Something hostile: of the right type, so that it comes further, or of any."""
        if self._numbers.random() < 0.3:
            return hostile.anything(self._numbers)
        match kind:
            case types.StrType():
                return hostile.text(self._numbers)
            case types.DictType() | types.AnyType():
                count = self._numbers.randint(0, 4)
                return {self._key(): self._wrong_item(kind) for _ in range(count)}
            case types.ListType():
                return [
                    self._of_type(kind.item_type, wrong, topic) for _ in range(self._numbers.randint(0, 3))
                ]
            case types.UnionType():
                return self._wrong(kind.types[0], wrong, topic)
            case types.StructType():
                return self._struct(kind, 0.8, topic)
            case _:
                return hostile.anything(self._numbers)

    def _own(self, kind: types.Type, value: Any) -> Any:  # noqa: ANN401
        """The value, or one like it that no other client has, where it could pass for an id."""
        if not isinstance(kind, types.StrType) or kind.pattern is None or not isinstance(value, str):
            return value
        own = f"h{self._client}"
        return value if not re.match(kind.pattern, value) else f"{own}{value}"[: max(len(own), len(value))]

    def _key(self) -> str:
        return self._numbers.choice((*hostile.KEYS, hostile.text(self._numbers)))

    def _wrong_item(self, kind: types.Type) -> Any:  # noqa: ANN401
        if isinstance(kind, types.DictType) and isinstance(kind.value_type, types.StrType):
            return hostile.text(self._numbers)
        return hostile.anything(self._numbers)

    def _right(self, name: str, kind: types.Type, wrong: float, topic: JSON) -> Any:  # noqa: ANN401
        return topic[name] if name in topic else self._of_type(kind, wrong, topic)

    def _of_type(self, kind: types.Type, wrong: float, topic: JSON) -> Any:  # noqa: ANN401
        match kind:
            case types.StrType():
                return ""
            case types.BoolType():
                return self._numbers.random() < 0.5
            case types.IntType():
                return 1
            case types.ListType():
                return [self._of_type(kind.item_type, wrong, topic)]
            case types.StructType():
                return self._struct(kind, wrong, topic)
            case types.UnionType():
                return self._of_type(kind.types[0], wrong, topic)
            case _:
                return {}

    def _topic(self, verb: str) -> JSON:
        """Right values for the fields of a verb, which fit together."""
        name = verb.partition(".")[2]
        subnet = f"10.{self._client}.{self._numbers.randrange(30)}"
        pool = self._one_of(self._ledger.pools)
        if name in {"ReleaseAddress", "RequestAddress"}:
            address = self._numbers.choice(("", f"{subnet}.{self._numbers.randrange(256)}"))
            gateway = {"RequestAddressType": "com.docker.network.gateway"}
            options = self._numbers.choice(({}, gateway, LEADERS, gateway | LEADERS))
            return {"PoolID": pool or "", "Address": address, "Options": options}
        space = self._numbers.choice(("LocalDefault", ADDRESS_SPACE))
        network, endpoint = self._ids(name)
        known = self._ledger.networks.get(network, "").rpartition(".")[0]
        return {
            "NetworkID": network,
            "EndpointID": endpoint,
            "PoolID": pool or "",
            "AddressSpace": self._numbers.choice(ADDRESS_SPACES) if name == "RequestPool" else space,
            "Pool": f"{subnet}.0/24",
            "Gateway": f"{subnet}.1/24",
            "IPv6Data": [],
            "SubPool": "",
            "V6": False,
            "Options": {},
            "AuxAddresses": {},
            "AddressIPv6": "",
            "MacAddress": "",
            "Address": f"{known or subnet}.{self._numbers.randint(2, 254)}/24",
            "SandboxKey": "/var/run/docker/netns/0123456789ab",
        }

    def _ids(self, name: str) -> tuple[str, str]:
        """Of a network and an endpoint on it, which are there or not, as the verb wants them."""
        if name == "DeleteNetwork":
            return self._one_of(self._ledger.deletable()) or self._id("n"), ""
        pair: tuple[str, str] | None = self._one_of(self._ledger.endpoints)
        if name not in {"CreateNetwork", "CreateEndpoint"} and pair:
            return pair
        network = None if name == "CreateNetwork" else self._one_of(self._ledger.networks)
        return network or self._id("n"), self._id("e")

    def _id(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}{self._client}x{self._serial}".ljust(25, "z")

    def _one_of(self, things: Any) -> Any:  # noqa: ANN401
        return self._numbers.choice(list(things)) if things else None
