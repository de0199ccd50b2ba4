"""Whether a VTEP can have a port of OVN's own on a network, and if not, why not. Pure.

OVN gives a port of the type vtep the packets of one chassis whose VNI is the tunnel key of its switch. So the
switch has to have that key, and no switch of others may lose its own by it: northd takes a requested key from
whoever has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.ovn.southbound import VXLAN, Fabric
from ovn_docker.ovn.vteps import KEY, RAMP, Keys

LARGEST_VXLAN_KEY = 0xFFF
"""With VXLAN between hosts, a tunnel key has 12 bits (ovn-architecture(7), "Limitations of VXLAN")."""

MOST_NAMES = 5
"""How many hosts are named in a text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be.

    Attributes:
        remote: the VTEP's tunnel endpoint.
        vni: what it calls the network.
        switch: the row of the network's switch.
        keys: what that says of its tunnel key.
        chassis: what its chassis is called, or will be.
    """

    remote: IPAddress
    vni: int
    switch: UUID
    keys: Keys
    chassis: str


def obstacle(asked: Asked, fabric: Fabric, *, vxlan_mode: bool, strict: bool) -> str:
    """Why it cannot be, or "".

    Args:
        asked: what is to be.
        fabric: what Southbound says.
        vxlan_mode: whether northd may go into VXLAN mode.
        strict: whether every host has to be able to reach the VTEP; otherwise one is enough.
    """
    return (
        _address(asked, fabric)
        or _hosts(fabric, strict=strict)
        or _range(asked.vni, fabric, vxlan_mode=vxlan_mode)
        or _key(asked, fabric)
        or _switch(asked)
    )


def _address(asked: Asked, fabric: Fabric) -> str:
    for each in fabric.encaps:
        if each.chassis != asked.chassis and _same(each.address, asked.remote):
            return f"{asked.remote} is the tunnel endpoint of chassis {each.chassis}"
    return ""


def _same(text: str, address: IPAddress) -> bool:
    try:
        return ip_address(text) == address
    except ValueError:
        return False


def without_vxlan(fabric: Fabric) -> list[str]:
    """The hosts that cannot send VXLAN."""
    return sorted(name for name, kinds in _kinds(fabric).items() if VXLAN not in kinds)


def _kinds(fabric: Fabric) -> Mapping[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for each in fabric.encaps:
        if each.chassis not in fabric.peers:
            kinds.setdefault(each.chassis, set()).add(each.kind)
    return kinds


def _hosts(fabric: Fabric, *, strict: bool) -> str:
    hosts, lacking = _kinds(fabric), without_vxlan(fabric)
    if not hosts:
        return "OVN Southbound has no host"
    if lacking and (strict or len(lacking) == len(hosts)):
        return (
            f"ovn-encap-type of {names(lacking)} does not name vxlan: see"
            " 'Let OVN do it' in docs/how-to/vtep.md before you change it"
        )
    return ""


def names(hosts: list[str]) -> str:
    """Some hosts, for people."""
    more = f" and {len(hosts) - MOST_NAMES} more" if len(hosts) > MOST_NAMES else ""
    return f"host {', '.join(hosts[:MOST_NAMES])}{more}"


def _range(vni: int, fabric: Fabric, *, vxlan_mode: bool) -> str:
    if vni <= LARGEST_VXLAN_KEY:
        return ""
    if vxlan_mode:
        return (
            f"VNI {vni} is larger than {LARGEST_VXLAN_KEY}, and OVN may use VXLAN between hosts: if it uses"
            " Geneve, say so with 'ovn-nbctl set NB_Global . options:vxlan_mode=false'"
        )
    if any(kinds == {VXLAN} for kinds in _kinds(fabric).values()):
        return f"VNI {vni} is larger than {LARGEST_VXLAN_KEY}, and there are hosts that use VXLAN only"
    return ""


def _key(asked: Asked, fabric: Fabric) -> str:
    row, name = fabric.keys.get(asked.vni, (str(asked.switch), ""))
    if row == str(asked.switch):
        return ""
    return f"{asked.vni} is the tunnel key of {name or 'another switch or router'} in OVN"


def _switch(asked: Asked) -> str:
    keys, wanted = asked.keys, str(asked.vni)
    others = [
        each
        for each, entry in keys.vteps.items()
        if each != str(asked.remote) and entry.mode == RAMP and entry.vni != asked.vni
    ]
    if others:
        vni = keys.vteps[others[0]].vni
        return f"VTEP {others[0]} has a port of OVN's own there, so that the VNI is {vni}"
    if keys.requested == wanted:
        return ""
    if not keys.ours:
        return (
            f"logical switch {keys.name} is not of this driver's making: its owner gives it the VNI with"
            f" 'ovn-nbctl set Logical_Switch {keys.name} other_config:{KEY}={wanted}'"
        )
    if keys.requested and keys.requested != keys.pinned:
        return f"somebody has set other_config:{KEY}={keys.requested} of logical switch {keys.name}"
    return ""
