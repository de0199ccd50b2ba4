"""The service as systemd runs it: whose it is, and what it may do."""

import re

import pytest

from tests.vm.machines import Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

UNIT = "ovn-docker-overlay-driver"
NET_ADMIN = 1 << 12  # capability.h
MOST_EXPOSED = 3.0
"""Of 10; systemd calls a service below 4.0 well protected."""


def status(machine: Vm) -> dict[str, str]:
    text = machine.run(f"cat /proc/$(systemctl show -P MainPID {UNIT})/status")
    return dict(line.split(":", 1) for line in text.splitlines())


def test_the_driver_has_a_user_of_its_own_and_one_capability(quick: Vm) -> None:
    found = status(quick)
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert int(found[kind], 16) == NET_ADMIN, kind
    user = quick.run("id -u ovn-docker").strip()
    assert found["Uid"].split() == [user] * 4
    assert found["NoNewPrivs"].strip() == "1"
    assert found["Seccomp"].strip() == "2"


def test_systemd_finds_the_service_well_protected(quick: Vm) -> None:
    if quick.try_("command -v systemd-analyze").status != 0:
        pytest.skip("the machine has no systemd-analyze")
    done = quick.run(f"systemd-analyze security --no-pager {UNIT}")
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done)
    assert exposure, done
    assert float(exposure[1]) <= MOST_EXPOSED, done


def test_a_start_warns_of_nothing(quick: Vm) -> None:
    quick.finds_nothing_wrong()  # what a boot left has been repaired, which is a warning
    quick.run(f"systemctl restart {UNIT}")
    quick.finds_nothing_wrong()
    done = quick.run(f"journalctl -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {UNIT})")
    assert re.findall(r"^.*(?:WARN|ERROR).*$", done, re.MULTILINE) == []
