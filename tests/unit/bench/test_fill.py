import pytest

from bench.fill import port, transactions
from ovn_docker.ovsdb.operations import Operation


def inserted(operations: list[Operation], table: str) -> list[Operation]:
    return [each for each in operations if each["op"] == "insert" and each["table"] == table]


@pytest.mark.parametrize(("ports", "switches"), [(0, 5), (7, 5), (10_000, 50), (5_000, 2)])
def test_every_port_is_inserted_once_and_belongs_to_a_switch(ports: int, switches: int) -> None:
    every = list(transactions(ports, switches))
    added = [each["uuid"] for one in every for each in inserted(one, "Logical_Switch_Port")]
    held = [
        member[1]
        for one in every
        for each in one
        for member in (
            each["row"]["ports"][1]
            if each["op"] == "insert" and each["table"] == "Logical_Switch"
            else each["mutations"][0][2][1]
            if each["op"] == "mutate"
            else []
        )
    ]
    assert len(added) == ports
    assert sorted(added) == sorted(held)


def test_no_transaction_is_larger_than_a_server_takes_at_ease() -> None:
    assert all(len(each) <= 1001 for each in transactions(5_000, 2))


def test_ports_have_addresses_of_their_own() -> None:
    numbers = (0, 1, 255, 256, 65_535, 65_536, 99_999)
    assert len({port(str(number), number)["row"]["addresses"] for number in numbers}) == len(numbers)


def test_a_switch_is_made_for_each_that_has_ports() -> None:
    switches = [each for one in transactions(100, 10) for each in inserted(one, "Logical_Switch")]
    assert len(switches) == 10
