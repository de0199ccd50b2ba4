"""The first packet of a container is answered: its flows are in the switch before it starts."""

import pytest

from tests.integration.tenant import ONE_PING, Container, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONTAINERS = 30


def test_thirty_containers_one_after_the_other_each_have_an_answer_to_their_first_packet(
    tenant: Tenant,
) -> None:
    foo = tenant.network("10.12.0.0/24")
    target = tenant.container(foo).address(foo)
    runs = [tenant.once(foo, f"exec {ONE_PING} {target}") for _ in range(CONTAINERS)]
    lost = [number for number, run in enumerate(runs) if run.returncode != 0]
    assert lost == [], f"first packet lost by {len(lost)} of {CONTAINERS}: {runs[lost[0]]}"


def test_ten_containers_that_stay_each_have_an_answer_to_their_first_packet(tenant: Tenant) -> None:
    foo = tenant.network("10.12.0.0/24")
    target = tenant.container(foo).address(foo)
    command = f"{ONE_PING} {target}; sleep 3600"
    boxes = [tenant.container(foo, command=command) for _ in range(10)]
    logs = [log_of(tenant, box, 1) for box in boxes]
    assert [log for log in logs if "1 packets received" not in log] == []


def log_of(tenant: Tenant, box: Container, pings: int) -> str:
    """What a container printed, once it has pinged so many times."""

    def log() -> str:
        text = tenant.docker("logs", box.name).stdout
        return text if text.count("packets received") == pings else ""

    return eventually(log, 10, f"{box.name} has pinged {pings} times")


def test_a_container_that_takes_over_an_address_is_answered_by_those_who_knew_the_one_before(
    tenant: Tenant,
) -> None:
    foo = tenant.network("10.12.0.0/24")
    peer = tenant.container(foo)
    first = tenant.container(foo, "--ip=10.12.0.50")
    assert peer.pings("10.12.0.50")  # the address is in the peer's ARP cache now
    tenant.remove(first)
    second = tenant.once(foo, f"exec {ONE_PING} {peer.address(foo)}", "--ip=10.12.0.50")
    assert second.returncode == 0, second.stdout


def test_a_restarted_container_has_an_answer_to_its_first_packet(tenant: Tenant) -> None:
    foo = tenant.network("10.12.0.0/24")
    peer = tenant.container(foo)
    box = tenant.container(foo, command=f"{ONE_PING} {peer.address(foo)}; sleep 3600")
    log_of(tenant, box, 1)
    tenant.docker("restart", "--time=0", box.name)
    assert log_of(tenant, box, 2).count("1 packets received") == 2
