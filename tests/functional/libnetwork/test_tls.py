"""TLS of the listener: who is let in, what a refusal says, and files that change under it."""

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork import certificates as tls
from ovn_docker.libnetwork import listeners as listeners_module
from ovn_docker.libnetwork.certificates import Certificates, DockerFiles, ListenerFiles
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.server import create_application
from tests.certificates import Authority, Pair
from tests.functional.libnetwork.front import Client, StubDriver, until

pytestmark = pytest.mark.functional


@dataclass
class Secured:
    """A driver that is served over TLS, and the authority of its certificates."""

    authority: Authority
    files: ListenerFiles
    certificates: Certificates
    listeners: Listeners

    @property
    def address(self) -> tuple[str, int]:
        assert self.listeners.tcp_address is not None
        return self.listeners.tcp_address

    async def connect(self, shown: Pair | None, **versions: ssl.TLSVersion) -> Client:
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        for name, version in versions.items():
            setattr(context, name, version)
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return Client(*await asyncio.open_connection(*self.address, ssl=context))

    async def is_served(self, shown: Pair | None, **versions: ssl.TLSVersion) -> bool:
        """Whether a client that shows a certificate, or none, gets an answer."""
        client = None
        try:
            client = await self.connect(shown, **versions)
            return (await client.post("Plugin.Activate")).status == 200
        except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            return False
        finally:
            if client is not None:
                client.writer.transport.abort()

    def install(self, pair: Pair) -> None:
        """Replace the driver's certificate and key as certificate tools do: by renaming."""
        for source, path in ((pair.key, self.files.key), (pair.certificate, self.files.certificate)):
            shutil.copy(source, f"{path}.new")
            os.rename(f"{path}.new", path)  # noqa: PTH104


@pytest.fixture
async def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Secured]:
    monkeypatch.setattr(listeners_module, "REFRESH", 0.05)
    monkeypatch.setattr(tls, "SETTLE", 0.2)
    authority = Authority(tmp_path / "ca")
    files = ListenerFiles(tmp_path / "own.pem", tmp_path / "own.key", tmp_path / "clients.pem")
    server = authority.issue("server")
    shutil.copy(server.certificate, files.certificate)
    shutil.copy(server.key, files.key)
    shutil.copy(authority.certificate, files.client_ca)
    certificates = Certificates(files)
    served = Listeners(create_application(StubDriver(), deadline=1), grace=1)
    await served.start(None, ("127.0.0.1", 0), certificates)
    yield Secured(authority, files, certificates, served)
    await served.stop()


async def test_a_client_of_the_authority_is_served_over_one_kept_connection(secured: Secured) -> None:
    client = await secured.connect(secured.authority.issue("docker"))
    assert (await client.post("Plugin.Activate")).json == {"Implements": ["NetworkDriver"]}
    assert (await client.post("NetworkDriver.GetCapabilities")).status == 200
    await client.close()


async def test_tls_1_2_is_served_and_nothing_older(secured: Secured) -> None:
    docker, two = secured.authority.issue("docker"), ssl.TLSVersion.TLSv1_2
    assert await secured.is_served(docker, minimum_version=two, maximum_version=two)
    assert secured.certificates.context.minimum_version is two


async def test_a_client_without_a_certificate_is_refused_in_one_line(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert not await secured.is_served(None)
    await until(lambda: bool(lines(caplog)))
    assert lines(caplog) == ["TLS: client 127.0.0.1 is refused: it sent no certificate"]


async def test_a_certificate_of_another_authority_is_refused(
    secured: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path / "other", "another CA")
    assert not await secured.is_served(other.issue("docker"))
    await until(lambda: bool(lines(caplog)))
    [line] = lines(caplog)
    assert line.startswith("TLS: client 127.0.0.1 is refused: its certificate is not accepted: ")


async def test_a_certificate_that_has_expired_is_refused(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await secured.is_served(secured.authority.issue("docker", age=5))
    await until(lambda: bool(lines(caplog)))
    assert lines(caplog) == [
        "TLS: client 127.0.0.1 is refused: its certificate is not accepted: certificate has expired"
    ]


async def test_plain_http_is_refused(secured: Secured, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection(*secured.address)
    writer.write(b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert b"Implements" not in await reader.read()
    writer.close()
    await until(lambda: bool(lines(caplog)))
    assert lines(caplog) == ["TLS: client 127.0.0.1 is refused: it speaks plain HTTP, not TLS"]


async def test_a_new_certificate_is_used_without_a_restart_or_an_alarm(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    docker = secured.authority.issue("docker")
    before = await served_serial(secured, docker)
    secured.install(secured.authority.issue("renewed"))
    assert await served_serial(secured, docker) != before
    assert lines(caplog) == []


async def test_a_truncated_file_is_reported_once_and_the_previous_one_stays(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    docker = secured.authority.issue("docker")
    whole = secured.files.certificate.read_text()
    secured.files.certificate.write_text(whole[: len(whole) // 2])
    assert await secured.is_served(docker)
    await until(lambda: bool(lines(caplog)))
    assert await secured.is_served(docker)
    [line] = lines(caplog)
    assert line.startswith(
        f"--tls-cert {secured.files.certificate} and its key {secured.files.key} cannot be"
    )
    assert line == secured.certificates.problem
    secured.files.certificate.write_text(whole)
    assert await secured.is_served(docker)
    assert secured.certificates.problem == ""


async def test_a_client_of_a_replaced_authority_is_disconnected(secured: Secured, tmp_path: Path) -> None:
    docker = secured.authority.issue("docker")
    client = await secured.connect(docker)
    assert (await client.post("Plugin.Activate")).status == 200
    other = Authority(tmp_path / "other")
    shutil.copy(other.certificate, secured.files.client_ca)
    async with asyncio.timeout(8):
        assert await client.is_closed_by_the_server()
    client.writer.transport.abort()
    assert not await secured.is_served(docker)
    assert await secured.is_served(other.issue("docker"))


async def test_a_client_that_stalls_in_the_handshake_holds_up_no_one(
    secured: Secured,
) -> None:
    _, writer = await asyncio.open_connection(*secured.address)
    assert await secured.is_served(secured.authority.issue("docker"))
    async with asyncio.timeout(2):
        await secured.listeners.stop()
    writer.close()


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """Whatever stays in a cycle of references stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> int:
    """How many connections hold asyncio's buffers for TLS, of 256 KiB each."""
    return sum(isinstance(object_, SSLProtocol) for object_ in gc.get_objects())


def first_message() -> bytes:
    """What a client says first in a handshake."""
    context, arrived, said = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(arrived, said, server_hostname="x").do_handshake()
    return said.read()


@pytest.mark.usefixtures("_no_collection")
async def test_refused_stalled_and_aborted_clients_leave_nothing_in_memory(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners_module, "HANDSHAKE_TIMEOUT", 0.2)

    def shake(said: bytes, *, waits: bool) -> None:
        with socket.create_connection(secured.address) as client:
            client.sendall(said)
            if waits:
                client.settimeout(3)
                with contextlib.suppress(ConnectionError):
                    while client.recv(65536):
                        pass

    def show_nothing() -> None:
        context = ssl.create_default_context(cafile=secured.authority.certificate)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with (
            socket.create_connection(secured.address) as client,
            context.wrap_socket(client, server_hostname="127.0.0.1") as safe,
            contextlib.suppress(OSError),
        ):
            safe.recv(1)

    hello = first_message()
    for said, waits in ((b"", True), (b"", False), (hello, True), (hello, False), (b"GET / HTTP/1.1", True)):
        await asyncio.gather(*(asyncio.to_thread(shake, said, waits=waits) for _ in range(20)))
    await asyncio.gather(*(asyncio.to_thread(show_nothing) for _ in range(20)))
    await until(lambda: held() == 0)


@pytest.mark.usefixtures("_no_collection")
async def test_clients_evicted_in_the_handshake_leave_nothing_in_memory(secured: Secured) -> None:
    clients = [
        await asyncio.open_connection(*secured.address) for _ in range(3 * listeners_module.MAX_HANDSHAKES)
    ]
    await until(lambda: 0 < held() <= listeners_module.MAX_HANDSHAKES)
    for _, writer in clients:
        writer.close()
    await until(lambda: held() == 0)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda files: files.certificate.unlink(), "--tls-cert .* cannot be read: No such file"),
        (lambda files: files.key.unlink(), "--tls-key .* cannot be read: No such file"),
        (lambda files: files.client_ca.write_text("x"), "--tls-client-ca .* holds no certificate"),
        (lambda files: files.key.write_text("x"), "--tls-cert .* and its key .* cannot be used"),
    ],
)
async def test_files_that_cannot_be_used_are_one_clear_error(
    secured: Secured, spoil: object, text: str
) -> None:
    assert callable(spoil)
    spoil(secured.files)
    with pytest.raises(ConfigError, match=text) as error:
        Certificates(secured.files)
    assert "\n" not in str(error.value)


async def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(secured: Secured) -> None:
    key = secured.files.key
    command = ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", f"{key}.p8", "-passout", "pass:secret"]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    shutil.copy(f"{key}.p8", key)
    with pytest.raises(ConfigError, match="cannot be used"):
        Certificates(secured.files)


def dockers_files(secured: Secured, shown: Pair) -> DockerFiles:
    return DockerFiles(secured.authority.certificate, shown.certificate, shown.key)


async def test_what_docker_would_meet_is_found_out_beforehand(secured: Secured, tmp_path: Path) -> None:
    good, expired = secured.authority.issue("docker"), secured.authority.issue("old", age=5)
    other = Authority(tmp_path / "other")
    cases = [
        (dockers_files(secured, good), "127.0.0.1", ""),
        (dockers_files(secured, good), "10.0.0.1", "IP address mismatch"),
        (
            dockers_files(secured, expired),
            "127.0.0.1",
            "--plugin-file-cert is not accepted: certificate has expired",
        ),
        (dockers_files(secured, other.issue("docker")), "127.0.0.1", "--plugin-file-cert is not accepted: "),
        (
            DockerFiles(other.certificate, good.certificate, good.key),
            "127.0.0.1",
            "--tls-cert is not accepted: ",
        ),
        (
            DockerFiles(tmp_path / "no", good.certificate, good.key),
            "127.0.0.1",
            "--plugin-file-ca .* cannot be read",
        ),
    ]
    for docker, name, text in cases:
        secured.certificates.serve_docker(docker, name)
        problem = secured.certificates.problem
        assert text in problem.replace(str(tmp_path / "no"), ".*") if text else problem == "", problem
    secured.certificates.serve_docker(dockers_files(secured, good), "127.0.0.1")
    secured.install(secured.authority.issue("old", age=5))
    secured.certificates.refresh()
    assert (
        "the certificate of --tls-cert is not accepted: certificate has expired"
        in secured.certificates.problem
    )


async def served_serial(secured: Secured, shown: Pair) -> object:
    """What tells the certificate that is shown just now."""
    client = await secured.connect(shown)
    certificate = client.writer.get_extra_info("peercert")
    await client.close()
    return certificate["serialNumber"]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What an operator reads of it."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("ovn_docker") and record.levelno >= logging.WARNING
    ]
