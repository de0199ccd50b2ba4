"""Our chains of iptables, for what its tables would drop: policies of FORWARD and INPUT, ufw's rules. Pure.

A packet is forwarded only if no table drops it, so an accept of ours in nft is not enough. These chains
accept no more than the rules of ruleset.py let pass, in case nobody but iptables is left to ask.
"""

from collections.abc import Iterator

from ovn_docker.host.ruleset import RESPONDER_PORT

FORWARDING, ASKING = "OVN-DOCKER", "OVN-DOCKER-DNS"

DOCKER_USER = "DOCKER-USER"
"""Docker has FORWARD jump here before its own chains and before ufw's, and changes nothing that is in it
(moby daemon/libnetwork/firewall_linux.go)."""

CHAINS = {
    FORWARDING: (
        "-o og-+ -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
        "-o og-+ -j RETURN",
        "-i og-+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        # Docker's own rules say what is published there.
        "-i og-+ -o docker0 -j RETURN",
        "-i og-+ -o docker_gwbridge -j RETURN",
        "-i og-+ -j ACCEPT",
    ),
    ASKING: tuple(
        f"-i {link} -p udp -m udp --dport {RESPONDER_PORT} -j ACCEPT"
        for link in ("og-+", "oi-+", "docker_gwbridge")
    ),
}


def repair(saved: str) -> str:
    """What is missing, as input for ``iptables-restore --noflush``; "" if nothing is.

    Args:
        saved: what ``iptables-save -t filter`` says. An administrator's rules in DOCKER-USER come first, so
            that they hold for our containers too; in FORWARD ours do, ahead of ufw's.
    """
    rules = _rules(saved)
    lines = [line for name, wanted in CHAINS.items() for line in _chain(rules, name, wanted)]
    home = DOCKER_USER if f"-j {DOCKER_USER}" in rules.get("FORWARD", ()) else "FORWARD"
    lines += _jump(rules, home, FORWARDING)
    lines += _jump(rules, "INPUT", ASKING)
    return "\n".join(["*filter", *lines, "COMMIT", ""]) if lines else ""


def removal(saved: str) -> str:
    """What removes our chains, as input for ``iptables-restore --noflush``; "" if there are none."""
    rules = _rules(saved)
    jumps = {f"-j {chain}" for chain in CHAINS}
    lines = [f"-D {name} {rule}" for name, each in rules.items() for rule in each if rule in jumps]
    present = [chain for chain in CHAINS if chain in rules]
    lines += [f"{command} {chain}" for chain in present for command in ("-F", "-X")]
    return "\n".join(["*filter", *lines, "COMMIT", ""]) if lines else ""


def _rules(saved: str) -> dict[str, list[str]]:
    """Chain to its rules in order."""
    rules: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith(":"):
            rules.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            rules.setdefault(chain, []).append(rule)
    return rules


def _chain(rules: dict[str, list[str]], name: str, wanted: tuple[str, ...]) -> Iterator[str]:
    if rules.get(name) != list(wanted):
        yield f":{name} - [0:0]"
        yield from (f"-A {name} {rule}" for rule in wanted)


def _jump(rules: dict[str, list[str]], home: str, chain: str) -> Iterator[str]:
    """Make `home` jump to a chain of ours, and nothing else."""
    jump, here = f"-j {chain}", rules.get(home, [])
    end = here.index("-j RETURN") if "-j RETURN" in here else len(here)
    elsewhere = [name for name, each in rules.items() for rule in each if name != home and rule == jump]
    if jump in here[:end] and not elsewhere:
        return
    yield from (f"-D {name} {jump}" for name in elsewhere)
    if jump in here[:end]:
        return
    if jump in here:
        yield f"-D {home} {jump}"
    yield f"-I {home} {end + 1 if home == DOCKER_USER else 1} {jump}"
