"""What is done follows from the seed alone, and stays within its bounds."""

from collections import Counter
from itertools import islice

from chaos.cli import show_plan
from chaos.plan import DRIVER, MOST_CONTAINERS, WEIGHTS, Command, Round, rounds, slots
from chaos.weather import CENTRAL, CENTRAL_PARTS, CUT, HOST_PARTS, KILL, REBOOT, RESTART

HOSTS = 3


def plan(seed: int, count: int = 300) -> list[Round]:
    return list(islice(rounds(seed, HOSTS), count))


def commands(seed: int) -> list[Command]:
    return [command for one in plan(seed) for each in one.commands for command in each]


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(7) == plan(7)
    assert show_plan(7, HOSTS, 20) == show_plan(7, HOSTS, 20)


def test_another_seed_gives_another_plan() -> None:
    assert plan(7, 3) != plan(8, 3)


def test_every_verb_and_every_fault_has_its_turn() -> None:
    assert {command.verb for command in commands(1)} == set(WEIGHTS)
    faults = {fault.title for one in plan(1) for fault in one.faults}
    parts = {f"{kind} {part}" for kind in (KILL, RESTART) for part in (*HOST_PARTS, *CENTRAL_PARTS)}
    assert faults == parts | {f"{CUT} host", f"{CUT} central", f"{REBOOT} host"}


def test_every_host_is_hit() -> None:
    hit = Counter(fault.machine for one in plan(2) for fault in one.faults)
    assert set(hit) == {"h1", "h2", "h3", CENTRAL}


def test_the_faults_of_a_round_are_on_different_machines() -> None:
    for one in plan(3):
        machines = [fault.machine for fault in one.faults]
        assert len(machines) == len(set(machines))


def test_the_central_is_never_rebooted() -> None:
    faults = [fault for one in plan(4) for fault in one.faults]
    assert not [fault for fault in faults if fault.kind == REBOOT and fault.machine == CENTRAL]
    assert all(bool(fault.part) == (fault.kind in {KILL, RESTART}) for fault in faults)


def test_the_first_round_is_without_faults() -> None:
    assert plan(5, 1)[0].faults == ()


def test_containers_and_networks_are_bounded_by_their_names() -> None:
    for host in range(1, HOSTS + 1):
        mine = [command.words for command in commands(6) if command.host == host]
        boxes = {words[words.index("--name") + 1] for words in mine if "--name" in words}
        networks = {words[-1] for words in mine if words[:2] == ("network", "create")}
        assert boxes == {f"c{number}" for number in range(1, MOST_CONTAINERS + 1)}
        assert networks == {slot.name for slot in slots(host)}


def test_only_shared_networks_have_the_same_subnet_on_all_hosts() -> None:
    first, second = slots(1), slots(2)
    for one, other in zip(first, second, strict=True):
        assert (one.subnet == other.subnet) == (f"--ipam-driver {DRIVER}" in " ".join(one.options))


def test_no_two_containers_ask_for_the_same_address() -> None:
    asked: dict[str, set[tuple[int, str]]] = {}
    for command in commands(8):
        if "--ip" in command.words:
            words = command.words
            name, address = words[words.index("--name") + 1], words[words.index("--ip") + 1]
            asked.setdefault(address, set()).add((command.host, name))
    assert asked
    assert all(len(who) == 1 for who in asked.values())
