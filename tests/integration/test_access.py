"""Who may command a host's networks over TCP: the host itself, or who has a certificate."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovn_docker_lab import Lab, Machine
from ovn_docker_lab.plan import underlay_address
from tests.certificates import Authority, Pair
from tests.integration.second_driver import Driver
from tests.integration.tenant import Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

PATHS = ("NetworkDriver.Database", "healthz", "metrics")


@dataclass(frozen=True)
class Seen:
    """What curl(1) saw: the HTTP status, 0 without an answer, and the body or curl's own words."""

    status: int
    text: str


def curl(host: Machine, *words: str) -> Seen:
    """Ask from a machine."""
    done = host.run(["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *words], check=False)
    body, _, status = done.stdout.rpartition("\n")
    return Seen(int(status), body or done.stderr)


def address(host: Machine) -> str:
    """Where another host finds it."""
    return str(underlay_address(host.name).ip)


def test_over_plain_tcp_another_host_is_refused_whatever_it_asks(driver: Driver, lab: Lab) -> None:
    driver.start()
    host, other = lab.hosts
    for path in PATHS:
        refused = curl(other, f"http://{address(host)}:5000/{path}")
        assert (refused.status, "plain TCP serves this host only" in refused.text) == (403, True)
    json_type = ("-H", "Content-Type: application/json", "-d", '{"NetworkID":"x"}')
    for verb in ("Plugin.Activate", "NetworkDriver.DeleteNetwork"):
        assert curl(other, *json_type, f"http://{address(host)}:5000/{verb}").status == 403
    for own in ("0.0.0.0", "127.0.0.1", "localhost", address(host)):
        assert curl(host, f"http://{own}:5000/NetworkDriver.Database").status == 200


def test_over_plain_tcp_a_container_is_refused(driver: Driver, tenant: Tenant, lab: Lab) -> None:
    driver.start()
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    box = tenant.container(foo)
    [route] = box.default_routes()
    for target in (route.split()[2], address(lab.hosts[0])):
        said = box.run(f"timeout 5 wget -O- http://{target}:5000/NetworkDriver.Database", check=False)
        assert "403 Forbidden" in said.stderr, said


def test_a_page_in_a_browser_of_this_host_is_refused(driver: Driver, lab: Lab) -> None:
    driver.start()
    url = "http://127.0.0.1:5000/NetworkDriver.Database"
    assert curl(lab.hosts[0], "-H", "Host: rebound.example:5000", url).status == 403
    assert curl(lab.hosts[0], "-H", "Origin: http://evil.example", url).status == 403


@dataclass(frozen=True)
class Tls:
    """A driver's certificates and Docker's."""

    authority: Authority
    driver: Pair
    docker: Pair

    @property
    def flags(self) -> tuple[str, ...]:
        ca = self.authority.certificate
        return (
            *(
                f"--tls-cert={self.driver.certificate}",
                f"--tls-key={self.driver.key}",
                f"--tls-client-ca={ca}",
            ),
            *(f"--plugin-file-ca={ca}", f"--plugin-file-cert={self.docker.certificate}"),
            f"--plugin-file-key={self.docker.key}",
        )

    def curl(self, host: Machine, at: str, path: str, shown: Pair | None = None) -> Seen:
        """Ask over TLS, verifying the driver's certificate, from any host."""
        own = ("--cert", str(shown.certificate), "--key", str(shown.key)) if shown else ()
        ca = ("--cacert", str(self.authority.certificate), "--connect-to", f"::{at}:5000")
        return curl(host, *ca, *own, f"https://127.0.0.1:5000/{path}")

    def install(self, pair: Pair) -> None:
        """Renew the driver's certificate in place."""
        shutil.copy(pair.key, self.driver.key)
        shutil.copy(pair.certificate, self.driver.certificate)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    authority = Authority(tmp_path / "ca")
    return Tls(authority, authority.issue("driver"), authority.issue("docker"))


def test_a_real_docker_works_over_tls_also_after_the_certificate_was_renewed(
    driver: Driver, tenant: Tenant, tls: Tls
) -> None:
    log = f"--log-file=/run/{driver.name}.log"
    started = driver.start(*tls.flags, log)
    assert json.loads(driver.read(driver.json))["TLSConfig"]["InsecureSkipVerify"] is False
    assert driver.read(driver.spec) == ""
    foo = tenant.network("10.21.0.0/24", driver.docker_option)
    one = tenant.container(foo)
    tls.install(tls.authority.issue("renewed"))
    eventually(
        lambda: "the new ones are in use" in driver.read(f"/run/{driver.name}.log"),
        15,
        "the new certificate is in use",
    )
    two = tenant.container(foo)
    assert one.pings(two.address(foo))
    tenant.remove(one, two)
    tenant.remove_network(foo)
    assert driver.pid() == started
    assert "ERR" not in driver.read(f"/run/{driver.name}.log")
    driver.end()
    assert driver.read(driver.json) == ""


def test_over_tls_another_host_is_served_only_with_its_certificate(
    driver: Driver, lab: Lab, tls: Tls, tmp_path: Path
) -> None:
    driver.start(*tls.flags)
    host, other = lab.hosts
    at, good = address(host), tls.authority.issue("monitor")
    for path in PATHS:
        assert tls.curl(other, at, path, good).status == 200
    stranger = Authority(tmp_path / "other", "another CA").issue("monitor")
    for shown in (None, stranger, tls.authority.issue("old", age=9)):
        for asking in (host, other):
            assert tls.curl(asking, at, "healthz", shown).status == 0
    assert curl(other, f"http://{at}:5000/healthz").status in {0, 400}


@pytest.mark.slow
def test_a_docker_that_trusts_another_authority_is_reported(
    driver: Driver, tenant: Tenant, tls: Tls, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "another CA")
    flags = [f"--plugin-file-ca={other.certificate}" if "file-ca" in flag else flag for flag in tls.flags]
    log = f"/run/{driver.name}.log"
    driver.start(*flags, f"--log-file={log}")
    assert "Docker cannot use the listener at 127.0.0.1: " in driver.read(log)
    made = tenant.docker(
        "network", "create", driver.docker_option, "--subnet=10.21.0.0/24", "x1", check=False
    )
    assert made.returncode != 0
    assert "certificate signed by unknown authority" in made.stderr
    assert "TLS: client 127.0.0.1 is refused: it does not" in driver.read(log)
