"""A host that OVN does not serve, looked at through a real database, a real kernel, and commands."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ovn_docker.cli import cluster_checks
from ovn_docker.daemon.components import running
from ovn_docker.health.reader import HostReader
from ovn_docker.host.attachment import Attachments
from ovn_docker.libnetwork.plugin_discovery import address_of, silence
from ovn_docker.overlay.network_spec import SharedNetwork
from ovn_docker.ovsdb.operations import to_map
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import Databases, task
from tests.functional.health.whole_host import WholeHost
from tests.functional.overlay.overlay_host import endpoint, network
from tests.functional.servers import until

pytestmark = pytest.mark.functional


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    return Databases(make_server)


@pytest.fixture
async def host(databases: Databases) -> AsyncIterator[WholeHost]:
    made = WholeHost(databases.open_vswitch("h1", encap_ip="192.0.2.1"))
    async with made.docker():
        yield made


async def test_check_fails_where_no_interface_has_the_tunnel_address(host: WholeHost) -> None:
    done = await host.run("check")
    assert done.returncode == 1
    assert done.stdout.startswith("encap-foreign: no interface of this host has the tunnel address 192.0.2.1")


@pytest.mark.slow
async def test_findings_about_the_host_come_before_the_outage_they_explain(
    databases: Databases, host: WholeHost
) -> None:
    databases.northbound.kill()
    for command in ("check", "repair"):
        done = await host.run(command)
        assert done.returncode == 3
        assert done.stdout.startswith(
            "encap-foreign: no interface of this host has the tunnel address 192.0.2.1"
        )
        assert done.stderr.startswith("ovn-docker: OVN Northbound cannot be reached at ")
    output = json.loads((await host.run("check", "--json")).stdout)
    assert [finding["kind"] for finding in output["findings"]] == ["encap-foreign"]
    assert output["error"].startswith("OVN Northbound cannot be reached at ")
    host.open_vswitch.kill()
    done = await host.run("check")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ovn-docker: Open vSwitch cannot be reached at ")


@pytest.mark.slow
async def test_many_findings_of_a_kind_are_told_in_few_lines_and_what_to_type(
    databases: Databases, host: WholeHost
) -> None:
    async with host.driver() as driver:
        await driver.parts.driver.create_network(network("10.0.0.0/24"))
        for number in range(2, 10):
            request = endpoint(f"10.0.0.{number}/24", endpoint_id=f"{number}" * 64)
            await driver.parts.driver.create_endpoint(request)
    done = await host.run("check")
    lines = [each for each in done.stdout.splitlines() if each.startswith("endpoint-stale")]
    assert lines[0].endswith("does not have; a repair would remove the port and release what it claimed")
    assert (len(lines), lines[-1]) == (6, "endpoint-stale: and 3 more of kind endpoint-stale: see --json")
    assert done.stdout.endswith(" of them only by hand, as their lines say: run 'ovn-docker repair'\n")
    done = await host.run("repair")
    assert done.stdout.count("\nrepaired: OVN has a port for endpoint ") == 5
    assert "\nnorthd-down: no ovn-northd works on OVN Southbound" in done.stdout
    assert done.returncode == 1
    assert databases.ports() == []


async def test_a_host_without_a_tunnel_address_is_at_healthz_when_seen_twice(
    databases: Databases,
) -> None:
    host = WholeHost(await asyncio.to_thread(databases.open_vswitch, "h1"))
    async with host.docker(), host.driver() as driver:
        assert [each.kind for each in await driver.findings()] == ["setting-missing"]
        attachments = Attachments(driver.parts.ovs, driver.parts.links)
        reader = HostReader(attachments, driver.parts.links, interval=0.05)
        assert reader.problems() == ()
        async with task(reader.run()):
            await until(reader.problems, "it is shown")
            [problem] = reader.problems()
            assert problem.startswith("external_ids:ovn-encap-ip is not set in Open_vSwitch")
            ids = to_map({"system-id": "h1", "ovn-remote": "tcp:192.0.2.9:6642", "ovn-encap-ip": "127.0.0.1"})
            change = {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"external_ids": ids}}
            await asyncio.to_thread(host.open_vswitch.transact, change)
            await until(lambda: not reader.problems(), "nothing is wrong any more")


@pytest.mark.slow
async def test_a_tunnel_without_a_route_is_found_by_check(host: WholeHost) -> None:
    interface = {
        "name": "ovn-h2-0",
        "type": "geneve",
        "options": to_map({"remote_ip": "198.51.100.7", "key": "flow"}),
    }
    host.open_vswitch.transact(
        {"op": "insert", "table": "Interface", "uuid-name": "i", "row": interface},
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": "p",
            "row": {"name": "ovn-h2-0", "interfaces": ["named-uuid", "i"]},
        },
        {
            "op": "insert",
            "table": "Bridge",
            "uuid-name": "b",
            "row": {"name": "br-int", "ports": ["named-uuid", "p"]},
        },
        {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"bridges": ["named-uuid", "b"]}},
    )
    done = await host.run("check")
    assert "tunnel-down: no packet reaches the tunnel address 198.51.100.7: this host has no" in done.stdout


async def test_the_switch_of_a_network_that_is_there_twice_is_found(
    databases: Databases, host: WholeHost
) -> None:
    async with host.driver() as driver:
        shared = driver.parts.shared
        net = SharedNetwork(
            "n" * 64,
            "one",
            "",
            "default",
            ("10.0.0.0/24",),
            "",
            create=True,
            leased=True,
            internal=False,
            mtu=None,
        )
        await shared.create(net, net.as_switch())
        assert await cluster_checks.doubled_switches(shared) == []
        keys = to_map({"subnet": "10.0.0.0/24", "subnet_context": "default"})
        row = {"name": "another", "external_ids": keys}
        insert = {"op": "insert", "table": "Logical_Switch", "row": row}
        await asyncio.to_thread(databases.northbound.transact, insert)
        [finding] = await cluster_checks.doubled_switches(shared)
        assert (finding.kind, finding.subject) == ("switch-twice", "10.0.0.0/24 default")
        assert "is on logical switch one here and on another too" in finding.text


async def test_a_driver_that_waits_for_open_vswitch_says_which_service_to_start(host: WholeHost) -> None:
    parts = host.assemble()
    host.open_vswitch.kill()
    async with running(parts):
        await until(lambda: "Connection refused" in parts.ovs.outage(), "it was tried")
        assert parts.ovs.outage().endswith(
            "check that its ovsdb-server is running ('systemctl start openvswitch-switch')"
        )


async def test_a_driver_that_does_not_answer_is_told_with_the_reason(short_path: Path) -> None:
    path = short_path / "plugin.sock"
    address = f"unix://{path}"
    assert await asyncio.to_thread(silence, address) == f"{address}: No such file or directory"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert await asyncio.to_thread(silence, address) == f"{address}: Connection refused"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    path.unlink()
    server = await asyncio.start_unix_server(answer, str(path))
    try:
        assert await asyncio.to_thread(silence, address) == ""
    finally:
        server.close()


def test_a_driver_that_docker_would_not_find_has_no_address() -> None:
    assert address_of("no-driver-has-this-name") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace and a /proc of its own")
def test_the_daemons_of_a_host_are_seen_from_the_units_sandbox(short_path: Path) -> None:
    """As ProcSubset=pid leaves it /proc, and only those of the own network namespace."""
    code = (
        "import socket, sys; from ovn_docker.health.snapshot import running_here;"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "print(sorted(running_here().running)); s.close(); print(sorted(running_here().running))"
    )
    inside = 'mount -t proc -o subset=pid proc /proc && exec "$0" -c "$1" "$2"'
    path = str(short_path / "ovn-controller.17.ctl")
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", inside, sys.executable, code, path],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("['ovn-controller']\n[]\n", "")
