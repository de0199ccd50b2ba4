"""The file by which dockerd finds the plugin (moby pkg/plugins/discovery.go).

Owns ``NAME.spec`` and ``NAME.json`` in a plugin directory; knows nothing of what listens at the address in
it.
"""

import contextlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.tls import DockerFiles

# Docker looks here for NAME.sock and NAME/NAME.sock, before it looks for any file.
SOCKET_DIRECTORIES = (Path("/run/docker/plugins"), Path("/var/run/docker/plugins"))


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
        return None if _is_found_by_docker(name, unix_path) else f"unix://{unix_path.absolute()}"
    if tcp is None:
        return None
    ip = ipaddress.ip_address(tcp[0])
    if ip.is_unspecified:
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")  # noqa: PLR2004
    host = str(ip) if ip.version == 4 else f"[{ip}]"  # noqa: PLR2004
    return f"tcp://{host}:{tcp[1]}"


def _is_found_by_docker(name: str, unix_path: Path) -> bool:
    file = f"{name}.sock"
    return any(unix_path in {place / file, place / name / file} for place in SOCKET_DIRECTORIES)


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A file and what is to stand in it."""

    path: Path
    text: str

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
