"""The file by which dockerd finds the plugin (moby pkg/plugins/discovery.go).

Owns ``NAME.spec`` in a plugin directory; knows nothing of what listens at the address in it.
"""

import contextlib
import ipaddress
import os
from pathlib import Path

from ovn_docker.errors import ConfigError

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


def plugin_file(directory: Path, name: str) -> Path:
    """Where the file of a plugin stands."""
    return directory / f"{name}.spec"


def write_plugin_file(directory: Path, name: str, address: str) -> Path:
    """Write the file at once or not at all, so that dockerd never reads half of an address.

    Raises:
        ConfigError: the directory or the file cannot be written.
    """
    path = plugin_file(directory, name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # dockerd looks at *.spec and *.json only
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{address}\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ConfigError(f"plugin file {path}: cannot be written: {error.strerror}") from error
    return path


def remove_plugin_file(directory: Path, name: str, address: str) -> None:
    """Remove the file if it still holds the address; who has changed it owns it. Absent is no error."""
    path = plugin_file(directory, name)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == f"{address}\n":
            path.unlink()
