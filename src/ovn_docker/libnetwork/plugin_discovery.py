"""The file by which dockerd finds the plugin (moby pkg/plugins/discovery.go).

Owns ``NAME.spec`` and ``NAME.json`` in a plugin directory; of what listens at the address in it, it knows
only how to see whether it is a plugin.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.certificates import DockerFiles

ANSWER_TIMEOUT = 2.0
"""Seconds for a plugin to say that it is one."""

ACTIVATE = b"POST /Plugin.Activate HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

SOCKET_DIRECTORIES = (Path("/run/docker/plugins"), Path("/var/run/docker/plugins"))
"""Where dockerd looks for a plugin's socket, before it looks for any file."""

FILE_DIRECTORIES = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
"""Where dockerd looks for plugin files (moby pkg/plugins/discovery.go)."""


def socket_paths(name: str) -> list[Path]:
    """Where dockerd finds the socket of a plugin without a file, in its order."""
    file = f"{name}.sock"
    return [path for place in SOCKET_DIRECTORIES for path in (place / file, place / name / file)]


def advertised_address(name: str, unix_path: Path | None, tcp: tuple[str, int] | None) -> str | None:
    """The address to write into the plugin file.

    Args:
        name: the plugin's name, as in ``docker network create -d NAME``.
        unix_path: where the unix socket is, or None.
        tcp: (IP address, port) as bound, or None. An unspecified address is reached on the loopback.

    Returns:
        ``unix:///run/x.sock``, ``tcp://127.0.0.1:5000``, or None where dockerd finds the socket by itself.
    """
    if unix_path is not None:
        return None if unix_path in socket_paths(name) else f"unix://{unix_path.absolute()}"
    if tcp is None:
        return None
    ip = ipaddress.ip_address(tcp[0])
    if ip.is_unspecified:
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")  # noqa: PLR2004
    host = str(ip) if ip.version == 4 else f"[{ip}]"  # noqa: PLR2004
    return f"tcp://{host}:{tcp[1]}"


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A file and what is to stand in it."""

    path: Path
    text: str

    @property
    def address(self) -> str:
        """Where the text leads to."""
        return _address(self.text)

    @property
    def sibling(self) -> Path:
        """The same plugin's file in the other form, of which dockerd takes ``.spec`` first."""
        return self.path.with_suffix(".json" if self.path.suffix == ".spec" else ".spec")


def plugin_file(directory: Path, name: str, address: str, docker: DockerFiles | None = None) -> PluginFile:
    """The file of a plugin.

    Args:
        directory: where it stands.
        name: the plugin's.
        address: as `advertised_address` gives it.
        docker: what dockerd is to use for TLS, or None for a plain address. dockerd verifies the certificate
            then: without a CA it would not (moby pkg/plugins/discovery.go, readPluginJSONInfo).
    """
    if docker is None:
        return PluginFile(directory / f"{name}.spec", f"{address}\n")
    content = {
        "Name": name,
        "Addr": address.replace("tcp://", "https://", 1),
        "TLSConfig": {
            "InsecureSkipVerify": False,
            "CAFile": str(docker.ca),
            "CertFile": str(docker.certificate),
            "KeyFile": str(docker.key),
        },
    }
    text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    return PluginFile(directory / f"{name}.json", f"{text}\n")


def check_no_other(file: PluginFile) -> None:
    """See that no other plugin of this name is alive; a file that one left behind does not matter.

    Raises:
        ConfigError: one is; dockerd would ask the newer in its place, and neither would say why.
    """
    for path in (file.path, file.sibling):
        try:
            address = _address(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if address == file.address:  # it is ours: nobody else listens there
            continue
        who = _alive(address)
        if who:
            raise ConfigError(
                f"plugin file {path}: it leads to {who}, which is alive; stop that one or give another"
                " --driver-name"
            )


def _address(text: str) -> str:
    """The address in a plugin file of either form, or ""."""
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):
        return text.strip()
    return str(content.get("Addr", "")) if isinstance(content, dict) else ""


def _alive(address: str) -> str:
    """The plugin at an address, for people, or "" where none is."""
    try:
        parts = urlsplit(address)
        port = parts.port or 0
    except ValueError:
        return ""
    local = parts.scheme == "unix"
    target = parts.path if local else (parts.hostname or "", port)
    family = socket.AF_UNIX if local else socket.AF_INET6 if ":" in str(parts.hostname) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(ANSWER_TIMEOUT)
        try:
            probe.connect(target)
            who = f"{address} (pid {_peer(probe)})" if local else address
            if parts.scheme == "https":
                return who
            probe.sendall(ACTIVATE)
            return who if b"NetworkDriver" in _read_all(probe) else ""
        except TimeoutError:
            return address
        except OSError:
            return ""


def _read_all(probe: socket.socket) -> bytes:
    data = b""
    while (more := probe.recv(4096)) and len(data) < 65536:  # noqa: PLR2004
        data += more
    return data


def _peer(probe: socket.socket) -> int:
    """The process at the other end of a unix socket: the one that listened (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])


def write_plugin_file(file: PluginFile) -> Path:
    """Write the file at once or not at all, so that dockerd never reads half of an address.

    The one in the other form goes: dockerd would read that of an earlier start.

    Raises:
        ConfigError: the directory or the file cannot be written.
    """
    path = file.path
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # dockerd looks at *.spec and *.json only
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(file.text, encoding="utf-8")
        temporary.replace(path)
        file.sibling.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ConfigError(f"plugin file {path}: cannot be written: {error.strerror}") from error
    return path


def remove_plugin_file(file: PluginFile) -> None:
    """Remove the file if it still holds what we wrote; who has changed it owns it. Absent is no error."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if file.path.read_text(encoding="utf-8") == file.text:
            file.path.unlink()


# --- Sockets bound to a path or an address, with errors that say what to do; quickly imported. --------------


BACKLOG = 1024
PORTS = range(65536)


def bind_unix(path: Path) -> socket.socket:
    """A unix socket bound to a path, mode 0600; the socket file of a process that is gone is replaced.

    Raises:
        ConfigError: somebody listens there, the path is no socket, or it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_socket(path)
    except OSError as error:
        raise ConfigError(f"unix socket {path}: {error.strerror}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(path))
        path.chmod(0o600)  # nobody can connect before listen(), so that there is no moment of wider rights
    except OSError as error:
        sock.close()
        raise ConfigError(f"unix socket {path}: {error.strerror or error}") from error
    return sock


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"unix socket {path}: a file of another kind stands there; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(0)
        answer = probe.connect_ex(str(path))
    if answer in {0, errno.EAGAIN}:  # EAGAIN: it lives, and its backlog is full
        raise ConfigError(f"unix socket {path}: another process serves it; stop it or choose another path")
    if answer != errno.ECONNREFUSED:
        raise OSError(answer, os.strerror(answer))
    path.unlink()


def bind_tcp(ip: str, port: int) -> socket.socket:
    """A TCP socket bound to an address of this host.

    Raises:
        ConfigError: the address is none, is not this host's, or the port is taken or not allowed.
    """
    try:
        version = ipaddress.ip_address(ip).version
    except ValueError as error:
        raise ConfigError(f"--bind-ip {ip} is not a valid IP address") from error
    if port not in PORTS:
        raise ConfigError(f"--bind-port {port}: not in 0 to 65535")
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004
    try:
        return socket.create_server((ip, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"TCP {ip} port {port}: {_bind_failure(error)}") from error


def _bind_failure(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another process; choose another --bind-port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this host; choose another --bind-ip"
    return error.strerror or str(error)
