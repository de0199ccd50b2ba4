"""Faults at random for ten minutes, on emulated hosts with the kernel's datapath."""

import pytest

from tests.vm.machines import TREE, Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3000)]


def test_nothing_is_lost_and_nothing_stale_after_ten_minutes_of_faults(quick: Vm) -> None:
    quick.run(f"{TREE}/scripts/quickstart --down", timeout=600)
    try:
        quick.run("modprobe -a openvswitch geneve")  # which a lab takes where it is
        done = quick.run(f"cd {TREE} && scripts/chaos --minutes 10 --seed 7 --hosts 2", timeout=2700)
    finally:
        quick.run(f"{TREE}/scripts/quickstart", timeout=600)
    assert "0 lost, 0 stale" in done, done
