"""The script that sets up a machine's namespaces and holds them; does no I/O."""

import shlex

from ovn_docker_lab.plan import OUTSIDE, MachinePaths, underlay_address

PRIVATE_ETC = ("docker", "openvswitch", "ovn")
"""Directories below /etc of which each machine has its own."""

STATE = "/var/lib/ovn-docker"
"""Where a driver keeps its state; each machine has its own."""

RUN_DIRECTORIES = ("docker/plugins", "openvswitch", "ovn", "lock")
"""Directories below /run that daemons expect to find."""

_SCRIPT = """\
set -eu
# Copies of other namespaces and container roots, held here, would keep them alive after their removal.
sed -nE -e 's,^([^ ]+ ){{4}}([^ ]+) .* - nsfs .*,\\2,p' \\
    -e 's,^([^ ]+ ){{4}}([^ ]+/(merged|rootfs)) .* - overlay .*,\\2,p' /proc/self/mountinfo |
    sort -r | while read -r mounted; do
        umount -l "$mounted" || true
    done
# The source of this mount identifies every process of this machine.
mkdir {directory}/marker {directory}/cgroup
mount -t tmpfs -o size=4k {directory}/ {directory}/marker
mount --bind {directory}/run /run
[ -L /var/run ] || mount --bind {directory}/run /var/run
for name in {etc}; do
    mkdir -p /etc/$name
    mount --bind {directory}/etc/$name /etc/$name
done
mkdir -p {state}
mount --bind {directory}/state {state}
# It may be a link to a file in /run, which is empty now.
resolv_conf=$(readlink -m /etc/resolv.conf)
mkdir -p "${{resolv_conf%/*}}"
[ -e "$resolv_conf" ] || : >"$resolv_conf"
mount --bind {directory}/etc/resolv.conf "$resolv_conf"
# A sysfs shows the network devices of the namespace that mounted it. It hides the cgroups, of version 1 or
# 2, so they are put back as they were.
mount --rbind /sys/fs/cgroup {directory}/cgroup
mount -t sysfs sysfs /sys
mount --rbind {directory}/cgroup /sys/fs/cgroup
umount -R -l {directory}/cgroup
hostname {machine}
ip link set lo up
# New namespaces may have inherited either from the machine (kernel documentation, ip-sysctl.rst).
echo {forwarding} >/proc/sys/net/ipv4/ip_forward
for name in all default; do
    echo {forwarding} >/proc/sys/net/ipv6/conf/$name/forwarding
done
: > {directory}/ready
sleep infinity
"""


def resolv_conf() -> str:
    """The file /etc/resolv.conf of every machine, which names the server of the machine outside."""
    return f"nameserver {underlay_address(OUTSIDE).ip}\n"


def holder_script(paths: MachinePaths, *, forwarding: bool) -> str:
    """The shell script that runs in new network, mount and UTS namespaces of a machine.

    With `forwarding` its kernel forwards packets from the start, otherwise only once somebody asks for it.
    `ip netns exec` is not used: it mounts a new /sys without cgroups, and dockerd needs them.
    """
    return _SCRIPT.format(
        directory=shlex.quote(str(paths.directory)),
        machine=shlex.quote(paths.machine),
        etc=" ".join(PRIVATE_ETC),
        state=STATE,
        forwarding=int(forwarding),
    )


def holder_command(paths: MachinePaths) -> tuple[str, ...]:
    """Command line that makes the namespaces and stays in them under the same process id."""
    namespaces = ("--net", "--mount", "--uts", "--propagation", "private")
    return ("unshare", *namespaces, "--", "/bin/sh", str(paths.holder_script))
