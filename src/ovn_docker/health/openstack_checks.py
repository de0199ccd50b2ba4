"""Findings on the set-up of an OpenStack machine: the cloud's side, the bridge, MTUs and VLANs. Pure.

A repair that would cut the machine off is left to its administrator.
"""

from collections.abc import Iterator

from ovn_docker import addressing
from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import Setup, Snapshot
from ovn_docker.host.open_vswitch import Bridge, BridgePort

ACTIVE, BUILD = "ACTIVE", "BUILD"
TRUNK, TAGS = "trunk", "standard-attr-tag"
"""Aliases of Neutron's extensions."""

NEEDED = {TRUNK: "containers' ports", TAGS: "marks"}


def check_cloud(snapshot: Snapshot) -> Iterator[Finding]:
    """The machine's port is known to the cloud, is ours, passes packets, and has a trunk that does."""
    setup = snapshot.setup
    if setup is None:
        return
    for alias in setup.lacks:
        text = f"this cloud's Neutron has no extension '{alias}' for {NEEDED[alias]}: ask its operator"
        yield Finding("cloud-lacks", alias, text)
    doubts = list(check_identity(setup))
    yield from doubts
    vif, port = setup.vif, f"port {setup.vif_id} (OS_VIF_ID)"
    if vif is None:
        return
    if not doubts and setup.trunked and setup.trunk is None and TRUNK not in setup.lacks:
        yield Finding("trunk-missing", setup.vif_id, f"{port} has no trunk")
    if not vif.enabled:
        text = f"{port} is switched off: 'openstack port set --enable {setup.vif_id}'"
        yield Finding("vif-disabled", setup.vif_id, text)
    elif vif.status != ACTIVE:
        text = f"{port} is {vif.status}: if it stays so, see whether it is this machine's"
        yield Finding("vif-down", setup.vif_id, text)
    yield from _check_trunk(setup)


def check_identity(setup: Setup) -> Iterator[Finding]:
    """OS_VIF_ID is this machine's port, and the login is for the port's project."""
    vif, port = setup.vif, f"port {setup.vif_id} (OS_VIF_ID)"
    if vif is None:
        text = f"this project sees no {port}: 'openstack port list --mac-address MAC' shows the right one"
        yield Finding("vif-missing", setup.vif_id, text)
        return
    if setup.project and vif.project != setup.project:
        text = f"{port} belongs to project {vif.project}, the login is for {setup.project}"
        yield Finding("vif-foreign", setup.vif_id, text)
    on_bridges = {port.mac for bridge in setup.bridges for port in bridge.others}
    if not _interface(setup) and vif.mac not in on_bridges:
        text = (
            f"no interface of this machine has the MAC address {vif.mac} of {port}: it is another machine's;"
            " 'openstack port list --mac-address MAC' shows the right one"
        )
        yield Finding("vif-elsewhere", setup.vif_id, text)


def _check_trunk(setup: Setup) -> Iterator[Finding]:
    trunk = setup.trunk
    if trunk is None or not setup.trunked:
        return
    if not trunk.enabled:
        text = f"trunk {trunk.id} is switched off: 'openstack network trunk set --enable {trunk.id}'"
        yield Finding("trunk-down", trunk.id, text)
    elif trunk.status not in {ACTIVE, BUILD, "DOWN"}:  # a trunk without ports is DOWN
        text = f"trunk {trunk.id} is {trunk.status}: the operator's log says why"
        yield Finding("trunk-down", trunk.id, text)


def check_bridge(snapshot: Snapshot) -> Iterator[Finding]:
    """The bridge exists, the machine's interface is on it, and every VLAN passes."""
    setup = snapshot.setup
    if setup is None:
        return
    bridge = next((bridge for bridge in setup.bridges if bridge.name == setup.bridge), None)
    if bridge is None:
        name, link = setup.bridge, _interface(setup) or "INTERFACE"
        text = (
            f"this machine has no bridge {name}: put {link} on one, and its addresses, from the console or in"
            " one line, as docs/how-to/underlay.md shows in section 2"
        )
        yield Finding("bridge-missing", setup.bridge, text)
        return
    if bridge.secure:
        text = (
            f"bridge {bridge.name} passes nothing without an OpenFlow controller:"
            f" 'ovs-vsctl del-fail-mode {bridge.name}'"
        )
        yield Finding("bridge-secure", bridge.name, text)
    if setup.vif is None:
        return
    uplink = uplink_of(bridge, setup)
    if uplink is None:
        if interface := _interface(setup):  # else the interface is another machine's: see `check_identity`
            text = (
                f"interface {interface} is not on bridge {setup.bridge}: put it there, and its addresses on"
                " the bridge, from the console or in one line, as docs/how-to/underlay.md shows in section 2"
            )
            yield Finding("uplink-missing", interface, text)
        return
    yield from _check_uplink(uplink)
    local = bridge.local
    if local is not None and local.mac and local.mac != setup.vif.mac:
        text = (
            f"bridge {bridge.name} has MAC address {local.mac}, the cloud lets only {setup.vif.mac} pass:"
            f" 'ovs-vsctl set bridge {bridge.name} other-config:hwaddr=\"{setup.vif.mac}\"'"
        )
        yield Finding("bridge-mac", bridge.name, text)
    yield from _check_sizes(setup, uplink, local)


def uplink_of(bridge: Bridge, setup: Setup) -> BridgePort | None:
    """The port of the interface with the MAC address of the machine's Neutron port.

    Of an interface that Open vSwitch cannot use, the kernel alone knows the address.
    """
    mac = setup.vif.mac if setup.vif else ""
    return next(
        (port for port in bridge.others if mac and mac in {port.mac, setup.links.get(port.name)}), None
    )


def _interface(setup: Setup) -> str:
    """The link with the MAC address of the machine's Neutron port, or ""."""
    if setup.vif is None:
        return ""
    bridges = {setup.bridge, *(bridge.name for bridge in setup.bridges)}
    links = sorted(name for name, mac in setup.links.items() if mac == setup.vif.mac)
    return next((link for link in links if link not in bridges), "")


def _check_uplink(uplink: BridgePort) -> Iterator[Finding]:
    if uplink.error:
        text = f"Open vSwitch cannot use interface {uplink.name}: {uplink.error}: see 'ovs-vsctl show'"
        yield Finding("uplink-dead", uplink.name, text)
    if uplink.tag is not None:
        text = (
            f"interface {uplink.name} passes only VLAN {uplink.tag}:"
            f" 'ovs-vsctl remove port {uplink.name} tag {uplink.tag}'"
        )
        yield Finding("uplink-vlan", uplink.name, text)
    elif uplink.trunks:
        some = ", ".join(map(str, uplink.trunks))
        text = (
            f"interface {uplink.name} passes only VLANs {some}: 'ovs-vsctl clear port {uplink.name} trunks'"
        )
        yield Finding("uplink-vlan", uplink.name, text)


def _check_sizes(setup: Setup, uplink: BridgePort, local: BridgePort | None) -> Iterator[Finding]:
    """Packets of the networks' MTUs pass, and the machine sends no larger ones."""
    most = setup.vif.mtu if setup.vif else None
    if most is not None and local is not None and local.mtu is not None and local.mtu > most:
        text = (
            f"bridge {local.name} has an MTU of {local.mtu}, its network has {most}: larger packets are"
            f" lost; 'ovs-vsctl set interface {local.name} mtu_request={most}'"
        )
        yield Finding("mtu-large", local.name, text)
    for name, mtu in setup.networks.items():
        if most is not None and mtu > most:
            text = (
                f"network {name} has an MTU of {mtu}, this machine's port has {most}: Neutron puts no port of"
                f" the network under the trunk; 'openstack network set --mtu {most} NETWORK'"
            )
            yield Finding("network-mtu", name, text)
    wanted = max([most or 0, *(mtu for mtu in setup.networks.values() if not most or mtu <= most)])
    if uplink.mtu is not None and uplink.mtu < wanted:
        text = (
            f"interface {uplink.name} has an MTU of {uplink.mtu}, networks have {wanted}: larger packets are"
            f" lost; 'ip link set {uplink.name} mtu {wanted}'"
        )
        yield Finding("mtu-small", uplink.name, text)


def check_vlans(snapshot: Snapshot) -> Iterator[Finding]:
    """Each endpoint's interface is an access port of the VLAN that its Neutron port has."""
    if snapshot.setup is None:
        return
    bridges = snapshot.setup.bridges
    tags = {port.name: port.tag for bridge in bridges for port in bridge.ports if port.ours}
    for held in snapshot.held.endpoints:
        endpoint = snapshot.docker.endpoint(held.endpoint_id)
        outside, _ = addressing.link_names(held.endpoint_id)
        if endpoint is None or held.vlan is None or outside not in tags:
            continue
        if tags[outside] != held.vlan:
            text = (
                f"interface {outside} of endpoint {held.endpoint_id} is on VLAN {tags[outside]}, its Neutron"
                f" port has {held.vlan}"
            )
            yield Finding("interface-vlan", held.endpoint_id, text, endpoint)
