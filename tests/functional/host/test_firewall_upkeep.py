"""How the rules come into the kernel, stay there beside everybody else's, and go."""

import asyncio
import random
from pathlib import Path

import pytest

from ovn_docker.errors import HostError
from ovn_docker.host.firewall import PATH, Firewall
from ovn_docker.host.ruleset import Published
from ovn_docker.host.veth import Links
from tests.functional.host.routed_host import (
    NEEDS_NFT,
    ask,
    firewall,
    flush,
    forward_policy,
    routed_host,
    run,
    until,
)
from tests.functional.host.test_guard import PAIR, table_of_somebody_else
from tests.functional.private_network import in_private_network

pytestmark = [pytest.mark.functional, NEEDS_NFT]

ROOT = Path(__file__).parents[3]

PORT = Published(6, "", 8080, "10.77.0.8", 80)


def table() -> str:
    return run("nft", "list", "table", "inet", "ovn-docker")


@pytest.mark.parametrize(
    "removal",
    [
        ["nft", "flush", "ruleset"],
        ["nft", "delete", "table", "inet", "ovn-docker"],
        ["nft", "flush", "chain", "inet", "ovn-docker", "forwarding"],
        ["iptables", "-F"],
        ["iptables", "-F", "FORWARD"],
        ["ip6tables", "-F", "OVN-DOCKER"],
    ],
    ids=" ".join,
)
@in_private_network
async def test_what_another_program_removes_is_restored_at_once(removal: list[str]) -> None:
    async with firewall() as made:
        await made.publish([PORT], [])
        assert await made.missing() == ()
        before, chain = table(), run("iptables-save", "-t", "filter")
        run(*removal)
        assert await made.missing() != ()
        await until(
            lambda: "10.77.0.8" in run("nft", "list", "ruleset") and "-j OVN-DOCKER" in run("iptables-save")
        )
        await made.restore()
        assert await made.missing() == ()
        assert await made.published() == {PORT}
        assert table() == before
        assert run("iptables-save", "-t", "filter").splitlines()[1:-1] == chain.splitlines()[1:-1]


@in_private_network
async def test_elements_that_are_missing_are_found_and_restored() -> None:
    async with firewall() as made:
        await made.publish([PORT], [])
        run("nft", "flush", "map", "inet", "ovn-docker", "any4")
        assert await made.missing() == ("published port tcp . 8080",)
        await made.restore()
        assert await made.published() == {PORT}


@in_private_network
async def test_a_port_is_withdrawn_after_a_caller_ran_out_of_time() -> None:
    async with firewall() as made:
        for _ in range(20):
            publishing = asyncio.create_task(made.publish([PORT], []))
            await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311
            publishing.cancel()
            await asyncio.wait([publishing])
            await made.publish([], [PORT])
            assert await made.published() == frozenset()


@in_private_network
async def test_a_port_that_only_the_kernel_knows_can_be_withdrawn() -> None:
    async with firewall() as made:
        run("nft", "add", "element", "inet", "ovn-docker", "any4", "{ tcp . 8080 : 10.77.0.8 . 80 }")
        assert await made.published() == {PORT}
        await made.publish([], [PORT])
        assert await made.published() == frozenset()


@in_private_network
async def test_the_guard_and_the_rules_survive_each_other_s_renewal() -> None:
    links = Links()
    await links.open()
    try:
        async with firewall() as made:
            await made.publish([PORT], [])
            for _ in range(2):
                await made.restore()
                assert await links.guarded()
                run("nft", "flush", "chain", "inet", "ovn-docker", "guard")
                await until_guarded(links)
                assert await made.missing() == ()
                assert await made.published() == {PORT}
            flush()
            await until_guarded(links)
            await until(lambda: "10.77.0.8" in run("nft", "list", "ruleset"))
            assert await links.guarded()
    finally:
        links.close()


async def until_guarded(links: Links) -> None:
    async with asyncio.timeout(5):
        while not await links.guarded():
            pass


@in_private_network
async def test_a_driver_s_restart_drops_no_connection_and_no_port() -> None:
    with routed_host("one", "outside") as peers:
        async with firewall() as made:
            await made.publish([PORT], [])
        async with firewall():
            assert ask(peers["outside"], peers["outside"].gateway[0], 8080).startswith("saw")


@in_private_network
async def test_docker_that_comes_later_changes_nothing_for_containers() -> None:
    with routed_host("one", "outside") as peers:
        async with firewall() as made:
            for program in ("iptables", "ip6tables"):
                run(program, "-N", "DOCKER-USER")
                run(program, "-A", "DOCKER-USER", "-j", "RETURN")
                run(program, "-I", "FORWARD", "-j", "DOCKER-USER")
            forward_policy("DROP")
            outside = peers["outside"]
            assert ask(peers["one"], outside.address[0]) == f"saw {outside.gateway[0]}"
            assert "chain OVN-DOCKER of iptables" in await made.missing()
            await made.restore()
            assert await made.missing() == ()
            assert ask(peers["one"], outside.address[0]) == f"saw {outside.gateway[0]}"
            assert "-A FORWARD -j OVN-DOCKER" not in run("iptables-save")
            run("iptables", "-I", "DOCKER-USER", "-s", "10.77.0.8", "-j", "DROP")
            assert ask(peers["one"], outside.address[0]) == "silence", "an administrator's rule holds"
            assert await made.missing() == ()


@in_private_network
async def test_ufw_s_chains_let_containers_pass() -> None:
    """What ufw's have at their end, and where (ufw src/ufw-init-functions)."""
    with routed_host("one", "outside") as peers:
        forward_policy("DROP")
        for chain, hook in (("ufw-reject-forward", "FORWARD"), ("ufw-reject-input", "INPUT")):
            run("iptables", "-N", chain)
            run("iptables", "-A", chain, "-j", "REJECT")
            run("iptables", "-A", hook, "-j", chain)
        async with firewall() as made:
            outside = peers["outside"]
            assert ask(peers["one"], outside.address[0]) == f"saw {outside.gateway[0]}"
            assert made.problem() == ""


@in_private_network
async def test_a_host_that_does_not_forward_says_so_and_what_to_type() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
    async with firewall() as made:
        assert "sysctl -w net.ipv4.ip_forward=1" in made.problem()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        assert made.problem() == ""
        assert "sysctl -w net.ipv6.conf.all.forwarding=1" in made.ipv6_problem()


@in_private_network
async def test_a_host_without_nft_says_so_and_what_to_type(tmp_path: Path) -> None:
    async with firewall(path=str(tmp_path)) as made:
        assert "'apt-get install nftables'" in made.problem()
        assert await made.missing() == ()
        with pytest.raises(HostError, match="nft is missing"):
            await made.publish([PORT], [])


@in_private_network
async def test_a_host_without_iptables_needs_none(tmp_path: Path) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    nft = next(place for each in PATH.split(":") if (place := Path(each, "nft")).exists())
    (tmp_path / "nft").symlink_to(nft)
    async with firewall(path=str(tmp_path)) as made:
        assert (made.problem(), await made.missing()) == ("", ())
        forward_policy("DROP")
        assert await made.missing() == ()
        assert "nft insert rule ip filter FORWARD" in made.problem()


@pytest.mark.parametrize(
    ("setup", "command", "cure"),
    [
        (
            "table inet mine { chain every { type filter hook forward priority 0; policy drop; }; }",
            'nft insert rule inet mine every iifname "og-*" accept',
            ["nft", "insert", "rule", "inet", "mine", "every", "iifname", "og-*", "accept"],
        ),
        (
            "table inet firewalld { chain FORWARD { type filter hook forward priority 10; reject; }; }",
            "firewall-cmd --permanent --zone=trusted --add-interface=og-+",
            ["nft", "insert", "rule", "inet", "firewalld", "FORWARD", "iifname", "og-*", "accept"],
        ),
    ],
    ids=["a table with policy drop", "firewalld"],
)
@in_private_network
async def test_another_firewall_that_drops_is_named(setup: str, command: str, cure: list[str]) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run("nft", "-f", "-", text=setup)
    async with firewall() as made:
        assert command in made.problem()
        run(*cure)
        assert await made.missing() == ()
        assert made.problem() == ""


@in_private_network
async def test_a_table_that_another_program_owns_is_a_problem() -> None:
    with table_of_somebody_else():
        async with firewall() as made:
            assert "not permitted" in made.problem()
            with pytest.raises(HostError, match="not permitted"):
                await made.publish([PORT], [])
    await made.restore()
    assert "not permitted" not in made.problem()


@in_private_network
async def test_removing_leaves_nothing_but_what_others_made() -> None:
    links = Links()
    await links.create(PAIR)
    run("iptables", "-A", "FORWARD", "-s", "192.0.2.1", "-j", "DROP")
    before = run("iptables-save", "-t", "filter").splitlines()[1:-1]
    made = Firewall()
    for _ in range(2):
        await made.start()
        await made.publish([PORT], [])
        await made.close()
        await made.remove()
        assert "ovn-docker" not in run("nft", "list", "ruleset").lower()
        assert run("iptables-save", "-t", "filter").splitlines()[1:-1] == before
    await made.remove()
    links.close()


@in_private_network
async def test_uninstalling_removes_the_rules_without_the_driver() -> None:
    links = Links()
    await links.create(PAIR)
    links.close()
    run("iptables", "-N", "DOCKER-USER")
    run("iptables", "-A", "FORWARD", "-j", "DOCKER-USER")
    before = run("iptables-save", "-t", "filter").splitlines()[1:-1]
    async with firewall() as made:
        await made.publish([PORT], [])
    for _ in range(2):
        run("bash", "-ec", f". {ROOT}/scripts/lib/rules.sh; remove_rules")
        assert "ovn-docker" not in run("nft", "list", "ruleset").lower()
        assert run("iptables-save", "-t", "filter").splitlines()[1:-1] == before
