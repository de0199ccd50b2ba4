"""How dockerd finds a plugin (moby pkg/plugins/discovery.go): its socket, or its file in a plugin directory.

Owns ``NAME.spec`` and ``NAME.json``, the probe of what listens at the address in them, and the binding of the
plugin's own sockets. Imports little: a managed plugin binds its socket before anything else is loaded.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.certificates import DockerFiles

ANSWER_TIMEOUT = 3.0
"""Seconds for a plugin to answer Plugin.Activate, which needs nothing."""

MAX_REPLY = 65536
ACTIVATE = b"POST /Plugin.Activate HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

SOCKET_DIRECTORIES = (Path("/run/docker/plugins"), Path("/var/run/docker/plugins"))
"""Where dockerd looks for a plugin's socket, before it looks for any file."""

FILE_DIRECTORIES = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))


def socket_paths(name: str) -> list[Path]:
    """Where dockerd looks for the socket of a plugin without a file, in its order."""
    file = f"{name}.sock"
    return [path for directory in SOCKET_DIRECTORIES for path in (directory / file, directory / name / file)]


def address_of(name: str) -> str:
    """Where dockerd finds a plugin, as a URL, or "" if it finds none."""
    for path in socket_paths(name):
        if path.exists():
            return f"unix://{path}"
    for directory in FILE_DIRECTORIES:
        for file in (directory / f"{name}.spec", directory / f"{name}.json"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if address := _address(file.read_text(encoding="utf-8")):
                    return address
    return ""


def advertised_address(name: str, unix_path: Path | None, tcp: tuple[str, int] | None) -> str | None:
    """The address to write into the plugin file: ``unix:///run/x.sock`` or ``tcp://127.0.0.1:5000``.

    None where dockerd finds the socket without a file. `tcp` is (IP address, port) as bound; an unspecified
    address is reached on the loopback.
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
    """A file and the text that it is to hold."""

    path: Path
    text: str

    @property
    def sibling(self) -> Path:
        """The same plugin's file in the other form; dockerd reads ``.spec`` first."""
        return self.path.with_suffix(".json" if self.path.suffix == ".spec" else ".spec")


def plugin_file(directory: Path, name: str, address: str, docker: DockerFiles | None = None) -> PluginFile:
    """The file of a plugin with an address of `advertised_address`.

    With TLS, dockerd verifies the plugin's certificate: without a CA it would not (moby
    pkg/plugins/discovery.go, readPluginJSONInfo).
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
    import msgspec  # noqa: PLC0415  (a managed plugin that only binds a socket does not wait for it)

    text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    return PluginFile(directory / f"{name}.json", f"{text}\n")


def check_no_other(file: PluginFile) -> None:
    """Check that no other plugin of this name is alive; a file that a dead one left behind does not matter.

    Raises:
        ConfigError: one is alive. dockerd would use the newer in its place, without a word.
    """
    for path in (file.path, file.sibling):
        try:
            address = _address(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if address == _address(file.text):  # our own: nobody else listens there
            continue
        if other := _plugin_at(address):
            raise ConfigError(
                f"plugin file {path}: it leads to {other}, which is alive; stop that one or give another"
                " --driver-name"
            )


def silence(address: str) -> str:
    """Why no plugin answers at an address, or "" if one does, or if this user may not ask it."""
    try:
        reply, _ = _activate(address, enough=b"\n")
    except PermissionError:
        return ""
    except TimeoutError:
        return f"{address}: no answer within {ANSWER_TIMEOUT:g} s"
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"
    return f"{address}: the connection was closed" if reply == b"" else ""


def _plugin_at(address: str) -> str:
    """The network plugin at an address, for people, or "" where there is none."""
    try:
        reply, pid = _activate(address)
    except TimeoutError:
        return address
    except (OSError, ValueError):
        return ""
    if reply is not None and b"NetworkDriver" not in reply:
        return ""
    return f"{address} (pid {pid})" if pid else address


def _activate(address: str, enough: bytes = b"") -> tuple[bytes | None, int]:
    """The reply to Plugin.Activate, and the process of a unix socket (0 where that is not known).

    The reply ends with the connection, or where it has `enough` in it. It is None for https, where the plugin
    would ask for a certificate.

    Raises:
        OSError, ValueError: nothing listens there, or the address is not valid.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT
    url = urlsplit(address)
    is_unix = url.scheme == "unix"
    with contextlib.ExitStack() as closing:
        if is_unix:
            probe = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            probe.settimeout(ANSWER_TIMEOUT)
            probe.connect(url.path)
        else:
            target = url.hostname or "", url.port or 0
            probe = closing.enter_context(socket.create_connection(target, ANSWER_TIMEOUT))
        if url.scheme == "https":
            return None, 0
        pid = _peer(probe) if is_unix else 0
        probe.sendall(ACTIVATE)
        reply = b""
        while len(reply) < MAX_REPLY and not (enough and enough in reply):
            probe.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (data := probe.recv(4096)):
                break
            reply += data
        return reply, pid


def _address(text: str) -> str:
    """The address in a plugin file of either form, or ""."""
    import msgspec  # noqa: PLC0415

    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):
        return text.strip()
    return str(content.get("Addr", "")) if isinstance(content, dict) else ""


def _peer(probe: socket.socket) -> int:
    """The process that listens at the other end of a unix socket (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])


def write_plugin_file(file: PluginFile) -> Path:
    """Write the file atomically, so that dockerd never reads half of an address.

    The file in the other form is removed: it is of an earlier start, and dockerd might read that one.
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
    """Remove the file if it still holds what we wrote; whoever has changed it owns it."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if file.path.read_text(encoding="utf-8") == file.text:
            file.path.unlink()


# --- Sockets bound to a path or an address, with errors that say what to do. --------------------------------


BACKLOG = 1024
PORTS = range(65536)


def bind_unix(path: Path) -> socket.socket:
    """A unix socket bound to a path, mode 0600; the socket file of a dead process is replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_socket(path)
    except OSError as error:
        raise ConfigError(f"unix socket {path}: {error.strerror}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(path))
        path.chmod(0o600)  # nobody can connect before listen(), so the rights are never wider
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
            f"unix socket {path}: the file there is not a socket; remove it or choose another path"
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
    """A TCP socket bound to an address of this host."""
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
