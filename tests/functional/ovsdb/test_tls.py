"""TLS to OVSDB servers with what ovs-pki makes: who is trusted, what is refused, and the words for it."""

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.remotes import Remote, TlsFiles
from tests.functional.conftest import MakeServer
from tests.functional.servers import OvsdbServer, connected, run, until

pytestmark = pytest.mark.functional

NB = "OVN_Northbound"


class Pki:
    """Open vSwitch's two CAs: one for servers, as its controllers are, and one for hosts, its switches."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pki("init")

    def pki(self, *words: str) -> None:
        """Run ovs-pki, which writes what it makes into the working directory."""
        where = [f"--dir={self.directory / 'pki'}", f"--log={self.directory / 'log'}"]
        command = ["ovs-pki", *where, "--unique", *words]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    def certificate(self, name: str, kind: str) -> None:
        """A key and a certificate, ``NAME-privkey.pem`` and ``NAME-cert.pem``."""
        self.pki("req+sign", name, kind)

    def ca(self, kind: str) -> str:
        return str(self.directory / "pki" / f"{kind}ca" / "cacert.pem")

    def files(self, name: str, ca: str) -> TlsFiles:
        """What a party named so uses that trusts a CA."""
        return TlsFiles(
            str(self.directory / f"{name}-privkey.pem"),
            str(self.directory / f"{name}-cert.pem"),
            self.ca(ca),
        )

    def expire(self, name: str, kind: str) -> str:
        """A certificate of the same key that was valid years ago."""
        expired, asked = self.directory / f"{name}-expired.pem", self.directory / "expired.csr"
        key = self.directory / f"{name}-privkey.pem"
        run("openssl", "req", "-new", "-key", key, "-subj", f"/O=Open vSwitch/CN={name}", "-out", asked)
        dates = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
        done = subprocess.run(
            [
                "openssl",
                "ca",
                "-batch",
                "-notext",
                "-config",
                "ca.cnf",
                "-in",
                asked,
                "-out",
                expired,
                *dates,
            ],
            cwd=self.directory / "pki" / f"{kind}ca",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return str(expired)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The central has a controller's certificate, h1 and h2 have switches'."""
    made = Pki(tmp_path_factory.mktemp("pki"))
    made.certificate("central", "controller")
    made.certificate("h1", "switch")
    return made


def serve(make_server: MakeServer, files: TlsFiles, *options: str) -> OvsdbServer:
    pair = [f"--private-key={files.private_key}", f"--certificate={files.certificate}"]
    return make_server(NB, "--remote=pssl:0:127.0.0.1", *pair, f"--ca-cert={files.ca_cert}", *options)


@pytest.fixture
def server(make_server: MakeServer, pki: Pki) -> OvsdbServer:
    """A server that takes hosts only."""
    return serve(make_server, pki.files("central", "switch"))


def remote(server: OvsdbServer) -> Remote:
    return Remote("ssl", "127.0.0.1", server.tcp_port())


async def outage(client: Client, text: str) -> None:
    """Wait until the client says in one line why it is not connected."""
    await until(lambda: text in client.outage(), f"'{text}' in '{client.outage()}'")
    assert "\n" not in client.outage()
    assert not client.connected


async def test_a_host_and_a_central_with_certificates_of_ovs_pki_speak(server: OvsdbServer, pki: Pki) -> None:
    async with connected([remote(server)], NB, tls=pki.files("h1", "controller")) as client:
        async with asyncio.timeout(5):
            await client.transact([])


async def test_another_host_that_poses_as_the_central_is_not_believed(
    make_server: MakeServer, pki: Pki
) -> None:
    impostor = serve(make_server, pki.files("h1", "switch"))
    async with connected([remote(impostor)], NB, tls=pki.files("h1", "controller")) as client:
        await outage(client, "the server's certificate is not accepted: ")


async def test_a_client_of_another_ca_is_not_served(server: OvsdbServer, pki: Pki) -> None:
    async with connected([remote(server)], NB, tls=pki.files("central", "controller")) as client:
        await outage(client, "the server does not accept our certificate")


async def test_an_expired_certificate_of_either_side_is_named(
    make_server: MakeServer, server: OvsdbServer, pki: Pki
) -> None:
    outdated = replace(pki.files("h1", "controller"), certificate=pki.expire("h1", "switch"))
    async with connected([remote(server)], NB, tls=outdated) as client:
        await outage(client, "the server does not accept our certificate: it has expired")
    theirs = replace(pki.files("central", "switch"), certificate=pki.expire("central", "controller"))
    expired = serve(make_server, theirs)
    async with connected([remote(expired)], NB, tls=pki.files("h1", "controller")) as client:
        await outage(client, "the server's certificate is not accepted: certificate has expired")


@pytest.mark.parametrize("file", ["private_key", "certificate", "ca_cert"])
async def test_a_file_that_is_missing_or_wrong_is_named_and_used_once_it_is_right(
    server: OvsdbServer, pki: Pki, tmp_path: Path, file: str
) -> None:
    right = pki.files("h1", "controller")
    path = tmp_path / "file.pem"
    files = replace(right, **{file: str(path)})
    async with connected([remote(server)], NB, tls=files) as client:
        await outage(client, f"'{path}' cannot be read: No such file or directory")
        path.write_text("no certificate at all")
        await outage(client, "cannot be used: ")
        assert str(path) in client.outage()
        shutil.copy(getattr(right, file), path)
        await until(lambda: client.connected, "it is connected")


async def test_a_key_of_another_certificate_is_named(server: OvsdbServer, pki: Pki) -> None:
    files = replace(pki.files("h1", "controller"), private_key=pki.files("central", "controller").private_key)
    async with connected([remote(server)], NB, tls=files) as client:
        await outage(client, "key values mismatch")


async def test_no_older_tls_than_1_2_is_spoken(pki: Pki) -> None:
    files = pki.files("h1", "controller").context()
    assert files.minimum_version.name == "TLSv1_2"
    assert not files.get_ca_certs()[1:]


async def test_the_files_of_flags_come_before_those_of_open_vswitch(server: OvsdbServer, pki: Pki) -> None:
    own = pki.files("h1", "controller")
    client = Client("OVN Northbound", NB, {})
    client.own_tls = own
    client.redirect((remote(server),), pki.files("central", "controller"))
    assert client.tls == own


async def test_over_tls_a_server_that_crashes_is_noticed_at_once(server: OvsdbServer, pki: Pki) -> None:
    async with connected([remote(server)], NB, tls=pki.files("h1", "controller")) as client:
        await until(lambda: client.connected, "it is connected")
        server.kill()
        await until(lambda: not client.connected, "the loss is noticed")


async def test_without_tls_files_the_outage_says_how_to_set_them(server: OvsdbServer) -> None:
    async with connected([remote(server)], NB) as client:
        await outage(client, "set-ssl")


async def test_a_tls_server_is_not_used_over_tcp(server: OvsdbServer) -> None:
    async with connected([replace(remote(server), method="tcp")], NB) as client:
        await until(lambda: "not tried yet" not in client.outage(), "the reason is known")
        assert not client.connected
