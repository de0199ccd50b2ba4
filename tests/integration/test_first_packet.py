"""The first packet of a container is answered: its flows are in the switch before it starts."""

from collections.abc import Sequence

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration.tenant import ONE_PING, OURS, Container, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONTAINERS = 30


def test_thirty_containers_in_turn_get_an_answer_to_their_first_packet(
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


def test_a_container_that_takes_over_an_address_is_answered_by_old_peers(
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


# --- To another host ----------------------------------------------------------------------------------------


def on_both(users: Sequence[Tenant], lab: Lab) -> tuple[Container, Network, str]:
    """A container of the first host, its network, and the address of one on the second, which it reaches."""
    first, second = [user.network("10.12.0.0/24", *OURS) for user in users]
    box, target = users[0].container(first), users[1].container(second).address(second)
    box.reaches(target)
    lab.central.run(["ovn-nbctl", "--wait=hv", "--timeout=30", "sync"], timeout=40)
    return box, first, target


FORGET_NEIGHBOURS = {
    "system": "ip neigh flush all",
    # First the flows: one that is in use makes ovs-vswitchd ask again.
    "netdev": "ovs-appctl dpctl/del-flows && ovs-appctl tnl/neigh/flush",
}
"""By datapath: have a host know no other host's MAC address, as if it had long had no packet for one."""


def first_packet_is_answered(host: Machine, datapath: str, pid: str, target: str) -> bool:
    """Forget the neighbours, and send the packet before anything else has them looked up again.

    ``docker exec`` would take longer than that on a busy machine.
    """
    ping = f"nsenter --target={pid} --net -- busybox {ONE_PING} {target}"
    done = host.run(["sh", "-c", f"{FORGET_NEIGHBOURS[datapath]} >&2 || exit 9; {ping}"], check=False)
    assert done.returncode != 9, done.stderr
    return done.returncode == 0


def test_the_first_packet_to_a_host_that_is_spoken_to_is_answered(users: Sequence[Tenant], lab: Lab) -> None:
    _, network, target = on_both(users, lab)
    runs = [users[0].once(network, f"exec {ONE_PING} {target}") for _ in range(10)]
    assert [run.stdout for run in runs if run.returncode != 0] == []


def test_only_the_userspace_datapath_loses_the_first_packet_to_an_idle_host(
    users: Sequence[Tenant], lab: Lab
) -> None:
    box, _, target = on_both(users, lab)
    pid = users[0].docker("inspect", "--format", "{{.State.Pid}}", box.name).stdout.strip()
    answered: list[bool] = []
    while len(answered) < 10 and all(answered):  # another packet between the hosts may be quicker
        answered.append(first_packet_is_answered(users[0].host, lab.settings.datapath, pid, target))
        box.reaches(target)  # as soon as the neighbour has said its address, however busy the machine is
    assert (False in answered) == (lab.settings.datapath == "netdev"), answered
