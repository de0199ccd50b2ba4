"""An interface put on a bridge and taken off, with a real ovs-vswitchd, or with one that is not there."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ovn_docker.errors import ConflictError, HostError, NotFoundError
from ovn_docker.host import open_vswitch, veth
from ovn_docker.host.addresses import Addresses
from ovn_docker.host.open_vswitch import NETDEV
from ovn_docker.host.uplinks import Uplinks
from ovn_docker.ovsdb.client import Client
from tests.functional.private_network import (
    attribute,
    in_private_network,
    ip,
    links,
    transmits_checksums,
)
from tests.functional.servers import LIMIT, OvsdbServer, run
from tests.polling import eventually

pytestmark = pytest.mark.functional

MAC = "fa:16:3e:00:00:01"


@contextlib.contextmanager
def switch(server: OvsdbServer) -> Iterator[None]:
    """A real ovs-vswitchd of this network namespace, with its userspace datapath."""
    command = [
        "ovs-vswitchd",
        f"unix:{server.socket}",
        f"--unixctl={server.directory / 'switch.ctl'}",
        f"--log-file={server.directory / 'switch.log'}",
        "-vconsole:off",
    ]
    environment = {**os.environ, "OVS_RUNDIR": str(server.directory)}
    process = subprocess.Popen(command, cwd=server.directory, env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait(LIMIT)


@contextlib.asynccontextmanager
async def uplinks(server: OvsdbServer, patience: float = 10.0) -> AsyncIterator[Uplinks]:
    client = Client("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
    client.redirect((server.remote,))
    task, addresses = asyncio.create_task(client.run()), Addresses()
    try:
        async with asyncio.timeout(LIMIT):
            await client.ready()
        yield Uplinks(client, addresses, patience)
    finally:
        addresses.close()
        task.cancel()
        await asyncio.wait([task])


def vsctl(server: OvsdbServer, *words: str) -> str:
    return run("ovs-vsctl", "--no-wait", f"--db=unix:{server.socket}", *words).strip()


def interface() -> None:
    """The machine's interface, with an address and a route."""
    ip("link", "add", "ens3", "address", MAC, "mtu", "1442", "type", "veth", "peer", "name", "cloud")
    for name in ("ens3", "cloud"):
        ip("link", "set", name, "up")
    ip("addr", "add", "10.7.0.5/24", "dev", "ens3")
    ip("route", "add", "default", "via", "10.7.0.1")


def where() -> tuple[str, str]:
    """Through which link the machine's network and the outside are reached."""
    found = [ip("route", "get", each).split(" dev ")[1].split()[0] for each in ("10.7.0.9", "10.200.0.1")]
    return found[0], found[1]


@in_private_network
async def test_an_interface_goes_on_a_bridge_and_off_again(open_vswitch: OvsdbServer) -> None:
    interface()
    vsctl(open_vswitch, "init")
    with switch(open_vswitch):
        async with uplinks(open_vswitch) as host:
            moved = await host.add("ens3", "breth0", NETDEV)
            assert [str(each) for each in (*moved.addresses, *moved.routes)] == ["10.7.0.5/24", "default"]
            assert where() == ("breth0", "breth0")
            assert attribute("breth0", "address") == MAC
            assert attribute("breth0", "mtu") == "1442"
            assert vsctl(open_vswitch, "list-ports", "breth0") == "ens3"
            assert not await host.add("ens3", "breth0", NETDEV)
            ip("addr", "add", "10.7.0.6/24", "dev", "ens3")  # as a kill half-way leaves it
            await host.add("ens3", "breth0", NETDEV)
            assert "10.7.0.6/24" in ip("addr", "show", "dev", "breth0")
            assert (await host.remove("breth0"))[0] == "ens3"
            assert where() == ("ens3", "ens3")
            assert vsctl(open_vswitch, "list-br") == ""
            assert "breth0" not in links()
            assert (await host.remove("breth0"))[0] == ""
            await host.add("ens3", "breth0", NETDEV)
            assert where() == ("breth0", "breth0")


@in_private_network
async def test_a_bridge_that_is_there_is_used(open_vswitch: OvsdbServer) -> None:
    interface()
    vsctl(open_vswitch, "init")
    vsctl(open_vswitch, "add-br", "breth0", "--", "set", "bridge", "breth0", "datapath_type=netdev")
    with switch(open_vswitch):
        async with uplinks(open_vswitch) as host:
            await host.add("ens3", "breth0")
            assert where() == ("breth0", "breth0")
            assert attribute("breth0", "address") == MAC
            assert not transmits_checksums("breth0")  # of which nobody said that it is in userspace


@in_private_network
async def test_without_a_switch_all_is_as_before(open_vswitch: OvsdbServer) -> None:
    interface()
    vsctl(open_vswitch, "init")
    async with uplinks(open_vswitch, patience=0.5) as host:
        with pytest.raises(
            HostError, match=r"did not take up ens3 within 0\.5 s: see whether it runs, and its log"
        ):
            await host.add("ens3", "breth0", NETDEV)
        assert vsctl(open_vswitch, "list-br") == ""
        assert where() == ("ens3", "ens3")


@in_private_network
async def test_who_gives_up_half_way_finds_all_as_before(open_vswitch: OvsdbServer) -> None:
    interface()
    vsctl(open_vswitch, "init")
    async with uplinks(open_vswitch) as host:
        task = asyncio.create_task(host.add("ens3", "breth0", NETDEV))
        there = "the bridge is in the database"
        await asyncio.to_thread(eventually, lambda: vsctl(open_vswitch, "list-br"), LIMIT, there)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert vsctl(open_vswitch, "list-br") == ""
        assert where() == ("ens3", "ens3")


@in_private_network
async def test_an_address_that_the_bridge_cannot_have_leaves_all_as_before(open_vswitch: OvsdbServer) -> None:
    interface()
    ip("route", "add", "10.55.0.0/24", "dev", "ens3")
    ip("route", "add", "10.56.0.0/24", "via", "10.55.0.1", "dev", "ens3")
    ip("route", "del", "10.55.0.0/24", "dev", "ens3")
    vsctl(open_vswitch, "init")
    with switch(open_vswitch):
        async with uplinks(open_vswitch) as host:
            with pytest.raises(HostError, match=r"route 10\.56\.0\.0/24 cannot lead through breth0"):
                await host.add("ens3", "breth0", NETDEV)
            assert where() == ("ens3", "ens3")
            assert "10.56.0.0/24 via 10.55.0.1 dev ens3" in ip("route")
            assert vsctl(open_vswitch, "list-br") == ""


@in_private_network
async def test_what_is_no_interface_to_the_outside_is_refused(open_vswitch: OvsdbServer) -> None:
    interface()
    ip("link", "add", "ens4", "type", "veth", "peer", "name", "other")
    vsctl(open_vswitch, "init")
    for words in (("add-br", "br1"), ("add-port", "br1", "ens4"), ("add-br", "br2")):
        vsctl(open_vswitch, *words)
    for words in (("add-port", "br2", "a"), ("add-port", "br2", "b")):
        vsctl(open_vswitch, *words)
    async with uplinks(open_vswitch) as host:
        for link, bridge, error, text in (
            ("ens9", "breth0", NotFoundError, "this machine has no interface ens9"),
            ("lo", "breth0", ConflictError, "interface lo cannot be put on a bridge"),
            ("ens3", "ens3", ConflictError, "interface ens3 cannot be put on a bridge"),
            (
                "ens3",
                "cloud",
                ConflictError,
                "there is an interface cloud that is not a bridge of Open vSwitch",
            ),
            ("ens4", "breth0", ConflictError, "interface ens4 is on bridge br1 of Open vSwitch"),
        ):
            with pytest.raises(error, match=text):
                await host.add(link, bridge)
        with pytest.raises(
            ConflictError, match="bridge br2 is to have one interface beside its own, it has a, b"
        ):
            await host.remove("br2")
    assert where() == ("ens3", "ens3")
    assert not veth.exists("breth0")


@pytest.mark.skipif(Path("/sys/module/openvswitch").exists(), reason="this kernel has Open vSwitch's module")
@in_private_network
async def test_a_datapath_that_the_kernel_has_not_leaves_all_as_before(open_vswitch: OvsdbServer) -> None:
    interface()
    vsctl(open_vswitch, "init")
    with switch(open_vswitch):
        async with uplinks(open_vswitch, patience=3.0) as host:
            with pytest.raises(HostError, match="ens3"):
                await host.add("ens3", "breth0")
            assert where() == ("ens3", "ens3")
            assert vsctl(open_vswitch, "list-br") == ""
