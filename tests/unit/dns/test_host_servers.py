"""The name servers of a host, from files like resolv.conf(5)."""

import os
from pathlib import Path

import pytest

from ovn_docker.dns.host_servers import HostServers


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "resolv.conf", tmp_path / "resolved.conf"


def test_those_of_resolv_conf_in_order(files: tuple[Path, Path]) -> None:
    files[0].write_text(
        "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1 # first\n"
        "nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\noptions edns0\nnameserver 192.0.2.1\n"
    )
    assert HostServers(*files).servers() == ("192.0.2.1", "fe80::1%eth0")


def test_behind_the_stub_are_those_of_systemd_resolved(files: tuple[Path, Path]) -> None:
    files[0].write_text("nameserver 127.0.0.53\n")
    servers = HostServers(*files)
    assert servers.servers() == ("127.0.0.53",)
    files[1].write_text("nameserver 192.0.2.7\n")
    assert servers.servers() == ("192.0.2.7",)


def test_beside_the_stub_others_count(files: tuple[Path, Path]) -> None:
    files[0].write_text("nameserver 127.0.0.53\nnameserver 192.0.2.1\n")
    files[1].write_text("nameserver 192.0.2.7\n")
    assert HostServers(*files).servers() == ("127.0.0.53", "192.0.2.1")


def test_a_change_is_seen(files: tuple[Path, Path]) -> None:
    servers = HostServers(*files)
    assert servers.servers() == ()
    files[0].write_text("nameserver 192.0.2.1\n")
    assert servers.servers() == ("192.0.2.1",)
    replacement = files[0].with_suffix(".new")
    replacement.write_text("nameserver 192.0.2.2\n")
    found = files[0].stat()
    os.utime(replacement, ns=(found.st_atime_ns, found.st_mtime_ns))
    replacement.replace(files[0])
    assert servers.servers() == ("192.0.2.2",)
    files[0].unlink()
    assert servers.servers() == ()


def test_what_cannot_be_read_has_none(files: tuple[Path, Path]) -> None:
    files[0].mkdir()
    assert HostServers(*files).servers() == ()
    files[1].write_bytes(b"\xff\xfe nameserver\n\0nameserver 1\n")
    assert HostServers(files[1], files[1]).servers() == ()
