"""The row that names all hosts."""

from uuid import UUID

from ovn_docker.ovn import hosts, leases, surveys
from ovn_docker.ovn.hosts import HostList
from ovn_docker.ovsdb.operations import mapping, row_is, to_map


def test_the_id_of_the_list_must_never_change() -> None:
    assert hosts.list_id() == UUID("36ce67d6-4bd5-5db6-add2-2175b045f7d5")


def test_a_list_is_read_as_it_was_written_and_says_whether_it_is_whole() -> None:
    made = hosts.list_add(["h2", "h1"])
    assert hosts.read_list([made["row"]]) == HostList(("h1", "h2"), is_whole=False)
    assert hosts.read_list([hosts.list_add(["h1"], is_whole=True)["row"]]).is_whole
    assert hosts.read_list([]) == HostList((), is_whole=False)


def test_the_list_is_not_a_hosts_row_a_survey_or_a_swarms_network() -> None:
    row = hosts.list_add(["h1", "n"])["row"]
    assert not hosts.is_of("h1", row)
    assert hosts.read_host(row) == ""
    assert surveys.read_switches([row]) == []
    [(_, _, asked)] = leases.network_uses("n")["where"]
    assert not mapping(asked).items() <= mapping(row["options"]).items()


def test_who_writes_changes_the_entries_of_its_hosts_alone() -> None:
    writes = [hosts.list_enter(["h1"]), hosts.list_finish(["h1"]), hosts.list_remove("h1")]
    for operation in writes:
        assert operation["where"] == [row_is(hosts.list_id())]
        assert operation["op"] == "mutate"
    assert writes[0]["mutations"] == [("options", "insert", to_map({"h1": str(hosts.host_id("h1"))}))]
    assert writes[1]["mutations"][0] == writes[0]["mutations"][0]
    assert {column for column, _, _ in writes[1]["mutations"][1:]} == {"external_ids"}
