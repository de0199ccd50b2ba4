import pytest

from bench import tables
from bench.containers import RUN
from bench.figures import BRIDGE, INCUMBENT, OURS, Figure, Machine, Results
from bench.targets import judge


def figure(section: str, item: str, contestant: str, p50: float, **others: object) -> Figure:
    return Figure(section=section, item=item, contestant=contestant, p50=p50, p99=p50, **others)  # type: ignore[arg-type]


def results(*figures: Figure) -> Results:
    machine = Machine(cores=2, memory_gb=8, kernel="6.1", datapath="userspace", versions={"OVN": "25.03"})
    return Results(
        command="scripts/bench", date="2026-01-01T00:00:00Z", machine=machine, figures=list(figures)
    )


def verdicts(run: Results) -> dict[str, bool | None]:
    return {each.target.text: each.reached for each in judge(run)}


def test_a_target_without_figures_was_not_measured() -> None:
    assert set(verdicts(results()).values()) == {None}


@pytest.mark.parametrize(("measured", "reached"), [(2.9, True), (3.0, True), (3.1, False)])
def test_a_target_is_reached_up_to_its_limit(measured: float, reached: bool) -> None:  # noqa: FBT001
    run = results(figure("verbs", "CreateEndpoint", OURS, measured))
    assert verdicts(run)["CreateEndpoint, p50, ms"] is reached


def test_a_ratio_needs_both_figures() -> None:
    ours, bridge = figure("docker", RUN, OURS, 260), figure("docker", RUN, BRIDGE, 250)
    assert verdicts(results(ours))["docker run -d / bridge"] is None
    assert verdicts(results(ours, bridge))["docker run -d / bridge"] is True


def test_docker_commands_show_their_ratio_to_bridge() -> None:
    run = results(figure("docker", RUN, INCUMBENT, 300), figure("docker", RUN, BRIDGE, 200))
    assert "300 (1.50)" in tables.text(run)


def test_calls_show_median_and_99th_percentile() -> None:
    run = results(figure("verbs", "Join", OURS, 9.126))
    assert "| Join, ms | 9.13 / 9.13 |" in tables.markdown(run)


def test_a_missing_cell_is_a_dash() -> None:
    run = results(figure("verbs", "Join", OURS, 9), figure("verbs", "Leave", INCUMBENT, 40))
    assert "| Join, ms | 9.00 / 9.00 | - |" in tables.markdown(run)


def test_counts_show_of_how_many() -> None:
    run = results(figure("first packet", "new address", OURS, 30, unit="of 30"))
    assert "| new address | 30 of 30 |" in tables.markdown(run)


def test_other_ports_get_a_table_of_their_own() -> None:
    run = results(figure("verbs", "Join", OURS, 9), figure("verbs", "Join", OURS, 12, ports=10_000))
    titles = [each.title for each in tables.tables(run)]
    assert len([title for title in titles if title.startswith("Calls to the driver")]) == 2
    assert titles[-1].endswith("10,000 other ports")


def test_failures_are_told_above_the_tables() -> None:
    run = results()
    run.failures = ["first packets: no answer"]
    assert "failed: first packets: no answer" in tables.text(run)


def test_tables_replace_what_is_between_the_marks_and_nothing_else() -> None:
    document = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    new = tables.put_into(document, results())
    assert new.startswith("before\n")
    assert new.endswith("after\n")
    assert "old" not in new
    assert tables.put_into(new, results()) == new


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        tables.put_into("no marks", results())
