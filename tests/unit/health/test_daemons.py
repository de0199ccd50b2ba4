"""The kernel's list of unix sockets shows which daemons run."""

from ovn_docker.health.snapshot import Daemons, read_daemons

HEAD = "Num       RefCount Protocol Flags    Type St Inode Path\n"


def line(state: str, path: str = "") -> str:
    return f"0000000000000000: 00000002 00000000 00010000 0001 {state} 12345 {path}".rstrip() + "\n"


def test_a_daemon_runs_whose_control_socket_is_listened_on() -> None:
    text = HEAD + line("01", "/run/ovn/ovn-controller.17.ctl") + line("01", "/run/ovn/ovnnb_db.ctl")
    assert read_daemons(text) == Daemons(frozenset({"ovn-controller"}), {})


def test_a_connection_to_a_control_socket_is_no_daemon() -> None:
    assert read_daemons(HEAD + line("03", "/run/ovn/ovn-controller.17.ctl")).running == frozenset()


def test_connections_to_a_bridge_are_counted_without_the_listening_socket() -> None:
    path = "/run/openvswitch/br-int.mgmt"
    text = HEAD + line("01", path) + 3 * line("03", path) + line("03", "/run/openvswitch/br-ex.mgmt")
    assert read_daemons(text).controlled == {"br-int": 3, "br-ex": 1}


def test_sockets_without_a_path_or_with_spaces_in_it_are_passed_over() -> None:
    text = HEAD + line("03") + line("01", "@abstract") + line("01", "/run/a b/ovs-vswitchd.1.ctl") + "\n"
    assert read_daemons(text).running == {"ovs-vswitchd"}


def test_nothing_is_read_of_nothing() -> None:
    assert read_daemons("") == Daemons()
