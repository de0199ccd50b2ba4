"""Networks of many hosts on one switch: which switch it is, who makes it, and who may never take it away."""

import asyncio
import hashlib
import json
import re
import shlex
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ovn_docker.errors import ConflictError, HostError, NotFoundError, RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.networks import NETWORKS
from ovn_docker.ovsdb.operations import mapping
from ovn_docker.state_file import StateFile
from tests.functional.overlay.shared_host import SUBNET, Flags, Hosts, create
from tests.functional.servers import Proxy, until

pytestmark = pytest.mark.functional

GUIDES_SUBNET = "10.10.10.0/24"
GUIDES_SWITCH = "19a05268b5eb3df10e2d50b8220505ea0026679bb62eb39d71c8707dd5165248"
DISTRIBUTED = Flags(distributed=True)
ENDPOINTS = ["a0b1c2d3" * 8, "e0e1e2e3" * 8, "f0f1f2f3" * 8]


def guides_switch(hosts: Hosts, *ids: str, name: str = GUIDES_SWITCH) -> None:
    """What the guide has an administrator type."""
    given = ids or (
        "external_ids:subnet=10.10.10.0/24",
        "external_ids:gateway_ip=10.10.10.1",
        "external_ids:subnet_context=default",
    )
    hosts.nbctl("ls-add", name, "--", "set", "Logical_Switch", name, *given)


# --- The guide's --distributed ------------------------------------------------------------------------------


async def test_a_distributed_network_is_on_the_guides_switch_which_outlives_it(hosts: Hosts) -> None:
    guides_switch(hosts)
    before = hosts.nbctl("list", "Logical_Switch")
    async with hosts.host("h", DISTRIBUTED) as host, hosts.host("i", DISTRIBUTED) as other:
        network = await host.plain_network_create(GUIDES_SUBNET, gateway="10.10.10.1")
        theirs = await other.network_create(GUIDES_SUBNET)
        assert theirs.data[0].gateway == "10.10.10.1/24"
        await host.endpoint(network, ENDPOINTS[0], "10.10.10.2/24")
        assert ENDPOINTS[0] in hosts.nbctl("lsp-list", GUIDES_SWITCH)
        await host.driver.delete_endpoint(
            messages.EndpointRequest(network_id=network.network_id, endpoint_id=ENDPOINTS[0])
        )
        await host.network_rm(network)
        await other.network_rm(theirs)
    assert hosts.nbctl("list", "Logical_Switch") == before
    assert hosts.northbound.rows("DHCP_Options") == []


async def test_a_distributed_network_without_its_switch_says_what_to_type(hosts: Hosts) -> None:
    async with hosts.host("h", DISTRIBUTED) as host:
        with pytest.raises(NotFoundError) as caught:
            await host.plain_network_create(GUIDES_SUBNET, gateway="10.10.10.1")
        [command] = re.findall("'ovn-nbctl (.*?)'", str(caught.value))
        hosts.nbctl(*command.split())
        network = await host.plain_network_create(GUIDES_SUBNET, gateway="10.10.10.1")
        assert hosts.switches() == [GUIDES_SWITCH]
        await host.network_rm(network)
        assert hosts.switches() == [GUIDES_SWITCH]


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (["external_ids:subnet=10.10.0.0/16"], "does not say what it is for: set it with 'ovn-nbctl"),
        (["external_ids:gateway_ip=10.10.10.1"], "does not say what it is for: set it with 'ovn-nbctl"),
        (
            ["external_ids:subnet=10.10.0.0/16", "external_ids:gateway_ip=10.10.10.1"],
            "is for subnet 10.10.0.0/16, not for 10.10.10.0/24",
        ),
        (
            ["external_ids:subnet=10.10.10.0/24", "external_ids:gateway_ip=10.10.10.9"],
            "has the gateway 10.10.10.9, not 10.10.10.1: create the network with --gateway 10.10.10.9",
        ),
        (
            [
                "external_ids:subnet=10.10.10.0/24",
                "external_ids:gateway_ip=10.10.10.1",
                "external_ids:subnet_context=red",
            ],
            "is for context red, not for default",
        ),
    ],
)
async def test_a_switch_that_was_meant_for_something_else_is_refused(
    hosts: Hosts, ids: list[str], text: str
) -> None:
    guides_switch(hosts, *ids)
    async with hosts.host("h", DISTRIBUTED) as host:
        with pytest.raises(ConflictError, match=re.escape(text)):
            await host.plain_network_create(GUIDES_SUBNET, gateway="10.10.10.1")
        assert host.shared.all() == []


async def test_two_switches_of_one_name_are_refused(hosts: Hosts) -> None:
    guides_switch(hosts)
    hosts.nbctl("--add-duplicate", "ls-add", GUIDES_SWITCH)
    async with hosts.host("h", DISTRIBUTED) as host:
        with pytest.raises(ConflictError, match="OVN has 2 logical switches named"):
            await host.plain_network_create(GUIDES_SUBNET)


async def test_contexts_with_overlapping_subnets_are_different_switches(hosts: Hosts) -> None:
    async with hosts.host("h", Flags(context="red")) as red, hosts.host("h2", Flags(context="blue")) as blue:
        for host in (red, blue):
            network = await host.plain_network_create(SUBNET, options={"create": "true"})
            await host.endpoint(network, ENDPOINTS[0] if host is red else ENDPOINTS[1], "10.0.0.2/24")
        named = await red.plain_network_create(SUBNET, options={"create": "true", "context": "green"})
        await red.endpoint(named, ENDPOINTS[2], "10.0.0.2/24")
    assert len(hosts.switches()) == 3
    rows = hosts.northbound.rows("Logical_Switch", "external_ids")
    assert {mapping(row["external_ids"])["subnet_context"] for row in rows} == {"red", "blue", "green"}


# --- -o create and -o switch --------------------------------------------------------------------------------


async def test_a_switch_made_by_many_hosts_at_once_is_one(hosts: Hosts) -> None:
    async with hosts.several(5) as several:
        networks = await asyncio.gather(
            *(
                host.plain_network_create(SUBNET, gateway="10.0.0.1", options={"create": "true"})
                for host in several
            )
        )
        [row] = hosts.northbound.rows("Logical_Switch", "name", "external_ids")
        ids = mapping(row["external_ids"])
        assert (ids["subnet"], ids["gateway_ip"], ids["subnet_context"]) == (SUBNET, "10.0.0.1", "default")
        for host, network in zip(several, networks, strict=True):
            await host.network_rm(network)
    assert hosts.switches() == []


async def test_a_switch_that_was_renamed_says_how_to_name_it_as_it_was(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        network = await host.network_create(SUBNET)
        [name] = hosts.switches()
        hosts.nbctl("set", "Logical_Switch", name, "name=backend")
        with pytest.raises(ConflictError, match=f"logical switch {name} was renamed to backend") as refused:
            await other.network_create(SUBNET)
        assert (await host.run(network)).endpoint_id in hosts.ports()
        [command] = re.findall("'ovn-nbctl ([^']*)'", str(refused.value))
        hosts.nbctl(*shlex.split(command))
        await other.network_create(SUBNET)
        assert hosts.switches() == [name]


async def test_a_named_switch_is_never_deleted_or_rewritten(hosts: Hosts) -> None:
    hosts.allowed_switch("mine")
    hosts.nbctl("set", "Logical_Switch", "mine", "other_config:mcast_snoop=true")
    before = hosts.nbctl("list", "Logical_Switch")
    async with hosts.several(2) as several:
        networks = [
            await host.plain_network_create(SUBNET, gateway="10.0.0.1", options={"switch": "mine"})
            for host in several
        ]
        for host, network, endpoint in zip(several, networks, ENDPOINTS, strict=False):
            await host.endpoint(network, endpoint, f"10.0.0.1{host.name[1:]}/24")
        assert sorted(hosts.ports()) == sorted(ENDPOINTS[:2])
        for host, network, endpoint in zip(several, networks, ENDPOINTS, strict=False):
            request = messages.EndpointRequest(network_id=network.network_id, endpoint_id=endpoint)
            await host.driver.delete_endpoint(request)
            await host.network_rm(network)
        with pytest.raises(NotFoundError, match="OVN has no logical switch named 'yours': make it with"):
            await several[0].plain_network_create(SUBNET, options={"switch": "yours"})
    assert hosts.nbctl("list", "Logical_Switch") == before


async def test_addresses_claimed_on_a_named_switch_are_not_leased_from_its_pool(
    hosts: Hosts,
) -> None:
    hosts.allowed_switch("mine")
    named = {"switch": "mine"}
    async with hosts.several(3) as (plain, one, two):
        theirs = await plain.plain_network_create(SUBNET, gateway="10.0.0.1", options=named)
        await plain.endpoint(theirs, ENDPOINTS[0], "10.0.0.3/24")
        networks = [
            await host.network_create(SUBNET, options=named, ipam_options={"context": context})
            for host, context in ((one, "a"), (two, "b"))
        ]
        got = [
            (await host.run(network)).ip
            for _ in range(3)
            for host, network in zip((one, two), networks, strict=True)
        ]
        assert got == [f"10.0.0.{number}" for number in (2, 4, 5, 6, 7, 8)]
        with pytest.raises(
            ConflictError, match=f"address 10.0.0.3 .* endpoint {ENDPOINTS[0]} on host h0 has it"
        ):
            await one.run(networks[0], "10.0.0.3")
        assert len(hosts.rows("lease")) == 6


@pytest.mark.parametrize("mark", [None, "", "false", "h1", "h00 h1", "True"])
async def test_a_switch_of_somebody_else_is_used_only_where_its_owner_allows_it(
    hosts: Hosts, mark: str | None
) -> None:
    hosts.nbctl("ls-add", "mine")
    if mark is not None:
        hosts.nbctl("set", "Logical_Switch", "mine", f'external_ids:ovn-docker-allow="{mark}"')
    async with hosts.host("h0") as host:
        with pytest.raises(ConflictError, match="does not allow host h0 to use it") as refused:
            await host.plain_network_create(SUBNET, options={"switch": "mine"})
        [command] = re.findall("'ovn-nbctl ([^']*)'", str(refused.value))
        hosts.nbctl("--no-leader-only", *shlex.split(command))
        await host.plain_network_create(SUBNET, options={"switch": "mine"})


async def test_a_switch_may_be_allowed_to_some_hosts(hosts: Hosts) -> None:
    hosts.nbctl(
        "ls-add", "mine", "--", "set", "Logical_Switch", "mine", "external_ids:ovn-docker-allow=h1 h2"
    )
    async with hosts.several(3) as several:
        with pytest.raises(ConflictError, match="does not allow host h0"):
            await several[0].plain_network_create(SUBNET, options={"switch": "mine"})
        for host in several[1:]:
            await host.plain_network_create(SUBNET, options={"switch": "mine"})


async def test_the_switch_of_another_network_of_the_driver_s_cannot_be_named(hosts: Hosts) -> None:
    async with hosts.several(2) as several:
        network = await several[0].plain_network_create("10.9.0.0/24")
        with pytest.raises(ConflictError, match="does not allow host h1"):
            await several[1].plain_network_create("10.9.0.0/24", options={"switch": network.network_id})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"switch": "mine", "create": "true"}, "does not go with the others"),
        ({"switch": "mine", "context": "red"}, "does not go with the others"),
        ({"create": "yes"}, "option 'create' is 'yes': give true or false"),
        ({"context": "a b"}, "context 'a b' is not a valid name"),
    ],
)
async def test_options_that_do_not_go_together_are_refused(
    hosts: Hosts, options: dict[str, str], text: str
) -> None:
    async with hosts.host("h") as host:
        with pytest.raises(RequestError, match=text):
            await host.plain_network_create(SUBNET, options=options)
        with pytest.raises(RequestError, match="a shared network needs a subnet"):
            await host.plain_network_create(options={"create": "true"})


async def test_hosts_that_name_an_ipv6_subnet_alone_share_the_switch_of_it(hosts: Hosts) -> None:
    async with hosts.several(3) as several:
        # Docker asks for an IPv4 pool all the same.
        networks = [await host.network_create("", "fd50::/64") for host in several]
        [row] = hosts.northbound.rows("Logical_Switch", "name", "external_ids")
        ids = mapping(row["external_ids"])
        assert row["name"] == hashlib.sha256(b"default-fd50::/64").hexdigest()
        assert (ids["subnet"], ids["gateway_ip"]) == ("fd50::/64", "fd50::1")
        containers = [await host.run(network) for host, network in zip(several, networks, strict=True)]
        assert [each.addresses for each in containers] == [
            [f"10.200.{number}.2/24", f"fd50::{number + 2:x}/64"] for number in range(3)
        ]
        await several[0].driver.create_network(create(networks[0], None))  # as Docker repeats it
        for container in containers:
            await container.rm()
        for host, network in zip(several, networks, strict=True):
            await host.network_rm(network)
    assert hosts.switches() == hosts.rows("pool") == hosts.rows("lease") == hosts.rows("reserved") == []


async def test_the_first_of_two_subnets_that_were_named_says_which_switch_it_is(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        await host.network_create("", "fd50::/64")
        await other.network_create("10.200.0.0/24", "fd50::/64")  # the one that was chosen for the first
        names = {f"default-{each}" for each in ("fd50::/64", "10.200.0.0/24")}
        assert set(hosts.switches()) == {hashlib.sha256(each.encode()).hexdigest() for each in names}


# --- Who may take a switch away -----------------------------------------------------------------------------


async def test_a_network_that_goes_never_takes_the_switch_from_under_anothers_port(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        networks = await host.network_create(SUBNET), await other.network_create(SUBNET)
        container = await other.run(networks[1])
        await host.network_rm(networks[0])
        assert hosts.ports() == [container.endpoint_id]
        await container.rm()
        await other.network_rm(networks[1])
    assert hosts.switches() == []


async def test_a_switch_that_stays_for_an_administrators_port_is_logged(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosts.several(2) as (host, other):
        networks = await host.network_create(SUBNET), await other.network_create(SUBNET)
        container = await other.run(networks[1])
        [switch] = hosts.switches()
        hosts.nbctl("lsp-add", switch, "vm")
        await host.network_rm(networks[0])
        assert "stays in OVN" not in caplog.text, "another host is on it still"
        await container.rm()
        await other.network_rm(networks[1])
        assert (
            f"logical switch {switch} stays in OVN because only port(s) of others are on it, vm"
            in caplog.text
        )
        assert hosts.switches() == [switch]


async def test_a_host_whose_switch_another_took_makes_it_again(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        networks = await host.network_create(SUBNET), await other.network_create(SUBNET)
        before = hosts.northbound.rows("Logical_Switch", "name", "external_ids")
        await host.network_rm(networks[0])
        assert hosts.switches() == []
        container = await other.run(networks[1])
        assert hosts.ports() == [container.endpoint_id]
        [row] = hosts.northbound.rows("Logical_Switch", "external_ids")
        ids, old = mapping(row["external_ids"]), mapping(before[0]["external_ids"])
        assert {key: ids[key] for key in ("subnet", "gateway_ip", "subnet_context")} == {
            key: old[key] for key in ("subnet", "gateway_ip", "subnet_context")
        }


async def test_a_network_is_forgotten_whose_switch_got_another_row_meanwhile(
    hosts: Hosts, short_path: Path
) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)

    def repair(operations: list[dict[str, Any]]) -> None:
        """What `ovn-docker repair` writes while DeleteNetwork waits for its answer."""
        if any(each["op"] == "delete" and each["table"] == "Logical_Switch" for each in operations):
            located = {key: replace(each, row=str(uuid4())).to_json() for key, each in known.items()}
            StateFile(hosts.directory / "h.json").update(lambda content: {**content, NETWORKS: located})

    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        network = await host.network_create(SUBNET)
        known = {each.network_id: each for each in host.shared.all()}
        proxy.before = repair
        await host.network_rm(network)
        assert host.shared.all() == []


async def test_endpoints_find_a_switch_that_was_deleted_and_made_again(hosts: Hosts) -> None:
    guides_switch(hosts)
    async with hosts.host("h", DISTRIBUTED) as host:
        network = await host.network_create(GUIDES_SUBNET)
        first = await host.run(network)
        hosts.nbctl("ls-del", GUIDES_SWITCH)
        with pytest.raises(NotFoundError, match="OVN has no logical switch for subnet"):
            await host.run(network)
        guides_switch(hosts)
        second = await host.run(network)
        assert hosts.ports() == [second.endpoint_id]
        await first.rm()
        await second.rm()
        assert hosts.ports() == hosts.rows("lease") == hosts.rows("claim") == []


async def test_a_claim_goes_with_an_endpoint_whose_switch_was_deleted(hosts: Hosts) -> None:
    guides_switch(hosts)
    async with hosts.host("h", DISTRIBUTED) as host:
        network = await host.plain_network_create(GUIDES_SUBNET)
        await host.endpoint(network, ENDPOINTS[0], "10.10.10.2/24")
        hosts.nbctl("ls-del", GUIDES_SWITCH)
        request = messages.EndpointRequest(network_id=network.network_id, endpoint_id=ENDPOINTS[0])
        await host.driver.delete_endpoint(request)
        assert hosts.rows("claim") == []


# --- Docker's own IPAM on a shared switch -------------------------------------------------------------------


async def test_the_second_of_two_hosts_with_one_address_learns_who_has_it(hosts: Hosts) -> None:
    async with hosts.several(2) as several:
        networks = [
            await host.plain_network_create(SUBNET, "fd00::/64", options={"create": "true"})
            for host in several
        ]
        await several[0].endpoint(networks[0], ENDPOINTS[0], "10.0.0.2/24", "fd00::2/64")
        for addresses in (["10.0.0.2/24", "fd00::3/64"], ["10.0.0.3/24", "fd00::2/64"]):
            with pytest.raises(ConflictError, match=f"endpoint {ENDPOINTS[0]} on host h0 has it"):
                await several[1].endpoint(networks[1], ENDPOINTS[1], *addresses)
            assert hosts.ports() == [ENDPOINTS[0]]
            assert hosts.rows("claim") == ["10.0.0.2", "fd00::2"]
        await several[1].endpoint(networks[1], ENDPOINTS[1], "10.0.0.3/24", "fd00::3/64")
        assert len(hosts.rows("claim")) == 4


async def test_a_host_with_dockers_ipam_meets_a_lease_and_the_other_way_round(hosts: Hosts) -> None:
    async with hosts.several(2) as (own, dockers):
        network = await own.network_create(SUBNET)
        plain = await dockers.plain_network_create(SUBNET, gateway="10.0.0.1", options={"context": "default"})
        container = await own.run(network)
        with pytest.raises(ConflictError, match=f"endpoint {container.endpoint_id} on host h0 has it"):
            await dockers.endpoint(plain, ENDPOINTS[0], "10.0.0.2/24")
        await dockers.endpoint(plain, ENDPOINTS[0], "10.0.0.3/24")
        assert (await own.run(network)).ip == "10.0.0.4"


async def test_a_repeated_create_endpoint_succeeds_and_claims_nothing_twice(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.plain_network_create(SUBNET, options={"create": "true"})
        for _ in range(2):
            await host.endpoint(network, ENDPOINTS[0], "10.0.0.2/24")
        assert hosts.rows("claim") == ["10.0.0.2"]
        with pytest.raises(RequestError, match=r"cannot have 10\.1\.0\.0/24"):
            await host.endpoint(network, ENDPOINTS[1], "10.1.0.2/24")
        request = messages.EndpointRequest(network_id=network.network_id, endpoint_id=ENDPOINTS[0])
        for _ in range(2):
            await host.driver.delete_endpoint(request)
        assert hosts.rows("claim") == hosts.ports() == []


# --- What a host remembers ----------------------------------------------------------------------------------


async def test_a_driver_that_starts_again_knows_its_networks(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
    state = json.loads((hosts.directory / "h.json").read_text())
    assert state["version"] == 1
    async with hosts.host("h") as again:
        assert (await again.run(network)).ip == "10.0.0.2"
        await again.driver.create_network(create(network, None))
        with pytest.raises(ConflictError, match="exists with other pools or options"):
            await again.driver.create_network(create(network, {"context": "red"}))
        shown = (await again.driver.database())["networks"][network.network_id]
        assert (shown["Subnet"], shown["Context"], shown["Logical_Switch"]) == (
            SUBNET,
            "default",
            network.pool.key,
        )
    assert len(hosts.switches()) == 1


async def test_a_network_that_cannot_be_written_down_is_refused(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        (hosts.directory / ".h.json.new").mkdir()
        with pytest.raises(HostError, match="cannot be written: Is a directory"):
            await host.network_create(SUBNET)
        assert host.shared.all() == []
        await until(lambda: hosts.switches() == [], "the switch is gone again")
        (hosts.directory / ".h.json.new").rmdir()
        await host.network_create(SUBNET)


async def test_a_repeated_delete_network_succeeds(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.plain_network_create(SUBNET, options={"create": "true"})
        for _ in range(2):
            await host.network_rm(network)
    assert hosts.switches() == []


async def test_an_address_of_an_administrators_port_is_refused_to_dockers_ipam(hosts: Hosts) -> None:
    guides_switch(hosts)
    hosts.nbctl(
        "lsp-add", GUIDES_SWITCH, "vm", "--", "lsp-set-addresses", "vm", "00:00:00:00:00:33 10.10.10.3"
    )
    async with hosts.host("h0", DISTRIBUTED) as host:
        network = await host.plain_network_create(GUIDES_SUBNET, gateway="10.10.10.1")
        with pytest.raises(ConflictError, match=r"10\.10\.10\.3: logical switch port vm holds it"):
            await host.endpoint(network, ENDPOINTS[0], "10.10.10.3/24")
        assert (hosts.ports(), hosts.rows("claim")) == (["vm"], [])
        await host.endpoint(network, ENDPOINTS[0], "10.10.10.4/24")
        hosts.nbctl("lsp-set-addresses", "vm", "00:00:00:00:00:33 10.10.10.5")
        with pytest.raises(ConflictError, match="logical switch port vm holds it"):
            await host.endpoint(network, ENDPOINTS[1], "10.10.10.5/24")


async def test_a_lease_of_one_endpoint_is_not_given_to_another(hosts: Hosts) -> None:
    """A client that asks for an endpoint with an address that it was not given."""
    async with hosts.host("h0") as host:
        right, wrong = [await host.network_create(SUBNET, options={"context": "default"}) for _ in range(2)]
        container = await host.run(right)
        with pytest.raises(ConflictError, match=f"endpoint {container.endpoint_id} on host h0 has it"):
            await host.endpoint(wrong, ENDPOINTS[0], container.addresses[0])
        assert hosts.ports() == [container.endpoint_id]


async def test_what_docker_deletes_while_northbound_hangs_goes_when_it_is_back(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        container = await host.run(await host.network_create(SUBNET))
        request = messages.EndpointRequest(
            network_id=container.network.network_id, endpoint_id=container.endpoint_id
        )
        hosts.northbound.signal(signal.SIGSTOP)
        for step in (host.driver.delete_endpoint(request), container.release()):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await step
        hosts.northbound.signal(signal.SIGCONT)
        await until(lambda: (hosts.ports(), hosts.rows("lease")) == ([], []), "port and lease are gone")


@pytest.mark.parametrize(
    "content", ['{"version": 1, "networks": []}', '{"version": 1, "networks": {"a": {"x": 1}}}']
)
async def test_a_state_file_that_holds_no_networks_is_put_aside(hosts: Hosts, content: str) -> None:
    (hosts.directory / "h0.json").write_text(content)
    async with hosts.host("h0") as host:
        assert host.shared.all() == []
        assert (hosts.directory / "h0.json.unusable").read_text() == content
        await host.network_create(SUBNET)
