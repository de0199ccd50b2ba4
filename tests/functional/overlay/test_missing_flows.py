"""A Join whose flows do not come says why, from what OVN's programs wrote; real databases."""

import asyncio
from typing import Any

import pytest

from ovn_docker.errors import HostError
from ovn_docker.host import attachment
from ovn_docker.ovsdb.operations import to_map
from tests.functional.overlay.overlay_host import ENDPOINT, OUTSIDE, Host, Place, endpoint, join, network
from tests.functional.private_network import in_private_network

pytestmark = [pytest.mark.functional, pytest.mark.timeout(60)]

ENCAP, REMOTE = {"ovn-encap-ip": "192.0.2.1"}, {"ovn-remote": "tcp:192.0.2.9:6642"}
JOINS_OVN = ENCAP | REMOTE
PREFIX = f"OVN did not install the flows of endpoint {ENDPOINT} within 0.3 s: "


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "INSTALL_TIMEOUT", 0.3)


async def failure(host: Host) -> str:
    """Why a Join fails on this host; it leaves nothing."""
    host.daemons.installs = False
    with pytest.raises(HostError) as caught:
        await host.driver.join(join())
    assert host.nothing_is_left()
    return str(caught.value)


async def prepared(host: Host, *, up: bool | None) -> None:
    """Make the network and an endpoint, with what ovn-northd writes at the port."""
    await host.driver.create_network(network("10.0.0.0/24"))
    await host.driver.create_endpoint(endpoint())
    if up is not None:
        row = {"up": up}
        host.northbound.transact({"op": "update", "table": "Logical_Switch_Port", "where": [], "row": row})


def write_datapath(place: Place, kind: str, **capabilities: str) -> None:
    """Describe a datapath as ovs-vswitchd does for ovn-controller."""
    datapaths = ["map", [[kind, ["named-uuid", "d"]]]]
    where: list[Any] = []
    place.open_vswitch.transact(
        {
            "op": "insert",
            "table": "Datapath",
            "uuid-name": "d",
            "row": {"capabilities": to_map(capabilities)},
        },
        {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": where,
            "mutations": [["datapaths", "insert", datapaths]],
        },
    )


@in_private_network
async def test_a_port_that_northd_did_not_make(place: Place) -> None:
    async with place.host(**JOINS_OVN) as host:
        await prepared(host, up=None)
        text = await failure(host)
        assert text.startswith(f"{PREFIX}ovn-northd has not made its port in OVN Southbound: see whether")


@pytest.mark.parametrize(("kept", "missing"), [(ENCAP, "ovn-remote"), (REMOTE, "ovn-encap-ip")])
@in_private_network
async def test_a_setting_without_which_the_host_is_not_in_ovn(
    place: Place, kept: dict[str, str], missing: str
) -> None:
    async with place.host(**kept) as host:
        await prepared(host, up=False)
        text = await failure(host)
        assert text.startswith(f"{PREFIX}external_ids:{missing} is not set in Open_vSwitch, so ovn-contr")


@pytest.mark.parametrize(("datapath", "kind"), [("netdev", "netdev"), ("", "system")])
@in_private_network
async def test_a_datapath_that_lacks_what_the_flows_use(place: Place, datapath: str, kind: str) -> None:
    place.datapath = datapath
    async with place.host(**JOINS_OVN) as host:
        write_datapath(place, kind, recirc="true", ct_state="true", ct_zone="false", psample="false")
        await prepared(host, up=False)
        text = await failure(host)
        assert text.startswith(f"{PREFIX}Open vSwitch refuses them, for its datapath on this host lacks ct_z")
        assert "psample" not in text


@in_private_network
async def test_what_another_datapath_of_the_host_lacks_is_no_cause(place: Place) -> None:
    async with place.host(**JOINS_OVN) as host:
        write_datapath(place, "system", ct_zone="false")
        write_datapath(place, "netdev", ct_zone="true")
        await prepared(host, up=False)
        assert (await failure(host)).startswith(f"{PREFIX}ovn-controller has not taken up its port")


@in_private_network
async def test_a_port_that_ovn_controller_did_not_take_up(place: Place) -> None:
    async with place.host(**JOINS_OVN) as host:
        await prepared(host, up=False)
        text = await failure(host)
        assert text.startswith(
            f"{PREFIX}ovn-controller has not taken up its port: see whether it runs and re"
        )
        assert "reaches tcp:192.0.2.9:6642 (ovn-remote)" in text


@in_private_network
async def test_a_port_that_ovn_controller_has_not_finished(place: Place) -> None:
    async with place.host(**JOINS_OVN) as host:
        zone = ["external_ids", "insert", to_map({f"ct-zone-{ENDPOINT}": "1"})]
        place.open_vswitch.transact({"op": "mutate", "table": "Bridge", "where": [], "mutations": [zone]})
        await prepared(host, up=False)
        assert (await failure(host)).startswith(f"{PREFIX}ovn-controller knows its port and has not finished")


@in_private_network
async def test_a_port_that_ovs_vswitchd_did_not_take_up(place: Place) -> None:
    async with place.host(**JOINS_OVN) as host:
        await prepared(host, up=False)
        host.daemons.runs = False
        text = await failure(host)
        assert text.startswith(
            f"Open vSwitch did not configure {OUTSIDE} of endpoint {ENDPOINT} within 0.3 s: "
        )


@in_private_network
async def test_northbound_that_does_not_answer_is_not_waited_for(place: Place) -> None:
    async with place.host(**JOINS_OVN) as host:
        await prepared(host, up=False)

        def lose_when_asked(operations: list[dict[str, Any]]) -> None:
            if operations[0].get("columns") == ["up"]:
                host.proxy.lose_replies = 1000

        host.proxy.before = lose_when_asked
        async with asyncio.timeout(5):
            text = await failure(host)
        assert (
            text
            == f"{PREFIX}see whether ovn-controller runs, is connected to ovn-remote, and ovn-northd runs"
        )
