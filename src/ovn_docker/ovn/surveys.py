"""What a driver wrote down after it had read which ports a large switch holds, for all hosts to read. Pure.

Whoever reads a switch's ports has the server send every one of them: 30 ms of its processor time at 10,000,
for the sake of a few that are not of a driver's making. One host's look serves all. It is a row of
DHCP_Options (leases.py tells why such a row costs nothing) whose id follows from the switch's row id.
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
    """A look at one switch.

    Attributes:
        version: of its row (RFC 7047 section 3.2, _version) when its ports were read, as text.
        taken: when that was, in seconds since 1970 by the clock of who read.
        size: how many ports it had.
        digest: of the row ids of the ports of others, see `digest_of`.
    """

    version: str
    taken: float
    size: int
    digest: str


def survey_id(switch: UUID) -> UUID:
    """The row id of a switch's survey."""
    return addressing.row_id(SURVEY, str(switch))


def digest_of(ports: Iterable[UUID]) -> str:
    """What tells whether the ports of others are the same as they were."""
    return hashlib.sha256(b"".join(sorted(each.bytes for each in ports))).hexdigest()[:32]


def survey_get(switch: UUID) -> Operation:
    """Read the survey of a switch without its ports; the rows go to `read_survey`."""
    return select(TABLE, [row_is(survey_id(switch))], ["external_ids"])


def survey_ports(switch: UUID) -> Operation:
    """Read the ports of others that the survey of a switch names; the rows go to `read_ports`."""
    return select(TABLE, [row_is(survey_id(switch))], ["options"])


def survey_set(switch: UUID, survey: Survey, ports: Iterable[UUID]) -> tuple[Operation, Operation]:
    """Write a survey, in place of the one that is there, or the first one where that changes no row."""
    row = _row(switch, survey, ports)
    uuid = survey_id(switch)
    return update(TABLE, [row_is(uuid)], row), insert(TABLE, uuid, {"cidr": "", **row})


def survey_del(switch: UUID) -> Operation:
    """Forget what was read of a switch; whoever needs it reads again."""
    ours = ("external_ids", "includes", to_map({KIND: SURVEY}))
    return delete(TABLE, [row_is(survey_id(switch)), ours])


def _row(switch: UUID, survey: Survey, ports: Iterable[UUID]) -> Row:
    ids = {
        KIND: SURVEY,
        SWITCH: str(switch),
        VERSION: survey.version,
        TAKEN: f"{survey.taken:.3f}",
        SIZE: str(survey.size),
        DIGEST: survey.digest,
    }
    return {"options": to_map({str(each): "" for each in ports}), "external_ids": to_map(ids)}


def read_survey(rows: Sequence[Row]) -> Survey | None:
    """The survey, or None where there is none that can be read."""
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
    """The ports of others that a survey names."""
    return list(_uuids(key for row in rows for key in mapping(row["options"])))


def _uuids(texts: Iterable[str]) -> Iterator[UUID]:
    """Those of the texts that are row ids: people may have written here."""
    for text in texts:
        try:
            yield UUID(text)
        except ValueError:
            continue
