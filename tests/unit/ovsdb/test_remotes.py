"""Remotes as ovsdb(7), "Connection Methods", spells them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovn_docker.errors import ConfigError
from ovn_docker.ovsdb.remotes import Remote, parse_remotes

ports = st.integers(1, 65535)
hosts = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str) | st.just("central.example")
remotes = st.builds(Remote, st.sampled_from(["tcp", "ssl"]), hosts, ports) | st.builds(
    Remote, st.just("unix"), st.from_regex(r"(/[a-z0-9._-]+)+", fullmatch=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:10.0.0.1:6641", [Remote("tcp", "10.0.0.1", 6641)]),
        ("ssl:[fd00::1]:6641", [Remote("ssl", "fd00::1", 6641)]),
        ("tcp:central:6641", [Remote("tcp", "central", 6641)]),
        ("unix:/run/ovn/ovnnb_db.sock", [Remote("unix", "/run/ovn/ovnnb_db.sock")]),
        ("tcp:a:1,tcp:b:2, ssl:c:3", [Remote("tcp", "a", 1), Remote("tcp", "b", 2), Remote("ssl", "c", 3)]),
        (" tcp:a:1 ,", [Remote("tcp", "a", 1)]),
        ("", []),
        (" , ", []),
    ],
)
def test_a_list_of_remotes_is_read_in_order(text: str, expected: list[Remote]) -> None:
    assert parse_remotes(text) == tuple(expected)


@settings(max_examples=40)
@given(st.lists(remotes, max_size=4))
def test_remotes_are_read_as_they_are_written(written: list[Remote]) -> None:
    assert parse_remotes(",".join(map(str, written))) == tuple(written)


@pytest.mark.parametrize(
    "bad",
    [
        "10.0.0.1:6641",
        "tcp:10.0.0.1",
        "tcp::6641",
        "tcp:10.0.0.1:0",
        "tcp:10.0.0.1:65536",
        "tcp:10.0.0.1:x",
        "tcp:10.0.0.1:-1",
        "tcp:[10.0.0.1]:6641",
        "tcp:[fd00::g]:6641",
        "ptcp:6641",
        "udp:10.0.0.1:6641",
        "unix:",
        "unix:run/x.sock",
        "http://10.0.0.1:6641",
        "tcp",
        "TCP:10.0.0.1:6641",
        "tcp:a b:6641",
        "tcp:a..b:6641",
        "tcp:" + "x" * 64 + ":6641",
    ],
)
def test_the_part_that_is_not_a_remote_is_named(bad: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'{bad}' is not a valid OVSDB remote")):
        parse_remotes(f"tcp:10.0.0.1:6641,{bad}")


def test_remotes_are_shown_as_open_vswitch_writes_them() -> None:
    assert str(Remote("tcp", "fd00::1", 6641)) == "tcp:[fd00::1]:6641"
    assert str(Remote("unix", "/run/x.sock")) == "unix:/run/x.sock"
