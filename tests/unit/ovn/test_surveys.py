"""What a driver writes down of a large switch, and what it reads again."""

from uuid import UUID, uuid4

from ovn_docker.addressing import row_id
from ovn_docker.ovn import surveys, switches
from ovn_docker.ovn.surveys import Survey
from ovn_docker.ovsdb.operations import reference, to_map, to_set

SWITCH, ONE, TWO = UUID(int=1), uuid4(), uuid4()


def test_a_survey_is_read_as_it_was_written() -> None:
    survey = Survey("v", 1893456000.25, 1000, surveys.digest_of([ONE, TWO]))
    for operation in surveys.survey_set(SWITCH, survey, [ONE, TWO]):
        assert surveys.read_survey([operation["row"]]) == survey
        assert surveys.read_ports([operation["row"]]) == [ONE, TWO]


def test_what_is_no_survey_is_none() -> None:
    assert surveys.read_survey([]) is None
    assert surveys.read_survey([{"external_ids": to_map({"ovn-docker-taken": "now"})}]) is None
    assert surveys.read_ports([{"options": to_map({"no row id": ""})}]) == []


def test_the_same_ports_have_the_same_digest_in_any_order() -> None:
    assert surveys.digest_of([ONE, TWO]) == surveys.digest_of([TWO, ONE]) != surveys.digest_of([ONE])


def test_a_port_whose_id_the_server_chose_may_be_foreign() -> None:
    own = row_id("Logical_Switch_Port", "n", "e")
    for ports, found in (
        (to_set([]), (0, [])),
        (reference(ONE), (1, [ONE])),
        (reference(own), (1, [])),
        (to_set(map(reference, (own, ONE, TWO))), (3, [ONE, TWO])),
    ):
        assert switches.read_ports({"ports": ports}) == found
