"""Certificates for tests, made with openssl(1): an authority, what it signs, and what has expired."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A CA that keeps its files in a directory."""

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate = directory / "ca.pem"
        (directory / "index.txt").write_text("")
        (directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n"
            "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        self._run(
            "req",
            "-x509",
            *CURVE,
            "-keyout",
            "ca.key",
            "-subj",
            f"/CN={name}",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-days",
            "9",
            "-out",
            "ca.pem",
        )

    def issue(self, name: str, *, address: str = "127.0.0.1", age: int = 0, days: int = 2) -> Pair:
        """A certificate for server and client.

        Args:
            name: of its files, and its common name.
            address: the IP address in it.
            age: days since it was signed.
            days: how long it is good from then on.
        """
        self._run(
            "req", "-new", *CURVE, "-keyout", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr"
        )
        (self.directory / f"{name}.ext").write_text(
            f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"  # Python 3.13 insists (RFC 5280)
        )
        begin = datetime.now(UTC) - timedelta(days=age, hours=1)
        period = ("-startdate", _time(begin), "-enddate", _time(begin + timedelta(days=days)))
        self._run(
            *("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"),
            *("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext", *period),
        )
        return Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key")

    def _run(self, *words: str) -> None:
        command = ["openssl", *words]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr


def _time(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")
