"""Surveys: which ports of a large switch no driver made, recorded by one host for all. Pure.

Reading a switch's ports has the server send every one of them: 30 ms of its processor time at 10,000, to find
a few that no driver made. A survey is a row of DHCP_Options (leases.py explains why such a row costs nothing)
whose id follows from the switch's row id.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovn.leases import KIND, TABLE
from ovn_docker.ovsdb.operations import (
    Operation,
    Row,
    delete,
    insert,
    mapping,
    row_is,
    select,
    to_map,
    update,
)

SURVEY = "survey"
SWITCH, VERSION, TAKEN = "ovn-docker-switch", "ovn-docker-version", "ovn-docker-taken"
SIZE, DIGEST = "ovn-docker-size", "ovn-docker-digest"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one host found on a switch.

    Attributes:
        version: of the switch's row (RFC 7047 section 3.2, _version) when its ports were read, as text.
        taken: when that was, in seconds since 1970 by that host's clock.
        size: its number of ports.
        digest: of the row ids of foreign ports, see `digest_of`.
    """

    version: str
    taken: float
    size: int
    digest: str


def survey_id(switch: UUID) -> UUID:
    """The row id of a switch's survey."""
    return addressing.row_id(SURVEY, str(switch))


def digest_of(ports: Iterable[UUID]) -> str:
    """Tells whether the foreign ports are still the same."""
    return hashlib.sha256(b"".join(sorted(port.bytes for port in ports))).hexdigest()[:32]


def survey_get(switch: UUID) -> Operation:
    """Read the survey of a switch without its ports; the rows go to `read_survey`."""
    return select(TABLE, [row_is(survey_id(switch))], ["external_ids"])


def survey_ports(switch: UUID) -> Operation:
    """Read the foreign ports that the survey of a switch names; the rows go to `read_ports`."""
    return select(TABLE, [row_is(survey_id(switch))], ["options"])


def survey_set(switch: UUID, survey: Survey, ports: Iterable[UUID]) -> tuple[Operation, Operation]:
    """Two ways to write a survey: replace the present one, and add the first if that changed no row."""
    row = _row(switch, survey, ports)
    uuid = survey_id(switch)
    return update(TABLE, [row_is(uuid)], row), insert(TABLE, uuid, {"cidr": "", **row})


def survey_del(switch: UUID) -> Operation:
    """Delete the survey of a switch; the next host that needs it makes another."""
    is_survey = ("external_ids", "includes", to_map({KIND: SURVEY}))
    return delete(TABLE, [row_is(survey_id(switch)), is_survey])


def _row(switch: UUID, survey: Survey, ports: Iterable[UUID]) -> Row:
    ids = {
        KIND: SURVEY,
        SWITCH: str(switch),
        VERSION: survey.version,
        TAKEN: f"{survey.taken:.3f}",
        SIZE: str(survey.size),
        DIGEST: survey.digest,
    }
    return {"options": to_map({str(port): "" for port in ports}), "external_ids": to_map(ids)}


def read_survey(rows: Sequence[Row]) -> Survey | None:
    """The survey, or None without a valid one."""
    for row in rows:
        ids = mapping(row["external_ids"])
        try:
            taken, size = float(ids[TAKEN]), int(ids[SIZE])
        except (KeyError, ValueError):
            return None
        return Survey(ids.get(VERSION, ""), taken, size, ids.get(DIGEST, ""))
    return None


def read_switches(rows: Iterable[Row]) -> list[UUID]:
    """The switches that surveys are of, as `leases.kind_list` reads them."""
    return list(_uuids(mapping(row["external_ids"]).get(SWITCH, "") for row in rows))


def read_ports(rows: Sequence[Row]) -> list[UUID]:
    """The foreign ports that a survey names."""
    return list(_uuids(key for row in rows for key in mapping(row["options"])))


def _uuids(texts: Iterable[str]) -> Iterator[UUID]:
    """The texts that are row ids: people may have written others."""
    for text in texts:
        try:
            yield UUID(text)
        except ValueError:
            continue
