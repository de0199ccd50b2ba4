"""The parts of a run, one after the other; one that fails does not take the others with it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from bench import containers, costs, verbs
from bench.figures import Figure, Results
from bench.place import Place
from bench.plan import Plan

Part = tuple[str, Callable[[], list[Figure]]]


def run(steps: Iterable[Part], results: Results, file: Path, report: Callable[[str], None]) -> None:
    """Measure everything, and write what there is after each part; an interrupt ends it with a failure.

    Args:
        steps: the parts in their order; none runs before the one before it has.
        results: takes figures and failures.
        file: where to write the results as JSON.
        report: takes the name of each part as it begins.
    """
    try:
        _in_turn(steps, results, file, report)
    except KeyboardInterrupt:
        results.failures.append("interrupted")


def _in_turn(steps: Iterable[Part], results: Results, file: Path, report: Callable[[str], None]) -> None:
    started = time.monotonic()
    for name, measure in steps:
        report(name)
        try:
            results.figures += measure()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts shall have their turn
            failure = " ".join(f"{name.strip()}: {type(error).__name__}: {error}".split())
            results.failures.append(failure)
            report(f"  FAILED {failure}")
        results.seconds = round(time.monotonic() - started, 1)
        write(results, file)
    results.complete = True
    write(results, file)


def write(results: Results, file: Path) -> None:
    """Write results as JSON, whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    new.replace(file)


def read(file: Path) -> Results:
    """Read what write() wrote.

    Raises:
        OSError: it cannot be read.
        msgspec.DecodeError: it is something else.
    """
    return msgspec.json.decode(file.read_bytes(), type=Results)


def contest(place: Place, plan: Plan) -> Iterator[Part]:
    """The parts of the contest of drivers; each begins with all of them running."""
    for name, measure in parts(place, plan):
        yield name, partial(_with_all, place, measure)


def _with_all(place: Place, measure: Callable[[], list[Figure]]) -> list[Figure]:
    place.start_missing()
    return measure()


def parts(place: Place, plan: Plan) -> Iterator[Part]:
    """Name and function of each part, in their order; none runs before the one before it has."""
    yield "memory, idle processor time, start", lambda: _costs(place, plan)
    for ports in plan.live:
        yield f"OVN with {ports:,} other ports", lambda ports=ports: _fill_live(place, plan, ports)  # type: ignore[misc]
        calls = plan.crowded_calls if ports else plan.calls
        yield "  calls to the drivers", lambda calls=calls: _verbs(place, calls)  # type: ignore[misc]
        runs = plan.crowded_runs if ports else plan.runs
        yield "  docker run and docker rm", lambda runs=runs: containers.measure_runs(place, runs)  # type: ignore[misc]
        if ports:
            yield "  memory", lambda: costs.measure_memory(place)
        else:
            yield "  containers at once", lambda: containers.measure_bursts(place, plan.bursts, plan.burst)
            yield "  first packets", lambda: containers.measure_first_packets(place, plan.first_packets)
    yield from _northbound_parts(place, plan)


def _northbound_parts(place: Place, plan: Plan) -> Iterator[Part]:
    for ports in plan.ports:
        name = f"Northbound alone with {ports:,} other ports"
        yield name, lambda ports=ports: _northbound(place, plan, ports)  # type: ignore[misc]
    most = plan.live[-1] if plan.live else 0
    if most:
        name = f"Northbound alone with {most:,} ports in one switch"
        yield name, lambda: _one_switch(place, plan, most)


def _costs(place: Place, plan: Plan) -> list[Figure]:
    starts = costs.measure_starts(place, plan.starts)
    return [*starts, *costs.measure_memory(place), *costs.measure_idle(place, plan.idle_seconds)]


def _fill_live(place: Place, plan: Plan, ports: int) -> list[Figure]:
    if ports != place.ports:
        place.pause_northd()
        place.fill(ports, plan.switches)
    place.resume_northd()
    return []


def _verbs(place: Place, calls: int) -> list[Figure]:
    return verbs.measure(place, verbs.callers(place, calls, calls))


def _northbound(place: Place, plan: Plan, ports: int) -> list[Figure]:
    place.pause_northd()
    place.fill(ports, plan.switches)
    figures = verbs.measure_northbound(place, _alone(place, plan, ports))
    if ports not in plan.live:
        figures += costs.measure_memory(place)
    return figures


def _one_switch(place: Place, plan: Plan, ports: int) -> list[Figure]:
    place.pause_northd()
    place.fill(0, plan.switches)
    return verbs.measure_northbound(place, _alone(place, plan, ports), one_switch=ports)


def _alone(place: Place, plan: Plan, ports: int) -> Sequence[verbs.Caller]:
    return verbs.callers(place, plan.calls, plan.slow_calls if ports else plan.crowded_calls)
