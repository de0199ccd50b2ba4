import pytest

from bench.figures import OURS, Machine, Results, Samples, median, percentile


def results() -> Results:
    machine = Machine(cores=2, memory_gb=8, kernel="6.1", datapath="userspace", versions={})
    return Results(command="scripts/bench", date="2026-01-01T00:00:00Z", machine=machine)


@pytest.mark.parametrize(("values", "middle"), [([3], 3), ([1, 9, 2], 2), ([4, 1, 3, 2], 2.5)])
def test_the_median_is_the_middle_or_between_the_two_middle_values(
    values: list[float], middle: float
) -> None:
    assert median(values) == middle


def test_the_99th_percentile_of_fewer_than_100_values_is_the_worst() -> None:
    assert percentile([1, 2, 50], 99) == 50


def test_the_99th_percentile_of_200_values_leaves_out_the_two_worst() -> None:
    assert percentile(range(1, 201), 99) == 198


def test_samples_become_one_figure_per_cell() -> None:
    samples = Samples("verbs", 10)
    for value in (1.0, 3.0, 2.0):
        samples.add(OURS, "Join", value)
    samples.add(OURS, "Leave", 7.0)
    join, leave = samples.figures()
    assert (join.item, join.ports, join.samples, join.p50, join.p99) == ("Join", 10, 3, 2.0, 3.0)
    assert (leave.item, leave.samples, leave.p50) == ("Leave", 1, 7.0)


def test_a_figure_is_found_by_its_cell_only() -> None:
    run = results()
    samples = Samples("verbs", 10)
    samples.add(OURS, "Join", 1.0)
    run.figures = samples.figures()
    assert run.find("verbs", "Join", OURS, 10) is run.figures[0]
    assert run.find("verbs", "Join", OURS) is None
