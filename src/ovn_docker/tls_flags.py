"""The flags of TLS: on the TCP port, the driver's own files and those for Docker; and to the databases. Pure.

Owns which of them go together. What is in the files is libnetwork/certificates.py's and ovsdb/tls_files.py's.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.errors import ConfigError

OWN: Mapping[str, str] = {
    "--tls-cert": "the driver's certificate, and the CAs between it and the root",
    "--tls-key": "its private key, without a passphrase",
    "--tls-client-ca": "the CAs whose clients are let in",
}
DOCKERS: Mapping[str, str] = {
    "--plugin-file-ca": "by which Docker is to verify the driver's certificate",
    "--plugin-file-cert": "that Docker is to show, signed by a CA of --tls-client-ca",
    "--plugin-file-key": "of Docker's certificate",
}
DATABASES: Mapping[str, tuple[str, str]] = {
    "--private-key": ("-p", "of the driver's certificate"),
    "--certificate": ("-c", "that the driver shows to OVSDB servers"),
    "--ca-cert": ("-C", "whose certificates OVSDB servers must have"),
}
"""As ovs-vsctl(8) and ovn-nbctl(8) have them, "Public Key Infrastructure Options"."""


def add_database_arguments(group: "argparse._ActionsContainer") -> None:
    """Add the flags of TLS to the databases, which the commands have too."""
    for flag, (short, meaning) in DATABASES.items():
        group.add_argument(short, flag, metavar="FILE", type=Path, help=f"for ssl: remotes: {meaning}")


def read_databases(arguments: argparse.Namespace) -> tuple[Path, Path, Path] | None:
    """Private key, certificate and CA certificate for the databases, or None for those of Open_vSwitch.

    Raises:
        ConfigError: one of the three is missing, or no absolute path.
    """
    return _files(arguments, DATABASES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    own = parser.add_argument_group("TLS on the TCP port (PEM files; all three or none)")
    for flag, meaning in OWN.items():
        own.add_argument(flag, metavar="FILE", type=Path, help=meaning)
    docker = parser.add_argument_group(
        "TLS for Docker, named in the plugin file (PEM files; all three or none)"
    )
    for flag, meaning in DOCKERS.items():
        docker.add_argument(flag, metavar="FILE", type=Path, help=meaning)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of the TCP port; paths of PEM files.

    Attributes:
        certificate: the driver's certificate, with the CAs between it and the root.
        key: its private key.
        client_ca: the CAs whose clients are let in.
        docker: CA, certificate and private key for the plugin file, as dockerd sees them; None where Docker
            comes by the unix socket.
    """

    certificate: Path
    key: Path
    client_ca: Path
    docker: tuple[Path, Path, Path] | None


def read(arguments: argparse.Namespace, *, tcp: bool, unix: bool) -> Tls | None:
    """The files of TLS, or None where they are not asked for.

    Args:
        arguments: parsed flags.
        tcp: whether a TCP port is listened on.
        unix: whether a unix socket is, by which Docker comes then.

    Raises:
        ConfigError: they make no sense together, or are no absolute paths.
    """
    own, docker = _files(arguments, OWN), _files(arguments, DOCKERS)
    if own is None:
        if docker is not None:
            raise ConfigError("--plugin-file-ca is of no use without TLS: give --tls-cert too")
        return None
    if not tcp:
        raise ConfigError("--tls-cert is for the TCP port: give --bind-ip or --bind-port too")
    if not unix and docker is None:
        raise ConfigError(
            "--tls-cert without --unix-socket: Docker comes by TLS then, so give it --plugin-file-ca,"
            " --plugin-file-cert and --plugin-file-key"
        )
    if unix and docker is not None:
        raise ConfigError("--plugin-file-ca is of no use with --unix-socket, by which Docker comes then")
    return Tls(*own, docker)


def _files(arguments: argparse.Namespace, flags: Iterable[str]) -> tuple[Path, Path, Path] | None:
    """The files of three flags that go together."""
    given = {flag: getattr(arguments, flag.removeprefix("--").replace("-", "_")) for flag in flags}
    missing = [flag for flag, path in given.items() if path is None]
    if all(path is None for path in given.values()):
        return None
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{', '.join(given)} go together: {' and '.join(missing)} {verb} missing")
    first, second, third = (_absolute(path, flag) for flag, path in given.items())
    return first, second, third


def _absolute(path: Path, flag: str) -> Path:
    if path.is_absolute():
        return path
    raise ConfigError(f"{flag} {path} is not an absolute path")
