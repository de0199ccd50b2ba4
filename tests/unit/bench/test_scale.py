"""The command scripts/bench scale, without measuring."""

import ipaddress
import itertools
from collections import Counter
from pathlib import Path

import pytest

from bench import tables
from bench.figures import Figure, Machine, Results
from bench.ipam.page import CLUSTER, STANDALONE
from bench.run import write
from bench.scale import cli, page
from bench.scale.cells import figure
from bench.scale.clock import Clock
from bench.scale.plan import FULL, QUICK, Plan
from bench.targets import judge
from ovn_docker.errors import ConfigError, HostError

SIZES = (FULL, QUICK, Plan(hosts=3, containers=5), Plan(hosts=1, containers=1), Plan(hosts=7, containers=13))


def results(*figures: Figure) -> Results:
    machine = Machine(cores=2, memory_gb=8, kernel="6.1.0", versions={})
    command = "scripts/bench scale"
    return Results(command=command, date="d", machine=machine, figures=list(figures), complete=True)


def verdict(text: str, *figures: Figure) -> bool | None:
    [found] = [each for each in judge(results(*figures), page.TARGETS) if each.target.text == text]
    return found.reached


@pytest.mark.parametrize("plan", SIZES)
def test_a_network_has_room_for_its_containers_its_gateway_and_its_ends(plan: Plan) -> None:
    ports = Counter(
        plan.network_of(host, each) for host in range(plan.hosts) for each in range(plan.containers)
    )
    assert sum(ports.values()) == plan.ports
    assert max(ports.values()) + 3 <= plan.subnet(0).num_addresses


@pytest.mark.parametrize("plan", SIZES)
def test_networks_do_not_overlap_and_are_all_in_one_block(plan: Plan) -> None:
    assert plan.fits()
    subnets = [plan.subnet(network) for network in range(plan.hosts)]
    assert all(not one.overlaps(other) for one, other in itertools.pairwise(subnets))
    assert ipaddress.ip_network("10.0.0.0/8").supernet_of(subnets[-1])  # type: ignore[arg-type]


@pytest.mark.parametrize("plan", SIZES)
def test_a_host_has_containers_on_all_of_its_networks_and_on_no_other(plan: Plan) -> None:
    for host in (0, plan.hosts - 1):
        used = {plan.network_of(host, each) for each in range(plan.containers)}
        assert used == set(plan.networks(host))


def test_the_full_size_is_a_thousand_hosts_with_a_hundred_containers_each() -> None:
    assert cli.plan(cli.parser().parse_args([])) == FULL
    assert (FULL.hosts, FULL.ports, FULL.subnet(1).prefixlen) == (1000, 100_000, 25)


def test_quick_has_a_hundred_hosts_and_flags_change_single_sizes() -> None:
    assert cli.plan(cli.parser().parse_args(["--quick"])) == QUICK
    words = ["--quick", "--hosts", "5", "--seconds", "0.5", "--probe", "60"]
    chosen = cli.plan(cli.parser().parse_args(words))
    assert (chosen.hosts, chosen.seconds, chosen.health_seconds) == (5, 0.5, 0.5)
    assert (chosen.probe, chosen.chassis) == (60, QUICK.chassis)


def test_more_networks_than_there_are_addresses_are_refused() -> None:
    with pytest.raises(ConfigError, match="has no room for so many networks"):
        cli.plan(cli.parser().parse_args(["--hosts", "100000", "--containers", "1000"]))


@pytest.mark.parametrize("words", [["--hosts", "0"], ["--seconds", "0"], ["--only", "nothing"]])
def test_a_size_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(words)


def test_a_busy_machine_is_refused_unless_that_is_said_to_be_fine() -> None:
    cli.check_load(3.0, busy=False)
    cli.check_load(9.0, busy=True)
    with pytest.raises(ConfigError, match="load average"):
        cli.check_load(9.0, busy=False)


def test_too_few_files_for_all_sessions_are_refused() -> None:
    cli.check_files(1200, FULL)
    with pytest.raises(ConfigError, match="1000 hosts need 1200"):
        cli.check_files(1024, FULL)


def test_a_run_whose_time_is_over_waits_for_nothing() -> None:
    assert Clock(1000).left(5) == 5
    assert Clock(1).left(1000) <= 1
    with pytest.raises(HostError, match="time of the run is over"):
        Clock(-1).left(5)


def test_a_cell_has_the_median_and_the_worst() -> None:
    cell = figure(page.TIMES, "x", [1.0, 2.0, 9.0], "ms")
    assert (cell.p50, cell.p99, cell.samples) == (2.0, 9.0, 3)


@pytest.mark.parametrize(("seconds", "reached"), [(7.9, True), (8.1, False)])
def test_drivers_have_to_be_back_in_time(seconds: float, reached: bool) -> None:  # noqa: FBT001
    cell = figure(page.SESSIONS, page.BACK, [seconds], "s", STANDALONE)
    assert verdict("all back after kill -9 of the server, s", cell) is reached


@pytest.mark.parametrize(("rate", "reached"), [(30.0, True), (20.0, False)])
def test_idle_drivers_may_cost_half_of_the_lives(rate: float, reached: bool) -> None:  # noqa: FBT001
    alone = figure(page.RATES, page.callers(1), [50.0], "per s", CLUSTER)
    crowded = figure(page.RATES, page.callers(1), [rate], "per s", page.CLUSTER_CROWDED)
    text = "lives/s beside idle drivers / without, 1 caller, 3-node cluster"
    assert verdict(text, alone, crowded) is reached
    assert verdict(text, alone) is None


def test_every_column_and_section_that_a_target_looks_at_is_shown() -> None:
    everything = results(
        figure(page.SESSIONS, page.CONNECT, [1.0], "s", STANDALONE),
        figure(page.TIMES, page.call("CreateEndpoint", 1), [1.0], "ms", page.EMPTY),
        figure(page.TIMES, page.call("CreateEndpoint", 1), [1.1], "ms", page.FILLED),
        figure(page.HEALTH, page.CHECKS, [3.0], "% of a core"),
    )
    shown = tables.text(everything, page.PAGE)
    assert "CreateEndpoint with all ports / on an empty database, 1 caller" in shown
    assert shown.count("  reached") == 3


def test_earlier_results_are_put_into_a_document(tmp_path: Path) -> None:
    write(results(figure(page.SIZES, page.HOSTS, [1000], "number")), tmp_path / "results.json")
    document = tmp_path / "page.md"
    document.write_text("before\n{}\n{}\nafter\n".format(*page.PAGE.marks))
    assert cli.main(["--from", str(tmp_path / "results.json"), "--document", str(document)]) == 0
    assert "| hosts, number | 1000 |" in document.read_text()
