"""Whether dockerd needs a plugin file, what stands in it, and whose it is."""

import json
import socket
import threading
from pathlib import Path

import pytest

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.certificates import DockerFiles
from ovn_docker.libnetwork.plugin_discovery import (
    PluginFile,
    advertised_address,
    check_no_other,
    plugin_file,
    remove_plugin_file,
    write_plugin_file,
)

ADDRESS = "tcp://127.0.0.1:5000"
DOCKER = DockerFiles(Path("/etc/d/ca.pem"), Path("/etc/d/cert.pem"), Path("/etc/d/key.pem"))


def spec(directory: Path) -> PluginFile:
    return plugin_file(directory, "openvswitch", ADDRESS)


@pytest.mark.parametrize(
    ("tcp", "address"),
    [
        (("127.0.0.1", 5000), "tcp://127.0.0.1:5000"),
        (("0.0.0.0", 5000), "tcp://127.0.0.1:5000"),
        (("::", 5000), "tcp://[::1]:5000"),
        (("fd00::1", 55000), "tcp://[fd00::1]:55000"),
        (("10.0.0.1", 1), "tcp://10.0.0.1:1"),
    ],
)
def test_a_tcp_address_is_advertised_so_that_dockerd_can_connect_to_it(
    tcp: tuple[str, int], address: str
) -> None:
    assert advertised_address("openvswitch", None, tcp) == address


@pytest.mark.parametrize(
    "path",
    [
        "/run/docker/plugins/openvswitch.sock",
        "/run/docker/plugins/openvswitch/openvswitch.sock",
        "/var/run/docker/plugins/openvswitch.sock",
    ],
)
def test_a_socket_where_dockerd_looks_needs_no_file(path: str) -> None:
    assert advertised_address("openvswitch", Path(path), ("0.0.0.0", 5000)) is None


@pytest.mark.parametrize("path", ["/run/ovn-docker.sock", "/run/docker/plugins/other.sock"])
def test_a_socket_elsewhere_is_advertised_by_its_path_and_before_a_port(path: str) -> None:
    assert advertised_address("openvswitch", Path(path), ("0.0.0.0", 5000)) == f"unix://{path}"


def test_nothing_is_advertised_where_nothing_listens() -> None:
    assert advertised_address("openvswitch", None, None) is None


def test_the_file_holds_one_line_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    path = write_plugin_file(spec(tmp_path / "new" / "plugins"))
    assert path.name == "openvswitch.spec"
    assert path.read_text() == f"{ADDRESS}\n"
    assert list(path.parent.iterdir()) == [path]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "openvswitch.spec").write_text("tcp://10.9.9.9:1\n")
    assert write_plugin_file(spec(tmp_path)).read_text() == f"{ADDRESS}\n"


def test_our_file_is_removed(tmp_path: Path) -> None:
    path = write_plugin_file(spec(tmp_path))
    remove_plugin_file(spec(tmp_path))
    remove_plugin_file(spec(tmp_path))
    assert not path.exists()


@pytest.mark.parametrize("content", [b"tcp://10.0.0.1:5000\n", b"\xff\xfe"])
def test_a_file_that_another_has_changed_stays(tmp_path: Path, content: bytes) -> None:
    path = write_plugin_file(spec(tmp_path))
    path.write_bytes(content)
    remove_plugin_file(spec(tmp_path))
    assert path.read_bytes() == content


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "plugins").write_text("a file")
    with pytest.raises(ConfigError, match=r"openvswitch\.spec: cannot be written"):
        write_plugin_file(spec(tmp_path / "plugins"))


def test_with_tls_the_file_names_dockers_files_and_verification(tmp_path: Path) -> None:
    path = write_plugin_file(plugin_file(tmp_path, "openvswitch", ADDRESS, DOCKER))
    assert path.name == "openvswitch.json"
    assert json.loads(path.read_text()) == {
        "Name": "openvswitch",
        "Addr": "https://127.0.0.1:5000",
        "TLSConfig": {
            "InsecureSkipVerify": False,
            "CAFile": "/etc/d/ca.pem",
            "CertFile": "/etc/d/cert.pem",
            "KeyFile": "/etc/d/key.pem",
        },
    }


def test_the_file_of_the_other_form_is_removed(tmp_path: Path) -> None:
    write_plugin_file(spec(tmp_path))
    path = write_plugin_file(plugin_file(tmp_path, "openvswitch", ADDRESS, DOCKER))
    assert list(tmp_path.iterdir()) == [path]
    path = write_plugin_file(spec(tmp_path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "left",
    [
        *("", "unix:///nonexistent/driver.sock\n", "tcp://127.0.0.1:1\n", "tcp://[::1\n", "nonsense"),
        *("tcp://127.0.0.1:999999\n", '{"Addr": "https://127.0.0.1:1"}', '["Addr"]', "{"),
    ],
)
def test_a_file_that_leads_nowhere_does_not_matter(tmp_path: Path, left: str) -> None:
    for name in ("openvswitch.spec", "openvswitch.json"):
        (tmp_path / name).write_text(left)
    check_no_other(spec(tmp_path))


def test_a_file_that_leads_to_something_else_does_not_matter(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        (tmp_path / "openvswitch.spec").write_text(f"tcp://127.0.0.1:{other.getsockname()[1]}\n")

        def answer() -> None:
            peer, _ = other.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        check_no_other(spec(tmp_path))
        answering.join(10)


def test_an_own_file_of_an_earlier_start_does_not_matter(tmp_path: Path) -> None:
    write_plugin_file(spec(tmp_path))
    check_no_other(spec(tmp_path))
