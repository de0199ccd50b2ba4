"""The overlay driver among others: what is not its own stays, and a failure leaves nothing half-made."""

import asyncio
from typing import Any

import pytest

from ovn_docker.errors import ConflictError, HostError
from ovn_docker.host import attachment
from ovn_docker.libnetwork import messages
from ovn_docker.ovn import nb_global
from ovn_docker.ovn import switches as nb_schema
from ovn_docker.ovsdb.operations import mutate, reference, to_map
from tests.functional.overlay.overlay_host import (
    ENDPOINT,
    INSIDE,
    NET,
    OTHER_ENDPOINT,
    OTHER_NET,
    OUTSIDE,
    Host,
    Place,
    at,
    endpoint,
    join,
    network,
    of,
    only,
)
from tests.functional.private_network import in_private_network, ip, links
from tests.functional.servers import until

pytestmark = pytest.mark.functional

PORT, SWITCH, ROUTER_PORT = "Logical_Switch_Port", "Logical_Switch", "Logical_Router_Port"


def foreign_port(place: Place, name: str, switch: str = NET, **row: Any) -> None:  # noqa: ANN401  (JSON values)
    """A port that an administrator adds to a switch, as by ``ovn-nbctl lsp-add``."""
    place.northbound.transact(
        {"op": "insert", "table": PORT, "uuid-name": "p", "row": {"name": name} | row},
        {
            "op": "mutate",
            "table": SWITCH,
            "where": [["name", "==", switch]],
            "mutations": [["ports", "insert", ["named-uuid", "p"]]],
        },
    )


def foreign_switch(place: Place, name: str) -> None:
    place.northbound.transact({"op": "insert", "table": SWITCH, "row": {"name": name}})


async def prepared(host: Host, *pools: str, internal: bool = False) -> None:
    await host.driver.create_network(network(*(pools or ("10.0.0.0/24",)), internal=internal))
    ipv6 = "fd00::2/64" if any(":" in pool for pool in pools) else ""
    await host.driver.create_endpoint(endpoint(ipv6=ipv6))


# --- What belongs to others ---------------------------------------------------------------------------------


@in_private_network
async def test_a_switch_of_somebody_else_is_neither_used_nor_removed(place: Place) -> None:
    foreign_switch(place, NET)
    async with place.host() as host:
        with pytest.raises(ConflictError, match="this driver did not make"):
            await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.delete_network(at())
        assert host.switches() == [NET]


@in_private_network
async def test_a_port_of_somebody_else_is_neither_used_nor_removed(place: Place) -> None:
    foreign_switch(place, "theirs")
    foreign_port(place, ENDPOINT, "theirs")
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        with pytest.raises(ConflictError, match=f"port named {ENDPOINT} .* made by somebody else"):
            await host.driver.create_endpoint(endpoint())
        await host.driver.delete_endpoint(of())
        assert host.ports() == [ENDPOINT]
        await host.driver.delete_network(at())
        assert host.switches() == ["theirs"]


@in_private_network
async def test_a_switch_with_a_port_of_somebody_else_stays_whole(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        foreign_port(place, "router-port", type="router")
        with pytest.raises(ConflictError, match=r"1 port\(s\) of others are on it, router-port among them"):
            await host.driver.delete_network(at())
        assert host.ports() == sorted([ENDPOINT, "router-port"])


@pytest.mark.parametrize(
    "marks",
    [
        {"ovn-docker-network": NET, "ovn-docker-host": "chassis-2"},
        {"ovn-docker-network": OTHER_NET, "ovn-docker-host": "chassis-1"},
    ],
)
@in_private_network
async def test_a_port_with_other_marks_keeps_the_switch(place: Place, marks: dict[str, str]) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        foreign_port(place, OTHER_ENDPOINT, external_ids=to_map(marks))
        with pytest.raises(ConflictError, match=OTHER_ENDPOINT):
            await host.driver.delete_network(at())
        assert host.ports() == [OTHER_ENDPOINT]


@in_private_network
async def test_leftovers_of_this_host_go_with_their_network(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        await host.driver.create_endpoint(endpoint("10.0.0.3/24", endpoint_id=OTHER_ENDPOINT))
        await host.driver.delete_network(at())
        assert (host.switches(), host.ports()) == ([], [])


@pytest.mark.parametrize("change", ["comes", "goes"])
@in_private_network
async def test_a_port_that_comes_or_goes_meanwhile_does_not_save_the_switch(
    place: Place, change: str
) -> None:
    marks = {"ovn-docker-network": NET, "ovn-docker-host": "chassis-1"}
    moment = {"comes": 3, "goes": 1}[change]  # before the second delete, and before the ports are read

    def interfere(_: list[dict[str, Any]]) -> None:
        if len(host.proxy.transactions) != moment:
            return
        if change == "comes":
            foreign_port(place, OTHER_ENDPOINT, external_ids=to_map(marks))
        else:
            row = {"ports": ["set", []]}
            place.northbound.transact({"op": "update", "table": SWITCH, "where": [], "row": row})

    async with place.host() as host:
        await prepared(host)
        host.proxy.transactions.clear()
        host.proxy.before = interfere
        await host.driver.delete_network(at())
        assert (host.switches(), host.ports()) == ([], [])
        assert len(host.proxy.transactions) > moment


@in_private_network
async def test_a_port_that_was_moved_by_hand_is_still_removed(place: Place) -> None:
    foreign_switch(place, "elsewhere")
    async with place.host() as host:
        await prepared(host)
        port = reference(nb_schema.port_id(NET, ENDPOINT))
        moves = [(NET, "delete"), ("elsewhere", "insert")]
        place.northbound.transact(
            *(
                {
                    "op": "mutate",
                    "table": SWITCH,
                    "where": [["name", "==", name]],
                    "mutations": [["ports", what, port]],
                }
                for name, what in moves
            )
        )
        await host.driver.delete_endpoint(of())
        assert host.ports() == []


@in_private_network
async def test_a_switch_that_was_renamed_by_hand_is_still_the_networks(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        place.northbound.transact({"op": "update", "table": SWITCH, "where": [], "row": {"name": "blue"}})
        await host.driver.join(join())
        await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.delete_endpoint(of())
        await host.driver.delete_network(at())
        assert host.switches() == []


@pytest.mark.parametrize("taken", [OUTSIDE, INSIDE])
@in_private_network
async def test_a_link_of_somebody_else_makes_join_fail_and_stays(place: Place, taken: str) -> None:
    ip("link", "add", taken, "type", "veth", "peer", "name", "theirs")
    async with place.host() as host:
        await prepared(host)
        with pytest.raises(ConflictError, match="belongs to somebody else"):
            await host.driver.join(join())
        await host.driver.leave(of())
        await host.driver.delete_endpoint(of())
        assert links() == {taken, "theirs"}
        assert host.interfaces() == {}


@in_private_network
async def test_an_ovs_port_of_somebody_else_makes_join_fail_and_stays(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        place.open_vswitch.transact(
            {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": OUTSIDE}},
            {
                "op": "insert",
                "table": "Port",
                "uuid-name": "p",
                "row": {"name": OUTSIDE, "interfaces": ["named-uuid", "i"]},
            },
            {
                "op": "mutate",
                "table": "Bridge",
                "where": [["name", "==", "br-int"]],
                "mutations": [["ports", "insert", ["named-uuid", "p"]]],
            },
        )
        with pytest.raises(ConflictError, match=f"remove it with 'ovs-vsctl del-port {OUTSIDE}'"):
            await host.driver.join(join())
        await host.driver.delete_endpoint(of())
        assert links() == set()
        assert list(host.interfaces()) == [OUTSIDE]


# --- A Join that fails --------------------------------------------------------------------------------------


@in_private_network
async def test_a_join_without_flows_is_undone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "INSTALL_TIMEOUT", 0.3)
    async with place.host() as host:
        await prepared(host)
        host.daemons.installs = False
        with pytest.raises(HostError, match="OVN did not install the flows"):
            await host.driver.join(join())
        assert host.nothing_is_left()
        host.daemons.installs = True
        await host.driver.join(join())
        assert links() == {OUTSIDE, INSIDE}


@in_private_network
async def test_a_join_that_ovs_refuses_is_undone_and_says_why(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        host.daemons.error = "could not open network device"
        with pytest.raises(HostError, match=f"could not use {OUTSIDE} of .*: could not open network device"):
            await host.driver.join(join())
        assert host.nothing_is_left()


@pytest.mark.parametrize("moment", ["link", "port"])
@in_private_network
async def test_a_join_that_is_cancelled_is_undone(place: Place, moment: str) -> None:
    async with place.host() as host:
        await prepared(host)
        host.daemons.installs = False
        joining = asyncio.create_task(host.driver.join(join()))
        if moment == "link":
            await until(lambda: OUTSIDE in links(), "the link is there")
        else:
            await until(lambda: OUTSIDE in host.interfaces(), "the port is there")
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert host.nothing_is_left()


@in_private_network
async def test_without_the_integration_bridge_join_says_what_creates_it(place: Place) -> None:
    async with place.host(**{"ovn-bridge": "br-missing"}) as host:
        await prepared(host)
        with pytest.raises(HostError, match="this host has no bridge br-missing: ovn-controller makes it"):
            await host.driver.join(join())
        assert host.nothing_is_left()


@in_private_network
async def test_a_bridge_that_vanishes_during_a_join_leaves_nothing(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        work = asyncio.create_task(host.driver.join(join()))
        place.open_vswitch.transact(
            {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"bridges": ["set", []]}}
        )
        with pytest.raises(HostError):
            await asyncio.wait_for(work, 10)
        assert links() == set()


# --- A reply that is lost -----------------------------------------------------------------------------------


@in_private_network
async def test_every_verb_survives_the_loss_of_its_reply(place: Place) -> None:
    async with place.host() as host:
        driver = host.driver
        host.proxy.lose_replies = 1
        await driver.create_network(network("10.0.0.0/24"))
        assert host.switches() == [NET]
        host.proxy.lose_replies = 1
        created = await driver.create_endpoint(endpoint())
        assert created.interface is not None
        assert host.ports() == [ENDPOINT]
        host.proxy.lose_replies = 1
        await driver.join(join())
        await driver.leave(of())
        host.proxy.lose_replies = 1
        await driver.delete_endpoint(of())
        assert host.ports() == []
        host.proxy.lose_replies = 1
        await driver.delete_network(at())
        assert host.switches() == []
        assert host.proxy.lose_replies == 0


# --- A router on the switch ---------------------------------------------------------------------------------


def router(place: Place, *networks: str, switch: str = NET, name: str = "lrp") -> None:
    """A router with a port on the switch, as by ``ovn-nbctl lr-add``, ``lrp-add`` and ``lsp-add``."""
    row = {"name": name, "mac": "02:00:00:00:00:01", "networks": ["set", list(networks)]}
    place.northbound.transact(
        {"op": "insert", "table": "Logical_Router_Port", "uuid-name": "p", "row": row},
        {
            "op": "insert",
            "table": "Logical_Router",
            "row": {"name": f"lr-{name}", "ports": ["set", [["named-uuid", "p"]]]},
        },
    )
    options = to_map({"router-port": name})
    foreign_port(place, f"to-{name}", switch, type="router", addresses="router", options=options)


@in_private_network
async def test_a_routers_addresses_are_the_gateways(place: Place) -> None:
    async with place.host() as host:
        await prepared(host, "10.0.0.0/24", "fd00::/64")
        router(place, "172.16.0.1/24", "10.0.0.1/24", "fe80::1/64", "fd00::1/64")
        router(place, "10.9.0.1/24", switch=NET, name="lrp2")
        await until(lambda: len(host.clients[1].replica.rows(ROUTER_PORT)) == 2, "the router is known")
        answer = await host.driver.join(join())
        assert (answer.gateway, answer.gateway_ipv6) == ("10.0.0.1", "fd00::1")
        assert not answer.disable_gateway_service


@in_private_network
async def test_a_router_of_another_switch_is_no_gateway(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        await host.driver.create_network(network("10.0.0.0/24", network_id=OTHER_NET))
        router(place, "10.0.0.1/24", switch=OTHER_NET)
        await until(lambda: host.clients[1].replica.rows(ROUTER_PORT), "the router is known")
        assert (await host.driver.join(join())).gateway == ""


@in_private_network
async def test_a_gateway_comes_and_goes_with_the_router(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        rows = host.clients[1].replica.rows(ROUTER_PORT)
        answers = []
        for change in ("none", "added", "removed"):
            if change == "added":
                router(place, "10.0.0.1/24")
                await until(lambda: rows, "the router is known")
            if change == "removed":
                where = [["name", "==", NET]]
                mutation = ["ports", "delete", port_named(place, "to-lrp")]
                place.northbound.transact(
                    {"op": "mutate", "table": SWITCH, "where": where, "mutations": [mutation]}
                )
            answers.append((await host.driver.join(join())).gateway)
            await host.driver.leave(of())
        assert answers == ["", "10.0.0.1", ""]


@in_private_network
async def test_nothing_leads_out_of_an_internal_network(place: Place) -> None:
    async with place.host() as host:
        await prepared(host, internal=True)
        router(place, "10.0.0.1/24")
        await until(lambda: host.clients[1].replica.rows(ROUTER_PORT), "the router is known")
        answer = await host.driver.join(join())
        assert (answer.gateway, answer.gateway_ipv6) == ("", "")
        assert answer.disable_gateway_service


@in_private_network
async def test_a_router_port_moved_by_hand_is_followed(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        await host.driver.create_network(network("10.0.0.0/24", network_id=OTHER_NET))
        router(place, "10.0.0.1/24")
        await until(lambda: host.clients[1].replica.rows(ROUTER_PORT), "the router is known")
        assert (await host.driver.join(join())).gateway == "10.0.0.1"
        await host.driver.leave(of())
        port = port_named(place, "to-lrp")
        place.northbound.transact(
            *(
                {
                    "op": "mutate",
                    "table": SWITCH,
                    "where": [["name", "==", name]],
                    "mutations": [["ports", what, port]],
                }
                for name, what in ((NET, "delete"), (OTHER_NET, "insert"))
            )
        )
        assert only([row for row in host.northbound.rows(SWITCH, "name", "ports") if row["name"] == NET])
        assert (await host.driver.join(join())).gateway == ""


async def routers(host: Host, number: int, switch: str) -> None:
    """So many router ports on a switch."""
    names = [f"elsewhere-{each}" for each in range(number)]
    ports = [{"name": each, "type": "router", "options": to_map({"router-port": each})} for each in names]
    router_ports = [{"name": each, "mac": "02:00:00:00:00:02", "networks": "10.9.0.1/24"} for each in names]
    await host.clients[1].transact(
        [
            *_inserts(PORT, "s", ports),
            mutate(SWITCH, [("name", "==", switch)], ("ports", "insert", _all("s", number))),
            *_inserts(ROUTER_PORT, "r", router_ports),
            {"op": "insert", "table": "Logical_Router", "row": {"name": "r", "ports": _all("r", number)}},
        ]
    )


def _inserts(table: str, prefix: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"op": "insert", "table": table, "uuid-name": f"{prefix}{number}", "row": row}
        for number, row in enumerate(rows)
    ]


def _all(prefix: str, number: int) -> Any:  # noqa: ANN401  (an OVSDB value)
    return ["set", [["named-uuid", f"{prefix}{each}"] for each in range(number)]]


def port_named(place: Place, name: str) -> Any:  # noqa: ANN401  (an OVSDB value)
    """A reference to the logical switch port of a name."""
    return only([row for row in place.northbound.ports("_uuid", "name") if row["name"] == name])["_uuid"]


@in_private_network
async def test_a_router_is_found_among_many_by_few_questions(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        await host.driver.create_network(network("10.0.0.0/24", network_id=OTHER_NET))
        await routers(host, 1000, OTHER_NET)
        known = host.clients[1].replica.rows(ROUTER_PORT)
        await until(lambda: len(known) == 1000, "the routers are known")
        answers, asked = [], []
        for number in (1000, 1001):
            if number > len(known):
                router(place, "10.0.0.1/24")
                await until(lambda: len(known) == 1001, "the router is known")
            host.proxy.transactions.clear()
            answers.append((await host.driver.join(join())).gateway)
            asked.append(sum(len(each) for each in host.proxy.transactions))
            await host.driver.leave(of())
        assert answers == ["", "10.0.0.1"]
        assert max(asked) < 10, "far fewer than routers"


@in_private_network
async def test_a_router_on_a_shared_switch_is_the_gateway(place: Place) -> None:
    async with place.host() as host:
        options = {messages.GENERIC: {"create": "true"}}
        shared = messages.CreateNetworkRequest(
            network_id=NET, options=options, ipv4_data=[messages.IPAMData(pool="10.0.0.0/24")], ipv6_data=[]
        )
        await host.driver.create_network(shared)
        await host.driver.create_endpoint(endpoint())
        [switch] = host.switches()
        answers = []
        for change in ("none", "added"):
            if change == "added":
                router(place, "10.0.0.1/24", switch=switch)
                await until(lambda: host.clients[1].replica.rows(ROUTER_PORT), "the router is known")
            answers.append((await host.driver.join(join())).gateway)
            await host.driver.leave(of())
        assert answers == ["", "10.0.0.1"]


@in_private_network
async def test_a_driver_watches_no_table_that_has_rows_for_containers(place: Place) -> None:
    async with place.host() as host:
        await prepared(host)
        watched = host.clients[1].replica.watches
        assert set(watched) == {ROUTER_PORT, SWITCH, nb_global.TABLE}
        assert watched[nb_global.TABLE].columns == ("ipsec",), "the rest of that row changes all the time"
        assert watched[SWITCH].where, "of the switches those alone that a VTEP was configured for"
        assert dict(host.clients[1].replica.rows(SWITCH)) == {}
