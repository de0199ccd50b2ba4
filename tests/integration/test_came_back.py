"""A host that lives is given up by force while its driver is dead, and its driver comes back."""

import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.conftest import lab_name
from tests.integration.records import PORT
from tests.integration.tenant import OURS, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.slow]

PROGRAM = str(Path(sys.executable).with_name("ovn-docker"))
SUBNET, FIXED = "10.63.0.0/24", "10.63.0.99"


@pytest.fixture(scope="module")
def lab(_no_labs_of_dead_runs: None) -> Iterator[Lab]:
    """Two hosts."""
    made = Lab.up(lab_name("back"), 2)
    try:
        for host in made.hosts:
            host.stop("driver")
            host.start_driver(("--health-check-on",))
        yield made
    finally:
        made.down()


def command(host: Machine, *words: str) -> tuple[int, str, str]:
    """Its exit status, what it prints, and its error."""
    done = host.run([PROGRAM, *words], check=False, timeout=90)
    return done.returncode, done.stdout, done.stderr


def lost(host: Machine) -> list[str]:
    """What `ovn-docker check` says of addresses that are another's by now."""
    _, shown, error = command(host, "check", "--json")
    assert shown, error
    return [entry["text"] for entry in json.loads(shown)["findings"] if entry["kind"] == "address-taken"]


def in_ovn(central: Machine) -> list[str]:
    """The address of each port, as often as it is there."""
    return sorted(records.addresses(port).split()[1] for port in records.rows(central, PORT))


class Watch:
    """Looks again and again whether an address is in OVN twice."""

    def __init__(self, central: Machine) -> None:
        self.twice: set[str] = set()
        self._central = central
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            found = in_ovn(self._central)
            self.twice |= {address for address in found if found.count(address) > 1}


def test_what_another_host_leased_meanwhile_is_reported_and_not_doubled(
    lab: Lab, users: Sequence[Tenant]
) -> None:
    here, away = lab.hosts
    own, theirs = [user.network(SUBNET, *OURS) for user in users]
    chosen, kept = users[1].container(theirs), users[1].container(theirs)
    fixed = users[1].container(theirs, "--ip", FIXED)
    addresses = [chosen.address(theirs), FIXED]
    still = kept.address(theirs)

    away.kill("driver")
    refused = users[0].docker("run", "--net", own.name, "--ip", FIXED, "busybox", "true", check=False)
    assert re.search(r"on host h2 has it; .* away since about 20.* UTC: .*gc --host h2", refused.stderr)
    status, _, error = command(here, "gc", "--host", "h2")
    assert (status, "ovn-controller answers" in error) == (1, True), error
    assert in_ovn(lab.central) == sorted([*addresses, still])

    with Watch(lab.central) as watch:
        status, report, error = command(here, "gc", "--host", "h2", "--force")
        assert (status, "3 ports, 3 leases" in report) == (0, True), report + error
        taker, _ = [users[0].container(own, "--ip", address) for address in addresses]
        away.start_driver(("--health-check-on",))
        eventually(lambda: still in in_ovn(lab.central), 60, "what nobody took is made again")
        taker.reaches(still, 30)

        found = lost(away)
        assert len(found) == len(addresses), found
        for box, address in zip((chosen, fixed), addresses, strict=True):
            text = f"container {box.name} on network {theirs.name} has lost its address {address} "
            [line] = [line for line in found if line.startswith(text)]
            assert "on host h1 has it" in line
            assert f"docker restart {box.name}" in line
        finding = f"address-taken: container {chosen.name} "
        eventually(lambda: finding in away.log("driver"), 60, "the driver says so too")

        users[1].docker("restart", "-t", "0", chosen.name)
        new = chosen.address(theirs)
        assert new not in {*addresses, still}
        taker.reaches(new, 30)
        restarted = users[1].docker("restart", "-t", "0", fixed.name, check=False)
        assert restarted.returncode != 0
        assert f"address {FIXED} of pool {SUBNET} is taken" in restarted.stderr
        assert " on host h1 has it" in restarted.stderr
        assert "ovn-docker gc" not in restarted.stderr, "h1 lives"
        eventually(lambda: not lost(away), 60, "nothing is lost any more")
    assert watch.twice == set()
    assert in_ovn(lab.central) == sorted([*addresses, still, new])
