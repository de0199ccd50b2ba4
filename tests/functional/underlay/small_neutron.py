"""What Neutron does with networks, subnets, ports and trunks, in memory; the real one: tests/underlay."""

import asyncio
import copy
import ipaddress
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ovn_docker.errors import NeutronError
from ovn_docker.underlay.neutron.neutron_client import Neutron

Row = dict[str, Any]
Query = Sequence[tuple[str, str]]
Answer = tuple[int, Any]

PROJECT = "p"
CONTROL = {"fields", "limit", "marker"}


class RefusedError(Exception):
    """What Neutron refuses, with its own name of the reason."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(kind)
        self.status, self.kind = status, kind


class SmallNeutron:
    """Tables by name, each of them rows by id.

    Attributes:
        page: the most rows of one answer (pagination_max_limit), or 0.
        before_page: called when a further page is asked for.
        made: how many rows were ever made, by table.
        asked: the queries of each list that was read, by its name.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Row]] = {
            table: {} for table in ("networks", "subnets", "ports", "trunks", "security-groups")
        }
        self.page = 0
        self.before_page: Callable[[], object] = lambda: None
        self.made: Counter[str] = Counter()
        self.asked: list[tuple[str, Query]] = []

    @property
    def ports(self) -> list[Row]:
        return list(self.tables["ports"].values())

    def answer(self, method: str, path: str, query: Query, body: Any) -> Answer:  # noqa: ANN401  (JSON)
        table, _, rest = path.removeprefix("v2.0/").partition("/")
        try:
            if table == "extensions":
                return 200, {"extension": {"alias": rest}}
            return self._answer(method, table, rest, query, body)
        except RefusedError as error:
            return error.status, {"NeutronError": {"type": error.kind, "message": error.kind}}

    def _answer(self, method: str, table: str, rest: str, query: Query, body: Any) -> Answer:  # noqa: ANN401
        if method == "GET" and not rest:
            return 200, self._page(table, query)
        if method == "POST":
            [(kind, row)] = body.items()
            return 201, {kind: self.make(table, row)}
        row_id, _, action = rest.partition("/")
        row = self._row(table, row_id)
        if method == "DELETE":
            self._remove(table, row)
            return 204, None
        if method == "PUT" and action == "tags":
            row["tags"] = body["tags"]
            return 200, body
        if method == "PUT" and action:
            getattr(self, f"_{action}")(row, body["sub_ports"])
            return 200, row
        if method == "PUT":
            [changes] = body.values()
            row |= changes
        return 200, {table[:-1]: row}

    def _row(self, table: str, row_id: str) -> Row:
        if row_id not in self.tables[table]:
            raise RefusedError(404, f"{table[:-1].capitalize()}NotFound")
        return self.tables[table][row_id]

    def _page(self, table: str, query: Query) -> Row:
        self.asked.append((table, query))
        key = table.replace("-", "_")
        found = sorted((row for row in self.tables[table].values() if _fits(row, query)), key=_id)
        if not self.page:
            return {key: found}
        marker = next((value for name, value in query if name == "marker"), "")
        if marker:
            self.before_page()
            self._row(table, marker)
        left = [row for row in found if row["id"] > marker]
        shown = left[: self.page]
        body: Row = {key: shown}
        if len(shown) == self.page:
            body[f"{key}_links"] = [
                {"rel": "next", "href": f"http://behind.a.proxy/v2.0/{table}?marker={shown[-1]['id']}"}
            ]
        return body

    def make(self, table: str, row: Mapping[str, Any]) -> Row:
        """Make a row, as a POST does."""
        made: Row = {
            "id": str(uuid.uuid4()),
            "name": "",
            "description": "",
            "tags": [],
            "project_id": PROJECT,
        }
        made |= row
        if table == "ports":
            made = {"status": "ACTIVE", "device_id": "", "device_owner": "", "admin_state_up": True} | made
            self._address(made)
        if table == "networks":
            made = {"mtu": 1442, "subnets": []} | made
        if table == "trunks":
            made = {"sub_ports": [], "status": "ACTIVE", "admin_state_up": True} | made
        self.tables[table][made["id"]] = made
        self.made[table] += 1
        if table == "subnets":
            self.tables["networks"][made["network_id"]]["subnets"].append(made["id"])
        return made

    def _address(self, port: Row) -> None:
        others = [other for other in self.ports if other["network_id"] == port["network_id"]]
        taken = {fixed["ip_address"] for other in others for fixed in other["fixed_ips"]}
        port.setdefault("mac_address", f"fa:16:3e:00:00:{len(self.ports):02x}")
        for fixed in port.setdefault("fixed_ips", []):
            free = (str(address) for address in self._hosts(fixed["subnet_id"]) if str(address) not in taken)
            fixed.setdefault("ip_address", next(free))
            if fixed["ip_address"] in taken:
                raise RefusedError(409, "IpAddressInUse")
        if port["mac_address"] in {other["mac_address"] for other in others}:
            raise RefusedError(409, "MacAddressInUse")

    def _hosts(self, subnet_id: str) -> Iterator[object]:
        hosts = ipaddress.ip_network(self.tables["subnets"][subnet_id]["cidr"]).hosts()
        next(hosts)  # the gateway's
        return iter(hosts)

    def _subports(self) -> set[str]:
        return {
            sub_port["port_id"] for trunk in self.tables["trunks"].values() for sub_port in trunk["sub_ports"]
        }

    def _remove(self, table: str, row: Row) -> None:
        if table == "ports" and row["id"] in self._subports():
            raise RefusedError(409, "PortInUse")
        if table == "networks" and any(port["network_id"] == row["id"] for port in self.ports):
            raise RefusedError(409, "NetworkInUse")
        del self.tables[table][row["id"]]

    def _add_subports(self, trunk: Row, new: Sequence[Row]) -> None:
        for subport in new:
            if self._row("ports", subport["port_id"])["device_id"]:
                raise RefusedError(409, "PortInUse")
            if subport["port_id"] in self._subports():
                raise RefusedError(409, "TrunkPortInUse")
            if subport["segmentation_id"] in {other["segmentation_id"] for other in trunk["sub_ports"]}:
                raise RefusedError(409, "DuplicateSubPort")
            trunk["sub_ports"].append(subport)

    def _remove_subports(self, trunk: Row, old: Sequence[Row]) -> None:
        gone = {subport["port_id"] for subport in old}
        if not gone <= {sub_port["port_id"] for sub_port in trunk["sub_ports"]}:
            raise RefusedError(404, "SubPortNotFound")
        trunk["sub_ports"] = [sub_port for sub_port in trunk["sub_ports"] if sub_port["port_id"] not in gone]


class DirectNeutron:
    """`Neutron` on a `SmallNeutron` without HTTP."""

    find = Neutron.find

    def __init__(self) -> None:
        self.small = SmallNeutron()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Row:
        return await self.request("GET", path, list((query or {}).items()))

    async def post(self, path: str, body: Row) -> Row:
        return await self.request("POST", path, body=body)

    async def put(self, path: str, body: Row) -> Row:
        return await self.request("PUT", path, body=body)

    async def request(self, method: str, path: str, query: Query = (), body: Row | None = None) -> Row:
        await asyncio.sleep(0)
        status, answer = self.small.answer(method, path, query, body)
        if status >= 400:
            raise NeutronError(answer["NeutronError"]["message"], status, answer["NeutronError"]["type"])
        return copy.deepcopy(answer)


def _id(row: Row) -> str:
    return str(row["id"])


def _fits(row: Row, query: Query) -> bool:
    wanted: dict[str, set[str]] = {}
    for name, value in query:
        if name not in CONTROL:
            wanted.setdefault(name, set()).add(value)
    return all(_has(row, name, values) for name, values in wanted.items())


def _has(row: Row, name: str, values: set[str]) -> bool:
    if name == "fixed_ips":
        addresses = {f"ip_address={fixed_ip['ip_address']}" for fixed_ip in row["fixed_ips"]}
        return bool(addresses & values)
    if name == "tags":
        return values <= set(row["tags"])
    if name == "ip_version":
        return str(ipaddress.ip_network(row["cidr"]).version) in values
    return str(row.get(name, "")) in values
