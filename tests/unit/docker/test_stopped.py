"""What is read of containers that have ended: answers of dockerd 26.1.5 after a boot without Northbound."""

import json
from pathlib import Path

import pytest

from ovn_docker.docker.models import Stopped, read_ended, read_stopped

BODIES = Path(__file__).with_name("bodies")
WEB, TASK = "9d28a91c721a0c6339ae214a36f66a6f79b0e0caceb2a0a7c6fc99dc8ace6903", "com.docker.swarm.task.id"


def read(name: str, **changes: object) -> Stopped:
    """A container of ``bodies``, with other values under a path such as ``State__Error``."""
    content = json.loads(BODIES.joinpath(f"stopped-{name}.json").read_bytes())
    for path, value in changes.items():
        *parents, last = path.split("__")
        where = content
        for parent in parents:
            where = where[parent]
        where[last] = value
    found = read_stopped(json.dumps(content).encode())
    assert found is not None
    return found


def test_the_list_names_those_that_may_be_on_a_plugins_network_or_share_one() -> None:
    listed = json.loads(BODIES.joinpath("stopped.json").read_bytes())
    names = {each["Id"]: each["Names"][0] for each in listed}
    ended = read_ended(json.dumps(listed).encode())
    assert {names[each] for each in ended} == {"/web", "/db", "/of", "/side", "/stopped", "/nopolicy"}
    for each in listed:
        each["NetworkSettings"]["Networks"] = {"bridge": {"NetworkID": "b"}}
    assert [names[each] for each in read_ended(json.dumps(listed).encode())] == ["/side"]


def test_a_container_whose_network_failed_is_read_with_the_reason() -> None:
    web = read("web")
    assert (web.container_id, web.name, web.policy, web.shares) == (WEB, "web", "always", "")
    assert web.networks == {"foo": "e095114b27aa0b1224c95aa97f04b7d4c7c640f3cad09b0ddce31134fec76a70"}
    assert web.error.endswith("OVN Northbound cannot be reached at tcp:198.18.0.1:6641: Connection refused")
    assert (web.wanted, web.failed_by_plugin, web.failed_on) == (True, True, "foo")
    leased = read("db")
    assert (leased.wanted, leased.failed_by_plugin, leased.failed_on) == (True, True, "")
    assert leased.error.startswith("IpamDriver.RequestAddress: ")


def test_a_container_that_shares_the_network_of_one_that_was_down() -> None:
    side = read("side")
    assert (side.shares, side.failed_by_sharing, side.failed_by_plugin) == (WEB, True, False)
    newer = "cannot join network namespace of a non running container: container web is exited"  # Docker 28
    assert read("side", State__Error=newer).failed_by_sharing
    assert not read("web", State__Error=newer).failed_by_sharing, "it shares none"
    assert not read("side", State__Error="no such image").failed_by_sharing


def test_a_container_that_its_user_stopped_has_no_error() -> None:
    stopped = read("stopped")
    assert (stopped.policy, stopped.error) == ("unless-stopped", "")
    assert not stopped.failed_by_plugin


@pytest.mark.parametrize("status", ["running", "created", "restarting", "removing", "dead", "paused"])
def test_a_container_in_another_state_has_not_ended(status: str) -> None:
    content = json.loads(BODIES.joinpath("stopped-web.json").read_bytes())
    content["State"]["Status"] = status
    assert read_stopped(json.dumps(content).encode()) is None


@pytest.mark.parametrize(
    ("policy", "most", "restarts", "wanted"),
    [
        ("no", 0, 0, False),
        ("", 0, 0, False),
        ("always", 0, 9, True),
        ("unless-stopped", 0, 9, True),
        ("on-failure", 0, 9, True),
        ("on-failure", 3, 2, True),
        ("on-failure", 3, 3, False),
        ("of-the-future", 0, 0, False),
    ],
)
def test_whether_the_restart_policy_asks_for_a_start(
    policy: str,
    most: int,
    restarts: int,
    wanted: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    says = {"Name": policy, "MaximumRetryCount": most}
    assert read("web", HostConfig__RestartPolicy=says, RestartCount=restarts).wanted is wanted


def test_a_task_of_a_swarm_is_left_to_the_swarm() -> None:
    assert not read("web", Config__Labels={TASK: "t"}).wanted


SOCKET = "dial unix /run/ovn-docker/openvswitch.sock: connect: connection refused"
BY_PLUGIN = [
    "NetworkDriver.Join: OVN did not install the flows of endpoint e",
    "failed to create endpoint web on network foo: NetworkDriver.CreateEndpoint: no",
    f'failed to create endpoint web on network foo: Post "http://x/NetworkDriver.CreateEndpoint": {SOCKET}',
    f'failed to add endpoint: legacy plugin: Post "http://plugin.moby.localhost/Plugin.Activate": {SOCKET}',
    'failed to add endpoint: plugin "openvswitch" not found',
    f'legacy plugin: Post "http://plugin.moby.localhost/Plugin.Activate": {SOCKET}',
    'plugin "openvswitch" not found',
    "plugin ovn:latest found but disabled",
]
OTHERWISE = [
    "",
    "driver failed programming external connectivity on endpoint web: port is already allocated",
    "error while mounting volume '/v': VolumeDriver.Mount: no",
    'error looking up volume plugin disks: legacy plugin: plugin "disks" not found',
    'failed to create task for container: exec: "NetworkDriver": executable file not found in $PATH',
    "cannot join network of a non running container: " + WEB,
    "network foo not found",
]


@pytest.mark.parametrize("before", ["", "failed to set up container networking: "])
@pytest.mark.parametrize("error", BY_PLUGIN)
def test_what_a_network_plugin_answers_or_its_absence_is_told_from(before: str, error: str) -> None:
    assert read("web", State__Error=before + error).failed_by_plugin


@pytest.mark.parametrize("error", OTHERWISE)
def test_other_reasons_for_which_a_container_does_not_start(error: str) -> None:
    assert not read("web", State__Error=error).failed_by_plugin


def test_a_reason_of_several_lines_is_read_as_one() -> None:
    assert read("web", State__Error="one\n  two").error == "one two"
